"""Opening a ledger: the start-up checks, in their order, and what a worker holds once they have passed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from platemark import checkpoint
from platemark.checkpoint import Checkpoint
from platemark.errors import NoteError, SignatureError
from platemark_ledger import published, refused, rows
from platemark_ledger.anchor import Anchor, Anchored
from platemark_ledger.batch import check_tail
from platemark_ledger.errors import FatalError, StartRefusedError, WrongLogKeyError
from platemark_ledger.lock import SequencerLock
from platemark_ledger.receipts import Receipts
from platemark_ledger.registry import Registry
from platemark_ledger.sequencer import Sequencer
from platemark_ledger.signing import note_verifier, sign_checkpoint
from platemark_ledger.store import Store

if TYPE_CHECKING:
    from platemark.cosignature import CosignatureSigner
    from platemark.note import NoteSigner, NoteVerifier
    from platemark_ledger.grants import KeyRecord, Policy
    from platemark_ledger.refused import RefusedEntry
    from platemark_ledger.store import ReadTransaction

__all__ = ["Ledger", "Look", "Paths", "log_verifiers", "look", "open_ledger"]

_NO_ANCHOR = (
    "If making this ledger did not finish, remove its files and make it again. Otherwise the anchor is lost or its path is "
    "wrong: restore it from where its newest checkpoint was published"
)
_NO_LOCK = (
    "The lock file holds no data. Make sure that no worker of this ledger runs, then fill it with 12288 zero bytes: "
    "head -c 12288 /dev/zero > {path}"
)
_DAMAGED = (
    "What lies above the released checkpoint was never acknowledged. Restore the data from a replica or a backup that reaches "
    "the released size; the senders send the rest again"
)
_RESTORE = (
    "Do not go on from this data, and never delete the anchor to make it start: restore newer data that reaches the anchor. If "
    "it is lost, freeze this log and found a successor that names its last checkpoint (deploy/README.md, section 5)"
)


@dataclass(frozen=True, slots=True)
class Paths:
    """Where a ledger lives. The anchor is best on another disk than the data, so that no one restore takes both back."""

    data: Path
    anchor: Path
    lock: Path

    @classmethod
    def of(cls, directory: Path, *, anchor: Path | None = None) -> Paths:
        """The usual places below one directory."""
        return cls(directory / "data", anchor or directory / "anchor", directory / "lock")


@dataclass(frozen=True)
class Ledger:
    """An open ledger of which this process is one worker. Made by `open_ledger`; `close` it when nothing uses it any more.

    `signers` sign every checkpoint, `cosigner` (ML-DSA-44) the published ones as well; `origin` and `log_id` (32 bytes, the id
    of leaf 0) never change; `now_ns` is the log's clock.
    """

    store: Store
    anchor: Anchor
    lock: SequencerLock
    signers: tuple[NoteSigner, ...]
    origin: str
    log_id: bytes
    now_ns: Callable[[], int]
    cosigner: CosignatureSigner | None = None

    def policy(self) -> Policy:
        """The policy in force at the end of the data."""
        with self.store.read() as transaction:
            return Registry(transaction).policy()

    def key(self, kid: bytes) -> KeyRecord | None:
        """What the log says of a key; `.at(index)` gives the grants in force at a place."""
        with self.store.read() as transaction:
            return Registry(transaction).key(kid)

    def refused(self, limit: int = 100) -> list[RefusedEntry]:
        """The last refusals, newest first."""
        with self.store.read() as transaction:
            return refused.newest(transaction, limit)

    def sequencer(
        self,
        *,
        queue: int = 8192,
        batch: int = 1024,
        examiners: int = 2,
        on_failure: Callable[[str], None] | None = None,
    ) -> Sequencer:
        """The sequencer of this process; one is enough."""
        return Sequencer(self, queue=queue, batch=batch, examiners=examiners, on_failure=on_failure)

    def receipts(self) -> Receipts:
        """The answers to readers."""
        return Receipts(self)

    def close(self) -> None:
        """Close the files."""
        self.store.close()
        self.anchor.close()
        self.lock.close()


def open_ledger(
    paths: Paths,
    *,
    signers: Sequence[NoteSigner],
    cosigner: CosignatureSigner | None = None,
    now_ns: Callable[[], int] = time.time_ns,
) -> Ledger:
    """Check a ledger as every worker does before it serves, and open it.

    1. the anchor is there and whole
    2. the data opens
    3. under the sequencer lock: the data reaches the anchor and has its root at its size
    4. the newest published checkpoint, too, is one that the data reaches, with its root
    5. the anchor's checkpoint is this log's own, and `signers` and `cosigner` may sign for it
    6. what the data has above the anchor hashes to its root; it is signed and anchored, as the worker that died would have
    7. a poison mark is removed: what is on disk has just been read and checked

    Raises StartRefusedError, which says what to do. Witnesses are asked by the server, not here.
    """
    with ExitStack() as opened:
        anchor = _open(opened, Anchor, paths.anchor, _NO_ANCHOR)
        _remedied(anchor.read, "Restore the anchor from where its newest checkpoint was published")
        store = _open(opened, Store.open, paths.data, "Restore the data from a replica or a backup of today")
        lock = _open(opened, SequencerLock, paths.lock, _NO_LOCK.format(path=paths.lock))
        with lock.hold_to_start():
            # Read again under the lock: another worker may have moved it since.
            ledger = _check(Ledger(store, anchor, lock, tuple(signers), "", b"", now_ns, cosigner))
            lock.clear()
        opened.pop_all()
    return ledger


@dataclass(frozen=True)
class Look:
    """A ledger looked at from outside, whether it is served or not: nothing is signed, written or cleared.

    `size` is that of the data, which may be ahead of the anchor by a batch; `poisoned` is why its workers stopped, or None;
    `disagreement` is why data and anchor do not belong together, or None. `published` and `witnessed` are the sizes of the newest
    published checkpoints, 0 where there is none.
    """

    store: Store
    origin: str
    log_id: bytes
    size: int
    anchored: Anchored
    published: int
    witnessed: int
    poisoned: str | None
    disagreement: str | None

    def refused(self, limit: int = 100) -> list[RefusedEntry]:
        """The last refusals, newest first."""
        with self.store.read() as transaction:
            return refused.newest(transaction, limit)

    def close(self) -> None:
        """Close the data."""
        self.store.close()


def look(paths: Paths) -> Look:
    """Look at a ledger. Raises AnchorError, LockError, StoreError: what is missing or damaged."""
    with ExitStack() as opened:
        anchor = Anchor(paths.anchor)
        opened.callback(anchor.close)
        lock = SequencerLock(paths.lock)
        opened.callback(lock.close)
        newest = anchor.read()  # before the data, so that the data reaches it
        store = Store.open(paths.data)
        with store.read() as transaction:
            registry = Registry(transaction)
            origin, log_id, size = registry.policy().origin, registry.log_id(), transaction.head().size
            try:
                _check_root(transaction, newest)
                _check_published(transaction)
                _check_note(registry, newest)
                disagreement = None
            except StartRefusedError as error:
                disagreement = error.reason
            shown, witnessed = published.sizes(transaction)
        return Look(store, origin, log_id, size, newest, shown, witnessed, lock.reason(), disagreement)


_Opened = TypeVar("_Opened", Anchor, Store, SequencerLock)


def _open(opened: ExitStack, make: Callable[[Path], _Opened], path: Path, remedy: str) -> _Opened:
    resource = _remedied(lambda: make(path), remedy)
    opened.callback(resource.close)
    return resource


_Result = TypeVar("_Result")


def _remedied(call: Callable[[], _Result], remedy: str) -> _Result:
    try:
        return call()
    except FatalError as error:
        raise StartRefusedError(error.reason, remedy) from error


def _check(unnamed: Ledger) -> Ledger:
    """Steps 3 to 6 of `open_ledger`; the ledger with its name."""
    anchor, signers = unnamed.anchor, unnamed.signers
    newest = anchor.read()
    with unnamed.store.read() as transaction:
        _check_root(transaction, newest)
        _check_published(transaction)
        registry = Registry(transaction)
        policy, log_id = registry.policy(), registry.log_id()
        _check_signers(policy, signers)
        if unnamed.cosigner is not None:
            _check_signer(policy, unnamed.cosigner.name, unnamed.cosigner.signer.kid)
        _check_note(registry, newest)
        head = _remedied(lambda: check_tail(transaction, newest), _DAMAGED).head
    ledger = replace(unnamed, origin=policy.origin, log_id=log_id)
    if head.size > newest.size:
        note = sign_checkpoint(signers, Checkpoint(policy.origin, head.size, head.root))
        anchor.advance(size=head.size, root=head.root, note=note)
    return ledger


def _check_root(transaction: ReadTransaction, newest: Anchored) -> None:
    """The data reaches the anchor and has its root at its size."""
    size = transaction.head().size
    if newest.size > size:
        raise StartRefusedError(
            f"the anchor is ahead of the data: released size {newest.size}, and the data ends at size {size}", _RESTORE
        )
    if _remedied(lambda: rows.root(transaction.row, newest.size), _RESTORE) != newest.root:
        raise StartRefusedError(f"the root at the anchored size differs: another one at size {newest.size}", _RESTORE)


def _check_published(transaction: ReadTransaction) -> None:
    """The newest published checkpoint was seen, as the anchor's was: the data reaches it and has its root at its size."""
    row = _remedied(lambda: published.newest(transaction), _RESTORE)
    if row is None:
        return
    size = transaction.head().size
    if row.size > size:
        raise StartRefusedError(
            f"a published checkpoint is ahead of the data: published size {row.size}, and the data ends at size {size}",
            _RESTORE,
        )
    if _remedied(lambda: rows.root(transaction.row, row.size), _RESTORE) != row.root:
        raise StartRefusedError(f"the root at the published size differs: another one at size {row.size}", _RESTORE)


def _check_signers(policy: Policy, signers: Sequence[NoteSigner]) -> None:
    if not signers:
        raise StartRefusedError("no log key was given", "Configure a key that the policy in force lists as a log key")
    for signer in signers:
        _check_signer(policy, signer.name, signer.signer.kid)


def _check_signer(policy: Policy, name: str, kid: bytes) -> None:
    if name != policy.origin:
        raise WrongLogKeyError(
            f"the log key is for {name} and the log is {policy.origin}", "Configure this log's own key"
        )
    if kid not in {sha256(spki).digest() for spki in policy.log_keys}:
        raise WrongLogKeyError(
            f"policy {policy.version} does not list the log key {kid.hex()}",
            "Configure only keys that the policy in force lists",
        )


def _check_note(registry: Registry, newest: Anchored) -> None:
    """The anchor's checkpoint says what its slot says and is signed by a log key of some policy of this log."""
    policy, usable = registry.policy(), _log_verifiers(registry)
    remedy = "This is the anchor of another log, or it was edited. Restore the anchor that belongs to the data"
    try:
        said = checkpoint.open_checkpoint(newest.note, usable, origin=policy.origin)
    except (NoteError, SignatureError) as error:
        raise StartRefusedError(f"the anchor's checkpoint: {error}", remedy) from error
    if (said.size, said.root) != (newest.size, newest.root):
        raise StartRefusedError("the anchor's checkpoint is not of the size and root of its slot", remedy)


def log_verifiers(transaction: ReadTransaction) -> list[NoteVerifier]:
    """The Ed25519 log keys of every policy that this log has had."""
    return _log_verifiers(Registry(transaction))


def _log_verifiers(registry: Registry) -> list[NoteVerifier]:
    policy = registry.policy()
    policies = [registry.policy_version(version) for version in range(policy.version + 1)]
    found = [note_verifier(policy.origin, spki) for each in policies for spki in each.log_keys]
    return [each for each in found if each is not None]
