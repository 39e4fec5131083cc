"""A vault notes which statement signs which attribute root, so that a study's evidence can be fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from platemark import attributes
from platemark.errors import VaultError
from platemark.vault import OpenVault, Vault, keys

ID, OTHER = b"\1" * 32, b"\2" * 32


@pytest.fixture(name="kept")
def _kept(tmp_path: Path) -> tuple[Path, keys.RecipientKey, bytes]:
    """A vault with one disclosure: its directory, its private key and the root."""
    key = keys.generate()
    disclosure = attributes.commit({"study_instance_uid": "2.25.1"})
    with Vault.create(tmp_path / "vault", key.recipient.to_pem()) as vault:
        vault.put(disclosure)
    return tmp_path / "vault", key, disclosure.root()


def test_a_link_is_found_again(kept: tuple[Path, keys.RecipientKey, bytes]) -> None:
    """What was noted is there in another process's vault, and noting it again changes nothing."""
    directory, _, root = kept
    with Vault(directory) as vault:
        assert vault.statement_of(root) is None
        vault.link(root, ID)
        vault.link(root, ID)
    with Vault(directory) as vault:
        assert vault.statement_of(root) == ID


def test_a_link_may_wait_for_the_next_put(kept: tuple[Path, keys.RecipientKey, bytes]) -> None:
    """Without sync a link is there for every reader at once, and what is put after it is synced as ever."""
    directory, _, root = kept
    with Vault(directory) as vault, Vault(directory) as reader:
        vault.link(root, ID, sync=False)
        assert reader.statement_of(root) == ID
        later = attributes.commit({"study_instance_uid": "2.25.2"})
        vault.put(later)
        assert vault._connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert later.root() in reader


def test_a_root_has_one_statement(kept: tuple[Path, keys.RecipientKey, bytes]) -> None:
    """K is new for every capture: a second statement for a root, or a root that is not here, is refused."""
    directory, _, root = kept
    with Vault(directory) as vault:
        vault.link(root, ID)
        with pytest.raises(VaultError, match="is that of statement"):
            vault.link(root, OTHER)
        with pytest.raises(VaultError, match="is not in this vault"):
            vault.link(bytes(32), ID)
        assert vault.statement_of(root) == ID


def test_what_is_erased_is_linked_no_more(kept: tuple[Path, keys.RecipientKey, bytes]) -> None:
    """Erasing a capture forgets its statement too."""
    directory, key, root = kept
    with OpenVault(directory, key) as vault:
        vault.link(root, ID)
        assert vault.erase(root)
        assert vault.statement_of(root) is None
