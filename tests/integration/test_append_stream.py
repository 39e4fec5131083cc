"""AppendStream against real ledgers: order, flow, fairness, and every way in which a stream ends."""

from __future__ import annotations

import asyncio

import pytest
from integration.live import Live, Place, Writer, only, refused

from platemark.rpc import LedgerClient, Logged, RefusedError


def captures(device: Writer, count: int) -> list[bytes]:
    """So many captures, in the order of the chain."""
    return [device.capture(bytes([number % 256, number // 256])) for number in range(count)]


def indices(outcomes: tuple[object, ...]) -> list[int]:
    """The places of outcomes that are all logged, without any condition."""
    for each in outcomes:
        assert isinstance(each, Logged), each
        assert not each.statement.conditions, each
    return [each.statement.index for each in outcomes if isinstance(each, Logged)]


def test_batches_are_answered_in_order_and_logged_in_order(live: Live) -> None:
    """Many batches are on their way at once, and the chain of the device has neither gap nor fork in the log."""
    raws = captures(live.device("streaming"), 700)
    batches = [raws[start : start + 30] for start in range(0, 700, 30)]
    appended = list(live.client().append_stream(batches, ahead=8))
    assert [len(each.outcomes) for each in appended] == [len(each) for each in batches]
    places = [place for each in appended for place in indices(each.outcomes)]
    assert places == sorted(set(places))


def test_a_batch_of_the_greatest_size_is_answered_under_one_checkpoint(live: Live) -> None:
    """It is logged in slices, and its answer verifies as one."""
    raws = captures(live.device("large"), 1024)
    (appended,) = live.client().append_stream([raws])
    assert len(indices(appended.outcomes)) == 1024


def test_a_refused_statement_does_not_disturb_its_neighbours(live: Live) -> None:
    """As in Append: an outcome of its own, and the stream goes on; so does a duplicate."""
    device, stranger = live.device("neighbours"), Writer(live.device("other").key, "https://elsewhere.test/x", b"")
    first, second = captures(device, 2)
    answers = list(live.client().append_stream([[first, stranger.capture(), first], [second]]))
    assert refused(answers[0].outcomes[1])[1] == "WRONG_ISSUER"
    assert [isinstance(each, Logged) and each.duplicate for each in answers[0].outcomes] == [False, False, True]
    only(answers[1].outcomes)


def test_a_request_that_append_would_refuse_ends_the_stream_behind_the_others(live: Live) -> None:
    """What came before is answered, what came behind is not logged by this stream."""
    first, second = captures(live.device("empty"), 2)
    with live.client().open_append_stream() as stream:
        for batch in ([first], [], [second]):
            stream.send(batch)
        only(stream.receive().outcomes)
        with pytest.raises(RefusedError) as caught:
            stream.receive()
    assert [each.field for each in caught.value.violations] == ["statements"]
    assert not only(live.client().append([second]).outcomes).duplicate


def test_a_stream_of_age_is_opened_anew_unnoticed(place: Place) -> None:
    """Its client sends on in another one; nothing is lost, and nothing comes twice."""
    with place.served(STREAM_AGE="0.1") as live:
        raws = captures(live.device("ageing"), 400)
        answers = list(live.client().append_stream([[raw] for raw in raws]))
        places = [place for each in answers for place in indices(each.outcomes)]
        assert places == sorted(set(places))


def test_an_idle_stream_ends_and_the_next_batch_opens_another(place: Place) -> None:
    """The client need not know."""
    with place.served(STREAM_IDLE="0.1") as live:
        raws = captures(live.device("idle"), 3)

        async def run() -> list[int]:
            async with (
                LedgerClient(live.address, trusted=live.place.trusted) as client,
                client.open_append_stream() as stream,
            ):
                found = []
                for raw in raws:
                    stream.send([raw])
                    found += indices((await stream.receive()).outcomes)
                    call = stream._call
                    assert call is not None
                    await call.code()  # until the ledger has ended it
                return found

        assert len(asyncio.run(run())) == 3
