"""The settings of a gateway: frozen, each with its unit, its default and the reason for it. `config` reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from platemark.gateway._setting import ConfigError, setting
from platemark.gateway.peers import Ledger, Modality, Pacs, Worklist
from platemark.signing import CLOCK_SOURCES

__all__ = [
    "ConfigError",
    "Gateway",
    "Ledger",
    "Limits",
    "Metrics",
    "Modality",
    "Pacs",
    "Receive",
    "Sign",
    "Worklist",
]

_MIB, _GIB = 1 << 20, 1 << 30


@dataclass(frozen=True, kw_only=True)
class Receive:
    """`[receive]`: who may send, and what."""

    listen: str = setting(
        default="127.0.0.1:11112",
        unit="address:port",
        why="where modalities send to; port 0 takes a free one and prints it. DICOM's registered ports are 104 and 11112, with "
        "TLS 2762.",
    )
    ae_title: str = setting(
        default="PLATEMARK", unit="AE title", why="that modalities call us by. Another one is rejected."
    )
    calling: tuple[str, ...] = setting(
        default=(),
        unit="AE titles",
        why="of the modalities that may send. An AE title is no proof of who calls: TLS is. Empty: any.",
    )
    networks: tuple[str, ...] = setting(
        default=("127.0.0.0/8", "::1/128"),
        unit="CIDR",
        why="from which a connection is taken; everybody else is hung up on before a word is said.",
    )
    tls_certificate: Path | None = setting(
        default=None, unit="file", why="PEM chain, ours first. With it only TLS is spoken. Together with tls_key."
    )
    tls_key: Path | None = setting(
        default=None, unit="file", why="PEM private key of tls_certificate, unencrypted, mode 0600."
    )
    tls_client_ca: Path | None = setting(
        default=None,
        unit="file",
        why="PEM. A modality has to show a certificate from it, and its identity goes into the record. Needed with TLS.",
    )
    sop_classes: tuple[str, ...] = setting(
        default=(),
        unit="UIDs",
        why="of private storage classes, beside all standard ones, retired ones included.",
    )
    transfer_syntaxes: tuple[str, ...] = setting(
        default=(),
        unit="UIDs",
        why="of private transfer syntaxes, beside all standard ones. Nothing is ever decoded to be sent.",
    )
    max_pdu: int = setting(
        default=128 * 1024,
        unit="bytes",
        why="of one PDU that a modality may send; with the customary 16 KiB an object arrives half as fast.",
        least=4096,
        most=1024 * 1024,
    )
    idle_time: float = setting(
        default=60.0,
        unit="seconds",
        why="that a modality may keep quiet, within an association or a TLS handshake, before it is hung up on.",
        least=1.0,
        most=3600.0,
    )
    stop_time: float = setting(
        default=30.0,
        unit="seconds",
        why="that associations have to end by themselves after SIGTERM; then they are aborted. Nothing half-received stays.",
        least=0.0,
        most=600.0,
    )


@dataclass(frozen=True, kw_only=True)
class Limits:
    """`[limits]`: beyond them a C-STORE is answered A700 (out of resources), and the modality tries again later."""

    associations: int = setting(
        default=32, unit="associations", why="at once; each is two threads and a PDU.", least=1, most=300
    )
    object_bytes: int = setting(
        default=8 * _GIB,
        unit="bytes",
        why="of one object; an association that sends more is aborted. Breast tomosynthesis reaches 2 GiB.",
        least=_MIB,
        most=1 << 40,
    )
    waiting_objects: int = setting(
        default=200_000,
        unit="objects",
        why="that are not done: not signed, or not in the PACS.",
        least=1,
        most=100_000_000,
    )
    waiting_bytes: int = setting(
        default=200 * _GIB,
        unit="bytes",
        why="of these. Size it for the longest absence of the PACS that you want to bridge.",
        least=_MIB,
        most=1 << 50,
    )
    free_bytes: int = setting(
        default=2 * _GIB,
        unit="bytes",
        why="that stay free on the disk of state_dir, for journal, spool and vault.",
        least=0,
        most=1 << 50,
    )
    keep_days: float = setting(
        default=30.0,
        unit="days",
        why="that the journal remembers an object after its file is gone, for Storage Commitment and for senders that repeat.",
        least=1.0,
        most=3650.0,
    )


@dataclass(frozen=True, kw_only=True)
class Sign:
    """`[sign]`: the key that signs what was received."""

    key: Path = setting(
        unit="file",
        why="or what keygen --token wrote; enrolled as gateway. Its chain state is beside it: on the disk of state_dir.",
    )
    passphrase_file: Path | None = setting(
        default=None,
        unit="file",
        why="its first line is the key's passphrase, or the token's PIN. Else PLATEMARK_PASSPHRASE. Else there is none.",
    )
    device: str | None = setting(
        default=None, unit="URI", why="that the key is enrolled for; remembered beside the key after the first time."
    )
    clock_source: str = setting(
        default="host", unit="word", why=f"what disciplines this machine's clock: {', '.join(CLOCK_SOURCES)}."
    )
    clock_error_ms: int | None = setting(
        default=None,
        unit="milliseconds",
        why="the greatest error that you believe it has. Not set: not known.",
        least=0,
        most=10**9,
    )
    vault_recipient: Path | None = setting(
        default=None,
        unit="file",
        why="PEM public key of whoever may open disclosures; used once, when the vault is made. This machine cannot open them.",
    )
    measure_seconds: float = setting(
        default=120.0,
        unit="seconds",
        why="that measuring one object may take; what takes longer is captured without its pixels.",
        least=1.0,
        most=3600.0,
    )


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """`[metrics]`: what Prometheus reads."""

    listen: str | None = setting(
        default="127.0.0.1:9107",
        unit="address:port",
        why='in plain HTTP, so loopback only; port 0 takes a free one. "": none.',
    )


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """The whole of it. Checked when made: a Gateway that exists is usable together."""

    mode: str = setting(
        unit="`inline` or `copy`",
        why="inline: we pass every object on to each [[pacs]]. copy: the modality, or the PACS, sends us a second copy, and we "
        "pass nothing on.",
    )
    state_dir: Path = setting(
        unit="directory",
        why="journal, objects, spool and vault, on one local disk whose fsync is honest; never a network file system.",
    )
    sign: Sign = field()
    receive: Receive = field(default_factory=Receive)
    limits: Limits = field(default_factory=Limits)
    ledger: Ledger | None = None
    metrics: Metrics = field(default_factory=Metrics)
    worklist: Worklist | None = None
    pacs: tuple[Pacs, ...] = ()
    modality: tuple[Modality, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what does not fit together. Raises ConfigError."""
        from platemark.gateway._check_settings import check

        check(self)

    @property
    def journal(self) -> Path:
        """The file of the journal."""
        return self.state_dir / "journal.sqlite"

    @property
    def objects(self) -> Path:
        """The directory of the objects that are arriving or not done; what has no row in the journal was never acknowledged."""
        return self.state_dir / "objects"

    @property
    def spool(self) -> Path:
        """The directory of the spool."""
        return self.state_dir / "spool"

    @property
    def vault(self) -> Path:
        """The directory of the vault."""
        return self.state_dir / "vault"

    @property
    def destinations(self) -> tuple[str, ...]:
        """The names that every object has to reach; none in mode copy."""
        return tuple(each.name for each in self.pacs) if self.mode == "inline" else ()
