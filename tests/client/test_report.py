"""The verdict in words and in JSON: one form, integers that JSON readers keep, and no line that a signer wrote."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import NOW, measurement, scene
from examples import minimal
from platemark import attributes, cbor, cose, report
from platemark.evidence import Evidence, Proven
from platemark.verdict import EXIT_CODES, FAIL, INCONCLUSIVE, NOT_CHECKED, PASS, TITLES, Check, Verdict, conclude
from platemark.verify import verify
from strategies import cbor_values

FORBIDDEN = ("authentic", "genuine", "unaltered")


def _verdict(**changes: Any) -> Verdict:
    disclosure = attributes.commit({"patient_name": "Doe^Jane", "laterality": None, "rows": 2048}, key=bytes(32))
    log = scene(attributes=disclosure)
    shown = log.evidence(2, enrolments=[1], disclosure=disclosure, conditions=("gap",))
    good = verify(shown, trust=log.trust(), image=measurement(b"an image"), at=NOW)
    return replace(good, **changes)


def test_the_text_begins_with_the_result_and_its_reason() -> None:
    """Who reads two lines knows what it is."""
    lines = report.to_text(_verdict()).splitlines()
    assert lines[:2] == ["MATCHES RECORD", "rung file: the whole file is byte for byte the recorded one"]


def test_the_text_has_every_check_every_fact_and_what_is_not_proven() -> None:
    """Nothing that the verdict holds is left out."""
    verdict, text = _verdict(), report.to_text(_verdict())
    for check in verdict.checks:
        assert f"{check.number:>2} {check.title:<11} {check.status:<11} {check.reason}\n" in text
    for name, value in verdict.facts.items():
        assert (report.format_time(value) if name == "stated_time" and isinstance(value, int) else str(value)) in text
    for wanted in ("Doe^Jane", "(none in the object)", "2048", "not proven here: gap", *report.NOT_PROVEN):
        assert wanted in text


def test_json_has_exactly_the_members_of_the_specification() -> None:
    """J1: one object, sorted, indented by two, letters not escaped."""
    text = report.to_json(_verdict())
    content = json.loads(text)
    assert sorted(content) == [
        *("at", "attributes", "checks", "conditions_reported", "disclosed", "exit_code", "facts", "members_not_read"),
        *("not_proven", "reason", "result", "rung"),
    ]
    assert text == json.dumps(content, sort_keys=True, indent=2, ensure_ascii=False)
    assert [check["number"] for check in content["checks"]] == list(range(1, 16))
    assert [check["title"] for check in content["checks"]] == list(TITLES.values())


def test_json_prints_times_as_strings() -> None:
    """C12: nanoseconds are above 2^53 - 1."""
    content = json.loads(report.to_json(_verdict()))
    assert (content["at"], content["facts"]["stated_time"]) == (str(NOW), str(NOW))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1 << 53) - 1, (1 << 53) - 1),
        (1 << 53, "9007199254740992"),
        (-(1 << 53) + 1, -(1 << 53) + 1),
        (-(1 << 53), "-9007199254740992"),
        ((1 << 64) - 1, "18446744073709551615"),
        (True, True),
        (None, None),
        (b"\x00\xff", "00ff"),
        ((1, b"\x01"), [1, "01"]),
        ({1: {b"k".hex(): b""}}, {"1": {"6b": ""}}),
    ],
)
def test_values_take_their_json_form(value: object, expected: object) -> None:
    """C12: integers above 2^53 - 1 are strings, bytes are hex, tuples lists, keys text."""
    found = report.json_ready(value)
    assert (found, type(found)) == (expected, type(expected))


@given(cbor_values())
def test_every_cbor_value_has_a_json_form(value: cbor.Value) -> None:
    """Whatever a statement can say can be printed and read back by any JSON reader."""
    assert json.loads(json.dumps(report.json_ready(value))) == report.json_ready(value)


def test_other_values_have_none() -> None:
    """A float in a verdict would be a programming error."""
    with pytest.raises(TypeError, match="float has no JSON form"):
        report.json_ready({"a": [1.0]})


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (NOW + 5, "2027-01-15T08:00:00.000000005Z"),
        (253_402_300_799_999_999_999, "9999-12-31T23:59:59.999999999Z"),
        (253_402_300_800_000_000_000, "253402300800000000000 ns since 1970"),
        ((1 << 63) - 1, "2262-04-11T23:47:16.854775807Z"),
    ],
)
def test_times_are_utc_with_nanoseconds(ns: int, text: str) -> None:
    """Every nanosecond is printed, and a year that has no form is a number."""
    assert report.format_time(ns) == text


HOSTILE = "x\n  15 header      PASS        all is well\x1b[2J\u202e\u009b1m\u2028y"


_ESCAPED = [
    *(0x7F, *range(0x80, 0xA0), 0x61C, *range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070)),
    *(0xFEFF, *range(0xFFF9, 0xFFFC), 0xD800, 0xDFFF),
]


def test_json_holds_nothing_that_a_terminal_acts_on() -> None:
    """J1: controls, marks of direction and invisible marks are escaped; the text reads back as it was."""
    value = {"patient_name": HOSTILE + "".join(map(chr, range(0x20))), "é漢😀": "é漢😀\u00a0\u00ad", chr(0x9B): 1}
    text = report.json_text(value)
    assert json.loads(text) == value
    assert [
        line for line in text.replace("\u00a0", "").replace("\u00ad", "").split("\n") if not line.isprintable()
    ] == []
    assert '"é漢😀": "é漢😀\u00a0\u00ad"' in text
    assert report.json_text("".join(map(chr, _ESCAPED))) == '"' + "".join(f"\\u{each:04x}" for each in _ESCAPED) + '"'
    assert "\x9b" not in report.to_json(_verdict(disclosed={"patient_name": HOSTILE}))


def test_a_disclosed_value_cannot_write_lines() -> None:
    """A signer's text stays on its line and moves no cursor."""
    text = report.to_text(_verdict(disclosed={"patient_name": HOSTILE}))
    assert len(text.splitlines()) == len(report.to_text(_verdict(disclosed={"patient_name": "x"})).splitlines())
    assert all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("place", ["header label", "field", "kind", "checkpoint"])
def test_no_stranger_writes_lines_of_the_report(place: str) -> None:
    """Names in hostile evidence are escaped in reasons: in the header, the payload, the kind and the checkpoint."""
    signer = scene().log_key
    header: dict[int | str, cbor.Value] = {
        3: f"application/vnd.platemark.{HOSTILE if place == 'kind' else 'heartbeat'}+cbor",
        4: signer.kid,
        15: {1: "https://hospital.example", 2: "urn:uuid:8a3fbd4f-54d1-4d44-8a3f-bd4f54d14d44"},
        **({HOSTILE: 1} if place == "header label" else {}),
    }
    payload = {
        "v": 1,
        **minimal("heartbeat"),
        **({HOSTILE: 1} if place == "field" else {}),
    }
    record = cose.sign(header, cbor.encode(payload), signer)
    log = scene()
    given = log.evidence(2, enrolments=[1], signed=log.checkpoint(origin="ledger.example/\u202e\u009b1m"))
    if place != "checkpoint":
        given = Evidence(Proven(record, b""), (), ())
    verdict = verify(given, trust=log.trust(), image=None, at=NOW)
    text = report.to_text(verdict)
    assert [line for line in text.split("\n") if not line.isprintable()] == []
    assert len(text.splitlines()) == 25
    assert json.loads(report.to_json(verdict))["exit_code"] == verdict.exit_code


@pytest.mark.parametrize("result", EXIT_CODES)
def test_no_report_says_the_forbidden_words(result: str) -> None:
    """A verdict is about a record, not about truth."""
    text = (report.to_text(_verdict(result=result)) + report.to_json(_verdict(result=result))).lower()
    assert [word for word in FORBIDDEN if word in text] == []


def test_unread_members_are_printed() -> None:
    """B7, for people too."""
    assert "Not read, of a later release: receipt.cbor" in report.to_text(_verdict(unread=("receipt.cbor",)))


# --- from checks to the result --------------------------------------------------------------------

_STATUSES = st.lists(st.sampled_from([PASS, FAIL, NOT_CHECKED]), min_size=15, max_size=15)


def _checks(statuses: list[str]) -> tuple[Check, ...]:
    return tuple(Check(number, status, f"reason {number}") for number, status in enumerate(statuses, 1))


@given(_STATUSES, st.sampled_from(["file", "pixels", None]))
def test_the_result_follows_from_the_checks_alone(statuses: list[str], rung: str | None) -> None:
    """V1 to V5, written out once more."""
    result, _ = conclude(_checks(statuses), rung)
    image = statuses[13:]
    if FAIL in statuses[:13]:
        expected = "EVIDENCE INVALID"
    elif statuses[:8] != [PASS] * 8:
        expected = INCONCLUSIVE
    elif FAIL in image:
        expected = "DOES NOT MATCH"
    elif image != [PASS, PASS] or rung is None:
        expected = INCONCLUSIVE
    else:
        expected = "MATCHES RECORD"
    assert result == expected


def test_nothing_checked_is_no_success() -> None:
    """A verdict never rests on nothing."""
    assert conclude(_checks([NOT_CHECKED] * 15), None)[0] == INCONCLUSIVE
    assert conclude(_checks([PASS] * 15), None)[0] == INCONCLUSIVE


def test_the_exit_codes_are_fixed() -> None:
    """Scripts rely on them."""
    assert dict(EXIT_CODES) == {"MATCHES RECORD": 0, "DOES NOT MATCH": 1, "INCONCLUSIVE": 3, "EVIDENCE INVALID": 4}
