"""Do everything to every image and tell what survived: `make survival`. deploy/SURVIVAL.md says how to read it."""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

if __name__ == "__main__":
    # tests/ instead of tests/survival/: modules are survival.images, peers.dcmtk as everywhere in the tests.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from rich.console import Console

from peers.dcmtk import run as dcmtk
from platemark.capture import measure
from survival.images import Image, Left, corpus
from survival.operations import LOCAL, NotDoneError, Operation
from survival.pacs import REMOTE, Pacs, pacs
from survival.reasons import explain
from survival.table import Row, markdown, rich_table

__all__ = ["DOCUMENT", "OPERATIONS", "main", "survive"]

OPERATIONS = (*LOCAL, *REMOTE)
DOCUMENT = Path(__file__).resolve().parents[2] / "deploy" / "SURVIVAL.md"
_WIDTH = 140
_BEGIN, _END = "<!-- survival: begin -->", "<!-- survival: end -->"


def survive(operation: Operation, images: Sequence[Image], peers: Pacs, directory: Path) -> Row:
    """Do one operation to each image."""
    row = Row(operation)
    for image in images:
        work = Path(tempfile.mkdtemp(dir=directory))
        copy = work / "copy.dcm"
        try:
            operation.run(image, copy, peers)
            row.add(image, explain(image, operation.kind, measure(copy, tolerant=True), copy))
        except NotDoneError as error:
            if error.applies:
                row.refusals[str(error)] += 1
        finally:
            shutil.rmtree(work)
    return row


def main(arguments: list[str] | None = None) -> int:
    """0 when every loss has a reason that is allowed to the operation, 1 when one has not, 2 for wrong usage."""
    options = _options(arguments)
    chosen = [each for each in OPERATIONS if options.only in each.name]
    if not chosen:
        print(f"no operation has {options.only!r} in its name", file=sys.stderr)
        return 2
    if options.write and (options.only or options.images):
        print("--write keeps the whole table, so it takes neither --only nor --images", file=sys.stderr)
        return 2
    images, left = corpus()
    if options.images:
        images = [image for image in images if options.images in image.name]
    began = time.monotonic()
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="platemark-survival-") as name, pacs(Path(name) / "peers") as peers:
        for operation in chosen:
            rows.append(survive(operation, images, peers, Path(name)))
            row = rows[-1]
            print(f"{operation.name}: {row.done} images, pixels {row.cell('pixels')}", file=sys.stderr, flush=True)
    console.print(rich_table(rows))
    console.print(f"{len(images)} images in {time.monotonic() - began:.0f} s; {len(left)} files left out")
    faults = [loss for row in rows for loss in row.faults()]
    for fault in faults:
        console.print(f"FAULT {fault.operation}, {fault.image}, {fault.rung}: {fault.reason}", style="bold red")
    if options.write and not faults:
        _write(_document(rows, images, left))
    return 1 if faults else 0


def _document(rows: list[Row], images: list[Image], left: list[Left]) -> str:
    """What stands between the markers."""
    reasons = Counter(each.reason for each in left)
    skipped = "; ".join(f"{reason} ({number})" for reason, number in reasons.most_common())
    return (
        f"Made by `make survival` with {_versions()}.\n\n"
        f"{len(images)} images. {len(left)} DICOM files of the packages are left out: {skipped}.\n\n{markdown(rows)}"
    )


def _versions() -> str:
    dcmtk_version = dcmtk("dcmconv", "--version").stdout.split()[2].removeprefix("v")
    orthanc_version = dcmtk("Orthanc", "--version").stdout.split()[1]
    packages = [f"{name} {metadata.version(name)}" for name in ("platemark", "pydicom", "pydicom-data")]
    tools = [f"dcmtk {dcmtk_version}", f"Orthanc {orthanc_version} (without GDCM plugin)"]
    return ", ".join([*packages, *tools, f"Python {platform.python_version()}"])


def _write(text: str) -> None:
    before, _, rest = DOCUMENT.read_text("utf-8").partition(_BEGIN)
    after = rest.partition(_END)[2]
    DOCUMENT.write_text(f"{before}{_BEGIN}\n\n{text}\n{_END}{after}", "utf-8")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What survives of an image's digests, operation by operation.")
    parser.add_argument("--only", default="", metavar="TEXT", help="only operations with this in their name")
    parser.add_argument("--images", default="", metavar="TEXT", help="only images with this in their name")
    parser.add_argument("--write", action="store_true", help="keep the table in deploy/SURVIVAL.md")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
