"""The dated table: what is acceptable until when, and that nothing unknown is."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platemark import algorithms
from platemark.report import format_time

LAST = int(datetime(2031, 1, 1, tzinfo=UTC).timestamp()) * 10**9 - 1


def test_the_last_day_counts_and_the_next_does_not() -> None:
    """An end is the last nanosecond of its year in UTC, and it is included."""
    assert algorithms.acceptable("RSA 2048", LAST)
    assert not algorithms.acceptable("RSA 2048", LAST + 1)
    assert algorithms.acceptable("RSA 3072", LAST + 1)


@pytest.mark.parametrize("name", ["SHA-1", "sha256", "RSA 1024", "ECDSA secp521r1", "", "MD5"])
def test_what_the_table_does_not_name_is_never_acceptable(name: str) -> None:
    """No default lets an unknown name pass, at any time."""
    assert not algorithms.acceptable(name, 0)
    assert algorithms.unacceptable(["SHA-256", name], 0) == name
    with pytest.raises(KeyError):
        algorithms.end([name])


@given(st.sets(st.sampled_from(sorted(algorithms.TABLE))), st.integers(0, 2**63))
def test_the_end_of_several_is_the_first_end(names: set[str], at_ns: int) -> None:
    """All are acceptable exactly until `end`, and for ever where it is None."""
    end = algorithms.end(names)
    assert (algorithms.unacceptable(names, at_ns) is None) == (end is None or at_ns <= end)


def test_the_specification_prints_the_table() -> None:
    """proto/time.md section 4 has every algorithm with its last moment, and the version of the table."""
    text = (Path(__file__).parents[2] / "proto" / "time.md").read_text(encoding="utf-8")
    section = text.partition("## 4.")[2].partition("## 5.")[0]
    stated = {}
    for names, last in re.findall(r"^\| ((?:SHA|RSA|ECDSA|ML-DSA).*) \| (.*) \|$", section, re.MULTILINE):
        for name in re.sub(r" \([^)]*\)", "", names).split(", "):
            stated[name] = None if last == "no end known" else last
    assert stated == {name: None if end is None else format_time(end) for name, end in algorithms.TABLE.items()}
    assert f"version `{algorithms.VERSION}`" in section
