"""Two evidence bundles of one log that told two stories expose it."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import platemark

from builders import LOG_KEY, MODALITY, ORIGIN, Log
from platemark.note import NoteSigner

VKEY = NoteSigner(ORIGIN, LOG_KEY).verifier.vkey


def _bundle(path: Path, image: bytes, *, more: int = 0) -> Path:
    log = Log()
    log.enrol(MODALITY)
    log.capture(image)
    for number in range(more):
        log.capture(b"another %d" % number)
    path.write_bytes(log.evidence(2, enrolments=[1]).to_bytes())
    return path


@pytest.mark.parametrize(
    ("image", "more", "code", "findings"),
    [(b"another image", 0, 1, ["split-view"]), (b"an image", 0, 3, []), (b"another image", 1, 3, [])],
)
def test_two_bundles_are_compared(tmp_path: Path, image: bytes, more: int, code: int, findings: list[str]) -> None:
    """One size with two roots is proof; the same root, or another size, is not completed: there are no tiles to go by."""
    mine, theirs = _bundle(tmp_path / "mine", b"an image"), _bundle(tmp_path / "theirs", image, more=more)
    ran = platemark("audit", mine, theirs, "--vkey", VKEY, "--json")
    assert (ran.code, [each["code"] for each in ran.json()["findings"]]) == (code, findings)
    assert ran.json()["incomplete"] == ([] if findings else ["no source has tiles"])


def test_what_only_begins_like_a_bundle_is_one_clear_error(tmp_path: Path) -> None:
    """A damaged bundle is named."""
    mine = _bundle(tmp_path / "mine", b"an image")
    mine.write_bytes(mine.read_bytes()[:-9])
    ran = platemark("audit", mine, "--vkey", VKEY)
    assert (ran.code, ran.out) == (2, "")
    assert "bundle" in ran.err
