"""Where the settings of a ledger come from, and how they are written.

Read from a TOML file and from the environment, where PLATEMARK_LEDGER_<NAME> overrides the file. Unknown names are refused in
both, so that a misspelt limit is never silently the default. A list in the environment is divided by spaces. Relative paths
are relative to the file that names them (to the current directory when they come from the environment). Passphrases are not
settings: see `passphrase`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import textwrap
import tomllib
import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platemark_ledger.settings import ConfigError, Settings, describe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "environment",
    "for_workers",
    "from_json",
    "load",
    "parse",
    "passphrase",
    "to_json",
    "to_toml",
]

PREFIX = "PLATEMARK_LEDGER_"
# Read by other parts of the program; not settings, yet not misspelt ones either.
_NOT_SETTINGS = frozenset(
    {"CONFIG"} | {f"{key}_PASSPHRASE{suffix}" for key in ("LOG_KEY", "OFFLINE_KEYS") for suffix in ("", "_FILE")}
)


def load(path: Path, environ: Mapping[str, str]) -> Settings:
    """The settings of the TOML file overridden by the environment.

    Raises ConfigError naming the setting: unknown, of the wrong type, out of range, or at odds with another.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise ConfigError("config", f"{path}: {error.strerror}: no ledger here, give its directory") from None
    except OSError as error:
        raise ConfigError("config", f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError("config", f"{path}: not UTF-8") from None
    return parse(text, path.resolve().parent, environ)


def parse(text: str, base: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of a TOML text whose paths, defaults included, are relative to `base`. Raises ConfigError as `load`."""
    hints = typing.get_type_hints(Settings)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Settings):
        if isinstance(field.default, Path):
            values[field.name] = base / field.default
    for name, value in _toml(text).items():
        if name not in hints:
            raise ConfigError(name, "there is no such setting (in the configuration file)")
        values[name] = _typed(name, value, hints[name], base)
    for name, given in _settings_of(environ or {}):
        if name not in hints:
            raise ConfigError(PREFIX + name.upper(), "there is no such setting (in the environment)")
        values[name] = _typed(name, _parsed(name, given, hints[name]), hints[name], Path.cwd())
    return Settings(**values)


def to_json(settings: Settings) -> str:
    """One line, for a process of the same release."""
    return json.dumps(
        {each.name: str(each.value) if isinstance(each.value, Path) else each.value for each in describe(settings)}
    )


def from_json(line: str) -> Settings:
    """What `to_json` wrote."""
    hints = typing.get_type_hints(Settings)
    values: dict[str, Any] = {}
    for name, value in json.loads(line).items():
        kind = _kind(hints[name])
        values[name] = kind(value) if value is not None and kind in {Path, tuple} else value
    return Settings(**values)


def passphrase(environ: Mapping[str, str], key: str = "LOG_KEY") -> bytes | None:
    """The passphrase of a key: from the environment, or the first line of the file that it names. Never printed.

    `key` is LOG_KEY, which the service reads, or OFFLINE_KEYS, which only init uses. None: there is none.
    """
    name = f"{PREFIX}{key}_PASSPHRASE"
    direct, path = environ.get(name), environ.get(f"{name}_FILE")
    if direct is not None and path is not None:
        raise ConfigError(name, f"set either this or {name}_FILE, not both")
    if direct is not None:
        return direct.encode()
    if path is None:
        return None
    try:
        lines = Path(path).read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"{name}_FILE", f"{path}: {error.strerror or error}") from None
    if not lines or not lines[0]:
        raise ConfigError(f"{name}_FILE", f"{path}: its first line is empty")
    return lines[0]


def to_toml(settings: Settings, base: Path) -> str:
    """A configuration file: what differs from the default is set, the rest is there as a comment, all of it explained."""
    lines = [
        "# platemark-ledger. Paths are relative to this file. PLATEMARK_LEDGER_<NAME> in the environment overrides.",
        "",
    ]
    for each in describe(settings):
        lines += [f"# {line}" for line in textwrap.wrap(f"{each.why} ({each.unit})", 116)]
        default = base / each.default if isinstance(each.default, Path) else each.default
        value = each.default if each.value == default else each.value
        if isinstance(value, Path) and value.is_relative_to(base):
            value = value.relative_to(base)
        shown = "..." if value is None else _toml_value(value)
        lines += [f"{'# ' if each.value == default else ''}{each.name} = {shown}", ""]
    return "\n".join(lines)


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, tuple):
        return f"[{', '.join(_toml_value(each) for each in value)}]"
    # A TOML basic string takes the escapes of JSON but those of surrogate pairs, and wants DEL escaped as well.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml(text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    # ValueError: TOMLDecodeError, and numbers of more digits than Python converts.
    except (ValueError, RecursionError) as error:
        raise ConfigError("config", f"not TOML: {error}") from None


def _settings_of(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for key, text in environ.items():
        name = key.removeprefix(PREFIX)
        if name != key and name not in _NOT_SETTINGS:
            yield name.lower(), text


def _parsed(name: str, text: str, hint: object) -> object:
    """What the text of an environment variable says, in the type that TOML would have given it."""
    kind = _kind(hint)
    if kind is bool:
        if text not in {"true", "false"}:
            raise ConfigError(name, f"true or false, not {text!r}")
        return text == "true"
    if kind in {int, float}:
        try:
            return int(text) if kind is int else float(text)
        except ValueError:
            raise ConfigError(name, f"a number, not {text!r}") from None
    return text.split() if kind is tuple else text


def _typed(name: str, value: object, hint: object, base: Path) -> object:
    kind = _kind(hint)
    if kind is Path and isinstance(value, str):
        if not value:
            raise ConfigError(name, "an empty path")
        return base / value
    if kind is float and type(value) is int:
        return float(value)
    if kind is tuple and isinstance(value, list) and all(isinstance(each, str) and each for each in value):
        return tuple(value)
    if kind is tuple:
        raise ConfigError(name, f"a list of texts is needed, not {value!r}")
    # bool is a kind of int in Python, and `workers = true` is a mistake.
    if type(value) is not kind:
        raise ConfigError(name, f"a value of type {kind.__name__} is needed, not {value!r}")
    return value


def _kind(hint: object) -> type:
    """The type behind `X`, `X | None` or `tuple[X, ...]`."""
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not types.NoneType)
    hint = typing.get_origin(hint) or hint
    assert isinstance(hint, type)
    return hint


def environment() -> Mapping[str, str]:
    """The process's environment; the one place that reads it."""
    return os.environ


def for_workers(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without the secrets that only `init` needs."""
    return {name: value for name, value in environ.items() if not name.startswith(f"{PREFIX}OFFLINE_KEYS_")}
