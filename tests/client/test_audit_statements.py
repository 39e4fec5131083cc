"""The replay of statements: every rule of admission derived a second time, and what devices did."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from builders import (
    BEGIN,
    CAMERA,
    END,
    LOG_KEY,
    MODALITY,
    NOW,
    ORIGIN,
    POLICY_KEY,
    REGISTRAR,
    Log,
    Party,
    key,
    party,
    registrar_entry,
)
from platemark import statement
from platemark.audit import Findings, LoggedEntry, StatementReplay
from platemark.cbor import Value
from platemark.keystate import KeyStates

SECOND_POLICY = key("second policy", "ed25519")
Change = Callable[[Log], Any]


class Listing:
    """A ledger that lists a log, with the conditions that it is told to report."""

    def __init__(self, log: Log, reported: dict[int, tuple[str, ...]] | None = None) -> None:
        self.listed = [
            LoggedEntry(index, raw, NOW, (reported or {}).get(index, ())) for index, raw in enumerate(log.statements)
        ]

    def statements(self, *, size: int) -> Iterator[LoggedEntry]:
        """As StatementSource."""
        return iter(self.listed[:size])


def replayed(log: Log, listing: Listing | None = None, *, trusted: bool = True) -> tuple[StatementReplay, Findings]:
    """The replay of a log against its own entries."""
    findings = Findings()
    entries = b"".join(hashlib.sha256(raw).digest() for raw in log.statements)
    made = StatementReplay(entries, findings, trusted=log.trusted() if trusted else None)
    made.run(listing or Listing(log))
    return made, findings


def found(log: Log, listing: Listing | None = None) -> set[tuple[str, int | None]]:
    """(code, position) of every finding."""
    return {(each.code, each.position) for each in replayed(log, listing)[1].kept}


def honest() -> Log:
    """A policy, two devices, captures, a revocation and a new policy."""
    log = Log()
    log.enrol(MODALITY)
    log.enrol(CAMERA, role="sensor")
    for number in range(3):
        log.capture(b"image %d" % number, "file", "pixels")
    log.capture(b"frame", by=CAMERA)
    log.revoke(MODALITY, effective=NOW)
    log.policy(POLICY_KEY, version=1, log=log.id, prev=log.id)
    log.capture(b"frame 2", by=CAMERA)
    return log


def test_an_honest_log() -> None:
    """Nothing is found, and every device is counted."""
    made, findings = replayed(honest())
    assert not findings.counts
    said = {each.issuer: (each.statements, each.epochs, each.missing, each.forked) for each in made.devices()}
    assert said == {REGISTRAR.uri: (3, 1, 0, 0), MODALITY.uri: (3, 1, 0, 0), CAMERA.uri: (2, 1, 0, 0)}


def test_whom_nobody_trusts() -> None:
    """Without a trust file leaf 0 is believed; with one it has to be the policy that the file names."""
    assert not replayed(honest(), trusted=False)[1].counts
    log, other = honest(), Log(policy_keys=(SECOND_POLICY,))
    findings = Findings()
    entries = b"".join(hashlib.sha256(raw).digest() for raw in log.statements)
    StatementReplay(entries, findings, trusted=other.trusted()).run(Listing(log))
    assert findings.kept[0].code == "wrong-log"


def stranger(log: Log) -> int:
    """A key that nobody enrolled."""
    return log.capture(by=party("stranger"))


def revoked(log: Log) -> int:
    """A key after its revocation in the log."""
    log.enrol(MODALITY)
    log.revoke(MODALITY, effective=NOW)
    return log.capture()


def before_enrolment(log: Log) -> int:
    """A key before its enrolment in the log."""
    index = log.capture()
    log.enrol(MODALITY)
    return index


def dropped_registrar(log: Log) -> int:
    """A registrar that the policy in force no longer names."""
    log.policy(POLICY_KEY, version=1, log=log.id, prev=log.id, registrars=[])
    return log.enrol(MODALITY)


def wrong_role(log: Log) -> int:
    """A modality revokes."""
    log.enrol(MODALITY)
    return log.revoke(CAMERA, effective=NOW, by=MODALITY)


def wrong_origin(log: Log) -> int:
    """A modality says that it is a gateway."""
    log.enrol(MODALITY)
    return log.capture(origin="gateway-received")


def wrong_issuer(log: Log) -> int:
    """A key under another device's name."""
    log.enrol(MODALITY)
    return log.capture(by=replace(MODALITY, uri=CAMERA.uri))


def wrong_log(log: Log) -> int:
    """An enrolment for another log."""
    return log.enrol(MODALITY, log=bytes(32))


def too_early(log: Log) -> int:
    """A stated time before the key's validity."""
    log.enrol(MODALITY)
    return log.capture(at=BEGIN - 1)


def too_late(log: Log) -> int:
    """A stated time after the key's validity, with an enrolment that ends early."""
    log.enrol(MODALITY, not_after=NOW - 1)
    return log.capture()


def enrolled_twice(log: Log) -> int:
    """One key enrolled for two devices."""
    log.enrol(MODALITY)
    return log.enrol(replace(MODALITY, uri=CAMERA.uri))


def revokes_nobody(log: Log) -> int:
    """A revocation of a key that the log never named."""
    return log.revoke(CAMERA, effective=NOW)


def revokes_the_log(log: Log) -> int:
    """A revocation of a policy key."""
    return log.revoke(replace(MODALITY, key=POLICY_KEY), effective=NOW)


def revokes_again(log: Log) -> int:
    """A second revocation, which would take back what was proven under the first."""
    log.enrol(MODALITY)
    log.revoke(MODALITY, effective=NOW)
    return log.revoke(MODALITY, effective=NOW - 1)


def policy_out_of_turn(log: Log) -> int:
    """A version that is not due."""
    return log.policy(POLICY_KEY, version=2, log=log.id, prev=log.id)


def policy_of_another_past(log: Log) -> int:
    """A version that does not follow from the one in force."""
    return log.policy(POLICY_KEY, version=1, log=log.id, prev=bytes(32))


def policy_names_a_device(log: Log) -> int:
    """A policy that makes a device's key a registrar."""
    log.enrol(MODALITY)
    entries: list[Value] = [registrar_entry(MODALITY)]
    return log.policy(POLICY_KEY, version=1, log=log.id, prev=log.id, registrars=entries)


def policy_by_a_registrar(log: Log) -> int:
    """A policy signed by a key that may not."""
    return log.policy(REGISTRAR.key, version=1, log=log.id, prev=log.id)


BREACHES: dict[Callable[[Log], int], str] = {
    stranger: "key-not-in-force",
    revoked: "key-not-in-force",
    before_enrolment: "key-not-in-force",
    dropped_registrar: "key-not-in-force",
    wrong_role: "wrong-role",
    wrong_origin: "wrong-role",
    wrong_issuer: "wrong-issuer",
    wrong_log: "wrong-log",
    too_early: "outside-validity",
    too_late: "outside-validity",
    enrolled_twice: "registry-rule",
    revokes_nobody: "registry-rule",
    revokes_the_log: "registry-rule",
    revokes_again: "registry-rule",
    policy_out_of_turn: "registry-rule",
    policy_of_another_past: "registry-rule",
    policy_names_a_device: "registry-rule",
    policy_by_a_registrar: "wrong-role",
}


@pytest.mark.parametrize("breach", BREACHES, ids=lambda each: each.__name__)
def test_what_no_ledger_may_admit(breach: Callable[[Log], int]) -> None:
    """A statement that the rules refuse, found in the log all the same, is a critical finding at its index, and the only one."""
    log = Log()
    index = breach(log)
    findings = replayed(log)[1]
    assert [(each.code, each.position, each.severity) for each in findings.kept] == [
        (BREACHES[breach], index, "critical")
    ]


def test_policy_needs_its_threshold() -> None:
    """A policy changes nothing until as many keys signed as the one before it asks."""
    log = Log(policy_keys=(POLICY_KEY, SECOND_POLICY), threshold=2)
    changes: dict[str, Any] = {"version": 1, "log": log.id, "prev": log.id, "registrars": []}
    log.policy(POLICY_KEY, **changes)
    log.enrol(MODALITY)
    twice = log.policy(POLICY_KEY, **changes)
    log.policy(SECOND_POLICY, **changes)
    late = log.enrol(CAMERA)
    assert found(log) == {("registry-rule", twice), ("key-not-in-force", late)}


def test_a_bad_signature() -> None:
    """A statement whose signature is another's."""
    log = honest()
    raw = bytearray(log.statements[3])
    raw[-1] ^= 1
    log.statements[3] = bytes(raw)
    assert found(log) - {("chain-gap", 4), ("condition-mismatch", 4)} == {("statement-signature", 3)}


def test_what_is_no_statement() -> None:
    """Bytes that are no statement."""
    log = honest()
    index = log.add(b"no statement")
    assert found(log) == {("statement-malformed", index)}


def test_listing_that_is_not_the_log() -> None:
    """A ledger that lists other bytes than the entries, leaves out, or repeats, is caught at the index."""
    log = honest()
    other, short, twice = Listing(log), Listing(log), Listing(log)
    other.listed[4] = replace(other.listed[4], raw=log.statements[3])
    assert ("entry-mismatch", 4) in found(log, other)
    last = len(log.statements) - 1
    del short.listed[last]
    assert found(log, short) == {("statement-missing", last)}
    twice.listed.append(twice.listed[3])
    del twice.listed[last]
    assert ("statement-missing", 3) in found(log, twice)


def test_one_statement_twice() -> None:
    """One statement has one index."""
    log = honest()
    index = log.add(log.statements[-1])
    assert found(log) == {("statement-twice", index)}


def chained(log: Log, seq: int, prev: bytes | None, *, epoch: int = 0, at: int = NOW, image: bytes = b"x") -> int:
    """A capture at a chosen place of MODALITY's chain."""
    return log.capture(image, at=at, epoch=epoch, seq=seq, prev=prev)


def of(log: Log, index: int) -> bytes:
    """A statement's id."""
    return statement.decode(log.statements[index]).id


def gap(log: Log) -> int:
    """Place 1 is missing."""
    chained(log, 0, None)
    return chained(log, 2, bytes(32))


def fork(log: Log) -> int:
    """Two statements at place 1 after one place 0."""
    first = chained(log, 0, None)
    chained(log, 1, of(log, first), image=b"a")
    return chained(log, 1, of(log, first), image=b"b")


def prev_mismatch(log: Log) -> int:
    """Another predecessor than the one at the place before."""
    chained(log, 0, None)
    return chained(log, 1, bytes(32))


def clock_backwards(log: Log) -> int:
    """A time before the last one."""
    first = chained(log, 0, None)
    return chained(log, 1, of(log, first), at=NOW - 1)


def clock_future(log: Log) -> int:
    """A time after the log's clock and the allowance."""
    return chained(log, 0, None, at=NOW + 10**10 + 1)


def unknown_reference(log: Log) -> int:
    """A parent that the log does not hold."""
    return log.capture(b"derived", parents=[bytes(32)])


CONDITIONS: dict[Callable[[Log], int], tuple[str, ...]] = {
    gap: ("gap",),
    fork: ("fork",),
    prev_mismatch: ("prev-mismatch",),
    clock_backwards: ("clock-backwards",),
    clock_future: ("clock-future",),
    unknown_reference: ("unknown-reference",),
}


@pytest.mark.parametrize("case", CONDITIONS, ids=lambda each: each.__name__)
def test_what_devices_did(case: Callable[[Log], int]) -> None:
    """A condition is a warning; a ledger that hides it, or reports another, is a critical finding beside it."""
    log = Log()
    log.enrol(MODALITY)
    index = case(log)
    codes = CONDITIONS[case]
    expected = {(f"chain-{code}", index) for code in codes}
    assert found(log, Listing(log, {index: codes})) == expected
    assert found(log) == expected | {("condition-mismatch", index)}
    assert found(log, Listing(log, {index: ("late",)})) == expected | {("condition-mismatch", index)}


def test_late_and_old_epoch() -> None:
    """A place that was passed, and an epoch that was left, come together when both are so."""
    log = Log()
    log.enrol(MODALITY)
    first = chained(log, 0, None)
    skipped = chained(log, 2, bytes(32))
    chained(log, 0, None, epoch=1, image=b"new epoch")
    late = chained(log, 1, of(log, first), image=b"late")
    reported = {skipped: ("gap",), late: ("late", "old-epoch", "prev-mismatch")}
    assert found(log, Listing(log, reported)) == {
        ("chain-gap", skipped),
        ("chain-late", late),
        ("chain-old-epoch", late),
        ("chain-prev-mismatch", late),
    }
    device = next(each for each in replayed(log)[0].devices() if each.issuer == MODALITY.uri)
    assert (device.statements, device.epochs, device.missing, device.forked) == (4, 2, 0, 0)


def test_a_late_statement_that_does_not_fit() -> None:
    """A late statement is compared with what had named its place before it came."""
    log = Log()
    log.enrol(MODALITY)
    first = chained(log, 0, None)
    after = chained(log, 2, bytes(32))
    late = chained(log, 1, of(log, first), image=b"not the one that was named")
    assert found(log, Listing(log, {after: ("gap",), late: ("late", "prev-mismatch")})) == {
        ("chain-gap", after),
        ("chain-late", late),
        ("chain-prev-mismatch", late),
    }


def test_devices_count_gaps_and_forks() -> None:
    """A place that nothing fills is missing, one that two fill is forked."""
    log = Log()
    log.enrol(MODALITY)
    fork(log)
    chained(log, 4, bytes(32))
    device = next(each for each in replayed(log)[0].devices() if each.issuer == MODALITY.uri)
    assert (device.missing, device.forked) == (2, 1)
    assert "at tree size" in device.sentences[0]
    assert any("2 to 3 of epoch 0 are not in the log" in each for each in device.sentences)


LOG_PARTY = Party(LOG_KEY, f"https://{ORIGIN}")


def keystate(log: Log, *, size: int, states: int | None = None) -> int:
    """A keystate of `size` that states the keys of the first `states` statements."""
    keys = KeyStates()
    for index, raw in enumerate(log.statements[: size if states is None else states]):
        keys.apply(statement.decode(raw), index)
    tree = keys.tree()
    payload: dict[str, Value] = {"at": NOW, "log": log.id, "size": size, "root": tree.root, "count": tree.count}
    return log.say("keystate", payload, by=LOG_PARTY)


def test_keystates() -> None:
    """A keystate that states the keys of its size is right, also when it comes late; any other is a critical finding."""
    log = Log()
    log.enrol(MODALITY)
    log.enrol(CAMERA, role="sensor")
    log.revoke(MODALITY, effective=NOW)
    for size in (4, 3, 2, 4):
        keystate(log, size=size)
    assert found(log) == set()
    stale, early = keystate(log, size=4, states=3), keystate(log, size=20)
    assert found(log) == {("keystate-mismatch", stale), ("keystate-mismatch", early)}


def test_same_pixels_twice() -> None:
    """The same pixels from two statements are a notice at the second, unless it names the first as its parent."""
    log = Log()
    log.enrol(MODALITY)
    log.enrol(CAMERA, role="sensor")
    first = log.capture(b"image", "file", "pixels")
    log.capture(b"image", "file", "pixels", parents=[of(log, first)])
    again = log.capture(b"image", "file", "pixels", by=CAMERA)
    findings = replayed(log)[1]
    assert [(each.code, each.position, each.severity) for each in findings.kept] == [("same-pixels", again, "notice")]
    assert not findings.alarming


def test_findings_are_bounded() -> None:
    """A thousand of one code are counted, and a hundred kept."""
    findings = Findings()
    for index in range(1000):
        findings.add("chain-gap", "a gap", index)
    findings.add("chain-fork", "a fork")
    assert (len(findings.kept), findings.counts["chain-gap"], findings.kept[-1].code) == (101, 1000, "chain-fork")


def test_enrolment_dates_bind_the_registrar() -> None:
    """A registrar past its own validity enrols nobody."""
    log = Log()
    index = log.enrol(MODALITY, at=END + 1)
    assert found(log, Listing(log, {index: ("clock-future",)})) == {("outside-validity", index)}
