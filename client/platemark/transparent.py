"""Transparent statements (RFC 9943): a signed statement that carries its receipts in the unprotected header.

The statement proper, whose hash is the log entry, has an empty unprotected header: `detach` gives it back byte for byte.
Receipts are written wrapped in byte strings, as the examples of RFC 9942 and RFC 9943 do; the form of RFC 9943's grammar,
receipts as they are, is read as well. Rules G14 to G17 of proto/receipts.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from platemark import cbor, cose
from platemark.errors import CborError, CoseError, ReceiptError
from platemark.receipt import MAX_RECEIPT

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_RECEIPTS", "MAX_TRANSPARENT", "attach", "detach"]

MAX_RECEIPTS = 16
MAX_TRANSPARENT = 64 * 1024 + MAX_RECEIPTS * (MAX_RECEIPT + 8)  # bytes, with the largest statement
_HEAD = b"\xd2\x84"  # tag 18 and the head of an array of four
_EMPTY = b"\xa0"
_RECEIPTS = b"\xa1\x19\x01\x8a"  # the head of a map of one and its key, 394
_BYTE_STRINGS = range(0x40, 0x60)


def attach(statement: bytes, receipts: Sequence[bytes]) -> bytes:
    """The transparent statement of `statement`, whose unprotected header is empty, and 1 to 16 receipts in order.

    Raises ReceiptError for the number of receipts and for what is not a tagged COSE_Sign1 message, CoseError for the
    statement. No signature is checked.
    """
    cose.identify(statement)
    if not 1 <= len(receipts) <= MAX_RECEIPTS:
        raise ReceiptError("unprotected.394", f"{len(receipts)} receipts, not 1 to {MAX_RECEIPTS}")
    for number, receipt in enumerate(receipts):
        _check_framing(receipt, f"unprotected.394[{number}]")
    header_end = _skip(statement, len(_HEAD), "protected")
    carried = _RECEIPTS + cbor.encode(list(receipts))
    return statement[:header_end] + carried + statement[header_end + len(_EMPTY) :]


def detach(data: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    """The statement with its empty unprotected header, and the receipts that `data` carries: none if it is a plain one.

    Receipts come back as they are, and receipts that this release cannot check are among them. Raises ReceiptError, and
    CoseError where what remains is not a statement's framing.
    """
    if len(data) > MAX_TRANSPARENT:
        raise ReceiptError("statement", f"{len(data)} bytes, more than {MAX_TRANSPARENT}")
    if data[:2] != _HEAD:
        raise ReceiptError("tag", "the statement does not begin with tag 18 and an array of four")
    header_end = _skip(data, len(_HEAD), "protected")
    receipts: tuple[bytes, ...] = ()
    if data[header_end : header_end + 1] == _EMPTY:
        rest = header_end + len(_EMPTY)
    elif data[header_end : header_end + len(_RECEIPTS)] == _RECEIPTS:
        receipts, rest = _receipts(data, header_end + len(_RECEIPTS))
    else:
        raise ReceiptError("unprotected", "is neither empty nor a map of 394, the receipts")
    statement = data[:header_end] + _EMPTY + data[rest:]
    try:
        cose.identify(statement)
    except CoseError as error:
        raise ReceiptError(error.field, error.reason) from None
    return statement, receipts


def _receipts(data: bytes, at: int) -> tuple[tuple[bytes, ...], int]:
    number = (data[at] if at < len(data) else 0) - 0x80
    if not 1 <= number <= MAX_RECEIPTS:
        raise ReceiptError("unprotected.394", f"is not an array of 1 to {MAX_RECEIPTS} receipts")
    at += 1
    found = []
    for each in range(number):
        field = f"unprotected.394[{each}]"
        if at < len(data) and data[at] in _BYTE_STRINGS:
            value, at = _item(data, at, field)
            receipt = cast("bytes", value)
        elif data[at : at + 1] == cose.TAG:
            begin, at = at, _skip(data, at + 1, field)
            receipt = data[begin:at]
        else:
            raise ReceiptError(field, "is neither a byte string nor a tagged COSE_Sign1 message")
        _check_framing(receipt, field)
        found.append(receipt)
    return tuple(found), at


def _check_framing(receipt: bytes, field: str) -> None:
    if not len(_HEAD) < len(receipt) <= MAX_RECEIPT or receipt[:2] != _HEAD:
        raise ReceiptError(field, f"is not a tagged COSE_Sign1 message of at most {MAX_RECEIPT} bytes")
    at = len(_HEAD)
    for _ in range(4):
        at = _skip(receipt, at, field)
    if at != len(receipt):
        raise ReceiptError(field, "has trailing bytes")


def _skip(data: bytes, at: int, field: str) -> int:
    """The byte after the value that begins at `at`."""
    return _item(data, at, field)[1]


def _item(data: bytes, at: int, field: str) -> tuple[cbor.Value, int]:
    try:
        return cbor.item(data, at)
    except CborError as error:
        raise ReceiptError(field, str(error)) from None
