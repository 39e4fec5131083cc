"""PKCS#11 URIs (RFC 7512), as far as they name one key pair: which module, which token, which object.

A file with such a URI in its first line stands for the key wherever a private key's file does. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_from_bytes, unquote, unquote_to_bytes

from platemark.errors import KeyFileError

__all__ = ["Pkcs11Uri", "is_uri", "parse_uri"]

_SCHEME = "pkcs11:"
_PATH = {"token", "object", "id", "serial"}
_QUERY = {"module-path", "pin-source"}
_SAFE = "-._~:[]@!$'()*+,"  # of RFC 7512 2.3 what has no meaning in either part


@dataclass(frozen=True, kw_only=True)
class Pkcs11Uri:
    """One key pair in a token. At least one of `token` and `serial`, and of `label` and `id`, is there.

    `module` is the PKCS#11 library; `pin_source` a file whose first line is the user PIN, None to ask for it.
    """

    module: Path
    token: str | None = None
    serial: str | None = None
    label: str | None = None
    id: bytes | None = None
    pin_source: Path | None = None

    def __str__(self) -> str:
        named = {"token": self.token, "serial": self.serial, "object": self.label}
        path = [f"{name}={quote(value, safe=_SAFE)}" for name, value in named.items() if value is not None]
        if self.id is not None:
            path.append(f"id={quote_from_bytes(self.id, safe='')}")
        query = [f"module-path={quote(str(self.module), safe=_SAFE + '/')}"]
        if self.pin_source is not None:
            query.append(f"pin-source=file:{quote(str(self.pin_source), safe=_SAFE + '/')}")
        return f"{_SCHEME}{';'.join(path)}?{'&'.join(query)}"


def is_uri(data: bytes) -> bool:
    """Whether the content of a file is a PKCS#11 URI rather than a key."""
    return data.lstrip().startswith(_SCHEME.encode())


def parse_uri(text: str, *, where: str = "URI") -> Pkcs11Uri:
    """The key that `text` names. Raises KeyFileError naming `where` and the attribute."""
    text = text.strip()
    if not text.startswith(_SCHEME):
        raise KeyFileError(f"{where}: not a PKCS#11 URI: it begins with {_SCHEME}")
    path, _, query = text.removeprefix(_SCHEME).partition("?")
    named = _pairs(path, ";", _PATH, where)
    asked = _pairs(query, "&", _QUERY, where)
    if "module-path" not in asked:
        raise KeyFileError(f"{where}: module-path is missing: which library speaks to the token")
    if not named.keys() & {"token", "serial"}:
        raise KeyFileError(f"{where}: token or serial is missing: which token")
    if not named.keys() & {"object", "id"}:
        raise KeyFileError(f"{where}: object or id is missing: which key of the token")
    return Pkcs11Uri(
        module=Path(_text(asked["module-path"], "module-path", where)),
        token=_optional(named, "token", where),
        serial=_optional(named, "serial", where),
        label=_optional(named, "object", where),
        id=unquote_to_bytes(named["id"]) if "id" in named else None,
        pin_source=_pin_source(asked.get("pin-source"), where),
    )


def _pairs(text: str, separator: str, known: set[str], where: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, text.split(separator)):
        name, equals, value = part.partition("=")
        if name == "pin-value":
            raise KeyFileError(f"{where}: pin-value would leave the PIN in a file that is no secret; use pin-source")
        if not equals or name not in known:
            raise KeyFileError(f"{where}: {name!r} is none of {', '.join(sorted(known))}")
        if name in found:
            raise KeyFileError(f"{where}: {name} is given twice")
        if not value:
            raise KeyFileError(f"{where}: {name} is empty")
        found[name] = value
    return found


def _optional(named: dict[str, str], name: str, where: str) -> str | None:
    return _text(named[name], name, where) if name in named else None


def _text(value: str, name: str, where: str) -> str:
    try:
        text = unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise KeyFileError(f"{where}: {name} is not UTF-8") from None
    if not text.isprintable():
        raise KeyFileError(f"{where}: {name} holds control characters")
    return text


def _pin_source(value: str | None, where: str) -> Path | None:
    if value is None:
        return None
    text = _text(value, "pin-source", where)
    if text.startswith("|"):
        raise KeyFileError(f"{where}: pin-source is a command; only files are read")
    return Path(text.removeprefix("file://").removeprefix("file:"))
