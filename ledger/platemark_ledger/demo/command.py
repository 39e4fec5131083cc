"""The command: what is done in which order, and what is said about it."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from platemark.cli import output
from platemark.cli.capturing import Item
from platemark.errors import PlatemarkError
from platemark.rpc.sync import LedgerClient
from platemark.verdict import MATCHES_RECORD
from platemark_ledger import founding
from platemark_ledger.demo import cases, peers, record, robot
from platemark_ledger.demo.cases import Judged
from platemark_ledger.demo.peers import LABEL, Peers
from platemark_ledger.demo.place import DemoError, Place, prepare
from platemark_ledger.demo.process import serving
from platemark_ledger.exits import Exit
from platemark_ledger.founding import Founded

__all__ = ["Outcome", "demo", "run"]

_ORIGIN = "ledger.example/demo"
_SHOWN = 6  # lines of the table of captures at its beginning, and at its end
# Native, explicit little endian, small, and carrying patient, study and orientation.
_BASE, _OTHER, _DRAWING = "test_files/CT_small.dcm", "test_files/MR_small.dcm", "target.png"
_CINE = "test_files/examples_ybr_color.dcm"  # 30 frames of an ultrasound


@dataclass(frozen=True)
class Outcome:
    """Everything that the demo found out."""

    place: Place
    founded: Founded
    log_size: int
    items: Sequence[Item]
    sources: record.Sources
    evidence_bytes: int
    own: Sequence[Judged]
    judged: Sequence[Judged]
    clips: Sequence[robot.Judged]
    seconds: float

    @property
    def surprises(self) -> list[Judged | robot.Judged]:
        """Verdicts that are not the expected ones."""
        every: list[Judged | robot.Judged] = [*self.own, *self.judged, *self.clips]
        return [each for each in every if not each.as_expected]

    @property
    def invited(self) -> list[Judged | robot.Judged]:
        """What the reader is invited to check: an image and a lie, and of the robot's one of each result."""
        clips = {each.verdict.result: each for each in reversed(self.clips)}
        return [self.shown, self.judged[0], *reversed(clips.values())]

    @property
    def shown(self) -> Judged:
        """The image that the reader is invited to check."""
        return next(each for each in self.own if each.case.image == self.place.modality / _BASE)


def demo(
    *,
    out: Annotated[Path, typer.Option(help="Made anew; an earlier demo's directory is replaced.")] = Path("demo-out"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, for scripts.")] = False,
) -> None:
    """Real images and a robot's recording through a real ledger, verified offline, with honest failures. Under a minute.

    Exit code 0 when every verdict is the expected one, 1 when one is not.
    """
    output.prepare()
    try:
        outcome = run(out, quiet=as_json)
    except PlatemarkError as error:
        output.note(f"platemark-ledger: {error}")
        raise typer.Exit(Exit.USAGE if isinstance(error, DemoError) else Exit.FAILED) from None
    except output.ClosedOutputError:
        raise typer.Exit(Exit.FAILED) from None
    if as_json:
        output.say_json(_facts(outcome))
    if outcome.surprises:
        output.note(f"platemark-ledger: {len(outcome.surprises)} verdicts are not the expected ones")
        raise typer.Exit(Exit.FAILED)


def run(out: Path, *, quiet: bool) -> Outcome:
    """Do everything, telling of it as it happens unless `quiet`. Raises PlatemarkError."""
    say = _Voice(quiet=quiet)
    began = time.monotonic()
    place = prepare(out)
    founded = founding.found(
        founding.Plan(directory=place.ledger, origin=_ORIGIN), log_passphrase=None, offline_passphrase=None
    )
    shutil.copyfile(founded.trust, place.trust)
    sources = record.gather(place)
    robot.record(place)
    images = (sources.images, record.draw(place))
    say.line(f"A new ledger, {_ORIGIN}. Its identity, leaf 0: {founded.log_id.hex()}")
    with peers.running(place, founded) as beside, serving(place.ledger, place.log) as server:
        say.line(f"It is served by process {server.pid} on {server.address}.")
        say.peers(beside)
        with LedgerClient(server.address) as client:
            _sealed(client, server.address, place, founded, say)
            items = _captured(client, place, founded, images, say)
            total = _fetched(client, items, say)
            robot.prove(server.address, place)
            size = client.checkpoint().checkpoint.size
    say.line(f"All servers are stopped. The log has {size} leaves. All that follows is offline.")
    trusted = cases.read_trust(place)
    with output.progress("verifying", 0 if quiet else len(items)) as step:
        own = []
        for each in cases.judge_all([Path(item.name) for item in items], trusted):
            own.append(each)
            step(1)
    say.own(own)
    base, other, drawing = place.modality / _BASE, place.modality / _OTHER, place.camera / _DRAWING
    cine = place.modality / _CINE
    for needed in (base, other, cine):
        if not needed.is_file():
            raise DemoError(f"pydicom brings no {needed.name}, which the cases are made from")
    judged = [cases.judge(case, trusted) for case in cases.make(place, base, other, drawing, cine)]
    say.cases("The copies and the lies", judged)
    clips = [robot.judge(clip, trusted) for clip in robot.make(place)]
    say.cases("The robot's recording, and what others made of it", clips)
    outcome = Outcome(place, founded, size, items, sources, total, own, judged, clips, time.monotonic() - began)
    say.end(outcome)
    return outcome


def _sealed(client: LedgerClient, address: str, place: Place, founded: Founded, say: _Voice) -> None:
    say.enrolled(robot.DEVICE, record.enrol(client, place, founded, robot.DEVICE))
    sealed = robot.seal(address, place)
    what = f"{sealed.messages} messages on {sealed.topics} topics, sealed with {sealed.segments} signatures"
    say.line(f"It recorded {output.printable(place.run)}: {what}.")


def _captured(
    client: LedgerClient, place: Place, founded: Founded, images: tuple[list[Path], ...], say: _Voice
) -> list[Item]:
    items = []
    for device, captured in zip(record.devices(), images, strict=True):
        say.enrolled(device, record.enrol(client, place, founded, device))
        with output.progress("capturing", 0 if say.quiet else len(captured)) as step:
            items += record.capture(client, place, device, captured, step)
    say.captured(place, items)
    return items


def _fetched(client: LedgerClient, items: list[Item], say: _Voice) -> int:
    last = items[-1].statement
    assert last is not None
    peers.until_published(client, last.id)
    say.line("A checkpoint over all of them is cosigned by both witnesses and time-stamped.")
    with output.progress("fetching evidence", 0 if say.quiet else len(items)) as step:
        total = record.keep_evidence(client, items, step)
    say.line(f"Fetched {len(items)} evidence files, {total // len(items)} bytes each on average.")
    return total


def _some(items: Sequence[Item]) -> Sequence[Item]:
    """The first and the last of them, which are of the two devices."""
    return items if len(items) <= 2 * _SHOWN else [*items[:_SHOWN], *items[-_SHOWN:]]


class _Voice:
    """Tells what happens, for a person; says nothing when `quiet`."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet

    def line(self, text: str) -> None:
        if not self.quiet:
            output.say(text)

    def peers(self, beside: Peers) -> None:
        witnesses = " and ".join(f"{name} ({beside.pids[f'witness {name}']})" for name in beside.witnesses)
        authority = beside.pids["authority"]
        self.line(f"Beside it: the witnesses {witnesses} and a time-stamping authority ({authority}): {LABEL}.")

    def enrolled(self, device: record.Device, index: int) -> None:
        key = f"{'an' if device.algorithm[0] in 'aeiou' else 'a'} {device.algorithm} key"
        self.line(f"Enrolled {device.uri} as {device.role} with {key}, leaf {index}.")

    def captured(self, place: Place, items: Sequence[Item]) -> None:
        if self.quiet:
            return
        output.say()
        output.say_table(
            ("leaf", "device", "image", "frames", "digests"),
            (
                (
                    item.index,
                    item.statement.issuer.rpartition("/")[2],
                    Path(item.name).relative_to(place.out),
                    item.statement.payload.get("frames", "-"),
                    ", ".join(item.rungs),
                )
                for item in _some(items)
                if item.statement is not None
            ),
        )
        if len(items) > 2 * _SHOWN:
            output.say(f"... and {len(items) - 2 * _SHOWN} between them (--json lists all)")
        output.say()

    def own(self, own: Sequence[Judged]) -> None:
        counts = Counter(each.verdict.result for each in own)
        counted = ", ".join(f"{count} {result}" for result, count in sorted(counts.items()))
        self.line(f"Every image against its own evidence: {counted}.")
        for each in own:
            if not each.as_expected:
                self.line(f"  {output.printable(each.case.image)}: {output.printable(each.verdict.reason)}")

    def cases(self, heading: str, judged: Sequence[Judged | robot.Judged]) -> None:
        if self.quiet:
            return
        output.say(f"\n{heading}:\n")
        output.say_table(
            ("", "what was given to the verifier", "expected", "verdict"),
            (
                (
                    "ok" if each.as_expected else "NOT EXPECTED",
                    each.case.title,
                    each.case.expected,
                    each.verdict.result,
                )
                for each in judged
            ),
        )
        output.say()
        for each in judged:
            output.say(f"  {each.case.title}\n      {output.printable(each.verdict.reason)}")
            if each.remark:
                output.say(f"      {output.printable(each.remark)}")

    def end(self, outcome: Outcome) -> None:
        self.line("\n" + _left_out(outcome.sources))
        self.line("\nCheck one yourself; no server runs:\n")
        for each in outcome.invited:
            self.line(f"  {each.command(outcome.place)}")
        out = output.printable(outcome.place.out)
        self.line(
            f"\nLeft in {out}: ledger, trust.toml, keys, modality and camera (each image with its .statement, .disclosure "
            "and .evidence), robot (the recording with its .evidence, and copies), cases, peers, server.log; README.txt there "
            f"says more. {outcome.seconds:.1f} s."
        )


def _left_out(sources: record.Sources) -> str:
    """What of pydicom's files was not captured, each reason once."""
    failed = sum(map(len, sources.failed.values()))
    lines = [f"Not captured: {len(sources.without)} of pydicom's DICOM files hold no image; {failed} others, because"]
    for reason, names in sorted(sources.failed.items(), key=lambda each: -len(each[1])):
        lines.append(f"  {output.printable(reason)}: {', '.join(Path(name).name for name in names)}")
    return "\n".join(lines)


def _facts(outcome: Outcome) -> dict[str, object]:
    place = outcome.place
    return {
        "out": str(place.out),
        "origin": outcome.founded.origin,
        "log_id": outcome.founded.log_id,
        "log_size": outcome.log_size,
        "trust": str(place.trust),
        "captured": [item.facts() for item in outcome.items],
        "without_image": outcome.sources.without,
        "not_captured": outcome.sources.failed,
        "evidence_bytes": outcome.evidence_bytes,
        "own_matching": sum(each.verdict.result == MATCHES_RECORD for each in outcome.own),
        "cases": [{**_judged(place, each), "rung": each.verdict.rung} for each in outcome.judged],
        "clips": [_judged(place, each) for each in outcome.clips],
        "surprises": len(outcome.surprises),
        "verify": outcome.shown.command(place),
        "seconds": f"{outcome.seconds:.1f}",
    }


def _judged(place: Place, each: Judged | robot.Judged) -> dict[str, object]:
    return {
        "title": each.case.title,
        "expected": each.case.expected,
        "verdict": each.verdict.result,
        "reason": each.verdict.reason,
        "remark": each.remark,
        "as_expected": each.as_expected,
        "verify": each.command(place),
    }
