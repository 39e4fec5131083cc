"""What peers do to every image: storescp and Orthanc, over C-STORE, REST and DICOMweb."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers.dcmtk import PROPOSE, Storage, storescp, storescu
from peers.orthanc import Orthanc, orthanc
from survival.images import Image
from survival.operations import EDITED, Kind, NotDoneError, Operation

__all__ = ["REMOTE", "Pacs", "pacs"]

_BOUNDARY = "b0undary"


@dataclass(frozen=True)
class Pacs:
    """Running peers, all empty: each operation takes away what it has put in."""

    normal: Storage
    preserving: Storage
    implicit: Storage
    orthanc: Orthanc

    @property
    def storages(self) -> tuple[Storage, ...]:
        """Those of dcmtk."""
        return self.normal, self.preserving, self.implicit


@contextmanager
def pacs(directory: Path) -> Iterator[Pacs]:
    """The peers inside the block, in a directory of their own.

    `normal` accepts every transfer syntax, as does `preserving`, which also keeps data sets byte for byte; `implicit`
    takes implicit VR little endian alone, byte for byte.
    """
    with ExitStack() as stack:
        made = Pacs(
            normal=stack.enter_context(storescp(directory / "normal", "+xa", aet="NORMAL")),
            preserving=stack.enter_context(storescp(directory / "preserving", "+xa", "+B", aet="PRESERVING")),
            implicit=stack.enter_context(storescp(directory / "implicit", "+xi", "+B", aet="IMPLICIT")),
            orthanc=stack.enter_context(orthanc(directory / "orthanc", dicom_web=True)),
        )
        for peer in made.storages:
            made.orthanc.modality(peer.aet.lower(), peer.aet, peer.port)
        yield made


def _send(image: Image, port: int) -> None:
    syntax = image.transfer_syntax
    if syntax not in PROPOSE:
        raise NotDoneError(f"storescu proposes no transfer syntax {syntax}")
    done = storescu(port, image.path, options=[PROPOSE[syntax], "-R"])
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith(("E:", "F:"))]
        raise NotDoneError(f"storescu: {lines[0].partition(': ')[2] if lines else done.returncode}")


def _take(storage: Storage, out: Path) -> None:
    """Move the one object that a storescp has got to `out`."""
    found = storage.files()
    if not found:
        raise NotDoneError("nothing arrived")
    (path,) = found
    path.replace(out)


def _to_storescp(which: Callable[[Pacs], Storage]) -> Callable[[Image, Path, Pacs], None]:
    def run(image: Image, out: Path, peers: Pacs) -> None:
        storage = which(peers)
        _send(image, storage.port)
        _take(storage, out)

    return run


@contextmanager
def _stored(peers: Pacs, put: Callable[[], None]) -> Iterator[str]:
    """Orthanc's id of the one instance that `put` puts in; Orthanc is empty again afterwards."""
    try:
        put()
        found = peers.orthanc.instances()
        if not found:
            raise NotDoneError("Orthanc has not stored it")
        (instance,) = found
        yield instance
    except AssertionError as error:
        raise NotDoneError(f"Orthanc: {_told(str(error))}") from error
    finally:
        for each in peers.orthanc.instances():
            peers.orthanc.delete(f"/instances/{each}")


def _orthanc(
    put: Callable[[Image, Pacs], None], get: Callable[[Pacs, str, Path], None]
) -> Callable[[Image, Path, Pacs], None]:
    def run(image: Image, out: Path, peers: Pacs) -> None:
        with _stored(peers, lambda: put(image, peers)) as instance:
            get(peers, instance, out)

    return run


def _c_store(image: Image, peers: Pacs) -> None:
    _send(image, peers.orthanc.dicom_port)


def _rest(image: Image, peers: Pacs) -> None:
    peers.orthanc.upload(image.path.read_bytes())


def _stow(image: Image, peers: Pacs) -> None:
    head = f"--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    body = head + image.path.read_bytes() + f"\r\n--{_BOUNDARY}--\r\n".encode()
    kind = f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}'
    peers.orthanc.post("/dicom-web/studies", body, **{"Content-Type": kind, "Accept": "application/dicom+json"})


def _file(peers: Pacs, instance: str, out: Path) -> None:
    out.write_bytes(peers.orthanc.file(instance))


def _c_store_out(which: Callable[[Pacs], Storage]) -> Callable[[Pacs, str, Path], None]:
    def get(peers: Pacs, instance: str, out: Path) -> None:
        storage = which(peers)
        try:
            peers.orthanc.post(f"/modalities/{storage.aet.lower()}/store", instance)
            _take(storage, out)
        finally:
            for path in storage.files():
                path.unlink()

    return get


def _wado(syntax: str) -> Callable[[Pacs, str, Path], None]:
    def get(peers: Pacs, instance: str, out: Path) -> None:
        tags = peers.orthanc.json(f"/instances/{instance}/simplified-tags")
        names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        if any(not tags.get(name) for name in names):
            raise NotDoneError("DICOMweb names instances by UIDs that this one lacks")
        study, series, uid = (tags[name] for name in names)
        accept = f'multipart/related; type="application/dicom"{syntax}'
        path = f"/dicom-web/studies/{study}/series/{series}/instances/{uid}"
        out.write_bytes(_only_part(peers.orthanc.get(path, Accept=accept)))

    return get


def _only_part(body: bytes) -> bytes:
    """The content of a multipart body of one part (RFC 2046)."""
    delimiter, _, rest = body.partition(b"\r\n")
    content = rest.partition(b"\r\n\r\n")[2]
    end = content.rindex(b"\r\n" + delimiter)
    return content[:end]


def _job(action: str, options: dict[str, Any]) -> Callable[[Pacs, str, Path], None]:
    def get(peers: Pacs, instance: str, out: Path) -> None:
        out.write_bytes(peers.orthanc.post(f"/instances/{instance}/{action}", options))

    return get


def _told(answer: str) -> str:
    """Orthanc's own message in the text of a failed request."""
    _, brace, rest = answer.partition("{")
    try:
        details = json.loads(brace + rest)
    except ValueError:
        return answer[:200]
    return str(details.get("Details") or details.get("Message"))


REMOTE = (
    Operation("storescu, storescp", Kind.LOSSLESS, _to_storescp(lambda peers: peers.normal)),
    Operation("storescu, storescp +B", Kind.LOSSLESS, _to_storescp(lambda peers: peers.preserving)),
    Operation("Orthanc: C-STORE in, REST out", Kind.LOSSLESS, _orthanc(_c_store, _file)),
    Operation("Orthanc: REST in, REST out", Kind.LOSSLESS, _orthanc(_rest, _file)),
    Operation("Orthanc: STOW-RS in, REST out", Kind.LOSSLESS, _orthanc(_stow, _file)),
    Operation("Orthanc: C-STORE out", Kind.LOSSLESS, _orthanc(_rest, _c_store_out(lambda peers: peers.preserving))),
    Operation(
        "Orthanc: C-STORE out, implicit VR peer",
        Kind.LOSSLESS,
        _orthanc(_rest, _c_store_out(lambda peers: peers.implicit)),
    ),
    Operation("Orthanc: WADO-RS", Kind.LOSSLESS, _orthanc(_rest, _wado(""))),
    Operation("Orthanc: WADO-RS, any syntax", Kind.LOSSLESS, _orthanc(_rest, _wado("; transfer-syntax=*"))),
    Operation(
        "Orthanc: modify PatientName",
        Kind.EDIT,
        _orthanc(_rest, _job("modify", {"Replace": {"PatientName": EDITED}, "Force": True})),
    ),
    Operation("Orthanc: anonymize", Kind.ANONYMISE, _orthanc(_rest, _job("anonymize", {}))),
)
"""In the order of the table."""
