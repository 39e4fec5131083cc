"""The settings of a gateway: refused by name, explained in one file, checked before the start."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from commands import platemark

from platemark.files import FileError
from platemark.gateway._setting import ConfigError
from platemark.gateway.checking import checks
from platemark.gateway.config import load, parse
from platemark.gateway.example import example
from platemark.gateway.settings import Gateway
from platemark.key_files import write_private
from platemark.keys import generate
from platemark.vault.keys import generate as generate_recipient

ROOT = Path(__file__).parents[2]
COPY = 'mode = "copy"\nstate_dir = "state"\n[sign]\nkey = "gateway.pem"\n'
INLINE = COPY.replace("copy", "inline")
PACS = '[[pacs]]\nname = "main"\naddress = "pacs:104"\nae_title = "PACS"\n'


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """Wherever the gateway is started."""
    (tmp_path / "gateway.toml").write_text(COPY)
    found = load(tmp_path / "gateway.toml")
    assert (found.sign.key, found.journal) == (tmp_path / "gateway.pem", tmp_path / "state" / "journal.sqlite")
    assert found.destinations == ()


def test_every_destination_has_a_name() -> None:
    """In mode inline the names of the PACSs are what an object has to reach."""
    second = PACS.replace('"main"', '"backup"')
    assert parse(INLINE + PACS + second, Path("/x")).destinations == ("main", "backup")


@pytest.mark.parametrize(
    ("text", "field", "reason"),
    [
        ("mode = ", "config", "not TOML"),
        ("", "mode", "missing"),
        ('mode = "copy"\nstate_dir = "s"', "sign", "missing: this table has no default"),
        (COPY + "keyy = 1", "sign.keyy", "there is no such setting"),
        (COPY + "[recieve]\n", "recieve", "there is no such setting"),
        (COPY + "[limits]\nassociations = true", "limits.associations", "a value of type integer is needed, not True"),
        (COPY + "[limits]\nassociations = 0", "limits.associations", "0 is not within 1 to 300 associations"),
        (COPY + "[limits]\nassociations = 1.5", "limits.associations", "a value of type integer"),
        (COPY + "[receive]\nidle_time = nan", "receive.idle_time", "nan is not within"),
        (COPY + '[receive]\nlisten = "x"', "receive.listen", "'x' is not host:port"),
        (COPY + '[receive]\nlisten = "host:104"', "receive.listen", "'host' is no IP address"),
        (COPY + '[receive]\nlisten = "0.0.0.0:99999"', "receive.listen", "is not host:port"),
        (COPY + '[receive]\nae_title = "SEVENTEEN LETTERS"', "receive.ae_title", "is no AE title"),
        (COPY + '[receive]\nae_title = "A\\\\B"', "receive.ae_title", "is no AE title"),
        (COPY + '[receive]\ncalling = ["CT1", " CT2"]', "receive.calling", "spaces at the ends"),
        (COPY + '[receive]\ncalling = "CT1"', "receive.calling", "a list of texts is needed"),
        (COPY + '[receive]\nnetworks = ["10.0.0.1/8"]', "receive.networks", "not a network in CIDR form"),
        (COPY + "[receive]\nnetworks = []", "receive.networks", "nobody could send"),
        (COPY + '[receive]\nsop_classes = ["1.2.x"]', "receive.sop_classes", "is no UID"),
        (COPY + '[receive]\ntls_key = "k"', "receive.tls_certificate", "go together"),
        (COPY + '[receive]\ntls_key = "k"\ntls_certificate = "c"', "receive.tls_client_ca", "knowing who sends"),
        (COPY + '[receive]\ntls_client_ca = "c"', "receive.tls_client_ca", "it needs tls_certificate"),
        (COPY + 'clock_source = "sun"', "sign.clock_source", "'sun' is none of"),
        (COPY + '[metrics]\nlisten = "0.0.0.0:9107"', "metrics.listen", "0.0.0.0 is not loopback"),
        (COPY.replace("copy", "both"), "mode", "neither inline nor copy"),
        (COPY + PACS, "pacs", "mode copy passes nothing on"),
        (INLINE, "pacs", "needs a [[pacs]]"),
        (COPY + PACS.replace("[[pacs]]", "[pacs]"), "pacs", "write [[pacs]]"),
        (INLINE + PACS + PACS, "pacs[1].name", "is the name of another one"),
        (INLINE + PACS.replace('"main"', '"the main one"'), "pacs[0].name", "1 to 64 of"),
        (INLINE + PACS + 'calling = "X"\npass_calling = true', "pacs[0].pass_calling", "of no use"),
        (INLINE + PACS + 'tls_certificate = "c"\ntls_key = "k"', "pacs[0].tls_ca", "shown to nobody"),
        (INLINE + PACS.replace("pacs:104", "pacs"), "pacs[0].address", "is not host:port"),
        (COPY + 'key = "a"', "config", "not TOML"),
        (COPY.replace('"gateway.pem"', '""'), "sign.key", "a path is needed"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(text: str, field: str, reason: str) -> None:
    """One error that names table, setting and reason."""
    with pytest.raises(ConfigError) as error:
        parse(text, Path("/x"))
    assert (error.value.field, reason in error.value.reason) == (field, True), str(error.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """And one that is not there."""
    (tmp_path / "gateway.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "gateway.toml")
    with pytest.raises(FileError, match="No such file"):
        load(tmp_path / "other.toml")


def test_the_example_is_the_one_that_is_handed_out() -> None:
    """deploy/gateway.toml explains every setting there is, and can be used as it is."""
    assert (ROOT / "deploy" / "gateway.toml").read_text() == example()
    found = parse(example(), Path("/etc/platemark"))
    assert (found.mode, found.destinations) == ("inline", ("main",))
    for table in dataclasses.fields(Gateway):
        assert f"{table.name} = " in example() or f"[{table.name}]" in example()


def test_the_example_still_is_one_with_every_comment_opened() -> None:
    """What stands there as a comment is a setting of that name and type."""
    lines = example().splitlines()
    opened = [
        line.removeprefix("# ")
        if (line.startswith(("# [[", "# [")) and ":" not in line) or (line.startswith("# ") and " = " in line[:24])
        else line
        for line in lines
    ]
    text = "\n".join(line for line in opened if not line.endswith(" = ..."))
    assert parse(text.replace("pass_calling = false", ""), Path("/x")).worklist is not None


@pytest.fixture(name="site")
def _site(tmp_path: Path) -> Path:
    write_private(tmp_path / "gateway.pem", generate("p256"))
    (tmp_path / "vault.pub").write_text(generate_recipient().recipient.to_pem())
    settings = COPY + 'device = "https://devices.test/gateway"\nvault_recipient = "vault.pub"\n'
    (tmp_path / "gateway.toml").write_text(settings)
    return tmp_path


def test_check_finds_everything_well(site: Path) -> None:
    """Settings, key, directory, vault: each is named with what was found."""
    ran = platemark("gateway", "--config", str(site / "gateway.toml"), "--check", "--json")
    assert ran.code == 0, ran.err
    found = {each["what"]: each for each in json.loads(ran.out)["checks"]}
    assert set(found) == {"state_dir", "key", "vault", "tls", "ledger"}
    assert not any(each["fault"] for each in found.values())
    assert "signs as https://devices.test/gateway" in found["key"]["found"]
    assert (found["state_dir"]["found"].endswith("to be made"), (site / "state").exists()) == (True, False)


@pytest.mark.parametrize(
    ("change", "what", "fault"),
    [
        (('vault_recipient = "vault.pub"', ""), "vault", "sign.vault_recipient: missing"),
        (('vault_recipient = "vault.pub"', 'vault_recipient = "gateway.pem"'), "vault", "private key"),
        (("gateway.pem", "none.pem"), "key", "none.pem"),
        (('device = "https://devices.test/gateway"', ""), "key", "--device URI"),
        (('"state"', '"gateway.pem/state"'), "state_dir", "Not a directory"),
    ],
)
def test_check_names_what_is_wrong(site: Path, change: tuple[str, str], what: str, fault: str) -> None:
    """Every fault is found in one run, and the exit code is 1."""
    path = site / "gateway.toml"
    path.write_text(path.read_text().replace(*change))
    found = {each.what: each.fault for each in checks(load(path)) if each.fault}
    assert fault in found[what]
    ran = platemark("gateway", "--config", str(path), "--check")
    assert ran.code == 1
    assert "FAULT" in ran.out


def test_check_says_when_only_a_peer_is_away(site: Path) -> None:
    """A PACS that does not answer is exit code 5: later may help."""
    path = site / "gateway.toml"
    pacs = PACS.replace("pacs:104", "127.0.0.1:9") + "connect_time = 2.0\n"
    path.write_text(path.read_text().replace("copy", "inline") + pacs)
    ran = platemark("gateway", "--config", str(path), "--check")
    assert ran.code == 5, ran.out
    assert "unreachable" in ran.out


def test_a_gateway_that_cannot_start_says_why_in_one_line(site: Path) -> None:
    """A missing key is exit code 2."""
    (site / "gateway.pem").unlink()
    ran = platemark("gateway", "--config", str(site / "gateway.toml"))
    assert ran.code == 2
    assert "gateway.pem" in ran.err.splitlines()[-1]
