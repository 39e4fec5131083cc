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
from platemark_ledger import __version__, config, refused
from platemark_ledger.exits import Exit
from platemark_ledger.lock import SequencerLock
from platemark_ledger.server import open_with


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
    assert [path.name for path in keys] == ["log-mldsa44.key", "log.key", "policy-1.key", "registrar.key"]
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
    done = run("serve", str(place.directory), "--listen", "127.0.0.1:0")
    assert done.returncode == Exit.USAGE
    assert "the key is encrypted and no passphrase was given" in done.stderr
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


def test_what_strangers_wrote_is_shown_and_never_obeyed(place: Place) -> None:
    """Terminal escapes, markup and bidi controls in refused statements are text in the table and in JSON."""
    hostile = "[/red][bold]\x1b[2J\x9b31m\u202e\x7f\n:smile:"
    ledger = open_with(config.load(place.directory / "config.toml", {}), None)
    with ledger.store.write() as transaction:
        refused.add(transaction, [refused.RefusedEntry("malformed", hostile, hostile, 1, bytes(32))])
        transaction.commit()
    ledger.close()
    table = run("status", str(place.directory))
    told = run("status", str(place.directory), "--json")
    assert (table.returncode, told.returncode) == (0, 0)
    assert r"[/red][bold]\u001b[2J\u009b31m\u202e\u007f\u000a:smile:" in table.stdout
    assert all(line.isprintable() for line in table.stdout.split("\n"))
    assert told.stdout.isascii()
    assert told.stdout.removesuffix("\n").isprintable()
    assert _json(told)["refused"][0]["reason"] == hostile


def test_a_key_that_is_missing_or_not_this_logs_is_the_operators_to_mend(place: Place, tmp_path: Path) -> None:
    """Data and anchor are not at fault, so that the exit code does not say so; a key that others can read is named."""
    other = found(tmp_path / "other")
    elsewhere = other.directory / "keys" / "log.key"
    elsewhere.chmod(0o644)
    arguments = ("serve", str(place.directory), "--listen", "127.0.0.1:0")
    missing, wrong = run(*arguments, LOG_KEY="missing"), run(*arguments, LOG_KEY=str(elsewhere))
    assert (missing.returncode, wrong.returncode) == (Exit.USAGE, Exit.USAGE)
    assert "missing: No such file" in missing.stderr
    assert "does not list the log key" in wrong.stderr
    assert "log.key is open to others (mode 0644): chmod 600 it" in wrong.stderr


def test_a_log_key_of_another_kind_is_refused_before_anything_is_served(place: Place) -> None:
    """The policy names both of the log's keys, but each of them signs what only it can sign."""
    arguments = ("serve", str(place.directory), "--listen", "127.0.0.1:0")
    classic, quantum = (str(place.directory / "keys" / name) for name in ("log.key", "log-mldsa44.key"))
    for setting, ran in {
        "log_key": run(*arguments, LOG_KEY=quantum),
        "log_key_pq": run(*arguments, LOG_KEY_PQ=classic),
    }.items():
        assert (ran.returncode, ran.stdout) == (Exit.USAGE, "")
        assert f"{setting}: " in ran.stderr
        assert "Traceback" not in ran.stderr


def test_workers_do_not_get_the_secrets_of_a_founder() -> None:
    """What only init needs does not reach the processes that parse what strangers send."""
    environ = {"PLATEMARK_LEDGER_OFFLINE_KEYS_PASSPHRASE": "a", "PLATEMARK_LEDGER_LOG_KEY_PASSPHRASE": "b", "HOME": "/"}
    assert config.for_workers(environ) == {"PLATEMARK_LEDGER_LOG_KEY_PASSPHRASE": "b", "HOME": "/"}


def test_version_is_told_without_a_command() -> None:
    """The first thing that an operator is asked for in a report."""
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"platemark-ledger {__version__}\n")


def test_bounds_are_printed_digit_by_digit(place: Place) -> None:
    """What `config` prints can be copied into the file, and errors say the same."""
    told = run("config", str(place.directory)).stdout
    assert "65536 to 268435456; default 16777216" in told
    assert "within 65536 to 268435456 bytes" in run("config", str(place.directory), MAX_REQUEST="1").stderr


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
    done = run("serve", str(place.directory), "--listen", "127.0.0.1:0")
    assert done.returncode == Exit.START_REFUSED
    assert "Do not go on from this data" in done.stderr
    table, told = run("status", str(place.directory)), run("status", str(place.directory), "--json")
    assert (table.returncode, told.returncode) == (Exit.START_REFUSED, Exit.START_REFUSED)
    assert (
        "agree          NO: the anchor is ahead of the data: released size 3, and the data ends at size 1"
        in table.stdout
    )
    assert _json(told)["agree"] is False


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
        (["serve", "PLACE"], {}, "is being served already"),
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
        (["status", "nowhere"], {}, "nowhere: No such file or directory: no ledger here, give its directory"),
        (["init", "NEW", "--origin", "https://a.test"], {}, "https://a.test: give it without a scheme"),
        (["status", "--colour"], {}, "No such option: --colour (try: platemark-ledger status --help)"),
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
