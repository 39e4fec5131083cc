"""A real ledger for tests: founded by `platemark-ledger init`, served by `platemark-ledger serve` in processes of its own."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platemark import statement
from platemark.key_files import read_private
from platemark.keys import PrivateKey, generate
from platemark.note import parse_vkey
from platemark.rpc import Logged, Outcome, Refused, Trusted
from platemark.rpc.sync import LedgerClient

ORIGIN = "ledger.test/xray"
NOW = time.time_ns()
HOUR = 3600 * 10**9
YEAR = 365 * 24 * HOUR
PROGRAM = (sys.executable, "-m", "platemark_ledger.cli")


@dataclass
class Writer:
    """A key and its chain: builds statements in order, as a device does."""

    key: PrivateKey
    issuer: str
    log: bytes
    epoch: int = 1
    seq: int = 0
    prev: bytes | None = None

    def build(self, kind: str, **payload: Any) -> bytes:
        """The next statement of this key's chain."""
        chain = {"epoch": self.epoch, "seq": self.seq, "prev": self.prev}
        raw = statement.build(kind, {**chain, **payload}, signer=self.key, issuer=self.issuer)
        self.seq, self.prev = self.seq + 1, statement.decode(raw).id
        return raw

    def capture(self, image: bytes = b"an image", *, captured: int = NOW, **changes: Any) -> bytes:
        """A capture of the image's bytes, with both hash algorithms at the rung `file`."""
        digests = {"file": {-16: hashlib.sha256(image).digest(), -44: hashlib.sha512(image).digest()}}
        payload: dict[str, Any] = {
            "captured": captured,
            "clock": {"source": "ntp", "error_ns": 1_000_000},
            "media": "image/png",
            "digests": digests,
            "attributes": bytes(32),
            "origin": "modality-signed",
        }
        return self.build("capture", **{**payload, **changes})

    def enrolment(self, new: Writer, role: str, **changes: Any) -> bytes:
        """The enrolment of another writer's key by this one, a registrar."""
        proof = new.key.sign(statement.enrolment_proof_input(log=self.log, device=new.issuer, role=role))
        payload: dict[str, Any] = {
            "at": NOW,
            "log": self.log,
            "device": new.issuer,
            "key": new.key.spki,
            "role": role,
            "not_before": NOW - YEAR,
            "not_after": NOW + YEAR,
            "attributes": bytes(32),
            "proof": proof,
        }
        return self.build("enrol", **{**payload, **changes})

    def new(self, name: str, algorithm: str = "p256") -> Writer:
        """A writer with a fresh key that nobody has enrolled."""
        return Writer(generate(algorithm), f"https://devices.test/{name}", self.log)


@dataclass(frozen=True)
class Place:
    """A founded ledger that may or may not be served."""

    directory: Path
    facts: dict[str, Any]

    @property
    def trusted(self) -> Trusted:
        """The log's key and origin, as its founder would hand them out."""
        return Trusted((parse_vkey(self.facts["vkey"]),), ORIGIN)

    def registrar(self) -> Writer:
        """The registrar at the start of a new epoch, so that several tests can share one key."""
        key = read_private(self.directory / "offline" / "registrar.key")
        return Writer(key, self.facts["registrar_issuer"], bytes.fromhex(self.facts["log_id"]), epoch=time.time_ns())

    @contextmanager
    def served(self, *options: str, **changes: str) -> Iterator[Live]:
        """The ledger on a free loopback port; drained and gone, all processes of it, when the block ends."""
        live = Live.start(self, *options, **changes)
        try:
            yield live
        finally:
            live.stop()


@dataclass
class Live:
    """A served ledger. Ended by the process ids that it announced, never by name."""

    place: Place
    process: subprocess.Popen[str]
    address: str
    workers: list[int]
    log: Path
    http: str | None = None
    clients: list[LedgerClient] = field(default_factory=list)

    @classmethod
    def start(cls, place: Place, *options: str, **changes: str) -> Live:
        """Returns once calls are taken. AssertionError with the log when the ledger ends instead."""
        log = place.directory / "serve.log"
        command = [*PROGRAM, "serve", str(place.directory), "--listen", "127.0.0.1:0", "--json", *options]
        with log.open("a") as errors:
            # Sizes and indices are what a test makes them, unless it asks for the log's own statements.
            env = environment({"KEYSTATE_INTERVAL": "0", **changes})
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=env)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            process.stdout.close()
            raise AssertionError(f"serve ended with {process.wait()}: {log.read_text()}")
        said = json.loads(line)
        return cls(place, process, said["listening"], said["workers"], log, said["http"])

    def client(self, **options: Any) -> LedgerClient:
        """A verifying client, closed together with the ledger."""
        client = LedgerClient(self.address, **{"trusted": self.place.trusted, **options})
        self.clients.append(client)
        return client

    def device(self, name: str, role: str = "modality", algorithm: str = "p256", **changes: Any) -> Writer:
        """A newly enrolled device."""
        registrar = self.place.registrar()
        writer = registrar.new(name, algorithm)
        only(self.client().append([registrar.enrolment(writer, role, **changes)]).outcomes)
        return writer

    def signal(self, number: signal.Signals) -> None:
        """To the supervisor."""
        os.kill(self.process.pid, number)

    def wait(self) -> int:
        """The exit code; stdout is closed."""
        code = self.process.wait(timeout=60)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def stop(self) -> int:
        """SIGTERM and the exit code. Stopping twice is fine."""
        for client in self.clients:
            client.close()
        self.clients.clear()
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait()


def found(directory: Path, *options: str, **changes: str) -> Place:
    """A new ledger in a new directory, through the command line."""
    command = [*PROGRAM, "init", str(directory), "--origin", ORIGIN, "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(changes), check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return Place(directory, json.loads(done.stdout))


def only(outcomes: tuple[Outcome, ...]) -> Logged:
    """The one outcome, which is logged."""
    (outcome,) = outcomes
    assert isinstance(outcome, Logged), outcome
    return outcome


def refused(outcome: Outcome) -> tuple[str, str, list[str]]:
    """GRPC code, reason and fields of a refusal."""
    assert isinstance(outcome, Refused), outcome
    return outcome.status, outcome.info, [violation.field for violation in outcome.violations]


def environment(changes: dict[str, str]) -> dict[str, str]:
    """This process's environment without settings of a ledger but the given ones."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PLATEMARK_LEDGER_")}
    # PYTHONWARNINGS: the ledger's processes turn warnings into errors as the tests do.
    return {**kept, "PYTHONWARNINGS": "error", **{f"PLATEMARK_LEDGER_{name}": value for name, value in changes.items()}}
