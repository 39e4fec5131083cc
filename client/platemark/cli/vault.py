"""`platemark vault`: the holder's side of attributes. The commands of the group, and making and filling a vault."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from platemark import attributes, files
from platemark.cli import output, vault_handover, vault_holdings, vault_show
from platemark.cli.capturing import load_statement
from platemark.cli.options import AsJson, PassphraseFile
from platemark.cli.passphrases import new_passphrase
from platemark.cli.vault_access import Instance, Study
from platemark.errors import FormatError, KeyFileError, VaultError

if TYPE_CHECKING:
    from platemark.attributes import Disclosure
    from platemark.vault import Vault

__all__ = ["COMMANDS", "HELP"]

HELP = (
    "Keep the attributes of captures sealed, and hand out single ones.\n\n"
    "Whoever writes the vault cannot open it: its private key is kept elsewhere. `request` and `show` are for whoever asks; "
    "`release` answers, and records every answer as custody."
)

Directory: TypeAlias = Annotated[Path, typer.Argument(metavar="DIR", help="The vault's directory.")]


def init(
    directory: Directory,
    *,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.pem", help="Make a key pair: FILE.pem is private, FILE.pub public.")
    ] = None,
    recipient: Annotated[
        Path | None, typer.Option(metavar="FILE.pub", help="Seal to this public key, which was made before.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    ask_passphrase: Annotated[
        bool, typer.Option("--ask-passphrase", help="Ask for a passphrase on the terminal.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a vault. Its private key opens everything in it: move it off this machine, and keep a second copy of it.

    Without the private key nothing in the vault can ever be opened again.

    Example:
      platemark vault init /var/lib/platemark/vault --out /media/safe/vault.pem --ask-passphrase
    """
    from platemark.vault import Vault, keys

    if (out is None) == (recipient is None):
        raise typer.BadParameter("give --out (a new key pair) or --recipient (a public key that is there)")
    encrypted = None
    if recipient is not None:
        public = keys.read_public(recipient)
    else:
        assert out is not None
        if out.suffix == ".pub" or out.with_suffix(".pub").exists():
            raise KeyFileError(f"{out}: its public key {out.with_suffix('.pub')} exists already, or it is that name")
        if out.absolute().is_relative_to(directory.absolute()):
            raise KeyFileError(f"{out}: within the vault; whoever steals the one must not have the other")
        passphrase = new_passphrase(passphrase_file, ask=ask_passphrase)
        encrypted = passphrase is not None
        made = keys.generate()
        public = made.recipient
        keys.write_private(out, made, passphrase)
        files.create(out.with_suffix(".pub"), public.to_pem().encode())
    # Crash here: a key pair without a vault; --recipient goes on with it.
    Vault.create(directory, public.to_pem()).close()
    if as_json:
        facts = {"vault": str(directory), "kid": public.kid, "encrypted": encrypted}
        output.say_json(facts | {"private": None if out is None else str(out)})
        return
    output.say(f"vault    {output.printable(directory)}")
    output.say(f"key id   {public.kid.hex()}")
    if out is not None:
        kept = "encrypted" if encrypted else "NOT encrypted"
        output.say(f"private  {output.printable(out)} ({kept}; take it off this machine, and keep a second copy)")


def put(
    directory: Directory,
    disclosures: Annotated[list[Path], typer.Argument(metavar="FILE.disclosure...", help="Disclosures with K.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Put disclosure files into a vault. They are on disk when this ends, and the files can then be destroyed.

    The vault notes the statement beside a disclosure (IMAGE.statement), so that it knows which capture the values are of.

    Example:
      platemark vault put /var/lib/platemark/vault scan.dcm.disclosure
    """
    from platemark.vault import Vault

    read = [_read(path) for path in disclosures]
    with Vault(directory) as vault:
        vault.put_all(read)
        # Crash here: put, and not noted; putting them again notes them.
        noted = [_note(vault, path, each.root()) for path, each in zip(disclosures, read, strict=True)]
        count = vault.count()
    if as_json:
        output.say_json({"roots": [each.root() for each in read], "noted": sum(noted), "count": count})
        return
    output.say(f"put {len(read)}, {sum(noted)} with a statement; the vault keeps {count}")


def list_(
    directory: Directory,
    *,
    study: Study = None,
    sop_instance: Instance = None,
    as_json: AsJson = False,
) -> None:
    """List the attribute roots that a vault keeps, oldest first; they are what `attributes` of a statement says.

    Needs no private key and shows no value. Exit code 1 when nothing is found.

    Example:
      platemark vault list /var/lib/platemark/vault --study 1.2.840.1
    """
    from platemark.vault import Vault

    with Vault(directory) as vault:
        found = list(_found(vault, study, sop_instance))
    if as_json:
        output.say_json({"roots": found})
    else:
        for root in found:
            output.say(root.hex())
    if not found:
        output.note("platemark: nothing is found in this vault")
        raise typer.Exit(1)


def _read(path: Path) -> Disclosure:
    try:
        found = attributes.decode_disclosure(files.read(path, limit=attributes.MAX_DISCLOSURE))
    except FormatError as error:
        raise type(error)(f"{path}: {error.field}", error.reason) from None
    if found.key is None:
        raise VaultError(f"{path}: openings only, without K; a vault keeps whole disclosures")
    return found


def _note(vault: Vault, path: Path, root: bytes) -> bool:
    """Note the statement beside a disclosure file, if there is one that signs its root."""
    beside = path.with_suffix(".statement")
    if path.suffix != ".disclosure" or not beside.exists():
        return False
    signed = load_statement(beside).statement
    if signed is None or signed.kind != "capture" or signed.payload.get("attributes") != root:
        return False
    vault.link(root, signed.id)
    return True


def _found(vault: Vault, study: str | None, sop_instance: str | None) -> Iterable[bytes]:
    if study is None and sop_instance is None:
        return vault.roots()
    return vault.find(study=study, sop_instance=sop_instance)


COMMANDS: Mapping[str, Callable[..., None]] = {
    "init": init,
    "put": put,
    "list": list_,
    "export": vault_holdings.export,
    "request": vault_handover.request,
    "release": vault_handover.release,
    "show": vault_show.show,
    "erase": vault_holdings.erase,
}
