"""The demo's time-stamping authority as a process: RFC 3161 over HTTP (section 3.4). Demo, one operator, no independence.

    python -m platemark_ledger.demo.tsa --directory D --listen 127.0.0.1:0

makes its certificates and key in D unless they are there, prints one JSON line with its `url`, the path of its `root`
and of its empty list of revoked certificates, and answers queries until SIGTERM. It stamps with this machine's clock,
which is the log's own: it shows how time stamps work and proves no time to anybody.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from platemark import files
from platemark_ledger.demo import stamping
from platemark_ledger.demo.stamping import Stamper

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starlette.requests import Request

__all__ = ["app", "main", "open_directory"]

_QUERY, _REPLY = "application/timestamp-query", "application/timestamp-reply"
_MAX_FILE = 64 * 1024


def open_directory(directory: Path, *, now: int) -> Stamper:
    """The authority of `directory`, made there first if there is none. Raises files.FileError, ValueError.

    root.der and root.pem are for readers, crl.der for the log; tsa.der and tsa.key (mode 0600, not encrypted) stamp.
    """
    if not (directory / "root.pem").exists():
        directory.mkdir(parents=True, exist_ok=True)
        founded = stamping.found(now=now)
        key = founded.stamper.key.private_bytes(
            Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        files.replace(directory / "tsa.key", key, mode=0o600)
        files.replace(directory / "tsa.der", founded.stamper.certificate.public_bytes(Encoding.DER))
        files.replace(directory / "crl.der", founded.crl)
        files.replace(directory / "root.der", founded.root.public_bytes(Encoding.DER))
        # Crash before this line: the next start makes another authority, and nobody has seen this one's root.
        files.replace(directory / "root.pem", founded.root.public_bytes(Encoding.PEM))
    certificate = x509.load_der_x509_certificate(files.read(directory / "tsa.der", limit=_MAX_FILE))
    secret = serialization.load_pem_private_key(files.read(directory / "tsa.key", limit=_MAX_FILE), None)
    if not isinstance(secret, ec.EllipticCurvePrivateKey):
        raise files.FileError(f"{directory / 'tsa.key'}: not a key on an elliptic curve")
    return Stamper(certificate, secret)


def app(stamper: Stamper) -> Starlette:
    """Answers POST / with a reply that is dated by this machine's clock."""

    async def reply(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _QUERY:
            return Response(f"the content type is not {_QUERY}\n", 415)
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > stamping.MAX_QUERY:
                return Response("the query is too long\n", 413)
        answer = stamping.respond(bytes(body), stamper=stamper, now=time.time_ns())
        return Response(answer, media_type=_REPLY)

    return Starlette(routes=[Route("/", reply, methods=["POST"])])


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; 0, or 2 for what cannot be used."""
    parser = argparse.ArgumentParser(prog="platemark_ledger.demo.tsa", description="Demo time stamps, no independence.")
    parser.add_argument("--directory", type=Path, required=True, help="where certificates and key are or will be")
    parser.add_argument("--listen", default="127.0.0.1:0", help="host:port; port 0 takes a free one")
    chosen = parser.parse_args(arguments)
    try:
        stamper = open_directory(chosen.directory, now=time.time_ns())
        listener = _listen(chosen.listen)
    except (files.FileError, OSError, ValueError) as error:
        print(f"tsa: {error}", file=sys.stderr)  # noqa: T201 - a command line
        return 2
    with listener:
        asyncio.run(_Server(app(stamper), _announcement(chosen.directory, listener)).serve([listener]))
    return 0


def _listen(address: str) -> socket.socket:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{address}: not host:port")
    return socket.create_server((host, int(port)))


def _announcement(directory: Path, listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return json.dumps(
        {
            "url": f"http://{host}:{port}/",
            "root": str(directory / "root.der"),
            "crl": str(directory / "crl.der"),
            "label": "demo, one operator, no independence",
        }
    )


class _Server(uvicorn.Server):
    """Says that it is there once it is, and ends cleanly on a signal, which uvicorn itself raises again after draining."""

    def __init__(self, application: Starlette, announcement: str) -> None:
        super().__init__(uvicorn.Config(application, log_level="warning", access_log=False, lifespan="off"))
        self._announcement = announcement

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(self._announcement, flush=True)  # noqa: T201 - the line that whoever starts this process waits for

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


if __name__ == "__main__":
    sys.exit(main())
