"""The bytes of a COSE receipt (RFC 9942), read and judged for form: rules G1 to G9 of proto/receipts.md.

One reader serves two cases. Ours have one encoding and exactly our header. In a foreign receipt the keys of maps may be in
any order, other labels may be present, and kid and claims may be absent; what makes a receipt ambiguous or unsafe is
refused all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, cast

from platemark import cbor, cose, merkle
from platemark.errors import CborError, ReceiptError, UnsupportedReceiptError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CONSISTENCY",
    "IAT",
    "INCLUSION",
    "ISS",
    "LEAF_INDEX",
    "MAX_RECEIPT",
    "OLD_SIZE",
    "RFC9162_SHA256",
    "SUB",
    "TREE_SIZE",
    "VDP",
    "VDS",
    "Consistency",
    "Inclusion",
    "Parts",
    "check_claims",
    "position_signed",
    "read",
]

MAX_RECEIPT = 16 * 1024
# Claims of the private range (RFC 8392 section 9.1.1: below -65536).
LEAF_INDEX, TREE_SIZE, OLD_SIZE = -65601, -65602, -65603
VDS, VDP = 395, 396
ISS, SUB, IAT = 1, 2, 6
RFC9162_SHA256 = 1
INCLUSION, CONSISTENCY = -1, -2
_CRIT = 2
_PROTECTED_ONLY = {cose.ALG: "the algorithm", _CRIT: "crit", VDS: "the data structure"}
_MAX_TEXT = 255
_MAX_PATH = 63
_MAX_COUNT = (1 << 63) - 1

Map: TypeAlias = "dict[int | str, cbor.Value]"


@dataclass(frozen=True)
class Inclusion:
    """The leaf at `index` is in the tree of `size` leaves; `path` as RFC 9162 2.1.3.1."""

    index: int
    size: int
    path: tuple[bytes, ...]

    @property
    def claims(self) -> Map:
        """What the signed header repeats."""
        return {LEAF_INDEX: self.index, TREE_SIZE: self.size}


@dataclass(frozen=True)
class Consistency:
    """The first `old_size` leaves of the tree of `new_size` leaves are the older tree; `path` as RFC 9162 2.1.4.1."""

    old_size: int
    new_size: int
    path: tuple[bytes, ...]

    @property
    def claims(self) -> Map:
        """What the signed header repeats."""
        return {OLD_SIZE: self.old_size, TREE_SIZE: self.new_size}


@dataclass(frozen=True)
class Parts:
    """A receipt taken apart: every part has its type, and nothing more is known."""

    protected_bytes: bytes
    protected: Mapping[int | str, cbor.Value]
    claims: Mapping[int | str, cbor.Value]
    proof: Inclusion | Consistency
    signature: bytes
    alg: int


def read(data: bytes, *, foreign: bool) -> Parts:
    """The parts of the receipt in `data`. Raises ReceiptError, UnsupportedReceiptError for another data structure."""
    if len(data) > MAX_RECEIPT:
        raise ReceiptError("receipt", f"{len(data)} bytes, more than {MAX_RECEIPT}")
    if data[:1] != cose.TAG:
        raise ReceiptError("tag", "the receipt does not begin with tag 18 (COSE_Sign1)")
    if data[1:2] != b"\x84":
        raise ReceiptError("receipt", "not an array of four")
    header, at = _bytes(data, 2, "protected")
    unprotected, at = _map(data, at, "unprotected", ordered=not foreign)
    payload, at = _item(data, at, "payload")
    if payload is not None:
        raise ReceiptError("payload", "not detached (null)")
    signature, at = _bytes(data, at, "signature")
    _check_end(data, at, "receipt")
    protected, end = _map(header, 0, "protected", ordered=not foreign)
    _check_end(header, end, "protected")
    _check_structure(protected)
    alg = _alg(protected, signature)
    if not foreign:
        _check_ours(protected, unprotected)
    claims = _claims(protected)
    return Parts(header, protected, claims, _proof(unprotected), signature, alg)


def _check_structure(protected: Map) -> None:
    if _CRIT in protected:
        raise ReceiptError("protected.2", "crit is refused: no extension is understood")
    structure = protected.get(VDS)
    if type(structure) is not int:
        raise ReceiptError("protected.395", "the verifiable data structure is missing or not an integer")
    if structure != RFC9162_SHA256:
        reason = f"data structure {structure} is not supported, only 1 (RFC9162_SHA256)"
        raise UnsupportedReceiptError("protected.395", reason)


def _alg(protected: Map, signature: bytes) -> int:
    alg = protected.get(cose.ALG)
    if type(alg) is not int or alg not in cose.SIGNATURE_SIZES:
        raise ReceiptError("protected.1", "the algorithm is not ES256, EdDSA or ML-DSA-44")
    size = cose.SIGNATURE_SIZES[alg]
    if len(signature) != size:
        raise ReceiptError("signature", f"{len(signature)} bytes, not the {size} of algorithm {alg}")
    if not isinstance(protected.get(cose.KID, b""), bytes):
        raise ReceiptError("protected.4", "the key id is not a byte string")
    return alg


def _check_ours(protected: Map, unprotected: Map) -> None:
    """What only our own receipts have to have, and all that they may have."""
    if len(cast("bytes", protected.get(cose.KID, b""))) != 32:
        raise ReceiptError("protected.4", "the key id is missing or has not 32 bytes")
    if cose.CWT_CLAIMS not in protected:
        raise ReceiptError("protected.15", "the claims are missing")
    if protected.keys() != {cose.ALG, cose.KID, cose.CWT_CLAIMS, VDS}:
        raise ReceiptError("protected", "has other labels than 1, 4, 15 and 395")
    for label in unprotected:
        if label != VDP and label not in _PROTECTED_ONLY:
            raise ReceiptError("unprotected", "has other labels than 396")


def _claims(protected: Map) -> Map:
    claims = protected.get(cose.CWT_CLAIMS, {})
    if not isinstance(claims, dict):
        raise ReceiptError("protected.15", "the claims are not a map")
    check_claims(claims)
    return claims


def check_claims(claims: Mapping[int | str, cbor.Value]) -> None:
    """Every claim that is read has its type, if it is there. Raises ReceiptError."""
    for label, name in ((ISS, "issuer"), (SUB, "subject")):
        text = claims.get(label, "-")
        if not isinstance(text, str) or not 1 <= len(text) <= _MAX_TEXT:
            raise ReceiptError(f"protected.15.{label}", f"the {name} is not a text of 1 to {_MAX_TEXT} characters")
    for label in (IAT, LEAF_INDEX, TREE_SIZE, OLD_SIZE):
        _count(claims.get(label, 0), f"protected.15.{label}")


def position_signed(parts: Parts, *, foreign: bool) -> bool:
    """Whether the claims repeat the position of the proof. Raises ReceiptError where they contradict it."""
    claims, expected = parts.claims, parts.proof.claims
    for label in (LEAF_INDEX, TREE_SIZE, OLD_SIZE):
        if label in claims and claims[label] != expected.get(label):
            said = f"the proof says {expected.get(label)!r} where the signed claim {label} is {claims[label]!r}"
            raise ReceiptError("unprotected.396", said)
    if not foreign and claims.keys() != {ISS, SUB, IAT, *expected}:
        raise ReceiptError("protected.15", "the claims are not exactly 1, 2, 6 and those of the proof")
    return expected.keys() <= claims.keys()


def _proof(unprotected: Map) -> Inclusion | Consistency:
    for label, name in _PROTECTED_ONLY.items():
        if label in unprotected:
            raise ReceiptError(f"unprotected.{label}", f"{name} is not in the protected header")
    proofs = unprotected.get(VDP)
    if not isinstance(proofs, dict):
        raise ReceiptError("unprotected", "has no map of proofs, 396")
    if len(proofs) != 1 or not proofs.keys() <= {INCLUSION, CONSISTENCY}:
        raise ReceiptError("unprotected.396", "is not a map of either -1, inclusion, or -2, consistency")
    ((kind, wrapped),) = proofs.items()
    field = f"unprotected.396.{kind}"
    if not isinstance(wrapped, list) or len(wrapped) != 1 or not isinstance(wrapped[0], bytes):
        raise ReceiptError(field, "is not an array of one byte string")
    first, second, path = _unwrap(wrapped[0], field)
    if kind == INCLUSION:
        if not path and (first, second) != (1, 0):
            raise ReceiptError(field, "an empty path is for the only leaf of a tree")
        return Inclusion(second, first, path)
    if not path:
        raise ReceiptError(field, "a consistency path is not empty")
    return Consistency(first, second, path)


def _unwrap(wrapped: bytes, field: str) -> tuple[int, int, tuple[bytes, ...]]:
    value, end = _item(wrapped, 0, field)
    _check_end(wrapped, end, field)
    if not isinstance(value, list) or len(value) != 3:
        raise ReceiptError(field, "is not an array of two integers and a path")
    return _count(value[0], field), _count(value[1], field), _path(value[2], field)


def _path(value: cbor.Value, field: str) -> tuple[bytes, ...]:
    if not isinstance(value, list) or len(value) > _MAX_PATH:
        raise ReceiptError(field, f"the path is not an array of at most {_MAX_PATH} digests")
    if not all(isinstance(digest, bytes) and len(digest) == merkle.HASH_SIZE for digest in value):
        raise ReceiptError(field, f"the path holds something else than digests of {merkle.HASH_SIZE} bytes")
    return tuple(cast("list[bytes]", value))


def _count(value: cbor.Value, field: str) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_COUNT:
        raise ReceiptError(field, "holds something else than an integer from 0 to 2^63 - 1")
    return value


def _check_end(data: bytes, at: int, field: str) -> None:
    if at != len(data):
        raise ReceiptError(field, f"{len(data) - at} trailing bytes")


def _bytes(data: bytes, at: int, field: str) -> tuple[bytes, int]:
    value, at = _item(data, at, field)
    if not isinstance(value, bytes):
        raise ReceiptError(field, "not a byte string")
    return value, at


def _item(data: bytes, at: int, field: str) -> tuple[cbor.Value, int]:
    try:
        return cbor.item(data, at)
    except CborError as error:
        raise ReceiptError(field, str(error)) from None


def _map(data: bytes, at: int, field: str, *, ordered: bool, depth: int = 1) -> tuple[Map, int]:
    """A map of less than 24 entries and the byte after it; unless `ordered`, keys may be in any order, here and inside."""
    if not 0xA0 <= (data[at] if at < len(data) else 0) < 0xB8:
        raise ReceiptError(field, "is not a map of less than 24 entries")
    if ordered:
        value, end = _item(data, at, field)
        return cast("Map", value), end
    if depth > cbor.MAX_DEPTH:
        raise ReceiptError(field, f"maps are nested deeper than {cbor.MAX_DEPTH}")
    result: Map = {}
    entries, at = data[at] - 0xA0, at + 1
    for _ in range(entries):
        key, at = _item(data, at, field)
        if type(key) is not int and type(key) is not str:
            raise ReceiptError(field, "a map key is neither an integer nor text")
        if key in result:
            raise ReceiptError(field, f"the map key {key} is duplicated")
        nested = 0xA0 <= (data[at] if at < len(data) else 0) < 0xC0
        if nested:
            result[key], at = _map(data, at, field, ordered=False, depth=depth + 1)
        else:
            result[key], at = _item(data, at, field)
    return result, at
