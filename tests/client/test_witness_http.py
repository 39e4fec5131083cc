"""A witness as its clients meet it: a real process on loopback, spoken to over HTTP."""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from commands import platemark
from witnessed import History, Reply, Served, ask, cosigned, serving

from platemark import witness_wire
from platemark.cosignature import CosignatureVerifier, parse_vkey
from platemark.witness.app import MAX_BODY

LOG, OTHER = History(), History(seed="b")
TEXT = "text/plain; charset=utf-8"
PAGE = f"/{hashlib.sha256(LOG.origin.encode()).hexdigest()}/checkpoint"


def found(directory: Path) -> list[CosignatureVerifier]:
    """A new witness of LOG; its keys."""
    made = platemark("witness", "init", directory, "--name", "witness.example/w1", "--json")
    assert platemark("witness", "add-log", directory, LOG.verifier.vkey).code == 0
    verifiers = [parse_vkey(each) for each in made.json()["vkeys"]]
    return [each for each in verifiers if isinstance(each, CosignatureVerifier)]


@pytest.fixture(name="shared", scope="module")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A witness that has cosigned size 5 of LOG, for tests that move it no further."""
    directory = tmp_path_factory.mktemp("witness") / "w"
    found(directory)
    with serving(directory) as served:
        assert served.post(LOG.body(0, 5)).status == 200
        yield served


def test_a_checkpoint_is_cosigned_and_shown(tmp_path: Path) -> None:
    """From nothing to a size, on one connection; whoever asks for the newest gets the note with both cosignatures."""
    verifiers = found(tmp_path / "w")
    with serving(tmp_path / "w") as served, closing(served.connection()) as connection:
        assert ask(connection, "GET", PAGE).status == 404
        for old, new in ((0, 0), (0, 3), (3, 3), (3, 9)):
            said = ask(connection, "POST", "/add-checkpoint", LOG.body(old, new))
            assert (said.status, said.media) == (200, TEXT)
            first, second = cosigned(LOG.note(new), said.body, verifiers)
            assert first == second > 0
            assert ask(connection, "GET", PAGE) == Reply(200, TEXT, LOG.note(new) + said.body)


@pytest.mark.parametrize(
    ("sent", "reply"),
    [
        (("POST", "/add-checkpoint", b"old 5\n"), Reply(400, TEXT, b"empty line")),
        (("POST", "/add-checkpoint", LOG.body(5, 5)[:-1]), Reply(400, TEXT, b"line feed")),
        (("POST", "/add-checkpoint", History(key="stranger").body(5, 9)), Reply(403, TEXT, b"no signature")),
        (("POST", "/add-checkpoint", History(origin="x.example").body(0, 9)), Reply(404, TEXT, b"not a log")),
        (("POST", "/add-checkpoint", LOG.body(3, 9)), Reply(409, "text/x.tlog.size", b"5\n")),
        (("POST", "/add-checkpoint", OTHER.body(5, 9)), Reply(422, TEXT, b"root")),
        (("POST", "/add-checkpoint", OTHER.body(5, 5)), Reply(422, TEXT, b"another root")),
        (("GET", "/add-checkpoint", None), Reply(405, TEXT, b"Method")),
        (("PUT", "/add-checkpoint", LOG.body(5, 9)), Reply(405, TEXT, b"Method")),
        (("POST", PAGE, b""), Reply(405, TEXT, b"Method")),
        (("GET", "/", None), Reply(404, TEXT, b"Not Found")),
        (("GET", "/add-checkpoint/", None), Reply(404, TEXT, b"Not Found")),
        (("GET", PAGE.upper(), None), Reply(404, TEXT, b"Not Found")),
        (("GET", f"/{bytes(32).hex()}/checkpoint", None), Reply(404, TEXT, b"nothing cosigned")),
        (("GET", "/healthz", None), Reply(200, TEXT, b"ok 1\n")),
    ],
    ids=range(15),
)
def test_every_status_over_http(shared: Served, sent: tuple[str, str, bytes | None], reply: Reply) -> None:
    """Status, content type and one line of text, as section 9 of proto/log.md says."""
    with closing(shared.connection()) as connection:
        said = ask(connection, *sent)
        assert (said.status, said.media, reply.body in said.body) == (reply.status, reply.media, True), said
        assert said.body.count(b"\n") == 1
        assert ask(connection, "GET", "/healthz").status == 200  # on the same connection


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_not_read(shared: Served, *, chunked: bool) -> None:
    """413, from the length that is announced or once so much has come."""
    with closing(shared.connection()) as connection:
        connection.putrequest("POST", "/add-checkpoint")
        if chunked:
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders()
            connection.send(b"%x\r\n" % (MAX_BODY + 1) + bytes(MAX_BODY + 1))
        else:
            connection.putheader("Content-Length", str(MAX_BODY + 1))
            connection.endheaders()
        response = connection.getresponse()
        assert (response.status, response.read()) == (413, b"more than %d bytes\n" % MAX_BODY)


def test_the_greatest_body_is_read(shared: Served) -> None:
    """A note of full size behind a full proof is judged and not cut."""
    full = witness_wire.encode_request(old_size=2**63 - 1, proof=[bytes(32)] * 63, note=b"x" * 262_144)
    assert len(full) < MAX_BODY
    reply = shared.post(full)
    assert (reply.status, reply.body) == (400, b"note: no empty line before the signatures\n")


def test_metrics_say_what_was_cosigned(shared: Served) -> None:
    """Sizes by log and answers by status, in the Prometheus text format."""
    shared.post(LOG.body(3, 9))
    shown = shared.get("/metrics").body.decode()
    assert f'platemark_witness_size{{origin="{LOG.origin}"}} 5.0\n' in shown
    assert 'platemark_witness_answers_total{status="409"}' in shown


def test_garbage_never_becomes_a_fault(shared: Served) -> None:
    """Changed and arbitrary requests, well framed or not: never a status of 500 and up, and afterwards it answers as before."""
    dice = random.Random(9)
    paths = ["/add-checkpoint", "/", PAGE, "/%2e%2e/checkpoint", "/%ff/checkpoint", "/metrics?x", "//checkpoint"]
    with closing(shared.connection()) as connection:
        for _ in range(300):
            good = bytearray(LOG.body(5, 5 + dice.randrange(1, 4)))
            for _ in range(dice.randrange(1, 4)):
                good[dice.randrange(len(good) - 100)] = dice.randrange(256)
            reply = ask(
                connection, dice.choice(["POST", "POST", "POST", "GET", "BREW"]), dice.choice(paths), bytes(good)
            )
            assert reply.status < 500, good
    for _ in range(40):
        raw = bytes(dice.randrange(256) for _ in range(dice.randrange(1, 200)))
        head = dice.choice([b"", b"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n"])
        with socket.create_connection((shared.host, shared.port), timeout=30) as bare:
            bare.sendall(head + raw)
            bare.shutdown(socket.SHUT_WR)
            answer = b""
            while more := _some(bare):
                answer += more
        assert not answer.startswith(b"HTTP/1.1 5"), answer
    assert shared.post(LOG.body(0, 5)) == Reply(409, "text/x.tlog.size", b"5\n")


def _some(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


def test_two_ledgers_with_one_key_are_exposed(tmp_path: Path) -> None:
    """The second history gets nothing cosigned, and what it signed stands in the witness's log as proof, once."""
    found(tmp_path / "w")
    with serving(tmp_path / "w") as served:
        assert served.post(LOG.body(0, 8)).status == 200
        assert [served.post(OTHER.body(0, 8)).body for _ in range(2)] == [b"8\n"] * 2
        assert [served.post(OTHER.body(8, new)).status for new in (8, 8, 9, 12)] == [422] * 4
        assert served.post(LOG.body(8, 9)).status == 200
        served.process.send_signal(signal.SIGTERM)
        code, errors = served.wait()
    assert (code, errors.count("SPLIT VIEW"), errors.count("\n")) == (0, 1, 1)


def test_a_killed_witness_goes_on_where_it_was(tmp_path: Path) -> None:
    """Killed in the middle of requests, ten times: what was answered is never taken back, and it starts again each time."""
    found(tmp_path / "w")
    size = 0
    for _ in range(10):
        with serving(tmp_path / "w") as served:
            now = served.post(LOG.body(0, 0)).body
            # The last request may have been persisted without its answer, and no other.
            assert size <= int(now if now[:1].isdigit() else b"0") <= size + 1
            size = int(now) if now[:1].isdigit() else 0
            killer = threading.Timer(0.05, served.process.kill)
            killer.start()
            try:
                while size < 600:
                    assert served.post(LOG.body(size, size + 1)).status == 200
                    size += 1
            except (OSError, http.client.HTTPException):
                pass
            killer.join()
            assert served.wait()[0] == -signal.SIGKILL
    assert size > 0
    with serving(tmp_path / "w") as served:
        assert size <= int(served.post(LOG.body(0, 1)).body) <= size + 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    """Exit code 0, nothing on standard error, also with a connection open."""
    found(tmp_path / "w")
    with serving(tmp_path / "w") as served, closing(served.connection()) as connection:
        assert ask(connection, "GET", "/healthz").status == 200
        served.process.send_signal(number)
        assert served.wait() == (0, "")


def test_a_log_added_while_it_serves_is_known_at_once(tmp_path: Path) -> None:
    """Another process adds it; the first request after that is answered."""
    found(tmp_path / "w")
    late = History(origin="log.example/late", key="late")
    with serving(tmp_path / "w") as served:
        assert served.post(late.body(0, 3)).status == 404
        assert platemark("witness", "add-log", tmp_path / "w", late.verifier.vkey).code == 0
        assert served.post(late.body(0, 3)).status == 200


def test_a_database_that_goes_away_ends_the_cosigning(tmp_path: Path) -> None:
    """503 in one line, nothing cosigned, no new database, and no path or traceback in the answer."""
    found(tmp_path / "w")
    with serving(tmp_path / "w") as served:
        (tmp_path / "w" / "witness.db").unlink()
        for reply in (served.post(LOG.body(0, 3)), served.get("/healthz"), served.get(PAGE), served.get("/metrics")):
            assert (reply.status, reply.body.count(b"\n")) == (503, 1)
            assert str(tmp_path).encode() not in reply.body
        served.process.send_signal(signal.SIGTERM)
        code, errors = served.wait()
    assert (code, errors.count("\n"), errors.count("there is no such database"), "Traceback" in errors) == (
        0,
        4,
        4,
        False,
    )
    assert not (tmp_path / "w" / "witness.db").exists()


def test_it_says_its_url_in_one_plain_line(tmp_path: Path) -> None:
    """Without --json."""
    found(tmp_path / "w")
    words = [sys.executable, "-m", "platemark", "witness", "serve", str(tmp_path / "w"), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
        assert (process.stdout.read(), process.wait(timeout=60)) == ("", 0)
    assert line.startswith("witness witness.example/w1 takes requests at http://127.0.0.1:")


def test_the_json_line_is_one_object(tmp_path: Path) -> None:
    """With the URL, the name and the process id."""
    found(tmp_path / "w")
    words = [
        sys.executable,
        "-m",
        "platemark",
        "witness",
        "serve",
        str(tmp_path / "w"),
        "--listen",
        "[::1]:0",
        "--json",
    ]
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        process.terminate()
    assert (said["url"].rpartition(":")[0], said["name"], said["pid"]) == (
        "http://[::1]",
        "witness.example/w1",
        process.pid,
    )
