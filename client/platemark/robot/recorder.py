"""The recorder: an owner's program hands it the messages of its sensors, and goes on at once.

Two threads work behind it. One puts messages into segments and never waits for a disk; the other keeps the rows of those that
have ended, signs them and puts the statements into the spool, and waits for disks, keys and tokens as long as it takes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from platemark.errors import PlatemarkError, SegmentError
from platemark.robot.intake import MEMORY, Data, Intake, check_digest
from platemark.robot.journal import SegmentJournal
from platemark.robot.keeping import Keeping
from platemark.robot.line import SegmentLine
from platemark.robot.model import RecorderState
from platemark.robot.segmenter import MOST, WINDOW_NS, Segmenter
from platemark.segment import Channel
from platemark.signing import Clock

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from platemark.chain import Chain
    from platemark.robot.line import OnKept
    from platemark.spool import Spool

__all__ = ["MAX_TOPICS", "Recorder"]

MAX_TOPICS = 4096
_POLL = 0.05  # seconds between two looks at the queue
_FIRST, _LONGEST = 0.05, 5.0  # seconds between two attempts while something fails
_LOG = logging.getLogger("platemark.robot")


class Recorder:
    """Records one run of a robot: its own recording, 16 random bytes.

    `chain`: that of the key that signs, begun (`platemark.robot.open_chain`); one recorder for a key. `journal`: a directory of
    this recorder alone. `clock`: what the device says of its clock, or what gives it each time that segments have ended.
    `window_ns` (1 s), `grace_ns` and `most`: as for Segmenter, `most` up to 2^20. `memory`: bytes that messages may take until
    they are on disk.
    `on_kept` is called in a thread of the recorder; once more for the same segment, perhaps, after a crash.

    Start it, or use it in a `with`; messages are taken before that, too. `observe` and its like may be called from any number of
    threads, not across a fork (RuntimeError). What an earlier run left behind in the journal is signed first.
    Raises StateError (the chain has not begun), RecordingError (the journal), ValueError (settings).
    """

    def __init__(
        self,
        journal: Path | str,
        *,
        chain: Chain,
        spool: Spool,
        clock: Clock | Callable[[], Clock] = Clock(),  # noqa: B008 - frozen
        window_ns: int = WINDOW_NS,
        grace_ns: int | None = None,
        most: int = MOST,
        memory: int = MEMORY,
        on_kept: OnKept | None = None,
        steady: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        if most > MOST:
            raise ValueError(f"at most {MOST} messages a segment, not {most}")
        chain.begin()
        self.recording = secrets.token_bytes(16)
        self._intake = Intake(Segmenter(window_ns=window_ns, most=most, grace_ns=grace_ns), memory=memory)
        self._line = SegmentLine(chain=chain, spool=spool, on_kept=on_kept)
        self._steady = steady
        self._journal = SegmentJournal(Path(journal))
        try:
            self._keeping = Keeping(
                recording=self.recording,
                journal=self._journal,
                intake=self._intake,
                line=self._line,
                spool=spool,
                clock=clock if callable(clock) else lambda: clock,
            )
        except BaseException:
            self._journal.close()
            raise
        self._left_behind = self._line.waiting
        self._channels: dict[str, Channel] = {}
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()  # owns what follows
        self._fault: str | None = None
        self._failures = self._brought = 0
        self._cuts_wanted = self._cuts_done = 0
        self._stopping = False
        self._closed = False
        self._process = os.getpid()

    def channel(
        self, topic: str, *, type_name: str = "", schema_encoding: str = "", schema: bytes = b"", encoding: str = ""
    ) -> Channel:
        """Declare what the messages of a topic are: for raw frames `encoding` alone, such as "rgb8 1920x1080".

        A topic may be declared anew; its segment ends with the next message. Raises SegmentError: a text that no statement can
        carry, more than MAX_TOPICS topics.
        """
        declared = Channel.of(
            topic, type_name=type_name, schema_encoding=schema_encoding, schema=schema, encoding=encoding
        )
        return self._declare(declared)

    def observe(self, topic: str | Channel, data: Data, *, log_time: int, publish_time: int | None = None) -> bool:
        """Take a message: its data as published, in any buffer of contiguous bytes; hashed before this returns, never copied.

        `topic` is one that was declared, or a Channel. Times are Unix ns; `publish_time` is `log_time` where there is no other.
        False: there was no room, and the message is counted as unobserved. Raises SegmentError: an unknown topic, a time outside
        0..2^63 - 1 or not whole (time.time() * 1e9), data that is no such buffer; RuntimeError: closed.
        """
        try:
            digest = hashlib.sha256(buffer := cast("Buffer", data)).digest()
            size = memoryview(buffer).nbytes
        except (TypeError, ValueError, BufferError) as error:
            raise SegmentError("data", f"not a buffer of contiguous bytes: {error}") from None
        return self._put(topic, log_time, publish_time, digest, size)

    def observe_digest(
        self, topic: str | Channel, digest: bytes, size: int, *, log_time: int, publish_time: int | None = None
    ) -> bool:
        """As `observe`, for who has hashed the data elsewhere: `digest` is its SHA-256, `size` its length in bytes."""
        return self._put(topic, log_time, publish_time, digest, check_digest(digest, size))

    def start(self) -> None:
        """Start the threads. Starting twice is fine. Raises RuntimeError: closed."""
        self._check_open()
        with self._changed:
            if self._threads:
                return
            self._threads = [
                threading.Thread(target=work, name=f"platemark-{name}", daemon=True)
                for name, work in (("segments", self._segmenting), ("keeping", self._keep))
            ]
        for each in self._threads:
            each.start()

    def flush(self, patience: float = 30.0) -> bool:
        """End the open segments; whether everything that was observed before is kept, waiting `patience` seconds at most.

        Raises RuntimeError: not started.
        """
        if not self._threads or self._process != os.getpid():
            raise RuntimeError("this recorder was not started in this process")
        deadline = time.monotonic() + patience
        with self._changed:
            self._cuts_wanted += 1
            wanted = self._cuts_wanted
            self._intake.busy.set()
            if not self._changed.wait_for(lambda: self._cuts_done >= wanted, patience):
                return False
            ended = self._intake.ended + self._left_behind
            return self._changed.wait_for(lambda: self._line.kept >= ended, max(0.0, deadline - time.monotonic()))

    def close(self, patience: float = 30.0) -> RecorderState:
        """Take no more, flush, stop: the last state. What could not be kept in time waits in the journal for the next run.

        Call it when no thread observes any more: a message that is handed over at the same moment may be lost.
        Only messages whose rows could not be written to disk are lost: those that are still queued, open or unsaved.
        """
        self._check_open()  # in a child of a fork, the lock may be held by a thread that is not there
        with self._changed:
            self._check_open()
            if threading.current_thread() in self._threads:
                raise RuntimeError("on_kept cannot close its own recorder")
            self._closed = True
        if self._threads:
            self.flush(patience)
            with self._changed:
                self._stopping = True
                self._intake.busy.set()
                self._changed.notify_all()
            for each in self._threads:
                each.join()
        self._stopping = True
        fault, whole = None, False
        while fault is None and not whole:
            whole = self._intake.drain(self._steady(), cut=True)
            fault = self._kept()  # rows alone: it is stopping
        state = self.state()
        try:
            self._keeping.finish()
        except PlatemarkError as error:
            _LOG.error("the recording cannot be finished", extra={"reason": str(error)})
        self._journal.close()
        return state

    def state(self) -> RecorderState:
        """What it is doing. The numbers of one state may be a moment apart."""
        intake, line, queued = self._intake, self._line, self._intake.queued
        return RecorderState(
            recording=self.recording,
            observed=intake.taken + queued,
            unobserved=intake.unobserved,
            queued=queued,
            open=intake.segmenter.held,
            unsaved=intake.unsaved,
            waiting=line.waiting,
            kept=line.kept,
            kept_messages=line.kept_messages,
            window_ns=intake.segmenter.window_ns,
            fault=self._fault,
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._closed and self._process == os.getpid():  # journal and lock are the parent's
            self.close()

    def _put(self, topic: str | Channel, log_time: int, publish_time: int | None, digest: bytes, size: int) -> bool:
        if self._closed or self._process != os.getpid():
            self._check_open()
        channel = (self._channels.get(topic) if isinstance(topic, str) else None) or self._known(topic)
        return self._intake.put(channel, log_time, log_time if publish_time is None else publish_time, digest, size)

    def _known(self, topic: str | Channel) -> Channel:
        if isinstance(topic, Channel):
            return topic if self._channels.get(topic.topic) is topic else self._declare(topic)
        raise SegmentError("topic", f"{topic!r} was not declared with channel()")

    def _declare(self, channel: Channel) -> Channel:
        if channel.topic not in self._channels and len(self._channels) >= MAX_TOPICS:
            raise SegmentError("topic", f"more than {MAX_TOPICS} topics")
        self._channels[channel.topic] = channel
        return channel

    def _check_open(self) -> None:
        if self._closed or self._process != os.getpid():
            raise RuntimeError("this recorder is closed" if self._closed else "this recorder was made before a fork")

    def _segmenting(self) -> None:
        """The thread that puts messages into segments; it waits for nothing but messages."""
        told = 0
        while not self._stopping:
            self._intake.busy.wait(_POLL)
            self._intake.busy.clear()
            try:
                self._segment(self._steady())
            except Exception:  # noqa: BLE001 - nothing is known that raises here; the other messages go on
                _LOG.exception("a message could not be put into a segment")
            if self._intake.unobserved != told:
                told = self._intake.unobserved
                _LOG.error("messages were not observed, memory is full", extra={"unobserved": told})

    def _segment(self, now: int) -> None:
        wanted = self._cuts_wanted
        before = self._intake.ended
        cut = self._intake.drain(now, cut=wanted > self._cuts_done)
        if cut or self._intake.ended != before:
            with self._changed:
                if cut:
                    self._cuts_done = max(self._cuts_done, wanted)
                self._changed.notify_all()

    def _keep(self) -> None:
        """The thread that waits for disks and keys. What fails is tried again, ever more slowly up to 5 s."""
        while not self._stopping:
            fault = self._kept()
            with self._changed:
                self._told(fault)
                self._changed.notify_all()
                if fault is not None:
                    pause = min(_FIRST * 2 ** min(self._failures, 10), _LONGEST)
                    self._changed.wait_for(lambda: self._stopping, pause)
                elif not self._brought:
                    self._changed.wait_for(lambda: self._stopping or self._intake.has_ended, _POLL)

    def _kept(self) -> str | None:
        """One step of keeping: what failed, None if nothing did."""
        try:
            self._brought = self._keeping.step(lambda: self._stopping)
        except PlatemarkError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - a signer may raise anything, and recording goes on
            _LOG.debug("keeping failed", exc_info=True)
            return f"{type(error).__name__}: {error}"
        return None

    def _told(self, fault: str | None) -> None:
        if fault != self._fault:
            level = logging.ERROR if fault else logging.INFO
            _LOG.log(level, "keeping segments: %s", fault or "works again", extra={"reason": fault})
        self._fault = fault
        self._failures = 0 if fault is None else self._failures + 1
