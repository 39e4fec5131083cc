"""Whom a signature is believed to be by, and when it existed: certificates and certified time stamps.

Nothing is believed that the reader did not name. Built on what time stamps use (proto/time.md Z8 to Z14).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

from cryptography import x509

from platemark.certificates import check_dates, foreign, load, nanoseconds, paths
from platemark.der import INTEGER, SEQUENCE, element, nodes, single
from platemark.dicom_signature._cipher import trim
from platemark.errors import TimeStampError, UnprovenTimeError
from platemark.instant import format_time
from platemark.timestamp import CLOCKS_NS, Authority, check_response, verify_response

__all__ = [
    "Judged",
    "Roots",
    "certificate_of",
    "judge_certificate",
    "judge_timestamp",
    "response",
    "time_of",
    "token_of",
]

_DATE_TIME = re.compile(r"(\d{14})(?:\.(\d{1,6}))?(?:([+-])(\d\d)(\d\d))?")
_GRANTED = element(SEQUENCE, element(INTEGER, b"\0"))


@dataclass(frozen=True)
class Roots:
    """Whom the reader believes: certificates (DER) that signers' chains end in, and those of time-stamping authorities.

    `between` are certificates that may lie on a chain and are believed for nothing.
    """

    authorities: tuple[bytes, ...] = ()
    between: tuple[bytes, ...] = ()
    time: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Judged:
    """`good` is True, False, or None for what could not be told; `time_ns` (Unix ns) is what a time stamp proves."""

    good: bool | None
    reason: str
    time_ns: int | None = None


def certificate_of(stored: bytes, kind: str) -> x509.Certificate:
    """The certificate of a signature (0400,0115), of type (0400,0110). Raises TimeStampError."""
    if kind != "X509_1993_SIG":
        raise TimeStampError("(0400,0110)", f"the certificate type is {kind!r}, not X509_1993_SIG")
    return load(trim(stored), "(0400,0115)")


def time_of(text: str) -> int | None:
    """Unix ns of a DT value with seconds; without an offset from UTC it is taken to be UTC. None if it is none."""
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        return None
    seconds, fraction, sign, hours, minutes = match.groups()
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    try:
        zone = timezone(-offset if sign == "-" else offset)
        moment = datetime.strptime(seconds, "%Y%m%d%H%M%S").replace(tzinfo=zone)
        return nanoseconds(moment.astimezone(UTC)) + int((fraction or "0").ljust(9, "0"))
    except (ValueError, OverflowError):
        return None


def judge_certificate(
    certificate: x509.Certificate, roots: Roots, *, stated_ns: int | None, proven_ns: int | None, now_ns: int
) -> Judged:
    """Whether the signer's certificate leads to a root of the reader's, and was good when it signed.

    It is judged at the proven time if there is one, else at the stated one, which counts only while every certificate of
    the chain is still good: whoever has an old key can state an old time.
    """
    if not roots.authorities:
        return Judged(None, "no certificate authority was named (--ca)")
    try:
        anchors = [load(der, "--ca") for der in roots.authorities]
        found = paths(certificate, [load(der, "--chain") for der in roots.between], anchors)
        path = found.to(anchors)
        if not path:
            return Judged(None, "no certificate authority that was named leads to the signer")
        _check_usage(certificate)
        at = proven_ns if proven_ns is not None else stated_ns
        if at is None:
            return Judged(None, "the time of the signature cannot be read")
        if proven_ns is None and at > now_ns + CLOCKS_NS:
            return Judged(None, "the stated time of the signature lies in the future")
        check_dates(path, at)
        if proven_ns is None:
            check_dates(path, max(at, now_ns))
    except TimeStampError as error:
        return Judged(None, _plain(error))
    words = "at the certified time" if proven_ns is not None else "at the stated time and now"
    return Judged(True, f"{path[-1].subject.rfc4514_string()}, {words}; revocation not checked")


def judge_timestamp(stored: bytes, kind: str, signature: bytes, roots: Roots) -> Judged:
    """What a certified time stamp (0400,0310) proves about a Signature value, which is given without padding."""
    if kind != "CMS_TSP":
        return Judged(None, f"the time stamp is of the type {kind!r}, not CMS_TSP")
    whole, said = response(trim(stored)), ""
    try:
        said = f"says {format_time(check_response(whole, message=signature).time_ns)}; "
        if not roots.time:
            return Judged(None, said + "no time-stamping authority was named (--tsa-ca)")
        proven = verify_response(whole, message=signature, authorities=[Authority("--tsa-ca", roots.time)])
    except UnprovenTimeError as error:
        return Judged(None, said + error.reason)
    except TimeStampError as error:
        return Judged(False, str(error))
    said = format_time(proven.time_ns)
    return Judged(True, f"existed at {said}; revocation {proven.revocation}", proven.latest_ns)


def response(token: bytes) -> bytes:
    """A TimeStampResp that grants `token`: an object holds the token alone, and the checks want the whole."""
    return element(SEQUENCE, _GRANTED + token)


def token_of(whole: bytes) -> bytes:
    """The TimeStampToken of a TimeStampResp that was checked before. Raises TimeStampError."""
    parts = nodes(single(whole, SEQUENCE, "TimeStampResp").content, "TimeStampResp")
    if len(parts) != 2:
        raise TimeStampError("TimeStampResp", "has no token")
    return parts[1].raw


def _check_usage(certificate: x509.Certificate) -> None:
    def allowed() -> bool:
        try:
            usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        except x509.ExtensionNotFound:
            return True
        return usage.digital_signature or usage.content_commitment

    if not foreign(allowed, "certificate", "a key usage that cannot be read"):
        raise TimeStampError("certificate", "its key usage is not digital signature or content commitment")


def _plain(error: TimeStampError) -> str:
    """Dates of a chain are judged by what time stamps use, which calls the time in question genTime."""
    return error.reason if error.field == "genTime" else str(error)
