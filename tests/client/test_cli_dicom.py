"""`platemark dicom sign` and `verify` from outside: exit codes, words, JSON, and files that stay as they are."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Ran, platemark
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from capture_writers import EXPLICIT, IMPLICIT, element, file_meta
from dicom_signers import credential, series

PASSPHRASE = "correct horse"


@pytest.fixture(name="case")
def _case(tmp_path: Path) -> Path:
    """A folder with an object, and keys and certificates of two signers; one key is encrypted."""
    (tmp_path / "scan.dcm").write_bytes(series())
    (tmp_path / "passphrase").write_text(PASSPHRASE + "\n")
    for kind, encryption in (
        ("p256", serialization.NoEncryption()),
        ("rsa", serialization.BestAvailableEncryption(PASSPHRASE.encode())),
    ):
        each = credential(kind)
        pem = each.key.private_bytes(Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        (tmp_path / f"{kind}.pem").write_bytes(pem)
        (tmp_path / f"{kind}.crt").write_bytes(each.certificate.public_bytes(Encoding.PEM))
    return tmp_path


def sign(case: Path, *more: object, kind: str = "p256", source: str = "scan.dcm", out: str = "signed.dcm") -> Ran:
    """Sign with a key of the folder."""
    key, certificate = case / f"{kind}.pem", case / f"{kind}.crt"
    words = ("--key", key, "--certificate", certificate, "--out", case / out, *more)
    return platemark("dicom", "sign", case / source, *words)


def verify(case: Path, *more: object, name: str = "signed.dcm") -> Ran:
    """Check, as of a time within the certificates' dates."""
    return platemark("dicom", "verify", case / name, "--at", "2026-12-01T00:00:00Z", *more)


def test_sign_and_verify(case: Path) -> None:
    """What was signed is good for whoever names the certificate, and undecided for anybody else."""
    assert sign(case).code == 0
    good = verify(case, "--ca", case / "p256.crt")
    assert good.code == 0
    for words in (
        "HOLDS: ECDSA P-256 with SHA256",
        "CN=Scanner p256",
        "trusted: ",
        "NOT covered  nothing that is there",
    ):
        assert words in good.out
    stranger = verify(case)
    assert (stranger.code, "NOT TRUSTED" in stranger.out) == (3, True)
    (case / "signed.dcm").write_bytes((case / "signed.dcm").read_bytes().replace(b"Doe^Jane", b"Doe^June"))
    bad = verify(case, "--ca", case / "p256.crt")
    assert (bad.code, "FAILS: what it covers is not what was signed" in bad.out) == (1, True)


def test_json(case: Path) -> None:
    """--json has the whole of it, and the exit code."""
    made = sign(case, "--passphrase-file", case / "passphrase", "--profile", "creator", "--json", kind="rsa").json()
    assert (made["profile"], "(7FE0,0010)" in made["covered"], made["unknown"]) == ("creator", True, [])
    ran = verify(case, "--ca", case / "rsa.crt", "--json")
    shown = ran.json()
    assert (ran.code, shown["exit_code"]) == (0, 0)
    (signature,) = shown["signatures"]
    assert signature["uid"] == made["signature"]
    assert (signature["integrity"], signature["certificate"]["result"], signature["timestamp"]) == (
        "holds",
        "pass",
        None,
    )
    assert (signature["covered"], signature["not_covered"]) == (made["covered"], [])
    assert signature["profiles"] == {"base": None, "creator": None}
    assert verify(case, "--ca", case / "rsa.crt", "--json").out == ran.out


def test_tags(case: Path) -> None:
    """--tags takes tags as people write them, and the rest is named as not covered."""
    assert sign(case, "--tags", "(0010,0010) 0008,0018 7fe00010").code == 0
    shown = verify(case, "--ca", case / "p256.crt", "--json").json()["signatures"][0]
    assert shown["covered"] == ["(0008,0018)", "(0010,0010)", "(7FE0,0010)"]
    assert "(0010,0020)" in shown["not_covered"]


def test_a_signature_of_an_item(case: Path) -> None:
    """Of a signature within an item it is said that nothing outside the item is covered."""
    assert sign(case).code == 0
    inner = (case / "signed.dcm").read_bytes()[len(file_meta(EXPLICIT)) :]
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
    (case / "nested.dcm").write_bytes(file_meta(EXPLICIT) + element(0x00081140, "SQ", item))
    ran = verify(case, "--ca", case / "p256.crt", name="nested.dcm")
    assert (ran.code, "signature 0 of item (0008,1140)[0]: HOLDS" in ran.out) == (0, True)
    assert "nothing outside this item" in ran.out


def test_an_object_without_signatures(case: Path) -> None:
    """No signature is undecided, and said."""
    ran = verify(case, name="scan.dcm")
    assert (ran.code, ran.out) == (3, "no digital signature is in this object\n")
    assert verify(case, "--json", name="scan.dcm").json() == {"exit_code": 3, "signatures": []}


def test_a_second_signature_in_place(case: Path) -> None:
    """--force signs in place; without it nothing is written over, not even the input."""
    assert sign(case).code == 0
    before = (case / "signed.dcm").read_bytes()
    refused = sign(case, source="signed.dcm")
    assert (refused.code, "exists already" in refused.err) == (2, True)
    assert (case / "signed.dcm").read_bytes() == before
    assert sign(case, "--force", source="signed.dcm").code == 0
    ran = verify(case, "--ca", case / "p256.crt")
    assert (ran.code, ran.out.count("HOLDS")) == (0, 2)


@pytest.mark.parametrize(
    ("more", "kind", "reason"),
    [
        (("--profile", "base"), "p256", "would not meet the base profile: its key is not RSA"),
        (("--tags", "0010,001"), "p256", "'0010,001' is not a tag such as 0010,0010"),
        (("--tags", ""), "p256", "names no element"),
        (("--tags", "0010,0030"), "p256", "(0010,0030) is not there"),
        (("--tags", "4ffe,0001"), "p256", "(4FFE,0001) is not there"),
        (("--mac", "sha1"), "p256", "Invalid value for '--mac'"),
        ((), "rsa", "the key is encrypted and no passphrase was given"),
        (("--tsa", "http://127.0.0.1:1/"), "p256", "the time-stamping authority http://127.0.0.1:1/: "),
        (("--tsa", "nowhere"), "p256", "the time-stamping authority nowhere: "),
    ],
)
def test_refusals(case: Path, more: tuple[str, ...], kind: str, reason: str) -> None:
    """What cannot be done is one line on standard error, and nothing is written."""
    ran = sign(case, *more, kind=kind)
    assert ran.code == (5 if "--tsa" in more else 2)
    assert reason in ran.err
    assert ran.err.count("\n") == 1
    assert not (case / "signed.dcm").exists()


def test_keys_that_cannot_be_used(case: Path) -> None:
    """A wrong passphrase and a key of another kind are named."""
    (case / "passphrase").write_text("another\n")
    wrong = sign(case, "--passphrase-file", case / "passphrase", kind="rsa")
    assert (wrong.code, "the passphrase is wrong" in wrong.err) == (2, True)
    other = ed25519.Ed25519PrivateKey.generate()
    pem = other.private_bytes(Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (case / "p256.pem").write_bytes(pem)
    assert "made with RSA or ECDSA keys" in sign(case).err
    (case / "p256.pem").write_bytes(b"words")
    assert "no private key that can be read" in sign(case).err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("scan.dcm", "--ca", "scan.dcm"), "holds no certificate in PEM"),
        (("p256.pem",), "not a DICOM file"),
        (("missing.dcm",), "no such file"),
        (("scan.dcm", "--ca", "missing.crt"), "No such file"),
    ],
)
def test_what_cannot_be_read(case: Path, words: tuple[str, ...], reason: str) -> None:
    """Unreadable input is exit code 2 with the file named, in JSON as well."""
    name, *more = (word if word.startswith("--") else case / word for word in words)
    ran = platemark("dicom", "verify", name, *more)
    assert (ran.code, reason in ran.err) == (2, True)
    error = json.loads(platemark("dicom", "verify", name, *more, "--json").out)["error"]
    assert reason in error["reason"]


def test_a_signer_cannot_write_on_the_terminal(case: Path) -> None:
    """What a stranger put into the fields of a signature is shown escaped."""
    assert sign(case).code == 0
    data = (case / "signed.dcm").read_bytes()
    at = data.index(b"2.25.", data.index(b"\x00\x04\x00\x01UI"))
    (case / "signed.dcm").write_bytes(data[:at] + b"\x1b[31m" + data[at + 5 :])
    ran = verify(case)
    assert (ran.code, "\x1b" in ran.out, "\\u001b[31m" in ran.out) == (1, False, True)


def test_what_a_base_install_can_do(case: Path) -> None:
    """Without pydicom and httpx explicit objects are signed and checked; what needs an extra names it."""
    source = "import sys; sys.modules.update(dict.fromkeys(('pydicom', 'httpx'))); from platemark.cli import main; "
    (case / "implicit.dcm").write_bytes(series(IMPLICIT))
    keys = ("--key", case / "p256.pem", "--certificate", case / "p256.crt", "--out", case / "signed.dcm")
    for words, code, reason in (
        (("sign", case / "scan.dcm", *keys), 0, "covers"),
        (("verify", case / "signed.dcm"), 3, "HOLDS"),
        (("verify", case / "implicit.dcm"), 2, 'pip install "platemark[dicom]"'),
        (
            ("sign", case / "scan.dcm", *keys, "--force", "--tsa", "http://127.0.0.1:1/"),
            2,
            'pip install "platemark[audit]"',
        ),
    ):
        command = [sys.executable, "-P", "-c", f"{source} sys.exit(main({['dicom', *map(str, words)]!r}))"]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert (ran.returncode, reason in ran.stdout + ran.stderr) == (code, True), ran
