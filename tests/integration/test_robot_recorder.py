"""The recorder of deploy/ROBOTS.md, as it is printed there, with a real ledger."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from integration.live import NOW, Place, Writer, only
from robots import DEVICE

from platemark import statement
from platemark.key_files import read_private, write_private
from platemark.keys import generate
from platemark.rpc.sync import LedgerClient

_PAGE = Path(__file__).parents[2] / "deploy/ROBOTS.md"


def _camera() -> Iterator[tuple[int, Any]]:
    """Three seconds of a synthetic camera."""
    noise = np.random.default_rng(7)
    for number in range(90):
        yield NOW + number * 10**9 // 30, noise.integers(0, 256, (48, 64, 3), dtype=np.uint8)


def test_the_example_of_the_page(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Recorded, sent and checked: 90 frames are in segments of an enrolled sensor, and the last one is proven."""
    (code,) = re.findall(r"```python\n(.*?)```", _PAGE.read_text("utf-8"), re.DOTALL)
    write_private(tmp_path / "robot.pem", generate("ed25519"))
    registrar = place.registrar()
    robot = Writer(read_private(tmp_path / "robot.pem"), DEVICE, registrar.log)
    with place.served() as live:
        only(live.client().append([registrar.enrolment(robot, "sensor")]).outcomes)

        @contextmanager
        def connect() -> Iterator[LedgerClient]:
            with LedgerClient(live.address, trusted=place.trusted) as client:
                yield client

        names = {"DIRECTORY": tmp_path, "camera": _camera, "connect": connect}
        exec(compile(code, str(_PAGE), "exec"), names)  # noqa: S102 - our own page
        segments = list(live.client().list_statements(kid=robot.key.kid))
    logged = [statement.decode(each.statement) for each in segments]
    first = logged[0].payload["recording"]
    assert {(each.kind, each.payload["recording"]) for each in logged} == {("segment", first)}
    assert [each.payload["number"] for each in logged] == list(range(len(logged)))
    assert sum(cast("int", each.payload["count"]) for each in logged) == 90
    assert not any(each.conditions for each in segments)
    count, number = (cast("int", logged[-1].payload[name]) for name in ("count", "number"))
    said = f"frame {count - 1} of segment {number}, log index {segments[-1].index}\n"
    assert capsys.readouterr().out == said
