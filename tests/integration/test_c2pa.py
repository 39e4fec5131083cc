"""Content Credentials against a real ledger: from an export to a picture that carries its own proof."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import case, platemark
from integration import authority
from integration.live import Live

from content_credentials import jpeg, owner, png


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_from_export_to_content_credentials(
    live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """capture, fetch, c2pa sign, c2pa verify; the signed picture is captured again, with the digest of what it carries."""
    for name in ("PLATEMARK_SERVER", "PLATEMARK_TRUST", "PLATEMARK_PASSPHRASE", "PLATEMARK_TLS_CA"):
        monkeypatch.delenv(name, raising=False)
    place = live.place.directory
    trust = place / "trust.toml"
    to = ("--server", live.address, "--trust", trust)
    key, image, me = tmp_path / "cam.pem", tmp_path / f"frame.{kind}", owner(tmp_path)
    image.write_bytes(png(shade=31) if kind == "png" else jpeg(seed=31))
    assert platemark("keygen", key).code == 0
    uri = f"https://devices.test/c2pa/{kind}"
    registrar = place / "offline" / "registrar.key"
    assert (
        platemark("enrol", "--key", key, "--device", uri, "--role", "modality", "--registrar", registrar, *to).code == 0
    )
    assert platemark("capture", image, "--key", key, *to).code == 0
    assert platemark("fetch", image, *to).code == 0
    ran = platemark("c2pa", "sign", image, "--certificate", me.chain, "--key", me.key)
    assert (ran.code, ran.err) == (0, "")
    signed = tmp_path / f"frame.c2pa.{kind}"
    found = platemark("c2pa", "verify", signed, "--trust", trust, "--anchors", me.anchors, "--json").json()
    assert (found["c2pa"]["state"], found["platemark"]["result"], found["platemark"]["rung"]) == (
        "Trusted",
        "MATCHES RECORD",
        "file",
    )
    assert found["platemark"]["facts"]["device"] == uri
    # With the plain verifier a manifest is a change of the file, and only a PNG has pixels to fall back on: it is told why.
    ran = platemark("verify", signed, "--evidence", tmp_path / f"frame.{kind}.evidence", "--trust", trust)
    assert (ran.code, "platemark c2pa verify" in ran.err) == ((0, False) if kind == "png" else (1, True))
    assert platemark("capture", signed, "--key", key, *to).code == 0
    assert platemark("fetch", signed, "--disclose", "embedded_provenance", *to).code == 0
    verdict = platemark("verify", signed, "--trust", trust, "--json").json()
    assert verdict["result"] == "MATCHES RECORD"
    assert verdict["attributes"]["embedded_provenance"] == "equal"


def test_a_time_stamp_where_one_is_asked_for(tmp_path: Path) -> None:
    """--tsa asks the authority that it names, and C2PA's reader shows its time; an authority that is not there is a sentence."""
    desk, me = case(tmp_path, png(), name="frame.png"), owner(tmp_path)
    words = ("c2pa", "sign", desk.image, "--certificate", me.chain, "--key", me.key)
    with authority.running(tmp_path / "tsa") as announced:
        ran = platemark(*words, "--tsa", announced["url"])
        assert (ran.code, ran.err) == (0, "")
    found = platemark("c2pa", "verify", tmp_path / "frame.c2pa.png", "--anchors", me.anchors, "--json").json()
    assert found["c2pa"]["state"] == "Trusted"
    assert "time" in found["c2pa"]["signer"]
    ran = platemark(*words, "--tsa", announced["url"], "--out", tmp_path / "never.png")
    assert (ran.code, ran.err.count("\n"), (tmp_path / "never.png").exists()) == (2, 1, False)
