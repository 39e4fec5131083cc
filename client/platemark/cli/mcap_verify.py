"""`platemark mcap verify` and `platemark mcap frame`: their options. Both work offline."""

from __future__ import annotations

import time as clock
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from platemark import files
from platemark.cli import output
from platemark.cli.connect import load_trust
from platemark.cli.options import AsJson, At, Trust
from platemark.cli.times import parse_time
from platemark.errors import FormatError, PlatemarkError, RecordingError
from platemark.files import FileError
from platemark.report import format_time

if TYPE_CHECKING:
    from platemark.cli.mcap_checking import Checked
    from platemark.cli.mcap_frame import FrameVerdict
    from platemark.trust import Trust as TrustFile

__all__ = ["frame", "verify"]

_UNREADABLE = 2

Evidence: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="A recording proof, besides those within the file and beside it. Repeat."),
]


def verify(
    clips: Annotated[
        list[Path], typer.Argument(metavar="CLIP...", help="Recordings, clips of them, or single frames.")
    ],
    *,
    evidence: Evidence = None,
    trust: Trust = None,
    at: At = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Single frames were chosen: dropped messages do not count.")
    ] = False,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the timeline as a picture.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check a recording, or a clip of one, against its proofs, believing only the trust file. Opens no connection.

    The clip may be cut, filtered, merged, recompressed, re-chunked or converted by any tool. For each topic it says which
    messages and times are proven, and which are missing, altered, moved, duplicated, inserted, reordered or unrecorded; the first
    of each are named. What is cut off before and after is named and is no fault.

    A file that is no recording is compared with single messages: `platemark mcap frame` makes such.

    Exit codes, of several clips the first of 4, 1, 2, 3, 0 that applies:
      0  MATCHES RECORD    every message of the file is proven, and none between is missing
      1  DOES NOT MATCH    the evidence is sound, and the file is not that recording
      2  usage or unreadable input
      3  INCONCLUSIVE      nothing failed, and something could not be settled
      4  EVIDENCE INVALID  a signature, proof or key failed

    Examples:
      platemark mcap verify run.mcap --trust trust.toml
      platemark mcap verify clip.mcap --evidence run.mcap.evidence --trust trust.toml --svg clip.svg
      platemark mcap verify frame.png --trust trust.toml
    """
    if svg is not None and len(clips) > 1:
        raise typer.BadParameter("--svg is for one clip")
    trusted = load_trust(trust)
    moment = clock.time_ns() if at is None else at
    codes, shown = [], []
    for clip in clips:
        if len(clips) > 1 and not as_json:
            output.say(f"{output.printable(clip)}:")
        one: Checked | FrameVerdict | PlatemarkError
        try:
            one = _judge(clip, evidence, trust=trusted, at=moment, allow_missing=allow_missing)
        except (FileError, FormatError, RecordingError) as error:
            if len(clips) == 1:
                raise
            one = error  # One clip of a thousand that is unreadable is no reason to say nothing of the others.
        code, facts = _facts(one)
        codes.append(code)
        shown.append({"file": str(clip), **facts})
        if svg is not None and not isinstance(one, PlatemarkError):
            files.replace(svg, _picture(one))
        if not as_json:
            _say(one)
    if as_json:
        output.say_json(shown[0] if len(shown) == 1 else {"clips": shown})
    if trusted is None:
        output.note("Give --trust FILE, a trust file from a source that you trust and that names this log.")
    raise typer.Exit(next(code for code in (4, 1, _UNREADABLE, 3, 0) if code in codes))


def _judge(
    clip: Path, evidence: list[Path] | None, *, trust: TrustFile | None, at: int, allow_missing: bool
) -> Checked | FrameVerdict:
    from platemark.cli import mcap_checking, mcap_frame
    from platemark.cli.mcap_opening import is_recording

    if is_recording(clip):
        return mcap_checking.verify_recording(clip, evidence, trust=trust, at=at, allow_missing=allow_missing)
    return mcap_frame.verify_frame(clip, evidence, trust=trust, at=at)


def _facts(one: Checked | FrameVerdict | PlatemarkError) -> tuple[int, dict[str, object]]:
    """The exit code of one clip, and what --json says of it."""
    if isinstance(one, PlatemarkError):
        return _UNREADABLE, {"exit_code": _UNREADABLE, "error": {"code": one.code, "reason": str(one)}}
    from platemark.cli.mcap_checking import Checked

    if isinstance(one, Checked):
        return one.verdict.exit_code, one.facts()
    return one.exit_code, one.to_json()


def _picture(one: Checked | FrameVerdict) -> bytes:
    from platemark.cli.mcap_checking import Checked

    if not isinstance(one, Checked):
        raise typer.BadParameter("--svg is for recordings: a single frame has no timeline")
    return one.svg()


def frame(
    recording: Annotated[
        Path, typer.Argument(metavar="RECORDING", help="An MCAP file, a rosbag2 folder, a .db3 file.")
    ],
    *,
    topic: Annotated[str, typer.Option(metavar="TOPIC", help="The topic.")],
    time: Annotated[
        int | None, typer.Option(parser=parse_time, metavar="TIME", help="The frame whose log time is nearest to it.")
    ] = None,
    number: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="The Nth message of the topic, from 0.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the picture goes; FILE.evidence beside it.")],
    raw: Annotated[bool, typer.Option("--raw", help="The message itself, as published, instead of a picture.")] = False,
    evidence: Evidence = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take one frame out of a sealed recording, as PNG or the JPEG that was published, with the proof of this message alone.

    `platemark mcap verify FILE` checks that the picture has exactly the samples of the proven message.

    Examples:
      platemark mcap frame run.mcap --topic /camera/image_raw --number 120 --out frame.png
      platemark mcap frame run.mcap --topic /camera/image_raw --time 2026-11-25T09:30:00.5Z --out frame.png
      platemark mcap frame run.mcap --topic /camera/h264 --number 0 --raw --out packet.h264
    """
    from platemark.cli.mcap_frame import take
    from platemark.sealing.placing import Place

    if (time is None) == (number is None):
        raise typer.BadParameter("give either --time or --number")
    beside = Place(out).evidence
    for each in (out, beside):
        if each.exists() and not force:
            raise RecordingError(each, "exists already; --force replaces it")
    taken = take(recording, topic, time=time, number=number, raw=raw, named=evidence, out=out)
    files.replace(beside, taken.proof.to_bytes())
    # Crash here: a proof without its picture, which --force replaces.
    files.replace(out, taken.content)
    if as_json:
        output.say_json(
            {
                "file": str(out),
                "evidence": str(beside),
                "topic": topic,
                "log_time": taken.message.log_time,
                "publish_time": taken.message.publish_time,
                "stamp": taken.stamp,
                "note": taken.note,
            }
        )
        return
    output.say(f"{output.printable(out)}: {output.printable(topic)} at {format_time(taken.message.log_time)}")
    if taken.stamp is not None:
        output.say(f"header.stamp {format_time(taken.stamp)}")
    if taken.note:
        output.say(output.printable(taken.note))


def _say(one: Checked | FrameVerdict | PlatemarkError) -> None:
    if isinstance(one, PlatemarkError):
        output.say("UNREADABLE")
        output.say(output.printable(str(one)))
        return
    from platemark.cli.mcap_checking import Checked

    if isinstance(one, Checked):
        one.say()
    else:
        _say_frame(one)


def _say_frame(verdict: FrameVerdict) -> None:
    from platemark.cli.mcap_checking import fact, say_not_proven

    output.say(verdict.result)
    output.say(output.printable(verdict.reason))
    facts: dict[str, object] = {}
    if verdict.row is not None:
        facts |= {"log time": format_time(verdict.row.log_time)}
        if verdict.stamp is not None:
            facts |= {"header.stamp": format_time(verdict.stamp)}
    facts |= {name: fact(name, value) for name, value in (verdict.facts or {}).items()}
    if facts:
        output.say()
    for name, value in facts.items():
        output.say(f"  {name:<20} {value}")
    say_not_proven(verdict.at)
