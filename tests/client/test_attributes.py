"""The salted attribute tree: what is opened is proven, what is not stays hidden, and no slot ever moves."""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from platemark import attributes, cbor
from platemark.attributes import KINDS, REGISTRY, SLOTS, Disclosure, Opening
from platemark.errors import AttributeTreeError, PlatemarkError, ProofError
from strategies import attribute_values, cbor_values

K = bytes(range(32))
VALUES: dict[str, str | int | bytes | None] = {
    "patient_name": "Müller^Jürgen",
    "patient_id": "471108",
    "laterality": None,
    "rows": 2048,
    "remark": "",
}
WHOLE = attributes.commit(VALUES, key=K)
ROOT = WHOLE.root()
_COMMITTED = st.tuples(attribute_values(KINDS), st.binary(min_size=32, max_size=32))


def _mac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


def _tree(key: bytes, values: dict[str, Any]) -> list[bytes]:
    """The 64 leaves from rules A2 to A4 alone, with cbor2 and hmac."""
    leaves = []
    by_slot = {FROZEN.index(name): name for name in values}
    for slot in range(64):
        if slot not in by_slot:
            leaves.append(_mac(key, b"decoy" + slot.to_bytes(1, "big")))
            continue
        name = by_slot[slot]
        salt = _mac(key, b"salt" + name.encode())[:16]
        leaves.append(reference.leaf(cbor2.dumps([salt, name, values[name]])))
    return leaves


# The registry of version 1 in the order of its slots. A name here never moves: statements outlive releases.
FROZEN = [
    *("technologist", "technologist_id", "patient_id", "patient_id_issuer", "patient_name", "patient_birth_date"),
    *("patient_sex", "study_instance_uid", "series_instance_uid", "sop_instance_uid", "sop_class_uid"),
    *("accession_number", "study_datetime", "acquisition_datetime", "content_datetime"),
    *("instance_creation_datetime", "modality", "manufacturer", "model", "device_serial_number", "device_uid"),
    *("station_name", "institution_name", "department_name", "software_versions", "body_part", "laterality"),
    *("image_laterality", "patient_orientation", "view_position", "image_orientation_patient"),
    *("image_position_patient", "patient_position", "frame_of_reference_uid", "instance_number", "rows", "columns"),
    *("frames", "bits_stored", "photometric_interpretation", "pixel_spacing", "imager_pixel_spacing", "kvp"),
    *("exposure", "exposure_time", "protocol_name", "image_type", "burned_in_annotation", "synthetic_data"),
    *("lossy_image_compression", "rescale", "camera_id", "lens", "frame_id", "gps_position", "orientation"),
    *("file_name", "remark", "source_image_uids", "lossy_compression_ratio", "lossy_compression_method"),
    *("sender_identity", "sender_ae_title", "embedded_provenance"),
]
INTEGERS = {"rows", "columns", "frames", "bits_stored", "orientation"}


def test_the_registry_is_frozen() -> None:
    """Every name has the slot and type that it has had since its version; none is free."""
    assert dict(REGISTRY) == {name: slot for slot, name in enumerate(FROZEN)}
    assert dict(KINDS) == {name: int if name in INTEGERS else str for name in FROZEN}
    assert (len(FROZEN), SLOTS) == (64, 64)


@given(_COMMITTED)
def test_the_root_is_what_the_rules_say(committed: tuple[dict[str, Any], bytes]) -> None:
    """A2 to A5, recomputed with other code."""
    values, key = committed
    assert attributes.commit(values, key=key).root() == reference.root(_tree(key, values))


@given(_COMMITTED, st.data())
def test_opened_attributes_are_proven(committed: tuple[dict[str, Any], bytes], data: st.DataObject) -> None:
    """Whatever names are opened, their values come out of the file and belong to the root."""
    values, key = committed
    whole = attributes.commit(values, key=key)
    names = data.draw(st.lists(st.sampled_from(sorted(values)), unique=True)) if values else []
    shown = attributes.decode_disclosure(whole.open(*names).to_bytes())
    assert shown.verified(whole.root()) == {name: values[name] for name in names}


@given(_COMMITTED)
def test_showing_k_shows_everything(committed: tuple[dict[str, Any], bytes]) -> None:
    """A8: the whole disclosure comes back from its file and recomputes the root."""
    values, key = committed
    whole = attributes.commit(values, key=key)
    decoded = attributes.decode_disclosure(whole.to_bytes())
    assert (decoded, decoded.verified(whole.root())) == (whole, values)


@pytest.mark.parametrize("name", VALUES)
def test_an_opening_says_nothing_of_the_others(name: str) -> None:
    """The file of one name holds neither K, nor another value, salt or leaf, nor the name of another attribute."""
    raw = WHOLE.open(name).to_bytes()
    leaves = _tree(K, VALUES)
    hidden = [K, *(each.encode() for each in VALUES if each != name)]
    for other, value in VALUES.items():
        if other != name:
            hidden.append(_mac(K, b"salt" + other.encode())[:16])
            hidden += [value.encode()] if isinstance(value, str) and value else []
    sibling = leaves[REGISTRY[name] ^ 1]
    hidden += [leaf for leaf in leaves if leaf != sibling]
    assert [each for each in hidden if each in raw] == []


def test_presence_cannot_be_seen() -> None:
    """A4: the leaf of an absent attribute is 32 bytes that only K tells from the leaf of a present one."""
    one, none = (attributes.commit(values, key=K) for values in ({"columns": 1, "frames": 2}, {"columns": 1}))
    (shown,), (bare,) = one.open("columns").openings, none.open("columns").openings
    assert len(shown.path[0]) == len(bare.path[0]) == 32
    assert bare.path[0] == _mac(K, b"decoy" + bytes([REGISTRY["frames"]]))


def test_two_captures_of_one_patient_are_unlinkable() -> None:
    """Every capture has its own K, so equal values have unequal leaves and roots."""
    first, second = (attributes.commit(VALUES) for _ in range(2))
    assert (first.key == second.key, first.root() == second.root()) == (False, False)
    (one,), (two,) = first.open("patient_id").openings, second.open("patient_id").openings
    assert (one.salt == two.salt, set(one.path) & set(two.path)) == (False, set())


def test_null_is_a_value() -> None:
    """That the object carries no laterality is a commitment, and differs from not committing."""
    assert WHOLE.open("laterality").verified(ROOT) == {"laterality": None}
    without = {name: value for name, value in VALUES.items() if name != "laterality"}
    assert attributes.commit(without, key=K).root() != ROOT


def test_openings_are_in_the_order_of_slots_whatever_was_asked() -> None:
    """One set of names, one file."""
    asked = [("rows", "patient_id", "remark"), ("remark", "rows", "patient_id", "rows")]
    first, second = (WHOLE.open(*names).to_bytes() for names in asked)
    assert first == second


def test_the_repr_shows_no_value_and_no_key() -> None:
    """What lands in a log by accident says nothing of the patient."""
    assert repr(WHOLE) == "Disclosure()"
    assert "471108" not in repr(WHOLE.open("patient_id"))


OPENING = WHOLE.open("patient_id").openings[0]
_PATH = OPENING.path
MUTATIONS: list[tuple[str, Callable[[], Opening]]] = [
    ("another value", lambda: replace(OPENING, value="471109")),
    ("null instead", lambda: replace(OPENING, value=None)),
    ("a longer value", lambda: replace(OPENING, value="471108 ")),
    ("another name", lambda: replace(OPENING, name="accession_number")),
    ("the name of the neighbour", lambda: replace(OPENING, name="patient_id_issuer")),
    ("another salt", lambda: replace(OPENING, salt=bytes(16))),
    ("the salt of another name", lambda: replace(OPENING, salt=WHOLE.open("rows").openings[0].salt)),
    ("a longer salt", lambda: replace(OPENING, salt=OPENING.salt + b"\x00")),
    ("another path", lambda: replace(OPENING, path=WHOLE.open("rows").openings[0].path)),
    ("a path swapped", lambda: replace(OPENING, path=(_PATH[1], _PATH[0], *_PATH[2:]))),
    ("a path reversed", lambda: replace(OPENING, path=_PATH[::-1])),
    ("a path too short", lambda: replace(OPENING, path=_PATH[:-1])),
    ("a path too long", lambda: replace(OPENING, path=(*_PATH, bytes(32)))),
    ("a path of other digests", lambda: replace(OPENING, path=(bytes(32),) * 6)),
    ("no path", lambda: replace(OPENING, path=())),
]


@pytest.mark.parametrize("make", [row[1] for row in MUTATIONS], ids=[row[0] for row in MUTATIONS])
def test_a_mutated_opening_is_refused(make: Callable[[], Opening]) -> None:
    """Another name, value, salt or path does not lead to the root."""
    with pytest.raises(ProofError):
        make().verify(ROOT)
    with pytest.raises(ProofError):
        Disclosure(openings=(WHOLE.open("rows").openings[0], make())).verified(ROOT)


def test_an_integer_is_not_its_text() -> None:
    """The leaf is over the CBOR of the value, so 1 and "1" are two values."""
    opening = WHOLE.open("rows").openings[0]
    with pytest.raises(ProofError):
        replace(opening, value="2048").verify(ROOT)


def test_a_disclosure_of_another_statement_is_refused() -> None:
    """Openings and whole trees belong to one root."""
    for disclosure in (WHOLE, WHOLE.open("rows"), attributes.commit(VALUES, key=bytes(32))):
        with pytest.raises(ProofError):
            disclosure.verified(bytes(32))
    with pytest.raises(ProofError, match="do not belong to this statement"):
        attributes.commit({**VALUES, "columns": 1}, key=K).verified(ROOT)


def test_no_opening_proves_nothing_and_says_so() -> None:
    """An empty disclosure verifies to no values, whatever the root."""
    assert WHOLE.open().verified(bytes(32)) == {}


COMMITS: list[tuple[str, dict[Any, Any], str]] = [
    ("an unknown name", {"shoe_size": 46}, "attributes.shoe_size"),
    ("a name in upper case", {"Rows": 1}, "attributes.Rows"),
    ("a name that is no text", {35: 1}, "attributes.35"),
    ("a long name", {"n" * 100: 1}, "attributes." + "n" * 40),
    ("text for an integer", {"rows": "2048"}, "attributes.rows"),
    ("an integer for text", {"patient_id": 471108}, "attributes.patient_id"),
    ("bytes for text", {"patient_id": b"471108"}, "attributes.patient_id"),
    ("true for an integer", {"rows": True}, "attributes.rows"),
    ("a float", {"rows": 1.0}, "attributes.rows"),
    ("a list", {"patient_name": ["a"]}, "attributes.patient_name"),
    ("an integer of 65 bits", {"rows": 1 << 64}, "attributes.rows"),
    ("decomposed text", {"patient_name": "Mu\u0308ller"}, "attributes.patient_name"),
    ("a lone surrogate", {"patient_name": "\ud800"}, "attributes.patient_name"),
    ("text of 4094 bytes", {"remark": "r" * 4094}, "attributes.remark"),
]


@pytest.mark.parametrize(("values", "field"), [row[1:] for row in COMMITS], ids=[row[0] for row in COMMITS])
def test_a_value_that_the_registry_does_not_allow_is_named(values: dict[Any, Any], field: str) -> None:
    """Commit and decode_disclosure refuse it alike."""
    with pytest.raises(AttributeTreeError) as caught:
        attributes.commit(values, key=K)
    assert caught.value.field == field


def test_the_longest_value_is_committed() -> None:
    """4096 bytes of CBOR: three of head, 4093 of text."""
    longest = attributes.commit({"remark": "r" * 4093}, key=K)
    assert attributes.decode_disclosure(longest.open("remark").to_bytes()).verified(longest.root())


def test_only_what_was_committed_can_be_opened() -> None:
    """A name that was not committed, one of nobody, and an opening without K have their own sentences."""
    with pytest.raises(AttributeTreeError, match=r"attributes\.columns: not among the attributes"):
        WHOLE.open("columns")
    with pytest.raises(AttributeTreeError, match=r"attributes\.shoe_size: not in the registry"):
        WHOLE.open("rows", "shoe_size")
    with pytest.raises(AttributeTreeError, match=r"disclosure\.key: .*openings only"):
        WHOLE.open("rows").open("rows")


def _openings(**changes: Any) -> dict[str, Any]:
    parts = {"salt": OPENING.salt, "name": OPENING.name, "value": OPENING.value, "path": list(_PATH), **changes}
    return {"v": 1, "openings": [list(parts.values())]}


FILES: list[tuple[str, Any, str]] = [
    ("a number", 1, "disclosure.v"),
    ("an array", [], "disclosure.v"),
    ("the empty map", {}, "disclosure.v"),
    ("no version", {"key": K, "values": {}}, "disclosure.v"),
    ("version 2", {"v": 2, "key": K, "values": {}}, "disclosure.v"),
    ("version true", {"v": True, "key": K, "values": {}}, "disclosure.v"),
    ("version as text", {"v": "1", "key": K, "values": {}}, "disclosure.v"),
    ("version alone", {"v": 1}, "disclosure"),
    ("K without values", {"v": 1, "key": K}, "disclosure"),
    ("values without K", {"v": 1, "values": {}}, "disclosure"),
    ("both forms", {"v": 1, "key": K, "values": {}, "openings": []}, "disclosure"),
    ("an unknown field", {"v": 1, "openings": [], "more": 1}, "disclosure"),
    ("K of 31", {"v": 1, "key": K[:31], "values": {}}, "disclosure.key"),
    ("K as text", {"v": 1, "key": "k" * 32, "values": {}}, "disclosure.key"),
    ("values as an array", {"v": 1, "key": K, "values": []}, "disclosure.values"),
    ("an unknown name", {"v": 1, "key": K, "values": {"shoe_size": 46}}, "attributes.shoe_size"),
    ("a number as name", {"v": 1, "key": K, "values": {1: 46}}, "attributes.1"),
    ("openings as a map", {"v": 1, "openings": {}}, "disclosure.openings"),
    ("65 openings", {"v": 1, "openings": [1] * 65}, "disclosure.openings"),
    ("an opening as a map", {"v": 1, "openings": [{}]}, "disclosure.openings[0]"),
    ("an opening of three", {"v": 1, "openings": [[OPENING.salt, "rows", 1]]}, "disclosure.openings[0]"),
    ("a salt of 15", _openings(salt=bytes(15)), "disclosure.openings[0].salt"),
    ("a salt of 17", _openings(salt=bytes(17)), "disclosure.openings[0].salt"),
    ("a salt as text", _openings(salt="s" * 16), "disclosure.openings[0].salt"),
    ("a name of nobody", _openings(name="shoe_size"), "attributes.shoe_size"),
    ("a name as a list", _openings(name=[]), "attributes.[]"),
    ("a value of another type", _openings(value=471108), "attributes.patient_id"),
    ("a value that is a list", _openings(value=[]), "attributes.patient_id"),
    ("a path of five", _openings(path=list(_PATH[:5])), "disclosure.openings[0].path"),
    ("a path of seven", _openings(path=[*_PATH, bytes(32)]), "disclosure.openings[0].path"),
    ("a path as bytes", _openings(path=b"".join(_PATH)), "disclosure.openings[0].path"),
    ("a digest of 31", _openings(path=[_PATH[0][:31], *_PATH[1:]]), "disclosure.openings[0].path"),
    ("a digest as text", _openings(path=["p" * 32, *_PATH[1:]]), "disclosure.openings[0].path"),
    ("one opening twice", {"v": 1, "openings": _openings()["openings"] * 2}, "disclosure.openings"),
]


@pytest.mark.parametrize(("content", "field"), [row[1:] for row in FILES], ids=[row[0] for row in FILES])
def test_a_malformed_disclosure_is_named(content: Any, field: str) -> None:
    """Every deviation is an AttributeTreeError that names the part."""
    with pytest.raises(AttributeTreeError) as caught:
        attributes.decode_disclosure(cbor.encode(content))
    assert caught.value.field == field


def test_openings_out_of_order_are_refused() -> None:
    """One set of openings has one file."""
    both: Any = cbor.decode(WHOLE.open("rows", "patient_id").to_bytes())
    both["openings"].reverse()
    with pytest.raises(AttributeTreeError, match="ascending order of slots"):
        attributes.decode_disclosure(cbor.encode(both))


def test_a_disclosure_that_is_no_cbor_or_too_large_is_refused() -> None:
    """The size is checked before anything is decoded."""
    with pytest.raises(AttributeTreeError, match="more than 524288 bytes"):
        attributes.decode_disclosure(bytes(524_289))
    for data in (b"", b"\xff", WHOLE.to_bytes() + b"\x00", WHOLE.to_bytes()[:-1]):
        with pytest.raises(AttributeTreeError) as caught:
            attributes.decode_disclosure(data)
        assert caught.value.field == "disclosure"


@given(st.binary(max_size=80) | cbor_values().map(cbor.encode))
def test_arbitrary_bytes_raise_nothing_but_our_errors(data: bytes) -> None:
    """decode_disclosure refuses what is no disclosure."""
    with pytest.raises(AttributeTreeError):
        attributes.decode_disclosure(data)


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "openings"])
@given(data=st.data())
def test_a_flipped_byte_never_verifies(whole: bool, data: st.DataObject) -> None:
    """Whatever byte of a disclosure changes, it is malformed or does not belong to the root."""
    raw = WHOLE.to_bytes() if whole else WHOLE.open("patient_id", "rows").to_bytes()
    at, flip = data.draw(st.integers(0, len(raw) - 1)), data.draw(st.integers(1, 255))
    changed = raw[:at] + bytes([raw[at] ^ flip]) + raw[at + 1 :]
    with pytest.raises(PlatemarkError):
        attributes.decode_disclosure(changed).verified(ROOT)
