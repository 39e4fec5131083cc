"""The chain of a signing key on this machine: which statement comes next, kept beside the key in `KEY.pem.state`.

Every statement but a policy carries its key's epoch, seq and prev (rule T1 of proto/statement.md). A ledger shows two
statements with one epoch and seq as a fork, a cloned key, so the one thing that may never happen here is to sign such
a second statement. Hence the order of writes in `Chain.sign`: the state *after* a statement is on disk before the
signature *of* the statement exists. A crash between the two leaves a gap in the chain, which is shown and explained; it
never leaves a fork. A lost state opens a greater epoch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from platemark import files, statement
from platemark.errors import StateError, StatementError
from platemark.files import FileError
from platemark.kinds import ROLES
from platemark.schema import uri

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

if TYPE_CHECKING:
    from platemark.cbor import Value
    from platemark.keys import Signer
    from platemark.statement import Statement

__all__ = ["Chain", "ChainState", "decode_state", "state_path"]

_MAX_STATE = 64 * 1024
_FIELDS = {"v", "kid", "issuer", "role", "epoch", "seq", "prev"}
_SECOND = 1_000_000_000
_MAX_COUNT = (1 << 63) - 1
_PAUSE = 0.01
_NO_STATE = "no state yet, so the URI that this key signs as has to be given (--device URI)"


@dataclass(frozen=True)
class ChainState:
    """What the next statement of a key carries: `seq` and `prev` are those of the statement to come.

    `kid` and `prev` are 32 bytes; `prev` is None exactly at `seq` 0. `issuer` is the URI that the key signs as, `role`
    what it asked to be enrolled as (None: nobody said).
    """

    kid: bytes
    issuer: str
    epoch: int
    seq: int = 0
    prev: bytes | None = None
    role: str | None = None

    def to_bytes(self) -> bytes:
        """The state file: JSON, one line."""
        content = {
            "v": 1,
            "kid": self.kid.hex(),
            "issuer": self.issuer,
            "role": self.role,
            "epoch": self.epoch,
            "seq": self.seq,
            "prev": None if self.prev is None else self.prev.hex(),
        }
        return json.dumps(content).encode() + b"\n"


def state_path(key: Path) -> Path:
    """Where the state of a key file lies: beside the file itself, also when `key` is a symbolic link to it.

    A copy or a second hard link of a key file has a state of its own: two chains of one key, which a ledger may come to
    show as a fork.
    """
    if key.is_symlink():
        key = Path(os.path.realpath(key))
    return key.with_name(key.name + ".state")


def decode_state(data: bytes) -> ChainState:
    """The state in a state file. Raises StateError."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise StateError("not a chain state: not JSON") from None
    if not isinstance(content, dict) or set(content) != _FIELDS or content["v"] != 1:
        raise StateError(f"not a chain state of version 1 with exactly {', '.join(sorted(_FIELDS))}")
    issuer, role = content["issuer"], content["role"]
    if not isinstance(issuer, str) or (role is not None and role not in ROLES):
        raise StateError("not a chain state: issuer or role")
    state = ChainState(
        kid=_hash(content["kid"], "kid"),
        issuer=issuer,
        epoch=_count(content["epoch"], "epoch"),
        seq=_count(content["seq"], "seq"),
        prev=None if content["prev"] is None else _hash(content["prev"], "prev"),
        role=role,
    )
    if (state.seq == 0) != (state.prev is None):
        raise StateError("not a chain state: prev is null exactly at seq 0")
    return state


class Chain:
    """Signs statements as one key, each chained to the one before, across threads, processes and restarts.

    `key` is the key's file; state and lock lie beside it, whatever holds the key itself. `clock` gives Unix
    nanoseconds and is asked for the epoch of a new state only. `patience`: seconds to wait for another process that is
    signing with the same key. Safe to share between threads.
    """

    def __init__(
        self, key: Path, signer: Signer, *, clock: Callable[[], int] = time.time_ns, patience: float = 30.0
    ) -> None:
        self.path = state_path(key)
        self.signer = signer
        self._clock = clock
        self._patience = patience

    def state(self) -> ChainState | None:
        """The state, None before `begin`. Raises StateError: damaged, unreadable, or another key's."""
        try:
            data = files.read(self.path, limit=_MAX_STATE)
        except FileError as error:
            if not self.path.exists():
                return None
            raise StateError(error.reason) from None
        try:
            state = decode_state(data)
        except StateError as error:
            hint = "if it is lost, remove it: a new one opens a greater epoch"
            raise StateError(f"{self.path}: {error.reason}; {hint}") from None
        if state.kid != self.signer.kid:
            raise StateError(f"{self.path}: the state of another key, {state.kid.hex()}")
        return state

    def begin(self, *, issuer: str | None = None, role: str | None = None) -> ChainState:
        """The state, made if there is none: a new epoch, seq 0. It is on disk when this returns.

        Raises StateError: no issuer is known, or the state names another issuer or role than the one given.
        """
        with self._locked() as lock:
            found = self.state()
            if found is not None:
                state = _agreeing(self.path, found, issuer, role)
            elif issuer is not None:
                _check_issuer(issuer)
                state = ChainState(self.signer.kid, issuer, epoch=self._epoch(), role=role)
            else:
                raise StateError(f"{self.path}: {_NO_STATE}")
            if state != found:
                self._write(state, lock)
            return state

    def restart(self) -> ChainState:
        """A greater epoch from seq 0, for a state that came back from a backup and may be older than what was signed."""
        with self._locked() as lock:
            state = self._begun()
            epoch = max(self._epoch(), state.epoch + 1)
            if epoch > _MAX_COUNT:
                raise StateError(f"{self.path}: the epoch has reached 2^63 - 1, so none is greater")
            state = replace(state, epoch=epoch, seq=0, prev=None)
            self._write(state, lock)
            return state

    def sign(self, kind: str, payload: Mapping[str, Value], *, subject: str | None = None) -> Statement:
        """The next statement of this key: `payload` without v, epoch, seq and prev.

        Raises StateError (no state, or it cannot be written), StatementError (the payload; nothing was used up) and
        what the signer raises.
        """
        with self._locked() as lock:
            state = self._begun()
            link: dict[str, Value] = {"epoch": state.epoch, "seq": state.seq, "prev": state.prev}

            if max(state.seq, state.epoch) >= _MAX_COUNT:
                raise StateError(f"{self.path}: epoch or seq has reached 2^63 - 1, so nothing can follow")

            def reserve(identity: bytes) -> None:
                self._write(replace(state, seq=state.seq + 1, prev=identity), lock)

            reserving = _Reserving(self.signer, reserve)
            body = {**payload, **link}
            raw = statement.build(kind, body, signer=reserving, issuer=state.issuer, subject=subject)
        return statement.decode(raw)

    def _epoch(self) -> int:
        """The present second, and 20 random bits behind it.

        Greater as time goes on; and two states that were begun in the same second, or by a clock that was put back, do
        not sign the same places.
        """
        return self._clock() // _SECOND << 20 | secrets.randbits(20)

    def _begun(self) -> ChainState:
        state = self.state()
        if state is None:
            raise StateError(f"{self.path}: {_NO_STATE}")
        return state

    def _write(self, state: ChainState, lock: _Lock) -> None:
        if not lock.holds():
            raise StateError(f"{lock.path}: it was removed while this process signed; nothing was signed, try again")
        try:
            files.replace(self.path, state.to_bytes(), mode=0o600)
        except FileError as error:
            raise StateError(error.reason) from None

    @contextmanager
    def _locked(self) -> Iterator[_Lock]:
        """Hold the key's lock. The system releases it when its holder dies, so a lock file never goes stale."""
        path = self.path.with_name(self.path.name + ".lock")
        deadline = time.monotonic() + self._patience
        lock = _Lock(path, self._acquire(path, deadline))
        while not lock.holds():
            os.close(lock.descriptor)
            lock = _Lock(path, self._acquire(path, deadline))
        try:
            yield lock
        finally:
            with contextlib.suppress(OSError):
                _unlock(lock.descriptor)
            os.close(lock.descriptor)

    def _acquire(self, lock: Path, deadline: float) -> int:
        """The descriptor of the lock file, locked."""
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StateError(f"{lock}: {error.strerror or error}") from None
        try:
            self._wait(descriptor, lock, deadline)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _wait(self, descriptor: int, lock: Path, deadline: float) -> None:
        while not _try_lock(descriptor):
            if time.monotonic() >= deadline:
                raise StateError(f"{lock}: another process has been signing with this key for {self._patience:g} s")
            time.sleep(_PAUSE)


@dataclass(frozen=True)
class _Lock:
    """A lock file that is open and locked."""

    path: Path
    descriptor: int

    def holds(self) -> bool:
        """Whether the path still leads to the file that is locked.

        If somebody removed it, the next signer makes and locks another, and this lock protects nothing.
        """
        try:
            return os.path.samestat(os.fstat(self.descriptor), self.path.stat())
        except OSError:
            return False


@dataclass(frozen=True)
class _Reserving:
    """A Signer that writes the state before it signs; what it signs is the Sig_structure, whose hash is the id."""

    inner: Signer
    reserve: Callable[[bytes], None]

    @property
    def alg(self) -> int:
        return self.inner.alg

    @property
    def spki(self) -> bytes:
        return self.inner.spki

    @property
    def kid(self) -> bytes:
        return self.inner.kid

    def sign(self, message: bytes) -> bytes:
        self.reserve(hashlib.sha256(message).digest())
        # Crash here: this place in the chain is used up and stays empty, a gap. Before the line above: nothing happened.
        return self.inner.sign(message)


if sys.platform == "win32":

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _check_issuer(issuer: str) -> None:
    """Refused here, because a state with a URI that no statement can carry would block the key."""
    try:
        uri(issuer, "issuer")
    except StatementError as error:
        raise StateError(f"{issuer!r}: {error.reason}") from None


def _agreeing(path: Path, state: ChainState, issuer: str | None, role: str | None) -> ChainState:
    if issuer is not None and issuer != state.issuer:
        raise StateError(f"{path}: this key signs as {state.issuer}, not as {issuer}")
    if role is not None and state.role is not None and role != state.role:
        raise StateError(f"{path}: this key asked to be a {state.role}, not a {role}")
    return replace(state, role=role or state.role)


def _hash(value: object, field: str) -> bytes:
    if not isinstance(value, str) or re.fullmatch("[0-9a-f]{64}", value) is None:
        raise StateError(f"not a chain state: {field} is not 64 lower-case hex digits")
    return bytes.fromhex(value)


def _count(value: object, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise StateError(f"not a chain state: {field} is not an integer from 0 to 2^63 - 1")
    return value
