"""The data sets of a modality worklist (PS3.4 table K.6-1): the query, and what is read of an answer."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as Items

from platemark.capture import _values

__all__ = ["Dataset", "Entry", "query", "read"]

_MOST_STEPS = 16
_MOST_CHARACTERS = 1024


@dataclass(frozen=True)
class Entry:
    """One entry of a worklist. `performers` are the names in its scheduled steps, in the form of `technologist` (V5)."""

    accession: str
    study_uid: str
    patient_id: str
    performers: frozenset[str]


def query(*, accession: str = "", study_uid: str = "") -> Dataset:
    """The identifier of a C-FIND; empty keys are only asked for."""
    step = Dataset()
    step.ScheduledPerformingPhysicianName = ""
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.AccessionNumber = accession
    made.PatientID = ""
    made.StudyInstanceUID = study_uid
    made.ScheduledProcedureStepSequence = Items([step])
    return made


def read(identifier: Dataset) -> Entry:
    """What is looked at in an answer. Raises ValueError for one that cannot be read."""
    try:
        names = (
            _values.person_name(_text(step, "ScheduledPerformingPhysicianName"))
            for step in identifier.get("ScheduledProcedureStepSequence") or ()
        )
        return Entry(
            _text(identifier, "AccessionNumber"),
            _text(identifier, "StudyInstanceUID"),
            _text(identifier, "PatientID"),
            frozenset(name for name in islice(names, _MOST_STEPS) if name),
        )
    except Exception as error:  # noqa: BLE001 - pydicom raises whatever it meets in what a stranger sent
        raise ValueError(f"cannot be read ({type(error).__name__})") from None


def _text(content: Dataset, name: str) -> str:
    """A value as V4 has it; several, or one that is too long, count as none."""
    value = content.get(name)
    if value is None or isinstance(value, MultiValue):
        return ""
    text = _values.text(str(value))
    return text if len(text) <= _MOST_CHARACTERS else ""
