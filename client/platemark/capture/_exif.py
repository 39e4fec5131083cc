"""Attributes of cameras from Exif and TIFF tags (CIPA DC-008, TIFF 6.0)."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import TYPE_CHECKING

from platemark.capture import _values
from platemark.capture._charset import decode_text
from platemark.capture._faults import MalformedError
from platemark.capture._ifd import TiffReader

if TYPE_CHECKING:
    from platemark.capture._ifd import Directory, Entry
    from platemark.rungs import AttributeValue

__all__ = ["exif_attributes", "orientation_of", "segment_attributes"]

_MAKE, _MODEL, _ORIENTATION, _SOFTWARE, _EXIF, _GPS = 271, 272, 274, 305, 34665, 34853
_EXPOSURE, _TAKEN, _OFFSET, _FRACTION = 33434, 36867, 36881, 37521
_SERIAL, _LENS = 42033, 42036
_DATE_LENGTH = 19


def segment_attributes(data: bytes) -> tuple[int, dict[str, AttributeValue]]:
    """Orientation and attributes of an Exif segment; a segment that cannot be read counts as absent.

    Exif is an annotation: the image is no less readable for a broken one, and its bytes are under the `file` rung.
    """
    try:
        reader = TiffReader(io.BytesIO(data), len(data))
        directory = reader.first()
    except MalformedError:
        return 1, {}
    return orientation_of(reader, directory), exif_attributes(reader, directory)


def orientation_of(reader: TiffReader, directory: Directory) -> int:
    """Tag 274, 1 to 8; anything else counts as 1 (TIFF 6.0 section 8)."""
    entry = directory.get(_ORIENTATION)
    if entry is None or entry.type != 3 or entry.count != 1:  # SHORT
        return 1
    value = reader.integers(entry)[0]
    return value if 1 <= value <= 8 else 1


def exif_attributes(reader: TiffReader, directory: Directory) -> dict[str, AttributeValue]:
    """What the directory and its Exif and GPS directories say; broken sub-directories count as absent."""
    exif, gps = _sub(reader, directory, _EXIF), _sub(reader, directory, _GPS)
    found: dict[str, AttributeValue] = {
        "manufacturer": _text(reader, directory.get(_MAKE)),
        "model": _text(reader, directory.get(_MODEL)),
        "software_versions": _text(reader, directory.get(_SOFTWARE)),
        "device_serial_number": _text(reader, exif.get(_SERIAL)),
        "lens": _text(reader, exif.get(_LENS)),
        "acquisition_datetime": _taken(reader, exif),
        "exposure_time": _exposure(reader, exif.get(_EXPOSURE)),
        "gps_position": _position(reader, gps),
    }
    if _ORIENTATION in directory:
        found["orientation"] = orientation_of(reader, directory)
    return {name: value for name, value in found.items() if value is not None}


def _sub(reader: TiffReader, directory: Directory, tag: int) -> Directory:
    try:
        return reader.sub(directory, tag)
    except MalformedError:
        return {}


def _text(reader: TiffReader, entry: Entry | None) -> str | None:
    try:
        return _values.text(decode_text(reader.text(entry), "ISO_IR 192")) or None
    except MalformedError:
        return None


def _taken(reader: TiffReader, exif: Directory) -> str | None:
    """YYYY:MM:DD HH:MM:SS, fraction and +HH:MM as a DICOM DT."""
    stamp = _text(reader, exif.get(_TAKEN)) or ""
    digits = stamp.replace(":", "").replace(" ", "")
    if len(stamp) != _DATE_LENGTH or not (digits.isascii() and digits.isdigit()):
        return None
    fraction = _text(reader, exif.get(_FRACTION)) or ""
    offset = (_text(reader, exif.get(_OFFSET)) or "").replace(":", "")
    if fraction.isascii() and fraction.isdigit():
        digits += f".{fraction[:6]}"
    return _values.date_time(digits, "", offset if offset[:1] in ("+", "-") else "")


def _exposure(reader: TiffReader, entry: Entry | None) -> str | None:
    """Seconds as a reduced fraction, such as "1/125 s"."""
    value = _rationals(reader, entry, 1)
    return f"{value[0]} s" if value and value[0] > 0 else None


def _position(reader: TiffReader, gps: Directory) -> str | None:
    """Latitude and longitude in decimal degrees (7 places), altitude in metres (2 places) when given."""
    parts = []
    for reference, tag, negative in ((1, 2, "S"), (3, 4, "W")):
        angle = _rationals(reader, gps.get(tag), 3)
        if angle is None:
            return None
        degrees = angle[0] + angle[1] / 60 + angle[2] / 3600
        parts.append(_decimal(-degrees if _text(reader, gps.get(reference)) == negative else degrees, 7))
    height = _rationals(reader, gps.get(6), 1)
    if height:
        parts.append(_decimal(-height[0] if _below_sea_level(reader, gps.get(5)) else height[0], 2))
    return _values.join(parts)


def _below_sea_level(reader: TiffReader, entry: Entry | None) -> bool:
    """GPSAltitudeRef is 1."""
    try:
        return entry is not None and entry.count == 1 and reader.integers(entry) == [1]
    except MalformedError:
        return False


def _rationals(reader: TiffReader, entry: Entry | None, count: int) -> list[Fraction] | None:
    try:
        return reader.rationals(entry, count)
    except MalformedError:
        return None


def _decimal(value: Fraction, places: int) -> str:
    """Rounded half away from zero, as canonical decimal text."""
    scaled = int(abs(value) * 10**places + Fraction(1, 2))
    whole, fraction = divmod(scaled, 10**places)
    return _values.canonical_decimal(f"{'-' if value < 0 else ''}{whole}.{fraction:0{places}d}")
