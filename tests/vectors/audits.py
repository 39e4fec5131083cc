"""Vectors of the audit: its state file, with right edges cut from the rows of tests/reference.py."""

import base64
import json
from collections.abc import Sequence

import reference
from builders import ORIGIN
from published import entries, signed
from vectors.shapes import dump, table

__all__ = ["files"]

_SIZES = (0, 1, 2, 255, 256, 257, 600)


def files() -> dict[str, bytes]:
    """The file of this module."""
    tests = table("client/test_audit_state.py")
    whole = [{"entries": size, "origin": ORIGIN, "state": _state(size)} for size in _SIZES]
    good = json.loads(_state(3))
    refused = [{"origin": ORIGIN, "state": json.dumps({**good, name: value})} for name, value in tests.DAMAGED]
    return {
        "audit.json": dump(
            "The state of an audit, proto/audit.md section 2",
            "made here; entry i is SHA-256 of i in decimal; edges by tests/reference.py; the table of "
            "tests/client/test_audit_state.py",
            accepted=whole,
            refused=refused,
        )
    }


def _state(size: int) -> str:
    logged = entries(size)
    content = {
        "v": 1,
        "origin": ORIGIN,
        "note": signed(logged).decode(),
        "edge": {"size": size, "rows": _rows([reference.leaf(entry) for entry in logged])},
        "progress": None,
        "proofs": [],
    }
    return json.dumps(content)


def _rows(row: Sequence[bytes]) -> list[str]:
    """The partial tile of each level."""
    rows = []
    while row:
        full = len(row) // 256 * 256
        rows.append(base64.b64encode(b"".join(row[full:])).decode())
        row = [reference.root(row[at : at + 256]) for at in range(0, full, 256)]
    return rows
