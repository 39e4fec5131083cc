"""A small log in memory, built by the product's own code: policy, enrolments, captures, checkpoints, evidence.

Everything is deterministic: keys come from their names, ECDSA nonces from RFC 6979, subjects from a counter. Two runs
give the same bytes, so a failure can be looked at twice. Nothing here is random and nothing reads a clock.
"""

import functools
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

import reference
from platemark import cbor, checkpoint, keys, merkle, note, statement, tlog_proof
from platemark.attributes import AttributeValue, Disclosure, commit
from platemark.cbor import Value
from platemark.checkpoint import Checkpoint
from platemark.cosignature import CosignatureSigner
from platemark.evidence import Evidence, Proven
from platemark.rungs import SHA256, SHA512, Measurement
from platemark.timestamp import Authority
from platemark.trust import Trust, TrustedLog
from platemark.verdict import Verdict

__all__ = [
    "BEGIN",
    "CAMERA",
    "END",
    "LOG_KEY",
    "LOG_KEY_PQ",
    "MODALITY",
    "NOW",
    "ORIGIN",
    "POLICY_KEY",
    "REGISTRAR",
    "Algorithm",
    "Key",
    "Log",
    "Party",
    "Payload",
    "digests",
    "enrolment_proof",
    "key",
    "letters",
    "measurement",
    "party",
    "registrar_entry",
    "scene",
]

Payload: TypeAlias = dict[str, Value]
Algorithm: TypeAlias = Literal["p256", "ed25519", "mldsa44"]

NOW = 1_800_000_000 * 10**9
BEGIN, END = NOW - 365 * 86_400 * 10**9, NOW + 365 * 86_400 * 10**9
ORIGIN = "ledger.example/xray"
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True)
class Key:
    """A Signer whose secret is made from a name and whose ES256 signatures are those of RFC 6979."""

    name: str
    private: keys.PrivateKey

    @property
    def alg(self) -> int:
        """The COSE algorithm."""
        return self.private.alg

    @property
    def spki(self) -> bytes:
        """The public half."""
        return self.private.spki

    @property
    def kid(self) -> bytes:
        """Its name in statements."""
        return self.private.kid

    @property
    def public(self) -> keys.Verifier:
        """The Verifier."""
        return self.private.public

    def sign(self, message: bytes) -> bytes:
        """The same signature every time (ML-DSA-44 excepted, which `cryptography` signs with fresh randomness)."""
        secret = self.private.secret
        if isinstance(secret, ec.EllipticCurvePrivateKey):
            der = secret.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
            r, s = decode_dss_signature(der)
            return keys.low_s(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        return self.private.sign(message)


@functools.cache
def key(name: str, algorithm: Algorithm = "p256") -> Key:
    """The test key of this name; anyone can derive its secret, so it protects nothing."""
    seed = hashlib.sha256(f"platemark test key {name}".encode()).digest()
    if algorithm == "p256":
        number = int.from_bytes(seed, "big") % (_P256_ORDER - 1) + 1
        return Key(name, keys.private_key(ec.derive_private_key(number, ec.SECP256R1())))
    if algorithm == "ed25519":
        return Key(name, keys.private_key(ed25519.Ed25519PrivateKey.from_private_bytes(seed)))
    return Key(name, keys.private_key(mldsa.MLDSA44PrivateKey.from_seed_bytes(seed)))


@dataclass(frozen=True)
class Party:
    """Somebody who signs: a key under a URI."""

    key: Key
    uri: str


def party(name: str, algorithm: Algorithm = "p256") -> Party:
    """The party of this name at hospital.example."""
    return Party(key(name, algorithm), f"https://hospital.example/{name}")


POLICY_KEY = key("policy", "ed25519")
LOG_KEY = key("log", "ed25519")
LOG_KEY_PQ = key("log", "mldsa44")
REGISTRAR = party("registrar")
MODALITY = party("modality")
CAMERA = party("camera", "ed25519")


def registrar_entry(who: Party, *, not_before: int = 0, not_after: int = END) -> dict[int | str, Value]:
    """`who` as a policy names a registrar."""
    return {"key": who.key.spki, "issuer": who.uri, "not_before": not_before, "not_after": not_after}


def enrolment_proof(who: Key, *, log: bytes, device: str, role: str) -> bytes:
    """The new key's own signature over its enrolment."""
    return who.sign(statement.enrolment_proof_input(log=log, device=device, role=role))


def digests(content: bytes, *rungs: str) -> dict[str, dict[int, bytes]]:
    """Both digests of `content` on `file`, and of content and rung name on every other rung."""
    parts = {rung: content if rung == "file" else content + rung.encode() for rung in rungs or ("file",)}
    return {
        rung: {SHA256: hashlib.sha256(part).digest(), SHA512: hashlib.sha512(part).digest()}
        for rung, part in parts.items()
    }


def measurement(
    content: bytes,
    *rungs: str,
    media: str = "image/png",
    attributes: Mapping[str, AttributeValue] | None = None,
    uncomputed: frozenset[str] = frozenset(),
    missing_extra: str | None = None,
) -> Measurement:
    """What `content` measures to on `rungs` (`file` when none is named), with the digests that `digests` gives."""
    return Measurement(
        media=media,
        digests=digests(content, *rungs),
        attributes=attributes or {},
        absent=dict.fromkeys(sorted(uncomputed), "the decoder is not installed"),
        uncomputed=uncomputed,
        missing_extra=missing_extra,
    )


@dataclass
class Log:
    """A log of `statements` (COSE_Sign1 bytes) in order. Begins with its policy; `id` is leaf 0's statement id."""

    origin: str = ORIGIN
    policy_keys: Sequence[Key] = (POLICY_KEY,)
    threshold: int = 1
    log_key: Key = LOG_KEY
    more_log_keys: Sequence[Key] = ()
    registrars: Sequence[Party] = (REGISTRAR,)
    statements: list[bytes] = field(default_factory=list)
    _chains: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for signer in self.policy_keys[: self.threshold]:
            self.policy(signer)

    @property
    def id(self) -> bytes:
        """The log's identity."""
        return statement.decode(self.statements[0]).id

    def policy(self, signer: Key, **changes: Value) -> int:
        """Log a policy statement: version 0 as the log was made, with `changes`."""
        payload: Payload = {
            "version": 0,
            "origin": self.origin,
            "log": None,
            "prev": None,
            "keys": cast("list[Value]", sorted(each.spki for each in self.policy_keys)),
            "threshold": self.threshold,
            "log_keys": cast("list[Value]", sorted(each.spki for each in (self.log_key, *self.more_log_keys))),
            "registrars": [registrar_entry(each) for each in self.registrars],
            "limits": {"statement": 61440, "skew_ns": 10**10},
            **changes,
        }
        return self._log("policy", payload, signer=signer, issuer=statement.policy_issuer(self.origin))

    def enrol(
        self,
        who: Party,
        *,
        role: str = "modality",
        by: Party = REGISTRAR,
        not_before: int = BEGIN,
        not_after: int = END,
        at: int = NOW,
        log: bytes | None = None,
        issuer: str | None = None,
        signer: Key | None = None,
    ) -> int:
        """Log an enrolment of `who` by the registrar `by`."""
        log = log or self.id
        payload: Payload = {
            "at": at,
            "log": log,
            "device": who.uri,
            "key": who.key.spki,
            "role": role,
            "not_before": not_before,
            "not_after": not_after,
            "attributes": bytes(32),
            "proof": enrolment_proof(who.key, log=log, device=who.uri, role=role),
        }
        return self.say("enrol", payload, by=Party(signer or by.key, issuer or by.uri))

    def revoke(
        self, who: Party, *, effective: int, by: Party = REGISTRAR, at: int = NOW, log: bytes | None = None
    ) -> int:
        """Log a revocation of `who`'s key."""
        payload: Payload = {
            "at": at,
            "log": log or self.id,
            "kid": who.key.kid,
            "reason": "key-compromise",
            "effective": effective,
        }
        return self.say("revoke", payload, by=by)

    def capture(
        self,
        content: bytes = b"an image",
        *rungs: str,
        by: Party = MODALITY,
        at: int = NOW,
        attributes: Disclosure | None = None,
        media: str = "image/png",
        **changes: Value,
    ) -> int:
        """Log a capture of `content` by `by`."""
        framed: Payload = {"frames": 1} if {"pixels", "codestream"} & set(rungs) else {}
        payload: Payload = {
            "captured": at,
            "clock": {"source": "ntp", "error_ns": 1_000_000},
            "media": media,
            "digests": cast("Value", digests(content, *rungs)),
            "attributes": (attributes or commit({}, key=bytes(32))).root(),
            "origin": "modality-signed",
            **framed,
            **changes,
        }
        return self.say("capture", payload, by=by)

    def say(self, kind: str, payload: Payload, *, by: Party) -> int:
        """Log any chained statement; `epoch`, `seq` and `prev` continue the key's chain."""
        seq, prev = self._chains.get(by.key.kid, (0, b""))
        chained: Payload = {"epoch": 0, "seq": seq, "prev": prev if seq else None, **payload}
        index = self._log(kind, chained, signer=by.key, issuer=by.uri)
        self._chains[by.key.kid] = (seq + 1, statement.decode(self.statements[index]).id)
        return index

    def add(self, raw: bytes) -> int:
        """Log these bytes, whatever they are."""
        self.statements.append(raw)
        return len(self.statements) - 1

    def _log(self, kind: str, payload: Payload, *, signer: Key, issuer: str) -> int:
        subject = uuid.UUID(bytes=hashlib.sha256(f"subject {len(self.statements)}".encode()).digest()[:16], version=4)
        return self.add(statement.build(kind, payload, signer=signer, issuer=issuer, subject=f"urn:uuid:{subject}"))

    @property
    def leaves(self) -> list[bytes]:
        """The leaf hash of every statement."""
        return [merkle.leaf_hash(hashlib.sha256(raw).digest()) for raw in self.statements]

    def checkpoint(self, *, signer: Key | None = None, origin: str | None = None, root: bytes | None = None) -> bytes:
        """The signed checkpoint over all statements; the options make it lie."""
        covered = checkpoint.Checkpoint(origin or self.origin, len(self.statements), root or merkle.root(self.leaves))
        return checkpoint.sign(covered, [note.NoteSigner(covered.origin, signer or self.log_key)])

    def published(
        self,
        *,
        quantum: Key | None = None,
        cosigners: Sequence[tuple[str, Key]] = (),
        over: Checkpoint | None = None,
        time_s: int = NOW // 10**9,
    ) -> bytes:
        """The checkpoint with the log's ML-DSA-44 signature and cosignatures, which are over `over` where it is given."""
        signed = self.checkpoint()
        covered = checkpoint.parse(signed).checkpoint
        lines = [CosignatureSigner(self.origin, quantum).sign(covered, time_s=time_s)] if quantum else []
        lines += [CosignatureSigner(name, each).sign(over or covered, time_s=time_s) for name, each in cosigners]
        return signed + "".join(lines).encode()

    def consistency(self, old_size: int) -> bytes:
        """The member time/consistency.cbor from an earlier size to now."""
        path = reference.consistency_path(self.leaves, old_size)
        return cbor.encode([old_size, len(self.statements), [*path]])

    def proven(self, index: int, signed: bytes | None = None) -> Proven:
        """Statement `index` with its tlog-proof under `signed` (default: the checkpoint of now)."""
        path = tuple(merkle.inclusion_path(self.leaves, index))
        proof = tlog_proof.TlogProof(index, path, checkpoint.parse(signed or self.checkpoint()))
        return Proven(self.statements[index], proof.to_bytes())

    def evidence(
        self,
        record: int,
        *,
        enrolments: Sequence[int],
        policies: Sequence[int] | None = None,
        revocation: Sequence[int] = (),
        signed: bytes | None = None,
        disclosure: Disclosure | None = None,
        conditions: tuple[str, ...] = (),
    ) -> Evidence:
        """The evidence for statement `record`; statements are named by index."""
        signed = signed or self.checkpoint()
        if policies is None:
            policies = [i for i, raw in enumerate(self.statements) if statement.decode(raw).kind == "policy"]
        return Evidence(
            record=self.proven(record, signed),
            enrolments=tuple(self.proven(index, signed) for index in enrolments),
            policies=tuple(self.proven(index, signed) for index in policies),
            revocation=tuple(self.proven(index, signed) for index in revocation),
            conditions=conditions,
            disclosure=disclosure.to_bytes() if disclosure else None,
        )

    def trusted(self, **more: Any) -> TrustedLog:
        """This log as a trust file names it."""
        keys = frozenset(each.spki for each in self.policy_keys)
        return TrustedLog(self.id, self.origin, keys, self.threshold, **more)

    def trust(self, *, accept_pixels: bool = False, authorities: Sequence[Authority] = (), **more: Any) -> Trust:
        """Trust in this log alone."""
        return Trust((self.trusted(**more),), accept_pixels, tuple(authorities))


def scene(**options: Any) -> Log:
    """A log of its policy (leaf 0), the enrolment of MODALITY (leaf 1) and its capture of b"an image" (leaf 2)."""
    log = Log()
    log.enrol(MODALITY)
    log.capture(**options)
    return log


def letters(verdict: Verdict) -> str:
    """The status of checks 1 to 15 as a word: P for PASS, F for FAIL, N for NOT CHECKED."""
    return "".join(check.status[0] for check in verdict.checks)
