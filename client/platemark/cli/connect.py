"""Reaching a ledger from the command line, and making it prove who it is when a trust file was brought."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from platemark import files, lineage, statement, trust
from platemark.errors import PlatemarkError, TrustError

if TYPE_CHECKING:
    from platemark.note import NoteVerifier
    from platemark.rpc import Tls
    from platemark.rpc.sync import LedgerClient
    from platemark.trust import Trust

__all__ = ["Connection", "MissingExtraError", "identify", "load_trust", "require_packages"]


class MissingExtraError(PlatemarkError):
    """A command needs a package that this install left out."""

    code = "missing-extra"


def require_packages(extras: str, *names: str) -> None:
    """Raises MissingExtraError when a package that a command needs is not installed; `extras` bring it."""
    for name in names:
        if find_spec(name) is None:
            raise MissingExtraError(f'this command needs {name}: pip install "platemark[{extras}]"')


@dataclass(frozen=True, kw_only=True)
class Connection:
    """Where the ledger is, how to reach it, and whom to believe (`trusted` None: anybody who is consistent).

    `once`: a call that fails is not made again, because whoever asks has a back-off of its own.
    """

    server: str
    tls_ca: str | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_name: str | None = None
    trusted: Trust | None = None
    once: bool = False

    @contextmanager
    def open(self) -> Iterator[LedgerClient]:
        """A client that has shown, when there is a trust file, that it is a log which that file names.

        Raises MissingExtraError, RpcError, and TrustError for a ledger that the trust file does not name.
        """
        # gRPC's own remarks about a failed handshake, in the middle of ours; whoever looks for them sets it.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        try:
            from platemark.rpc import Retry, Trusted
            from platemark.rpc.sync import LedgerClient
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == "platemark":
                raise
            raise MissingExtraError('this command talks to a ledger: pip install "platemark[rpc]"') from None
        retry = Retry(attempts=1) if self.once else None
        if self.trusted is None:
            with LedgerClient(self.server, tls=self._tls(), retry=retry) as client:
                yield client
            return
        with LedgerClient(self.server, tls=self._tls(), retry=retry) as client:
            origin, keys = identify(client, self.trusted, self.server)
        with LedgerClient(self.server, tls=self._tls(), trusted=Trusted(keys, origin), retry=retry) as client:
            yield client

    def _tls(self) -> Tls | None:
        from platemark.rpc import Tls

        if self.tls_ca is None:
            if self.tls_certificate or self.tls_key or self.tls_name:
                raise PlatemarkError("the TLS options need --tls-ca as well (a file, or `system`)")
            return None
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise PlatemarkError("--tls-certificate and --tls-key go together")
        return Tls(
            ca=None if self.tls_ca == "system" else Path(self.tls_ca),
            certificate=self.tls_certificate,
            key=self.tls_key,
            server_name=self.tls_name,
        )


def load_trust(path: Path | None) -> Trust | None:
    """The trust file, None when none was given. Raises FileError, TrustError."""
    if path is None:
        return None
    try:
        return trust.parse(files.read(path, limit=trust.MAX_TRUST))
    except TrustError as error:
        raise TrustError(f"{path}: {error.field}", error.reason) from None


def identify(client: LedgerClient, trusted: Trust, server: str) -> tuple[str, tuple[NoteVerifier, ...]]:
    """The origin and log keys of the ledger, by its proven policies. Raises TrustError and what a lying ledger earns."""
    first = client.evidence(index=0)
    identity = statement.decode(first.content.record.statement).id
    log = trusted.log(identity)
    if log is None:
        raise TrustError("log", f"the ledger at {server} is {identity.hex()}, which the trust file does not name")
    policies = lineage.open_policies(first.content.policies, first.checkpoint, log)
    keys = policies.at(first.checkpoint.checkpoint.size).log_keys(policies.origin)
    first.checkpoint.verify(keys)
    return policies.origin, keys
