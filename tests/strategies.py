"""Hypothesis strategies: values of the CBOR subset, trees, and payloads of every kind of statement.

Payloads are drawn from the checks of platemark.kinds themselves, so that a field added there is drawn here.
"""

import functools
import inspect
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

from hypothesis import strategies as st

from builders import Key, enrolment_proof, key
from platemark.cbor import MAX_DEPTH, Value
from platemark.kinds import CHAINED, KINDS
from platemark.schema import Check
from platemark.unicode14 import UNASSIGNED

__all__ = ["attribute_values", "cbor_values", "check_name", "check_parts", "leaf_hashes", "nfc_text", "payloads"]

Payload: TypeAlias = dict[str, Value]

_INTEGERS = st.one_of(
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.sampled_from(
        [edge + step for width in (8, 16, 32) for edge in (1 << width, -1 << width) for step in (-1, 0, 1)]
    ),
    st.integers(-30, 30),
)


def nfc_text(min_size: int = 0, max_size: int = 20) -> st.SearchStrategy[str]:
    """Text in NFC of code points that Unicode 14.0 assigns; the sizes are those before normalisation."""
    characters = st.characters(exclude_categories=["Cs"])
    return st.text(characters, min_size=min_size, max_size=max_size).map(_nfc)


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", UNASSIGNED.sub("\N{SNOWMAN}", text))


_KEYS = st.one_of(_INTEGERS, nfc_text(max_size=8))


def cbor_values(depth: int = MAX_DEPTH) -> st.SearchStrategy[Value]:
    """Any value that the subset can say, nested at most `depth` deep."""
    scalars: st.SearchStrategy[Any] = st.one_of(_INTEGERS, st.binary(max_size=40), nfc_text(), st.booleans(), st.none())
    if depth == 0:
        return scalars
    inner = st.deferred(lambda: cbor_values(depth - 1))
    return st.one_of(scalars, st.lists(inner, max_size=4), st.dictionaries(_KEYS, inner, max_size=4))


def leaf_hashes(min_size: int = 0, max_size: int = 80) -> st.SearchStrategy[list[bytes]]:
    """The leaf hashes of a tree."""
    return st.lists(st.binary(min_size=32, max_size=32), min_size=min_size, max_size=max_size)


def attribute_values(kinds: Mapping[str, type]) -> st.SearchStrategy[dict[str, str | int | bytes | None]]:
    """Values for any of the attributes that `kinds` names."""
    by_type: dict[type, st.SearchStrategy[Any]] = {int: st.integers(-(1 << 63), (1 << 64) - 1), str: nfc_text()}
    optional = {name: st.one_of(st.none(), by_type[kind]) for name, kind in kinds.items()}
    return st.fixed_dictionaries({}, optional=cast("dict[str, st.SearchStrategy[str | int | bytes | None]]", optional))


# --- payloads from the checks of platemark.schema -----------------------------------------------


def check_name(check: Check) -> str:
    """The name of the maker in platemark.schema: `integer`, `blob`, `record`; `uri` and the like for plain functions."""
    return check.__qualname__.partition(".")[0]


def check_parts(check: Check) -> Mapping[str, Any]:
    """What the maker was given: `low` and `high`, `words`, `item`, `known`."""
    return inspect.getclosurevars(cast("Callable[..., object]", check)).nonlocals


def payloads(kind: str) -> st.SearchStrategy[Payload]:
    """Payloads of this kind that the ledger accepts."""
    return cast("st.SearchStrategy[Payload]", _drawn(KINDS[kind])).map(functools.partial(_agree, kind))


_IDS = st.binary(min_size=32, max_size=32)
_SIGNING_KEYS: list[Key] = [key(f"drawn {number}", "p256" if number % 2 else "ed25519") for number in range(8)]
_DIGEST = st.fixed_dictionaries({-16: _IDS}, optional={-44: st.binary(min_size=64, max_size=64)})
_MATCHING = {
    "a media type in lower case": st.from_regex(r"[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60}", fullmatch=True),
}
_ORIGINS = st.from_regex(r"[a-z0-9.]{1,40}(/[a-z0-9-]{1,20}){0,2}", fullmatch=True)


def _drawn(check: Check) -> st.SearchStrategy[Any]:
    """Values that `check` allows."""
    name, parts = check_name(check), check_parts(check)
    if name == "record":
        fields = {field: _drawn(inner) for field, inner in parts["known"].items()}
        required = parts["required"]
        return st.fixed_dictionaries(
            {field: drawn for field, drawn in fields.items() if field in required},
            optional={field: drawn for field, drawn in fields.items() if field not in required},
        )
    if name == "nullable":
        return st.one_of(st.none(), _drawn(parts["check"]))
    if name in {"array", "each_ascending"}:
        return _drawn_array(name, parts)
    if name == "_digests":
        rungs = sorted(check_parts(parts["fields"])["known"])
        return st.dictionaries(st.sampled_from(rungs), _DIGEST, min_size=1).map(_one_pixel_rung)
    return _drawn_scalar(name, parts)


def _drawn_array(name: str, parts: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    inner = check_parts(parts["inner"]) if name == "each_ascending" else parts
    drawn = st.lists(_drawn(inner["item"]), min_size=inner["low"], max_size=min(inner["high"], 4))
    if name == "array":
        return drawn
    return drawn.map(lambda items: sorted(set(items)))


def _drawn_scalar(name: str, parts: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    letters = st.characters(exclude_categories=["Cs", "Cc"])
    makers: dict[str, Callable[[], st.SearchStrategy[Any]]] = {
        "integer": lambda: st.integers(parts["low"], parts["high"]),
        "blob": lambda: st.binary(min_size=parts["low"], max_size=min(parts["most"], parts["low"] + 64)),
        # A character grows to twelve bytes at most when it is normalised and encoded.
        "text": lambda: st.text(letters, min_size=1, max_size=parts["most"] // 12).map(_nfc),
        "choice": lambda: st.sampled_from(parts["words"]),
        "matching": lambda: _MATCHING.get(parts["what"], _ORIGINS),
        "uri": lambda: st.from_regex(r"https://[a-z0-9.-]{1,40}(/[A-Za-z0-9._~-]{1,20}){0,3}", fullmatch=True),
        "key": lambda: st.sampled_from([each.spki for each in _SIGNING_KEYS]),
    }
    return makers[name]()


def _one_pixel_rung(digests: dict[str, Any]) -> dict[str, Any]:
    return {rung: digest for rung, digest in digests.items() if rung != "codestream" or "pixels" not in digests}


def _agree(kind: str, drawn: dict[str, Any]) -> dict[str, Any]:
    """The drawn payload, changed where two fields have to agree."""
    payload = dict(drawn)
    if kind in CHAINED:
        payload["prev"] = None if payload["seq"] == 0 else payload["prev"] or bytes(32)
    if kind == "capture":
        framed = bool({"pixels", "codestream"} & payload["digests"].keys())
        payload.pop("frames", None)
        payload |= {"frames": 1} if framed else {}
    for low, high in (("first", "last"), ("since", "at"), ("not_before", "not_after")):
        if low in payload and high in payload:
            payload[low], payload[high] = sorted((payload[low], payload[high]))
    if kind == "enrol":
        signer = next(each for each in _SIGNING_KEYS if each.spki == payload["key"])
        said = {name: payload[name] for name in ("log", "device", "role")}
        payload["proof"] = enrolment_proof(signer, **said)
    return _agree_policy(payload) if kind == "policy" else payload


def _agree_policy(payload: dict[str, Any]) -> dict[str, Any]:
    payload["threshold"] = min(payload["threshold"], len(payload["keys"]))
    for name in ("log", "prev"):
        payload[name] = None if payload["version"] == 0 else payload[name] or bytes(32)
    used = set(payload["keys"])
    payload["log_keys"] = [each for each in payload["log_keys"] if each not in used] or [key("drawn log").spki]
    used |= set(payload["log_keys"])
    registrars = {entry["key"]: entry for entry in payload["registrars"] if entry["key"] not in used}
    payload["registrars"] = [_ordered(entry) for entry in registrars.values()]
    return payload


def _ordered(entry: dict[str, Any]) -> dict[str, Any]:
    not_before, not_after = sorted((entry["not_before"], entry["not_after"]))
    return {**entry, "not_before": not_before, "not_after": not_after}
