"""The access log: what it says stays said, through crashes, full disks and people who would rather it did not."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platemark_ledger import accesslog
from platemark_ledger.accesslog import AccessLogError, Chain, Head, runs, verify
from platemark_ledger.accesslog_writer import AccessLog

BIG = 1 << 20
_texts = st.text(max_size=20)
_records = st.lists(
    st.fixed_dictionaries({"who": _texts, "asked": st.dictionaries(_texts, _texts | st.integers(), max_size=2)}),
    max_size=6,
)


def _lines(*records: dict[str, Any], seq: int = 0, prev: str = accesslog.FIRST) -> list[str]:
    """Records as one chain; text instead of a record is a line as it stands."""
    made: list[str] = []
    for record in records:
        line = record.get("line") or json.dumps({"seq": seq, "prev": prev, "time": 7, **record}, separators=(",", ":"))
        seq, prev = seq + ("line" not in record), sha256(line.encode()).hexdigest()
        made.append(line)
    return made


_THREE = _lines(*({"who": who} for who in "abc"))
_HEAD = sha256(_THREE[2].encode()).hexdigest()
_TORN = {"event": "torn"}
# Name, the lines of each file with a last one that may be empty, and records, begins, torn, open end.
WHOLE = [
    ("nothing", [[""]], (0, 0, 0, False)),
    ("one file", [[*_THREE, ""]], (3, 0, 0, False)),
    ("three files", [[_THREE[0], ""], [_THREE[1], ""], [_THREE[2], ""]], (3, 0, 0, False)),
    ("an empty file at the end", [[*_THREE, ""], [""]], (3, 0, 0, False)),
    ("removed from the front", [[*_THREE[1:], ""]], (2, 1, 0, False)),
    ("the last line is cut", [[*_THREE[:2], _THREE[2][:9]]], (2, 0, 0, True)),
    ("the last line lacks its line feed", [_THREE], (3, 0, 0, True)),
    ("a marked crash", [[*_lines({"who": "a"}, {"line": '{"se'}, _TORN, {"who": "b"}), ""]], (3, 0, 1, False)),
    ("a crash in a mark", [[*_lines({"who": "a"}, {"line": "x"}, {"line": "y"}, _TORN), ""]], (2, 0, 1, False)),
    ("a crash in the first line", [[*_lines({"line": "{"}, _TORN), ""]], (1, 0, 1, False)),
    ("a mark of a line that lacked its line feed", [[*_lines({"who": "a"}, _TORN), ""]], (2, 0, 1, False)),
]
BROKEN = [
    ("a line is gone", [[_THREE[0], _THREE[2], ""]]),
    ("a line twice", [[_THREE[0], *_THREE, ""]]),
    ("two lines changed places", [[_THREE[1], _THREE[0], _THREE[2], ""]]),
    ("a file is gone", [[_THREE[0], ""], [_THREE[2], ""]]),
    ("a value is changed", [[_THREE[0].replace('"a"', '"z"'), *_THREE[1:], ""]]),
    (
        "a number is jumped",
        [[_THREE[0], *_lines({"who": "b"}, seq=2, prev=sha256(_THREE[0].encode()).hexdigest()), ""]],
    ),
    ("it begins at 0 after something", [[*_lines({"who": "a"}, prev="1" * 64), ""]]),
    ("an empty line", [[_THREE[0], "", *_THREE[1:], ""]]),
    ("no record, and no mark after it", [[*_lines({"who": "a"}, {"line": "x"}, {"who": "b"}), ""]]),
    ("no record at the end", [[*_THREE, "x", ""]]),
    ("a cut line in the middle", [[_THREE[0], _THREE[1]], [_THREE[2], ""]]),
    ("a name twice", [[_THREE[0].replace('"who"', '"seq":0,"who"'), ""]]),
    ("not ASCII", [[_THREE[0].replace('"a"', '"\u00e9"'), ""]]),
    ("not a JSON number", [[_THREE[0].replace('"a"', "NaN"), ""]]),
    ("a number below zero", [[_THREE[0].replace('"seq":0', '"seq":-1'), ""]]),
    ("a number that is none", [[_THREE[0].replace('"seq":0', '"seq":0.0'), ""]]),
]
# With the head of _THREE remembered.
CUT_OFF = [
    ("the end is cut off", [[*_THREE[:2], ""]]),
    ("the end is made anew", [[*_lines(*({"who": who} for who in "abz")), ""]]),
    ("everything is gone", [[""]]),
]


def _files(directory: Path, files: list[list[str]]) -> list[Path]:
    paths = [directory / f"1-{number:06d}.jsonl" for number, _ in enumerate(files, 1)]
    for path, lines in zip(paths, files, strict=True):
        path.write_bytes("\n".join(lines).encode())
    return paths


@pytest.mark.parametrize(("name", "files", "expected"), WHOLE, ids=[name for name, *_ in WHOLE])
def test_a_chain_that_is_whole(
    tmp_path: Path, name: str, files: list[list[str]], expected: tuple[int, int, int, bool]
) -> None:
    """Nothing that a crash or retention leaves is taken for a change."""
    chain = verify(1, _files(tmp_path, files))
    assert (name, chain.records, chain.begins, chain.torn, chain.open_end) == (name, *expected)


@pytest.mark.parametrize("files", [files for _, files in BROKEN], ids=[name for name, _ in BROKEN])
def test_a_chain_that_is_broken(tmp_path: Path, files: list[list[str]]) -> None:
    """Every change of a line, its place or its neighbours is found, with the place."""
    with pytest.raises(AccessLogError, match=r"line [0-9]"):
        verify(1, _files(tmp_path, files))


@pytest.mark.parametrize("files", [files for _, files in CUT_OFF], ids=[name for name, _ in CUT_OFF])
def test_an_end_that_was_remembered_is_missed(tmp_path: Path, files: list[list[str]]) -> None:
    """What a chain cannot tell by itself, a remembered head tells."""
    paths = _files(tmp_path, files)
    verify(1, paths)
    with pytest.raises(AccessLogError, match="cut off or made anew"):
        verify(1, paths, remembered=Head(2, _HEAD))


@given(st.lists(st.binary(max_size=60) | st.sampled_from([(line + "\n").encode() for line in _THREE]), max_size=6))
def test_hostile_files_are_broken_or_whole_and_nothing_else(parts: list[bytes]) -> None:
    """No bytes bring out an error of another kind."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "1-000001.jsonl"
        path.write_bytes(b"".join(parts))
        with suppress(AccessLogError):
            assert verify(1, [path]).records <= len(parts) + 1


@contextmanager
def _writing(directory: Path, *, file_size: int = BIG) -> Iterator[AccessLog]:
    log = AccessLog(directory, file_size=file_size, clock=lambda: 7)
    try:
        yield log
    finally:
        log.close()


def _write(directory: Path, records: list[dict[str, Any]], *, file_size: int = BIG) -> None:
    with _writing(directory, file_size=file_size) as log:
        for each in records:
            log.record(each).result()


def _only(directory: Path, *, remembered: Head | None = None) -> Chain:
    ((number, paths),) = accesslog.chains(directory).items()
    return verify(number, paths, remembered=remembered)


def _said(directory: Path) -> list[dict[str, Any]]:
    """The fields of every record, those of the chain itself left out."""
    (paths,) = accesslog.chains(directory).values()
    whole = [line.record for line in accesslog.lines(paths) if line.record is not None]
    return [{name: value for name, value in each.items() if name not in {"seq", "prev", "time"}} for each in whole]


@given(st.lists(_records, min_size=1, max_size=3), st.sampled_from([1, 300, BIG]))
@settings(deadline=None, max_examples=30)
def test_what_is_recorded_is_one_chain_over_files_and_restarts(sessions: list[list[dict[str, Any]]], size: int) -> None:
    """Whatever is recorded is read back in order, and the chain checks, wherever files and processes end."""
    with tempfile.TemporaryDirectory() as folder:
        for records in sessions:
            _write(Path(folder), records, file_size=size)
        flat = [record for records in sessions for record in records]
        chain = _only(Path(folder))
        assert (chain.records, chain.begins, chain.torn, chain.open_end) == (len(flat), 0, 0, False)
        assert _said(Path(folder)) == flat


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_no_byte_changes_unnoticed(data: st.DataObject) -> None:
    """One changed byte anywhere breaks the chain or its head, for whoever remembered that."""
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), [{"who": str(each)} for each in range(4)], file_size=200)
        head = _only(Path(folder)).head
        path = data.draw(st.sampled_from(sorted(Path(folder).glob("*.jsonl"))))
        content = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        with pytest.raises(AccessLogError):
            _only(Path(folder), remembered=head)


@given(st.integers(0, 600))
@settings(deadline=None, max_examples=60)
def test_a_torn_tail_is_kept_and_marked_and_the_chain_goes_on(cut: int) -> None:
    """A crash at any byte of a write loses no whole record, and the chain checks before and after the next start."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        _write(directory, [{"who": "a"}, {"who": "b"}, {"who": "c"}])
        (path,) = directory.glob("*.jsonl")
        whole = path.read_bytes()
        content = whole[: cut % (len(whole) + 1)]
        path.write_bytes(content)
        torn = bool(content) and not content.endswith(b"\n")
        assert _only(directory).open_end == torn
        _write(directory, [{"who": "d"}])
        chain = _only(directory)
        assert (chain.torn, chain.open_end) == (int(torn), False)
        assert path.read_bytes().startswith(content)
        # A line that lacks its line feed alone is whole.
        ends = [place for place, byte in enumerate(whole) if byte == ord("\n")]
        kept = ["a", "b", "c"][: sum(len(content) >= end for end in ends)]
        assert [each["who"] for each in _said(directory) if "who" in each] == [*kept, "d"]


def test_a_crash_while_a_crash_is_marked_is_marked_too(tmp_path: Path) -> None:
    """The line of the mark may be cut like any other."""
    _write(tmp_path, [{"who": "a"}])
    (path,) = tmp_path.glob("*.jsonl")
    path.write_bytes(path.read_bytes() + b'{"seq":1,"pr\n{"seq":1,"prev":"00')
    _write(tmp_path, [{"who": "b"}])
    chain = _only(tmp_path)
    assert (chain.records, chain.torn) == (3, 1)


def test_a_crash_between_two_files_loses_nothing(tmp_path: Path) -> None:
    """The new file is there and empty: the chain goes on in it."""
    _write(tmp_path, [{"who": "a"}])
    (tmp_path / "1-000002.jsonl").touch()
    _write(tmp_path, [{"who": "b"}])
    assert _only(tmp_path).records == 2
    assert json.loads((tmp_path / "1-000002.jsonl").read_text())["who"] == "b"


def test_old_files_may_go_and_later_ones_may_not(tmp_path: Path) -> None:
    """Retention takes from the front and is told; a file from the middle or the end is missed."""
    _write(tmp_path, [{"who": str(each)} for each in range(5)], file_size=1)
    files = sorted(tmp_path.glob("*.jsonl"))
    assert len(files) == 5
    head = _only(tmp_path).head
    files[0].unlink()
    assert (_only(tmp_path, remembered=head).begins, _only(tmp_path, remembered=Head(0, "a" * 64)).records) == (1, 4)
    last = files[-1].read_bytes()
    files[-1].unlink()
    _only(tmp_path)  # nothing in a chain tells its own end
    with pytest.raises(AccessLogError, match="cut off or made anew"):
        _only(tmp_path, remembered=head)
    files[-1].write_bytes(last)
    files[2].unlink()
    with pytest.raises(AccessLogError, match="something was changed"):
        _only(tmp_path)


def test_a_line_put_in_between_is_found(tmp_path: Path) -> None:
    """Neither a copy nor something that is no record passes."""
    _write(tmp_path, [{"who": "a"}, {"who": "b"}])
    (path,) = tmp_path.glob("*.jsonl")
    first, second = path.read_bytes().splitlines(keepends=True)
    for forged in (first + first + second, first + b"\n" + second, second + first, second, first + second + b"{}\n"):
        path.write_bytes(forged)
        if forged == second:
            assert _only(tmp_path).begins == 1
            continue
        with pytest.raises(AccessLogError):
            _only(tmp_path)


def test_processes_that_write_at_one_time_have_a_chain_each(tmp_path: Path) -> None:
    """The second takes the second chain, and whoever comes after them the first again."""
    with _writing(tmp_path) as one, _writing(tmp_path) as two:
        one.record({"who": "one"}).result()
        two.record({"who": "two"}).result()
    _write(tmp_path, [{"who": "three"}])
    found = accesslog.chains(tmp_path)
    assert [verify(number, paths).records for number, paths in found.items()] == [2, 1]


def test_nobody_else_reads_the_log(tmp_path: Path) -> None:
    """Directory and files are their owner's alone."""
    _write(tmp_path / "log", [{"who": "a"}])
    assert (tmp_path / "log").stat().st_mode & 0o077 == 0
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "log").iterdir()} == {0}


_FULL = """
import resource, sys, signal
from pathlib import Path
from platemark_ledger.accesslog import AccessLogError
from platemark_ledger.accesslog_writer import AccessLog
log = AccessLog(Path(sys.argv[1]), file_size=1 << 20)
log.record({"who": "before"}).result()
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
written = 0
for _ in range(20):
    try:
        log.record({"who": "while"}).result()
        written += 1
    except AccessLogError as error:
        pass
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
log.record({"who": "after"}).result()
log.close()
print(written)
"""


def test_a_full_disk_fails_every_record_and_nothing_that_was_promised_is_lost(tmp_path: Path) -> None:
    """Records fail while the file cannot grow, one alarm is said, and the chain goes on when there is room again."""
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    written = int(done.stdout)
    assert 0 < written < 20
    assert done.stderr.count("ALARM") == 1
    assert "File too large" in done.stderr
    assert _only(tmp_path).torn >= 1
    names = [each["who"] for each in _said(tmp_path) if "who" in each]
    # A line that lacked its line feed alone was promised to nobody and counts all the same.
    assert (names[0], names.count("while") - written in {0, 1}, names[-1]) == ("before", True, "after")


def test_a_caller_that_goes_away_takes_nothing_with_it(tmp_path: Path) -> None:
    """A cancelled wait leaves the record and the log as they are."""

    async def leave(log: AccessLog) -> None:
        waiting = asyncio.wrap_future(log.record({"who": "gone"}))
        waiting.cancel()
        await asyncio.wrap_future(log.record({"who": "there"}))

    with _writing(tmp_path) as log:
        asyncio.run(leave(log))
    assert _said(tmp_path) == [{"who": "gone"}, {"who": "there"}]


def test_a_record_that_cannot_be_made_fails_and_the_next_does_not(tmp_path: Path) -> None:
    """A mistake of ours is an alarm and a refusal, and no caller waits for ever."""
    with _writing(tmp_path) as log:
        with pytest.raises(AccessLogError, match="TypeError"):
            log.record({"who": object()}).result(20)
        log.record({"who": "a"}).result(20)
    assert _only(tmp_path).records == 1


def test_records_after_the_end_fail(tmp_path: Path) -> None:
    """A closed log promises nothing."""
    with _writing(tmp_path) as log:
        pass
    with pytest.raises(AccessLogError, match="closed"):
        log.record({}).result()


@given(st.sets(st.integers(0, 50)))
def test_runs_are_the_same_numbers(indices: set[int]) -> None:
    """Runs name each index once, in order, and neighbours are together."""
    found = runs(indices)
    assert [one for first, last in found for one in range(first, last + 1)] == sorted(indices)
    assert all(after[0] > before[1] + 1 for before, after in itertools.pairwise(found))
