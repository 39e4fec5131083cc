"""What a modality waits for: objects over one association into the gateway, beside pynetdicom's own receiver with SHA-256."""

from __future__ import annotations

import os
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.report import Report, Row
from integration.gateway_process import Site, until
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from peers.dcmtk import run as dcmtk
from platemark.spool import Spool

__all__ = ["run"]

_ROUNDS = 5
_SIZES = {"0.5 MB": (512, 100), "10 MB": (2240, 10)}
"""Rows and columns of 16-bit pixels, and how many objects a round has."""

# Chunks of the data set go to a file as they come; the handler hashes that file and gives it its name. No fsync, no journal.
_RECEIVER = """
import hashlib, os, sys
from pynetdicom import AE, AllStoragePresentationContexts, _config, evt

_config.STORE_RECV_CHUNKED_DATASET = True
directory = sys.argv[1]

def store(event):
    digest = hashlib.sha256()
    with open(event.dataset_path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    os.link(event.dataset_path, os.path.join(directory, digest.hexdigest()))
    return 0x0000

entity = AE("PLATEMARK")
entity.maximum_pdu_size = 131072
entity.supported_contexts = AllStoragePresentationContexts
server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
print(server.server_address[1], flush=True)
sys.stdin.read()
server.shutdown()
"""


@dataclass
class _Seconds:
    """Of one size, by round: until the last answer, and, of the gateway, until the last statement was in the spool."""

    pynetdicom: list[float] = field(default_factory=list)
    gateway: list[float] = field(default_factory=list)
    spooled: list[float] = field(default_factory=list)


def run(report: Report, directory: Path, *, full: bool) -> None:
    """Subject `gateway`."""
    for name, (edge, number) in _SIZES.items():
        count = number * (4 if full else 1)
        seconds = _Seconds()
        size = _measure(directory / name.replace(" ", ""), edge, count, seconds)
        _report(report, name, size, count, seconds)
        report.detail("gateway", **{name: vars(seconds)})


def _measure(directory: Path, edge: int, count: int, seconds: _Seconds) -> int:
    """All rounds of one size, the two receivers in turns; bytes of one object."""
    (directory / "received").mkdir(parents=True)
    size = 0
    with _pynetdicom(directory / "received") as port, Site(directory / "site").running() as running:
        for number in range(_ROUNDS):
            sent = directory / f"sent-{number}"
            size = _make(sent, edge, count)
            seconds.pynetdicom.append(_send(port, sent))
            began = time.monotonic()
            seconds.gateway.append(_send(running.port, sent))
            with closing(running.site.spool()) as spool:
                wanted = (number + 1) * count
                until(lambda spool=spool, wanted=wanted: _held(spool) >= wanted or None, f"{wanted} statements", 600)  # type: ignore[misc]
            seconds.spooled.append(time.monotonic() - began)
            for path in (*sent.iterdir(), *(directory / "received").iterdir()):
                path.unlink()
    return size


def _held(spool: Spool) -> int:
    counts = spool.counts()
    return counts.depth + counts.acknowledged + counts.set_aside


def _report(report: Report, name: str, size: int, count: int, seconds: _Seconds) -> None:
    ours, theirs = (count / statistics.median(each) for each in (seconds.gateway, seconds.pynetdicom))
    report.add(
        Row(
            subject="gateway",
            what=f"objects of {name} over one association",
            measured=f"{ours:,.1f} objects/s, {ours * size / (1 << 20):,.0f} MiB/s, each durable when answered",
            limit=f"{theirs:,.1f} objects/s of pynetdicom's chunked receiver with SHA-256, without fsync",
            ratio=ours / theirs,
            target=">= 1.00",
            met=ours >= theirs,
            note=f"dcmtk's storescu with TCP_NODELAY=1, PDU 128 KiB, {_ROUNDS} rounds of {count} in turns, medians",
        )
    )
    spooled = statistics.median(seconds.spooled)
    later = spooled - statistics.median(seconds.gateway)
    report.add(
        Row(
            subject="gateway",
            what=f"their statements in the spool, {name}",
            measured=f"{count / spooled:,.1f} objects/s, the last {later:.2f} s after its answer",
            note="measured (SHA-256 and SHA-512, every rung), signed with P-256, vault and spool on disk",
        )
    )


def _send(port: int, directory: Path) -> float:
    """Seconds that storescu takes for all files of a directory."""
    began = time.monotonic()
    options = ("-R", "-xe", "+sd", "-pdu", "131072", "-aec", "PLATEMARK")
    done = dcmtk("storescu", *options, "127.0.0.1", str(port), directory, seconds=600)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - began


@contextmanager
def _pynetdicom(directory: Path) -> Iterator[int]:
    """The port of pynetdicom's receiver, in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", _RECEIVER, os.fspath(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": os.fspath(directory.parent)},
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.communicate()


def _make(directory: Path, edge: int, count: int) -> int:
    """CT slices that no other round has: random pixels, 12 bits in 16; bytes of one."""
    directory.mkdir()
    size = 0
    for number in range(count):
        slice_ = Dataset()
        slice_.file_meta = FileMetaDataset()
        slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slice_.SOPClassUID, slice_.SOPInstanceUID = CTImageStorage, generate_uid()
        slice_.PatientID, slice_.PatientName, slice_.Modality = "P1", "Doe^Jane", "CT"
        slice_.StudyInstanceUID, slice_.SeriesInstanceUID = "2.25.9", "2.25.10"
        slice_.Rows = slice_.Columns = edge
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit, slice_.PixelRepresentation = 16, 12, 11, 0
        slice_.add_new(0x7FE00010, "OW", secrets.token_bytes(2 * edge * edge))
        path = directory / f"{number}.dcm"
        slice_.save_as(path, enforce_file_format=True)
        size = path.stat().st_size
    return size
