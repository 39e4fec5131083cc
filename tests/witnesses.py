"""Witnesses for tests of the asking side: C2SP tlog-witness over HTTP in a thread of the test, with faults on demand.

Stricter than a real one where that finds mistakes: it verifies every proof and every signature of the log, and wants what the
specification wants byte for byte. `platemark witness` itself is another program and has its own tests.
"""

import base64
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import builders
from platemark import checkpoint, merkle, note, witness_wire
from platemark.checkpoint import Checkpoint
from platemark.cosignature import CosignatureSigner
from platemark.errors import PlatemarkError
from platemark.note import NoteVerifier

__all__ = ["Answer", "Witness", "policy", "witnessing"]

NOW_S = builders.NOW // 10**9
Answer = tuple[int, str, bytes]


@dataclass
class Witness:
    """One witness of one log. `fault` is a name of `FAULTS`, or None; `asked` are the old sizes of all requests, in order.

    `open` lets requests that hang go on.
    """

    name: str
    log: tuple[NoteVerifier, ...]
    algorithms: tuple[builders.Algorithm, ...] = ("ed25519",)
    fault: str | None = None
    newest: Checkpoint | None = None
    note: bytes = b""
    asked: list[int] = field(default_factory=list)
    open: threading.Event = field(default_factory=threading.Event)
    hanging: threading.Event = field(default_factory=threading.Event)
    url: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def signers(self) -> list[CosignatureSigner]:
        """Its keys."""
        return [CosignatureSigner(self.name, builders.key(self.name, each)) for each in self.algorithms]

    @property
    def lines(self) -> list[str]:
        """How a policy names it: one line for each key."""
        kinds = [f"{self.name}-{number}" for number in range(len(self.signers))]
        return [
            f"witness {kind} {signer.verifier.vkey} {self.url}"
            for kind, signer in zip(kinds, self.signers, strict=True)
        ]

    @property
    def size(self) -> int:
        """The last size that it cosigned."""
        return self.newest.size if self.newest is not None else 0

    def answer(self, body: bytes) -> Answer:
        """What it says to an add-checkpoint."""
        request = witness_wire.decode_request(body)
        self.asked.append(request.old_size)
        if self.fault == "hang":
            self.hanging.set()
            assert self.open.wait(60)
        if self.fault in _FAULTS:
            return _FAULTS[self.fault]
        with self._lock:
            return self._cosign(request)

    def _cosign(self, request: witness_wire.AddCheckpoint) -> Answer:
        signed = checkpoint.parse(request.note)
        new = signed.checkpoint
        try:
            signed.verify(self.log)
        except PlatemarkError:
            return 403, "text/plain", b"no signature of the log\n"
        if request.old_size > new.size:
            return 400, "text/plain", b"the old size is above the new one\n"
        if request.old_size != self.size:
            return 409, "text/x.tlog.size", b"%d\n" % self.size
        try:
            if self.newest is not None:
                merkle.verify_consistency(
                    old_size=self.size,
                    new_size=new.size,
                    old_root=self.newest.root,
                    new_root=new.root,
                    path=request.proof,
                )
            elif request.proof:
                return 422, "text/plain", b"a proof from nothing\n"
        except PlatemarkError as error:
            return 422, "text/plain", f"{error}\n".encode()
        self.newest, self.note = new, request.note
        return 200, "text/plain", self._lines(new).encode()

    def _lines(self, new: Checkpoint) -> str:
        lines = "".join(signer.sign(new, time_s=0 if self.fault == "no time" else NOW_S) for signer in self.signers)
        if self.fault == "stranger":
            return CosignatureSigner(self.name, builders.key("stranger", "ed25519")).sign(new, time_s=NOW_S)
        if self.fault == "wrong signature":
            other = Checkpoint(new.origin, new.size + 1, new.root)
            return "".join(signer.sign(other, time_s=NOW_S) for signer in self.signers)
        return lines * 2 if self.fault == "twice" else lines


_FAULTS: dict[str, Answer] = {
    "unknown log": (404, "text/plain", b"unknown origin\n"),
    "busy": (429, "text/plain", b"later\n"),
    "broken": (500, "text/html", b"<h1>oops\x1b[31m</h1>"),
    "silent": (200, "text/plain", b""),
    "garbage": (200, "text/plain", b"\xff\x00"),
    "endless": (200, "text/plain", b"x" * 200_000),
    "redirect": (302, "text/plain", b""),
    "larger": (409, "text/x.tlog.size", b"1000000\n"),
    "other root": (422, "text/plain", b"another root\n"),
    "no size": (409, "text/x.tlog.size", b"many\n"),
    "plain conflict": (409, "text/plain", b"0\n"),
    "same conflict": (409, "text/x.tlog.size", b"0\n"),
}


@contextmanager
def witnessing(*witnesses: Witness) -> Iterator[None]:
    """Serve each on a port of its own; whoever hangs is let go at the end."""
    servers = [_server(each) for each in witnesses]
    threads = [threading.Thread(target=each.serve_forever, args=(0.01,)) for each in servers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for each in witnesses:
            each.open.set()
        for server in servers:
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join()


def policy(count: int, *witnesses: Witness) -> str:
    """A tlog-policy that asks for cosignatures of so many of the witnesses; one of several keys is enough for each."""
    lines = [line for each in witnesses for line in each.lines]
    groups = [f"group {each.name} any " + " ".join(line.split()[1] for line in each.lines) for each in witnesses]
    names = " ".join(each.name for each in witnesses)
    return "\n".join([*lines, *groups, f"group all-of-them {count} {names}", "quorum all-of-them", ""])


def _server(witness: Witness) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout: ClassVar[float] = 60

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.path == "/add-checkpoint"
            self._send(*witness.answer(body))

        def do_GET(self) -> None:
            origin = witness.newest.origin if witness.newest is not None else ""
            if witness.newest is None or self.path != f"/{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint":
                self._send(404, "text/plain", b"none\n")
            else:
                self._send(200, "text/plain", witness.note)

        def _send(self, status: int, media: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", media)
            self.send_header("content-length", str(len(body)))
            if status == 302:
                self.send_header("location", f"{witness.url}/elsewhere")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # an asker that gave up

    server = Server(("127.0.0.1", 0), Handler)
    witness.url = f"http://127.0.0.1:{server.server_port}"
    return server


def signed_by(data: bytes, name: str) -> list[str]:
    """The signature lines of a name in a note."""
    parsed = note.parse(data)
    return [
        f"\u2014 {each} {base64.b64encode(key_id + blob).decode()}\n"
        for each, key_id, blob in parsed.signatures
        if each == name
    ]
