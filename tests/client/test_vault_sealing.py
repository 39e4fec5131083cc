"""A sealed disclosure opens for the holder of the private key, under its own root, whole or not at all."""

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hpke_reference import open_base, seal_base
from hypothesis import given
from hypothesis import strategies as st

from platemark import attributes, cbor
from platemark.attributes import KINDS, Disclosure, commit
from platemark.cbor import Value
from platemark.errors import PlatemarkError, VaultError, VaultFormatError
from platemark.vault import RecipientKey, keys, seal, unseal
from platemark.vault.sealing import INFO, MAX_SEALED
from strategies import attribute_values

KEY = keys.generate()
OTHER = keys.generate()
WHOLE = commit(
    {"patient_name": "Doe^Jane", "patient_id": "471108", "laterality": None, "rows": 2048}, key=bytes(range(32))
)
ROOT = WHOLE.root()
SEALED = seal(WHOLE, KEY.recipient)


def _padded(content: bytes) -> bytes:
    """Rule S4 alone."""
    framed = len(content).to_bytes(4, "big") + content
    return framed + bytes(-len(framed) % 1024)


def _form(plain: bytes, **changes: Value) -> bytes:
    """A sealed disclosure from the rules alone, with another implementation of HPKE."""
    sealed = seal_base(plain, KEY.recipient.key, b"platemark vault disclosure v1\x00" + ROOT)
    fields: dict[str, Value] = {"v": 1, "suite": [32, 1, 2], "kid": KEY.recipient.kid, "root": ROOT, "sealed": sealed}
    return cbor.encode({name: value for name, value in {**fields, **changes}.items() if value != "absent"})


@given(attribute_values(KINDS))
def test_what_was_sealed_opens(values: dict[str, Any]) -> None:
    """Any disclosure comes back as it was, and says nothing of its length but a multiple of 1024."""
    disclosure = commit(values)
    sealed = seal(disclosure, KEY.recipient)
    assert disclosure == unseal(sealed, KEY, root=disclosure.root())
    content = cbor.decode(sealed)
    assert isinstance(content, dict)
    assert isinstance(content["sealed"], bytes)
    assert (len(content["sealed"]) - 48) % 1024 == 0
    assert len(sealed) <= MAX_SEALED


def test_another_implementation_opens_it() -> None:
    """The bytes are those of RFC 9180 and rules S1 to S5: an HPKE written from the RFC reads them."""
    content = cbor.decode(SEALED)
    assert isinstance(content, dict)
    assert isinstance(content["sealed"], bytes)
    assert [1, [32, 1, 2], KEY.recipient.kid, ROOT] == [content[name] for name in ("v", "suite", "kid", "root")]
    assert _padded(WHOLE.to_bytes()) == open_base(content["sealed"], KEY.secret, INFO + ROOT)


def test_what_another_implementation_sealed_opens() -> None:
    """And the other way round."""
    assert unseal(_form(_padded(WHOLE.to_bytes())), KEY, root=ROOT) == WHOLE


# Sealed by the first release to the key 00 01 .. 1f (hex). Vaults outlive releases: this opens for ever.
_FIRST = (
    "pWF2AWNraWRYIMMHA8DCZfxKcyZ78cped//7BJ4kAatFzPHo5g5bBDWaZHJvb3RYIM+PmmCkko0bOkF3zRHZH4I1c8fvWnGMyDYBp4W/tVKYZXN1"
    "aXRlgxggAQJmc2VhbGVkWQQwrfgbW4JRjpBWukmbE9t3zJWsE+/iWTd8XnV8R+qc9lgzR4sTEd2bUnOTQ7/xBHEJHQDbBSPL3PMqDxsh0jDkiI4u"
    "MX97nPb02gZzX9mgLQGa4/bB7NwHV6m5FdhNLwC93UWti4JS5kILwzQun69vmxl0Q9Vn4x/4YMRSBsnKt17xXvC7DuhASh5mH1luPZwNcdMws4NE"
    "UvUc2gf/82vuBPxYMZCDfDOlhIke2qxfD061c+R8+vkPhMZPnDXboOfXCxECaHqcelG4Wom+Eh0On84CaoNnstZyG/itodguVdmLEMY3CKev3m0o"
    "9kxPdFF0kmRXGvv028LC3/ZGvZg9FXzMqUWwlKFOThdHYDuJD0PsfeHfUSOOeoBoWUDvCbtVBcq7RjQDyULdkrr1TCi4AC5uaVy7eqZk5hCrRb8z"
    "DtGsUImQxNf3kP0jfsfUJgW4aKsQbXwOmo+e86qyxbxSXZOkRCWZ9Tpr5RHqCHv/KK6oUji1/hqzEtRRSLabRcWi1akaU+w3xAKNQ843dqJIeYVJ"
    "9EQV0T6KFotva/37NL+Xxb6LtmlXlYZSYLPr50jEioAtVbJSGMmI/u3vzdeeSr1oqK2cBsTJ78+U+n9rqvuMfGVLK8HbJw0eRHzwwp3SqqWSR0ap"
    "/i70jeZX9P2uFtYskB+uRSTDzggAF87rrkCQLAdaPzbJu7EqAyonXFZthJ0h+mmhjGwGvuiO0cLnPHIoq1aPpHfVisMRzZPcxetNmMppyiMU44d+"
    "VaNj+/B4mOsjoqWlSagNVCMa9z3DRc9XgPgIrFjg5UJtcnxCmxxInAXLpjX8gtfJwvdO+nRVJwv4GbLEWfGGXoxc2PBTx9K+s7EfcKvsYr1hc7ux"
    "2WwU0PCLd6gaM8RdIUTGmoP4GwFF+vaoFcj1IMvBd42e/240lFUFqimkSv2VM3hED6bAJ0MeGwj9U/5hdpByx2z72hH5+DMQ9mnnOhkOVReUIeIO"
    "fqMlNob6jaYA9dp/0bcfhRjCsPjHWdcBTDZMs//Y3S32HXH6tgGsHqwho2Ejp9c9+KofefIqRU7+6zHgyDJHfdTE4KpeUSIkAYMaq81V+Bw8YK5E"
    "t0/s2sUvwuBpuaKnp9zLffRjEVEMHtzF5OMBtIWxggk1HC1iuAXlv64NmQiPmKfUiZHBa0bp6AR5WhZEDiVcoH2mLGuJZ0Y52QnP0jYKs5n9ZlBA"
    "Z95PYDszMaqtR5ltZxJXfYG9x9f0WpGXEAFVqWNtYry10+RRGBYOCXpRdl5DhhBtoZMjkRsQCFPAEcWD5zqqDciHAID6AvmM9mVCYgb2Yr72bJGL"
    "5uiRWQCyjXs6He5stRtg1vE1hLlJRLR07cEqN+fipCvKT5cjByjWRvFhpONCqugDkxwgvoQcevG/SC/C+QmBSpLxaXqulVuqBU3HzbQkvowy5Q=="
)


def test_what_the_first_release_sealed_opens() -> None:
    """A file of version 1 that does not come from this run."""
    key = RecipientKey(X25519PrivateKey.from_private_bytes(bytes(range(32))))
    disclosure = commit({"technologist": "Roe^Richard", "rows": 2048}, key=bytes(range(32)))
    assert disclosure == unseal(base64.b64decode(_FIRST), key, root=disclosure.root())


def test_two_seals_share_no_bytes_of_the_content() -> None:
    """Sealing again gives other bytes: nobody sees that two seals hold the same values."""
    first, second = (cbor.decode(each) for each in (SEALED, seal(WHOLE, KEY.recipient)))
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert first["sealed"] != second["sealed"]


@given(st.integers(0, len(SEALED) * 8 - 1))
def test_a_flipped_bit_opens_nothing(bit: int) -> None:
    """Whichever bit is changed, nothing opens and the error is one of ours."""
    damaged = bytearray(SEALED)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises((VaultError, VaultFormatError)):
        unseal(bytes(damaged), KEY, root=ROOT)


@given(st.integers(0, len(SEALED) - 1))
def test_a_truncated_one_opens_nothing(size: int) -> None:
    """Every prefix is refused."""
    with pytest.raises(VaultFormatError):
        unseal(SEALED[:size], KEY, root=ROOT)


@given(st.binary(max_size=2048))
def test_any_bytes_are_refused_in_order(data: bytes) -> None:
    """Whatever the bytes are, the error is one of ours."""
    with pytest.raises(VaultFormatError):
        unseal(data, KEY, root=ROOT)


def test_another_key_opens_nothing() -> None:
    """Neither when the kid says so, nor when somebody has put the other key's kid there."""
    with pytest.raises(VaultError, match="sealed to another key"):
        unseal(SEALED, OTHER, root=ROOT)
    content = cbor.decode(SEALED)
    assert isinstance(content, dict)
    with pytest.raises(VaultError, match="damaged"):
        unseal(cbor.encode({**content, "kid": OTHER.recipient.kid}), OTHER, root=ROOT)


def test_a_seal_moved_to_another_root_opens_nothing() -> None:
    """The root is part of the seal: relabelled, it does not open."""
    other = commit({"patient_id": "1"}).root()
    with pytest.raises(VaultFormatError, match="another root"):
        unseal(SEALED, KEY, root=other)
    content = cbor.decode(SEALED)
    assert isinstance(content, dict)
    with pytest.raises(VaultError, match="damaged"):
        unseal(cbor.encode({**content, "root": other}), KEY, root=other)


def test_values_under_a_foreign_root_are_refused() -> None:
    """Whoever has the public key may seal other values under a root; they do not belong to it and do not come out."""
    forged = commit({"patient_id": "somebody else"}, key=bytes(32))
    with pytest.raises(VaultFormatError, match="does not belong to this root"):
        unseal(_form(_padded(forged.to_bytes())), KEY, root=ROOT)
    opened = WHOLE.open("patient_id")
    with pytest.raises(VaultFormatError, match="does not belong to this root"):
        unseal(_form(_padded(opened.to_bytes())), KEY, root=ROOT)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"v": 2}, "version 1"),
        ({"v": True}, "version 1"),
        ({"suite": [32, 1, 3]}, "suite of HPKE"),
        ({"suite": [32, True, 2]}, "suite of HPKE"),
        ({"suite": None}, "suite of HPKE"),
        ({"kid": bytes(31)}, "sealed.kid: not 32 bytes"),
        ({"root": "text"}, "sealed.root: not 32 bytes"),
        ({"sealed": bytes(1024)}, "a multiple of 1024"),
        ({"sealed": b""}, "a multiple of 1024"),
        ({"sealed": "absent"}, "not exactly"),
        ({"more": 1}, "not exactly"),
    ],
    ids=str,
)
def test_other_forms_are_refused(changes: dict[str, Any], said: str) -> None:
    """Another version, suite, length or field is refused by name."""
    with pytest.raises(VaultFormatError, match=said):
        unseal(_form(_padded(WHOLE.to_bytes()), **changes), KEY, root=ROOT)


@pytest.mark.parametrize(
    ("plain", "said"),
    [
        (_padded(WHOLE.to_bytes())[:-1] + b"\x01", "and zeros"),
        (_padded(WHOLE.to_bytes()) + bytes(1024), "and zeros"),
        ((1 << 31).to_bytes(4, "big") + bytes(1020), "and zeros"),
        (_padded(b""), "disclosure"),
        (_padded(WHOLE.to_bytes() + b"\x00"), "trailing"),
    ],
    ids=["bytes in the padding", "a block too many", "a length beyond the end", "nothing", "trailing bytes"],
)
def test_other_contents_are_refused(plain: bytes, said: str) -> None:
    """The padding has one form, and so has the disclosure in it."""
    with pytest.raises(VaultFormatError, match=said):
        unseal(_form(plain), KEY, root=ROOT)


def test_openings_cannot_be_sealed() -> None:
    """A vault keeps whole disclosures: openings alone have no K."""
    with pytest.raises(PlatemarkError, match="openings only"):
        seal(WHOLE.open("rows"), KEY.recipient)


def test_the_largest_disclosure_fits() -> None:
    """Every attribute with its longest value."""
    values: dict[str, attributes.AttributeValue] = {
        name: (1 << 64) - 1 if kind is int else "x" * 4093 for name, kind in KINDS.items()
    }
    whole: Disclosure = commit(values)
    assert whole == unseal(seal(whole, KEY.recipient), KEY, root=whole.root())
