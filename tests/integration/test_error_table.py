"""The public table of codes in ledger.proto and the table that the ledger uses are one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from platemark.errors import PlatemarkError
from platemark_ledger import status
from platemark_ledger.conditions import CONDITIONS
from platemark_ledger.errors import (
    REFUSALS,
    BatchError,
    NotFoundError,
    OverloadedError,
    PoisonedError,
    Refusal,
    RequestError,
    StoppedError,
    StoreError,
    UnavailableError,
)

PROTO = (Path(__file__).parents[2] / "proto" / "platemark" / "v1" / "ledger.proto").read_text("utf-8")
ROWS = re.findall(r"^// \| ([A-Z_]+) +\| ([A-Z_]+) +\| (.+?) +\| (\w+) +\|$", PROTO, re.MULTILINE)


def test_the_documented_table_is_the_table() -> None:
    """Every code that the ledger can tell is documented with its gRPC code, and no other is."""
    documented = {reason: code for reason, code, _, _ in ROWS}
    told = {code.upper().replace("-", "_"): grpc_code.name for code, grpc_code in status._CODES.items()}
    assert documented == {**told, "INTERNAL": "INTERNAL"}


def test_every_refusal_has_a_row() -> None:
    """A refusal without one would reach its sender as a fault of the ledger."""
    assert set(status._CODES) >= REFUSALS


def test_the_conditions_are_documented() -> None:
    """The list in the comment of Condition is the list of the ledger."""
    comment = PROTO[PROTO.index("message Condition {") : PROTO.index("string code = 1;")]
    assert set(re.findall(r'"([a-z-]+)"', comment)) == {condition.code for condition in CONDITIONS}


@pytest.mark.parametrize(
    ("error", "code", "reason", "fault"),
    [
        (Refusal("revoked", "protected.4", "gone"), "PERMISSION_DENIED", "REVOKED", False),
        (RequestError("size", "too large", later=True), "OUT_OF_RANGE", "OUT_OF_RANGE", False),
        (RequestError("size", "negative"), "INVALID_ARGUMENT", "INVALID_ARGUMENT", False),
        (NotFoundError("no such id"), "NOT_FOUND", "NOT_FOUND", False),
        (OverloadedError("9 wait"), "UNAVAILABLE", "OVERLOADED", False),
        (StoppedError("closed"), "UNAVAILABLE", "STOPPED", False),
        (BatchError("disk /dev/sda full"), "UNAVAILABLE", "BATCH_FAILED", True),
        (PoisonedError("disk /dev/sda gone"), "UNAVAILABLE", "POISONED", True),
        (UnavailableError("secret"), "UNAVAILABLE", "UNAVAILABLE", False),
        (StoreError("/var/lib/secret is torn"), "INTERNAL", "INTERNAL", True),
        (PlatemarkError("something secret"), "INTERNAL", "INTERNAL", True),
        (ZeroDivisionError("secret"), "INTERNAL", "INTERNAL", True),
    ],
)
def test_faults_of_the_ledger_are_told_coarsely_and_logged(
    error: Exception, code: str, reason: str, *, fault: bool
) -> None:
    """A caller learns what it can act on; paths and causes stay in the ledger's log."""
    told = status.classify(error)
    assert (told.code.name, told.reason, told.fault) == (code, reason, fault)
    assert "secret" not in told.text
    assert "/dev" not in told.text
