"""`platemark inspect`: any of our files, for a person or as JSON. Secrets stay closed unless --reveal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from platemark import files
from platemark.cli import describe, output
from platemark.cli.options import AsJson, PassphraseFile
from platemark.errors import FormatError, StateError
from platemark.evidence import MAX_BUNDLE

__all__ = ["inspect"]


def inspect(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A statement, evidence, disclosure, tlog-proof, checkpoint, trust file, key, state, enrolment request, "
            "policy proposal, or a request to a vault and its release.",
        ),
    ],
    *,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show K and the values of a disclosure. Private keys are never shown.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what is in a file of ours, by its content and not by its name. This checks form, and is no verdict.

    Examples:
      platemark inspect scan.dcm.statement
      platemark inspect scan.dcm.evidence --json
    """
    data = files.read(file, limit=MAX_BUNDLE)
    try:
        described = describe.describe(data, path=file, reveal=reveal, passphrase_file=passphrase_file)
    except FormatError as error:
        raise type(error)(f"{file}: {error.field}", error.reason) from None
    except StateError as error:
        raise StateError(f"{file}: {error.reason}") from None
    if as_json:
        output.say_json(described)
    else:
        _show(described, 0)


def _show(value: dict[str, object], depth: int) -> None:
    indent = "  " * depth
    width = max((len(name) for name, each in value.items() if not isinstance(each, (dict, list))), default=0)
    for name, each in value.items():
        label = output.printable(name)
        if isinstance(each, dict):
            output.say(f"{indent}{label}:")
            _show(each, depth + 1)
        elif isinstance(each, list) and each and isinstance(each[0], dict):
            for number, item in enumerate(each):
                output.say(f"{indent}{label}[{number}]:")
                _show(item, depth + 1)
        else:
            output.say(f"{indent}{label:<{width}}  {_text(each)}")


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return ", ".join(_text(each) for each in value) or "none"
    if value is None:
        return "none"
    return output.printable(value)
