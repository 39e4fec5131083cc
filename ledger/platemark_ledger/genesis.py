"""Making a new ledger: its data, its first leaves, its first checkpoint, and last of all its anchor."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, cast

from platemark import statement as statements
from platemark.checkpoint import Checkpoint
from platemark.errors import FormatError, SignatureError
from platemark.keys import load_public
from platemark_ledger import anchor, lock
from platemark_ledger.admission import Examined
from platemark_ledger.batch import append
from platemark_ledger.digests import names_of
from platemark_ledger.errors import AnchorError, GenesisError, LockError, StoreError
from platemark_ledger.registry import Registry
from platemark_ledger.signing import sign_checkpoint
from platemark_ledger.store import Store, Stored

if TYPE_CHECKING:
    from pathlib import Path

    from platemark.note import NoteSigner
    from platemark.statement import Statement
    from platemark_ledger.anchor import Anchored
    from platemark_ledger.opening import Paths

__all__ = ["create"]


def create(
    paths: Paths,
    *,
    policy: Sequence[bytes],
    signers: Sequence[NoteSigner],
    now_ns: Callable[[], int] = time.time_ns,
) -> Anchored:
    """Make a ledger whose first leaves are `policy`, the signed version 0 policy statements; returns its first checkpoint.

    `policy` is exactly as many statements as its threshold, with byte-equal payloads, each signed by another of its policy keys;
    the first becomes leaf 0 and its id the log's identity. Raises GenesisError; nothing is written when the policy is at fault
    or a file is in the way.

    If we crash before the anchor is written, there is a directory without an anchor: `open_ledger` refuses it and says to
    remove it and make the ledger again. Nothing was released.
    """
    founding = _founding(policy)
    origin = cast("str", founding[0].payload["origin"])
    _check_signers(founding[0], origin, signers)
    _check_places(paths)
    try:
        paths.data.mkdir(parents=True, exist_ok=True)
        store = Store.create(paths.data)
        try:
            with store.write() as transaction:
                stored = [Stored(now_ns(), 0, each.raw) for each in founding]
                examined = [Examined(each, names_of(each)) for each in founding]
                append(transaction, transaction.head(), examined, stored)
                Registry(transaction).begin(founding)
                transaction.commit()
            with store.read() as transaction:
                head = transaction.head()
        finally:
            store.close()
        anchor.sync_directory(paths.data.parent)
        paths.lock.parent.mkdir(parents=True, exist_ok=True)
        lock.create(paths.lock)
        paths.anchor.parent.mkdir(parents=True, exist_ok=True)
        note = sign_checkpoint(signers, Checkpoint(origin, head.size, head.root))
        return anchor.create(paths.anchor, size=head.size, root=head.root, note=note)
    except (AnchorError, LockError, StoreError) as error:
        raise GenesisError(error.reason) from error
    except OSError as error:
        raise GenesisError(f"{error.filename} cannot be made: {error.strerror}") from error


def _founding(policy: Sequence[bytes]) -> list[Statement]:
    """The founding statements, checked. Raises GenesisError."""
    if not policy:
        raise GenesisError("a ledger needs a signed policy")
    founding = [_verified(raw, number) for number, raw in enumerate(policy)]
    threshold = cast("int", founding[0].payload["threshold"])
    if len(founding) != threshold:
        raise GenesisError(f"the policy asks for {threshold} signed statements and {len(founding)} were given")
    if len({each.message.payload for each in founding}) != 1:
        raise GenesisError("the policy statements do not have the same payload")
    if len({each.kid for each in founding}) != len(founding):
        raise GenesisError("one key has signed the policy twice")
    return founding


def _verified(raw: bytes, number: int) -> Statement:
    name = f"policy statement {number}"
    try:
        statement = statements.decode(raw)
        if statement.kind != "policy" or statement.payload["version"] != 0:
            raise GenesisError(f"{name} is not a policy of version 0")
        keys = {sha256(spki).digest(): spki for spki in cast("list[bytes]", statement.payload["keys"])}
        if statement.kid not in keys:
            raise GenesisError(f"{name} is signed by a key that is not one of its policy keys")
        statement.verify(load_public(keys[statement.kid]))
    except (FormatError, SignatureError) as error:
        raise GenesisError(f"{name}: {error}") from error
    issuer = statements.policy_issuer(cast("str", statement.payload["origin"]))
    if statement.issuer != issuer:
        raise GenesisError(f"{name}: the issuer of a policy is {issuer}")
    return statement


def _check_signers(first: Statement, origin: str, signers: Sequence[NoteSigner]) -> None:
    named = {sha256(spki).digest() for spki in cast("list[bytes]", first.payload["log_keys"])}
    if not signers:
        raise GenesisError("no log key was given")
    for signer in signers:
        if signer.name != origin:
            raise GenesisError(f"the log key is for {signer.name} and the policy is for {origin}")
        if signer.signer.kid not in named:
            raise GenesisError(f"the policy does not list the log key {signer.signer.kid.hex()}")


def _check_places(paths: Paths) -> None:
    for path in (paths.anchor, paths.lock):
        if path.exists():
            raise GenesisError(f"{path} exists already")
    if _occupied(paths.data):
        raise GenesisError(f"{paths.data} is not an empty directory")


def _occupied(path: Path) -> bool:
    return path.exists() and (not path.is_dir() or any(path.iterdir()))
