"""GetStatement and GetEvidence: one statement by index or id, and what a bundle about it holds."""

from __future__ import annotations

import hashlib

import grpc
import pytest
from integration.live import Live, only
from integration.wire import Said, said

from platemark import evidence, merkle, statement, tlog_proof
from platemark.rpc import NotFoundError, RefusedError
from platemark.v1 import ledger_pb2 as pb
from platemark.v1 import ledger_pb2_grpc


def test_a_statement_is_found_by_index_and_by_id(live: Live) -> None:
    """Both names give the same bytes, proven to the checkpoint that came along."""
    raw = live.device("get").capture()
    client = live.client()
    logged = only(client.append([raw]).outcomes).statement
    by_index, by_id = client.statement(index=logged.index), client.statement(id=logged.id)
    assert by_index.statement.statement == by_id.statement.statement == raw
    assert (by_index.statement.index, by_id.statement.index) == (logged.index, logged.index)


def test_leaf_0_is_the_policy_that_names_the_log(live: Live) -> None:
    """The id of the first statement is the log's identity."""
    found = live.client().statement(index=0).statement
    assert statement.decode(found.statement).kind == "policy"
    assert found.id.hex() == live.place.facts["log_id"]


def test_evidence_holds_the_record_its_enrolment_and_the_policy_each_proven(live: Live) -> None:
    """What the ledger gives for a bundle makes one, and every proof in it leads to one checkpoint."""
    client = live.client()
    raw = live.device("evidence").capture()
    logged = only(client.append([raw]).outcomes).statement
    found = client.evidence(id=logged.id)
    content = evidence.from_bytes(found.content.to_bytes())
    kinds = [statement.decode(each.statement).kind for each in (content.record, *content.enrolments, *content.policies)]
    assert content.record.statement == raw
    assert kinds == ["capture", "enrol", "policy"]
    for each in (content.record, *content.enrolments, *content.policies):
        proof = tlog_proof.parse(each.proof)
        proof.verify_leaf(merkle.leaf_hash(hashlib.sha256(each.statement).digest()))
        assert proof.checkpoint.raw == found.checkpoint.raw
    assert client.evidence(index=logged.index).content.record == content.record


@pytest.mark.parametrize("method", ["statement", "evidence", "inclusion_proof"])
def test_what_is_not_in_the_log_is_not_found(live: Live, method: str) -> None:
    """Neither an index beyond the checkpoint nor an unknown id is answered with anything but NOT_FOUND."""
    client = live.client()
    size = client.checkpoint().checkpoint.size
    for selector in ({"index": size + 1000}, {"index": 2**64 - 1}, {"id": bytes(32)}):
        with pytest.raises(NotFoundError) as caught:
            getattr(client, method)(**selector)
        assert caught.value.info == "NOT_FOUND"


@pytest.mark.parametrize("method", ["statement", "evidence", "inclusion_proof"])
def test_an_id_of_another_length_is_refused(live: Live, method: str) -> None:
    """An id is 32 bytes; anything else is the caller's mistake and named as such."""
    with pytest.raises(RefusedError) as caught:
        getattr(live.client(), method)(id=b"short")
    assert (caught.value.info, [each.field for each in caught.value.violations]) == ("INVALID_ARGUMENT", ["id"])


@pytest.mark.parametrize("request_type", [pb.GetStatementRequest, pb.GetEvidenceRequest, pb.GetInclusionProofRequest])
def test_a_question_about_no_statement_is_refused(
    live: Live, request_type: type[pb.GetStatementRequest | pb.GetEvidenceRequest | pb.GetInclusionProofRequest]
) -> None:
    """proto3 would let index 0 be guessed; the oneof says that nothing was asked."""
    with grpc.insecure_channel(live.address) as channel:
        stub = ledger_pb2_grpc.LedgerStub(channel)
        call = getattr(stub, request_type.__name__.removesuffix("Request"))
        with pytest.raises(grpc.RpcError) as caught:
            call(request_type())
    assert said(caught.value) == Said(grpc.StatusCode.INVALID_ARGUMENT, "platemark", "INVALID_ARGUMENT", ("statement",))


@pytest.mark.parametrize("method", ["statement", "evidence", "inclusion_proof"])
def test_the_client_itself_wants_exactly_one_name(live: Live, method: str) -> None:
    """Both or none is a programmer's mistake and never leaves the process."""
    for selector in ({}, {"index": 0, "id": bytes(32)}):
        with pytest.raises(ValueError, match="either index or id"):
            getattr(live.client(), method)(**selector)
