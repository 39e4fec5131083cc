"""Roles, certificates and revocation, against a real ledger with real certificates."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from integration.certificates import Authority, Issued
from integration.live import Live, Place, only

from platemark.rpc import Retry, Tls, UnavailableError
from platemark.rpc.sync import LedgerClient
from platemark.v1 import ledger_pb2 as pb
from platemark.v1 import ledger_pb2_grpc

DEVICE = "spiffe://hospital.example/device/ct-1"
ACCESS = f"""
[[caller]]
spiffe = "{DEVICE}"
roles = ["writer"]
[[caller]]
spiffe_prefix = "spiffe://hospital.example/viewer/"
roles = ["reader"]
[[caller]]
subject = "CN=operator"
roles = ["operator"]
[[caller]]
subject = "CN=everything"
roles = ["writer", "reader", "operator"]
"""
# What each call needs, written down a second time: the statement at index 1 is an enrolment.
NEEDS: dict[str, tuple[str, Message]] = {
    "append": ("writer", pb.AppendRequest(statements=[b"no statement"])),
    "lookup": ("reader", pb.LookupRequest(digest=bytes(32))),
    "statement by index": ("reader", pb.GetStatementRequest(index=1)),
    "statement by id": ("reader", pb.GetStatementRequest(id=bytes(32))),
    "statement 0": ("public", pb.GetStatementRequest(index=0)),
    "evidence by index": ("reader", pb.GetEvidenceRequest(index=1)),
    "evidence by id": ("reader", pb.GetEvidenceRequest(id=bytes(32))),
    "evidence 0": ("public", pb.GetEvidenceRequest(index=0)),
    "list": ("operator", pb.ListStatementsRequest()),
    "inclusion by id": ("reader", pb.GetInclusionProofRequest(id=bytes(32))),
    "inclusion by index": ("public", pb.GetInclusionProofRequest(index=1)),
    "consistency": ("public", pb.GetConsistencyProofRequest(old_size=1)),
    "checkpoint": ("public", pb.GetCheckpointRequest()),
}
_MISSING = ("PERMISSION_DENIED", "MISSING_ROLE")
_REVOKED = ("UNAUTHENTICATED", "BAD_CERTIFICATE", "")


@dataclass
class Secured:
    """A ledger with TLS, an authority of its callers, and an access file."""

    place: Place
    directory: Path
    authority: Authority
    server: Issued
    access: Path
    crl: Path
    channels: list[grpc.Channel] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, str]:
        """All of it, as the environment says it."""
        return {
            "TLS_CERTIFICATE": str(self.server.certificate),
            "TLS_KEY": str(self.server.key),
            "TLS_CLIENT_CA": str(self.authority.ca),
            "ACCESS": str(self.access),
        }

    def issue(self, name: str, *uris: str, expired: bool = False) -> Issued:
        """A certificate of the callers' authority."""
        return self.authority.issue(name, uris=uris, expired=expired)

    def revoke(self, *stolen: Issued) -> None:
        """A new revocation list, moved into place."""
        new = self.crl.with_suffix(".new")
        new.write_bytes(self.authority.revocation_list(*stolen).public_bytes(Encoding.PEM))
        new.replace(self.crl)

    def caller(self, live: Live, shown: Issued | None) -> Callable[[Message], tuple[str, ...]]:
        """Calls on one connection; each says OK, or code, reason and the role that ErrorInfo names."""
        credentials = grpc.ssl_channel_credentials(
            self.authority.ca.read_bytes(),
            shown.key.read_bytes() if shown else None,
            shown.certificate.read_bytes() if shown else None,
        )
        channel = grpc.secure_channel(live.address, credentials)
        self.channels.append(channel)
        return lambda request: call(channel, request)

    def client(self, live: Live, shown: Issued | None) -> LedgerClient:
        """The product's own client with that certificate."""
        tls = Tls(
            ca=self.authority.ca,
            certificate=shown.certificate if shown else None,
            key=shown.key if shown else None,
        )
        client = LedgerClient(live.address, trusted=live.place.trusted, tls=tls, retry=Retry(attempts=1), timeout=10)
        live.clients.append(client)
        return client


@pytest.fixture
def secured(place: Place, tmp_path: Path) -> Iterator[Secured]:
    """Not served yet; its channels are closed at the end."""
    authority = Authority(tmp_path, "authority")
    access = tmp_path / "access.toml"
    access.write_text(ACCESS)
    made = Secured(place, tmp_path, authority, authority.issue("server"), access, tmp_path / "revoked.pem")
    made.revoke()
    yield made
    for channel in made.channels:
        channel.close()


def call(channel: grpc.Channel, request: Message) -> tuple[str, ...]:
    """How a call ended."""
    method = getattr(ledger_pb2_grpc.LedgerStub(channel), type(request).__name__.removesuffix("Request"))
    try:
        answer = method(request, timeout=20)
        if isinstance(request, pb.ListStatementsRequest):
            list(answer)
    except grpc.RpcError as error:
        return _told(cast("grpc.Call", error))
    return ("OK",)


def _told(error: grpc.Call) -> tuple[str, str, str]:
    info = error_details_pb2.ErrorInfo()
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                detail.Unpack(info)
    return error.code().name, info.reason, info.metadata.get("role", "")


def test_each_role_and_each_call(secured: Secured) -> None:
    """A caller gets an answer exactly where its roles have the one that the call needs, and else the name of that role."""
    callers = {
        "writer": (secured.issue("device", DEVICE), {"writer"}),
        "reader": (secured.issue("viewer", "spiffe://hospital.example/viewer/7"), {"reader"}),
        "operator": (secured.issue("operator"), {"operator"}),
        "everything": (secured.issue("everything"), {"writer", "reader", "operator"}),
        "unknown": (secured.issue("unknown", "spiffe://hospital.example/device/ct-2"), set()),
        "twofold": (secured.issue("everything-too", DEVICE, "spiffe://hospital.example/viewer/7"), set()),
        "its subject is not asked": (secured.issue("operator-too", "spiffe://hospital.example/x"), set()),
    }
    with secured.place.served(**secured.settings) as live:
        registrar = secured.place.registrar()
        enrolment = registrar.enrolment(registrar.new("ct-1"), "modality")
        only(secured.client(live, callers["writer"][0]).append([enrolment]).outcomes)
        for name, (shown, roles) in callers.items():
            ask = secured.caller(live, shown)
            for what, (needed, request) in NEEDS.items():
                allowed = needed == "public" or needed in roles
                found = "NOT_FOUND" if what.endswith("by id") else "OK"
                expected = (found,) if allowed else (*_MISSING, needed)
                assert (name, what, ask(request)[: len(expected)]) == (name, what, expected)


def test_without_a_certificate_only_public_calls_are_answered(secured: Secured) -> None:
    """Where callers cannot show one, the others are UNAUTHENTICATED and the role is named."""
    settings = {name: value for name, value in secured.settings.items() if name != "TLS_CLIENT_CA"}
    with secured.place.served(**settings) as live:
        ask = secured.caller(live, None)
        for needed, request in NEEDS.values():
            expected = ("UNAUTHENTICATED", "UNAUTHENTICATED", needed) if needed != "public" else ("OK",)
            if request != NEEDS["inclusion by index"][1]:  # the log has one statement
                assert ask(request) == expected
    assert "nobody can show a certificate" in live.log.read_text()


def test_without_an_access_file_a_certificate_writes_and_reads_and_nobody_lists(secured: Secured) -> None:
    """What holds under TLS when nothing was said about roles; without client certificates it is the public calls alone."""
    shown = secured.issue("anybody")
    settings = {name: value for name, value in secured.settings.items() if name != "ACCESS"}
    with secured.place.served(**settings) as live:
        ask = secured.caller(live, shown)
        assert ask(NEEDS["append"][1]) == ask(NEEDS["lookup"][1]) == ask(NEEDS["checkpoint"][1]) == ("OK",)
        assert ask(NEEDS["list"][1]) == (*_MISSING, "operator")
    del settings["TLS_CLIENT_CA"]
    with secured.place.served(**settings) as live:
        ask = secured.caller(live, None)
        assert ask(NEEDS["checkpoint"][1]) == ("OK",)
        assert [ask(NEEDS[each][1])[0] for each in ("append", "lookup", "list")] == ["UNAUTHENTICATED"] * 3


def test_a_certificate_that_expired_or_is_of_another_authority_or_none_does_not_connect(secured: Secured) -> None:
    """TLS refuses before anything is asked."""
    (secured.directory / "elsewhere").mkdir()
    stranger = Authority(secured.directory / "elsewhere", "authority")  # of the same name
    with secured.place.served(**secured.settings) as live:
        assert secured.client(live, secured.issue("everything")).checkpoint().checkpoint.size == 1
        for shown in (secured.issue("late", expired=True), stranger.issue("everything"), None):
            with pytest.raises(UnavailableError):
                secured.client(live, shown).checkpoint()


def test_a_stolen_certificate_is_refused_with_its_next_call(secured: Secured) -> None:
    """On the connection that it has, and for public calls too; others go on, and an unusable list changes nothing."""
    stolen, kept = secured.issue("everything"), secured.issue("operator")
    with secured.place.served(TLS_CLIENT_CRL=str(secured.crl), **secured.settings) as live:
        thief, owner = secured.caller(live, stolen), secured.caller(live, kept)
        assert thief(NEEDS["lookup"][1]) == ("OK",)
        secured.revoke(stolen)
        assert thief(NEEDS["lookup"][1]) == _REVOKED
        assert thief(NEEDS["checkpoint"][1]) == _REVOKED
        assert secured.caller(live, stolen)(NEEDS["append"][1]) == _REVOKED
        assert owner(NEEDS["list"][1]) == ("OK",)
        secured.crl.write_text("nothing that is a list")
        assert thief(NEEDS["lookup"][1]) == _REVOKED
        assert owner(NEEDS["list"][1]) == ("OK",)
        secured.revoke()
        assert thief(NEEDS["lookup"][1]) == ("OK",)
    assert live.log.read_text().count("ALARM: the new tls_client_crl is not used") == 1


def test_a_role_that_is_taken_away_is_gone_with_the_next_call(secured: Secured) -> None:
    """The access file is read again; one that cannot be used leaves the roles as they were."""
    with secured.place.served(**secured.settings) as live:
        ask = secured.caller(live, secured.issue("operator"))
        assert ask(NEEDS["list"][1]) == ("OK",)
        secured.access.write_text(ACCESS.replace("operator", "nobody"))
        assert ask(NEEDS["list"][1]) == ("OK",)  # `nobody` is no role
        secured.access.write_text(ACCESS.replace('["operator"]', '["reader"]'))
        assert ask(NEEDS["list"][1]) == (*_MISSING, "operator")
        assert ask(NEEDS["lookup"][1]) == ("OK",)
    assert live.log.read_text().count("ALARM: the new access is not used") == 1


@pytest.mark.parametrize("setting", ["ACCESS", "TLS_CLIENT_CRL", "TLS_CLIENT_CA", "TLS_KEY"])
def test_a_start_with_a_file_that_cannot_be_used_is_refused(secured: Secured, setting: str) -> None:
    """Its operator meant it to count, and learns which."""
    odd = secured.directory / "odd"
    odd.write_text("odd")
    with pytest.raises(AssertionError, match=f"serve ended with 2: (?s:.)*{setting.lower()}"):
        Live.start(secured.place, **{**secured.settings, setting: str(odd)})


def test_certificates_are_replaced_under_traffic(secured: Secured) -> None:
    """New connections meet the new certificate and the new authority, and no call fails meanwhile."""
    shown = secured.issue("everything")
    with secured.place.served(**secured.settings) as live, _traffic(secured, live, shown) as outcomes:
        assert _served(secured, live, shown) == _fingerprint(secured.server)
        (secured.directory / "later").mkdir()
        later = Authority(secured.directory / "later", "later")
        both = secured.authority.ca.read_bytes() + later.ca.read_bytes()
        _replace(secured.authority.ca, both)
        new = later.issue("server")
        _replace(secured.server.certificate, new.certificate.read_bytes())
        # Between the two the pair does not fit: the old one stays in use.
        assert _served(secured, live, shown) != _fingerprint(new)
        _replace(secured.server.key, new.key.read_bytes())
        assert _served(secured, live, shown) == _fingerprint(new)
        # Its callers' authority is known now, too.
        assert secured.caller(live, later.issue("operator"))(NEEDS["list"][1]) == ("OK",)
    assert outcomes
    assert set(outcomes) == {("OK",)}
    assert live.log.read_text().count("ALARM: the new tls_certificate is not used") == 1


@contextmanager
def _traffic(secured: Secured, live: Live, shown: Issued) -> Iterator[list[tuple[str, ...]]]:
    """One caller that asks all the time on the connection that it has, and at least once while the block runs."""
    outcomes: list[tuple[str, ...]] = []
    done, asked = threading.Event(), threading.Event()
    ask = secured.caller(live, shown)

    def run() -> None:
        while not done.is_set():
            outcomes.append(ask(NEEDS["checkpoint"][1]))
            asked.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert asked.wait(20)
        yield outcomes
    finally:
        done.set()
        thread.join()


def _served(secured: Secured, live: Live, shown: Issued) -> str:
    """SHA-256 of the certificate that a new connection meets."""
    context = ssl.create_default_context(cafile=str(secured.authority.ca))
    context.load_cert_chain(shown.certificate, shown.key)
    context.set_alpn_protocols(["h2"])
    context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT  # the test's authority leaves key identifiers out
    host, port = live.address.rsplit(":", 1)
    with (
        socket.create_connection((host, int(port)), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        found: Any = connection.getpeercert(binary_form=True)
    return sha256(found).hexdigest()


def _fingerprint(issued: Issued) -> str:
    certificate: x509.Certificate = issued.parsed
    return sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def _replace(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)
