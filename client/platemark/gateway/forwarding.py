"""Forwarding: every object that the gateway acknowledged goes to the PACS, as the very bytes that came.

One `Forwarder` per destination, in order of receipt. It works from the journal alone, so that it may be ended at any
point and started again. An object is sent again when nobody knows whether it arrived: the PACS may then get it twice,
which is harmless, as storing an instance twice is storing it once (PS3.4 annex B.2.2).
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from platemark.gateway.answers import Answer, Outcome
from platemark.gateway.line import Line

if TYPE_CHECKING:
    from platemark.gateway.calling import Peer
    from platemark.gateway.journal import Delivery, Journal, Received

__all__ = ["OBJECT_BACKOFF", "Backoff", "Destination", "Forwarder", "Stop"]

_log = logging.getLogger("platemark.gateway.forward")
_BATCH = 64
_MOST_LINES = 4
_SECOND = 10**9
_SUPERSEDED = Answer(Outcome.NEVER, "superseded", "the PACS has a newer object of this instance, with other bytes")
_SAID = {
    Outcome.STORED: "stored with a warning",
    Outcome.AGAIN: "not forwarded, it is sent again",
    Outcome.NEVER: "not forwarded, a person has to look",
}


class Stop(Protocol):
    """What threading.Event and multiprocessing.Event have in common."""

    def is_set(self) -> bool:
        """Whether it is time to end."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait so many seconds for that, or less."""
        ...


@dataclass(frozen=True)
class Backoff:
    """Waits that double from `first_s` to `most_s` seconds, each less up to a half, so that many do not come at once."""

    first_s: float = 1.0
    most_s: float = 60.0

    def wait(self, failures: int, chance: float) -> float:
        """Seconds after so many failures in a row; `chance` is from 0 to 1."""
        whole: float = min(self.most_s, self.first_s * 2.0 ** min(max(failures - 1, 0), 40))
        return whole * (1 - chance / 2)


OBJECT_BACKOFF = Backoff(10.0, 3600.0)
"""For objects that fail as such, while others go."""


@dataclass(frozen=True, kw_only=True)
class Destination:
    """A PACS by the name that the journal has for it, and how patiently it is tried.

    After `tries` failures that may be the object's own it no longer holds up those behind it, and is tried again at
    growing intervals of `object_backoff`. With `commitment` it counts as delivered only when the PACS has committed to
    it, and not yet when it was stored. With `pass_calling` each object goes under the AE title of who sent it to us. An
    association without work is released after `idle_s` seconds.
    """

    name: str
    peer: Peer
    commitment: bool = False
    pass_calling: bool = False
    tries: int = 3
    backoff: Backoff = Backoff()
    object_backoff: Backoff = OBJECT_BACKOFF
    idle_s: float = 30.0


class Forwarder:
    """Sends what the journal has for one destination. For one thread; one per destination.

    `clock` gives monotonic seconds, `now` Unix nanoseconds, `chance` numbers from 0 to 1; `told` hears every answer.
    """

    def __init__(
        self,
        journal: Journal,
        destination: Destination,
        *,
        told: Callable[[Received, Answer], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], int] = time.time_ns,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.destination = destination
        self._journal = journal
        self._lines: dict[str, Line] = {}  # by the AE title that we go by, least recently used first
        self._told, self._clock, self._now, self._chance = told, clock, now, chance
        self._failures = 0  # of the destination, in a row
        self._tries: dict[str, int] = {}  # of objects that failed as such, by object id
        self._idle_since: float | None = None

    def close(self) -> None:
        """End the associations."""
        while self._lines:
            self._lines.popitem()[1].close()

    def turn(self, stop: Stop | None = None) -> float:
        """Send what waits now; how many seconds to wait before the next turn, 0 when nothing is wrong.

        Raises JournalError.
        """
        while deliveries := self._journal.to_forward(self.destination.name, _BATCH):
            self._idle_since = None
            for each in deliveries:
                self._line(each.received).expect(each.received)
            for delivery in deliveries:
                if stop is not None and stop.is_set():
                    return 0.0
                wait = self._send(delivery)
                if wait:
                    return wait
        self._rest()
        return 0.0

    def _send(self, delivery: Delivery) -> float:
        """One object; seconds to wait before anything else is sent."""
        received = delivery.received
        # What failed before may have been overtaken; a PACS keeps what came last, and has been committed to by its name.
        if delivery.attempts and self._journal.superseded(received, self.destination.name):
            self._refused(received, _SUPERSEDED)
            return 0.0
        try:
            answer = self._line(received).store(received)
        except Exception as error:  # noqa: BLE001 - whatever an object brings out in pynetdicom: the others go on
            self.close()
            answer = Answer(Outcome.AGAIN, "fault", f"a fault of this program ({type(error).__name__})")
        if self._told is not None:
            self._told(received, answer)
        if answer.outcome is Outcome.STORED:
            self._stored(received, answer)
            return 0.0
        if answer.outcome is Outcome.NEVER:
            self._refused(received, answer)
            return 0.0
        return self._again(received, answer)

    def _stored(self, received: Received, answer: Answer) -> None:
        self._failures = 0
        self._tries.pop(received.object_id, None)
        if answer.name != "stored":
            self._say(logging.WARNING, received, answer)
        # Crash before this line: the PACS has the object and the journal does not know; it is sent once more.
        if self.destination.commitment:
            self._journal.sent(received.object_id, self.destination.name)
        else:
            self._journal.forwarded(received.object_id, self.destination.name)

    def _refused(self, received: Received, answer: Answer) -> None:
        """It never will be taken: it is kept, named, and does not block those behind it."""
        self._failures = 0
        self._tries.pop(received.object_id, None)
        self._say(logging.ERROR, received, answer)
        self._journal.forward_failed(received.object_id, self.destination.name, str(answer), again=False)

    def _again(self, received: Received, answer: Answer) -> float:
        object_id, place = received.object_id, self.destination
        if self._failures == 0 or answer.of_object:
            self._say(logging.WARNING, received, answer)
        if answer.of_object:
            tries = self._tries[object_id] = self._tries.get(object_id, 0) + 1
            if tries >= place.tries:
                # Those behind it go on; it comes again in its own time.
                wait = place.object_backoff.wait(tries - place.tries + 1, self._chance())
                not_before = self._now() + int(wait * _SECOND)
                self._journal.forward_failed(object_id, place.name, str(answer), again=True, not_before_ns=not_before)
                return 0.0
        self._failures += 1
        self._journal.forward_failed(object_id, place.name, str(answer), again=True)
        return place.backoff.wait(self._failures, self._chance())

    def _line(self, received: Received) -> Line:
        """The line for this object; some are kept, as each is an association that the PACS has to bear."""
        peer = self.destination.peer
        title = received.calling if self.destination.pass_calling and _is_title(received.calling) else peer.calling
        line = self._lines.pop(title, None) or Line(replace(peer, calling=title))
        while len(self._lines) >= _MOST_LINES:
            self._lines.pop(next(iter(self._lines))).close()
        self._lines[title] = line
        return line

    def _rest(self) -> None:
        """Nothing to send: after a while the association is released."""
        if self._idle_since is None:
            self._idle_since = self._clock()
        elif self._clock() - self._idle_since > self.destination.idle_s:
            self.close()

    def _say(self, level: int, received: Received, answer: Answer) -> None:
        """No UID of the object: they are personal data, and the journal has them."""
        about = {"object": received.object_id, "destination": self.destination.name}
        _log.log(
            level, "object " + _SAID[answer.outcome], extra={**about, "fault": answer.name, "reason": answer.reason}
        )


def _is_title(text: str) -> bool:
    """Whether we may call ourselves that (PS3.5 6.2, VR AE); a sender may call itself anything."""
    return 1 <= len(text) <= 16 and text.isascii() and text.isprintable() and "\\" not in text and text == text.strip()
