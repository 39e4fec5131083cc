"""What survives of a handful of images, operation by operation: the short form of `make survival`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peers.orthanc import DICOM_WEB_PLUGIN
from survival.images import Image, corpus
from survival.operations import Operation
from survival.pacs import Pacs, pacs
from survival.reasons import UNEXPLAINED
from survival.run import DOCUMENT, OPERATIONS, survive
from survival.table import COLUMNS

IMAGES = {
    "test_files/CT_small.dcm",
    "test_files/MR_small_implicit.dcm",
    "test_files/MR_small_RLE.dcm",
    "test_files/rtdose_expb_1frame.dcm",
    "test_files/SC_rgb_jpeg_dcmtk.dcm",
    "data/SC_rgb.dcm",
    "data/SC_ybr_full_uncompressed.dcm",
}
"""Signed and implicit; run lengths; 32 bits in big endian; lossy; colour."""


# Images done; then how many kept dataset, content, pixels, codestream and header, of those that had it.
EXPECTED = {
    "dcmconv +te (explicit VR)": "5 3/5 5/5 4/5 - 5/5",
    "dcmconv +ti (implicit VR)": "5 1/5 2/5 4/5 - 5/5",
    "dcmconv +tb (big endian)": "5 1/5 5/5 5/5 - 5/5",
    "dcmconv +td (deflated)": "5 0/5 5/5 4/5 - 5/5",
    "dcmconv +g (group lengths)": "7 0/7 7/7 6/6 1/1 7/7",
    "dcmconv -e (undefined lengths)": "7 3/7 7/7 6/6 1/1 7/7",
    "dcmconv +p (padding)": "7 0/7 7/7 6/6 1/1 7/7",
    "dcmcrle": "5 0/5 0/5 4/5 - 5/5",
    "dcmcrle, dcmdrle": "5 1/5 3/5 4/5 - 5/5",
    "dcmdrle": "1 0/1 0/1 1/1 - 1/1",
    "dcmcjpls +el": "4 0/4 0/4 4/4 - 4/4",
    "dcmcjpls +el +is": "4 0/4 0/4 4/4 - 4/4",
    "dcmcjpls +el, dcmdjpls": "4 1/4 2/4 4/4 - 4/4",
    "dcmdjpls": "0 - - - - -",
    "dcmcjpeg +e1": "4 0/4 0/4 4/4 - 4/4",
    "dcmcjpeg +el": "4 0/4 0/4 4/4 - 4/4",
    "dcmcjpeg +e1, dcmdjpeg": "4 0/4 0/4 3/4 - 4/4",
    "dcmdjpeg": "1 0/1 0/1 - 0/1 1/1",
    "dcmcjpls +en (near-lossless)": "2 0/2 0/2 0/2 - 2/2",
    "dcmcjpls +en, dcmdjpls": "2 0/2 0/2 0/2 - 2/2",
    "dcmcjpeg +eb (baseline)": "5 0/5 0/5 0/5 - 5/5",
    "dcmcjpeg +ee (extended)": "5 0/5 0/5 0/5 - 5/5",
    "dcmcjpeg +eb, dcmdjpeg": "5 0/5 0/5 0/5 - 5/5",
    "dcmodify PatientName": "7 0/7 0/7 6/6 1/1 0/7",
    "pydicom dcmread, save_as": "7 7/7 7/7 6/6 1/1 7/7",
    "pydicom decoded, save_as": "7 7/7 7/7 6/6 1/1 7/7",
    "storescu, storescp": "7 5/7 7/7 6/6 1/1 7/7",
    "storescu, storescp +B": "7 5/7 7/7 6/6 1/1 7/7",
    "Orthanc: C-STORE in, REST out": "7 5/7 7/7 6/6 1/1 7/7",
    "Orthanc: REST in, REST out": "7 7/7 7/7 6/6 1/1 7/7",
    "Orthanc: STOW-RS in, REST out": "7 7/7 7/7 6/6 1/1 7/7",
    "Orthanc: C-STORE out": "7 5/7 7/7 6/6 1/1 7/7",
    "Orthanc: C-STORE out, implicit VR peer": "7 1/7 2/7 5/6 0/1 7/7",
    "Orthanc: WADO-RS": "7 3/7 5/7 5/6 0/1 7/7",
    "Orthanc: WADO-RS, any syntax": "7 7/7 7/7 6/6 1/1 7/7",
    "Orthanc: modify PatientName": "7 0/7 0/7 6/6 1/1 0/7",
    "Orthanc: anonymize": "7 0/7 0/7 6/6 1/1 0/7",
}


@pytest.fixture(scope="module", name="peers")
def _peers(require: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pacs]:
    for program in ("dcmconv", "storescp", "Orthanc"):
        require(program)
    if not DICOM_WEB_PLUGIN.exists():
        require("orthanc-dicomweb")
    with pacs(tmp_path_factory.mktemp("peers")) as peers:
        yield peers


@pytest.fixture(scope="module", name="images")
def _images() -> list[Image]:
    images, _ = corpus(IMAGES)
    assert {image.name for image in images} == IMAGES
    return images


def test_every_operation_is_expected() -> None:
    """The expectation table names every operation, and so does the published one, whose every loss has a reason."""
    names = [operation.name for operation in OPERATIONS]
    assert list(EXPECTED) == names
    published = DOCUMENT.read_text("utf-8")
    assert [name for name in names if f"| {name} |" not in published] == []
    assert UNEXPLAINED not in published


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_what_survives(peers: Pacs, images: list[Image], tmp_path: Path, operation: Operation) -> None:
    """Each rung survives what it should; every loss has a reason, and pixels none that the operation may not have."""
    row = survive(operation, images, peers, tmp_path)
    assert row.faults() == []
    assert " ".join([str(row.done), *(row.cell(rung) for rung in COLUMNS[1:])]) == EXPECTED[operation.name]
