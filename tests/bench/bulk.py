"""A ledger of any size, made quickly: enrolments through the service, captures straight through the store's own layers.

The captures are well-formed statements of enrolled devices with chains, digests and everything else that the ledger stores of a
statement, but for their signatures, which are random: making ten million of those would take a day. Nothing in
this directory asks for them again.
"""

from __future__ import annotations

import hashlib
import random
import struct
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from bench.devices import enrol
from integration.live import NOW, Place, found

import builders
from platemark import cose, statement
from platemark.checkpoint import Checkpoint
from platemark.rungs import SHA256, SHA512
from platemark_ledger import config, digests, rows, server
from platemark_ledger.batch import KIND_NUMBERS
from platemark_ledger.opening import Ledger
from platemark_ledger.signing import sign_checkpoint
from platemark_ledger.store import ChainHead, Head, Stored, WriteTransaction

__all__ = ["DEVICES", "Big", "Made", "Maker", "add_rows", "release", "tidy"]

DEVICES = 1000
_CHUNK = 8192
_FIRST_SEQ = 1 << 16  # from here on up to 2^32 the number takes five bytes of CBOR
_CAPTURE = KIND_NUMBERS["capture"]
_SIZES = {SHA256: 32, SHA512: 64}
_RUNGS = ("file", "dataset", "pixels")


@dataclass(frozen=True, slots=True)
class Made:
    """A capture as the maker made it, with what the store keeps of it."""

    raw: bytes
    id: bytes
    place: int
    seq: int
    prev: bytes
    digests: tuple[bytes, ...]


class Maker:
    """Makes captures of devices in turn, each next in its chain, by filling in the bytes that differ."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._templates = [_template(number) for number in range(DEVICES)]
        self._seqs = [_FIRST_SEQ] * DEVICES
        self._prevs = [bytes([1]) * 32] * DEVICES
        self._next = 0

    def make(self) -> Made:
        """The next capture of the next device."""
        place = self._next
        self._next = (place + 1) % DEVICES
        (parts, order), seq = self._templates[place], self._seqs[place]
        noise = self._random.randbytes(16 + 3 * 96 + 64)
        found = tuple(noise[start : start + size] for start, size in _DIGESTS)
        fields = {
            "subject": str(uuid.UUID(bytes=noise[-80:-64], version=4)).encode(),
            "seq": struct.pack(">I", seq),
            "prev": self._prevs[place],
            "signature": noise[-64:],
            **dict(zip(_DIGEST_NAMES, found, strict=True)),
        }
        pieces = [parts[0]]
        for name, part in zip(order, parts[1:], strict=True):
            pieces += (fields[name], part)
        raw = b"".join(pieces)
        id = hashlib.sha256(_to_be_signed(raw)).digest()
        made = Made(raw, id, place, seq, self._prevs[place], found)
        self._seqs[place], self._prevs[place] = seq + 1, id
        return made


_DIGEST_NAMES = tuple(f"{rung} {algorithm}" for rung in _RUNGS for algorithm in _SIZES)
_DIGESTS = tuple((rung * 96 + start, size) for rung in range(3) for start, size in ((0, 32), (32, 64)))


def _template(number: int) -> tuple[list[bytes], list[str]]:
    """The bytes between the fields that differ, and the names of these in their order."""
    party = builders.party(f"bench-{number}")
    marks: dict[str, bytes] = {
        "seq": struct.pack(">I", 0x7F3A5C19),
        "prev": b"\xf1" * 32,
        "subject": str(uuid.UUID(bytes=b"\xa5" * 16, version=4)).encode(),
    }
    for place, (name, (_, size)) in enumerate(zip(_DIGEST_NAMES, _DIGESTS, strict=True)):
        marks[name] = bytes([0xE0 + place]) * size
    named = iter(_DIGEST_NAMES)
    payload = {
        "epoch": 0,
        "seq": 0x7F3A5C19,
        "prev": marks["prev"],
        "captured": NOW,
        "clock": {"source": "ntp", "error_ns": 1_000_000},
        "media": "application/dicom",
        "digests": {rung: {algorithm: marks[next(named)] for algorithm in _SIZES} for rung in _RUNGS},
        "attributes": bytes(32),
        "origin": "modality-signed",
        "frames": 1,
    }
    raw = statement.build(
        "capture",
        payload,  # type: ignore[arg-type] # nested maps are invariant
        signer=party.key.private,
        issuer=party.uri,
        subject=f"urn:uuid:{marks['subject'].decode()}",
    )
    marks["signature"] = raw[-64:]
    order = sorted(marks, key=lambda name: raw.index(marks[name]))
    parts, rest = [], raw
    for name in order:
        before, _, rest = rest.partition(marks[name])
        parts.append(before)
    return [*parts, rest], order


def _to_be_signed(raw: bytes) -> bytes:
    """The Sig_structure of a capture of ours, whose protected header is under 256 bytes and whose payload is above."""
    header_end = 4 + raw[3]
    payload_end = header_end + 4 + int.from_bytes(raw[header_end + 2 : header_end + 4], "big")
    return b"\x84\x6aSignature1" + raw[2:header_end] + b"\x40" + raw[header_end + 1 : payload_end]


class Big:
    """A served ledger's directory that grows by `grow`; `samples` are digests with the index of their statement."""

    def __init__(self, directory: Path) -> None:
        self.place: Place = found(directory)
        self.samples: list[tuple[int, bytes]] = []
        self.maker = Maker()
        with self.place.served() as live:
            enrol(live, range(DEVICES))
        made = self.maker.make()
        assert statement.decode(made.raw).id == made.id
        assert cose.decode(made.raw).to_be_signed == _to_be_signed(made.raw)
        self.numbers: list[int] = []
        self._writers = [digests.writer_name(builders.key(f"bench-{number}").kid) for number in range(DEVICES)]

    def open(self) -> Ledger:
        """The ledger, in this process. It must not be served meanwhile."""
        return server.open_with(config.load(self.place.directory / "config.toml", {}), None)

    def grow(self, ledger: Ledger, size: int) -> float:
        """Make the log `size` statements long; seconds taken."""
        began = time.monotonic()
        kids = [builders.key(f"bench-{number}").kid for number in range(DEVICES)]
        records = [ledger.key(kid) for kid in kids]
        self.numbers = [record.number for record in records if record is not None]
        assert len(self.numbers) == DEVICES, "a device is not enrolled"
        head = _head(ledger)
        for first in range(head.size, size, _CHUNK):
            made = [self.maker.make() for _ in range(min(_CHUNK, size - first))]
            self.samples += [(first + place, each.digests[-1]) for place, each in enumerate(made) if place % 512 == 7]
            with ledger.store.write() as transaction:
                self._write(transaction, first, made)
                transaction.commit()
            release(ledger)
            tidy(ledger)
        return time.monotonic() - began

    def _names(self, made: Made) -> list[bytes]:
        return [digests.id_name(made.id), self._writers[made.place], *map(digests.digest_name, made.digests)]

    def _write(self, transaction: WriteTransaction, first: int, made: list[Made]) -> None:
        numbered = list(enumerate(made, first))
        transaction.add_statements(first, [Stored(NOW, 0, each.raw) for each in made])
        transaction.add_kinds((_CAPTURE, index) for index, _ in numbered)
        digests.add(transaction, first, ((index, self._names(each)) for index, each in numbered))
        heads: dict[int, ChainHead] = {}
        for index, each in numbered:
            number = self.numbers[each.place]
            transaction.add_to_chain(number, 0, each.seq, each.id, index, prev=each.prev)
            heads[number] = ChainHead(0, each.seq, each.id, NOW, index)
        transaction.write_chain()
        for number, head in heads.items():
            transaction.set_chain_head(number, head)
        add_rows(transaction, first, [each.raw for each in made])


def add_rows(transaction: WriteTransaction, first: int, raws: list[bytes]) -> None:
    """The rows of the tree and the head for statements from `first` on."""
    leaves = [_leaf(raw) for raw in raws]
    for (level, row), hashes in rows.extend(transaction.row, first, leaves).items():
        transaction.put_row(level, row, hashes)
    size = first + len(raws)
    transaction.set_head(Head(size, rows.root(transaction.row, size), NOW))


def _leaf(raw: bytes) -> bytes:
    return hashlib.sha256(b"\0" + hashlib.sha256(raw).digest()).digest()


def release(ledger: Ledger) -> None:
    """Sign and anchor what the data has."""
    head = _head(ledger)
    note = sign_checkpoint(ledger.signers, Checkpoint(ledger.origin, head.size, head.root))
    ledger.anchor.advance(size=head.size, root=head.root, note=note)


def tidy(ledger: Ledger) -> None:
    """Bring the digest index up to the log."""
    worked = True
    while worked:
        with ledger.store.write() as transaction:
            worked = digests.step(transaction, digests.Limits())
            if worked:
                transaction.commit()


def _head(ledger: Ledger) -> Head:
    with ledger.store.read() as transaction:
        return transaction.head()
