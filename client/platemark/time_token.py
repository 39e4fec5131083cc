"""The fields of a whole RFC 3161 TimeStampResp, read strictly and without believing any of them.

Structures: RFC 3161 section 2.4.2 (response, TSTInfo), RFC 5652 sections 5.1 and 5.3 (SignedData, SignerInfo), RFC 5035
(ESSCertIDv2). platemark.timestamp decides whether they mean anything. Rules Z1 to Z7 of proto/time.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from platemark.der import (
    BOOLEAN,
    GENERALIZED_TIME,
    INTEGER,
    OBJECT_IDENTIFIER,
    OCTET_STRING,
    SEQUENCE,
    SET,
    Node,
    Reader,
    context,
    integer,
    nodes,
    object_identifier,
    single,
)
from platemark.errors import TimeStampError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HASHES", "MAX_RESPONSE", "Signer", "Token", "TokenInfo", "decode"]

MAX_RESPONSE = 64 * 1024
"""Bytes of a whole response (rule Z1)."""
_MAX_CERTIFICATES = 16

HASHES: Mapping[str, str] = {
    "2.16.840.1.101.3.4.2.1": "SHA-256",
    "2.16.840.1.101.3.4.2.2": "SHA-384",
    "2.16.840.1.101.3.4.2.3": "SHA-512",
}
# Signature algorithm -> the hash that it fixes; None where the signer's digest algorithm says it.
_SIGNATURES: Mapping[str, str | None] = {
    "1.2.840.113549.1.1.1": None,
    "1.2.840.113549.1.1.11": "SHA-256",
    "1.2.840.113549.1.1.12": "SHA-384",
    "1.2.840.113549.1.1.13": "SHA-512",
    "1.2.840.10045.4.3.2": "SHA-256",
    "1.2.840.10045.4.3.3": "SHA-384",
    "1.2.840.10045.4.3.4": "SHA-512",
}
_SIGNED_DATA, _TST_INFO = "1.2.840.113549.1.7.2", "1.2.840.113549.1.9.16.1.4"
_CONTENT_TYPE, _MESSAGE_DIGEST = "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"
_SIGNING_CERTIFICATE, _SIGNING_CERTIFICATE_V2 = "1.2.840.113549.1.9.16.2.12", "1.2.840.113549.1.9.16.2.47"
_STATUS = ("granted", "granted with modifications", "rejection", "waiting", "revocation warning", "revocation")
_TIME = re.compile(r"(\d{14})(?:\.(\d{0,8}[1-9]))?Z")


@dataclass(frozen=True)
class TokenInfo:
    """The TSTInfo: what the authority says. `accuracy_ns` is None where it states none."""

    policy: str
    hash_algorithm: str
    imprint: bytes
    serial: int
    time_ns: int
    accuracy_ns: int | None
    nonce: int | None


@dataclass(frozen=True)
class Signer:
    """The one SignerInfo: who signed, with which hash, and the certificates (hash name, digest) it commits itself to."""

    issuer: bytes
    serial: int
    hash_algorithm: str
    certificate_ids: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True)
class Token:
    """A response that is well formed; `certificates` are the embedded ones, DER, in their order.

    The last three are DER of its status, of the fields of SignedData before the certificates, and of its signerInfos.
    """

    info: TokenInfo
    signer: Signer
    certificates: tuple[bytes, ...]
    status: bytes
    before: bytes
    signers: bytes


def decode(response: bytes) -> Token:
    """The fields of a granted response with one signer. Raises TimeStampError naming field and reason."""
    if len(response) > MAX_RESPONSE:
        raise TimeStampError("response", f"{len(response)} bytes, more than {MAX_RESPONSE}")
    outer = Reader.of(single(response, SEQUENCE, "response"), "response")
    status = outer.take(SEQUENCE, "status")
    _granted(status)
    content = Reader.of(outer.take(SEQUENCE, "timeStampToken"), "timeStampToken")
    outer.end()
    _expect(content.take(OBJECT_IDENTIFIER, "contentType"), _SIGNED_DATA, "timeStampToken.contentType")
    wrapped = content.take(context(0), "content")
    content.end()
    data = Reader.of(single(wrapped.content, SEQUENCE, "signedData"), "signedData")
    before = [
        data.take(INTEGER, "version"),
        data.take(SET, "digestAlgorithms"),
        data.take(SEQUENCE, "encapContentInfo"),
    ]
    info = _info(before[2])
    certificates = data.take(context(0), "certificates").content
    data.optional(context(1))  # revocation data that the authority embeds is not read: it is handed over beside
    listed = data.take(SET, "signerInfos")
    signers = nodes(listed.content, "signerInfos")
    data.end()
    embedded = [node.raw for node in nodes(certificates, "certificates")]
    if not 1 <= len(embedded) <= _MAX_CERTIFICATES:
        raise TimeStampError("certificates", f"{len(embedded)} of them, not 1 to {_MAX_CERTIFICATES}")
    if len(signers) != 1:
        raise TimeStampError("signerInfos", f"{len(signers)} signers, not one")
    front = b"".join(node.raw for node in before)
    return Token(info, _signer(signers[0]), tuple(embedded), status.raw, front, listed.raw)


def _granted(status: Node) -> None:
    """RFC 3161 section 2.4.2: PKIStatusInfo. Only `granted` is accepted."""
    value = integer(Reader.of(status, "status").take(INTEGER, "status"), "status")
    if value:
        word = _STATUS[value] if value < len(_STATUS) else f"status {value}"
        raise TimeStampError("status", f"the authority did not grant the request: {word}")


def _info(encapsulated: Node) -> TokenInfo:
    fields = Reader.of(encapsulated, "encapContentInfo")
    _expect(fields.take(OBJECT_IDENTIFIER, "eContentType"), _TST_INFO, "encapContentInfo.eContentType")
    octets = single(fields.take(context(0), "eContent").content, OCTET_STRING, "encapContentInfo.eContent")
    fields.end()
    info = Reader.of(single(octets.content, SEQUENCE, "tstInfo"), "tstInfo")
    if integer(info.take(INTEGER, "version"), "tstInfo.version") != 1:
        raise TimeStampError("tstInfo.version", "not 1")
    policy = object_identifier(info.take(OBJECT_IDENTIFIER, "policy"), "tstInfo.policy")
    imprint = Reader.of(info.take(SEQUENCE, "messageImprint"), "tstInfo.messageImprint")
    hash_algorithm = _hash(imprint.take(SEQUENCE, "hashAlgorithm"), "tstInfo.messageImprint.hashAlgorithm")
    digest = imprint.take(OCTET_STRING, "hashedMessage").content
    imprint.end()
    serial = integer(info.take(INTEGER, "serialNumber"), "tstInfo.serialNumber")
    time_ns = _time(info.take(GENERALIZED_TIME, "genTime"))
    accuracy = info.optional(SEQUENCE)
    info.optional(BOOLEAN)
    nonce = info.optional(INTEGER)
    info.optional(context(0))
    extensions = info.optional(context(1))
    info.end()
    for extension in nodes(extensions.content, "tstInfo.extensions") if extensions else []:
        _not_critical(Reader.of(extension, "tstInfo.extensions"))
    return TokenInfo(
        policy=policy,
        hash_algorithm=hash_algorithm,
        imprint=digest,
        serial=serial,
        time_ns=time_ns,
        accuracy_ns=None if accuracy is None else _accuracy(accuracy),
        nonce=None if nonce is None else integer(nonce, "tstInfo.nonce"),
    )


def _not_critical(extension: Reader) -> None:
    """An extension that may be passed over, such as the statement of a qualified authority (ETSI EN 319 422)."""
    extension.take(OBJECT_IDENTIFIER, "extnID")
    if extension.optional(BOOLEAN) is not None:  # DER writes only what is not the default, which is false
        raise TimeStampError("tstInfo.extensions", "a critical one, and this release knows none")


def _accuracy(node: Node) -> int:
    """RFC 3161 section 2.4.2: seconds, millis 1..999, micros 1..999, each of which may be absent. In nanoseconds."""
    fields = Reader.of(node, "tstInfo.accuracy")
    total = 0
    for tag, unit, most in (
        (INTEGER, 10**9, (1 << 31) - 1),
        (context(0, constructed=False), 10**6, 999),
        (context(1, constructed=False), 10**3, 999),
    ):
        part = fields.optional(tag)
        value = 0 if part is None else integer(part, "tstInfo.accuracy")
        if value > most:
            raise TimeStampError("tstInfo.accuracy", f"a part above {most}")
        total += value * unit
    fields.end()
    return total


def _time(node: Node) -> int:
    """A GeneralizedTime of RFC 3161 section 2.4.2: UTC with seconds, a fraction only without trailing zeros. Unix ns."""
    match = _TIME.fullmatch(node.content.decode("latin-1"))
    if match is None:
        raise TimeStampError("tstInfo.genTime", "not a UTC time in DER with at most nine decimals")
    try:
        whole = datetime.strptime(match[1], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        raise TimeStampError("tstInfo.genTime", "no such time") from None
    seconds = int((whole - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    if seconds < 0:
        raise TimeStampError("tstInfo.genTime", "before 1970")
    return seconds * 10**9 + int((match[2] or "").ljust(9, "0"))


def _signer(node: Node) -> Signer:
    fields = Reader.of(node, "signerInfo")
    fields.take(INTEGER, "version")
    sid = Reader.of(fields.take(SEQUENCE, "sid"), "signerInfo.sid")
    issuer = sid.take(SEQUENCE, "issuer").raw
    serial = integer(sid.take(INTEGER, "serialNumber"), "signerInfo.sid.serialNumber")
    sid.end()
    digest = _hash(fields.take(SEQUENCE, "digestAlgorithm"), "signerInfo.digestAlgorithm")
    attributes = _attributes(fields.take(context(0), "signedAttrs"))
    algorithm = _identifier(fields.take(SEQUENCE, "signatureAlgorithm"), "signerInfo.signatureAlgorithm")
    if algorithm not in _SIGNATURES:
        raise TimeStampError("signerInfo.signatureAlgorithm", f"{algorithm} is not acceptable")
    fields.take(OCTET_STRING, "signature")
    fields.optional(context(1))
    fields.end()
    # OpenSSL takes the hash from digestAlgorithm alone, so a signatureAlgorithm that says another one says nothing true.
    if _SIGNATURES[algorithm] not in {None, digest}:
        raise TimeStampError("signerInfo.signatureAlgorithm", "of another hash than digestAlgorithm")
    return Signer(issuer, serial, digest, _certificate_ids(attributes))


def _attributes(node: Node) -> dict[str, Node]:
    """Type -> the one value of each signed attribute; the three that RFC 3161 asks for are there."""
    found: dict[str, Node] = {}
    for attribute in nodes(node.content, "signedAttrs"):
        fields = Reader.of(attribute, "signedAttrs")
        kind = object_identifier(fields.take(OBJECT_IDENTIFIER, "attrType"), "signedAttrs.attrType")
        values = nodes(fields.take(SET, "attrValues").content, "signedAttrs.attrValues")
        fields.end()
        if kind in found or len(values) != 1:
            raise TimeStampError(f"signedAttrs.{kind}", "not present once with one value")
        found[kind] = values[0]
    for kind in (_CONTENT_TYPE, _MESSAGE_DIGEST):
        if kind not in found:
            raise TimeStampError(f"signedAttrs.{kind}", "missing")
    _expect(found[_CONTENT_TYPE], _TST_INFO, "signedAttrs.contentType")
    return found


def _certificate_ids(attributes: Mapping[str, Node]) -> tuple[tuple[str, bytes], ...]:
    """The first ESSCertID (RFC 2634, SHA-1) and ESSCertIDv2 (RFC 5035) of the signed attributes: the signer's own."""
    found: list[tuple[str, bytes]] = []
    for kind, default in ((_SIGNING_CERTIFICATE, "SHA-1"), (_SIGNING_CERTIFICATE_V2, "SHA-256")):
        if kind not in attributes:
            continue
        field = "signedAttrs.signingCertificate"
        listed = nodes(Reader.of(attributes[kind], field).take(SEQUENCE, "certs").content, field)
        if not listed:
            raise TimeStampError(field, "names no certificate")
        fields = Reader.of(listed[0], field)
        named = fields.optional(SEQUENCE) if default != "SHA-1" else None
        name = default if named is None else _hash(named, f"{field}.hashAlgorithm")
        found.append((name, fields.take(OCTET_STRING, "certHash").content))
    if not found:
        raise TimeStampError("signedAttrs.signingCertificate", "missing")
    return tuple(found)


def _hash(node: Node, field: str) -> str:
    identifier = _identifier(node, field)
    if identifier not in HASHES:
        raise TimeStampError(field, f"{identifier} is not acceptable: SHA-256, SHA-384 and SHA-512 are")
    return HASHES[identifier]


def _identifier(node: Node, field: str) -> str:
    """The object identifier of an AlgorithmIdentifier; parameters are for whoever checks the signature."""
    return object_identifier(Reader.of(node, field).take(OBJECT_IDENTIFIER, "algorithm"), field)


def _expect(node: Node, identifier: str, field: str) -> None:
    if node.tag != OBJECT_IDENTIFIER or object_identifier(node, field) != identifier:
        raise TimeStampError(field, f"not {identifier}")
