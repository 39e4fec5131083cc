"""Every read of a statement is in the access log before its answer leaves, or is not answered."""

from __future__ import annotations

import json
import os
import signal
import threading
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from integration.certificates import Authority
from integration.live import Live, Place, Writer, only
from integration.test_ledger_cli import run

from platemark.rpc import Retry, RpcError, Tls, UnavailableError
from platemark.rpc.sync import LedgerClient
from platemark_ledger import accesslog

IMAGE = b"an image that is read"


@pytest.fixture(name="log")
def _log(tmp_path: Path) -> Path:
    return tmp_path / "access-log"


def _records(log: Path) -> list[dict[str, Any]]:
    paths = [path for files in accesslog.chains(log).values() for path in files]
    return [line.record for line in accesslog.lines(paths) if line.record is not None]


def _told(log: Path) -> list[tuple[str, list[list[int]], str]]:
    return [(each["method"], each["indices"], each["outcome"]) for each in _records(log)]


def _impatient(live: Live, tls: Tls | None = None) -> LedgerClient:
    client = LedgerClient(live.address, trusted=live.place.trusted, tls=tls, retry=Retry(attempts=1), timeout=20)
    live.clients.append(client)
    return client


def _scene(live: Live) -> Writer:
    """An enrolled device at index 1, its two captures at 2 and 3."""
    device = live.device("ct-1")
    for _ in range(2):
        only(live.client().append([device.capture(IMAGE)]).outcomes)
    return device


def test_reads_are_recorded_and_nothing_else(place: Place, log: Path) -> None:
    """Which statements an answer showed, to whom, and what was asked; appends, checkpoints and proofs leave no record."""
    with place.served(ACCESS_LOG=str(log)) as live:
        _scene(live)
        client = live.client()
        client.checkpoint()
        assert _records(log) == []
        digest = sha256(IMAGE).digest()
        found = client.lookup(digest)
        assert [each.index for each in found.statements] == [2, 3]
        client.statement(index=3)
        client.evidence(id=found.statements[0].id)
        list(client.list_statements(kind="capture"))
        client.lookup(bytes(32))
        with pytest.raises(RpcError):
            client.statement(index=4)
        assert _told(log) == [
            ("Lookup", [[2, 3]], "OK"),
            ("GetStatement", [[3, 3]], "OK"),
            ("GetEvidence", [[1, 2]], "OK"),  # the enrolment of its key is shown as well
            ("ListStatements", [[2, 3]], "OK"),
            ("Lookup", [], "OK"),
            ("GetStatement", [], "NOT_FOUND"),
        ]
        first = _records(log)[0]
        assert first["asked"]["digest"] == digest.hex()
        assert (first["who"], first["certificate"]) == ("", "")
        assert first["peer"].startswith("ipv4:127.0.0.1:")
        assert first["roles"] == ["operator", "public", "reader", "writer"]


def test_a_new_ledger_records_reads_from_the_start(place: Place) -> None:
    """Init sets the directory, relative to config.toml; a ledger of an earlier release has none."""
    with place.served() as live:
        live.device("ct-1")
        live.client().statement(index=1)
    assert _told(place.directory / "access-log") == [("GetStatement", [[1, 1]], "OK")]
    assert '\naccess_log = "access-log"\n' in (place.directory / "config.toml").read_text()


def test_records_name_the_caller_and_refusals_too(place: Place, log: Path, tmp_path: Path) -> None:
    """A certificate that asks for what it may not read leaves its name."""
    authority = Authority(tmp_path, "authority")
    server, shown = authority.issue("server"), authority.issue("archive", uris=["spiffe://hospital.example/archive"])
    access = tmp_path / "access.toml"
    access.write_text('[[caller]]\nspiffe = "spiffe://hospital.example/archive"\nroles = ["reader"]\n')
    settings = {
        "TLS_CERTIFICATE": str(server.certificate),
        "TLS_KEY": str(server.key),
        "TLS_CLIENT_CA": str(authority.ca),
        "ACCESS": str(access),
        "ACCESS_LOG": str(log),
    }
    with place.served(**settings) as live:
        client = _impatient(live, Tls(ca=authority.ca, certificate=shown.certificate, key=shown.key))
        client.lookup(bytes(32))
        with pytest.raises(RpcError, match="has not the role operator"):
            list(client.list_statements())
    assert _told(log) == [("Lookup", [], "OK"), ("ListStatements", [], "MISSING_ROLE")]
    names = {(each["who"], len(each["certificate"]), *each["roles"]) for each in _records(log)}
    assert names == {("spiffe://hospital.example/archive", 64, "public", "reader")}


def test_a_log_that_cannot_be_written_stops_reads_and_nothing_else(place: Place, log: Path) -> None:
    """/dev/full is a disk without room: reads fail with a reason, appends and checkpoints go on, and reads come back."""
    log.mkdir()
    (log / "1-000001.jsonl").symlink_to("/dev/full")
    with place.served(ACCESS_LOG=str(log)) as live:
        device = live.device("ct-1")
        client = _impatient(live)
        for question in (
            lambda: client.statement(index=1),
            lambda: client.lookup(bytes(32)),
            lambda: client.evidence(index=1),
            lambda: list(client.list_statements()),
        ):
            with pytest.raises(UnavailableError, match="cannot be recorded now"):
                question()
        only(client.append([device.capture()]).outcomes)
        assert client.checkpoint().checkpoint.size == 3
        assert client.statement(index=0).statement.index == 0  # the founding policy is public
        (log / "1-000001.jsonl").unlink()
        assert client.statement(index=1).statement.index == 1
    said = live.log.read_text()
    assert said.count("ALARM: the access log") == 1
    assert "No space left on device" in said
    assert "is written again" in said
    assert _told(log) == [("GetStatement", [[1, 1]], "OK")]


def test_workers_have_chains_of_their_own_and_go_on_after_a_restart(place: Place, log: Path) -> None:
    """As many chains as workers, each whole, over restarts."""
    for _ in range(2):
        with place.served("--workers", "2", ACCESS_LOG=str(log)) as live:
            for _ in range(6):
                with LedgerClient(live.address, trusted=place.trusted) as client:
                    client.lookup(bytes(32))
    found = accesslog.chains(log)
    assert set(found) <= {1, 2}
    assert sum(accesslog.verify(number, paths).records for number, paths in found.items()) == 12


def test_no_answer_leaves_without_its_record_though_workers_are_killed(place: Place, log: Path) -> None:
    """Killed in the middle of reads, again and again: whatever a caller saw is in a chain that is whole."""
    seen = 0
    with place.served(ACCESS_LOG=str(log)) as live:
        live.device("ct-1")
        worker = live.workers[0]
        for _ in range(2):
            with LedgerClient(live.address, retry=Retry(attempts=1), timeout=20) as client:
                killer = threading.Timer(0.05, os.kill, (worker, signal.SIGKILL))
                killer.start()
                with suppress(UnavailableError):
                    while True:
                        client.statement(index=1)
                        seen += 1
                killer.join()
            with LedgerClient(live.address, retry=Retry(attempts=60), timeout=60) as client:
                client.statement(index=1)  # retried until the next worker is there
                seen += 1
            (worker,) = _children(live.process.pid)
    (paths,) = accesslog.chains(log).values()
    records = accesslog.verify(1, paths).records
    assert seen <= records <= seen + 2 + accesslog.verify(1, paths).torn


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture(name="written")
def _written(place: Place, log: Path) -> Path:
    with place.served(ACCESS_LOG=str(log), ACCESS_LOG_FILE="4096") as live:
        _scene(live)
        for _ in range(24):
            live.client().statement(index=2)
        list(live.client().list_statements())
    return log


def test_the_command_checks_and_shows(written: Path, tmp_path: Path) -> None:
    """Verify tells records and heads and remembers them; show answers who has seen a statement."""
    heads = tmp_path / "heads.json"
    done = run("access-log", "verify", str(written), "--heads", str(heads), "--json")
    (chain,) = json.loads(done.stdout)["chains"]
    assert (done.returncode, chain["records"], chain["files"] > 1, chain["torn"]) == (0, 25, True, 0)
    assert json.loads(heads.read_text()) == {"1": {"seq": 24, "hash": chain["head"]}}
    said = run("access-log", "verify", str(written), "--heads", str(heads)).stdout
    assert said.startswith(f"chain 1: whole, 25 records in {chain['files']} files\n")
    shown = run("access-log", "show", str(written), "--index", "3", "--json").stdout.splitlines()
    assert [json.loads(each)["method"] for each in shown] == ["ListStatements"]
    table = run("access-log", "show", str(written)).stdout.splitlines()
    assert table[0].split() == ["time", "who", "roles", "method", "asked", "statements", "outcome"]
    assert len(table) == 26
    assert "0-3" in table[-1]
    assert run("access-log", "show", str(written), "--who", "nobody", "--json").stdout == ""


def test_the_command_finds_what_was_done_to_the_log(written: Path, tmp_path: Path) -> None:
    """A changed line, a missing end, a missing chain and odd heads: one sentence and the exit code."""
    heads = tmp_path / "heads.json"
    assert run("access-log", "verify", str(written), "--heads", str(heads)).returncode == 0
    last = max(written.glob("*.jsonl"))
    content = last.read_bytes()
    last.write_bytes(content.replace(b'"OK"', b'"NO"', 1))
    assert run("access-log", "verify", str(written)).returncode == 1 or content.count(b"\n") == 1
    last.write_bytes(b"".join(content.splitlines(keepends=True)[:-1]))
    assert run("access-log", "verify", str(written)).returncode == 0
    done = run("access-log", "verify", str(written), "--heads", str(heads), "--json")
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (1, "access-log-broken")
    assert "cut off or made anew" in done.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "chain 1 is gone" in run("access-log", "verify", str(empty), "--heads", str(heads)).stderr
    assert run("access-log", "verify", str(empty)).stdout == "no chain: nothing has been recorded here\n"
    heads.write_text("[]")
    assert run("access-log", "verify", str(written), "--heads", str(heads)).returncode == 2
    assert run("access-log", "verify", str(tmp_path / "nowhere")).returncode == 1
