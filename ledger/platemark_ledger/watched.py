"""Files that an operator replaces under a running ledger: what they say now, or the newest that could be used.

A replacement is noticed at the next question by what the system says of the file (device, inode, size, times), not by a
signal, so that no restart and no command is needed. One that cannot be used changes nothing but the log, where it is an
alarm, once for each fault.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

from platemark_ledger.settings import ConfigError

__all__ = ["Watched"]

_log = logging.getLogger("platemark.access")
_T = TypeVar("_T")
_Stamp: TypeAlias = "tuple[tuple[int, ...] | None, ...]"
# A file of a certificate authority with thousands of revoked certificates is a megabyte.
_LIMIT = 16 * 1024 * 1024
# Two writes within one tick of a file system's clock leave the same stamp. A file this young is read again at every question.
_SETTLED_NS = 2_000_000_000


class Watched(Generic[_T]):
    """What `parse` makes of the content of some files that are only usable together. Any thread may ask.

    `parse` gets the contents in the order of `paths` and raises for what it cannot use, at best FormatError or ValueError. The
    constructor raises ConfigError, naming `setting`: a start with a file that cannot be used is refused.
    """

    def __init__(self, setting: str, paths: Sequence[Path], parse: Callable[[Sequence[bytes]], _T]) -> None:
        self._setting = setting
        self._paths = tuple(paths)
        self._parse = parse
        self._lock = threading.Lock()  # guards everything below
        self._stamp = self._look()
        self._young = self._is_young(self._stamp)
        self._contents = self._read()
        self._value = self._parsed(self._contents)
        self._version = 0
        self._alarm = ""

    @property
    def value(self) -> _T:
        """What the newest usable files say."""
        return self.current()[0]

    def current(self) -> tuple[_T, int]:
        """The value, and a number that changes when it does."""
        with self._lock:
            stamp = self._look()
            if stamp != self._stamp or self._young:
                self._stamp, self._young = stamp, self._is_young(stamp)
                self._renew()
            return self._value, self._version

    def _renew(self) -> None:
        try:
            contents = self._read()
            if contents == self._contents:
                return
            # Kept even when unusable, so that one fault is one alarm and is not parsed at every call.
            self._contents = contents
            self._value = self._parsed(contents)
        except ConfigError as error:
            if str(error) != self._alarm:
                self._alarm = str(error)
                _log.error("ALARM: the new %s is not used, the one before stays in force: %s", self._setting, error)
            return
        self._version += 1
        self._alarm = ""
        _log.info("%s: the new content is in force", self._setting)

    def _look(self) -> _Stamp:
        return tuple(map(_stamp, self._paths))

    def _is_young(self, stamp: _Stamp) -> bool:
        newest = max((each[-1] for each in stamp if each is not None), default=0)
        return time.time_ns() - newest < _SETTLED_NS

    def _read(self) -> tuple[bytes, ...]:
        return tuple(map(self._content, self._paths))

    def _content(self, path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                data = file.read(_LIMIT + 1)
        except OSError as error:
            raise ConfigError(self._setting, f"{path}: {error.strerror or error}") from None
        if len(data) > _LIMIT:
            raise ConfigError(self._setting, f"{path}: larger than {_LIMIT} bytes")
        return data

    def _parsed(self, contents: Sequence[bytes]) -> _T:
        try:
            return self._parse(contents)
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001 - a fault of a parser, too, leaves the content before in force
            raise ConfigError(self._setting, f"{self._paths[0]}: {error}") from None


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
