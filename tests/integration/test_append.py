"""Append: what comes back for statements that enter, for repeats, and for calls that ask wrongly."""

from __future__ import annotations

import hashlib

import grpc
import pytest
from integration.live import NOW, Live, only, refused
from integration.wire import Said, said

from platemark import cose, merkle, statement
from platemark.rpc import Logged, Refused, RefusedError, Wait
from platemark.v1 import ledger_pb2 as pb
from platemark.v1 import ledger_pb2_grpc


def test_a_capture_is_logged_with_a_proof_that_leads_to_the_signed_checkpoint(live: Live) -> None:
    """Index, first bytes, path and checkpoint of a reply fit together under RFC 9162, checked here by hand."""
    raw = live.device("append-one").capture()
    reply = live.client().append([raw])
    logged = only(reply.outcomes)
    covered = reply.checkpoint.checkpoint
    merkle.verify_inclusion(
        index=logged.statement.index,
        size=covered.size,
        leaf_hash=merkle.leaf_hash(hashlib.sha256(raw).digest()),
        path=logged.statement.inclusion_path,
        root=covered.root,
    )
    assert (logged.statement.statement, logged.statement.id, logged.duplicate) == (raw, statement.decode(raw).id, False)
    assert logged.statement.received >= NOW


def test_the_same_bytes_again_get_the_first_answer(live: Live) -> None:
    """A repeat has the index, the bytes and the time of the first, and says that it is one."""
    raw = live.device("append-again").capture()
    first = only(live.client().append([raw]).outcomes)
    again = only(live.client().append([raw]).outcomes)
    assert again.duplicate
    assert (again.statement.index, again.statement.statement, again.statement.received) == (
        first.statement.index,
        raw,
        first.statement.received,
    )


def test_another_signature_over_the_same_bytes_makes_no_second_statement(live: Live) -> None:
    """A second ECDSA signature changes the bytes and not the statement: the reply returns the bytes of the first."""
    device = live.device("append-resigned")
    raw = device.capture()
    message = cose.decode(raw)
    header = {label: value for label, value in message.protected.items() if label != cose.ALG}
    second = cose.sign(header, message.payload, device.key)
    assert second != raw
    first, again = live.client().append([raw, second]).outcomes
    assert isinstance(first, Logged)
    assert isinstance(again, Logged)
    assert (again.duplicate, again.statement.index, again.statement.statement) == (True, first.statement.index, raw)


def test_each_statement_of_a_batch_has_its_own_outcome(live: Live) -> None:
    """Refused neighbours disturb nobody: what is good is logged in order, what is bad is named by its place."""
    device = live.device("append-mixed")
    stranger = live.place.registrar().new("append-stranger")
    good = [device.capture(bytes([number])) for number in range(3)]
    outcomes = live.client().append([good[0], b"no statement", good[1], stranger.capture(), good[2]]).outcomes
    indices = [each.statement.index for each in outcomes if isinstance(each, Logged)]
    assert [isinstance(each, Refused) for each in outcomes] == [False, True, False, True, False]
    assert indices == sorted(indices)
    assert len(indices) == 3
    assert refused(outcomes[1])[:2] == ("INVALID_ARGUMENT", "MALFORMED")
    assert refused(outcomes[1])[2] == ["statements[1].tag"]
    assert refused(outcomes[3])[:2] == ("PERMISSION_DENIED", "UNKNOWN_KEY")
    assert refused(outcomes[3])[2][0].startswith("statements[3].")


def test_a_batch_of_refusals_still_has_a_checkpoint(live: Live) -> None:
    """A reply always says how far the ledger has released, whatever it refused."""
    reply = live.client().append([b"x"])
    assert isinstance(reply.outcomes[0], Refused)
    assert reply.checkpoint.checkpoint.size >= 1


def test_a_repeat_within_one_call_is_a_duplicate_of_its_neighbour(live: Live) -> None:
    """One statement sent twice in one call has one index."""
    raw = live.device("append-twice").capture()
    first, again = live.client().append([raw, raw]).outcomes
    assert isinstance(first, Logged)
    assert isinstance(again, Logged)
    assert (first.duplicate, again.duplicate) == (False, True)
    assert first.statement.index == again.statement.index


@pytest.mark.parametrize("algorithm", ["p256", "ed25519", "mldsa44"])
def test_every_algorithm_of_the_formats_is_accepted(live: Live, algorithm: str) -> None:
    """ES256, EdDSA and ML-DSA-44 devices append alike."""
    device = live.device(f"append-{algorithm}", algorithm=algorithm)
    assert not only(live.client().append([device.capture()]).outcomes).duplicate


@pytest.mark.parametrize(
    ("statements", "field"),
    [([], "statements"), ([b"x"] * 1025, "statements")],
    ids=["none", "one more than max_batch"],
)
def test_a_call_without_statements_or_with_too_many_is_refused_as_a_whole(
    live: Live, statements: list[bytes], field: str
) -> None:
    """The number of statements is checked before any is looked at."""
    with pytest.raises(RefusedError) as caught:
        live.client().append(statements)
    assert caught.value.info == "INVALID_ARGUMENT"
    assert [violation.field for violation in caught.value.violations] == [field]


def test_waiting_for_witnesses_that_do_not_exist_is_refused_and_nothing_is_logged(live: Live) -> None:
    """WITNESSED is never silently answered with less, and a refused call leaves no trace."""
    raw = live.device("append-witnessed").capture()
    with pytest.raises(RefusedError) as caught:
        live.client().append([raw], wait=Wait.WITNESSED)
    assert caught.value.info == "NO_WITNESSES"
    assert not only(live.client().append([raw]).outcomes).duplicate


def test_an_enum_value_of_the_future_is_refused_with_all_details(live: Live) -> None:
    """An unknown wait is INVALID_ARGUMENT with ErrorInfo of our domain and a violation that names the field."""
    with grpc.insecure_channel(live.address) as channel:
        stub = ledger_pb2_grpc.LedgerStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Append(pb.AppendRequest(statements=[b"x"], wait=99))  # type: ignore[arg-type] # what a later release may send
    assert said(caught.value) == Said(grpc.StatusCode.INVALID_ARGUMENT, "platemark", "INVALID_ARGUMENT", ("wait",))
