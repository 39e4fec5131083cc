"""Who else saw the log, and when: witnesses, the log's ML-DSA-44 key, time stamps, receipts, keystates; each attack fails.

The statuses of the checks are a word as in builders.letters; 10 is witnesses, 11 time, 9 revocation.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias, cast

import pytest

import stamps
from builders import BEGIN, END, MODALITY, NOW, REGISTRAR, Log, Party, key, letters, measurement
from platemark import cbor, checkpoint, receipt, statement, witness_policy
from platemark.cosignature import CosignatureSigner
from platemark.evidence import Evidence, Keystate, Stamp, Stamped
from platemark.keystate import KeyLeaf, KeyTree
from platemark.merkle import inclusion_path, root
from platemark.trust import Trust
from platemark.verdict import EVIDENCE_INVALID, INCONCLUSIVE, MATCHES_RECORD, Verdict
from platemark.verify import verify

IMAGE = b"an image"
NORTH, SOUTH, STRANGER = (key(name, "ed25519") for name in ("north", "south", "stranger"))
SOUTH_QUANTUM = key("south", "mldsa44")
LOG_QUANTUM = key("log", "mldsa44")
HOUR = 3600 * 10**9
SHOP = stamps.shop(since=BEGIN, until=END, label="time")
OTHER_SHOP = stamps.shop(since=BEGIN, until=END, label="another time")
Scene: TypeAlias = tuple[Evidence, Trust]


def _policy(*rules: str) -> witness_policy.WitnessPolicy:
    named = {"north": NORTH, "south": SOUTH, "south-pq": SOUTH_QUANTUM}
    lines = [
        f"witness {name} {CosignatureSigner(name.removesuffix('-pq'), signer).verifier.vkey}"
        for name, signer in named.items()
    ]
    return witness_policy.parse("\n".join([*lines, *rules]) + "\n")


BOTH = _policy("group southern any south south-pq", "group both all north southern", "quorum both")
ANY = _policy("group any-one any north south south-pq", "quorum any-one")


def _log() -> Log:
    """The good scene of builders, whose log has an ML-DSA-44 key too: policy, enrolment, capture."""
    log = Log(more_log_keys=(LOG_QUANTUM,))
    log.enrol(MODALITY)
    log.capture()
    return log


def _judged(scene: Scene, at: int = NOW) -> Verdict:
    given, trust = scene
    return verify(given, trust=trust, image=measurement(IMAGE), at=at)


# --- witnesses and the post-quantum signature -----------------------------------------------------


def _witnessed(policy: witness_policy.WitnessPolicy | None, **published: Any) -> Scene:
    log = _log()
    return log.evidence(2, enrolments=[1], signed=log.published(**published)), log.trust(witness_policy=policy)


def test_a_quorum_of_witnesses_passes() -> None:
    """Both groups of the policy cosigned: check 10 passes, names them, and says whose clocks their times are."""
    verdict = _judged(_witnessed(BOTH, cosigners=[("north", NORTH), ("south", SOUTH_QUANTUM)]))
    assert (letters(verdict), verdict.result) == ("PPPPPPPPNPNNNPP", MATCHES_RECORD)
    reason = verdict.checks[9].reason
    assert "north at 2027-01-15T08:00:00Z" in reason
    assert "south at 2027-01-15T08:00:00Z" in reason
    assert "by their clocks" in reason


WITNESSES: list[tuple[str, str, str, Callable[[], Scene]]] = [
    ("no witness is asked for", "N", MATCHES_RECORD, lambda: _witnessed(None, cosigners=[("north", NORTH)])),
    ("nobody cosigned", "N", INCONCLUSIVE, lambda: _witnessed(BOTH)),
    ("one of two", "N", INCONCLUSIVE, lambda: _witnessed(BOTH, cosigners=[("north", NORTH)])),
    ("one witness twice", "N", INCONCLUSIVE, lambda: _witnessed(BOTH, cosigners=[("north", NORTH)] * 2)),
    (
        "one witness with both of its keys",
        "N",
        INCONCLUSIVE,
        lambda: _witnessed(BOTH, cosigners=[("south", SOUTH), ("south", SOUTH_QUANTUM)]),
    ),
    ("an unknown witness", "N", INCONCLUSIVE, lambda: _witnessed(ANY, cosigners=[("stranger", STRANGER)])),
    ("an unknown key under a known name", "N", INCONCLUSIVE, lambda: _witnessed(ANY, cosigners=[("north", STRANGER)])),
    (
        "a cosignature over another checkpoint",
        "F",
        EVIDENCE_INVALID,
        lambda: _witnessed(
            ANY,
            cosigners=[("north", NORTH)],
            over=checkpoint.Checkpoint("ledger.example/xray", 3, bytes(32)),
        ),
    ),
    (
        "a quorum of nobody",
        "N",
        MATCHES_RECORD,
        lambda: _witnessed(_policy("quorum none"), cosigners=[("north", NORTH)]),
    ),
]


@pytest.mark.parametrize(
    ("status", "result", "made"), [row[1:] for row in WITNESSES], ids=[row[0] for row in WITNESSES]
)
def test_witnesses(status: str, result: str, made: Callable[[], Scene]) -> None:
    """Only cosignatures of named witnesses over this very checkpoint count, each witness once, and too few never match."""
    verdict = _judged(made())
    assert (verdict.checks[9].status[0], verdict.result) == (status, result)


def test_the_post_quantum_signature_is_reported_and_can_be_demanded() -> None:
    """With it check 4 passes and says so; without it the report says Ed25519, and a reader who demands it gets no match."""
    log = _log()
    plain = log.evidence(2, enrolments=[1])
    whole = log.evidence(2, enrolments=[1], signed=log.published(quantum=LOG_QUANTUM))
    demanding = log.trust(post_quantum=True)
    assert _judged((whole, demanding)).result == MATCHES_RECORD
    assert _judged((whole, demanding)).facts["log_signatures"] == "Ed25519 and ML-DSA-44"
    assert _judged((plain, log.trust())).facts["log_signatures"] == "Ed25519"
    dropped = _judged((plain, demanding))
    assert (letters(dropped), dropped.result) == ("PPPNNNNNNNNNNPP", INCONCLUSIVE)
    lying = log.evidence(2, enrolments=[1], signed=log.checkpoint(root=bytes(32)))
    assert _judged((lying, demanding)).result == EVIDENCE_INVALID


def test_a_false_post_quantum_signature_fails() -> None:
    """A line under the log's own ML-DSA-44 key that does not verify is a fault, whether anybody asked for it or not."""
    log = _log()
    over = checkpoint.Checkpoint(log.origin, 3, bytes(32))
    signed = log.published(cosigners=[(log.origin, LOG_QUANTUM)], over=over)
    verdict = _judged((log.evidence(2, enrolments=[1], signed=signed), log.trust()))
    assert (verdict.result, verdict.checks[3].status) == (EVIDENCE_INVALID, "FAIL")


def test_a_key_of_the_log_is_no_witness_under_another_name() -> None:
    """A quorum that the log can meet with its own key is not met."""
    line = f"witness other {CosignatureSigner('other.example', LOG_QUANTUM).verifier.vkey}\nquorum other\n"
    scene = _witnessed(witness_policy.parse(line), cosigners=[("other.example", LOG_QUANTUM)])
    verdict = _judged(scene)
    assert (verdict.checks[9].status, verdict.result) == ("NOT CHECKED", INCONCLUSIVE)


def test_a_reader_who_knows_of_a_later_policy_is_not_shown_an_old_one() -> None:
    """A log key that version 1 dropped is believed by whoever is not shown version 1, unless the trust file asks for it."""
    log = _log()
    new = key("new log", "ed25519")
    changes: dict[str, Any] = {"log": log.id, "prev": log.id, "log_keys": [new.spki]}
    log.policy(log.policy_keys[0], version=1, **changes)
    log.capture(b"another")
    withheld = log.evidence(2, enrolments=[1], policies=[0])
    whole = log.evidence(2, enrolments=[1], signed=log.checkpoint(signer=new))
    assert _judged((withheld, log.trust())).result == MATCHES_RECORD
    knowing = log.trust(policy_version=1)
    assert _judged((whole, knowing)).result == MATCHES_RECORD
    verdict = _judged((withheld, knowing))
    assert (letters(verdict)[:8], verdict.result) == ("PPNNNNNN", INCONCLUSIVE)
    assert _judged((log.evidence(2, enrolments=[1]), knowing)).result == EVIDENCE_INVALID


# --- time -----------------------------------------------------------------------------------------


def _stamped(
    log: Log,
    *,
    old_size: int,
    at: int = NOW + HOUR,
    message: bytes | None = None,
    shops: tuple[stamps.Shop, ...] = (SHOP,),
    **changes: Any,
) -> Stamped:
    """Stamps over the log's checkpoint when it had `old_size` leaves."""
    earlier = copy.copy(log)
    earlier.statements = log.statements[:old_size]
    signed = earlier.published(quantum=LOG_QUANTUM)
    noted = checkpoint.parse(signed).log_note if message is None else message
    made = Stamped(signed, log.consistency(old_size), tuple(Stamp(shop.stamp(noted, at=at)) for shop in shops))
    return replace(made, **changes)


def _timed(*, more: int = 2, stamped: Callable[[Log], Stamped] | None = None, shops: Any = (SHOP,)) -> Scene:
    """The record is stamped when the log had three leaves; the proofs are under a later checkpoint."""
    log = _log()
    for number in range(more):
        log.capture(b"another %d" % number)
    made = stamped(log) if stamped else _stamped(log, old_size=3)
    given = replace(log.evidence(2, enrolments=[1]), stamped=made)
    return given, log.trust(authorities=tuple(shop.authority for shop in shops))


@pytest.mark.parametrize("more", [0, 1, 2, 5])
def test_a_time_stamp_bounds_the_record_from_above(more: int) -> None:
    """P is the stamp's time however the log has grown since; device clock and log order stay facts of their own."""
    verdict = _judged(_timed(more=more), at=NOW + 2 * HOUR)
    assert (letters(verdict), verdict.result) == ("PPPPPPPPNNPNNPP", MATCHES_RECORD)
    assert verdict.facts["not_later_than"] == NOW + HOUR
    assert (verdict.facts["stated_time"], verdict.facts["index"]) == (NOW, 2)
    assert "not later than 2027-01-15T09:00:00" in verdict.checks[10].reason


def test_the_earliest_stamp_counts() -> None:
    """Of two believed stamps the earlier one is P."""
    log = _log()
    late = _stamped(log, old_size=3, at=NOW + 2 * HOUR)
    early = Stamp(SHOP.stamp(checkpoint.parse(late.checkpoint).log_note, at=NOW + HOUR))
    both = replace(late, stamps=(*late.stamps, early))
    verdict = _judged((replace(log.evidence(2, enrolments=[1]), stamped=both), log.trust(authorities=[SHOP.authority])))
    assert verdict.checks[10].status == "NOT CHECKED"  # both are later than the time of verification
    verdict = _judged(
        (replace(log.evidence(2, enrolments=[1]), stamped=both), log.trust(authorities=[SHOP.authority])),
        at=NOW + 3 * HOUR,
    )
    assert verdict.facts["not_later_than"] == NOW + HOUR


def _with(**changes: Any) -> Callable[[Log], Stamped]:
    return lambda log: _stamped(log, old_size=3, **changes)


def _other_history(log: Log) -> Stamped:
    """A sound stamp over another log of the same key: it shows a tree that this one never was."""
    other = _log()
    other.statements[2] = other.statements[1]
    return replace(_stamped(other, old_size=3), consistency=log.consistency(3))


def _unsigned(log: Log) -> Stamped:
    other = copy.copy(log)
    other.log_key = NORTH
    return _stamped(other, old_size=3)


TIMES: list[tuple[str, str, str, Callable[[], Scene]]] = [
    ("an authority that nobody named", "N", MATCHES_RECORD, lambda: _timed(shops=(OTHER_SHOP,))),
    ("no authority is named", "N", MATCHES_RECORD, lambda: _timed(shops=())),
    (
        "one stranger beside a believed one",
        "P",
        MATCHES_RECORD,
        lambda: _timed(stamped=_with(shops=(OTHER_SHOP, SHOP))),
    ),
    ("over other bytes", "F", EVIDENCE_INVALID, lambda: _timed(stamped=_with(message=b"another"))),
    ("no token", "F", EVIDENCE_INVALID, lambda: _timed(stamped=_with(stamps=(Stamp(b"\x30\x00"),)))),
    (
        "a checkpoint without the record",
        "F",
        EVIDENCE_INVALID,
        lambda: _timed(stamped=lambda log: _stamped(log, old_size=2)),
    ),
    ("a checkpoint of another history", "F", EVIDENCE_INVALID, lambda: _timed(stamped=_other_history)),
    (
        "a checkpoint that the log did not sign",
        "F",
        EVIDENCE_INVALID,
        lambda: _timed(stamped=_unsigned),
    ),
    (
        "a path of other sizes",
        "F",
        EVIDENCE_INVALID,
        lambda: _timed(stamped=_with(consistency=cbor.encode([2, 5, []]))),
    ),
    ("a path that is none", "F", EVIDENCE_INVALID, lambda: _timed(stamped=_with(consistency=cbor.encode([3, 5, [1]])))),
    (
        "a path that proves nothing",
        "F",
        EVIDENCE_INVALID,
        lambda: _timed(stamped=_with(consistency=cbor.encode([3, 5, []]))),
    ),
    ("no CBOR for a path", "F", EVIDENCE_INVALID, lambda: _timed(stamped=_with(consistency=b"\xff"))),
    ("a renewal that is none", "F", EVIDENCE_INVALID, lambda: _timed(stamped=_with(stamps=(Stamp(b"", (), (b"x",)),)))),
]


@pytest.mark.parametrize(("status", "result", "made"), [row[1:] for row in TIMES], ids=[row[0] for row in TIMES])
def test_time_stamps(status: str, result: str, made: Callable[[], Scene]) -> None:
    """A stamp counts over a checkpoint of this very log that covers the record, by an authority that the reader named."""
    verdict = _judged(made(), at=NOW + 2 * HOUR)
    assert (verdict.checks[10].status[0], verdict.result) == (status, result)
    assert ("not_later_than" in verdict.facts) == (status == "P")


# --- the key rule with time stamps and keystates --------------------------------------------------


def _revoked(*, effective: int, timed: bool) -> Scene:
    log = _log()
    log.revoke(MODALITY, effective=effective)
    given = log.evidence(2, enrolments=[1], revocation=[3])
    if timed:
        given = replace(given, stamped=_stamped(log, old_size=3))
    return given, log.trust(authorities=[SHOP.authority])


@pytest.mark.parametrize(
    ("effective", "timed", "statuses", "result"),
    [
        (NOW + HOUR, True, "PP", MATCHES_RECORD),
        (NOW + HOUR - 1, True, "NN", INCONCLUSIVE),
        (NOW + 2 * HOUR, True, "PP", MATCHES_RECORD),
        (NOW + 2 * HOUR, False, "NN", INCONCLUSIVE),
        (BEGIN, True, "NN", INCONCLUSIVE),
    ],
)
def test_a_revocation_cannot_take_back_what_was_proven_before(
    effective: int, timed: bool, statuses: str, result: str
) -> None:
    """P at or before the effective time settles it; a hospital that revokes with an early date disputes, and voids nothing."""
    verdict = _judged(_revoked(effective=effective, timed=timed), at=NOW + 3 * HOUR)
    assert (letters(verdict)[7:9], verdict.result) == (statuses, result)


def test_an_expired_key_is_good_for_what_was_proven_while_it_was_not() -> None:
    """Ten years later the stamp, not the time of verification, is held against the end of the key's validity."""
    log = _log()
    timed = replace(log.evidence(2, enrolments=[1]), stamped=_stamped(log, old_size=3))
    trust = log.trust(authorities=[SHOP.authority])
    later = END + HOUR
    assert _judged((timed, trust), at=later).result == MATCHES_RECORD
    assert _judged((replace(timed, stamped=None), trust), at=later).result == INCONCLUSIVE


LOG_PARTY_URI = statement.policy_issuer("ledger.example/xray")


def _stated(
    *,
    revoked: int | None = None,
    by: Any = None,
    leaf: dict[str, Any] | None = None,
    size: int | None = None,
    kind: str = "keystate",
    log: bytes | None = None,
) -> Scene:
    """The record's log with a keystate as its last leaf; the arguments make the keystate lie."""
    made = _log()
    if revoked is not None:
        made.revoke(MODALITY, effective=NOW)
    known = {
        "kid": MODALITY.key.kid,
        "role": "modality",
        "device": MODALITY.uri,
        "not_before": BEGIN,
        "not_after": END,
        "enrolled": 1,
        "revoked": revoked,
        "effective": None if revoked is None else NOW,
        **(leaf or {}),
    }
    tree = KeyTree([KeyLeaf(**known)])
    payload: dict[str, Any] = {
        "at": NOW + HOUR,
        "log": log or made.id,
        "size": size or len(made.statements),
        "root": tree.root,
        "count": 1,
    }
    if kind == "note":
        payload = {"at": NOW + HOUR, "log": made.id, "topic": "remark", "text": "x"}
    index = made.say(kind, payload, by=by or Party(made.log_key, LOG_PARTY_URI))
    shown = tree.show(cast("bytes", known["kid"]))
    assert shown is not None
    keystate = Keystate(made.proven(index), shown.to_bytes())
    return replace(made.evidence(2, enrolments=[1]), keystate=keystate), made.trust()


KEYSTATES: list[tuple[str, str, str, Callable[[], Scene]]] = [
    ("not revoked", "P", MATCHES_RECORD, _stated),
    ("revoked, and the revocation is withheld", "N", INCONCLUSIVE, lambda: _stated(revoked=3)),
    ("of a log without the record", "N", MATCHES_RECORD, lambda: _stated(size=2)),
    ("signed by a registrar", "F", EVIDENCE_INVALID, lambda: _stated(by=REGISTRAR)),
    ("another kind", "F", EVIDENCE_INVALID, lambda: _stated(kind="note")),
    ("of another log", "F", EVIDENCE_INVALID, lambda: _stated(log=bytes(32))),
    ("of another key", "F", EVIDENCE_INVALID, lambda: _stated(leaf={"kid": bytes(32)})),
    ("of another role", "F", EVIDENCE_INVALID, lambda: _stated(leaf={"role": "sensor"})),
    ("of other dates", "F", EVIDENCE_INVALID, lambda: _stated(leaf={"not_after": END + 1})),
    ("of another enrolment", "F", EVIDENCE_INVALID, lambda: _stated(leaf={"enrolled": 0})),
    ("of leaves to come", "F", EVIDENCE_INVALID, lambda: _stated(size=9)),
]


@pytest.mark.parametrize(
    ("status", "result", "made"), [row[1:] for row in KEYSTATES], ids=[row[0] for row in KEYSTATES]
)
def test_keystates(status: str, result: str, made: Callable[[], Scene]) -> None:
    """A later keystate of the log's own key shows what is known of the record's key; what contradicts its enrolment fails."""
    verdict = _judged(made())
    assert (verdict.checks[8].status[0], verdict.result) == (status, result)


def test_the_date_to_which_a_key_is_known_is_reported() -> None:
    """The keystate's own time, in the reason and as a fact."""
    verdict = _judged(_stated())
    assert verdict.facts["key_status_known_to"] == NOW + HOUR
    assert "key status known to 2027-01-15T09:00:00" in verdict.checks[8].reason


# --- receipts -------------------------------------------------------------------------------------


def _received(**changes: Any) -> Scene:
    """The good evidence with two COSE receipts, by both of the log's keys; `changes` make the second one lie."""
    log = _log()
    record = statement.decode(log.statements[2])
    honest: dict[str, Any] = {
        "signer": log.log_key,
        "issuer": LOG_PARTY_URI,
        "subject": record.subject,
        "issued_s": NOW // 10**9,
        "entry": record.entry,
        "index": 2,
        "size": 3,
        "path": inclusion_path(log.leaves, 2),
        "root": root(log.leaves),
    }
    made = tuple(receipt.sign_inclusion(**each) for each in (honest, honest | {"signer": LOG_QUANTUM} | changes))
    return replace(log.evidence(2, enrolments=[1]), receipts=made), log.trust()


def _of(index: int) -> dict[str, Any]:
    log = _log()
    record = statement.decode(log.statements[index])
    return {
        "entry": record.entry,
        "subject": record.subject,
        "index": index,
        "path": inclusion_path(log.leaves, index),
    }


RECEIPTS: list[tuple[str, str, str, Callable[[], Scene]]] = [
    ("by both keys", "P", MATCHES_RECORD, _received),
    ("by a stranger", "F", EVIDENCE_INVALID, lambda: _received(signer=STRANGER)),
    ("of another log's name", "F", EVIDENCE_INVALID, lambda: _received(issuer="https://another.example/log")),
    (
        "of another subject",
        "F",
        EVIDENCE_INVALID,
        lambda: _received(subject="urn:uuid:8a3fbd4f-54d1-4d44-8a3f-bd4f54d14d44"),
    ),
    ("of another leaf", "F", EVIDENCE_INVALID, lambda: _received(**_of(1))),
]


@pytest.mark.parametrize(("status", "result", "made"), [row[1:] for row in RECEIPTS], ids=[row[0] for row in RECEIPTS])
def test_receipts(status: str, result: str, made: Callable[[], Scene]) -> None:
    """Every receipt in a bundle says what its proof says, under a key of the log, or check 5 fails."""
    verdict = _judged(made())
    assert (verdict.checks[4].status[0], verdict.result) == (status, result)


def test_a_damaged_receipt_fails() -> None:
    """One flipped bit anywhere in a receipt is a fault of the evidence."""
    given, trust = _received()
    first = given.receipts[0]
    for at in range(0, len(first), 7):
        damaged = first[:at] + bytes([first[at] ^ 1]) + first[at + 1 :]
        assert _judged((replace(given, receipts=(damaged,)), trust)).result == EVIDENCE_INVALID, at


def test_all_of_it_survives_the_bundle() -> None:
    """Written, read and judged again, the evidence gives the same verdict."""
    from platemark import evidence

    for scene in (_timed(), _stated(), _received(), _witnessed(BOTH, quantum=LOG_QUANTUM)):
        given, trust = scene
        assert _judged((evidence.from_bytes(given.to_bytes()), trust)) == _judged((given, trust))
