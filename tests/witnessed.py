"""Logs to be witnessed, and `platemark witness` as a process: what the tests of the witness share."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import builders
import reference
from platemark import checkpoint, merkle, note, witness_wire
from platemark.checkpoint import Checkpoint
from platemark.cosignature import CosignatureSigner, CosignatureVerifier, cosignatures
from platemark.note import NoteSigner, NoteVerifier
from platemark.witness.cosigner import Cosigner
from platemark.witness.store import Store

__all__ = [
    "NOW_S",
    "WITNESS",
    "Clock",
    "History",
    "Reply",
    "Served",
    "ask",
    "cosigned",
    "serving",
    "signers",
    "witness",
]

NOW_S = builders.NOW // 10**9
WITNESS = "witness.example/w1"


@dataclass(frozen=True)
class History:
    """A log by its leaves: two with one key and other leaves are the two faces of a log that lies."""

    seed: str = "a"
    origin: str = builders.ORIGIN
    key: str = "log"

    @property
    def signer(self) -> NoteSigner:
        """The log's own key."""
        return NoteSigner(self.origin, builders.key(self.key, "ed25519"))

    @property
    def verifier(self) -> NoteVerifier:
        """Its public half."""
        return self.signer.verifier

    def leaves(self, size: int) -> list[bytes]:
        """The first leaf hashes."""
        return [merkle.leaf_hash(f"{self.seed}{index}".encode()) for index in range(size)]

    def checkpoint(self, size: int) -> Checkpoint:
        """Of the first `size` leaves."""
        return Checkpoint(self.origin, size, merkle.root(self.leaves(size)))

    def note(self, size: int) -> bytes:
        """The signed checkpoint."""
        return checkpoint.sign(self.checkpoint(size), [self.signer])

    def proof(self, old: int, new: int) -> Sequence[bytes]:
        """The consistency path, empty from 0."""
        return reference.consistency_path(self.leaves(new), old) if 0 < old < new else ()

    def body(self, old: int, new: int) -> bytes:
        """A good add-checkpoint."""
        return witness_wire.encode_request(old_size=old, proof=self.proof(old, new), note=self.note(new))


@dataclass
class Clock:
    """A clock that moves only when told to, in POSIX seconds."""

    now: int = NOW_S

    def __call__(self) -> int:
        """The time."""
        return self.now


def signers() -> list[CosignatureSigner]:
    """The keys of the witness of these tests."""
    algorithms: tuple[builders.Algorithm, ...] = ("ed25519", "mldsa44")
    return [CosignatureSigner(WITNESS, builders.key("witness", each)) for each in algorithms]


def witness(folder: Path, *logs: History, clock: Clock | None = None) -> Cosigner:
    """A witness of these logs, on a database that is made if there is none."""
    path = folder / "witness.db"
    verifiers = [each.verifier for each in signers()]
    store = Store(path) if path.exists() else Store.create(path, verifiers)
    store.add_log([each.verifier for each in logs])
    return Cosigner(store, signers(), now_s=clock or Clock())


def cosigned(log_note: bytes, lines: bytes, verifiers: Sequence[CosignatureVerifier]) -> list[int]:
    """The times in the cosignatures of an answer, which verify and are in the order of the keys."""
    signed = checkpoint.parse(log_note + lines)
    found = cosignatures(signed, verifiers)
    assert [each.verifier for each in found] == list(verifiers)
    names = [name for name, _, _ in note.parse(log_note + lines).signatures[-len(verifiers) :]]
    assert names == [each.name for each in verifiers]
    return [each.time_s for each in found]


@dataclass(frozen=True)
class Reply:
    """An HTTP answer."""

    status: int
    media: str
    body: bytes


@dataclass
class Served:
    """A witness in a process of its own."""

    process: subprocess.Popen[str]
    host: str
    port: int

    def connection(self) -> http.client.HTTPConnection:
        """To it."""
        return http.client.HTTPConnection(self.host, self.port, timeout=30)

    def post(self, body: bytes) -> Reply:
        """One add-checkpoint."""
        with closing(self.connection()) as connection:
            return ask(connection, "POST", "/add-checkpoint", body)

    def get(self, path: str) -> Reply:
        """One GET."""
        with closing(self.connection()) as connection:
            return ask(connection, "GET", path)

    def wait(self) -> tuple[int, str]:
        """The exit code and all that stood on standard error."""
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None) -> Reply:
    """One request on a connection that goes on."""
    connection.request(method, path, body)
    response = connection.getresponse()
    return Reply(response.status, response.headers["content-type"], response.read())


@contextmanager
def serving(directory: Path, *more: str) -> Iterator[Served]:
    """`platemark witness serve` on a free port; killed at the end if it is still there."""
    words = ["witness", "serve", str(directory), "--listen", "127.0.0.1:0", "--json", *more]
    process = subprocess.Popen(
        [sys.executable, "-m", "platemark", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        host, _, port = cast("str", json.loads(line)["url"]).removeprefix("http://").rpartition(":")
        yield Served(process, host, int(port))
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
