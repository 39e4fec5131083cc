"""Answering a request: what the holder's side checks, and the order in which a release and its record are written.

Nothing leaves unrecorded. The order of `hand_over` is: the custody statement's own values into the vault; the place in
the operator's chain; the statement to where it cannot be lost (a spool, or a file and the ledger); the release, last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from platemark import attributes, files
from platemark.errors import RequestRefusedError, StateError
from platemark.instant import format_time
from platemark.kinds import SIGNERS
from platemark.vault import release as releases

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from platemark.attributes import Disclosure
    from platemark.chain import Chain
    from platemark.statement import Statement
    from platemark.vault.release import Release
    from platemark.vault.request import Request
    from platemark.vault.requesters import Listed
    from platemark.vault.store import OpenVault

__all__ = ["SKEW_NS", "check_asker", "hand_over", "is_noted", "open_asked", "require_custodian"]

SKEW_NS = 5 * 60 * 10**9
"""How far ahead the asker's clock may be."""


def check_asker(asked: Request, *, requesters: Listed | None, now: int) -> None:
    """Refuse whoever is not in `requesters` (None: anybody may ask), and a request that is not in force at `now`, Unix ns.

    Raises RequestRefusedError.
    """
    if requesters is not None and asked.verifier.kid not in requesters:
        raise RequestRefusedError(f"signed with the key {asked.verifier.kid.hex()}, which is not among the requesters")
    if asked.at > now + SKEW_NS:
        raise RequestRefusedError(f"made at {format_time(asked.at)}, which has not come yet")
    if asked.expires <= now:
        raise RequestRefusedError(f"expired at {format_time(asked.expires)}")


def open_asked(asked: Request, vault: OpenVault) -> Disclosure:
    """Exactly the attributes that were asked for, opened, in the form of rule D2 of proto/attributes.md.

    Raises RequestRefusedError: the capture is not in this vault, or did not commit to one of them; VaultError,
    VaultFormatError: what is kept of it is damaged.
    """
    if asked.root not in vault:
        raise RequestRefusedError("the capture that it names is not in this vault, or was erased from it")
    whole = vault.get(asked.root)
    missing = [name for name in asked.attributes if name not in whole.values]
    if missing:
        raise RequestRefusedError(f"the capture did not commit to {', '.join(missing)}")
    return whole.open(*asked.attributes)


def is_noted(asked: Request, vault: OpenVault) -> bool:
    """Whether the vault's writer noted this statement for the root. Raises RequestRefusedError if he noted another."""
    noted = vault.statement_of(asked.root)
    if noted is not None and noted != asked.capture.id:
        raise RequestRefusedError(
            f"the capture with these attributes is the statement {noted.hex()}, and it names another"
        )
    return noted is not None


def require_custodian(chain: Chain) -> None:
    """Refuse a key that no ledger lets sign a custody statement. Raises StateError: no state, or another role."""
    state = chain.begin()
    if state.role is not None and state.role not in SIGNERS["custody"]:
        allowed = " or ".join(SIGNERS["custody"])
        raise StateError(f"{chain.path}: the key of a {state.role}; custody statements are signed by an {allowed}")


def hand_over(
    asked: Request,
    opened: Disclosure,
    *,
    vault: OpenVault,
    chain: Chain,
    log: bytes,
    at: int,
    record: Callable[[Statement], None],
    out: Path,
) -> Release:
    """Record the release of `opened`, then write it to `out` (mode 0600), where nothing may be yet.

    `log` is the id of the log that the record is for, `at` Unix ns. `record` returns once the custody statement cannot be
    lost any more, and raises otherwise. Raises FileError, StateError and what vault, signer and `record` raise; nothing
    has left then.
    """
    if out.exists():
        raise files.FileError(f"{out}: exists already")
    if not out.parent.is_dir():
        raise files.FileError(f"{out.parent}: not a directory, so the release could not be written")
    recorded = attributes.commit({"remark": releases.remark(asked)})
    vault.put(recorded)
    # Crash here: the vault holds a remark that no statement commits to, which is harmless.
    custody = chain.sign("custody", releases.custody_payload(asked, opened, recorded, at=at, log=log))
    # Crash here: a place in the operator's chain may be used up; nothing left.
    record(custody)
    # Crash here: the record says that something was released which never left, and is kept: whoever answers the request
    # again makes a second record. The other order would let values leave that no record shows.
    release = releases.Release(asked, opened, custody, recorded.open("remark"))
    content = release.to_bytes()
    releases.decode(content)  # what the asker's side will do
    files.create(out, content, mode=0o600)
    return release
