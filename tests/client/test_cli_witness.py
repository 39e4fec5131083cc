"""`platemark witness`: making one, adding logs, and everything it refuses to do."""

from __future__ import annotations

import builtins
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import platemark
from witnessed import History

from platemark.cosignature import ML_DSA_44, CosignatureVerifier, parse_vkey
from platemark.key_files import read_private

NAME = "witness.example/w1"
LOG = History().verifier


@pytest.fixture(name="directory")
def _directory(tmp_path: Path) -> Path:
    """A new witness."""
    assert platemark("witness", "init", tmp_path / "w", "--name", NAME).code == 0
    return tmp_path / "w"


@pytest.mark.parametrize("command", ["init", "add-log", "vkeys", "serve"])
def test_help_teaches_with_an_example(command: str) -> None:
    """Every command's help has an example of itself and offers --json."""
    ran = platemark("witness", command, "--help")
    assert (ran.code, f"platemark witness {command} /srv/witness" in ran.out, "--json" in ran.out) == (0, True, True)


def test_help_says_why_plain_text_needs_a_proxy() -> None:
    """The reason stands where the option does."""
    said = " ".join(platemark("witness", "serve", "--help").out.split())
    assert "in plain text anyone on the way could answer in this witness's place" in said


def test_init_makes_two_keys_and_a_database(tmp_path: Path) -> None:
    """Private files in a private directory; both public keys are printed, and are those of the files."""
    ran = platemark("witness", "init", tmp_path / "a" / "w", "--name", NAME)
    assert ran.code == 0
    assert "NOT encrypted" in ran.err
    made = [parse_vkey(line) for line in ran.out.splitlines()]
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "a" / "w").iterdir()}
    assert modes == {"ed25519.pem": 0o600, "mldsa44.pem": 0o600, "witness.db": 0o600}
    assert stat.S_IMODE((tmp_path / "a" / "w").stat().st_mode) == 0o700
    for verifier, file in zip(made, ("ed25519.pem", "mldsa44.pem"), strict=True):
        assert isinstance(verifier, CosignatureVerifier)
        assert (verifier.name, verifier.key.spki) == (NAME, read_private(tmp_path / "a" / "w" / file).spki)
    assert [each.type for each in made if isinstance(each, CosignatureVerifier)] == [4, ML_DSA_44]
    again = platemark("witness", "vkeys", tmp_path / "a" / "w")
    assert (again.code, again.out) == (0, ran.out)


def test_json(tmp_path: Path) -> None:
    """The same for scripts."""
    made = platemark("witness", "init", tmp_path / "w", "--name", NAME, "--json").json()
    assert (made["name"], len(made["vkeys"]), made["encrypted"]) == (NAME, 2, False)
    assert platemark("witness", "vkeys", tmp_path / "w", "--json").json() == {"name": NAME, "vkeys": made["vkeys"]}
    added = platemark("witness", "add-log", tmp_path / "w", LOG.vkey, "--json").json()
    assert added == {"logs": [{"origin": LOG.name, "keys": 1, "size": None}]}


def test_a_passphrase_encrypts_both_keys(tmp_path: Path) -> None:
    """And serve needs it: without it, or with another, it says so and does not serve."""
    (tmp_path / "secret").write_text("correct horse\n")
    (tmp_path / "wrong").write_text("battery\n")
    made = platemark("witness", "init", tmp_path / "w", "--name", NAME, "--passphrase-file", tmp_path / "secret")
    assert made.code == 0
    for each in ("ed25519.pem", "mldsa44.pem"):
        assert b"ENCRYPTED" in (tmp_path / "w" / each).read_bytes()
    assert platemark("witness", "vkeys", tmp_path / "w").code == 0
    serve = ("witness", "serve", tmp_path / "w", "--listen", "127.0.0.1:0")
    assert "no passphrase was given" in platemark(*serve).err
    assert "the passphrase is wrong" in platemark(*serve, "--passphrase-file", tmp_path / "wrong").err


def test_a_log_is_added_once(directory: Path) -> None:
    """Again is no error and no change; another key of the same log is one more."""
    second = History(key="second").verifier
    assert (
        platemark("witness", "add-log", directory, LOG.vkey).out == f"log {LOG.name}: 1 key(s), nothing cosigned yet\n"
    )
    assert platemark("witness", "add-log", directory, LOG.vkey, second.vkey).out.startswith(f"log {LOG.name}: 2 key(s)")
    assert platemark("witness", "add-log", directory, LOG.vkey).out.startswith(f"log {LOG.name}: 2 key(s)")


def test_one_bad_key_adds_nothing(directory: Path) -> None:
    """Of several keys, all or none."""
    assert platemark("witness", "add-log", directory, LOG.vkey, "nonsense").code == 2
    assert platemark("witness", "add-log", directory, History(origin="b").verifier.vkey).out.count("\n") == 1


def _vkey(directory: Path) -> str:
    return platemark("witness", "vkeys", directory).out.splitlines()[0]


def test_what_is_no_key_of_a_log_is_refused(directory: Path) -> None:
    """A cosigner's key, a name that is too long, this witness's own name: one sentence each, exit code 2."""
    own = History(origin=NAME).verifier.vkey
    long = History(origin="x" * 256).verifier.vkey
    cases = (
        (_vkey(directory), "type 0x01"),
        (own, "this witness's own name"),
        (long, "at most 255 bytes"),
        ("x", "name+hex"),
    )
    for vkey, said in cases:
        ran = platemark("witness", "add-log", directory, vkey)
        assert (ran.code, ran.err.count("\n"), said in ran.err) == (2, 1, True), ran.err


@pytest.mark.parametrize("name", ["", "two words", "a+b", "x" * 256, "line\nfeed"])
def test_a_name_that_is_no_key_name_is_refused(tmp_path: Path, name: str) -> None:
    """Before anything is written."""
    ran = platemark("witness", "init", tmp_path / "w", "--name", name)
    assert (ran.code, ran.err.count("\n"), "key name" in ran.err) == (2, 1, True)
    assert list(tmp_path.iterdir()) == []


def test_init_never_makes_a_witness_twice(directory: Path) -> None:
    """Not over a whole one, and not beside keys whose database is lost."""
    before = {each.name: each.read_bytes() for each in directory.iterdir()}
    ran = platemark("witness", "init", directory, "--name", NAME)
    assert (ran.code, "is not empty; a witness is made once" in ran.err) == (2, True)
    assert before == {each.name: each.read_bytes() for each in directory.iterdir()}
    (directory / "witness.db").unlink()
    assert platemark("witness", "init", directory, "--name", NAME).code == 2
    assert not (directory / "witness.db").exists()


@pytest.mark.parametrize("command", [("serve", "--listen", "127.0.0.1:0"), ("vkeys",), ("add-log", LOG.vkey)])
def test_a_lost_database_retires_the_witness(directory: Path, command: tuple[str, ...]) -> None:
    """Every command says so in one sentence and makes none."""
    (directory / "witness.db").unlink()
    ran = platemark("witness", command[0], directory, *command[1:])
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "there is no such database, and a witness that lost its database is retired" in ran.err
    assert sorted(each.name for each in directory.iterdir()) == ["ed25519.pem", "mldsa44.pem"]


def test_a_damaged_database_is_refused(directory: Path) -> None:
    """In one sentence; it is not repaired."""
    data = (directory / "witness.db").read_bytes()
    (directory / "witness.db").write_bytes(data[:4096] + b"\xa5" * (len(data) - 4096))
    ran = platemark("witness", "serve", directory, "--listen", "127.0.0.1:0")
    assert (ran.code, ran.err.count("\n"), "the database is damaged" in ran.err) == (2, 1, True)


def test_keys_of_another_witness_are_refused(directory: Path, tmp_path: Path) -> None:
    """A database goes with the keys that it was made for."""
    assert platemark("witness", "init", tmp_path / "other", "--name", NAME).code == 0
    (directory / "ed25519.pem").unlink()
    (tmp_path / "other" / "ed25519.pem").rename(directory / "ed25519.pem")
    ran = platemark("witness", "serve", directory, "--listen", "127.0.0.1:0")
    assert (ran.code, "was made for other keys" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        ("0.0.0.0:0", "0.0.0.0 is not loopback and this is plain text"),
        ("[::]:0", ":: is not loopback"),
        ("witness.example:80", "witness.example is not loopback"),
        ("127.0.0.1", "is not HOST:PORT"),
        (":80", "is not HOST:PORT"),
        ("127.0.0.1:65536", "is not HOST:PORT"),
        ("127.0.0.1:http", "is not HOST:PORT"),
    ],
)
def test_an_address_that_is_refused(directory: Path, listen: str, said: str) -> None:
    """Plain text outside loopback only behind a proxy; exit code 2 and a line that names the option."""
    ran = platemark("witness", "serve", directory, "--listen", listen)
    assert (ran.code, ran.err.count("\n"), said in ran.err, "--listen" in ran.err) == (2, 1, True, True), ran.err


def test_behind_a_proxy_any_address_is_tried(directory: Path) -> None:
    """203.0.113.1 is nobody's, so that binding it fails: after the address was accepted, not because of it."""
    ran = platemark("witness", "serve", directory, "--listen", "203.0.113.1:0", "--behind-proxy")
    assert (ran.code, ran.err.startswith("platemark: --listen 203.0.113.1:0: ")) == (2, True)


def test_a_missing_extra_is_named(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without starlette, the line that installs it; the other commands need none of it."""
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "starlette":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest, **more)

    monkeypatch.delitem(sys.modules, "platemark.witness.app", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    ran = platemark("witness", "serve", directory, "--listen", "127.0.0.1:0")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert 'pip install "platemark[witness]"' in ran.err
    assert platemark("witness", "vkeys", directory).code == 0


def test_errors_as_json(directory: Path) -> None:
    """A stable word for scripts."""
    (directory / "witness.db").unlink()
    assert platemark("witness", "vkeys", directory, "--json").json()["error"]["code"] == "witness"
