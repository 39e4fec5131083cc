"""`platemark mcap`: sealing recordings of robots and checking clips of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from platemark.chain import Chain
from platemark.cli import output
from platemark.cli.capture_options import ClockError, ClockSource, NewEpoch, Source
from platemark.cli.connect import Connection, load_trust
from platemark.cli.mcap_verify import frame, verify
from platemark.cli.options import (
    DEFAULT_SERVER,
    AsJson,
    Device,
    Key,
    PassphraseFile,
    Server,
    SpoolDirectory,
    TlsAuthority,
    TlsCertificate,
    TlsKey,
    TlsName,
    Trust,
    Witnessed,
)
from platemark.cli.passphrases import open_key
from platemark.cli.times import parse_duration
from platemark.signing import Clock

if TYPE_CHECKING:
    from platemark.cli.mcap_sealed import Sealed

__all__ = ["COMMANDS", "HELP", "proofs", "seal"]

HELP = (
    "Recordings of robots and other sensors: MCAP files, rosbag2 folders and rosbag2's sqlite3 files.\n\n"
    "A recording is sealed by topic and window of time. What is sealed stays provable when other tools clip, filter, merge, "
    'convert or recompress it, down to a single frame. Needs pip install "platemark[robot]".'
)

Recordings: TypeAlias = Annotated[
    list[Path], typer.Argument(metavar="RECORDING...", help="MCAP files, rosbag2 folders, .db3 files.")
]
Out: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Sealed copies and evidence go here. Default: in place and beside it."),
]


def seal(
    recordings: Recordings,
    *,
    key: Key,
    device: Device = None,
    window: Annotated[
        int, typer.Option(parser=parse_duration, metavar="DURATION", help="What one signature covers of a topic.")
    ] = "1s",  # type: ignore[assignment] # parsed as if it was given
    clock_source: Source = ClockSource.HOST,
    clock_error: ClockError = None,
    sidecar: Annotated[
        bool, typer.Option("--sidecar", help="Leave an MCAP file as it is; the proof lies beside it alone.")
    ] = False,
    out: Out = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Seal an MCAP file while it is recorded, until it is whole or SIGTERM.")
    ] = False,
    new_epoch: NewEpoch = False,
    force: Annotated[bool, typer.Option("--force", help="Seal anew what has a proof or was begun.")] = False,
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
    """Sign recordings segment by segment, register the segments, and keep the proof: RECORDING.evidence, and within MCAP files.

    Messages stay byte for byte as they are. Interrupted, it goes on: nothing is signed twice. What it has signed lies in
    RECORDING.sealing until the proof is made; with --spool that is later: seal the same again, or platemark mcap proofs.

    The key has to be enrolled as a sensor or a gateway, for the time of the recording (platemark enrol --not-before).

    Examples:
      platemark mcap seal run.mcap --key robot.pem --device https://lab.example/robot-7
      platemark mcap seal bags/2026-11-25/ --key robot.pem --sidecar
      platemark mcap seal run.mcap --key robot.pem --follow --clock-source ptp
      platemark mcap seal run.mcap --key robot.pem --spool /var/lib/platemark/spool
    """
    from platemark.cli.mcap_needs import require_robot

    require_robot()
    if window < 1:
        raise typer.BadParameter("--window: at least 1ns")
    if follow and len(recordings) > 1:
        raise typer.BadParameter("--follow is for one recording")
    if out is not None and len({path.resolve().name for path in recordings}) != len(recordings):
        raise typer.BadParameter("--out: two recordings have one name")
    if witnessed and spool is not None:
        raise typer.BadParameter("--witnessed is for the sender: platemark spool send --witnessed")
    connection = Connection(
        server=server,
        tls_ca=tls_ca,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        tls_name=tls_name,
        trusted=load_trust(trust),
    )
    from platemark.cli.mcap_sealing import Sealer

    chain = Chain(key, open_key(key, passphrase_file))
    chain.begin(issuer=device)
    if new_epoch:
        chain.restart()
    sealer = Sealer(
        chain=chain,
        clock=Clock(clock_source.value, clock_error),
        connection=connection,
        window_ns=window,
        sidecar=sidecar,
        out=out,
        spool=spool,
        witnessed=witnessed,
        force=force,
    )
    done = [sealer.follow(recordings[0])] if follow else [sealer.seal(path) for path in recordings]
    _finish(done, as_json=as_json)


def proofs(
    journal: Annotated[
        Path, typer.Argument(metavar="DIR", help="A recorder's journal; or a recording that was sealed with --spool.")
    ],
    *,
    recording: Annotated[
        list[str] | None, typer.Option(metavar="HEX", help="Only this recording of the journal. Repeat. Default: all.")
    ] = None,
    into: Annotated[
        Path | None, typer.Option(metavar="RECORDING.mcap", help="Put the proofs into this MCAP file as well.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the evidence goes. Default: the journal's directory.")
    ] = None,
    server: Server = DEFAULT_SERVER,
    trust: Trust = None,
    tls_ca: TlsAuthority = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_name: TlsName = None,
    as_json: AsJson = False,
) -> None:
    """Make the proofs of what a recorder signed, one file for each recording: RECORDING-ID.evidence.

    Exit code 1 when segments are not signed or not in the ledger yet: what is there is proven, and the rest is named. Run it
    again later.

    Examples:
      platemark mcap proofs /var/lib/robot/journal --out proofs/
      platemark mcap proofs /var/lib/robot/journal --into run.mcap
      platemark mcap proofs run.mcap
    """
    from platemark.cli.mcap_needs import require_robot

    require_robot()
    from platemark.cli.mcap_collecting import Collector

    connection = Connection(
        server=server,
        tls_ca=tls_ca,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        tls_name=tls_name,
        trusted=load_trust(trust),
    )
    collector = Collector(connection, journal, out=out, into=into)
    _finish(collector.collect(_recordings(recording)), as_json=as_json)


COMMANDS: dict[str, Callable[..., None]] = {"seal": seal, "verify": verify, "frame": frame, "proofs": proofs}


def _recordings(given: list[str] | None) -> list[bytes] | None:
    if given is None:
        return None
    found = []
    for each in given:
        try:
            found.append(bytes.fromhex(each))
        except ValueError:
            raise typer.BadParameter(f"--recording {each!r}: not hex digits") from None
    return found


def _finish(done: list[Sealed], *, as_json: bool) -> None:
    """Show what became of each; exit 1 if something was refused, failed or is not logged yet."""
    counts = Counter(item.status for item in done)
    if as_json:
        output.say_json({"items": [item.facts() for item in done], "counts": dict(counts)})
    else:
        output.say_table(
            ("status", "topics", "messages", "segments", "conditions", "name"),
            (
                (each.status, each.topics, each.messages, each.segments, ",".join(each.conditions) or "-", each.name)
                for each in done
            ),
        )
        for each in done:
            if each.reason:
                output.say(f"{output.printable(each.name)}: {output.printable(each.reason)}")
            if each.evidence is not None:
                output.say(f"{output.printable(each.evidence)}: the proof; keep it with the recording")
        output.say("\n" + ", ".join(f"{count} {status}" for status, count in sorted(counts.items())))
    if not done:
        output.note("platemark: no recording was found")
    if not done or any(item.bad for item in done):
        raise typer.Exit(1)
