"""The result of a set follows from its images, its unclaimed evidence and its DICOMDIR by rule S8 alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from platemark.capture.dicomdir import Reference
from platemark.study.conclusion import EXIT_CODES, NO_EVIDENCE, UNREADABLE, Row, SetVerdict
from platemark.study.directory import Directory
from platemark.study.held import Held
from platemark.study.judging import Outcome
from platemark.study.places import Folder
from platemark.verdict import DOES_NOT_MATCH, EVIDENCE_INVALID, INCONCLUSIVE, MATCHES_RECORD

_RESULTS = (MATCHES_RECORD, DOES_NOT_MATCH, INCONCLUSIVE, EVIDENCE_INVALID, NO_EVIDENCE, UNREADABLE)
_OUTCOME = Outcome(Held(Folder(Path(__file__).parent), "a.evidence", bytes(32), {}, {}), INCONCLUSIVE, "no image")
_REFERENCE = Reference("A", "IMAGE", "", "")


_DIRECTORIES: dict[str, Directory | None] = {
    "none": None,
    "sound": Directory("DICOMDIR"),
    "missing": Directory("DICOMDIR", missing=[(_REFERENCE, "is not there")]),
    "unreferenced": Directory("DICOMDIR", unreferenced=["B"]),
    "another": Directory("DICOMDIR", others=[("A", "is another")]),
    "broken": Directory("DICOMDIR", fault="truncated"),
}


@given(
    st.lists(st.sampled_from(_RESULTS), max_size=4),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(sorted(_DIRECTORIES)),
)
def test_the_result_is_the_first_rule_that_applies(
    results: list[str], missing: bool, invalid: bool, unreadable: bool, finding: str
) -> None:
    """S8, written out once more; exit code 0 asks for everything."""
    verdict = SetVerdict(
        tuple(Row(str(number), result, "") for number, result in enumerate(results)),
        at=0,
        missing=(_OUTCOME,) if missing else (),
        invalid=(_OUTCOME,) if invalid else (),
        unreadable=(("x", "broken"),) if unreadable else (),
        directory=_DIRECTORIES[finding],
        counts=Counter(results),
    )
    if invalid or EVIDENCE_INVALID in results:
        expected = "EVIDENCE INVALID"
    elif missing or {DOES_NOT_MATCH, NO_EVIDENCE} & set(results) or finding in {"missing", "unreferenced", "another"}:
        expected = "DIFFERS"
    elif {INCONCLUSIVE, UNREADABLE} & set(results) or unreadable or finding == "broken" or not results:
        expected = "INCONCLUSIVE"
    else:
        expected = "ALL MATCH"
    assert (verdict.result, verdict.exit_code) == (expected, EXIT_CODES[expected])


def test_the_exit_codes_are_fixed() -> None:
    """Scripts rely on them."""
    assert EXIT_CODES == {"ALL MATCH": 0, "DIFFERS": 1, "INCONCLUSIVE": 3, "EVIDENCE INVALID": 4}
