"""platemark-ledger from the shell: what it makes, what it says, and how it ends."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from integration.live import ORIGIN, PROGRAM, Live, Place, environment, found, only

from platemark import statement, trust
from platemark.key_files import read_private, write_public
from platemark.keys import generate
from platemark.rpc import RpcError
from platemark_ledger.exits import Exit
from platemark_ledger.lock import SequencerLock


def run(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """The program's end, its output, and no stack in it whatever happened."""
    done = subprocess.run(
        [*PROGRAM, *arguments], capture_output=True, text=True, env=environment(changes), check=False, timeout=60
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


def test_init_makes_keys_that_only_their_owner_reads_and_a_trust_file_that_names_the_log(place: Place) -> None:
    """What init leaves is what its output says, and the trust file leads to leaf 0."""
    keys = sorted(place.directory.glob("*/*.key"))
    assert [path.name for path in keys] == ["log.key", "policy-1.key", "registrar.key"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    (log,) = trust.parse((place.directory / "trust.toml").read_bytes()).logs
    assert (log.id.hex(), log.origin, log.threshold) == (place.facts["log_id"], ORIGIN, 1)
    assert log.policy_keys == {read_private(place.directory / "offline" / "policy-1.key").spki}


def test_a_ledger_of_three_policy_keys_begins_with_as_many_signed_policies(tmp_path: Path) -> None:
    """Version 0 is complete only with every signature that its threshold asks for."""
    place = found(tmp_path / "ledger", "--policy-keys", "3", "--threshold", "2")
    with place.served() as live:
        listed = list(live.client().list_statements())
    assert [statement.decode(each.statement).kind for each in listed] == ["policy", "policy"]


def test_passphrases_come_from_the_environment_and_encrypt(tmp_path: Path) -> None:
    """The log key is written and read with its passphrase; without it the ledger does not start and says why."""
    secret = tmp_path / "secret"
    secret.write_text("offline words\n")
    place = found(tmp_path / "ledger", LOG_KEY_PASSPHRASE="log words", OFFLINE_KEYS_PASSPHRASE_FILE=str(secret))
    assert b"ENCRYPTED" in (place.directory / "keys" / "log.key").read_bytes()
    read_private(place.directory / "offline" / "policy-1.key", b"offline words")
    refused = run("serve", str(place.directory), "--listen", "127.0.0.1:0")
    assert refused.returncode == Exit.USAGE
    assert "the key is encrypted and no passphrase was given" in refused.stderr
    with place.served(LOG_KEY_PASSPHRASE="log words") as live:
        assert live.client().checkpoint().checkpoint.size == 1


def test_a_registrar_elsewhere_gives_only_its_public_key(tmp_path: Path) -> None:
    """The founder never sees the registrar's private key, and the ledger accepts what it signs."""
    key = generate("p256")
    write_public(tmp_path / "registrar.pub", key)
    place = found(tmp_path / "ledger", "--registrar", str(tmp_path / "registrar.pub"))
    assert not (place.directory / "offline" / "registrar.key").exists()
    assert place.facts["offline_keys"] == [str(place.directory / "offline" / "policy-1.key")]


def test_status_tells_size_checkpoint_and_refusals_of_a_served_and_of_a_stopped_ledger(place: Place) -> None:
    """Status reads the files beside the service and changes nothing."""
    with place.served() as live:
        device = live.device("status")
        only(live.client().append([device.capture()]).outcomes)
        live.client().append([place.registrar().new("nobody").capture()])
        only(live.client().append([device.capture(b"2")]).outcomes)
        served = _json(run("status", str(place.directory), "--json"))
        checkpoint = live.client().checkpoint()
    stopped = _json(run("status", str(place.directory), "--json"))
    assert served["refused"][0]["code"] == "unknown-key"
    assert (served["size"], served["poisoned"], served["log_id"]) == (4, None, place.facts["log_id"])
    assert served["checkpoint"].encode() == checkpoint.raw
    assert stopped == served
    assert "Latest refusals" in run("status", str(place.directory)).stdout


def test_a_poisoned_ledger_stops_with_its_own_exit_code_and_starts_again(place: Place) -> None:
    """The mark of one worker stops all, the caller is told to send again, and a start clears it."""
    with place.served("--workers", "2") as live:
        raw = live.device("poison").capture()
        lock = SequencerLock(place.directory / "data.lock")
        lock.poison("a test says so")
        lock.close()
        assert _json(run("status", str(place.directory), "--json"))["poisoned"] == "a test says so"
        with pytest.raises(RpcError):
            live.client(timeout=3).append([raw])
        assert live.wait() == Exit.POISONED
    with place.served() as live:
        assert not only(live.client().append([raw]).outcomes).duplicate


def test_data_behind_its_anchor_is_refused_with_the_remedy(place: Place) -> None:
    """Yesterday's database with today's anchor: the ledger does not start, and says what its operator does."""
    shutil.copytree(place.directory / "data", place.directory / "yesterday")
    with place.served() as live:
        only(live.client().append([live.device("rollback").capture()]).outcomes)
    shutil.rmtree(place.directory / "data")
    shutil.move(place.directory / "yesterday", place.directory / "data")
    refused = run("serve", str(place.directory), "--listen", "127.0.0.1:0")
    assert refused.returncode == Exit.START_REFUSED
    assert "Do not go on from this data" in refused.stderr


def test_config_prints_every_setting_and_no_passphrase(place: Place) -> None:
    """Effective values come from the file and the environment; secrets are no settings."""
    done = run("config", str(place.directory), "--json", WORKERS="3", LOG_KEY_PASSPHRASE="hush")
    assert _json(done)["workers"] == 3
    told = run("config", str(place.directory), LOG_KEY_PASSPHRASE="hush").stdout
    assert "lock_limit = 10.0" in told
    assert "hush" not in told + done.stdout


def test_two_ledgers_do_not_share_a_port(place: Place, tmp_path: Path) -> None:
    """SO_REUSEPORT is for the workers of one ledger; a second ledger is told that the address is in use."""
    other = found(tmp_path / "other")
    with place.served() as live:
        done = run("serve", str(other.directory), "--listen", live.address)
    assert done.returncode == Exit.USAGE
    assert "Address already in use" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "changes", "says"),
    [
        (["config", "."], {}, "config.toml: No such file"),
        (["config", "PLACE"], {"WROKERS": "2"}, "PLATEMARK_LEDGER_WROKERS: there is no such setting"),
        (["config", "PLACE"], {"WORKERS": "many"}, "workers: a number, not 'many'"),
        (["config", "PLACE"], {"WORKERS": "0"}, "workers: 0 is not within 1 to 64 processes"),
        (["config", "PLACE"], {"DRAIN": "nan"}, "drain: nan is not within"),
        (["config", "PLACE"], {"REFLECTION": "yes"}, "reflection: true or false"),
        (["config", "PLACE"], {"LISTEN": "0.0.0.0:1"}, "listen: 0.0.0.0 is not loopback and there is no TLS"),
        (["config", "PLACE"], {"LISTEN": "here"}, "listen: 'here' is not address:port"),
        (["config", "PLACE"], {"TLS_KEY": "a"}, "tls_certificate: certificate and key go together"),
        (["config", "PLACE"], {"TLS_CLIENT_CA": "a"}, "tls_client_ca: it needs tls_certificate"),
        (["serve", "PLACE"], {"LOG_KEY": "missing"}, "missing: No such file"),
        (["serve", "PLACE"], {"LOG_KEY_PASSPHRASE": "a", "LOG_KEY_PASSPHRASE_FILE": "b"}, "set either this or"),
        (["serve", "PLACE", "--listen", "203.0.113.1:1"], {}, "203.0.113.1 is not loopback"),
        (["init", "PLACE", "--origin", "a.test"], {}, "is not empty"),
        (["init", "NEW", "--origin", "white space"], {}, "payload.origin"),
        (
            ["init", "NEW", "--origin", "a.test", "--threshold", "2"],
            {},
            "the threshold is 2 and there are 1 policy keys",
        ),
        (["init", "NEW", "--origin", "a.test", "--registrar", "nowhere"], {}, "nowhere: No such file"),
        (["status", "nowhere"], {}, "nowhere: No such file"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_exit_code_2(
    live: Live, tmp_path: Path, arguments: list[str], changes: dict[str, str], says: str
) -> None:
    """Bad input names the setting, file or option and the reason; nothing shows a stack."""
    names = {"PLACE": str(live.place.directory), "NEW": str(tmp_path / "new")}
    done = run(*[names.get(argument, argument) for argument in arguments], **changes)
    assert done.returncode == Exit.USAGE
    assert says in done.stderr


def test_a_plan_that_cannot_be_leaves_nothing_behind(tmp_path: Path) -> None:
    """The origin is refused before any key is made, so that the corrected command can be run at once."""
    assert run("init", str(tmp_path / "new"), "--origin", "white space").returncode == Exit.USAGE
    assert not (tmp_path / "new").exists()


def test_an_unknown_setting_in_the_file_is_refused_by_name(place: Place) -> None:
    """A misspelt limit must never be silently the default."""
    with (place.directory / "config.toml").open("a") as file:
        file.write("max_bacth = 5\n")
    done = run("config", str(place.directory), "--json")
    assert done.returncode == Exit.USAGE
    assert _json(done)["error"]["code"] == "config"
    assert "max_bacth: there is no such setting" in done.stderr


def test_help_documents_every_exit_code() -> None:
    """The promise to whoever supervises the process is where they look."""
    for command in ([], ["init"], ["serve"], ["status"], ["config"]):
        told = " ".join(run(*command, "--help").stdout.split())
        assert all(f"{code.value} " in told for code in Exit)


def _json(done: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(done.stdout)
