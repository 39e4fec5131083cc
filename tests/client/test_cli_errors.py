"""Everything that goes wrong on the command line ends in one line and an exit code."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import platemark, png

from platemark import __version__
from platemark.cli import app

COMMANDS = (
    "keygen",
    "enrol",
    "revoke",
    "sign",
    "submit",
    "capture",
    "attest",
    "lookup",
    "fetch",
    "verify",
    "inspect",
    "audit",
    "monitor",
    "gateway",
    "gate",
)
GROUPS = {
    "witness": ("init", "add-log", "vkeys", "serve"),
    "policy": ("show", "propose", "sign", "submit"),
    "receipt": ("show", "attach", "detach", "verify"),
    "spool": ("status", "list", "send", "retry", "discard", "prune"),
    "vault": ("init", "put", "list", "export", "request", "release", "show", "erase"),
    "dicom": ("sign", "verify"),
    "mcap": ("seal", "verify", "frame", "proofs"),
    "c2pa": ("sign", "verify"),
}


@pytest.mark.parametrize(
    "command", [*COMMANDS, *(f"{group} {each}" for group, members in GROUPS.items() for each in members)]
)
def test_help_teaches_with_an_example(command: str) -> None:
    """Every command's help has an example of itself and offers --json."""
    ran = platemark(*command.split(), "--help")
    assert ran.code == 0
    assert re.search(rf"Examples?:(?:.|\n)*platemark {command} ", ran.out)
    assert "--json" in ran.out


@pytest.mark.parametrize("group", GROUPS)
def test_the_overview_of_a_group_lists_every_command(group: str) -> None:
    """The commands of a group are the ones tested here."""
    shown = platemark(group, "--help").out.partition("Commands:")[2]
    assert [*GROUPS[group]] == re.findall(r"^  ([\w-]+) +[A-Z]", shown, re.MULTILINE)


def test_the_overview_lists_every_command() -> None:
    """The commands of the program are the ones tested here."""
    ran = platemark("--help")
    assert [*COMMANDS, *GROUPS] == re.findall(r"^  (\w+)   ?\w? ?.*", ran.out.partition("Commands:")[2], re.MULTILINE)


def test_version() -> None:
    """--version prints it."""
    assert (0, f"platemark {__version__}\n") == (platemark("--version").code, platemark("--version").out)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("verify",), "Missing argument 'IMAGE' (try: platemark verify --help)"),
        (("verfy",), "No such command 'verfy'. Did you mean 'verify'? (try: platemark --help)"),
        (("verify", "x", "--nonsense"), "No such option"),
        (("verify", "x", "--at", "yesterday"), "'yesterday' is not a time"),
        (("sign", "x"), "Missing option '--key'"),
        (("keygen", "x.pem", "--algorithm", "rsa"), "Invalid value for '--algorithm'"),
        (("keygen", "x.pub"), "the private key's name ends in .pem"),
        (("enrol",), "give --key (device)"),
        (("inspect", "no-such-file"), "no-such-file: No such file"),
        (("submit", "no-such-file"), "no-such-file: No such file"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_usage_errors_are_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    """A wrong command line is told what is wrong with it and where help is."""
    monkeypatch.chdir(tmp_path)
    ran = platemark(*words)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert said in ran.err


def test_scripts_get_errors_as_json(tmp_path: Path) -> None:
    """With --json an error is also an object on standard output, with a stable word."""
    for words, word in ((("inspect", tmp_path / "gone"), "file"), (("verify",), "usage")):
        ran = platemark(*words, "--json")
        assert (ran.code, ran.json()["error"]["code"]) == (2, word)
        assert ran.json()["error"]["reason"] in ran.err


def test_a_fault_of_the_program_is_a_line_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No traceback: exit code 70 and how to see more; with PLATEMARK_DEBUG=1 the traceback is shown as well."""

    def fail(_: str) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.delenv("PLATEMARK_DEBUG", raising=False)
    monkeypatch.setattr("platemark.keys.generate", fail)
    ran = platemark("keygen", tmp_path / "a.pem")
    assert (ran.code, ran.err.count("\n")) == (70, 1)
    assert "ZeroDivisionError: oops" in ran.err
    monkeypatch.setenv("PLATEMARK_DEBUG", "1")
    assert "Traceback" in platemark("keygen", tmp_path / "b.pem").err


def test_interruption_is_exit_code_130(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ctrl-C is one word on standard error."""

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("platemark.keys.generate", interrupt)
    ran = platemark("keygen", tmp_path / "a.pem")
    assert (ran.code, ran.err) == (130, "platemark: interrupted\n")


def test_a_reader_that_goes_away_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed pipe ends the command quietly with 141, and never with a verdict's code."""

    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys, "stdout", Closed())
    assert app.main(["--version"]) == 141


def test_a_closed_pipe_leaves_no_traceback(tmp_path: Path) -> None:
    """The real thing: the reader is gone before the first byte."""
    (tmp_path / "x.png").write_bytes(png())
    command = [sys.executable, "-m", "platemark", "--version"]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as gone:
        done = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_leaves_no_traceback(tmp_path: Path) -> None:
    """The real thing: a command that waits for the key's lock is interrupted."""
    import fcntl

    assert platemark("keygen", tmp_path / "k.pem").code == 0
    (tmp_path / "x.png").write_bytes(png())
    command = [sys.executable, "-m", "platemark", "sign", "x.png", "--key", "k.pem", "--device", "https://a.example/b"]
    with (tmp_path / "k.pem.state.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Whoever started these tests in the background may have had SIGINT ignored, which a child would inherit.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            deadline = time.monotonic() + 60
            while "flock" not in _waiting(child.pid) and child.poll() is None and time.monotonic() < deadline:
                pass
            child.send_signal(signal.SIGINT)
            _, errors = child.communicate(timeout=60)
        signal.signal(signal.SIGINT, before)
    assert (child.returncode, errors) == (130, b"platemark: interrupted\n")


def _waiting(pid: int) -> str:
    """Whether the process has the lock file open: `flock` if so."""
    folder = Path(f"/proc/{pid}/fd")
    try:
        links = [str(each.readlink()) for each in folder.iterdir()]
    except OSError:
        return "flock" if not folder.parent.parent.exists() else ""
    return "flock" if any(link.endswith(".state.lock") for link in links) else ""


def test_names_of_strangers_cannot_move_the_cursor(tmp_path: Path) -> None:
    """Control characters and markup in file names are shown, not obeyed."""
    name = "x\x1b[31m[bold]\nREFUSED.png"
    (tmp_path / name).write_bytes(png())
    assert platemark("keygen", tmp_path / "k.pem").code == 0
    ran = platemark("sign", tmp_path, "--key", tmp_path / "k.pem", "--device", "https://a.example/b")
    assert ran.code == 0
    assert "\x1b" not in ran.out
    assert r"x\u001b[31m[bold]\u000aREFUSED.png" in ran.out.replace("\n", "")
