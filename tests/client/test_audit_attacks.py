"""`platemark audit` against logs that lie: each attack ends in its finding and in exit code 1."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import platemark

from builders import key
from platemark.checkpoint import parse
from platemark.cosignature import CosignatureSigner
from published import VKEY, entries, publish, root_of, served, signed

ATTACKS: dict[str, tuple[Callable[[Path], object], set[str]]] = {}
SIZE = 700


def attack(*findings: str) -> Callable[[Callable[[Path], object]], Callable[[Path], object]]:
    """Register what changes a published log of SIZE entries, and exactly the findings that have to say so."""

    def register(change: Callable[[Path], object]) -> Callable[[Path], object]:
        ATTACKS[change.__name__] = (change, set(findings))
        return change

    return register


def flip(path: Path, at: int) -> None:
    """Change one byte."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@attack("tile-mismatch", "root-mismatch")
def rewritten_entry(log: Path) -> None:
    """One bit of one entry."""
    flip(log / "tile/entries/001", 34 * 7 + 2)


@attack("tile-mismatch", "root-mismatch")
def rewritten_entry_with_its_tile(log: Path) -> None:
    """An entry and every level-0 tile over it, but not the level above."""
    other = entries(SIZE)
    other[300] = bytes(32)
    publish(log.parent / "other", other)
    for name in ("tile/entries/001", "tile/0/001"):
        shutil.copy(log.parent / "other" / name, log / name)


@attack("root-mismatch")
def rewritten_tree_under_the_old_checkpoint(log: Path) -> None:
    """Entry and all tiles rewritten; only the signature cannot be."""
    kept = (log / "checkpoint").read_bytes()
    other = entries(SIZE)
    other[300] = bytes(32)
    publish(log, other, head=kept)


@attack("tile-mismatch")
def wrong_tile_at_level_1(log: Path) -> None:
    """A tile above the entries is not over them."""
    flip(log / "tile/1/000.p/2", 33)


@attack("tile-mismatch")
def wrong_partial_tile_at_level_0(log: Path) -> None:
    """The newest tile."""
    flip(log / f"tile/0/002.p/{SIZE % 256}", 0)


@attack("tile-malformed")
def entry_of_another_length(log: Path) -> None:
    """A bundle whose bytes are no entries of 32."""
    flip(log / "tile/entries/000", 1)


@attack("tile-malformed")
def short_bundle(log: Path) -> None:
    """A bundle with an entry less."""
    path = log / "tile/entries/000"
    path.write_bytes(path.read_bytes()[:-34])


@attack("tile-missing")
def missing_bundle(log: Path) -> None:
    """A bundle that the checkpoint promises."""
    (log / "tile/entries/001").unlink()


@attack("tile-missing")
def overlong_tile(log: Path) -> None:
    """A tile past its size, which is not read to its end."""
    (log / "tile/0/000").write_bytes(bytes(8193))


@attack("checkpoint-signature")
def unknown_key(log: Path) -> None:
    """Signed by a key that the auditor does not know."""
    (log / "checkpoint").write_bytes(signed(entries(SIZE), key=key("stranger", "ed25519")))


@attack("checkpoint-origin")
def checkpoint_of_another_log(log: Path) -> None:
    """The checkpoint of another log, by the same key."""
    (log / "checkpoint").write_bytes(signed(entries(SIZE), origin="ledger.example/other"))


@attack("checkpoint-malformed")
def no_checkpoint(log: Path) -> None:
    """Something else."""
    (log / "checkpoint").write_bytes(b"<html>404</html>")


@attack("root-mismatch")
def swapped_checkpoint(log: Path) -> None:
    """A signed root of this size and other entries."""
    (log / "checkpoint").write_bytes(signed(entries(SIZE), root=bytes(32)))


def audit(*words: object) -> tuple[int, dict[str, Any]]:
    """The exit code and what --json says."""
    ran = platemark("audit", *words, "--vkey", VKEY, "--json")
    return ran.code, json.loads(ran.out)


def codes(said: dict[str, Any]) -> set[str]:
    """The codes of all findings."""
    return {each["code"] for each in said["findings"]}


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_attack_on_a_new_log(name: str, tmp_path: Path) -> None:
    """Whoever audits from the beginning finds it."""
    change, findings = ATTACKS[name]
    log = publish(tmp_path / "log", entries(SIZE))
    change(log)
    code, said = audit(log)
    assert (code, codes(said)) == (1, findings)
    assert not said["confirmed"]
    assert all(each["proof"] for each in said["findings"])


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_attack_over_http(name: str, tmp_path: Path) -> None:
    """The same by HTTP."""
    change, findings = ATTACKS[name]
    log = publish(tmp_path / "log", entries(SIZE))
    change(log)
    with served(log) as url:
        code, said = audit(url)
    assert (code, codes(said)) == (1, findings)


def test_an_honest_log(tmp_path: Path) -> None:
    """Nothing is found, by file and by HTTP, at sizes on and off the borders of tiles."""
    for size in (0, 1, 256, 257, 512, SIZE):
        log = publish(tmp_path / str(size), entries(size))
        with served(log) as url:
            code, said = audit(url, log)
        assert (code, said["result"], said["read"], said["confirmed"]) == (0, "nothing-found", size, True), said


def remembered(tmp_path: Path, *, size: int = SIZE) -> tuple[Path, Path]:
    """A log that was audited once at `size`: its directory and the state file."""
    log, state = publish(tmp_path / "log", entries(size)), tmp_path / "state"
    assert audit(log, "--state", state)[0] == 0
    return log, state


@pytest.mark.parametrize("grown", [SIZE + 1, 768, 769, 1100])
def test_growth_reads_only_what_is_new(grown: int, tmp_path: Path) -> None:
    """The second audit of a log that grew reads the rest, and remembers the new checkpoint."""
    log, state = remembered(tmp_path)
    publish(log, entries(grown))
    code, said = audit(log, "--state", state)
    assert (code, said["read"], said["confirmed"]) == (0, grown - SIZE, True)
    assert audit(log, "--state", state)[1]["read"] == 0


@pytest.mark.parametrize("fork", [0, 300, SIZE - 1])
@pytest.mark.parametrize("grown", [SIZE + 1, 1100])
def test_forked_log(fork: int, grown: int, tmp_path: Path) -> None:
    """A greater log that does not begin with the remembered one is proven so by both notes, and the first stays remembered."""
    log, state = remembered(tmp_path)
    before = (log / "checkpoint").read_text()
    publish(log, entries(grown, other_from=fork))
    code, said = audit(log, "--state", state)
    assert (code, codes(said)) == (1, {"history-rewritten"})
    (finding,) = said["findings"]
    assert (finding["position"], finding["proof"]) == (SIZE, [before, (log / "checkpoint").read_text()])
    kept = json.loads(state.read_bytes())
    assert kept["note"] == before
    assert kept["proofs"] == [finding["proof"]]


def test_forked_log_of_the_same_size(tmp_path: Path) -> None:
    """Two roots for one size."""
    log, state = remembered(tmp_path)
    publish(log, entries(SIZE, other_from=SIZE - 1))
    code, said = audit(log, "--state", state)
    assert (code, codes(said)) == (1, {"split-view"})


def test_truncated_log(tmp_path: Path) -> None:
    """A smaller log than the remembered one."""
    log, state = remembered(tmp_path)
    publish(log, entries(SIZE - 1))
    code, said = audit(log, "--state", state)
    assert (code, codes(said)) == (1, {"log-shrank"})


def test_swapped_bundle_behind_the_memory(tmp_path: Path) -> None:
    """The overlap with what is remembered is compared, so that a rewritten tail is found though nothing new is wrong."""
    log, state = remembered(tmp_path)
    publish(log, entries(SIZE + 5))
    flip(log / f"tile/entries/002.p/{SIZE + 5 - 512}", 2)
    code, said = audit(log, "--state", state)
    assert (code, codes(said)) == (1, {"tile-mismatch", "root-mismatch"})


@pytest.mark.parametrize("size", [SIZE, 1, 256, 300, 699])
def test_split_view(size: int, tmp_path: Path) -> None:
    """Two sources that show different histories are a split view, whatever their sizes, proven by both notes."""
    log = publish(tmp_path / "log", entries(SIZE))
    other = publish(tmp_path / "other", entries(size, other_from=size - 1))
    with served(other) as url:
        code, said = audit(log, url)
    assert (code, codes(said)) == (1, {"split-view"})
    assert sorted(said["findings"][0]["proof"]) == sorted(
        [(log / "checkpoint").read_text(), (other / "checkpoint").read_text()]
    )


def test_split_view_below_the_memory(tmp_path: Path) -> None:
    """A view smaller than what is remembered is compared, too, though the log is read again for it."""
    log, state = remembered(tmp_path)
    shown = tmp_path / "their-checkpoint"
    shown.write_bytes(signed(entries(300, other_from=299)))
    code, said = audit(log, shown, "--state", state)
    assert (code, codes(said), said["read"]) == (1, {"split-view"}, SIZE)


def test_a_lagging_mirror_is_no_split_view(tmp_path: Path) -> None:
    """An earlier tree of the same history is fine."""
    log = publish(tmp_path / "log", entries(SIZE))
    mirror = publish(tmp_path / "mirror", entries(400))
    assert audit(mirror, log)[0] == 0


def test_a_checkpoint_ahead_of_all_tiles(tmp_path: Path) -> None:
    """What cannot be compared is said, and is not "nothing found"."""
    log = publish(tmp_path / "log", entries(SIZE))
    shown = tmp_path / "their-checkpoint"
    shown.write_bytes(signed(entries(SIZE + 1)))
    code, said = audit(log, shown)
    assert (code, said["result"], codes(said)) == (3, "incomplete", set())
    assert str(SIZE + 1) in said["incomplete"][0]


def test_fallback_to_the_full_tile(tmp_path: Path) -> None:
    """Partial tiles may be gone once the full ones exist (C2SP tlog-tiles)."""
    log = publish(tmp_path / "log", entries(1024))
    (log / "checkpoint").write_bytes(signed(entries(SIZE)))
    (log / "tile/1/000.p/2").parent.mkdir(exist_ok=True)
    (log / "tile/1/000.p/2").write_bytes((log / "tile/1/000.p/4").read_bytes()[:64])
    with served(log) as url:
        assert audit(url)[0] == 0
    assert audit(log)[0] == 0


def test_three_levels(tmp_path: Path) -> None:
    """A log whose tiles reach level 2 is replayed, and a wrong tile there is found."""
    logged = entries(65536 + 300)
    log = publish(tmp_path / "log", logged)
    code, said = audit(log)
    assert (code, said["root"]) == (0, root_of(logged).hex())
    flip(log / "tile/1/000", 5)
    flip(log / "tile/2/000.p/1", 5)
    assert [(each["code"], each["position"]) for each in audit(log)[1]["findings"]] == [
        ("tile-mismatch", 0),
        ("tile-mismatch", 0),
    ]


def test_witnesses(tmp_path: Path) -> None:
    """With a witness policy a checkpoint needs its quorum: no stranger, no copy and no broken line counts for it."""
    one, two, stranger = (
        CosignatureSigner(f"{name}.example/w", key(name, "ed25519")) for name in ("one", "two", "stranger")
    )
    lines = [f"witness {each.name.partition('.')[0]} {each.verifier.vkey}" for each in (one, two)]
    policy = tmp_path / "policy"
    policy.write_text("\n".join([*lines, "group both all one two", "quorum both", ""]))
    logged = entries(3)
    plain, foreign = signed(logged), parse(signed(entries(4))).checkpoint
    said = parse(plain).checkpoint
    first, second = (each.sign(said, time_s=1).encode() for each in (one, two))
    cases = {
        first + second: set(),
        b"": {"checkpoint-unwitnessed"},
        first: {"checkpoint-unwitnessed"},
        first + one.sign(said, time_s=2).encode(): {"checkpoint-unwitnessed"},
        first + stranger.sign(said, time_s=1).encode(): {"checkpoint-unwitnessed"},
        first + two.sign(foreign, time_s=1).encode(): {"checkpoint-unwitnessed"},
    }
    for number, (more, expected) in enumerate(cases.items()):
        log = publish(tmp_path / str(number), logged, head=plain + more)
        code, outcome = audit(log, "--witness-policy", policy)
        assert (code, codes(outcome)) == (1 if expected else 0, expected)
