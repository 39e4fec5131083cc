"""A policy's payload for a person and for a script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from platemark.cli import output
from platemark.keys import ALGORITHM_NAMES, load_public
from platemark.report import format_time

if TYPE_CHECKING:
    from platemark.cbor import Value

__all__ = ["facts", "lines"]


def facts(payload: Mapping[str, Value]) -> dict[str, object]:
    """What a policy says, with keys as kid and algorithm, for JSON."""
    return {
        "version": payload["version"],
        "origin": payload["origin"],
        "threshold": payload["threshold"],
        "keys": [_key(each) for each in cast("list[bytes]", payload["keys"])],
        "log_keys": [_key(each) for each in cast("list[bytes]", payload["log_keys"])],
        "registrars": [
            {**_key(cast("bytes", each["key"])), **{name: each[name] for name in ("issuer", "not_before", "not_after")}}
            for each in cast("list[Mapping[str, Value]]", payload["registrars"])
        ],
        "limits": payload["limits"],
    }


def lines(payload: Mapping[str, Value]) -> list[str]:
    """The same, line by line, printable."""
    shown = facts(payload)
    keys, log_keys = (cast("list[dict[str, object]]", shown[name]) for name in ("keys", "log_keys"))
    limits = cast("dict[str, int]", shown["limits"])
    found = [
        f"origin     {output.printable(shown['origin'])}",
        f"version    {shown['version']}",
        f"policy     {shown['threshold']} of these keys sign a change:",
        *map(_line, keys),
        "log keys   sign checkpoints:",
        *map(_line, log_keys),
        "registrars enrol and revoke:",
    ]
    for each in cast("list[dict[str, object]]", shown["registrars"]):
        dates = (format_time(cast("int", each[name])) for name in ("not_before", "not_after"))
        found += [_line(each), f"             {output.printable(each['issuer'])}, {' to '.join(dates)}"]
    found.append(f"limits     statements of {limits['statement']} bytes, clocks ahead by {limits['skew_ns']} ns")
    return found


def _key(spki: bytes) -> dict[str, object]:
    key = load_public(spki)
    return {"kid": key.kid, "algorithm": ALGORITHM_NAMES[key.alg]}


def _line(key: Mapping[str, object]) -> str:
    return f"  {cast('bytes', key['kid']).hex()}  {key['algorithm']}"
