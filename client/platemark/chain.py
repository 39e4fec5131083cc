"""The chain of a signing key on this machine: which statement comes next, kept beside the key in `KEY.pem.state`.

Every statement but a policy carries its key's epoch, seq and prev (rule T1 of proto/statement.md). A ledger shows two
statements with one epoch and seq as a fork, a cloned key, so the one thing that may never happen here is to sign such
a second statement. Hence the order of writes in `Chain.sign`: the state *after* a statement is on disk before the
signature *of* the statement exists. The same write keeps what that signature is over, so that after a crash in between
`Chain.last` signs the very same statement again, under the same id: whoever keeps it then has neither gap nor fork. If
nobody does, the place stays empty, a gap, which is shown and explained. A lost state opens a greater epoch.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from platemark import cose, files, statement
from platemark.chain_state import ChainState, decode_state
from platemark.errors import FormatError, StateError, StatementError
from platemark.files import FileError
from platemark.locks import try_lock, unlock
from platemark.schema import uri

if TYPE_CHECKING:
    from platemark.cbor import Value
    from platemark.keys import Signer
    from platemark.statement import Statement

__all__ = ["Chain", "ChainState", "decode_state", "state_path"]

_MAX_STATE = 128 * 1024  # a statement of the greatest size in base64, and the rest
_SECOND = 1_000_000_000
_MAX_COUNT = (1 << 63) - 1
_PAUSE = 0.01
_NO_STATE = "no state yet, so the URI that this key signs as has to be given (--device URI)"


def state_path(key: Path) -> Path:
    """Where the state of a key file lies: beside the file itself, also when `key` is a symbolic link to it.

    A copy or a second hard link of a key file has a state of its own: two chains of one key, which a ledger may come to
    show as a fork.
    """
    if key.is_symlink():
        key = Path(os.path.realpath(key))
    return key.with_name(key.name + ".state")


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
            state = replace(state, epoch=epoch, seq=0, prev=None, last=None)
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

            def reserve(message: bytes) -> None:
                identity = hashlib.sha256(message).digest()
                self._write(replace(state, seq=state.seq + 1, prev=identity, last=message), lock)

            reserving = _Reserving(self.signer, reserve)
            body = {**payload, **link}
            raw = statement.build(kind, body, signer=reserving, issuer=state.issuer, subject=subject)
        return statement.decode(raw)

    def last(self) -> Statement | None:
        """The last statement for which a place was reserved, signed again; None if there is none in this epoch.

        Its id is that of the statement that `sign` returned, or would have returned had nothing gone wrong; its signature,
        and so `raw`, may be another one, which a ledger answers with the same index. An owner who finds after a restart that
        he does not hold it keeps it now, before he signs the next: then no place of the chain stays empty.

        Raises StateError and what the signer raises. Writes nothing.
        """
        state = self.state()
        if state is None or state.last is None:
            return None
        blank = bytes(cose.SIGNATURE_SIZES[self.signer.alg])
        try:
            reserved = statement.decode(cose.complete(state.last, blank))
        except FormatError as error:
            raise StateError(f"{self.path}: last is not a statement: {error}") from None
        place = (reserved.kid, reserved.issuer, reserved.epoch, reserved.seq)
        if place != (state.kid, state.issuer, state.epoch, state.seq - 1) or reserved.alg != self.signer.alg:
            # Never signed: whoever can write this file must not be able to have anything else signed by the key.
            raise StateError(f"{self.path}: last is not the statement at the last place of this chain")
        return statement.decode(cose.complete(state.last, self.signer.sign(state.last)))

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
                unlock(lock.descriptor)
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
        while not try_lock(descriptor):
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
        self.reserve(message)
        # Crash before the line above: nothing happened. Here, or later before the caller has kept the statement: its place is
        # used up, and the state holds what is to be signed there. An owner who resumes with `Chain.last` has the very same
        # statement, neither gap nor fork; one who does not leaves a gap.
        return self.inner.sign(message)


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
