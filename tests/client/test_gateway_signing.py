"""The signing line of the gateway: every object once, in order, whatever it is and whenever the line ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from objects import CT, IMAGES, kept

from platemark import attributes, chain, statement
from platemark.chain import Chain
from platemark.errors import CaptureError, PlatemarkError, StateError
from platemark.gateway.capturing import bare_measurement, full_measurement
from platemark.gateway.journal import Capture, Journal, Received
from platemark.gateway.signing_line import SigningLine
from platemark.gateway.strikes import Strikes
from platemark.key_files import write_private
from platemark.keys import generate
from platemark.rungs import SHA256, Measurement
from platemark.signing import Clock
from platemark.spool import Spool, SpoolFullError
from platemark.statement import Statement
from platemark.vault import OpenVault, Vault
from platemark.vault.keys import generate as generate_recipient

DEVICE = "https://devices.test/gateway"


class PowerFailure(BaseException):
    """The process is gone, at this point."""


@dataclass
class Bench:
    """A state directory whose line can be ended anywhere and started again."""

    directory: Path
    key: Any = field(default_factory=lambda: generate("p256"))
    recipient: Any = field(default_factory=generate_recipient)
    lines: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        """A journal and a vault that are empty."""
        (self.directory / "objects").mkdir()
        write_private(self.directory / "gateway.pem", self.key)
        Vault.create(self.directory / "vault", self.recipient.recipient.to_pem()).close()
        self.journal = Journal(self.directory / "journal.sqlite")
        Chain(self.directory / "gateway.pem", self.key).begin(issuer=DEVICE, role="gateway")

    def add(self, number: int, name: str = CT, **changes: object) -> Received:
        """An object in objects/ with its row."""
        made = kept(self.directory / "objects", name, number=number, **changes)
        self.journal.add(made)
        return made

    def line(self, *, capacity: int = 1000, measure: Callable[[Path], Measurement] = full_measurement) -> SigningLine:
        """A line that knows what is on disk, as a new process does."""
        self.spool = Spool(self.directory / "spool", capacity=capacity)
        self.vault = Vault(self.directory / "vault")
        self.chain = Chain(self.directory / "gateway.pem", self.key)
        self.strikes = Strikes(self.directory / "measuring")
        self.lines += [self.spool, self.vault, self.strikes]
        return SigningLine(
            journal=self.journal,
            spool=self.spool,
            vault=self.vault,
            chain=self.chain,
            strikes=self.strikes,
            clock=Clock("ntp", 1_000),
            measure=measure,
        )

    def statements(self) -> list[Statement]:
        """What the spool holds, in order."""
        with Spool(self.directory / "spool") as spool:
            return [statement.decode(each.raw) for each in spool.pending(1000)]

    def opened(self, of: Statement) -> dict[str, Any]:
        """The attributes that the vault has for a statement."""
        root = of.payload["attributes"]
        assert isinstance(root, bytes)
        with OpenVault(self.directory / "vault", self.recipient) as vault:
            return dict(vault.get(root).values)


@pytest.fixture(name="bench")
def _bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    for each in made.lines:
        each.close()
    made.journal.close()


@pytest.mark.parametrize("name", IMAGES)
def test_an_object_becomes_a_statement(bench: Bench, name: str) -> None:
    """Origin, time of receipt, rungs without `file`, and who sent it; the journal knows the study."""
    received = bench.add(1, name)
    assert bench.line().step() == 1
    (made,) = bench.statements()
    payload = made.payload
    assert (payload["origin"], payload["captured"], made.seq) == ("gateway-received", received.received_ns, 0)
    assert payload["clock"] == {"source": "ntp", "error_ns": 1_000}
    measured = full_measurement(received.path)
    digests = payload["digests"]
    assert isinstance(digests, dict)
    assert set(digests) == set(measured.digests)
    assert "file" not in digests
    assert digests["dataset"] == bare_measurement(received.path).digests["dataset"]
    values = bench.opened(made)
    assert (values["sender_ae_title"], values["sender_identity"]) == (received.calling, received.certificate or "none")
    assert "file_name" not in values
    standing = bench.journal.get(received.object_id)
    assert standing is not None
    assert (standing.capture, standing.statement_id) == (Capture.CAPTURED, made.id)
    assert standing.received.study_uid == measured.attributes["study_instance_uid"]
    root = payload["attributes"]
    assert isinstance(root, bytes)
    assert bench.vault.statement_of(root) == made.id


def test_objects_are_signed_in_the_order_of_their_arrival(bench: Bench) -> None:
    """The chain has no gap, and each place is that of the object which came next."""
    for number in range(1, 40):
        bench.add(number, content=b"\x08\x00\x05\x00CS\x02\x00" + bytes([number, 0]))
    line = bench.line()
    while line.step():
        pass
    made = bench.statements()
    assert [each.seq for each in made] == list(range(39))
    assert [each.payload["captured"] for each in made] == [number * 10**9 for number in range(1, 40)]
    assert [each.prev for each in made] == [None, *(each.id for each in made[:-1])]


def test_the_sender_is_bound_into_the_statement(bench: Bench) -> None:
    """The identity of its certificate and its AE title are opened by the vault alone, each by itself."""
    made = replace(kept(bench.directory / "objects", CT), certificate="spiffe://hospital.test/ct1", calling="CT7")
    bench.journal.add(made)
    bench.line().step()
    (signed,) = bench.statements()
    root = signed.payload["attributes"]
    assert isinstance(root, bytes)
    with OpenVault(bench.directory / "vault", bench.recipient) as vault:
        opened = vault.get(root).open("sender_identity", "sender_ae_title").verified(root)
    assert opened == {"sender_identity": "spiffe://hospital.test/ct1", "sender_ae_title": "CT7"}
    assert b"spiffe" not in signed.raw


POINTS = ("vault", "reserve", "sign", "spool before", "spool after", "journal before", "journal after")


def _end_at(monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """Have the power fail at this point, the first time that it is reached."""
    place, _, when = point.partition(" ")
    owner, name = {
        "vault": (Vault, "put"),
        "reserve": (Chain, "_write"),
        "sign": (chain._Reserving, "sign"),
        "spool": (Spool, "put"),
        "journal": (Journal, "captured"),
    }[place]
    whole = getattr(owner, name)

    def once(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(owner, name, whole)
        if when != "before":
            whole(*args, **options)
        raise PowerFailure

    monkeypatch.setattr(owner, name, once)


@pytest.mark.parametrize("point", POINTS)
def test_a_power_failure_at_any_point_costs_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """After it, every object has one statement, in order, without gap or fork, and its disclosure is in the vault."""
    received = [bench.add(number) for number in (1, 2, 3)]
    # Three times the same image of the same sender would be one capture.
    with pytest.raises(PowerFailure):
        _with_distinct(bench, received, monkeypatch, point)
    line = bench.line()
    while line.step():
        pass
    made = bench.statements()
    assert [each.payload["captured"] for each in made] == [each.received_ns for each in received]
    assert [each.seq for each in made] == [0, 1, 2]
    assert [each.prev for each in made] == [None, made[0].id, made[1].id]
    for each in made:
        assert bench.opened(each)["sender_ae_title"] == "CT1"
    assert bench.journal.counts().uncaptured == 0


def test_the_interrupted_object_comes_before_one_that_is_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier object that had failed does not take the turn of the one whose statement was being kept: no gap."""
    failed, interrupted = bench.add(1), bench.add(2)
    content = failed.path.read_bytes()
    failed.path.unlink()
    interrupted.path.write_bytes(content[:-2] + b"\7\7")
    with monkeypatch.context() as patched:
        patched.setattr(Spool, "put", _end)
        with pytest.raises(PowerFailure):
            bench.line().step()
    failed.path.write_bytes(content)
    bench.journal.retry_capture(failed.object_id)
    line = bench.line()
    while line.step():
        pass
    made = bench.statements()
    assert [each.payload["captured"] for each in made] == [interrupted.received_ns, failed.received_ns]
    assert [each.seq for each in made] == [0, 1]


def _end(*_: object, **__: object) -> None:
    raise PowerFailure


def _with_distinct(bench: Bench, received: list[Received], monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    for number, each in enumerate(received):
        content = each.path.read_bytes()
        each.path.write_bytes(content[:-2] + bytes([number, 7]))
    line = bench.line()
    _end_at(monkeypatch, point)
    line.step()


def test_an_object_that_is_sent_again_is_captured_once(bench: Bench) -> None:
    """Both rows name the one statement."""
    first, second = bench.add(1), bench.add(2)
    bench.line().step()
    (made,) = bench.statements()
    standings = [bench.journal.get(each.object_id) for each in (first, second)]
    assert [each.statement_id for each in standings if each is not None] == [made.id, made.id]


HOSTILE = {
    "noise": b"\xff" * 500,
    "truncated": b"\x08\x00\x05\x00CS\x0a\x00ISO",
    "an element of 4 GiB": b"\x08\x00\x05\x00UN\x00\x00\xfe\xff\xff\xff" + bytes(100),
    "a wrong VR": b"\x08\x00\x05\x00ZZ\x04\x00abcd" + b"\x28\x00\x10\x00XX\x02\x00ab",
    "a sequence without end": b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff" * 200,
    "a program": b"MZ\x90\x00" + bytes(500),
    "70,000 frames": b"\x28\x00\x08\x00IS\x06\x0070000 "
    b"\x28\x00\x02\x00US\x02\x00\x01\x00\x28\x00\x04\x00CS\x0c\x00MONOCHROME2 "
    b"\x28\x00\x10\x00US\x02\x00\x01\x00\x28\x00\x11\x00US\x02\x00\x01\x00"
    b"\x28\x00\x00\x01US\x02\x00\x08\x00\x28\x00\x01\x01US\x02\x00\x08\x00\x28\x00\x02\x01US\x02\x00\x07\x00"
    b"\x28\x00\x03\x01US\x02\x00\x00\x00"
    b"\xe0\x7f\x10\x00OB\x00\x00" + (70_000).to_bytes(4, "little") + bytes(70_000),
    "an element of group 0002": b"\x02\x00\x10\x00UI\x04\x001.2\0",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_object_never_stops_the_line(bench: Bench, content: bytes) -> None:
    """It is captured as it is, or set aside by name; what comes after it is captured."""
    hostile = bench.add(1, content=content)
    after = bench.add(2)
    bench.line().step()
    standing = bench.journal.get(hostile.object_id)
    assert standing is not None
    assert standing.capture is (Capture.FAILED if content.startswith(b"\x02\x00") else Capture.CAPTURED)
    if standing.capture is Capture.CAPTURED:
        digests = bench.statements()[0].payload["digests"]
        assert isinstance(digests, dict)
        assert digests["dataset"] == bare_measurement(hostile.path).digests["dataset"]
    else:
        assert standing.reason
    last = bench.journal.get(after.object_id)
    assert last is not None
    assert last.capture is Capture.CAPTURED


def test_many_frames_are_measured(bench: Bench) -> None:
    """70,000 frames of one pixel have a tree like any other."""
    bench.add(1, content=HOSTILE["70,000 frames"])
    bench.line().step()
    assert bench.statements()[0].payload["frames"] == 70_000


def test_a_deflate_bomb_is_captured_bare_of_what_it_hides(bench: Bench) -> None:
    """Its bytes as they came are recorded; what it inflates to is not."""
    import zlib

    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(bytes(1 << 20))
    bomb += b"".join(packer.compress(bytes(1 << 20)) for _ in range(200)) + packer.flush()
    assert len(bomb) < 1 << 19
    bench.add(1, content=bomb, transfer_syntax="1.2.840.10008.1.2.1.99")
    bench.add(2)
    bench.line().step()
    made = bench.statements()
    digests = made[0].payload["digests"]
    assert isinstance(digests, dict)
    assert set(digests) == {"dataset"}
    assert len(made) == 2


def test_whatever_a_parser_raises_the_object_is_captured_bare(bench: Bench) -> None:
    """A fault of ours costs an object its pixels and attributes, and nothing else."""

    def broken(path: Path) -> Measurement:
        raise RecursionError(path)

    bench.add(1)
    bench.line(measure=broken).step()
    (made,) = bench.statements()
    digests = made.payload["digests"]
    assert isinstance(digests, dict)
    assert set(digests) == {"dataset"}
    assert set(bench.opened(made)) == {"sender_identity", "sender_ae_title"}


def test_attributes_that_no_statement_takes_cost_the_attributes(bench: Bench) -> None:
    """An object whose measurement cannot be committed to is captured bare, and no place of the chain is lost."""

    def odd(path: Path) -> Measurement:
        return Measurement(
            media="application/dicom",
            digests=bare_measurement(path).digests,
            attributes={"patient_id": "x" * 5000},
        )

    bench.add(1)
    bench.line(measure=odd).step()
    (made,) = bench.statements()
    assert (made.seq, set(bench.opened(made))) == (0, {"sender_identity", "sender_ae_title"})


def test_a_sender_that_no_statement_can_name_stops_nobody(bench: Bench) -> None:
    """An object whose sender's name fits into no statement is set aside; the next one has the first place of the chain."""
    odd = kept(bench.directory / "objects", CT, number=1)
    bench.journal.add(replace(odd, certificate="CN=Ro\u0308ntgen"))  # not in NFC
    after = bench.add(2)
    bench.line().step()
    assert bench.journal.counts().failed == 1
    assert [(each.seq, each.payload["captured"]) for each in bench.statements()] == [(0, after.received_ns)]


def test_an_object_whose_file_is_gone_is_set_aside(bench: Bench) -> None:
    """It is named and counted, and the next one is captured."""
    gone, after = bench.add(1), bench.add(2)
    gone.path.unlink()
    bench.line().step()
    assert bench.journal.counts().failed == 1
    assert [each.payload["captured"] for each in bench.statements()] == [after.received_ns]


@pytest.mark.parametrize(("ends", "rungs"), [(1, True), (2, False)])
def test_an_object_that_ends_the_process_twice_is_captured_bare(bench: Bench, ends: int, rungs: bool) -> None:
    """Once may be a power failure; twice in a row during one object is the object."""

    def end(path: Path) -> Measurement:
        raise PowerFailure(path)

    bench.add(1)
    for _ in range(ends):
        with pytest.raises(PowerFailure):
            # The process is gone before anything can be said about it.
            _die(bench, end)
    bench.line().step()
    (made,) = bench.statements()
    digests = made.payload["digests"]
    assert isinstance(digests, dict)
    assert ("pixels" in digests) is rungs


def _die(bench: Bench, measure: Callable[[Path], Measurement]) -> None:
    line = bench.line(measure=measure)
    bench.strikes.end = lambda: None  # type: ignore[method-assign] # a process that is gone says nothing
    line.step()


def test_an_object_that_takes_too_long_is_captured_bare_at_once(bench: Bench) -> None:
    """The watchdog's word counts as two ends."""
    received = bench.add(1)
    bench.line()
    bench.strikes.begin(received.object_id)
    assert bench.strikes.began is not None
    bench.strikes.condemn()
    bench.line().step()
    digests = bench.statements()[0].payload["digests"]
    assert isinstance(digests, dict)
    assert set(digests) == {"dataset"}


def test_a_full_spool_stops_the_line_and_loses_nothing(bench: Bench) -> None:
    """What was signed and found no room is what is put when there is room again."""
    received = [bench.add(1), bench.add(2)]
    received[1].path.write_bytes(received[1].path.read_bytes()[:-2] + b"\7\7")
    line = bench.line(capacity=1)
    with pytest.raises(SpoolFullError):
        line.step()
    reserved = bench.chain.last()
    assert reserved is not None
    (first,) = bench.spool.pending(10)
    bench.spool.acknowledge([(first.id, 0)])
    line.step()
    (second,) = bench.spool.pending(10)
    assert second.id == reserved.id
    assert bench.journal.counts().uncaptured == 0


def test_a_statement_signed_by_hand_in_between_is_no_obstacle(bench: Bench) -> None:
    """The last place of the chain may be another statement's, which is nobody's business here."""
    bench.add(1)
    chain_of = Chain(bench.directory / "gateway.pem", bench.key)
    chain_of.sign("heartbeat", {"since": 1, "at": 2, "clock": {"source": "host", "error_ns": None}})
    bench.line().step()
    (made,) = bench.statements()
    assert made.seq == 1


def test_a_key_of_another_role_is_refused(bench: Bench, tmp_path: Path) -> None:
    """A gateway's chain is a gateway's."""
    write_private(tmp_path / "other.pem", generate("p256"))
    with pytest.raises((StateError, PlatemarkError)):
        Chain(bench.directory / "gateway.pem", bench.key).begin(role="modality")


def test_a_bare_measurement_needs_a_file(tmp_path: Path) -> None:
    """What cannot be read cannot be captured, and says so."""
    with pytest.raises(CaptureError):
        bare_measurement(tmp_path / "none.dcm")


def test_the_attributes_of_the_sender_are_in_the_registry() -> None:
    """Their slots are fixed."""
    assert (attributes.REGISTRY["sender_identity"], attributes.REGISTRY["sender_ae_title"]) == (61, 62)
    assert SHA256 == -16
