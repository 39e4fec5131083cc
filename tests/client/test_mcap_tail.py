"""Following a file that grows gives its whole records as they come, and no others."""

from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
from recordings import frames, write_mcap

from mcap_bytes import CAMERA, SCHEMA, Draft, message
from platemark.capture.mcap import open_mcap, tail
from platemark.errors import RecordingError


def _grow(path: Path, content: bytes, step: int) -> Callable[[], bool]:
    """Each call writes `step` bytes more; False once there are none."""
    left = [content[at : at + step] for at in range(0, len(content), step)][::-1]

    def wait() -> bool:
        if not left:
            return False
        with path.open("ab") as file:
            file.write(left.pop())
        return True

    return wait


@pytest.mark.parametrize("step", [1, 7, 500, 1 << 20])
@pytest.mark.parametrize("chunked", [True, False])
def test_growing(step: int, *, chunked: bool, tmp_path: Path) -> None:
    """However it grows, the messages are those of the whole file, and the end is the end of the data."""
    whole = write_mcap(tmp_path / "whole.mcap", frames(4, 8, 6), chunk_size=300, chunked=chunked, compression="")
    path = tmp_path / "a.mcap"
    path.write_bytes(b"\x89")
    following = tail(path, wait=_grow(path, whole.read_bytes()[1:], step))
    assert list(open_mcap(whole)) == list(following)
    assert following.faults == []


def test_told_to_stop(tmp_path: Path) -> None:
    """When told to stop, what is whole has been given, and the rest is a fault."""
    draft = Draft()
    draft.chunk([SCHEMA, CAMERA, message(10)])
    draft.chunk([message(20)])
    path = tmp_path / "a.mcap"
    path.write_bytes(draft.content[:-40])
    stop = Mock(return_value=False)
    following = tail(path, wait=stop)
    assert [one.log_time for one in following] == [10]
    stop.assert_called_once_with()
    assert len(following.faults) == 1


def test_each_message_at_once(tmp_path: Path) -> None:
    """A message is given before the next one is waited for."""
    draft = Draft()
    draft.add(SCHEMA, CAMERA, message(10))
    path = tmp_path / "a.mcap"
    path.write_bytes(draft.content)

    def wait() -> bool:
        draft.add(message(20))
        path.write_bytes(draft.content)
        return True

    messages = iter(tail(path, wait=wait))
    assert next(messages).log_time == 10
    assert next(messages).log_time == 20


def _replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "shorter"),
        (_replace, "took its place"),
        (lambda path: path.unlink(), "is gone"),
    ],
    ids=["truncated", "replaced", "deleted"],
)
def test_changed_meanwhile(change: Callable[[Path], None], reason: str, tmp_path: Path) -> None:
    """A file that becomes shorter, is replaced or is deleted meanwhile is an error."""
    draft = Draft()
    draft.chunk([SCHEMA, CAMERA, message(10)])
    path = tmp_path / "a.mcap"
    path.write_bytes(draft.content)

    def wait() -> bool:
        change(path)
        return True

    with pytest.raises(RecordingError, match=reason):
        list(tail(path, wait=wait))


def test_hostile_length(tmp_path: Path) -> None:
    """A record that announces more than any record has is not waited for."""
    path = tmp_path / "a.mcap"
    draft = Draft()
    draft.add(b"\x05" + (1 << 60).to_bytes(8, "little"))
    path.write_bytes(draft.content)
    stop = Mock(return_value=False)
    following = tail(path, wait=stop)
    assert list(following) == []
    stop.assert_not_called()
    assert len(following.faults) == 1
