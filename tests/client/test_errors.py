"""The exception tree: as it is drawn, every class told apart by what it carries, and no chain of foreign errors."""

import inspect
import pickle
import re
from collections.abc import Callable, Iterator

import pytest

from builders import key
from platemark import attributes, cbor, checkpoint, cose, errors, evidence, note, statement, tiles, tlog_proof, trust
from platemark.errors import CaptureError, DecoderMissingError, FormatError, PlatemarkError

CLASSES = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, PlatemarkError)]


def _drawn() -> Iterator[tuple[str, str]]:
    """(class, parent) of the drawing at the top of errors.py, by its indentation."""
    parents: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^([│├└─ ]*)([A-Z]\w+Error)\b", line)
        if found:
            depth = len(found[1]) // 4
            parents[depth:] = [found[2]]
            yield found[2], parents[depth - 1] if depth else "Exception"


def test_the_tree_is_as_it_is_drawn() -> None:
    """Every class stands in the drawing under its parent, and nothing else does."""
    found = {each.__name__: each.__bases__[0].__name__ for each in CLASSES}
    assert dict(_drawn()) == found


def test_every_class_is_exported_and_documented() -> None:
    """`__all__` is the tree, sorted, and each class says in a sentence what it is."""
    assert errors.__all__ == sorted(each.__name__ for each in CLASSES)
    assert [each.__name__ for each in CLASSES if not (each.__doc__ or "").strip().endswith(".")] == []


def test_codes_are_stable_words() -> None:
    """Scripts branch on them: one word for each kind of fault."""
    codes = {each.__name__: each.code for each in CLASSES}
    assert [code for code in codes.values() if re.fullmatch(r"[a-z]+(-[a-z]+)*", code) is None] == []
    own = {name: code for name, code in codes.items() if name in vars(errors) and "code" in vars(vars(errors)[name])}
    assert own == {
        "PlatemarkError": "error",
        "FormatError": "malformed",
        "ArchiveError": "archive",
        "RecordingError": "recording",
        "SegmentError": "segment",
        "UnknownKindError": "unknown-kind",
        "TimeStampError": "bad-time-stamp",
        "UnprovenTimeError": "unproven-time",
        "UnsupportedReceiptError": "unsupported-receipt",
        "SignatureError": "bad-signature",
        "ProofError": "bad-proof",
        "KeyFileError": "key-file",
        "StateError": "chain-state",
        "VaultError": "vault",
        "RequestRefusedError": "request-refused",
        "CaptureError": "capture",
        "DicomSignatureError": "dicom-signature",
        "ManifestError": "manifest",
        "ContentCredentialsError": "content-credentials",
        "NotAnImageError": "not-an-image",
        "DecodeError": "decode",
        "DecoderMissingError": "decoder-missing",
        "RpcError": "rpc",
    }


def _made(kind: type[PlatemarkError]) -> PlatemarkError:
    if kind is DecoderMissingError:
        return DecoderMissingError("scan.dcm", "the decoder is not installed", extra="dicom")
    if issubclass(kind, CaptureError):
        return kind("scan.dcm", "the file ends early")
    return kind("payload.at", "missing") if issubclass(kind, FormatError) else kind("it does not verify")


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_is_one_sentence_with_its_parts_beside_it(kind: type[PlatemarkError]) -> None:
    """str() is for a person; field, path and reason are for a program."""
    error = _made(kind)
    where = {"field": "payload.at", "path": "scan.dcm"}
    prefix = "".join(f"{value}: " for name, value in where.items() if hasattr(error, name))
    assert (str(error), "\n" in str(error)) == (f"{prefix}{error.reason}", False)


FOREIGN: list[Callable[[], object]] = [
    lambda: cbor.decode(b"\x61\xff"),
    lambda: cose.decode(b"\xd2\xff"),
    lambda: statement.decode(b"\xd2\x84\x40\xa0\x40\x40"),
    lambda: note.parse(b"\xff"),
    lambda: note.parse_vkey("a+00000000+!"),
    lambda: checkpoint.parse("a\n1\nx\n\n\u2014 a AAAAAAAA\n".encode()),
    lambda: tlog_proof.parse(b"\xff\n\n"),
    lambda: tiles.parse_path("tile"),
    lambda: attributes.decode_disclosure(b"\xff"),
    lambda: evidence.from_bytes(b"\xff"),
    lambda: trust.parse(b"\xff"),
    lambda: key("alice").public.verify(b"", bytes(64)),
    lambda: key("alice").public.verify(b"", b"\x01" * 64),
]


@pytest.mark.parametrize("number", range(len(FOREIGN)))
def test_a_foreign_error_never_shows(number: int) -> None:
    """What a library raised below is no cause of ours: the person sees one sentence, not a chain."""
    with pytest.raises(PlatemarkError) as caught:
        FOREIGN[number]()
    assert (caught.value.__cause__, caught.value.__suppress_context__ or caught.value.__context__ is None) == (
        None,
        True,
    )


def test_errors_cross_a_process_border() -> None:
    """A child process that decodes hands its error over whole."""
    for kind in CLASSES:
        error = _made(kind)
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
