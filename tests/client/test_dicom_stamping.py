"""`platemark dicom sign --tsa`: a real authority over HTTP, and ones with a fault each."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from commands import Ran, platemark
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import dcmsign
import stamps
from dicom_signers import CURVE_KEY, YEAR, certificate, rsa_key, series
from platemark_ledger.demo import stamping

REPLY = "application/timestamp-reply"
Answer = Callable[[bytes], tuple[int, str, bytes]]


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """The URL of an authority that answers so."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, media, body = answer(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Type", media)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def shop() -> stamps.Shop:
    """An authority that is good now."""
    return stamps.shop(since=time.time_ns() - YEAR, until=time.time_ns() + YEAR)


@pytest.fixture(name="case")
def _case(tmp_path: Path) -> Path:
    (tmp_path / "scan.dcm").write_bytes(series())
    now = time.time_ns()
    for kind, key in (("p256", CURVE_KEY), ("rsa", rsa_key())):
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / f"{kind}.pem").write_bytes(pem)
        held = certificate(key, name=f"Scanner {kind}", since=now - YEAR, until=now + YEAR)
        (tmp_path / f"{kind}.crt").write_bytes(held.public_bytes(Encoding.PEM))
    return tmp_path


def sign(case: Path, url: str, kind: str = "p256") -> Ran:
    """Sign with a time stamp."""
    words = ("--key", case / f"{kind}.pem", "--certificate", case / f"{kind}.crt", "--tsa", url)
    return platemark("dicom", "sign", case / "scan.dcm", *words, "--out", case / "signed.dcm")


@pytest.mark.parametrize("kind", ["p256", "rsa"])
def test_a_certified_time(case: Path, require: Callable[[str], Path], kind: str) -> None:
    """A time stamp is asked for, put in, proven with the authority's root, and good for dcmsign too."""
    require("dcmsign")
    tsa = shop()
    (case / "tsa.pem").write_bytes(tsa.root.public_bytes(Encoding.PEM))

    def answer(query: bytes) -> tuple[int, str, bytes]:
        return 200, REPLY, stamping.respond(query, stamper=tsa.stamper, now=time.time_ns())

    with serving(answer) as url:
        assert sign(case, url, kind).code == 0
    ran = platemark(
        *("dicom", "verify", case / "signed.dcm", "--ca", case / f"{kind}.crt", "--tsa-ca", case / "tsa.pem", "--json")
    )
    assert ran.code == 0
    assert ran.json()["signatures"][0]["timestamp"]["result"] == "pass"
    trusted = ("+cf", case / f"{kind}.crt", "+cf", case / "tsa.pem")
    checked = dcmsign.run("dcmsign", "--verify", "+tr", *trusted, case / "signed.dcm")
    assert checked.returncode == 0, checked.stderr


def test_faulty_authorities(case: Path) -> None:
    """An answer that is no time stamp over this signature is refused by name, and nothing is written."""
    tsa = shop()

    def good(query: bytes) -> bytes:
        return stamping.respond(query, stamper=tsa.stamper, now=time.time_ns())

    answers: dict[str, Answer] = {
        "status 500": lambda _: (500, REPLY, b""),
        "status 302": lambda _: (302, REPLY, b""),
        "is not application/timestamp-reply": lambda query: (200, "text/html", good(query)),
        "above 65536 bytes": lambda _: (200, REPLY, bytes(1 << 20)),
        "no time stamp: ": lambda _: (200, REPLY, b"words"),
        "of another message": lambda _: (200, REPLY, tsa.stamp(b"another", at=time.time_ns())),
        "more than 300 s": lambda query: (
            *(200, REPLY),
            stamping.respond(query, stamper=tsa.stamper, now=time.time_ns() - 10**12),
        ),
    }
    for reason, answer in answers.items():
        with serving(answer) as url:
            ran = sign(case, url)
        assert (ran.code, reason in ran.err) == (5, True), (reason, ran.err)
        assert not (case / "signed.dcm").exists()
