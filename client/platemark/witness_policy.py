"""Which witnesses there are and how many of them have to cosign: C2SP tlog-policy (c2sp.org/tlog-policy).

    log <vkey> [url]
    witness <name> <vkey> [url]
    group <name> all|any|<k> <member>...
    quorum <name>|none

Lines end in a line feed, items are divided by spaces and tabs, `#` begins a comment line. Rules W1 to W6 and W8 of
proto/log.md.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from platemark.cosignature import CosignatureVerifier, parse_vkey
from platemark.errors import FormatError, WitnessPolicyError
from platemark.note import NoteVerifier

__all__ = ["Group", "LogKey", "Witness", "WitnessPolicy", "parse"]

_MAX_POLICY = 256 * 1024
_MAX_EACH = 256  # logs, witnesses and groups; the specification asks for at least 32 of each
_NONE = "none"
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class LogKey:
    """A key of a log whose checkpoints are accepted; the key's name is the log's origin."""

    verifier: NoteVerifier | CosignatureVerifier
    url: str | None = None


@dataclass(frozen=True)
class Witness:
    """A witness under the name that this policy has for it; `url` is its submission prefix."""

    name: str
    verifier: CosignatureVerifier
    url: str | None = None


@dataclass(frozen=True)
class Group:
    """At least `threshold` of `members`, each the name of a witness or of another group."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class WitnessPolicy:
    """A policy as it was written. `quorum` None: nobody has to cosign."""

    logs: tuple[LogKey, ...]
    witnesses: tuple[Witness, ...]
    groups: tuple[Group, ...]
    quorum: str | None

    @property
    def verifiers(self) -> tuple[CosignatureVerifier, ...]:
        """The key of every witness, in the order of the policy."""
        return tuple(each.verifier for each in self.witnesses)

    def satisfied_by(self, cosigners: Collection[str]) -> bool:
        """Whether the witnesses of these names are a quorum. True for nobody when the quorum is `none`."""
        met = set(cosigners) & {each.name for each in self.witnesses}
        # A group names only what stands before it, so that one pass decides.
        for group in self.groups:
            if sum(member in met for member in group.members) >= group.threshold:
                met.add(group.name)
        return self.quorum is None or self.quorum in met


def parse(text: str) -> WitnessPolicy:
    """The policy in a text. Raises WitnessPolicyError naming the line and the reason."""
    if len(text.encode()) > _MAX_POLICY:
        raise WitnessPolicyError("policy", f"more than {_MAX_POLICY} bytes")
    if _FORBIDDEN.search(text):
        raise WitnessPolicyError("policy", "a control character")
    if text and not text.endswith("\n"):
        raise WitnessPolicyError("policy", "the last line has no line feed")
    reading = _Reading()
    for number, items in _lines(text):
        try:
            reading.take(items)
        except FormatError as error:
            raise WitnessPolicyError(f"line {number}", str(error) if error.field != "" else error.reason) from error
    return reading.policy()


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.split("\n"), 1):
        items = [item for item in re.split("[ \t]+", line) if item]
        if items and not items[0].startswith("#"):
            yield number, items


@dataclass
class _Reading:
    """What has been read so far."""

    logs: list[LogKey] = field(default_factory=list)
    witnesses: list[Witness] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    quorum: str | None = None
    defined: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    cosigners: dict[str, frozenset[str]] = field(default_factory=dict)  # key names under a witness or group
    keys: Mapping[str, set[bytes]] = field(default_factory=lambda: {"log": set(), "witness": set()})

    def take(self, items: list[str]) -> None:
        """One line."""
        match items:
            case ["log", vkey, *url] if len(url) <= 1:
                self._count(self.logs)
                self.logs.append(LogKey(self._log_key(vkey), *url))
            case ["witness", name, vkey, *url] if len(url) <= 1:
                self._count(self.witnesses)
                witness = Witness(self._define(name), self._witness_key(vkey), *url)
                self.witnesses.append(witness)
                self.cosigners[name] = frozenset({witness.verifier.name})
            case ["group", name, threshold, *members] if members:
                self._count(self.groups)
                count = _threshold(threshold, len(members))
                for member in members:
                    self._use(member)
                self._count_once(count, members)
                self.groups.append(Group(self._define(name), count, tuple(members)))
                self.cosigners[name] = frozenset().union(*(self.cosigners[member] for member in members))
            case ["quorum", name]:
                if self.quorum is not None:
                    raise _wrong("a second quorum")
                if name != _NONE and name not in self.defined:
                    raise _wrong(f"{name[:40]} is not defined before it is used")
                self.quorum = name
            case _:
                raise _wrong(f"not a line of a policy: {items[0][:40]}")

    def policy(self) -> WitnessPolicy:
        """All of it."""
        if self.quorum is None:
            raise WitnessPolicyError("quorum", "missing: a policy says which quorum it demands, or none")
        quorum = None if self.quorum == _NONE else self.quorum
        return WitnessPolicy(tuple(self.logs), tuple(self.witnesses), tuple(self.groups), quorum)

    def _log_key(self, vkey: str) -> NoteVerifier | CosignatureVerifier:
        verifier = parse_vkey(vkey)
        if isinstance(verifier, CosignatureVerifier) and verifier.type == 0x04:
            raise _wrong("a key of type 04 is a witness's and no log's")
        self._new_key("log", verifier.key.raw)
        return verifier

    def _witness_key(self, vkey: str) -> CosignatureVerifier:
        verifier = parse_vkey(vkey)
        if not isinstance(verifier, CosignatureVerifier):
            raise _wrong("a key of type 01 is a log's and no witness's")
        self._new_key("witness", verifier.key.raw)
        return verifier

    def _new_key(self, kind: str, raw: bytes) -> None:
        # By the key and not by its name: one witness must not count as two.
        if raw in self.keys[kind]:
            raise _wrong(f"a {kind} with this very key stands above already")
        self.keys[kind].add(raw)

    def _define(self, name: str) -> str:
        if name == _NONE or name in self.defined:
            raise _wrong(f"{name[:40]} is a name that is taken")
        self.defined.add(name)
        return name

    def _use(self, name: str) -> None:
        if name not in self.defined:
            raise _wrong(f"{name[:40]} is not defined before it is used")
        if name in self.used:
            raise _wrong(f"{name[:40]} is a member twice")
        self.used.add(name)

    def _count_once(self, threshold: int, members: list[str]) -> None:
        # Two keys of one witness are two lines of one key name. Where any member is enough, or every line has to sign,
        # neither takes the place of another witness; everywhere else it could.
        every_line = threshold == len(members) and not any(group.name in members for group in self.groups)
        if threshold == 1 or every_line:
            return
        seen: set[str] = set()
        for member in members:
            for name in sorted(self.cosigners[member] & seen):
                raise _wrong(f"{name[:40]} is under two members; group its keys first, so that one witness counts once")
            seen |= self.cosigners[member]

    @staticmethod
    def _count(known: Collection[object]) -> None:
        if len(known) >= _MAX_EACH:
            raise _wrong(f"more than {_MAX_EACH} of them")


def _threshold(text: str, count: int) -> int:
    if text in {"all", "any"}:
        return count if text == "all" else 1
    if re.fullmatch("[1-9][0-9]{0,2}", text) is None or int(text) > count:
        raise _wrong(f"all, any or 1 to {count} of the members, not {text[:40]}")
    return int(text)


def _wrong(reason: str) -> FormatError:
    return FormatError("", reason)
