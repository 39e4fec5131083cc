"""TLS: who the ledger is, and, when it asks, who its caller is."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from integration.certificates import Authority
from integration.live import Live, Place

from platemark.rpc import Retry, RpcError, Tls, UnavailableError, UnreachableError
from platemark.rpc.sync import LedgerClient


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The authority that the ledger's operator runs."""
    return Authority(tmp_path, "authority")


def _client(live: Live, tls: Tls | None) -> LedgerClient:
    client = LedgerClient(live.address, trusted=live.place.trusted, tls=tls, retry=Retry(attempts=1), timeout=10)
    live.clients.append(client)
    return client


def test_a_client_that_knows_the_authority_talks_tls(place: Place, authority: Authority, tmp_path: Path) -> None:
    """With its authority the client is served; with another one, or without TLS, it is not."""
    server = authority.issue("server")
    stranger = Authority(tmp_path, "stranger")
    with place.served(TLS_CERTIFICATE=str(server.certificate), TLS_KEY=str(server.key)) as live:
        assert _client(live, Tls(ca=authority.ca)).checkpoint().checkpoint.size == 1
        assert _client(live, Tls(ca=authority.ca, server_name="ledger.test")).checkpoint().checkpoint.size == 1
        for tls in (Tls(ca=stranger.ca), Tls(ca=authority.ca, server_name="another.test")):
            with pytest.raises(UnavailableError):
                _client(live, tls).checkpoint()
        with pytest.raises(UnavailableError, match="does it want TLS or a client certificate"):
            _client(live, None).checkpoint()


def test_a_ledger_with_a_client_authority_serves_only_its_certificates(
    place: Place, authority: Authority, tmp_path: Path
) -> None:
    """No certificate, or one from elsewhere, and there is no connection."""
    server, device = authority.issue("server"), authority.issue("device")
    forged = Authority(tmp_path, "elsewhere").issue("forged")
    settings = {
        "TLS_CERTIFICATE": str(server.certificate),
        "TLS_KEY": str(server.key),
        "TLS_CLIENT_CA": str(authority.ca),
    }
    with place.served(**settings) as live:
        known = Tls(ca=authority.ca, certificate=device.certificate, key=device.key)
        assert _client(live, known).checkpoint().checkpoint.size == 1
        for tls in (Tls(ca=authority.ca), Tls(ca=authority.ca, certificate=forged.certificate, key=forged.key)):
            with pytest.raises(UnavailableError):
                _client(live, tls).checkpoint()


def test_the_client_refuses_plain_text_beyond_loopback() -> None:
    """Statements and lookups are linkable data: they do not cross a network in the clear."""
    with pytest.raises(RpcError, match="plain text is for loopback only"):
        LedgerClient("ledger.hospital.example:50151")


def test_a_missing_certificate_file_is_named(tmp_path: Path) -> None:
    """The client says which file, before anything is sent."""
    with pytest.raises(RpcError, match=r"nowhere\.pem: No such file"):
        LedgerClient("127.0.0.1:1", tls=Tls(ca=tmp_path / "nowhere.pem"))


def test_certificate_and_key_go_together(tmp_path: Path) -> None:
    """One without the other is a programmer's mistake."""
    with pytest.raises(ValueError, match="go together"):
        Tls(certificate=tmp_path / "a.pem")


def test_a_file_that_is_no_certificate_stops_the_ledger_with_its_name(place: Place, authority: Authority) -> None:
    """GRPC would only fail to bind; the operator learns which file."""
    server = authority.issue("server")
    server.certificate.write_text("nonsense")
    with pytest.raises(AssertionError, match="tls_certificate"):
        Live.start(place, TLS_CERTIFICATE=str(server.certificate), TLS_KEY=str(server.key))


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("127.0.0.1:99999", "127.0.0.1:99999: not HOST:PORT"),
        ("127.0.0.1", "127.0.0.1: not HOST:PORT"),
        (":50151", ":50151: not HOST:PORT"),
        ("http://127.0.0.1:50151", "give HOST:PORT, without http://"),
    ],
)
def test_an_address_of_another_form_is_refused_before_anything_is_dialled(target: str, says: str) -> None:
    """A port of 99999 would be dialled as 34463 by gRPC itself."""
    with pytest.raises(RpcError, match=says):
        LedgerClient(target)


def test_where_no_ledger_answers_the_address_and_the_reason_are_told() -> None:
    """One sentence for people, and a code that tells later from never."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: nobody else gets the port
        target = f"127.0.0.1:{taken.getsockname()[1]}"
        with LedgerClient(target, retry=Retry(attempts=1)) as client, pytest.raises(UnreachableError) as caught:
            client.checkpoint()
    assert str(caught.value).startswith(f"no ledger answers at {target} (")
    assert "Connection refused" in str(caught.value)
