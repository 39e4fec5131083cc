"""A recording as a reader hands it over: its messages in order, the damage that was met, the proofs that it carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from platemark.segment import Channel, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Fault", "Message", "Source"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message: its channel, log and publish time (Unix ns), SHA-256 of its data as published, bytes of data."""

    channel: Channel
    log_time: int
    publish_time: int
    digest: bytes
    size: int

    @property
    def row(self) -> Row:
        """What a segment keeps of the message (rule R48)."""
        return Row(self.log_time, self.publish_time, self.digest)


@dataclass(frozen=True, slots=True)
class Fault:
    """Damage that a reader met and went on after: `where` such as "chunk at byte 4096", and `reason`."""

    where: str
    reason: str


class Source(Protocol):
    """A recording in a file or a folder. Reading it again gives the same."""

    @property
    def path(self) -> str:
        """What to call it in a report."""

    @property
    def faults(self) -> list[Fault]:
        """Damage, in the order of the file; complete once iterated to the end."""

    @property
    def proofs(self) -> list[bytes]:
        """Contents of the attachments `platemark.recording`, in the order of the file; known once opened."""

    def __iter__(self) -> Iterator[Message]:
        """The messages in order of log time, those of one time in the order of the file.

        Raises RecordingError: the file cannot be read at all.
        """
