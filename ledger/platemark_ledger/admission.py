"""Whether a statement may enter the log.

`decode` and `verify` look at the bytes alone and at the key that they name: size, strict form, signature. They run in any thread,
outside every lock. `Judge.decide` runs inside the write transaction, where the place of the statement in the log is known:
duplicates, the key's state at that place, and the key's chain. A refusal leaves no trace in the log. What is correctly signed
by a key that may sign it is never refused for its clock, a gap or a fork: it is logged and the condition is noted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, cast

from platemark import statement as statements
from platemark.errors import FormatError, SignatureError, UnknownKindError
from platemark.keys import ES256, low_s
from platemark.kinds import LOG_BOUND, ORIGINS, SIGNERS
from platemark_ledger.conditions import bits_of
from platemark_ledger.errors import Refusal
from platemark_ledger.store import ChainHead

if TYPE_CHECKING:
    from platemark.keys import Verifier
    from platemark.statement import Statement
    from platemark_ledger.grants import Grant, KeyRecord, Policy
    from platemark_ledger.registry import Registry
    from platemark_ledger.store import ReadTransaction

__all__ = ["MAX_COMPARED", "Duplicate", "Enters", "Examined", "Judge", "decode", "place_of", "unknown_key", "verify"]


_REGISTRY_KINDS = frozenset({"enrol", "revoke", "policy"})
# Statements at one place that a late one before it is compared with. A cloned key can sign without number; this takes 1 ms.
MAX_COMPARED = 1024


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The log holds this statement already, at `index`."""

    index: int


@dataclass(frozen=True, slots=True)
class Enters:
    """The statement is logged next. `chain_head` is the key's new furthest statement, None where it does not get further."""

    number: int
    conditions: int
    chain_head: ChainHead | None


@dataclass(frozen=True, slots=True)
class Examined:
    """A statement in strict form, signed by the key that it names.

    `names` are what it is found by (platemark_ledger.digests), made before any lock is held. `flaw` is None, or the refusal that
    it gets unless the log holds it already: whoever knows an ES256 signature can make a second one of it that verifies, so that
    a repeat with such a signature gets the first answer, and nothing else gets in.
    """

    statement: Statement
    names: Sequence[bytes]
    flaw: Refusal | None = None


def decode(raw: bytes) -> Statement:
    """The statement in `raw`. Raises Refusal: too-large, malformed, unknown-kind."""
    if len(raw) > statements.MAX_STATEMENT:
        raise _too_large(raw, statements.MAX_STATEMENT)
    try:
        return statements.decode(raw)
    except UnknownKindError as error:
        raise Refusal("unknown-kind", error.field, error.reason) from None
    except FormatError as error:
        raise Refusal("malformed", error.field, error.reason) from None


def verify(statement: Statement, verifier: Verifier, names: Sequence[bytes]) -> Examined:
    """Check the signature of a decoded statement under the key that it names. Raises Refusal: bad-signature."""
    try:
        statement.verify(verifier)
    except SignatureError as error:
        flaw = Refusal("bad-signature", "signature", error.reason)
        if not _verifies_with_low_s(statement, verifier):
            raise flaw from None
        return Examined(statement, names, flaw)
    return Examined(statement, names)


def unknown_key(statement: Statement) -> Refusal:
    """The refusal of a statement whose key the log does not name."""
    return Refusal("unknown-key", "protected.4", f"the log has enrolled no key {statement.kid.hex()}")


def _verifies_with_low_s(statement: Statement, verifier: Verifier) -> bool:
    message = statement.message
    if verifier.alg != ES256 or message.alg != ES256:
        return False
    try:
        verifier.verify(message.to_be_signed, low_s(message.signature))
    except SignatureError:
        return False
    return True


class Judge:
    """Decides, one after another, the statements of one batch inside its write transaction.

    `holds_id` says whether the log, or this batch so far, holds a statement id; `log_kids` are the keys that this server signs
    checkpoints with.
    """

    def __init__(
        self,
        transaction: ReadTransaction,
        registry: Registry,
        *,
        holds_id: Callable[[bytes], bool],
        log_kids: frozenset[bytes],
    ) -> None:
        self._transaction = transaction
        self._registry = registry
        self._holds_id = holds_id
        self._log_kids = log_kids
        self._log_id = registry.log_id()
        self._heads: dict[int, ChainHead | None] = {}
        # (kid, kind, origin) -> the grant under which such a statement enters, as long as the registry does not change.
        self._grants: dict[tuple[bytes, str, object], Grant] = {}
        # The new furthest statement of each key that got further in this batch, by key number.
        self.changed_heads: dict[int, ChainHead] = {}

    def policy(self) -> Policy:
        """The policy in force for the next statement."""
        return self._registry.policy()

    def decide(self, examined: Examined, *, index: int, received: int) -> Duplicate | Enters:
        """What becomes of an examined statement whose place would be `index`. Raises Refusal.

        1. a statement whose id the log holds: the first answer, whatever its signature and whatever has become of its key since
        2. the key is named by the log at an earlier place and not revoked or dropped since
        3. it is no larger than the policy allows, and its role may sign this kind and state this origin
        4. the issuer is the URI that the key was enrolled for
        5. a log-bound kind names this log
        6. its own stated time is within the key's validity
        7. an enrolment, revocation or policy follows from what the log says so far, and a keystate speaks of no more than that
        8. the key's chain, the clock and references: noted, never refused
        """
        statement = examined.statement
        record = self._registry.key(statement.kid)
        if record is None:
            raise unknown_key(statement)
        place = place_of(statement)
        earlier = self._find(statement, record, place)
        if earlier is not None:
            return Duplicate(earlier)
        if examined.flaw is not None:
            raise examined.flaw
        grant = self._grant(statement, record, index)
        if len(statement.raw) > self.policy().max_statement:
            raise _too_large(statement.raw, self.policy().max_statement)
        if statement.issuer != grant.issuer:
            raise Refusal("wrong-issuer", "protected.15.1", f"the key was enrolled for {grant.issuer}")
        if statement.kind in LOG_BOUND and statement.log != self._log_id:
            raise Refusal("wrong-log", "payload.log", f"this log is {self._log_id.hex()}")
        _check_time(statement, grant)
        if statement.kind in _REGISTRY_KINDS:
            self._registry.check(statement)
        elif statement.kind == "keystate" and cast("int", statement.payload["size"]) > index:
            raise Refusal("malformed", "payload.size", f"the log has {index} statements before this one")
        if place is None:
            self._check_log_keys(statement)
            return Enters(record.number, 0, None)
        return self._judge_chain(statement, record.number, place, index, received)

    def entered(self, statement: Statement, entering: Enters) -> None:
        """Take note that the statement was logged, for those after it in the batch."""
        if statement.kind in _REGISTRY_KINDS:
            self._grants.clear()
        if entering.chain_head is not None:
            self._heads[entering.number] = self.changed_heads[entering.number] = entering.chain_head

    def _grant(self, statement: Statement, record: KeyRecord, index: int) -> Grant:
        case = (statement.kid, statement.kind, statement.payload.get("origin"))
        grant = self._grants.get(case)
        if grant is None:
            grant = self._grants[case] = _grant(statement, record, index)
        return grant

    def _find(self, statement: Statement, record: KeyRecord, place: tuple[int, int] | None) -> int | None:
        if place is None:
            return self._registry.policy_statement(statement.id)
        head = self._head(record.number)
        if head is None or place > (head.epoch, head.seq):
            return None  # further than anything of this key: the common case costs no search
        return self._transaction.chain_index(record.number, *place, statement.id)

    def _check_log_keys(self, statement: Statement) -> None:
        """A policy that names none of this server's keys would leave the log without a valid signer the moment it is in force."""
        named = {sha256(spki).digest() for spki in cast("list[bytes]", statement.payload["log_keys"])}
        if not named & self._log_kids:
            raise Refusal("bad-policy", "payload.log_keys", "none of them is a key that this server signs with")

    def _judge_chain(
        self, statement: Statement, number: int, place: tuple[int, int], index: int, received: int
    ) -> Enters:
        time = cast("int", statement.time)
        head = self._head(number)
        codes: list[str] = []
        further = head is None or place > (head.epoch, head.seq)
        if head is None or place[0] > head.epoch:
            codes += ["gap"] if place[1] else []
        elif further:
            codes += self._judge_next(statement, number, place, head)
        else:
            codes += self._judge_earlier(statement, number, place, head)
        if head is not None and further and time < head.time:
            codes.append("clock-backwards")
        if time > received + self.policy().skew_ns:
            codes.append("clock-future")
        references = references_of(statement)
        if references and not all(self._holds_id(each) for each in references):
            codes.append("unknown-reference")
        following = ChainHead(*place, statement.id, time, index) if further else None
        return Enters(number, bits_of(*codes) if codes else 0, following)

    def _judge_next(self, statement: Statement, number: int, place: tuple[int, int], head: ChainHead) -> list[str]:
        if place[1] != head.seq + 1:
            return ["gap"]
        return [] if statement.prev == head.id else self._judge_prev(statement, number, place)

    def _judge_earlier(self, statement: Statement, number: int, place: tuple[int, int], head: ChainHead) -> list[str]:
        epoch, seq = place
        late = not self._transaction.chain_holds(number, epoch, seq)
        codes = ["late" if late else "fork"]
        if seq and self._transaction.chain_holds(number, epoch, seq - 1):
            codes += self._judge_prev(statement, number, place)
        if late and not codes[1:] and not self._is_named_after(statement.id, number, place):
            codes.append("prev-mismatch")
        if epoch < head.epoch:
            codes.append("old-epoch")
        return codes

    def _judge_prev(self, statement: Statement, number: int, place: tuple[int, int]) -> list[str]:
        """Whether `prev` names one of the statements at the place before; after a fork there are several."""
        prev = statement.prev
        known = prev is not None and self._transaction.chain_index(number, place[0], place[1] - 1, prev) is not None
        return [] if known else ["prev-mismatch"]

    def _is_named_after(self, id: bytes, number: int, place: tuple[int, int]) -> bool:
        """Whether nothing is logged at the place after, or something there names `id` as its `prev`."""
        after = self._transaction.chain_prevs(number, place[0], place[1] + 1, most=MAX_COMPARED)
        return not after or id in after.values()

    def _head(self, number: int) -> ChainHead | None:
        if number not in self._heads:
            self._heads[number] = self._transaction.chain_head(number)
        return self._heads[number]


def _too_large(raw: bytes, most: int) -> Refusal:
    return Refusal("too-large", "statement", f"{len(raw)} bytes, more than {most}")


def _grant(statement: Statement, record: KeyRecord, index: int) -> Grant:
    """The grant under which the key signs this statement at `index`; steps 2 and 3 of `Judge.decide`."""
    in_force = record.at(index)
    if not in_force:
        if any(grant.until is not None and grant.until < index for grant in record.grants):
            raise Refusal("revoked", "protected.4", "the key was revoked, or dropped by a policy, earlier in the log")
        raise Refusal("unknown-key", "protected.4", "the key is enrolled later in the log")
    roles = SIGNERS[statement.kind]
    able = [grant for grant in in_force if grant.role in roles]
    if not able:
        raise Refusal("wrong-role", "protected.3", f"a {in_force[0].role} may not sign a {statement.kind}")
    if statement.kind == "capture":
        origin = cast("str", statement.payload["origin"])
        able = [grant for grant in able if grant.role in ORIGINS[origin]]
        if not able:
            raise Refusal("wrong-role", "payload.origin", f"a {in_force[0].role} may not state {origin}")
    return able[0]


def _check_time(statement: Statement, grant: Grant) -> None:
    time = statement.time
    if time is None:
        return
    if time < grant.not_before:
        raise Refusal("not-yet-valid", "payload", f"stated time {time} is before the key's not_before")
    if time > grant.not_after:
        raise Refusal("expired", "payload", f"stated time {time} is after the key's not_after")


def place_of(statement: Statement) -> tuple[int, int] | None:
    """(epoch, seq) in the chain of the statement's key; None for a policy, which has no chain."""
    payload = statement.payload
    return (cast("int", payload["epoch"]), cast("int", payload["seq"])) if "epoch" in payload else None


def references_of(statement: Statement) -> list[bytes]:
    """The statement ids that a statement refers to, apart from its chain."""
    payload = statement.payload
    found = list(cast("list[bytes]", payload.get("parents", ())))
    of = payload.get("of")
    if isinstance(of, bytes):
        found.append(of)
    elif isinstance(of, list):
        found += cast("list[bytes]", of)
    return found
