"""platemark-ledger: found a ledger, serve it, look at it.

Refused statements hold what strangers wrote, and `status` shows why they were refused: whatever is printed goes through
platemark.cli.output, which interprets nothing and escapes what a terminal would obey.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import json
import logging
import os
import shlex
import signal
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from platemark import files
from platemark.cli import output
from platemark.errors import FormatError, KeyFileError, PlatemarkError
from platemark_ledger import __version__, cli_access, config, founding, opening, renewing
from platemark_ledger.demo import demo
from platemark_ledger.errors import GenesisError, StartRefusedError, WrongLogKeyError
from platemark_ledger.exits import Exit
from platemark_ledger.refused import RefusedEntry
from platemark_ledger.settings import Described, Settings, describe
from platemark_ledger.supervisor import Supervisor

__all__ = ["app", "main"]

_EXITS = (
    "Exit codes: 0 done or stopped as asked; 1 a fault, starting again may help; 2 command line, configuration or key file; "
    "3 start refused: data and anchor do not belong together; 4 stopped itself after a commit or anchor error."
)
_CONFIG_HELP = (
    "A ledger's directory, or its config.toml. PLATEMARK_LEDGER_<NAME> in the environment overrides single settings."
)

app = typer.Typer(
    name="platemark-ledger",
    help="A transparency log for signed statements about images. Found one with `init`, run it with `serve`.",
    epilog=_EXITS,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigPath = Annotated[Path, typer.Argument(envvar="PLATEMARK_LEDGER_CONFIG", help=_CONFIG_HELP)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, for scripts.")]


def main() -> None:
    """The console script. No fault of the world or of ours shows a stack, unless PLATEMARK_LEDGER_STACK is set."""
    output.prepare()
    try:
        code = app(standalone_mode=False, prog_name="platemark-ledger")
        sys.exit(code if isinstance(code, int) else Exit.OK)
    except output.ClosedOutputError:
        sys.exit(Exit.FAILED)
    except (KeyboardInterrupt, typer.Abort):
        _say("interrupted")
        sys.exit(Exit.FAILED)
    except Exception as error:  # the last door
        # typer's own errors (an unknown option, a missing argument) differ in class between its releases, not in shape.
        format_message = getattr(error, "format_message", None)
        if format_message is not None:
            _say_usage(str(format_message()), getattr(error, "ctx", None))
            sys.exit(Exit.USAGE)
        if "PLATEMARK_LEDGER_STACK" in os.environ:
            raise
        _say(f"a fault in this program: {type(error).__name__}: {error} (PLATEMARK_LEDGER_STACK=1 shows where)")
        sys.exit(Exit.FAILED)


def _print_version(wanted: bool) -> None:
    if wanted:
        output.say(f"platemark-ledger {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    del version  # its callback has done everything before a command was looked for


@app.command(epilog=_EXITS)
def init(  # noqa: PLR0917 - typer's options are named on the command line
    directory: Annotated[Path, typer.Argument(help="New directory for the ledger.")],
    origin: Annotated[
        str, typer.Option(help="Name of the log for ever, like ledger.hospital.example/xray: no scheme.")
    ],
    policy_key: Annotated[
        list[Path] | None,
        typer.Option(help="Private key that signs the ledger's rules; repeat for more. Made when not given."),
    ] = None,
    policy_keys: Annotated[
        int, typer.Option(min=1, max=16, help="How many policy keys to make when none is given.")
    ] = 1,
    threshold: Annotated[
        int | None, typer.Option(min=1, max=16, help="How many of them have to sign a change. Default: all.")
    ] = None,
    registrar: Annotated[
        Path | None, typer.Option(help="PUBLIC key of who will enrol devices. A key pair is made when not given.")
    ] = None,
    registrar_issuer: Annotated[str | None, typer.Option(help="The registrar's URI. Default: from the origin.")] = None,
    registrar_years: Annotated[int, typer.Option(min=1, max=50, help="How long the registrar may enrol.")] = 5,
    listen: Annotated[str, typer.Option(help="Where `serve` will take calls.")] = "127.0.0.1:50151",
    as_json: Json = False,
) -> None:
    """Found a ledger: keys, the signed first policy (leaf 0), configuration, and a trust file for verifiers.

    Passphrases come from the environment alone: PLATEMARK_LEDGER_LOG_KEY_PASSPHRASE (or ..._FILE) for the key that the
    service uses, PLATEMARK_LEDGER_OFFLINE_KEYS_PASSPHRASE (or ..._FILE) for policy and registrar keys.
    """
    with _reporting(as_json):
        plan = founding.Plan(
            directory=directory,
            origin=origin,
            listen=listen,
            policy_keys=tuple(policy_key or ()),
            policy_count=policy_keys,
            threshold=threshold,
            registrar=registrar,
            registrar_issuer=registrar_issuer,
            registrar_years=registrar_years,
        )
        environ = config.environment()
        founded = founding.found(
            plan,
            log_passphrase=config.passphrase(environ),
            offline_passphrase=config.passphrase(environ, "OFFLINE_KEYS"),
        )
        if as_json:
            _print_json(
                {
                    "directory": str(founded.directory),
                    "origin": founded.origin,
                    "log_id": founded.log_id.hex(),
                    "vkey": founded.vkey,
                    "vkey_pq": founded.vkey_pq,
                    "registrar_issuer": founded.registrar_issuer,
                    "config": str(founded.config),
                    "trust": str(founded.trust),
                    "offline_keys": [str(path) for path in founded.offline],
                }
            )
        else:
            _tell_founded(founded)


@app.command(epilog=_EXITS)
def serve(
    config_path: ConfigPath = Path(),
    listen: Annotated[
        str | None, typer.Option(help="address:port, instead of the configured one. Port 0: a free one.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes, instead of the configured number.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Serve the ledger until SIGTERM or Ctrl-C; then accepted calls finish and new ones are refused.

    The first line on stdout says where, once calls are taken. Logs go to stderr.
    """
    with _reporting(as_json):
        settings = _settings(config_path)
        if listen is not None:
            settings = dataclasses.replace(settings, listen=listen)
        if workers is not None:
            settings = dataclasses.replace(settings, workers=workers)
        # Asked for here, so that a missing file is one clear error and not one per worker.
        config.passphrase(config.environment())
        for key in (settings.log_key, settings.log_key_pq):
            _warn_of_readers(key)
        logging.basicConfig(
            stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s supervisor: %(message)s"
        )

        def announce(address: str, http: str | None, pids: list[int]) -> None:
            if as_json:
                said = {"listening": address, "http": http, "origin": settings.origin, "pid": os.getpid()}
                _print_json({**said, "workers": pids})
            else:
                count = f"{len(pids)} worker{'s' * (len(pids) > 1)}"
                read = f", read over HTTP on {http}" if http else ""
                output.say(output.printable(f"{settings.origin} is served on {address}{read} ({count})"))

        code = asyncio.run(_supervise(Supervisor(settings, announce=announce)))
    raise typer.Exit(code)


@app.command(epilog=_EXITS)
def status(
    config_path: ConfigPath = Path(),
    refused: Annotated[int, typer.Option(min=0, max=1000, help="How many of the latest refusals to show.")] = 10,
    as_json: Json = False,
) -> None:
    """Look at a ledger's files, running or not: size, released checkpoint, poison mark, latest refusals. Changes nothing.

    Exit code 3 when data and anchor do not belong together.
    """
    with _reporting(as_json):
        settings = _settings(config_path)
        look = opening.look(opening.Paths(settings.data, settings.anchor, settings.lock))
        try:
            entries = look.refused(refused)
            facts = {
                "origin": look.origin,
                "log_id": look.log_id.hex(),
                "size": look.size,
                "released_size": look.anchored.size,
                "released_root": look.anchored.root.hex(),
                "published_size": look.published,
                "witnessed_size": look.witnessed,
                "poisoned": look.poisoned,
                "agree": look.disagreement is None,
                "checkpoint": look.anchored.note.decode(),
            }
        finally:
            look.close()
        if as_json:
            _print_json({**facts, "disagreement": look.disagreement, "refused": [_refusal(each) for each in entries]})
        else:
            _print_facts({**facts, "agree": "yes" if look.disagreement is None else f"NO: {look.disagreement}"})
            if entries:
                output.say("\nLatest refusals")
            for each in entries:
                where = f"{each.field}: " if each.field else ""
                output.say(output.printable(f"  {_rfc3339(each.time)} {each.code}: {where}{each.reason}"))
    if look.disagreement is not None:
        raise typer.Exit(Exit.START_REFUSED)


@app.command("config", epilog=_EXITS)
def show_config(config_path: ConfigPath = Path(), as_json: Json = False) -> None:
    """Print the effective settings, each with its unit, default and reason. Passphrases are no settings and never shown."""
    with _reporting(as_json):
        described = list(describe(_settings(config_path)))
        if as_json:
            _print_json({each.name: _plain(each.value) for each in described})
            return
        for each in described:
            _print_setting(each)


@app.command(epilog=_EXITS)
def renew(
    config_path: ConfigPath = Path(),
    crl: Annotated[
        list[Path] | None,
        typer.Option(help="DER list of revoked certificates to keep with the answers; repeat for more."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Have every time stamp of the log stamped again under SHA-512, and log that, running or not.

    Every authority of the setting `tsa` is asked; one answer is enough. Do it about once a year, and before an algorithm of the
    authorities ends: evidence then outlives it.
    """
    from platemark_ledger.server import open_with  # with it comes gRPC, which the other commands do without

    with _reporting(as_json):
        settings = _settings(config_path)
        crls = [files.read(path, limit=1024 * 1024) for path in crl or ()]
        ask = renewing.over_http(settings.tsa, timeout=settings.tsa_timeout, now_ns=time.time_ns, crls=crls)
        ledger = open_with(settings, config.passphrase(config.environment()))
        try:
            done = renewing.append(ledger, ask)
        finally:
            ledger.close()
        facts = {"index": done.index, "size": done.size, "count": done.count, "stamps": done.stamps}
        if as_json:
            _print_json(facts)
        else:
            output.say(
                f"{done.count} time stamps of {done.size} leaves are renewed by leaf {done.index}, "
                f"which {done.stamps} {'authority' if done.stamps == 1 else 'authorities'} stamped"
            )


app.command("demo")(demo)
app.add_typer(cli_access.app)


async def _supervise(supervisor: Supervisor) -> Exit:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return await supervisor.run(stop)


def _settings(path: Path) -> Settings:
    return config.load(path / "config.toml" if path.is_dir() else path, config.environment())


@contextmanager
def _reporting(as_json: bool) -> Iterator[None]:
    """One sentence on stderr and an exit code for everything that can go wrong."""
    try:
        yield
    except PlatemarkError as error:
        if as_json:
            _print_json({"error": {"code": error.code, "reason": str(error)}})
        _say(str(error))
        raise typer.Exit(_exit_of(error)) from None


def _exit_of(error: PlatemarkError) -> Exit:
    if isinstance(error, StartRefusedError) and not isinstance(error, WrongLogKeyError):
        return Exit.START_REFUSED
    return (
        Exit.USAGE if isinstance(error, FormatError | KeyFileError | GenesisError | StartRefusedError) else Exit.FAILED
    )


def _tell_founded(founded: founding.Founded) -> None:
    lines = [
        f"Founded {founded.origin} in {founded.directory}",
        f"  its identity (leaf 0): {founded.log_id.hex()}",
        f"  its checkpoint key:    {founded.vkey}",
        "",
    ]
    if founded.offline:
        state = "encrypted" if founded.encrypted else "NOT ENCRYPTED"
        lines += [
            f"Move these private keys off this machine now ({state}):",
            *(f"  {path}" for path in founded.offline),
            "  policy keys change the ledger's rules, the registrar key enrols and revokes devices",
            "",
        ]
    lines += [
        "Give this to whoever verifies, by a channel that they trust:",
        f"  {founded.trust}",
        "",
        "Next:",
        f"  platemark-ledger serve {shlex.quote(str(founded.directory))}",
        f"  enrol a device with the registrar key, whose issuer is {founded.registrar_issuer}",
        "  let others witness and time-stamp it: give witnesses log.vkey, set witness_policy, tsa and http_listen",
        "  in config.toml, and tell your readers (deploy/README.md, section 10)",
    ]
    for line in lines:
        output.say(output.printable(line))


def _print_facts(facts: dict[str, object]) -> None:
    for name, value in facts.items():
        if name != "checkpoint":
            output.say(f"{name.replace('_', ' '):14} {'no' if value is None else output.printable(value)}")
    output.say()
    for line in str(facts["checkpoint"]).splitlines():
        output.say(output.printable(line))


def _print_setting(setting: Described) -> None:
    bounds = f", {setting.bounds}" if setting.bounds else ""
    typer.secho(setting.name, bold=True, nl=False)
    output.say(f" = {output.printable(_plain(setting.value))}")
    output.say(f"    {setting.unit}{bounds}; default {_plain(setting.default)}")
    output.say(f"    {setting.why}")


def _refusal(entry: RefusedEntry) -> dict[str, object]:
    return {
        "time": entry.time,
        "code": entry.code,
        "field": entry.field,
        "reason": entry.reason,
        "sha256": entry.sha256.hex(),
    }


def _rfc3339(time: int) -> str:
    """Unix ns, to the second."""
    return dt.datetime.fromtimestamp(time // 10**9, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _warn_of_readers(key: Path | None) -> None:
    if key is None:
        return
    try:
        mode = stat.S_IMODE(key.stat().st_mode)
    except OSError:
        return  # a worker says what is the matter with it
    if mode & 0o077:
        _say(f"warning: {key} is open to others (mode {mode:04o}): chmod 600 it")


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _print_json(value: object) -> None:
    """One line of ASCII, so that what a stranger wrote stays inert on a terminal too; DEL is the one that JSON lets pass."""
    output.say(json.dumps(value).replace("\x7f", "\\u007f"))


def _say_usage(message: str, context: typer.Context | None) -> None:
    if "\n" in message:  # no command at all: the message is the help
        typer.echo(message, err=True)
        return
    command = context.command_path if context is not None else "platemark-ledger"
    _say(f"{message.removesuffix('.')} (try: {command} --help)")


def _say(text: str) -> None:
    output.note(f"platemark-ledger: {text}")


if __name__ == "__main__":
    main()
