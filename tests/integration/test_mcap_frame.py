"""Single frames taken out of sealed recordings, and pictures checked against the message that was proven."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import pytest
import recordings
from commands import platemark
from integration.live import Live
from integration.robots import Robot, robot_at


@pytest.fixture(name="robot")
def _robot(live: Live, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Robot]:
    with robot_at(live, tmp_path, request.node.name) as robot:
        yield robot


def test_a_frame_is_taken_out_and_checked(robot: Robot, tmp_path: Path) -> None:
    """A frame as PNG with the proof of this message alone; another encoding of the same samples matches, others do not."""
    samples = list(recordings.frames(60, 160, 120))
    sealed, png = robot.sealed("run.mcap", samples), tmp_path / "frame.png"
    words = ("mcap", "frame", sealed, "--topic", "/camera/image_raw", "--number", 37, "--out", png, "--json")
    taken = platemark(*words)
    assert (taken.code, int(taken.json()["log_time"])) == (0, samples[37].log_time)
    verdict = robot.judged(png, code=0)
    assert (verdict["message"]["as"], int(verdict["message"]["log_time"])) == ("picture", samples[37].log_time)
    pixels = imagecodecs.png_decode(png.read_bytes())
    png.write_bytes(imagecodecs.png_encode(pixels, level=0))
    assert robot.judged(png, code=0)["message"]["as"] == "samples"
    pixels = pixels.copy()
    pixels[3, 4, 1] ^= 1
    png.write_bytes(imagecodecs.png_encode(pixels))
    assert robot.judged(png, code=1)["message"] is None


def test_jpeg_and_raw_frames(robot: Robot, tmp_path: Path) -> None:
    """A JPEG topic gives the JPEG as published; packets are taken raw; both are checked."""
    source = robot.sealed("kinds.mcap", recordings.mixed(1))
    jpeg, packet = tmp_path / "frame.jpg", tmp_path / "packet.bin"
    frame = ("mcap", "frame", source, "--number", 3)
    assert platemark(*frame, "--topic", "/camera/compressed", "--out", jpeg).code == 0
    assert robot.judged(jpeg, code=0)["message"]["as"] == "picture"
    assert platemark(*frame, "--topic", "/camera/h264", "--out", packet).code == 2
    assert platemark(*frame, "--topic", "/camera/h264", "--out", packet, "--raw").code == 0
    assert robot.judged(packet, code=0)["message"]["as"] == "message"
    ran = platemark(*frame, "--topic", "/nothing", "--out", tmp_path / "x.png")
    assert (ran.code, "has no topic /nothing" in ran.err) == (2, True)
