"""How vectors say things in JSON: bytes as hex, values with their CBOR type, and the tables of the tests as they stand.

Nothing here is random: whoever runs the generator gets the same files.
"""

import functools
import importlib.util
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from platemark import cbor
from platemark.rungs import Measurement

__all__ = ["TESTS", "VECTORS", "dump", "measured", "table", "tagged", "unmeasured", "untagged"]

VECTORS = Path(__file__).parent
TESTS = VECTORS.parent


def tagged(value: Any) -> Any:
    """A CBOR value with its type: {"int": "1"}, {"bytes": "00"}, {"map": [[key, value] ...]} in bytewise order."""
    if isinstance(value, Mapping):
        return {"map": [[tagged(key), tagged(value[key])] for key in sorted(value, key=cbor.encode)]}
    if isinstance(value, (list, tuple)):
        return {"array": [tagged(item) for item in value]}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, int) and not isinstance(value, bool):
        return {"int": str(value)}
    return {{bool: "bool", str: "text", type(None): "null"}[type(value)]: value}


def untagged(form: Mapping[str, Any]) -> Any:
    """The value of a tagged form."""
    ((kind, content),) = form.items()
    if kind == "int":
        return int(content)
    if kind == "bytes":
        return bytes.fromhex(content)
    if kind == "map":
        return {untagged(key): untagged(value) for key, value in content}
    return [untagged(item) for item in content] if kind == "array" else content


def measured(image: Measurement) -> dict[str, Any]:
    """A platemark.rungs.Measurement in JSON; what only some have stands there only when they have it."""
    more: dict[str, Any] = {}
    if image.frame_digests:
        more["frame_digests"] = [each.hex() for each in image.frame_digests]
    if image.encapsulated:
        more["encapsulated"] = True
    if image.uncovered:
        more["uncovered"] = [f"{tag:08x}" for tag in sorted(image.uncovered)]
    return {
        "media": image.media,
        "digests": {
            rung: {str(alg): digest.hex() for alg, digest in each.items()} for rung, each in image.digests.items()
        },
        "attributes": {name: tagged(value) for name, value in image.attributes.items()},
        "uncomputed": sorted(image.uncomputed),
        **more,
    }


def unmeasured(form: Mapping[str, Any]) -> Measurement:
    """The Measurement of `measured`."""
    digests = {
        rung: {int(alg): bytes.fromhex(digest) for alg, digest in each.items()}
        for rung, each in form["digests"].items()
    }
    attributes = {name: untagged(value) for name, value in form["attributes"].items()}
    return Measurement(
        media=form["media"],
        digests=digests,
        attributes=attributes,
        uncomputed=frozenset(form["uncomputed"]),
        frame_digests=tuple(bytes.fromhex(each) for each in form.get("frame_digests", ())),
        encapsulated=form.get("encapsulated", False),
        uncovered=frozenset(int(tag, 16) for tag in form.get("uncovered", ())),
    )


@functools.cache
def table(path: str) -> ModuleType:
    """A test module, for its tables: a case is written once and is a test and a vector."""
    spec = importlib.util.spec_from_file_location(f"tables_{Path(path).stem}", TESTS / path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def dump(format_name: str, origin: str, **cases: Iterable[Mapping[str, Any]]) -> bytes:
    """One file of vectors: what it is, where it comes from, and its cases, one on a line."""
    lines = ["{", f' "format": {json.dumps(format_name)},', f' "origin": {json.dumps(origin)},']
    for number, (group, rows) in enumerate(cases.items(), 1):
        shown = [f"  {json.dumps(row, ensure_ascii=True)}" for row in rows]
        lines += [f' "{group}": [', ",\n".join(shown), " ]" + ("," if number < len(cases) else "")]
    return ("\n".join([*lines, "}"]) + "\n").encode()
