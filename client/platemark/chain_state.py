"""The file beside a signing key that says where its chain is: one line of JSON. Pure: no input or output.

Who writes it and when: platemark.chain.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass

from platemark.errors import StateError
from platemark.kinds import ROLES

__all__ = ["ChainState", "decode_state"]

_FIELDS = {"v", "kid", "issuer", "role", "epoch", "seq", "prev"}
_LAST = "last"  # which states of earlier releases lack


@dataclass(frozen=True)
class ChainState:
    """What the next statement of a key carries: `seq` and `prev` are those of the statement to come.

    `kid` and `prev` are 32 bytes; `prev` is None exactly at `seq` 0. `issuer` is the URI that the key signs as, `role`
    what it asked to be enrolled as (None: nobody said). `last` is the Sig_structure whose hash `prev` is: what the last
    statement signs (None at the start of an epoch, and in a state that an earlier release wrote).
    """

    kid: bytes
    issuer: str
    epoch: int
    seq: int = 0
    prev: bytes | None = None
    role: str | None = None
    last: bytes | None = None

    def to_bytes(self) -> bytes:
        """The state file: JSON, one line."""
        content = {
            "v": 1,
            "kid": self.kid.hex(),
            "issuer": self.issuer,
            "role": self.role,
            "epoch": self.epoch,
            "seq": self.seq,
            "prev": None if self.prev is None else self.prev.hex(),
            _LAST: None if self.last is None else base64.b64encode(self.last).decode(),
        }
        return json.dumps(content).encode() + b"\n"


def decode_state(data: bytes) -> ChainState:
    """The state in a state file. Raises StateError."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise StateError("not a chain state: not JSON") from None
    if not isinstance(content, dict) or set(content) - {_LAST} != _FIELDS or content["v"] != 1:
        raise StateError(f"not a chain state of version 1 with exactly {', '.join(sorted({*_FIELDS, _LAST}))}")
    issuer, role = content["issuer"], content["role"]
    if not isinstance(issuer, str) or (role is not None and role not in ROLES):
        raise StateError("not a chain state: issuer or role")
    state = ChainState(
        kid=_hash(content["kid"], "kid"),
        issuer=issuer,
        epoch=_count(content["epoch"], "epoch"),
        seq=_count(content["seq"], "seq"),
        prev=None if content["prev"] is None else _hash(content["prev"], "prev"),
        role=role,
        last=_signed(content.get(_LAST)),
    )
    if state.last is not None and hashlib.sha256(state.last).digest() != state.prev:
        raise StateError("not a chain state: last is not the statement that prev names")
    if (state.seq == 0) != (state.prev is None):
        raise StateError("not a chain state: prev is null exactly at seq 0")
    return state


def _hash(value: object, field: str) -> bytes:
    if not isinstance(value, str) or re.fullmatch("[0-9a-f]{64}", value) is None:
        raise StateError(f"not a chain state: {field} is not 64 lower-case hex digits")
    return bytes.fromhex(value)


def _signed(value: object) -> bytes | None:
    if value is None:
        return None
    try:
        if isinstance(value, str):
            return base64.b64decode(value, validate=True)
    except ValueError:  # binascii.Error, or a character beyond ASCII
        pass
    raise StateError("not a chain state: last is not base64")


def _count(value: object, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise StateError(f"not a chain state: {field} is not an integer from 0 to 2^63 - 1")
    return value
