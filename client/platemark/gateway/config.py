"""Where the settings of a gateway come from: one TOML file, in which every table and every name has to be known.

A misspelt limit is refused, never silently the default. Paths are relative to the file. Passphrases are not settings.
"""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from platemark import files
from platemark.gateway._setting import ConfigError
from platemark.gateway.settings import Gateway

__all__ = ["load", "load_as", "parse", "parse_as"]

_T = TypeVar("_T")

_MAX = 1 << 20


def load(path: Path) -> Gateway:
    """The settings of a gateway in a TOML file. Raises FileError, and ConfigError that names the setting."""
    return load_as(Gateway, path)


def load_as(kind: type[_T], path: Path) -> _T:
    """As `load`, for any dataclass of settings."""
    data = files.read(path, limit=_MAX)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ConfigError(str(path), "not UTF-8") from None
    return parse_as(kind, text, path.resolve().parent)


def parse(text: str, base: Path) -> Gateway:
    """The settings of a gateway in a TOML text whose paths are relative to `base`. Raises ConfigError."""
    return parse_as(Gateway, text, base)


def parse_as(kind: type[_T], text: str, base: Path) -> _T:
    """As `parse`, for any dataclass of settings."""
    try:
        content = tomllib.loads(text)
    # ValueError: TOMLDecodeError, and numbers of more digits than Python converts.
    except (ValueError, RecursionError) as error:
        raise ConfigError("config", f"not TOML: {error}") from None
    built = _table(kind, "", content, base)
    assert isinstance(built, kind)
    return built


def _table(kind: type, where: str, content: dict[str, Any], base: Path) -> Any:
    hints = typing.get_type_hints(kind)
    for name in content:
        if name not in hints:
            raise ConfigError(where + name, "there is no such setting")
    values = {name: _value(hints[name], where + name, value, base) for name, value in content.items()}
    for each in dataclasses.fields(kind):
        optional = each.default is not dataclasses.MISSING or each.default_factory is not dataclasses.MISSING
        if each.name not in values and not optional:
            what = "table" if dataclasses.is_dataclass(hints[each.name]) else "setting"
            raise ConfigError(where + each.name, f"missing: this {what} has no default")
    return kind(**values)


def _value(hint: Any, where: str, value: Any, base: Path) -> Any:
    kind = _kind(hint)
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ConfigError(where, f"a table is needed, [{where}]")
        return _table(typing.cast("type", kind), f"{where}.", value, base)
    if typing.get_origin(kind) is tuple:
        return _many(typing.get_args(kind)[0], where, value, base)
    if kind is Path:
        if not isinstance(value, str) or not value or "\0" in value:
            raise ConfigError(where, f"a path is needed, not {value!r}")
        return base / value
    if kind is float and type(value) is int:
        return float(value)
    # bool is a kind of int in Python, and `associations = true` is a mistake.
    if type(value) is not kind:
        raise ConfigError(where, f"a value of type {_NAMES[kind]} is needed, not {value!r}")
    return value


def _many(item: Any, where: str, value: Any, base: Path) -> tuple[Any, ...]:
    if not isinstance(value, list):
        shown = f"one or more tables, [[{where}]]" if dataclasses.is_dataclass(item) else "a list of texts"
        raise ConfigError(
            where, f"{shown} is needed, not {value!r}" if not isinstance(value, dict) else f"write [[{where}]]"
        )
    return tuple(_value(item, f"{where}[{number}]", each, base) for number, each in enumerate(value))


def _kind(hint: Any) -> Any:
    """The type behind `X` or `X | None`."""
    if isinstance(hint, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not types.NoneType)
    return hint


_NAMES = {str: "text", int: "integer", float: "number", bool: "true or false"}
