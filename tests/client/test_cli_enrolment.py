"""Enrolment requests: what a device asks, and what a registrar accepts as asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import platemark

import builders
from platemark import cbor, statement
from platemark.chain import Chain
from platemark.enrolment import MAX_REQUEST, decode_request, enrolment_payload, request_enrolment
from platemark.errors import FormatError
from platemark.key_files import read_private

LOG = bytes(range(32))
URI = "https://hospital.example/dx1"


def request(algorithm: builders.Algorithm = "p256") -> dict[str, Any]:
    """The fields of a good request."""
    made = request_enrolment(builders.key("asking", algorithm), log=LOG, device=URI, role="modality")
    content = cbor.decode(made.to_bytes())
    assert isinstance(content, dict)
    return {str(name): value for name, value in content.items()}


@pytest.mark.parametrize("algorithm", ["p256", "ed25519", "mldsa44"])
def test_a_request_becomes_an_enrolment(algorithm: builders.Algorithm, tmp_path: Path) -> None:
    """The payload made from a request is one that a statement takes, proof included."""
    asked = request_enrolment(builders.key("asking", algorithm), log=LOG, device=URI, role="modality")
    assert asked == decode_request(asked.to_bytes())
    chain = Chain(tmp_path / "registrar.pem", builders.REGISTRAR.key)
    chain.begin(issuer=builders.REGISTRAR.uri)
    payload = enrolment_payload(asked, at=5, not_before=1, not_after=9, attributes=bytes(32))
    signed = chain.sign("enrol", payload)
    assert (URI, "modality", asked.key) == tuple(signed.payload[name] for name in ("device", "role", "key"))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"v": 2}, "request.v"),
        ({"log": bytes(31)}, "request.log"),
        ({"device": "dx1"}, "request.device"),
        ({"role": "king"}, "request.role"),
        ({"key": b""}, "request.key"),
        ({"proof": bytes(63)}, "request.proof"),
        ({"proof": bytes(64)}, "request.proof"),
        ({"log": bytes(32)}, "request.proof"),
        ({"device": URI + "2"}, "request.proof"),
        ({"role": "sensor"}, "request.proof"),
        ({"key": builders.key("other").spki}, "request.proof"),
        ({"extra": 1}, "request.extra"),
    ],
    ids=range(12),
)
def test_a_request_with_a_fault_is_refused(change: dict[str, Any], field: str) -> None:
    """Every field is checked, and the proof covers log, device, role and key."""
    with pytest.raises(FormatError) as caught:
        decode_request(cbor.encode({**request(), **change}))
    assert field == caught.value.field


@pytest.mark.parametrize("name", ["v", "log", "device", "role", "key", "proof"])
def test_every_field_is_required(name: str) -> None:
    """A request without one of its fields is refused."""
    fields = request()
    del fields[name]
    with pytest.raises(FormatError, match=f"request.{name}: missing"):
        decode_request(cbor.encode(fields))


@pytest.mark.parametrize("data", [b"", b"\xa0", b"\x01", b"x" * (MAX_REQUEST + 1)], ids=["0", "map", "int", "large"])
def test_other_bytes_are_refused(data: bytes) -> None:
    """Whatever it is, the error is ours."""
    with pytest.raises(FormatError):
        decode_request(data)


def test_the_device_s_half_needs_no_ledger(tmp_path: Path) -> None:
    """A request is made offline; the device remembers its URI and role, and nothing secret is in the file."""
    platemark("keygen", tmp_path / "dx1.pem")
    words = ("--key", tmp_path / "dx1.pem", "--device", URI, "--role", "gateway", "--log", LOG.hex())
    ran = platemark("enrol", *words, "--json")
    assert (ran.code, ran.err) == (0, "")
    asked = decode_request((tmp_path / "dx1.request").read_bytes())
    key = read_private(tmp_path / "dx1.pem")
    assert (key.spki, URI, "gateway", LOG) == (asked.key, asked.device, asked.role, asked.log)
    state = Chain(tmp_path / "dx1.pem", key).state()
    assert state is not None
    assert (state.issuer, state.role, state.seq) == (URI, "gateway", 0)
    assert ((again := platemark("enrol", *words)).code, "exists already" in again.err) == (2, True)
    assert platemark("enrol", *words, "--force").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give --key (device)"),
        (("--key", "k", "--request", "r"), "give --key (device)"),
        (("--request", "r"), "give --key (device)"),
        (("--key", "k", "--registrar", "r", "--request-out", "o"), "--request-out is the device's half"),
        (("--key", "k", "--log", "00"), "--log is 64 hex digits"),
        (("--key", "k"), "--log (or --trust with one log)"),
        (("--key", "k", "--log", "00" * 32), "--device and --role"),
        (("--key", "k", "--registrar", "r", "--not-after", "2030-01-01", "--valid-days", "5"), "give one"),
        (("--key", "k", "--registrar", "r", "--not-before", "2030-01-01", "--not-after", "2029-01-01"), "earlier"),
    ],
    ids=range(9),
)
def test_half_a_command_line_is_a_usage_error(words: tuple[str, ...], said: str) -> None:
    """The three uses are told apart before anything is read or sent."""
    ran = platemark("enrol", *words)
    assert (ran.code, said in ran.err) == (2, True)


def test_the_proof_is_bound_to_the_log() -> None:
    """What the device signs for one log is no proof for another: the input differs."""
    first = statement.enrolment_proof_input(log=LOG, device=URI, role="modality")
    assert first != statement.enrolment_proof_input(log=bytes(32), device=URI, role="modality")
