"""Checking every signature of a DICOM object: does it hold, whose is it, what does it cover and what not.

Rules V1 to V12 of proto/dicom-signatures.md.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.utils import CryptographyDeprecationWarning

from platemark.capture._elements import name_of
from platemark.capture._faults import MalformedError, UndefinedRungError
from platemark.capture._mac_stream import BIG, IMPLICIT, NATIVE, mac_stream, signable
from platemark.dicom_signature import _cipher
from platemark.dicom_signature._fields import LEFT_OUT, read_signatures
from platemark.dicom_signature._levels import MAC_PARAMETERS, SIGNATURES
from platemark.dicom_signature._objects import open_object
from platemark.dicom_signature._trust import (
    Roots,
    certificate_of,
    judge_certificate,
    judge_timestamp,
    time_of,
)
from platemark.dicom_signature.profiles import Profile, unmet
from platemark.dicom_signature.results import Checked, Integrity, Signer
from platemark.errors import DicomSignatureError, TimeStampError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from cryptography import x509

    from platemark.capture._mac_stream import MacStream
    from platemark.dicom_signature._fields import MacParameters, Stored
    from platemark.dicom_signature._levels import Level
    from platemark.dicom_signature._objects import DicomObject

__all__ = ["MAX_SIGNATURES", "check", "signer_of"]

MAX_SIGNATURES = 64
"""Of one object: each may cost as much as reading all of it, and a stranger's object decides how many there are."""


def check(path: str | os.PathLike[str], *, roots: Roots, now_ns: int, weak: bool = False) -> list[Checked]:
    """Every signature of the object in `path`, that of the object first and then those of items.

    `now_ns` is Unix ns. With `weak`, broken hashes (MD5, SHA-1, RIPEMD-160) and small keys are as good as others. What is
    wrong within a signature is in its result. Raises DicomSignatureError and CaptureError for an object that cannot be read.
    """
    with warnings.catch_warnings(), open_object(path) as opened:
        # A library's remarks on a stranger's certificate, such as that of a serial number below 0, are for nobody here.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        levels = [level for level in (opened.top, *opened.below) if SIGNATURES in level.sequences]
        count = sum(len(level.sequences[SIGNATURES].items) for level in levels)
        if count > MAX_SIGNATURES:
            raise DicomSignatureError(f"{path}: {count} signatures, more than {MAX_SIGNATURES}")
        results = [
            _check(opened, level, stored, roots=roots, now_ns=now_ns, weak=weak)
            for level in levels
            for stored in read_signatures(opened.file, level)
        ]
        opened.settled()
        return results


def _check(opened: DicomObject, level: Level, stored: Stored, *, roots: Roots, now_ns: int, weak: bool) -> Checked:
    mac = stored.mac

    def result(integrity: Integrity, reason: str, **more: object) -> Checked:
        return Checked(
            place=level.place,
            number=stored.number,
            uid=stored.uid,
            stated=stored.date_time,
            mac="" if mac is None else mac.algorithm,
            transfer_syntax="" if mac is None else mac.transfer_syntax,
            integrity=integrity,
            reason=reason,
            **more,  # type: ignore[arg-type]  # fields of Checked, by name
        )

    if level.original:
        return result(Integrity.UNDECIDED, "not checked: it stands in Original Attributes and signs an earlier state")
    if mac is None or stored.fault:
        return result(Integrity.FAILS, stored.fault)
    try:
        certificate = certificate_of(stored.certificate, stored.certificate_type)
    except TimeStampError as error:
        return result(Integrity.FAILS, str(error))
    integrity, reason, covered = _integrity(opened, level, stored, certificate, weak=weak)
    stamped = None
    if stored.timestamp is not None:
        value = _cipher.value(certificate.public_key(), stored.signature)
        stamped = judge_timestamp(stored.timestamp, stored.timestamp_type, value, roots)
    proven = stamped.time_ns if stamped is not None else None
    believed = judge_certificate(
        certificate, roots, stated_ns=time_of(stored.date_time), proven_ns=proven, now_ns=now_ns
    )
    profiles = tuple(
        (
            profile,
            unmet(
                profile,
                rsa=isinstance(certificate.public_key(), rsa.RSAPublicKey),
                transfer_syntax=mac.transfer_syntax,
                covered=covered,
                present=level.tags,
                top=not level.path,
            ),
        )
        for profile in (Profile.BASE, Profile.CREATOR)
    )
    open_tags = [tag for tag in level.tags if tag not in covered and _shown(tag)]
    return result(
        integrity,
        reason,
        signer=signer_of(certificate),
        certificate=believed,
        timestamp=stamped,
        covered=tuple(covered),
        uncovered=tuple(open_tags),
        unsignable=tuple(tag for tag in open_tags if not signable(tag)),
        absent=tuple(tag for tag in mac.tags if tag not in level.tags),
        profiles=profiles,
    )


def signer_of(certificate: x509.Certificate) -> Signer:
    """What the certificate says of itself."""
    return Signer(
        certificate.subject.rfc4514_string(),
        certificate.issuer.rfc4514_string(),
        certificate.serial_number,
        certificate.fingerprint(hashes.SHA256()).hex(),
        _cipher.key_words(certificate.public_key())[0],
    )


def _shown(tag: int) -> bool:
    """Whether it is worth saying that an element is not covered: not for group lengths and what signatures are in."""
    return tag & 0xFFFF != 0 and tag not in (MAC_PARAMETERS, SIGNATURES)


class _UndecidedError(Exception):
    """Nothing was found wrong, and the signature cannot be said to hold."""


def _integrity(
    opened: DicomObject, level: Level, stored: Stored, certificate: x509.Certificate, *, weak: bool
) -> tuple[Integrity, str, list[int]]:
    """The answer, its reason, and what is covered: once the signature holds, what the MAC was computed over and no more."""
    mac = stored.mac
    assert mac is not None
    claimed = [tag for tag in level.tags if tag in frozenset(mac.tags)]
    if wrong := [tag for tag in mac.tags if not signable(tag)]:
        return Integrity.FAILS, f"it lists {_named(wrong)}, which no signature can cover", claimed
    try:
        _check_syntax(opened, mac)
        stream = _matching(opened, level, stored, certificate)
        if stream is None:
            return Integrity.FAILS, "what it covers is not what was signed", claimed
        name, fault = _cipher.key_words(certificate.public_key())
        if fault and not weak:
            raise _UndecidedError(f"it is mathematically right, and {name}: {fault}")  # noqa: TRY301
        if _cipher.MACS[mac.algorithm].weak and not weak:
            raise _UndecidedError(  # noqa: TRY301
                f"it is mathematically right, and {mac.algorithm} is broken: another object may have been made to fit"
            )
    except (_UndecidedError, MalformedError, UndefinedRungError) as error:
        return Integrity.UNDECIDED, str(error), claimed
    return Integrity.HOLDS, f"{name} with {mac.algorithm}", stream.covered


def _matching(opened: DicomObject, level: Level, stored: Stored, certificate: x509.Certificate) -> MacStream | None:
    """The stream that the signature is over; None if it is over none. Raises _UndecidedError."""
    assert stored.mac is not None
    algorithm, key = _cipher.MACS.get(stored.mac.algorithm), certificate.public_key()
    if algorithm is None:
        raise _UndecidedError(f"the MAC algorithm {stored.mac.algorithm!r} is not one of PS3.3")
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) or _cipher.is_costly(key):
        raise _UndecidedError(": ".join(_cipher.key_words(key)))
    presumed: list[int] = []
    for stream in _streams(opened, level, stored):
        if stream.unknown:
            presumed = stream.unknown
            continue
        hashed = _cipher.digest(algorithm, _whole(opened, stored, stream))
        if hashed is None:
            raise _UndecidedError(f"{stored.mac.algorithm} cannot be computed on this machine")
        if _cipher.verify(key, algorithm, hashed, stored.signature):
            return stream
    if presumed:
        raise _UndecidedError(f"it covers {_named(presumed)}, whose value representation is not known here")
    return None


def _check_syntax(opened: DicomObject, mac: MacParameters) -> None:
    """A MAC in this transfer syntax can be recomputed from the object as it is encoded now. Raises _UndecidedError."""
    if mac.transfer_syntax in (IMPLICIT, BIG):
        raise _UndecidedError(f"PS3.3 excludes {mac.transfer_syntax} as MAC Calculation Transfer Syntax")
    now = opened.meta.transfer_syntax
    if mac.transfer_syntax != now and not (mac.transfer_syntax in NATIVE and now in NATIVE):
        raise _UndecidedError(
            f"the object is in {now} now and the MAC was calculated in {mac.transfer_syntax}: it was transcoded since"
        )


def _named(tags: Sequence[int]) -> str:
    more = f" and {len(tags) - 6} more" if len(tags) > 6 else ""
    return ", ".join(map(name_of, tags[:6])) + more


def _streams(opened: DicomObject, level: Level, stored: Stored) -> Iterator[MacStream]:
    """What the MAC may be over, each once: implicit VR leaves choices open, and knows no private elements (M12 to M14)."""
    assert stored.mac is not None
    seen: set[bytes] = set()
    for private in (None, opened.private_vr_of):
        for inherit in (True, False):
            stream = mac_stream(
                opened.file,
                level.start,
                level.end,
                transfer_syntax=level.transfer_syntax,
                vr_of=opened.vr_of,
                tags=frozenset(stored.mac.tags),
                signed_pixels=level.signed_pixels,
                inherit=inherit,
                private_vr_of=private,
            )
            if stream.literals not in seen:
                yield stream
            seen.add(stream.literals)
            if level.transfer_syntax != IMPLICIT and not stream.unknown:
                return


def _whole(opened: DicomObject, stored: Stored, stream: MacStream) -> Iterator[bytes]:
    """The stream of the data set, and then that of the signature's own item."""
    yield from stream
    yield from mac_stream(
        opened.file,
        stored.start,
        stored.end,
        transfer_syntax=stored.transfer_syntax,
        vr_of=opened.vr_of,
        without=LEFT_OUT,
    )
