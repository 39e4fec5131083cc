"""The signed statement: an RFC 9943 Signed Statement in strict COSE_Sign1 with a payload of one of ten kinds.

`decode` accepts exactly what proto/statement.md accepts, so whatever it returns is well formed; whose signature it is
and whether that key may say it are questions for the verifier and for the ledger's admission. No input or output.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

from platemark import cbor, cose
from platemark.errors import CborError, CoseError, SignatureError, StatementError, UnknownKindError
from platemark.keys import load_public
from platemark.kinds import CHAINED, KINDS, LOG_BOUND, TIME_FIELD
from platemark.schema import blob, shorten, subject, uri

if TYPE_CHECKING:
    from platemark.cbor import Value
    from platemark.keys import Signer, Verifier

__all__ = ["MAX_STATEMENT", "Statement", "build", "content_type", "decode", "enrolment_proof_input", "policy_issuer"]

MAX_STATEMENT = 60 * 1024
_PREFIX, _SUFFIX = "application/vnd.platemark.", "+cbor"
_HEADER = {cose.ALG, cose.CONTENT_TYPE, cose.KID, cose.CWT_CLAIMS}


@dataclass(frozen=True)
class Statement:
    """A well-formed statement. `raw` is the COSE_Sign1 as received; two raws with one id are the same statement."""

    raw: bytes
    message: cose.Sign1
    kind: str
    issuer: str
    subject: str
    kid: bytes
    payload: Mapping[str, Value]

    @property
    def id(self) -> bytes:
        """SHA-256 of the Sig_structure, 32 bytes."""
        return self.message.id

    @cached_property
    def entry(self) -> bytes:
        """SHA-256 of `raw`, 32 bytes: the log entry of the first accepted bytes."""
        return hashlib.sha256(self.raw).digest()

    @property
    def alg(self) -> int:
        """The COSE algorithm."""
        return self.message.alg

    @property
    def epoch(self) -> int | None:
        """The epoch of the key's chain; None for a policy."""
        return cast("int | None", self.payload.get("epoch"))

    @property
    def seq(self) -> int | None:
        """The place in the epoch, from 0; None for a policy."""
        return cast("int | None", self.payload.get("seq"))

    @property
    def prev(self) -> bytes | None:
        """The id of this key's previous statement; None at the start of an epoch and for a policy."""
        return cast("bytes | None", self.payload.get("prev")) if self.kind in CHAINED else None

    @property
    def time(self) -> int | None:
        """The statement's own stated time, Unix nanoseconds; None for a policy."""
        return cast("int", self.payload[TIME_FIELD[self.kind]]) if self.kind in CHAINED else None

    @property
    def log(self) -> bytes | None:
        """The log that a log-bound statement names; None for the others and for a policy of version 0."""
        return cast("bytes | None", self.payload.get("log")) if self.kind in LOG_BOUND else None

    def verify(self, verifier: Verifier) -> None:
        """Check kid, algorithm and signature. Raises SignatureError."""
        if verifier.kid != self.kid:
            raise SignatureError("the statement names another key")
        try:
            self.message.verify(verifier)
        except CoseError as error:
            raise SignatureError(str(error)) from None


def content_type(kind: str) -> str:
    """The content type of a kind."""
    return f"{_PREFIX}{kind}{_SUFFIX}"


def policy_issuer(origin: str) -> str:
    """The issuer that policy and log keys use: the log's origin as a URI."""
    return f"https://{origin}"


def enrolment_proof_input(*, log: bytes, device: str, role: str) -> bytes:
    """What the new key signs to show that its holder asked for this enrolment."""
    return cbor.encode(["platemark enrol v1", log, device, role])


def build(kind: str, payload: Mapping[str, Value], *, signer: Signer, issuer: str, subject: str | None = None) -> bytes:
    """A signed statement, checked as `decode` checks it. `v` is added. Raises StatementError, TypeError for no kind."""
    body = {"v": 1, **payload}
    header: dict[int | str, Value] = {
        cose.CONTENT_TYPE: content_type(kind),
        cose.KID: signer.kid,
        cose.CWT_CLAIMS: {1: issuer, 2: subject or f"urn:uuid:{uuid.uuid4()}"},
    }
    check_payload(kind, body)
    try:
        _header({**header, cose.ALG: signer.alg})
    except CoseError as error:
        raise StatementError(error.field, error.reason) from None
    try:
        raw = cose.sign(header, cbor.encode(body), signer)
    except CborError as error:
        raise StatementError("payload", str(error)) from None
    return decode(raw).raw


def decode(data: bytes) -> Statement:
    """The statement in `data`. Raises CoseError or StatementError naming the field; UnknownKindError for news."""
    if len(data) > MAX_STATEMENT:
        raise StatementError("statement", f"{len(data)} bytes, more than {MAX_STATEMENT}")
    message = cose.decode(data)
    kind, kid, issuer, about = _header(message.protected)
    try:
        payload = cbor.decode(message.payload)
    except CborError as error:
        raise StatementError("payload", str(error)) from None
    if not isinstance(payload, dict):
        raise StatementError("payload", "not a map")
    check_payload(kind, payload)
    return Statement(data, message, kind, issuer, about, kid, cast("Mapping[str, Value]", payload))


def check_payload(kind: str, payload: Mapping[int | str, Value] | Mapping[str, Value]) -> None:
    """Check a payload against its kind. Raises StatementError, UnknownKindError."""
    version = payload.get("v")
    if isinstance(version, bool) or not isinstance(version, int):
        raise StatementError("payload.v", "missing or not an integer")
    if version != 1:
        raise UnknownKindError("payload.v", f"version {version} is not known to this release")
    if kind not in KINDS:
        raise UnknownKindError("protected.3", f"kind {shorten(kind)} is not known to this release")
    KINDS[kind](cast("Value", dict(payload)), "payload")
    _check_together(kind, cast("Mapping[str, Value]", payload))


def _header(protected: Mapping[int | str, Value]) -> tuple[str, bytes, str, str]:
    for label in protected:
        if label not in _HEADER:
            raise CoseError(f"protected.{shorten(label)}", "unknown header parameter")
    for label in sorted(_HEADER):
        if label not in protected:
            raise CoseError(f"protected.{label}", "missing")
    claims = protected[cose.CWT_CLAIMS]
    if not isinstance(claims, dict) or set(claims) != {1, 2}:
        raise CoseError("protected.15", "not a map of exactly iss (1) and sub (2)")
    kid = protected[cose.KID]
    try:
        blob(32)(kid, "protected.4")
        uri(claims[1], "protected.15.1")
        subject(claims[2], "protected.15.2")
    except StatementError as error:
        raise CoseError(error.field, error.reason) from None
    return _kind(protected[cose.CONTENT_TYPE]), cast("bytes", kid), cast("str", claims[1]), cast("str", claims[2])


def _kind(value: Value) -> str:
    if not isinstance(value, str) or not (value.startswith(_PREFIX) and value.endswith(_SUFFIX)):
        raise CoseError("protected.3", f"not a content type {_PREFIX}<kind>{_SUFFIX}")
    return value[len(_PREFIX) : -len(_SUFFIX)]


def _check_together(kind: str, payload: Mapping[str, Value]) -> None:
    """The rules that span two fields (T1 to T7 of proto/statement.md section 5)."""
    if kind in CHAINED and (payload["seq"] == 0) != (payload["prev"] is None):
        raise StatementError("payload.prev", "null exactly at seq 0")
    if kind == "capture":
        digests = cast("dict[str, Value]", payload["digests"])
        framed = "pixels" in digests or "codestream" in digests
        if framed != ("frames" in payload):
            raise StatementError("payload.frames", "present exactly with a pixels or codestream digest")
    elif kind == "segment":
        _ordered(payload, "first", "last")
    elif kind == "heartbeat":
        _ordered(payload, "since", "at")
    elif kind == "enrol":
        _ordered(payload, "not_before", "not_after")
        _check_enrolment(payload)
    elif kind == "policy":
        _check_policy(payload)


def _ordered(payload: Mapping[str, Value], low: str, high: str, *, field: str = "payload") -> None:
    if cast("int", payload[low]) > cast("int", payload[high]):
        raise StatementError(f"{field}.{low}", f"later than {high}")


def _check_enrolment(payload: Mapping[str, Value]) -> None:
    proven = enrolment_proof_input(
        log=cast("bytes", payload["log"]), device=cast("str", payload["device"]), role=cast("str", payload["role"])
    )
    try:
        load_public(cast("bytes", payload["key"])).verify(proven, cast("bytes", payload["proof"]))
    except SignatureError as error:
        raise StatementError("payload.proof", error.reason) from None


def _check_policy(payload: Mapping[str, Value]) -> None:
    first = payload["version"] == 0
    for name in ("log", "prev"):
        if (payload[name] is None) != first:
            raise StatementError(f"payload.{name}", "null exactly at version 0")
    keys = cast("list[bytes]", payload["keys"])
    if cast("int", payload["threshold"]) > len(keys):
        raise StatementError("payload.threshold", f"above the {len(keys)} policy keys")
    registrars = cast("list[dict[str, Value]]", payload["registrars"])
    for index, registrar in enumerate(registrars):
        _ordered(registrar, "not_before", "not_after", field=f"payload.registrars[{index}]")
    named = [*keys, *cast("list[bytes]", payload["log_keys"]), *(cast("bytes", each["key"]) for each in registrars)]
    if len(set(named)) != len(named):
        raise StatementError("payload.keys", "one key is named for two purposes")
