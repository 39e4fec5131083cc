"""The settings of a ledger: frozen, each with its unit, its default and the reason for it.

Read from a TOML file and from the environment, where PLATEMARK_LEDGER_<NAME> overrides the file. Unknown names are refused in
both, so that a misspelt limit is never silently the default. Relative paths are relative to the file that names them (to the
current directory when they come from the environment). Passphrases are not settings: see `passphrase`.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import os
import textwrap
import tomllib
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platemark.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "ConfigError",
    "Described",
    "Settings",
    "describe",
    "environment",
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


class ConfigError(FormatError):
    """A setting that cannot be used; `field` is its name."""

    code = "config"


def _setting(
    default: Any,  # of the field's type, which mypy checks there
    *,
    unit: str,
    why: str,
    least: float | None = None,
    most: float | None = None,
) -> Any:
    return dataclasses.field(default=default, metadata={"unit": unit, "why": why, "least": least, "most": most})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that an operator can set. Checked when made: a Settings that exists is usable together."""

    origin: str = _setting(
        "", unit="name", why="of the log, as leaf 0 states it and every checkpoint repeats it. Never changes."
    )
    data: Path = _setting(
        Path("data"),
        unit="directory",
        why="the LMDB store and its lock. A local disk whose fsync is honest; never a network file system.",
    )
    anchor: Path = _setting(
        Path("anchor/checkpoint"),
        unit="file",
        why="the newest released checkpoint. Put it on another disk than data, outside its backups: it is what tells a "
        "restored backup from the present.",
    )
    log_key: Path = _setting(
        Path("keys/log.key"),
        unit="file",
        why="signs checkpoints (Ed25519, PKCS#8 PEM). The passphrase comes from PLATEMARK_LEDGER_LOG_KEY_PASSPHRASE or the "
        "file named by PLATEMARK_LEDGER_LOG_KEY_PASSPHRASE_FILE.",
    )
    listen: str = _setting(
        "127.0.0.1:50151",
        unit="address:port",
        why="where gRPC is served; port 0 takes a free one and prints it. Anything but loopback needs TLS.",
    )
    tls_certificate: Path | None = _setting(
        None, unit="file", why="PEM chain, server first. Together with tls_key; plain text is refused outside loopback."
    )
    tls_key: Path | None = _setting(
        None, unit="file", why="PEM private key of tls_certificate, unencrypted, mode 0600."
    )
    tls_client_ca: Path | None = _setting(
        None, unit="file", why="PEM. When set, a caller without a certificate from it cannot connect."
    )
    workers: int = _setting(
        1,
        unit="processes",
        why="they share the port (SO_REUSEPORT) and take turns at the log. One per core pays off when checking signatures is "
        "the bottleneck.",
        least=1,
        most=64,
    )
    verify_threads: int = _setting(
        2,
        unit="threads per worker",
        why="check signatures beside the event loop; cryptography lets go of the interpreter lock meanwhile.",
        least=1,
        most=64,
    )
    max_batch: int = _setting(
        1024,
        unit="statements per Append",
        why="bounds the work that one call may ask for.",
        least=1,
        most=16384,
    )
    max_request: int = _setting(
        16 * 1024 * 1024,
        unit="bytes",
        why="of one request message. 256 statements of the usual 700 bytes need 0.2 MiB; 256 of the greatest size 15 MiB.",
        least=64 * 1024,
        most=256 * 1024 * 1024,
    )
    max_calls: int = _setting(
        512,
        unit="calls per worker",
        why="under way at once. Further ones get UNAVAILABLE, which is better than a queue that outlives deadlines.",
        least=1,
        most=65536,
    )
    max_page: int = _setting(
        100, unit="statements", why="in one page of Lookup; each comes with its path.", least=1, most=1000
    )
    max_list: int = _setting(
        10_000,
        unit="statements",
        why="in one ListStatements call; the caller goes on where it ended.",
        least=1,
        most=1_000_000,
    )
    queue: int = _setting(
        8192,
        unit="statements per worker",
        why="that wait for a commit. Further ones get UNAVAILABLE; at 10,000 a second this is under a second's work.",
        least=1,
        most=1_000_000,
    )
    drain: float = _setting(
        30.0,
        unit="seconds",
        why="that accepted calls have to finish after SIGTERM. Keep it under the patience of what sends the signal.",
        least=0.0,
        most=600.0,
    )
    lock_limit: float = _setting(
        10.0,
        unit="seconds",
        why="that a worker may hold the sequencer's lock before the supervisor ends it. A commit takes milliseconds; a disk that "
        "needs longer than this is broken.",
        least=1.0,
        most=600.0,
    )
    reflection: bool = _setting(
        default=True,
        unit="switch",
        why="lets grpcurl and its like discover the service. It shows nothing that ledger.proto does not.",
    )

    def __post_init__(self) -> None:
        for described in describe(self):
            _check_range(described)
        host, _ = self.address
        if not self.origin:
            raise ConfigError("origin", "missing: the name of the log, as `platemark-ledger init` wrote it")
        if (self.tls_certificate is None) != (self.tls_key is None):
            missing = "tls_key" if self.tls_key is None else "tls_certificate"
            raise ConfigError(missing, "certificate and key go together, and only the other one is set")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ConfigError("tls_client_ca", "it needs tls_certificate and tls_key")
        if self.tls_certificate is None and not _is_loopback(host):
            raise ConfigError("listen", f"{host} is not loopback and there is no TLS: set tls_certificate and tls_key")
        if self.data == self.anchor or self.data in self.anchor.parents:
            raise ConfigError(
                "anchor", "it is inside data, so that restoring a backup of data would take it back as well"
            )

    @property
    def lock(self) -> Path:
        """The lock file: beside the data, so that every process that opens the one finds the other."""
        return self.data.with_name(f"{self.data.name}.lock")

    @property
    def address(self) -> tuple[str, int]:
        """Host (without brackets) and port of `listen`."""
        host, colon, port = self.listen.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ConfigError("listen", f"{self.listen!r} is not address:port")
        host = host.removeprefix("[").removesuffix("]")
        if not host:
            raise ConfigError("listen", "the address is missing; 127.0.0.1 is loopback, 0.0.0.0 every interface")
        return host, int(port)


@dataclass(frozen=True, slots=True)
class Described:
    """One setting, as `platemark-ledger config` prints it."""

    name: str
    value: object
    default: object
    unit: str
    why: str
    least: float | None
    most: float | None


def describe(settings: Settings) -> Iterator[Described]:
    """Every setting in the order of reading, with its effective value."""
    for field in dataclasses.fields(settings):
        about = field.metadata
        yield Described(
            name=field.name,
            value=getattr(settings, field.name),
            default=field.default,
            unit=about["unit"],
            why=about["why"],
            least=about["least"],
            most=about["most"],
        )


def load(path: Path, environ: Mapping[str, str]) -> Settings:
    """The settings of the TOML file overridden by the environment.

    Raises ConfigError naming the setting: unknown, of the wrong type, out of range, or at odds with another.
    """
    try:
        text = path.read_text("utf-8")
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
        values[name] = Path(value) if value is not None and _kind(hints[name]) is Path else value
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
        shown = "..." if value is None else _toml_value(value)
        lines += [f"{'# ' if each.value == default else ''}{each.name} = {shown}", ""]
    return "\n".join(lines)


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
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
    return text


def _typed(name: str, value: object, hint: object, base: Path) -> object:
    kind = _kind(hint)
    if kind is Path and isinstance(value, str):
        if not value:
            raise ConfigError(name, "an empty path")
        return base / value
    if kind is float and type(value) is int:
        return float(value)
    # bool is a kind of int in Python, and `workers = true` is a mistake.
    if type(value) is not kind:
        raise ConfigError(name, f"a value of type {kind.__name__} is needed, not {value!r}")
    return value


def _kind(hint: object) -> type:
    """The type behind `X` or `X | None`."""
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not types.NoneType)
    assert isinstance(hint, type)
    return hint


def _check_range(described: Described) -> None:
    value = described.value
    if described.least is None or described.most is None:
        return
    assert isinstance(value, int | float)
    # Written so that nan, which compares false with everything, is refused.
    if not described.least <= value <= described.most:
        raise ConfigError(
            described.name, f"{value} is not within {described.least:g} to {described.most:g} {described.unit}"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def environment() -> Mapping[str, str]:
    """The process's environment; the one place that reads it."""
    return os.environ
