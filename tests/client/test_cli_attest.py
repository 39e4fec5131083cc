"""`platemark attest`: the signature of a person over what a device captured."""

from pathlib import Path

import pytest
from commands import ct, platemark

from platemark import attributes, key_files, statement
from platemark.spool import Spool
from tokens import PIN, Token

LOG = "ab" * 32
PERSON = "https://hospital.example/people/7"


@pytest.fixture(name="capture")
def _capture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A signed capture, and a person's key in `badge.pem`."""
    monkeypatch.delenv("PLATEMARK_PASSPHRASE", raising=False)
    monkeypatch.delenv("PLATEMARK_TRUST", raising=False)
    (tmp_path / "scan.dcm").write_bytes(ct())
    for name in ("dx1.pem", "badge.pem"):
        assert platemark("keygen", tmp_path / name).code == 0
    signed = platemark(
        "sign", tmp_path / "scan.dcm", "--key", tmp_path / "dx1.pem", "--device", "https://h.example/dx1"
    )
    assert signed.code == 0
    return tmp_path / "scan.dcm.statement"


def attest(capture: Path, *more: object, key: str = "badge.pem") -> tuple[int, str]:
    """Run it with the person's key."""
    ran = platemark("attest", capture, "--key", capture.with_name(key), "--device", PERSON, *more)
    return ran.code, ran.err


def test_an_attestation_is_of_the_capture_and_bound_to_the_log(capture: Path, tmp_path: Path) -> None:
    """It names the capture by its id, the log and the meaning, and is signed with the person's key."""
    assert attest(capture, "--log", LOG, "--meaning", "reviewed") == (0, "")
    signed = statement.decode((tmp_path / "scan.dcm.attest.statement").read_bytes())
    captured = statement.decode(capture.read_bytes())
    payload = signed.payload
    assert (signed.kind, payload["of"], payload["log"]) == ("attest", captured.id, bytes.fromhex(LOG))
    assert (payload["meaning"], signed.issuer) == ("reviewed", PERSON)
    signed.verify(key_files.read_public(tmp_path / "badge.pub"))


def test_facts_are_committed_to_and_their_disclosure_is_kept(capture: Path, tmp_path: Path) -> None:
    """The name of the person is not in the statement, and opens from the file beside it."""
    assert attest(capture, "--log", LOG, "--attribute", "technologist=Roe^Richard")[0] == 0
    raw = (tmp_path / "scan.dcm.attest.statement").read_bytes()
    kept = attributes.decode_disclosure((tmp_path / "scan.dcm.attest.disclosure").read_bytes())
    root = statement.decode(raw).payload["attributes"]
    assert isinstance(root, bytes)
    kept.verified(root)
    assert b"Roe" not in raw
    assert kept.values["technologist"] == "Roe^Richard"


def test_a_key_in_a_token_attests_and_the_spool_takes_it(
    capture: Path, tmp_path: Path, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A badge signs for a shift; what it signed waits in the spool for the ledger."""
    monkeypatch.setenv("PLATEMARK_PASSPHRASE", PIN)
    assert platemark("keygen", tmp_path / "card.p11", "--token", token.uri("badge")).code == 0
    assert attest(capture, "--log", LOG, "--spool", tmp_path / "spool", key="card.p11")[0] == 0
    signed = statement.decode((tmp_path / "scan.dcm.attest.statement").read_bytes())
    with Spool(tmp_path / "spool") as spool:
        assert [each.id for each in spool.pending(10)] == [signed.id]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "give --log ID, or --trust FILE"),
        (("--log", "12"), "64 hex digits"),
        (("--log", LOG, "--trust", "{missing}"), None),
        (("--trust", "{missing}"), "missing"),
        (("--log", LOG, "--meaning", "liked"), "liked"),
        (("--log", LOG, "--attribute", "shoe_size=44"), "not NAME=VALUE with a name of the registry"),
    ],
)
def test_what_cannot_be_attested_is_said(
    capture: Path, tmp_path: Path, words: tuple[str, ...], reason: str | None
) -> None:
    """One sentence and exit code 2, and the key has used up no place in its chain."""
    code, said = attest(capture, *(word.format(missing=tmp_path / "missing") for word in words))
    if reason is None:
        assert code == 0  # a trust file is read only when it is asked for the log
        return
    assert code == 2
    assert reason in said
    assert not (tmp_path / "badge.pem.state").exists()


def test_only_captures_are_attested_and_nothing_is_overwritten(capture: Path, tmp_path: Path) -> None:
    """An attestation of an attestation is refused by kind, and one that exists stays."""
    assert attest(capture, "--log", LOG)[0] == 0
    target = tmp_path / "scan.dcm.attest.statement"
    before = target.read_bytes()
    code, said = attest(capture, "--log", LOG)
    assert (code, target.read_bytes()) == (2, before)
    assert "exists already" in said
    code, said = attest(target, "--log", LOG)
    assert code == 2
    assert "a statement of kind attest; captures are attested" in said
