"""The demo's authority: which queries it answers with a token and which with a rejection."""

import pytest
from asn1crypto import algos, tsp
from cryptography.hazmat.primitives.serialization import Encoding

from platemark import timestamp
from platemark.errors import TimeStampError
from platemark.timestamp import Authority, verify_response
from platemark_ledger.demo import stamping
from stamps import NOON, YEAR

FOUNDED = stamping.found(now=NOON)


def query(*, algorithm: str = "sha256", digest: bytes = bytes(32), **more: object) -> bytes:
    """A TimeStampReq."""
    imprint = {"hash_algorithm": algos.DigestAlgorithm({"algorithm": algorithm}), "hashed_message": digest}
    encoded: bytes = tsp.TimeStampReq(
        {"version": "v1", "message_imprint": tsp.MessageImprint(imprint), "cert_req": True, **more}
    ).dump()
    return encoded


def respond(asked: bytes) -> bytes:
    """Its answer."""
    return stamping.respond(asked, stamper=FOUNDED.stamper, now=NOON)


@pytest.mark.parametrize(
    ("asked", "failure"),
    [
        (b"", "badDataFormat"),
        (b"garbage", "badDataFormat"),
        (query() + b"\x00", "badDataFormat"),
        (bytes(stamping.MAX_QUERY + 1), "badDataFormat"),
        (query(algorithm="sha1", digest=bytes(20)), "badAlg"),
        (query(digest=bytes(31)), "badRequest"),
        (query(req_policy="1.2.3"), "badRequest"),
        (query(extensions=[{"extn_id": "1.2.3", "extn_value": b""}]), "badRequest"),
    ],
    ids=["nothing", "garbage", "trailing", "too long", "SHA-1", "a short digest", "a policy", "an extension"],
)
def test_a_query_that_it_does_not_answer_is_rejected(asked: bytes, failure: str) -> None:
    """With the failure of RFC 3161 section 2.4.2 that says why."""
    response = respond(asked)
    assert response == stamping.REJECTED[failure]
    words = {"badAlg": "bad_alg", "badRequest": "bad_request", "badDataFormat": "bad_data_format"}
    assert tsp.PKIStatusInfo.load(response[2:])["fail_info"].native == {words[failure]}


@pytest.mark.parametrize("nonce", [None, 0, 1, 2**159])
def test_a_nonce_is_repeated_if_there_is_one(nonce: int | None) -> None:
    """Whatever its size."""
    response = respond(query() if nonce is None else query(nonce=nonce))
    assert (
        tsp.TimeStampResp.load(response)["time_stamp_token"]["content"]["encap_content_info"]["content"]
        .parsed["nonce"]
        .native
        == nonce
    )


def test_what_it_founds_is_for_ten_years_and_says_what_it_is() -> None:
    """Its names call it a demo without independence; its list of the revoked is empty and covers its time."""
    root = FOUNDED.root
    for certificate in (root, FOUNDED.stamper.certificate):
        assert "no independence" in certificate.subject.rfc4514_string()
        assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 3652
    asked = timestamp.query(b"message")
    authority = Authority("demo", (root.public_bytes(Encoding.DER),))
    stamped = verify_response(respond(asked.request), message=b"message", authorities=[authority], crls=[FOUNDED.crl])
    assert stamped.revocation == "checked"
    late = stamping.respond(asked.request, stamper=FOUNDED.stamper, now=NOON + 11 * YEAR)
    with pytest.raises(TimeStampError, match=r"^genTime: outside the validity"):
        verify_response(late, message=b"message", authorities=[authority])
