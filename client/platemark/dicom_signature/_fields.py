"""The fields of a signature: items of MAC Parameters (4FFE,0001) and Digital Signatures (FFFA,FFFA), PS3.3 C.12.1.1.3."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from platemark.capture._elements import Walker, name_of
from platemark.capture._faults import MalformedError
from platemark.capture._mac_stream import BIG, IMPLICIT
from platemark.dicom_signature._levels import MAC_PARAMETERS, SIGNATURES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from platemark.capture._elements import DataSet
    from platemark.dicom_signature._levels import Level

__all__ = [
    "CERTIFICATE",
    "CERTIFICATE_TYPE",
    "DATE_TIME",
    "LEFT_OUT",
    "MAC_ALGORITHM",
    "MAC_ID",
    "MAC_SYNTAX",
    "SIGNATURE",
    "SIGNED",
    "TIMESTAMP",
    "TIMESTAMP_TYPE",
    "UID",
    "MacParameters",
    "Stored",
    "element",
    "item",
    "mac_ids",
    "read_signatures",
    "signed_tags",
]

MAC_ID, MAC_SYNTAX, MAC_ALGORITHM, SIGNED = 0x04000005, 0x04000010, 0x04000015, 0x04000020
UID, DATE_TIME, CERTIFICATE_TYPE, CERTIFICATE, SIGNATURE = 0x04000100, 0x04000105, 0x04000110, 0x04000115, 0x04000120
TIMESTAMP_TYPE, TIMESTAMP = 0x04000305, 0x04000310
LEFT_OUT = frozenset({CERTIFICATE, SIGNATURE, TIMESTAMP_TYPE, TIMESTAMP})
"""Elements of a signature's own item that its MAC does not cover."""
_MAC_FIELDS = frozenset({MAC_ID, MAC_SYNTAX, MAC_ALGORITHM, SIGNED})
_FIELDS = frozenset({MAC_ID, UID, DATE_TIME, CERTIFICATE_TYPE, CERTIFICATE, SIGNATURE, TIMESTAMP_TYPE, TIMESTAMP})
_LONG = ("OB", "SQ")
_LIMIT = 1 << 18
"""Bytes of one field: four tags for each byte that explicit VR allows, and far more than a certificate or a token."""


@dataclass(frozen=True)
class MacParameters:
    """How a MAC was computed: MAC Calculation Transfer Syntax, MAC Algorithm, and Data Elements Signed in their order."""

    transfer_syntax: str
    algorithm: str
    tags: tuple[int, ...]


@dataclass(frozen=True)
class Stored:
    """One item of a sequence of signatures; `fault` says why it cannot be checked, and then fields may be missing.

    `start` and `end` are the offsets of the item's data set, `transfer_syntax` its encoding. Values stand as they are stored,
    padding included.
    """

    number: int
    start: int
    end: int
    transfer_syntax: str
    mac_id: int | None = None
    mac: MacParameters | None = None
    uid: str = ""
    date_time: str = ""
    certificate_type: str = ""
    certificate: bytes = b""
    signature: bytes = b""
    timestamp_type: str = ""
    timestamp: bytes | None = None
    fault: str = ""


def read_signatures(file: BinaryIO, level: Level) -> Iterator[Stored]:
    """Every signature of a level. Never raises for what is in one; its `fault` says it."""
    macs = _read_macs(file, level)
    sequence = level.sequences[SIGNATURES]
    for number, (start, end) in enumerate(sequence.items):
        place = Stored(number, start, end, sequence.transfer_syntax)
        try:
            yield _read_signature(file, place, macs)
        except MalformedError as error:
            yield replace(place, fault=str(error))


def mac_ids(file: BinaryIO, level: Level) -> set[int]:
    """The MAC ID Numbers that are taken, by parameters or by signatures. Raises MalformedError."""
    taken = set()
    for tag in (MAC_PARAMETERS, SIGNATURES):
        sequence = level.sequences.get(tag)
        for span in sequence.items if sequence is not None else ():
            walker = _walker(file, level.transfer_syntax, span, frozenset({MAC_ID}))
            found = walker.walk()
            if MAC_ID in found:
                taken.add(walker.integer(found[MAC_ID]))
    return taken


def signed_tags(data: bytes, *, little: bool = True) -> tuple[int, ...]:
    """The tags of an AT value. Raises MalformedError for half a tag."""
    if len(data) % 4:
        raise MalformedError(f"{name_of(SIGNED)} is {len(data)} bytes long, not 4 for each tag")
    words = struct.unpack(f"{'<' if little else '>'}{len(data) // 2}H", data)
    return tuple(group << 16 | number for group, number in zip(words[::2], words[1::2], strict=True))


def element(tag: int, vr: str, value: bytes, transfer_syntax: str) -> bytes:
    """One data element. AT and US are given in little endian and written in the byte order of `transfer_syntax`."""
    order = ">" if transfer_syntax == BIG else "<"
    if order == ">" and vr in ("AT", "US"):
        value = b"".join(value[at : at + 2][::-1] for at in range(0, len(value), 2))
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if transfer_syntax == IMPLICIT:
        return head + struct.pack("<I", len(value)) + value
    if vr in _LONG:
        return head + vr.encode() + b"\0\0" + struct.pack(order + "I", len(value)) + value
    return head + vr.encode() + struct.pack(order + "H", len(value)) + value


def item(elements: Sequence[bytes], transfer_syntax: str) -> bytes:
    """One item, of defined length."""
    content = b"".join(elements)
    order = ">" if transfer_syntax == BIG else "<"
    return struct.pack(order + "HHI", 0xFFFE, 0xE000, len(content)) + content


def _walker(file: BinaryIO, syntax: str, span: tuple[int, int], wanted: frozenset[int]) -> Walker:
    start, end = span
    return Walker(file, start, end, explicit=syntax != IMPLICIT, little=syntax != BIG, wanted=wanted)


def _text(walker: Walker, found: DataSet, tag: int) -> str:
    value = walker.value(found[tag]) if tag in found else b""
    return value.decode("ascii", "backslashreplace").strip(" \0")


def _read_macs(file: BinaryIO, level: Level) -> dict[int, MacParameters | str]:
    """MAC ID Number to parameters, or to why they cannot be used."""
    macs: dict[int, MacParameters | str] = {}
    sequence = level.sequences.get(MAC_PARAMETERS)
    if sequence is None:
        return macs
    for span in sequence.items:
        walker = _walker(file, sequence.transfer_syntax, span, _MAC_FIELDS)
        try:
            found = walker.walk()
            number = walker.integer(found[MAC_ID])
        except (MalformedError, KeyError):
            continue  # no signature can name it
        if number in macs:
            macs[number] = f"two items of {name_of(MAC_PARAMETERS)} have the MAC ID Number {number}"
            continue
        try:
            tags = walker.value(found[SIGNED], limit=_LIMIT) if SIGNED in found else b""
            listed = signed_tags(tags, little=sequence.transfer_syntax != BIG)
            texts = _text(walker, found, MAC_SYNTAX), _text(walker, found, MAC_ALGORITHM)
            macs[number] = MacParameters(*texts, listed)
        except MalformedError as error:
            macs[number] = str(error)
    return macs


def _read_signature(file: BinaryIO, place: Stored, macs: dict[int, MacParameters | str]) -> Stored:
    walker = _walker(file, place.transfer_syntax, (place.start, place.end), _FIELDS)
    found = walker.walk()
    for tag in (MAC_ID, UID, DATE_TIME, CERTIFICATE_TYPE, CERTIFICATE, SIGNATURE):
        if tag not in found:
            raise MalformedError(f"{name_of(tag)} is missing from the signature")
    mac_id = walker.integer(found[MAC_ID])
    mac = macs.get(mac_id, f"no item of {name_of(MAC_PARAMETERS)} has the MAC ID Number {mac_id}")
    if isinstance(mac, MacParameters) and not mac.tags:
        mac = f"{name_of(SIGNED)} lists nothing"
    return replace(
        place,
        mac_id=mac_id,
        mac=mac if isinstance(mac, MacParameters) else None,
        uid=_text(walker, found, UID),
        date_time=_text(walker, found, DATE_TIME),
        certificate_type=_text(walker, found, CERTIFICATE_TYPE),
        certificate=walker.value(found[CERTIFICATE], limit=_LIMIT),
        signature=walker.value(found[SIGNATURE], limit=_LIMIT),
        timestamp_type=_text(walker, found, TIMESTAMP_TYPE),
        timestamp=walker.value(found[TIMESTAMP], limit=_LIMIT) if TIMESTAMP in found else None,
        fault="" if isinstance(mac, MacParameters) else mac,
    )
