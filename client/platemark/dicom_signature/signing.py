"""Putting one more signature into a DICOM object, and changing nothing else of it.

The bytes of the new items are spliced into the data set; every other byte stays where it was in order, so that signatures
that are there already go on holding. Rules S1 to S9 of proto/dicom-signatures.md.
"""

from __future__ import annotations

import io
import os
import struct
import uuid
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from platemark import files
from platemark.capture._elements import UNDEFINED, name_of
from platemark.capture._faults import MalformedError
from platemark.capture._mac_stream import BIG, EXPLICIT, mac_stream
from platemark.capture._spans import Spans
from platemark.dicom_signature import _cipher
from platemark.dicom_signature._fields import (
    CERTIFICATE,
    CERTIFICATE_TYPE,
    DATE_TIME,
    MAC_ALGORITHM,
    MAC_ID,
    MAC_SYNTAX,
    SIGNATURE,
    SIGNED,
    TIMESTAMP,
    TIMESTAMP_TYPE,
    UID,
    element,
    item,
    mac_ids,
)
from platemark.dicom_signature._levels import MAC_PARAMETERS, SIGNATURES
from platemark.dicom_signature._objects import open_object
from platemark.dicom_signature.profiles import Profile, required, unmet
from platemark.errors import DicomSignatureError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from platemark.capture._mac_stream import MacStream
    from platemark.dicom_signature._objects import DicomObject

__all__ = ["Credential", "Signed", "sign"]

_MOST_TAGS = 65_532 // 4
"""What an AT value holds in explicit VR."""


@dataclass(frozen=True)
class Credential:
    """A private key and its certificate. Raises DicomSignatureError: not a pair, or a key that is too weak to sign."""

    key: _cipher.PrivateKey
    certificate: x509.Certificate

    def __post_init__(self) -> None:
        name, fault = _cipher.key_words(self.key.public_key())
        if fault:
            raise DicomSignatureError(f"the key: {name}: {fault}")
        form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        if self.certificate.public_key().public_bytes(*form) != self.key.public_key().public_bytes(*form):
            raise DicomSignatureError("the certificate is not that of the key")


@dataclass(frozen=True)
class Signed:
    """What was written: the new signature's UID, its place among those of the object, and the tags that it covers.

    `unknown` are elements that could not be signed, because their value representation is UN or not known.
    """

    uid: str
    number: int
    covered: tuple[int, ...]
    unknown: tuple[int, ...]


def sign(
    path: str | os.PathLike[str],
    out: Path,
    credential: Credential,
    *,
    now_ns: int,
    profile: Profile = Profile.NONE,
    mac: str = "SHA256",
    tags: Sequence[int] | None = None,
    stamp: Callable[[bytes], bytes] | None = None,
    replace: bool = False,
) -> Signed:
    """Write the object of `path` with one more signature to `out`, which is whole or not there.

    The signature covers every element that can be signed, or those of `tags`, which all have to be there. `stamp` gives the
    DER of a TimeStampToken over the Signature value. With `replace`, `out` may exist, and may be `path` itself.

    Raises DicomSignatureError: the object cannot be read or signed, or the signature would not meet `profile`; what `stamp`
    raises; FileError. `now_ns` (Unix ns) is what the signature states as its time.
    """
    algorithm = _cipher.MACS[mac]
    with open_object(path) as opened:
        stream = _covered(opened, path, tags)
        _check_profile(opened, path, credential, profile, stream)
        macs = mac_ids(opened.file, opened.top)
        number = next((each for each in range(1 << 16) if each not in macs), None)
        if number is None:
            raise DicomSignatureError(f"{path}: every MAC ID Number is taken")
        uid = f"2.25.{uuid.uuid4().int}"
        signed = _signed_fields(number, uid, now_ns)
        own = io.BytesIO(b"".join(_encoded(signed, EXPLICIT)))
        own_stream = mac_stream(own, 0, len(own.getvalue()), transfer_syntax=EXPLICIT)
        hashed = _cipher.digest(algorithm, chain(stream, own_stream))
        assert hashed is not None
        value = _cipher.sign(credential.key, algorithm, hashed)
        der = credential.certificate.public_bytes(Encoding.DER)
        fields = [*signed, (CERTIFICATE, "OB", _even(der)), (SIGNATURE, "OB", _even(value))]
        if stamp is not None:
            fields += [(TIMESTAMP_TYPE, "CS", b"CMS_TSP "), (TIMESTAMP, "OB", _even(stamp(value)))]
        parameters = _parameters(number, opened.mac_syntax, mac, stream.covered)
        data_set = _spliced(opened, {MAC_PARAMETERS: parameters, SIGNATURES: fields})
        # Crash before this returns: `out` is what it was. After: the signed object is on disk.
        (files.replace if replace else files.create)(out, _file(opened, data_set))
        count = len(opened.top.sequences[SIGNATURES].items) if SIGNATURES in opened.top.sequences else 0
        return Signed(uid, count, tuple(stream.covered), tuple(stream.unknown))


_Fields = list[tuple[int, str, bytes]]


def _covered(opened: DicomObject, path: str | os.PathLike[str], tags: Sequence[int] | None) -> MacStream:
    stream = mac_stream(
        opened.file,
        opened.start,
        opened.end,
        transfer_syntax=opened.top.transfer_syntax,
        vr_of=opened.vr_of,
        tags=None if tags is None else frozenset(tags),
        inherit=False,
    )
    if missing := sorted(frozenset(tags or ()).difference(stream.covered)):
        there = missing[0] in opened.top.tags
        why = "cannot be signed, by PS3.15 or since its value representation is not known" if there else "is not there"
        raise DicomSignatureError(f"{path}: {name_of(missing[0])} {why}")
    if not stream.covered:
        raise DicomSignatureError(f"{path}: it has no element that can be signed")
    if len(stream.covered) > _MOST_TAGS:
        raise DicomSignatureError(f"{path}: more than {_MOST_TAGS} elements, which is all that a signature can list")
    return stream


def _check_profile(
    opened: DicomObject,
    path: str | os.PathLike[str],
    credential: Credential,
    profile: Profile,
    stream: MacStream,
) -> None:
    is_rsa = isinstance(credential.key, rsa.RSAPrivateKey)
    if absent := sorted(required(profile, ()).difference(opened.top.tags)):
        raise DicomSignatureError(f"{path}: the {profile} profile needs {name_of(absent[0])}, which is not there")
    fault = unmet(
        profile,
        rsa=is_rsa,
        transfer_syntax=opened.mac_syntax,
        covered=stream.covered,
        present=opened.top.tags,
        top=True,
    )
    if fault:
        raise DicomSignatureError(f"{path}: the signature would not meet the {profile} profile: {fault}")


def _signed_fields(number: int, uid: str, now_ns: int) -> _Fields:
    """The elements of a signature's item that its own MAC covers."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=now_ns // 1000)
    return [
        (MAC_ID, "US", struct.pack("<H", number)),
        (UID, "UI", _even(uid.encode())),
        (DATE_TIME, "DT", f"{moment:%Y%m%d%H%M%S.%f}+0000".encode()),
        (CERTIFICATE_TYPE, "CS", b"X509_1993_SIG "),
    ]


def _parameters(number: int, syntax: str, mac: str, tags: Iterable[int]) -> _Fields:
    return [
        (MAC_ID, "US", struct.pack("<H", number)),
        (MAC_SYNTAX, "UI", _even(syntax.encode())),
        (MAC_ALGORITHM, "CS", _even(mac.encode(), b" ")),
        (SIGNED, "AT", b"".join(struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in tags)),
    ]


def _even(value: bytes, pad: bytes = b"\0") -> bytes:
    return value + pad * (len(value) % 2)


def _encoded(fields: _Fields, syntax: str) -> list[bytes]:
    return [element(tag, vr, value, syntax) for tag, vr, value in fields]


def _spliced(opened: DicomObject, items: dict[int, _Fields]) -> Spans:
    """The data set with each item appended to its sequence, which is made where it is missing."""
    syntax, level = opened.top.transfer_syntax, opened.top
    out = _Splice(opened)
    for tag, fields in items.items():
        added = item(_encoded(fields, syntax), syntax)
        present = level.sequences.get(tag)
        if tag in level.tags and (present is None or present.transfer_syntax != syntax):
            raise MalformedError(f"{name_of(tag)} does not have the value representation SQ")
        if present is None:
            added = element(tag, "SQ", added, syntax)
        out.enlarge_group(tag, len(added))
        if present is None:
            behind = (begin for each, begin in zip(level.tags, level.begins, strict=True) if each > tag)
            out.copy(next(behind, opened.end))
        else:
            if present.length != UNDEFINED:
                out.enlarge(tag, present.value - 4, len(added))
            out.copy(present.items_end)
        out.literal(added)
    out.copy(opened.end)
    return out


class _Splice(Spans):
    """The data set, copied from its start on, with changes in between."""

    def __init__(self, opened: DicomObject) -> None:
        super().__init__(opened.file)
        self._level, self._at = opened.top, opened.start

    def copy(self, end: int) -> None:
        """Go on up to the offset `end`."""
        self.span(self._at, end - self._at)
        self._at = end

    def enlarge(self, tag: int, at: int, by: int) -> None:
        """Go on up to the 32-bit length at the offset `at`, and write it larger."""
        order = ">" if self._level.transfer_syntax == BIG else "<"
        self._file.seek(at)
        length = int(struct.unpack(order + "I", self._file.read(4))[0]) + by
        if length >= UNDEFINED:
            raise MalformedError(f"{name_of(tag)} would be longer than DICOM allows")
        self.copy(at)
        self.literal(struct.pack(order + "I", length))
        self._at = at + 4

    def enlarge_group(self, tag: int, by: int) -> None:
        """Do that to the value of the tag's group length, if there is one; it must be an element of 4 bytes."""
        group, level = tag & 0xFFFF0000, self._level
        if group not in level.tags:
            return
        place = level.tags.index(group)
        ends = [*level.begins, level.end]
        if ends[place + 1] - ends[place] != 12:
            raise MalformedError(f"{name_of(group)} is not 4 bytes long")
        self.enlarge(group, ends[place] + 8, by)


def _file(opened: DicomObject, data_set: Spans) -> Iterator[bytes]:
    """The whole file: preamble and file meta information as they are, then the data set, deflated where it was."""
    yield from _head(opened)
    yield from _deflated(data_set) if opened.deflated else data_set
    opened.settled()


def _deflated(data_set: Spans) -> Iterator[bytes]:
    """RFC 1951, and a byte 00 where the length would be odd (PS3.5 A.5)."""
    deflater, length = zlib.compressobj(wbits=-zlib.MAX_WBITS), 0
    for chunk in data_set:
        piece = deflater.compress(chunk)
        length += len(piece)
        yield piece
    last = deflater.flush()
    yield last + b"\0" * ((length + len(last)) % 2)


def _head(opened: DicomObject) -> Spans:
    head = Spans(opened.whole)
    head.span(0, opened.meta.data_set_offset)
    return head
