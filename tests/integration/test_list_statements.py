"""ListStatements: filtered, in log order, bounded, and one stream under one checkpoint."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from integration.live import HOUR, NOW, Live

from platemark import statement
from platemark.rpc import RefusedError
from platemark.v1 import ledger_pb2 as pb
from platemark.v1 import ledger_pb2_grpc


def test_the_whole_log_is_listed_in_order_and_is_the_log(live: Live) -> None:
    """Without a filter every statement comes once, in the order of its index, from 0 to the checkpoint."""
    client = live.client()
    client.append([live.device("list-all").capture(bytes([number])) for number in range(5)])
    size = client.checkpoint().checkpoint.size
    assert [each.index for each in client.list_statements(limit=size)] == list(range(size))


def test_device_key_and_kind_select(live: Live) -> None:
    """Filters combine, and each selects by what the statement itself says."""
    device, other = live.device("list-device"), live.device("list-other")
    client = live.client()
    client.append([device.capture(b"1"), other.capture(b"2"), device.capture(b"3")])
    by_device = list(client.list_statements(device=device.issuer))
    by_kid = list(client.list_statements(kid=device.key.kid))
    assert [statement.decode(each.statement).kid for each in by_device] == [device.key.kid] * 2
    assert by_kid == by_device
    assert list(client.list_statements(device=device.issuer, kind="heartbeat")) == []
    assert {statement.decode(each.statement).kind for each in client.list_statements(kind="policy")} == {"policy"}


@pytest.mark.parametrize(
    ("stated", "count"),
    [
        ((None, None), 3),
        ((NOW - 2 * HOUR, None), 2),
        ((NOW - 2 * HOUR, NOW), 1),
        ((None, NOW - 3 * HOUR), 0),
        ((NOW, NOW), 0),
    ],
)
def test_stated_times_select_from_inclusive_until_exclusive(
    live: Live, stated: tuple[int | None, int | None], count: int
) -> None:
    """The range is over the writer's own time, half open."""
    device = live.device(f"list-stated-{stated[0]}-{stated[1]}")
    client = live.client()
    client.append([device.capture(bytes([hours]), captured=NOW - hours * HOUR) for hours in (3, 2, 0)])
    assert len(list(client.list_statements(kid=device.key.kid, stated=stated))) == count


def test_a_listing_ends_at_its_limit_and_goes_on_from_there(live: Live) -> None:
    """The last message says where to go on; the second call begins there."""
    device = live.device("list-limit")
    live.client().append([device.capture(bytes([number])) for number in range(5)])
    with grpc.insecure_channel(live.address) as channel:
        stub = ledger_pb2_grpc.LedgerStub(channel)
        first = list(stub.ListStatements(pb.ListStatementsRequest(kid=device.key.kid, limit=3)))
        assert first[-1].HasField("next_index")
        rest = pb.ListStatementsRequest(kid=device.key.kid, from_index=first[-1].next_index)
        second = list(stub.ListStatements(rest))
    indices = [[each.index for message in part for each in message.statements] for part in (first, second)]
    assert [len(part) for part in indices] == [3, 2]
    assert sum(indices, []) == sorted(set(sum(indices, [])))  # noqa: RUF017 - two short lists
    assert not second[-1].HasField("next_index")


def test_the_messages_of_one_stream_share_one_checkpoint(live: Live) -> None:
    """A listing is of one moment, whatever is appended while it runs."""
    device = live.device("list-moment")
    live.client().append([device.capture(bytes([number, 1])) for number in range(200)])
    live.client().append([device.capture(bytes([number, 2])) for number in range(200)])
    with grpc.insecure_channel(live.address) as channel:
        stream = ledger_pb2_grpc.LedgerStub(channel).ListStatements(pb.ListStatementsRequest())
        notes = []
        for message in stream:
            notes.append(message.checkpoint.note)
            live.client().append([device.capture(len(notes).to_bytes(2, "big"))])
    assert len(notes) > 1
    assert len(set(notes)) == 1


def test_a_listing_from_beyond_the_log_is_empty(live: Live) -> None:
    """There is nothing there yet, which is no error."""
    assert list(live.client().list_statements(from_index=2**63)) == []


@pytest.mark.parametrize(
    ("options", "field"), [({"kind": "dream"}, "kind"), ({"kid": b"short"}, "kid")], ids=["kind", "kid"]
)
def test_a_filter_that_makes_no_sense_is_refused_by_field(live: Live, options: dict[str, Any], field: str) -> None:
    """A misspelt kind must not look like a log without such statements."""
    with pytest.raises(RefusedError) as caught:
        list(live.client().list_statements(**options))
    assert [each.field for each in caught.value.violations] == [field]


def test_messages_stay_below_what_any_client_takes(live: Live) -> None:
    """However large the statements, a message of a listing is full with the one that exceeds 1 MiB: far below gRPC's 4 MiB."""
    operator = live.device("list-large", role="operator")
    text, data = "a remark\n" * 400, bytes(32768)
    raws = [operator.build("note", at=NOW, log=operator.log, topic="remark", text=text, data=data) for _ in range(120)]
    live.client().append(raws)
    with grpc.insecure_channel(live.address) as channel:
        stub = ledger_pb2_grpc.LedgerStub(channel)
        messages = list(stub.ListStatements(pb.ListStatementsRequest(kid=operator.key.kid)))
    assert [each.statement for message in messages for each in message.statements] == raws
    assert len(messages) > 1
    assert max(message.ByteSize() for message in messages) < 1024 * 1024 + 61440
