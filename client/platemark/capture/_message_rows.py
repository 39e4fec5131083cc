"""The messages of a recording between two orders: as they lie in its files, and by log time."""

from __future__ import annotations

import struct
from array import array
from typing import TYPE_CHECKING

from platemark.errors import DecoderMissingError, RecordingError
from platemark.recording.model import Fault, Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from platemark.segment import Channel

__all__ = ["Faults", "MessageRows"]

_ROW = struct.Struct("<QII32s")
_BLOCK = 1 << 16


class Faults:
    """Faults as they are met; past `limit` one more says that there are others."""

    def __init__(self, limit: int) -> None:
        self.found: list[Fault] = []
        self._limit = limit

    def note(self, where: str, reason: str) -> None:
        """Add one."""
        if len(self.found) < self._limit:
            self.found.append(Fault(where, reason))
        elif len(self.found) == self._limit:
            self.found.append(Fault(where, f"more than {self._limit} faults: this one and others are not listed"))


class MessageRows:
    """At most `limit` messages, 56 bytes each. RecordingError past it."""

    def __init__(self, path: str, limit: int) -> None:
        self._path, self._limit = path, limit
        self._times = array("Q")
        self._blocks: list[bytearray] = []
        self._channels: list[Channel] = []
        self._numbers: dict[int, int] = {}
        self._latest = 0
        self._ascending = True

    def add(self, channel: Channel, log_time: int, publish_time: int, digest: bytes, size: int) -> None:
        """Append a message as the next of the recording's files. Channels are told apart by identity, which is fast."""
        count = len(self._times)
        if count % _BLOCK == 0:
            if count >= self._limit:
                raise RecordingError(self._path, f"more than {self._limit} messages")
            self._blocks.append(bytearray())
        number = self._numbers.get(id(channel))
        if number is None:
            number = self._numbers[id(channel)] = len(self._channels)
            self._channels.append(channel)
        if log_time < self._latest:
            self._ascending = False
        self._latest = log_time
        self._times.append(log_time)
        self._blocks[-1] += _ROW.pack(publish_time, size, number, digest)

    def __len__(self) -> int:
        return len(self._times)

    def __iter__(self) -> Iterator[Message]:
        """By log time; those of equal times in the order of `add`."""
        times, blocks, channels, unpack = self._times, self._blocks, self._channels, _ROW.unpack_from
        for place in self._order():
            block, row = divmod(place, _BLOCK)
            publish_time, size, number, digest = unpack(blocks[block], row * _ROW.size)
            yield Message(channels[number], times[place], publish_time, digest, size)

    def _order(self) -> Iterable[int]:
        if self._ascending:
            return range(len(self._times))
        try:
            import numpy as np
        except ModuleNotFoundError:
            reason = 'ordering its messages needs numpy: pip install "platemark[robot]"'
            raise DecoderMissingError(self._path, reason, extra="robot") from None
        order = np.argsort(np.frombuffer(self._times, dtype=np.uint64), kind="stable")
        return (place for start in range(0, len(order), _BLOCK) for place in order[start : start + _BLOCK].tolist())
