"""The TLS options of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import platemark, png
from integration.certificates import Authority
from integration.live import Place


@pytest.fixture(name="image")
def _image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("PLATEMARK_SERVER", "PLATEMARK_TRUST", "PLATEMARK_TLS_CA"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "a.png"
    path.write_bytes(png())
    return path


def test_commands_talk_tls(place: Place, image: Path, tmp_path: Path) -> None:
    """With the authority and a certificate of its own the command is answered; the trust file is proven over TLS, too."""
    authority = Authority(tmp_path, "authority")
    server, device = authority.issue("server"), authority.issue("device")
    settings = {
        "TLS_CERTIFICATE": str(server.certificate),
        "TLS_KEY": str(server.key),
        "TLS_CLIENT_CA": str(authority.ca),
    }
    with place.served(**settings) as live:
        words = ("lookup", image, "--server", live.address, "--trust", place.directory / "trust.toml")
        tls = ("--tls-ca", authority.ca, "--tls-certificate", device.certificate, "--tls-key", device.key)
        ran = platemark(*words, *tls, "--tls-server-name", "ledger.test")
    assert (ran.code, ran.out, ran.err) == (1, "no record of this image\n", "")


def test_a_device_with_the_writer_role_does_its_work_and_no_more(place: Place, image: Path, tmp_path: Path) -> None:
    """It enrols and captures, and proves the ledger by its trust file; looking up is another role's, and the line says which."""
    authority = Authority(tmp_path, "authority")
    server, device = authority.issue("server"), authority.issue("device", uris=["spiffe://hospital.example/device/1"])
    access = tmp_path / "access.toml"
    access.write_text('[[caller]]\nspiffe_prefix = "spiffe://hospital.example/device/"\nroles = ["writer"]\n')
    settings = {
        "TLS_CERTIFICATE": str(server.certificate),
        "TLS_KEY": str(server.key),
        "TLS_CLIENT_CA": str(authority.ca),
        "ACCESS": str(access),
    }
    key, registrar = tmp_path / "dx1.pem", place.directory / "offline" / "registrar.key"
    assert platemark("keygen", key).code == 0
    with place.served(**settings) as live:
        ledger = ("--server", live.address, "--trust", place.directory / "trust.toml", "--tls-ca", authority.ca)
        tls = (*ledger, "--tls-certificate", device.certificate, "--tls-key", device.key)
        who = ("--key", key, "--device", "https://devices.test/1", "--role", "modality")
        ran = platemark("enrol", *who, "--registrar", registrar, *tls)
        assert (ran.code, ran.err) == (0, "")
        ran = platemark("capture", image, "--key", key, *tls, "--json")
        assert (ran.code, ran.json()["counts"]) == (0, {"logged": 1})
        for command in ("lookup", "fetch"):
            ran = platemark(command, image, *tls)
            assert (ran.code, ran.err.count("\n")) == (2, 1)
            assert "spiffe://hospital.example/device/1 has not the role reader" in ran.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--tls-server-name", "a"), "need --tls-ca as well"),
        (("--tls-ca", "system", "--tls-key", "k"), "go together"),
        (("--tls-ca", "no-such-file"), "no-such-file: No such file"),
    ],
    ids=["name", "key", "file"],
)
def test_half_of_the_options_is_one_line(image: Path, words: tuple[str, ...], said: str) -> None:
    """Nothing falls back to plain text."""
    ran = platemark("lookup", image, *words)
    assert (ran.code, said in ran.err, ran.err.count("\n")) == (2, True, 1)
