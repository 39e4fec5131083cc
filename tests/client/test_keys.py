"""Public keys: one accepted SubjectPublicKeyInfo for each key of three types, and nothing else."""

import hashlib
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from hypothesis import given
from hypothesis import strategies as st

from builders import Algorithm, key
from platemark import keys
from platemark.errors import KeyFormatError, SignatureError

ALGORITHMS: list[Algorithm] = ["p256", "ed25519", "mldsa44"]
_P = (1 << 255) - 19
_D = -121665 * pow(121666, -1, _P) % _P
_P256_P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF


def _der(public: PublicKeyTypes) -> bytes:
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _tlv(tag: int, content: bytes) -> bytes:
    length = bytes([len(content)]) if len(content) < 128 else b"\x81" + bytes([len(content)])
    return bytes([tag]) + length + content


_ID_EC = bytes.fromhex("06072a8648ce3d0201")
_PRIME256V1 = bytes.fromhex("06082a8648ce3d030107")


def _p256(point: bytes, parameters: bytes = _PRIME256V1) -> bytes:
    """An EC SubjectPublicKeyInfo with these point octets."""
    content = _tlv(0x30, _ID_EC + parameters) + _tlv(0x03, b"\x00" + point)
    return b"\x30" + (b"\x81" if len(content) > 127 else b"") + bytes([len(content)]) + content


def _ed25519(raw: bytes) -> bytes:
    return bytes.fromhex("302a300506032b6570032100") + raw


def _point() -> bytes:
    return key("alice").spki[-65:]


def _explicit() -> bytes:
    """ECParameters that spell P-256 out, as the attack of CVE-2020-0601 does."""
    b = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    n = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    g = ec.derive_private_key(1, ec.SECP256R1()).public_key()
    generator = g.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    field_id = _tlv(0x30, bytes.fromhex("06072a8648ce3d0101") + _tlv(0x02, b"\x00" + _P256_P.to_bytes(32, "big")))
    curve = _tlv(0x30, _tlv(0x04, (_P256_P - 3).to_bytes(32, "big")) + _tlv(0x04, b.to_bytes(32, "big")))
    order = _tlv(0x02, b"\x00" + n.to_bytes(32, "big"))
    content = _tlv(0x02, b"\x01") + field_id + curve + _tlv(0x04, generator) + order + _tlv(0x02, b"\x01")
    parameters = b"\x30\x81" + bytes([len(content)]) + content
    algorithm = _ID_EC + parameters
    whole = b"\x30\x81" + bytes([len(algorithm)]) + algorithm + _tlv(0x03, b"\x00" + _point())
    return b"\x30\x82" + len(whole).to_bytes(2, "big") + whole


def _hybrid() -> bytes:
    point = _point()
    return bytes([6 + (point[-1] & 1)]) + point[1:]


def _compressed() -> bytes:
    point = _point()
    return bytes([2 + (point[-1] & 1)]) + point[1:33]


def _off_the_curve() -> bytes:
    point = _point()
    return point[:-1] + bytes([point[-1] ^ 1])


def _beyond_the_prime() -> bytes:
    """The point with x = 5, written as 5 + p: the same point in another form."""
    x = 5
    y_squared = (x**3 - 3 * x + 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B) % _P256_P
    y = pow(y_squared, (_P256_P + 1) // 4, _P256_P)
    assert y * y % _P256_P == y_squared
    return b"\x04" + (x + _P256_P).to_bytes(32, "big") + y.to_bytes(32, "big")


REFUSED: list[tuple[str, Callable[[], bytes], str]] = [
    ("empty", lambda: b"", "not the SubjectPublicKeyInfo"),
    ("text", lambda: b"-----BEGIN PUBLIC KEY-----", "not the SubjectPublicKeyInfo"),
    ("P-256 compressed", lambda: _p256(_compressed()), "not the SubjectPublicKeyInfo"),
    ("P-256 hybrid", lambda: _p256(_hybrid()), "not the SubjectPublicKeyInfo"),
    ("P-256 at infinity", lambda: _p256(b"\x00"), "not the SubjectPublicKeyInfo"),
    ("P-256 explicit parameters", _explicit, "not the SubjectPublicKeyInfo"),
    ("P-256 implicit parameters", lambda: _p256(_point(), b"\x05\x00"), "not the SubjectPublicKeyInfo"),
    ("P-256 off the curve", lambda: _p256(_off_the_curve()), "not on P-256"),
    ("P-256 all zero", lambda: _p256(b"\x04" + bytes(64)), "not on P-256"),
    ("P-256 beyond the prime", lambda: _p256(_beyond_the_prime()), "not on P-256"),
    ("P-256 trailing byte", lambda: key("alice").spki + b"\x00", "not the SubjectPublicKeyInfo"),
    ("P-256 cut off", lambda: key("alice").spki[:-1], "not the SubjectPublicKeyInfo"),
    ("P-256 with unused bits", lambda: _p256(_point()).replace(b"\x03\x42\x00\x04", b"\x03\x42\x01\x04"), "not the"),
    ("P-256 with a long length", lambda: b"\x30\x81" + key("alice").spki[1:], "not the SubjectPublicKeyInfo"),
    ("P-256 point alone", _point, "not the SubjectPublicKeyInfo"),
    ("P-384", lambda: _der(ec.derive_private_key(7, ec.SECP384R1()).public_key()), "not the SubjectPublicKeyInfo"),
    ("secp256k1", lambda: _der(ec.derive_private_key(7, ec.SECP256K1()).public_key()), "not the SubjectPublicKeyInfo"),
    ("brainpool", lambda: _der(ec.derive_private_key(7, ec.BrainpoolP256R1()).public_key()), "not the Subject"),
    ("RSA", lambda: _der(rsa.RSAPublicNumbers(65537, (1 << 2047) + 1).public_key()), "not the SubjectPublicKeyInfo"),
    (
        "Ed448",
        lambda: _der(ed448.Ed448PrivateKey.from_private_bytes(bytes(57)).public_key()),
        "not the SubjectPublicKeyInfo",
    ),
    (
        "X25519",
        lambda: _der(x25519.X25519PrivateKey.from_private_bytes(bytes(32)).public_key()),
        "not the SubjectPublicKeyInfo",
    ),
    (
        "ML-DSA-65",
        lambda: _der(mldsa.MLDSA65PrivateKey.from_seed_bytes(bytes(32)).public_key()),
        "not the SubjectPublicKeyInfo",
    ),
    ("Ed25519 trailing byte", lambda: _ed25519(bytes(33)), "not the SubjectPublicKeyInfo"),
    ("Ed25519 raw", lambda: key("alice", "ed25519").spki[-32:], "not the SubjectPublicKeyInfo"),
    ("Ed25519 with NULL parameters", lambda: bytes.fromhex("302c300706032b65700500032100") + bytes(32), "not the"),
    ("ML-DSA-44 cut off", lambda: key("alice", "mldsa44").spki[:-1], "not the SubjectPublicKeyInfo"),
    ("ML-DSA-44 trailing byte", lambda: key("alice", "mldsa44").spki + b"\x00", "not the SubjectPublicKeyInfo"),
]


@pytest.mark.parametrize(("make", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_another_form_or_type_is_refused(make: Callable[[], bytes], reason: str) -> None:
    """Only the one SubjectPublicKeyInfo of a P-256, Ed25519 or ML-DSA-44 key is read; the error names the field."""
    with pytest.raises(KeyFormatError, match=reason) as caught:
        keys.load_public(make(), field="payload.key")
    assert caught.value.field == "payload.key"


# The eight points of the 8-torsion subgroup in canonical form, by y (RFC 8032 leaves them in).
_ORDER_8 = [
    0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
    0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
]
SMALL_ORDER = {
    "order 1": 1,
    "order 2": _P - 1,
    "order 4": 0,
    **{f"order 8, {number}": y for number, y in enumerate(_ORDER_8)},
}


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("y", SMALL_ORDER.values(), ids=SMALL_ORDER.keys())
def test_an_ed25519_point_of_small_order_is_refused(y: int, sign: int) -> None:
    """Under a key of small order one signature can be valid for many messages: all eight are refused."""
    raw = (y | sign << 255).to_bytes(32, "little")
    with pytest.raises(KeyFormatError, match="small order"):
        keys.load_public(_ed25519(raw))


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("y", range(19))
def test_an_ed25519_point_that_is_not_canonical_is_refused(y: int, sign: int) -> None:
    """Y + p is the same point in another form: y has to be below p."""
    raw = (y + _P | sign << 255).to_bytes(32, "little")
    with pytest.raises(KeyFormatError, match="canonical"):
        keys.load_public(_ed25519(raw))


def _on_curve(y: int) -> bool:
    """Whether some x fits y, by the definition of the curve: x^2 (d y^2 + 1) = y^2 - 1."""
    x_squared = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    return x_squared == 0 or pow(x_squared, (_P - 1) // 2, _P) == 1


@given(st.integers(2, _P - 2))
def test_an_ed25519_point_is_accepted_exactly_when_it_is_on_the_curve(y: int) -> None:
    """About half of all y have no x; the others are keys."""
    spki = _ed25519(y.to_bytes(32, "little"))
    if _on_curve(y):
        assert keys.load_public(spki).spki == spki
    else:
        with pytest.raises(KeyFormatError, match="not on the curve"):
            keys.load_public(spki)


@given(st.binary(min_size=32, max_size=32))
def test_an_ed25519_key_that_somebody_holds_is_accepted(seed: bytes) -> None:
    """No honest key is refused."""
    public = ed25519.Ed25519PrivateKey.from_private_bytes(seed).public_key()
    assert keys.load_public(_der(public)).alg == keys.EDDSA


@pytest.mark.parametrize(("algorithm", "alg"), [("p256", -7), ("ed25519", -8), ("mldsa44", -48)])
def test_a_generated_key_signs_and_its_public_half_verifies(algorithm: Algorithm, alg: int) -> None:
    """Generate gives a Signer; load_public of its SubjectPublicKeyInfo is the Verifier; both have one kid."""
    signer = keys.generate(algorithm)
    verifier = keys.load_public(signer.spki)
    verifier.verify(b"message", signer.sign(b"message"))
    assert (signer.alg, verifier.alg) == (alg, alg)
    assert signer.kid == verifier.kid == hashlib.sha256(signer.spki).digest()
    with pytest.raises(SignatureError):
        verifier.verify(b"another message", signer.sign(b"message"))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_keys_meet_the_protocols(algorithm: Algorithm) -> None:
    """A key of ours is a Signer, its public half a Verifier, so a token can take either's place."""
    signer = keys.generate(algorithm)
    assert isinstance(signer, keys.Signer)
    assert isinstance(signer.public, keys.Verifier)
    assert isinstance(key("alice"), keys.Signer)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_repr_of_a_private_key_shows_its_name_and_no_secret(algorithm: Algorithm) -> None:
    """What lands in a log by accident is the kid alone."""
    signer = keys.generate(algorithm)
    assert repr(signer) == f"PrivateKey({keys.ALGORITHM_NAMES[signer.alg]}, kid={signer.kid.hex()})"


def test_a_private_key_of_another_type_is_refused() -> None:
    """P-384 and RSA keys are refused with their name."""
    with pytest.raises(KeyFormatError, match="the curve is secp384r1, not P-256"):
        keys.private_key(ec.generate_private_key(ec.SECP384R1()))
    with pytest.raises(KeyFormatError, match="not P-256, Ed25519 or ML-DSA-44"):
        keys.private_key(rsa.generate_private_key(65537, 2048))


def test_an_unknown_algorithm_is_a_programming_error() -> None:
    """Generate raises ValueError with the words that it knows."""
    with pytest.raises(ValueError, match="p256, ed25519 or mldsa44"):
        keys.generate("rsa")


@given(st.binary(max_size=64))
def test_es256_signatures_always_have_a_low_s(message: bytes) -> None:
    """Whatever the nonce, our signer gives the accepted form."""
    signature = key("alice").private.sign(message)
    assert int.from_bytes(signature[32:], "big") <= 0x7FFFFFFF800000007FFFFFFFFFFFFFFFDE737D56D38BCF4279DCE5617E3192A8
    key("alice").public.verify(message, signature)


@given(st.binary(max_size=120))
def test_arbitrary_bytes_are_no_key(data: bytes) -> None:
    """load_public raises KeyFormatError alone."""
    with pytest.raises(KeyFormatError):
        keys.load_public(data)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_changed_spki_is_refused_or_another_key(algorithm: Algorithm) -> None:
    """No byte of a SubjectPublicKeyInfo can change and leave the key the same."""
    spki = key("alice", algorithm).spki
    for at in range(min(len(spki), 100)):
        changed = spki[:at] + bytes([spki[at] ^ 1]) + spki[at + 1 :]
        try:
            other = keys.load_public(changed)
        except KeyFormatError:
            continue
        assert (at >= 12, other.kid != key("alice", algorithm).kid) == (True, True)
