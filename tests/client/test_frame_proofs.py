"""Single frames: one frame of a long object, taken out and re-encoded, is proven to be that frame and no other."""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

import reference
from builders import MODALITY, NOW, Log, letters
from capture_writers import EXPLICIT, RLE, Elements, dicom, element, encapsulated, file_meta, image_elements, png, text
from platemark import attributes, cbor, evidence, frame_proofs, merkle
from platemark.capture import measure
from platemark.errors import EvidenceError, ProofError
from platemark.evidence import Evidence
from platemark.frame_header import of_frames
from platemark.frame_proofs import FrameProofs, ProvenFrame
from platemark.rungs import SHA256, Measurement
from platemark.verdict import DOES_NOT_MATCH, EVIDENCE_INVALID, INCONCLUSIVE, MATCHES_RECORD, Verdict
from platemark.verify import verify

COUNT = 30
FRAMES = [bytes((7 * number + place) % 251 for place in range(64)) for number in range(COUNT)]
JPEGS = [b"\xff\xd8 frame %02d \xff\xd9" % number for number in range(COUNT)]
BASELINE = "1.2.840.10008.1.2.4.50"
PATIENT: Elements = {0x00100010: ("PN", text("Doe^Jane")), 0x00100020: ("LO", text("4711"))}


def _native(*numbers: int, header: Elements | None = None) -> bytes:
    """An object of these frames, counted from 1."""
    pixels = b"".join(FRAMES[number - 1] for number in numbers)
    elements = image_elements(pixels, rows=4, columns=8, frames=len(numbers)) | PATIENT | (header or {})
    return dicom(elements)


def _compressed(streams: list[bytes], syntax: str, **shape: Any) -> bytes:
    elements = image_elements(b"", rows=4, columns=8, frames=len(streams), **shape) | PATIENT
    del elements[0x7FE00010]
    head = dicom(elements)[len(file_meta(EXPLICIT)) :]
    value = encapsulated([each + b"\0" * (len(each) % 2) for each in streams])
    return file_meta(syntax) + head + element(0x7FE00010, "OB", value, length=0xFFFFFFFF)


def _rle(frame: bytes) -> bytes:
    """A frame of 16-bit words in two segments, the most significant bytes first."""
    planes = [bytes([31]) + frame[1::2], bytes([31]) + frame[0::2]]
    return struct.pack("<16I", 2, 64, 64 + 33, *[0] * 13) + planes[0] + planes[1]


@pytest.fixture(name="measured")
def _measured(tmp_path: Path) -> Callable[[bytes], Measurement]:
    def measured(data: bytes) -> Measurement:
        path = tmp_path / "image.dcm"
        path.write_bytes(data)
        return measure(path)

    return measured


def _evidence(whole: Measurement, shown: FrameProofs | bytes | None, *, header: bool = True) -> tuple[Log, Evidence]:
    """Evidence of a capture of `whole`, with proofs of frames and the header disclosed."""
    log = Log()
    log.enrol(MODALITY)
    kept = attributes.commit(dict(whole.attributes), key=bytes(32))
    record = log.capture(
        digests=cast("cbor.Value", {rung: dict(each) for rung, each in whole.digests.items()}),
        frames=whole.frames,
        media=whole.media,
        attributes=kept,
    )
    made = log.evidence(record, enrolments=[1], disclosure=kept if header else None)
    return log, made.with_frames(shown.to_bytes() if isinstance(shown, FrameProofs) else shown)


def _judge(whole: Measurement, shown: FrameProofs | bytes | None, image: Measurement, **options: Any) -> Verdict:
    log, made = _evidence(whole, shown, **options)
    return verify(evidence.from_bytes(made.to_bytes()), trust=log.trust(), image=image, at=NOW)


def test_one_frame_of_thirty_is_named_and_matches(measured: Callable[[bytes], Measurement]) -> None:
    """A frame taken out, uncompressed or compressed without loss, is frame 3 of 30 on rung pixels; the header counts."""
    whole = measured(_native(*range(1, COUNT + 1)))
    shown = frame_proofs.prove(whole, [3])
    for single in (_native(3), _compressed([_rle(FRAMES[2])], RLE)):
        verdict = _judge(whole, shown, measured(single))
        assert (verdict.result, verdict.rung, letters(verdict)[12:]) == (MATCHES_RECORD, "pixels", "PPP")
        assert "frame 3 of 30" in verdict.reason
        assert (verdict.facts["frame"], verdict.facts["frames"]) == ("3", COUNT)
        closed = _judge(whole, shown, measured(single), header=False)
        assert (closed.result, closed.rung, letters(closed)[12:]) == (INCONCLUSIVE, "pixels", "PPN")
    other = _judge(whole, shown, measured(_native(4)))
    assert (other.result, "proves frame 3 of 30 alone" in other.reason) == (DOES_NOT_MATCH, True)
    renamed = measured(_native(3, header={0x00100020: ("LO", b"4712")}))
    assert _judge(whole, shown, renamed).result == DOES_NOT_MATCH


def test_several_frames_are_named_in_their_order(measured: Callable[[bytes], Measurement]) -> None:
    """An object of frames 3 and 7 is these two; the other order, one of them, or one more is not."""
    whole = measured(_native(*range(1, COUNT + 1)))
    shown = frame_proofs.prove(whole, [7, 3, 3])
    assert shown.numbers == "3,7"
    verdict = _judge(whole, shown, measured(_native(3, 7)))
    assert (verdict.result, verdict.facts["frame"]) == (MATCHES_RECORD, "3,7")
    for numbers in ([7, 3], [3], [7], [3, 7, 8], [3, 3, 7]):
        verdict = _judge(whole, shown, measured(_native(*numbers)))
        assert (verdict.result, verdict.rung, "frame" in verdict.facts) == (DOES_NOT_MATCH, None, False)


def test_the_whole_object_matches_whatever_frames_are_shown(measured: Callable[[bytes], Measurement]) -> None:
    """Proofs of single frames take nothing from a match of the file, and name no frame."""
    whole = measured(_native(*range(1, COUNT + 1)))
    verdict = _judge(whole, frame_proofs.prove(whole, [30]), whole)
    assert (verdict.result, verdict.rung, "frame" in verdict.facts) == (MATCHES_RECORD, "file", False)


def test_a_frame_of_lossy_compression_is_proven_by_its_codestream(measured: Callable[[bytes], Measurement]) -> None:
    """The compressed frame itself, moved into an object of its own, is frame 30 of 30 on rung codestream."""
    whole = measured(_compressed(JPEGS, BASELINE, allocated=8))
    shown = frame_proofs.prove(whole, [30])
    verdict = _judge(whole, shown, measured(_compressed([JPEGS[29]], BASELINE, allocated=8)))
    assert (verdict.result, verdict.rung, verdict.facts["frame"]) == (MATCHES_RECORD, "codestream", "30")
    assert _judge(whole, shown, measured(_compressed([JPEGS[28]], BASELINE, allocated=8))).result == DOES_NOT_MATCH


def test_a_page_of_a_document_is_proven_too(tmp_path: Path) -> None:
    """Page 2 of a TIFF, saved as a PNG, is frame 2 of 2: pictures of every kind share the rung, and name no patient."""
    pages = [np.full((4, 6), shade, dtype=np.uint8) for shade in (10, 200)]
    tifffile.imwrite(tmp_path / "pages.tiff", np.stack(pages), photometric="minisblack")
    whole = measure(tmp_path / "pages.tiff")
    for shade, result in ((200, MATCHES_RECORD), (10, DOES_NOT_MATCH)):
        (tmp_path / "page.png").write_bytes(png([bytes([shade]) * 6] * 4, columns=6, depth=8, colour=0))
        verdict = _judge(whole, frame_proofs.prove(whole, [2]), measure(tmp_path / "page.png"))
        assert (verdict.result, verdict.facts.get("frame")) == (result, "2" if result == MATCHES_RECORD else None)


def test_frames_of_another_object_prove_nothing(measured: Callable[[bytes], Measurement]) -> None:
    """A proof made from another object, of any of its frames, is a fault of the evidence."""
    whole, other = measured(_native(*range(1, COUNT + 1))), measured(_native(*range(COUNT, 0, -1)))
    verdict = _judge(whole, frame_proofs.prove(other, [3]), measured(_native(3)))
    assert (verdict.result, letters(verdict)[12:14]) == (EVIDENCE_INVALID, "FF")
    assert "frame 3 of 30 is not in the recorded pixels" in verdict.reason


def _lie(shown: FrameProofs, **changes: Any) -> FrameProofs:
    """The proof of one frame with another index, digest or path."""
    return replace(shown, frames=(replace(shown.frames[0], **changes),))


LIES: list[Callable[[FrameProofs], FrameProofs]] = [
    lambda shown: _lie(shown, index=3),
    lambda shown: _lie(shown, index=28),
    lambda shown: _lie(shown, digest=bytes(32)),
    lambda shown: _lie(shown, path=shown.frames[0].path[::-1]),
    lambda shown: _lie(shown, path=shown.frames[0].path[:-1]),
    lambda shown: _lie(shown, path=(*shown.frames[0].path, bytes(32))),
    lambda shown: replace(shown, count=29),
    lambda shown: replace(shown, count=31),
    lambda shown: replace(shown, rung="codestream"),
]
LIE_NAMES = ["index", "far index", "digest", "order", "short", "long", "fewer", "more", "rung"]
_REASONS = [
    "frame 4 of 30 is not in",
    "the inclusion path is",
    "frame 3 of 30 is not in",
    "frame 3 of 30 is not in",
    "the inclusion path is too short",
    "the inclusion path is too long",
    "the record has 30 frames, not 29",
    "the record has 30 frames, not 31",
    "the record has no rung codestream",
]


@pytest.mark.parametrize(("lie", "reason"), list(zip(LIES, _REASONS, strict=True)), ids=LIE_NAMES)
def test_a_proof_that_lies_is_a_fault_of_the_evidence(
    measured: Callable[[bytes], Measurement], lie: Callable[[FrameProofs], FrameProofs], reason: str
) -> None:
    """Another index, digest, path, count or rung: EVIDENCE INVALID, and the image is no frame."""
    whole = measured(_native(*range(1, COUNT + 1)))
    verdict = _judge(whole, lie(frame_proofs.prove(whole, [3])), measured(_native(3)))
    assert (verdict.result, letters(verdict)[12], verdict.rung) == (EVIDENCE_INVALID, "F", None)
    assert reason in verdict.reason


_ROW: list[Any] = [2, bytes(32), [bytes(32)]]
FORMS: list[tuple[object, str]] = [
    ([], "not a map of"),
    ({"v": 1, "rung": "pixels", "count": 30}, "not a map of"),
    ({"v": 2, "rung": "pixels", "count": 30, "frames": [_ROW]}, "v: not 1"),
    ({"v": True, "rung": "pixels", "count": 30, "frames": [_ROW]}, "v: not 1"),
    ({"v": 1, "rung": "file", "count": 30, "frames": [_ROW]}, "rung: not one of pixels, codestream"),
    ({"v": 1, "rung": [], "count": 30, "frames": [_ROW]}, "rung: not one of"),
    ({"v": 1, "rung": "pixels", "count": 0, "frames": [_ROW]}, "count: not a number from 1"),
    ({"v": 1, "rung": "pixels", "count": 1 << 32, "frames": [_ROW]}, "count: not a number from 1"),
    ({"v": 1, "rung": "pixels", "count": True, "frames": [_ROW]}, "count: not a number from 1"),
    ({"v": 1, "rung": "pixels", "count": 30, "frames": []}, "frames: not an array of 1 to 256"),
    (
        {"v": 1, "rung": "pixels", "count": 1000, "frames": [[n, bytes(32), []] for n in range(257)]},
        "not an array of 1",
    ),
    ({"v": 1, "rung": "pixels", "count": 30, "frames": [_ROW, _ROW]}, "not in ascending order, each frame once"),
    ({"v": 1, "rung": "pixels", "count": 30, "frames": [[3, *_ROW[1:]], _ROW]}, "not in ascending order"),
    (
        {"v": 1, "rung": "pixels", "count": 30, "frames": [[30, *_ROW[1:]]]},
        "frames[0]: index is not a number from 0 to 29",
    ),
    ({"v": 1, "rung": "pixels", "count": 30, "frames": [[True, *_ROW[1:]]]}, "index is not a number"),
    ({"v": 1, "rung": "pixels", "count": 30, "frames": [_ROW[:2]]}, "not an array of index, digest and path"),
    ({"v": 1, "rung": "pixels", "count": 30, "frames": [[2, bytes(31), []]]}, "a digest that is not 32 bytes"),
    ({"v": 1, "rung": "pixels", "count": 30, "frames": [[2, bytes(32), ["a" * 32]]]}, "a digest that is not 32 bytes"),
    ({"v": 1, "rung": "pixels", "count": 30, "frames": [[2, bytes(32), [bytes(32)] * 33]]}, "an array of at most 32"),
]


@pytest.mark.parametrize(("content", "reason"), FORMS, ids=map(str, range(len(FORMS))))
def test_a_malformed_member_is_a_fault_of_the_evidence(
    measured: Callable[[bytes], Measurement], content: Any, reason: str
) -> None:
    """Frames twice, out of order, beyond the count, too many, or of another form are refused by name."""
    whole = measured(_native(*range(1, COUNT + 1)))
    verdict = _judge(whole, cbor.encode(content), measured(_native(3)))
    assert (verdict.result, letters(verdict)[12]) == (EVIDENCE_INVALID, "F")
    assert reason in verdict.reason


def test_a_member_beyond_its_limit_is_not_even_read() -> None:
    """Half a MiB is more than 256 proofs can take."""
    with pytest.raises(EvidenceError, match="more than 524288 bytes"):
        frame_proofs.decode(bytes(524289))


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ([0], "0 is not one of the frames, which are 1 to 30"),
        ([31], "31 is not one of the frames"),
        ([-1], "-1 is not one of"),
        ([], "0 frames, not 1 to 256"),
    ],
)
def test_frames_that_are_not_there_are_not_proven(
    measured: Callable[[bytes], Measurement], numbers: list[int], reason: str
) -> None:
    """Frames count from 1, and a proof is of one frame at least."""
    with pytest.raises(EvidenceError, match=reason):
        frame_proofs.prove(measured(_native(*range(1, COUNT + 1))), numbers)


def test_an_object_without_frames_says_why(measured: Callable[[bytes], Measurement]) -> None:
    """An object without pixel data has no frames to prove."""
    with pytest.raises(EvidenceError, match="the object has no pixel data"):
        frame_proofs.prove(measured(dicom(PATIENT)), [1])


@given(st.integers(1, 70), st.data())
def test_every_frame_of_every_count_is_proven_and_no_other(count: int, data: st.DataObject) -> None:
    """What is proven is read again, verifies under the recorded digest, and under no other count, index or digest."""
    frames = tuple(bytes([number]) * 32 for number in range(count))
    tree = reference.root([reference.leaf(frame) for frame in frames])
    root = hashlib.sha256(b"PX2-ROOT\0" + struct.pack(">Q", count) + tree).digest()
    image = Measurement(
        media="application/dicom", digests={"pixels": {SHA256: root}}, attributes={}, frame_digests=frames
    )
    number = data.draw(st.integers(1, count))
    shown = frame_proofs.decode(frame_proofs.prove(image, [number]).to_bytes())
    shown.verify(image.digests, media=image.media)
    assert list(shown.frames[0].path) == reference.inclusion_path(
        [merkle.leaf_hash(each) for each in frames], number - 1
    )
    index = data.draw(st.integers(0, count).filter(lambda each: each != number - 1))
    for lie in (_lie(shown, index=index), replace(shown, count=count + 1), _lie(shown, digest=bytes([99]) * 32)):
        with pytest.raises(ProofError):
            lie.verify(image.digests, media=image.media)
    with pytest.raises(ProofError):
        shown.verify(image.digests, media="image/tiff")


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_by_our_own_error(data: bytes) -> None:
    """Bytes that are no frame proofs never do more than be refused."""
    with pytest.raises(EvidenceError):
        frame_proofs.decode(data)


def test_what_is_written_is_read_again() -> None:
    """The member keeps every value."""
    shown = FrameProofs("codestream", 9, (ProvenFrame(0, b"a" * 32, (b"b" * 32,)), ProvenFrame(8, b"c" * 32, ())))
    assert frame_proofs.decode(shown.to_bytes()) == shown


@pytest.mark.parametrize(
    ("value", "numbers", "expected"),
    [
        (None, [3], None),
        (7, [3], 7),
        ("L", [3], "L"),
        ("1\\0\\0\\0\\1\\0", [3], "1\\0\\0\\0\\1\\0"),
        ("R\\shared \\frames 1-2 \\L\\frames 3-3 \\R", [1], "R\\shared \\frames 1-1 \\L"),
        ("R\\shared \\frames 1-2 \\L\\frames 3-3 \\R", [3], "R\\shared \\frames 1-1 \\R"),
        ("R\\shared \\frames 1-2 \\L\\frames 3-3 \\R", [1, 2], "R\\shared \\frames 1-2 \\L"),
        ("R\\shared \\frames 1-2 \\L\\frames 3-3 \\R", [2, 3], "R\\shared \\frames 1-1 \\L\\frames 2-2 \\R"),
        ("frames 1-1 \\1\\frames 2-9 \\2\\frames 10-10 \\1", [1, 10], "frames 1-2 \\1"),
        ("frames 1-1 \\1\\and \\2\\frames 2-2 ", [1], "frames 1-1 \\1\\and \\2"),
        ("frames 1-1 \\1\\and \\2\\frames 2-2 ", [2], None),
        ("top\\frames 1-1 \\1\\frames 2-2 ", [2], "top"),
        ("1\\shared \\1\\frames 1-2 ", [2], "1\\shared \\1\\frames 1-1 "),
        ("shared \\1", [2], "shared \\1"),
    ],
)
def test_an_orientation_is_cut_down_to_the_frames_shown(value: Any, numbers: list[int], expected: Any) -> None:
    """The value of V10 for some frames is that of an object with only these in its functional groups."""
    assert of_frames(value, numbers) == expected


@pytest.mark.parametrize("value", ["sha-256:" + "0" * 64, "frames 1-2 \\L"])
def test_a_value_that_does_not_tell_is_said_so(value: str) -> None:
    """A value that was hashed for its length, or that has no entry for the frame, decides nothing."""
    with pytest.raises(LookupError):
        of_frames(value, [3])


def _grouped(sides: list[str], *numbers: int) -> bytes:
    """An object whose frames have their laterality in functional groups."""
    groups = []
    for side in sides:
        leaf = element(0x00209072, "CS", text(side))
        anatomy = struct.pack("<HHI", 0xFFFE, 0xE000, len(leaf)) + leaf
        group = element(0x00209071, "SQ", anatomy)
        groups.append(struct.pack("<HHI", 0xFFFE, 0xE000, len(group)) + group)
    return _native(*numbers, header={0x52009230: ("SQ", b"".join(groups))})


@pytest.mark.parametrize(
    ("side", "result"),
    [("R", MATCHES_RECORD), ("L", DOES_NOT_MATCH), ("", DOES_NOT_MATCH)],
    ids=["right", "left", "none"],
)
def test_the_laterality_of_the_frame_shown_is_what_counts(
    measured: Callable[[bytes], Measurement], side: str, result: str
) -> None:
    """Frame 3 says R, the others L: an extract that says L, or nothing, does not match; the whole list would not either."""
    sides = ["L", "L", "R", *"L" * 27]
    whole = measured(_grouped(sides, *range(1, COUNT + 1)))
    shown = frame_proofs.prove(whole, [3])
    assert _judge(whole, shown, measured(_grouped([side], 3))).result == result
    assert _judge(whole, shown, measured(_grouped(sides, 3))).result == DOES_NOT_MATCH


def test_a_header_hashed_for_its_length_is_not_proven(measured: Callable[[bytes], Measurement]) -> None:
    """Where the recorded value cannot be cut down, the header is neither equal nor different."""
    whole = measured(_grouped(["L" + "x" * 400 + str(number) for number in range(COUNT)], *range(1, COUNT + 1)))
    assert str(whole.attributes["image_laterality"]).startswith("sha-256:")
    verdict = _judge(whole, frame_proofs.prove(whole, [3]), measured(_native(3)))
    assert (verdict.result, letters(verdict)[12:]) == (INCONCLUSIVE, "PPN")
    assert "image_laterality" in verdict.reason
