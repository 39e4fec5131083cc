"""What an auditor waits for: a whole log by its tiles, from files and over HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

from bench.report import Report, Row

from builders import LOG_KEY, ORIGIN
from platemark import checkpoint, note
from platemark.audit import Frontier, TileSource
from platemark.audit.replay import wanted_tiles
from platemark.audit.source import bundle_hashes
from platemark.audit_files import DirectorySource
from platemark.audit_http import HttpSource
from platemark.cli.auditing import Keys, StateFile, audit

__all__ = ["run"]

_SIZE, _FULL_SIZE = 1_000_000, 10_000_000
_MOST = 180.0  # seconds for a million entries: "minutes"
# A plain file server that sends head and body in one piece; in two, each answer waits 40 ms for an acknowledgement.
_SERVER = """
import functools, http.server, sys

class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version, wbufsize = "HTTP/1.1", 65536
    def log_message(self, *arguments): pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=sys.argv[1]))
print(server.server_port, flush=True)
server.serve_forever()
"""


def run(report: Report, directory: Path, *, full: bool) -> None:
    """Subject `auditing`."""
    size = _FULL_SIZE if full else _SIZE
    log = directory / "tiles"
    _publish(log, size)
    alone = _alone(size)
    _audited(report, DirectorySource(log), size, alone, "from files")
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER, os.fspath(log)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert server.stdout is not None
        with HttpSource(f"http://127.0.0.1:{server.stdout.readline().strip()}") as source:
            _audited(report, source, size, alone, "over HTTP, the server on the same cores")
    finally:
        server.terminate()
        server.communicate()


def _audited(report: Report, source: TileSource, size: int, alone: float, how: str) -> None:
    keys = Keys(ORIGIN, (note.NoteSigner(ORIGIN, LOG_KEY).verifier,))
    outcome = audit([source], keys, StateFile(None, ORIGIN))
    assert outcome.exit_code == 0, outcome.findings.kept
    assert outcome.audited.read == size
    million = outcome.seconds * 1e6 / size
    report.add(
        Row(
            subject="auditing",
            what=f"a log of {size:,} entries audited {how}",
            measured=f"{outcome.seconds:.1f} s, {size / outcome.seconds:,.0f} entries/s",
            limit=f"{alone:.1f} s its {2 * size:,} hashes in hashlib alone",
            ratio=outcome.seconds / alone,
            target=f"<= {_MOST:.0f} s a million",
            met=million <= _MOST,
            note="one process; every bundle and every tile of every level read and compared",
        )
    )


def _alone(size: int) -> float:
    """Seconds that hashlib takes for the leaves and nodes of a tree of `size`."""
    leaf, node = os.urandom(33), os.urandom(65)
    began = time.perf_counter()
    for _ in range(size):
        sha256(leaf).digest()
        sha256(node).digest()
    return time.perf_counter() - began


def _publish(log: Path, size: int) -> None:
    """The tiles of a log of random entries."""
    frontier, completed = Frontier(), dict[tuple[int, int], bytes]()
    for tile in wanted_tiles(0, size):
        if tile.level is None:
            data = b"".join(b"\0\x20" + os.urandom(32) for _ in range(tile.width))
            at = frontier.size
            made = frontier.add(bundle_hashes(data, tile.width)[1])
            completed = {(level, at >> 8 * (level + 1)): row for level, row in made}
        else:
            data = completed.get((tile.level, tile.number)) or frontier.rows[tile.level]
        path = log / tile.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    said = checkpoint.Checkpoint(ORIGIN, size, frontier.root())
    (log / "checkpoint").write_bytes(checkpoint.sign(said, [note.NoteSigner(ORIGIN, LOG_KEY)]))
