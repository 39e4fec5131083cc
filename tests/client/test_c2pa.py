"""The C2PA bridge: our proof in the manifest of a picture, C2PA's own reader beside our verdict, and hostile manifests."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import socket
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import c2pa
import pytest
from commands import Case, case, ct, platemark
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key
from hypothesis import given
from hypothesis import strategies as st

import capture_writers
from content_credentials import ALGORITHMS, Owner, jpeg, leaf, owner, pem, png
from platemark import evidence, trust
from platemark.c2pa import LABEL, Checked, Credential, Proof, check, jumbf, sign
from platemark.c2pa._reader import SETTINGS
from platemark.c2pa.assertion import decode
from platemark.c2pa.picture import open_picture, store_bytes, without_store
from platemark.c2pa.reading import read
from platemark.capture import Limits, measure
from platemark.errors import ContentCredentialsError, FormatError, KeyFileError, ManifestError, PlatemarkError
from platemark.pkcs11_keys import create
from platemark.pkcs11_uri import parse_uri
from tokens import PIN, Token

PICTURES = {"png": png(), "jpg": jpeg()}
MEDIA = {"png": "image/png", "jpg": "image/jpeg"}


@pytest.fixture(name="desk", params=["png", "jpg"])
def _desk(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """A captured picture of each kind."""
    kind: str = request.param
    return case(tmp_path, PICTURES[kind], name=f"frame.{kind}")


@pytest.fixture(name="me")
def _me(tmp_path: Path) -> Owner:
    return owner(tmp_path)


def _held(desk: Case) -> evidence.Evidence:
    return evidence.from_bytes(desk.evidence.read_bytes())


def _sign(desk: Case, me: Owner, *, sidecar: bool = False) -> Path:
    out = desk.image.with_name("out.c2pa" if sidecar else f"out{desk.image.suffix}")
    sign(desk.image, out, _held(desk), me.credential, now_ns=int(desk.at), sidecar=sidecar)
    return out


def _check(desk: Case, path: Path, me: Owner | None = None, manifest: bytes | None = None) -> Checked:
    return check(
        path,
        manifest=manifest,
        anchors=None if me is None else me.anchors.read_bytes(),
        trust=trust.parse(desk.trust.read_bytes()),
        at=int(desk.at),
    )


def _c2pa(
    desk: Case, *assertions: dict[str, Any], me: Owner, data: bytes | None = None, remote: str | None = None
) -> bytes:
    """The picture with a manifest that c2pa-python made without us."""
    made = io.BytesIO()
    info = c2pa.C2paSignerInfo("es256", me.chain.read_bytes(), me.key.read_bytes(), None)
    definition = {"claim_generator_info": [{"name": "other"}], "assertions": list(assertions)}
    with (
        c2pa.Context.from_dict(SETTINGS) as context,
        c2pa.Signer.from_info(info) as signer,
        c2pa.Builder(definition, context=context) as builder,
    ):
        builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
        if remote is not None:
            builder.set_remote_url(remote)
            builder.set_no_embed()
        source = desk.image.read_bytes() if data is None else data
        builder.sign(signer, MEDIA[desk.image.suffix[1:]], io.BytesIO(source), made)
    return made.getvalue()


def _ours(desk: Case, **changed: object) -> dict[str, Any]:
    return {"label": LABEL, "data": {**Proof.of(_held(desk)).data(), **changed}, "kind": "Json", "created": True}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_both_judgements_hold(desk: Case, tmp_path: Path, algorithm: str) -> None:
    """Signed with every algorithm: C2PA says Trusted with the anchor and Valid without, and we say MATCHES RECORD on `file`."""
    me = owner(tmp_path, algorithm)
    out = _sign(desk, me)
    trusted, valid = _check(desk, out, me), _check(desk, out)
    assert (trusted.c2pa.state, valid.c2pa.state) == ("Trusted", "Valid")
    assert (trusted.c2pa.signer["common_name"], trusted.c2pa.signer["alg"]) == ("Owner", algorithm)
    assert "signingCredential.untrusted" in valid.c2pa.failures
    for each in (trusted, valid):
        assert each.verdict is not None
        assert (each.exit_code, each.verdict.rung, each.cut) == (0, "file", True)


def test_the_picture_comes_back(desk: Case, me: Owner) -> None:
    """The signed picture without its manifest is, byte for byte, the captured file, and the proof is the evidence."""
    out = _sign(desk, me)
    picture = open_picture(out)
    with without_store(picture) as bare:
        assert bare.read_bytes() == desk.image.read_bytes()
    assert not bare.exists()
    side = _sign(desk, me, sidecar=True).read_bytes()
    assert jumbf.active_manifest(store_bytes(picture)).startswith("urn:c2pa:")
    assert decode(jumbf.proofs(side)[0]) == decode(jumbf.proofs(store_bytes(picture))[0]) == Proof.of(_held(desk))


def test_a_side_car_leaves_the_picture_alone(desk: Case, me: Owner) -> None:
    """The manifest lies beside the picture, which is not touched, and both judgements hold on the file as it is."""
    before = desk.image.read_bytes()
    side = _sign(desk, me, sidecar=True)
    found = _check(desk, desk.image, me, side.read_bytes())
    assert (found.c2pa.state, found.exit_code, found.cut) == ("Trusted", 0, False)
    assert desk.image.read_bytes() == before


def test_any_reader_of_c2pa_reads_it(desk: Case, me: Owner) -> None:
    """c2pa-python's own reader shows the assertion with its words."""
    out = _sign(desk, me)
    with out.open("rb") as file, c2pa.Reader(MEDIA[desk.image.suffix[1:]], file) as reader:
        manifest = reader.get_active_manifest()
    assert manifest is not None
    (shown,) = [each for each in manifest["assertions"] if each["label"] == LABEL]
    proof = Proof.of(_held(desk))
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
    out = _sign(desk, me)
    out.write_bytes(_change_pixels(desk.image.suffix[1:], out.read_bytes()))
    found = _check(desk, out, me)
    assert (found.c2pa.state, found.exit_code) == ("Invalid", 1)
    assert "assertion.dataHash.mismatch" in found.c2pa.failures


def test_a_manifest_of_another_picture(desk: Case, me: Owner, tmp_path: Path) -> None:
    """A manifest that is moved to another picture proves nothing of that: Invalid, and DOES NOT MATCH."""
    side = _sign(desk, me, sidecar=True).read_bytes()
    other = tmp_path / f"other{desk.image.suffix}"
    other.write_bytes(png(shade=7) if other.suffix == ".png" else jpeg(seed=7))
    found = _check(desk, other, me, side)
    assert (found.c2pa.state, found.exit_code) == ("Invalid", 1)


def test_judgements_are_not_mixed(desk: Case, me: Owner) -> None:
    """A valid C2PA signature lends nothing to a wrong proof, and a manifest without our proof is no verdict."""
    held = _held(desk)
    raw = held.record.statement
    forged = replace(held, record=replace(held.record, statement=raw[:-1] + bytes([raw[-1] ^ 1])))
    out = desk.image.with_name(f"x{desk.image.suffix}")
    out.write_bytes(_c2pa(desk, {**_ours(desk), "data": Proof.of(forged).data()}, me=me))
    found = _check(desk, out, me)
    assert (found.c2pa.state, found.exit_code) == ("Trusted", 4)
    out.write_bytes(_c2pa(desk, {"label": "org.example.note", "data": {"a": 1}}, me=me))
    found = _check(desk, out, me)
    assert (found.c2pa.state, found.verdict, found.exit_code) == ("Trusted", None, 3)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"v": 2}, "v: not 1"),
        ({"index": 7}, "index: not what the evidence says"),
        ({"index": True}, "index: not what the evidence says"),
        ({"log": "other.example"}, "log: not what the evidence says"),
        ({"statement_id": "00" * 32}, "statement_id: not what the evidence says"),
        ({"evidence": "AAAA"}, "bundle: "),
        ({"evidence": "A A="}, "evidence: not base64"),
        ({"evidence": 5}, "evidence: not base64"),
        ({"more": 1}, "not an object of exactly"),
    ],
    ids=lambda value: next(iter(value)) + str(next(iter(value.values())))[:6] if isinstance(value, dict) else "",
)
def test_an_assertion_that_is_not_ours(tmp_path: Path, me: Owner, changed: dict[str, object], said: str) -> None:
    """An assertion that breaks the format is named, and the verdict is none: exit code 2."""
    desk = case(tmp_path, PICTURES["png"], name="frame.png")
    out = tmp_path / "x.png"
    out.write_bytes(_c2pa(desk, _ours(desk, **changed), me=me))
    found = _check(desk, out)
    assert (found.verdict, found.exit_code) == (None, 2)
    assert said in found.fault


def test_two_assertions(desk: Case, me: Owner) -> None:
    """Two proofs in one manifest are refused: nobody could tell which one is meant."""
    out = desk.image.with_name(f"x{desk.image.suffix}")
    out.write_bytes(_c2pa(desk, _ours(desk), _ours(desk), me=me))
    found = _check(desk, out)
    assert (found.exit_code, found.fault) == (2, f"{LABEL}: 2 of them, and a manifest carries one proof")


def test_an_assertion_that_is_not_json(desk: Case, me: Owner) -> None:
    """CBOR under our label is refused by name."""
    out = desk.image.with_name(f"x{desk.image.suffix}")
    out.write_bytes(_c2pa(desk, {**_ours(desk), "kind": "Cbor"}, me=me))
    assert _check(desk, out).fault == f"{LABEL}: not one JSON content box"


def test_names_that_stand_twice() -> None:
    """JSON that says a thing twice, holds a fraction, or is no object, is refused."""
    for text in (b'{"v":1,"v":1}', b'{"v":1.0}', b"[]", b"{", b"[" * 100_000, b'{"v":NaN}'):
        with pytest.raises(ManifestError):
            decode(text)


def test_no_manifest(desk: Case) -> None:
    """A picture without a manifest, and without a side-car, is told so."""
    with pytest.raises(ContentCredentialsError, match="carries no C2PA manifest"):
        _check(desk, desk.image)


def test_evidence_of_another_picture(desk: Case, me: Owner, tmp_path: Path) -> None:
    """No manifest is made that would claim a proof for a picture which is not the recorded one; nothing is written."""
    other, out = tmp_path / f"other{desk.image.suffix}", tmp_path / "never"
    other.write_bytes(png(shade=7) if other.suffix == ".png" else jpeg(seed=7))
    with pytest.raises(ContentCredentialsError, match="not show that it is of this picture"):
        sign(other, out, _held(desk), me.credential, now_ns=int(desk.at))
    assert not out.exists()


def test_a_jpeg_that_cannot_come_back(tmp_path: Path, me: Owner) -> None:
    """c2pa-python writes a JPEG with fill bytes anew, and a JPEG has no rung but `file`: refused, with the way out."""
    plain = jpeg()
    desk = case(tmp_path, plain[:20] + b"\xff\xff" + plain[20:], name="frame.jpg")
    with pytest.raises(ContentCredentialsError, match="no recorded rung but `file`"):
        _sign(desk, me)
    with pytest.raises(ContentCredentialsError, match="writes a picture like this anew"):
        _sign(desk, me, sidecar=True)


def test_a_picture_that_has_a_manifest(tmp_path: Path, me: Owner) -> None:
    """A captured PNG with a manifest keeps it as an ingredient and verifies on `pixels`; a JPEG and a side-car are refused."""
    plain = case(tmp_path, PICTURES["png"], name="plain.png")
    note = {"label": "org.example.note", "data": {"a": 1}}
    desk = case(tmp_path, _c2pa(plain, note, me=me), name="frame.png")
    out = _sign(desk, me)
    found = _check(desk, out, me)
    assert found.verdict is not None
    assert (found.c2pa.state, found.c2pa.manifests, found.exit_code, found.verdict.rung) == ("Trusted", 2, 0, "pixels")
    with pytest.raises(ContentCredentialsError, match="carries a C2PA manifest already"):
        _sign(desk, me, sidecar=True)
    jpg = case(tmp_path, PICTURES["jpg"], name="plain.jpg")
    jpg = case(tmp_path, _c2pa(jpg, note, me=me), name="frame.jpg")
    with pytest.raises(ContentCredentialsError, match="could not be told"):
        _sign(jpg, me)


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
    found = _check(desk, tmp_path / f"frame.c2pa{desk.image.suffix}", files)
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
        sign(desk.image, tmp_path / "x.png", _held(desk), bad, now_ns=int(desk.at))


def test_capture_commits_to_a_manifest(desk: Case, me: Owner) -> None:
    """A picture that carries a manifest has its store's digest among its attributes, one without has none."""
    out = _sign(desk, me)
    digest = hashlib.sha256(store_bytes(open_picture(out))).hexdigest()
    assert measure(out).attributes["embedded_provenance"] == f"c2pa:{digest}"
    assert "embedded_provenance" not in measure(desk.image).attributes


def test_no_connection_is_opened(tmp_path: Path, me: Owner) -> None:
    """A manifest that lies elsewhere is not fetched: nobody comes to the address that the picture names."""
    desk = case(tmp_path, PICTURES["png"], name="frame.png")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/m.c2pa"
        away = tmp_path / "away.png"
        away.write_bytes(_c2pa(desk, _ours(desk), me=me, remote=address))
        side = _sign(desk, me, sidecar=True).read_bytes()
        with pytest.raises(ContentCredentialsError, match="carries no C2PA manifest"):
            _check(desk, away)
        reading = read(away, "image/png", manifest=None, anchors=None)
        assert (reading.state, "remote" in reading.reason.lower()) == (None, True)
        assert _check(desk, away, me, side).c2pa.state == "Invalid"
        with pytest.raises(BlockingIOError):
            server.accept()


def test_the_reading_process_is_bounded(desk: Case, me: Owner) -> None:
    """Time and memory that run out are a reading without a state and a sentence, never a verdict's end."""
    out = _sign(desk, me)
    media = open_picture(out).media
    slow = read(out, media, manifest=None, anchors=None, limits=Limits(seconds=0.0))
    small = read(out, media, manifest=None, anchors=None, limits=Limits(memory_bytes=64 << 20))
    assert (slow.state, small.state) == (None, None)
    assert "was stopped" in slow.reason
    assert "ended without an answer" in small.reason


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_the_reading_process_can_open_no_socket() -> None:
    """Once it reads, the operating system gives it no new descriptor, whatever native code wants."""
    script = """
import socket
from platemark.c2pa import _reader
socket.socket().close()
_reader._close_the_door()
try:
    socket.socket()
except OSError as error:
    print(error.strerror)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "Too many open files\n"


def _segments(data: bytes) -> list[tuple[int, int]]:
    """Offset and length of every APP11 segment of a JPEG file of ours."""
    found, position = [], 2
    while data[position + 1] != 0xDA:
        length = 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if data[position + 1] == 0xEB:
            found.append((position, length))
        position += length
    return found


def test_a_store_of_many_segments(tmp_path: Path, me: Owner) -> None:
    """A JPEG store of several segments is found whole; with one missing, twice there or out of order it counts as absent."""
    desk = case(tmp_path, PICTURES["jpg"], name="frame.jpg")
    signed = _c2pa(desk, _ours(desk), {"label": "org.example.note", "data": {"a": "x" * 150_000}}, me=me)
    path = tmp_path / "many.jpg"
    path.write_bytes(signed)
    assert len(_segments(signed)) == 3
    assert _check(desk, path).exit_code == 0
    assert "embedded_provenance" in measure(path).attributes
    (first, second, third) = ((signed[at : at + length]) for at, length in _segments(signed))
    at = signed.index(first)
    head, tail = signed[:at], signed[at + len(first) + len(second) + len(third) :]
    for order in ((first, second), (first, third, second), (first, second, third) * 2, (first, second, third, first)):
        path.write_bytes(head + b"".join(order) + tail)
        assert "embedded_provenance" not in measure(path).attributes
        with pytest.raises(ManifestError):
            _check(desk, path)
    for harmless in ((second, third), ()):
        path.write_bytes(head + b"".join(harmless) + tail)
        assert open_picture(path).store is None
    other = b"\xff\xeb\x00\x0dXX of a kin"
    path.write_bytes(head + other + first + second + third + tail)
    assert _check(desk, path).exit_code == 1  # the file is another one
    with without_store(open_picture(path)) as bare:
        assert bare.read_bytes() == head + other + tail


@pytest.mark.parametrize(
    "body", [b"", b"hello", bytes(64), b"\0\0\0\x40jumb" + bytes(56)], ids=["none", "few", "zero", "box"]
)
def test_chunks_that_hold_no_store(tmp_path: Path, body: bytes) -> None:
    """A caBX chunk of something else, or two of them, counts as absent in a capture and is refused by name here."""
    plain = PICTURES["png"]
    chunk = capture_writers.chunk(b"caBX", body)
    path = tmp_path / "x.png"
    for chunks in (chunk, chunk + chunk):
        path.write_bytes(plain[:33] + chunks + plain[33:])
        assert "embedded_provenance" not in measure(path).attributes
        with pytest.raises(ManifestError, match="manifest store"):
            open_picture(path)


_STORE = st.sampled_from(["png", "jpg"])


@pytest.fixture(scope="module", name="stores")
def _stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Case, bytes]]:
    made = {}
    for kind, data in PICTURES.items():
        folder = tmp_path_factory.mktemp(kind)
        desk = case(folder, data, name=f"frame.{kind}")
        made[kind] = desk, _sign(desk, owner(folder)).read_bytes()
    return made


@given(kind=_STORE, data=st.data())
def test_damaged_carriers_end_in_one_sentence(
    stores: dict[str, tuple[Case, bytes]], kind: str, data: st.DataObject
) -> None:
    """Whatever bytes of the manifest or its carrier are changed or cut: an error of ours or a list of proofs, nothing else."""
    desk, signed = stores[kind]
    at = data.draw(st.integers(20, min(len(signed) - 1, 30_000)))
    damaged = bytearray(signed)
    damaged[at] = data.draw(st.integers(0, 255))
    path = desk.image.with_name(f"damaged.{kind}")
    path.write_bytes(bytes(damaged[: data.draw(st.just(len(damaged)) | st.integers(at, len(damaged)))]))
    with contextlib.suppress(PlatemarkError):
        picture = open_picture(path)
        if picture.store is not None:
            for each in jumbf.proofs(store_bytes(picture)):
                decode(each)


@given(
    st.binary(max_size=200) | st.builds(bytes.__add__, st.just(b"\0\0\0\x20jumb\0\0\0\x18jumd"), st.binary(max_size=64))
)
def test_any_bytes_are_no_crash(data: bytes) -> None:
    """The box reader refuses what is no store."""
    with pytest.raises(FormatError):
        jumbf.proofs(data)


def _box(kind: bytes, body: bytes, size: int | None = None) -> bytes:
    return struct.pack(">I4s", len(body) + 8 if size is None else size, kind) + body


def test_hostile_boxes(tmp_path: Path) -> None:
    """Sizes that lie, too many boxes, labels without an end and stores above the limit are refused by name."""
    uuid = bytes.fromhex("00110010800000aa00389b71")
    described = _box(b"jumd", b"c2pa" + uuid + b"\3c2pa\0")
    table = {
        "more than 4096 boxes": _box(b"jumb", described + _box(b"free", b"") * 5000),
        "no manifest in it": _box(b"jumb", described),
        "a box of 4294967295 bytes": _box(b"jumb", described + _box(b"jumb", b"", 0xFFFFFFFF)),
        "a box of 0 bytes": _box(b"jumb", described + _box(b"jumb", b"", 0)),
        "without its description": _box(b"jumb", described + _box(b"jumb", b"")),
        "a label without an end": _box(b"jumb", described + _box(b"jumb", _box(b"jumd", b"c2ma" + uuid + b"\3abc"))),
        "bytes after the last box": _box(b"jumb", described) + b"\0",
        "more than 33554432": bytes(jumbf.MAX_STORE + 1),
    }
    for said, store in table.items():
        with pytest.raises(ManifestError, match=said):
            jumbf.proofs(store)
    huge = tmp_path / "huge.png"
    header, rest = PICTURES["png"][:33], PICTURES["png"][33:]
    huge.write_bytes(header + struct.pack(">I4s", 0x7FFFFFFF, b"caBX") + rest)
    with pytest.raises(ManifestError, match="goes past the end"):
        open_picture(huge)


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
    out = _sign(desk, me)
    monkeypatch.setattr("platemark.c2pa.reading.find_spec", lambda _: None)
    found = _check(desk, out)
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
