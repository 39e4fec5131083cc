"""Later statements about a record: attestations, custody, notes. Each comes with evidence of its own and is judged by it.

They say who else put a name to the capture, and never change the verdict on the image. Rules W1 to W4 of proto/evidence.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from platemark import statement
from platemark.errors import EvidenceError, FormatError
from platemark.verdict import Reference
from platemark.verify import verify

if TYPE_CHECKING:
    from platemark.evidence import Evidence
    from platemark.statement import Statement
    from platemark.trust import Trust
    from platemark.verdict import Verdict

__all__ = ["KINDS", "refer"]

KINDS = {"attest": "meaning", "custody": "event", "note": "topic"}
"""The kinds that refer to a record, each with the field that says what it says."""


def refer(
    record: bytes, bundles: Sequence[tuple[str, Evidence]], *, trust: Trust | None, at: int
) -> tuple[Reference, ...]:
    """The statements of `bundles` (name, content) about the record with this statement id, in log order.

    Each is judged as any record is, believing `trust`, as of `at` (Unix ns). Raises EvidenceError naming the bundle that
    is of something else: another kind, or another record.
    """
    found = []
    for name, bundle in bundles:
        try:
            said = statement.decode(bundle.record.statement)
        except FormatError as error:
            raise EvidenceError(f"{name}: {error.field}", error.reason) from None
        _require_about(name, said, record)
        found.append(_reference(said, verify(bundle, trust=trust, image=None, at=at)))
    return tuple(sorted(found, key=lambda each: (each.index is None, each.index or 0, each.statement_id)))


def _require_about(name: str, said: Statement, record: bytes) -> None:
    if said.kind not in KINDS:
        raise EvidenceError(name, f"evidence of a statement of kind {said.kind}, which says nothing about another one")
    of = said.payload.get("of")
    if record not in (of if isinstance(of, list) else [of]):
        raise EvidenceError(name, f"evidence of a {said.kind} statement about another record than {record.hex()}")


def _reference(said: Statement, verdict: Verdict) -> Reference:
    stands = verdict.fault is None
    return Reference(
        kind=said.kind,
        says=str(said.payload[KINDS[said.kind]]),
        by=said.issuer,
        statement_id=said.id.hex(),
        index=cast("int", verdict.facts["index"]) if stands else None,
        stated_time=said.time,
        text=cast("str | None", said.payload.get("text")),
        disclosed=verdict.disclosed if stands else {},
        fault=verdict.fault,
    )
