"""DICOM signatures and dcmtk's dcmsign: each checks what the other made, on every image of pydicom and pydicom-data."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

import dcmsign
from dicom_files import image_files
from platemark.dicom_signature import Checked, Credential, Integrity, Profile, Roots, check, sign
from platemark.dicom_signature._trust import token_of
from platemark.dicom_signature.credentials import read_certificates, read_key
from platemark.errors import DicomSignatureError

# What dcmtk reads more kindly than we do, and why.
REFUSED = {"winter.dcm": "appears twice", "meta_missing_tsyntax.dcm": "no transfer syntax"}


@dataclass(frozen=True)
class Bench:
    """A folder to work in, and a key of each kind."""

    directory: Path
    files: dict[str, dcmsign.KeyFiles]
    credentials: dict[str, Credential]

    @property
    def roots(self) -> Roots:
        """Everybody here is believed."""
        ders = (each.certificate.public_bytes(Encoding.DER) for each in self.credentials.values())
        return Roots(authorities=tuple(ders))

    def check(self, path: Path, **options: bool) -> list[Checked]:
        """Our verdicts, as of now."""
        return check(path, roots=self.roots, now_ns=time.time_ns(), **options)

    def sign(self, source: Path, out: Path, kind: str, mac: str, profile: Profile = Profile.NONE) -> None:
        """Our signature."""
        sign(source, out, self.credentials[kind], now_ns=time.time_ns(), mac=mac, profile=profile, replace=True)

    def theirs(self, path: Path, *options: str | Path) -> int:
        """Exit code of dcmsign --verify, which fails for an object without signatures, too."""
        trusted = [word for each in self.files.values() for word in ("+cf", each.certificate)]
        return dcmsign.run("dcmsign", "--verify", "+rg", *trusted, *options, path).returncode


@pytest.fixture(scope="module", name="bench")
def _bench(require: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Bench:
    require("dcmsign")
    directory = tmp_path_factory.mktemp("dcmsign")
    files = {kind: dcmsign.key_files(directory, kind) for kind in dcmsign.KINDS}
    credentials = {
        kind: Credential(read_key(each.key), read_certificates(each.certificate.read_bytes(), kind)[0])
        for kind, each in files.items()
    }
    return Bench(directory, files, credentials)


def both_ways(bench: Bench, path: Path, operation: str, turn: int) -> bool:
    """One image in one encoding; False when dcmtk cannot make or sign it."""
    kind = dcmsign.KINDS[turn % len(dcmsign.KINDS)]
    mac = list(dcmsign.MACS)[turn % len(dcmsign.MACS)]
    source, theirs, ours = (bench.directory / name for name in ("source.dcm", "theirs.dcm", "ours.dcm"))
    if (command := dcmsign.OPERATIONS[operation]) is None:
        source.write_bytes(path.read_bytes())
    elif dcmsign.run(*command, path, source).returncode:
        return False  # such as compressed data that dcmconv does not decompress
    if dcmsign.sign(source, theirs, bench.files[kind], dcmsign.MACS[mac]).returncode:
        return False
    what = f"{path.name}, {operation}, {kind}, {mac}"
    assert good(bench.check(theirs)) == [kind], f"dcmsign signed, we check: {what}"
    try:
        bench.sign(source, ours, kind, mac, Profile.CREATOR if kind.startswith("rsa") else Profile.NONE)
    except DicomSignatureError as error:
        if operation == "as it is" and REFUSED.get(path.name, "nothing") in str(error):
            return False
        if "profile" not in str(error):
            pytest.fail(f"{what}: {error}")
        # An object without the UIDs that the Creator RSA profile wants.
        bench.sign(source, ours, kind, mac, Profile.BASE)
    assert good(bench.check(ours)) == [kind], what
    assert bench.theirs(ours) == 0, f"we signed, dcmsign checks: {what}"
    if turn % 4 == 0 and kind != "p521":  # dcmsign cannot check a P-521 signature of its own that is padded
        bench.sign(theirs, ours, "p256", "SHA256")
        assert good(bench.check(ours)) == [kind, "p256"], f"a second signature: {what}"
        assert bench.theirs(ours) == 0, f"a second signature, dcmsign checks: {what}"
    return True


def good(results: list[Checked]) -> list[str]:
    """The key kinds of signatures that are good in every respect, from the certificate's name; reasons of the others."""
    return [
        each.signer.subject.removeprefix("CN=Scanner ") if each.exit_code == 0 and each.signer else each.reason
        for each in results
    ]


def test_every_image_both_ways(bench: Bench) -> None:
    """Every image, as it is and in one more encoding, with keys and hashes in turn: dcmsign to us, and us to dcmsign."""
    as_is, *others = dcmsign.OPERATIONS
    cases = [(path, each) for i, path in enumerate(image_files()) for each in (as_is, others[i % len(others)])]
    assert sum(both_ways(bench, path, each, turn) for turn, (path, each) in enumerate(cases)) > 250


@pytest.mark.soak
@pytest.mark.parametrize("operation", dcmsign.OPERATIONS)
@pytest.mark.parametrize("turn", range(5))
def test_every_image_in_every_encoding_both_ways(bench: Bench, operation: str, turn: int) -> None:
    """Every image in every encoding with every key."""
    assert sum(both_ways(bench, path, operation, turn + 7 * i) for i, path in enumerate(image_files())) > 90


def ct_small() -> Path:
    """A CT slice with private elements and trailing padding."""
    return next(path for path in image_files() if path.name == "CT_small.dcm")


@pytest.mark.parametrize(("option", "name"), [("+mr", "RIPEMD160"), ("+ms", "SHA1"), ("+mm", "MD5")])
@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
def test_broken_hashes(bench: Bench, option: str, name: str, kind: str) -> None:
    """A signature with a broken hash is computed, named, and good only for whoever asks for it."""
    out = bench.directory / "broken.dcm"
    assert dcmsign.sign(ct_small(), out, bench.files[kind], option).returncode == 0
    (strict,), (lenient,) = bench.check(out), bench.check(out, weak=True)
    assert (strict.integrity, strict.exit_code, strict.mac) == (Integrity.UNDECIDED, 3, name)
    assert "broken" in strict.reason
    assert (lenient.integrity, lenient.exit_code) == (Integrity.HOLDS, 0)


@pytest.mark.parametrize("signer", ["dcmsign", "platemark"])
@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
def test_every_tampering_is_caught_by_both(bench: Bench, signer: str, kind: str) -> None:
    """A change of a header, of a pixel, of a private element, of the list of tags, of the signature itself: both refuse."""
    signed = bench.directory / "signed.dcm"
    if signer == "dcmsign":
        assert dcmsign.sign(ct_small(), signed, bench.files[kind], "+m2").returncode == 0
    else:
        bench.sign(ct_small(), signed, kind, "SHA256")
    data = signed.read_bytes()
    (checked,) = bench.check(signed)
    uid = checked.uid.encode()
    edits = {
        "patient": (b"CompressedSamples^CT1", b"CompressedSamples^CT2"),
        "private": (b"GE_GENESIS_FF", b"GE_GENESIS_FG"),
        "signed tags": (b"\x10\0\x10\0\x10\0\x20\0", b"\x10\0\x10\0\x10\0\x21\0"),
        "signature uid": (uid, uid[:-1] + bytes([uid[-1] ^ 1])),
        "signature time": (checked.stated.encode(), b"2019" + checked.stated.encode()[4:]),
        "hash": (b"SHA256", b"SHA384"),
    }
    tampered = {}
    for name, (old, new) in edits.items():
        assert old in data, name
        tampered[name] = data.replace(old, new, 1)
    pixels = data.index(b"\xe0\x7f\x10\0OW") + 12
    tampered["first pixel"] = flipped(data, pixels)
    tampered["last pixel"] = flipped(data, pixels + 32767)
    tampered["signature"] = flipped(data, data.index(b"\x00\x04\x20\x01OB") + 40)
    for name, changed in tampered.items():
        target = bench.directory / "tampered.dcm"
        target.write_bytes(changed)
        assert [each.exit_code for each in bench.check(target)] == [1], name
        assert bench.theirs(target) not in (0, 100), name


def test_a_removed_element_is_caught_by_both(bench: Bench) -> None:
    """Taking out a signed element breaks the signature for both; adding one that is not listed does for neither."""
    signed, target = bench.directory / "signed.dcm", bench.directory / "changed.dcm"
    bench.sign(ct_small(), signed, "rsa2048", "SHA256")
    for option, codes in ((("-e", "(0010,0040)"), (1, False)), (("-i", "(0010,4000)=words"), (0, True))):
        target.write_bytes(signed.read_bytes())
        assert dcmsign.run("dcmodify", "-nb", *option, target).returncode == 0
        (checked,) = bench.check(target)
        assert (checked.exit_code, bench.theirs(target) == 0) == codes
        assert codes[0] == 1 or 0x00104000 in checked.uncovered


def test_private_elements_of_implicit_objects(bench: Bench) -> None:
    """What dcmsign signs by its dictionary of private elements holds if ours agrees with it, and else is undecided."""
    source, signed = bench.directory / "source.dcm", bench.directory / "signed.dcm"
    files, outcomes = bench.files["p256"], dict.fromkeys(Integrity, 0)
    for path in image_files():
        if dcmsign.run("dcmconv", "+ti", path, source).returncode:
            continue
        command = ("dcmsign", "+s", files.key, files.certificate, "+m2", source, signed)
        if dcmsign.run(*command, private=True).returncode == 0:
            (checked,) = bench.check(signed)
            outcomes[checked.integrity] += any(tag >> 16 & 1 and tag & 0xFFFF > 0xFF for tag in checked.covered)
    assert outcomes[Integrity.HOLDS] > 5
    assert outcomes[Integrity.FAILS] == 0


def flipped(data: bytes, at: int) -> bytes:
    """With one bit changed."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_a_list_of_tags_both_ways(bench: Bench) -> None:
    """Signatures over a few elements check both ways, and what they leave out is named."""
    theirs, ours = bench.directory / "theirs.dcm", bench.directory / "ours.dcm"
    options = ("+m2", "-t", "0010,0010", "-t", "7fe0,0010")
    assert dcmsign.sign(ct_small(), theirs, bench.files["p256"], *options).returncode == 0
    sign(
        ct_small(), ours, bench.credentials["p256"], now_ns=time.time_ns(), tags=[0x7FE00010, 0x00100010], replace=True
    )
    assert bench.theirs(ours) == 0
    for path in (theirs, ours):
        (checked,) = bench.check(path)
        assert (checked.exit_code, checked.covered) == (0, (0x00100010, 0x7FE00010))
        assert 0x00080018 in checked.uncovered
    assert bench.theirs(ours, "+rc") == 102  # no creator signature


def test_signatures_of_items(bench: Bench) -> None:
    """What dcmsign signs within an item of a sequence is checked there, and fails with that item."""
    source, signed = bench.directory / "item.dcm", bench.directory / "signed.dcm"
    source.write_bytes(ct_small().read_bytes())
    assert dcmsign.run("dcmodify", "-nb", "-i", "(0008,1140)[0].(0008,1155)=1.2.34", source).returncode == 0
    files = bench.files["p256"]
    command = ("dcmsign", "+si", files.key, files.certificate, "ReferencedImageSequence[0]", "+m2", source, signed)
    assert dcmsign.run(*command).returncode == 0
    (checked,) = bench.check(signed)
    assert (checked.exit_code, checked.place, checked.covered) == (0, "(0008,1140)[0]", (0x00081155,))
    signed.write_bytes(signed.read_bytes().replace(b"1.2.34", b"1.2.35"))
    assert [each.exit_code for each in bench.check(signed)] == [1]


def test_time_stamps_of_openssl_in_objects_of_dcmsign(bench: Bench, require: Callable[[str], Path]) -> None:
    """A certified time stamp that dcmsign put in is checked, and proves nothing without its authority's certificate."""
    require("openssl")
    configuration, authority = dcmsign.openssl_authority(bench.directory)
    names = ("query.tsq", "reply.tsr", "uid.txt", "signed.dcm", "stamped.dcm")
    query, reply, uid, signed, stamped = (bench.directory / name for name in names)
    for kind in ("rsa2048", "p256"):
        assert dcmsign.sign(ct_small(), signed, bench.files[kind], "+m2", "+ts", query, uid).returncode == 0
        command = ("openssl", "ts", "-reply", "-config", configuration, "-queryfile", query, "-out", reply)
        assert dcmsign.run(*command).returncode == 0
        assert dcmsign.run("dcmsign", "+t", query, reply, uid, signed, stamped).returncode == 0
        ders = tuple(
            each.public_bytes(Encoding.DER) for each in read_certificates(authority.read_bytes(), "the authority")
        )
        now = time.time_ns()
        (believed,) = check(stamped, roots=Roots(bench.roots.authorities, time=ders), now_ns=now)
        assert believed.timestamp is not None
        assert believed.timestamp.good is True, believed.timestamp.reason
        assert believed.timestamp.time_ns is not None
        assert abs(believed.timestamp.time_ns - now) < 60 * 10**9
        (unknown,) = bench.check(stamped)
        assert unknown.timestamp is not None
        assert (unknown.timestamp.good, unknown.exit_code) == (None, 0)


@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p521"])
def test_time_stamps_of_openssl_in_our_objects(bench: Bench, require: Callable[[str], Path], kind: str) -> None:
    """A certified time stamp that we put in satisfies dcmsign, which requires one."""
    require("openssl")
    configuration, authority = dcmsign.openssl_authority(bench.directory)
    message, query, reply = (bench.directory / name for name in ("message", "query.tsq", "reply.tsr"))

    def stamp(value: bytes) -> bytes:
        message.write_bytes(value)
        made = dcmsign.run("openssl", "ts", "-query", "-data", message, "-sha256", "-cert", "-out", query)
        assert made.returncode == 0
        command = ("openssl", "ts", "-reply", "-config", configuration, "-queryfile", query, "-out", reply)
        assert dcmsign.run(*command).returncode == 0
        return token_of(reply.read_bytes())

    out = bench.directory / "stamped.dcm"
    sign(ct_small(), out, bench.credentials[kind], now_ns=time.time_ns(), stamp=stamp, replace=True)
    assert bench.theirs(out, "+tr", "+cf", authority) == 0
    assert bench.theirs(out, "+tr") != 0
    (checked,) = bench.check(out)
    assert checked.timestamp is not None
    assert checked.timestamp.good is None
    bench.sign(ct_small(), out, kind, "SHA256")
    assert bench.theirs(out, "+tr", "+cf", authority) != 0, "one without a time stamp is not enough for it"
