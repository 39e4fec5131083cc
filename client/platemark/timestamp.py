"""RFC 3161 time stamps: what a whole TimeStampResp proves about a message, believing only named authorities.

`verify_response` reads the fields strictly (platemark.time_token), builds the path from the signer to a root that the
caller named, and judges every certificate, hash and key on it at the token's own time; rfc3161-client checks the CMS
signature and the chain with OpenSSL. No file, no socket, no clock: a token whose authority's certificates have expired
since still verifies. Rules Z1 to Z22, Z35 and Z36 of proto/time.md.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

from platemark import algorithms
from platemark.certificates import (
    MAX_VERIFICATIONS,
    check_crls,
    check_dates,
    check_usage,
    load,
    path_algorithms,
    paths,
    revocation_known,
)
from platemark.errors import TimeStampError, UnprovenTimeError
from platemark.time_signature import check_chain, check_signature
from platemark.time_token import MAX_RESPONSE, Token, TokenInfo, decode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cryptography import x509

__all__ = [
    "CLOCKS_NS",
    "MAX_RESPONSE",
    "Authority",
    "Interval",
    "Query",
    "TimeStamp",
    "check_response",
    "interval",
    "query",
    "verify_response",
]

_DIGESTS: dict[str, Callable[[bytes], hashlib._Hash]] = {
    "SHA-1": partial(
        hashlib.sha1, usedforsecurity=False
    ),  # names a certificate in older tokens, and nothing rests on it
    "SHA-256": hashlib.sha256,
    "SHA-384": hashlib.sha384,
    "SHA-512": hashlib.sha512,
}
CLOCKS_NS = 300 * 10**9
"""How far, in ns, a token's time may be from the clock of whoever has just asked for it and keeps it for others.

Five minutes, as Kerberos allows (RFC 4120 section 1.6): far more than two clocks that anybody looks after, and than any answer
is under way; far less than would make the earliest stamp of a record say another day.
"""
_FEW = 8  # verifications without any root; with roots of one name they stay below the limit of readers
_QUERIES = {"SHA-256": HashAlgorithm.SHA256, "SHA-512": HashAlgorithm.SHA512}


@dataclass(frozen=True)
class Authority:
    """A time-stamping authority that somebody trusts: the roots of its chains (DER) and, in Unix ns, since and until when.

    Both dates are included; None is no bound. Raises TimeStampError for roots that are no certificates, or for none.
    """

    name: str
    roots: tuple[bytes, ...]
    not_before: int | None = None
    not_after: int | None = None
    certificates: tuple[x509.Certificate, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.roots:
            raise TimeStampError("roots", "an authority without a root proves nothing")
        loaded = tuple(load(root, f"roots[{index}]") for index, root in enumerate(self.roots))
        object.__setattr__(self, "certificates", loaded)


@dataclass(frozen=True)
class TimeStamp:
    """What a verified token says: the message existed at `time_ns` (Unix ns), give or take `accuracy_ns`.

    `accuracy_ns` is None where the authority states none. `algorithms` are all that the token rests on, each acceptable
    at `time_ns`; `acceptable_until` is the last Unix ns at which all of them are, None where no end is known.
    `revocation_known` is None if no list of revoked certificates that covers the token's time was given: not checked.
    """

    time_ns: int
    accuracy_ns: int | None
    authority: str
    hash_algorithm: str
    policy: str
    serial: int
    algorithms: tuple[str, ...]
    acceptable_until: int | None
    revocation_known: int | None

    @property
    def latest_ns(self) -> int:
        """The time that the message is not later than: with the stated accuracy, if there is one."""
        return self.time_ns + (self.accuracy_ns or 0)

    @property
    def earliest_ns(self) -> int:
        """The time before which the token did not exist: with the stated accuracy, if there is one."""
        return self.time_ns - (self.accuracy_ns or 0)

    @property
    def revocation(self) -> str:
        """`checked` or `not checked`."""
        return "not checked" if self.revocation_known is None else "checked"


@dataclass(frozen=True)
class Query:
    """A TimeStampReq (DER) and the nonce that its answer has to repeat."""

    request: bytes
    nonce: int


@dataclass(frozen=True)
class Interval:
    """When something was logged, Unix ns, both ends included; None where nothing shows it."""

    not_earlier_than: int | None
    not_later_than: int | None


def interval(*, over: TimeStamp | None, below: TimeStamp | None) -> Interval:
    """The bounds of a record: `over` is over a checkpoint that covers it, `below` lies in the log before it.

    `below` is a token that a statement at a smaller index holds: nobody could have known its signature before, so that
    no tree with both existed earlier. A device's clock is no part of this. Raises TimeStampError for bounds that exclude
    each other: then one of the two authorities has a wrong clock.
    """
    low = None if below is None else below.earliest_ns
    high = None if over is None else over.latest_ns
    if low is not None and high is not None and low > high:
        raise TimeStampError("interval", "the time stamp below the record is later than the one over it")
    return Interval(low, high)


def query(message: bytes, *, hash_algorithm: str = "SHA-256") -> Query:
    """A request for a stamp over `message` that asks for certificates, with a fresh nonce.

    Raises KeyError for another hash than SHA-256 and SHA-512.
    """
    # A builder changes its parent, so each request has its own.
    builder = TimestampRequestBuilder().data(message).hash_algorithm(_QUERIES[hash_algorithm])
    built = builder.nonce(nonce=True).cert_request(cert_request=True).build()
    if built.nonce is None:
        raise AssertionError
    return Query(built.as_bytes(), built.nonce)


def verify_response(
    response: bytes,
    *,
    message: bytes,
    authorities: Sequence[Authority],
    crls: Sequence[bytes] = (),
    nonce: int | None = None,
) -> TimeStamp:
    """What `response`, a whole TimeStampResp in DER, proves about `message`, by any of `authorities`.

    `crls` are DER lists of revoked certificates; those of other issuers change nothing. `nonce` is for whoever has just
    asked. Raises UnprovenTimeError for a token of an authority that is not one of them, or not at that time, and for an
    algorithm that is not acceptable; TimeStampError naming field and reason for every fault; nothing else.
    """
    token, signer, embedded = _opened(response, message, nonce)
    found = paths(signer, embedded, [root for authority in authorities for root in authority.certificates])
    failure: TimeStampError = UnprovenTimeError("certificates", "no trusted authority leads to the signer")
    if not found.whole:
        failure = TimeStampError(
            "certificates", f"more than {MAX_VERIFICATIONS} signatures to check before a path is found"
        )
    faults: dict[tuple[x509.Certificate, ...], TimeStampError] = {}  # a path is judged once, whoever trusts its root
    for authority in authorities:
        path = found.to(authority.certificates)
        if not path:
            continue
        try:
            _trusted(token, authority)
            if path in faults:
                raise faults[path]
            try:
                return _judge(token, authority, path, message=message, crls=crls)
            except TimeStampError as error:
                faults[path] = error
                raise
        except TimeStampError as error:
            failure = error
    raise failure


def check_response(
    response: bytes,
    *,
    message: bytes,
    nonce: int | None = None,
    crls: Sequence[bytes] = (),
    now_ns: int | None = None,
    within_ns: int = CLOCKS_NS,
) -> TokenInfo:
    """What a response says, checked as far as anybody can who trusts no authority: nothing is proven by it (rule Z36).

    For whoever stores responses for others to verify, who must not call them a fault: it is granted, well formed, over
    `message`, an answer to the query with `nonce`, and signed by a certificate that it carries, which is for time stamping
    alone, with acceptable algorithms; that one and those above it that it carries are within their dates; its time is not
    further than `within_ns` from `now_ns`; none of `crls` (DER) takes it back. Raises TimeStampError as `verify_response` does.
    """
    token, signer, embedded = _opened(response, message, nonce)
    info = token.info
    if now_ns is not None and abs(info.time_ns - now_ns) > within_ns:
        raise TimeStampError("genTime", f"more than {within_ns // 10**9} s from the clock here")
    check_dates((signer,), info.time_ns)
    check_usage(signer)
    # The hash of the certificate's own signature counts unless it is a root.
    path = (signer,) if signer.issuer == signer.subject else (signer, signer)
    _acceptable((info.hash_algorithm, token.signer.hash_algorithm, *path_algorithms(path)), info.time_ns)
    check_signature(token, signer, message)
    above = paths(signer, embedded, most=_FEW)
    if not above.whole:
        raise TimeStampError("certificates", f"more than {_FEW} signatures to check among those embedded")
    check_dates(tuple(above.below), info.time_ns)
    check_crls((signer, *embedded), crls, info.time_ns)
    return info


def _opened(
    response: bytes, message: bytes, nonce: int | None
) -> tuple[Token, x509.Certificate, list[x509.Certificate]]:
    """The fields, the signer's certificate, and all that are embedded."""
    token = decode(response)
    if not hmac.compare_digest(_DIGESTS[token.info.hash_algorithm](message).digest(), token.info.imprint):
        raise TimeStampError("tstInfo.messageImprint", "of another message")
    if nonce is not None and token.info.nonce != nonce:
        raise TimeStampError("tstInfo.nonce", "not the nonce of the request")
    embedded = [load(der, f"certificates[{index}]") for index, der in enumerate(token.certificates)]
    return token, _signer(token, embedded), embedded


def _signer(token: Token, embedded: Sequence[x509.Certificate]) -> x509.Certificate:
    """The certificate that the SignerInfo names and that the signature commits itself to (RFC 5035)."""
    for certificate, der in zip(embedded, token.certificates, strict=True):
        named = certificate.issuer.public_bytes() == token.signer.issuer
        if named and certificate.serial_number == token.signer.serial:
            for name, digest in token.signer.certificate_ids:
                if not hmac.compare_digest(_DIGESTS[name](der).digest(), digest):
                    raise TimeStampError("signedAttrs.signingCertificate", "another certificate")
            return certificate
    raise TimeStampError("certificates", "the signer's is not among them")


def _trusted(token: Token, authority: Authority) -> None:
    if authority.not_before is not None and token.info.time_ns < authority.not_before:
        raise UnprovenTimeError("genTime", f"before {authority.name} is trusted")
    if authority.not_after is not None and token.info.time_ns > authority.not_after:
        raise UnprovenTimeError("genTime", f"after {authority.name} is trusted")


def _acceptable(names: Sequence[str], at_ns: int) -> None:
    weak = algorithms.unacceptable(names, at_ns)
    if weak is not None:
        raise UnprovenTimeError("algorithms", f"{weak} is not acceptable at the time of the token")


def _judge(
    token: Token, authority: Authority, path: tuple[x509.Certificate, ...], *, message: bytes, crls: Sequence[bytes]
) -> TimeStamp:
    info = token.info
    check_dates(path, info.time_ns)
    check_usage(path[0])
    names = tuple(dict.fromkeys((info.hash_algorithm, token.signer.hash_algorithm, *path_algorithms(path))))
    _acceptable(names, info.time_ns)
    check_chain(token, path, message)
    return TimeStamp(
        time_ns=info.time_ns,
        accuracy_ns=info.accuracy_ns,
        authority=authority.name,
        hash_algorithm=info.hash_algorithm,
        policy=info.policy,
        serial=info.serial,
        algorithms=names,
        acceptable_until=algorithms.end(names),
        revocation_known=revocation_known(path, crls, info.time_ns),
    )
