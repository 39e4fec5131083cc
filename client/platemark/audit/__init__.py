"""The audit of a whole log by its public tiles, and of its statements: bytes in, findings out. Rules E1 to E21 of proto/audit.md.

Nothing here opens a file or a connection; who runs an audit brings sources (platemark.audit.source) and keeps the state.
"""

from __future__ import annotations

from platemark.audit.findings import CODES, Finding, Findings
from platemark.audit.frontier import Frontier
from platemark.audit.replay import Audited, replay
from platemark.audit.source import LoggedEntry, MissingTileError, SourceError, StatementSource, TileSource
from platemark.audit.state import AuditState, Progress
from platemark.audit.statements import Device, StatementReplay
from platemark.audit.views import View, check_witnesses, open_view

__all__ = [
    "CODES",
    "AuditState",
    "Audited",
    "Device",
    "Finding",
    "Findings",
    "Frontier",
    "LoggedEntry",
    "MissingTileError",
    "Progress",
    "SourceError",
    "StatementReplay",
    "StatementSource",
    "TileSource",
    "View",
    "check_witnesses",
    "open_view",
    "replay",
]
