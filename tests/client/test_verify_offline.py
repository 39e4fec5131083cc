"""Verification opens no socket and no file, and is a function of its input: the same bytes in, the same bytes out."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from builders import NOW, letters, measurement, scene
from platemark import attributes, evidence, report, trust
from platemark.verify import verify

IMAGE = b"an image"

# What a court runs: bundle, trust file and digests in, JSON out, in a process that dies at the first socket.
COURT = """
import hashlib, sys

def refuse(event, arguments):
    if event.startswith("socket.") or event in {"urllib.Request", "http.client.connect", "ftplib.connect"}:
        sys.stderr.write(f"opened {event} {arguments}")
        sys.stderr.flush()
        import os
        os._exit(99)

sys.addaudithook(refuse)

from platemark import evidence, report, trust
from platemark.rungs import Measurement
from platemark.verify import verify

folder, at, attack = sys.argv[1], int(sys.argv[2]), len(sys.argv) > 3
if attack:
    import socket
    socket.socket()
read = lambda name: open(f"{folder}/{name}", "rb").read()
image = read("image")
digests = {"file": {-16: hashlib.sha256(image).digest(), -44: hashlib.sha512(image).digest()}}
measured = Measurement(media="image/png", digests=digests, attributes={})
given = evidence.from_bytes(read("image.evidence"))
verdict = verify(given, trust=trust.parse(read("trust.toml")), image=measured, at=at)
sys.stdout.write(report.to_json(verdict))
loaded = sorted({"asyncio", "http.client", "grpc", "lmdb", "pymerkle", "pydicom", "ssl", "_ssl", "_socket"} & set(sys.modules))
if loaded:
    sys.stderr.write(f"loaded {loaded}")
sys.exit(verdict.exit_code)
"""


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    """What a court gets: the image, its evidence, a trust file."""
    disclosure = attributes.commit({"patient_id": "4711"}, key=bytes(32))
    log = scene(attributes=disclosure)
    shown = log.evidence(2, enrolments=[1], disclosure=disclosure.open("patient_id"))
    (tmp_path / "image").write_bytes(IMAGE)
    (tmp_path / "image.evidence").write_bytes(shown.to_bytes())
    (tmp_path / "trust.toml").write_text(trust.to_toml(log.trusted()), encoding="utf-8")
    return tmp_path


def _court(folder: Path, *more: str, seed: str = "0") -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    command = [sys.executable, "-c", COURT, str(folder), str(NOW), *more]
    return subprocess.run(command, capture_output=True, check=False, timeout=60, env=environment)


def _here(folder: Path) -> str:
    given = evidence.from_bytes((folder / "image.evidence").read_bytes())
    trusted = trust.parse((folder / "trust.toml").read_bytes())
    return report.to_json(verify(given, trust=trusted, image=measurement(IMAGE), at=NOW))


def test_no_socket_is_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every way to make a socket broken, verification does not notice."""

    def refuse(*arguments: object, **_: object) -> None:
        pytest.fail(f"opened a socket: {arguments}")

    for name in ("socket", "create_connection", "getaddrinfo", "socketpair", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)
    assert json.loads(_here(folder))["result"] == "MATCHES RECORD"


def test_a_process_that_may_not_open_a_socket_verifies(folder: Path) -> None:
    """An audit hook ends the process at the first socket event; none comes, and nothing that could network is loaded."""
    done = _court(folder)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["result"] == "MATCHES RECORD"


def test_the_audit_hook_of_that_test_works(folder: Path) -> None:
    """A socket that is opened on purpose ends the process."""
    done = _court(folder, "attack")
    assert (done.returncode, done.stdout) == (99, b"")


def test_the_same_input_gives_the_same_bytes(folder: Path) -> None:
    """J3: in this process and in others with other hash seeds, the JSON is the same byte for byte."""
    outputs = {_court(folder, seed=seed).stdout for seed in ("1", "2")}
    assert outputs == {_here(folder).encode()}


def test_verification_reads_no_clock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of verification is given, and it is all that is known of time."""

    def refuse(*_: object) -> float:
        pytest.fail("read the clock")

    for name in ("time", "time_ns", "monotonic"):
        monkeypatch.setattr(f"time.{name}", refuse)
    given = evidence.from_bytes((folder / "image.evidence").read_bytes())
    trusted = trust.parse((folder / "trust.toml").read_bytes())
    verdict = verify(given, trust=trusted, image=measurement(IMAGE), at=NOW)
    monkeypatch.undo()
    assert letters(verdict) == "PPPPPPPPNNNNPPP"
