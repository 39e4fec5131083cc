"""A log's public tree as a directory, made from the definitions in tests/reference.py and nothing of the product's audit."""

import hashlib
import os
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import reference
from builders import LOG_KEY, ORIGIN, Key
from platemark import checkpoint, note

__all__ = ["VKEY", "entries", "publish", "root_of", "served", "signed"]

VKEY = note.NoteSigner(ORIGIN, LOG_KEY).verifier.vkey


def entries(count: int, *, other_from: int | None = None) -> list[bytes]:
    """`count` entries; those from `other_from` on belong to another history."""
    fork = count if other_from is None else other_from
    return [hashlib.sha256(f"{'other ' if index >= fork else ''}{index}".encode()).digest() for index in range(count)]


def root_of(logged: Sequence[bytes]) -> bytes:
    """The root over entries."""
    return reference.root([reference.leaf(entry) for entry in logged])


def signed(logged: Sequence[bytes], *, key: Key = LOG_KEY, root: bytes | None = None, origin: str = ORIGIN) -> bytes:
    """The checkpoint over entries; `root` makes it lie."""
    said = checkpoint.Checkpoint(origin, len(logged), root_of(logged) if root is None else root)
    return checkpoint.sign(said, [note.NoteSigner(origin, key)])


def publish(directory: Path, logged: Sequence[bytes], *, head: bytes | None = None) -> Path:
    """Write checkpoint, bundles and tiles, partial ones too, as proto/log.md section 4 lays them out. Returns `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "checkpoint").write_bytes(signed(logged) if head is None else head)
    row = [reference.leaf(entry) for entry in logged]
    _write(directory, "entries", [b"\0\x20" + entry for entry in logged])
    level = 0
    while row:
        _write(directory, str(level), row)
        row = [reference.root(row[at : at + 256]) for at in range(0, len(row) // 256 * 256, 256)]
        level += 1
    return directory


def _write(directory: Path, level: str, items: Sequence[bytes]) -> None:
    for at in range(0, len(items), 256):
        part = items[at : at + 256]
        number = f"{at // 256:03}" if at // 256 < 1000 else f"x{at // 256_000:03}/{at // 256 % 1000:03}"
        path = directory / "tile" / level / (number if len(part) == 256 else f"{number}.p/{len(part)}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(part))


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Nothing."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, *arguments: object) -> None:
        """A client that leaves is the test's business."""


@contextmanager
def served(
    directory: Path,
    handler: Callable[..., SimpleHTTPRequestHandler] | None = None,
    *,
    tls: tuple[Path, Path] | None = None,
) -> Iterator[str]:
    """The directory over HTTP on a free loopback port, in threads of this process; its URL prefix.

    `tls`: certificate and key, for https.
    """
    made = handler or partial(_Quiet, directory=os.fspath(directory))
    server = _Server(("127.0.0.1", 0), made)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
