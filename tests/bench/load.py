"""Clients in processes of their own: each sends batches as fast as the answers come, and verifies every outcome."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from platemark.note import parse_vkey
from platemark.rpc import LedgerClient, Logged, Trusted

__all__ = ["Answered", "Client", "clients", "connections", "processor_seconds"]

_PATIENCE = 120.0


@dataclass(frozen=True)
class Answered:
    """What one client saw: when each answer had been verified (time.monotonic) and how many statements it was about."""

    times: tuple[tuple[float, int], ...]
    processor: float


class Client:
    """A client process that is connected and waits for `go`."""

    def __init__(self, process: BaseProcess, pipe: Connection) -> None:
        self.process = process
        self._pipe = pipe

    def connected(self) -> None:
        """Wait until it has had one answer."""
        self._expect("connected")

    def again(self) -> None:
        """Let it connect anew, which may lead to another worker."""
        self._pipe.send("again")
        self.connected()

    def go(self) -> None:
        """Let it send."""
        self._pipe.send("go")

    def answered(self) -> Answered:
        """What it saw."""
        assert self._pipe.poll(_PATIENCE), "the client did not come to an end"
        answered = self._pipe.recv()
        assert isinstance(answered, Answered), answered
        return answered

    def _expect(self, word: str) -> None:
        assert self._pipe.poll(_PATIENCE), f"the client did not say {word}"
        said = self._pipe.recv()
        assert said == word, said


@contextmanager
def clients(
    address: str, log: tuple[str, str], work: Sequence[Sequence[Sequence[list[bytes]]]]
) -> Iterator[list[Client]]:
    """One process for each item of `work`: its senders, each with its batches; ended by their own handles at the end.

    `log` is the verifier key of the log and its origin, which every checkpoint is checked against.
    """
    context = get_context("spawn")
    started: list[Client] = []
    try:
        for senders in work:
            ours, theirs = context.Pipe()
            process = context.Process(target=_run, args=(address, log, senders, theirs), daemon=True)
            process.start()
            started.append(Client(process, ours))
        for client in started:
            client.connected()
        yield started
    finally:
        for client in started:
            client.process.join(5)
            if client.process.is_alive():
                client.process.kill()
                client.process.join()


def _run(address: str, log: tuple[str, str], senders: Sequence[Sequence[list[bytes]]], pipe: Connection) -> None:
    trusted = Trusted((parse_vkey(log[0]),), log[1])
    asyncio.run(_send_all(address, trusted, senders, pipe))


async def _send_all(address: str, trusted: Trusted, senders: Sequence[Sequence[list[bytes]]], pipe: Connection) -> None:
    word = "again"
    client = LedgerClient(address, trusted=trusted)
    while word == "again":
        await client.close()
        client = LedgerClient(address, trusted=trusted, timeout=60, attempt_timeout=60)
        await client.checkpoint()
        pipe.send("connected")
        word = await asyncio.to_thread(pipe.recv)
    before = time.process_time()
    times = await asyncio.gather(*(_send(client, batches) for batches in senders))
    processor = time.process_time() - before
    await client.close()
    pipe.send(Answered(tuple(sorted(each for part in times for each in part)), processor))


async def _send(client: LedgerClient, batches: Sequence[list[bytes]]) -> list[tuple[float, int]]:
    times = []
    for batch in batches:
        reply = await client.append(batch)
        for outcome in reply.outcomes:
            assert isinstance(outcome, Logged), outcome
            assert not outcome.duplicate
            assert not outcome.statement.conditions, outcome.statement.conditions
        times.append((time.monotonic(), len(batch)))
    return times


def connections(pid: int, port: int) -> int:
    """How many connections to `port` the process holds."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(str(descriptor.readlink()))
        except OSError:
            continue
    found = 0
    # gRPC listens with IPv6 sockets for IPv4 addresses where it can.
    tables = [Path(f"/proc/{pid}/net/{name}").read_text("ascii").splitlines()[1:] for name in ("tcp", "tcp6")]
    for fields in (line.split() for table in tables for line in table):
        local, state, inode = fields[1], fields[3], fields[9]
        found += state == "01" and int(local.rpartition(":")[2], 16) == port and f"socket:[{inode}]" in inodes
    return found


def processor_seconds(pid: int) -> float:
    """User and system time of a running process and all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
