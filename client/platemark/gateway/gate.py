"""The gate: a Storage SCP in front of an AI or a reader. What has a record passes with its bytes untouched, the rest is kept.

Nothing is promised early: the sender hears success when the reader has stored the object, or when the quarantine has it on
disk and the policy says so. Until then the object is in objects/, which every start empties: its sender has had no answer
and sends it again. A reader may then get it twice, which is harmless (PS3.4 annex B.2.2).
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from platemark.errors import PlatemarkError
from platemark.gateway.answers import Answer, Outcome
from platemark.gateway.gate_evidence import AwayError
from platemark.gateway.line import Line

if TYPE_CHECKING:
    from platemark.gateway.calling import Peer
    from platemark.gateway.gate_settings import Policy
    from platemark.gateway.journal import Received
    from platemark.gateway.judging import Judge, Judgement
    from platemark.gateway.quarantine import Quarantine

__all__ = ["Gate", "GateTally", "Readers"]

_log = logging.getLogger("platemark.gateway.gate")
_PROCESSING_FAILURE, _NOT_SUPPORTED, _NOT_AUTHORISED = 0x0110, 0x0122, 0x0124
_OUT_OF_RESOURCES = 0xA700
_FINAL = {"not-accepted": _NOT_SUPPORTED}


class GateTally:
    """What a gate tells its metrics. The methods are called by many threads."""

    def judged(self, code: str, /) -> None:
        """An object was judged: `passed`, or why not."""

    def read(self, name: str, /) -> None:
        """The reader was sent an object: `stored`, or what it said instead."""


class Readers:
    """Some associations with the reader, each used by one sender at a time and kept between objects.

    With `pass_calling` an object goes under the AE title of its sender. `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        peer: Peer,
        number: int,
        *,
        pass_calling: bool,
        idle_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._peer, self._pass_calling, self._idle_s, self._clock = peer, pass_calling, idle_s, clock
        # Last in, first out: what is not needed gets idle, and is released.
        self._free: queue.LifoQueue[tuple[Line, float]] = queue.LifoQueue()
        for _ in range(number):
            self._free.put((Line(peer), clock()))

    def store(self, received: Received) -> Answer:
        """Send one object; waits until an association is free."""
        line, _ = self._free.get()
        try:
            title = received.calling if self._pass_calling else self._peer.calling
            if line.peer.calling != title:
                line.close()
                line = Line(replace(self._peer, calling=title))
            return line.store(received)
        finally:
            self._free.put((line, self._clock()))

    def rest(self, *, everything: bool = False) -> None:
        """Release what has been idle for long, or all that is not in use."""
        taken = []
        with contextlib.suppress(queue.Empty):
            while True:
                taken.append(self._free.get_nowait())
        for line, since in reversed(taken):
            if everything or self._clock() - since > self._idle_s:
                line.close()
            self._free.put((line, since))


class Gate:
    """Takes what a `Receiver` received. Safe to share between threads; no more than there are processors judge at once."""

    def __init__(
        self, judge: Judge, readers: Readers, quarantine: Quarantine, policy: Policy, *, tally: GateTally | None = None
    ) -> None:
        self._judge, self._readers, self._quarantine, self._policy = judge, readers, quarantine, policy
        self._tally = tally or GateTally()
        self._judging = threading.BoundedSemaphore(os.cpu_count() or 1)

    def add(self, received: Received) -> int | None:
        """Judge the object and do what follows; the C-STORE status, None for success."""
        try:
            with self._judging:
                judgement = self._judge.judge(received)
            self._tally.judged(judgement.code)
            return self._passed(received, judgement) if judgement.passed else self._kept(received, judgement)
        except AwayError as error:
            self._tally.judged(error.code)
            _log.warning(
                "object not judged, its sender is to come again", extra={**_about(received), "reason": str(error)}
            )
            return _OUT_OF_RESOURCES
        except Exception as error:  # noqa: BLE001 - whatever a hostile object brings out in a parser: it does not pass
            self._tally.judged("failure")
            _log.exception("object not judged", extra={**_about(received), "kind": type(error).__name__})
            return _PROCESSING_FAILURE
        finally:
            with contextlib.suppress(OSError):
                Path(received.path).unlink(missing_ok=True)

    def _passed(self, received: Received, judgement: Judgement) -> int | None:
        answer = self._readers.store(received)
        self._tally.read(answer.name)
        rung = judgement.verdict.rung if judgement.verdict is not None else None
        about = {**_about(received), "rung": rung, "reader": answer.name}
        # Crash before the answer: the sender sends again, and the reader gets it twice.
        if answer.outcome is Outcome.STORED:
            _log.info("object passed", extra=about)
            return answer.status or None
        _log.warning("object passed, and the reader does not take it", extra={**about, "reason": answer.reason})
        if answer.status is not None:
            return answer.status
        return _OUT_OF_RESOURCES if answer.outcome is Outcome.AGAIN else _FINAL.get(answer.name, _PROCESSING_FAILURE)

    def _kept(self, received: Received, judgement: Judgement) -> int | None:
        about = {**_about(received), "code": judgement.code, "reason": judgement.reason}
        try:
            self._quarantine.put(received, judgement)
        except PlatemarkError as error:
            _log.error("object not passed, and not kept", extra={**about, "fault": str(error)})
            return _OUT_OF_RESOURCES
        _log.warning("object quarantined", extra=about)
        return None if self._policy.quarantined == "accept" else _NOT_AUTHORISED


def _about(received: Received) -> dict[str, str]:
    return {"object": received.object_id, "calling": received.calling}
