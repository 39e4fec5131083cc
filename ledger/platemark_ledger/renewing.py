"""Renewing: every time stamp of a log under one SHA-512 stamp, which the log itself keeps as a note (proto/time.md section 5).

There is no second store: stamps are those of published checkpoints, earlier renewals are `note` statements in the log, and
what a renewal covers follows from its place and its size, so that anybody can compute its claim again. For that its checkpoint
is one that is settled: old enough that no answer of an authority can still be on its way to be stored with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import httpx

from platemark import renewal, statement, timestamp
from platemark.errors import TimeStampError
from platemark.keys import EDDSA
from platemark.renewal import Proof, Renewal, Stamped
from platemark_ledger import logchain, published
from platemark_ledger.batch import KIND_NUMBERS
from platemark_ledger.errors import LedgerError, Refusal
from platemark_ledger.registry import Registry
from platemark_ledger.store import Table

if TYPE_CHECKING:
    from platemark_ledger.opening import Ledger
    from platemark_ledger.published import Published, Stamp
    from platemark_ledger.store import ReadTransaction

__all__ = [
    "SETTLED_NS",
    "Ask",
    "Renewed",
    "RenewingError",
    "Seen",
    "append",
    "items",
    "logged",
    "over_http",
    "proofs",
    "renew",
]

SETTLED_NS = 600 * 10**9
"""Age of a published checkpoint from which on it gets no further stamp; far above the greatest `tsa_timeout`."""
_TEXT = "Renewal of all time stamps."
_QUERY, _REPLY = "application/timestamp-query", "application/timestamp-reply"

Ask = Callable[[bytes], Sequence["Stamp"]]
"""Stamps over a message under SHA-512, from one or more authorities. Raises RenewingError when there is none."""


class RenewingError(LedgerError):
    """There is nothing to renew, or no authority stamped it."""

    code = "renewing"


@dataclass(frozen=True, slots=True)
class Renewed:
    """A renewal that is logged: its leaf, the size and the number of stamps of its claim, and how many answers it holds."""

    index: int
    size: int
    count: int
    stamps: int


def append(ledger: Ledger, ask: Ask) -> Renewed:
    """Renew and log it, beside whichever workers serve the ledger. Raises RenewingError, LedgerError, what the log key raises."""
    data = _stamped(ledger, ask)
    sequencer = ledger.sequencer()
    sequencer.start()
    try:
        with logchain.turn(ledger):
            raw = _note(ledger, data, _TEXT)
            (outcome,) = sequencer.submit([raw]).result().outcomes
    finally:
        sequencer.stop()
    if isinstance(outcome, Refusal):
        raise outcome
    made = renewal.decode_data(cast("bytes", statement.decode(raw).payload["data"]))
    claim = renewal.decode_claim(made.claim)
    return Renewed(outcome.index, claim.size, claim.count, len(made.stamps))


def renew(ledger: Ledger, ask: Ask, *, text: str = _TEXT) -> bytes:
    """The signed `note` that renews every stamp of the log, to be appended. Raises RenewingError, and what the log key raises.

    Each answer is checked as far as anybody without its authority's root can. Lists of the revoked that do not fit into a note
    are left out.
    """
    return _note(ledger, _stamped(ledger, ask), text)


def _stamped(ledger: Ledger, ask: Ask) -> bytes:
    """The data of a renewal: its claim, and what the authorities answered."""
    with ledger.store.read() as transaction:
        newest = _settled(transaction, ledger.now_ns() - SETTLED_NS)
        covered = list(items(transaction, newest.size, transaction.head().size))
    claim = renewal.claim(covered, size=newest.size, note=newest.log_note).encode()
    return renewal.encode_data(_fitting(claim, [(each.response, each.crls) for each in ask(claim)]))


def _note(ledger: Ledger, data: bytes, text: str) -> bytes:
    """The signed note, at the next place of the log key's chain."""
    signer = next((each.signer for each in ledger.signers if each.signer.alg == EDDSA), ledger.signers[0].signer)
    with ledger.store.read() as transaction:
        place = logchain.next_place(transaction, signer.kid)
    payload = {
        **place,
        "at": ledger.now_ns(),
        "log": ledger.log_id,
        "topic": "renewal",
        "text": text,
        "data": data,
    }
    return statement.build("note", payload, signer=signer, issuer=statement.policy_issuer(ledger.origin))


class Seen:
    """Whether a log has renewals, without looking at a note twice. Threads may share it: what it learns stays so."""

    def __init__(self) -> None:
        self._state: tuple[int, int | None] = (
            0,
            None,
        )  # looked at below this position; the first renewal, if one was there

    def any(self, transaction: ReadTransaction, below: int) -> bool:
        """Whether a renewal is logged below a released position."""
        looked, first = self._state
        if first is None and below > looked:
            first = next((index for index, _ in logged(transaction, below, start=looked)), None)
            self._state = (below, first)
        return first is not None and first < below


def logged(transaction: ReadTransaction, below: int, *, start: int = 0) -> Iterator[tuple[int, Renewal]]:
    """(index, renewal) of every renewal that is logged from `start` to below a position, ascending.

    Notes of another form are passed over.
    """
    for index in transaction.of_kind(KIND_NUMBERS["note"], start):
        if index >= below:
            return
        note = statement.decode(transaction.statement(index).raw)
        if note.payload["topic"] == "renewal" and note.issuer == statement.policy_issuer(_origin(transaction)):
            try:
                yield index, renewal.decode_data(cast("bytes", note.payload.get("data", b"")))
            except TimeStampError:
                continue


def items(transaction: ReadTransaction, size: int, below: int) -> Iterator[Stamped]:
    """What a renewal of `size` at the position `below` covers: Z29 of proto/time.md."""
    for row in _rows(transaction):
        if row.size > size:
            break
        for stamp in row.stamps:
            yield Stamped(row.size, row.log_note, stamp.response, stamp.crls)
    for _, earlier in logged(transaction, below):
        yield from earlier.stamped()


def proofs(transaction: ReadTransaction, one: Stamped, below: int) -> tuple[Proof, ...]:
    """That every renewal below a position, one after the other, covers `one` and then the renewal before it.

    For evidence: `platemark.renewal.verify_renewals` takes them. Reads and hashes every stamp once for each renewal. Raises
    TimeStampError where a renewal does not cover what it has to.
    """
    found: list[Proof] = []
    current = one
    for index, made in logged(transaction, below):
        size = renewal.decode_claim(made.claim).size
        if size >= current.size:
            found.append(renewal.prove(items(transaction, size, index), current, renewal=made))
            current = made.stamped()[0]
    return tuple(found)


def over_http(urls: Sequence[str], *, timeout: float, now_ns: Callable[[], int], crls: Sequence[bytes] = ()) -> Ask:
    """Asks every authority (RFC 3161 section 3.4); one answer is enough. `timeout` in seconds, for each; `now_ns`: the clock.

    An answer, or a list, that a verifier would call a fault is none: rule Z36 of proto/time.md.
    """

    def ask(claim: bytes) -> list[Stamp]:
        stamps, faults = [], []
        for url in urls:
            try:
                stamps.append(published.Stamp(url, _asked(url, claim, timeout, crls, now_ns), tuple(crls)))
            except (httpx.HTTPError, httpx.InvalidURL, TimeStampError, OSError) as error:
                faults.append(f"{url}: {error}")
        if not stamps:
            raise RenewingError("; ".join(faults) or "no time-stamping authority is configured (tsa)")
        return stamps

    return ask


def _asked(url: str, claim: bytes, timeout: float, crls: Sequence[bytes], now_ns: Callable[[], int]) -> bytes:
    asked = timestamp.query(claim, hash_algorithm="SHA-512")
    body = _posted(url, asked.request, timeout)
    info = timestamp.check_response(body, message=claim, nonce=asked.nonce, crls=crls, now_ns=now_ns())
    if info.hash_algorithm != "SHA-512":
        raise TimeStampError("tstInfo.messageImprint", "a renewal is stamped under SHA-512")
    return body


def _posted(url: str, content: bytes, timeout: float) -> bytes:
    """The body of the answer. Raises httpx.HTTPError, httpx.InvalidURL, OSError, TimeStampError: of another type, too long."""
    body = b""
    with httpx.stream("POST", url, content=content, headers={"content-type": _QUERY}, timeout=timeout) as answer:
        answer.raise_for_status()
        if answer.headers.get("content-type", "").partition(";")[0].strip().lower() != _REPLY:
            raise TimeStampError("answer", f"not {_REPLY}")
        for part in answer.iter_bytes():
            body += part
            if len(body) > timestamp.MAX_RESPONSE:
                raise TimeStampError("answer", f"more than {timestamp.MAX_RESPONSE} bytes")
    return body


def _settled(transaction: ReadTransaction, until: int) -> Published:
    """The newest published checkpoint with a time stamp that was stored at or before `until` (Unix ns)."""
    for row in _rows(transaction, newest_first=True):
        if row.stamps and row.at <= until:
            return row
    raise RenewingError(f"no published checkpoint that is older than {SETTLED_NS // 10**9} s has a time stamp")


def _rows(transaction: ReadTransaction, *, newest_first: bool = False) -> Iterator[Published]:
    """The published checkpoints by their size."""
    keys = [key for key, _ in transaction.scan(Table.PUBLISHED)]
    for key in reversed(keys) if newest_first else keys:
        row = published.at_size(transaction, int.from_bytes(key, "big"))
        if row is not None:
            yield row


def _fitting(claim: bytes, stamps: Sequence[tuple[bytes, tuple[bytes, ...]]]) -> Renewal:
    """As many of the stamps as a note holds, the first with its lists if it can be."""
    for kept in range(min(len(stamps), 8), 0, -1):
        for made in (
            Renewal(claim, tuple(stamps[:kept])),
            Renewal(claim, tuple((each, ()) for each, _ in stamps[:kept])),
        ):
            try:
                renewal.encode_data(made)
            except TimeStampError:
                continue
            return made
    raise RenewingError("no answer of an authority fits into a note")


def _origin(transaction: ReadTransaction) -> str:
    return Registry(transaction).policy().origin
