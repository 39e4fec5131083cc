"""`platemark verify` on a folder, a ZIP file or a DICOMDIR: the images measured side by side, the set judged at the end."""

from __future__ import annotations

import io
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from platemark.capture import measure
from platemark.capture.dicomdir import is_dicomdir, read_dicomdir
from platemark.cli import media, output
from platemark.cli.ahead import ahead
from platemark.errors import CaptureError, FormatError, NotAnImageError
from platemark.files import FileError
from platemark.study import report
from platemark.study.conclusion import conclude
from platemark.study.directory import Directory
from platemark.study.held import index
from platemark.study.judging import Judge, Seen
from platemark.study.places import Folder, Zip, head, is_bundle, is_zip, open_place

if TYPE_CHECKING:
    from platemark.study.conclusion import SetVerdict
    from platemark.study.places import Place
    from platemark.trust import Trust

__all__ = ["is_set", "say", "verify_set"]

_MAX_DICOMDIR = 256 << 20


def is_set(target: Path) -> bool:
    """Whether `target` stands for several images. Raises FileError for evidence where an image belongs."""
    if target.is_dir():
        return True
    if is_bundle(target):
        raise FileError(f"{target}: is evidence; name the image, and this with --evidence")
    return is_zip(target) or is_dicomdir(head(target))


def verify_set(target: Path, evidence: Path | None, *, trusted: Trust | None, at: int, whole: bool) -> SetVerdict:
    """The verdict on the set at `target`. `whole` keeps every image's verdict. Raises FileError, FormatError."""
    explicit = target.is_file() and not is_zip(target)
    with ExitStack() as opened:
        place = opened.enter_context(open_place(target.parent if explicit else target))
        held = place if evidence is None else opened.enter_context(open_place(evidence))
        judge = Judge(index(held), trusted, at, whole)
        directory = _directory(place, target.name if explicit else None)
        seen, aside = _measured(place, judge)
        if not seen and not judge.holdings.held and not judge.holdings.unreadable:
            raise FileError(f"{target}: no image and no evidence was found")
        return conclude(seen, aside, judge, directory)


def say(verdict: SetVerdict, *, as_json: bool) -> None:
    """The table, and the verdict on the set below it; or one JSON object."""
    if as_json:
        output.say_pieces(report.json_pieces(verdict))
        return
    output.say_table(report.COLUMNS, map(report.row, verdict.rows))
    output.say()
    for line in report.lines(verdict):
        output.say(output.printable(line))


def _measured(place: Place, judge: Judge) -> tuple[list[Seen], list[str]]:
    """Every image of the place in the order of names, and what is none."""
    names = [name for name in place.names if not name.endswith(media.OURS)]
    seen: list[Seen] = []
    aside: list[str] = []

    def one(name: str) -> Seen | None:
        """An image, None for a file of another kind."""
        try:
            with place.path(name) as path:
                directory = is_dicomdir(head(path))
                return judge.image(name, measure(path, tolerant=True), directory=directory)
        except NotAnImageError:
            return None
        except (CaptureError, FormatError, FileError) as error:
            return Seen(name, fault=str(error) if isinstance(error, FormatError) else error.reason)

    with output.progress("verifying", len(names)) as step:
        for name, future in ahead(one, names):
            image = future.result()
            if image is None:
                aside.append(name)
            else:
                seen.append(image)
            step(1)
    return seen, aside


def _directory(place: Place, explicit: str | None) -> Directory | None:
    """The DICOMDIR that was named, or the one at the top of the place. Raises FormatError if the named one is none."""
    names = [name for name in place.names if name == explicit or (explicit is None and name.casefold() == "dicomdir")]
    if not names or not isinstance(place, (Folder, Zip)):
        return None
    found = Directory(names[0])
    try:
        raw = place.read(names[0], limit=_MAX_DICOMDIR)
        found.resolve(read_dicomdir(io.BytesIO(raw), len(raw)), place.names)
    except FormatError as error:
        if explicit is not None:
            raise
        found.fault = str(error)
    return found
