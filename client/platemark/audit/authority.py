"""Which keys may write at which place of a log, derived from its policy, enrol and revoke statements and nothing else.

The rules are those by which a ledger admits (proto/statement.md sections 3 to 5); they are written a second time here so that
an audit does not repeat a ledger's mistake. A breach is an `Objection` with a code of platemark.audit.findings.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, cast

from platemark.keys import load_public
from platemark.kinds import LOG_BOUND, ORIGINS, SIGNERS
from platemark.schema import MAX_INTEGER
from platemark.statement import policy_issuer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from platemark.cbor import Value
    from platemark.keys import Verifier
    from platemark.statement import Statement
    from platemark.trust import TrustedLog

__all__ = ["Authority", "Grant", "ObjectionError"]


class ObjectionError(Exception):
    """A statement that should not be in the log where it is: a finding's code, and why."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


@dataclass(frozen=True, slots=True)
class Grant:
    """`role` under `issuer` for stated times not_before..not_after, for statements at since < index <= until."""

    role: str
    issuer: str
    not_before: int
    not_after: int
    since: int
    by_policy: bool
    until: int | None = None

    def covers(self, index: int) -> bool:
        """Whether it is in force at `index`."""
        return self.since < index and (self.until is None or index <= self.until)


@dataclass(slots=True)
class _Key:
    verifier: Verifier
    grants: list[Grant] = field(default_factory=list)
    effective: int | None = None  # of its revocation


@dataclass(frozen=True, slots=True)
class _Policy:
    payload: Mapping[str, Value]
    version: int
    first_id: bytes


class Authority:
    """The state of every key after the statements taken so far, from the first on.

    `trusted` None: whoever signed leaf 0 is believed, and `log_id` says whom that is.
    """

    def __init__(self, trusted: TrustedLog | None = None) -> None:
        self._trusted = trusted
        self._keys: dict[bytes, _Key] = {}
        self._policy: _Policy | None = None
        self._signed: dict[bytes, dict[bytes, bytes]] = {}  # policy payload -> kid -> statement id, in log order
        self.log_id: bytes | None = None

    @property
    def skew_ns(self) -> int:
        """How far a stated time may lie after the log's clock, by the policy in force; 0 before the first."""
        return self._limits()["skew_ns"] if self._policy is not None else 0

    def admit(self, statement: Statement, index: int) -> Verifier:
        """Check that `statement` may stand at `index` and take note of it. Raises ObjectionError, SignatureError.

        Returns the key that signed. A statement that is objected to changes nothing.
        """
        if self._policy is None:
            return self._found(statement, index)
        key = self._keys.get(statement.kid)
        if key is None:
            raise ObjectionError("key-not-in-force", f"the log has enrolled no key {statement.kid.hex()}")
        statement.verify(key.verifier)
        grant = _grant(statement, key, index)
        self._check(statement, grant)
        if statement.kind == "enrol":
            self._enrol(statement, index)
        elif statement.kind == "revoke":
            self._revoke(statement, index)
        elif statement.kind == "policy":
            self._propose(statement, index)
        return key.verifier

    def _check(self, statement: Statement, grant: Grant) -> None:
        if statement.issuer != grant.issuer:
            raise ObjectionError("wrong-issuer", f"the key was enrolled for {grant.issuer}, not for {statement.issuer}")
        if statement.kind in LOG_BOUND and statement.log != self.log_id:
            raise ObjectionError("wrong-log", "it names another log")
        if len(statement.raw) > self._limits()["statement"]:
            raise ObjectionError("registry-rule", "it is larger than the policy in force allows")
        if statement.time is not None and not grant.not_before <= statement.time <= grant.not_after:
            raise ObjectionError("outside-validity", f"its stated time {statement.time} is outside the key's validity")

    def _limits(self) -> Mapping[str, int]:
        assert self._policy is not None
        return cast("Mapping[str, int]", self._policy.payload["limits"])

    def _found(self, statement: Statement, index: int) -> Verifier:
        """The version 0 policy: the first leaves, all of one payload, signed by its own keys."""
        payload = statement.payload
        if statement.kind != "policy" or payload["version"] != 0:
            raise ObjectionError("registry-rule", "no policy is in force yet, and this is none of version 0")
        if index == 0:
            self._check_identity(statement)
            self.log_id = statement.id
        elif self.log_id is None or statement.message.payload not in self._signed:
            raise ObjectionError("registry-rule", "another policy than leaf 0's, which has not its signatures yet")
        keys = {key.kid: key for key in map(load_public, cast("list[bytes]", payload["keys"]))}
        verifier = keys.get(statement.kid)
        if verifier is None:
            raise ObjectionError("key-not-in-force", "the first policy is signed by a key that it does not name")
        statement.verify(verifier)
        if statement.issuer != policy_issuer(cast("str", payload["origin"])):
            raise ObjectionError("wrong-issuer", "the policy is signed under another name than the log's")
        self._sign(statement, index, cast("int", payload["threshold"]))
        return verifier

    def _check_identity(self, statement: Statement) -> None:
        trusted = self._trusted
        if trusted is None:
            return
        keys = frozenset(cast("list[bytes]", statement.payload["keys"]))
        said = (statement.id, statement.payload["origin"], keys, statement.payload["threshold"])
        if said != (trusted.id, trusted.origin, trusted.policy_keys, trusted.threshold):
            raise ObjectionError("wrong-log", "leaf 0 is not the policy that the trust file names")

    def _propose(self, statement: Statement, index: int) -> None:
        policy, payload = self._policy, statement.payload
        assert policy is not None
        wanted = {"version": policy.version + 1, "origin": policy.payload["origin"], "prev": policy.first_id}
        for name, value in wanted.items():
            if payload[name] != value:
                raise ObjectionError("registry-rule", f"payload.{name} does not follow from the policy in force")
        if statement.kid in self._signed.get(statement.message.payload, {}):
            raise ObjectionError("registry-rule", "this key had signed this policy already")
        for spki, _ in _grants(payload, 0):
            known = self._keys.get(_kid(spki))
            if known is not None and (known.effective is not None or not all(each.by_policy for each in known.grants)):
                raise ObjectionError("registry-rule", "the policy names a key that is revoked or enrolled already")
        self._sign(statement, index, cast("int", policy.payload["threshold"]))

    def _sign(self, statement: Statement, index: int, threshold: int) -> None:
        signers = self._signed.setdefault(statement.message.payload, {})
        if statement.kid in signers:
            raise ObjectionError("registry-rule", "this key had signed this policy already")
        signers[statement.kid] = statement.id
        if len(signers) >= threshold:
            version = cast("int", statement.payload["version"])
            self._put_in_force(_Policy(statement.payload, version, next(iter(signers.values()))), index)

    def _put_in_force(self, policy: _Policy, index: int) -> None:
        granted = {_kid(spki): (spki, grant) for spki, grant in _grants(policy.payload, index)}
        if self._policy is not None:
            self._withdraw(self._policy, index, granted)
        for kid, (spki, grant) in granted.items():
            if kid not in self._keys:
                self._keys[kid] = _Key(load_public(spki))
            self._keys[kid].grants.append(grant)
        self._policy = policy
        self._signed = {}

    def _withdraw(self, old: _Policy, index: int, granted: dict[bytes, tuple[bytes, Grant]]) -> None:
        """End what the old policy grants and the new one does not; what both grant alike goes on."""
        for spki, _ in _grants(old.payload, 0):
            kid = _kid(spki)
            grants = self._keys[kid].grants
            for place, grant in enumerate(grants):
                if not grant.by_policy or grant.until is not None:
                    continue
                if kid in granted and replace(granted[kid][1], since=grant.since) == grant:
                    del granted[kid]
                else:
                    grants[place] = replace(grant, until=index)

    def _enrol(self, statement: Statement, index: int) -> None:
        payload = statement.payload
        spki = cast("bytes", payload["key"])
        if _kid(spki) in self._keys:
            raise ObjectionError("registry-rule", "it enrols a key that the log had named before")
        dates = cast("int", payload["not_before"]), cast("int", payload["not_after"])
        grant = Grant(cast("str", payload["role"]), cast("str", payload["device"]), *dates, index, by_policy=False)
        self._keys[_kid(spki)] = _Key(load_public(spki), [grant])

    def _revoke(self, statement: Statement, index: int) -> None:
        key = self._keys.get(cast("bytes", statement.payload["kid"]))
        if key is None:
            raise ObjectionError("registry-rule", "it revokes a key that the log had not named")
        in_force = [grant for grant in key.grants if grant.until is None]
        if any(grant.role in {"policy", "log"} for grant in in_force or key.grants):
            raise ObjectionError("registry-rule", "it revokes a key that only a policy withdraws")
        if key.effective is not None:
            raise ObjectionError("registry-rule", "the key was revoked already")
        key.effective = cast("int", statement.payload["effective"])
        key.grants = [grant if grant.until is not None else replace(grant, until=index) for grant in key.grants]


def _grant(statement: Statement, key: _Key, index: int) -> Grant:
    in_force = [grant for grant in key.grants if grant.covers(index)]
    if not in_force:
        raise ObjectionError("key-not-in-force", "its key was revoked, dropped or not yet enrolled at this place")
    able = [grant for grant in in_force if grant.role in SIGNERS[statement.kind]]
    if statement.kind == "capture":
        able = [grant for grant in able if grant.role in ORIGINS[cast("str", statement.payload["origin"])]]
    if not able:
        raise ObjectionError("wrong-role", f"a {in_force[0].role} may not sign this {statement.kind}")
    return able[0]


def _grants(payload: Mapping[str, Value], index: int) -> Iterator[tuple[bytes, Grant]]:
    """(key, grant) for every key that a policy names; those of version 0's policy keys hold from before leaf 0."""
    issuer = policy_issuer(cast("str", payload["origin"]))
    since = -1 if payload["version"] == 0 else index
    for spki in cast("list[bytes]", payload["keys"]):
        yield spki, Grant("policy", issuer, 0, MAX_INTEGER, since, by_policy=True)
    for spki in cast("list[bytes]", payload["log_keys"]):
        yield spki, Grant("log", issuer, 0, MAX_INTEGER, index, by_policy=True)
    for each in cast("list[Mapping[str, Value]]", payload["registrars"]):
        dates = cast("int", each["not_before"]), cast("int", each["not_after"])
        yield cast("bytes", each["key"]), Grant("registrar", cast("str", each["issuer"]), *dates, index, by_policy=True)


def _kid(spki: bytes) -> bytes:
    return sha256(spki).digest()
