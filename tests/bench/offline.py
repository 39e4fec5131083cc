"""What a court waits for: one bundle verified offline. And what a device waits for: an image measured."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from bench.devices import enrol, prepare
from bench.report import Report, Row, percentile
from integration.live import found, only

import capture_writers
from platemark import evidence, keys, statement, trust
from platemark.capture import measure
from platemark.rungs import Measurement
from platemark.verify import verify

__all__ = ["run"]

_MOST = 50e-3
_LEAST = 0.80
_SIDE = 4096  # pixels; with two samples of 16 bits each, 64 MiB


def run(report: Report, directory: Path, *, full: bool) -> None:
    """Subject `offline`."""
    _verifying(report, directory, 500 if full else 200)
    for name, write in (("native DICOM", _dicom), ("PNG", _png)):
        with _in_memory() as folder:
            path = folder / "image"
            samples = write(path)
            _hashing(report, path, name, samples)


def _verifying(report: Report, directory: Path, times: int) -> None:
    with found(directory / "offline").served() as live:
        enrol(live, [0])
        raw = prepare([0], 1)[0][0]
        index = only(live.client().append([raw]).outcomes).statement.index
        data = live.client().evidence(index=index).content.to_bytes()
    trusted = trust.parse((live.place.directory / "trust.toml").read_bytes())
    image = _measured(raw)

    def judge() -> None:
        verdict = verify(evidence.from_bytes(data), trust=trusted, image=image, at=time.time_ns())
        failed = [check for check in verdict.checks if check.status == "FAIL"]
        assert verdict.rung == "file", verdict
        assert not failed, failed

    delay = percentile(_timed(judge, times), 0.5)
    signatures = _signatures(judge)
    alone = percentile(_timed(lambda: [check() for check in signatures], times), 0.5)
    report.add(
        Row(
            subject="offline",
            what="one bundle verified, after import, p50",
            measured=f"{delay * 1e3:.2f} ms",
            limit=f"{alone * 1e3:.2f} ms its {len(signatures)} signatures alone",
            ratio=delay / alone,
            target=f"<= {_MOST * 1e3:.0f} ms",
            met=delay <= _MOST,
        )
    )


def _measured(raw: bytes) -> Measurement:
    """What the image of the capture would measure to."""
    payload = statement.decode(raw).payload
    found = payload["digests"]
    assert isinstance(found, dict)
    named: dict[str, Mapping[int, bytes]] = {
        str(rung): {int(algorithm): bytes(digest) for algorithm, digest in by.items()}  # type: ignore[union-attr, arg-type]
        for rung, by in found.items()
    }
    return Measurement(media="application/dicom", digests=named, attributes={}, frames=1)


def _signatures(judge: Callable[[], None]) -> list[Callable[[], None]]:
    """The signature checks that a verification makes, to be made again alone."""
    seen: list[Callable[[], None]] = []
    with (
        mock.patch.object(keys.P256Verifier, "verify", _noting(keys.P256Verifier.verify, seen)),
        mock.patch.object(keys.Ed25519Verifier, "verify", _noting(keys.Ed25519Verifier.verify, seen)),
    ):
        judge()
    return seen


def _noting(verify: Callable[..., None], seen: list[Callable[[], None]]) -> Callable[..., None]:
    def noted(*arguments: object) -> None:
        seen.append(lambda: verify(*arguments))
        verify(*arguments)

    return noted


def _hashing(report: Report, path: Path, name: str, samples: int) -> None:
    size = path.stat().st_size
    rungs = {"file": size, "dataset": size if name.endswith("DICOM") else 0, "pixels": samples}
    hashed = sum(rungs.values())
    block = os.urandom(1 << 20)
    alone: list[float] = []
    whole: list[float] = []
    for _ in range(3):
        alone += _timed(lambda: _hash(block, hashed), 1)
        whole += _timed(lambda: measure(path), 1)
    measured = measure(path)
    assert not measured.uncomputed, measured.absent
    assert set(measured.digests) == {rung for rung, count in rungs.items() if count}
    limit, best = hashed / min(alone), hashed / min(whole)
    report.add(
        Row(
            subject="offline",
            what=f"measuring a {name} image of {samples >> 20} MiB, every rung",
            measured=f"{best / 1e6:,.0f} MB/s hashed",
            limit=f"{limit / 1e6:,.0f} MB/s hashlib alone, SHA-256 and SHA-512 over the same {hashed >> 20} MiB",
            ratio=best / limit,
            target=f">= {_LEAST:.2f}",
            met=best >= _LEAST * limit,
            note="file in memory; PNG adds the decoder's process and the inflating",
        )
    )


def _hash(block: bytes, count: int) -> None:
    hashes = (hashlib.sha256(), hashlib.sha512())
    for _ in range(count // len(block)):
        for each in hashes:
            each.update(block)
    for each in hashes:
        each.update(block[: count % len(block)])


def _dicom(path: Path) -> int:
    """Sixteen frames of 12 bits in words of 16."""
    noise = bytes(byte & 0x0F if place % 2 else byte for place, byte in enumerate(os.urandom(1 << 16)))
    pixels = noise * 1024
    elements = capture_writers.image_elements(
        pixels, rows=_SIDE // 4, columns=_SIDE // 2, frames=16, allocated=16, stored=12
    )
    path.write_bytes(capture_writers.dicom(elements))
    return len(pixels)


def _png(path: Path) -> int:
    """RGBA, 8 bits, in a file compressed about as far as photographs are."""
    row = b"\0" + bytes(byte & 0x3F for byte in os.urandom(4 * _SIDE))
    deflater = zlib.compressobj(1)
    data = b"".join(deflater.compress(row) for _ in range(_SIDE)) + deflater.flush()
    header = _SIDE.to_bytes(4, "big") * 2 + bytes([8, 6, 0, 0, 0])
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(capture_writers.chunk(*each) for each in chunks))
    return 4 * _SIDE * _SIDE


@contextmanager
def _in_memory() -> Iterator[Path]:
    """A folder whose files are in memory, where the system has such a place."""
    shared = Path("/dev/shm")  # noqa: S108 -- a new directory in it, removed below
    folder = Path(tempfile.mkdtemp(prefix="platemark-bench-", dir=shared if shared.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _timed(act: Callable[[], object], times: int) -> list[float]:
    found = []
    for _ in range(times):
        began = time.perf_counter()
        act()
        found.append(time.perf_counter() - began)
    return found
