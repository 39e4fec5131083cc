"""`platemark receipt`: COSE receipts and transparent statements, for whoever uses the standard formats. Opens no connection."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from platemark import cose, files, key_files, note, receipt, transparent
from platemark.cli import output
from platemark.cli.options import AsJson
from platemark.errors import FormatError, PlatemarkError, ReceiptError, UnsupportedReceiptError
from platemark.keys import ALGORITHM_NAMES, Verifier
from platemark.receipt import Inclusion, Receipt
from platemark.report import format_time

__all__ = ["COMMANDS", "HELP", "attach", "detach", "show", "verify"]

HELP = (
    "Receipts by which a log signs that it holds a statement, in the form of RFC 9942, and statements that carry them.\n\n"
    "Evidence holds all of this and more; receipts are for programs that read the standard format only."
)
PARTLY, INCONCLUSIVE, INVALID = 1, 3, 4
_PASS, _FAIL, _UNCHECKED = "PASS", "FAIL", "NOT CHECKED"

Statement = Annotated[
    Path, typer.Argument(metavar="STATEMENT", help="A signed statement, with receipts in it or without.")
]
Foreign = Annotated[
    bool,
    typer.Option(
        "--foreign", help="Also read receipts of other implementations, whose position in the log is not signed."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]


def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A receipt, or a statement that carries receipts.")],
    *,
    foreign: Foreign = False,
    as_json: AsJson = False,
) -> None:
    """Show what receipts say. This checks form: whether it is true takes the log's key, see `platemark receipt verify`.

    Examples:
      platemark receipt show scan.0.receipt
      platemark receipt show scan.scitt --json
    """
    data = files.read(file, limit=transparent.MAX_TRANSPARENT)
    try:
        found = _carried(data)
        described = [_described(each, foreign=foreign) for each in ([data] if found is None else found[1])]
    except FormatError as error:
        raise type(error)(f"{file}: {error.field}", error.reason) from None
    entry = None if found is None else hashlib.sha256(found[0]).digest()
    if as_json:
        output.say_json({"entry": entry, "receipts": described})
        return
    if entry is not None:
        output.say(f"log entry  {entry.hex()}\nreceipts   {len(described)}")
    for number, each in enumerate(described):
        output.say(f"receipt {number}:")
        for name, value in each.items():
            output.say(f"  {name:<10} {output.printable(value.hex() if isinstance(value, bytes) else value)}")


def attach(
    statement: Statement,
    receipts: Annotated[
        list[Path], typer.Argument(metavar="RECEIPT...", help="Receipts, the most important one first.")
    ],
    *,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Default: STATEMENT.scitt.")] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write a transparent statement: the statement with receipts in it, after those that it carries already.

    The signature, the statement id and the log entry stay as they are: receipts lie where no signature reaches.

    Example:
      platemark receipt attach scan.dcm.statement scan.0.receipt scan.1.receipt --out scan.scitt
    """
    bare, carried = _statement(statement)
    added = [files.read(path, limit=receipt.MAX_RECEIPT) for path in receipts]
    target = out or statement.with_name(statement.name + ".scitt")
    whole = transparent.attach(bare, [*carried, *added])
    (files.replace if force else files.create)(target, whole)
    number = len(carried) + len(added)
    if as_json:
        output.say_json({"file": str(target), "receipts": number})
    else:
        output.say(f"{output.printable(target)}: {number} receipts")


def detach(
    statement: Statement,
    *,
    out: Annotated[Path | None, typer.Option(metavar="PREFIX", help="Default: STATEMENT without `.scitt`.")] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Take a transparent statement apart: PREFIX.statement, byte for byte what the log holds, and PREFIX.N.receipt.

    Example:
      platemark receipt detach scan.scitt
    """
    bare, carried = _statement(statement)
    base = out or (statement.with_suffix("") if statement.suffix == ".scitt" else statement)
    name = base.name.removesuffix(".statement")
    parts = {f"{name}.{number}.receipt": each for number, each in enumerate(carried)}
    written = []
    for each, content in {f"{name}.statement": bare, **parts}.items():
        (files.replace if force else files.create)(base.with_name(each), content)
        written.append(str(base.with_name(each)))
    if as_json:
        output.say_json({"files": written})
    else:
        output.say("\n".join(map(output.printable, written)))


def verify(
    statement: Statement,
    receipts: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RECEIPT...", help="Receipts that the statement does not carry itself."),
    ] = None,
    *,
    key: Annotated[
        list[str],
        typer.Option(
            metavar="KEY", help="A key of the log: a public key in PEM, or its note key (name+id+key). Repeat."
        ),
    ],
    foreign: Foreign = False,
    as_json: AsJson = False,
) -> None:
    """Check that a log signed for this very statement, believing only the keys that you give.

    This proves what one log said. Who signed the statement, whether that key was good and who else saw the log are
    questions for `platemark verify`. The time in a receipt is the log's own clock.

    Exit codes:
      0  every receipt verifies
      1  at least one verifies, others could not be checked
      2  usage or unreadable input
      3  no receipt could be checked: none is there, or none is by a key that you gave
      4  a receipt is false or malformed

    Example:
      platemark receipt verify scan.scitt --key log.pub --key log-mldsa44.pub
    """
    bare, carried = _statement(statement)
    raws = [*carried, *(files.read(path, limit=receipt.MAX_RECEIPT) for path in receipts or [])]
    keys = [_key(text) for text in key]
    entry = hashlib.sha256(bare).digest()
    results = [_judged(raw, entry, keys, foreign=foreign) for raw in raws]
    if as_json:
        output.say_json({"entry": entry, "receipts": results})
    for number, each in enumerate([] if as_json else results):
        output.say(f"{each['result']:<11}  receipt {number}: {output.printable(each['reason'])}")
    if not results:
        output.note("platemark: the statement carries no receipt, and none was given")
    raise typer.Exit(_exit_code([str(each["result"]) for each in results]))


COMMANDS: dict[str, Callable[..., None]] = {"show": show, "attach": attach, "detach": detach, "verify": verify}


def _exit_code(results: Sequence[str]) -> int:
    if _FAIL in results:
        return INVALID
    if _PASS not in results:
        return INCONCLUSIVE
    return PARTLY if _UNCHECKED in results else 0


def _carried(data: bytes) -> tuple[bytes, tuple[bytes, ...]] | None:
    """A statement and its receipts; None for a receipt, which has other things in its unprotected header."""
    try:
        return transparent.detach(data)
    except ReceiptError as error:
        if error.field == "unprotected":
            return None
        raise


def _described(raw: bytes, *, foreign: bool) -> dict[str, object]:
    try:
        read = receipt.parse(raw, foreign=foreign)
    except UnsupportedReceiptError as error:
        return {"proof": "unsupported", "reason": str(error), "bytes": len(raw)}
    return {**_facts(read), "kid": read.kid, "bytes": len(raw)}


def _facts(read: Receipt) -> dict[str, object]:
    """What a receipt says, each missing fact as None."""
    proof = read.proof
    if isinstance(proof, Inclusion):
        position: dict[str, object] = {"proof": "inclusion", "index": proof.index, "size": proof.size}
    else:
        position = {"proof": "consistency", "old size": proof.old_size, "size": proof.new_size}
    return {
        **position,
        "position": "signed" if read.position_signed else "not authenticated",
        "algorithm": ALGORITHM_NAMES[read.alg],
        "issuer": read.issuer,
        "subject": read.subject,
        "issued": read.issued_s,
    }


def _judged(raw: bytes, entry: bytes, keys: Sequence[Verifier], *, foreign: bool) -> dict[str, object]:
    """The result for one receipt, with its reason and what it says."""
    try:
        read = receipt.parse(raw, foreign=foreign)
    except UnsupportedReceiptError as error:
        return {"result": _UNCHECKED, "reason": str(error)}
    except ReceiptError as error:
        return {"result": _FAIL, "reason": str(error)}
    if not isinstance(read.proof, Inclusion):
        return {"result": _UNCHECKED, "reason": "it is about the growth of a tree and not about a statement"}
    mine = [key for key in keys if key.alg == read.alg and (foreign or key.kid == read.kid)]
    if not mine:
        return {"result": _UNCHECKED, "reason": f"none of the keys given signed it ({ALGORITHM_NAMES[read.alg]})"}
    failures: list[str] = []
    for key in mine:
        try:
            root = read.verify_inclusion(entry, key)
        except PlatemarkError as error:
            failures.append(str(error))
        else:
            return {"result": _PASS, "reason": _said(read, read.proof), "root": root, "key": key.kid, **_facts(read)}
    return {"result": _FAIL, "reason": failures[0]}


def _said(read: Receipt, proof: Inclusion) -> str:
    """What a receipt that verified proves, in a line."""
    where = f"leaf {proof.index} of {proof.size}"
    if not read.position_signed:
        where = f"in a tree of this log; {where} is not authenticated"
    clock = "" if read.issued_s is None else f", at {format_time(read.issued_s * 10**9)} by the log's own clock"
    return f"{where}, {ALGORITHM_NAMES[read.alg]}, {read.issuer or 'no issuer named'}{clock}"


def _statement(path: Path) -> tuple[bytes, tuple[bytes, ...]]:
    data = files.read(path, limit=transparent.MAX_TRANSPARENT)
    try:
        bare, carried = transparent.detach(data)
        cose.decode(bare)
    except FormatError as error:
        raise type(error)(f"{path}: {error.field}", error.reason) from None
    return bare, carried


def _key(text: str) -> Verifier:
    """A log key: a note key in text, else a file."""
    if "+" in text and not Path(text).exists():
        return note.parse_vkey(text).key
    return key_files.read_public(Path(text))
