"""What a `Receiver` needs of whoever it receives for: a gateway, or a gate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from platemark.gateway.journal import Received
    from platemark.gateway.settings import Limits, Receive

__all__ = ["Keeper", "Room", "Site"]


class Site(Protocol):
    """The settings that bear on receiving."""

    @property
    def receive(self) -> Receive:
        """Who may send, and what."""
        ...

    @property
    def limits(self) -> Limits:
        """The bounds."""
        ...

    @property
    def objects(self) -> Path:
        """Where objects arrive."""
        ...


class Keeper(Protocol):
    """Who takes an object that has arrived and is on disk. Called by many threads."""

    def add(self, received: Received) -> int | None:
        """Take it; the C-STORE status to answer, None for success. Raises JournalError, which is answered with A700."""
        ...


class Room(Protocol):
    """Whether there is room for one more object."""

    def refusal(self) -> str | None:
        """Why not, None if there is. Raises JournalError, OSError."""
        ...

    def added(self, size: int) -> None:
        """An object of so many bytes was taken."""
        ...
