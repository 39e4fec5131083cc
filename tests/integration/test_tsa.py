"""The demo's time-stamping authority as a real process, and `openssl ts` as a second one that we did not write."""

import asyncio
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from integration.authority import running

from platemark.errors import TimeStampError
from platemark.timestamp import Authority, check_response, query, verify_response
from platemark_ledger.demo import stamping, tsa

SECOND = 10**9
MESSAGE = b"ledger.example/xray\n5\nAAAA\n"
_CONFIGURATION = """
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
[stamps]
basicConstraints = critical, CA:false
extendedKeyUsage = critical, timeStamping
[tsa]
default_tsa = here
[here]
serial = serial
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
signer_digest = sha256
accuracy = secs:1, millisecs:500, microsecs:100
"""


def ask(url: str, message: bytes) -> tuple[bytes, int]:
    """The answer to a query over `message`, and its nonce."""
    asked = query(message)
    answer = httpx.post(url, content=asked.request, headers={"content-type": "application/timestamp-query"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/timestamp-reply")
    return answer.content, asked.nonce


def test_a_process_stamps_until_it_is_told_to_stop_and_again_after_a_restart(tmp_path: Path) -> None:
    """Its root, made once, verifies the answers of both runs, with the list of revoked certificates that it made."""
    for _ in range(2):
        with running(tmp_path / "tsa") as announced:
            before = time.time_ns()
            response, nonce = ask(announced["url"], MESSAGE)
            authority = Authority("demo", (Path(announced["root"]).read_bytes(),))
            crl = Path(announced["crl"]).read_bytes()
            stamped = verify_response(response, message=MESSAGE, authorities=[authority], crls=[crl], nonce=nonce)
        assert before - SECOND <= stamped.time_ns <= time.time_ns()
        assert (stamped.accuracy_ns, stamped.revocation) == (SECOND, "checked")
        assert announced["label"] == "demo, one operator, no independence"
    assert stat.S_IMODE((tmp_path / "tsa" / "tsa.key").stat().st_mode) == 0o600


def test_what_is_no_query_gets_an_answer_that_is_no_token(tmp_path: Path) -> None:
    """A rejection for bytes that are no query; an HTTP error for another media type and for too much."""
    stamper = tsa.open_directory(tmp_path, now=time.time_ns())
    transport = httpx.ASGITransport(app=tsa.app(stamper))

    async def post(content: bytes, media: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://tsa") as client:
            return await client.post("/", content=content, headers={"content-type": media})

    media = "application/timestamp-query"
    assert asyncio.run(post(b"garbage", media)).content == stamping.REJECTED["badDataFormat"]
    assert asyncio.run(post(b"garbage", "text/plain")).status_code == 415
    assert asyncio.run(post(bytes(stamping.MAX_QUERY + 1), media)).status_code == 413


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(["--listen", "nowhere"], "nowhere: not host:port"), (["--listen", "127.0.0.1:99999"], "not host:port")],
)
def test_an_address_that_is_none_is_refused(
    arguments: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, with exit code 2."""
    assert tsa.main(["--directory", str(tmp_path), *arguments]) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize("chain", [False, True])
@pytest.mark.parametrize("key", ["ECDSA P-256", "RSA 3072"])
def test_what_openssl_stamps_verifies(tmp_path: Path, require: Callable[[str], Path], key: str, *, chain: bool) -> None:
    """By either kind of key, with and without the chain in the token."""
    openssl = _Openssl(require("openssl"), tmp_path)
    openssl.found(key)
    response = openssl.stamp(MESSAGE, chain=chain)
    authority = Authority("openssl", (openssl.root,))
    check_response(response, message=MESSAGE, now_ns=time.time_ns())
    stamped = verify_response(response, message=MESSAGE, authorities=[authority])
    assert abs(stamped.time_ns - time.time_ns()) < 600 * SECOND
    assert (stamped.policy, stamped.accuracy_ns) == ("1.2.3.4.1", 1_500_100_000)
    assert set(stamped.algorithms) == {"SHA-256", key, "RSA 2048"}
    with pytest.raises(TimeStampError, match=r"^tstInfo.messageImprint: of another message$"):
        verify_response(response, message=MESSAGE[:-1], authorities=[authority])


def test_openssl_verifies_what_we_stamp(tmp_path: Path, require: Callable[[str], Path]) -> None:
    """The demo's authority writes tokens that somebody else's program accepts."""
    stamper = tsa.open_directory(tmp_path, now=time.time_ns())
    asked = query(MESSAGE)
    (tmp_path / "query.tsq").write_bytes(asked.request)
    (tmp_path / "reply.tsr").write_bytes(stamping.respond(asked.request, stamper=stamper, now=time.time_ns()))
    openssl = _Openssl(require("openssl"), tmp_path)
    openssl("ts", "-verify", "-queryfile", "query.tsq", "-in", "reply.tsr", "-CAfile", "root.pem")


class _Openssl:
    """The openssl program in a directory, which is an authority after `found`."""

    def __init__(self, program: Path, directory: Path) -> None:
        self._program, self._directory = program, directory
        (directory / "serial").write_text("01\n")
        (directory / "openssl.cnf").write_text(_CONFIGURATION)

    def __call__(self, *arguments: str) -> None:
        done = subprocess.run([self._program, *arguments], cwd=self._directory, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()

    @property
    def root(self) -> bytes:
        """The root's certificate, DER."""
        return (self._directory / "ca.der").read_bytes()

    def found(self, key: str) -> None:
        """An RSA root and a certificate for time stamps, for a key of this kind."""
        configuration = ("-config", "openssl.cnf")
        self(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-sha256",
            "-days", "2", "-subj", "/CN=root", "-extensions", "ca", *configuration,
        )  # fmt: skip
        self("x509", "-in", "ca.pem", "-outform", "DER", "-out", "ca.der")
        if key == "RSA 3072":
            self("genrsa", "-out", "tsa.key", "3072")
        else:
            self("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "tsa.key")
        self("req", "-new", "-key", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=stamps", *configuration)
        self(
            "x509", "-req", "-in", "tsa.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-sha256",
            "-days", "1", "-out", "tsa.pem", "-extfile", "openssl.cnf", "-extensions", "stamps",
        )  # fmt: skip

    def stamp(self, message: bytes, *, chain: bool) -> bytes:
        """A whole response over `message`."""
        (self._directory / "message").write_bytes(message)
        self("ts", "-query", "-data", "message", "-sha256", "-cert", "-out", "query.tsq")
        more = ("-chain", "ca.pem") if chain else ()
        if chain:  # and the signer's certificate named as RFC 3161 itself did it, before RFC 5816
            (self._directory / "openssl.cnf").write_text(f"{_CONFIGURATION}ess_cert_id_alg = sha1\n")
        self(
            "ts", "-reply", "-config", "openssl.cnf", "-queryfile", "query.tsq", "-signer", "tsa.pem",
            "-inkey", "tsa.key", "-out", "reply.tsr", *more,
        )  # fmt: skip
        return (self._directory / "reply.tsr").read_bytes()
