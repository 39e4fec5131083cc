"""The recorder for asyncio: the same work in the same threads; what takes long is awaited and never holds up the loop."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from platemark.robot.model import RecorderState
from platemark.robot.recorder import Recorder
from platemark.segment import Channel

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from platemark.robot.intake import Data

__all__ = ["SMALL", "AsyncRecorder"]

SMALL = 64 * 1024
"""Data up to this many bytes is hashed in the loop, 50 us or so; greater in another thread."""


class AsyncRecorder:
    """A Recorder behind coroutines, for an `async with`; it starts there and is flushed and closed at the end.

    Its own methods raise what those of the same name of Recorder do. `channel`, `observe_digest` and `state` of the Recorder take
    no time and are called on `recorder` as they are.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    async def observe(
        self, topic: str | Channel, data: Data, *, log_time: int, publish_time: int | None = None
    ) -> bool:
        """As Recorder.observe. The data must stay as it is until this returns; messages whose order counts are awaited in it."""
        try:
            size = memoryview(cast("Buffer", data)).nbytes
        except TypeError:
            size = 0  # refused with the reason
        if size <= SMALL:
            return self.recorder.observe(topic, data, log_time=log_time, publish_time=publish_time)
        return await asyncio.to_thread(self.recorder.observe, topic, data, log_time=log_time, publish_time=publish_time)

    async def flush(self, patience: float = 30.0) -> bool:
        """As Recorder.flush."""
        return await asyncio.to_thread(self.recorder.flush, patience)

    async def close(self, patience: float = 30.0) -> RecorderState:
        """As Recorder.close."""
        return await asyncio.to_thread(self.recorder.close, patience)

    async def __aenter__(self) -> Self:
        self.recorder.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.recorder.__exit__, kind, error, trace)
