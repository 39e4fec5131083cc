"""`platemark keygen` and `platemark sign`, and the files that they leave."""

from __future__ import annotations

import io
import stat
import sys
from pathlib import Path

import pytest
from commands import ct, platemark, png

from platemark import attributes, key_files, statement
from platemark.keys import ALGORITHM_NAMES

URI = "https://hospital.example/dx1"


@pytest.fixture(name="key")
def _key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("PLATEMARK_PASSPHRASE", raising=False)
    assert platemark("keygen", tmp_path / "dx1.pem").code == 0
    return tmp_path / "dx1.pem"


@pytest.fixture(name="image")
def _image(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    path = tmp_path / "images" / "scan.dcm"
    path.write_bytes(ct())
    return path


def beside(image: Path, suffix: str) -> Path:
    """What lies beside an image."""
    return image.with_name(image.name + suffix)


@pytest.mark.parametrize("algorithm", ["p256", "ed25519", "mldsa44"])
def test_keygen_writes_a_pair(tmp_path: Path, algorithm: str) -> None:
    """Both halves belong together, and the kid that is printed is theirs."""
    ran = platemark("keygen", tmp_path / "a.pem", "--algorithm", algorithm, "--json")
    private, public = key_files.read_private(tmp_path / "a.pem"), key_files.read_public(tmp_path / "a.pub")
    assert (private.kid, private.kid.hex(), False) == (public.kid, ran.json()["kid"], ran.json()["encrypted"])
    assert private.alg in ALGORITHM_NAMES


def test_keygen_never_overwrites(key: Path) -> None:
    """Neither half is replaced."""
    before = key.read_bytes(), key.with_suffix(".pub").read_bytes()
    assert platemark("keygen", key).code == 2
    key.rename(key.with_name("kept.pem"))
    ran = platemark("keygen", key)
    assert (ran.code, key.exists()) == (2, False)
    assert "dx1.pub: exists already" in ran.err
    assert before == (key.with_name("kept.pem").read_bytes(), key.with_suffix(".pub").read_bytes())


def test_keygen_encrypts_with_a_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a file or the environment; the file's first line counts."""
    (tmp_path / "secret").write_bytes(b"one\r\ntwo\n")
    platemark("keygen", tmp_path / "a.pem", "--passphrase-file", tmp_path / "secret")
    monkeypatch.setenv("PLATEMARK_PASSPHRASE", "one")
    platemark("keygen", tmp_path / "b.pem")
    for name in ("a.pem", "b.pem"):
        assert b"ENCRYPTED" in (tmp_path / name).read_bytes()
        key_files.read_private(tmp_path / name, b"one")
    (tmp_path / "secret").write_bytes(b"\n")
    ran = platemark("keygen", tmp_path / "c.pem", "--passphrase-file", tmp_path / "secret")
    assert (ran.code, (tmp_path / "c.pem").exists()) == (2, False)


def test_an_encrypted_key_is_asked_for_on_a_terminal(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nobody to ask it is an error; on a terminal the passphrase is asked for, once and hidden."""
    monkeypatch.setenv("PLATEMARK_PASSPHRASE", "secret")
    platemark("keygen", tmp_path / "a.pem")
    monkeypatch.delenv("PLATEMARK_PASSPHRASE")
    words = ("sign", image, "--key", tmp_path / "a.pem", "--device", URI)
    asked: list[dict[str, object]] = []

    def prompt(_: str, **options: object) -> str:
        asked.append(options)
        return "secret"

    monkeypatch.setattr("typer.prompt", prompt)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    ran = platemark(*words)
    assert (ran.code, "no passphrase was given" in ran.err, asked) == (2, True, [])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert (platemark(*words).code, asked) == (0, [{"hide_input": True, "err": True}])


def test_sign_writes_statement_and_disclosure(key: Path, image: Path) -> None:
    """The statement verifies under the key, the disclosure opens its root, and only the owner reads the disclosure."""
    ran = platemark("sign", image, "--key", key, "--device", URI, "--captured", "2027-01-15T08:00:00+00:00")
    assert (ran.code, ran.err) == (0, "")
    signed = statement.decode(beside(image, ".statement").read_bytes())
    signed.verify(key_files.read_public(key.with_suffix(".pub")))
    assert (
        signed.issuer,
        signed.payload["origin"],
        signed.payload["captured"],
    ) == (URI, "modality-signed", 1_800_000_000 * 10**9)
    kept = attributes.decode_disclosure(beside(image, ".disclosure").read_bytes())
    root = signed.payload["attributes"]
    assert isinstance(root, bytes)
    assert kept.verified(root)["patient_name"] == "Doe^Jane"
    if sys.platform != "win32":
        assert stat.S_IMODE(beside(image, ".disclosure").stat().st_mode) == 0o600


def test_no_name_is_in_a_statement(key: Path, image: Path) -> None:
    """Patient and study stay out of what goes to the ledger."""
    platemark("sign", image, "--key", key, "--device", URI)
    raw = beside(image, ".statement").read_bytes()
    assert [word in raw for word in (b"Doe", b"P1", b"2.25.9")] == [False, False, False]


def test_sign_never_overwrites_without_force(key: Path, image: Path) -> None:
    """A statement keeps its bytes; --force makes a new one, next in the chain."""
    platemark("sign", image, "--key", key, "--device", URI)
    first = beside(image, ".statement").read_bytes()
    ran = platemark("sign", image, "--key", key)
    assert (1, first) == (ran.code, beside(image, ".statement").read_bytes())
    assert "exists already; --force replaces it" in ran.out
    assert platemark("sign", image, "--key", key, "--force").code == 0
    assert statement.decode(beside(image, ".statement").read_bytes()).seq == 1


def test_the_device_is_remembered_and_kept(key: Path, image: Path) -> None:
    """The first use names the URI; another one later is refused."""
    assert platemark("sign", image, "--key", key).code == 2
    assert platemark("sign", image, "--key", key, "--device", URI).code == 0
    ran = platemark("sign", image, "--key", key, "--device", URI + "2", "--force")
    assert (ran.code, f"signs as {URI}, not as {URI}2" in ran.err) == (2, True)


def test_folders_are_walked_and_our_own_files_left_alone(key: Path, image: Path) -> None:
    """Images in order of name, other files skipped without fault, broken ones told apart; twice gives the same list."""
    folder = image.parent
    (folder / "deep").mkdir()
    (folder / "deep" / "a.png").write_bytes(png())
    (folder / "notes.txt").write_text("no image")
    (folder / "cut.png").write_bytes(png()[:30])
    ran = platemark("sign", folder, "--key", key, "--device", URI, "--json")
    assert (ran.code, ran.json()["counts"]) == (1, {"signed": 2, "failed": 1, "skipped": 1})
    again = platemark("sign", folder, "--key", key, "--force", "--json").json()
    assert [item["name"] for item in ran.json()["items"]] == [item["name"] for item in again["items"]]


def test_a_named_file_that_is_no_image_is_a_fault(key: Path, tmp_path: Path) -> None:
    """What the user named has to be captured."""
    (tmp_path / "notes.txt").write_text("no image")
    ran = platemark("sign", tmp_path / "notes.txt", "--key", key, "--device", URI)
    assert (ran.code, "Could not be captured" in ran.out) == (1, True)


def test_out_keeps_the_place_in_the_folder(key: Path, image: Path, tmp_path: Path) -> None:
    """With --out nothing is written beside the images, and equal names in two folders stay apart."""
    (image.parent / "deep").mkdir()
    (image.parent / "deep" / "scan.dcm").write_bytes(ct(patient="Roe^Richard"))
    ran = platemark("sign", image.parent, "--key", key, "--device", URI, "--out", tmp_path / "out")
    assert ran.code == 0
    assert not beside(image, ".statement").exists()
    assert sorted(
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.statement")
    ) == ["deep/scan.dcm.statement", "scan.dcm.statement"]


def test_two_images_never_share_one_statement(key: Path, image: Path, tmp_path: Path) -> None:
    """Named files of one name with --out are refused before anything is signed."""
    (tmp_path / "scan.dcm").write_bytes(ct(patient="Roe^Richard"))
    ran = platemark("sign", image, tmp_path / "scan.dcm", "--key", key, "--device", URI, "--out", tmp_path / "out")
    assert (ran.code, "would both write" in ran.err) == (2, True)
    assert not (tmp_path / "out").exists()


def test_facts_and_clock_are_signed(key: Path, image: Path) -> None:
    """--attribute, --clock-source and --clock-error reach the statement and the disclosure."""
    words = ("--attribute", "technologist=Roe^Richard", "--attribute", "remark=", "--clock-source", "ptp")
    platemark("sign", image, "--key", key, "--device", URI, *words, "--clock-error", "250us")
    signed = statement.decode(beside(image, ".statement").read_bytes())
    assert signed.payload["clock"] == {"source": "ptp", "error_ns": 250_000}
    kept = attributes.decode_disclosure(beside(image, ".disclosure").read_bytes()).values
    assert (kept["technologist"], kept["remark"]) == ("Roe^Richard", None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--attribute", "shoe_size=43"), "not NAME=VALUE with a name of the registry"),
        (("--attribute", "rows"), "not NAME=VALUE"),
        (("--attribute", "rows=many"), "rows is an integer"),
        (("--attribute", "remark=a", "--attribute", "remark=b"), "remark: given twice"),
        (("--clock-error", "5"), "is not a duration"),
        (("--captured", "2027-01-15T08:00:00"), "the offset is required"),
    ],
    ids=["name", "form", "type", "twice", "duration", "time"],
)
def test_wrong_facts_are_usage_errors(key: Path, image: Path, words: tuple[str, ...], said: str) -> None:
    """Nothing is signed when an option cannot be understood."""
    ran = platemark("sign", image, "--key", key, "--device", URI, *words)
    assert (ran.code, said in ran.err) == (2, True)
    assert not beside(image, ".statement").exists()


def test_new_epoch_begins_a_new_chain(key: Path, image: Path) -> None:
    """After a restored backup the chain begins again, in a greater epoch."""
    platemark("sign", image, "--key", key, "--device", URI)
    first = statement.decode(beside(image, ".statement").read_bytes())
    platemark("sign", image, "--key", key, "--new-epoch", "--force")
    second = statement.decode(beside(image, ".statement").read_bytes())
    assert first.epoch is not None
    assert second.epoch is not None
    assert (second.epoch > first.epoch, second.seq) == (True, 0)


def test_a_folder_that_cannot_be_written_uses_up_no_place(
    key: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be kept is not signed: the next capture is next in the chain."""
    words = ("sign", image, "--key", key, "--device", URI)

    def refused(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr("platemark.cli.capturing.tempfile.TemporaryFile", refused)
        ran = platemark(*words)
    assert (ran.code, "Permission denied" in ran.out) == (1, True)
    assert platemark(*words, "--out", tmp_path / "out").code == 0
    assert statement.decode((tmp_path / "out" / "scan.dcm.statement").read_bytes()).seq == 0


def test_asking_for_a_passphrase_needs_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one it is a usage error with the way out, and nothing is made."""
    monkeypatch.delenv("PLATEMARK_PASSPHRASE", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    ran = platemark("keygen", tmp_path / "a.pem", "--ask-passphrase")
    assert (ran.code, "use --passphrase-file" in ran.err, list(tmp_path.iterdir())) == (2, True, [])


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX")
def test_a_key_that_others_can_read_is_noted(key: Path, image: Path) -> None:
    """Signing goes on, and standard error says what to do; a key of mode 0600 is used without a word."""
    words = ("sign", image, "--key", key, "--device", URI, "--force")
    assert platemark(*words).err == ""
    key.chmod(0o644)
    ran = platemark(*words)
    assert (ran.code, "mode 0644" in ran.err) == (0, True)


def test_a_file_that_is_no_statement_is_not_submitted(image: Path, tmp_path: Path) -> None:
    """An image and an enrolment request are named for what they are not."""
    request = tmp_path / "dx1.request"
    request.write_bytes(b"\xa0")
    assert platemark("submit", image).err == f"platemark: {image}: not a signed statement\n"
    assert "platemark enrol --request" in platemark("submit", request).err
