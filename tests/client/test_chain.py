"""The chain state beside a key: what is on disk before a signature exists, and who may use it."""

from __future__ import annotations

import hashlib
import json
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import builders
from platemark import cbor, statement
from platemark.chain import Chain, ChainState, decode_state, state_path
from platemark.errors import KeyFileError, StateError, StatementError
from platemark.key_files import write_private
from platemark.statement import Statement

URI = "https://hospital.example/dx1"
SECOND = 10**9
KEY = builders.key("chain")


def chain(tmp_path: Path, *, key: builders.Key = KEY, now: int = builders.NOW, **options: Any) -> Chain:
    """A chain whose clock stands still."""
    return Chain(tmp_path / "dx1.pem", key, clock=lambda: now, **options)


def heartbeat(link: Chain, at: int = builders.NOW) -> Statement:
    """The next statement of the chain."""
    return link.sign("heartbeat", {"at": at, "since": at, "clock": {"source": "host", "error_ns": None}})


def test_statements_are_linked(tmp_path: Path) -> None:
    """Epoch is the second of creation and 20 more bits, seq counts from 0, prev is the id of the statement before."""
    link = chain(tmp_path)
    link.begin(issuer=URI)
    first, second = heartbeat(link), heartbeat(link)
    assert [(builders.NOW // SECOND, 0, None), (builders.NOW // SECOND, 1, first.id)] == [
        ((each.epoch or 0) >> 20, each.seq, each.prev) for each in (first, second)
    ]
    assert first.epoch == second.epoch
    assert [first.issuer, second.issuer] == [URI, URI]


def test_chain_goes_on_after_a_restart(tmp_path: Path) -> None:
    """Another process, later, continues where the last one was."""
    link = chain(tmp_path)
    link.begin(issuer=URI)
    first = heartbeat(link)
    later = chain(tmp_path, now=builders.NOW + 99 * SECOND)
    later.begin()
    second = heartbeat(later)
    assert (first.epoch, 1, first.id) == (second.epoch, second.seq, second.prev)


@dataclass(frozen=True)
class Watching:
    """A Signer that looks at the disk when it is asked to sign, and may then fail."""

    path: Path
    seen: list[ChainState]
    fail: bool = False
    alg: int = KEY.alg
    spki: bytes = KEY.spki
    kid: bytes = KEY.kid

    def sign(self, message: bytes) -> bytes:
        """As a Signer does, unless the test made it fail."""
        self.seen.append(decode_state(self.path.read_bytes()))
        if self.fail:
            raise KeyFileError("the token was pulled")
        return KEY.sign(message)


def test_the_state_is_on_disk_before_the_signature_is_made(tmp_path: Path) -> None:
    """When the signer is asked, the state already names the statement to come, by its id."""
    seen: list[ChainState] = []
    link = Chain(tmp_path / "dx1.pem", Watching(tmp_path / "dx1.pem.state", seen), clock=lambda: builders.NOW)
    link.begin(issuer=URI)
    signed = heartbeat(link)
    assert [(1, signed.id)] == [(each.seq, each.prev) for each in seen]


def test_a_crash_while_signing_leaves_no_fork(tmp_path: Path) -> None:
    """A place in the chain that was reserved is never given out again, though nothing was signed there."""
    broken = Watching(tmp_path / "dx1.pem.state", [], fail=True)
    link = Chain(tmp_path / "dx1.pem", broken, clock=lambda: builders.NOW)
    link.begin(issuer=URI)
    with pytest.raises(KeyFileError):
        heartbeat(link)
    after = heartbeat(chain(tmp_path))
    assert (after.seq, after.prev is not None) == (1, True)


def test_a_refused_payload_uses_up_nothing(tmp_path: Path) -> None:
    """A payload that its kind does not allow leaves the state as it was."""
    link = chain(tmp_path)
    before = link.begin(issuer=URI)
    with pytest.raises(StatementError):
        link.sign("heartbeat", {"at": -1})
    assert before == link.state()


def test_a_lost_state_opens_a_greater_epoch(tmp_path: Path) -> None:
    """Without its state a key begins again, in an epoch that is later than the lost one."""
    link = chain(tmp_path)
    link.begin(issuer=URI)
    first = heartbeat(link)
    link.path.unlink()
    again = chain(tmp_path, now=builders.NOW + 5 * SECOND)
    again.begin(issuer=URI)
    second = heartbeat(again)
    assert first.epoch is not None
    assert second.epoch is not None
    assert ((first.epoch >> 20) + 5, 0, None) == (second.epoch >> 20, second.seq, second.prev)


@pytest.mark.parametrize("step", [-100, 0, 100])
def test_restart_opens_a_greater_epoch_whatever_the_clock_says(tmp_path: Path, step: int) -> None:
    """A restored state is left behind by an epoch greater than any it has seen, also when the clock went back."""
    link = chain(tmp_path)
    before = link.begin(issuer=URI)
    heartbeat(link)
    after = chain(tmp_path, now=builders.NOW + step * SECOND).restart()
    assert after.epoch > before.epoch
    assert (after.seq, after.prev, after.issuer) == (0, None, URI)


def test_the_state_of_another_key_is_refused(tmp_path: Path) -> None:
    """A key never continues the chain of another one, whose file had the same name."""
    chain(tmp_path).begin(issuer=URI)
    with pytest.raises(StateError, match="the state of another key"):
        chain(tmp_path, key=builders.key("other")).begin(issuer=URI)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"issuer": "https://hospital.example/dx2"}, "signs as https://hospital.example/dx1, not as"),
        ({"role": "gateway"}, "asked to be a modality, not a gateway"),
    ],
)
def test_a_key_keeps_its_uri_and_role(tmp_path: Path, options: dict[str, str], message: str) -> None:
    """Another URI or role than the remembered one is refused."""
    chain(tmp_path).begin(issuer=URI, role="modality")
    with pytest.raises(StateError, match=message):
        chain(tmp_path).begin(**options)


def test_no_state_and_no_uri_is_an_error(tmp_path: Path) -> None:
    """Nothing is guessed: the first use of a key says what it signs as."""
    with pytest.raises(StateError, match="has to be given"):
        chain(tmp_path).begin()
    with pytest.raises(StateError, match="has to be given"):
        heartbeat(chain(tmp_path))


def test_a_uri_that_no_statement_can_carry_is_refused_at_once(tmp_path: Path) -> None:
    """Such a URI would be remembered, and block the key."""
    with pytest.raises(StateError, match="not an absolute URI"):
        chain(tmp_path).begin(issuer="dx1")
    assert not chain(tmp_path).path.exists()


GOOD = json.loads(ChainState(KEY.kid, URI, epoch=5, seq=1, prev=bytes(32), role="modality").to_bytes())


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"extra": 1},
        {"kid": "00"},
        {"kid": 5},
        {"issuer": None},
        {"role": "king"},
        {"epoch": -1},
        {"epoch": True},
        {"seq": 1 << 63},
        {"seq": "1"},
        {"seq": 0},
        {"prev": None},
        {"prev": "AA" * 32},
        {"last": 5},
        {"last": "é"},
        {"last": "AA"},
        {"last": "AAAA"},
    ],
    ids=str,
)
def test_a_damaged_state_is_refused_and_never_guessed(tmp_path: Path, change: dict[str, Any]) -> None:
    """A state that is not exactly one is an error that says how to go on."""
    state_path(tmp_path / "dx1.pem").write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(StateError, match="remove it: a new one opens a greater epoch"):
        chain(tmp_path).begin(issuer=URI)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[1]", b"\xff", b"[" * 60_000, b"x" * 70_000],
    ids=["empty", "cut", "list", "binary", "deep", "large"],
)
def test_bytes_that_are_no_state_are_refused(tmp_path: Path, data: bytes) -> None:
    """Whatever lies there, the error is ours."""
    state_path(tmp_path / "dx1.pem").write_bytes(data)
    with pytest.raises(StateError):
        chain(tmp_path).begin(issuer=URI)


def test_state_round_trips() -> None:
    """A state is read as it was written."""
    for state in (ChainState(KEY.kid, URI, epoch=5), ChainState(KEY.kid, URI, 5, 7, bytes(32), "sensor")):
        assert state == decode_state(state.to_bytes())


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_the_state_is_the_owner_s_alone(tmp_path: Path) -> None:
    """Mode 0600, at the beginning and after every statement, and no temporary file stays."""
    link = chain(tmp_path)
    link.begin(issuer=URI)
    heartbeat(link)
    assert stat.S_IMODE(link.path.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dx1.pem.state", "dx1.pem.state.lock"]


def test_a_key_in_use_elsewhere_is_waited_for_and_then_named(tmp_path: Path) -> None:
    """A second user of the key gets one clear error when the first does not let go."""
    holder = chain(tmp_path)
    holder.begin(issuer=URI)
    with holder._locked(), pytest.raises(StateError, match="another process has been signing with this key"):
        heartbeat(chain(tmp_path, patience=0.0))


_SIGN_TEN = """
import sys
from pathlib import Path
from platemark.chain import Chain
from platemark.key_files import read_private
path = Path(sys.argv[1])
chain = Chain(path, read_private(path))
sys.stdin.read()
for _ in range(10):
    chain.sign("heartbeat", {"at": 1, "since": 1, "clock": {"source": "host", "error_ns": None}})
"""


def test_processes_that_share_a_key_make_one_chain(tmp_path: Path) -> None:
    """Three processes at once: every place of the chain is used exactly once, and nothing is left locked."""
    path = tmp_path / "dx1.pem"
    write_private(path, KEY.private)
    link = Chain(path, KEY, clock=lambda: builders.NOW)
    link.begin(issuer=URI)
    command = [sys.executable, "-c", _SIGN_TEN, str(path)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(3)]
    # All wait for the end of their input, which comes to all at once.
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert heartbeat(link).seq == 30


@pytest.mark.parametrize("algorithm", ["p256", "ed25519", "mldsa44"])
def test_the_reserved_id_is_the_statement_s_id(tmp_path: Path, algorithm: builders.Algorithm) -> None:
    """For every algorithm the state holds the id that decoding the signed statement gives."""
    key = builders.key("reserving", algorithm)
    link = chain(tmp_path, key=key)
    link.begin(issuer=URI)
    signed = heartbeat(link)
    state = link.state()
    assert state is not None
    assert statement.decode(signed.raw).id == state.prev
    signed.verify(key.public)


def test_a_state_that_cannot_be_written_means_no_signature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk refuses the state, nothing is signed."""
    seen: list[ChainState] = []
    link = Chain(tmp_path / "dx1.pem", Watching(tmp_path / "dx1.pem.state", seen), clock=lambda: builders.NOW)
    link.begin(issuer=URI)
    real: Callable[..., None] = __import__("os").replace

    def full(source: Path, target: Path) -> None:
        if str(target).endswith(".state"):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr("platemark.files.os.replace", full)
    with pytest.raises(StateError, match="No space left"):
        heartbeat(link)
    assert seen == []


def test_two_states_begun_in_one_second_sign_different_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state that is lost and begun again under a clock that stands still does not fork the chain."""
    bits = iter([7, 8])
    monkeypatch.setattr("platemark.chain.secrets.randbits", lambda _: next(bits))
    link = chain(tmp_path)
    link.begin(issuer=URI)
    first = heartbeat(link)
    link.path.unlink()
    link.begin(issuer=URI)
    second = heartbeat(link)
    assert [first.epoch, second.epoch] == [builders.NOW // SECOND << 20 | 7, builders.NOW // SECOND << 20 | 8]


def test_a_lock_file_that_is_removed_while_held_signs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lost the lock stops before the signature, and whoever took the new one signs the place."""
    link, other = chain(tmp_path), chain(tmp_path)
    link.begin(issuer=URI)
    signed: list[Statement] = []
    real = link.state

    def state() -> ChainState | None:
        found = real()
        Path(f"{link.path}.lock").unlink()
        signed.append(heartbeat(other))
        return found

    monkeypatch.setattr(link, "state", state)
    with pytest.raises(StateError, match="removed while this process signed"):
        heartbeat(link)
    monkeypatch.undo()
    signed.append(heartbeat(link))
    assert [each.seq for each in signed] == [0, 1]


def test_a_link_to_a_key_shares_its_state(tmp_path: Path) -> None:
    """A symbolic link is another name of the key and not another chain."""
    key = tmp_path / "dx1.pem"
    key.touch()
    alias = tmp_path / "alias" / "key.pem"
    alias.parent.mkdir()
    alias.symlink_to(key)
    assert state_path(alias) == state_path(key)


@pytest.mark.parametrize(("epoch", "seq"), [((1 << 63) - 1, 0), (5, (1 << 63) - 1)])
def test_the_last_place_of_all_is_never_signed(tmp_path: Path, epoch: int, seq: int) -> None:
    """A state that could not be read again is never written."""
    link = chain(tmp_path)
    state = ChainState(KEY.kid, URI, epoch, seq, bytes(32) if seq else None)
    link.path.write_bytes(state.to_bytes())
    with pytest.raises(StateError, match="2\\^63 - 1"):
        heartbeat(link)
    if epoch > 5:
        with pytest.raises(StateError, match="2\\^63 - 1"):
            link.restart()
    assert link.state() == state


def test_a_crash_while_signing_costs_nothing_when_the_owner_resumes(tmp_path: Path) -> None:
    """The reserved statement is signed again under the id that the chain goes on from: no gap, no fork."""
    broken = Watching(tmp_path / "dx1.pem.state", [], fail=True)
    link = Chain(tmp_path / "dx1.pem", broken, clock=lambda: builders.NOW)
    link.begin(issuer=URI)
    with pytest.raises(KeyFileError):
        heartbeat(link)
    resumed = chain(tmp_path).last()
    assert resumed is not None
    resumed.verify(KEY.public)
    after = heartbeat(chain(tmp_path))
    assert [(0, None), (1, resumed.id)] == [(each.seq, each.prev) for each in (resumed, after)]


@pytest.mark.parametrize("algorithm", ["p256", "ed25519", "mldsa44"])
def test_the_last_statement_is_the_one_that_was_signed(tmp_path: Path, algorithm: builders.Algorithm) -> None:
    """`last` gives a statement of the same id whose signature verifies, however often and by whatever process it is asked."""
    key = builders.key("last", algorithm)
    link = chain(tmp_path, key=key)
    link.begin(issuer=URI)
    heartbeat(link)
    signed = heartbeat(link)
    for asked in (link, link, chain(tmp_path, key=key)):
        again = asked.last()
        assert again is not None
        assert (signed.id, signed.payload) == (again.id, again.payload)
        again.verify(key.public)


def test_a_chain_without_a_statement_has_no_last_one(tmp_path: Path) -> None:
    """Neither before the state exists, nor before the first statement, nor at the start of a greater epoch."""
    link = chain(tmp_path)
    assert link.last() is None
    link.begin(issuer=URI)
    assert link.last() is None
    heartbeat(link)
    link.restart()
    assert link.last() is None


def test_a_state_of_an_earlier_release_is_read(tmp_path: Path) -> None:
    """A state file that has no last statement loads, knows none, and the chain goes on from it."""
    link = chain(tmp_path)
    link.begin(issuer=URI)
    first = heartbeat(link)
    content = json.loads(link.path.read_bytes())
    del content["last"]
    link.path.write_text(json.dumps(content))
    assert link.last() is None
    second = heartbeat(link)
    assert (1, first.id) == (second.seq, second.prev)


def test_the_greatest_statement_fits_into_the_state(tmp_path: Path) -> None:
    """A state that holds a statement of the size limit is read again."""
    link = chain(tmp_path)
    words = bytes(statement.MAX_STATEMENT)
    state = ChainState(KEY.kid, URI, 5, 1, hashlib.sha256(words).digest(), last=words)
    link.path.write_bytes(state.to_bytes())
    assert state == link.state()


def test_nothing_but_the_reserved_statement_is_ever_signed(tmp_path: Path) -> None:
    """A state whose last statement was exchanged for other words, also well formed ones, is refused unsigned."""
    link = chain(tmp_path)
    link.begin(issuer=URI)
    first = heartbeat(link)
    heartbeat(link)
    state = link.state()
    assert state is not None
    seen: list[ChainState] = []
    for words in (first.message.to_be_signed, b"anything", cbor.encode(["Signature1", b"", b"", b"x"])):
        forged = replace(state, prev=hashlib.sha256(words).digest(), last=words)
        link.path.write_bytes(forged.to_bytes())
        with pytest.raises(StateError, match="last is not"):
            Chain(tmp_path / "dx1.pem", Watching(link.path, seen)).last()
    assert seen == []
