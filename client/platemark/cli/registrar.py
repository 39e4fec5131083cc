"""What a registrar's commands share: the log as it is now, the chain that signs, and sending what was signed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from platemark import statement
from platemark.chain import Chain
from platemark.cli import output
from platemark.cli.passphrases import open_key
from platemark.errors import FormatError, RpcError, StateError

if TYPE_CHECKING:
    from pathlib import Path

    from platemark.rpc.model import Logged
    from platemark.rpc.sync import LedgerClient
    from platemark.statement import Statement

__all__ = ["OpenedLog", "open_log", "registrar_chain", "send"]


@dataclass(frozen=True)
class OpenedLog:
    """The log behind a server: leaf 0's id, and every statement that brought a policy into force, in log order."""

    id: bytes
    policies: tuple[Statement, ...]

    @property
    def policy(self) -> Statement:
        """A statement of the policy in force."""
        return self.policies[-1]


def open_log(client: LedgerClient, server: str, *, named: bytes | None) -> OpenedLog:
    """The log that `client` talks to. Raises FormatError when it is not the `named` one, RpcError."""
    proven = client.evidence(index=0).content.policies
    policies = tuple(statement.decode(each.statement) for each in proven)
    opened = OpenedLog(policies[0].id, policies)
    if named is not None and named != opened.id:
        raise FormatError("log", f"the ledger at {server} is {opened.id.hex()}, not {named.hex()}")
    return opened


def registrar_chain(key: Path, passphrase_file: Path | None, *, log: OpenedLog, uri: str | None) -> Chain:
    """The registrar's chain, begun. Raises KeyFileError, StateError: nobody knows under which URI the key signs."""
    signer = open_key(key, passphrase_file, variable="PLATEMARK_REGISTRAR_PASSPHRASE")
    chain = Chain(key, signer)
    chain.begin(issuer=uri or _issuer_in(log.policy, signer.kid, chain), role="registrar")
    return chain


def _issuer_in(policy: Statement, kid: bytes, chain: Chain) -> str | None:
    """The URI that the policy in force gives this registrar, unless the key's state knows it already."""
    if chain.state() is not None:
        return None
    for entry in cast("list[dict[str, object]]", policy.payload["registrars"]):
        if hashlib.sha256(cast("bytes", entry["key"])).digest() == kid:
            return str(entry["issuer"])
    raise StateError(
        "the log's policy names no registrar with this key; if it was enrolled as one, give --registrar-uri URI"
    )


def send(client: LedgerClient, signed: Statement, target: Path, *, what: str) -> Logged:
    """Append what lies signed in `target`. Raises RefusedError, and RpcError once it has said how to go on."""
    from platemark.rpc import RefusedError
    from platemark.rpc.model import Refused

    try:
        outcome = client.append([signed.raw]).outcomes[0]
    except RpcError as error:
        output.note(f"the signed {what} is {target}: platemark submit sends it again")
        raise error from None
    if isinstance(outcome, Refused):
        raise RefusedError(f"the ledger refused the {what} ({outcome.info}): {outcome.reason}", info=outcome.info)
    return outcome
