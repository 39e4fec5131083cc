"""A durable outbox on the writer's side: capture never waits for the network, nothing is lost, order is kept.

`Spool` keeps signed statements on disk; a `Sender` brings them to a ledger. Needs nothing but the base install; to reach a real
ledger (platemark.spool.ledger) the extra `platemark[rpc]`, to show metrics (platemark.spool.metrics) prometheus-client.
"""

from __future__ import annotations

from platemark.spool.backoff import Backoff
from platemark.spool.delivery import Cause, Deliver, DeliveryError, Logged, Outcome, Refused, Streamed
from platemark.spool.errors import SpoolBusyError, SpoolDamagedError, SpoolError, SpoolFullError
from platemark.spool.model import Counts, Entry, Full, Room, State
from platemark.spool.outbox import CAPACITY, DAY_NS, KEEP_NS, Spool
from platemark.spool.sender import BATCH, Did, Sender, Traffic

__all__ = [
    "BATCH",
    "CAPACITY",
    "DAY_NS",
    "KEEP_NS",
    "Backoff",
    "Cause",
    "Counts",
    "Deliver",
    "DeliveryError",
    "Did",
    "Entry",
    "Full",
    "Logged",
    "Outcome",
    "Refused",
    "Room",
    "Sender",
    "Spool",
    "SpoolBusyError",
    "SpoolDamagedError",
    "SpoolError",
    "SpoolFullError",
    "State",
    "Streamed",
    "Traffic",
]
