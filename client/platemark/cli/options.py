"""Options that several commands share: one name, one help text, one environment variable each."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from platemark.attributes import KINDS, AttributeValue
from platemark.cli.times import parse_time

__all__ = [
    "DEFAULT_SERVER",
    "AsJson",
    "At",
    "Attribute",
    "Device",
    "DisclosureFile",
    "Force",
    "Key",
    "Meaning",
    "MeaningOption",
    "Parent",
    "PassphraseFile",
    "Server",
    "SpoolDirectory",
    "TlsAuthority",
    "TlsCertificate",
    "TlsKey",
    "TlsName",
    "Trust",
    "Witnessed",
    "parse_attributes",
]

DEFAULT_SERVER = "127.0.0.1:50151"


class Meaning(enum.StrEnum):
    """What a capture means (statement.md section 5)."""

    ACQUIRED = "acquired"
    DERIVED = "derived"
    AMENDED = "amended"


AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, for scripts.")]
At: TypeAlias = Annotated[
    int | None,
    typer.Option(parser=parse_time, metavar="TIME", help="Judge as of this time: RFC 3339 or Unix nanoseconds."),
]
Key: TypeAlias = Annotated[Path, typer.Option(help="The signing key; its chain state lies beside it (KEY.state).")]
Device: TypeAlias = Annotated[
    str | None,
    typer.Option(help="The URI that this key is enrolled for. Remembered in KEY.state after the first time."),
]
Witnessed: TypeAlias = Annotated[
    bool,
    typer.Option("--witnessed", help="Go on only when a quorum of the ledger's witnesses has seen what was logged."),
]
Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Overwrite statements and disclosures that exist.")]
PassphraseFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The key's passphrase is the first line of FILE. Else PLATEMARK_PASSPHRASE; else asked on a terminal.",
    ),
]
Attribute: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Commit to this fact as well (proto/attributes.md lists names). Repeat."),
]
Parent: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option("--parent", metavar="FILE.statement", help="A capture that this image was made from. Repeat."),
]
MeaningOption: TypeAlias = Annotated[
    Meaning | None,
    typer.Option("--meaning", help="Default: what the object's Image Type says; derived for others with a --parent."),
]
DisclosureFile: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Where K and the values are. Default: IMAGE.disclosure.")
]
Trust: TypeAlias = Annotated[
    Path | None,
    typer.Option(envvar="PLATEMARK_TRUST", metavar="FILE", help="Whom you believe: a trust file that you brought."),
]
Server: TypeAlias = Annotated[
    str, typer.Option(envvar="PLATEMARK_SERVER", metavar="HOST:PORT", help="The ledger. Plain text to loopback only.")
]
TlsAuthority: TypeAlias = Annotated[
    str | None,
    typer.Option(
        envvar="PLATEMARK_TLS_CA",
        metavar="FILE",
        help="TLS, with this certificate authority (PEM); `system` for the system's own.",
    ),
]
TlsCertificate: TypeAlias = Annotated[
    Path | None,
    typer.Option(envvar="PLATEMARK_TLS_CERTIFICATE", metavar="FILE", help="The certificate that we show (PEM)."),
]
TlsKey: TypeAlias = Annotated[
    Path | None, typer.Option(envvar="PLATEMARK_TLS_KEY", metavar="FILE", help="The key of that certificate (PEM).")
]
TlsName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--tls-server-name",
        envvar="PLATEMARK_TLS_SERVER_NAME",
        metavar="NAME",
        help="The name in the ledger's certificate, when it is not the one in --server.",
    ),
]

SpoolDirectory: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--spool",
        envvar="PLATEMARK_SPOOL",
        metavar="DIR",
        help="Put statements into this spool and return; `platemark spool send` brings them to the ledger.",
    ),
]


def parse_attributes(items: list[str] | None) -> dict[str, AttributeValue]:
    """NAME=VALUE to a value of the attribute's type; NAME= is the statement that there is none."""
    values: dict[str, AttributeValue] = {}
    for item in items or []:
        name, separator, text = item.partition("=")
        if not separator or name not in KINDS:
            raise typer.BadParameter(f"{item!r}: not NAME=VALUE with a name of the registry (proto/attributes.md)")
        if name in values:
            raise typer.BadParameter(f"{name}: given twice")
        if KINDS[name] is int and text and not (text.isascii() and text.isdigit()):
            raise typer.BadParameter(f"{item!r}: {name} is an integer")
        values[name] = (int(text) if KINDS[name] is int else text) if text else None
    return values
