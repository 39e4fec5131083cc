"""What an object says of itself is shown when the record covers it, and Synthetic Data YES is never overlooked."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import platemark

import capture_writers as writers
from builders import MODALITY, NOW, Log, digests, measurement
from platemark import attributes, report, statement
from platemark.attributes import AttributeValue
from platemark.declared import DECLARED, declared, derivation, is_synthetic, sentences
from platemark.rungs import Measurement
from platemark.verdict import Verdict
from platemark.verify import verify

SAYS: dict[str, str] = {
    "synthetic_data": "YES",
    "image_type": "DERIVED\\SECONDARY",
    "source_image_uids": "2.25.1\\2.25.2",
    "lossy_image_compression": "01",
    "lossy_compression_ratio": "10.5\\3",
    "lossy_compression_method": "ISO_10918_1\\ISO_14495_1",
    "burned_in_annotation": "YES",
}
HEADER: dict[str, AttributeValue] = {**SAYS, "rows": 4}
WHOLE = attributes.commit(HEADER, key=bytes(32))
RUNGS = ("file", "dataset", "content", "pixels")


def _image(*same: str, header: dict[str, AttributeValue] = HEADER) -> Measurement:
    return measurement(b"scan", *same, media="application/dicom", attributes=header)


def _verdict(image: Measurement, *opened: str, trusted: bool = True, **changes: Any) -> Verdict:
    log = Log()
    log.enrol(MODALITY)
    record = log.capture(b"scan", *RUNGS, media="application/dicom", attributes=WHOLE, **changes)
    shown = log.evidence(record, enrolments=[1], disclosure=WHOLE.open(*opened) if opened else None)
    return verify(shown, trust=log.trust() if trusted else None, image=image, at=NOW)


@pytest.mark.parametrize("rung", ["file", "dataset", "content"])
def test_a_covered_header_speaks_for_itself(rung: str) -> None:
    """J5: with the whole header covered, everything that the object says of its making is shown, and only that."""
    assert _verdict(_image(rung)).object_says == SAYS


def test_content_that_does_not_cover_the_header_says_nothing_of_it() -> None:
    """J5: where content left a standard element out, only what was disclosed and is equal counts."""
    image = replace(_image("content", "pixels"), uncovered=frozenset({0x0008001C}))
    assert _verdict(image).object_says == {}
    assert _verdict(image, "image_type").object_says == {"image_type": SAYS["image_type"]}
    private = replace(_image("content", "pixels"), uncovered=frozenset({0x00091001}))
    assert _verdict(private).object_says == SAYS


def test_equal_pixels_alone_say_nothing_of_the_header() -> None:
    """J5: a header that is not covered is not quoted, whatever it says."""
    verdict = _verdict(_image("pixels"))
    assert (verdict.object_says, "says of itself" in report.to_text(verdict)) == ({}, False)
    assert "SYNTHETIC" not in report.to_text(verdict)


def test_disclosed_and_equal_is_covered() -> None:
    """J5: under equal pixels an attribute counts when it was opened and the file says the same."""
    other = {**HEADER, "image_type": "ORIGINAL\\PRIMARY"}
    verdict = _verdict(_image("pixels", header=other), "synthetic_data", "image_type", "rows")
    assert verdict.object_says == {"synthetic_data": "YES"}


@pytest.mark.parametrize(
    ("image", "trusted"),
    [(measurement(b"another"), True), (_image("file"), False)],
    ids=["another image", "nobody is trusted"],
)
def test_without_a_match_or_trust_nothing_is_said(image: Measurement, *, trusted: bool) -> None:
    """V8: what nobody vouches for is no statement of a verdict."""
    verdict = _verdict(image, *SAYS, trusted=trusted)
    assert verdict.object_says == {}
    assert "object_says" not in json.loads(report.to_json(verdict))


def test_synthetic_data_stands_at_the_top() -> None:
    """J5: a reader of five lines knows that the content is artificial; JSON has the value."""
    verdict = _verdict(_image("file"))
    first = report.to_text(verdict).splitlines()[:5]
    assert [line for line in first if "!!! SYNTHETIC DATA: the object says of itself" in line] != []
    assert json.loads(report.to_json(verdict))["object_says"] == SAYS


def test_a_synthetic_image_whose_header_was_washed_is_named() -> None:
    """J5: the record's own word for these pixels stands at the top although this file no longer says so."""
    washed = {name: value for name, value in HEADER.items() if name != "synthetic_data"}
    verdict = _verdict(_image("pixels", header=washed), "synthetic_data")
    assert verdict.object_says == {}
    assert "!!! SYNTHETIC DATA: the record says" in "\n".join(report.to_text(verdict).splitlines()[:5])


def test_parents_are_facts() -> None:
    """What the image was made from is listed by statement id, in text and in JSON."""
    parents = [bytes([1]) * 32, bytes([2]) * 32]
    verdict = _verdict(_image("file"), parents=parents, meaning="derived")
    assert json.loads(report.to_json(verdict))["facts"]["parents"] == [each.hex() for each in parents]
    assert f"{parents[0].hex()}, {parents[1].hex()}" in report.to_text(verdict)


def test_a_signer_cannot_write_lines() -> None:
    """Values are escaped like every other text of a stranger."""
    header: dict[str, AttributeValue] = {"image_type": "DERIVED\n  15 header  PASS\x1b[2J"}
    whole = attributes.commit(header, key=bytes(32))
    log = Log()
    log.enrol(MODALITY)
    record = log.capture(b"scan", *RUNGS, media="application/dicom", attributes=whole)
    verdict = verify(
        log.evidence(record, enrolments=[1]), trust=log.trust(), image=_image("file", header=header), at=NOW
    )
    text = report.to_text(verdict)
    assert [line for line in text.split("\n") if not line.isprintable()] == []


@pytest.mark.parametrize(
    ("value", "synthetic"),
    [("YES", True), (" YES", True), ("NO\\YES", True), ("NO", False), ("", False), (None, False), ("YESTERDAY", False)],
)
def test_synthetic_is_yes_among_the_values(value: AttributeValue, *, synthetic: bool) -> None:
    """A second value does not hide the first."""
    assert is_synthetic({"synthetic_data": value}) is synthetic


@pytest.mark.parametrize(
    ("value", "meaning"),
    [("ORIGINAL\\PRIMARY", "acquired"), ("DERIVED", "derived"), ("\\DERIVED", None), ("MIXED", None), (None, None)],
)
def test_image_type_says_what_a_capture_means(value: AttributeValue, meaning: str | None) -> None:
    """PS3.3 C.7.6.1.1.2: the first value alone."""
    assert derivation(value) == meaning


def test_everything_that_is_said_has_a_sentence() -> None:
    """No covered value is left out of the text."""
    text = " ".join(sentence for _, sentence in sentences(SAYS))
    for part in ("YES", "DERIVED\\SECONDARY", "2.25.1, 2.25.2", "01", "10.5 : 1, then 3 : 1", "ISO_14495_1"):
        assert part in text
    assert len(sentences(SAYS)) == len(DECLARED)
    assert sentences({}) == []


def test_nothing_is_covered_without_a_rung_or_an_image() -> None:
    """No comparison, no statement."""
    assert declared(None, _image("file"), HEADER) == {}
    assert declared("file", None, HEADER) == {}


def test_digests_of_helper_are_those_of_the_record() -> None:
    """The scenes above match on the rung that they name."""
    assert _verdict(_image("dataset")).rung == "dataset"
    assert digests(b"scan", "file") == _image("file").digests


# --- signing ----------------------------------------------------------------------------------------

URI = "https://hospital.example/ws1"


def _object(folder: Path, name: str, image_type: str | None) -> Path:
    elements = writers.image_elements(bytes(range(24)), rows=3, columns=4)
    if image_type is not None:
        elements[0x00080008] = ("CS", writers.text(image_type))
    (folder / name).write_bytes(writers.dicom(elements))
    return folder / name


@pytest.fixture(name="key")
def _key(tmp_path: Path) -> Path:
    assert platemark("keygen", tmp_path / "ws1.pem").code == 0
    return tmp_path / "ws1.pem"


def _payload(image: Path) -> dict[str, Any]:
    return dict(statement.decode(image.with_name(image.name + ".statement").read_bytes()).payload)


@pytest.mark.parametrize(
    ("image_type", "words", "meaning"),
    [
        ("ORIGINAL\\PRIMARY", (), "acquired"),
        ("DERIVED\\SECONDARY", (), "derived"),
        (None, (), None),
        (None, ("--meaning", "acquired"), "acquired"),
        ("ORIGINAL\\PRIMARY", ("--meaning", "amended"), "amended"),
    ],
)
def test_the_meaning_follows_the_object(
    tmp_path: Path, key: Path, image_type: str | None, words: tuple[str, ...], meaning: str | None
) -> None:
    """`meaning` is what Image Type says, unless another one is given that does not contradict it."""
    image = _object(tmp_path, "a.dcm", image_type)
    assert platemark("sign", image, "--key", key, "--device", URI, *words).code == 0
    assert _payload(image).get("meaning") == meaning


def test_parents_are_named_by_their_statements(tmp_path: Path, key: Path) -> None:
    """--parent takes statement files; what has parents is derived."""
    first, second = _object(tmp_path, "a.dcm", "ORIGINAL"), _object(tmp_path, "b.dcm", "ORIGINAL")
    assert platemark("sign", first, second, "--key", key, "--device", URI).code == 0
    made = _object(tmp_path, "mip.dcm", None)
    beside = [each.with_name(each.name + ".statement") for each in (first, second)]
    words = [word for each in beside for word in ("--parent", each)]
    assert platemark("sign", made, "--key", key, *words).code == 0
    ids = sorted(statement.decode(each.read_bytes()).id for each in beside)
    assert (_payload(made)["parents"], _payload(made)["meaning"]) == (ids, "derived")


@pytest.mark.parametrize(
    ("image_type", "words", "said"),
    [
        (
            "ORIGINAL\\PRIMARY",
            ("--meaning", "derived"),
            "meaning: derived, and the image type of the object is 'ORIGINAL",
        ),
        (
            "DERIVED\\PRIMARY",
            ("--meaning", "acquired"),
            "meaning: acquired, and the image type of the object is 'DERIVED",
        ),
        ("ORIGINAL\\PRIMARY", ("--parent", "a.dcm.statement"), "parents: an acquired image has none"),
        (None, ("--meaning", "acquired", "--parent", "a.dcm.statement"), "parents: an acquired image has none"),
    ],
)
def test_contradictions_are_refused(
    tmp_path: Path,
    key: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    image_type: str | None,
    words: tuple[str, ...],
    said: str,
) -> None:
    """A capture that says one thing of an object that says another is not signed."""
    monkeypatch.chdir(tmp_path)
    assert platemark("sign", _object(tmp_path, "a.dcm", None), "--key", key, "--device", URI).code == 0
    image = _object(tmp_path, "b.dcm", image_type)
    ran = platemark("sign", image, "--key", key, *words)
    assert (ran.code, said in ran.out, image.with_name("b.dcm.statement").exists()) == (1, True, False)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone.statement", "gone.statement: No such file"),
        ("junk.statement", "junk.statement: not a signed statement"),
        ("enrol.statement", "kind: a statement of kind enrol is nothing that an image is made from"),
    ],
)
def test_a_parent_that_is_no_capture_is_refused(tmp_path: Path, key: Path, name: str, said: str) -> None:
    """One line that names the file, exit code 2, and nothing is signed."""
    (tmp_path / "junk.statement").write_bytes(b"junk")
    log = Log()
    log.enrol(MODALITY)
    (tmp_path / "enrol.statement").write_bytes(log.statements[1])
    image = _object(tmp_path, "a.dcm", None)
    ran = platemark("sign", image, "--key", key, "--device", URI, "--parent", tmp_path / name)
    assert (ran.code, said in ran.err, ran.err.count("\n")) == (2, True, 1)
    assert not image.with_name("a.dcm.statement").exists()
