"""The signed statement: every kind and field, what each refuses by name, and the one id of two signatures."""

import hashlib
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import MODALITY, NOW, key
from platemark import cbor, cose, keys, kinds, statement
from platemark.errors import CoseError, FormatError, SignatureError, StatementError, UnknownKindError
from strategies import cbor_values, payloads

SUBJECT = "urn:uuid:8a3fbd4f-54d1-4d44-8a3f-bd4f54d14d44"
DEVICE = MODALITY.uri
HEARTBEAT: dict[str, Any] = {
    "epoch": 0,
    "seq": 0,
    "prev": None,
    "at": NOW,
    "since": NOW - 1,
    "clock": {"source": "ptp", "error_ns": None},
}


def _raw(payload: object = None, *, changes: dict[Any, Any] | None = None, kind: str = "heartbeat") -> bytes:
    """A signed heartbeat whose header has `changes` (None drops a label), its payload unchecked."""
    header: dict[Any, Any] = {
        3: f"application/vnd.platemark.{kind}+cbor",
        4: MODALITY.key.kid,
        15: {1: DEVICE, 2: SUBJECT},
        **(changes or {}),
    }
    header = {label: value for label, value in header.items() if value is not None}
    content = payload if isinstance(payload, bytes) else cbor.encode(payload or {"v": 1, **HEARTBEAT})
    return cose.sign(header, content, MODALITY.key)


@pytest.mark.parametrize("kind", kinds.KINDS)
@given(data=st.data())
def test_every_payload_of_every_kind_is_built_and_decoded(kind: str, data: st.DataObject) -> None:
    """Decode is the inverse of build, field by field, and the signature verifies."""
    payload = data.draw(payloads(kind))
    raw = statement.build(kind, payload, signer=MODALITY.key, issuer=DEVICE, subject=SUBJECT)
    decoded = statement.decode(raw)
    decoded.verify(MODALITY.key.public)
    header = (decoded.kind, decoded.issuer, decoded.subject, decoded.kid, decoded.alg)
    assert header == (kind, DEVICE, SUBJECT, MODALITY.key.kid, keys.ES256)
    assert (decoded.payload, decoded.raw) == ({"v": 1, **payload}, raw)


@pytest.mark.parametrize("kind", kinds.KINDS)
@given(data=st.data())
def test_the_properties_are_the_fields_of_the_payload(kind: str, data: st.DataObject) -> None:
    """epoch, seq, prev, log and the stated time are read from the fields that T9 names; a policy has none."""
    payload = data.draw(payloads(kind))
    decoded = statement.decode(statement.build(kind, payload, signer=MODALITY.key, issuer=DEVICE))
    time = {"capture": "captured", "segment": "last", "policy": "none"}.get(kind, "at")
    assert (decoded.epoch, decoded.seq, decoded.time) == (payload.get("epoch"), payload.get("seq"), payload.get(time))
    assert decoded.prev == (None if kind == "policy" else payload["prev"])
    assert decoded.log == payload.get("log")


def test_id_and_entry_are_the_hashes_of_the_specification() -> None:
    """H6: SHA-256 of the Sig_structure. H7: SHA-256 of the bytes."""
    raw = _raw()
    decoded = statement.decode(raw)
    message = cast("list[bytes]", cbor.decode(raw[1:]))
    signed = cbor.encode(["Signature1", message[0], b"", message[2]])
    assert (decoded.id, decoded.entry) == (hashlib.sha256(signed).digest(), hashlib.sha256(raw).digest())


def test_a_second_signature_makes_no_second_statement() -> None:
    """Two signatures over one Sig_structure, and the flipped one, have one id and different entries."""
    signer = keys.generate("p256")
    first, second = (
        statement.build("heartbeat", HEARTBEAT, signer=signer, issuer=DEVICE, subject=SUBJECT) for _ in range(2)
    )
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    flipped = first[:-32] + (order - int.from_bytes(first[-32:], "big")).to_bytes(32, "big")
    decoded = [statement.decode(raw) for raw in (first, second, flipped)]
    assert (len({each.id for each in decoded}), len({each.entry for each in decoded})) == (1, 3)
    with pytest.raises(SignatureError, match="high s"):
        decoded[2].verify(signer.public)


def test_subjects_are_random_when_none_is_given() -> None:
    """Two statements with one payload differ in their subject, and so in their id."""
    raws = [statement.build("heartbeat", HEARTBEAT, signer=MODALITY.key, issuer=DEVICE) for _ in range(2)]
    first, second = (statement.decode(raw) for raw in raws)
    assert (first.subject == second.subject, first.id == second.id) == (False, False)


def test_a_statement_of_another_key_does_not_verify() -> None:
    """The kid is compared first; a key of that kid and another algorithm cannot exist."""
    with pytest.raises(SignatureError, match="names another key"):
        statement.decode(_raw()).verify(key("mallory").public)


def test_a_kid_that_is_not_the_signers_does_not_verify() -> None:
    """Naming somebody else's key over one's own signature is caught by the signature."""
    other = key("mallory")
    raw = _raw(changes={4: other.kid})
    with pytest.raises(SignatureError, match="does not verify"):
        statement.decode(raw).verify(other.public)
    with pytest.raises(SignatureError, match="algorithm -7 is not the key's"):
        statement.decode(_raw(changes={4: key("ed", "ed25519").kid})).verify(key("ed", "ed25519").public)


# --- the header -----------------------------------------------------------------------------------

HEADERS: list[tuple[str, dict[Any, Any], str]] = [
    ("no content type", {3: None}, "protected.3"),
    ("content type as a number", {3: 60}, "protected.3"),
    ("content type in upper case", {3: "Application/vnd.platemark.heartbeat+cbor"}, "protected.3"),
    ("content type with parameters", {3: "application/vnd.platemark.heartbeat+cbor;v=1"}, "protected.3"),
    ("content type of JSON", {3: "application/vnd.platemark.heartbeat+json"}, "protected.3"),
    ("no kid", {4: None}, "protected.4"),
    ("kid as text", {4: "a" * 32}, "protected.4"),
    ("kid of 31", {4: bytes(31)}, "protected.4"),
    ("kid of 33", {4: bytes(33)}, "protected.4"),
    ("no claims", {15: None}, "protected.15"),
    ("claims as an array", {15: [DEVICE, SUBJECT]}, "protected.15"),
    ("claims as an array of labels", {15: [1, 2]}, "protected.15"),
    ("claims as a number", {15: 5}, "protected.15"),
    ("no issuer", {15: {2: SUBJECT}}, "protected.15"),
    ("no subject", {15: {1: DEVICE}}, "protected.15"),
    ("a third claim", {15: {1: DEVICE, 2: SUBJECT, 6: 1}}, "protected.15"),
    ("claims by name", {15: {"iss": DEVICE, "sub": SUBJECT}}, "protected.15"),
    ("issuer as bytes", {15: {1: DEVICE.encode(), 2: SUBJECT}}, "protected.15.1"),
    ("issuer empty", {15: {1: "", 2: SUBJECT}}, "protected.15.1"),
    ("issuer without scheme", {15: {1: "hospital.example/dx1", 2: SUBJECT}}, "protected.15.1"),
    ("issuer with a space", {15: {1: "https://hospital.example/d x", 2: SUBJECT}}, "protected.15.1"),
    ("issuer not ASCII", {15: {1: "https://hospital.example/\u00fc", 2: SUBJECT}}, "protected.15.1"),
    ("issuer with a bad escape", {15: {1: "https://hospital.example/%zz", 2: SUBJECT}}, "protected.15.1"),
    ("issuer with a line feed", {15: {1: "https://hospital.example/a\n", 2: SUBJECT}}, "protected.15.1"),
    ("issuer of 256", {15: {1: "https://" + "h" * 248, 2: SUBJECT}}, "protected.15.1"),
    ("subject as bytes", {15: {1: DEVICE, 2: bytes(16)}}, "protected.15.2"),
    ("subject in upper case", {15: {1: DEVICE, 2: SUBJECT.upper()}}, "protected.15.2"),
    ("subject without urn", {15: {1: DEVICE, 2: SUBJECT[9:]}}, "protected.15.2"),
    ("subject of version 1", {15: {1: DEVICE, 2: SUBJECT.replace("-4d44", "-1d44")}}, "protected.15.2"),
    ("subject of another variant", {15: {1: DEVICE, 2: SUBJECT.replace("-8a3f", "-ca3f")}}, "protected.15.2"),
    ("an unknown number", {16: 1}, "protected.16"),
    ("crit", {2: [1]}, "protected.2"),
    ("x5chain", {33: b"certificate"}, "protected.33"),
    ("an unknown name", {"hash": 1}, "protected.hash"),
]


@pytest.mark.parametrize(("changes", "field"), [row[1:] for row in HEADERS], ids=[row[0] for row in HEADERS])
def test_a_header_in_another_form_is_refused(changes: dict[Any, Any], field: str) -> None:
    """Exactly four labels, each in its one form; a well-signed other header is a CoseError naming the label."""
    with pytest.raises(CoseError) as caught:
        statement.decode(_raw(changes=changes))
    assert caught.value.field == field


@pytest.mark.parametrize("label", ["x\n  99 forged PASS", "a\x1b[2J", "\u202eright to left", "z" * 500, "\u009b1m"])
def test_a_foreign_name_cannot_write_on_a_terminal(label: str) -> None:
    """Names that a stranger chose are shortened and escaped in the error, in header, payload and kind."""
    raws = [
        _raw(changes={label: 1}),
        _raw({"v": 1, **HEARTBEAT, label: 1}),
        _raw({"v": 1, **HEARTBEAT, "clock": {"source": label, "error_ns": None}}),
        _raw(kind=label),
    ]
    for raw in raws:
        with pytest.raises(FormatError) as caught:
            statement.decode(raw)
        assert (str(caught.value).isprintable(), len(str(caught.value)) < 150) == (True, True)


# --- version, kind, size, form --------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 2, 3, -1, (1 << 64) - 1])
def test_another_version_is_news_and_not_a_fault(version: int) -> None:
    """An unknown version has its own error, whatever else the payload holds."""
    with pytest.raises(UnknownKindError, match=f"version {version} is not known") as caught:
        statement.decode(_raw({"v": version, "whatever": 1}))
    assert (caught.value.field, caught.value.code) == ("payload.v", "unknown-kind")


@pytest.mark.parametrize("kind", ["", "captures", "Capture", "capture+x", "video", "capture.v2", "ö"])
def test_another_kind_is_news_and_not_a_fault(kind: str) -> None:
    """An unknown kind has its own error."""
    with pytest.raises(UnknownKindError, match="is not known") as caught:
        statement.decode(_raw(kind=kind))
    assert (caught.value.field, caught.value.code) == ("protected.3", "unknown-kind")


@pytest.mark.parametrize("version", [None, True, "1", b"\x01", [1]])
def test_a_version_that_is_no_integer_is_a_fault(version: cbor.Value) -> None:
    """Every version of every kind has an integer there."""
    with pytest.raises(StatementError, match="missing or not an integer") as caught:
        statement.decode(_raw({"v": version, **HEARTBEAT}))
    assert (caught.value.field, caught.value.code) == ("payload.v", "malformed")
    with pytest.raises(StatementError, match="missing or not an integer"):
        statement.decode(_raw(dict(HEARTBEAT)))


@pytest.mark.parametrize("payload", [b"", b"\xff", b"\x80", b"\xf6", b"\x01", cbor.encode({"v": 1}) + b"\x00"])
def test_a_payload_that_is_no_map_is_refused(payload: bytes) -> None:
    """The payload is one CBOR map, strictly encoded."""
    with pytest.raises(StatementError) as caught:
        statement.decode(_raw(payload))
    assert caught.value.field == "payload"


def _note_of(size: int) -> bytes:
    """A note whose bytes are exactly `size`, or nearly, by the length of its data and text."""
    payload: dict[str, Any] = {
        "epoch": 0,
        "seq": 0,
        "prev": None,
        "at": NOW,
        "log": bytes(32),
        "topic": "remark",
        "text": "t" * 4096,
        "data": bytes(32_768),
        "of": [bytes([0, each]) * 16 for each in range(64)],
    }
    raw = statement.build("note", payload, signer=MODALITY.key, issuer=DEVICE, subject=SUBJECT)
    return raw + bytes(size - len(raw))


def test_the_size_is_checked_before_anything_is_decoded() -> None:
    """61440 bytes are looked at; one more is refused for its size alone."""
    with pytest.raises(CoseError, match="trailing"):
        statement.decode(_note_of(statement.MAX_STATEMENT))
    with pytest.raises(StatementError, match="61441 bytes, more than 61440") as caught:
        statement.decode(_note_of(statement.MAX_STATEMENT + 1))
    assert caught.value.field == "statement"


def test_build_refuses_what_decode_refuses() -> None:
    """A bad issuer, subject, text or size is a StatementError before a key is used."""

    class Untouched:
        alg, spki, kid = MODALITY.key.alg, MODALITY.key.spki, MODALITY.key.kid

        def sign(self, message: bytes) -> bytes:
            pytest.fail(f"signed {message!r}")

    signer = Untouched()
    faults: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        ({}, {"issuer": "no URI"}, "protected.15.1"),
        ({}, {"issuer": "https://\ud800"}, "protected.15.1"),
        ({}, {"subject": "urn:uuid:1"}, "protected.15.2"),
        ({"at": -1}, {}, "payload.at"),
        ({"more": 1}, {}, "payload.more"),
        ({"clock": {"source": "\ud800", "error_ns": None}}, {}, "payload.clock.source"),
    ]
    for changes, options, field in faults:
        with pytest.raises(StatementError) as caught:
            statement.build("heartbeat", {**HEARTBEAT, **changes}, **{"signer": signer, "issuer": DEVICE, **options})
        assert caught.value.field == field


@pytest.mark.parametrize("value", ["\ud800", "e\u0301"], ids=["lone surrogate", "decomposed"])
def test_build_refuses_text_that_cbor_refuses(value: str) -> None:
    """Text from a command line may hold surrogates: that is an error of ours, not a traceback."""
    payload = {"epoch": 0, "seq": 0, "prev": None, "at": NOW, "log": bytes(32), "topic": "remark", "text": value}
    with pytest.raises(StatementError, match=r"payload(\.text)?: "):
        statement.build("note", payload, signer=MODALITY.key, issuer=DEVICE)


# --- fuzz -----------------------------------------------------------------------------------------


@given(st.data())
def test_a_flipped_byte_raises_nothing_but_our_errors(data: st.DataObject) -> None:
    """Whatever byte of a statement changes, it is malformed or no longer verifies."""
    raw = statement.build("enrol", data.draw(payloads("enrol")), signer=MODALITY.key, issuer=DEVICE, subject=SUBJECT)
    at, flip = data.draw(st.integers(0, len(raw) - 1)), data.draw(st.integers(1, 255))
    changed = raw[:at] + bytes([raw[at] ^ flip]) + raw[at + 1 :]
    with pytest.raises((FormatError, SignatureError)):
        statement.decode(changed).verify(MODALITY.key.public)


@pytest.mark.parametrize("flip", [0x01, 0x20, 0x80, 0xFF])
def test_every_byte_of_a_statement_counts(flip: int) -> None:
    """Byte by byte: no flip leaves a statement that verifies."""
    raw = _raw()
    for at in range(len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ flip]) + raw[at + 1 :]
        with pytest.raises((FormatError, SignatureError)):
            statement.decode(changed).verify(MODALITY.key.public)


def test_a_prefix_of_a_statement_is_refused() -> None:
    """Cut off anywhere, it is a CoseError."""
    raw = _raw()
    for length in range(len(raw)):
        with pytest.raises(CoseError):
            statement.decode(raw[:length])


@given(st.sampled_from(sorted(kinds.KINDS)), cbor_values(), st.data())
def test_any_value_in_any_field_raises_nothing_but_our_errors(
    kind: str, value: cbor.Value, data: st.DataObject
) -> None:
    """A foreign value in one field, anywhere in the payload, is a StatementError or is allowed there."""
    payload: dict[Any, Any] = {"v": 1, **data.draw(payloads(kind))}
    place: Any = payload
    while True:
        name = data.draw(st.sampled_from(sorted(place)) if isinstance(place, dict) else st.integers(0, len(place) - 1))
        inner = place[name]
        if not isinstance(inner, (dict, list)) or not inner or data.draw(st.booleans()):
            break
        place[name] = place = inner.copy()
    place[name] = value
    try:
        statement.check_payload(kind, payload)
    except StatementError:
        return


@given(st.sampled_from(sorted(kinds.KINDS)), cbor_values())
def test_any_value_as_payload_raises_nothing_but_our_errors(kind: str, value: cbor.Value) -> None:
    """A signed message with an arbitrary payload is a StatementError."""
    with pytest.raises(StatementError):
        statement.decode(_raw(cbor.encode(value), kind=kind))


# --- what a policy's and an enrolment's signer says -----------------------------------------------


def test_the_enrolment_proof_is_over_log_device_and_role() -> None:
    """T5, byte for byte."""
    signed = statement.enrolment_proof_input(log=bytes(32), device=DEVICE, role="modality")
    assert signed == cbor.encode(["platemark enrol v1", bytes(32), DEVICE, "modality"])


def test_the_issuer_of_a_policy_is_its_origin() -> None:
    """H3: https:// and the origin."""
    assert statement.policy_issuer("ledger.example/xray") == "https://ledger.example/xray"


def test_content_types_name_the_kind() -> None:
    """H2, label 3."""
    make: Callable[[str], str] = statement.content_type
    assert make("capture") == "application/vnd.platemark.capture+cbor"
