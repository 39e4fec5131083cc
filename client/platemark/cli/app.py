"""The application, and the one place where anything that goes wrong becomes one line and an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from inspect import cleandoc
from typing import Annotated

import typer

from platemark import __version__
from platemark.cli import (
    attest,
    audit,
    c2pa,
    capture,
    dicom,
    enrol,
    fetch,
    gate,
    gateway,
    inspection,
    keygen,
    mcap,
    monitor,
    output,
    policy,
    receipt,
    revoke,
    spool,
    vault,
    verify,
    witness,
)
from platemark.errors import DecoderMissingError, PlatemarkError, RequestRefusedError

__all__ = ["app", "main"]

_VERBATIM = ("Example", "Exit codes")
REFUSED, USAGE, UNREACHABLE, SOFTWARE, INTERRUPTED, CLOSED = 1, 2, 5, 70, 130, 141
# The codes of platemark.rpc's errors after which the same command may succeed later; that package may not be installed.
_LATER = frozenset({"unavailable", "unreachable", "deadline"})

app = typer.Typer(
    name="platemark",
    help=(
        "Check whether an image is the one that a known device registered, offline; and register images.\n\n"
        "Every command takes --help, which shows an example, and --json.\n\n"
        "Exit codes: verify and audit have their own (see there). Everywhere: 0 done; 1 done in part, something was "
        "refused or could not be captured; 2 usage or unreadable input, one line on standard error says why; 5 no ledger "
        "answered, later may help; 70 a fault of this program; "
        "130 interrupted."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        output.say(f"platemark {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    del version  # its callback has done everything before a command was looked for


def _help(command: Callable[..., None]) -> str:
    """The docstring, with its paragraphs of examples and exit codes kept line by line, as click's mark asks."""
    return _paragraphs(cleandoc(command.__doc__ or ""))


def _paragraphs(text: str) -> str:
    paragraphs = text.split("\n\n")
    return "\n\n".join("\b\n" + each if each.startswith(_VERBATIM) else each for each in paragraphs)


_COMMANDS: dict[str, Callable[..., None]] = {
    "keygen": keygen.keygen,
    "enrol": enrol.enrol,
    "revoke": revoke.revoke,
    "sign": capture.sign,
    "submit": capture.submit,
    "capture": capture.capture,
    "attest": attest.attest,
    "lookup": fetch.lookup,
    "fetch": fetch.fetch,
    "verify": verify.verify,
    "inspect": inspection.inspect,
    "audit": audit.audit,
    "monitor": monitor.monitor,
    "gateway": gateway.gateway,
    "gate": gate.gate,
}
for _name, _command in _COMMANDS.items():
    app.command(_name, help=_help(_command))(_command)

_GROUPS: dict[str, tuple[Mapping[str, Callable[..., None]], str]] = {
    "witness": (witness.COMMANDS, witness.HELP),
    "policy": (policy.COMMANDS, policy.__doc__ or ""),
    "receipt": (receipt.COMMANDS, receipt.HELP),
    "spool": (spool.COMMANDS, spool.HELP),
    "vault": (vault.COMMANDS, vault.HELP),
    "dicom": (dicom.COMMANDS, dicom.HELP),
    "mcap": (mcap.COMMANDS, mcap.HELP),
    "c2pa": (c2pa.COMMANDS, c2pa.HELP),
}
for _name, (_commands, _text) in _GROUPS.items():
    _group = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
    for _member, _command in _commands.items():
        _group.command(_member, help=_help(_command))(_command)
    app.add_typer(_group, name=_name, help=_paragraphs(_text))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Never lets an exception out, unless PLATEMARK_DEBUG=1 asks to see where."""
    output.prepare()
    words = sys.argv[1:] if arguments is None else list(arguments)
    if not words:
        output.prepare()
        app(args=["--help"], standalone_mode=False, prog_name="platemark")
        return USAGE
    debug = os.environ.get("PLATEMARK_DEBUG") == "1"
    try:
        code = app(args=words, standalone_mode=False, prog_name="platemark")
    except output.ClosedOutputError:
        return CLOSED
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last place where a fault can become a sentence
        if debug:
            traceback.print_exc()
        return _complain(error, as_json="--json" in words)
    if code == INTERRUPTED:
        output.note("platemark: interrupted")
    return code if isinstance(code, int) else 0


def _complain(error: Exception, *, as_json: bool) -> int:
    """Say in one line what went wrong, with --json also as an object on standard output; the exit code."""
    code, word, sentence = _judged(error)
    if as_json:
        with contextlib.suppress(output.ClosedOutputError, OSError):
            output.say_json({"error": {"code": word, "reason": sentence}})
    output.note(f"platemark: {sentence}")
    return code


def _judged(error: Exception) -> tuple[int, str, str]:
    """Exit code, stable word and sentence."""
    # typer's own errors (an unknown option, a missing argument) differ in class between its releases, not in shape.
    format_message = getattr(error, "format_message", None)
    if format_message is not None:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "platemark"
        message = str(format_message()).removesuffix(".")
        return USAGE, "usage", f"{message} (try: {command} --help)"
    if isinstance(error, DecoderMissingError):
        return USAGE, error.code, f'{error}; install it: pip install "platemark[{error.extra}]"'
    if isinstance(error, RequestRefusedError):
        return REFUSED, error.code, str(error)
    if isinstance(error, PlatemarkError):
        return UNREACHABLE if error.code in _LATER else USAGE, error.code, str(error)
    if isinstance(error, OSError):
        return USAGE, "system", str(error)
    sentence = (
        f"a fault of this program, please report it: {type(error).__name__}: {error} (PLATEMARK_DEBUG=1 shows where)"
    )
    return SOFTWARE, "fault", sentence


if __name__ == "__main__":
    sys.exit(main())
