"""The assertion `org.platemark.proof`: a whole evidence bundle, and in words what it is evidence of.

Rules P1 to P5 of proto/c2pa.md. The words are for readers that know nothing of us; they must be those of the bundle.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import cast

from platemark import evidence, statement, tlog_proof
from platemark.errors import FormatError, ManifestError
from platemark.evidence import Evidence

__all__ = ["LABEL", "MAX_ASSERTION", "MAX_EVIDENCE", "Proof", "decode"]

LABEL = "org.platemark.proof"
MAX_EVIDENCE = 1 << 20
"""Bytes of the evidence bundle in an assertion."""
MAX_ASSERTION = 2 << 20
"""Bytes of the assertion's JSON."""
_WORDS = ("log", "log_id", "index", "statement_id")


@dataclass(frozen=True, slots=True)
class Proof:
    """The evidence and what it says of itself: the log's origin and id, the record's leaf and statement id (hex)."""

    evidence: Evidence
    log: str
    log_id: str
    index: int
    statement_id: str

    @classmethod
    def of(cls, held: Evidence) -> Proof:
        """The proof of a bundle. Raises ManifestError for one that names no log, or whose record is no capture."""
        try:
            record = statement.decode(held.record.statement)
            first = statement.decode(held.policies[0].statement) if held.policies else None
            index = tlog_proof.parse(held.record.proof).index
        except FormatError as error:
            raise ManifestError(f"evidence.{error.field}", error.reason) from None
        if first is None or first.kind != "policy":
            raise ManifestError("evidence.policy/0", "missing, or not a policy statement")
        if record.kind != "capture":
            raise ManifestError("evidence.statement.cose", f"a statement of kind {record.kind} records no picture")
        return cls(held, cast("str", first.payload["origin"]), first.id.hex(), index, record.id.hex())

    def data(self) -> dict[str, object]:
        """The assertion's JSON object. Raises ManifestError when the bundle is above the limit."""
        raw = self.evidence.to_bytes()
        if len(raw) > MAX_EVIDENCE:
            raise ManifestError("evidence", f"{len(raw)} bytes, and a manifest takes at most {MAX_EVIDENCE}")
        words = {name: getattr(self, name) for name in _WORDS}
        return {"v": 1, **words, "evidence": base64.b64encode(raw).decode("ascii")}


def decode(data: bytes) -> Proof:
    """The proof in an assertion's JSON; its evidence is read, not judged. Raises ManifestError, EvidenceError."""
    if len(data) > MAX_ASSERTION:
        raise ManifestError(LABEL, f"more than {MAX_ASSERTION} bytes")
    try:
        content = json.loads(data, object_pairs_hook=_once, parse_constant=_refuse, parse_float=_refuse)
    except (ValueError, RecursionError) as error:
        raise ManifestError(LABEL, f"not a JSON object of this format: {error}") from None
    if not isinstance(content, dict) or set(content) != {"v", *_WORDS, "evidence"}:
        raise ManifestError(LABEL, f"not an object of exactly v, {', '.join(_WORDS)} and evidence")
    if content["v"] != 1 or isinstance(content["v"], bool):
        raise ManifestError(f"{LABEL}.v", "not 1")
    text = content["evidence"]
    try:
        raw = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        raw = b""
    if not raw or base64.b64encode(raw).decode("ascii") != text:
        raise ManifestError(f"{LABEL}.evidence", "not base64 of an evidence bundle")
    if len(raw) > MAX_EVIDENCE:
        raise ManifestError(f"{LABEL}.evidence", f"more than {MAX_EVIDENCE} bytes")
    proof = Proof.of(evidence.from_bytes(raw))
    for name in _WORDS:
        said = content[name]
        if isinstance(said, bool) or said != getattr(proof, name):
            raise ManifestError(f"{LABEL}.{name}", "not what the evidence says")
    return proof


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a name stands twice")
    return content


def _refuse(text: str) -> object:
    raise ValueError(f"{text[:20]} is not a number of this format")
