"""Evidence with one fault each, and what the fifteen checks say of it: for the tests of the verdict and its vectors.

The status of the checks is written as a word of P, F and N (see builders.letters). Every scene is judged with the
image b"an image" at builders.NOW.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from builders import BEGIN, CAMERA, END, MODALITY, NOW, REGISTRAR, Log, Party, key, party, scene
from platemark import attributes, cbor, cose, merkle
from platemark.evidence import Evidence
from platemark.trust import Trust

__all__ = ["FAULTS", "Fault", "Scene", "broken_signature", "good", "two_checkpoints"]

Scene: TypeAlias = tuple[Evidence, Trust | None]


def good() -> Scene:
    """A capture by an enrolled modality: nothing is wrong."""
    log = scene()
    return log.evidence(2, enrolments=[1]), log.trust()


def _record(statement: bytes) -> Scene:
    """The good scene with another record, whose proof stays."""
    given, trust = good()
    return replace(given, record=replace(given.record, statement=statement)), trust


def _signed(payload: object, kind: str = "capture") -> bytes:
    header: dict[int | str, cbor.Value] = {
        3: f"application/vnd.platemark.{kind}+cbor",
        4: MODALITY.key.kid,
        15: {1: MODALITY.uri, 2: "urn:uuid:8a3fbd4f-54d1-4d44-8a3f-bd4f54d14d44"},
    }
    return cose.sign(header, cbor.encode(payload), MODALITY.key)


def _proof(proof: bytes) -> Scene:
    given, trust = good()
    return replace(given, record=replace(given.record, proof=proof)), trust


def _untrusted(change: Callable[[Scene], Scene] = lambda given: given) -> Scene:
    return change(good())[0], None


def _swap(old: bytes, new: bytes) -> Scene:
    """The good scene with bytes of the record's proof replaced."""
    proof = good()[0].record.proof
    assert proof.count(old) == 1
    return _proof(proof.replace(old, new))


def _another_leaf() -> Scene:
    """A log that shows a tree without the record: another leaf stands in its place."""
    log, honest = scene(), scene()
    log.statements[2] = log.statements[2][:-1] + bytes([log.statements[2][-1] ^ 1])
    given = log.evidence(2, enrolments=[1])
    return replace(given, record=replace(given.record, statement=honest.statements[2])), honest.trust()


def _lying(**lie: object) -> Scene:
    log = scene()
    signed = log.checkpoint(**lie)  # type: ignore[arg-type] # each case passes an option of its own
    return log.evidence(2, enrolments=[1], signed=signed), log.trust()


def _other_size() -> Scene:
    """The checkpoint claims a fourth leaf under the root of three: leaf 0 has the same walk in both, leaf 2 has not."""
    log = scene()
    three = merkle.root(log.leaves)
    log.add(log.statements[2])
    signed = log.checkpoint(root=three)
    log.statements.pop()
    return log.evidence(2, enrolments=[1], signed=signed), log.trust()


def two_checkpoints() -> Scene:
    """The enrolment's proof is good, under another checkpoint than the record's."""
    log = scene()
    given = log.evidence(2, enrolments=[1])
    log.capture(b"another image")
    return replace(given, enrolments=(log.proven(1),)), log.trust()


def broken_signature() -> Scene:
    """A log that accepted a record whose signature is wrong."""
    log = scene()
    log.statements[2] = log.statements[2][:-1] + bytes([log.statements[2][-1] ^ 1])
    return log.evidence(2, enrolments=[1]), log.trust()


def _enrolled(**options: object) -> Scene:
    """The good scene with an enrolment made with these options."""
    log = Log()
    log.enrol(MODALITY, **options)  # type: ignore[arg-type] # each case passes an option of its own
    log.capture()
    return log.evidence(2, enrolments=[1]), log.trust()


def _captured_by(who: Party, *, role: str = "modality", **changes: object) -> Scene:
    log = Log()
    log.enrol(MODALITY, role=role)
    log.capture(by=who, **changes)  # type: ignore[arg-type] # each case passes an option of its own
    return log.evidence(2, enrolments=[1]), log.trust()


def _enrolled_later() -> Scene:
    """The record stands in the log before the enrolment of its key."""
    log = Log()
    log.capture()
    log.enrol(MODALITY)
    return log.evidence(1, enrolments=[2]), log.trust()


def _named_log(kind: str) -> Scene:
    """A log-bound record that names another log."""
    log = Log()
    log.enrol(MODALITY, role="operator")
    of: dict[str, cbor.Value] = {"at": NOW, "log": bytes(32), "of": bytes(32)}
    special: dict[str, cbor.Value] = {"meaning": "performed"} if kind == "attest" else {"event": "exported"}
    log.say(kind, of | special, by=MODALITY)
    return log.evidence(2, enrolments=[1]), log.trust()


def _foreign_enrolment() -> Scene:
    """Another log's enrolment of the same key, which this log contains as a copy."""
    log = Log()
    log.enrol(MODALITY, log=bytes(32))
    log.capture()
    return log.evidence(2, enrolments=[1]), log.trust()


def _another_logs_evidence() -> Scene:
    """Everything is sound in a log of the same name that the trust file does not mean."""
    log = Log(policy_keys=(key("another policy", "ed25519"),), log_key=key("another log", "ed25519"))
    log.enrol(MODALITY)
    log.capture()
    return log.evidence(2, enrolments=[1]), scene().trust()


def _self_registered() -> Scene:
    """A stranger enrols the key."""
    stranger = party("stranger")
    log = Log()
    log.enrol(MODALITY, by=stranger)
    log.capture()
    return log.evidence(2, enrolments=[1]), log.trust()


def _modality_as_registrar() -> Scene:
    """An enrolled modality enrols another key."""
    log = Log()
    log.enrol(MODALITY)
    log.enrol(CAMERA, role="sensor", by=MODALITY)
    log.capture(by=CAMERA)
    return log.evidence(3, enrolments=[2, 1]), log.trust()


def _enrolments(*indexes: int) -> Scene:
    """A log with two enrolled keys; the record is the modality's and these enrolments are shown."""
    log = Log()
    log.enrol(MODALITY)
    log.enrol(CAMERA, role="sensor")
    log.capture()
    return log.evidence(3, enrolments=list(indexes)), log.trust()


def _stolen_proof() -> Scene:
    """The enrolment is shown with the proof of the record."""
    given, trust = good()
    stolen = replace(given.enrolments[0], proof=given.record.proof)
    return replace(given, enrolments=(stolen,)), trust


def _at(captured: int) -> Scene:
    log = scene(at=captured)
    return log.evidence(2, enrolments=[1]), log.trust()


def _revoked(order: str, *, whom: Party = MODALITY, by: Party = REGISTRAR, **options: object) -> Scene:
    """Leaves in the order of these letters: e enrol, c capture, r revoke; the revocation is shown."""
    log = Log()
    places: dict[str, int] = {}
    for letter in order:
        if letter == "e":
            places[letter] = log.enrol(MODALITY)
        elif letter == "c":
            places[letter] = log.capture()
        else:
            places[letter] = log.revoke(whom, effective=NOW, by=by, **options)  # type: ignore[arg-type] # as above
    shown = log.evidence(places["c"], enrolments=[places["e"]], revocation=[places["r"]])
    return shown, log.trust()


def _not_a_revocation() -> Scene:
    """A statement of another kind is shown as the revocation."""
    log = scene()
    return log.evidence(2, enrolments=[1], revocation=[1]), log.trust()


def _disclosed(disclosure: bytes) -> Scene:
    given, trust = good()
    return given.with_disclosure(disclosure), trust


OTHER = attributes.commit({"rows": 1}, key=bytes(32))
Fault: TypeAlias = tuple[str, Callable[[], Scene], str, str]
FAULTS: list[Fault] = [
    # name, scene, the fifteen checks, words of the reason
    # 1: the statement
    ("statement: no CBOR", lambda: _record(b"junk"), "F" + "N" * 14, "statement: tag"),
    ("statement: empty", lambda: _record(b""), "F" + "N" * 14, "statement: tag"),
    ("statement: a field too few", lambda: _record(_signed({"v": 1})), "F" + "N" * 14, "missing"),
    ("statement: too large", lambda: _record(bytes(70_000)), "F" + "N" * 14, "more than 61440"),
    ("statement: version 2", lambda: _record(_signed({"v": 2})), "N" * 15, "version 2 is not known"),
    ("statement: a new kind", lambda: _record(_signed({"v": 1}, "video")), "N" * 15, "kind video"),
    # 2: trust
    ("trust: none", _untrusted, "PNNNNNNNNNNNNPP", "no trust file was given"),
    ("trust: another log's", _another_logs_evidence, "PNNNNNNNNNNNNPP", "does not name this log"),
    # 4 and 5: checkpoint and inclusion
    ("checkpoint: no proof", lambda: _proof(b""), "PNNFNNNNNNNNNPP", "checkpoint: tlog-proof"),
    (
        "checkpoint: another key",
        lambda: _lying(signer=key("mallory", "ed25519")),
        "PPPFNNNNNNNNNPP",
        "checkpoint: the note carries no signature",
    ),
    (
        "checkpoint: another origin",
        lambda: _lying(origin="ledger.example/mri"),
        "PPPFNNNNNNNNNPP",
        "ledger.example/mri is not ledger.example/xray",
    ),
    (
        "checkpoint: another root",
        lambda: _lying(root=bytes(32)),
        "PPFNNNNNNNNNNPP",
        "policy: policy/0 is not in the log under this checkpoint: the inclusion path leads to another root",
    ),
    ("checkpoint: another size", _other_size, "PPPPFNNNNNNNNPP", "inclusion path"),
    ("inclusion: another leaf", _another_leaf, "PPPPFNNNNNNNNPP", "leads to another root"),
    (
        "inclusion: another index",
        lambda: _swap(b"index 2\n", b"index 1\n"),
        "PPPPFNNNNNNNNPP",
        "inclusion: the inclusion path",
    ),
    (
        "inclusion: an index outside",
        lambda: _swap(b"index 2\n", b"index 3\n"),
        "PPPPFNNNNNNNNPP",
        "index 3 is not below size 3",
    ),
    # 6: the key
    ("key: a broken signature", broken_signature, "PPPPPFNNNNNNNPP", "signature does not verify"),
    ("key: no enrolment", _enrolments, "PPPPPFNNNNNNNPP", "does not lead to a registrar"),
    ("key: another's enrolment", lambda: _enrolments(2), "PPPPPFNNNNNNNPP", "enrols another key"),
    ("key: swapped enrolments", lambda: _enrolments(2, 1), "PPPPPFNNNNNNNPP", "enrols another key"),
    ("key: one enrolment too many", lambda: _enrolments(1, 2), "PPPPPFNNNNNNNPP", "enrols another"),
    ("key: the policy as enrolment", lambda: _enrolments(0), "PPPPPFNNNNNNNPP", "not enrol"),
    ("key: the record as enrolment", lambda: _enrolments(3), "PPPPPFNNNNNNNPP", "not enrol"),
    ("key: a stolen proof", _stolen_proof, "PPPPPFNNNNNNNPP", "leads to another root"),
    ("key: enrolled later", _enrolled_later, "PPPPPFNNNNNNNPP", "later in the log"),
    ("key: enrolled in another log", _foreign_enrolment, "PPPPPFNNNNNNNPP", "names another log"),
    ("key: by a stranger", _self_registered, "PPPPPFNNNNNNNPP", "does not lead to a registrar"),
    (
        "key: by a modality",
        _modality_as_registrar,
        "PPPPPFNNNNNNNPP",
        "role modality may not sign a statement of kind enrol",
    ),
    (
        "key: by a registrar under another name",
        lambda: _enrolled(issuer="https://elsewhere.example"),
        "PPPPPFNNNNNNNPP",
        "https://elsewhere.example",
    ),
    (
        "key: by a registrar whose time is over",
        lambda: _enrolled(at=END + 1),
        "PPPPPFNNNNNNNPP",
        "was not enrolled for the time",
    ),
    (
        "key: signed by another key",
        lambda: _enrolled(signer=key("mallory")),
        "PPPPPFNNNNNNNPP",
        "does not lead to a registrar",
    ),
    (
        "key: an operator",
        lambda: _enrolled(role="operator"),
        "PPPPPFNNNNNNNPP",
        "role operator may not sign a statement of kind capture",
    ),
    (
        "key: a registrar",
        lambda: _enrolled(role="registrar"),
        "PPPPPFNNNNNNNPP",
        "role registrar may not sign a statement of kind capture",
    ),
    (
        "key: a gateway as modality",
        lambda: _enrolled(role="gateway"),
        "PPPPPFNNNNNNNPP",
        "role gateway may not state the origin 'modality-signed'",
    ),
    (
        "key: a modality as gateway",
        lambda: _captured_by(MODALITY, origin="gateway-received"),
        "PPPPPFNNNNNNNPP",
        "role modality may not state the origin 'gateway-received'",
    ),
    (
        "key: under another device's name",
        lambda: _captured_by(Party(MODALITY.key, CAMERA.uri)),
        "PPPPPFNNNNNNNPP",
        f"enrols {MODALITY.uri}, the statement says {CAMERA.uri}",
    ),
    (
        "key: an attest for another log",
        lambda: _named_log("attest"),
        "PPPPPFNNNNNNNNN",
        "statement.cose: names another log",
    ),
    (
        "key: a custody for another log",
        lambda: _named_log("custody"),
        "PPPPPFNNNNNNNNN",
        "statement.cose: names another log",
    ),
    # 8: validity
    ("validity: stated too early", lambda: _at(BEGIN - 1), "PPPPPPPFNNNNNPP", "outside the key's"),
    ("validity: stated too late", lambda: _at(END + 1), "PPPPPPPFNNNNNPP", "outside the key's"),
    # 9: revocation
    ("revocation: before the record", lambda: _revoked("erc"), "PPPPPPPPFNNNNPP", "revoked at leaf 2"),
    ("revocation: after the record", lambda: _revoked("ecr"), "PPPPPPPNNNNNNPP", "disputed"),
    (
        "revocation: of another key",
        lambda: _revoked("ecr", whom=CAMERA),
        "PPPPPPPPFNNNNPP",
        "does not revoke the record's key",
    ),
    ("revocation: an enrolment", _not_a_revocation, "PPPPPPPPFNNNNPP", "does not revoke the record's key"),
    (
        "revocation: by a stranger",
        lambda: _revoked("ecr", by=party("stranger")),
        "PPPPPPPPFNNNNPP",
        "does not lead to a registrar",
    ),
    ("revocation: in another log", lambda: _revoked("ecr", log=bytes(32)), "PPPPPPPPFNNNNPP", "names another log"),
    (
        "revocation: too late for the registrar",
        lambda: _revoked("ecr", at=END + 1),
        "PPPPPPPPFNNNNPP",
        "was not enrolled for the time",
    ),
    # 13: disclosure
    ("disclosure: no CBOR", lambda: _disclosed(b"junk"), "PPPPPPPPNNNNFPP", "disclosure: "),
    ("disclosure: another statement's", lambda: _disclosed(OTHER.to_bytes()), "PPPPPPPPNNNNFPP", "do not belong"),
    (
        "disclosure: another's opening",
        lambda: _disclosed(OTHER.open("rows").to_bytes()),
        "PPPPPPPPNNNNFPP",
        "another root",
    ),
]
