"""The settings of a gateway as a file that explains itself: deploy/gateway.toml is what this writes."""

from __future__ import annotations

import dataclasses
import json
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from platemark.gateway.settings import Gateway

__all__ = ["example"]

_WIDTH = 116
# What has no default, or is wanted by most: written out.
_SET: dict[str, object] = {
    "mode": "inline",
    "state_dir": "/var/lib/platemark-gateway",
    "receive.listen": "0.0.0.0:2762",
    "receive.networks": ["10.20.0.0/16"],
    "receive.tls_certificate": "/etc/platemark/gateway-tls.pem",
    "receive.tls_key": "/etc/platemark/gateway-tls.key",
    "receive.tls_client_ca": "/etc/platemark/modalities-ca.pem",
    "sign.key": "/var/lib/platemark-gateway/gateway.pem",
    "sign.device": "https://hospital.example/gateway/radiology-1",
    "sign.vault_recipient": "/etc/platemark/vault.pub",
    "ledger.server": "ledger.hospital.example:50151",
    "ledger.tls_ca": "/etc/platemark/ledger-ca.pem",
    "ledger.trust": "/etc/platemark/trust.toml",
    "pacs.name": "main",
    "pacs.address": "pacs.hospital.example:11112",
    "pacs.ae_title": "PACS",
}
_SAMPLES: dict[str, object] = {
    "worklist.address": "ris.hospital.example:11112",
    "worklist.ae_title": "WORKLIST",
    "modality.ae_title": "CT1",
    "modality.address": "ct1.hospital.example:104",
}


def example() -> str:
    """TOML that `config.parse` takes. What is the default stands as a comment, all of it with unit and reason."""
    lines = [
        "# The settings of `platemark gateway`. Paths are relative to this file. Unknown names are refused.",
        "# Passphrases are not settings: see sign.passphrase_file. deploy/GATEWAY.md says where all this belongs.",
        "",
    ]
    hints = typing.get_type_hints(Gateway)
    for each in dataclasses.fields(Gateway):
        if each.metadata:
            lines += _setting(each.name, each)
    for each in dataclasses.fields(Gateway):
        if not each.metadata:
            lines += _table(each.name, hints[each.name])
    return "\n".join(lines).rstrip() + "\n"


def _table(name: str, hint: Any) -> Iterator[str]:
    many = typing.get_origin(hint) is tuple
    kind = typing.get_args(hint)[0] if many else _kind(hint)
    header = f"[[{name}]]" if many else f"[{name}]"
    written = any(key.startswith(f"{name}.") for key in _SET)
    yield from _comment((kind.__doc__ or "").replace("`", ""))
    yield header if written else f"# {header}"
    # What a table has of its own comes before how TLS is spoken.
    for each in sorted(dataclasses.fields(kind), key=lambda one: name != "receive" and one.name.startswith("tls_")):
        yield from _setting(f"{name}.{each.name}", each)


def _setting(where: str, each: dataclasses.Field[Any]) -> Iterator[str]:
    about = each.metadata
    bounds = f", {_number(about['least'])} to {_number(about['most'])}" if about["least"] is not None else ""
    yield from _comment(f"{about['why']} ({about['unit']}{bounds})")
    name = where.rpartition(".")[2]
    if where in _SET:
        yield f"{name} = {json.dumps(_SET[where])}"
    else:
        default = None if each.default is dataclasses.MISSING else each.default
        shown = _SAMPLES.get(where, list(default) if isinstance(default, tuple) else default)
        yield f"# {name} = {'...' if shown is None else json.dumps(str(shown) if isinstance(shown, Path) else shown)}"
    yield ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _comment(text: str) -> Iterator[str]:
    return (f"# {line}" for line in textwrap.wrap(" ".join(text.split()), _WIDTH))


def _kind(hint: Any) -> Any:
    if isinstance(hint, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not types.NoneType)
    return hint
