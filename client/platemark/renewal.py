"""Renewal: one time stamp under a stronger hash over every earlier one, so that old evidence outlives its algorithms.

A *claim* holds the RFC 9162 root, with SHA-512, over all tokens that a log has, and names one of its checkpoints. One token
over the claim renews the whole log, however many leaves it has; a path of a few hashes shows that one old token was among
them. So what an old token proves was proven at a time when its algorithms were still acceptable. After RFC 4998, whose
hash tree and archive time-stamp chain this is in this project's encoding. Rules Z27 to Z33 of proto/time.md.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, cast

from platemark import cbor, merkle
from platemark.errors import CborError, ProofError, StatementError, TimeStampError, UnprovenTimeError
from platemark.rungs import SHA512
from platemark.schema import array, blob, integer, record
from platemark.time_token import MAX_RESPONSE
from platemark.timestamp import verify_response

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from platemark.cbor import Value
    from platemark.schema import Check
    from platemark.timestamp import Authority, TimeStamp

__all__ = [
    "MAX_DATA",
    "MAX_PROOF",
    "Claim",
    "Proof",
    "Renewal",
    "Stamped",
    "acceptable",
    "claim",
    "decode_claim",
    "decode_data",
    "decode_proof",
    "encode_data",
    "prove",
    "verify_renewals",
]

MAX_DATA = 32768
"""Bytes of the `data` of a note (proto/statement.md section 5)."""
MAX_PROOF = 4 * 1024 * 1024
_MAX_CLAIM = 1024
_MAX_CRL, _MAX_CRLS, _MAX_STAMPS, _MAX_PATH = 1024 * 1024, 16, 8, 63
_crls = array(blob(1, _MAX_CRL), 0, _MAX_CRLS)
_claim = record(
    {
        "v": integer(1, 1),
        "hash": integer(SHA512, SHA512),
        "root": blob(64),
        "count": integer(1),
        "size": integer(1),
        "checkpoint": blob(64),
    }
)
_proof = record(
    {
        "v": integer(1, 1),
        "claim": blob(1, _MAX_CLAIM),
        "response": blob(1, MAX_RESPONSE),
        "crls": _crls,
        "index": integer(),
        "path": array(blob(64), 0, _MAX_PATH),
    }
)


@dataclass(frozen=True)
class Stamped:
    """A token with all that it takes to check it: the message it is over, the whole response, lists of the revoked.

    `message` is the log note of a published checkpoint of `size`, or the claim of an earlier renewal, which names a size.
    """

    size: int
    message: bytes
    response: bytes
    crls: tuple[bytes, ...] = ()

    @cached_property
    def leaf(self) -> bytes:
        """The leaf hash (64 bytes): SHA-512(00, CBOR[size, then SHA-512 of message, of response and of each list])."""
        parts = [_sha512(self.message), _sha512(self.response), [_list_digest(crl) for crl in self.crls]]
        return merkle.leaf_hash(cbor.encode([self.size, *parts]), algorithm="sha512")


@dataclass(frozen=True)
class Claim:
    """What a renewal says: these `count` tokens existed (`root`), and and this checkpoint."""

    root: bytes
    count: int
    size: int
    checkpoint: bytes

    def encode(self) -> bytes:
        """The bytes that are stamped."""
        return cbor.encode({"v": 1, "hash": SHA512, **vars(self)})


@dataclass(frozen=True)
class Renewal:
    """The `data` of a note of topic renewal: a claim as its bytes, and one or more (response, lists of the revoked)."""

    claim: bytes
    stamps: tuple[tuple[bytes, tuple[bytes, ...]], ...]

    def stamped(self) -> tuple[Stamped, ...]:
        """Its tokens, for the next renewal to cover. Raises TimeStampError."""
        size = decode_claim(self.claim).size
        return tuple(Stamped(size, self.claim, response, crls) for response, crls in self.stamps)


@dataclass(frozen=True)
class Proof:
    """That one token was covered by a renewal: the claim, a response over it, and the token's place under its root."""

    claim: bytes
    response: bytes
    crls: tuple[bytes, ...]
    index: int
    path: tuple[bytes, ...]

    def encode(self) -> bytes:
        """The bytes for an evidence bundle."""
        return cbor.encode({"v": 1, **vars(self)})


def claim(stamped: Iterable[Stamped], *, size: int, note: bytes) -> Claim:
    """The claim over `stamped`, at least one, and the log note of the newest checkpoint, which has `size`.

    The order of `stamped` does not matter, and a repeated token counts once. Raises TimeStampError: none, or one of a
    greater size.
    """
    leaves, greatest = set(), 0
    for each in stamped:
        leaves.add(each.leaf)
        greatest = max(greatest, each.size)
    if not leaves:
        raise TimeStampError("renewal", "there is no time stamp to renew")
    if greatest > size:
        raise TimeStampError("renewal", f"a time stamp of size {greatest}, and the newest checkpoint has {size}")
    root = merkle.root(sorted(leaves), algorithm="sha512")
    return Claim(root, len(leaves), size, _sha512(note))


def prove(stamped: Iterable[Stamped], one: Stamped, *, renewal: Renewal, stamp: int = 0) -> Proof:
    """That `renewal`, made over `stamped`, covers `one`; with the renewal's response number `stamp`.

    The proof is checked before it is returned. Raises TimeStampError: `one` is not among them, or they are others.
    """
    leaves = sorted({each.leaf for each in stamped})
    if one.leaf not in leaves:
        raise TimeStampError("renewal", "it does not cover this time stamp")
    index = leaves.index(one.leaf)
    path = tuple(merkle.inclusion_path(leaves, index, algorithm="sha512"))
    response, crls = renewal.stamps[stamp]
    proof = Proof(renewal.claim, response, crls, index, path)
    _covered(one, proof, decode_claim(renewal.claim), "renewal")
    return proof


def verify_renewals(
    first: Stamped, stamp: TimeStamp, proofs: Sequence[Proof], *, authorities: Sequence[Authority]
) -> tuple[TimeStamp, ...]:
    """`stamp`, which `first` was verified to be, and the stamp of each renewal, the last of which `acceptable` looks at.

    Every proof covers the token before it, under SHA-512, by a trusted authority, at a time when the algorithms of that
    token were all still acceptable. Raises TimeStampError, or UnprovenTimeError, naming the renewal.
    """
    stamps, current = [stamp], first
    for index, proof in enumerate(proofs):
        field = f"renewal[{index}]"
        made = decode_claim(proof.claim, field=f"{field}.claim")
        _covered(current, proof, made, field)
        try:
            later = verify_response(proof.response, message=proof.claim, authorities=authorities, crls=proof.crls)
        except TimeStampError as error:
            raise type(error)(f"{field}.{error.field}", error.reason) from None
        _in_time(stamps[-1], later, field)
        stamps.append(later)
        current = Stamped(made.size, proof.claim, proof.response, proof.crls)
    return tuple(stamps)


def acceptable(stamps: Sequence[TimeStamp], at: int) -> bool:
    """Whether what `verify_renewals` returned still stands at `at` (Unix ns): the newest token's algorithms do."""
    until = stamps[-1].acceptable_until
    return until is None or at <= until


def encode_data(renewal: Renewal) -> bytes:
    """The `data` of the note. Raises TimeStampError for more than 32768 bytes and for what `decode_data` refuses."""
    stamps = [[response, list(crls)] for response, crls in renewal.stamps]
    data = cbor.encode({"v": 1, "claim": renewal.claim, "stamps": stamps})
    decode_data(data)
    return data


def decode_data(data: bytes) -> Renewal:
    """The renewal in the `data` of a note; its claim is well formed. Raises TimeStampError."""
    body = _decoded(data, _data, MAX_DATA, "data")
    whole = cast("bytes", body["claim"])
    decode_claim(whole, field="data.claim")
    stamps = cast("list[tuple[bytes, list[bytes]]]", body["stamps"])
    return Renewal(whole, tuple((response, tuple(crls)) for response, crls in stamps))


def decode_claim(data: bytes, *, field: str = "claim") -> Claim:
    """The claim in `data`. Raises TimeStampError."""
    body = _decoded(data, _claim, _MAX_CLAIM, field)
    return Claim(
        root=cast("bytes", body["root"]),
        count=cast("int", body["count"]),
        size=cast("int", body["size"]),
        checkpoint=cast("bytes", body["checkpoint"]),
    )


def decode_proof(data: bytes) -> Proof:
    """The proof in `data`. Raises TimeStampError."""
    body = _decoded(data, _proof, MAX_PROOF, "renewal")
    return Proof(
        claim=cast("bytes", body["claim"]),
        response=cast("bytes", body["response"]),
        crls=tuple(cast("list[bytes]", body["crls"])),
        index=cast("int", body["index"]),
        path=tuple(cast("list[bytes]", body["path"])),
    )


def _covered(one: Stamped, proof: Proof, made: Claim, field: str) -> None:
    if one.size > made.size:
        raise TimeStampError(f"{field}.claim.size", f"{made.size}, below the size {one.size} of what it renews")
    try:
        root = merkle.root_from_inclusion(
            index=proof.index, size=made.count, leaf_hash=one.leaf, path=proof.path, algorithm="sha512"
        )
    except ProofError as error:
        raise TimeStampError(f"{field}.path", error.reason) from None
    if not hmac.compare_digest(root, made.root):
        raise TimeStampError(f"{field}.path", "leads to another root: this time stamp is not among those renewed")


def _in_time(earlier: TimeStamp, later: TimeStamp, field: str) -> None:
    if later.hash_algorithm != "SHA-512":
        raise TimeStampError(f"{field}.tstInfo.messageImprint", "a renewal is stamped under SHA-512")
    if later.time_ns < earlier.time_ns:
        raise TimeStampError(f"{field}.genTime", "before the time stamp that it renews")
    if earlier.acceptable_until is not None and later.latest_ns > earlier.acceptable_until:
        raise UnprovenTimeError(f"{field}.genTime", "too late: an algorithm of what it renews was no longer acceptable")


def _stamp(value: Value, field: str) -> None:
    if not isinstance(value, list) or len(value) != 2:
        raise StatementError(field, "not a response and a list of lists of revoked certificates")
    blob(1, MAX_DATA)(value[0], f"{field}[0]")
    _crls(value[1], f"{field}[1]")


_data = record({"v": integer(1, 1), "claim": blob(1, _MAX_CLAIM), "stamps": array(_stamp, 1, _MAX_STAMPS)})


def _decoded(data: bytes, check: Check, most: int, field: str) -> dict[str, Value]:
    if len(data) > most:
        raise TimeStampError(field, f"{len(data)} bytes, more than {most}")
    try:
        value = cbor.decode(data)
        check(value, field)
    except (CborError, StatementError) as error:
        raise TimeStampError(error.field if isinstance(error, StatementError) else field, str(error.reason)) from None
    return cast("dict[str, Value]", value)


@lru_cache(maxsize=16)
def _list_digest(crl: bytes) -> bytes:
    """Remembered, because thousands of stamps come with the same list, which may be large."""
    return _sha512(crl)


def _sha512(data: bytes) -> bytes:
    return hashlib.sha512(data).digest()
