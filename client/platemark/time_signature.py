"""The CMS signature of a time-stamp token, by OpenSSL: with a path up to a root, or for whoever has no root.

Rules Z5, Z8, Z35 and Z36 of proto/time.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from rfc3161_client import VerifierBuilder, decode_timestamp_response

from platemark.certificates import foreign, nanoseconds
from platemark.der import SEQUENCE, context, element
from platemark.errors import TimeStampError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rfc3161_client import TimeStampResponse

    from platemark.time_token import Token

__all__ = ["check_chain", "check_signature"]

_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")


def check_signature(token: Token, signer: x509.Certificate, message: bytes) -> None:
    """The signature is the signer's, whoever issued its certificate. Raises TimeStampError.

    OpenSSL checks no signature without a chain. So it gets one of which nothing is believed: a certificate that is like the
    signer's, with its key, below a root made for this call. Certificates are not part of what is signed.
    """
    check_chain(
        token, foreign(lambda: _stand_in(signer), "certificate", "of a kind that this release cannot check"), message
    )


def check_chain(token: Token, path: tuple[x509.Certificate, ...], message: bytes) -> None:
    """The signature and the path at genTime, by OpenSSL, which sees no certificate beside the path. Raises TimeStampError."""
    parsed = _read(token, (path[0], *path[1:-1]))
    # Built in one call: the methods of a builder change their parent as well.
    verifier = VerifierBuilder(roots=[path[-1]]).build()
    if not foreign(
        lambda: verifier.verify_message(parsed, message), "signature", "it does not verify, or its chain does not"
    ):
        raise TimeStampError("signature", "it does not verify")


def _stand_in(signer: x509.Certificate) -> tuple[x509.Certificate, x509.Certificate]:
    """A certificate with issuer, serial number, dates, key and purposes of the signer's, and the root that issued it."""
    key = ec.generate_private_key(ec.SECP256R1())
    since, until = (each.replace(tzinfo=None) for each in (signer.not_valid_before_utc, signer.not_valid_after_utc))
    issuer = signer.issuer
    root = x509.CertificateBuilder(issuer, issuer, key.public_key(), 1, since, until)
    root = root.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stand-in")])
    leaf = x509.CertificateBuilder(issuer, subject, signer.public_key(), signer.serial_number, since, until)
    for each in signer.extensions:
        if each.critical or isinstance(each.value, x509.KeyUsage | x509.ExtendedKeyUsage | x509.BasicConstraints):
            leaf = leaf.add_extension(each.value, critical=each.critical)
    return leaf.sign(key, hashes.SHA256()), root.sign(key, hashes.SHA256())


def _read(token: Token, certificates: Iterable[x509.Certificate]) -> TimeStampResponse:
    """As rfc3161-client reads it, which has to agree with what we read."""
    embedded = [each.public_bytes(Encoding.DER) for each in certificates]
    response = _with_certificates(token, embedded)
    parsed = foreign(lambda: decode_timestamp_response(response), "response", "rfc3161-client cannot read it")
    second = foreign(lambda: nanoseconds(parsed.tst_info.gen_time), "tstInfo.genTime", "rfc3161-client cannot read it")
    if second // 10**9 != token.info.time_ns // 10**9:
        raise TimeStampError("tstInfo.genTime", "two readers disagree about it")
    return parsed


def _with_certificates(token: Token, certificates: Iterable[bytes]) -> bytes:
    """The response with these certificates and no others, nor lists: neither is part of what is signed.

    In DER order: CMS asks for that, many authorities do not do it, and rfc3161-client refuses what is out of order.
    """
    embedded = element(context(0), b"".join(sorted(set(certificates))))
    data = element(SEQUENCE, token.before + embedded + token.signers)
    return element(SEQUENCE, token.status + element(SEQUENCE, _SIGNED_DATA + element(context(0), data)))
