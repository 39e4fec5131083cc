"""The settings of a gate: frozen, each with its unit, its default and the reason for it. `config.load_as` reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from platemark.gateway._setting import ConfigError, setting
from platemark.gateway.peers import Ledger, Tls
from platemark.gateway.settings import Limits, Metrics, Receive
from platemark.rungs import RUNGS
from platemark.verdict import INCONCLUSIVE, MATCHES_RECORD

__all__ = ["Evidence", "GateSettings", "Policy", "Quarantine", "Reader"]

_GIB = 1 << 30
_ANSWERS = ("accept", "refuse")


@dataclass(frozen=True, kw_only=True)
class Reader(Tls):
    """`[reader]`: whom the gate stands in front of: an AI, a workstation, an archive."""

    address: str = setting(unit="host:port", why="where it is.")
    ae_title: str = setting(unit="AE title", why="that we call it by.")
    calling: str | None = setting(
        default=None, unit="AE title", why="that we go by. Not set: the one of whoever sent the object to us."
    )
    associations: int = setting(
        default=2, unit="associations", why="with it at once; each sender waits for one.", least=1, most=32
    )
    connect_time: float = setting(
        default=10.0, unit="seconds", why="that it has to take a connection and an association.", least=0.1, most=300.0
    )
    answer_time: float = setting(
        default=60.0, unit="seconds", why="that it has to answer a C-STORE.", least=0.1, most=3600.0
    )


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """`[evidence]`: where evidence is found beside the [ledger]; by digest, so that names mean nothing."""

    folder: Path | None = setting(
        default=None, unit="directory", why="of *.evidence files, looked at before the ledger."
    )
    most: int = setting(
        default=8,
        unit="records",
        why="of one object that are tried. Anybody who may write to the ledger can register an image again.",
        least=1,
        most=256,
    )


@dataclass(frozen=True, kw_only=True)
class Policy:
    """`[policy]`: what passes. All of it has to hold for one and the same record."""

    results: tuple[str, ...] = setting(
        default=(MATCHES_RECORD,),
        unit="results",
        why="of the verification: MATCHES RECORD; INCONCLUSIVE if you accept what could not be checked. Others never pass.",
    )
    rungs: tuple[str, ...] = setting(
        default=("dataset", "content", "pixels", "codestream"),
        unit="rungs",
        why="one of which has to match, and be the strongest that does.",
    )
    accept_pixels: bool = setting(
        default=False,
        unit="switch",
        why="let equal pixels alone clear a header, as in a trust file: for de-identified copies. No patient is proven then.",
    )
    devices: tuple[str, ...] = setting(
        default=(),
        unit="URIs",
        why="of the devices whose records count. Empty: every device that the log has enrolled.",
    )
    origins: tuple[str, ...] = setting(
        default=(),
        unit="words",
        why="of where a record was made: modality-signed, gateway-received, imported-later. Empty: any.",
    )
    quarantined: str = setting(
        default="refuse",
        unit="`accept` or `refuse`",
        why="what the sender of a quarantined object is answered: success, or C-STORE status 0124 (not authorised).",
    )


@dataclass(frozen=True, kw_only=True)
class Quarantine:
    """`[quarantine]`: the objects that did not pass, each with its verdict beside it. When it is full none is taken any more."""

    objects: int = setting(default=10_000, unit="objects", why="that are kept.", least=0, most=10_000_000)
    bytes: int = setting(default=50 * _GIB, unit="bytes", why="of these.", least=0, most=1 << 50)


@dataclass(frozen=True, kw_only=True)
class GateSettings:
    """The whole of it. Checked when made."""

    state_dir: Path = setting(
        unit="directory", why="objects while they are judged, and the quarantine; one local disk."
    )
    trust: Path = setting(unit="file", why="whom the owner of the gate believes. Evidence never brings trust with it.")
    reader: Reader = field()
    receive: Receive = field(default_factory=Receive)
    limits: Limits = field(default_factory=Limits)
    evidence: Evidence = field(default_factory=Evidence)
    ledger: Ledger | None = None
    policy: Policy = field(default_factory=Policy)
    quarantine: Quarantine = field(default_factory=Quarantine)
    metrics: Metrics = field(default_factory=Metrics)
    measure_seconds: float = setting(
        default=120.0,
        unit="seconds",
        why="that the pixels of one object may take; what takes longer is judged without them.",
        least=1.0,
        most=3600.0,
    )

    def __post_init__(self) -> None:
        """Refuse what does not fit together. Raises ConfigError."""
        from platemark.gateway._check_settings import check_metrics, check_receive, check_tables

        check_tables(self)
        check_receive(self.receive)
        check_metrics(self.metrics)
        if self.ledger is None and self.evidence.folder is None:
            raise ConfigError("evidence.folder", "missing: without it and without [ledger] nothing could ever pass")
        _check_policy(self.policy)

    @property
    def objects(self) -> Path:
        """Objects while they arrive and are judged; nothing in it was acknowledged."""
        return self.state_dir / "objects"

    @property
    def quarantined(self) -> Path:
        """What did not pass."""
        return self.state_dir / "quarantine"


def _check_policy(policy: Policy) -> None:
    for field_name, values, known in (
        ("results", policy.results, (MATCHES_RECORD, INCONCLUSIVE)),
        ("rungs", policy.rungs, tuple(each for each in RUNGS if each not in {"file", "messages"})),
        ("origins", policy.origins, ("modality-signed", "gateway-received", "imported-later")),
    ):
        for each in values:
            if each not in known:
                raise ConfigError(f"policy.{field_name}", f"{each!r} is none of {', '.join(known)}")
    if not policy.results or not policy.rungs:
        raise ConfigError(
            "policy.results" if not policy.results else "policy.rungs", "empty, so nothing could ever pass"
        )
    if policy.quarantined not in _ANSWERS:
        raise ConfigError("policy.quarantined", f"{policy.quarantined!r} is neither accept nor refuse")
