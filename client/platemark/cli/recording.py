"""Where a signed record goes that has to be safe before anything else happens: a spool, or the ledger at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from platemark import files
from platemark.chain import Chain
from platemark.cli.enrol import log_id
from platemark.cli.passphrases import open_key
from platemark.cli.registrar import open_log, send
from platemark.errors import RequestRefusedError

if TYPE_CHECKING:
    from platemark.cli.connect import Connection
    from platemark.rpc.sync import LedgerClient
    from platemark.spool import Spool
    from platemark.statement import Statement

__all__ = ["LogOption", "Recorder", "SpoolOption", "operator_chain", "recording"]

SpoolOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--spool", metavar="DIR", help="Put the record into this spool, which is sent later; no network."),
]
LogOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--log", metavar="ID", help="The log that the record is for, with --spool. Default: the one of --trust."
    ),
]


@dataclass(frozen=True)
class Recorder:
    """A place for records of the log `log` (leaf 0's id). With a `client` it is the ledger, else the `spool`."""

    log: bytes
    spool: Spool | None = None
    client: LedgerClient | None = None

    def record(self, signed: Statement, beside: Path, *, what: str) -> None:
        """Return once the record cannot be lost. On the way to a ledger it is on disk at `beside`, and stays there.

        Raises SpoolError; FileError, and RpcError when the ledger did not take it.
        """
        if self.spool is not None:
            self.spool.put(signed.raw)
            return
        assert self.client is not None
        files.create(beside, signed.raw, mode=0o600)
        # Crash here, or no answer: `platemark submit` sends the very same statement again.
        send(self.client, signed, beside, what=what)

    def require_logged(self, identity: bytes) -> None:
        """Refuse a statement that the ledger does not have. Raises RequestRefusedError, RpcError."""
        from platemark.rpc import NotFoundError

        assert self.client is not None
        try:
            self.client.statement(id=identity)
        except NotFoundError:
            raise RequestRefusedError("the ledger has no record of the capture that it names") from None


@contextmanager
def recording(connection: Connection, *, spool: Path | None, log: str | None) -> Iterator[Recorder]:
    """The spool if one is named, else the ledger. Raises BadParameter when nothing says which log a spool is for."""
    named = log_id(log)
    trusted = connection.trusted
    if named is None and trusted is not None and len(trusted.logs) == 1:
        named = trusted.logs[0].id
    if spool is None:
        with connection.open() as client:
            yield Recorder(open_log(client, connection.server, named=named).id, client=client)
        return
    if named is None:
        raise typer.BadParameter("--spool needs --log, or --trust with one log: the record names its log")
    from platemark.spool import Spool

    with Spool(spool) as outbox:
        yield Recorder(named, spool=outbox)


def operator_chain(key: Path, passphrase_file: Path | None, *, device: str | None) -> Chain:
    """The chain of whoever answers, begun. Raises KeyFileError, StateError."""
    chain = Chain(key, open_key(key, passphrase_file))
    chain.begin(issuer=device)
    return chain
