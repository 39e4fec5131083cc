"""What the verification of signatures alone allows on the cores of this machine: the limit of every append."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from bench.devices import cores, device

from platemark import statement

__all__ = ["Limit", "limit"]

_Check = tuple[Callable[[bytes, bytes], None], bytes, bytes]


@dataclass(frozen=True)
class Limit:
    """Verified signatures a second: with one thread per core in one process, and with one process per core.

    `processor` are the processor seconds that one takes in one thread, whatever else the machine does meanwhile.
    """

    threads: float
    processes: float
    processor: float

    @property
    def best(self) -> float:
        """The greater of the two."""
        return max(self.threads, self.processes)

    @property
    def way(self) -> str:
        """How the greater one was got."""
        return "processes" if self.processes > self.threads else "threads"


def limit(prepared: Mapping[int, Sequence[bytes]], *, seconds: float = 1.0, most: int = 2048) -> Limit:
    """Verify prepared statements, decoded beforehand, again and again for `seconds` on all cores."""
    share = -(-most // len(prepared))
    some = {number: list(raws[:share]) for number, raws in prepared.items()}
    count = cores()
    checks = _checks(some)
    processor = min(_processor(checks[:256]) for _ in range(5))
    with ThreadPoolExecutor(count) as threads:
        start = time.monotonic()
        threaded = sum(threads.map(_verify, [checks] * count, [start + seconds] * count))
    with ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_load, initargs=(some,)) as processes:
        # Once for nothing, so that every process has started and decoded.
        list(processes.map(_verify_loaded, [0.0] * count, [0.0] * count))
        start = time.monotonic() + 0.1
        separate = sum(processes.map(_verify_loaded, [start] * count, [start + seconds] * count))
    return Limit(threaded / seconds, separate / seconds, processor)


def _checks(prepared: Mapping[int, Sequence[bytes]]) -> list[_Check]:
    found: list[_Check] = []
    for number, raws in prepared.items():
        verifier = device(number).key.public
        messages = [statement.decode(raw).message for raw in raws]
        found += [(verifier.verify, each.to_be_signed, each.signature) for each in messages]
    return found


_loaded: list[_Check] = []


def _load(prepared: Mapping[int, Sequence[bytes]]) -> None:
    _loaded[:] = _checks(prepared)


def _verify_loaded(start: float, stop: float) -> int:
    while time.monotonic() < start:
        time.sleep(0.001)
    return _verify(_loaded, stop)


def _verify(checks: Sequence[_Check], stop: float) -> int:
    done = 0
    while time.monotonic() < stop:
        for verify, message, signature in checks[done % len(checks) :][:32]:
            verify(message, signature)
            done += 1
    return done


def _processor(checks: Sequence[_Check]) -> float:
    began = time.thread_time()
    for verify, message, signature in checks:
        verify(message, signature)
    return (time.thread_time() - began) / len(checks)
