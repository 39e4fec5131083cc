"""Every error that platemark raises for the world's faults.

PlatemarkError                 the root; `str()` is one sentence for a person, `code` one stable word for a script
├── FormatError                bytes that do not follow a format; `field` says where, `reason` says why
│   ├── CborError              not the strict CBOR subset (proto/statement.md section 1)
│   ├── CoseError              not a strict COSE_Sign1 (proto/statement.md section 2)
│   ├── KeyFormatError         a public key that the formats refuse (proto/statement.md section 3)
│   ├── StatementError         a payload that its kind does not allow (proto/statement.md section 5)
│   │   └── UnknownKindError   a version or kind that this release does not know
│   ├── AttributeTreeError     an opening or disclosure that is not well formed (proto/attributes.md)
│   ├── NoteError              not a signed note, checkpoint, tile path or tlog-proof (proto/log.md)
│   ├── WitnessPolicyError     not a witness policy (proto/log.md section 8); `field` names the line
│   ├── ReceiptError           not a COSE receipt or a transparent statement (proto/receipts.md)
│   │   └── UnsupportedReceiptError  a receipt over a data structure that this release does not know
│   ├── WitnessPolicyError     not a witness policy (proto/log.md section 8); `field` names the line
│   ├── EvidenceError          not an evidence bundle, or one past its limits (proto/evidence.md)
│   ├── ArchiveError           a ZIP file of images or evidence that is refused (proto/evidence.md section 8)
│   ├── SegmentError           a segment, or a file that proves segments, that the formats refuse (proto/segments.md)
│   ├── ManifestError              a C2PA manifest store, or a proof in it, that proto/c2pa.md refuses
│   ├── TrustError             a trust file that cannot be used (proto/evidence.md)
│   ├── VaultFormatError       a sealed disclosure, request or release that proto/vault.md refuses
│   └── TimeStampError         a time stamp that proves nothing, and why (proto/time.md)
│       └── UnprovenTimeError  one without a fault that proves nothing to this reader
├── SignatureError             a signature that does not verify
├── ProofError                 a Merkle proof that does not verify
├── KeyFileError               a key file that cannot be read, decrypted or written
├── StateError                 the chain state beside a key cannot be read or written
├── VaultError                 a vault that cannot be read or written, or has not what was asked for (proto/vault.md)
├── RequestRefusedError        a request to a vault that its holder does not answer, and why
├── CaptureError               a file that cannot be measured; `path` says which
│   ├── RecordingError         a recording of sensor messages that cannot be read or sealed
│   ├── NotAnImageError        it is not a file of a kind that platemark captures
│   ├── DecodeError            it is one, and its pixels cannot be decoded
│   └── DecoderMissingError    it is one, and the package that decodes it is not installed
├── DicomSignatureError        a DICOM object that cannot be signed, or whose signatures cannot be read
├── ContentCredentialsError    a picture that cannot be given a C2PA manifest
└── RpcError                   a call to a ledger failed (platemark.rpc)

A programmer's mistake is a TypeError, ValueError or RuntimeError and is never caught as one of these.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

__all__ = [
    "ArchiveError",
    "AttributeTreeError",
    "CaptureError",
    "CborError",
    "ContentCredentialsError",
    "CoseError",
    "DecodeError",
    "DecoderMissingError",
    "DicomSignatureError",
    "EvidenceError",
    "FormatError",
    "KeyFileError",
    "KeyFormatError",
    "ManifestError",
    "NotAnImageError",
    "NoteError",
    "PlatemarkError",
    "ProofError",
    "ReceiptError",
    "RecordingError",
    "RequestRefusedError",
    "RpcError",
    "SegmentError",
    "SignatureError",
    "StateError",
    "StatementError",
    "TimeStampError",
    "TrustError",
    "UnknownKindError",
    "UnprovenTimeError",
    "UnsupportedReceiptError",
    "VaultError",
    "VaultFormatError",
    "WitnessPolicyError",
]


class PlatemarkError(Exception):
    """The root of the tree above."""

    code: ClassVar[str] = "error"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class FormatError(PlatemarkError):
    """Bytes that do not follow a format: `field` is a path such as `payload.digests.file`."""

    code = "malformed"

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.args = (field, reason)  # what a process pool builds it from again
        self.field = field

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


class CborError(FormatError):
    """Not the strict CBOR subset of proto/statement.md section 1."""


class CoseError(FormatError):
    """Not a strict COSE_Sign1 of proto/statement.md section 2."""


class KeyFormatError(FormatError):
    """A public key that proto/statement.md section 3 refuses."""


class StatementError(FormatError):
    """A statement whose payload its kind does not allow."""


class UnknownKindError(StatementError):
    """A statement version or kind that this release does not know: never evidence of a fault."""

    code = "unknown-kind"


class AttributeTreeError(FormatError):
    """An attribute opening or a disclosure that is not well formed."""


class NoteError(FormatError):
    """Not a signed note, checkpoint, tile path or tlog-proof."""


class ReceiptError(FormatError):
    """A COSE receipt or a transparent statement that proto/receipts.md refuses."""


class UnsupportedReceiptError(ReceiptError):
    """A receipt over a verifiable data structure that this release does not know: never evidence of a fault."""

    code = "unsupported-receipt"


class WitnessPolicyError(FormatError):
    """Not a witness policy; `field` names the line."""


class EvidenceError(FormatError):
    """Not an evidence bundle, or one that is past its limits."""


class ArchiveError(FormatError):
    """A ZIP file of images or evidence that is refused; `field` names the file and the member."""

    code = "archive"


class SegmentError(FormatError):
    """A segment, a channel, or a file that proves segments, that proto/statement.md or proto/segments.md refuses."""

    code = "segment"


class ManifestError(FormatError):
    """A C2PA manifest store, or the proof in it, that proto/c2pa.md refuses."""

    code = "manifest"


class TrustError(FormatError):
    """A trust file that cannot be used."""


class VaultFormatError(FormatError):
    """A sealed disclosure, a request or a release that proto/vault.md refuses. Never holds an attribute's value."""


class TimeStampError(FormatError):
    """A time stamp that is malformed, of nobody trusted or over something else; `field` and `reason` say which."""

    code = "bad-time-stamp"


class UnprovenTimeError(TimeStampError):
    """A time stamp without a fault that proves nothing to this reader.

    Its authority is not trusted, or not at that time; an algorithm is not acceptable; or it was renewed too late.
    """

    code = "unproven-time"


class SignatureError(PlatemarkError):
    """A signature that does not verify under the key that was given."""

    code = "bad-signature"


class ProofError(PlatemarkError):
    """A Merkle inclusion or consistency proof that does not verify."""

    code = "bad-proof"


class KeyFileError(PlatemarkError):
    """A key file that cannot be read, decrypted or written."""

    code = "key-file"


class StateError(PlatemarkError):
    """The chain state beside a signing key cannot be read or written."""

    code = "chain-state"


class VaultError(PlatemarkError):
    """A vault that cannot be read or written, or has not what was asked for. Never holds an attribute's value."""

    code = "vault"


class RequestRefusedError(PlatemarkError):
    """A request to a vault that its holder does not answer. Nothing was opened and nothing left."""

    code = "request-refused"


class CaptureError(PlatemarkError):
    """A file that cannot be measured; `path` says which, `reason` why."""

    code = "capture"

    def __init__(self, path: str | PathLike[str], reason: str) -> None:
        super().__init__(reason)
        self.args = (str(path), reason)
        self.path = str(path)

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class RecordingError(CaptureError):
    """A recording of sensor messages (MCAP, rosbag2) that cannot be read or sealed."""

    code = "recording"


class NotAnImageError(CaptureError):
    """The file is not of a kind that platemark captures."""

    code = "not-an-image"


class DecodeError(CaptureError):
    """The file is an image whose pixels cannot be decoded."""

    code = "decode"


class DecoderMissingError(CaptureError):
    """The package that decodes this file is not installed; `extra` is the one to install."""

    code = "decoder-missing"

    def __init__(self, path: str | PathLike[str], reason: str, *, extra: str) -> None:
        super().__init__(path, reason)
        self.extra = extra

    def __reduce__(self) -> tuple[Callable[[], DecoderMissingError], tuple[()]]:
        """How a process pool sends it: `extra` has to be named."""
        return partial(DecoderMissingError, self.path, self.reason, extra=self.extra), ()


class DicomSignatureError(PlatemarkError):
    """A DICOM object that cannot be signed, or whose signatures cannot be read; the sentence names it and the reason."""

    code = "dicom-signature"


class ContentCredentialsError(PlatemarkError):
    """A picture that cannot be given a C2PA manifest; the sentence names it and the reason."""

    code = "content-credentials"


class RpcError(PlatemarkError):
    """A call to a ledger failed; platemark.rpc.errors refines it."""

    code = "rpc"
