"""The service between gRPC and the domain: what runs where."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import fakes
from platemark import statement
from platemark.v1 import ledger_pb2 as pb
from platemark_ledger.board import Board
from platemark_ledger.opening import Ledger
from platemark_ledger.receipts import Receipts
from platemark_ledger.records import Found
from platemark_ledger.seat import Seat
from platemark_ledger.service import LedgerService, Limits


class _Noted(Receipts):
    """Notes in which threads it searches."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)
        self.threads: list[str] = []

    def by_id(self, statement_id: bytes) -> Found:
        self.threads.append(threading.current_thread().name)
        return super().by_id(statement_id)

    def index_of(self, statement_id: bytes) -> int:
        self.threads.append(threading.current_thread().name)
        return super().index_of(statement_id)


@pytest.mark.parametrize(
    "call",
    [
        lambda service, id: service.GetStatement(pb.GetStatementRequest(id=id), None),
        lambda service, id: service.GetEvidence(pb.GetEvidenceRequest(id=id), None),
        lambda service, id: service.GetInclusionProof(pb.GetInclusionProofRequest(id=id), None),
    ],
    ids=["GetStatement", "GetEvidence", "GetInclusionProof"],
)
def test_a_search_by_id_never_holds_up_the_event_loop(
    tmp_path: Path, call: Callable[[LedgerService, bytes], Awaitable[Any]]
) -> None:
    """However long it takes, all other callers go on being served."""
    founded = fakes.Founded.at(tmp_path)
    ledger = founded.open()
    limits = Limits(max_batch=1, max_page=1, max_list=1, list_time=1.0, max_waiting=1, stream_window=1, stream_queue=64)
    with fakes.sequencing(ledger) as sequencer, ThreadPoolExecutor(1, thread_name_prefix="read") as readers:
        receipts = _Noted(ledger)
        seat = Seat(tmp_path / "seat")
        board = Board(ledger, seat, witnessed=False)
        service = LedgerService(sequencer, receipts, board, readers=readers, limits=limits)
        first = statement.decode(founded.log.statements[0]).id

        async def ask() -> None:
            await call(service, first)

        asyncio.run(ask())
        seat.close()
    ledger.close()
    assert receipts.threads == ["read_0"]
