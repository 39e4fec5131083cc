"""The replay of a log's statements over its entries (proto/audit.md, rules E9 to E15)."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, cast

from platemark import statement as statements
from platemark.audit.authority import Authority, ObjectionError
from platemark.audit.chains import CONDITIONS, Chain, Chains
from platemark.audit.key_trees import KeyTrees
from platemark.errors import FormatError, SignatureError, UnknownKindError
from platemark.merkle import HASH_SIZE
from platemark.rungs import SHA256
from platemark.sequence import examine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from platemark.audit.findings import Findings
    from platemark.audit.source import LoggedEntry, StatementSource
    from platemark.statement import Statement
    from platemark.trust import TrustedLog

__all__ = ["Device", "StatementReplay"]

_PIXEL_RUNGS = ("pixels", "codestream")
_SENTENCES = {
    "gap": "statements that its chain counts before this one had not reached the log",
    "late": "it fills a place that its chain had already passed",
    "fork": "the log held another statement of this key at the same place: the key may have been cloned",
    "prev-mismatch": "it and its neighbour in the chain do not name each other",
    "old-epoch": "its key had already opened a later epoch",
    "clock-backwards": "its stated time is before that of an earlier statement of its key",
    "clock-future": "its stated time is later than the log's clock by more than the policy allows",
    "unknown-reference": "it refers to a statement that the log did not hold",
}


@dataclass(frozen=True)
class Device:
    """What the log holds of one key: `missing` places of its epochs before the last taken, and places `forked`.

    `sentences` are what may be said of it (proto/statement.md, rule O7).
    """

    issuer: str
    kid: bytes
    statements: int
    epochs: int
    missing: int
    forked: int
    sentences: tuple[str, ...]

    def facts(self) -> dict[str, object]:
        """For JSON."""
        return {
            "device": self.issuer,
            "kid": self.kid,
            "statements": self.statements,
            "epochs": self.epochs,
            "missing": self.missing,
            "forked": self.forked,
            "sentences": list(self.sentences),
        }


class StatementReplay:
    """Takes every statement of a log in its order. `entries` are the audited entries, end to end; `trusted` as Authority."""

    def __init__(self, entries: bytes | bytearray, findings: Findings, *, trusted: TrustedLog | None = None) -> None:
        self._entries = entries
        self._findings = findings
        self._authority = Authority(trusted)
        self._chains = Chains()
        self._key_trees = KeyTrees()
        self._pixels: dict[tuple[str, bytes], tuple[int, bytes]] = {}
        self.size = len(entries) // HASH_SIZE
        self.next = 0

    def run(self, source: StatementSource, *, progress: Callable[[int], None] | None = None) -> None:
        """All of them. Raises what the source raises when it cannot be read."""
        for logged in source.statements(size=self.size):
            if logged.index >= self.size:
                break
            self.take(logged)
            if progress is not None:
                progress(self.next)
        self._expect(self.size)

    def take(self, logged: LoggedEntry) -> None:
        """The next statement."""
        index = logged.index
        if index < self.next:
            self._findings.add("statement-missing", "the ledger lists this index out of order or twice", index)
            return
        self._expect(index)
        self.next = index + 1
        if sha256(logged.raw).digest() != self._entries[index * HASH_SIZE : (index + 1) * HASH_SIZE]:
            sentence = "the statement that the ledger gives is not the one whose entry the log holds"
            self._findings.add("entry-mismatch", sentence, index)
            return
        try:
            decoded = statements.decode(logged.raw)
        except UnknownKindError as error:
            self._findings.add("statement-unknown-kind", f"not known to this release: {error}", index)
            return
        except FormatError as error:
            self._findings.add("statement-malformed", f"not a statement: {error}", index)
            return
        self._judge(decoded, logged)

    def devices(self) -> list[Device]:
        """A line for each key that signed, in the order of their first statements."""
        return [_device(kid, chain, self.size) for kid, chain in self._chains.by_kid.items()]

    def _expect(self, index: int) -> None:
        if index > self.next:
            until = "" if index == self.next + 1 else f" to {index - 1}"
            sentence = f"the ledger does not list index {self.next}{until}"
            self._findings.add("statement-missing", sentence, self.next)
            self.next = index

    def _judge(self, decoded: Statement, logged: LoggedEntry) -> None:
        index = logged.index
        if decoded.id in self._chains.ids:
            self._findings.add("statement-twice", "the log holds this statement at an earlier index, too", index)
            return
        # The allowance is the one in force when the statement came, before the statement changes it.
        skew = self._authority.skew_ns
        try:
            self._authority.admit(decoded, index)
        except ObjectionError as objection:
            self._findings.add(objection.code, objection.reason, index)
            return
        except SignatureError as error:
            self._findings.add("statement-signature", str(error), index)
            return
        self._key_trees.follow(decoded, index)
        if decoded.kind == "keystate" and (fault := self._key_trees.fault(decoded, index)) is not None:
            self._findings.add("keystate-mismatch", fault, index)
        found = self._chains.follow(decoded, index=index, received=logged.received, skew_ns=skew)
        for code in sorted(found):
            self._findings.add(f"chain-{code}", f"{decoded.issuer}: {_SENTENCES[code]}", index)
        said = frozenset(logged.conditions).intersection(CONDITIONS)  # later releases may notice more
        if said != found:
            theirs, ours = (", ".join(sorted(each)) or "none" for each in (said, found))
            sentence = f"the ledger reports the conditions {theirs}; the log's statements give {ours}"
            self._findings.add("condition-mismatch", sentence, index)
        if decoded.kind == "capture":
            self._compare_pixels(decoded, index)

    def _compare_pixels(self, decoded: Statement, index: int) -> None:
        digests = cast("Mapping[str, Mapping[int, bytes]]", decoded.payload["digests"])
        parents = cast("list[bytes]", decoded.payload.get("parents", []))
        for rung in _PIXEL_RUNGS:
            if rung not in digests:
                continue
            digest = digests[rung][SHA256]
            first, id = self._pixels.setdefault((rung, digest), (index, decoded.id))
            if first != index and id not in parents:
                sentence = f"{decoded.issuer} registered the same {rung} that index {first} had registered"
                self._findings.add("same-pixels", sentence, index)


def _device(kid: bytes, chain: Chain, size: int) -> Device:
    record = examine(chain.logged())
    missing = sum(each.last - each.first + 1 for each in record.missing)
    epochs = len({epoch for epoch, _ in chain.places})
    sentences = record.sentences(chain.issuer, size=size)
    return Device(chain.issuer, kid, chain.count, epochs, missing, len(record.forks), sentences)
