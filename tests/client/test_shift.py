"""A shift: one person's signature over every capture of one modality, each once, whatever ends in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from commands import platemark

from builders import NOW, key
from platemark import statement
from platemark.chain import Chain
from platemark.errors import StateError
from platemark.gateway.journal import Journal, Received
from platemark.key_files import write_private
from platemark.shift import Shift
from platemark.spool import Spool

LOG = bytes([7]) * 32
PERSON = "https://hospital.example/people/7"


class Gateway:
    """The state directory of a gateway, with what its own processes would write there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.journal = Journal(directory / "journal.sqlite")
        self.spool = Spool(directory / "spool")

    def captured(self, number: int, *, calling: str = "DX1", signed: bool = True) -> bytes:
        """An object of the modality whose statement is in the spool; the statement's id."""
        self.journal.add(
            Received(
                object_id=f"{number:032x}",
                path=self.directory / "objects" / f"{number}.dcm",
                bytes=1,
                received_ns=NOW + number,
                sop_class="1.2.3",
                sop_instance=f"1.2.3.{number}",
                transfer_syntax="1.2.840.10008.1.2.1",
                calling=calling,
                called="GATEWAY",
                address="127.0.0.1",
            )
        )
        return self.signed(number) if signed else b""

    def signed(self, number: int) -> bytes:
        """The object gets its statement; the statement's id."""
        identity = bytes([number]) * 32
        self.journal.captured(f"{number:032x}", identity)
        return identity

    def attested(self) -> list[bytes]:
        """The captures whose attestations wait in the spool, in order."""
        return [statement.decode(each.raw).payload["of"] for each in self.spool.pending(100)]  # type: ignore[misc]


@pytest.fixture(name="gateway")
def _gateway(tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(tmp_path)
    yield made
    made.spool.close()
    made.journal.close()


@pytest.fixture(name="chain")
def _chain(tmp_path: Path) -> Chain:
    return begun(tmp_path)


def begun(tmp_path: Path) -> Chain:
    """The person's chain."""
    chain = Chain(tmp_path / "badge.pem", key("person").private)
    chain.begin(issuer=PERSON)
    return chain


def shift(gateway: Gateway, chain: Chain, *, since: int = NOW) -> Shift:
    """One that began at `since`."""
    return Shift(gateway.directory, "DX1", chain, log=LOG, meaning="performed", since_ns=since, now=lambda: NOW + 1000)


def test_every_capture_of_the_modality_since_the_shift_began_is_attested_once(gateway: Gateway, chain: Chain) -> None:
    """Not those of another modality, not those from before; in order; and none twice."""
    first = gateway.captured(1)
    gateway.captured(2, calling="CT1")
    second = gateway.captured(3)
    with shift(gateway, chain, since=NOW + 1) as working:
        assert working.step() == [first, second]
        assert working.step() == []
        third = gateway.captured(4)
        assert working.step() == [third]
    with shift(gateway, chain, since=NOW + 3) as again:
        assert again.step() == []
    assert gateway.attested() == [first, second, third]


def test_a_capture_that_was_signed_late_is_attested(gateway: Gateway, chain: Chain) -> None:
    """An object that is captured after later ones, because it failed at first, is not passed over."""
    gateway.captured(1, signed=False)
    gateway.journal.capture_failed(f"{1:032x}", "the vault is not there")
    later = gateway.captured(2)
    with shift(gateway, chain, since=NOW) as working:
        assert working.step() == [later]
        gateway.journal.retry_capture(f"{1:032x}")
        late = gateway.signed(1)
        assert (working.step(), working.step()) == ([late], [])


def test_an_attestation_says_who_what_and_when(gateway: Gateway, chain: Chain) -> None:
    """Of the capture, in this log, at the person's own time, signed as the person."""
    gateway.captured(1)
    with shift(gateway, chain) as working:
        working.step()
    (entry,) = gateway.spool.pending(10)
    said = statement.decode(entry.raw)
    assert (said.kind, said.issuer, said.payload["meaning"]) == ("attest", PERSON, "performed")
    assert (said.payload["log"], said.payload["at"]) == (LOG, NOW + 1000)
    said.verify(key("person").public)


def test_attestations_are_kept_for_who_fetches_their_evidence(gateway: Gateway, chain: Chain, tmp_path: Path) -> None:
    """Each in a file of its own, named by the capture, the same bytes as in the spool."""
    capture = gateway.captured(1)
    (tmp_path / "out").mkdir()
    told = {"log": LOG, "meaning": "performed", "since_ns": NOW, "out": tmp_path / "out"}
    with Shift(gateway.directory, "DX1", chain, **told) as working:  # type: ignore[arg-type] # fields by name
        working.step()
    (entry,) = gateway.spool.pending(10)
    assert (tmp_path / "out" / f"{capture.hex()}.attest.statement").read_bytes() == entry.raw
    with pytest.raises(StateError, match="missing: not a directory"):
        Shift(gateway.directory, "DX1", chain, **{**told, "out": tmp_path / "missing"})  # type: ignore[arg-type]


def test_a_crash_between_signature_and_spool_leaves_no_gap(gateway: Gateway, chain: Chain, tmp_path: Path) -> None:
    """What was signed and not kept is signed again: the same statement, at the same place of the chain."""
    first, second = gateway.captured(1), gateway.captured(2)
    ended = mock.patch.object(Spool, "put", side_effect=KeyboardInterrupt)
    with shift(gateway, chain) as working, ended, pytest.raises(KeyboardInterrupt):
        working.step()
    with shift(gateway, begun(tmp_path)) as working:
        assert working.step() == [first, second]
    said = [statement.decode(each.raw) for each in gateway.spool.pending(10)]
    assert [each.payload["seq"] for each in said] == [0, 1]
    assert said[1].payload["prev"] == said[0].id


def test_a_directory_without_a_gateway_is_refused(tmp_path: Path, chain: Chain) -> None:
    """Nothing is made there."""
    with pytest.raises(StateError, match="not there; --gateway names the state_dir of a gateway"):
        Shift(tmp_path / "other", "DX1", chain, log=LOG, meaning="performed", since_ns=0)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "either statement files, or --gateway DIR"),
        (("--gateway", "{state}"), "--gateway needs --calling"),
        (("--gateway", "{state}", "--calling", "DX1", "scan.statement"), "either statement files, or --gateway DIR"),
        (("scan.statement", "--follow"), "go with --gateway"),
        (("--gateway", "{state}", "--calling", "DX1", "--attribute", "remark=x"), "go with statement files"),
    ],
)
def test_the_command_says_what_does_not_go_together(
    gateway: Gateway, words: tuple[str, ...], reason: str, tmp_path: Path
) -> None:
    """One sentence, exit code 2."""
    write_private(tmp_path / "badge.pem", key("person").private)
    named = [word.format(state=gateway.directory) for word in words]
    ran = platemark("attest", *named, "--key", tmp_path / "badge.pem", "--device", PERSON, "--log", LOG.hex())
    assert ran.code == 2
    assert reason in ran.err


def test_the_command_attests_a_shift(gateway: Gateway, tmp_path: Path) -> None:
    """It names each capture and says how many they were."""
    captures = [gateway.captured(1), gateway.captured(2)]
    write_private(tmp_path / "badge.pem", key("person").private)
    words = ("attest", "--gateway", gateway.directory, "--calling", "DX1", "--since", NOW)
    ran = platemark(*words, "--key", tmp_path / "badge.pem", "--device", PERSON, "--log", LOG.hex())
    assert ran.code == 0, ran.err
    assert all(each.hex() in ran.out for each in captures)
    assert "2 captures attested" in ran.out
    again = platemark(*words, "--key", tmp_path / "badge.pem", "--log", LOG.hex(), "--json")
    assert again.json() == {"meaning": "performed", "calling": "DX1", "attested": 0}
    assert again.err == ""
    words = ("attest", "--gateway", gateway.directory, "--calling", "dx1", "--since", NOW)
    mistaken = platemark(*words, "--key", tmp_path / "badge.pem", "--log", LOG.hex())
    assert (mistaken.code, "nothing captured has come from dx1 yet" in mistaken.err) == (0, True)
