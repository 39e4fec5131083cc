"""The data sets of Storage Commitment (PS3.4 tables J.3-1 and J.3-3): read with bounds, and written."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom import config
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID
from pynetdicom.dsutils import encode

from platemark.errors import FormatError

__all__ = [
    "CLASS_INSTANCE_CONFLICT",
    "DUPLICATE_TRANSACTION",
    "NO_SUCH_INSTANCE",
    "PROCESSING_FAILURE",
    "CommitmentError",
    "Dataset",
    "Failure",
    "Reference",
    "Report",
    "encode_report",
    "new_transaction",
    "read_report",
    "read_request",
    "write_report",
    "write_request",
]

# Failure Reason (0008,1197): PS3.3 section C.14.1.1.
PROCESSING_FAILURE, NO_SUCH_INSTANCE = 0x0110, 0x0112
CLASS_INSTANCE_CONFLICT, DUPLICATE_TRANSACTION = 0x0119, 0x0131

_MOST_REFERENCES = 20_000
_MOST_REASON = 0xFFFF
_MOST_UID = 64


class CommitmentError(FormatError):
    """A data set that is no request or report of Storage Commitment; `field` names the element."""


@dataclass(frozen=True)
class Reference:
    """One instance that somebody asks about."""

    sop_class: str
    sop_instance: str


@dataclass(frozen=True)
class Failure:
    """An instance that is not committed to, and the standard's reason."""

    reference: Reference
    reason: int


@dataclass(frozen=True)
class Report:
    """What an SCP commits to, and what not."""

    transaction_uid: str
    committed: tuple[Reference, ...]
    failed: tuple[Failure, ...]


def new_transaction() -> str:
    """A UID that nobody can guess (PS3.5 annex B.2): who names it in a report has seen our request."""
    return f"2.25.{uuid.uuid4().int}"


def read_request(content: Dataset) -> tuple[str, tuple[Reference, ...]]:
    """Transaction UID and references of an N-ACTION. Raises CommitmentError."""
    references = _references(content, "ReferencedSOPSequence")
    if not references:
        raise CommitmentError("ReferencedSOPSequence", "missing or empty")
    return _uid(content, "TransactionUID"), references


def write_request(transaction_uid: str, references: Sequence[Reference]) -> Dataset:
    """The action information of an N-ACTION."""
    made = Dataset()
    _put(made, "TransactionUID", transaction_uid)
    made.ReferencedSOPSequence = Items(_item(each) for each in references)
    return made


def read_report(content: Dataset) -> Report:
    """The event information of an N-EVENT-REPORT of either type. Raises CommitmentError."""
    failed = tuple(Failure(_reference(item), _reason(item)) for item in _items(content, "FailedSOPSequence"))
    return Report(_uid(content, "TransactionUID"), _references(content, "ReferencedSOPSequence"), failed)


def write_report(report: Report) -> tuple[int, Dataset]:
    """Event type (1: all are committed to, 2: failures exist) and event information."""
    made = Dataset()
    _put(made, "TransactionUID", report.transaction_uid)
    if report.committed:
        made.ReferencedSOPSequence = Items(_item(each) for each in report.committed)
    if not report.failed:
        return 1, made
    items = []
    for each in report.failed:
        item = _item(each.reference)
        item.FailureReason = each.reason
        items.append(item)
    made.FailedSOPSequence = Items(items)
    return 2, made


def encode_report(report: Report, transfer_syntax: str) -> tuple[int, bytes]:
    """Event type, and event information in a transfer syntax."""
    kind, content = write_report(report)
    syntax = UID(transfer_syntax)
    encoded = encode(content, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
    assert encoded is not None, "UIDs and numbers can always be encoded"
    return kind, encoded


def _item(reference: Reference) -> Dataset:
    made = Dataset()
    _put(made, "ReferencedSOPClassUID", reference.sop_class)
    _put(made, "ReferencedSOPInstanceUID", reference.sop_instance)
    return made


def _put(content: Dataset, name: str, uid: str) -> None:
    """Whatever a sender called its instance is what a PACS is asked about: no remarks of pydicom's about its form."""
    tag = tag_for_keyword(name)
    assert tag is not None
    content.add(DataElement(tag, "UI", uid, validation_mode=config.IGNORE))


def _references(content: Dataset, name: str) -> tuple[Reference, ...]:
    return tuple(_reference(item) for item in _items(content, name))


def _items(content: Dataset, name: str) -> Sequence[Dataset]:
    value = _value(content, name)
    if value is None:
        return ()
    if not isinstance(value, Items):
        raise CommitmentError(name, "not a sequence")
    if len(value) > _MOST_REFERENCES:
        raise CommitmentError(name, f"more than {_MOST_REFERENCES} items")
    return list(value)


def _reference(item: Dataset) -> Reference:
    return Reference(_uid(item, "ReferencedSOPClassUID"), _uid(item, "ReferencedSOPInstanceUID"))


def _reason(item: Dataset) -> int:
    value = _value(item, "FailureReason")
    if not isinstance(value, int) or not 0 <= value <= _MOST_REASON:
        raise CommitmentError("FailureReason", "missing, or not a reason")
    # 0 would read as success; a failure without a reason is a processing failure.
    return value or PROCESSING_FAILURE


def _uid(content: Dataset, name: str) -> str:
    value = _value(content, name)
    if not isinstance(value, str):
        raise CommitmentError(name, "missing, or not one UID")
    text = str(value).rstrip("\0 ")
    # No stricter than the receiver, which takes objects whose senders made up UIDs of their own kind.
    if not 1 <= len(text) <= _MOST_UID or not text.isascii() or not text.isprintable():
        raise CommitmentError(name, f"not 1 to {_MOST_UID} printable characters")
    return text


def _value(content: Dataset, name: str) -> object:
    """The value of an element; reading it decodes it, and what a stranger sent may not decode."""
    try:
        return content.get(name)
    except Exception as error:  # noqa: BLE001 - pydicom raises whatever its value conversion meets
        raise CommitmentError(name, f"cannot be read ({type(error).__name__})") from None
