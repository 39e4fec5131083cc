"""DICOM signatures: nothing but the signature changes, every covered byte counts, and what is not covered is said."""

import io
import struct
import time
import zlib
from pathlib import Path

import pytest
from commands import ct
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from capture_writers import BIG, DEFLATED, EXPLICIT, IMPLICIT, element, file_meta
from dicom_signers import CURVE_KEY, NOW, SHOP, YEAR, certificate, credential, rsa_key, series
from platemark.capture._mac_stream import mac_stream
from platemark.dicom_signature import Checked, Credential, Integrity, Profile, Roots, check, sign
from platemark.dicom_signature._cipher import MACS, trim
from platemark.dicom_signature._objects import open_object
from platemark.dicom_signature._trust import time_of, token_of
from platemark.errors import CaptureError, DicomSignatureError
from platemark.files import FileError

UNDEFINED = 0xFFFFFFFF


def roots(*credentials: Credential, time_: tuple[bytes, ...] = ()) -> Roots:
    """Whoever believes these."""
    return Roots(tuple(each.certificate.public_bytes(Encoding.DER) for each in credentials), time=time_)


def signed(tmp_path: Path, data: bytes | None = None, *, kind: str = "p256", **options: object) -> Path:
    """A signed copy of an object."""
    source, out = tmp_path / "source.dcm", tmp_path / "signed.dcm"
    source.write_bytes(series() if data is None else data)
    sign(source, out, credential(kind), now_ns=NOW, replace=True, **options)  # type: ignore[arg-type]
    return out


def verdicts(path: Path, *, now: int = NOW, believed: Roots | None = None, weak: bool = False) -> list[Checked]:
    """What is said of an object."""
    return check(path, roots=believed or roots(credential(), credential("rsa")), now_ns=now, weak=weak)


def one(path: Path, **options: object) -> Checked:
    """What is said of its one signature."""
    (checked,) = verdicts(path, **options)  # type: ignore[arg-type]
    return checked


def body(path: Path) -> bytes:
    """The data set, inflated."""
    with open_object(path) as opened:
        opened.file.seek(opened.start)
        return opened.file.read(opened.end - opened.start)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, DEFLATED])
@pytest.mark.parametrize("kind", ["p256", "rsa"])
def test_nothing_but_the_signature_changes(tmp_path: Path, syntax: str, kind: str) -> None:
    """Without the two new elements the data set is byte for byte what it was, in every encoding; the meta is, too."""
    if syntax == DEFLATED:
        plain = series()[len(file_meta(EXPLICIT)) :]
        deflater = zlib.compressobj(wbits=-15)
        data = file_meta(DEFLATED) + deflater.compress(plain) + deflater.flush()
    else:
        data = series(syntax)
    out = signed(tmp_path, data, kind=kind)
    assert one(out).exit_code == 0
    assert out.read_bytes().startswith(file_meta(syntax))
    assert len(out.read_bytes()) % 2 == len(data) % 2 or syntax == DEFLATED
    with open_object(out) as opened:
        kept, at = b"", opened.start
        for sequence in opened.top.sequences.values():
            opened.file.seek(at)
            kept += opened.file.read(sequence.begin - at)
            at = sequence.end
        opened.file.seek(at)
        kept += opened.file.read(opened.end - at)
    assert kept == body(tmp_path / "source.dcm")


def test_the_content_is_the_same_with_a_signature(tmp_path: Path) -> None:
    """The MAC stream of an object does not change with a signature in it, so that `content` of statements does not."""
    streams = set()
    for path in (signed(tmp_path), tmp_path / "source.dcm"):
        with open_object(path) as opened:
            stream = mac_stream(opened.file, opened.start, opened.end, transfer_syntax=EXPLICIT)
            streams.add(b"".join(stream))
    assert len(streams) == 1


def test_more_signatures_than_anybody_makes_are_refused(tmp_path: Path) -> None:
    """An object with more than 64 signatures is refused by their number, before any is checked."""
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    whole = series() + element(0xFFFAFFFA, "SQ", item * 65)
    path = tmp_path / "many.dcm"
    path.write_bytes(whole)
    with pytest.raises(DicomSignatureError, match="65 signatures, more than 64"):
        verdicts(path)
    path.write_bytes(series() + element(0xFFFAFFFA, "SQ", item * 64))
    assert {each.integrity for each in verdicts(path)} == {Integrity.FAILS}


def test_signatures_add_up(tmp_path: Path) -> None:
    """Three signatures of two keys, each added to the object with the others, all hold; each has its own MAC ID."""
    out = signed(tmp_path)
    for kind in ("rsa", "p256"):
        sign(out, out, credential(kind), now_ns=NOW, replace=True)
    results = verdicts(out)
    assert [each.exit_code for each in results] == [0, 0, 0]
    assert len({each.uid for each in results}) == 3
    assert [each.signer.key for each in results if each.signer] == ["ECDSA P-256", "RSA 2048", "ECDSA P-256"]
    tampered = out.read_bytes().replace(b"Doe^Jane", b"Doe^June")
    out.write_bytes(tampered)
    assert [each.exit_code for each in verdicts(out)] == [1, 1, 1]


def test_sequences_of_undefined_length_and_group_lengths_grow(tmp_path: Path) -> None:
    """A signature joins sequences of undefined length before their end, and group lengths count it."""
    first = signed(tmp_path)
    with open_object(first) as opened:
        data = body(first)
        for sequence in reversed(list(opened.top.sequences.values())):
            begin, value, end = (at - opened.start for at in (sequence.begin, sequence.value, sequence.end))
            delimiter = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
            head = data[begin : value - 4] + struct.pack("<I", UNDEFINED)
            group = element(
                int.from_bytes(data[begin : begin + 2], "little") << 16,
                "UL",
                struct.pack("<I", len(head) + end - value + len(delimiter)),
            )
            data = data[:begin] + group + head + data[value:end] + delimiter + data[end:]
    first.write_bytes(file_meta(EXPLICIT) + data)
    assert one(first).exit_code == 0
    sign(first, first, credential("rsa"), now_ns=NOW, replace=True)
    assert [each.exit_code for each in verdicts(first)] == [0, 0]
    whole = body(first)
    for number, tag in ((0x4FFE, 0x0001), (0xFFFA, 0xFFFA)):
        at = whole.index(struct.pack("<HH2sH", number, 0, b"UL", 4))
        (length,) = struct.unpack("<I", whole[at + 8 : at + 12])
        assert whole[at + 12 : at + 16] == struct.pack("<HH", number, tag)
        following = at + 12 + length
        assert following == len(whole) or whole[following : following + 4] == b"\xe0\x7f\x10\0"


def test_every_covered_byte_counts(tmp_path: Path) -> None:
    """Any change of any byte of the data set before the signature's own cleartext is caught, or makes it unreadable."""
    out = signed(tmp_path)
    data, start = out.read_bytes(), len(file_meta(EXPLICIT))
    with open_object(out) as opened:
        parameters = opened.top.sequences[0x4FFE0001]
        outside = range(parameters.begin, parameters.end)
        own = opened.top.sequences[0xFFFAFFFA]
    reserved = data.index(b"\xe0\x7f\x10\0OW") + 6  # two bytes that PS3.5 7.1.2 leaves without a meaning
    for at in range(start, own.begin):
        if at in outside or at in {reserved, reserved + 1}:
            continue
        out.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        try:
            codes = [each.exit_code for each in verdicts(out)]
        except DicomSignatureError:
            continue
        assert 0 not in codes, f"byte {at}"


def test_no_byte_of_the_signature_can_be_changed_to_another_meaning(tmp_path: Path) -> None:
    """Any changed byte of the two sequences leaves a verdict that is not better, and the same coverage if it still holds."""
    out = signed(tmp_path)
    sound, data = one(out), out.read_bytes()
    with open_object(out) as opened:
        places = [at for each in opened.top.sequences.values() for at in range(each.begin, each.end)]
    for at in places:
        for mask in (0x01, 0x80):
            out.write_bytes(data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :])
            try:
                results = verdicts(out)
            except DicomSignatureError:
                continue
            for each in results:
                # A few bits of a certificate are not signed by its issuer; whom it names is.
                assert each.exit_code != 0 or facts(each) == facts(sound), at


def facts(checked: Checked) -> tuple[object, ...]:
    """What is covered, and by whom."""
    signer = checked.signer
    assert signer is not None
    return checked.covered, signer.subject, signer.issuer, signer.serial, signer.key, checked.stated, checked.uid


def listed_more(path: Path, tag: int) -> None:
    """Add a tag to Data Elements Signed, which no MAC covers, and mend every length around it."""
    data = path.read_bytes()
    at = data.index(struct.pack("<HH2s", 0x0400, 0x0020, b"AT"))
    (length,) = struct.unpack("<H", data[at + 6 : at + 8])
    end = at + 8 + length
    data = (
        data[: at + 6]
        + struct.pack("<H", length + 4)
        + data[at + 8 : end]
        + struct.pack("<HH", tag >> 16, tag & 0xFFFF)
        + data[end:]
    )
    for mark, offset in ((struct.pack("<HH2s", 0x4FFE, 1, b"SQ"), 8), (struct.pack("<HH2s", 0x4FFE, 1, b"SQ"), 16)):
        place = data.index(mark) + offset
        (old,) = struct.unpack("<I", data[place : place + 4])
        data = data[:place] + struct.pack("<I", old + 4) + data[place + 4 :]
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("tag", "integrity"),
    [
        (0x00100030, Integrity.HOLDS),  # absent: nothing changes, and it is named as absent
        (0xFFFCFFFC, Integrity.FAILS),  # not signable
        (0x00091001, Integrity.UNDECIDED),  # there, of unknown representation, so not in the MAC
        (0x00100040, Integrity.FAILS),  # there, and not signed
    ],
)
def test_a_list_of_tags_cannot_claim_more(tmp_path: Path, tag: int, integrity: Integrity) -> None:
    """Data Elements Signed is not covered by the MAC, and still nobody can make a signature seem to cover more."""
    data = series()
    start = data.index(struct.pack("<HH", 0x0010, 0x0010))
    data = data[:start] + element(0x00091001, "UN", b"abcd") + data[start:]
    at = data.index(struct.pack("<HH", 0x0020, 0x000D))
    data = data[:at] + element(0x00100040, "CS", b"F ") + data[at:]
    without = [0x00100010, 0x7FE00010]
    out = signed(tmp_path, data + element(0xFFFCFFFC, "OB", bytes(4)), tags=without)
    assert one(out).integrity is Integrity.HOLDS
    listed_more(out, tag)
    checked = one(out)
    assert checked.integrity is integrity
    if integrity is Integrity.HOLDS:
        assert (checked.covered, checked.absent) == (tuple(without), (tag,))


def test_what_is_not_covered_is_said(tmp_path: Path) -> None:
    """Elements that were left out, and those that no signature can cover, are named; the rest is covered."""
    data = series() + element(0xFFFCFFFC, "OB", bytes(4))
    checked = one(signed(tmp_path, data, tags=[0x00100010, 0x00080018]))
    assert checked.covered == (0x00080018, 0x00100010)
    assert 0x7FE00010 in checked.uncovered
    assert (checked.unsignable, checked.uncovered[-1]) == ((0xFFFCFFFC,), 0xFFFCFFFC)
    assert one(signed(tmp_path, data)).uncovered == (0xFFFCFFFC,)


def test_unknown_elements_are_left_out_and_named(tmp_path: Path) -> None:
    """An element of VR UN is in no signature, and both the signing and the checking say so."""
    data = series()
    at = data.index(struct.pack("<HH", 0x0010, 0x0010))
    source, out = tmp_path / "source.dcm", tmp_path / "out.dcm"
    source.write_bytes(data[:at] + element(0x00091001, "UN", b"ab") + data[at:])
    made = sign(source, out, credential(), now_ns=NOW)
    assert made.unknown == (0x00091001,)
    assert one(out).uncovered == (0x00091001,)
    with pytest.raises(DicomSignatureError, match="cannot be signed"):
        sign(source, out, credential(), now_ns=NOW, tags=[0x00091001], replace=True)


@pytest.mark.parametrize(
    ("profile", "kind", "options", "reason"),
    [
        (Profile.BASE, "p256", {}, "not RSA"),
        (Profile.CREATOR, "p256", {}, "not RSA"),
        (Profile.CREATOR, "rsa", {"tags": [0x00080018]}, r"does not cover \(0008,0016\), \(0020,000D\)"),
        (Profile.CREATOR, "rsa", {"data": ct()}, r"needs \(0020,000E\), which is not there"),
    ],
)
def test_a_profile_that_is_not_met_is_refused(
    tmp_path: Path, profile: Profile, kind: str, options: dict[str, object], reason: str
) -> None:
    """Nothing is written under a profile that the signature would not meet, and what is missing is named."""
    out = tmp_path / "signed.dcm"
    with pytest.raises(DicomSignatureError, match=reason):
        signed(tmp_path, kind=kind, profile=profile, **options)  # type: ignore[arg-type]
    assert not out.exists()


def test_the_profiles_that_a_signature_meets(tmp_path: Path) -> None:
    """Base and Creator RSA are reported as met, or why not, for whoever signed."""
    assert dict(one(signed(tmp_path, kind="rsa", profile=Profile.CREATOR)).profiles) == {
        Profile.BASE: "",
        Profile.CREATOR: "",
    }
    few = dict(one(signed(tmp_path, kind="rsa", tags=[0x00080018], profile=Profile.BASE)).profiles)
    assert few[Profile.BASE] == ""
    assert "(0028,0010)" in few[Profile.CREATOR]
    assert dict(one(signed(tmp_path)).profiles)[Profile.BASE] == "its key is not RSA"


def test_raw_data_wants_private_elements(tmp_path: Path) -> None:
    """With Creator-Version UID there the Creator RSA profile wants every private element, and overlays in any group."""
    data = series()
    at = data.index(struct.pack("<HH", 0x0010, 0x0010))
    private = element(0x00089123, "UI", b"1.2\0") + element(0x00090010, "LO", b"ME")
    data = data[:at] + private + data[at:]
    pixels = data.index(struct.pack("<HH", 0x7FE0, 0x0010))
    data = data[:pixels] + element(0x60020010, "US", b"\1\0") + data[pixels:]
    with open_object(signed(tmp_path, data)) as opened:
        tags = [tag for tag in opened.top.tags if tag not in (0x00090010, 0x4FFE0001, 0xFFFAFFFA, 0x60020010)]
    with pytest.raises(DicomSignatureError, match=r"does not cover \(0009,0010\), \(6002,0010\)"):
        signed(tmp_path, data, kind="rsa", tags=tags, profile=Profile.CREATOR)


def test_weak_credentials_are_refused() -> None:
    """No signature is made with a small key, an unusual curve, or another's certificate."""
    small = rsa.generate_private_key(65537, 1024)  # noqa: S505
    with pytest.raises(DicomSignatureError, match="less than 2048"):
        Credential(small, certificate(small))
    odd = ec.generate_private_key(ec.SECP256K1())
    with pytest.raises(DicomSignatureError, match="curve other than"):
        Credential(odd, certificate(odd))
    with pytest.raises(DicomSignatureError, match="not that of the key"):
        Credential(CURVE_KEY, certificate(rsa_key()))


AUTHORITY = Credential(rsa_key(), certificate(rsa_key(), name="Authority"))


@pytest.mark.parametrize(
    ("options", "now", "good", "reason"),
    [
        ({}, NOW, True, "CN=Authority, at the stated time and now"),
        ({}, NOW - 200 * 10**9, True, "CN=Authority"),
        ({}, NOW - 400 * 10**9, None, "in the future"),
        ({"since": NOW + 1_000 * 10**9}, NOW + YEAR // 2, None, "outside the validity"),
        ({"until": NOW + YEAR // 4}, NOW + YEAR // 2, None, "outside the validity"),
        ({"usage": False}, NOW, None, "key usage"),
    ],
)
def test_certificates(tmp_path: Path, options: dict[str, int], now: int, good: bool | None, reason: str) -> None:
    """A certificate is believed if a named authority issued it and it is good at the stated time and still."""
    signer = Credential(CURVE_KEY, certificate(CURVE_KEY, issuer=AUTHORITY, **options))  # type: ignore[arg-type]
    source, out = tmp_path / "source.dcm", tmp_path / "signed.dcm"
    source.write_bytes(series())
    sign(source, out, signer, now_ns=NOW)
    checked = one(out, now=now, believed=roots(AUTHORITY))
    assert checked.certificate is not None
    assert (checked.certificate.good, checked.integrity) == (good, Integrity.HOLDS)
    assert reason in checked.certificate.reason
    assert checked.exit_code == (0 if good else 3)
    for stranger in (Roots(), roots(Credential(rsa_key(), certificate(rsa_key(), name="Authority 2")))):
        assert one(out, now=now, believed=stranger).exit_code == 3


def test_a_certified_time_outlives_the_certificate(tmp_path: Path) -> None:
    """With a time stamp of a named authority the certificate need not be good any more; without its name it has to be."""
    out = signed(tmp_path, stamp=lambda value: token_of(SHOP.stamp(value, at=NOW + 10**9)))
    later = NOW + 10 * YEAR
    believed = roots(credential(), time_=SHOP.authority.roots)
    checked = one(out, now=later, believed=believed)
    assert checked.timestamp is not None
    assert (checked.timestamp.good, checked.exit_code) == (True, 0)
    unstamped = one(out, now=later)
    assert unstamped.timestamp is not None
    assert (unstamped.timestamp.good, unstamped.exit_code) == (None, 3)
    assert "2026-05" in unstamped.timestamp.reason


def test_a_time_stamp_over_something_else_fails(tmp_path: Path) -> None:
    """A token over another message is a fault, and so is one that is no token; of another type it is not checked."""
    out = signed(tmp_path, stamp=lambda _: token_of(SHOP.stamp(b"another message")))
    assert (one(out).integrity, one(out).exit_code) == (Integrity.HOLDS, 1)
    out = signed(tmp_path, stamp=lambda _: b"\x30\x03abc")
    assert one(out).exit_code == 1
    out.write_bytes(out.read_bytes().replace(b"CMS_TSP ", b"CMS_XXX "))
    stamped = one(out).timestamp
    assert stamped is not None
    assert stamped.good is None


@pytest.mark.parametrize(
    ("old", "new", "integrity", "reason"),
    [
        (b"X509_1993_SIG ", b"X509_1993_SEG ", Integrity.FAILS, "certificate type"),
        (b"SHA256", b"SHA999", Integrity.UNDECIDED, "not one of PS3.3"),
        (b"1.2.840.10008.1.2.1\0AT", b"", Integrity.HOLDS, ""),
    ],
)
def test_faults_of_a_signature(tmp_path: Path, old: bytes, new: bytes, integrity: Integrity, reason: str) -> None:
    """What is wrong with a signature is its own reason, and no error of the whole object."""
    out = signed(tmp_path)
    out.write_bytes(out.read_bytes().replace(old, new))
    checked = one(out)
    assert checked.integrity is integrity
    assert reason in checked.reason


def test_mac_syntaxes_that_do_not_fit(tmp_path: Path) -> None:
    """A MAC in another transfer syntax is undecided: the object was transcoded, or the standard excludes that syntax."""
    out = signed(tmp_path)
    data = out.read_bytes()
    at = data.index(struct.pack("<HH2s", 0x0400, 0x0010, b"UI")) + 8
    for uid, reason in ((b"1.2.840.10008.1.2.5\0", "transcoded"), (b"1.2.840.10008.1.2.2\0", "excludes")):
        out.write_bytes(data[:at] + uid + data[at + 20 :])
        checked = one(out)
        assert (checked.integrity, checked.exit_code) == (Integrity.UNDECIDED, 3)
        assert reason in checked.reason


def test_missing_and_doubled_parameters(tmp_path: Path) -> None:
    """Without its MAC Parameters item, or with two of its number, a signature fails."""
    out = signed(tmp_path)
    data = out.read_bytes()
    with open_object(out) as opened:
        sequence = opened.top.sequences[0x4FFE0001]
    out.write_bytes(data[: sequence.begin] + data[sequence.end :])
    assert (one(out).integrity, "no item" in one(out).reason) == (Integrity.FAILS, True)
    item = data[sequence.value : sequence.end]
    doubled = data[: sequence.value - 4] + struct.pack("<I", 2 * len(item)) + item + item + data[sequence.end :]
    out.write_bytes(doubled)
    assert (one(out).integrity, "two items" in one(out).reason) == (Integrity.FAILS, True)


def test_signatures_in_original_attributes_are_not_checked(tmp_path: Path) -> None:
    """A signature that was kept with an earlier state of the object is reported as not checked."""
    inner = body(signed(tmp_path))
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
    whole = file_meta(EXPLICIT) + element(0x00080018, "UI", b"1.2\0") + element(0x04000561, "SQ", item)
    out = tmp_path / "kept.dcm"
    out.write_bytes(whole)
    checked = one(out)
    assert (checked.place, checked.exit_code) == ("(0400,0561)[0]", 3)
    assert "Original Attributes" in checked.reason


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
def test_signatures_of_items_are_found_at_any_depth(tmp_path: Path, depth: int, syntax: str) -> None:
    """A signature in an item covers that item's elements, wherever it is and in every encoding."""
    order = ">" if syntax == BIG else "<"
    data = body(signed(tmp_path, series(syntax)))
    for _ in range(depth):
        data = element(0x00081140, "SQ", struct.pack(order + "HHI", 0xFFFE, 0xE000, len(data)) + data, syntax=syntax)
    out = tmp_path / "nested.dcm"
    out.write_bytes(file_meta(syntax) + data)
    checked = one(out)
    assert (checked.exit_code, checked.place) == (0, ">".join(["(0008,1140)[0]"] * depth))
    assert dict(checked.profiles)[Profile.CREATOR]


def test_small_keys_and_odd_curves_are_weak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signature by a key that we would not sign with is undecided, and good for whoever asks for it."""
    monkeypatch.setattr(Credential, "__post_init__", lambda _: None)
    small = rsa.generate_private_key(65537, 1024)  # noqa: S505
    for key in (small, ec.generate_private_key(ec.SECP256K1())):
        signer = Credential(key, certificate(key))
        source, out = tmp_path / "source.dcm", tmp_path / "signed.dcm"
        source.write_bytes(series())
        sign(source, out, signer, now_ns=NOW, replace=True)
        checked = one(out, believed=roots(signer))
        assert (checked.integrity, checked.exit_code) == (Integrity.UNDECIDED, 3)
        assert one(out, believed=roots(signer), weak=True).integrity is Integrity.HOLDS


def test_no_object_is_written_over_without_being_asked(tmp_path: Path) -> None:
    """The output is created, never replaced, unless asked; a refusal leaves no file behind."""
    source, out = tmp_path / "source.dcm", tmp_path / "signed.dcm"
    source.write_bytes(series())
    out.write_bytes(b"something else")
    for target in (out, source):
        with pytest.raises(FileError, match="exists already"):
            sign(source, target, credential(), now_ns=NOW)
    assert (out.read_bytes(), source.read_bytes()) == (b"something else", series())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["signed.dcm", "source.dcm"]


def test_an_object_that_changes_meanwhile_is_not_written(tmp_path: Path) -> None:
    """If the object is changed while it is signed, nothing is written."""
    source, out = tmp_path / "source.dcm", tmp_path / "signed.dcm"
    source.write_bytes(series())

    def stamp(_: bytes) -> bytes:
        source.write_bytes(series() + element(0xFFFCFFFC, "OB", bytes(4)))
        return b"\x30\x00"

    with pytest.raises(CaptureError, match="changed while it was read"):
        sign(source, out, credential(), now_ns=NOW, stamp=stamp)
    assert [path.name for path in tmp_path.iterdir()] == ["source.dcm"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"no DICOM", "not a DICOM file"),
        (file_meta(EXPLICIT) + b"\x08\x00", "truncated"),
        (file_meta(EXPLICIT) + element(0x00100010, "PN", b"A ") + element(0x00080018, "UI", b"1.2\0"), "out of order"),
        (file_meta(EXPLICIT) + element(0xFFFCFFFC, "OB", b"ab"), "no element that can be signed"),
        (
            file_meta(EXPLICIT) + element(0x00080018, "UI", b"1.2\0") + element(0x4FFE0001, "OB", b"ab"),
            "representation SQ",
        ),
    ],
)
def test_objects_that_cannot_be_signed(tmp_path: Path, data: bytes, reason: str) -> None:
    """What cannot be signed is named with its reason, and nothing is written."""
    with pytest.raises(DicomSignatureError, match=reason):
        signed(tmp_path, data)
    assert not (tmp_path / "signed.dcm").exists()


def test_too_many_elements_are_refused(tmp_path: Path) -> None:
    """A signature lists its tags in 16 bits of length; more are refused and not cut."""
    many = b"".join(element(0x00110000 + (number << 16) % 2 + 0x1000 + number, "LO", b"ab") for number in range(16_400))
    with pytest.raises(DicomSignatureError, match="more than 16383 elements"):
        signed(tmp_path, file_meta(EXPLICIT) + many)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20260101000000", 1_767_225_600),
        ("20260101000000.5", 1_767_225_600.5),
        ("20260101010000.000000+0100", 1_767_225_600),
        ("20251231230000-0100", 1_767_225_600),
        ("20260101", None),
        ("20261301000000", None),
        ("20260101000000+9999", None),
        ("00010101000000+0100", None),
        ("words", None),
    ],
)
def test_times(text: str, seconds: float | None) -> None:
    """A DT value with seconds is a time; without an offset it is taken to be UTC."""
    assert time_of(text) == (None if seconds is None else int(seconds * 10**9))


def test_padding_is_trimmed_and_nothing_else() -> None:
    """DER loses one byte 00 behind it; everything else stays as it is."""
    for content in (b"a", b"a" * 200):
        size = bytes([len(content)]) if len(content) < 128 else bytes([0x81, len(content)])
        der = b"\x30" + size + content
        assert (trim(der), trim(der + b"\0")) == (der, der)
        assert trim(der + b"\1") == der + b"\1"
        assert trim(der + b"\0\0") == der + b"\0\0"
    assert trim(b"") == b""


def test_digest_infos() -> None:
    """What PKCS#1 puts before each digest names a hash of the digest's length."""
    for mac in MACS.values():
        assert mac.prefix[1] == len(mac.prefix) - 2 + mac.prefix[-1]


def test_signing_is_quick_enough_to_use(tmp_path: Path) -> None:
    """An object of 10 MB is signed and checked in a time that a person does not notice as long."""
    pixels = bytes(range(250)) * 40_000
    data = series()
    at = data.index(struct.pack("<HH", 0x7FE0, 0x0010))
    begin = time.monotonic()
    out = signed(tmp_path, data[:at] + element(0x7FE00010, "OW", pixels))
    assert one(out).exit_code == 0
    assert time.monotonic() - begin < 60
    assert io.BytesIO(out.read_bytes()).getbuffer().nbytes > 10_000_000
