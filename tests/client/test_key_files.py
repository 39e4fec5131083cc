"""Key files: PKCS#8 PEM, mode 0600, never overwritten, and one sentence for whatever else a path turns out to be."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa

from builders import Algorithm, key
from platemark import keys
from platemark.errors import KeyFileError
from platemark.key_files import public_pem, read_private, read_public, write_private, write_public

ALGORITHMS: list[Algorithm] = ["p256", "ed25519", "mldsa44"]


@pytest.fixture(name="alice")
def _alice() -> keys.PrivateKey:
    return key("alice").private


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("passphrase", [None, b"correct horse", "ünï".encode()], ids=["plain", "ASCII", "UTF-8"])
def test_a_private_key_comes_back_from_its_file(tmp_path: Path, algorithm: Algorithm, passphrase: bytes | None) -> None:
    """Written and read, the key signs what its public half verifies."""
    path = tmp_path / "device.key"
    write_private(path, key("alice", algorithm).private, passphrase)
    read = read_private(path, passphrase)
    key("alice", algorithm).public.verify(b"message", read.sign(b"message"))
    header = b"-----BEGIN ENCRYPTED PRIVATE KEY-----" if passphrase else b"-----BEGIN PRIVATE KEY-----"
    assert path.read_bytes().startswith(header)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_public_key_comes_back_from_its_file(tmp_path: Path, algorithm: Algorithm) -> None:
    """Written and read, the SubjectPublicKeyInfo is the same bytes."""
    path = tmp_path / "device.pub"
    write_public(path, key("alice", algorithm).private)
    assert read_public(path).spki == key("alice", algorithm).spki
    assert path.read_text() == public_pem(key("alice", algorithm).spki)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file modes")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_private_key_file_is_its_owners_alone(tmp_path: Path, alice: keys.PrivateKey, umask: int) -> None:
    """Mode 0600 whatever the umask; a public key may be read by everybody the umask allows."""
    before = os.umask(umask)
    try:
        write_private(tmp_path / "device.key", alice)
        write_public(tmp_path / "device.pub", alice)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("device.key", "device.pub")]
    assert modes == [0o600, 0o644 & ~umask]


@pytest.mark.parametrize("write", [write_private, write_public])
def test_a_file_is_never_overwritten(
    tmp_path: Path, alice: keys.PrivateKey, write: Callable[[Path, keys.PrivateKey], None]
) -> None:
    """What is at the path stays, be it only an empty file."""
    path = tmp_path / "device.key"
    path.write_bytes(b"")
    with pytest.raises(KeyFileError, match=r"device\.key: exists already and a key is never overwritten"):
        write(path, alice)
    assert path.read_bytes() == b""


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege there")
def test_a_dangling_symbolic_link_is_not_followed(tmp_path: Path, alice: keys.PrivateKey) -> None:
    """A link planted at the path does not send the key elsewhere."""
    path, target = tmp_path / "device.key", tmp_path / "elsewhere"
    path.symlink_to(target)
    with pytest.raises(KeyFileError, match="exists already"):
        write_private(path, alice)
    assert not target.exists()


def test_a_key_in_a_missing_folder_is_refused(tmp_path: Path, alice: keys.PrivateKey) -> None:
    """The system's reason is given with the path."""
    with pytest.raises(KeyFileError, match=r"missing.device\.key: No such file or directory"):
        write_private(tmp_path / "missing" / "device.key", alice)


def test_half_a_key_is_removed(tmp_path: Path, alice: keys.PrivateKey, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fails under the write, no file is left that would block the next try."""

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(KeyFileError, match="No space left on device"):
        write_private(tmp_path / "device.key", alice)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_passphrase_never_writes_a_key_in_clear(tmp_path: Path, alice: keys.PrivateKey) -> None:
    """A passphrase that was meant and came out empty is refused, not taken for none."""
    with pytest.raises(KeyFileError, match="passphrase is empty"):
        write_private(tmp_path / "device.key", alice, b"")
    assert list(tmp_path.iterdir()) == []


def test_a_passphrase_for_a_key_without_one_is_ignored(tmp_path: Path, alice: keys.PrivateKey) -> None:
    """One environment serves encrypted and plain keys."""
    write_private(tmp_path / "device.key", alice)
    assert read_private(tmp_path / "device.key", b"unused").kid == alice.kid


@pytest.mark.parametrize(
    ("passphrase", "reason"),
    [
        (None, "the key is encrypted and no passphrase was given"),
        (b"wrong", "the passphrase is wrong or the file is damaged"),
        (b"Correct Horse", "the passphrase is wrong or the file is damaged"),
        (b"", "passphrase"),
    ],
    ids=["missing", "wrong", "case", "empty"],
)
def test_the_wrong_passphrase_is_said(
    tmp_path: Path, alice: keys.PrivateKey, passphrase: bytes | None, reason: str
) -> None:
    """Missing and wrong passphrases have their own sentences."""
    write_private(tmp_path / "device.key", alice, b"correct horse")
    with pytest.raises(KeyFileError, match=rf"device\.key: .*{reason}"):
        read_private(tmp_path / "device.key", passphrase)


def test_mixed_up_halves_are_said(tmp_path: Path, alice: keys.PrivateKey) -> None:
    """A public key where the private one belongs, or the reverse, is named as such."""
    write_private(tmp_path / "device.key", alice)
    write_private(tmp_path / "secret.key", alice, b"passphrase")
    write_public(tmp_path / "device.pub", alice)
    with pytest.raises(KeyFileError, match="this is a public key; the private one is needed"):
        read_private(tmp_path / "device.pub")
    for name in ("device.key", "secret.key"):
        with pytest.raises(KeyFileError, match="this is a private key; give the public one"):
            read_public(tmp_path / name)


_PKCS8, _SEC1 = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL


def _pem(
    secret: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed448.Ed448PrivateKey,
    form: serialization.PrivateFormat = _PKCS8,
) -> bytes:
    return secret.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


_P256 = ec.derive_private_key(4711, ec.SECP256R1())
_GARBAGE = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
CONTENTS: list[tuple[str, Callable[[], bytes], str, str]] = [
    # name, content, what read_private says, what read_public says
    ("empty", lambda: b"", "not a private key", "not a public key"),
    ("text", lambda: b"hello", "not a private key", "not a public key"),
    ("an image", lambda: b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "not a private key", "not a public key"),
    ("PEM around nothing", lambda: _GARBAGE, "not a private key", "this is a private key"),
    ("PEM cut off", lambda: _pem(_P256)[:90], "not a private key", "this is a private key"),
    ("NULs", lambda: bytes(1000), "not a private key", "not a public key"),
    ("huge", lambda: b"A" * 100_000, "larger than 65536 bytes", "larger than 65536 bytes"),
    ("P-384", lambda: _pem(ec.generate_private_key(ec.SECP384R1())), "the curve is secp384r1", "this is a private"),
    ("RSA", lambda: _pem(rsa.generate_private_key(65537, 2048)), "the key is not P-256", "this is a private key"),
    ("Ed448", lambda: _pem(ed448.Ed448PrivateKey.generate()), "the key is not P-256", "this is a private key"),
]


@pytest.mark.parametrize(
    ("content", "private", "public"), [row[1:] for row in CONTENTS], ids=[row[0] for row in CONTENTS]
)
def test_whatever_a_file_holds_gets_one_sentence(
    tmp_path: Path, content: Callable[[], bytes], private: str, public: str
) -> None:
    """Any content is a KeyFileError that begins with the path."""
    path = tmp_path / "some.key"
    path.write_bytes(content())
    with pytest.raises(KeyFileError, match=rf"some\.key: {private}"):
        read_private(path)
    with pytest.raises(KeyFileError, match=rf"some\.key: {private}"):
        read_private(path, b"passphrase")
    with pytest.raises(KeyFileError, match=rf"some\.key: {public}"):
        read_public(path)


@pytest.mark.parametrize("read", [read_private, read_public])
def test_a_path_that_is_no_file_gets_one_sentence(tmp_path: Path, read: Callable[[Path], object]) -> None:
    """A folder and a missing file are KeyFileErrors with the system's reason."""
    with pytest.raises(KeyFileError, match=r"missing\.key: No such file or directory"):
        read(tmp_path / "missing.key")
    with pytest.raises(KeyFileError, match=r"Is a directory|Permission denied"):
        read(tmp_path)


def test_the_older_pem_of_an_ec_key_is_read(tmp_path: Path) -> None:
    """`openssl ecparam -genkey` writes SEC1, which names the same key."""
    path = tmp_path / "sec1.key"
    path.write_bytes(_pem(_P256, _SEC1))
    assert read_private(path).kid == keys.private_key(_P256).kid


def _openssl(program: Path, *arguments: str | Path) -> None:
    subprocess.run([program, *arguments], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    "options",
    [["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], ["-algorithm", "ED25519"]],
    ids=["p256", "ed25519"],
)
def test_a_key_that_openssl_made_is_read(tmp_path: Path, require: Callable[[str], Path], options: list[str]) -> None:
    """`openssl genpkey` and `openssl pkey -pubout` give files that we read as one key, encrypted or not."""
    openssl = require("openssl")
    plain, encrypted, public = tmp_path / "plain.key", tmp_path / "encrypted.key", tmp_path / "device.pub"
    _openssl(openssl, "genpkey", *options, "-out", plain)
    _openssl(openssl, "pkey", "-in", plain, "-aes256", "-passout", "pass:correct horse", "-out", encrypted)
    _openssl(openssl, "pkey", "-in", plain, "-pubout", "-out", public)
    kids = {read_private(plain).kid, read_private(encrypted, b"correct horse").kid, read_public(public).kid}
    assert len(kids) == 1


@pytest.mark.parametrize("algorithm", ["p256", "ed25519"])
def test_openssl_reads_a_key_that_we_wrote(
    tmp_path: Path, require: Callable[[str], Path], algorithm: Algorithm
) -> None:
    """`openssl pkey` decrypts our file with the passphrase and finds the public key that we wrote."""
    openssl = require("openssl")
    write_private(tmp_path / "device.key", key("alice", algorithm).private, b"correct horse")
    _openssl(
        openssl,
        *("pkey", "-in", tmp_path / "device.key", "-passin", "pass:correct horse", "-pubout"),
        *("-out", tmp_path / "device.pub"),
    )
    assert (tmp_path / "device.pub").read_text() == public_pem(key("alice", algorithm).spki)
