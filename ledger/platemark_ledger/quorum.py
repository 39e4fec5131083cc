"""The witnesses that a ledger asks and the quorum that it needs, from a C2SP tlog-policy file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from platemark import witness_policy
from platemark.errors import FormatError
from platemark_ledger.settings import ConfigError, check_url

if TYPE_CHECKING:
    from platemark.cosignature import CosignatureVerifier
    from platemark.witness_policy import WitnessPolicy

__all__ = ["Quorum", "load"]

_MAX_FILE = 64 * 1024


class Quorum:
    """A policy as its log uses it.

    `addresses`: the URL of each witness that has one, with all its keys; a witness with two keys is asked once. `demanded`:
    whether the quorum asks for any cosignature at all; what is met by nobody is no quorum.
    """

    def __init__(self, policy: WitnessPolicy) -> None:
        self._names = {(each.verifier.name, each.verifier.key_id): each.name for each in policy.witnesses}
        self._policy = policy
        addresses: dict[str, tuple[CosignatureVerifier, ...]] = {}
        for witness in policy.witnesses:
            if witness.url is not None:
                addresses[witness.url] = (*addresses.get(witness.url, ()), witness.verifier)
        self.addresses: Mapping[str, tuple[CosignatureVerifier, ...]] = addresses
        self.demanded = not policy.satisfied_by(())

    def met(self, cosigners: Collection[tuple[str, bytes]]) -> bool:
        """Whether these keys (name and key id), each of which counts once, are a quorum. Never true when none is demanded."""
        names = {self._names[each] for each in cosigners}
        return self.demanded and self._policy.satisfied_by(names)

    def ordered(self, lines: Mapping[tuple[str, bytes], str]) -> list[str]:
        """The signature lines in the order of the policy."""
        return [lines[each] for each in self._names if each in lines]


def load(path: Path, *, origin: str) -> Quorum:
    """The quorum of a policy file. Raises ConfigError naming the setting: unreadable, not a policy, nobody to ask."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise ConfigError("witness_policy", f"{path}: {error.strerror or error}") from None
    if len(data) > _MAX_FILE:
        raise ConfigError("witness_policy", f"{path}: more than {_MAX_FILE} bytes")
    try:
        policy = witness_policy.parse(data.decode())
    except (FormatError, UnicodeDecodeError) as error:
        raise ConfigError("witness_policy", f"{path}: {error}") from None
    if any(verifier.name == origin for verifier in policy.verifiers):
        # Its lines would be taken for the log's own, and stamped as part of the log note.
        raise ConfigError("witness_policy", f"{path}: a witness has the log's own name {origin}")
    quorum = Quorum(policy)
    for url in quorum.addresses:
        check_url("witness_policy", url)
    askable = {(each.name, each.key_id) for verifiers in quorum.addresses.values() for each in verifiers}
    if quorum.demanded and not quorum.met(askable):
        raise ConfigError("witness_policy", f"{path}: the witnesses that have a URL are no quorum")
    return quorum
