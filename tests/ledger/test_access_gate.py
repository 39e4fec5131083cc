"""The gate at the moment of a call: what a connection outlives, and what is recorded where an answer fails."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from integration.certificates import Authority, Issued

from platemark.v1 import ledger_pb2 as pb
from platemark_ledger import accesslog, status
from platemark_ledger.access import EVERY_ROLE
from platemark_ledger.access_crl import read_lists
from platemark_ledger.access_gate import Gate
from platemark_ledger.accesslog_writer import AccessLog
from platemark_ledger.status import CallError
from platemark_ledger.watched import Watched

NOW = dt.datetime.now(dt.UTC)
HOUR = dt.timedelta(hours=1)


class _Context:
    """A call by whoever shows these bytes as a certificate."""

    def __init__(self, shown: bytes | None) -> None:
        self._shown = shown

    def auth_context(self) -> Mapping[str, list[bytes]]:
        return {} if self._shown is None else {"x509_pem_cert": [self._shown]}

    def peer(self) -> str:
        return "ipv4:192.0.2.1:5"


def _gate(*, now: dt.datetime = NOW, crl: tuple[Path, Path] | None = None, log: AccessLog | None = None) -> Gate:
    revoked = None if crl is None else Watched("tls_client_crl", crl, read_lists)
    return Gate(roles=lambda _: EVERY_ROLE, revoked=revoked, log=log, clock=lambda: now)


def _ask(gate: Gate, shown: bytes | None, request: Any = None) -> None:
    message = request or pb.GetCheckpointRequest()
    method = type(message).__name__.removesuffix("Request")
    asyncio.run(gate.admit(method, message, cast("Any", _Context(shown))))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Its certificates are valid from a day ago to a day from now."""
    return Authority(tmp_path, "authority")


@pytest.mark.parametrize(("after", "served"), [(-25, False), (-23, True), (0, True), (23, True), (25, False)])
def test_a_connection_does_not_outlive_its_certificate(authority: Authority, after: int, *, served: bool) -> None:
    """TLS looks at the handshake alone; the gate looks at every call."""
    gate = _gate(now=NOW + after * HOUR)
    shown = authority.issue("device").certificate.read_bytes()
    if served:
        _ask(gate, shown)
        return
    with pytest.raises(CallError, match="not valid at this time") as caught:
        _ask(gate, shown)
    assert status.classify(caught.value).code.name == "UNAUTHENTICATED"


def test_a_certificate_that_cannot_be_read_names_nobody() -> None:
    """Not an error of ours, and no way around the roles."""
    with pytest.raises(CallError, match="cannot be read") as caught:
        _ask(_gate(), b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert status.classify(caught.value).reason == "BAD_CERTIFICATE"


def _listed(authority: Authority, directory: Path, *stolen: Issued, overdue: bool = False) -> tuple[Path, Path]:
    path = directory / "list"
    path.write_bytes(authority.revocation_list(*stolen, overdue=overdue).public_bytes(Encoding.DER))
    return path, authority.ca


def test_a_list_that_is_overdue_stays_in_force_and_is_one_alarm(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Refusing everybody would stop the devices; forgetting the list would let the thief in."""
    stolen, kept = authority.issue("stolen"), authority.issue("kept")
    gate = _gate(crl=_listed(authority, tmp_path, stolen, overdue=True))
    for _ in range(3):
        _ask(gate, kept.certificate.read_bytes())
        with pytest.raises(CallError, match="revoked"):
            _ask(gate, stolen.certificate.read_bytes())
    assert [each.levelno for each in caplog.records] == [logging.ERROR]
    assert "was due to be replaced" in caplog.text


@pytest.mark.parametrize(
    ("request_", "indices"),
    [
        (pb.GetStatementRequest(index=7), [[7, 7]]),
        (pb.LookupRequest(digest=b"\x01" * 32, rung="file"), [[3, 4], [9, 9]]),
    ],
)
def test_what_is_asked_and_shown_is_recorded(tmp_path: Path, request_: Any, indices: list[list[int]]) -> None:
    """The digest as given, in hex, and the indices in runs."""
    log = AccessLog(tmp_path, file_size=1 << 20)
    gate = _gate(log=log)
    answers: Mapping[str, Callable[[], Any]] = {
        "GetStatementRequest": lambda: pb.GetStatementResponse(statement=pb.LoggedStatement(index=7)),
        "LookupRequest": lambda: pb.LookupResponse(statements=[pb.LoggedStatement(index=each) for each in (3, 4, 9)]),
    }
    name = type(request_).__name__

    async def read() -> None:
        passage = await gate.admit(name.removesuffix("Request"), request_, cast("Any", _Context(None)))
        await passage.answered(answers[name]())

    asyncio.run(read())
    gate.close()
    (paths,) = accesslog.chains(tmp_path).values()
    (line,) = accesslog.lines(paths)
    assert line.record is not None
    assert (line.record["indices"], line.record["outcome"]) == (indices, "OK")
    asked = {"index": 7} if name == "GetStatementRequest" else {"digest": "01" * 32, "rung": "file"}
    assert line.record["asked"] == asked


def test_a_long_request_makes_no_long_record(tmp_path: Path) -> None:
    """What a caller sends is kept up to 256 characters of each field."""
    log = AccessLog(tmp_path, file_size=1 << 20)
    gate = _gate(log=log)

    async def read() -> None:
        request = pb.ListStatementsRequest(device="\x00\x7f\u2028" * 100_000)
        passage = await gate.admit("ListStatements", request, cast("Any", _Context(None)))
        await passage.refused("OVERLOADED")

    asyncio.run(read())
    gate.close()
    (paths,) = accesslog.chains(tmp_path).values()
    (line,) = accesslog.lines(paths)
    assert len(line.raw) < 4096
    assert line.raw.isascii()


def test_a_refusal_reaches_its_caller_though_it_cannot_be_recorded(tmp_path: Path) -> None:
    """Nothing was shown; an answer, in the same state, is withheld."""
    (tmp_path / "file").touch()
    log = AccessLog(tmp_path / "file", file_size=1 << 20)  # no directory
    gate = _gate(log=log)

    async def read() -> None:
        passage = await gate.admit("GetStatement", pb.GetStatementRequest(index=7), cast("Any", _Context(None)))
        await passage.refused("NOT_FOUND")
        with pytest.raises(CallError, match="cannot be recorded"):
            await passage.answered(pb.GetStatementResponse(statement=pb.LoggedStatement(index=7)))

    asyncio.run(read())
    gate.close()
