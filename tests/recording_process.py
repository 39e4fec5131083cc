"""A robot's program in a process of its own, for tests: `python recording_process.py DIRECTORY`.

Two cameras, a frame of each every 2 ms, windows of 40 ms, until a line comes in; then it closes its recorder and ends. Prints
one line for each segment that its recorder says is kept: recording, topic, number, and the id of the statement.
"""

import sys
import threading
import time
from pathlib import Path

from platemark import statement
from platemark.robot import JournaledSegment, Recorder, open_chain
from platemark.signing import Clock
from platemark.spool import Spool

TOPICS = ("/left/image", "/right/image")
_PAUSE = 0.002
_WINDOW_NS = 40_000_000


def frame(recording: bytes, topic: str, number: int) -> bytes:
    """The data of the `number`th frame of a topic; no two are alike."""
    return recording + topic.encode() + number.to_bytes(8, "big")


def main() -> int:
    """Record."""
    directory = Path(sys.argv[1])
    stop = threading.Event()

    def listen() -> None:
        sys.stdin.readline()
        stop.set()

    threading.Thread(target=listen, daemon=True).start()

    def kept(segment: JournaledSegment, raw: bytes) -> None:
        words = (segment.recording.hex(), segment.channel.topic, str(segment.number), statement.decode(raw).id.hex())
        # One write of a whole line: a kill leaves it out, or in.
        sys.stdout.write(" ".join(words) + "\n")
        sys.stdout.flush()

    with Spool(directory / "spool") as spool:
        recorder = Recorder(
            directory / "journal",
            chain=open_chain(directory / "robot.pem"),
            spool=spool,
            clock=Clock("ntp", 1_000_000),
            window_ns=_WINDOW_NS,
            on_kept=kept,
        )
        channels = [recorder.channel(topic, encoding="rgb8 4x4") for topic in TOPICS]
        recorder.start()
        number = 0
        while not stop.wait(_PAUSE):
            for channel in channels:
                data = frame(recorder.recording, channel.topic, number)
                assert recorder.observe(channel, data, log_time=time.time_ns())
            number += 1
        state = recorder.close()
    assert (state.unobserved, state.waiting, state.unsaved, state.fault) == (0, 0, 0, None), state
    return 0


if __name__ == "__main__":
    sys.exit(main())
