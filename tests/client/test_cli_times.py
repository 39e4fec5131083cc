"""Times and durations on the command line."""

from __future__ import annotations

import datetime as dt

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from platemark.cli.times import parse_duration, parse_time
from platemark.report import format_time


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1800000000000000000", 1_800_000_000 * 10**9),
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-02", 86_400 * 10**9),
        ("2027-01-15T08:00:00z", 1_800_000_000 * 10**9),
        ("2027-01-15t09:30:00.5+01:30", 1_800_000_000 * 10**9 + 5 * 10**8),
        ("2027-01-15 03:00:00.000000001-05:00", 1_800_000_000 * 10**9 + 1),
        ("2262-04-11T23:47:16.854775807Z", (1 << 63) - 1),
    ],
)
def test_times_are_unix_nanoseconds(text: str, expected: int) -> None:
    """RFC 3339 with its offset, a date, or nanoseconds."""
    assert expected == parse_time(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "-1",
        "2027-01-15T08:00:00",
        "2027-01-15T08:00Z",
        "2027-13-01",
        "2027-02-30T00:00:00Z",
        "2027-01-15T24:00:00Z",
        "2027-01-15T08:00:60Z",
        "2027-01-15T08:00:00+24:00",
        "2027-01-15T08:00:00+01:60",
        "2027-01-15T08:00:00.0000000001Z",
        "1969-12-31T23:59:59Z",
        "2262-04-11T23:47:16.854775808Z",
        "9223372036854775808",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "\u0662\u0660\u0662\u0667-01-15",
        "\u0662",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """No offset is guessed and nothing out of range gets through."""
    with pytest.raises(typer.BadParameter):
        parse_time(text)


@given(st.integers(0, (1 << 63) - 1))
def test_what_reports_print_can_be_typed(ns: int) -> None:
    """A time that a report shows is the same time when it is given back."""
    assert ns == parse_time(format_time(ns))


@given(st.datetimes(dt.datetime(1970, 1, 2), dt.datetime(2262, 1, 1), timezones=st.timezones()))  # noqa: DTZ001
def test_agrees_with_the_standard_library(moment: dt.datetime) -> None:
    """Any time with any offset of whole minutes is the instant that datetime says."""
    offset = moment.utcoffset()
    if offset is None or offset % dt.timedelta(minutes=1):
        return
    whole = (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    assert whole * 1000 == parse_time(moment.isoformat())


@pytest.mark.parametrize(
    ("text", "expected"), [("0s", 0), ("700ns", 700), ("250us", 250_000), ("5ms", 5_000_000), ("2s", 2 * 10**9)]
)
def test_durations(text: str, expected: int) -> None:
    """A number and its unit."""
    assert expected == parse_duration(text)


@pytest.mark.parametrize("text", ["", "5", "-5ms", "1.5s", "5 ms", "5m", "9223372037s", "\u0665ms"])
def test_durations_need_a_unit_and_a_range(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(typer.BadParameter):
        parse_duration(text)
