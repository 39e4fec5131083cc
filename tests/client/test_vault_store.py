"""The vault on disk: what was put is there after any crash, found by the blind index, and opened by its key alone."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from platemark.attributes import Disclosure, commit
from platemark.errors import KeyFileError, PlatemarkError, VaultError
from platemark.vault import OpenVault, Vault, keys
from platemark.vault.store import index_token

KEY = keys.generate()
STUDY, SERIES = "1.2.3.4", "1.2.3.5"


def capture(number: int, *, study: str | None = STUDY) -> Disclosure:
    """What a gateway commits to for one object."""
    return commit({"patient_name": "Doe^Jane", "study_instance_uid": study, "sop_instance_uid": f"2.25.{number}"})


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Path:
    directory = tmp_path / "vault"
    Vault.create(directory, KEY.recipient.to_pem()).close()
    return directory


@pytest.fixture(name="vault")
def _vault(place: Path) -> Iterator[OpenVault]:
    with OpenVault(place, KEY) as opened:
        yield opened


def on_disk(place: Path) -> bytes:
    """Every byte of the directory."""
    return b"".join(path.read_bytes() for path in sorted(place.iterdir()))


def test_what_was_put_comes_back(place: Path) -> None:
    """Put by one who has the public key alone, opened by the holder of the private one."""
    kept = [capture(number) for number in range(3)]
    with Vault(place) as writer:
        for each in kept:
            writer.put(each)
    with OpenVault(place, KEY) as vault:
        assert kept == [vault.get(each.root()) for each in kept]
        assert [each.root() for each in kept] == list(vault.roots())
        assert vault.count() == 3


def test_a_second_put_changes_nothing(vault: OpenVault) -> None:
    """Put again, alone or among others, a disclosure keeps its place and its bytes."""
    first, second = capture(1), capture(2)
    vault.put(first)
    before = vault._connection.execute("SELECT * FROM disclosures").fetchall()
    vault.put(first)
    vault.put_all([second, first, second])
    assert before == vault._connection.execute("SELECT * FROM disclosures LIMIT 1").fetchall()
    assert [first.root(), second.root()] == list(vault.roots())
    assert [first.root()] == vault.find(sop_instance="2.25.1")


def test_all_or_none_of_a_batch(vault: OpenVault) -> None:
    """A batch with one that is refused leaves nothing."""
    gone, fresh = capture(1), capture(2)
    vault.put(gone)
    assert vault.erase(gone.root())
    with pytest.raises(VaultError, match="was erased here"):
        vault.put_all([fresh, gone])
    assert vault.count() == 0


def test_found_by_study_and_instance(vault: OpenVault) -> None:
    """By either or both, in the order of putting; padding and spaces of a UID do not matter."""
    first, second, other = capture(1), capture(2), capture(3, study=SERIES)
    nameless = commit({"patient_name": None, "study_instance_uid": None})
    vault.put_all([first, second, other, nameless])
    assert [first.root(), second.root()] == vault.find(study=STUDY)
    assert [second.root()] == vault.find(sop_instance="2.25.2\0")
    assert [second.root()] == vault.find(study=f" {STUDY} ", sop_instance="2.25.2")
    assert vault.find(study=SERIES, sop_instance="2.25.2") == vault.find(study="9.9") == []
    with pytest.raises(ValueError, match="neither"):
        vault.find()


def test_a_value_of_one_name_is_not_found_by_the_other(vault: OpenVault) -> None:
    """A study with the UID of an instance is another thing."""
    vault.put(commit({"study_instance_uid": "2.25.7"}))
    assert vault.find(sop_instance="2.25.7") == []


def test_thousands_are_listed_once(vault: OpenVault) -> None:
    """`roots` goes through every page."""
    vault.put_all(commit({"rows": number}) for number in range(2345))
    listed = list(vault.roots())
    assert len(listed) == len(set(listed)) == vault.count() == 2345


def test_a_stolen_disk_opens_nothing(place: Path) -> None:
    """The whole directory of the writer holds no value, no K and no private key, and opens with no other key."""
    kept = capture(4711)
    with Vault(place) as writer:
        writer.put(kept)
        stolen = on_disk(place)
        assert not hasattr(writer, "get")
    assert kept.key is not None
    secret = KEY.secret.private_bytes_raw()
    for plain in (b"Doe^Jane", STUDY.encode(), b"2.25.4711", b"patient_name", kept.key, secret, b"PRIVATE"):
        assert plain not in stolen
    thief = keys.generate()
    with pytest.raises(VaultError, match="sealed to the key"):
        OpenVault(place, thief)
    # Not even with the holder's public key file replaced by the thief's own.
    (place / "recipient.pub").write_text(thief.recipient.to_pem())
    with OpenVault(place, thief) as opened, pytest.raises(VaultError, match="sealed to another key"):
        opened.get(kept.root())
    with pytest.raises(VaultError, match="sealed to the key"):
        OpenVault(place, KEY)


def test_the_index_says_nothing_without_its_key(place: Path) -> None:
    """Two vaults have no token in common; whoever has the key can test a guess, which is what the index is."""
    kept = capture(1)
    with Vault(place) as writer:
        writer.put(kept)
        mine = {token for (token,) in writer._connection.execute("SELECT token FROM tokens")}
    with Vault.create(place.with_name("other"), KEY.recipient.to_pem()) as writer:
        writer.put(kept)
        theirs = {token for (token,) in writer._connection.execute("SELECT token FROM tokens")}
    assert len(mine) == len(theirs) == 2
    assert not mine & theirs
    assert index_token((place / "index.key").read_bytes(), "study_instance_uid", STUDY) in mine


def test_nobody_else_on_the_machine_reads_it(place: Path) -> None:
    """Directory 0700, every file 0600, also those that SQLite makes."""
    with Vault(place) as writer:
        writer.put(capture(1))
        modes = {path.name: path.stat().st_mode & 0o777 for path in place.iterdir()}
    assert place.stat().st_mode & 0o777 == 0o700
    assert {"recipient.pub", "index.key", "vault.sqlite", "vault.sqlite-wal"} <= modes.keys()
    assert set(modes.values()) == {0o600}


def test_every_commit_is_synced(vault: OpenVault) -> None:
    """The settings that durability rests on."""
    asked = {
        name: vault._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
    }
    assert asked == {"journal_mode": "wal", "synchronous": 2}


_WRITER = """
import sys
from pathlib import Path
from platemark.attributes import commit
from platemark.vault import Vault
vault = Vault(Path(sys.argv[1]))
for number in range(100_000):
    disclosure = commit({"study_instance_uid": "1.2.3.4", "rows": number})
    vault.put(disclosure)
    print(disclosure.root().hex(), flush=True)
"""


def test_two_writers_killed_at_any_moment_lose_nothing(place: Path) -> None:
    """Every root that a writer acknowledged before it was killed opens and is found; the database is whole."""
    command = [sys.executable, "-c", _WRITER, str(place)]
    said: list[bytes] = []
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for writer in writers:
        assert writer.stdout is not None
        said += [bytes.fromhex(writer.stdout.readline()) for _ in range(40)]
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.communicate(timeout=60)[0].splitlines()
        said += [bytes.fromhex(line) for line in rest if len(line) == 64]
    with OpenVault(place, KEY) as vault:
        found = vault.find(study=STUDY)
        assert set(said) <= set(found)
        assert {vault.get(root).root() for root in said} == set(said)
        assert vault._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_threads_share_a_vault(vault: OpenVault) -> None:
    """Puts, finds and gets from several threads."""
    kept = [capture(number) for number in range(40)]

    def work(each: Disclosure) -> Disclosure:
        vault.put(each)
        assert each.root() in vault.find(study=STUDY)
        return vault.get(each.root())

    with ThreadPoolExecutor(8) as pool:
        assert kept == list(pool.map(work, kept))


def test_erased_is_gone(vault: OpenVault, place: Path) -> None:
    """Nothing finds or opens it, no file holds its sealed bytes, it is never taken again, and the rest stands."""
    gone, stays = capture(1), capture(2)
    vault.put_all([gone, stays])
    (sealed,) = vault._connection.execute("SELECT sealed FROM disclosures WHERE root = ?", (gone.root(),)).fetchone()
    assert sealed in on_disk(place)
    assert vault.erase(gone.root())
    assert sealed[-200:] not in on_disk(place)
    assert (place / "vault.sqlite-wal").stat().st_size == 0
    with pytest.raises(VaultError, match="was erased from this vault"):
        vault.get(gone.root())
    with pytest.raises(VaultError, match="was erased here"):
        vault.put(gone)
    assert [stays.root()] == vault.find(study=STUDY) == list(vault.roots())
    assert stays == vault.get(stays.root())


def test_what_is_damaged_can_be_erased(vault: OpenVault) -> None:
    """A disclosure that does not open any more goes with all its tokens, and no other's."""
    gone, stays = capture(1), capture(2)
    vault.put_all([gone, stays])
    vault._connection.execute("UPDATE disclosures SET sealed = zeroblob(2000) WHERE root = ?", (gone.root(),))
    assert vault.erase(gone.root())
    assert [stays.root()] == vault.find(study=STUDY)
    assert vault.find(sop_instance="2.25.1") == []
    assert vault._connection.execute("SELECT count(*) FROM tokens").fetchone() == (2,)


def test_erasing_again_ends_what_was_interrupted(vault: OpenVault) -> None:
    """A root that was erased may be erased again; one that was never here says so."""
    gone = capture(1)
    vault.put(gone)
    assert [vault.erase(gone.root()), vault.erase(gone.root()), vault.erase(bytes(32))] == [True, True, False]


def test_an_erasure_that_a_reader_holds_up_says_so(vault: OpenVault, place: Path) -> None:
    """While another process reads an old state, its bytes cannot go: the erasure stands, and asks to be repeated."""
    gone = capture(1)
    vault.put(gone)
    vault._connection.execute("PRAGMA busy_timeout = 0")
    reader = sqlite3.connect(place / "vault.sqlite", isolation_level=None)
    try:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM disclosures").fetchall()
        with pytest.raises(VaultError, match="erase it again"):
            vault.erase(gone.root())
        assert vault.count() == 0
        reader.execute("COMMIT")
    finally:
        reader.close()
    assert vault.erase(gone.root())


def test_a_vault_is_made_once(place: Path) -> None:
    """A second creation changes nothing, and one that was interrupted begins anew."""
    before = on_disk(place)
    with pytest.raises(VaultError, match="a vault already"):
        Vault.create(place, keys.generate().recipient.to_pem())
    assert before == on_disk(place)
    (place / "vault.sqlite").unlink()
    index = (place / "index.key").read_bytes()
    other = keys.generate()
    Vault.create(place, other.recipient.to_pem()).close()
    assert index == (place / "index.key").read_bytes()
    with OpenVault(place, other) as vault:
        assert vault.count() == 0


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("vault.sqlite", None, "no vault"),
        ("vault.sqlite", b"", "not the database of a vault"),
        ("vault.sqlite", b"not a database " * 100, "file is not a database"),
        ("recipient.pub", None, "No such file"),
        ("recipient.pub", b"x", "not the public key of a vault"),
        ("index.key", None, "No such file"),
        ("index.key", b"short", "not 32 bytes"),
        ("index.key", bytes(33), "larger than 32 bytes"),
    ],
)
def test_a_damaged_vault_is_named(place: Path, name: str, content: bytes | None, said: str) -> None:
    """Whatever is missing or broken, the error names the file, and nothing is made anew."""
    (place / name).unlink()
    if content is not None:
        (place / name).write_bytes(content)
    with pytest.raises(PlatemarkError, match=said):
        Vault(place)
    assert (place / name).exists() == (content is not None)


def test_a_row_that_was_changed_does_not_open(vault: OpenVault) -> None:
    """Rows that somebody swapped or altered are faults, never another capture's values."""
    first, second = capture(1), capture(2)
    vault.put_all([first, second])
    (moved,) = vault._connection.execute("SELECT sealed FROM disclosures WHERE root = ?", (second.root(),)).fetchone()
    for sealed in (moved, bytes(2000), bytes(600_000), "text", 5, 1.5):
        vault._connection.execute("UPDATE disclosures SET sealed = ? WHERE root = ?", (sealed, first.root()))
        with pytest.raises(PlatemarkError):
            vault.get(first.root())


_PUBLIC = "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n"


@pytest.mark.parametrize(
    ("pem", "said"),
    [
        ("", "not the public key of a vault"),
        (_PUBLIC.format("AAAA"), "not the public key of a vault"),
        ("-----BEGIN PRIVATE KEY-----\n", "this is a private key"),
        (_PUBLIC.format("MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="), "of another type"),
        (_PUBLIC.format("MCowBQYDK2VuAyEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), "small order"),
    ],
    ids=["empty", "damaged", "private", "Ed25519", "small order"],
)
def test_keys_that_would_not_keep_a_secret_are_refused(tmp_path: Path, pem: str, said: str) -> None:
    """A vault is sealed to an X25519 public key and to nothing else; nothing is left behind."""
    with pytest.raises(KeyFileError, match=said):
        Vault.create(tmp_path / "vault", pem)
    assert not (tmp_path / "vault").exists()
