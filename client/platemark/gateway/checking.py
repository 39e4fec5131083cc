"""Whether a gateway could run with its settings: keys, directories, certificates, and the peers it has to reach."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark.errors import PlatemarkError
from platemark.files import FileError
from platemark.gateway import tls, work
from platemark.gateway._setting import ConfigError
from platemark.vault import Vault
from platemark.vault.keys import read_public

if TYPE_CHECKING:
    from pathlib import Path

    from platemark.gateway.calling import Peer
    from platemark.gateway.settings import Gateway

__all__ = ["Checked", "check_local", "checks"]

_VERIFICATION = "1.2.840.10008.1.1"


@dataclass(frozen=True)
class Checked:
    """One thing that was looked at. `fault` is empty when it is well; `away`: a peer does not answer, later may help."""

    what: str
    found: str
    fault: str = ""
    away: bool = False


def checks(gateway: Gateway) -> Iterator[Checked]:
    """Everything that can be known before the start, one by one; nothing raises for a fault that it found."""
    for what, look in _local(gateway).items():
        try:
            yield Checked(what, look())
        except (PlatemarkError, OSError) as error:
            yield Checked(what, "", str(error))
    yield from _peers(gateway)


def check_local(gateway: Gateway) -> None:
    """What a start needs of this machine. Raises the first fault."""
    for look in _local(gateway).values():
        look()


def _local(gateway: Gateway) -> dict[str, Callable[[], str]]:
    return {
        "state_dir": lambda: _writable(gateway),
        "key": lambda: _key(gateway),
        "vault": lambda: _vault(gateway),
        "tls": lambda: _tls(gateway),
    }


def _writable(gateway: Gateway) -> str:
    """The state directory, or that it can be made. Makes none: whoever checks may be another user than the gateway's."""
    wanted = gateway.state_dir
    try:
        there = next(each for each in (wanted, *wanted.parents) if _exists(each))
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise FileError(f"{wanted}: {error.strerror or error}") from None
    return str(wanted) if there == wanted else f"{wanted}: to be made"


def _exists(path: Path) -> bool:
    """Whether something is there. Raises OSError when what should lead to it is no directory."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    return True


def _key(gateway: Gateway) -> str:
    chain = work.open_chain(gateway.sign)
    state = chain.state()
    assert state is not None
    return f"{chain.signer.kid.hex()} signs as {state.issuer}"


def _vault(gateway: Gateway) -> str:
    """The vault that is there, or the key that one can be made for."""
    if (gateway.vault / "vault.sqlite").exists():
        with Vault(gateway.vault) as vault:
            return f"{vault.count()} disclosures, sealed to {vault.recipient.kid.hex()}"
    recipient = gateway.sign.vault_recipient
    if recipient is None:
        raise ConfigError("sign.vault_recipient", f"missing, and there is no vault in {gateway.vault} yet")
    read_public(recipient)
    return f"to be made for {recipient}"


def _tls(gateway: Gateway) -> str:
    from platemark.gateway import outward

    receiving = tls.server_context(gateway.receive)
    outward.destinations(gateway)
    outward.modalities(gateway)
    return "modalities show certificates" if receiving else "modalities are not known: no TLS"


def _peers(gateway: Gateway) -> Iterator[Checked]:
    from platemark.gateway import outward

    try:
        places = outward.destinations(gateway)
    except ConfigError:
        return  # said already
    for each in places:
        yield _echo(f"pacs {each.name}", each.peer)
    try:
        ledger = work.connection(gateway)
    except PlatemarkError as error:
        yield Checked("ledger", "", str(error))
        return
    if ledger is None:
        yield Checked("ledger", "none: statements stay in the spool")
        return
    try:
        with ledger.open() as client:
            client.evidence(index=0)
    except PlatemarkError as error:
        yield Checked("ledger", "", str(error), away=error.code in {"unavailable", "unreachable", "deadline"})
    else:
        yield Checked("ledger", f"{ledger.server} answers")


def _echo(what: str, peer: Peer) -> Checked:
    """C-ECHO (PS3.4 annex A)."""
    from pynetdicom import build_context

    from platemark.gateway.calling import associate, end

    try:
        association = associate(peer, [build_context(_VERIFICATION)])
    except PlatemarkError as error:
        return Checked(what, "", str(error), away=True)
    try:
        status = association.send_c_echo().get("Status")
    except (RuntimeError, ValueError) as error:
        return Checked(what, "", f"{peer}: {error}")
    finally:
        end(association)
    if status != 0:
        said = "no answer" if status is None else f"status {status:04X}"
        return Checked(what, "", f"{peer}: {said} to C-ECHO", away=status is None)
    return Checked(what, f"{peer} answers C-ECHO")
