"""`platemark monitor`: alarms, metrics, and an end only when it is told."""

import json
import os
import signal
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from builders import LOG_KEY, ORIGIN
from platemark import note
from platemark.audit_files import DirectorySource
from platemark.cli.auditing import Keys, StateFile
from platemark.cli.metrics import Metrics
from platemark.cli.monitor import Alarms, Monitor
from platemark.errors import PlatemarkError
from published import VKEY, entries, publish, served

KEYS = Keys(ORIGIN, (note.NoteSigner(ORIGIN, LOG_KEY).verifier,))


class Desk:
    """A monitor of a directory, with a clock and a webhook that are the test's."""

    def __init__(self, folder: Path) -> None:
        self.log = publish(folder / "log", entries(300))
        self.taken: list[dict[str, Any]] = []
        self.takes = True
        self.now = 1000.0
        self.metrics = Metrics(now=lambda: self.now)
        self.stop = threading.Event()
        self.kept = StateFile(folder / "state", ORIGIN)
        self.monitor = Monitor(
            [DirectorySource(self.log)],
            KEYS,
            self.kept,
            alarms=Alarms(self._post),
            metrics=self.metrics,
            stop=self.stop,
            now=lambda: self.now,
        )

    def _post(self, body: bytes) -> bool:
        if self.takes:
            self.taken.append(json.loads(body))
        return self.takes

    def value(self, name: str, **labels: str) -> float | None:
        """A metric."""
        return self.metrics.registry.get_sample_value(f"platemark_monitor_{name}", labels)


def test_good_turns(tmp_path: Path) -> None:
    """An audit that finds nothing makes the age small again and alarms nobody."""
    desk = Desk(tmp_path)
    desk.now = 1050.0
    assert desk.value("last_good_age_seconds") == 50
    assert desk.monitor.turn() == "nothing-found"
    assert desk.value("last_good_age_seconds") == 0
    assert desk.value("last_good_timestamp_seconds") == 1050
    assert (desk.value("size"), desk.value("entries_read_total")) == (300, 300)
    publish(desk.log, entries(310))
    desk.monitor.turn()
    assert (desk.value("size"), desk.value("entries_read_total")) == (310, 310)
    assert desk.taken == []


def test_an_alarm_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A finding goes to the webhook, to the metrics and to standard error, once, as proto/audit.md E19 says."""
    desk = Desk(tmp_path)
    desk.monitor.turn()
    before = (desk.log / "checkpoint").read_text()
    publish(desk.log, entries(400, other_from=299))
    desk.now = 2000.0
    assert [desk.monitor.turn(), desk.monitor.turn()] == ["findings", "findings"]
    (body,) = desk.taken
    assert {name: body[name] for name in ("v", "log", "time", "size")} == {
        "v": 1,
        "log": ORIGIN,
        "time": 2000,
        "size": 400,
    }
    (finding,) = body["findings"]
    assert (finding["code"], finding["severity"], finding["position"]) == ("history-rewritten", "critical", 300)
    assert finding["proof"] == [before, (desk.log / "checkpoint").read_text()]
    assert desk.value("findings_total", code="history-rewritten", severity="critical") == 1
    assert desk.value("audits_total", result="findings") == 2
    assert desk.value("last_good_age_seconds") == 1000
    assert capsys.readouterr().err.count("history-rewritten") == 1


def test_an_alarm_that_is_not_taken_is_kept(tmp_path: Path) -> None:
    """It is sent again at every turn, until it is taken."""
    desk = Desk(tmp_path)
    publish(desk.log, entries(300), head=b"nothing")
    desk.takes = False
    desk.monitor.turn()
    assert (desk.taken, desk.value("alarms_pending")) == ([], 1)
    desk.takes = True
    desk.monitor.turn()
    assert ([len(each["findings"]) for each in desk.taken], desk.value("alarms_pending")) == ([1], 0)


def test_failures_do_not_end_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A log that is not there is a failed turn, and the next one may be good."""
    desk = Desk(tmp_path)
    away = desk.log.rename(tmp_path / "away")
    assert desk.monitor.turn() == "failed"
    assert "checkpoint" in capsys.readouterr().err
    away.rename(desk.log)
    assert desk.monitor.turn() == "nothing-found"
    assert desk.value("audits_total", result="failed") == 1


def test_told_to_end_in_the_middle(tmp_path: Path) -> None:
    """An audit under way is left at once, and is neither good nor failed."""
    desk = Desk(tmp_path)
    desk.stop.set()
    assert desk.monitor.turn() == "stopped"
    assert desk.value("audits_total", result="failed") == 0
    assert desk.kept.state.note is None


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:99999", "127.0.0.1:x", ":1"])
def test_addresses(address: str) -> None:
    """What is no HOST:PORT is refused in one sentence."""
    with pytest.raises(PlatemarkError, match="--listen"), Metrics().served(address):
        raise AssertionError


class Hook(SimpleHTTPRequestHandler):
    """Takes alarms."""

    bodies: ClassVar[list[bytes]] = []
    heard: ClassVar[threading.Event] = threading.Event()

    def do_POST(self) -> None:
        """Take one."""
        assert self.headers["Content-Type"] == "application/json"
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()
        self.heard.set()

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_the_real_thing(tmp_path: Path) -> None:
    """A process: it serves metrics, posts the alarm, keeps the webhook's address to itself, and ends with 0 on SIGTERM."""
    log = publish(tmp_path / "log", entries(300), head=b"nothing")
    with served(log) as url, served(tmp_path, Hook) as to:
        words = ["monitor", url, "--vkey", VKEY, "--listen", "127.0.0.1:0", "--webhook", f"{to}/secret", "--json"]
        command = [sys.executable, "-m", "platemark", *words]
        environment = {**os.environ, "PYTHONWARNINGS": "error"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as child:
            assert child.stderr is not None
            said = child.stderr.readline().decode()
            assert Hook.heard.wait(60)
            shown = httpx.get(said.removeprefix("metrics at ").strip(), trust_env=False).text
            child.send_signal(signal.SIGTERM)
            outcomes, errors = child.communicate(timeout=60)
    assert child.returncode == 0, errors
    assert 'platemark_monitor_findings_total{code="checkpoint-malformed",severity="critical"} 1.0' in shown
    assert json.loads(Hook.bodies[0])["findings"][0]["code"] == "checkpoint-malformed"
    assert json.loads(outcomes)["result"] == "findings"
    assert b"secret" not in errors
