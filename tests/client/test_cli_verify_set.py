"""`platemark verify` on folders: every image finds its evidence by digest, and who is missing or extra is named."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import platemark, png
from pydicom.data import get_testdata_file
from sets import STUDY, UIDS, Study, dicomdir, instance_of, record, slice_of

import capture_writers as writers
from builders import NOW
from platemark import evidence, frame_proofs
from platemark.capture import measure
from platemark.report import json_text
from platemark.rungs import HEADER_BINDING

AT = str(NOW + 1)


@pytest.fixture(name="study")
def _study(tmp_path: Path) -> Study:
    """Three recorded slices with their evidence in a folder of its own, under names that say nothing."""
    made = Study(tmp_path)
    for number in range(1, 4):
        made.capture(f"slice{number}.dcm", slice_of(number))
    made.keep()
    for number, path in enumerate(sorted(made.evidence.iterdir(), reverse=True)):
        path.rename(made.evidence / f"{number}.evidence")
    return made


def results(content: Any) -> dict[str, str]:
    """The result of every image by name."""
    return {each["name"]: each["result"] for each in content["images"]}


def test_a_whole_set_matches(study: Study) -> None:
    """Every image has its record and every record its image, whatever the bundles are called: exit code 0."""
    ran = study.verify("--json")
    found = ran.json()
    assert (ran.code, ran.err, found["result"], found["exit_code"]) == (0, "", "ALL MATCH", 0)
    assert set(results(found).values()) == {"MATCHES RECORD"}
    assert {each["rung"] for each in found["images"]} == {"file"}
    assert found["studies"] == {STUDY: {"records": 3, "matching": 3, "missing": []}}
    assert [found[each] for each in ("missing", "extra", "invalid", "duplicates", "further", "unreadable")] == [[]] * 6


def test_the_table_has_a_line_for_each_image(study: Study) -> None:
    """Name, result, rung and what the file says of its place; the verdict on the set stands below."""
    ran = study.verify()
    lines = ran.out.splitlines()
    rows = [line for line in lines if line.startswith("slice")]
    assert [line.split()[0] for line in rows] == ["slice1.dcm", "slice2.dcm", "slice3.dcm"]
    assert all("MATCHES RECORD" in line and "CT series" in line and "no. " in line for line in rows)
    assert "ALL MATCH" in lines
    assert "3 of 3 images match their records" in lines
    assert f"Study {STUDY} (disclosed): 3 of 3 records have their image here" in lines
    assert "cannot be missed here" in ran.out


def test_a_missing_image_is_named(study: Study) -> None:
    """Evidence without its image: the set differs, and the record's own disclosed instance names the image."""
    (study.images / "slice2.dcm").unlink()
    ran = study.verify("--json")
    found = ran.json()
    assert (ran.code, found["result"]) == (1, "DIFFERS")
    assert [(each["sound"], each["disclosed"]["sop_instance_uid"]) for each in found["missing"]] == [
        (True, instance_of(2))
    ]
    assert found["studies"][STUDY] == {"records": 3, "matching": 2, "missing": [instance_of(2)]}
    assert f"image {instance_of(2)}" in study.verify().out


def test_an_extra_image_is_named(study: Study) -> None:
    """An image that no evidence speaks of."""
    study.put("other.dcm", slice_of(9))
    ran = study.verify("--json")
    assert (ran.code, ran.json()["extra"], results(ran.json())["other.dcm"]) == (1, ["other.dcm"], "NO EVIDENCE")


def test_duplicates_are_named(study: Study) -> None:
    """Two files with one record are no fault, and are told."""
    shutil.copy(study.images / "slice1.dcm", study.images / "copy.dcm")
    ran = study.verify("--json")
    assert (ran.code, [each["images"] for each in ran.json()["duplicates"]]) == (0, [["copy.dcm", "slice1.dcm"]])
    assert "copy.dcm, slice1.dcm" in study.verify().out


def test_an_altered_image_does_not_match_its_record(study: Study) -> None:
    """Changed pixels under the recorded instance: the image differs, and is not one missing and one extra."""
    study.put("slice2.dcm", slice_of(2, pixels=bytes(24)))
    ran = study.verify("--json")
    found = ran.json()
    assert (ran.code, found["missing"], found["extra"]) == (1, [], [])
    assert results(found)["slice2.dcm"] == "DOES NOT MATCH"


def test_an_altered_picture_is_found_by_its_name(tmp_path: Path) -> None:
    """A picture has no instance: the bundle called IMAGE.evidence is meant for it, and never makes it match."""
    study = Study(tmp_path)
    study.capture("a.png", png())
    study.keep()
    study.put("a.png", png(shade=9))
    ran = study.verify("--json")
    assert (ran.code, results(ran.json()), ran.json()["missing"]) == (1, {"a.png": "DOES NOT MATCH"}, [])


def test_evidence_beside_the_images_is_the_default(study: Study) -> None:
    """Without --evidence the bundles of the folder itself are used."""
    for path in study.evidence.iterdir():
        path.rename(study.images / path.name)
    ran = platemark("verify", study.images, "--trust", study.trust, "--at", AT, "--json")
    assert (ran.code, len(ran.json()["images"])) == (0, 3)


def test_one_bundle_may_be_the_evidence(study: Study) -> None:
    """A single bundle is a set of evidence too; the other images are extra."""
    ran = study.verify("--json", evidence=study.evidence / "0.evidence")
    assert (ran.code, ran.json()["extra"]) == (1, ["slice1.dcm", "slice2.dcm"])


def test_forgotten_evidence_is_asked_for(study: Study) -> None:
    """Where no image has evidence, the report says how to name it."""
    ran = platemark("verify", study.images, "--trust", study.trust)
    assert (ran.code, "or --evidence names its folder or ZIP" in ran.out) == (1, True)
    assert "--evidence" not in study.verify().out


def test_without_trust_nothing_matches(study: Study) -> None:
    """No trust file: nothing is settled, exit code 3."""
    ran = platemark("verify", study.images, "--evidence", study.evidence, "--json")
    assert (ran.code, ran.json()["result"], set(results(ran.json()).values())) == (3, "INCONCLUSIVE", {"INCONCLUSIVE"})


@pytest.mark.parametrize("claimed", [True, False], ids=["of an image", "of nothing here"])
def test_invalid_evidence_comes_first(study: Study, *, claimed: bool) -> None:
    """One bundle that fails by itself makes the set EVIDENCE INVALID, with or without its image."""
    study.capture("forged.dcm", slice_of(7))
    lying = study.bundle("forged.dcm", signed=study.log.checkpoint(root=bytes(32)))
    (study.evidence / "forged.evidence").write_bytes(lying)
    if not claimed:
        (study.images / "forged.dcm").unlink()
    ran = study.verify("--json")
    found = ran.json()
    assert (ran.code, found["result"]) == (4, "EVIDENCE INVALID")
    assert (results(found).get("forged.dcm"), len(found["invalid"])) == (
        ("EVIDENCE INVALID", 0) if claimed else (None, 1)
    )


def test_a_bundle_that_cannot_be_read_is_named(study: Study) -> None:
    """Broken evidence is no verdict: named with its reason, and the set is not settled."""
    (study.evidence / "broken.evidence").write_bytes(b"PK junk")
    cut = (study.evidence / "0.evidence").read_bytes()
    (study.evidence / "mended.evidence").write_bytes(cut.replace(b"This is a Platemark", b"This is b Platemark"))
    ran = study.verify("--json")
    found = ran.json()
    assert (ran.code, found["result"]) == (3, "INCONCLUSIVE")
    assert [each["evidence"] for each in found["unreadable"]] == ["broken.evidence", "mended.evidence"]


def test_two_records_of_one_image_are_both_told(study: Study) -> None:
    """A second record of an image that is here is no missing image."""
    study.capture("again.dcm", slice_of(1))
    (study.images / "again.dcm").unlink()
    study.keep("again.dcm")
    ran = study.verify("--json")
    assert (ran.code, [each["image"] for each in ran.json()["further"]]) == (0, ["slice1.dcm"])


def test_a_record_from_before_a_transcode_is_told(study: Study) -> None:
    """The modality's record of the same instance, made before a hop re-encoded the object, is no missing image."""
    study.capture("hop.dcm", slice_of(1, syntax=writers.IMPLICIT))
    (study.images / "hop.dcm").unlink()
    study.keep("hop.dcm")
    ran = study.verify("--json")
    assert (ran.code, [each["image"] for each in ran.json()["further"]]) == (0, ["slice1.dcm"])


def test_images_of_one_colour_do_not_take_each_others_records(tmp_path: Path) -> None:
    """Equal pixels in several instances: disclosed headers and instances decide, and the one that lacks is missing."""
    study = Study(tmp_path)
    for number in (1, 2, 3):
        study.capture(f"{number}.dcm", slice_of(number, pixels=bytes(24)))
    study.keep(header=True)
    for number in (1, 2):
        study.put(f"{number}.dcm", slice_of(number, pixels=bytes(24), syntax=writers.DEFLATED))
    (study.images / "3.dcm").unlink()
    found = study.verify("--json").json()
    assert [each["disclosed"]["sop_instance_uid"] for each in found["missing"]] == [instance_of(3)]
    assert {each["evidence"] for each in found["images"]} == {"1.dcm.evidence", "2.dcm.evidence"}


def test_synthetic_images_stand_out(tmp_path: Path) -> None:
    """An image that calls itself artificial is marked in its line and named below."""
    study = Study(tmp_path)
    study.capture("a.dcm", slice_of(1, more={0x0008001C: ("CS", b"YES ")}))
    study.capture("b.dcm", slice_of(2, more={0x0008001C: ("CS", b"NO")}))
    study.keep()
    ran = study.verify()
    rows = [line for line in ran.out.splitlines() if line.startswith(("a.dcm", "b.dcm"))]
    assert ["SYNTHETIC DATA" in line for line in rows] == [True, False]
    assert "!!! SYNTHETIC DATA" in ran.out
    assert [each["synthetic"] for each in study.verify("--json").json()["images"]] == [True, False]


def test_json_holds_every_verdict(study: Study) -> None:
    """--json has for each image what `verify --json` of that image alone says, byte for byte the same each time."""
    first, second = study.verify("--json"), study.verify("--json")
    assert first.out == second.out
    assert first.out == json_text(first.json()) + "\n"
    for each in first.json()["images"]:
        alone = platemark(
            *("verify", study.images / each["name"], "--evidence", study.evidence / each["evidence"]),
            *("--trust", study.trust, "--at", first.json()["at"], "--json"),
        )
        assert alone.json() == each["verdict"]


def test_other_files_are_set_aside(study: Study) -> None:
    """What is no image is listed and changes nothing; our own files are not looked at."""
    study.put("readme.txt", b"text")
    study.put("slice1.dcm.statement", b"ours")
    ran = study.verify("--json")
    assert (ran.code, ran.json()["set_aside"]) == (0, ["readme.txt"])


def test_evidence_of_a_key_is_no_missing_image(study: Study) -> None:
    """A bundle whose record is no capture is set aside."""
    (study.evidence / "key.evidence").write_bytes(study.log.evidence(1, enrolments=[]).to_bytes())
    ran = study.verify("--json")
    assert (ran.code, ran.json()["set_aside"]) == (0, ["key.evidence"])


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda _: None, "empty: no image and no evidence was found"),
        (lambda path: (path.parent / "x.evidence").write_bytes(Path(path.parent / "real").read_bytes()), ""),
    ],
    ids=["empty", "bundle"],
)
def test_nothing_to_verify_is_one_line(study: Study, prepare: Any, said: str) -> None:
    """An empty folder, or evidence where the image belongs: exit code 2."""
    target = study.folder / "empty"
    target.mkdir()
    shutil.copy(study.evidence / "0.evidence", study.folder / "real")
    prepare(target)
    if not said:
        target, said = study.folder / "x.evidence", "x.evidence: is evidence; name the image"
    ran = study.verify(target=target, evidence=target)
    assert (ran.code, ran.out, said in ran.err, ran.err.count("\n")) == (2, "", True, 1)


def test_evidence_that_is_not_there_is_one_line(study: Study) -> None:
    """A wrong path is no set of evidence: exit code 2."""
    ran = study.verify(evidence=study.folder / "gone")
    assert (ran.code, "gone: No such file or directory" in ran.err, ran.err.count("\n")) == (2, True, 1)


def test_a_name_cannot_write_lines(study: Study) -> None:
    """File names are escaped in the table and below it."""
    study.put("x\x1b[2J\n.dcm", slice_of(8))
    ran = study.verify()
    assert [line for line in ran.out.split("\n") if not line.isprintable()] == []


def test_verification_of_a_set_opens_no_socket(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole command runs with sockets taken away."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("verification opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    assert study.verify().code == 0


def test_single_frames_find_the_evidence_that_shows_them(tmp_path: Path) -> None:
    """One frame of a recorded cine, alone in a file: the bundle that shows this frame is its evidence, and says which."""
    study = Study(tmp_path)
    pixels = [bytes([number]) * 24 for number in range(3)]

    def cine(*frames: bytes) -> bytes:
        more = writers.image_elements(b"".join(frames), rows=3, columns=4, frames=len(frames))
        return slice_of(1, more=more)

    whole = study.capture("cine.dcm", cine(*pixels))
    kept = study.bundle("cine.dcm", opened=(*UIDS, *HEADER_BINDING))
    shown = evidence.from_bytes(kept).with_frames(frame_proofs.prove(measure(whole), [2]).to_bytes())
    (study.evidence / "second.evidence").write_bytes(shown.to_bytes())
    whole.unlink()
    study.put("one.dcm", cine(pixels[1]))
    study.put("other.dcm", cine(pixels[2]))
    found = study.verify("--json").json()
    assert results(found) == {"one.dcm": "MATCHES RECORD", "other.dcm": "NO EVIDENCE"}
    assert found["images"][0]["verdict"]["facts"]["frame"] == "2"
    row = next(line for line in study.verify().out.splitlines() if line.startswith("one.dcm"))
    assert "frame 2 of the record" in row
    assert "Only some frames of a recorded image:\n  one.dcm: frame 2\n" in study.verify().out


def test_a_copy_with_another_header_is_found_by_its_pixels(tmp_path: Path) -> None:
    """An element was added and the encoding changed: pixels lead to the evidence, and the opened header clears it."""
    study = Study(tmp_path)
    study.capture("a.dcm", slice_of(1))
    study.keep(header=True)
    study.put("a.dcm", slice_of(1, syntax=writers.DEFLATED, more={0x00081040: ("LO", b"Archive ")}))
    ran = study.verify("--json")
    assert (ran.code, ran.json()["images"][0]["rung"]) == (0, "pixels")


# --- ZIP ------------------------------------------------------------------------------------------


def _zipped(folder: Path, target: Path, *, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(target, "w", method) as archive:
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            archive.write(path, path.relative_to(folder).as_posix())
    return target


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_is_a_folder(study: Study, method: int) -> None:
    """Images and evidence as ZIP files have the verdict that the folders have."""
    images = _zipped(study.images, study.folder / "images.zip", method=method)
    evidence = _zipped(study.evidence, study.folder / "evidence.zip", method=method)
    assert study.verify("--json", target=images, evidence=evidence).out == study.verify("--json").out


def test_a_zip_may_hold_its_evidence(study: Study) -> None:
    """Without --evidence the bundles in the ZIP are used."""
    for path in study.evidence.iterdir():
        path.rename(study.images / path.name)
    target = _zipped(study.images, study.folder / "all.zip")
    assert platemark("verify", target, "--trust", study.trust, "--at", AT).code == 0


def test_a_damaged_member_is_one_image(study: Study) -> None:
    """A member with another CRC is UNREADABLE and named; the others have their verdicts."""
    target = _zipped(study.images, study.folder / "images.zip", method=zipfile.ZIP_STORED)
    content = slice_of(2)
    raw = target.read_bytes()
    assert raw.count(content) == 1
    target.write_bytes(raw.replace(content, content[:-1] + b"\xff"))
    ran = study.verify("--json", target=target)
    assert (ran.code, sorted(results(ran.json()).values())) == (1, ["MATCHES RECORD", "MATCHES RECORD", "UNREADABLE"])
    assert "CRC-32" in next(each["reason"] for each in ran.json()["images"] if each["result"] == "UNREADABLE")


def test_an_encrypted_zip_is_refused_by_name(study: Study) -> None:
    """The member is named, and what to do is said: exit code 2."""
    target = _zipped(study.images, study.folder / "images.zip", method=zipfile.ZIP_STORED)
    raw = bytearray(target.read_bytes())
    at = raw.index(b"PK\1\2")
    raw[at + 8] |= 1
    target.write_bytes(raw)
    ran = study.verify(target=target)
    assert (ran.code, "'slice1.dcm': is encrypted" in ran.err, ran.err.count("\n")) == (2, True, 1)


def test_a_dicom_file_with_a_zip_in_its_preamble_is_an_image(study: Study) -> None:
    """What begins as a ZIP file and is a DICOM file is verified as the image that it is."""
    image = study.capture("poly.dcm", b"PK\3\4" + slice_of(5)[4:])
    study.keep("poly.dcm")
    ran = study.verify("--json", target=image, evidence=study.evidence / "poly.dcm.evidence")
    assert (ran.code, ran.json()["rung"]) == (0, "file")


def _marked(raw: bytes) -> bytes:
    """The file with the SOP class of a DICOMDIR in its file meta information."""
    mark = writers.element(0x00020002, "UI", b"1.2.840.10008.1.3.10")
    length = int.from_bytes(raw[140:144], "little") + len(mark)
    return raw[:140] + length.to_bytes(4, "little") + mark + raw[144:]


# --- DICOMDIR -------------------------------------------------------------------------------------


def _disc(study: Study, *more: bytes) -> Path:
    """The images as a patient CD with a viewer."""
    records = []
    for number in range(1, 4):
        (study.images / "DICOM").mkdir(exist_ok=True)
        (study.images / f"slice{number}.dcm").rename(study.images / "DICOM" / f"IM{number:06}")
        records.append(record(f"DICOM\\IM{number:06}", instance=instance_of(number)))
    study.put("DICOMDIR", dicomdir(record(None, kind="PATIENT"), *records, *more))
    study.put("viewer/logo.png", png())
    study.put("viewer/start.exe", b"MZ")
    return study.images / "DICOMDIR"


@pytest.mark.parametrize("explicit", [True, False])
def test_a_patient_cd_matches(study: Study, *, explicit: bool) -> None:
    """The DICOMDIR's files are all there and match; the viewer's files are set aside."""
    target = _disc(study)
    ran = study.verify("--json", target=target if explicit else study.images)
    found = ran.json()
    assert (ran.code, len(found["images"]), found["directory"]["files"]) == (0, 3, 3)
    assert found["set_aside"] == ["viewer/start.exe", "DICOMDIR", "viewer/logo.png"]
    assert "DICOMDIR names 3 files, 3 of them are here" in study.verify(target=target).out


def test_a_file_that_the_cd_lacks_is_named(study: Study) -> None:
    """What the DICOMDIR names and is not there differs, also when nobody handed over evidence of it."""
    _disc(study, record("DICOM\\IM000009", instance="2.25.99"))
    ran = study.verify("--json")
    assert (ran.code, ran.json()["missing"]) == (1, [])
    assert [(each["path"], each["sop_instance_uid"]) for each in ran.json()["directory"]["missing"]] == [
        ("DICOM/IM000009", "2.25.99")
    ]


def test_a_file_that_the_dicomdir_does_not_name_is_named(study: Study) -> None:
    """A recorded image beside the DICOMDIR's own is unreferenced."""
    _disc(study)
    study.capture("DICOM/IM000004", slice_of(4))
    study.keep("DICOM/IM000004")
    ran = study.verify("--json")
    assert (ran.code, ran.json()["directory"]["unreferenced"]) == (1, ["DICOM/IM000004"])


def test_another_object_than_the_dicomdir_says_is_named(study: Study) -> None:
    """Two files changed places: each matches its record, and neither is what the DICOMDIR says."""
    _disc(study)
    one, two, spare = (study.images / "DICOM" / name for name in ("IM000001", "IM000002", "spare"))
    one.rename(spare), two.rename(one), spare.rename(two)
    ran = study.verify("--json")
    assert ran.code == 1
    assert set(results(ran.json()).values()) == {"MATCHES RECORD"}
    assert [each["name"] for each in ran.json()["directory"]["another_object"]] == ["DICOM/IM000001", "DICOM/IM000002"]


def test_an_image_does_not_pass_for_a_dicomdir(study: Study) -> None:
    """An image that nobody recorded is extra, also when its file meta information says that it is a directory."""
    study.put("sly.dcm", _marked(slice_of(6)))
    assert study.verify("--json").json()["extra"] == ["sly.dcm"]


def test_a_disc_in_lower_case_is_read(study: Study) -> None:
    """File systems of discs change the case of names."""
    _disc(study)
    (study.images / "DICOM").rename(study.images / "dicom")
    (study.images / "DICOMDIR").rename(study.images / "dicomdir")
    assert study.verify().code == 0


def test_a_broken_dicomdir_leaves_the_set_unsettled(study: Study) -> None:
    """Found in the folder it is named and the set is inconclusive; asked for by name it is exit code 2."""
    target = _disc(study)
    target.write_bytes(target.read_bytes()[:-3])
    ran = study.verify("--json")
    assert (ran.code, "truncated" in ran.json()["directory"]["fault"]) == (3, True)
    ran = study.verify(target=target)
    assert (ran.code, ran.err.startswith("platemark: DICOMDIR: truncated")) == (2, True)


def test_a_dicomdir_leads_nowhere_else(study: Study) -> None:
    """A File ID that climbs out of the disc is refused by name."""
    _disc(study, record("..\\..\\ETC\\PASSWD"))
    ran = study.verify("--json")
    assert (ran.code, "is refused" in json.dumps(ran.json()["directory"]["fault"])) == (3, True)


def test_a_disc_that_dcmtk_made_is_read(tmp_path: Path, require: Callable[[str], Path]) -> None:
    """A DICOMDIR of real images by another writer: every file is named, here, and the object that it says."""
    study = Study(tmp_path)
    for number, name in enumerate(("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm")):
        study.capture(f"DICOM/IM{number}", Path(str(get_testdata_file(name))).read_bytes())
    study.keep()
    command: list[str | Path] = [require("dcmmkdir"), "+r", "+id", ".", "-Nxc"]
    subprocess.run(command, cwd=study.images, check=True, capture_output=True)
    ran = study.verify("--json")
    directory = ran.json()["directory"]
    assert [directory[each] for each in ("missing", "unreferenced", "another_object", "named_twice")] == [[]] * 4
    assert (ran.code, directory["files"], len(ran.json()["images"])) == (0, 3, 3)
    (study.images / "DICOM" / "IM1").unlink()
    ran = study.verify("--json")
    assert (ran.code, [each["path"] for each in ran.json()["directory"]["missing"]]) == (1, ["DICOM/IM1"])


# --- what other readers would open ------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".statement", ".tmp", ".pem"])
def test_the_suffix_of_our_own_files_hides_no_image(study: Study, suffix: str) -> None:
    """Viewers open files by their content, and so an image that nobody recorded is extra under any name."""
    study.put(f"slice9{suffix}", slice_of(9))
    ran = study.verify("--json")
    assert (ran.code, ran.json()["extra"]) == (1, [f"slice9{suffix}"])


@pytest.mark.parametrize(
    "raw",
    [
        slice_of(9)[132:],
        slice_of(9)[128:],
        slice_of(9)[len(writers.file_meta(writers.EXPLICIT)) :],
        slice_of(9, syntax=writers.IMPLICIT)[len(writers.file_meta(writers.IMPLICIT)) :],
        slice_of(9, syntax=writers.BIG)[len(writers.file_meta(writers.BIG)) :],
    ],
    ids=["no DICM", "no preamble", "explicit", "implicit", "big endian"],
)
def test_a_data_set_without_its_head_leaves_the_set_unsettled(study: Study, raw: bytes) -> None:
    """What is no DICOM file and is opened by many readers all the same is not passed over."""
    study.put("slice9.dcm", raw)
    ran = study.verify("--json")
    assert (ran.code, results(ran.json())["slice9.dcm"]) == (3, "UNREADABLE")


def test_a_link_to_a_folder_leaves_the_set_unsettled(study: Study, tmp_path: Path) -> None:
    """It is not followed here, and a viewer may follow it."""
    (tmp_path / "elsewhere").mkdir()
    (study.images / "more").symlink_to(tmp_path / "elsewhere")
    ran = study.verify("--json")
    assert (ran.code, results(ran.json())["more"]) == (3, "UNREADABLE")


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw + writers.element(0x00080018, "UI", b"2.25.1"),
        lambda raw: raw.replace(
            writers.element(0x00280010, "US", b"\3\0"), writers.element(0x00280010, "US", b"\3\0\3\0")
        ),
    ],
    ids=["an element twice", "two numbers of rows"],
)
def test_a_broken_image_does_not_pass_for_a_dicomdir(study: Study, change: Callable[[bytes], bytes]) -> None:
    """An image that calls itself a directory and cannot be measured is not set aside."""
    study.put("sly.dcm", change(_marked(slice_of(6))))
    ran = study.verify("--json")
    assert ran.code != 0
    assert "sly.dcm" in results(ran.json())


def test_a_file_of_the_dicomdir_that_is_no_image_is_named(study: Study) -> None:
    """What the DICOMDIR calls an image and is none is another object than it says."""
    _disc(study, record("DICOM\\IM000009", instance="2.25.99"))
    study.put("DICOM/IM000009", b"text")
    ran = study.verify("--json")
    assert (ran.code, ran.json()["directory"]["another_object"]) == (
        1,
        [{"name": "DICOM/IM000009", "reason": "is no image"}],
    )
