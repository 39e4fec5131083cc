"""Where a gate finds evidence on an object: in a folder, in a ledger; always by digest, never by name."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from platemark import evidence as bundle
from platemark import files, statement
from platemark.errors import FormatError, PlatemarkError
from platemark.rungs import RUNGS, SHA256

if TYPE_CHECKING:
    from platemark.evidence import Evidence
    from platemark.rpc.sync import LedgerClient
    from platemark.rungs import Digests, Measurement

__all__ = ["AwayError", "EvidenceFolder", "EvidenceSource", "LedgerEvidence"]

_log = logging.getLogger("platemark.gateway.gate")
_SUFFIX = ".evidence"
_MOST_FILES = 200_000
_LOOK_S = 1.0  # between two looks at a folder
_NOT_FOUND = frozenset({"not-found"})


class AwayError(PlatemarkError):
    """A source gave no answer, so that nothing can be said of the object now."""

    code = "away"


class EvidenceSource(Protocol):
    """Something that has evidence. Called by many threads."""

    def find(self, measured: Measurement, most: int) -> Iterator[Evidence]:
        """Evidence whose record carries a digest of the object, strongest rung first, at most so many.

        Raises AwayError.
        """
        ...


def _wanted(measured: Measurement) -> Iterator[tuple[str, bytes]]:
    """Rungs and digests to look for, strongest first. The file itself is the gate's own making."""
    for rung in RUNGS:
        digest = measured.digests.get(rung, {}).get(SHA256)
        if digest is not None and rung != "file":
            yield rung, digest


class EvidenceFolder:
    """The *.evidence files of one folder, not of those within it. New and changed ones are seen a second later.

    Of every file only digests are kept; what cannot be read is left out, with one line in the log.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._lock = threading.Lock()  # owns what follows
        self._looked: float | None = None
        self._read: dict[str, tuple[tuple[int, int], tuple[tuple[str, bytes], ...]]] = {}  # by name: facts, digests
        self._names: dict[tuple[str, bytes], list[str]] = {}

    def find(self, measured: Measurement, most: int) -> Iterator[Evidence]:
        """See EvidenceSource."""
        with self._lock:
            self._look()
            names = dict.fromkeys(name for each in _wanted(measured) for name in self._names.get(each, ()))
        for name in list(names)[:most]:
            found = self._load(name)
            if found is not None:
                yield found

    def _look(self) -> None:
        """Take notice of files that came, changed or went."""
        now = self._clock()
        if self._looked is not None and now - self._looked < _LOOK_S:
            return
        self._looked = now
        there: dict[str, tuple[int, int]] = {}
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if entry.name.endswith(_SUFFIX) and entry.is_file():
                        facts = entry.stat()
                        there[entry.name] = (facts.st_mtime_ns, facts.st_size)
                    if len(there) > _MOST_FILES:
                        raise AwayError(f"{self._folder}: more than {_MOST_FILES} evidence files")
        except OSError as error:
            raise AwayError(f"{self._folder}: {error.strerror or error}") from None
        if {name: facts for name, (facts, _) in self._read.items()} == there:
            return
        self._read = {name: self._entry(name, facts) for name, facts in there.items()}
        self._names = {}
        for name in sorted(self._read):
            for each in self._read[name][1]:
                self._names.setdefault(each, []).append(name)

    def _entry(self, name: str, facts: tuple[int, int]) -> tuple[tuple[int, int], tuple[tuple[str, bytes], ...]]:
        known = self._read.get(name)
        if known is not None and known[0] == facts:
            return known
        found = self._load(name)
        return facts, () if found is None else _recorded(found)

    def _load(self, name: str) -> Evidence | None:
        try:
            return bundle.from_bytes(files.read(self._folder / name, limit=bundle.MAX_BUNDLE))
        except PlatemarkError as error:
            _log.warning("evidence cannot be read", extra={"file": name, "reason": str(error)})
            return None


def _recorded(evidence: Evidence) -> tuple[tuple[str, bytes], ...]:
    """Rungs and SHA-256 digests that the record carries; none for what is no capture."""
    try:
        payload = statement.decode(evidence.record.statement).payload
    except FormatError:
        return ()
    digests = cast("Digests", payload.get("digests", {}))
    return tuple((rung, each[SHA256]) for rung, each in digests.items() if SHA256 in each)


class LedgerEvidence:
    """A ledger, asked for every object. `open_client` makes a client; the connection is kept, and made again after a fault."""

    def __init__(self, open_client: Callable[[], AbstractContextManager[LedgerClient]]) -> None:
        self._open_client = open_client
        self._lock = threading.Lock()  # owns _client and _stack
        self._client: LedgerClient | None = None
        self._stack = ExitStack()

    def close(self) -> None:
        """Give back the connection."""
        with self._lock:
            self._client = None
            self._stack.close()

    def find(self, measured: Measurement, most: int) -> Iterator[Evidence]:
        """See EvidenceSource."""
        client = self._connected()
        seen: set[int] = set()
        try:
            for rung, digest in _wanted(measured):
                for logged in client.lookup_all(digest, rung=rung, hash_algorithm=SHA256):
                    if len(seen) >= most:
                        return
                    if logged.index not in seen:
                        seen.add(logged.index)
                        yield client.evidence(index=logged.index).content
        except PlatemarkError as error:
            self.close()
            raise AwayError(f"the ledger: {error}") from None

    def _connected(self) -> LedgerClient:
        with self._lock:
            if self._client is None:
                try:
                    self._client = self._stack.enter_context(self._open_client())
                except PlatemarkError as error:
                    raise AwayError(f"the ledger: {error}") from None
            return self._client
