"""Strict COSE_Sign1: one form for a message, three algorithms, and an id that no second signature changes."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from builders import Algorithm, key
from platemark import cbor, cose, keys
from platemark.errors import CborError, CoseError, FormatError, SignatureError

_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_L = (1 << 252) + 27742317777372353535851937790883648493
ALGORITHMS: list[Algorithm] = ["p256", "ed25519", "mldsa44"]


def _message(**changes: object) -> bytes:
    """A well-formed ES256 message in which parts are replaced; `raw` replaces the array."""
    parts: dict[str, object] = {
        "protected": cbor.encode({1: -7}),
        "unprotected": {},
        "payload": b"payload",
        "signature": b"\x01" * 64,
        **changes,
    }
    return cose.TAG + cbor.encode(changes.get("raw", list(parts.values())[:4]))


def test_the_well_formed_message_is_accepted() -> None:
    """What the table below breaks is accepted whole."""
    decoded = cose.decode(_message())
    assert (decoded.protected, decoded.payload, decoded.alg) == ({1: -7}, b"payload", -7)


def _with_protected(value: Any) -> bytes:
    return _message(protected=cbor2.dumps(value))


REFUSED: list[tuple[str, Callable[[], bytes], str]] = [
    ("empty", lambda: b"", "tag"),
    ("no tag", lambda: _message()[1:], "tag"),
    ("tag 17", lambda: b"\xd1" + _message()[1:], "tag"),
    ("tag 98 (COSE_Sign)", lambda: b"\xd8\x62" + _message()[1:], "tag"),
    ("tag 18 in two bytes", lambda: b"\xd8\x12" + _message()[1:], "tag"),
    ("tag 18 twice", lambda: b"\xd2" + _message(), "message"),
    ("tag alone", lambda: b"\xd2", "message"),
    ("trailing byte", lambda: _message() + b"\x00", "message"),
    ("cut off", lambda: _message()[:-1], "message"),
    ("a map", lambda: _message(raw={}), "message"),
    ("array of 0", lambda: _message(raw=[]), "message"),
    ("array of 3", lambda: _message(raw=[cbor.encode({1: -7}), {}, b"payload"]), "message"),
    ("array of 5", lambda: _message(raw=[cbor.encode({1: -7}), {}, b"payload", bytes(64), b""]), "message"),
    ("indefinite array", lambda: b"\xd2\x9f" + _message()[2:] + b"\xff", "message"),
    ("non-shortest array head", lambda: b"\xd2\x98\x04" + _message()[2:], "message"),
    ("unprotected kid", lambda: _message(unprotected={4: b"key"}), "unprotected"),
    ("unprotected is an array", lambda: _message(unprotected=[]), "unprotected"),
    ("unprotected is null", lambda: _message(unprotected=None), "unprotected"),
    ("unprotected is empty bytes", lambda: _message(unprotected=b""), "unprotected"),
    ("detached payload", lambda: _message(payload=None), "payload"),
    ("payload is text", lambda: _message(payload="payload"), "payload"),
    ("payload is a map", lambda: _message(payload={}), "payload"),
    ("protected is a map", lambda: _message(protected={1: -7}), "protected"),
    ("protected is null", lambda: _message(protected=None), "protected"),
    ("protected is empty", lambda: _message(protected=b""), "protected"),
    ("protected is the empty map", lambda: _message(protected=b"\xa0"), "protected.1"),
    ("protected is no CBOR", lambda: _message(protected=b"\xff"), "protected"),
    ("protected is an array", lambda: _message(protected=b"\x80"), "protected"),
    ("protected has trailing bytes", lambda: _message(protected=cbor.encode({1: -7}) + b"\x00"), "protected"),
    ("protected repeats alg", lambda: _message(protected=bytes.fromhex("a201260126")), "protected"),
    ("protected not shortest", lambda: _message(protected=bytes.fromhex("a1180126")), "protected"),
    ("protected out of order", lambda: _message(protected=bytes.fromhex("a204410101" + "26")), "protected"),
    ("alg missing", lambda: _with_protected({3: "text/plain"}), "protected.1"),
    ("alg null", lambda: _with_protected({1: None}), "protected.1"),
    ("alg ES384", lambda: _with_protected({1: -35}), "protected.1"),
    ("alg ES256K", lambda: _with_protected({1: -47}), "protected.1"),
    ("alg Ed448", lambda: _with_protected({1: -53}), "protected.1"),
    ("alg ML-DSA-65", lambda: _with_protected({1: -49}), "protected.1"),
    ("alg HMAC", lambda: _with_protected({1: 5}), "protected.1"),
    ("alg none", lambda: _with_protected({1: 0}), "protected.1"),
    ("alg true", lambda: _with_protected({1: True}), "protected.1"),
    ("alg as text", lambda: _with_protected({1: "ES256"}), "protected.1"),
    ("alg as bytes", lambda: _with_protected({1: b"\x26"}), "protected.1"),
    ("alg as an array", lambda: _with_protected({1: [-7]}), "protected.1"),
    ("alg as a map", lambda: _with_protected({1: {}}), "protected.1"),
    ("alg under the text label", lambda: _with_protected({"1": -7}), "protected.1"),
    ("signature is text", lambda: _message(signature="s" * 64), "signature"),
    ("signature is null", lambda: _message(signature=None), "signature"),
    ("signature is empty", lambda: _message(signature=b""), "signature"),
    ("signature of 63", lambda: _message(signature=bytes(63)), "signature"),
    ("signature of 65", lambda: _message(signature=bytes(65)), "signature"),
    ("signature in DER", lambda: _message(signature=bytes(71)), "signature"),
    ("EdDSA of 63", lambda: _message(protected=cbor.encode({1: -8}), signature=bytes(63)), "signature"),
    ("ML-DSA of 64", lambda: _message(protected=cbor.encode({1: -48}), signature=bytes(64)), "signature"),
    ("ML-DSA of 2419", lambda: _message(protected=cbor.encode({1: -48}), signature=bytes(2419)), "signature"),
    ("ML-DSA of 2421", lambda: _message(protected=cbor.encode({1: -48}), signature=bytes(2421)), "signature"),
]


@pytest.mark.parametrize(("make", "field"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_message_in_another_form_is_refused(make: Callable[[], bytes], field: str) -> None:
    """Every deviation is a CoseError that names the part."""
    with pytest.raises(CoseError) as caught:
        cose.decode(make())
    assert caught.value.field == field


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_signed_message_verifies_and_comes_back(algorithm: Algorithm) -> None:
    """Sign and decode are inverse, and the signature verifies under the signer's public key."""
    signer = key("alice", algorithm)
    raw = cose.sign({3: "text/plain"}, b"payload", signer)
    decoded = cose.decode(raw)
    decoded.verify(signer.public)
    assert (decoded.alg, decoded.protected, decoded.payload) == (
        signer.alg,
        {1: signer.alg, 3: "text/plain"},
        b"payload",
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("part", ["payload", "protected", "signature", "key"])
def test_any_change_breaks_the_signature(algorithm: Algorithm, part: str) -> None:
    """Another payload, header, signature or key of the same algorithm is a SignatureError."""
    signer = key("alice", algorithm)
    header, _, payload, signature = cbor2.loads(cose.sign({3: "text/plain"}, b"payload", signer)[1:])
    verifier = key("mallory", algorithm).public if part == "key" else signer.public
    if part == "payload":
        payload += b"!"
    elif part == "protected":
        header = cbor.encode({1: signer.alg, 3: "text/html"})
    elif part == "signature":
        signature = bytes([signature[0] ^ 1]) + signature[1:]
    message = cose.decode(cose.TAG + cbor.encode([header, {}, payload, signature]))
    with pytest.raises(SignatureError):
        message.verify(verifier)


def test_a_key_of_another_algorithm_is_refused_before_it_is_used() -> None:
    """The algorithm in the header has to be the key's: nobody picks a verifier for a key."""
    message = cose.decode(cose.sign({}, b"payload", key("alice", "p256")))
    with pytest.raises(CoseError, match="algorithm -7 is not the key's, which is -8") as caught:
        message.verify(key("alice", "ed25519").public)
    assert caught.value.field == "protected.1"


def _independent(algorithm: str) -> tuple[bytes, bytes]:
    """A message and its SPKI, made by `cryptography` and cbor2 alone."""
    secret: Any
    if algorithm == "p256":
        secret, alg = ec.derive_private_key(4711, ec.SECP256R1()), -7
    elif algorithm == "ed25519":
        secret, alg = ed25519.Ed25519PrivateKey.from_private_bytes(b"\x07" * 32), -8
    else:
        secret, alg = mldsa.MLDSA44PrivateKey.from_seed_bytes(b"\x07" * 32), -48
    header = cbor2.dumps({1: alg})
    signed = cbor2.dumps(["Signature1", header, b"", b"made elsewhere"])
    if algorithm == "p256":
        r, s = decode_dss_signature(secret.sign(signed, ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(32, "big") + min(s, _N - s).to_bytes(32, "big")
    else:
        signature = secret.sign(signed)
    return cbor2.dumps(cbor2.CBORTag(18, [header, {}, b"made elsewhere", signature])), keys.private_key(secret).spki


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_message_made_elsewhere_verifies(algorithm: Algorithm) -> None:
    """cbor2 and cryptography together make a message that decodes, verifies and has the id they give it."""
    raw, spki = _independent(algorithm)
    message = cose.decode(raw)
    message.verify(keys.load_public(spki))
    signed = cbor2.dumps(["Signature1", message.protected_bytes, b"", message.payload])
    assert message.id == hashlib.sha256(signed).digest()


@pytest.mark.parametrize("algorithm", ["p256", "ed25519"])
def test_our_message_verifies_elsewhere(algorithm: Algorithm) -> None:
    """Cryptography verifies what we sign over the Sig_structure that cbor2 encodes."""
    signer = key("alice", algorithm)
    tag = cbor2.loads(cose.sign({4: signer.kid}, b"payload", signer))
    header, unprotected, payload, signature = tag.value
    signed = cbor2.dumps(["Signature1", header, b"", payload])
    keys.load_public(signer.spki).verify(signed, signature)
    assert (tag.tag, unprotected) == (18, {})


def _es256() -> tuple[cose.Sign1, int, int]:
    message = cose.decode(cose.sign({}, b"payload", key("alice")))
    return message, int.from_bytes(message.signature[:32], "big"), int.from_bytes(message.signature[32:], "big")


ES256_FAULTS: list[tuple[str, Callable[[int, int], tuple[int, int]], str]] = [
    ("high s", lambda r, s: (r, _N - s), "high s"),
    ("r = 0", lambda _, s: (0, s), "out of range"),
    ("s = 0", lambda r, _: (r, 0), "out of range"),
    ("both 0", lambda _r, _s: (0, 0), "out of range"),
    ("r = n", lambda _, s: (_N, s), "out of range"),
    ("s = n", lambda r, _: (r, _N), "high s"),
    ("s = (n + 1) / 2", lambda r, _: (r, _N // 2 + 1), "high s"),
    ("r = 2^256 - 1", lambda _, s: ((1 << 256) - 1, s), "out of range"),
    ("s = 2^256 - 1", lambda r, _: (r, (1 << 256) - 1), "high s"),
    ("r and s swapped", lambda r, s: (s, r), "does not verify|high s"),
    ("r + 1", lambda r, s: (r + 1, s), "does not verify"),
    ("s = (n - 1) / 2", lambda r, _: (r, _N // 2), "does not verify"),
]


@pytest.mark.parametrize(("change", "reason"), [row[1:] for row in ES256_FAULTS], ids=[row[0] for row in ES256_FAULTS])
def test_es256_has_one_accepted_form(change: Callable[[int, int], tuple[int, int]], reason: str) -> None:
    """0 < r < n and 0 < s <= n/2, or the signature is refused."""
    message, r, s = _es256()
    changed = b"".join(part.to_bytes(32, "big") for part in change(r, s))
    with pytest.raises(SignatureError, match=reason):
        key("alice").public.verify(message.to_be_signed, changed)
    with pytest.raises(SignatureError, match=reason):
        replace(message, signature=changed).verify(key("alice").public)


@given(st.binary(max_size=200))
def test_a_known_hash_verifies_what_the_message_does(message: bytes) -> None:
    """An ES256 signature verifies over the SHA-256 of its message, and over no other digest."""
    signer = key("alice")
    public, signature = keys.load_public(signer.spki), signer.sign(message)
    assert isinstance(public, keys.P256Verifier)
    public.verify(message, signature)
    public.verify_hashed(hashlib.sha256(message).digest(), signature)
    with pytest.raises(SignatureError, match="does not verify"):
        public.verify_hashed(hashlib.sha256(message + b"!").digest(), signature)


def test_a_high_s_is_valid_mathematics_and_still_refused() -> None:
    """The flipped signature verifies in cryptography: only our rule keeps it out."""
    message, r, s = _es256()
    flipped = r.to_bytes(32, "big") + (_N - s).to_bytes(32, "big")
    with pytest.raises(SignatureError, match="high s"):
        key("alice").public.verify(message.to_be_signed, flipped)
    key("alice").public.verify(message.to_be_signed, keys.low_s(flipped))


def test_a_malleated_signature_keeps_the_id() -> None:
    """The id is over what was signed: flipping s makes other bytes and the same statement."""
    message, r, s = _es256()
    flipped = r.to_bytes(32, "big") + (_N - s).to_bytes(32, "big")
    other = cose.decode(cose.TAG + cbor.encode([message.protected_bytes, {}, message.payload, flipped]))
    assert (other.id, other.signature == message.signature) == (message.id, False)


def test_signing_twice_keeps_the_id() -> None:
    """Two ES256 signatures by one key differ, the id does not."""
    signer = keys.generate("p256")
    first, second = (cose.decode(cose.sign({}, b"payload", signer)) for _ in range(2))
    assert (first.id, first.signature != second.signature) == (second.id, True)


def test_ed25519_with_s_plus_l_is_refused() -> None:
    """S + L is the same scalar in another form: S has to be below L (RFC 8032 5.1.7)."""
    signer = key("alice", "ed25519")
    signature = signer.sign(b"message")
    s = int.from_bytes(signature[32:], "little")
    with pytest.raises(SignatureError, match="S not below L"):
        signer.public.verify(b"message", signature[:32] + (s + _L).to_bytes(32, "little"))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("change", [-1, 1, -10_000])
def test_a_signature_of_another_length_is_refused(algorithm: Algorithm, change: int) -> None:
    """The verifier itself checks the length, so that it is safe without COSE around it."""
    signer = key("alice", algorithm)
    signature = signer.sign(b"message")
    changed = signature[:change] if change < 0 else signature + bytes(change)
    with pytest.raises(SignatureError, match="bytes, this one"):
        signer.public.verify(b"message", changed)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_with_our_error(data: bytes) -> None:
    """No bytes after the tag make decode raise anything but CoseError."""
    try:
        cose.decode(cose.TAG + data)
    except CoseError:
        return


def _identified(data: bytes) -> bytes | None:
    try:
        return cose.identify(data)
    except CoseError:
        return None


def _framed(data: bytes) -> bytes | None:
    """The id by the strict CBOR decoder: what `identify` has to find, or None."""
    try:
        parts = cbor.decode(data[1:]) if data[:1] == cose.TAG else None
    except CborError:
        return None
    match parts:
        case [bytes(header), {**unprotected}, bytes(payload), bytes()] if not unprotected:
            return hashlib.sha256(cose.sig_structure(header, payload)).digest()
    return None


@pytest.mark.parametrize("make", [row[1] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_the_id_of_a_refused_message_is_found_only_when_it_is_framed(make: Callable[[], bytes]) -> None:
    """Whatever is wrong with the content, `identify` reads the frame, and only a whole one."""
    assert _framed(make()) == _identified(make())


@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=80))
def test_identify_finds_the_id_of_every_frame(header: bytes, payload: bytes, signature: bytes) -> None:
    """For parts of any length the id is the hash of the Sig_structure."""
    data = cose.TAG + cbor.encode([header, {}, payload, signature])
    assert hashlib.sha256(cose.sig_structure(header, payload)).digest() == cose.identify(data)


@pytest.mark.parametrize("size", [0, 23, 24, 255, 256, 65535, 65536, 70000])
def test_identify_reads_heads_of_every_width(size: int) -> None:
    """At each length where the head of a byte string grows, whole and cut off by one byte."""
    data = cose.TAG + cbor.encode([b"\xa0", {}, bytes(size), bytes(64)])
    assert _framed(data) == cose.identify(data)
    with pytest.raises(CoseError, match="signature: the data ends inside it"):
        cose.identify(data[:-1])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(data=st.data())
def test_identify_agrees_with_decode(algorithm: Algorithm, data: st.DataObject) -> None:
    """Wherever decode accepts, identify finds the same id; it accepts exactly what is framed, whatever was changed."""
    raw = bytearray(
        cose.sign({3: "text/plain", 4: bytes(32)}, data.draw(st.binary(max_size=300)), key("alice", algorithm))
    )
    for _ in range(data.draw(st.integers(0, 2))):
        # Most of the frame is where the parts begin, so half of the changes go to the first bytes.
        at = data.draw(st.one_of(st.integers(0, 8), st.integers(0, len(raw) - 1)))
        raw[at] = data.draw(st.integers(0, 255))
    changed = bytes(raw[: data.draw(st.one_of(st.just(len(raw)), st.integers(0, len(raw))))])
    found = _identified(changed)
    assert _framed(changed) == found
    try:
        decoded = cose.decode(changed)
    except CoseError:
        return
    assert decoded.id == found


@given(st.data())
def test_a_changed_byte_is_refused_or_changes_the_id_or_the_signature(data: st.DataObject) -> None:
    """One message, one form: a flipped byte never leaves header, payload and signature as they were."""
    raw = cose.sign({3: "text/plain", 4: bytes(32)}, b"payload", key("alice"))
    at, flip = data.draw(st.integers(0, len(raw) - 1)), data.draw(st.integers(1, 255))
    changed = raw[:at] + bytes([raw[at] ^ flip]) + raw[at + 1 :]
    original = cose.decode(raw)
    try:
        message = cose.decode(changed)
    except FormatError:
        return
    assert (message.id, message.signature) != (original.id, original.signature)
    with pytest.raises((SignatureError, CoseError)):
        message.verify(key("alice").public)
