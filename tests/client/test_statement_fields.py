"""Every field of every kind, from the checks of platemark.kinds themselves: what it refuses and by which name.

The rows are made by walking the checks, so a field that is added is tested the same day, and one that is changed or
removed shows in the frozen table at the end.
"""

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from builders import key
from examples import FULL, OPTIONAL, minimal
from platemark.errors import StatementError
from platemark.kinds import KINDS, SIGNERS
from platemark.rungs import RUNGS
from platemark.schema import Check
from platemark.statement import check_payload
from strategies import check_name, check_parts

Path = tuple[str | int, ...]
# One value of every type that CBOR can say, none of which is valid by luck.
SAMPLES: dict[str, Any] = {
    "null": None,
    "true": True,
    "integer": -1,
    "text": "\u2603",
    "bytes": b"\x00\x01\x02",
    "array": ["\u2603"],
    "map": {"\u2603": 1},
}


def _walk(check: Check, path: Path) -> Iterator[tuple[Path, Check]]:
    """Every check and the path of its value in the full example."""
    yield path, check
    name, parts = check_name(check), check_parts(check)
    if name == "record":
        for field, inner in parts["known"].items():
            yield from _walk(inner, (*path, field))
    elif name == "nullable":
        yield from _walk(parts["check"], path)
    elif name == "array":
        yield from _walk(parts["item"], (*path, 0))
    elif name == "each_ascending":
        yield from _walk(check_parts(parts["inner"])["item"], (*path, 0))


CHECKS: list[tuple[str, Path, Check]] = [
    (kind, path, inner) for kind in KINDS for path, inner in _walk(KINDS[kind], ())
]


def _shown(path: Path) -> str:
    """The path as errors print it: payload.registrars[0].key."""
    return "payload" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)


def _full(kind: str) -> dict[str, Any]:
    return {"v": 1, **copy.deepcopy(FULL[kind])}


def _place(payload: dict[str, Any], path: Path) -> tuple[Any, Any]:
    """The container of the value at `path`, and the value's name or index in it."""
    inside: Any = payload
    for part in path[:-1]:
        inside = inside[part]
    return inside, path[-1]


def _set(kind: str, path: Path, value: Any) -> dict[str, Any]:
    payload = _full(kind)
    inside, name = _place(payload, path)
    inside[name] = value
    return payload


def _get(kind: str, path: Path) -> Any:
    inside, name = _place(_full(kind), path)
    return inside[name]


def _refused(kind: str, payload: dict[str, Any], field: str, reason: str = "") -> None:
    with pytest.raises(StatementError, match=re.escape(reason) if reason else None) as caught:
        check_payload(kind, payload)
    assert caught.value.field == field


def _ids(rows: list[tuple[Any, ...]]) -> list[str]:
    return [" ".join([row[0], _shown(row[1]), *(str(part) for part in row[2:-1])]) for row in rows]


@pytest.mark.parametrize("kind", KINDS)
def test_the_examples_are_complete_and_accepted(kind: str) -> None:
    """The full example has every field that the checks know, but for the rungs that exclude each other."""
    check_payload(kind, _full(kind))
    check_payload(kind, {"v": 1, **minimal(kind)})
    known, required = check_parts(KINDS[kind])["known"], check_parts(KINDS[kind])["required"]
    assert {"v", *FULL[kind]} == set(known)
    assert {"v", *minimal(kind)} == set(required)


# --- missing and unknown --------------------------------------------------------------------------

RECORDS = [(kind, path, check) for kind, path, check in CHECKS if check_name(check) == "record"]
MISSING = [
    (kind, (*path, field), check)
    for kind, path, check in RECORDS
    for field in check_parts(check)["required"]
    if (*path, field) != ("v",)
]


@pytest.mark.parametrize("row", MISSING, ids=_ids(MISSING))
def test_a_missing_field_is_named(row: tuple[str, Path, Check]) -> None:
    """Every required field, at every depth."""
    kind, path, _ = row
    payload = _full(kind)
    inside, name = _place(payload, path)
    del inside[name]
    _refused(kind, payload, _shown(path), "missing")


@pytest.mark.parametrize("row", RECORDS, ids=_ids(RECORDS))
@pytest.mark.parametrize("name", ["more", "V", "", 1, -1, "\u2603"], ids=repr)
def test_an_unknown_field_is_named(row: tuple[str, Path, Check], name: str | int) -> None:
    """A field that nobody knows is refused in every map, at every depth, whatever its name."""
    kind, path, _ = row
    payload = _full(kind)
    inside: Any = payload
    for part in path:
        inside = inside[part]
    inside[name] = 1
    _refused(kind, payload, f"{_shown(path)}.{name}", "unknown field")


def test_optional_fields_may_be_absent_one_by_one() -> None:
    """Each optional field is optional by itself."""
    for kind, names in OPTIONAL.items():
        for name in names:
            payload = _full(kind)
            del payload[name]
            check_payload(kind, payload)


# --- types and ranges -----------------------------------------------------------------------------

_ACCEPTS: dict[str, set[str]] = {
    "integer": {"integer"},
    "blob": {"bytes"},
    "key": {"bytes"},
    "text": {"text"},
    "matching": {"text"},
    "uri": {"text"},
    "choice": {"text"},
    "array": {"array"},
    "each_ascending": {"array"},
    "record": {"map"},
    "_digests": {"map"},
}
TYPES = [
    (kind, path, sample, check)
    for kind, path, check in CHECKS
    if path and path != ("v",) and check_name(check) != "nullable"
    for sample in SAMPLES
    if sample not in _ACCEPTS[check_name(check)]
]


@pytest.mark.parametrize("row", TYPES, ids=_ids(TYPES))
def test_a_value_of_another_type_is_named(row: tuple[str, Path, str, Check]) -> None:
    """Every field refuses every other CBOR type by name; null is another type unless the field is nullable."""
    kind, path, sample, _ = row
    nullable = any((other, where) == (kind, path) and check_name(each) == "nullable" for other, where, each in CHECKS)
    if sample == "null" and nullable:
        return  # the rules between fields decide, see below
    _refused(kind, _set(kind, path, SAMPLES[sample]), _shown(path))


Wrong = Iterator[tuple[Any, str]]


def _wrong_integers(parts: Mapping[str, Any], _: Any) -> Wrong:
    yield parts["low"] - 1, "outside"
    yield parts["high"] + 1, "outside"


def _wrong_blobs(parts: Mapping[str, Any], _: Any) -> Wrong:
    yield bytes(parts["low"] - 1), f"{parts['low'] - 1} bytes, not"
    yield bytes(parts["most"] + 1), f"{parts['most'] + 1} bytes, not"


def _wrong_texts(parts: Mapping[str, Any], _: Any) -> Wrong:
    yield "", "0 bytes of text"
    yield "t" * (parts["most"] + 1), f"{parts['most'] + 1} bytes of text"
    yield "\u00fc" * (parts["most"] // 2 + 1), "bytes of text"
    yield "\ud800", "a lone surrogate"
    for character in ("\x00", "\t", "\r", "\x1b", "\x7f", "\x85", "\x9f"):
        yield f"a{character}b", f"control character U+{ord(character):04X}"
    if not parts["lines"]:
        yield "a\nb", "control character U+000A"


def _wrong_words(parts: Mapping[str, Any], _: Any) -> Wrong:
    first = parts["words"][0]
    for word in ("", first.upper(), f"{first} ", " ".join(parts["words"])):
        yield word, "is not one of"


def _wrong_uris(_: Mapping[str, Any], _good: Any) -> Wrong:
    for wrong in ("", "hospital.example", "https:", "https://h h", "https://\u00fc", "https://" + "h" * 248):
        yield wrong, "not an absolute URI"


def _wrong_keys(_: Mapping[str, Any], good: bytes) -> Wrong:
    for spki in (b"", good + b"\x00", good[:-1]):
        yield spki, "not the SubjectPublicKeyInfo"


def _wrong_arrays(parts: Mapping[str, Any], good: list[Any]) -> Wrong:
    limits = check_parts(parts["inner"]) if "inner" in parts else parts
    if limits["low"]:
        yield good[: limits["low"] - 1], "items, not"
    yield (good * (limits["high"] + 1))[: limits["high"] + 1], "items, not"


# By the maker in platemark.schema: values just outside what a check allows, and the reason that the error gives.
WRONG: dict[str, Callable[[Mapping[str, Any], Any], Wrong]] = {
    "integer": _wrong_integers,
    "blob": _wrong_blobs,
    "text": _wrong_texts,
    "choice": _wrong_words,
    "uri": _wrong_uris,
    "key": _wrong_keys,
    "array": _wrong_arrays,
    "each_ascending": _wrong_arrays,
}
RANGES = [
    (kind, path, number, value)
    for kind, path, check in CHECKS
    if path and path != ("v",) and check_name(check) in WRONG
    for number, value in enumerate(WRONG[check_name(check)](check_parts(check), _get(kind, path)))
]


@pytest.mark.parametrize("row", RANGES, ids=_ids(RANGES))
def test_a_value_out_of_range_is_named(row: tuple[str, Path, int, tuple[Any, str]]) -> None:
    """Just below, just above, of the right type and of the wrong form: refused, with field and reason."""
    kind, path, _, (value, reason) = row
    _refused(kind, _set(kind, path, value), _shown(path), reason)


EDGES = [
    (kind, path, edge, check)
    for kind, path, check in CHECKS
    if path and path != ("v",) and check_name(check) in {"integer", "blob", "text"}
    for edge in ("low", "high")
]
# Where an edge contradicts another field, the rules between fields say so (tested below).
_TIED = {
    *((kind, "seq") for kind in KINDS),
    *(("segment", name) for name in ("first", "last")),
    *(("heartbeat", name) for name in ("since", "at")),
    *(("enrol", name) for name in ("not_before", "not_after", "proof", "log")),
    *(("policy", name) for name in ("not_before", "not_after", "threshold", "version")),
}


@pytest.mark.parametrize("row", EDGES, ids=_ids(EDGES))
def test_the_edges_of_a_range_are_accepted(row: tuple[str, Path, str, Check]) -> None:
    """The least and the greatest integer, the shortest and the longest string."""
    kind, path, edge, check = row
    if (kind, path[-1]) in _TIED:
        return
    parts = check_parts(check)
    if check_name(check) == "integer":
        value: Any = parts[edge]
    elif check_name(check) == "blob":
        value = b"\x00" * parts["low" if edge == "low" else "most"]
    else:
        value = "t" * (1 if edge == "low" else parts["most"])
    check_payload(kind, _set(kind, path, value))


ASCENDING = [(kind, path, check) for kind, path, check in CHECKS if check_name(check) == "each_ascending"]


@pytest.mark.parametrize("row", ASCENDING, ids=_ids(ASCENDING))
def test_a_set_has_one_order(row: tuple[str, Path, Check]) -> None:
    """Reversed or repeated items are refused: a set of ids or keys has one form."""
    kind, path, _ = row
    good = _get(kind, path)
    two = good if len(good) > 1 else sorted([*good, key("another").spki])
    _refused(kind, _set(kind, path, two[::-1]), _shown(path), "strictly ascending")
    _refused(kind, _set(kind, path, [two[0], two[0]]), _shown(path), "strictly ascending")


MEDIA = [
    "",
    "dicom",
    "application/",
    "/dicom",
    "Application/dicom",
    "application/dicom;v=1",
    "a/b/c",
    "a/b ",
    "a/\u00fc",
]


@pytest.mark.parametrize("media", [*MEDIA, "a/" + "b" * 126])
def test_a_media_type_has_one_form(media: str) -> None:
    """Two words in lower case, at most 127 characters, without parameters."""
    _refused("capture", _set("capture", ("media",), media), "payload.media", "not a media type")


ORIGINS = ["", "ledger example", "ledger+a", 'a"b', "a\\b", "ledger.example/\u00fc", "a\nb", "o" * 248]


@pytest.mark.parametrize("origin", ORIGINS)
def test_an_origin_has_one_form(origin: str) -> None:
    """A schema-less URL that fits a note key name, a TOML string and, after https://, an issuer."""
    _refused("policy", _set("policy", ("origin",), origin), "payload.origin", "not a schema-less URL")


# --- digests --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["capture", "segment", "custody"])
def test_digests_have_sha256_always_and_only_known_algorithms(kind: str) -> None:
    """T3, for every kind that has digests."""
    rung = "messages" if kind == "segment" else "file"
    field = f"payload.digests.{rung}"
    sha256, sha512 = bytes(32), bytes(64)
    faults: list[tuple[Any, str]] = [
        ({}, f"{field}.-16"),
        ({-44: sha512}, f"{field}.-16"),
        ({-16: sha256[:31]}, f"{field}.-16"),
        ({-16: sha256 + b"\x00"}, f"{field}.-16"),
        ({-16: "0" * 32}, f"{field}.-16"),
        ({-16: sha256, -44: sha512[:63]}, f"{field}.-44"),
        ({-16: sha256, -44: None}, f"{field}.-44"),
        ({-16: sha256, -43: bytes(48)}, f"{field}.-43"),
        ({-16: sha256, "SHA-512": sha512}, f"{field}.SHA-512"),
        (None, field),
        (sha256, field),
    ]
    for digest, where in faults:
        _refused(kind, _set(kind, ("digests",), {rung: digest} | _framed(kind)), where)


def _framed(kind: str) -> dict[str, Any]:
    """The full capture has frames, so it keeps its pixels."""
    return {"pixels": FULL["capture"]["digests"]["pixels"]} if kind == "capture" else {}


@pytest.mark.parametrize("kind", ["capture", "segment", "custody"])
def test_digests_are_of_the_rungs_that_the_kind_knows(kind: str) -> None:
    """No rung at all, one of another kind and one of nobody are refused."""
    allowed = {"capture": set(RUNGS) - {"messages"}, "segment": {"messages"}, "custody": {"file"}}[kind]
    _refused(kind, _set(kind, ("digests",), {}), "payload.digests", "no digest")
    for rung in (set(RUNGS) | {"thumbnail"}) - allowed:
        _refused(kind, _set(kind, ("digests",), {rung: {-16: bytes(32)}}), f"payload.digests.{rung}", "unknown field")


# --- rules between fields -------------------------------------------------------------------------

_PROOF_KEY = FULL["enrol"]["key"]
TOGETHER: list[tuple[str, str, dict[str, Any], str, str]] = [
    *((kind, "prev without seq", {"seq": 0}, "payload.prev", "null exactly at seq 0") for kind in SIGNERS),
    *((kind, "seq without prev", {"prev": None}, "payload.prev", "null exactly at seq 0") for kind in SIGNERS),
    ("capture", "pixels without frames", {"frames": ...}, "payload.frames", "present exactly"),
    ("capture", "frames without pixels", {"digests": {"file": {-16: bytes(32)}}}, "payload.frames", "present exactly"),
    (
        "capture",
        "pixels and codestream",
        {"digests": {"pixels": {-16: bytes(32)}, "codestream": {-16: bytes(32)}}},
        "payload.digests",
        "exclude each other",
    ),
    ("segment", "last before first", {"first": 2, "last": 1}, "payload.first", "later than last"),
    ("heartbeat", "at before since", {"since": 2, "at": 1}, "payload.since", "later than at"),
    ("enrol", "ends before it begins", {"not_before": 2, "not_after": 1}, "payload.not_before", "later than not_after"),
    ("enrol", "proof for another log", {"log": bytes(32)}, "payload.proof", "does not verify"),
    ("enrol", "proof for another device", {"device": "https://hospital.example/dx2"}, "payload.proof", "not verify"),
    ("enrol", "proof for another role", {"role": "gateway"}, "payload.proof", "does not verify"),
    ("enrol", "proof by another key", {"key": key("mallory").spki}, "payload.proof", "does not verify"),
    ("enrol", "proof of zeros", {"proof": bytes(64)}, "payload.proof", "out of range"),
    ("enrol", "proof of another algorithm", {"proof": bytes(2420)}, "payload.proof", "64 bytes"),
    ("policy", "version 0 of a log", {"version": 0}, "payload.log", "null exactly at version 0"),
    ("policy", "version 0 with prev", {"version": 0, "log": None}, "payload.prev", "null exactly at version 0"),
    ("policy", "version 1 without log", {"log": None}, "payload.log", "null exactly at version 0"),
    ("policy", "version 1 without prev", {"prev": None}, "payload.prev", "null exactly at version 0"),
    ("policy", "threshold 3 of 2", {"threshold": 3}, "payload.threshold", "above the 2 policy keys"),
    (
        "policy",
        "a registrar's dates",
        {"registrars": [{**FULL["policy"]["registrars"][0], "not_before": 2, "not_after": 1}]},
        "payload.registrars[0].not_before",
        "later than not_after",
    ),
    (
        "policy",
        "a policy key as log key",
        {"log_keys": [FULL["policy"]["keys"][0]]},
        "payload.keys",
        "named for two purposes",
    ),
    (
        "policy",
        "a log key as registrar",
        {"registrars": [{**FULL["policy"]["registrars"][0], "key": FULL["policy"]["log_keys"][0]}]},
        "payload.keys",
        "named for two purposes",
    ),
    (
        "policy",
        "a registrar twice",
        {"registrars": FULL["policy"]["registrars"] * 2},
        "payload.keys",
        "named for two purposes",
    ),
]
TOGETHER = [row for row in TOGETHER if (row[0], row[1][:4]) not in {("policy", "prev"), ("policy", "seq ")}]


@pytest.mark.parametrize("row", TOGETHER, ids=[f"{row[0]}: {row[1]}" for row in TOGETHER])
def test_fields_that_contradict_each_other_are_named(row: tuple[str, str, dict[str, Any], str, str]) -> None:
    """T1, T3, T5 and T6; `...` takes the field away."""
    kind, _, changes, field, reason = row
    payload = _full(kind) | changes
    _refused(kind, {name: value for name, value in payload.items() if value is not ...}, field, reason)


def test_equal_times_are_in_order() -> None:
    """A segment of one message and a validity of one nanosecond are fine."""
    check_payload("segment", _full("segment") | {"first": 5, "last": 5})
    check_payload("heartbeat", _full("heartbeat") | {"since": 5, "at": 5})
    check_payload("enrol", _full("enrol") | {"not_before": 5, "not_after": 5})


# --- frozen ---------------------------------------------------------------------------------------

_CHAINED = "v epoch seq prev"
_LOGGED = f"{_CHAINED} at log"
FROZEN: dict[str, tuple[str, str]] = {
    # kind: required fields, optional fields
    "capture": (
        f"{_CHAINED} captured clock media digests attributes origin",
        "frames tiles parents meaning watermark",
    ),
    "segment": (f"{_CHAINED} recording topic number window_ns first last count bytes clock digests", ""),
    "heartbeat": (f"{_CHAINED} at since clock", ""),
    "attest": (f"{_LOGGED} of meaning", "attributes"),
    "custody": (f"{_LOGGED} of event", "attributes digests"),
    "note": (f"{_LOGGED} topic text", "of data"),
    "enrol": (f"{_LOGGED} device key role not_before not_after attributes proof", ""),
    "revoke": (f"{_LOGGED} kid reason effective", ""),
    "policy": (
        "v version origin log prev keys threshold log_keys registrars limits",
        "witness_policy predecessor",
    ),
    "keystate": (f"{_LOGGED} size root count", ""),
}


def test_the_fields_of_version_1_are_frozen() -> None:
    """Statements outlive releases: a field of version 1 is never added, removed or made optional."""
    found = {}
    for kind, check in KINDS.items():
        known, required = check_parts(check)["known"], check_parts(check)["required"]
        found[kind] = (set(required), set(known) - set(required))
    assert found == {
        kind: (set(required.split()), set(optional.split())) for kind, (required, optional) in FROZEN.items()
    }


def test_a_foreign_hash_algorithm_is_named_briefly_and_harmlessly() -> None:
    """Its name is the writer's own and goes to logs and terminals: it is short and holds nothing that they obey."""
    payload: dict[str, Any] = copy.deepcopy({"v": 1, **minimal("capture")})
    payload["digests"]["file"]["\x1b[2J\u202e" + "x" * 60_000] = b""
    with pytest.raises(StatementError, match="unknown hash algorithm") as caught:
        check_payload("capture", payload)
    assert caught.value.field.isprintable()
    assert len(caught.value.field) < 80
