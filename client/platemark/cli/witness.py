"""`platemark witness`: a C2SP witness of other people's logs, for a third party to run."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from platemark import key_files, keys, note
from platemark.cli import output, passphrases
from platemark.cli.connect import MissingExtraError
from platemark.cli.options import AsJson, PassphraseFile
from platemark.cosignature import CosignatureSigner
from platemark.errors import NoteError

if TYPE_CHECKING:
    from platemark.witness.store import Store

__all__ = ["COMMANDS", "HELP"]

HELP = (
    "Run a witness of other people's logs: it cosigns what extends all that it has cosigned, and nothing else.\n\n"
    "deploy/WITNESS.md is the manual. Each command takes --help and --json.\n\n"
    "Examples:\n"
    "  platemark witness init /srv/witness --name witness.example/w1\n"
    "  platemark witness add-log /srv/witness ledger.hospital.example/xray+1a2b3c4d+AekyeR...\n"
    "  platemark witness serve /srv/witness --listen 127.0.0.1:7380"
)
_KEYS = {"ed25519": "ed25519.pem", "mldsa44": "mldsa44.pem"}
_DATABASE = "witness.db"

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The witness's directory.")]


def init(
    directory: Directory,
    *,
    name: Annotated[str, typer.Option(help="The witness's key name, for ever: a URL without schema is usual.")],
    passphrase_file: PassphraseFile = None,
    ask_passphrase: Annotated[
        bool, typer.Option("--ask-passphrase", help="Ask for a passphrase on the terminal.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a new witness: an Ed25519 and an ML-DSA-44 key, mode 0600, and its database, which nothing else ever makes.

    DIR must be empty or not there. The two lines printed are what logs and verifiers put into their witness policy.

    Example:
      platemark witness init /srv/witness --name witness.example/w1
    """
    from platemark.witness.store import Store, WitnessError

    passphrase = passphrases.new_passphrase(passphrase_file, ask=ask_passphrase)
    signers = {each: CosignatureSigner(name, keys.generate(each)) for each in _KEYS}
    verifiers = [signer.verifier for signer in signers.values()]  # a name that is refused is refused here
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise WitnessError(f"{directory}: is not empty; a witness is made once, in a directory of its own")
    except OSError as error:
        raise WitnessError(f"{directory}: {error.strerror or error}") from None
    for algorithm, signer in signers.items():
        assert isinstance(signer.signer, keys.PrivateKey)
        key_files.write_private(directory / _KEYS[algorithm], signer.signer, passphrase)
    # Crash before this line: keys without a database, which serve refuses; they have never signed anything.
    store = Store.create(directory / _DATABASE, verifiers)
    if as_json:
        output.say_json({**_described(store), "directory": str(directory), "encrypted": passphrase is not None})
        return
    _say_keys(store)
    output.note(f"platemark: the keys are {'encrypted' if passphrase else 'NOT encrypted'}; never copy or restore DIR")


def add_log(
    directory: Directory,
    vkeys: Annotated[
        list[str], typer.Argument(metavar="VKEY...", help="A log's Ed25519 note key, name+hex+base64; repeat.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Cosign for this log from now on; the name in the key is the log's origin. A running witness notices at once.

    More keys of one log may be added. A log is never removed, and adding one again changes nothing that was cosigned.

    Example:
      platemark witness add-log /srv/witness ledger.hospital.example/xray+1a2b3c4d+AekyeR...
    """
    store = _open(directory)
    verifiers = [note.parse_vkey(each) for each in vkeys]
    for each in verifiers:
        if each.name == store.name:
            raise NoteError("vkey", "the log has this witness's own name, so that nobody could tell their lines apart")
        if len(each.name.encode()) > 255:
            raise NoteError("vkey", "an origin has at most 255 bytes")
    store.add_log(verifiers)
    named = {each.name for each in verifiers}
    logs = [(log, log.latest.checkpoint.size if log.latest else None) for log in store.logs() if log.origin in named]
    if as_json:
        shown = [{"origin": log.origin, "keys": len(log.verifiers), "size": size} for log, size in logs]
        output.say_json({"logs": shown})
        return
    for log, size in logs:
        so_far = "nothing cosigned yet" if size is None else f"cosigned up to size {size}"
        output.say(f"log {output.printable(log.origin)}: {len(log.verifiers)} key(s), {so_far}")


def vkeys(directory: Directory, *, as_json: AsJson = False) -> None:
    """Print the witness's two public keys, a line each, as a witness policy takes them. Needs no passphrase.

    Example:
      platemark witness vkeys /srv/witness
    """
    store = _open(directory)
    if as_json:
        output.say_json(_described(store))
    else:
        _say_keys(store)


def serve(
    directory: Directory,
    *,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to answer, in plain HTTP; port 0 takes a free one.")
    ] = "127.0.0.1:7380",
    behind_proxy: Annotated[
        bool,
        typer.Option(
            "--behind-proxy",
            help="Allow HOST outside loopback. A TLS proxy has to stand before it: in plain text anyone on the way "
            "could answer in this witness's place or keep requests from it.",
        ),
    ] = False,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Answer add-checkpoint until SIGTERM or Ctrl-C. Prints one line with the URL once it takes requests.

    Refuses to start without the very database that init made: a witness that lost it is retired, see deploy/WITNESS.md.

    Example:
      platemark witness serve /srv/witness --listen 127.0.0.1:7380
    """
    try:
        from platemark.witness.app import application
        from platemark.witness.serving import bind
        from platemark.witness.serving import serve as answer
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "platemark":
            raise
        raise MissingExtraError('this command answers HTTP: pip install "platemark[witness]"') from None
    from platemark.witness.cosigner import Cosigner

    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    host, port = _address(listen, behind_proxy=behind_proxy)
    store = _open(directory)
    names = _KEYS.values()
    signers = [CosignatureSigner(store.name, passphrases.open_key(directory / each, passphrase_file)) for each in names]
    cosigner = Cosigner(store, signers, now_s=lambda: int(time.time()))

    def started(url: str) -> None:
        if as_json:
            # One line, for whoever reads the first.
            output.say(json.dumps({"url": url, "name": store.name, "pid": os.getpid()}))
        else:
            output.say(f"witness {output.printable(store.name)} takes requests at {url}")

    with bind(host, port) as bound:
        answer(application(cosigner), bound, started=started)


COMMANDS: dict[str, Callable[..., None]] = {"init": init, "add-log": add_log, "vkeys": vkeys, "serve": serve}


def _open(directory: Path) -> Store:
    from platemark.witness.store import Store

    return Store(directory / _DATABASE)


def _described(store: Store) -> dict[str, object]:
    return {"name": store.name, "vkeys": [each.vkey for each in store.verifiers]}


def _say_keys(store: Store) -> None:
    for each in store.verifiers:
        output.say(output.printable(each.vkey))


def _address(listen: str, *, behind_proxy: bool) -> tuple[str, int]:
    import ipaddress

    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port[:6]) > 65535:
        raise typer.BadParameter(f"{listen!r} is not HOST:PORT", param_hint="'--listen'")
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback and not behind_proxy:
        raise typer.BadParameter(
            f"{host} is not loopback and this is plain text; with a TLS proxy before it, say --behind-proxy",
            param_hint="'--listen'",
        )
    return host, int(port)
