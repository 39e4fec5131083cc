"""Storage Commitment both ways: modalities of pynetdicom ask the gateway, and the gateway asks Orthanc and PACSs like it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from objects import CT, kept
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made when the module is loaded
    CTImageStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from peers.orthanc import orthanc
from peers.process import free_port
from platemark.gateway import outward
from platemark.gateway._commitment_sets import (
    Reference,
    Report,
    read_report,
    read_request,
    write_report,
    write_request,
)
from platemark.gateway.calling import Peer, associate, end
from platemark.gateway.commitments import Commitments, Requester
from platemark.gateway.config import parse
from platemark.gateway.journal import DeliveryState, Journal, Received
from platemark.gateway.pressure import Pressure
from platemark.gateway.receiver import Receiver
from platemark.gateway.settings import Gateway

Require = Callable[[str], Path]
CT_CLASS = str(CTImageStorage)
SECONDS = 30.0
EXPLICIT = "1.2.840.10008.1.2.1"


def eventually(true: Callable[[], object]) -> None:
    """Wait for what other threads and processes do, with a deadline."""
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def settings(directory: Path, pacs_port: int, *, modality_port: int = 0, commitment: bool = False) -> Gateway:
    """A gateway with one PACS and, with a port, one modality that reports are delivered to."""
    text = f"""
mode = "inline"
state_dir = "state"
[sign]
key = "gateway.pem"
[receive]
listen = "127.0.0.1:0"
ae_title = "PLATEMARK"
[[pacs]]
name = "main"
address = "127.0.0.1:{pacs_port}"
ae_title = "ORTHANC"
commitment = {str(commitment).lower()}
retry_time = 0.5
"""
    if modality_port:
        text += f'[[modality]]\nae_title = "CT1"\naddress = "127.0.0.1:{modality_port}"\n'
    made = parse(text, directory)
    made.objects.mkdir(parents=True, exist_ok=True)
    return made


class Bench:
    """A receiver with Storage Commitment, its journal, and the signing that a test does by hand."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.journal = Journal(gateway.journal, destinations=gateway.destinations)
        self.commitment = outward.Commitment(gateway, self.journal)
        self.receiver = Receiver(
            gateway,
            self.journal,
            Pressure(gateway.limits, self.journal, gateway.state_dir),
            handlers=self.commitment.handlers,
            contexts=self.commitment.contexts,
        )

    @property
    def port(self) -> int:
        """Where modalities call."""
        return self.receiver.address[1]

    def add(self, number: int) -> Received:
        """An object that was acknowledged."""
        received = kept(self.gateway.objects, CT, number=number)
        self.journal.add(received)
        return received

    def safe(self, *received: Received) -> None:
        """Their statements are in the spool, and they are in the PACS."""
        for each in received:
            self.journal.captured(each.object_id, b"s" * 32)
            self.journal.forwarded(each.object_id, "main")

    def state(self, received: Received) -> DeliveryState:
        """How far it is on its way to the PACS."""
        standing = self.journal.get(received.object_id)
        assert standing is not None
        return standing.deliveries[0].state

    def commitments(self) -> Commitments:
        """Another view on the file."""
        return Commitments(outward.commitments_file(self.gateway))


@contextmanager
def bench(gateway: Gateway) -> Iterator[Bench]:
    """A bench that serves and reports within the block."""
    made = Bench(gateway)
    made.receiver.start()
    made.commitment.start()
    try:
        yield made
    finally:
        made.receiver.stop()
        made.commitment.stop()
        made.journal.close()


@contextmanager
def forwarding(gateway: Gateway) -> Iterator[None]:
    """What the forwarding process does, in a thread."""
    stop = threading.Event()
    thread = threading.Thread(target=outward.forward, args=(gateway, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class Modality:
    """A CT that stores and asks for commitment, and keeps the reports it gets."""

    def __init__(self, title: str = "CT1", *, takes: int = 0x0000) -> None:
        self.title, self.takes = title, takes
        self.reports: list[Report] = []

    def reported(self, event: Event) -> tuple[int, Dataset | None]:
        """For EVT_N_EVENT_REPORT."""
        if self.takes == 0:
            self.reports.append(read_report(event.event_information))
        return self.takes, None

    @contextmanager
    def call(self, port: int) -> Iterator[Association]:
        """An association with the gateway."""
        peer = Peer(ae_title="PLATEMARK", host="127.0.0.1", port=port, calling=self.title, answer_s=SECONDS)
        contexts = [build_context(StorageCommitmentPushModel), build_context(CTImageStorage, EXPLICIT)]
        made = associate(peer, contexts, handlers=[(evt.EVT_N_EVENT_REPORT, self.reported)])
        try:
            yield made
        finally:
            end(made)

    @contextmanager
    def listen(self, port: int) -> Iterator[None]:
        """Take reports on an association of the gateway's."""
        entity = AE(ae_title=self.title)
        entity.require_called_aet = True
        entity.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self.reported)])
        try:
            yield
        finally:
            entity.shutdown()


def ask(association: Association, uid: str, *references: Reference) -> int:
    """N-ACTION; its status."""
    status, _ = association.send_n_action(
        write_request(uid, references), 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    )
    return int(status.Status)


def of(received: Received) -> Reference:
    """How the object is referred to."""
    return Reference(received.sop_class, received.sop_instance)


def test_a_report_comes_over_the_open_association(tmp_path: Path) -> None:
    """While the modality keeps its association, the report comes over it, as soon as PACS and spool have the object."""
    modality = Modality()
    with bench(settings(tmp_path, 9)) as at, modality.call(at.port) as association:
        one = at.add(1)
        assert ask(association, "1.2.3", of(one)) == 0x0000
        eventually(lambda: at.commitment.open_requests == 1)
        assert modality.reports == []
        at.safe(one)
        eventually(lambda: modality.reports)
        assert modality.reports == [Report("1.2.3", (of(one),), ())]
        eventually(lambda: at.commitment.open_requests == 0)


def test_nothing_is_committed_to_before_both_have_it(tmp_path: Path) -> None:
    """Neither the PACS alone nor the spool alone is enough."""
    modality = Modality()
    with bench(settings(tmp_path, 9)) as at, modality.call(at.port) as association:
        one, two = at.add(1), at.add(2)
        at.journal.captured(one.object_id, b"s" * 32)
        at.journal.forwarded(two.object_id, "main")
        ask(association, "1.2.3", of(two))  # the newest of that instance
        at.commitment._scp.turn()
        assert at.commitment.open_requests == 1
        at.journal.captured(two.object_id, b"s" * 32)
        eventually(lambda: modality.reports)
        assert modality.reports[0].committed == (of(two),)


def test_failures_are_reported_per_instance(tmp_path: Path) -> None:
    """What was never sent, what is of another class and what the PACS refused each get the standard's reason."""
    modality = Modality()
    with bench(settings(tmp_path, 9)) as at, modality.call(at.port) as association:
        good, refused = at.add(1), kept(at.gateway.objects, CT, number=2, sop_instance="1.2.3.2")
        at.journal.add(refused)
        at.safe(good)
        at.journal.captured(refused.object_id, b"s" * 32)
        at.journal.forward_failed(refused.object_id, "main", "not-understood: ...", again=False)
        unknown = Reference(CT_CLASS, "1.2.3.99")
        conflict = Reference("1.2.840.10008.5.1.4.1.1.4", good.sop_instance)
        ask(association, "1.2.3", of(good), of(refused), unknown, conflict)
        eventually(lambda: modality.reports)
        (report,) = modality.reports
        assert report.committed == (of(good),)
        assert [(each.reference, each.reason) for each in report.failed] == [
            (of(refused), 0x0110),
            (unknown, 0x0112),
            (conflict, 0x0119),
        ]


def test_a_report_does_not_disturb_a_modality_that_goes_on_storing(tmp_path: Path) -> None:
    """Reports come in the middle of a study, whose objects are all answered with success on the same association."""
    modality = Modality()
    source = kept(tmp_path, CT)
    with bench(settings(tmp_path, 9)) as at, modality.call(at.port) as association:
        done = kept(at.gateway.objects, CT, number=1000, sop_instance="1.2.3.1000")
        at.journal.add(done)
        at.safe(done)
        for number in range(40):
            assert ask(association, f"1.2.3.{number}", of(done)) == 0x0000
            assert association.send_c_store(source.path).Status == 0x0000
        eventually(lambda: len(modality.reports) == 40)
        assert sorted(int(each.transaction_uid[6:]) for each in modality.reports) == list(range(40))
        assert association.is_established


def test_a_report_is_delivered_to_a_modality_that_has_hung_up(tmp_path: Path) -> None:
    """Without its association the report goes to the address in the settings, again until it is taken."""
    modality, port = Modality(), free_port()
    with bench(settings(tmp_path, 9, modality_port=port)) as at:
        at.commitment._scp._backoff = type(at.commitment._scp._backoff)(0.1, 0.1)
        one = at.add(1)
        at.safe(one)
        with modality.call(at.port) as association:
            modality.takes = 0x0110  # not now
            ask(association, "1.2.3", of(one))
        eventually(lambda: at.commitments().due(1) and at.commitments().due(1)[0].attempts)
        modality.takes = 0x0000
        with modality.listen(port):
            eventually(lambda: modality.reports)
        assert modality.reports == [Report("1.2.3", (of(one),), ())]
        eventually(lambda: at.commitment.open_requests == 0)


def test_a_request_survives_a_restart(tmp_path: Path) -> None:
    """What was answered with success is reported by the next process, when the modality calls again."""
    modality = Modality()
    gateway = settings(tmp_path, 9)
    with bench(gateway) as at:
        one = at.add(1)
        with modality.call(at.port) as association:
            assert ask(association, "1.2.3", of(one)) == 0x0000
    assert modality.reports == []
    with bench(gateway) as at:
        at.safe(one)
        eventually(lambda: at.commitments().due(1)[:1] == [] or at.commitments().due(1)[0].decided)
        with modality.call(at.port):
            eventually(lambda: modality.reports)
        assert modality.reports == [Report("1.2.3", (of(one),), ())]


def test_a_report_goes_to_nobody_else(tmp_path: Path) -> None:
    """Another AE title's open association gets no report of ours."""
    modality, other = Modality(), Modality("CT2")
    with bench(settings(tmp_path, 9)) as at:
        one = at.add(1)
        with modality.call(at.port) as association:
            ask(association, "1.2.3", of(one))
        with other.call(at.port):
            at.safe(one)
            eventually(lambda: at.commitments().due(1) == [])  # tried, and put off
            assert other.reports == []
            with modality.call(at.port):
                eventually(lambda: modality.reports)
        assert other.reports == []


def test_a_transaction_uid_in_use_is_refused(tmp_path: Path) -> None:
    """A second request under an open transaction UID is reported as failed with the standard's reason for it."""
    modality = Modality()
    with bench(settings(tmp_path, 9)) as at, modality.call(at.port) as association:
        one = at.add(1)
        ask(association, "1.2.3", of(one))
        ask(association, "1.2.3", of(one))
        eventually(lambda: modality.reports)
        (report,) = modality.reports
        assert [each.reason for each in report.failed] == [0x0131]


@pytest.mark.parametrize(
    ("action", "instance", "content", "status"),
    [
        (2, StorageCommitmentPushModelInstance, write_request("1.2", [Reference(CT_CLASS, "1.2")]), 0x0123),
        (1, "1.2.3", write_request("1.2", [Reference(CT_CLASS, "1.2")]), 0x0112),
        (1, StorageCommitmentPushModelInstance, write_request("1.2", []), 0x0115),
        (1, StorageCommitmentPushModelInstance, write_request("", [Reference(CT_CLASS, "1.2")]), 0x0115),
        (1, StorageCommitmentPushModelInstance, write_request("1.2", [Reference("1.2\t3", "1.2")]), 0x0115),
        (1, StorageCommitmentPushModelInstance, write_report(Report("1.2", (), ()))[1], 0x0115),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_request_that_is_none_is_refused(
    tmp_path: Path, action: int, instance: str, content: Dataset, status: int
) -> None:
    """A wrong action, instance or data set is answered with its status, and nothing is kept."""
    with bench(settings(tmp_path, 9)) as at, Modality().call(at.port) as association:
        answer, _ = association.send_n_action(content, action, StorageCommitmentPushModel, instance)
        assert answer.Status == status
        assert at.commitment.open_requests == 0
        assert association.is_established


def test_what_stays_undecided_is_reported_as_failed(tmp_path: Path) -> None:
    """After its time an undecided instance is a processing failure: the modality keeps its copy."""
    modality = Modality()
    with bench(settings(tmp_path, 9)) as at, modality.call(at.port) as association:
        at.commitment._scp._decide_s = 0.0
        one = at.add(1)
        ask(association, "1.2.3", of(one))
        eventually(lambda: modality.reports)
        assert [each.reason for each in modality.reports[0].failed] == [0x0110]


def test_in_mode_copy_nothing_is_offered(tmp_path: Path) -> None:
    """A gateway that passes nothing on cannot commit for the PACS: the context is not accepted."""
    text = 'mode = "copy"\nstate_dir = "state"\n[sign]\nkey = "k.pem"\n[receive]\nlisten = "127.0.0.1:0"\n'
    gateway = parse(text, tmp_path)
    gateway.objects.mkdir(parents=True)
    with bench(gateway) as at, Modality().call(at.port) as association:
        accepted = {str(each.abstract_syntax) for each in association.accepted_contexts}
        assert accepted == {CT_CLASS}


def test_orthanc_commits_and_then_so_do_we(tmp_path: Path, require: Require) -> None:
    """With `commitment` an object is done when Orthanc has reported on it, over an association of its own."""
    require("Orthanc")
    modality = Modality()
    with orthanc(tmp_path / "orthanc") as pacs:
        gateway = settings(tmp_path, pacs.dicom_port, commitment=True)
        with bench(gateway) as at:
            pacs.modality("gateway", "PLATEMARK", at.port)
            one = at.add(1)
            at.journal.captured(one.object_id, b"s" * 32)
            with modality.call(at.port) as association, forwarding(gateway):
                ask(association, "1.2.3", of(one))
                eventually(lambda: modality.reports)
            assert modality.reports == [Report("1.2.3", (of(one),), ())]
            assert at.state(one) is DeliveryState.DONE
            assert pacs.sop_instances() == [one.sop_instance]


def test_what_orthanc_lost_is_sent_again(tmp_path: Path, require: Require) -> None:
    """An object that the PACS stored, lost and does not commit to goes there once more, and then is committed to."""
    require("Orthanc")
    with orthanc(tmp_path / "orthanc") as pacs:
        gateway = settings(tmp_path, pacs.dicom_port, commitment=True)
        with bench(gateway) as at:
            pacs.modality("gateway", "PLATEMARK", at.port)
            one = at.add(1)
            at.journal.captured(one.object_id, b"s" * 32)
            at.commitment._reports._backoff = type(at.commitment._reports._backoff)(0.1, 0.1)
            at.journal.sent(one.object_id, "main")  # as if it had been
            with forwarding(gateway):
                eventually(lambda: at.state(one) is DeliveryState.DONE)
            assert pacs.sop_instances() == [one.sop_instance]


@contextmanager
def pacs_of_ours(acted: Callable[[Event], int]) -> Iterator[int]:
    """A PACS that stores everything and answers N-ACTION with what `acted` says; its port."""
    entity = AE(ae_title="ORTHANC")
    entity.add_supported_context(CTImageStorage, EXPLICIT)
    entity.add_supported_context(StorageCommitmentPushModel)
    port = free_port()
    entity.start_server(
        ("127.0.0.1", port),
        block=False,
        evt_handlers=[(evt.EVT_C_STORE, lambda _: 0x0000), (evt.EVT_N_ACTION, lambda event: (acted(event), None))],
    )
    try:
        yield port
    finally:
        entity.shutdown()


def reports(event: Event) -> int:
    """Commit to everything, over the association of the request."""
    uid, references = read_request(event.action_information)
    kind, content = write_report(Report(uid, references, ()))

    def report() -> None:
        event.assoc.send_n_event_report(content, kind, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)

    threading.Timer(0.1, report).start()
    return 0x0000


def test_a_pacs_may_report_over_the_association_of_the_request(tmp_path: Path) -> None:
    """A report that comes over our own association counts as well."""
    with pacs_of_ours(reports) as port:
        gateway = settings(tmp_path, port, commitment=True)
        with bench(gateway) as at:
            one = at.add(1)
            with forwarding(gateway):
                eventually(lambda: at.state(one) is DeliveryState.DONE)


def test_an_instance_that_a_pacs_cannot_bear_holds_up_no_other(tmp_path: Path) -> None:
    """A request that is refused for one instance is made again in parts, until that one alone waits."""

    def acted(event: Event) -> int:
        _, references = read_request(event.action_information)
        return 0x0115 if any(each.sop_instance == "1.2.3.3" for each in references) else reports(event)

    with pacs_of_ours(acted) as port:
        gateway = settings(tmp_path, port, commitment=True)
        with bench(gateway) as at:
            sent = [kept(at.gateway.objects, CT, number=each, sop_instance=f"1.2.3.{each}") for each in range(1, 6)]
            for each in sent:
                at.journal.add(each)
                at.journal.sent(each.object_id, "main")
            with forwarding(gateway):
                eventually(lambda: sum(at.state(each) is DeliveryState.DONE for each in sent) == 4)
            assert at.state(sent[2]) is DeliveryState.SENT


def test_a_pacs_that_does_not_commit_yet_is_asked_again(tmp_path: Path) -> None:
    """A refused request is made again; the object stays sent, and is neither done nor sent again."""
    asked: list[str] = []

    def acted(event: Event) -> int:
        asked.append(str(event.action_information.TransactionUID))
        return 0x0110

    with pacs_of_ours(acted) as port:
        gateway = settings(tmp_path, port, commitment=True)
        with bench(gateway) as at:
            one = at.add(1)
            with forwarding(gateway):
                eventually(lambda: len(asked) >= 2)
            assert at.state(one) is DeliveryState.SENT
            assert len(set(asked)) == len(asked)


def test_a_report_on_what_we_never_asked_changes_nothing(tmp_path: Path) -> None:
    """Somebody who reports success under a transaction UID of his own is refused, and the object is not done."""
    with bench(settings(tmp_path, 9, commitment=True)) as at:
        one = at.add(1)
        at.journal.sent(one.object_id, "main")
        entity = AE(ae_title="ORTHANC")
        association = entity.associate(
            "127.0.0.1",
            at.port,
            [build_context(StorageCommitmentPushModel)],
            ae_title="PLATEMARK",
            ext_neg=[build_role(StorageCommitmentPushModel, scp_role=True)],
        )
        assert association.is_established
        kind, content = write_report(Report("1.2.3", (of(one),), ()))
        status, _ = association.send_n_event_report(
            content, kind, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        association.release()
        assert status.Status == 0x0115
        assert at.state(one) is DeliveryState.SENT


def test_the_file_of_requests_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request more than there is room for is answered with a lack of resources."""
    monkeypatch.setattr("platemark.gateway.commitments._MOST_REQUESTS", 1)
    with bench(settings(tmp_path, 9)) as at, Modality().call(at.port) as association:
        one = at.add(1)
        at.commitments().request("1.9", Requester("CT9", "127.0.0.1"), [of(one)], refused=0x0131)
        assert ask(association, "1.2.3", of(one)) == 0x0213
