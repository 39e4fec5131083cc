"""Hostile objects: the verifier answers or names a fault of ours, whatever the bytes are, and never calls them good."""

import struct
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from capture_writers import EXPLICIT, IMPLICIT, element, file_meta
from dicom_signers import CURVE_KEY, NOW, SHOP, certificate, credential, rsa_key, series
from platemark.dicom_signature import Credential, Integrity, Roots, check, sign
from platemark.dicom_signature._cipher import MACS, key_words, trim, verify
from platemark.dicom_signature._trust import certificate_of, judge_certificate, time_of, token_of
from platemark.dicom_signature.checking import signer_of
from platemark.errors import DicomSignatureError, TimeStampError

HEADER = len(file_meta(EXPLICIT))
ROOTS = Roots((credential().certificate.public_bytes(Encoding.DER),), time=SHOP.authority.roots)


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module", name="objects")
def _objects(folder: Path) -> dict[str, bytes]:
    """A signed and stamped object in each encoding."""
    made = {}
    for syntax in (EXPLICIT, IMPLICIT):
        source, out = folder / "source.dcm", folder / "out.dcm"
        source.write_bytes(series(syntax))
        stamp = lambda value: token_of(SHOP.stamp(value, at=NOW))  # noqa: E731
        sign(source, out, credential(), now_ns=NOW, stamp=stamp, replace=True)
        made[syntax] = out.read_bytes()
    return made


def outcome(folder: Path, data: bytes) -> list[tuple[int, ...]] | None:
    """What the good signatures cover; None if the object was refused. Any other exception fails the test."""
    path = folder / "mutated.dcm"
    path.write_bytes(data)
    try:
        results = check(path, roots=ROOTS, now_ns=NOW)
    except DicomSignatureError as error:
        if not str(error).startswith(f"{path}: "):
            pytest.fail(f"an error that does not name the object: {error}")
        return None
    assert all(each.reason for each in results)
    return [each.covered for each in results if each.exit_code == 0]


SPLICES = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 40), st.one_of(st.binary(max_size=40), st.just(b"\xff" * 4))), max_size=4
)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@given(splices=SPLICES)
def test_spliced_objects(
    folder: Path, objects: dict[str, bytes], syntax: str, splices: list[tuple[float, int, bytes]]
) -> None:
    """Parts cut out and put in at several places of a signed object."""
    changed = objects[syntax]
    for place, length, inserted in splices:
        at = HEADER + int(place * (len(changed) - HEADER))
        changed = changed[:at] + inserted + changed[at + length :]
    outcome(folder, changed)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_cut_objects(folder: Path, objects: dict[str, bytes], syntax: str) -> None:
    """An object that ends early is refused, or has lost its signature."""
    whole = objects[syntax]
    for end in range(HEADER, len(whole), 3):
        assert outcome(folder, whole[:end]) in (None, [])


FIELDS = {
    0x04000005: ("US", b"\0\0"),
    0x04000100: ("UI", b"1.2.3\0"),
    0x04000105: ("DT", b"20260101000000"),
    0x04000110: ("CS", b"X509_1993_SIG "),
    0x04000115: ("OB", b""),
    0x04000120: ("OB", b""),
}
PARAMETERS = {
    0x04000005: ("US", b"\0\0"),
    0x04000010: ("UI", EXPLICIT.encode() + b"\0"),
    0x04000015: ("CS", b"SHA256"),
    0x04000020: ("AT", struct.pack("<HH", 0x0008, 0x0018)),
}
Fields = dict[int, tuple[str, bytes]]
EVEN = st.binary(max_size=60).map(lambda data: data + b"\0" * (len(data) % 2))


def any_of(usual: Fields) -> st.SearchStrategy[Fields]:
    """Some of these fields, each with its usual value or with any other."""
    optional = {
        tag: st.one_of(st.just((vr, value)), st.tuples(st.just(vr), EVEN)) for tag, (vr, value) in usual.items()
    }
    return st.fixed_dictionaries({}, optional=optional)


@given(fields=any_of(FIELDS), parameters=any_of(PARAMETERS), real=st.booleans())
def test_invented_signatures(
    folder: Path,
    fields: Fields,
    parameters: Fields,
    real: bool,
) -> None:
    """Signatures made of any fields at all, with a real certificate among them or not: none of them is good."""
    if real:
        der = credential().certificate.public_bytes(Encoding.DER)
        fields = {**fields, 0x04000115: ("OB", der + b"\0" * (len(der) % 2))}
    whole = file_meta(EXPLICIT) + element(0x00080018, "UI", b"1.2\0")
    for tag, chosen in ((0x4FFE0001, parameters), (0xFFFAFFFA, fields)):
        content = b"".join(element(each, vr, value) for each, (vr, value) in sorted(chosen.items()))
        whole += element(tag, "SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content)
    assert outcome(folder, whole) in (None, [])


@given(st.binary(max_size=200), st.sampled_from(sorted(MACS)), st.binary(min_size=64, max_size=64))
def test_invented_signature_values(value: bytes, name: str, digest: bytes) -> None:
    """No bytes verify under a key that did not make them, and none raises."""
    hashed = digest[: MACS[name].prefix[-1]]
    for key in (CURVE_KEY.public_key(), rsa_key().public_key()):
        assert not verify(key, MACS[name], hashed, value)
        padded = value.ljust(256, b"\0")[:256]
        assert not verify(key, MACS[name], hashed, padded)
    assert value.startswith(trim(value))


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@given(st.floats(0, 1), st.binary(min_size=1, max_size=4))
def test_damaged_certificates(place: float, inserted: bytes) -> None:
    """A damaged certificate is refused as one, or read without harm."""
    der = credential().certificate.public_bytes(Encoding.DER)
    at = int(place * len(der))
    try:
        read = certificate_of(der[:at] + inserted + der[at + len(inserted) :], "X509_1993_SIG")
    except TimeStampError:
        return
    key_words(read.public_key())
    assert signer_of(read).sha256
    assert judge_certificate(read, ROOTS, stated_ns=NOW, proven_ns=None, now_ns=NOW).reason


@given(st.text(max_size=30))
def test_any_text_for_a_time(text: str) -> None:
    """Any text is a time or none."""
    assert time_of(text) is None or isinstance(time_of(text), int)


def test_a_signature_by_another_with_the_same_name(tmp_path: Path) -> None:
    """A certificate with the believed one's name and another key is not believed."""
    stranger = Credential(rsa_key(), certificate(rsa_key(), name="Scanner p256"))
    source, out = tmp_path / "source.dcm", tmp_path / "out.dcm"
    source.write_bytes(series())
    sign(source, out, stranger, now_ns=NOW)
    (checked,) = check(out, roots=ROOTS, now_ns=NOW)
    assert (checked.integrity, checked.exit_code) == (Integrity.HOLDS, 3)


def test_deep_and_endless_sequences(tmp_path: Path) -> None:
    """Sequences nested beyond any use, and ones without an end, are refused by name and cost nothing."""
    path = tmp_path / "deep.dcm"
    undefined = struct.pack("<I", 0xFFFFFFFF)
    opened = struct.pack("<HH2s2x", 0x0008, 0x1140, b"SQ") + undefined + struct.pack("<HH", 0xFFFE, 0xE000) + undefined
    for count in (40, 100_000):
        path.write_bytes(file_meta(EXPLICIT) + opened * count)
        with pytest.raises(DicomSignatureError, match="nested more than 32 deep"):
            check(path, roots=ROOTS, now_ns=NOW)
