"""A real Orthanc, as Debian packs it: DICOM and HTTP on free loopback ports, without the GDCM plugin."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from peers.process import Peer, free_port, program, started

__all__ = ["DICOM_WEB_PLUGIN", "Orthanc", "orthanc"]

DICOM_WEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
"""Of Debian's package orthanc-dicomweb."""

_SECONDS = 60.0


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc. `peer.stop()` and `peer.start()` take it away and bring it back with what it has stored."""

    peer: Peer
    directory: Path
    aet: str
    http: httpx.Client = field(repr=False)

    @property
    def dicom_port(self) -> int:
        """Where its Storage, Query, Storage Commitment and Verification SCP listens."""
        return self.peer.ports[0]

    @property
    def http_port(self) -> int:
        """Where its REST interface listens."""
        return self.peer.ports[1]

    def get(self, path: str, **headers: str) -> bytes:
        """The body of a GET, such as `/instances/{id}/file`. AssertionError unless it is answered with success."""
        return _body(self.http.get(path, headers=headers))

    def json(self, path: str) -> Any:
        """The decoded body of a GET."""
        return json.loads(self.get(path))

    def post(self, path: str, body: bytes | str | Mapping[str, Any], **headers: str) -> bytes:
        """The body of the answer to a POST; a mapping is sent as JSON."""
        return _body(self.http.post(path, content=_content(body), headers=headers))

    def put(self, path: str, body: bytes | str | Mapping[str, Any] | list[Any]) -> bytes:
        """The body of the answer to a PUT; a mapping or list is sent as JSON."""
        return _body(self.http.put(path, content=_content(body)))

    def delete(self, path: str) -> bytes:
        """The body of the answer to a DELETE."""
        return _body(self.http.delete(path))

    def upload(self, data: bytes) -> str:
        """Store one DICOM file over REST; Orthanc's id of the instance."""
        return str(json.loads(self.post("/instances", data))["ID"])

    def instances(self) -> list[str]:
        """Orthanc's ids of everything that it has."""
        return list(self.json("/instances"))

    def sop_instances(self) -> list[str]:
        """The SOP Instance UIDs of everything that it has, sorted."""
        found = self.json("/instances?expand")
        return sorted(each["MainDicomTags"]["SOPInstanceUID"] for each in found)

    def file(self, instance: str) -> bytes:
        """The stored file of an instance, byte for byte."""
        return self.get(f"/instances/{instance}/file")

    def modality(self, name: str, aet: str, port: int, **options: Any) -> None:
        """Make a peer on loopback known from now on: a target of C-STORE, or one that asks for storage commitment."""
        self.put(f"/modalities/{name}", {"AET": aet, "Host": "127.0.0.1", "Port": port, **options})


@contextmanager
def orthanc(
    directory: Path,
    *,
    aet: str = "ORTHANC",
    dicom_web: bool = False,
    modalities: Mapping[str, list[Any]] | None = None,
    **settings: Any,
) -> Iterator[Orthanc]:
    """An Orthanc whose storage, settings and log are in `directory`, which is made.

    `modalities` are its DicomModalities, name to [AE title, host, port]; `settings` are any of its configuration.
    REST is answered to loopback alone. Orthanc has no setting that would bind its DICOM port to an address.
    """
    directory.mkdir(parents=True, exist_ok=True)
    web = {"Plugins": [str(DICOM_WEB_PLUGIN)], "DicomWeb": {"Root": "/dicom-web/"}} if dicom_web else {}

    def make() -> Peer:
        ports = (free_port(), free_port())
        path = directory / "orthanc.json"
        path.write_text(json.dumps(_settings(directory, aet, ports, modalities or {}) | web | settings))
        return Peer([program("Orthanc"), str(path)], ports, directory / "orthanc.log")

    # It takes three seconds to end by itself, and nobody needs what it has stored after the block.
    with started(make, end=signal.SIGKILL) as peer:
        base = f"http://127.0.0.1:{peer.ports[1]}"
        with httpx.Client(base_url=base, timeout=_SECONDS, trust_env=False) as http:
            yield Orthanc(peer, directory, aet, http)


def _settings(directory: Path, aet: str, ports: tuple[int, int], modalities: Mapping[str, list[Any]]) -> dict[str, Any]:
    return {
        "Name": aet,
        "StorageDirectory": str(directory / "storage"),
        "IndexDirectory": str(directory / "storage"),
        "DicomAet": aet,
        "DicomPort": ports[0],
        "HttpPort": ports[1],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "WebDavEnabled": False,
        "OrthancExplorerEnabled": False,
        "UnknownSopClassAccepted": True,
        "DicomModalities": modalities,
        # A small and quiet server: it shares the machine with the tests.
        "ConcurrentJobs": 1,
        "DicomThreadsCount": 2,
        "HttpThreadsCount": 4,
        "JobsHistorySize": 10,
        "SaveJobs": False,
        "HttpCompressionEnabled": False,
        "MaximumPduLength": 131072,
        # No test ends its machine, so nothing has to be on disk before Orthanc answers.
        "SyncStorageArea": False,
    }


def _content(body: bytes | str | Mapping[str, Any] | list[Any]) -> bytes:
    if isinstance(body, bytes):
        return body
    return (body if isinstance(body, str) else json.dumps(body)).encode()


def _body(answer: httpx.Response) -> bytes:
    request = answer.request
    assert answer.is_success, f"{request.method} {request.url.path}: {answer.status_code} {answer.text[:500]}"
    return answer.content
