"""Doing what takes long a few items ahead, in threads, and handing the results out in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["ahead"]

Given = TypeVar("Given")
Made = TypeVar("Made")
_AHEAD = 8


def ahead(start: Callable[[Given], Made], items: Iterable[Given]) -> Iterator[tuple[Given, Future[Made]]]:
    """Each item with the future of `start(item)`, a few of them under way at once and no more: memory stays flat."""
    with _pool() as pool:
        waiting: list[tuple[Given, Future[Made]]] = []
        for each in items:
            waiting.append((each, pool.submit(start, each)))
            if len(waiting) >= _AHEAD:
                yield waiting.pop(0)
        yield from waiting


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="measure")
    try:
        yield pool
    finally:
        # Ctrl-C does not wait for images that nobody has begun to measure.
        pool.shutdown(cancel_futures=True)
