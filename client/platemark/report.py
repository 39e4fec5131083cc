"""A verdict as text and as JSON. The first line is the result; nothing that was not proven is printed without a mark.

JSON is deterministic: the same evidence, trust, image and time give the same bytes. Rules J1 to J4 of
proto/evidence.md.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING

from platemark.comparison import DIFFERS, NOT_IN_FILE
from platemark.declared import is_synthetic, sentences
from platemark.instant import format_time
from platemark.verdict import DOES_NOT_MATCH, EVIDENCE_INVALID, FAIL, INCONCLUSIVE, MATCHES_RECORD, PASS

if TYPE_CHECKING:
    from platemark.verdict import Reference, Verdict

__all__ = ["NOT_PROVEN", "format_time", "json_ready", "json_text", "to_json", "to_text"]

_RECORD, _TRUST, _IMAGE, _HEADER = 1, 2, 14, 15
_SAFE_INTEGER = (1 << 53) - 1
# J1: DEL, the C1 controls, marks that reorder or end a line, invisible marks, surrogates. JSON escapes U+0000 to U+001F
# by itself. All are in the Basic Multilingual Plane, so that one \uXXXX is each.
_UNSHOWN = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]")
NOT_PROVEN = (
    "that the scene was real, that the right patient lay there, or that the device was honest",
    "that no other statement about this image exists, and that no later policy or revocation of the log was held back",
)
_ADVICE = {
    MATCHES_RECORD: "This image is the one that a known device registered, as far as the checks below go.",
    DOES_NOT_MATCH: "The evidence is sound, and this image is not the recorded one.",
    INCONCLUSIVE: "Not settled: a check that the result needs could not be made.",
    EVIDENCE_INVALID: "The evidence itself failed a check: do not rely on it.",
}
_FACT_TITLES = {
    "device": "device",
    "role": "enrolled as",
    "stated_time": "device clock",
    "clock": "clock source",
    "clock_error_ns": "clock error (ns)",
    "origin": "origin",
    "media": "media type",
    "meaning": "meaning",
    "parents": "parents",
    "frames": "frames",
    "frame": "frame shown",
    "log": "log",
    "log_id": "log id",
    "index": "leaf",
    "not_later_than": "not later than",
    "key_status_known_to": "key status as of",
    "log_size": "log size",
    "log_signatures": "signed with",
    "statement_id": "statement id",
    "kid": "key id",
}
_STANDS = {DIFFERS: "THE FILE SAYS OTHERWISE", NOT_IN_FILE: "the file does not say"}
_TIMES = {"stated_time", "not_later_than", "key_status_known_to"}


def json_ready(value: object) -> object:
    """The value in JSON's types: bytes as hex, integers above 2^53 - 1 as strings, tuples as lists."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _SAFE_INTEGER else str(value)
    if isinstance(value, dict):
        return {str(name): json_ready(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(each) for each in value]
    message = f"{type(value).__name__} has no JSON form"
    raise TypeError(message)


def json_text(value: object) -> str:
    """One JSON document: keys sorted, two spaces of indentation, UTF-8, and nothing that a terminal would act on (J1).

    Such characters, of J1's list, only ever occur within strings; there they are escaped, which JSON reads as the same.
    """
    text = json.dumps(json_ready(value), sort_keys=True, indent=2, ensure_ascii=False)
    return _UNSHOWN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def to_json(verdict: Verdict) -> str:
    """The verdict as one JSON object, keys sorted."""
    content = {
        "result": verdict.result,
        "exit_code": verdict.exit_code,
        "reason": verdict.reason,
        "rung": verdict.rung,
        "at": verdict.at,
        "checks": [
            {"number": check.number, "title": check.title, "status": check.status, "reason": check.reason}
            for check in verdict.checks
        ],
        "conditions_reported": verdict.conditions,
        "facts": dict(verdict.facts),
        "disclosed": dict(verdict.disclosed),
        "members_not_read": verdict.unread,
        "not_proven": NOT_PROVEN,
        **({"attributes": dict(verdict.attributes)} if verdict.attributes else {}),
        **({"object_says": dict(verdict.object_says)} if verdict.object_says else {}),
        **({"references": [_reference_object(each) for each in verdict.references]} if verdict.references else {}),
    }
    return json_text(content)


def to_text(verdict: Verdict) -> str:
    """The verdict for a person: result, reason, facts, disclosed attributes, checks, what is not proven."""
    lines = [verdict.result, _printable(verdict.reason), *_synthetic(verdict)]
    lines += ["", _ADVICE[verdict.result], *_hints(verdict)]
    if verdict.facts:
        lines += ["", "Signed and logged:"]
        lines += [
            f"  {_FACT_TITLES[name]:<18} {_fact(name, verdict)}" for name in _FACT_TITLES if name in verdict.facts
        ]
    if verdict.object_says:
        lines += ["", "The object says of itself (signed, not proven true):"]
        lines += [f"  {title:<18} {_printable(text)}" for title, text in sentences(verdict.object_says)]
    if verdict.conditions:
        lines += ["", f"Reported by the ledger, not proven here: {', '.join(verdict.conditions)}"]
    if verdict.disclosed:
        lines += ["", "Disclosed attributes (as the signer stated them):"]
        lines += [
            f"  {name:<28} {_printable(value)}{_mark(name, verdict)}" for name, value in verdict.disclosed.items()
        ]
    lines += _references(verdict)
    lines += ["", f"Checks (as of {format_time(verdict.at)}):"]
    lines += [
        f"  {check.number:>2} {check.title:<11} {check.status:<11} {_printable(check.reason)}"
        for check in verdict.checks
    ]
    if verdict.unread:
        lines += ["", f"Not read, of a later release: {', '.join(map(_printable, verdict.unread))}"]
    lines += ["", "Not proven:"] + [f"  {each}" for each in NOT_PROVEN]
    return "\n".join(lines) + "\n"


def _synthetic(verdict: Verdict) -> list[str]:
    """The one thing that must not be overlooked: the object, or the record of its pixels, calls itself artificial."""
    if is_synthetic(verdict.object_says):
        return ["", "!!! SYNTHETIC DATA: the object says of itself that its content was made artificially. !!!"]
    if is_synthetic(verdict.disclosed) and verdict.rung is not None:
        return [
            "",
            "!!! SYNTHETIC DATA: the record says that the content was made artificially; this file does not. !!!",
        ]
    return []


def _hints(verdict: Verdict) -> list[str]:
    """What to do about an INCONCLUSIVE result, and what stands in spite of it."""
    if verdict.result != INCONCLUSIVE:
        return []
    status = {check.number: check.status for check in verdict.checks}
    hints = []
    if status.get(_RECORD) == PASS and status.get(_TRUST) != PASS:
        hints.append("Give --trust FILE, a trust file from a source that you trust and that names this log.")
    if status.get(_IMAGE) == FAIL:
        hints.append("Whatever the log is: this image differs from what the evidence records (check 14).")
    elif status.get(_HEADER) == FAIL:
        hints.append("Whatever the log is: this image's header differs from what the evidence records (check 15).")
    return hints


def _mark(name: str, verdict: Verdict) -> str:
    """How the file stands to it; and nobody signs for the technologist but the technologist."""
    marks = [_STANDS[verdict.attributes[name]]] if verdict.attributes.get(name) in _STANDS else []
    if name in {"technologist", "technologist_id"}:
        marks.append("as stated, not signed by that person")
    return f" ({'; '.join(marks)})" if marks else ""


def _references(verdict: Verdict) -> list[str]:
    """What others signed about the record, and which of it is not relied on."""
    if not verdict.references:
        return []
    lines = ["", "Others signed about this record, each with evidence of its own:"]
    for each in verdict.references:
        where = "" if each.index is None else f", leaf {each.index}"
        lines.append(f"  {each.kind} {each.says:<12} by {_printable(each.by)}{where}")
        if each.fault is not None:
            lines.append(f"    NOT RELIED ON: {_printable(each.fault)}")
        if each.stated_time is not None:
            lines.append(f"    their clock      {format_time(each.stated_time)}")
        if each.text is not None:
            lines.append(f"    text             {_printable(each.text)}")
        lines += [f"    {name:<16} {_printable(value)}" for name, value in each.disclosed.items()]
    return lines


def _reference_object(reference: Reference) -> dict[str, object]:
    """For JSON (J6)."""
    return {name: value for name, value in asdict(reference).items() if value is not None and value != {}}


def _fact(name: str, verdict: Verdict) -> str:
    value = verdict.facts[name]
    if isinstance(value, tuple):
        return ", ".join(map(_printable, value))
    return format_time(value) if name in _TIMES and isinstance(value, int) else _printable(value)


def _printable(value: str | int | bytes | None) -> str:
    """A value on one line: whatever a signer put into it cannot move the cursor or fake a line of the report."""
    if value is None:
        return "(none in the object)"
    if isinstance(value, bytes):
        return value.hex()
    return "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in str(value))
