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
from platemark.capture import Limits, dicom, measure
from platemark.rungs import Measurement
from platemark.verify import verify

__all__ = ["run"]

_MOST = 50e-3
_LEAST = 0.80
_SIDE = 4096  # pixels; with two samples of 16 bits each, 64 MiB


def run(report: Report, directory: Path, *, full: bool) -> None:
    """Subject `offline`."""
    _verifying(report, directory, 500 if full else 200)
    for name, write, frames in (
        ("native DICOM", _dicom, "pixels"),
        ("lossy DICOM", _lossy, "codestream"),
        ("PNG", _png, "pixels"),
    ):
        with _in_memory() as folder:
            path = folder / "image"
            samples = write(path)
            _hashing(report, path, name, {frames: samples})
            if name == "native DICOM":
                _framing(report, path, samples)


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


def _hashing(report: Report, path: Path, name: str, frames: dict[str, int]) -> None:
    """Every rung of one file, against the hashing alone; `frames` has the bytes under the rung of its frames."""
    size = path.stat().st_size
    whole_object = {"dataset": size, "content": size} if name.endswith("DICOM") else {}
    rungs = {"file": size, **whole_object, **frames}
    hashed = sum(rungs.values())
    limit, best = _speeds(hashed, lambda: measure(path))
    measured = measure(path)
    assert not measured.uncomputed, measured.absent
    assert set(measured.digests) == set(rungs)
    report.add(
        Row(
            subject="offline",
            what=f"measuring a {name} image of {size >> 20} MiB, every rung ({', '.join(rungs)})",
            measured=f"{best / 1e6:,.0f} MB/s hashed",
            limit=f"{limit / 1e6:,.0f} MB/s hashlib alone, SHA-256 and SHA-512 over the same {hashed >> 20} MiB",
            ratio=best / limit,
            target=f">= {_LEAST:.2f}",
            met=best >= _LEAST * limit,
            note="file in memory; file and dataset are hashed in a thread beside the others; PNG adds the decoder's process",
        )
    )


def _framing(report: Report, path: Path, samples: int) -> None:
    """The rung `pixels` of a native object alone."""
    with path.open("rb") as file:
        size = path.stat().st_size
        with dicom.open_header(file, size, dicom.read_file_meta(file, size), Limits()) as header:
            limit, best = _speeds(samples, lambda: dicom.measure_pixels(header, Limits()))
    report.add(
        Row(
            subject="offline",
            what=f"pixels alone of a native DICOM image of {samples >> 20} MiB, 12 bits in 16",
            measured=f"{best / 1e6:,.0f} MB/s",
            limit=f"{limit / 1e6:,.0f} MB/s hashlib alone, SHA-256 and SHA-512 over the same bytes",
            ratio=best / limit,
            target=f">= {_LEAST:.2f}",
            met=best >= _LEAST * limit,
            note="one block is hashed in a thread while the next is read and its unused bits are checked",
        )
    )


def _speeds(hashed: int, act: Callable[[], object]) -> tuple[float, float]:
    """Bytes per second of hashlib alone, and of what computes digests over as many bytes; the best of three each."""
    block = os.urandom(1 << 20)
    alone: list[float] = []
    whole: list[float] = []
    for _ in range(3):
        alone += _timed(lambda: _hash(block, hashed), 1)
        whole += _timed(act, 1)
    return hashed / min(alone), hashed / min(whole)


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


def _lossy(path: Path) -> int:
    """Sixteen frames of JPEG in encapsulated pixel data; nothing decodes them."""
    frame = b"\xff\xd8" + os.urandom((4 << 20) - 4) + b"\xff\xd9"
    elements = capture_writers.image_elements(b"", rows=_SIDE, columns=_SIDE, frames=16, allocated=8)
    del elements[0x7FE00010]
    head = capture_writers.dicom(elements)[len(capture_writers.file_meta(capture_writers.EXPLICIT)) :]
    value = capture_writers.encapsulated([frame] * 16)
    coded = capture_writers.element(0x7FE00010, "OB", value, length=0xFFFFFFFF)
    path.write_bytes(capture_writers.file_meta("1.2.840.10008.1.2.4.50") + head + coded)
    return 16 * len(frame)


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
