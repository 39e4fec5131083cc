"""The technologist from a modality worklist, for objects that name none (PS3.4 annex K).

What a worklist says was scheduled; nobody signed it, and somebody else may have stood at the machine. It is taken only when
every entry that belongs to the object says the same, and `remark` says where it comes from (rule V20 of
proto/attributes.md). A worklist that is away never holds up a statement for longer than `answer_s`, and not twice in a row.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from pynetdicom import build_context
from pynetdicom.sop_class import ModalityWorklistInformationFind  # type: ignore[attr-defined] # made when it is loaded

from platemark.gateway._worklist_sets import Entry, query, read
from platemark.gateway.calling import Peer, PeerError, associate, end

if TYPE_CHECKING:
    from platemark.attributes import AttributeValue
    from platemark.gateway._worklist_sets import Dataset
    from platemark.gateway.journal import Received
    from platemark.rungs import Measurement

__all__ = ["REMARK", "Worklist", "performer"]

REMARK = "technologist: as stated by the modality worklist, not by the object"
"""The attribute `remark` of a capture whose technologist came from here."""
_log = logging.getLogger("platemark.gateway.worklist")
_PENDING = frozenset({0xFF00, 0xFF01})
_MOST_ENTRIES = 64
_MOST_KEPT = 512
_KEPT_S = 300.0  # an answer holds for a study, and is not believed for ever
_NOTHING_KEPT_S = 30.0
_AWAY_S = 30.0


class _AwayError(Exception):
    """The worklist gave no answer."""


class Worklist:
    """Asks one worklist SCP. For one thread. `clock` gives monotonic seconds."""

    def __init__(self, peer: Peer, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._peer, self._clock = peer, clock
        self._kept: dict[tuple[str, str, str], tuple[float, str | None]] = {}  # by what was asked, with its end
        self._away_until = 0.0

    def stated(self, received: Received, measured: Measurement) -> dict[str, AttributeValue]:
        """Attributes to add to those of the object: `technologist` and `remark`, or nothing."""
        del received
        found = measured.attributes
        if found.get("technologist"):
            return {}
        accession, study, patient = (
            _text(found.get(name)) for name in ("accession_number", "study_instance_uid", "patient_id")
        )
        name = self._look(accession, study, patient)
        return {} if name is None else {"technologist": name, "remark": REMARK}

    def _look(self, accession: str, study_uid: str, patient_id: str) -> str | None:
        """The name for these keys, from what is kept or from the worklist."""
        if not (accession or study_uid):
            return None
        key, now = (accession, study_uid, patient_id), self._clock()
        kept = self._kept.get(key)
        if kept is not None and now < kept[0]:
            return kept[1]
        if now < self._away_until:
            return None
        try:
            name = self._ask(accession, study_uid, patient_id)
        except _AwayError as error:
            self._away_until = self._clock() + _AWAY_S
            _log.warning("the worklist does not answer", extra={"reason": str(error)})
            return None
        if len(self._kept) >= _MOST_KEPT:
            self._kept.pop(next(iter(self._kept)))
        self._kept[key] = (now + (_NOTHING_KEPT_S if name is None else _KEPT_S), name)
        return name

    def _ask(self, accession: str, study_uid: str, patient_id: str) -> str | None:
        """By accession number, then by study."""
        for keys in ({"accession": accession}, {"study_uid": study_uid}):
            if any(keys.values()):
                entries = self._find(query(**keys))
                name = performer(entries, accession=accession, study_uid=study_uid, patient_id=patient_id)
                if name is not None:
                    return name
        return None

    def _find(self, identifier: Dataset) -> list[Entry]:
        """The entries that answer the query, some at most."""
        deadline = self._clock() + self._peer.answer_s
        try:
            association = associate(self._peer, [build_context(ModalityWorklistInformationFind)])
        except PeerError as error:
            raise _AwayError(str(error)) from None
        found: list[Entry] = []
        try:
            for status, answer in association.send_c_find(identifier, ModalityWorklistInformationFind):
                if "Status" not in status:
                    raise _AwayError("no answer in time")
                if status.Status not in _PENDING:
                    if status.Status != 0:
                        raise _AwayError(f"status {status.Status:04X}")
                    return found
                if len(found) >= _MOST_ENTRIES or self._clock() > deadline:
                    # Too many to belong to one object, or for ever.
                    association.abort()
                    return []
                if answer is not None:
                    found.append(read(answer))
        except (RuntimeError, ValueError) as error:
            raise _AwayError(f"{type(error).__name__}: an answer cannot be read") from None
        finally:
            end(association)
        return []


def performer(entries: Iterable[Entry], *, accession: str, study_uid: str, patient_id: str) -> str | None:
    """The one name that all entries of this object agree on, None when there is none, or more than one.

    An entry belongs to the object when its accession number or, without one in common, its study is the object's, and
    neither these nor the patient contradict each other. An SCP may ignore a key that it does not know, so that every
    answer is compared here.
    """
    names = {
        name for entry in entries if _belongs(entry, accession, study_uid, patient_id) for name in entry.performers
    }
    return names.pop() if len(names) == 1 else None


def _belongs(entry: Entry, accession: str, study_uid: str, patient_id: str) -> bool:
    pairs = [(entry.accession, accession), (entry.study_uid, study_uid)]
    both = [(theirs, ours) for theirs, ours in pairs if theirs and ours]
    if not both or any(theirs != ours for theirs, ours in both):
        return False
    return not (entry.patient_id and patient_id) or entry.patient_id == patient_id


def _text(value: AttributeValue) -> str:
    return value if isinstance(value, str) else ""
