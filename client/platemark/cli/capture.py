"""`platemark sign`, `platemark submit` and `platemark capture`, which is both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from platemark.chain import Chain
from platemark.cli import capturing, media, output
from platemark.cli.capture_options import (
    Captured,
    ClockError,
    ClockSource,
    Images,
    NewEpoch,
    Origin,
    OriginOption,
    Out,
    Source,
)
from platemark.cli.connect import Connection, load_trust
from platemark.cli.derivation import load_parents
from platemark.cli.options import (
    DEFAULT_SERVER,
    AsJson,
    Attribute,
    Device,
    Force,
    Key,
    Meaning,
    MeaningOption,
    Parent,
    PassphraseFile,
    Server,
    SpoolDirectory,
    TlsAuthority,
    TlsCertificate,
    TlsKey,
    TlsName,
    Trust,
    Witnessed,
    parse_attributes,
)
from platemark.cli.passphrases import open_key
from platemark.errors import PlatemarkError
from platemark.signing import Clock

if TYPE_CHECKING:
    from platemark.rpc.sync import LedgerClient

__all__ = ["capture", "sign", "submit"]


def sign(
    images: Images,
    *,
    key: Key,
    device: Device = None,
    out: Out = None,
    origin: OriginOption = None,
    captured: Captured = None,
    clock_source: Source = ClockSource.HOST,
    clock_error: ClockError = None,
    attribute: Attribute = None,
    parent: Parent = None,
    meaning: MeaningOption = None,
    new_epoch: NewEpoch = False,
    force: Force = False,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Sign images; nothing is sent. Writes IMAGE.statement (for the ledger) and IMAGE.disclosure (keep it).

    Examples:
      platemark sign scan.dcm --key dx1.pem --device https://hospital.example/dx1
      platemark sign mip.dcm --key workstation.pem --parent scan.dcm.statement
    """
    found = media.find(images, out=out)
    signing = _signing(
        key, passphrase_file, device=device, origin=origin, captured=captured, clock=Clock(clock_source.value, clock_error),
        attribute=attribute, parent=parent, meaning=meaning, new_epoch=new_epoch,
        force=force,
    )  # fmt: skip
    with output.progress("signing", len(found)) as step:
        done = list(_counted(capturing.prepared(found, signing, resume=False), step))
    _finish(done, as_json=as_json)


def submit(
    statements: Annotated[
        list[Path], typer.Argument(metavar="FILE.statement...", help="Signed statements of any kind.")
    ],
    *,
    spool: SpoolDirectory = None,
    witnessed: Witnessed = False,
    server: Server = DEFAULT_SERVER,
    trust: Trust = None,
    tls_ca: TlsAuthority = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_name: TlsName = None,
    as_json: AsJson = False,
) -> None:
    """Send signed statements to a ledger. Sending one again is safe: it keeps its place.

    With --trust the ledger first has to prove that it is a log which that file names. --spool needs no ledger.

    Examples:
      platemark submit scan.dcm.statement --server ledger.hospital.example:50151 --tls-ca system
      platemark submit *.statement --spool /var/lib/platemark/spool
    """
    items = [capturing.load_statement(path) for path in statements]
    if spool is not None:
        from platemark.cli import spooling

        _finish(spooling.put_all(spool, items, "spooling", len(items), witnessed=witnessed), as_json=as_json)
        return
    connection = Connection(
        server=server,
        tls_ca=tls_ca,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        tls_name=tls_name,
        trusted=load_trust(trust),
    )
    with connection.open() as client, output.progress("submitting", len(items)) as step:
        done = _sent(client, items, step, witnessed=witnessed)
    _finish(done, as_json=as_json)


def capture(
    images: Images,
    *,
    key: Key,
    device: Device = None,
    out: Out = None,
    origin: OriginOption = None,
    captured: Captured = None,
    clock_source: Source = ClockSource.HOST,
    clock_error: ClockError = None,
    attribute: Attribute = None,
    parent: Parent = None,
    meaning: MeaningOption = None,
    new_epoch: NewEpoch = False,
    force: Force = False,
    passphrase_file: PassphraseFile = None,
    spool: SpoolDirectory = None,
    witnessed: Witnessed = False,
    server: Server = DEFAULT_SERVER,
    trust: Trust = None,
    tls_ca: TlsAuthority = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_name: TlsName = None,
    as_json: AsJson = False,
) -> None:
    """Sign images and submit them, or put them into a spool. Interrupted, it goes on: what has a statement is not signed again.

    Examples:
      platemark capture scan.dcm --key dx1.pem --device https://hospital.example/dx1
      platemark capture frames/ --key camera.pem --clock-source ptp --clock-error 200us
      platemark capture scan.dcm --key dx1.pem --spool /var/lib/platemark/spool
    """
    found = media.find(images, out=out)
    connection = Connection(
        server=server,
        tls_ca=tls_ca,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        tls_name=tls_name,
        trusted=load_trust(trust),
    )
    signing = _signing(
        key, passphrase_file, device=device, origin=origin, captured=captured, clock=Clock(clock_source.value, clock_error),
        attribute=attribute, parent=parent, meaning=meaning, new_epoch=new_epoch,
        force=force,
    )  # fmt: skip
    # Two steps for each image: measured and signed, then logged or put.
    if spool is not None:
        from platemark.cli import spooling

        prepared = capturing.prepared(found, signing, resume=True)
        _finish(spooling.put_all(spool, prepared, "capturing", len(found), witnessed=witnessed), as_json=as_json)
        return
    with connection.open() as client, output.progress("capturing", 2 * len(found)) as step:
        items = _counted(capturing.prepared(found, signing, resume=True), step)
        done = _sent(client, items, step, witnessed=witnessed)
    _finish(done, as_json=as_json)


def _signing(  # what `sign` and `capture` have in common
    key: Path,
    passphrase_file: Path | None,
    *,
    device: str | None,
    origin: Origin | None,
    captured: int | None,
    clock: Clock,
    attribute: list[str] | None,
    parent: list[Path] | None,
    meaning: Meaning | None,
    new_epoch: bool,
    force: bool,
) -> capturing.Signing:
    extra = parse_attributes(attribute)
    chain = Chain(key, open_key(key, passphrase_file))
    state = chain.begin(issuer=device)
    if new_epoch:
        chain.restart()
    if origin is None:
        origin = Origin.GATEWAY_RECEIVED if state.role == "gateway" else Origin.MODALITY_SIGNED
    return capturing.Signing(
        chain=chain,
        origin=origin.value,
        clock=clock,
        captured=captured,
        extra=extra,
        parents=load_parents(parent),
        meaning=meaning,
        force=force,
    )


def _counted(items: Iterable[capturing.Item], step: Callable[[int], None]) -> Iterator[capturing.Item]:
    """The items as they come, each a step of the progress bar."""
    for item in items:
        step(1)
        yield item


def _sent(
    client: LedgerClient, items: Iterable[capturing.Item], step: Callable[[int], None], *, witnessed: bool
) -> list[capturing.Item]:
    """Everything submitted. When the ledger goes away in between, say what stands."""
    done: list[capturing.Item] = []
    try:
        done.extend(_counted(capturing.submitted(client, items, witnessed=witnessed), step))
    except PlatemarkError:
        logged = sum(item.index is not None for item in done)
        output.note(f"{logged} statements were logged; what was signed is on disk, and running this again goes on")
        raise
    return done


def _finish(done: list[capturing.Item], *, as_json: bool) -> None:
    """Show what became of each, refused and failed ones last and apart; exit 1 if there are any."""
    counts = Counter(item.status for item in done)
    if as_json:
        output.say_json({"items": [item.facts() for item in done], "counts": dict(counts)})
    else:
        _show(done, counts)
    if not done:
        output.note("platemark: no image was found")
        raise typer.Exit(1)
    if any(item.bad for item in done):
        raise typer.Exit(1)


def _show(done: list[capturing.Item], counts: Counter[str]) -> None:
    good = [item for item in done if item.status in {"signed", "spooled", "logged", "repeated"}]
    if good:
        output.say_table(
            ("leaf", "status", "rungs", "conditions", "statement id", "name"),
            (
                (
                    "-" if item.index is None else item.index,
                    item.status,
                    ",".join(item.rungs),
                    ",".join(item.conditions) or "-",
                    item.statement.id.hex()[:16] if item.statement else "-",
                    item.name,
                )
                for item in good
            ),
        )
    for status, title in (("skipped", "Not images"), ("failed", "Could not be captured"), ("refused", "Refused")):
        apart = [item for item in done if item.status == status]
        if apart:
            output.say(f"\n{title}:" if good else f"{title}:")
            good = apart
            for item in apart:
                output.say(f"  {output.printable(item.name)}: {output.printable(item.reason)}")
    output.say("\n" + ", ".join(f"{count} {status}" for status, count in sorted(counts.items())))
