"""Whom a gateway calls: the ledger, the PACS, the worklist, and modalities that are owed a report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from platemark.gateway._setting import setting

__all__ = ["Ledger", "Modality", "Pacs", "Tls", "Worklist"]


@dataclass(frozen=True, kw_only=True)
class Tls:
    """How a DICOM peer is called over TLS; without tls_ca it is called in plain text."""

    tls_ca: Path | None = setting(default=None, unit="file", why="PEM: speaks TLS and believes this authority.")
    tls_certificate: Path | None = setting(default=None, unit="file", why="PEM, that we show. Together with tls_key.")
    tls_key: Path | None = setting(default=None, unit="file", why="PEM private key of tls_certificate.")
    tls_server_name: str | None = setting(
        default=None, unit="name", why="in its certificate, when it is not that of address."
    )


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """`[ledger]`: where statements go. Without it they stay in the spool, for `platemark spool send`."""

    server: str = setting(unit="host:port", why="of the ledger.")
    tls_ca: str | None = setting(
        default=None,
        unit="file or `system`",
        why="speaks TLS and believes this authority. Plain text goes to loopback only.",
    )
    tls_certificate: Path | None = setting(default=None, unit="file", why="PEM, that we show. Together with tls_key.")
    tls_key: Path | None = setting(default=None, unit="file", why="PEM private key of tls_certificate.")
    tls_server_name: str | None = setting(
        default=None, unit="name", why="in the ledger's certificate, when it is not that of server."
    )
    trust: Path | None = setting(
        default=None, unit="file", why="whom to believe: a ledger that it does not name gets nothing. Recommended."
    )


@dataclass(frozen=True, kw_only=True)
class Pacs(Tls):
    """`[[pacs]]`: one destination of mode inline; an object is done when all of them have it."""

    name: str = setting(unit="word", why="of this destination in journal, logs and metrics; never change or reuse it.")
    address: str = setting(unit="host:port", why="where it is.")
    ae_title: str = setting(unit="AE title", why="that we call it by.")
    calling: str | None = setting(
        default=None, unit="AE title", why="that we go by, and that it has to allow. Not set: receive.ae_title."
    )
    pass_calling: bool = setting(
        default=False,
        unit="switch",
        why="go by the AE title of the modality instead, for a PACS whose rules look at it.",
    )
    commitment: bool = setting(
        default=False,
        unit="switch",
        why="ask it for Storage Commitment before we answer a modality that asks us. Else its C-STORE success will do.",
    )
    connect_time: float = setting(
        default=10.0, unit="seconds", why="that it has to take a connection and an association.", least=0.1, most=300.0
    )
    answer_time: float = setting(
        default=60.0, unit="seconds", why="that it has to answer a C-STORE.", least=0.1, most=3600.0
    )
    retry_time: float = setting(
        default=300.0, unit="seconds", why="the longest pause between two attempts.", least=0.1, most=86400.0
    )


@dataclass(frozen=True, kw_only=True)
class Worklist(Tls):
    """`[worklist]`: asked for the technologist of an object that does not name one. As stated there, not signed by anybody."""

    address: str = setting(unit="host:port", why="of the modality worklist SCP.")
    ae_title: str = setting(unit="AE title", why="that we call it by.")
    calling: str | None = setting(default=None, unit="AE title", why="that we go by. Not set: receive.ae_title.")
    answer_time: float = setting(
        default=5.0,
        unit="seconds",
        why="that it has to answer; an object is signed without it then.",
        least=0.1,
        most=60.0,
    )


@dataclass(frozen=True, kw_only=True)
class Modality(Tls):
    """`[[modality]]`: where a modality wants reports of Storage Commitment that come after its association has ended."""

    ae_title: str = setting(unit="AE title", why="that it calls us by, and that we call it by.")
    address: str = setting(unit="host:port", why="where it takes N-EVENT-REPORT.")
