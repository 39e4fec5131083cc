"""Making and opening a ledger: what is refused, what is put right, and what the operator is told."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import builders
import fakes
from fakes import Founded
from platemark import statement
from platemark.checkpoint import Checkpoint
from platemark.cosignature import CosignatureSigner
from platemark.note import NoteSigner
from platemark_ledger import genesis, lock, published
from platemark_ledger.anchor import Anchor, Anchored, create
from platemark_ledger.errors import GenesisError, StartRefusedError
from platemark_ledger.opening import Paths, look, open_ledger
from platemark_ledger.published import Published
from platemark_ledger.sequencer import Logged
from platemark_ledger.signing import sign_checkpoint
from platemark_ledger.store import Store, Table


@pytest.fixture(name="founded")
def _founded(tmp_path: Path) -> Founded:
    return Founded.at(tmp_path / "ledger")


def grow(founded: Founded, *raws: bytes) -> None:
    """Open, append and close."""
    ledger = founded.open()
    with fakes.sequencing(ledger) as sequencer:
        outcomes = sequencer.submit(raws).result(30).outcomes
        assert all(isinstance(outcome, Logged) for outcome in outcomes)
    ledger.close()


def test_a_new_ledger_begins_with_its_policy(founded: Founded) -> None:
    """Leaf 0 is the policy, its id the log's identity, and the first checkpoint covers it."""
    ledger = founded.open()
    assert ledger.log_id == founded.log.id
    assert ledger.origin == founded.log.origin
    assert ledger.policy().version == 0
    released = ledger.anchor.read()
    assert (released.sequence, released.size) == (1, 1)
    assert ledger.receipts().statement(0).proven.record.raw == founded.log.statements[0]
    ledger.close()
    assert fakes.check_log(founded) == founded.log.statements


def test_a_policy_of_two_of_three_founds_a_ledger(tmp_path: Path) -> None:
    """As many statements as the threshold are the first leaves."""
    policy_keys = [builders.key(f"policy {number}", "ed25519") for number in range(3)]
    founded = Founded.at(tmp_path, log=builders.Log(policy_keys=policy_keys, threshold=2))
    grow(founded, founded.enrolment())
    assert fakes.check_log(founded)[:2] == founded.log.statements[:2]


Change = Callable[[builders.Log], Sequence[bytes]]
OTHER_KEY = builders.key("other policy", "ed25519")
UNFIT: dict[str, tuple[str, Change]] = {
    "none": ("needs a signed policy", lambda _: []),
    "not a statement": ("policy statement 0: tag", lambda _: [b"hello"]),
    "another kind": ("not a policy of version 0", lambda log: [log.statements[log.enrol(builders.MODALITY)]]),
    "a later version": (
        "not a policy of version 0",
        lambda log: [log.statements[log.policy(builders.POLICY_KEY, version=1, log=log.id, prev=log.id)]],
    ),
    "a stranger's signature": ("not one of its policy keys", lambda log: [log.statements[log.policy(OTHER_KEY)]]),
    "a wrong signature": ("policy statement 0: .*does not verify", lambda log: [fakes.flipped(log.statements[0])]),
    "too many": ("asks for 1", lambda log: [log.statements[0], log.statements[log.policy(builders.POLICY_KEY)]]),
    "too few": ("asks for 2", lambda log: _two_of_two(log)[:1]),
    "one key twice": ("signed the policy twice", lambda log: [*_two_of_two(log)[:1], *_two_of_two(log)[:1]]),
    "different payloads": ("same payload", lambda log: [_two_of_two(log)[0], _two_of_two(log, skew=1)[1]]),
    "another log key": (
        "does not list the log key",
        lambda log: [log.statements[log.policy(builders.POLICY_KEY, log_keys=[builders.CAMERA.key.spki])]],
    ),
    "another origin": ("the policy is for", lambda _: builders.Log(origin="other.example/log").statements),
}


def _two_of_two(log: builders.Log, *, skew: int = 0) -> list[bytes]:
    signers = sorted([builders.POLICY_KEY, OTHER_KEY], key=lambda key: key.spki)
    changes = {"threshold": 2, "keys": [key.spki for key in signers], "limits": {"statement": 61440, "skew_ns": skew}}
    return [log.statements[log.policy(signer, **changes)] for signer in signers]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", UNFIT)
def test_an_unfit_policy_founds_nothing(tmp_path: Path, name: str) -> None:
    """The error says what is wrong, and nothing was written."""
    message, change = UNFIT[name]
    log = builders.Log()
    with pytest.raises(GenesisError, match=message):
        genesis.create(Paths.of(tmp_path / "new"), policy=change(log), signers=[NoteSigner(log.origin, log.log_key)])
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["data/something", "anchor", "lock", "data"])
def test_nothing_is_overwritten_by_a_new_ledger(tmp_path: Path, name: str) -> None:
    """A file that is in the way stays as it is."""
    obstacle = tmp_path / "new" / name
    obstacle.parent.mkdir(parents=True)
    obstacle.write_bytes(b"precious")
    with pytest.raises(GenesisError, match=r"exists already|not an empty directory"):
        Founded.at(tmp_path / "new")
    assert obstacle.read_bytes() == b"precious"


@pytest.mark.parametrize("missing", ["anchor", "lock", "data"])
def test_a_ledger_whose_making_did_not_finish_is_refused(founded: Founded, missing: str) -> None:
    """Without its anchor, its lock file or its data there is no ledger, and the operator is told what to do."""
    path: Path = getattr(founded.paths, missing)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(StartRefusedError) as caught:
        founded.open()
    assert caught.value.remedy
    assert str(path) in str(caught.value)


def test_a_crash_half_way_through_genesis_leaves_nothing_that_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the anchor, which is written last, the directory is refused; removed, it can be made again."""
    with monkeypatch.context() as patched:
        patched.setattr("platemark_ledger.anchor.create", _crash)
        with pytest.raises(KeyboardInterrupt):
            Founded.at(tmp_path / "new")
    half = Founded(Paths.of(tmp_path / "new"), builders.Log())
    with pytest.raises(StartRefusedError, match="making this ledger did not finish"):
        half.open()
    with pytest.raises(GenesisError):
        Founded.at(tmp_path / "new")
    shutil.rmtree(tmp_path / "new")
    Founded.at(tmp_path / "new").open().close()


def _crash(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_yesterdays_data_with_todays_anchor_is_refused(founded: Founded, tmp_path: Path) -> None:
    """A restored backup that lacks what was released does not start, whatever else is in order."""
    grow(founded, founded.enrolment())
    shutil.copytree(founded.paths.data, tmp_path / "yesterday")
    grow(founded, *founded.captures(3))
    shutil.rmtree(founded.paths.data)
    shutil.copytree(tmp_path / "yesterday", founded.paths.data)
    with pytest.raises(
        StartRefusedError, match=r"ahead of the data: released size 5, and the data ends at size 2.*restore newer data"
    ):
        founded.open()


def test_a_rolled_back_ledger_that_went_on_is_refused(founded: Founded, tmp_path: Path) -> None:
    """Other statements at the released size are another root: the fork is caught by the anchor of before."""
    grow(founded, founded.enrolment())
    shutil.copytree(founded.paths.data, tmp_path / "yesterday")
    old_anchor = founded.paths.anchor.read_bytes()
    grow(founded, *founded.captures(3))
    new_anchor = founded.paths.anchor.read_bytes()
    shutil.rmtree(founded.paths.data)
    shutil.copytree(tmp_path / "yesterday", founded.paths.data)
    founded.paths.anchor.write_bytes(old_anchor)
    grow(founded, *founded.captures(5))
    founded.paths.anchor.write_bytes(new_anchor)
    with pytest.raises(StartRefusedError, match="the root at the anchored size differs: another one at size 5"):
        founded.open()


def test_todays_data_with_yesterdays_anchor_starts_and_is_anchored(founded: Founded) -> None:
    """Data that is ahead is what a crash between commit and anchor leaves; the start signs it."""
    before = founded.paths.anchor.read_bytes()
    grow(founded, founded.enrolment(), *founded.captures(2))
    founded.paths.anchor.write_bytes(before)
    ledger = founded.open()
    assert ledger.anchor.read().size == 4
    assert ledger.receipts().checkpoint().size == 4
    ledger.close()
    fakes.check_log(founded)


def released(founded: Founded) -> Anchored:
    """What the anchor holds."""
    anchor = Anchor(founded.paths.anchor)
    try:
        return anchor.read()
    finally:
        anchor.close()


def test_another_ledgers_anchor_is_refused(founded: Founded) -> None:
    """A checkpoint that no log key of this log has signed vouches for nothing."""
    newest = released(founded)
    founded.paths.anchor.unlink()
    other = NoteSigner(founded.log.origin, builders.key("other log", "ed25519"))
    note = sign_checkpoint([other], Checkpoint(founded.log.origin, newest.size, newest.root))
    create(founded.paths.anchor, size=newest.size, root=newest.root, note=note)
    with pytest.raises(StartRefusedError, match=r"no signature of a trusted key.*anchor of another log"):
        founded.open()


def test_a_note_for_another_size_is_refused(founded: Founded) -> None:
    """Slot and signed note must say the same."""
    newest = released(founded)
    founded.paths.anchor.unlink()
    signed = sign_checkpoint(founded.signers, Checkpoint(founded.log.origin, 7, newest.root))
    create(founded.paths.anchor, size=newest.size, root=newest.root, note=signed)
    with pytest.raises(StartRefusedError, match="not of the size and root of its slot"):
        founded.open()


def test_a_key_that_the_policy_does_not_list_is_refused(founded: Founded) -> None:
    """A server with the wrong key, the wrong name or none does not start."""
    stranger = builders.key("other log", "ed25519")
    cases: list[tuple[list[NoteSigner], str]] = [
        ([], "no log key"),
        ([NoteSigner(founded.log.origin, stranger)], "does not list the log key"),
        ([NoteSigner("other.example/log", founded.log.log_key)], "the log key is for other.example/log"),
    ]
    for signers, message in cases:
        with pytest.raises(StartRefusedError, match=message):
            open_ledger(founded.paths, signers=signers)
    founded.open().close()


def publish(founded: Founded, row: Published) -> None:
    """Write a published checkpoint past every check."""
    store = Store.open(founded.paths.data)
    with store.write() as transaction:
        published.put(transaction, row)
        transaction.commit()
    store.close()


def test_a_published_checkpoint_that_the_data_does_not_reach_is_refused(founded: Founded) -> None:
    """It was seen, as the anchor's was: the log must not go on below it."""
    publish(founded, Published(2, bytes(32), b"", 0))
    with pytest.raises(StartRefusedError, match="published size 2, and the data ends at size 1"):
        founded.open()


def test_a_published_checkpoint_with_another_root_is_refused(founded: Founded) -> None:
    """Another past was told."""
    publish(founded, Published(1, bytes(32), b"", 0))
    with pytest.raises(StartRefusedError, match="another one at size 1"):
        founded.open()


def test_a_damaged_published_checkpoint_is_refused(founded: Founded) -> None:
    """The start says so, and not the first reader."""
    store = Store.open(founded.paths.data)
    with store.write() as transaction:
        transaction.put(Table.PUBLISHED, bytes(7) + b"\x01", b"damaged")
        transaction.commit()
    store.close()
    with pytest.raises(StartRefusedError, match="the published checkpoint of size 1 is damaged"):
        founded.open()


def test_a_look_tells_what_is_published_and_what_is_wrong_with_it(founded: Founded) -> None:
    """Its sizes, and the same disagreement that a start refuses."""
    publish(founded, Published(2, bytes(32), b"", 0, (), witnessed=True))
    publish(founded, Published(3, bytes(32), b"", 0))
    seen = look(founded.paths)
    assert (seen.published, seen.witnessed) == (3, 2)
    assert (
        seen.disagreement
        == "a published checkpoint is ahead of the data: published size 3, and the data ends at size 1"
    )
    seen.close()


def test_a_second_log_key_has_to_be_in_the_policy(founded: Founded) -> None:
    """An ML-DSA-44 key that the policy does not list, or of another log, signs nothing; one that it lists opens."""
    stranger = CosignatureSigner(builders.ORIGIN, builders.LOG_KEY_PQ)
    with pytest.raises(StartRefusedError, match="does not list the log key"):
        open_ledger(founded.paths, signers=founded.signers, cosigner=stranger)
    elsewhere = CosignatureSigner("other.example", builders.LOG_KEY_PQ)
    with pytest.raises(StartRefusedError, match=r"the log key is for other\.example"):
        open_ledger(founded.paths, signers=founded.signers, cosigner=elsewhere)


def test_a_ledger_with_both_log_keys_opens(tmp_path: Path) -> None:
    """Both are listed, and the checkpoints of the anchor have the one signature that they need."""
    both = Founded.at(tmp_path, log=builders.Log(more_log_keys=[builders.LOG_KEY_PQ]))
    ledger = both.open()
    assert ledger.cosigner is not None
    assert ledger.anchor.read().note.count("\u2014".encode()) == 1
    ledger.close()


def test_data_of_another_schema_is_refused(founded: Founded) -> None:
    """A later release's data is not guessed at."""
    store = Store.open(founded.paths.data)
    with store.write() as transaction:
        transaction.put(Table.META, b"schema", b"platemark-ledger 999")
        transaction.commit()
    store.close()
    with pytest.raises(StartRefusedError, match="another schema"):
        founded.open()


def test_data_that_is_no_database_is_refused(founded: Founded) -> None:
    """A damaged file is an error of ours with a remedy, never a traceback."""
    (founded.paths.data / "data.mdb").write_bytes(os.urandom(8192))
    with pytest.raises(StartRefusedError, match="cannot be opened"):
        founded.open()


def open_files() -> int:
    """How many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_refused_start_holds_nothing(founded: Founded) -> None:
    """After a refusal everything is closed, so that the next start of the same process may work."""
    anchor = founded.paths.anchor.read_bytes()
    founded.paths.anchor.write_bytes(bytes(8192))
    before = open_files()
    with pytest.raises(StartRefusedError, match="neither slot"):
        founded.open()
    assert open_files() == before
    founded.paths.anchor.write_bytes(anchor)
    founded.open().close()


def test_a_look_changes_nothing(founded: Founded) -> None:
    """Looking at a poisoned ledger shows why and leaves the mark."""
    marked = lock.SequencerLock(founded.paths.lock)
    marked.poison("the disk said no")
    for _ in range(2):
        seen = look(founded.paths)
        assert (seen.origin, seen.log_id, seen.size, seen.anchored.size) == (founded.log.origin, founded.log.id, 1, 1)
        assert (seen.poisoned, seen.disagreement) == ("the disk said no", None)
        assert (seen.published, seen.witnessed) == (0, 0)
        assert seen.refused() == []
        seen.close()
    marked.close()


def test_the_next_policy_comes_into_force_with_its_kth_signature(tmp_path: Path) -> None:
    """Two of three keys of the policy in force change it: registrars and log keys follow, by place in the log."""
    policy_keys = sorted((builders.key(f"policy {number}", "ed25519") for number in range(3)), key=lambda key: key.spki)
    founded = Founded.at(tmp_path, log=builders.Log(policy_keys=policy_keys, threshold=2))
    log = founded.log
    second = builders.party("second-registrar")
    changes = {
        "version": 1,
        "log": log.id,
        "prev": log.id,
        "registrars": [builders.registrar_entry(second)],
    }
    first, other, again, late = (log.policy(policy_keys[number], **changes) for number in (0, 1, 0, 2))  # type: ignore[arg-type]
    rival = log.policy(policy_keys[2], **{**changes, "limits": {"statement": 2048, "skew_ns": 0}})  # type: ignore[arg-type]
    old, new = log.enrol(builders.CAMERA), log.enrol(builders.MODALITY, by=second)
    ledger = founded.open()
    with fakes.sequencing(ledger) as sequencer:
        outcomes = sequencer.submit(founded.made(first, new, rival, again, other, late, old, new)).result(30).outcomes
    seen = [outcome.index if isinstance(outcome, Logged) else (outcome.code, outcome.field) for outcome in outcomes]
    assert seen == [
        2,
        ("unknown-key", "protected.4"),
        3,
        ("bad-policy", "protected.4"),
        4,
        ("bad-policy", "payload.version"),
        ("revoked", "protected.4"),
        ("unknown-key", "protected.4"),
    ]
    assert ledger.policy().version == 1
    assert ledger.policy().statements == (2, 4)
    with fakes.sequencing(ledger) as sequencer:
        (outcome,) = sequencer.submit(founded.made(new)).result(30).outcomes
        assert isinstance(outcome, Logged)
    members = ledger.receipts().evidence(5)
    assert [proven.record.index for proven in members.policies] == [0, 1, 2, 4]
    ledger.close()
    fakes.check_log(founded)
    founded.open().close()


def test_a_policy_that_goes_on_grants_without_a_break(founded: Founded) -> None:
    """A registrar and a log key that both policies name keep their first grant."""
    log = founded.log
    before = founded.open()
    registrar = before.key(builders.REGISTRAR.key.kid)
    before.close()
    grow(founded, *founded.made(log.policy(builders.POLICY_KEY, version=1, log=log.id, prev=log.id)))
    ledger = founded.open()
    assert ledger.key(builders.REGISTRAR.key.kid) == registrar
    assert ledger.policy().version == 1
    ledger.close()


def test_the_founding_statements_are_decoded_strictly(tmp_path: Path) -> None:
    """An issuer that is not the log's origin founds nothing."""
    log = builders.Log()
    payload = dict(statement.decode(log.statements[0]).payload)
    raw = statement.build("policy", payload, signer=builders.POLICY_KEY, issuer="https://other.example/")
    with pytest.raises(GenesisError, match="the issuer of a policy is"):
        genesis.create(Paths.of(tmp_path / "new"), policy=[raw], signers=[NoteSigner(log.origin, log.log_key)])


def test_errors_are_sentences() -> None:
    """Reason and remedy read as two sentences."""
    error = StartRefusedError("the anchor is gone", "Restore it")
    assert str(error) == "the anchor is gone. Restore it"
