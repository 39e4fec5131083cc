"""The chain of the log key, with which more than one process may sign: whoever does takes its turn from reading to appending.

A turn is a lock of the kernel, given back when its holder dies. Without it two statements of the log itself could get one place
and be marked as a fork, which is what a stolen log key looks like.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from platemark_ledger.errors import LockError
from platemark_ledger.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from platemark_ledger.opening import Ledger
    from platemark_ledger.store import ReadTransaction

__all__ = ["next_place", "turn"]


@contextmanager
def turn(ledger: Ledger) -> Iterator[None]:
    """Wait for the turn and have it inside the block: for reading the place, signing and appending, which takes milliseconds.

    Raises LockError when the file beside the ledger's lock cannot be opened or locked.
    """
    path = ledger.lock.path.with_name(f"{ledger.lock.path.name}-chain")
    descriptor = -1
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        raise LockError(f"the turn at the log key's chain, {path}: {error.strerror}") from error
    try:
        yield
    finally:
        os.close(descriptor)


def next_place(transaction: ReadTransaction, kid: bytes) -> dict[str, int | bytes | None]:
    """epoch, seq and prev of the next statement of a log key, as the data says."""
    record = Registry(transaction).key(kid)
    head = transaction.chain_head(record.number) if record is not None else None
    if head is None:
        return {"epoch": 0, "seq": 0, "prev": None}
    return {"epoch": head.epoch, "seq": head.seq + 1, "prev": head.id}
