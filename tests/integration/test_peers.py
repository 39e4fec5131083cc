"""The servers of others that the gateway is tested with start, answer, stop and come back."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from peers.dcmtk import PROPOSE, run, storescp, storescu, wlmscpfs
from peers.orthanc import DICOM_WEB_PLUGIN, orthanc
from peers.process import Peer, free_port, program


def _image(name: str = "CT_small.dcm") -> Path:
    found = get_testdata_file(name)
    assert isinstance(found, str)
    return Path(found)


def test_storescp_stores(require: Callable[[str], Path], tmp_path: Path) -> None:
    """What storescu sends to storescp lies in its directory; after a restart on the same port it takes more."""
    require("storescp")
    with storescp(tmp_path / "pacs", "+xa") as pacs:
        assert storescu(pacs.port, _image()).returncode == 0
        assert [each.name[:3] for each in pacs.files()] == ["CT."]
        pacs.peer.stop()
        assert storescu(pacs.port, _image("MR_small.dcm")).returncode != 0
        pacs.peer.start()
        sent = storescu(pacs.port, _image("MR_small_RLE.dcm"), options=[PROPOSE["1.2.840.10008.1.2.5"]])
        assert sent.returncode == 0, sent.stderr
        assert len(pacs.files()) == 2


def test_orthanc_stores(require: Callable[[str], Path], tmp_path: Path) -> None:
    """What storescu sends to Orthanc is found over REST and DICOMweb; a restart keeps it."""
    require("Orthanc")
    if not DICOM_WEB_PLUGIN.exists():
        require("orthanc-dicomweb")
    with orthanc(tmp_path / "orthanc", dicom_web=True) as pacs:
        assert storescu(pacs.dicom_port, _image()).returncode == 0
        (uid,) = pacs.sop_instances()
        assert pacs.json(f"/dicom-web/instances?SOPInstanceUID={uid}")[0]["00080018"]["Value"] == [uid]
        pacs.peer.stop()
        pacs.peer.start()
        (instance,) = pacs.instances()
        assert pacs.file(instance)[128:132] == b"DICM"
        pacs.modality("nobody", "NOBODY", free_port())
        assert "nobody" in pacs.json("/modalities")


def test_wlmscpfs_answers(require: Callable[[str], Path], tmp_path: Path) -> None:
    """A scheduled step on the worklist is found by its accession number, and only by its own."""
    require("wlmscpfs")
    step = Dataset()
    step.ScheduledStationAETitle, step.Modality = "CT1", "CT"
    step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = "20260101", "120000"
    step.ScheduledPerformingPhysicianName = "Roe^Robin"
    item = Dataset()
    item.AccessionNumber, item.PatientID, item.PatientName = "A1", "P1", "Doe^Jane"
    item.ScheduledProcedureStepSequence = [step]
    keys = ["-k", "0010,0010", "-k", "0040,0100[0].0040,0006"]
    with wlmscpfs(tmp_path / "worklist") as worklist:
        worklist.add("one", item)
        ask = ["-W", "-aec", worklist.aet, *keys, "127.0.0.1", str(worklist.port)]
        found = run("findscu", "-k", "0008,0050=A1", *ask)
        assert (found.returncode, "Roe^Robin" in found.stderr + found.stdout) == (0, True)
        missed = run("findscu", "-k", "0008,0050=A2", *ask)
        assert (missed.returncode, "Roe^Robin" in missed.stderr + missed.stdout) == (0, False)


def test_failed_start_tells(tmp_path: Path) -> None:
    """A server that ends at once is an error that shows what it said."""
    peer = Peer([program("python3"), "-c", "raise SystemExit('no room')"], (free_port(),), tmp_path / "log")
    with pytest.raises(AssertionError, match="ended with 1: no room"):
        peer.start()
