"""The options that `platemark sign` and `platemark capture` share."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from platemark.cli.times import parse_duration, parse_time

__all__ = ["Captured", "ClockError", "ClockSource", "Images", "NewEpoch", "Origin", "OriginOption", "Out", "Source"]


class Origin(enum.StrEnum):
    """How the image came to whoever signs it."""

    MODALITY_SIGNED = "modality-signed"
    GATEWAY_RECEIVED = "gateway-received"
    IMPORTED_LATER = "imported-later"


class ClockSource(enum.StrEnum):
    """Where the device's clock gets its time."""

    PTP = "ptp"
    NTP = "ntp"
    GNSS = "gnss"
    RTC = "rtc"
    HOST = "host"
    UNKNOWN = "unknown"


Images: TypeAlias = Annotated[list[Path], typer.Argument(metavar="IMAGE_OR_FOLDER...", help="Folders are walked.")]
OriginOption: TypeAlias = Annotated[
    Origin | None,
    typer.Option("--origin", help="Default: gateway-received for a gateway's key, else modality-signed."),
]
Captured: TypeAlias = Annotated[
    int | None,
    typer.Option(parser=parse_time, metavar="TIME", help="When it was captured. Default: the moment of signing."),
]
Source: TypeAlias = Annotated[ClockSource, typer.Option("--clock-source", help="Where the time comes from.")]
ClockError: TypeAlias = Annotated[
    int | None,
    typer.Option(
        parser=parse_duration, metavar="DURATION", help="Bound of the clock's error, like 5ms. Default: unknown."
    ),
]
NewEpoch: TypeAlias = Annotated[
    bool, typer.Option("--new-epoch", help="Begin a new chain: KEY.state came back from a backup.")
]
Out: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Write statements and disclosures here. Default: beside the image.")
]
