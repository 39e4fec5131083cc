"""Founding a ledger: its keys, its first policy, its directory.

The policy and registrar keys are made here only for lack of better ones. They belong on a machine that never serves, and a
founder who has them there passes their files, or for registrars only the public halves.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from platemark import statement
from platemark.cbor import Value
from platemark.cosignature import CosignatureSigner
from platemark.key_files import read_private, read_public, write_private, write_public
from platemark.keys import PrivateKey, Verifier, generate
from platemark.note import NoteSigner
from platemark.trust import TrustedLog, to_toml
from platemark_ledger import config, genesis
from platemark_ledger.errors import GenesisError
from platemark_ledger.opening import Paths
from platemark_ledger.settings import Settings

__all__ = ["Founded", "Plan", "found"]

_YEAR_NS = 365 * 86_400 * 10**9
_MAX_NS = (1 << 63) - 1
# The registrar's own clock may be behind that of the machine where the ledger is founded.
_SLACK_NS = 86_400 * 10**9
# Clocks of devices further ahead than this are flagged, never refused.
_SKEW_NS = 300 * 10**9


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the founder decides. `policy_keys` and `registrar` None: made and left in DIRECTORY/offline."""

    directory: Path
    origin: str
    listen: str = "127.0.0.1:50151"
    policy_keys: tuple[Path, ...] = ()
    policy_count: int = 1
    threshold: int | None = None
    registrar: Path | None = None
    registrar_issuer: str | None = None
    registrar_years: int = 5


@dataclass(frozen=True)
class Founded:
    """What is there now. `offline` are private keys that have to leave this machine."""

    directory: Path
    origin: str
    log_id: bytes
    vkey: str
    vkey_pq: str
    registrar_issuer: str
    config: Path
    trust: Path
    offline: tuple[Path, ...]
    encrypted: bool


def found(
    plan: Plan, *, log_passphrase: bytes | None, offline_passphrase: bytes | None, now_ns: int | None = None
) -> Founded:
    """Make the ledger of the plan. Raises GenesisError, KeyFileError, ConfigError, StatementError; nothing is overwritten.

    What is wrong with the plan is found before anything is written. If we crash here, the directory is not a ledger yet and
    nothing was told to anybody: remove it and found again.
    """
    if "://" in plan.origin:
        raise GenesisError(f"origin: {plan.origin}: give it without a scheme, like ledger.hospital.example/xray")
    now = time.time_ns() if now_ns is None else now_ns
    policy_keys = [read_private(path, offline_passphrase) for path in plan.policy_keys]
    made: dict[Path, PrivateKey] = {}
    for number in range(1, plan.policy_count + 1) if not policy_keys else ():
        made[plan.directory / "offline" / f"policy-{number}.key"] = generate("p256")
    policy_keys += made.values()
    registrar: Verifier | PrivateKey
    if plan.registrar is None:
        registrar = made[plan.directory / "offline" / "registrar.key"] = generate("p256")
    else:
        registrar = read_public(plan.registrar)
    log_key, log_key_pq = generate("ed25519"), generate("mldsa44")
    issuer = plan.registrar_issuer or f"https://{plan.origin}/registrar"
    threshold = plan.threshold or len(policy_keys)
    entry: Value = {
        "key": registrar.spki,
        "issuer": issuer,
        "not_before": max(0, now - _SLACK_NS),
        "not_after": min(now + plan.registrar_years * _YEAR_NS, _MAX_NS),
    }
    policy = _policy(plan.origin, policy_keys, threshold, (log_key, log_key_pq), entry)
    settings = Settings(
        origin=plan.origin,
        listen=plan.listen,
        access_log=Path("access-log"),  # relative to config.toml
        data=plan.directory / "data",
        anchor=plan.directory / "anchor" / "checkpoint",
        log_key=plan.directory / "keys" / "log.key",
        log_key_pq=plan.directory / "keys" / "log-mldsa44.key",
    )
    assert settings.log_key_pq is not None
    signer, cosigner = NoteSigner(plan.origin, log_key), CosignatureSigner(plan.origin, log_key_pq)
    trusted = TrustedLog(
        statement.decode(policy[0]).id, plan.origin, frozenset(key.spki for key in policy_keys), threshold
    )
    _make_directories(plan.directory)
    for path, key in made.items():
        write_private(path, key, offline_passphrase)
        write_public(path.with_suffix(".pub"), key)
    write_private(settings.log_key, log_key, log_passphrase)
    write_private(settings.log_key_pq, log_key_pq, log_passphrase)
    genesis.create(Paths(settings.data, settings.anchor, settings.lock), policy=policy, signers=[signer])
    written = {
        "config.toml": config.to_toml(settings, plan.directory),
        "trust.toml": to_toml(trusted),
        "log.vkey": signer.verifier.vkey + "\n",
        "log-mldsa44.vkey": cosigner.verifier.vkey + "\n",
    }
    for name, text in written.items():
        _write(plan.directory / name, text)
    return Founded(
        directory=plan.directory,
        origin=plan.origin,
        log_id=trusted.id,
        vkey=signer.verifier.vkey,
        vkey_pq=cosigner.verifier.vkey,
        registrar_issuer=issuer,
        config=plan.directory / "config.toml",
        trust=plan.directory / "trust.toml",
        offline=tuple(made),
        encrypted=offline_passphrase is not None,
    )


def _policy(
    origin: str,
    keys: list[PrivateKey],
    threshold: int,
    log_keys: Sequence[PrivateKey],
    registrar: Value,
) -> list[bytes]:
    """Version 0, signed by as many policy keys as it asks for; the first of these statements becomes leaf 0."""
    if threshold > len(keys):
        raise GenesisError(f"the threshold is {threshold} and there are {len(keys)} policy keys")
    payload: dict[str, Value] = {
        "version": 0,
        "origin": origin,
        "log": None,
        "prev": None,
        "keys": [*sorted(key.spki for key in keys)],
        "threshold": threshold,
        "log_keys": [*sorted(key.spki for key in log_keys)],
        "registrars": [registrar],
        "limits": {"statement": statement.MAX_STATEMENT, "skew_ns": _SKEW_NS},
    }
    name = statement.policy_issuer(origin)
    return [statement.build("policy", payload, signer=key, issuer=name) for key in keys[:threshold]]


def _make_directories(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise GenesisError(f"{directory} is not empty: a ledger is founded in a new directory")
        for name, mode in (("keys", 0o700), ("offline", 0o700), ("data", 0o750), ("anchor", 0o750)):
            (directory / name).mkdir(mode=mode)
    except OSError as error:
        raise GenesisError(f"{directory}: {error.strerror or error}") from error


def _write(path: Path, text: str) -> None:
    try:
        # Whoever can write trust.toml decides whom readers believe: never more than 0644, whatever the umask.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise GenesisError(f"{path}: {error.strerror or error}") from error
