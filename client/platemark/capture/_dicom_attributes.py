"""The attributes of a DICOM data set, by the names of proto/attributes.md."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from platemark.capture import _values
from platemark.capture._charset import decode_text
from platemark.capture._elements import PIXEL_TAGS
from platemark.rungs import HEADER_BINDING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from platemark.capture._elements import DataSet, Element, Walker
    from platemark.rungs import AttributeValue

__all__ = ["WANTED", "read_attributes"]

_TEXTS: dict[str, tuple[int, Callable[[str], str]]] = {
    "technologist": (0x00081070, _values.person_name),
    "patient_id": (0x00100020, _values.text),
    "patient_id_issuer": (0x00100021, _values.text),
    "patient_name": (0x00100010, _values.person_name),
    "patient_birth_date": (0x00100030, _values.date),
    "patient_sex": (0x00100040, _values.text),
    "study_instance_uid": (0x0020000D, _values.uid),
    "series_instance_uid": (0x0020000E, _values.uid),
    "sop_instance_uid": (0x00080018, _values.uid),
    "sop_class_uid": (0x00080016, _values.uid),
    "accession_number": (0x00080050, _values.text),
    "modality": (0x00080060, _values.text),
    "manufacturer": (0x00080070, _values.text),
    "model": (0x00081090, _values.text),
    "device_serial_number": (0x00181000, _values.text),
    "device_uid": (0x00181002, _values.uid),
    "station_name": (0x00081010, _values.text),
    "institution_name": (0x00080080, _values.text),
    "department_name": (0x00081040, _values.text),
    "software_versions": (0x00181020, _values.text),
    "body_part": (0x00180015, _values.text),
    "laterality": (0x00200060, _values.text),
    "image_laterality": (0x00200062, _values.text),
    "patient_orientation": (0x00200020, _values.text),
    "view_position": (0x00185101, _values.text),
    "image_orientation_patient": (0x00200037, _values.canonical_decimal),
    "image_position_patient": (0x00200032, _values.canonical_decimal),
    "patient_position": (0x00185100, _values.text),
    "frame_of_reference_uid": (0x00200052, _values.uid),
    "instance_number": (0x00200013, _values.canonical_decimal),
    "photometric_interpretation": (0x00280004, _values.text),
    "pixel_spacing": (0x00280030, _values.canonical_decimal),
    "imager_pixel_spacing": (0x00181164, _values.canonical_decimal),
    "kvp": (0x00180060, _values.canonical_decimal),
    "exposure": (0x00181152, _values.canonical_decimal),
    "exposure_time": (0x00181150, _values.canonical_decimal),
    "protocol_name": (0x00181030, _values.text),
    "image_type": (0x00080008, _values.text),
    "burned_in_annotation": (0x00280301, _values.text),
    "synthetic_data": (0x0008001C, _values.text),
    "lossy_image_compression": (0x00282110, _values.text),
    "lossy_compression_ratio": (0x00282112, _values.canonical_decimal),
    "lossy_compression_method": (0x00282114, _values.text),
}
_NUMBERS = {"rows": 0x00280010, "columns": 0x00280011, "bits_stored": 0x00280101}
_DATE_TIMES = {
    "study_datetime": (0x00080020, 0x00080030),
    "acquisition_datetime": (0x00080022, 0x00080032),
    "content_datetime": (0x00080023, 0x00080033),
    "instance_creation_datetime": (0x00080012, 0x00080013),
}
_ACQUISITION_DATETIME, _OFFSET, _CHARACTER_SET = 0x0008002A, 0x00080201, 0x00080005
_NUMBER_OF_FRAMES, _SLOPE, _INTERCEPT = 0x00280008, 0x00281053, 0x00281052
_OPERATORS, _PERSON_CODES, _CODE_VALUE = 0x00081072, 0x00401101, 0x00080100
_SHARED_GROUPS, _FRAME_GROUPS = 0x52009229, 0x52009230
# Source Image Sequence, at the top level or in the groups' Derivation Image Sequence (PS3.3 C.7.6.16.2.6).
_SOURCE_IMAGES, _DERIVATION_IMAGES, _REFERENCED_INSTANCE = 0x00082112, 0x00089124, 0x00081155
# Functional groups that carry, for multi-frame objects, what others have at the top level (PS3.3 C.7.6.16).
_IN_GROUPS = {
    "image_laterality": (0x00209071, 0x00209072, _values.text),
    "patient_orientation": (0x00209450, 0x00200020, _values.text),
    "image_orientation_patient": (0x00209116, 0x00200037, _values.canonical_decimal),
}
# Of Number of Frames. An IS has at most 12 characters; Python refuses to convert more than 4300 digits.
_MAX_DIGITS = 12
_DESCRIPTION = (0x00280002, 0x00280006, 0x00280100, 0x00280102, 0x00280103, 0x7FE00001, 0x7FE00002, *PIXEL_TAGS)

WANTED = frozenset(
    {tag for tag, _ in _TEXTS.values()}
    | set(_NUMBERS.values())
    | {tag for pair in _DATE_TIMES.values() for tag in pair}
    | {tag for sequence, tag, _ in _IN_GROUPS.values() for tag in (sequence, tag)}
    | {_ACQUISITION_DATETIME, _OFFSET, _CHARACTER_SET, _NUMBER_OF_FRAMES, _SLOPE, _INTERCEPT}
    | {_OPERATORS, _PERSON_CODES, _CODE_VALUE, _SHARED_GROUPS, _FRAME_GROUPS, *_DESCRIPTION}
    | {_SOURCE_IMAGES, _DERIVATION_IMAGES, _REFERENCED_INSTANCE}
)
"""Every tag that capture reads."""


def read_attributes(walker: Walker, data_set: DataSet) -> dict[str, AttributeValue]:
    """The attributes that the object carries; those of HEADER_BINDING always, None where it has no value."""
    return _Reader(walker, data_set).attributes()


class _Reader:
    def __init__(self, walker: Walker, data_set: DataSet) -> None:
        self._walker, self._data_set = walker, data_set
        self._character_sets = ""
        self._character_sets = self._raw(data_set.get(_CHARACTER_SET))

    def attributes(self) -> dict[str, AttributeValue]:
        found: dict[str, AttributeValue] = {}
        for name, (tag, normal) in _TEXTS.items():
            found[name] = self._text(self._data_set.get(tag), normal)
        for name, tag in _NUMBERS.items():
            found[name] = self._number(tag)
        offset = self._raw(self._data_set.get(_OFFSET))
        for name, (day, time) in _DATE_TIMES.items():
            date = _values.date(self._raw(self._data_set.get(day)))
            found[name] = _values.date_time(date, self._raw(self._data_set.get(time)), offset)
        stated = self._raw(self._data_set.get(_ACQUISITION_DATETIME))
        found["acquisition_datetime"] = _values.date_time(stated, "", offset) or found["acquisition_datetime"]
        for name, (sequence, tag, normal) in _IN_GROUPS.items():
            found[name] = self._with_groups(found[name], sequence, tag, normal)
        found["technologist_id"] = self._operator_codes()
        found["source_image_uids"] = self._source_images()
        found["frames"] = self._frames()
        found["rescale"] = self._rescale()
        return {name: value for name, value in found.items() if value is not None or name in HEADER_BINDING}

    def _raw(self, element: Element | None) -> str:
        if element is None:
            return ""
        return decode_text(self._walker.value(element), self._character_sets)

    def _text(self, element: Element | None, normal: Callable[[str], str]) -> str | None:
        return _values.join([normal(value) for value in self._raw(element).split("\\")])

    def _number(self, tag: int) -> int | None:
        element = self._data_set.get(tag)
        if element is None or element.length != 2:  # US, one value
            return None
        return self._walker.integer(element)

    def _frames(self) -> int | None:
        if not any(tag in self._data_set for tag in PIXEL_TAGS):
            return None
        stated = _values.canonical_decimal(self._raw(self._data_set.get(_NUMBER_OF_FRAMES))) or "1"
        return int(stated) if stated.isascii() and stated.isdigit() and len(stated) <= _MAX_DIGITS else None

    def _rescale(self) -> str | None:
        return _values.join(
            [_values.canonical_decimal(self._raw(self._data_set.get(tag))) for tag in (_SLOPE, _INTERCEPT)]
        )

    def _operator_codes(self) -> str | None:
        codes = []
        operators = self._data_set.get(_OPERATORS)
        for operator in operators.items if operators else ():
            persons = operator.get(_PERSON_CODES)
            codes += [_values.text(self._raw(code.get(_CODE_VALUE))) for code in (persons.items if persons else ())]
        return _values.join(codes)

    def _source_images(self) -> str | None:
        """The images that this one was made from, each once, in the order of their first mention (V17)."""
        data_sets = [self._data_set]
        for group in (*self._groups(_SHARED_GROUPS), *self._groups(_FRAME_GROUPS)):
            derivations = group.get(_DERIVATION_IMAGES)
            data_sets += derivations.items if derivations else ()
        uids: dict[str, None] = {}
        for data_set in data_sets:
            sources = data_set.get(_SOURCE_IMAGES)
            for source in sources.items if sources else ():
                uids[_values.uid(self._raw(source.get(_REFERENCED_INSTANCE)))] = None
        return _values.join([uid for uid in uids if uid])

    def _with_groups(
        self, top: AttributeValue, sequence: int, tag: int, normal: Callable[[str], str]
    ) -> AttributeValue:
        """The value at the top level, and then what the shared and every frame's functional group say (V10).

        Readers differ in the place that they believe, so every place is part of the value, and no two contents make
        one value: the entries that say where a value stands end in a space, and no normalised value does.
        """
        shared = [self._in_group(group, sequence, tag, normal) for group in self._groups(_SHARED_GROUPS)]
        frames = [self._in_group(group, sequence, tag, normal) for group in self._groups(_FRAME_GROUPS)]
        if not any(shared + frames):
            return top
        entries = [] if top is None else [str(top)]
        for said in shared:
            entries += ["shared ", *said]
        number = 0
        for said, run in itertools.groupby(frames):
            first, number = number + 1, number + len(list(run))
            entries += [f"frames {first}-{number} ", *said]
        return "\\".join(entries)

    def _groups(self, tag: int) -> Sequence[DataSet]:
        element = self._data_set.get(tag)
        return element.items if element else ()

    def _in_group(self, group: DataSet, sequence: int, tag: int, normal: Callable[[str], str]) -> tuple[str, ...]:
        """What one functional group says: the value, if any, of every item of `sequence`."""
        inner = group.get(sequence)
        said: list[str] = []
        for index, item in enumerate(inner.items if inner else ()):
            value = self._text(item.get(tag), normal)
            said += (["and "] if index else []) + ([] if value is None else [value])
        return tuple(said)
