"""Answers to readers, each proven under the newest released checkpoint before it leaves.

Every method reads the anchor first and opens its one transaction after that, so that the data it sees reaches the
checkpoint; whatever the data has above it does not exist for a reader. Nothing is held when a method returns.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from heapq import merge
from itertools import takewhile
from typing import TYPE_CHECKING, cast

from platemark import merkle
from platemark.renewal import Stamped
from platemark_ledger import digests, published, renewing
from platemark_ledger.answers import Appended, Logged
from platemark_ledger.batch import KIND_NUMBERS
from platemark_ledger.conditions import conditions_of
from platemark_ledger.cose_receipts import inclusion_receipts
from platemark_ledger.errors import NotFoundError, RequestError
from platemark_ledger.keystates import KeyTrees
from platemark_ledger.records import (
    Consistency,
    EvidenceMembers,
    Found,
    Inclusion,
    Listing,
    Page,
    Proven,
    Record,
    TimeProof,
)
from platemark_ledger.registry import Registry
from platemark_ledger.tree import LogView

if TYPE_CHECKING:
    from collections.abc import Iterator

    from platemark.keystate import ShownKey
    from platemark.statement import Statement
    from platemark_ledger.anchor import Anchor, Anchored
    from platemark_ledger.opening import Ledger
    from platemark_ledger.published import Published, Stamp
    from platemark_ledger.store import ReadTransaction, Store

__all__ = [
    "Consistency",
    "EvidenceMembers",
    "Found",
    "Inclusion",
    "Listing",
    "Page",
    "Proven",
    "Receipts",
    "Record",
    "TimeProof",
]

_log = logging.getLogger("platemark.ledger")
_LOOKED_AT = 1024  # statements that one call of `listing` or `lookup` looks at: some 50 ms
# Bytes of statements behind which one call of `listing` stops: what a slow reader makes a caller hold.
_LISTED = 1024 * 1024


class Receipts:
    """Reads one ledger. Holds nothing but what it can compute again: one object may serve every thread."""

    def __init__(self, ledger: Ledger) -> None:
        self._keys = KeyTrees()
        self._renewals = renewing.Seen()
        self._ledger = ledger
        self._store: Store = ledger.store
        self._anchor: Anchor = ledger.anchor

    def checkpoint(self) -> Anchored:
        """The newest released checkpoint."""
        return self._anchor.read()

    def inclusion(self, index: int, *, size: int | None = None) -> Inclusion:
        """The inclusion proof of a leaf in the tree of `size` leaves, or of the checkpoint.

        Raises NotFoundError above the checkpoint, RequestError for a size above it or not above the index.
        """
        released = self._anchor.read()
        wanted = released.size if size is None else size
        _check_size("size", wanted, released.size)
        _check_index(index, released.size)
        if index >= wanted:
            raise RequestError("size", f"a tree of {wanted} does not have the index {index}", later=True)
        with self._store.read() as transaction:
            view = _View(transaction, released)
            proven = view.prove(index, size=wanted)
        return Inclusion(index, wanted, proven.record.entry, proven.path, released)

    def consistency(self, old_size: int, *, new_size: int | None = None) -> Consistency:
        """The consistency proof between two sizes, the newer being that of the checkpoint unless given.

        Raises RequestError for size 0, a size above the checkpoint, or an old size above the new one.
        """
        released = self._anchor.read()
        newer = released.size if new_size is None else new_size
        _check_size("new_size", newer, released.size)
        _check_size("old_size", old_size, newer)
        with self._store.read() as transaction:
            view = _View(transaction, released)
            path = view.tree.consistency_path(old_size, newer)
            merkle.verify_consistency(
                old_size=old_size,
                new_size=newer,
                old_root=view.root(old_size),
                new_root=view.root(newer),
                path=path,
            )
        return Consistency(old_size, newer, path, released)

    def statement(self, index: int) -> Found:
        """The statement at an index. Raises NotFoundError above the checkpoint."""
        released = self._anchor.read()
        _check_index(index, released.size)
        with self._store.read() as transaction:
            return Found(_View(transaction, released).prove(index), released)

    def by_id(self, statement_id: bytes) -> Found:
        """The statement with an id (32 bytes). Raises NotFoundError."""
        released = self._anchor.read()
        with self._store.read() as transaction:
            index = _index_of(transaction, statement_id, released)
            return Found(_View(transaction, released).prove(index), released)

    def index_of(self, statement_id: bytes) -> int:
        """The index of the statement with an id (32 bytes). Raises NotFoundError."""
        released = self._anchor.read()
        with self._store.read() as transaction:
            return _index_of(transaction, statement_id, released)

    def lookup(
        self, digest: bytes, *, rung: str | None = None, algorithm: int | None = None, start: int = 0, limit: int = 100
    ) -> Page:
        """The statements from index `start` on that carry a digest (32 or 64 bytes) on any rung, earliest first.

        An acknowledged statement is found at once. One call looks at a bounded number of statements, so that a page may be
        short, or empty, and have a `next`. Raises RequestError.
        """
        if len(digest) not in (32, 64):
            raise RequestError("digest", f"{len(digest)} bytes, not 32 or 64")
        _check_page(start, limit)
        released = self._anchor.read()
        with self._store.read() as transaction:
            view = _View(transaction, released)
            found: list[Record] = []
            following: int | None = None
            candidates = digests.find(transaction, digests.digest_name(digest), start)
            for looked_at, index in enumerate(takewhile(lambda index: index < released.size, candidates)):
                if len(found) == limit or looked_at == _LOOKED_AT:
                    following = index
                    break
                record = view.record(index)
                if _carries(record.statement, digest, rung, algorithm):
                    found.append(record)
            proven = tuple(view.proof_of(record) for record in found)
        return Page(proven, following, released)

    def listing(
        self,
        *,
        kind: str | None = None,
        kid: bytes | None = None,
        issuer: str | None = None,
        stated_from: int | None = None,
        stated_until: int | None = None,
        start: int = 0,
        limit: int = 256,
        below: Anchored | None = None,
    ) -> Listing:
        """Statements from index `start` on, in log order, of one kind, of one key or of one issuer.

        `stated_from` <= the statement's own time < `stated_until`; a policy states none and matches no range. `below` is the
        checkpoint of the first call of several, so that all of them speak of one. One call looks at a bounded number of
        statements and ends with the one that makes 1 MiB full: go on from `next` until it is None. Raises RequestError.
        """
        _check_page(start, limit)
        if kind is not None and kind not in KIND_NUMBERS:
            raise RequestError("kind", f"{kind[:40]} is not a kind of statement")
        released = below or self._anchor.read()
        found: list[Record] = []
        size = 0
        with self._store.read() as transaction:
            view = _View(transaction, released)
            indices = _candidates(transaction, kind=kind, kid=kid, issuer=issuer, start=start)
            for looked_at, index in enumerate(indices):
                if index >= released.size:
                    break
                if len(found) == limit or looked_at == _LOOKED_AT or size >= _LISTED:
                    return Listing(tuple(found), index, released)
                record = view.record(index)
                if _matches(
                    record.statement,
                    kind=kind,
                    kid=kid,
                    issuer=issuer,
                    stated_from=stated_from,
                    stated_until=stated_until,
                ):
                    found.append(record)
                    size += len(record.raw)
        return Listing(tuple(found), None, released)

    def under(self, appended: Appended, released: Anchored) -> Appended:
        """What was appended, proven under a later checkpoint than its own, which covers it."""
        with self._store.read() as transaction:
            view = _View(transaction, released)
            outcomes = tuple(
                replace(each, path=view.prove(each.index).path) if isinstance(each, Logged) else each
                for each in appended.outcomes
            )
        return Appended(outcomes, released)

    def evidence(self, index: int) -> EvidenceMembers:
        """Everything that a verifier needs about the statement at an index. Raises NotFoundError above the checkpoint.

        All of it is under the newest checkpoint with a quorum of witnesses that covers the statement; under the anchored one
        when there is none.
        """
        anchored = self._anchor.read()
        _check_index(index, anchored.size)
        with self._store.read() as transaction:
            row = published.newest_witnessed(transaction)
            if row is not None and row.size <= index:
                row = None
            released = anchored if row is None else row.released
            view, registry = _View(transaction, released), Registry(transaction)
            subject = view.prove(index)
            policies = _policies(registry, released)
            keystate, leaf = self._keystate(transaction, view, released, subject.record.statement.kid)
            return EvidenceMembers(
                subject=subject,
                policies=tuple(view.prove(each) for each in policies),
                enrolments=tuple(_enrolments(view, registry, subject)),
                revocation=_revocation(view, registry, subject, released.size),
                keystate=keystate,
                keystate_leaf=leaf,
                checkpoint=released,
                published=row,
                # Leaf 0 is for everybody, and every client begins with it: it comes without what is dear to make.
                time=self._time_proof(transaction, view, index, released) if index else None,
                receipts=self._receipts(subject, released) if index else (),
            )

    def _receipts(self, subject: Proven, released: Anchored) -> tuple[bytes, ...]:
        ledger = self._ledger
        signers = [each.signer for each in ledger.signers]
        if ledger.cosigner is not None:
            signers.append(ledger.cosigner.signer)
        now_s = ledger.now_ns() // 10**9
        return inclusion_receipts(subject, released, origin=ledger.origin, signers=signers, issued_s=now_s)

    def _time_proof(
        self, transaction: ReadTransaction, view: _View, index: int, released: Anchored
    ) -> TimeProof | None:
        row = published.earliest_stamped(transaction, index, released.size)
        if row is None:
            return None
        path = view.tree.consistency_path(row.size, released.size)
        merkle.verify_consistency(
            old_size=row.size, new_size=released.size, old_root=row.root, new_root=released.root, path=path
        )
        renewals: tuple[tuple[bytes, ...], ...] = ((),) * len(row.stamps)
        if self._renewals.any(transaction, released.size):
            renewals = tuple(_renewed(transaction, row, stamp, released.size) for stamp in row.stamps)
        return TimeProof(row, path, renewals)

    def _keystate(
        self, transaction: ReadTransaction, view: _View, released: Anchored, kid: bytes
    ) -> tuple[Proven | None, ShownKey | None]:
        """The newest keystate and a key's leaf in it; neither when it does not state what the log holds."""
        index = transaction.last_of_kind(KIND_NUMBERS["keystate"], released.size)
        if index is None:
            return None, None
        proven = view.prove(index)
        said = proven.record.statement.payload
        size = cast("int", said["size"])
        tree = self._keys.at(transaction, size) if size <= index else None
        if tree is None or (said["root"], said["count"]) != (tree.root, tree.count):
            _log.critical("the keystate at index %d does not state the keys of this log: who has the log key?", index)
            return None, None
        return proven, tree.show(kid)


class _View:
    """The released part of the log in one transaction."""

    def __init__(self, transaction: ReadTransaction, released: Anchored) -> None:
        self._transaction = transaction
        self._released = released
        self.tree = LogView(transaction.row, released.size)

    def root(self, size: int) -> bytes:
        """The root at a size; the released one at the released size."""
        return self._released.root if size == self._released.size else self.tree.root(size)

    def record(self, index: int) -> Record:
        stored = self._transaction.statement(index)
        return Record(index, stored.received, conditions_of(stored.conditions), stored.raw)

    def prove(self, index: int, *, size: int | None = None) -> Proven:
        return self.proof_of(self.record(index), size=size)

    def proof_of(self, record: Record, *, size: int | None = None) -> Proven:
        """The record with its verified path. Raises ProofError when the stored tree is damaged."""
        wanted = self._released.size if size is None else size
        path = self.tree.inclusion_path(record.index, wanted)
        leaf = merkle.leaf_hash(record.entry)
        merkle.verify_inclusion(index=record.index, size=wanted, leaf_hash=leaf, path=path, root=self.root(wanted))
        return Proven(record, path)


def _renewed(transaction: ReadTransaction, row: Published, stamp: Stamp, below: int) -> tuple[bytes, ...]:
    """The renewals of one stamp. Reads every stamp of the log once for each renewal: renewals come once a year."""
    stamped = Stamped(row.size, row.log_note, stamp.response, stamp.crls)
    return tuple(each.encode() for each in renewing.proofs(transaction, stamped, below))


def _enrolments(view: _View, registry: Registry, subject: Proven) -> list[Proven]:
    """The enrol statements from the subject's key up to a registrar of a policy."""
    chain: list[Proven] = []
    signed = subject
    while True:
        record = registry.key(signed.record.statement.kid)
        grants = record.at(signed.record.index) if record is not None else ()
        if not grants or grants[0].by_policy:
            return chain
        # An enrolment is below what it enrols for, so this ends.
        signed = view.prove(grants[0].since)
        chain.append(signed)


def _revocation(view: _View, registry: Registry, subject: Proven, size: int) -> tuple[Proven, ...]:
    """The first revocation of the subject's key below `size` and the enrolments of who signed it; nothing if there is none."""
    record = registry.key(subject.record.statement.kid)
    indices = [each.index for each in record.revocations if each.index < size] if record is not None else []
    if not indices:
        return ()
    revoke = view.prove(min(indices))
    return (revoke, *_enrolments(view, registry, revoke))


def _policies(registry: Registry, released: Anchored) -> list[int]:
    versions = [registry.policy_version(version) for version in range(registry.policy().version + 1)]
    return [index for policy in versions if policy.effective < released.size for index in policy.statements]


def _candidates(
    transaction: ReadTransaction, *, kind: str | None, kid: bytes | None, issuer: str | None, start: int
) -> Iterator[int]:
    """Indices from `start` on, ascending, among which are all that a listing wants."""
    if kid is not None or issuer is not None:
        kids = [kid] if kid is not None else Registry(transaction).kids_of(issuer or "")
        return merge(*(digests.find(transaction, digests.writer_name(each), start) for each in kids))
    if kind is not None:
        return transaction.of_kind(KIND_NUMBERS[kind], start)
    return iter(range(start, transaction.head().size))


def _matches(
    found: Statement,
    *,
    kind: str | None,
    kid: bytes | None,
    issuer: str | None,
    stated_from: int | None,
    stated_until: int | None,
) -> bool:
    wanted = ((kind, found.kind), (kid, found.kid), (issuer, found.issuer))
    if any(asked is not None and asked != value for asked, value in wanted):
        return False
    if stated_from is None and stated_until is None:
        return True
    if found.time is None:
        return False
    return (stated_from is None or found.time >= stated_from) and (stated_until is None or found.time < stated_until)


def _carries(found: Statement, digest: bytes, rung: str | None, algorithm: int | None) -> bool:
    return any(
        digest == value and rung in (None, name) and algorithm in (None, number)
        for name, number, value in digests.rungs_of(found)
    )


def _index_of(transaction: ReadTransaction, statement_id: bytes, released: Anchored) -> int:
    if len(statement_id) != 32:
        raise RequestError("id", f"{len(statement_id)} bytes, not 32")
    index = digests.find_id(transaction, statement_id, released.size)
    if index is None:
        raise NotFoundError(f"the log has no statement {statement_id.hex()} at or below its checkpoint")
    return index


def _check_index(index: int, size: int) -> None:
    if index < 0:
        raise RequestError("index", "negative")
    if index >= size:
        raise NotFoundError(f"the log has no statement at index {index} at or below its checkpoint of size {size}")


def _check_size(field: str, size: int, most: int) -> None:
    if size < 1:
        raise RequestError(field, "a tree that proves something has at least one leaf")
    if size > most:
        raise RequestError(field, f"{size} is above {most}", later=True)


def _check_page(start: int, limit: int) -> None:
    if start < 0 or limit < 1:
        raise RequestError("start" if start < 0 else "limit", "out of range")
