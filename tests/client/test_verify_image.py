"""Checks 14 and 15: which rung matches, and that true pixels under another patient's name never pass."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import MODALITY, NOW, Log, digests, letters, measurement
from platemark import attributes, rungs
from platemark.attributes import AttributeValue, Disclosure
from platemark.rungs import HEADER_BINDING, SHA256, SHA512, Measurement
from platemark.verdict import DOES_NOT_MATCH, INCONCLUSIVE, MATCHES_RECORD, Verdict
from platemark.verify import verify

DICOM_RUNGS = ("file", "dataset", "content", "pixels")
DICOM = "application/dicom"
HEADER: dict[str, AttributeValue] = {
    **dict.fromkeys(HEADER_BINDING),
    "patient_id": "4711",
    "patient_name": "Doe^Jane",
    "study_instance_uid": "2.25.1",
    "laterality": "L",
}
WHOLE = attributes.commit({**HEADER, "rows": 2048}, key=bytes(32))
OTHER_PATIENT: dict[str, AttributeValue] = {**HEADER, "patient_id": "4712", "patient_name": "Roe^Richard"}


def _judge(
    image: Measurement | None,
    *recorded: str,
    media: str = DICOM,
    disclosure: Disclosure | None = None,
    accept_pixels: bool = False,
    **changes: Any,
) -> Verdict:
    """The verdict on `image` against a capture of b"scan" with these rungs."""
    log = Log()
    log.enrol(MODALITY)
    record = log.capture(b"scan", *(recorded or DICOM_RUNGS), media=media, attributes=WHOLE, **changes)
    shown = log.evidence(record, enrolments=[1], disclosure=disclosure)
    return verify(shown, trust=log.trust(accept_pixels=accept_pixels), image=image, at=NOW)


def _image(
    *same: str,
    differing: tuple[str, ...] = (),
    header: Mapping[str, AttributeValue] = HEADER,
    uncomputed: frozenset[str] = frozenset(),
) -> Measurement:
    """A DICOM file whose rungs `same` equal the record's and whose rungs `differing` do not."""
    image = measurement(b"scan", *same, media=DICOM, attributes=header, uncomputed=uncomputed)
    found = dict(image.digests) if same else {}
    return replace(image, digests=found | {each: digests(b"another scan", each)[each] for each in differing})


@pytest.mark.parametrize(
    ("same", "rung"),
    [
        (("file", "dataset", "content", "pixels"), "file"),
        (("dataset", "content", "pixels"), "dataset"),
        (("content", "pixels"), "content"),
    ],
)
def test_a_rung_that_covers_the_header_matches(same: tuple[str, ...], rung: str) -> None:
    """The strongest rung that matches is named, and the header needs nothing more."""
    differing = tuple(each for each in DICOM_RUNGS if each not in same)
    verdict = _judge(_image(*same, differing=differing))
    assert (verdict.result, verdict.rung, letters(verdict)[13:]) == (MATCHES_RECORD, rung, "PP")
    assert verdict.reason.startswith(f"rung {rung}: ")


def test_another_image_does_not_match() -> None:
    """The evidence is sound and no rung matches: exit code 1, and no word of forgery."""
    verdict = _judge(_image(differing=DICOM_RUNGS))
    assert (verdict.result, verdict.exit_code, verdict.rung) == (DOES_NOT_MATCH, 1, None)
    assert letters(verdict) == "PPPPPPPPNNNNNFN"
    assert "no recorded digest matches (file, dataset, content, pixels)" in verdict.reason
    assert "no proof of forgery" in verdict.reason


def test_no_image_is_inconclusive() -> None:
    """The record alone can be checked; that is no match."""
    verdict = _judge(None)
    expected = (INCONCLUSIVE, "PPPPPPPPNNNNNNN", "no image was given")
    assert (verdict.result, letters(verdict), verdict.reason) == expected


def _named(verdict: Verdict) -> set[str]:
    """The attributes that the reason names."""
    return set(re.findall(r"[a-z_]+", verdict.reason)) & HEADER_BINDING


# --- pixels alone ---------------------------------------------------------------------------------

TRANSCODED = _image("pixels", differing=("file", "dataset", "content"))
RENAMED = _image("pixels", differing=("file", "dataset", "content"), header=OTHER_PATIENT)


def test_pixels_without_an_opened_header_are_inconclusive() -> None:
    """True pixels prove no header: the text says what is missing."""
    verdict = _judge(TRANSCODED)
    assert (verdict.result, verdict.exit_code, verdict.rung) == (INCONCLUSIVE, 3, "pixels")
    assert letters(verdict) == "PPPPPPPPNNNNNPN"
    assert "the pixels match, the header is not proven" in verdict.reason
    assert "patient_id" in verdict.reason


def test_pixels_with_the_whole_header_opened_and_equal_match() -> None:
    """A lossless transcode passes once patient, study, laterality and orientation are opened and equal."""
    for disclosure in (WHOLE, WHOLE.open(*HEADER_BINDING)):
        verdict = _judge(TRANSCODED, disclosure=disclosure)
        assert (verdict.result, verdict.rung, letters(verdict)) == (MATCHES_RECORD, "pixels", "PPPPPPPPNNNNPPP")


@pytest.mark.parametrize("name", sorted(HEADER_BINDING))
def test_pixels_with_one_name_not_opened_are_inconclusive(name: str) -> None:
    """Every one of the header binding set is needed, the empty ones too."""
    verdict = _judge(TRANSCODED, disclosure=WHOLE.open(*(HEADER_BINDING - {name})))
    assert (verdict.result, letters(verdict)[14]) == (INCONCLUSIVE, "N")
    assert _named(verdict) == {name}


@pytest.mark.parametrize("name", sorted(HEADER_BINDING))
@pytest.mark.parametrize("value", ["another", None, 1])
def test_pixels_with_one_differing_name_do_not_match(name: str, value: AttributeValue) -> None:
    """One opened attribute that the file contradicts is a FAIL: also one added, one removed, one of another type."""
    header = {**HEADER, name: value}
    if header == HEADER:
        header[name] = "added"
    image = _image("pixels", differing=("file", "dataset", "content"), header=header)
    verdict = _judge(image, disclosure=WHOLE)
    assert (verdict.result, verdict.exit_code, letters(verdict)[13:]) == (DOES_NOT_MATCH, 1, "PF")
    assert _named(verdict) == {name}


@pytest.mark.parametrize("accept_pixels", [False, True], ids=["strict", "pixels accepted"])
def test_true_pixels_under_another_patients_name_never_match(*, accept_pixels: bool) -> None:
    """Opened, they differ: DOES NOT MATCH, whatever the trust file accepts. Not opened: INCONCLUSIVE at best."""
    opened = _judge(RENAMED, disclosure=WHOLE.open("patient_id"), accept_pixels=accept_pixels)
    assert (opened.result, _named(opened)) == (DOES_NOT_MATCH, {"patient_id"})
    if not accept_pixels:
        assert _judge(RENAMED).result == INCONCLUSIVE


def test_a_reader_may_accept_pixels() -> None:
    """accept_pixels makes equal pixels enough, and the check says that the header is not proven."""
    verdict = _judge(TRANSCODED, accept_pixels=True)
    assert (verdict.result, verdict.rung, letters(verdict)) == (MATCHES_RECORD, "pixels", "PPPPPPPPNNNNNPP")
    assert verdict.checks[14].reason == "the header is not proven; the trust file accepts pixels alone"


def test_accepting_pixels_needs_trust_like_everything_else() -> None:
    """Without a trusted log nothing is accepted."""
    log = Log()
    log.enrol(MODALITY)
    shown = log.evidence(log.capture(b"scan", "pixels", media=DICOM), enrolments=[1])
    verdict = verify(shown, trust=None, image=TRANSCODED, at=NOW)
    assert (verdict.result, letters(verdict)[13:]) == (INCONCLUSIVE, "PN")


def test_an_opening_that_fails_clears_nothing() -> None:
    """Disclosed values that do not belong to the record are not compared: EVIDENCE INVALID."""
    forged = attributes.commit({**OTHER_PATIENT, "rows": 2048}, key=bytes(32))
    verdict = _judge(RENAMED, disclosure=forged)
    assert (verdict.exit_code, letters(verdict), dict(verdict.disclosed)) == (4, "PPPPPPPPNNNNFPN", {})


def test_a_measurement_without_a_header_name_proves_nothing_about_it() -> None:
    """A name that the measurement lacks is not proven, not equal and not an error."""
    header = {name: value for name, value in HEADER.items() if name != "laterality"}
    image = _image("pixels", differing=("file",), header=header)
    verdict = _judge(image, disclosure=WHOLE)
    assert (verdict.result, _named(verdict)) == (INCONCLUSIVE, {"laterality"})


@pytest.mark.parametrize("rung", ["pixels", "codestream"])
def test_a_picture_names_no_patient(rung: str) -> None:
    """Equal pixels of a PNG match; the check says that the file's metadata is not covered."""
    image = measurement(b"photo", "file", rung)
    log = Log()
    log.enrol(MODALITY)
    record = log.capture(b"photo", "file", rung)
    changed = replace(image, digests={**digests(b"other", "file"), rung: image.digests[rung]})
    verdict = verify(log.evidence(record, enrolments=[1]), trust=log.trust(), image=changed, at=NOW)
    assert (verdict.result, verdict.rung) == (MATCHES_RECORD, rung)
    assert "metadata is not covered" in verdict.checks[14].reason


def test_dicom_codestreams_need_the_header_too() -> None:
    """A lossy DICOM file has codestream for pixels; it clears no header either."""
    image = _image("codestream", differing=("file", "dataset"))
    recorded = ("file", "dataset", "codestream")
    assert _judge(image, *recorded).result == INCONCLUSIVE
    assert _judge(image, *recorded, disclosure=WHOLE).result == MATCHES_RECORD


# --- content ----------------------------------------------------------------------------------------

PIXEL_DATA, LATERALITY, PRIVATE = 0x7FE00010, 0x00200060, 0x00091001
FRAMES = ("pixels", "codestream")


@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("doubt", [{"encapsulated": True}, {"uncovered": frozenset({PIXEL_DATA})}])
def test_content_of_compressed_frames_never_matches_beside_frames_that_differ(
    frames: str, doubt: dict[str, Any]
) -> None:
    """The borders of fragments are ambiguous in `content`: moved ones leave it equal and change the frames."""
    image = replace(_image("content", differing=("file", "dataset", frames)), **doubt)
    verdict = _judge(image, "file", "dataset", "content", frames)
    assert (verdict.result, verdict.rung) == (DOES_NOT_MATCH, None)


@pytest.mark.parametrize("frames", FRAMES)
def test_content_of_compressed_frames_matches_beside_equal_frames(frames: str) -> None:
    """With the frames equal too, `content` is named, and it covers the header."""
    image = replace(_image("content", frames, differing=("file", "dataset")), encapsulated=True)
    verdict = _judge(image, "file", "dataset", "content", frames)
    assert (verdict.result, verdict.rung, letters(verdict)[13:]) == (MATCHES_RECORD, "content", "PP")


@pytest.mark.parametrize("doubt", [{"encapsulated": True}, {"uncovered": frozenset({PIXEL_DATA})}])
def test_content_of_compressed_frames_alone_is_inconclusive(doubt: dict[str, Any]) -> None:
    """Where no rung of frames is recorded, or this machine cannot compute it, equal `content` settles nothing."""
    image = replace(_image("content", differing=("file", "dataset")), **doubt)
    verdict = _judge(image, "file", "dataset", "content")
    assert (verdict.result, verdict.rung, letters(verdict)[13]) == (INCONCLUSIVE, None, "N")
    assert "no recorded rung proves" in verdict.reason
    missing = replace(_image("content", differing=("file",), uncomputed=frozenset({"pixels"})), **doubt)
    assert (_judge(missing).result, _judge(missing).rung) == (INCONCLUSIVE, None)
    assert "rung pixels is recorded and could not be computed here" in _judge(missing).reason


def test_content_that_differs_settles_nothing_where_elements_lost_their_type() -> None:
    """A private element of implicit VR is not covered: the original may have covered it."""
    image = _image(differing=("file", "dataset", "content"))
    recorded = ("file", "dataset", "content")
    assert _judge(image, *recorded).result == DOES_NOT_MATCH
    lost = _judge(replace(image, uncovered=frozenset({PRIVATE})), *recorded)
    assert (lost.result, letters(lost)[13]) == (INCONCLUSIVE, "N")
    assert "does not cover elements whose type the encoding lost ((0009,1001))" in lost.reason


def test_content_clears_no_header_of_which_it_leaves_elements_out() -> None:
    """A standard element of unknown type is not covered: the header binding has to be opened, as for pixels."""
    image = _image("content", "pixels", differing=("file", "dataset"))
    for uncovered, result in ((PRIVATE, MATCHES_RECORD), (LATERALITY, INCONCLUSIVE)):
        verdict = _judge(replace(image, uncovered=frozenset({uncovered})))
        assert (verdict.result, verdict.rung) == (result, "content")
    doubtful = replace(image, uncovered=frozenset({LATERALITY}))
    assert "the content matches, the header is not proven" in _judge(doubtful).reason
    assert _judge(doubtful, disclosure=WHOLE).result == MATCHES_RECORD
    moved = replace(doubtful, attributes={**HEADER, "laterality": "R"})
    assert _judge(moved, disclosure=WHOLE).result == DOES_NOT_MATCH


# --- what could not be computed -------------------------------------------------------------------


@pytest.mark.parametrize(("rung", "recorded"), [("content", DICOM_RUNGS[:3]), ("pixels", DICOM_RUNGS)])
def test_a_missing_decoder_is_inconclusive(rung: str, recorded: tuple[str, ...]) -> None:
    """Where a recorded rung could not be computed, no match is no result: the reason is the measurement's."""
    differing = tuple(each for each in recorded if each != rung)
    image = _image(differing=differing, uncomputed=frozenset({rung}))
    verdict = _judge(image, *recorded)
    assert (verdict.result, letters(verdict)) == (INCONCLUSIVE, "PPPPPPPPNNNNNNN")
    assert verdict.reason == f"rung {rung} is recorded and could not be computed here: the decoder is not installed"


@pytest.mark.parametrize("rung", ["dataset", "content"])
@pytest.mark.parametrize("frames", ["pixels", "codestream"])
def test_frames_that_differ_settle_what_could_not_be_computed(rung: str, frames: str) -> None:
    """Whatever rung is missing here, it covers the frames too: where they differ, it would differ."""
    recorded = ("file", "dataset", "content", frames)
    differing = tuple(each for each in recorded if each != rung)
    image = _image(differing=differing, uncomputed=frozenset({rung}))
    assert _judge(image, *recorded).result == DOES_NOT_MATCH


def test_a_missing_decoder_of_another_kind_of_picture_is_inconclusive() -> None:
    """A TIFF may hold the recorded PNG's pixels: their rung is one, so the missing decoder leaves it open."""
    image = replace(_image(differing=("file",), uncomputed=frozenset({"pixels"})), media="image/tiff")
    verdict = _judge(image, "file", "pixels", media="image/png")
    assert (verdict.result, letters(verdict)[13]) == (INCONCLUSIVE, "N")


@pytest.mark.parametrize(("measured", "recorded"), [("image/png", DICOM), (DICOM, "image/png")])
def test_a_missing_decoder_of_dicom_and_a_picture_does_not_matter(measured: str, recorded: str) -> None:
    """DICOM and pictures share no rung: a picture that could not be decoded is still not the recorded radiograph."""
    image = replace(_image(differing=("file",), uncomputed=frozenset({"pixels"})), media=measured)
    assert _judge(image, "file", "pixels", media=recorded).result == DOES_NOT_MATCH


def test_a_missing_decoder_does_not_matter_when_a_stronger_rung_matches() -> None:
    """The whole file is the recorded one: nothing more is needed."""
    image = _image("file", uncomputed=frozenset({"pixels"}))
    assert _judge(image).result == MATCHES_RECORD


def test_a_rung_that_was_not_recorded_does_not_matter() -> None:
    """The decoder is missing for a rung that the record does not have: no match is a result."""
    image = _image(differing=("file",), uncomputed=frozenset({"pixels"}))
    assert _judge(image, "file").result == DOES_NOT_MATCH


# --- hash algorithms ------------------------------------------------------------------------------


def _mixed(rung: str, algorithm: int) -> Measurement:
    """The recorded image, but for one digest of one rung under one algorithm."""
    image = _image(*DICOM_RUNGS)
    other = digests(b"another scan", *DICOM_RUNGS)[rung][algorithm]
    return replace(image, digests={**image.digests, rung: {**image.digests[rung], algorithm: other}})


@pytest.mark.parametrize("algorithm", [SHA256, SHA512])
@pytest.mark.parametrize("rung", DICOM_RUNGS)
def test_hash_algorithms_that_contradict_each_other_are_inconclusive(rung: str, algorithm: int) -> None:
    """One of the algorithms is broken or the record is: no rung is trusted, not even a stronger one that matches."""
    verdict = _judge(_mixed(rung, algorithm))
    assert (verdict.result, verdict.rung, letters(verdict)) == (INCONCLUSIVE, None, "PPPPPPPPNNNNNNN")
    assert f"contradict each other on rung {rung}" in verdict.reason


def test_one_common_algorithm_is_enough() -> None:
    """A record with SHA-256 alone, as an older or a small device writes it."""
    image = _image("file")
    only = {"file": {SHA256: image.digests["file"][SHA256]}}
    assert _judge(replace(image, digests=only)).result == MATCHES_RECORD
    assert _judge(image, "file", digests=only).result == MATCHES_RECORD


def test_sha512_alone_is_no_match() -> None:
    """SHA-256 is always there; a measurement without it was not made by these rules."""
    image = _image("file")
    only = {"file": {SHA512: image.digests["file"][SHA512]}}
    assert _judge(replace(image, digests=only), "file").result == DOES_NOT_MATCH


_SOME = st.dictionaries(st.sampled_from([SHA256, SHA512, -43]), st.sampled_from([b"a", b"b"]), max_size=3)
_DIGESTS = st.dictionaries(st.sampled_from([*rungs.RUNGS, "thumbnail"]), _SOME, max_size=4)


@given(_DIGESTS, _DIGESTS)
def test_a_match_is_symmetric_and_rests_on_sha256(
    ours: dict[str, dict[int, bytes]], theirs: dict[str, dict[int, bytes]]
) -> None:
    """Whichever side is the record, the outcome is one; a rung that matches agrees on every common algorithm."""
    match = rungs.strongest_match(ours, theirs)
    assert match == rungs.strongest_match(theirs, ours)
    if match.rung is not None:
        common = ours[match.rung].keys() & theirs[match.rung].keys()
        assert SHA256 in common
        assert [ours[match.rung][each] for each in common] == [theirs[match.rung][each] for each in common]
        assert match.conflict is None


def test_equal_content_does_not_outweigh_frames_that_differ() -> None:
    """Where both sides have frames and they differ, the image does not match, whatever the elements say."""
    verdict = _judge(_image("content", differing=("file", "dataset", "pixels")))
    assert (verdict.result, verdict.rung) == (DOES_NOT_MATCH, None)


def test_a_match_on_content_says_what_it_does_not_cover() -> None:
    """A window that somebody added as UN is not under the rung, and the first words of the report say so."""
    image = replace(_image("content", "pixels"), uncovered=frozenset({0x00281050, 0x00281051}))
    verdict = _judge(image, disclosure=WHOLE.open(*HEADER_BINDING))
    assert (verdict.result, verdict.rung) == (MATCHES_RECORD, "content")
    assert "not covered: (0028,1050) and 1 more" in verdict.reason
