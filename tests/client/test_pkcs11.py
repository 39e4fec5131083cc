"""Keys in a PKCS#11 token: the same Signer, nothing that leaves the token, and one sentence for whatever goes wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ct, platemark
from hypothesis import given
from hypothesis import strategies as st

from platemark import key_files, keys, pkcs11_keys, statement
from platemark.errors import KeyFileError
from platemark.gateway.settings import Sign
from platemark.gateway.work import open_chain
from platemark.pkcs11_uri import Pkcs11Uri, is_uri, parse_uri
from tokens import PIN, Token

_names = st.text(
    st.characters(exclude_categories=("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs")), min_size=1, max_size=32
)
DEVICE = "https://hospital.example/people/7"


def _pin(_: str) -> str:
    return PIN


@given(
    token=st.none() | _names,
    serial=_names,
    label=st.none() | _names,
    id=st.binary(min_size=1, max_size=20),
    pin_source=st.none() | st.just(Path("/run/secrets/pin")),
)
def test_a_uri_comes_back(
    token: str | None, serial: str, label: str | None, id: bytes, pin_source: Path | None
) -> None:
    """What is written into a key's file names the same key when it is read, whatever characters its names have."""
    uri = Pkcs11Uri(
        module=Path("/usr/lib/a module.so"), token=token, serial=serial, label=label, id=id, pin_source=pin_source
    )
    assert parse_uri(str(uri)) == uri
    assert is_uri(f"\n {uri}\n".encode())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("http://x", "begins with pkcs11:"),
        ("pkcs11:token=a;object=b", "module-path is missing"),
        ("pkcs11:object=b?module-path=/m", "token or serial is missing"),
        ("pkcs11:token=a?module-path=/m", "object or id is missing"),
        ("pkcs11:token=a;object=b?module-path=/m&pin-value=1234", "pin-value would leave the PIN"),
        ("pkcs11:token=a;object=b?module-path=/m&pin-source=|cat%20pin", "pin-source is a command"),
        ("pkcs11:token=a;token=c;object=b?module-path=/m", "token is given twice"),
        ("pkcs11:token=;object=b?module-path=/m", "token is empty"),
        ("pkcs11:token=a;object=%ff?module-path=/m", "object is not UTF-8"),
        ("pkcs11:token=a;object=%0a?module-path=/m", "object holds control characters"),
        ("pkcs11:token=a;object=b;slot-id=1?module-path=/m", "'slot-id' is none of"),
    ],
)
def test_a_bad_uri_is_refused_by_attribute(text: str, reason: str) -> None:
    """The error names the attribute and why."""
    with pytest.raises(KeyFileError, match=reason.replace("|", r"\|")):
        parse_uri(text)


@pytest.mark.parametrize(("algorithm", "alg"), [("p256", keys.ES256), ("ed25519", keys.EDDSA)])
def test_a_key_in_a_token_signs_like_one_in_a_file(token: Token, algorithm: str, alg: int) -> None:
    """Every signature is in its one accepted form and verifies under the public half, also after the session ended."""
    key = pkcs11_keys.create(parse_uri(token.uri(f"signs-{algorithm}")), algorithm, _pin)
    assert isinstance(key, keys.Signer)
    public = keys.load_public(key.spki)
    assert (key.alg, key.kid) == (alg, public.kid)
    for number in range(20):
        message = bytes([number]) * number
        public.verify(message, key.sign(message))
    key.close()
    public.verify(b"again", key.sign(b"again"))
    key.close()


def test_a_key_in_a_token_is_never_overwritten_nor_extractable(token: Token) -> None:
    """A second one of the same name is refused, and the private half cannot be read."""
    import pkcs11

    uri = parse_uri(token.uri("once"))
    key = pkcs11_keys.create(uri, "p256", _pin)
    with pytest.raises(KeyFileError, match="a key is never overwritten"):
        pkcs11_keys.create(uri, "p256", _pin)
    with pytest.raises(pkcs11.PKCS11Error):
        _ = key._key[pkcs11.Attribute.VALUE]
    key.close()


@pytest.mark.parametrize(
    ("change", "pin", "reason"),
    [
        ({"label": "nothing"}, PIN, "no private key of this name"),
        ({"token": "other"}, PIN, "no such token is there"),
        ({"serial": "0000"}, PIN, "no such token is there"),
        ({"module": Path("/nowhere.so")}, PIN, "cannot be loaded|cannot open shared object"),
        ({}, None, "the token wants a PIN"),
    ],
)
def test_what_a_token_refuses_is_said(
    token: Token, change: dict[str, str | Path], pin: str | None, reason: str
) -> None:
    """No module, no token, no key and a wrong PIN are one error each that names the URI."""
    good = parse_uri(token.uri("refusals"))
    try:
        pkcs11_keys.create(good, "p256", _pin).close()
    except KeyFileError:
        pkcs11_keys.open_token_key(good, _pin).close()
    named = {name: getattr(good, name) for name in ("module", "token", "serial", "label", "id", "pin_source")} | change
    with pytest.raises(KeyFileError, match=reason):
        pkcs11_keys.open_token_key(Pkcs11Uri(**named), lambda _: pin)


def test_a_wrong_pin_is_said(token: Token, tmp_path: Path) -> None:
    """One sentence and exit code 2, in a process of its own, since a login is for all sessions of a process."""
    pkcs11_keys.create(parse_uri(token.uri("pin")), "p256", _pin).close()
    (tmp_path / "key.p11").write_text(token.uri("pin"))
    (tmp_path / "scan.dcm").write_bytes(ct())
    words = ["sign", str(tmp_path / "scan.dcm"), "--key", str(tmp_path / "key.p11"), "--device", DEVICE]
    ran = subprocess.run(
        [sys.executable, "-m", "platemark", *words], capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "PLATEMARK_PASSPHRASE": "9999"},
    )  # fmt: skip
    assert (ran.returncode, "the PIN is wrong" in ran.stderr) == (2, True)
    assert not (tmp_path / "scan.dcm.statement").exists()


def test_the_commands_take_a_key_in_a_token(token: Token, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`keygen --token` leaves a file that signs wherever a key's file does; the PIN is the passphrase."""
    monkeypatch.setenv("PLATEMARK_PASSPHRASE", PIN)
    ran = platemark("keygen", tmp_path / "shift.p11", "--token", token.uri("commands"), "--json")
    assert (ran.code, ran.json()["token"], ran.json()["algorithm"]) == (0, True, "p256")
    public = key_files.read_public(tmp_path / "shift.pub")
    (tmp_path / "scan.dcm").write_bytes(ct())
    assert platemark("sign", tmp_path / "scan.dcm", "--key", tmp_path / "shift.p11", "--device", DEVICE).code == 0
    signed = statement.decode((tmp_path / "scan.dcm.statement").read_bytes())
    signed.verify(public)
    again = platemark("keygen", tmp_path / "other.p11", "--token", token.uri("commands"), "--existing", "--json")
    assert (again.code, again.json()["kid"]) == (0, public.kid.hex())
    shown = platemark("inspect", tmp_path / "shift.p11", "--json").json()
    assert shown["uri"] == token.uri("commands")
    assert PIN not in (tmp_path / "shift.p11").read_text()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--existing",), "--existing goes with --token"),
        (("--token", "pkcs11:token=lab"), "module-path is missing"),
        (("--token", "{uri}", "--algorithm", "mldsa44"), "tokens make p256 and ed25519 keys"),
        (("--token", "{missing}", "--existing"), "no private key of this name"),
    ],
)
def test_keygen_with_a_token_says_what_is_wrong(
    token: Token, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], reason: str
) -> None:
    """Exit code 2, one sentence, and no file is left."""
    monkeypatch.setenv("PLATEMARK_PASSPHRASE", PIN)
    given_words = [word.format(uri=token.uri("wrong"), missing=token.uri("missing")) for word in words]
    ran = platemark("keygen", tmp_path / "k.p11", *given_words)
    assert (ran.code, list(tmp_path.iterdir())) == (2, [])
    assert reason in ran.err


def test_without_the_extra_the_line_that_installs_it_is_shown(tmp_path: Path) -> None:
    """A base install that meets a key in a token says what to install."""
    (tmp_path / "k.p11").write_text("pkcs11:token=a;object=b?module-path=/m\n")
    script = (
        "import sys; sys.modules['pkcs11'] = None\n"
        "from platemark.cli import main\n"
        f"sys.exit(main(['sign', {str(tmp_path / 'k.p11')!r}, '--key', {str(tmp_path / 'k.p11')!r}]))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60,
        env={"PLATEMARK_PASSPHRASE": "x"},
    )  # fmt: skip
    assert ran.returncode == 2
    assert 'pip install "platemark[pkcs11]"' in ran.stderr


def test_a_gateway_signs_with_a_key_in_a_token(token: Token, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sign.key` names the file that stands for the key, and `sign.passphrase_file` holds the PIN."""
    monkeypatch.delenv("PLATEMARK_PASSPHRASE", raising=False)
    key = pkcs11_keys.create(parse_uri(token.uri("gateway")), "p256", _pin)
    (tmp_path / "gateway.p11").write_text(token.uri("gateway"))
    (tmp_path / "pin").write_text(f"{PIN}\n")
    sign = Sign(key=tmp_path / "gateway.p11", passphrase_file=tmp_path / "pin", device="https://hospital.example/gw")
    chain = open_chain(sign)
    assert chain.signer.kid == key.kid
    chain.signer.sign(b"message")
    key.close()
