"""The vault on disk: one SQLite database, the public key and the key of the blind index. Rules D1 to D6 of proto/vault.md.

SQLite, not a file for each disclosure: row and index appear together or not at all, a put costs one fsync of the
write-ahead log, ten million of 2 kB are one file of 28 GB and not ten million inodes, and it is in the standard library.
Every commit is synchronous=FULL. The directory must be on a local file system: SQLite's locks and shared memory are not
made for network shares.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import sqlite3
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from platemark import files
from platemark.errors import PlatemarkError, VaultError
from platemark.vault import keys
from platemark.vault.database import connect, erased_at, faults, new_database
from platemark.vault.sealing import MAX_SEALED, seal, unseal

if TYPE_CHECKING:
    from types import TracebackType

    from platemark.attributes import Disclosure
    from platemark.vault.keys import Recipient, RecipientKey

__all__ = ["INDEXED", "OpenVault", "Vault", "index_token"]

INDEXED = ("study_instance_uid", "sop_instance_uid")
"""The attributes that a capture is found by."""

_RECIPIENT, _INDEX_KEY, _DATABASE = "recipient.pub", "index.key", "vault.sqlite"


class Vault:
    """The write side: seals and finds, opens nothing.

    Safe to share between threads; several processes may open one directory, each for itself and not across a fork.
    Close it, or use it in a `with`. Raises VaultError, also for every fault of the database.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)
        if not (self.directory / _DATABASE).is_file():
            raise VaultError(f"{directory}: no vault (platemark vault init makes one)")
        self.recipient: Recipient = keys.read_public(self.directory / _RECIPIENT)
        self._index_key = _read_index_key(self.directory / _INDEX_KEY)
        self._lock = threading.RLock()
        self._connection = connect(self.directory / _DATABASE)

    @classmethod
    def create(cls, directory: Path, recipient_pem: str | bytes) -> Self:
        """A new vault sealed to this X25519 public key, durable on return. Raises VaultError where one is already."""
        recipient = keys.parse_public(recipient_pem)
        directory = Path(directory)
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if (directory / _DATABASE).exists():
                raise VaultError(f"{directory}: a vault already")
            files.replace(directory / _RECIPIENT, recipient.to_pem().encode(), mode=0o600)
            if not (directory / _INDEX_KEY).exists():  # one that is there may belong to a database that comes back
                files.create(directory / _INDEX_KEY, secrets.token_bytes(32), mode=0o600)
            # Crash before this line: no vault, and creating it again begins anew. After it: the vault. SQLite gives its
            # write-ahead log the mode of the database.
            files.create(directory / _DATABASE, new_database(), mode=0o600)
            _sync(directory.parent)
        except OSError as error:
            raise VaultError(f"{directory}: {error.strerror or error}") from None
        except files.FileError as error:
            raise VaultError(error.reason) from None
        return cls(directory)

    def put(self, disclosure: Disclosure) -> None:
        """Keep a whole disclosure (one with K). On disk when this returns; a second put of it changes nothing.

        Raises VaultError, also for one that was erased: K is new for every capture, so it comes from a backup.
        """
        self.put_all((disclosure,))

    def put_all(self, disclosures: Iterable[Disclosure]) -> None:
        """As `put`, for many in one commit: all of them or none."""
        rows = [(each.root(), seal(each, self.recipient), self._tokens(each)) for each in disclosures]
        with self._changing() as connection:
            for root, sealed, tokens in rows:
                if erased_at(connection, root) is not None:
                    raise VaultError(f"the disclosure of root {root.hex()} was erased here and is not taken again")
                added = connection.execute(
                    "INSERT INTO disclosures (root, sealed) VALUES (?, ?) ON CONFLICT (root) DO NOTHING", (root, sealed)
                )
                if added.rowcount:
                    number = added.lastrowid
                    connection.executemany("INSERT INTO tokens VALUES (?, ?)", [(token, number) for token in tokens])

    def link(self, root: bytes, statement_id: bytes, *, sync: bool = True) -> None:
        """Note that the statement with this id (32 bytes) signs `root`, so that a study's evidence can be fetched.

        Nothing secret: the ledger's copy of the statement says the same. On disk when this returns, or without `sync` with
        the next `put`: what power loss takes can be found in the log. Again changes nothing.
        Raises VaultError: the root is not here, or is another statement's.
        """
        with self._changing(sync=sync) as connection:
            known = connection.execute("SELECT id FROM statements WHERE root = ?", (root,)).fetchone()
            if known is not None and known[0] != statement_id:
                raise VaultError(f"the root {root.hex()} is that of statement {known[0].hex()}")
            if connection.execute("SELECT 1 FROM disclosures WHERE root = ?", (root,)).fetchone() is None:
                raise VaultError(f"the disclosure of root {root.hex()} is not in this vault")
            connection.execute("INSERT OR IGNORE INTO statements VALUES (?, ?)", (root, statement_id))

    def statement_of(self, root: bytes) -> bytes | None:
        """The id of the statement that signs `root`, as `link` noted it; None if nobody did."""
        with self._reading() as connection:
            row = connection.execute("SELECT id FROM statements WHERE root = ?", (root,)).fetchone()
        return None if row is None else bytes(row[0])

    def find(self, *, study: str | None = None, sop_instance: str | None = None) -> list[bytes]:
        """The attribute roots of captures with all of the values given, in the order in which they were put.

        The values are those of `study_instance_uid` and `sop_instance_uid`. ValueError if none is given.
        """
        given = [(name, value) for name, value in zip(INDEXED, (study, sop_instance), strict=True) if value is not None]
        if not given:
            raise ValueError("neither a study nor an instance is given")
        found: list[set[int]] = []
        with self._reading() as connection:
            for name, value in given:
                token = index_token(self._index_key, name, unicodedata.normalize("NFC", value.strip(" \0")))
                found.append({number for (number,) in connection.execute(_BY_TOKEN, (token,))})
            numbers = sorted(set.intersection(*found))
            return [connection.execute(_ROOT, (number,)).fetchone()[0] for number in numbers]

    def roots(self) -> Iterator[bytes]:
        """Every attribute root, in the order in which they were put; those put meanwhile may be missing."""
        last = 0
        while True:
            with self._reading() as connection:
                page = connection.execute(_PAGE, (last,)).fetchall()
            if not page:
                return
            yield from (root for _, root in page)
            last = page[-1][0]

    def __contains__(self, root: bytes) -> bool:
        """Whether the disclosure of this attribute root is kept."""
        with self._reading() as connection:
            return connection.execute("SELECT 1 FROM disclosures WHERE root = ?", (root,)).fetchone() is not None

    def count(self) -> int:
        """How many disclosures are kept."""
        with self._reading() as connection:
            return int(connection.execute("SELECT count(*) FROM disclosures").fetchone()[0])

    def close(self) -> None:
        """Closing twice is fine."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _tokens(self, disclosure: Disclosure) -> set[bytes]:
        present = ((name, disclosure.values.get(name)) for name in INDEXED)
        return {index_token(self._index_key, name, value) for name, value in present if isinstance(value, str)}

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, faults(self.directory / _DATABASE):
            yield self._connection

    @contextmanager
    def _changing(self, *, sync: bool = True) -> Iterator[sqlite3.Connection]:
        """One transaction: everything in it, or nothing. Without `sync` the next one puts it on disk."""
        with self._reading() as connection:
            connection.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                # Crash before COMMIT returned: all of it or nothing, and the caller, who was told nothing, does it
                # again. After: the write-ahead log is synced, and every later reader sees it.
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise


class OpenVault(Vault):
    """A vault with its private key: opens and erases. As `Vault` for threads, processes and errors."""

    def __init__(self, directory: Path, key: RecipientKey, *, clock: Callable[[], int] = time.time_ns) -> None:
        super().__init__(directory)
        self._key = key
        self._clock = clock
        if key.recipient != self.recipient:
            self.close()
            raise VaultError(
                f"{directory}: sealed to the key {self.recipient.kid.hex()}, and this one is {key.recipient.kid.hex()}"
            )

    def get(self, root: bytes) -> Disclosure:
        """The whole disclosure of the capture with this attribute root, proven to belong to it.

        Raises VaultError: not here, erased, or damaged; VaultFormatError: malformed.
        """
        with self._reading() as connection:
            row = connection.execute(_SEALED, (MAX_SEALED, root)).fetchone()
            erased = erased_at(connection, root)
        if row is None:
            state = "is not in this vault" if erased is None else "was erased from this vault"
            raise VaultError(f"the disclosure of root {root.hex()} {state}")
        if not isinstance(row[0], bytes):
            raise VaultError(f"the disclosure of root {root.hex()} is damaged")
        return unseal(row[0], self._key, root=root)

    def erase(self, root: bytes) -> bool:
        """Destroy K and the values of a capture (rule A9 of proto/attributes.md). False if the root was never here.

        On return the database file holds it no more: its pages are overwritten and the write-ahead log is emptied. What
        backups, snapshots and the medium itself may still hold is sealed to the private key, which opens it.
        """
        tokens = self._tokens_of(root)
        with self._changing() as connection:
            known = erased_at(connection, root) is not None
            row = connection.execute("SELECT number FROM disclosures WHERE root = ?", (root,)).fetchone()
            if row is not None:
                if tokens is None:  # not known, so every token is looked at: seconds for millions of captures
                    connection.execute("DELETE FROM tokens WHERE number = ?", row)
                for token in tokens or ():
                    connection.execute("DELETE FROM tokens WHERE token = ? AND number = ?", (token, *row))
                connection.execute("DELETE FROM disclosures WHERE number = ?", row)
                connection.execute("DELETE FROM statements WHERE root = ?", (root,))
                connection.execute("INSERT INTO erased VALUES (?, ?)", (root, self._clock()))
        # Crash here: nobody finds it any more, and the write-ahead log holds the sealed bytes until they are overwritten;
        # erasing again ends it.
        if row is not None or known:
            self._empty_log()
        return row is not None or known

    def _tokens_of(self, root: bytes) -> set[bytes] | None:
        """The tokens of what is kept; None when it cannot be opened, which is no reason to keep it."""
        try:
            return self._tokens(self.get(root))
        except PlatemarkError:
            return None

    def _empty_log(self) -> None:
        with self._reading() as connection:
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise VaultError(
                f"{self.directory}: erased, but another process reads or writes, so that the write-ahead log still holds "
                "the sealed bytes; erase it again"
            )


_BY_TOKEN = "SELECT number FROM tokens WHERE token = ?"  # noqa: S105 - of the blind index
# One that is too long to be a sealed disclosure is not read into memory.
_SEALED = "SELECT CASE WHEN length(sealed) <= ? THEN sealed END FROM disclosures WHERE root = ?"
_ROOT = "SELECT root FROM disclosures WHERE number = ?"
_PAGE = "SELECT number, root FROM disclosures WHERE number > ? ORDER BY number LIMIT 1000"


def index_token(key: bytes, name: str, value: str) -> bytes:
    """What stands in the blind index for a value: 16 bytes that only whoever has the index key can compute."""
    message = b"platemark vault index v1\x00" + name.encode() + b"\x00" + value.encode()
    return hmac.new(key, message, hashlib.sha256).digest()[:16]


def _read_index_key(path: Path) -> bytes:
    try:
        key = files.read(path, limit=32)
    except files.FileError as error:
        raise VaultError(error.reason) from None
    if len(key) != 32:
        raise VaultError(f"{path}: not 32 bytes, so it is not the key of the index")
    return key


def _sync(directory: Path) -> None:
    """Make the name of a new directory durable (Windows has no directories to sync)."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
