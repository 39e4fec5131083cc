"""The state of an audit: what is kept, what is refused, and how an interrupted audit goes on."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from commands import platemark
from hypothesis import given
from hypothesis import strategies as st

import reference
from builders import LOG_KEY, ORIGIN, key
from platemark import checkpoint, note
from platemark.audit import (
    AuditState,
    Findings,
    Frontier,
    MissingTileError,
    Progress,
    SourceError,
    View,
    open_view,
    replay,
)
from platemark.audit_files import DirectorySource
from platemark.cli.auditing import Keys, StateFile, audit
from platemark.cosignature import CosignatureSigner
from platemark.errors import StateError
from platemark.tiles import Tile
from published import VKEY, entries, publish, root_of, signed

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["size", "rows", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = Keys(ORIGIN, (note.NoteSigner(ORIGIN, LOG_KEY).verifier,))


# A member of the state at size 3, and what it may not be.
DAMAGED: list[tuple[str, object]] = [
    ("v", 2),
    ("v", True),
    ("origin", "ledger.example/other"),
    ("note", None),
    ("note", "x"),
    ("note", signed(entries(4)).decode()),
    ("edge", None),
    ("edge", {"size": 3, "rows": []}),
    ("edge", {"size": 3, "rows": ["AA=="]}),
    ("edge", {"size": -1, "rows": []}),
    ("edge", {"size": 0, "rows": []}),
    ("progress", []),
    ("progress", {"size": 1, "rows": [1]}),
    ("proofs", None),
    ("proofs", [[1]]),
    ("more", 1),
]


def state_at(size: int) -> AuditState:
    """What an audit at `size` remembers."""
    frontier = Frontier()
    for entry in entries(size):
        frontier.add(reference.leaf(entry))
    return AuditState(ORIGIN, signed(entries(size)), frontier)


@given(st.integers(0, 300), st.booleans())
def test_round_trip(size: int, interrupted: bool) -> None:
    """A state that was written is read as it was."""
    state = state_at(size)
    if interrupted:
        state = AuditState(ORIGIN, state.note, state.frontier, Progress(Frontier()), ((b"one", b"two"),))
    read = AuditState.parse(state.to_bytes(), origin=ORIGIN)
    assert read.to_bytes() == state.to_bytes()
    assert (read.size, read.note, read.proofs) == (size, state.note, state.proofs)


@pytest.mark.parametrize(("name", "value"), DAMAGED)
def test_a_damaged_state_is_refused(name: str, value: object) -> None:
    """Whatever is wrong with the file is one StateError, never a shorter memory."""
    content = {**json.loads(state_at(3).to_bytes()), name: value}
    with pytest.raises(StateError):
        AuditState.parse(json.dumps(content).encode(), origin=ORIGIN)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_no_state_at_all(data: bytes) -> None:
    """Files that are something else."""
    with pytest.raises(StateError):
        AuditState.parse(data, origin=ORIGIN)


def test_a_damaged_state_is_exit_code_2(tmp_path: Path) -> None:
    """The command says so in one line and audits nothing."""
    (tmp_path / "state").write_bytes(b"{}")
    log = publish(tmp_path / "log", entries(3))
    ran = platemark("audit", log, "--vkey", VKEY, "--state", tmp_path / "state")
    assert (ran.code, ran.out) == (2, "")
    assert "not an audit state" in ran.err


class Failing(DirectorySource):
    """Goes away after some tiles."""

    def __init__(self, path: Path, after: int) -> None:
        super().__init__(path)
        self.left = after

    def tiles(self, wanted: Iterable[Tile]) -> Iterator[bytes]:
        """As TileSource, until it is gone."""
        for data in super().tiles(wanted):
            if not self.left:
                raise SourceError("gone")
            self.left -= 1
            yield data


@pytest.mark.parametrize("after", range(1, 11))
def test_an_interrupted_audit_goes_on(after: int, tmp_path: Path) -> None:
    """What was compared is not read again, what was not is, and the root is confirmed all the same."""
    log = publish(tmp_path / "log", entries(1200))
    kept = StateFile(tmp_path / "state", ORIGIN)
    with pytest.raises(SourceError, match="gone"):
        audit([Failing(log, after)], KEYS, kept)
    again = StateFile(tmp_path / "state", ORIGIN)
    done = again.state.progress.frontier.size if again.state.progress is not None else 0
    assert done == (after - 1) // 2 * 256
    outcome = audit([DirectorySource(log)], KEYS, again)
    assert (outcome.exit_code, outcome.audited.read) == (0, 1200 - done)
    assert again.state.progress is None
    assert again.state.size == 1200


def test_going_on_misses_no_fork(tmp_path: Path) -> None:
    """An audit of a fork, interrupted after the fork and resumed, still contradicts the remembered checkpoint."""
    kept = StateFile(tmp_path / "state", ORIGIN)
    audit([DirectorySource(publish(tmp_path / "log", entries(300)))], KEYS, kept)
    fork = publish(tmp_path / "fork", entries(1200, other_from=299))
    with pytest.raises(SourceError):
        audit([Failing(fork, 8)], KEYS, kept)
    outcome = audit([DirectorySource(fork)], KEYS, StateFile(tmp_path / "state", ORIGIN))
    assert set(outcome.findings.counts) == {"history-rewritten"}


def test_a_finding_does_not_move_the_memory(tmp_path: Path) -> None:
    """After a finding the state remembers what it remembered before."""
    log = publish(tmp_path / "log", entries(300))
    kept = StateFile(tmp_path / "state", ORIGIN)
    audit([DirectorySource(log)], KEYS, kept)
    before = kept.state
    publish(log, entries(400, other_from=100))
    assert audit([DirectorySource(log)], KEYS, kept).exit_code == 1
    assert (kept.state.note, kept.state.size) == (before.note, 300)
    assert len(kept.state.proofs) == 1


def test_opened_views_have_a_trusted_signature() -> None:
    """A view is one of the log and its keys, or a finding."""
    findings = Findings()
    opened = open_view(signed(entries(3)), source="x", origin=ORIGIN, verifiers=KEYS.verifiers, findings=findings)
    assert opened == View("x", 3, root_of(entries(3)), signed(entries(3)))
    assert not findings.counts


def test_every_type_of_key_has_to_sign() -> None:
    """Who gave the log's ML-DSA-44 key, too, is not shown a checkpoint without its signature, or with a bad one."""
    signer = CosignatureSigner(ORIGIN, key("log", "mldsa44"))
    plain = signed(entries(3))
    line = signer.sign(checkpoint.parse(plain).checkpoint, time_s=1)
    other = signer.sign(checkpoint.parse(signed(entries(4))).checkpoint, time_s=1)
    verifiers = (*KEYS.verifiers, signer.verifier)
    for data, codes in (
        (plain + line.encode(), []),
        (plain, ["checkpoint-signature"]),
        (plain + other.encode(), ["checkpoint-signature"]),
    ):
        findings = Findings()
        open_view(data, source="x", origin=ORIGIN, verifiers=verifiers, findings=findings)
        assert [each.code for each in findings.kept] == codes


def test_entries_are_kept_in_order(tmp_path: Path) -> None:
    """The replay hands on the entries that it audited, whatever is remembered."""
    log, logged = publish(tmp_path / "log", entries(600)), entries(600)
    view = View("x", 600, root_of(logged), signed(logged))
    done = replay(DirectorySource(log), view, state=state_at(300), findings=Findings(), keep_entries=True)
    assert done.entries == b"".join(logged)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_state_or_refused(data: bytes) -> None:
    """Reading a state ends in a state or in StateError."""
    try:
        assert AuditState.parse(data, origin=ORIGIN).origin == ORIGIN
    except StateError:
        return


@given(st.dictionaries(st.sampled_from(["v", "origin", "note", "edge", "progress", "proofs"]), JSON, max_size=3))
def test_any_json_is_a_state_or_refused(changes: dict[str, object]) -> None:
    """The same for a state in which members were replaced by any JSON."""
    content = {**json.loads(state_at(3).to_bytes()), **changes}
    try:
        assert AuditState.parse(json.dumps(content).encode(), origin=ORIGIN).origin == ORIGIN
    except StateError:
        return


class Hostile:
    """A source that answers anything."""

    name = "hostile"

    def __init__(self, answers: list[bytes | None]) -> None:
        self.answers = answers

    def checkpoint(self) -> bytes:
        """As TileSource."""
        return signed(entries(600))

    def tiles(self, wanted: Iterable[Tile]) -> Iterator[bytes]:
        """What it was told to say; None is a tile that it has not."""
        for number, _ in enumerate(wanted):
            answer = self.answers[number % len(self.answers)]
            if answer is None:
                raise MissingTileError("not there")
            yield answer


@given(st.lists(st.none() | st.binary(max_size=64) | st.just(b"\0\x20".ljust(34, b"x") * 256), min_size=1, max_size=6))
def test_a_hostile_source_is_found_out(answers: list[bytes | None]) -> None:
    """Whatever a source answers, the audit ends in findings and never in an exception or a confirmed root."""
    findings = Findings()
    view = View("hostile", 600, root_of(entries(600)), b"a note")
    for state in (AuditState(ORIGIN), state_at(300)):
        done = replay(Hostile(answers), view, state=state, findings=findings)
        assert done.frontier is None
        assert findings.critical
