"""`platemark spool`, and `--spool` of capture and submit: no ledger has to be there."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from commands import ct, platemark, png

from platemark import attributes, statement
from platemark.cli.spool import Which
from platemark.errors import StateError
from platemark.keys import PrivateKey
from platemark.spool import Spool, State

NOBODY = "127.0.0.1:9"  # nobody serves the discard port


@pytest.fixture(name="key")
def _key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("PLATEMARK_PASSPHRASE", raising=False)
    assert platemark("keygen", tmp_path / "dx1.pem").code == 0
    return tmp_path / "dx1.pem"


@pytest.fixture(name="images")
def _images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(png(shade=100 + number))
    return folder


@pytest.fixture(name="spool")
def _spool(tmp_path: Path, key: Path, images: Path) -> Path:
    """A spool with three statements."""
    ran = platemark("capture", images, "--key", key, "--device", "https://a.example/b", "--spool", tmp_path / "spool")
    assert (ran.code, ran.err) == (0, "")
    return tmp_path / "spool"


def test_capture_puts_and_needs_no_ledger(tmp_path: Path, key: Path, images: Path) -> None:
    """Every image is signed and put, in order, and the files beside the images are as ever; again it changes nothing."""
    words = (
        "capture",
        images,
        "--key",
        key,
        "--device",
        "https://a.example/b",
        "--spool",
        tmp_path / "spool",
        "--json",
    )
    ran = platemark(*words)
    assert (ran.code, ran.json()["counts"]) == (0, {"spooled": 3})
    assert platemark(*words).json() == ran.json()
    with Spool(tmp_path / "spool") as spool:
        put = [each.raw for each in spool.pending(9)]
    assert put == [(images / f"{number}.png.statement").read_bytes() for number in range(3)]
    assert [statement.decode(raw).seq for raw in put] == [0, 1, 2]


def test_submit_puts_and_needs_no_ledger(tmp_path: Path, key: Path, images: Path) -> None:
    """Statements that were signed before are put as they are; what is in the log already keeps its place."""
    platemark("sign", images, "--key", key, "--device", "https://a.example/b")
    files = sorted(images.glob("*.statement"))
    assert platemark("submit", *files, "--spool", tmp_path / "spool").code == 0
    with Spool(tmp_path / "spool") as spool:
        first, second, _ = spool.pending(9)
        spool.acknowledge([(first.id, 5)])
        spool.set_aside(second.id, "unknown-key", "no such key")
    ran = platemark("submit", *files, "--spool", tmp_path / "spool", "--json")
    assert ran.code == 1
    assert [(each["status"], each["index"]) for each in ran.json()["items"]] == [
        ("repeated", 5),
        ("refused", None),
        ("spooled", None),
    ]
    assert "unknown-key: no such key" in ran.json()["items"][1]["reason"]


def test_status_and_list_show_what_waits(spool: Path) -> None:
    """Numbers, reasons and what to do, for a person and for a script."""
    with Spool(spool) as opened:
        opened.set_aside(opened.pending(1)[0].id, "unknown-key", "no such\x1b key")
    facts = platemark("spool", "status", spool, "--json").json()
    assert (facts["pending"], facts["set_aside"], facts["sender"], facts["oldest_age_s"] >= 0) == (2, 1, False, True)
    shown = platemark("spool", "status", spool)
    assert shown.out.startswith("waiting       2, the oldest for ")
    assert "set aside     1: platemark spool list" in shown.out
    listed = platemark("spool", "list", spool)
    assert "unknown-key: no such\\u001b key" in listed.out
    entries = platemark("spool", "list", spool, "--state", "pending", "--json").json()["entries"]
    assert [each["number"] for each in entries] == [2, 3]
    none = platemark("spool", "list", spool, "--state", "acknowledged")
    assert (none.code, none.out, none.err) == (0, "", "nothing is acknowledged; --state shows others\n")


def test_retry_discard_and_prune(spool: Path) -> None:
    """What was set aside is sent again by number, by code or all of it; or given up, and gone after its time."""
    with Spool(spool) as opened:
        for each, code in zip(opened.pending(9), ("unknown-key", "unknown-key", "expired"), strict=True):
            opened.set_aside(each.id, code, "why")
    assert platemark("spool", "retry", spool, "--code", "unknown-key", "--json").json() == {"released": [1, 2]}
    assert platemark("spool", "retry", spool, "--all", "--json").json() == {"released": [3]}
    with Spool(spool) as opened:
        assert [each.number for each in opened.pending(9)] == [1, 2, 3]
        opened.set_aside(opened.pending(1)[0].id, "expired", "too old")
    assert platemark("spool", "discard", spool, "1").out == "1 discarded\n"
    assert platemark("spool", "retry", spool, "1").out == "1 released\n"
    with Spool(spool) as opened:
        opened.set_aside(opened.pending(1)[0].id, "expired", "too old")
    platemark("spool", "discard", spool, "1")
    assert platemark("spool", "prune", spool).out == "0 removed\n"
    assert platemark("spool", "prune", spool, "--days", "0", "--json").json() == {"removed": 1}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("status", "nowhere"), "there is no spool here"),
        (("send", "nowhere"), "there is no spool here"),
        (("retry", "spool"), "give numbers, --code or --all"),
        (("retry", "spool", "1", "--all"), "give numbers, --code or --all"),
        (("retry", "spool", "1"), "is pending, not set aside"),
        (("discard", "spool", "9"), "has no statement with the number 9"),
        (("list", "spool", "--state", "lost"), "Invalid value for '--state'"),
        (("send", "spool", "--listen", "nonsense"), "--listen nonsense: not HOST:PORT"),
    ],
    ids=" ".join,
)
def test_mistakes_are_one_line(spool: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str) -> None:
    """A wrong command line changes nothing, makes no spool, and says what is wrong."""
    monkeypatch.chdir(spool.parent)
    ran = platemark("spool", *words)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert said in ran.err
    assert not (spool.parent / "nowhere").exists()


def test_waiting_for_witnesses_is_the_senders(spool: Path, images: Path) -> None:
    """`--spool` and `--witnessed` together are a mistake, because nothing is sent now."""
    ran = platemark("submit", images / "0.png.statement", "--spool", spool, "--witnessed")
    assert (ran.code, "platemark spool send --witnessed" in ran.err) == (2, True)


def test_no_ledger_is_exit_code_5_and_loses_nothing(spool: Path) -> None:
    """Sending once to nobody says so, and how to go on; everything still waits."""
    ran = platemark("spool", "send", spool, "--server", NOBODY)
    assert (ran.code, ran.out) == (5, "")
    assert "0 logged, 0 set aside, 3 waiting; nothing is lost, and running this again goes on" in ran.err
    assert f"no ledger answers at {NOBODY}" in ran.err
    error = json.loads(platemark("spool", "send", spool, "--server", NOBODY, "--json").out)
    assert error["error"]["code"] == "unreachable"
    assert platemark("spool", "status", spool, "--json").json()["pending"] == 3


def test_an_empty_spool_needs_no_ledger(tmp_path: Path) -> None:
    """With nothing to send nobody is called."""
    Spool(tmp_path / "spool").close()
    assert (
        platemark("spool", "send", tmp_path / "spool", "--server", NOBODY).out == "0 logged, 0 set aside, 0 waiting\n"
    )


def test_a_full_spool_stops_capture_and_says_so(
    tmp_path: Path, key: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was signed is kept as a file, and running it again goes on once there is room, without signing anew."""
    defaults = Spool.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setattr(Spool.__init__, "__kwdefaults__", {**defaults, "capacity": 2})
    words = ("capture", images, "--key", key, "--device", "https://a.example/b", "--spool", tmp_path / "spool")
    ran = platemark(*words)
    assert ran.code == 2
    assert "2 statements were put; what was signed is on disk" in ran.err
    assert "full: 2 statements wait for a ledger" in ran.err
    before = (images / "2.png.statement").read_bytes()
    monkeypatch.undo()
    assert platemark(*words).code == 0
    with Spool(tmp_path / "spool") as spool:
        assert [each.raw for each in spool.pending(9)][2] == before


def test_a_damaged_spool_is_one_line(spool: Path) -> None:
    """No traceback, no new file in its place."""
    with closing(sqlite3.connect(spool / "spool.sqlite")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (spool / "spool.sqlite").write_bytes(b"x" * 10_000)
    ran = platemark("spool", "status", spool)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "the database is damaged" in ran.err


class _PulledError(KeyboardInterrupt):
    """The end of the process, as the code sees it."""


@pytest.mark.parametrize("command", ["capture", "sign"])
def test_an_interrupted_signature_is_made_up_for(
    tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Ended between the reserved place and the signature, the next run signs the very statement, and its disclosure fits."""
    image = tmp_path / "scan.dcm"
    image.write_bytes(ct())
    spool = ("--spool", tmp_path / "spool") if command == "capture" else ()
    words = (command, image, "--key", key, "--device", "https://a.example/b", *spool)

    def end(*_: object) -> bytes:
        raise _PulledError

    with monkeypatch.context() as patched:
        patched.setattr(PrivateKey, "sign", end)
        assert platemark(*words).code == 130
    assert not Path(f"{image}.statement").exists()
    kept = attributes.decode_disclosure(Path(f"{image}.disclosure").read_bytes())
    assert platemark(*words).code == 0
    signed = statement.decode(Path(f"{image}.statement").read_bytes())
    assert (signed.seq, signed.payload["attributes"]) == (0, kept.root())
    other = tmp_path / "other.png"
    other.write_bytes(png())
    assert platemark(command, other, *words[2:]).code == 0
    after = statement.decode(Path(f"{other}.statement").read_bytes())
    assert (after.seq, after.prev) == (1, signed.id)
    if spool:
        with Spool(tmp_path / "spool") as opened:
            assert [each.id for each in opened.entries(State.PENDING, 9)] == [signed.id, after.id]


def test_a_refused_signature_leaves_no_disclosure(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When nothing could be reserved, nothing stays that would be in the way of the next run."""
    image = tmp_path / "scan.dcm"
    image.write_bytes(ct())
    words = ("sign", image, "--key", key, "--device", "https://a.example/b")
    assert platemark(*words, "--out", tmp_path / "elsewhere").code == 0

    def full(*_: object) -> None:
        raise StateError("No space left on device")

    monkeypatch.setattr("platemark.chain.Chain._write", full)
    ran = platemark(*words)
    assert (ran.code, "No space left" in ran.err) == (2, True)
    assert not Path(f"{image}.disclosure").exists()
    monkeypatch.undo()
    assert platemark(*words).code == 0


def test_the_states_are_those_of_a_spool() -> None:
    """The command line names every state, by the same word."""
    assert [each.value for each in State] == [each.value for each in Which]


def test_other_commands_need_no_sqlite() -> None:
    """A reader's Python may lack it: nothing of the spool is imported before a spool is named."""
    code = "import sys; sys.modules['sqlite3'] = None; from platemark.cli import main; sys.exit(main(['verify', '--help']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
