"""What two DICOM files have different, element by element, read by pydicom: an opinion that owes nothing to the capture."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom.config
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import generate_fragments
from pydicom.tag import BaseTag

__all__ = ["Differences", "Parsed", "compare", "parse"]

_PRIVATE = "private elements"
_UNDEFINED = 0xFFFFFFFF
_TRAILING_PADDING = 0xFFFCFFFC
_WORDS = {
    **dict.fromkeys(("US", "SS", "OW", "AT"), 2),
    **dict.fromkeys(("UL", "SL", "FL", "OL", "OF"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "UV", "SV"), 8),
}
_DECIMAL = frozenset({"DS", "IS"})


@dataclass(frozen=True)
class Stored:
    """One element: `value` in little endian; `undefined` is its length.

    `vr` is the value representation, `implied` where the file does not state it and the dictionary does: `UN` for what
    the dictionary does not know, two or three joined by ` or `.
    """

    tag: BaseTag
    vr: str
    value: bytes
    implied: bool = False
    undefined: bool = False


@dataclass(frozen=True)
class Parsed:
    """A file: `elements` by their path, such as `(0040,0275)[0].(0008,0050)`, sequences and items among them."""

    transfer_syntax: str
    elements: dict[str, Stored] = field(repr=False)
    data_set: FileDataset = field(repr=False)

    def text(self, tag: int) -> str:
        """The value of a top-level element as text, empty when it is absent."""
        found = self.elements.get(str(BaseTag(tag)))
        return "" if found is None else found.value.decode("latin-1").strip(" \0")

    def integer(self, tag: int) -> int:
        """The value of a top-level element of VR US, 0 when it is absent."""
        found = self.elements.get(str(BaseTag(tag)))
        return int(struct.unpack("<H", found.value[:2])[0]) if found and len(found.value) >= 2 else 0


@dataclass
class Differences:
    """Sets of names: elements by keyword, VRs as `OB became OW`, layouts as sentences, `pixel_data` as one."""

    added: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)
    rewritten: set[str] = field(default_factory=set)
    padded: set[str] = field(default_factory=set)
    representations: set[str] = field(default_factory=set)
    layout: set[str] = field(default_factory=set)
    pixel_data: str | None = None

    def reasons(self) -> list[str]:
        """One sentence for each kind of difference in values or VRs, none when only the layout differs."""
        told = [
            f"{verb} {_some(names)}"
            for verb, names in (("added", self.added), ("removed", self.removed), ("changed", self.changed))
            if names
        ]
        told += [f"decimal text rewritten ({_some(self.rewritten)})"] if self.rewritten else []
        told += [f"values padded or trimmed ({_some(self.padded)})"] if self.padded else []
        return told + sorted(self.representations)


def parse(path: Path) -> Parsed:
    """Read a whole file."""
    with warnings.catch_warnings(action="ignore"):
        data_set = pydicom.dcmread(path)
        implicit = data_set.file_meta.TransferSyntaxUID.is_implicit_VR
        with _as_written():
            elements = dict(_walk(data_set, "", implicit=implicit))
    return Parsed(str(data_set.file_meta.TransferSyntaxUID), elements, data_set)


@contextmanager
def _as_written() -> Iterator[None]:
    """Within the block pydicom takes an element of VR UN for what it is, and not for what its dictionary says."""
    replaces = pydicom.config.replace_un_with_known_vr
    pydicom.config.replace_un_with_known_vr = False
    try:
        yield
    finally:
        pydicom.config.replace_un_with_known_vr = replaces


def _walk(data_set: Dataset, prefix: str, *, implicit: bool) -> Iterator[tuple[str, Stored]]:
    # All at once: pydicom decodes some elements of its own accord while it decodes others.
    items: dict[BaseTag, Any] = {tag: data_set.get_item(tag) for tag in sorted(data_set.keys())}
    for tag, raw in items.items():
        path = f"{prefix}{tag}"
        vr = _implied(tag) if implicit else raw.VR
        if isinstance(raw, RawDataElement) and vr != "SQ":
            yield path, Stored(tag, vr, _little(raw, vr), implicit, raw.length == _UNDEFINED)
            continue
        element = data_set[tag]
        if element.VR != "SQ":
            # pydicom decodes Specific Character Set while it reads, and has no raw form of an empty element.
            yield path, Stored(tag, vr, b"" if element.is_empty else repr(element.value).encode(), implicit)
            continue
        yield path, Stored(tag, "SQ", b"", implicit, element.is_undefined_length)
        for number, item in enumerate(element.value):
            yield f"{path}[{number}]", Stored(tag, "SQ", b"", implicit, item.is_undefined_length_sequence_item)
            yield from _walk(item, f"{path}[{number}].", implicit=implicit)


def _implied(tag: BaseTag) -> str:
    """What a reader of implicit VR takes an element for (PS3.5 A.1, PS3.6)."""
    if tag.is_private:
        return "LO" if tag.is_private_creator else "UN"
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return "UL" if tag.element == 0 else "UN"
    return "OW" if vr.endswith("or OW") else vr


def _little(raw: RawDataElement, vr: str) -> bytes:
    value = raw.value or b""
    size = _WORDS.get(vr[:2])
    if raw.is_little_endian or size is None or len(value) % size:
        return value
    swapped = bytearray(len(value))
    for byte in range(size):
        swapped[byte::size] = value[size - 1 - byte :: size]
    return bytes(swapped)


def compare(before: Parsed, after: Parsed) -> Differences:
    """What `after` has different from `before`; what is inside a sequence goes under the sequence's name."""
    found = Differences()
    for path in before.elements.keys() | after.elements.keys():
        old, new = before.elements.get(path), after.elements.get(path)
        one = new or old
        assert one is not None
        name = _name(path)
        if one.tag.element == 0 or one.tag == _TRAILING_PADDING:
            if old != new:
                padding = one.tag == _TRAILING_PADDING
                found.layout.add("trailing padding rewritten" if padding else "group lengths rewritten")
        elif old is not None and new is not None:
            _compare_values(found, name, old, new)
        elif "[" in path:
            # What one file calls UN has no items there; that is told once, of the sequence.
            outer = path.partition("[")[0]
            if all(each.elements[outer].vr == "SQ" for each in (before, after) if outer in each.elements):
                found.changed.add(name)
        else:
            (found.added if old is None else found.removed).add(name)
    return found


def _compare_values(found: Differences, name: str, old: Stored, new: Stored) -> None:
    if not set(old.vr.split(" or ")) & set(new.vr.split(" or ")):
        lost = " in implicit VR" if new.implied else ""
        found.representations.add(_representation(name, old.vr, new.vr) + lost)
        if "SQ" in (old.vr, new.vr):
            return
    if name == "PixelData" and old.value != new.value:
        found.pixel_data = _pixel_data(old, new)
        return
    if old.undefined != new.undefined:
        found.layout.add("lengths of sequences rewritten")
    if old.value == new.value:
        return
    if old.value.rstrip(b" \0") == new.value.rstrip(b" \0"):
        found.padded.add(name)
    elif new.vr in _DECIMAL and _decimals(old.value) == _decimals(new.value):
        found.rewritten.add(name)
    else:
        found.changed.add(name)


def _pixel_data(old: Stored, new: Stored) -> str:
    if old.undefined and new.undefined:
        one, other = (b"".join(generate_fragments(each.value)).rstrip(b"\0") for each in (old, new))
        return "fragments or offset table written anew" if one == other else "pixel data compressed anew"
    if old.undefined != new.undefined:
        return "pixel data compressed" if new.undefined else "pixel data decompressed"
    shorter, longer = sorted((old.value, new.value), key=len)
    return "end of pixel data padded or trimmed" if longer.startswith(shorter) else "pixel data written anew"


def _representation(name: str, old: str, new: str) -> str:
    if old == "UN":
        return "elements of VR UN became what the dictionary says"
    return f"{name} became UN" if new == "UN" and name == _PRIVATE else f"VR {old} became {new} ({name})"


def _decimals(value: bytes) -> list[float] | None:
    try:
        return [float(part) for part in value.decode("ascii").strip(" \0").split("\\")]
    except ValueError:
        return None


def _name(path: str) -> str:
    """Of the top-level element that a path begins with."""
    group, element = path[1:5], path[5:].lstrip(", ")[:4]
    tag = BaseTag(int(group + element, 16))
    return _PRIVATE if tag.is_private else keyword_for_tag(tag) or str(tag)


def _some(names: set[str], most: int = 4) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ordered[:most]) + more
