"""Recording what sensors saw, while they see it: segments of messages, signed on the device. Needs the base install alone.

`Recorder` (threads) and `AsyncRecorder` take messages; deploy/ROBOTS.md says how. Loaded when first used, because who only cuts a
recording into segments needs neither threads nor a spool.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from platemark.robot.aio import AsyncRecorder
    from platemark.robot.journal import SegmentJournal
    from platemark.robot.keys import open_chain
    from platemark.robot.model import JournaledSegment, KeptSegment, RecorderState, Recording
    from platemark.robot.recorder import Recorder
    from platemark.robot.segmenter import Closed, Segmenter

__all__ = [
    "AsyncRecorder",
    "Closed",
    "JournaledSegment",
    "KeptSegment",
    "Recorder",
    "RecorderState",
    "Recording",
    "SegmentJournal",
    "Segmenter",
    "open_chain",
]

_MODULES = {
    "AsyncRecorder": "aio",
    "Closed": "segmenter",
    "JournaledSegment": "model",
    "KeptSegment": "model",
    "Recorder": "recorder",
    "RecorderState": "model",
    "Recording": "model",
    "SegmentJournal": "journal",
    "Segmenter": "segmenter",
    "open_chain": "keys",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
