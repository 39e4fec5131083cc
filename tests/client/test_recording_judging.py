"""Which segments of a proof are relied on: each has the verdict that it would have as a record of its own."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
from proven_recordings import (
    LEFT,
    RIGHT,
    STEP,
    Given,
    frames,
    log_of_sensor,
    proof,
    recorded,
    say_segment,
    with_segment,
)

from builders import CAMERA, END, MODALITY, NOW, Log, key, party
from platemark.cosignature import CosignatureVerifier
from platemark.keys import Ed25519Verifier
from platemark.recording.judging import judge
from platemark.recording.proof import RecordingProof
from platemark.segment import ROW_SIZE, Channel
from platemark.trust import Trust
from platemark.verdict import FAIL
from platemark.verify import verify
from platemark.witness_policy import parse

LATER = NOW + 10**12


def _good() -> tuple[Log, list[Given]]:
    log = log_of_sensor()
    return log, recorded(log, frames(LEFT, 25) + frames(RIGHT, 12))


def good() -> tuple[RecordingProof, Trust | None]:
    """Five segments; nothing is wrong."""
    log, given = _good()
    return proof(log, given), log.trust()


def _with(at: int, **changes: Any) -> Callable[[], tuple[RecordingProof, Trust | None]]:
    def make() -> tuple[RecordingProof, Trust | None]:
        given, trust = good()
        return with_segment(given, at, **changes), trust

    return make


def _path_of_another() -> tuple[RecordingProof, Trust | None]:
    given, trust = good()
    return with_segment(given, 0, path=given.segments[1].path), trust


def _index_of_another_leaf() -> tuple[RecordingProof, Trust | None]:
    """A statement under the index of a leaf that is no segment: the enrolment's."""
    return _with(0, index=1)()


def _signature() -> tuple[RecordingProof, Trust | None]:
    """A log that accepted a segment whose signature is wrong."""
    log, given = _good()
    log.statements[2] = log.statements[2][:-1] + bytes([log.statements[2][-1] ^ 1])
    return proof(log, given), log.trust()


def _role() -> tuple[RecordingProof, Trust | None]:
    log = Log()
    log.enrol(CAMERA, role="modality")
    return proof(log, recorded(log, frames(LEFT, 12))), log.trust()


def _issuer() -> tuple[RecordingProof, Trust | None]:
    """One of three segments is signed under another device's name."""
    log = log_of_sensor()
    one = say_segment(log, frames(LEFT, 3), 0, by=replace(CAMERA, uri=MODALITY.uri))
    return proof(log, [one, say_segment(log, frames(RIGHT, 3), 0)]), log.trust()


def _dates() -> tuple[RecordingProof, Trust | None]:
    """The second of two segments was closed after the key's time."""
    log = log_of_sensor(not_after=NOW + 5 * STEP)
    given = [say_segment(log, frames(LEFT, 3, 6), 1), say_segment(log, frames(LEFT, 3), 0)]
    return proof(log, given), log.trust()


def _expired() -> tuple[RecordingProof, Trust | None]:
    log = log_of_sensor(not_after=NOW + 100 * STEP)
    return proof(log, recorded(log, frames(LEFT, 12))), log.trust()


def _revoked_between() -> tuple[RecordingProof, Trust | None]:
    """The key was revoked after the first segment of two: a ledger that took the second is at fault."""
    log = log_of_sensor()
    one = say_segment(log, frames(LEFT, 3), 0)
    revoked = log.revoke(CAMERA, effective=NOW)
    return proof(log, [one, say_segment(log, frames(LEFT, 3, 3), 1)], revocation=[revoked]), log.trust()


def _revoked_later() -> tuple[RecordingProof, Trust | None]:
    log, given = _good()
    revoked = log.revoke(CAMERA, effective=NOW)
    return proof(log, given, revocation=[revoked]), log.trust()


def _enrolled_between() -> tuple[RecordingProof, Trust | None]:
    """The first segment stands in the log before its key."""
    log = Log()
    one = say_segment(log, frames(LEFT, 3), 0)
    enrolment = log.enrol(CAMERA, role="sensor")
    return proof(log, [one, say_segment(log, frames(LEFT, 3, 3), 1)], enrolment=enrolment), log.trust()


def _witnesses() -> tuple[RecordingProof, Trust | None]:
    log, given = _good()
    vkey = log_vkey()
    return proof(log, given), log.trust(witness_policy=parse(f"witness w {vkey}\nquorum w\n"))


def log_vkey() -> str:
    """The verifier key of a witness that cosigned nothing."""
    public = key("witness", "ed25519").public
    assert isinstance(public, Ed25519Verifier)
    return CosignatureVerifier("witness.example", public).vkey


def _untrusted(make: Callable[[], tuple[RecordingProof, Trust | None]]) -> Callable[[], tuple[RecordingProof, None]]:
    return lambda: (make()[0], None)


def _stranger() -> tuple[RecordingProof, Trust | None]:
    log = Log()
    log.enrol(CAMERA, role="sensor", by=party("stranger"))
    return proof(log, recorded(log, frames(LEFT, 12))), log.trust()


SCENES: Mapping[str, Callable[[], tuple[RecordingProof, Trust | None]]] = {
    "good": good,
    "the path of another": _path_of_another,
    "another leaf": _index_of_another_leaf,
    "signature": _signature,
    "role": _role,
    "issuer": _issuer,
    "dates": _dates,
    "expired": _expired,
    "revoked between": _revoked_between,
    "revoked later": _revoked_later,
    "enrolled between": _enrolled_between,
    "witnesses that are asked for": _witnesses,
    "no trust": _untrusted(good),
    "no trust, a fault": _untrusted(_path_of_another),
    "no trust, revoked": _untrusted(_revoked_between),
    "a stranger's enrolment": _stranger,
}


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("at", [LATER, NOW, END + 1])
def test_as_a_record_of_its_own(name: str, at: int) -> None:
    """A segment is relied on, or invalid, exactly where the verdict on its own bundle says so (G10 to G12)."""
    given, trust = SCENES[name]()
    found = judge(given, trust=trust, at=at)
    record_failed = any(check.status == FAIL for check in found.record.checks)
    for each in found.segments:
        alone = verify(given.evidence_of(each.segment), trust=trust, image=None, at=at)
        failed = any(check.status == FAIL for check in alone.checks)
        assert each.invalid == (failed or record_failed), (each.fault, alone.reason)
        assert each.relied == (alone.fault is None and not record_failed), (each.fault, alone.fault)


EXPECTED = {
    "good": "rrrrr",
    "the path of another": "xrrrr",
    "another leaf": "xrrrr",
    "issuer": "xr",
    "revoked between": "xx",
    "expired": "nn",
    "revoked later": "nnnnn",
    "witnesses that are asked for": "nnnnn",
    "no trust": "nnnnn",
    "no trust, a fault": "xnnnn",
    "enrolled between": "xr",
}


@pytest.mark.parametrize("name", EXPECTED)
def test_scenes(name: str) -> None:
    """Each fault is where it was made: r relied on, n not relied on, x invalid."""
    given, trust = SCENES[name]()
    at = NOW + 200 * STEP
    found = judge(given, trust=trust, at=at).segments
    assert EXPECTED[name] == "".join("r" if each.relied else "x" if each.invalid else "n" for each in found)


def _rows(change: Callable[[bytes], bytes]) -> Callable[[RecordingProof], RecordingProof]:
    return lambda given: with_segment(given, 0, shown=change(cast("bytes", given.segments[0].shown)))


def _channel(**changes: str) -> Callable[[RecordingProof], RecordingProof]:
    def change(given: RecordingProof) -> RecordingProof:
        values = {"type_name": "cam/Image", "schema_encoding": "ros2msg", "encoding": "cdr", **changes}
        return with_segment(given, 0, channel=Channel("/left", schema=LEFT.schema, **values))

    return change


def _alone(**changes: Any) -> Callable[[RecordingProof], RecordingProof]:
    """Message 4 of the first segment alone, changed."""

    def change(given: RecordingProof) -> RecordingProof:
        one = given.single("/left", (0, 4), b"/left 4")
        shown = one.segments[0].shown
        assert not isinstance(shown, bytes)
        return with_segment(one, 0, shown=(replace(shown[0], **changes),))

    return change


SHOWN: Mapping[str, Callable[[RecordingProof], RecordingProof]] = {
    "a bit of data": _rows(lambda rows: rows[:-1] + bytes([rows[-1] ^ 1])),
    "a log time": _rows(lambda rows: rows[:7] + bytes([rows[7] ^ 1]) + rows[8:]),
    "a publish time": _rows(lambda rows: rows[:15] + bytes([rows[15] ^ 1]) + rows[16:]),
    "two rows exchanged": _rows(lambda rows: rows[ROW_SIZE : 2 * ROW_SIZE] + rows[:ROW_SIZE] + rows[2 * ROW_SIZE :]),
    "a row twice": _rows(lambda rows: rows[:ROW_SIZE] + rows[:ROW_SIZE] + rows[2 * ROW_SIZE :]),
    "a time of 2^63": _rows(lambda rows: b"\x80" + rows[1:]),
    "rows of another segment": lambda given: with_segment(given, 0, shown=given.segments[1].shown),
    "another type": _channel(type_name="cam/Depth"),
    "another schema encoding": _channel(schema_encoding="ros2idl"),
    "another encoding": _channel(encoding="json"),
    "alone, at another place": _alone(place=5),
    "alone, without its path": _alone(path=()),
    "alone, with other data": _alone(data=b"another"),
}


@pytest.mark.parametrize("name", SHOWN)
def test_what_is_shown_is_what_was_signed(name: str) -> None:
    """A change to what is shown of a segment makes this one invalid, and no other (G8, G9)."""
    given, trust = good()
    found = judge(SHOWN[name](given), trust=trust, at=LATER).segments
    assert [each.invalid for each in found] == [True] + [False] * (len(found) - 1)
    assert found[0].fault is not None
    assert "/left" in found[0].fault


@pytest.mark.parametrize("changes", [{"first": NOW - 1}, {"last": NOW + 10**12}])
def test_signed_times_are_those_of_the_messages(changes: dict[str, Any]) -> None:
    """A signer that states other times than its messages have is contradicted by them."""
    log = log_of_sensor()
    given = proof(log, [say_segment(log, frames(LEFT, 5), 0, **changes)])
    found = judge(given, trust=log.trust(), at=NOW + 10**13)
    assert [each.invalid for each in found.segments] == [True]


def test_alone() -> None:
    """A message alone is relied on as its segment is, with and without its data."""
    given, trust = good()
    for data in (None, b"/left 4"):
        assert [each.relied for each in judge(given.single("/left", (0, 4), data), trust=trust, at=LATER).segments] == [
            True
        ]
