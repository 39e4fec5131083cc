"""What modalities may send: every storage SOP class and transfer syntax of the standard, retired ones too, and private ones.

A gateway stores and passes on bytes; whether anybody can show them is no reason to refuse them at the modality.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydicom._uid_dict import UID_dictionary
from pynetdicom import build_context
from pynetdicom.presentation import AllStoragePresentationContexts, PresentationContext
from pynetdicom.service_class import ServiceClass, StorageServiceClass
from pynetdicom.sop_class import register_uid, uid_to_service_class

__all__ = ["Offer"]

_VERIFICATION = "1.2.840.10008.1.1"
# Not encodings of a data set (PS3.10 has both for other purposes).
_NO_DATA_SET = frozenset({"1.2.840.10008.1.2.6.1", "1.2.840.10008.1.2.6.2"})


class Offer:
    """What is accepted in a negotiation. `extra` are contexts of other services, such as Storage Commitment."""

    def __init__(
        self,
        *,
        sop_classes: Iterable[str] = (),
        transfer_syntaxes: Iterable[str] = (),
        extra: Sequence[PresentationContext] = (),
    ) -> None:
        self.sop_classes = _storage_classes() | set(sop_classes)
        self.transfer_syntaxes = _transfer_syntaxes() | set(transfer_syntaxes)
        self._extra = tuple(extra)
        for uid in self.sop_classes:
            if uid_to_service_class(uid) is ServiceClass:
                register_uid(uid, f"Storage_{uid.replace('.', '_')}", StorageServiceClass)

    def base(self) -> list[PresentationContext]:
        """What does not depend on the proposal."""
        return [build_context(_VERIFICATION), *self._extra]

    def answer(self, proposed: Iterable[PresentationContext]) -> list[PresentationContext]:
        """The contexts to accept of those proposed.

        In each, the first transfer syntax that the sender names and we know: it knows which one its objects are in, and
        with the first it has the least to convert.
        """
        syntaxes: dict[str, list[str]] = {}
        for each in proposed:
            if each.abstract_syntax in self.sop_classes:
                named = syntaxes.setdefault(str(each.abstract_syntax), [])
                known = (str(uid) for uid in each.transfer_syntax)
                named += [uid for uid in known if uid in self.transfer_syntaxes and uid not in named]
        storage = [build_context(uid, named) for uid, named in syntaxes.items() if named]
        return [*self.base(), *storage]


def _storage_classes() -> set[str]:
    """PS3.6 annex A, "... Storage" within the service classes, and what pynetdicom knows besides."""
    named = {
        uid
        for uid, (name, kind, *_) in UID_dictionary.items()
        if kind == "SOP Class" and "Storage" in name and uid.startswith("1.2.840.10008.5.1.")
    }
    return named | {str(each.abstract_syntax) for each in AllStoragePresentationContexts}


def _transfer_syntaxes() -> set[str]:
    return {uid for uid, (_, kind, *_) in UID_dictionary.items() if kind == "Transfer Syntax"} - _NO_DATA_SET
