"""The C2PA bridge: our proof in the manifest of a picture, and C2PA's own reader beside our verdict."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import c2pa
import pytest
from commands import Case, case, ct, platemark
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from content_credentials import (
    ALGORITHMS,
    MEDIA,
    PICTURES,
    Owner,
    assertion,
    checked,
    foreign,
    held,
    jpeg,
    leaf,
    owner,
    pem,
    png,
    signed,
)
from platemark.c2pa import LABEL, Credential, Proof, jumbf, sign
from platemark.c2pa.assertion import decode
from platemark.c2pa.picture import open_picture, store_bytes, without_store
from platemark.capture import measure
from platemark.errors import ContentCredentialsError, KeyFileError
from platemark.pkcs11_keys import create
from platemark.pkcs11_uri import parse_uri
from tokens import PIN, Token


@pytest.fixture(name="desk", params=["png", "jpg"])
def _desk(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """A captured picture of each kind."""
    kind: str = request.param
    return case(tmp_path, PICTURES[kind], name=f"frame.{kind}")


@pytest.fixture(name="me")
def _me(tmp_path: Path) -> Owner:
    return owner(tmp_path)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_both_judgements_hold(desk: Case, tmp_path: Path, algorithm: str) -> None:
    """Signed with every algorithm: C2PA says Trusted with the anchor and Valid without, and we say MATCHES RECORD on `file`."""
    me = owner(tmp_path, algorithm)
    out = signed(desk, me)
    trusted, valid = checked(desk, out, me), checked(desk, out)
    assert (trusted.c2pa.state, valid.c2pa.state) == ("Trusted", "Valid")
    assert (trusted.c2pa.signer["common_name"], trusted.c2pa.signer["alg"]) == ("Owner", algorithm)
    assert "signingCredential.untrusted" in valid.c2pa.failures
    for each in (trusted, valid):
        assert each.verdict is not None
        assert (each.exit_code, each.verdict.rung, each.cut) == (0, "file", True)


def test_the_picture_comes_back(desk: Case, me: Owner) -> None:
    """The signed picture without its manifest is, byte for byte, the captured file, and the proof is the evidence."""
    out = signed(desk, me)
    picture = open_picture(out)
    with without_store(picture) as bare:
        assert bare.read_bytes() == desk.image.read_bytes()
    assert not bare.exists()
    side = signed(desk, me, sidecar=True).read_bytes()
    assert jumbf.active_manifest(store_bytes(picture)).startswith("urn:c2pa:")
    assert decode(jumbf.proofs(side)[0]) == decode(jumbf.proofs(store_bytes(picture))[0]) == Proof.of(held(desk))


def test_a_side_car_leaves_the_picture_alone(desk: Case, me: Owner) -> None:
    """The manifest lies beside the picture, which is not touched, and both judgements hold on the file as it is."""
    before = desk.image.read_bytes()
    side = signed(desk, me, sidecar=True)
    found = checked(desk, desk.image, me, side.read_bytes())
    assert (found.c2pa.state, found.exit_code, found.cut) == ("Trusted", 0, False)
    assert desk.image.read_bytes() == before


def test_any_reader_of_c2pa_reads_it(desk: Case, me: Owner) -> None:
    """c2pa-python's own reader shows the assertion with its words."""
    out = signed(desk, me)
    with out.open("rb") as file, c2pa.Reader(MEDIA[desk.image.suffix[1:]], file) as reader:
        manifest = reader.get_active_manifest()
    assert manifest is not None
    (shown,) = [each for each in manifest["assertions"] if each["label"] == LABEL]
    proof = Proof.of(held(desk))
    assert (shown["data"]["log"], shown["data"]["statement_id"]) == (proof.log, proof.statement_id)


def _change_pixels(kind: str, data: bytes) -> bytes:
    """The picture with other pixels, and its manifest kept."""
    if kind == "jpg":
        at = data.rindex(b"\xff\xd9") - 40
        return data[:at] + bytes([data[at] ^ 1 if data[at] ^ 1 != 255 else data[at] ^ 2]) + data[at + 1 :]
    at = data.index(b"IDAT") - 4
    (length,) = struct.unpack_from(">I", data, at)
    rows = bytearray(zlib.decompress(data[at + 8 : at + 8 + length]))
    rows[70] ^= 1
    packed = zlib.compress(bytes(rows))
    chunk = b"IDAT" + packed
    made = struct.pack(">I", len(packed)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data[:at] + made + data[at + 12 + length :]


def test_one_changed_pixel(desk: Case, me: Owner) -> None:
    """C2PA says Invalid and we say DOES NOT MATCH: each for itself."""
    out = signed(desk, me)
    out.write_bytes(_change_pixels(desk.image.suffix[1:], out.read_bytes()))
    found = checked(desk, out, me)
    assert (found.c2pa.state, found.exit_code) == ("Invalid", 1)
    assert "assertion.dataHash.mismatch" in found.c2pa.failures


def test_a_manifest_of_another_picture(desk: Case, me: Owner, tmp_path: Path) -> None:
    """A manifest that is moved to another picture proves nothing of that: Invalid, and DOES NOT MATCH."""
    side = signed(desk, me, sidecar=True).read_bytes()
    other = tmp_path / f"other{desk.image.suffix}"
    other.write_bytes(png(shade=7) if other.suffix == ".png" else jpeg(seed=7))
    found = checked(desk, other, me, side)
    assert (found.c2pa.state, found.exit_code) == ("Invalid", 1)


def test_judgements_are_not_mixed(desk: Case, me: Owner) -> None:
    """A valid C2PA signature lends nothing to a wrong proof, and a manifest without our proof is no verdict."""
    sound = held(desk)
    raw = sound.record.statement
    forged = replace(sound, record=replace(sound.record, statement=raw[:-1] + bytes([raw[-1] ^ 1])))
    out = desk.image.with_name(f"x{desk.image.suffix}")
    out.write_bytes(foreign(desk, {**assertion(desk), "data": Proof.of(forged).data()}, me=me))
    found = checked(desk, out, me)
    assert (found.c2pa.state, found.exit_code) == ("Trusted", 4)
    out.write_bytes(foreign(desk, {"label": "org.example.note", "data": {"a": 1}}, me=me))
    found = checked(desk, out, me)
    assert (found.c2pa.state, found.verdict, found.exit_code) == ("Trusted", None, 3)


def test_no_manifest(desk: Case) -> None:
    """A picture without a manifest, and without a side-car, is told so."""
    with pytest.raises(ContentCredentialsError, match="carries no C2PA manifest"):
        checked(desk, desk.image)


def test_evidence_of_another_picture(desk: Case, me: Owner, tmp_path: Path) -> None:
    """No manifest is made that would claim a proof for a picture which is not the recorded one; nothing is written."""
    other, out = tmp_path / f"other{desk.image.suffix}", tmp_path / "never"
    other.write_bytes(png(shade=7) if other.suffix == ".png" else jpeg(seed=7))
    with pytest.raises(ContentCredentialsError, match="not show that it is of this picture"):
        sign(other, out, held(desk), me.credential, now_ns=int(desk.at))
    assert not out.exists()


def test_a_jpeg_that_cannot_come_back(tmp_path: Path, me: Owner) -> None:
    """c2pa-python writes a JPEG with fill bytes anew, and a JPEG has no rung but `file`: refused, with the way out."""
    plain = jpeg()
    desk = case(tmp_path, plain[:20] + b"\xff\xff" + plain[20:], name="frame.jpg")
    with pytest.raises(ContentCredentialsError, match="no recorded rung but `file`"):
        signed(desk, me)
    with pytest.raises(ContentCredentialsError, match="writes a picture like this anew"):
        signed(desk, me, sidecar=True)


def test_a_picture_that_has_a_manifest(tmp_path: Path, me: Owner) -> None:
    """A captured PNG with a manifest keeps it as an ingredient and verifies on `pixels`; a JPEG and a side-car are refused."""
    plain = case(tmp_path, PICTURES["png"], name="plain.png")
    note = {"label": "org.example.note", "data": {"a": 1}}
    desk = case(tmp_path, foreign(plain, note, me=me), name="frame.png")
    out = signed(desk, me)
    found = checked(desk, out, me)
    assert found.verdict is not None
    assert (found.c2pa.state, found.c2pa.manifests, found.exit_code, found.verdict.rung) == ("Trusted", 2, 0, "pixels")
    with pytest.raises(ContentCredentialsError, match="carries a C2PA manifest already"):
        signed(desk, me, sidecar=True)
    jpg = case(tmp_path, PICTURES["jpg"], name="plain.jpg")
    jpg = case(tmp_path, foreign(jpg, note, me=me), name="frame.jpg")
    with pytest.raises(ContentCredentialsError, match="could not be told"):
        signed(jpg, me)


def test_a_key_in_a_token(desk: Case, token: Token, tmp_path: Path) -> None:
    """The key never leaves the token, and both judgements hold."""
    uri = parse_uri(token.uri(f"c2pa-{desk.image.suffix[1:]}"), where="test")
    key = create(uri, "p256", lambda _: PIN)
    public = load_der_public_key(key.spki)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    files = owner(tmp_path)
    files.chain.write_bytes(pem(leaf(public)))
    files.key.write_text(str(uri) + "\n")
    (tmp_path / "pin").write_text(PIN)
    words = ("--certificate", files.chain, "--key", files.key, "--passphrase-file", tmp_path / "pin")
    ran = platemark("c2pa", "sign", desk.image, *words)
    assert (ran.code, ran.err) == (0, "")
    found = checked(desk, tmp_path / f"frame.c2pa{desk.image.suffix}", files)
    assert (found.c2pa.state, found.exit_code) == ("Trusted", 0)


def test_keys_and_certificates_that_do_not_fit(tmp_path: Path, me: Owner) -> None:
    """A key of another certificate, of another kind, and a certificate that C2PA does not take, are told apart."""
    desk = case(tmp_path, PICTURES["png"], name="frame.png")
    secret = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(KeyFileError, match="not the key's"):
        Credential.of_secret(me.credential.chain, secret)
    with pytest.raises(KeyFileError, match="P-256, Ed25519 or RSA"):
        Credential.of_secret(me.credential.chain, ec.generate_private_key(ec.SECP384R1()))
    bad = Credential.of_secret((leaf(secret.public_key(), purpose=False),), secret)
    with pytest.raises(ContentCredentialsError, match="c2pa-python refuses"):
        sign(desk.image, tmp_path / "x.png", held(desk), bad, now_ns=int(desk.at))


def test_capture_commits_to_a_manifest(desk: Case, me: Owner) -> None:
    """A picture that carries a manifest has its store's digest among its attributes, one without has none."""
    out = signed(desk, me)
    digest = hashlib.sha256(store_bytes(open_picture(out))).hexdigest()
    assert measure(out).attributes["embedded_provenance"] == f"c2pa:{digest}"
    assert "embedded_provenance" not in measure(desk.image).attributes


def test_the_command_line(desk: Case, me: Owner, tmp_path: Path) -> None:
    """`c2pa sign` and `c2pa verify`: default names, text and JSON, side-car found beside the picture, exit codes."""
    words = ("--certificate", me.chain, "--key", me.key)
    ran = platemark("c2pa", "sign", desk.image, *words, "--json")
    assert (ran.code, ran.json()["rung"], ran.json()["embedded"]) == (0, "file", True)
    out = tmp_path / f"frame.c2pa{desk.image.suffix}"
    assert platemark("c2pa", "sign", desk.image, *words).code == 2
    assert "exists already (--force" in platemark("c2pa", "sign", desk.image, *words).err
    checks = ("--trust", desk.trust, "--at", desk.at)
    shown = platemark("c2pa", "verify", out, *checks, "--anchors", me.anchors)
    assert shown.code == 0
    assert "state      Trusted" in shown.out
    assert "MATCHES RECORD" in shown.out
    judged = platemark("c2pa", "verify", out, *checks, "--json")
    assert (judged.json()["c2pa"]["state"], judged.json()["platemark"]["result"]) == ("Valid", "MATCHES RECORD")
    assert platemark("c2pa", "verify", out).code == 3
    assert platemark("c2pa", "verify", desk.image, *checks).code == 2
    assert platemark("c2pa", "sign", desk.image, *words, "--sidecar").code == 0
    assert platemark("c2pa", "verify", desk.image, *checks).code == 0


def test_the_verdict_needs_no_library(desk: Case, me: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without c2pa-python the verdict stands, and the line of C2PA says what to install."""
    out = signed(desk, me)
    monkeypatch.setattr("platemark.c2pa.reading.find_spec", lambda _: None)
    found = checked(desk, out)
    assert (found.exit_code, found.c2pa.state) == (0, None)
    assert 'pip install "platemark[c2pa]"' in found.c2pa.reason


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (ct(), "C2PA does not reach DICOM"),
        (b"\x89MCAP0\r\n" + bytes(40), "platemark mcap seal"),
        (b"II*\0" + bytes(40), "PNG and JPEG only"),
        (b"hello", "neither a PNG nor a JPEG"),
    ],
    ids=["dicom", "mcap", "tiff", "other"],
)
def test_what_c2pa_does_not_reach(tmp_path: Path, me: Owner, content: bytes, said: str) -> None:
    """DICOM objects, MCAP recordings and others are refused with what to use instead, by both commands."""
    path = tmp_path / "x.bin"
    path.write_bytes(content)
    for words in (("sign", path, "--certificate", me.chain, "--key", me.key), ("verify", path)):
        ran = platemark("c2pa", *words)
        assert (ran.code, said in ran.err) == (2, True)


def test_what_is_disclosed_is_said(tmp_path: Path, me: Owner) -> None:
    """Attributes in the evidence become readable for everybody: the command names them."""
    desk = case(tmp_path, PICTURES["png"], name="frame.png", open_names=("rows", "file_name"))
    ran = platemark("c2pa", "sign", desk.image, "--certificate", me.chain, "--key", me.key)
    assert "can read file_name, rows" in ran.err
    assert (
        json.loads(platemark("c2pa", "verify", tmp_path / "frame.c2pa.png", "--json").out)["platemark"]["exit_code"]
        == 3
    )
