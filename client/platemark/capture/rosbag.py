"""rosbag2: folders of MCAP or sqlite3 files with a metadata.yaml, and bare .db3 files.

A folder is one recording: the messages of all files that its metadata.yaml lists, in order of log time. rosbags says what two
texts of one message definition have in common, and brings the YAML parser; the files are read here, because rosbags takes
the sizes, tables and indexes of a file as given.
"""

from __future__ import annotations

import hashlib
import os
import re
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from platemark import files
from platemark.capture._message_rows import Faults, MessageRows
from platemark.capture._recording_limits import RecordingLimits
from platemark.capture._rosbag_sqlite import SQLITE_MAGIC, Database
from platemark.capture._source import open_regular
from platemark.capture.mcap import McapSource, open_mcap
from platemark.errors import DecoderMissingError, RecordingError
from platemark.files import FileError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from platemark.capture._mcap_data import Recorded
    from platemark.recording.model import Fault, Message

__all__ = ["BagSource", "open_bag", "same_definition"]

_METADATA = "metadata.yaml"
_MAX_METADATA = 1 << 20
_MAX_FILES = 1 << 14
_MAX_DEPTH = 64
_MAX_DEFINITION = 1 << 18
_STORAGES = ("mcap", "sqlite3")
# Where some parsers begin a new line and others go on with a comment.
_OTHER_LINE_END = re.compile(r"[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")


def open_bag(path: str | os.PathLike[str], *, limits: RecordingLimits | None = None) -> BagSource:
    """The recording in a rosbag2 folder or a bare .db3 file. Its messages are read by each iteration; nothing is written.

    sqlite3 storage keeps one time, so its publish times are its log times, and has definitions since schema version 4; without
    them a channel has no schema. Raises RecordingError (not rosbag2, compressed by rosbag2, past a limit), CaptureError.
    """
    bounds, place = limits or RecordingLimits(), Path(path)
    if place.is_dir():
        return BagSource(place, bounds, _Metadata.read(place))
    file, _ = open_regular(place)
    with file:
        if file.read(len(SQLITE_MAGIC)) != SQLITE_MAGIC:
            raise RecordingError(place, "is neither a rosbag2 folder nor a file of its sqlite3 storage")
    return BagSource(place, bounds, None)


class BagSource:
    """A rosbag2 recording (platemark.recording.model.Source); as McapSource, which reads the MCAP files of a folder."""

    def __init__(self, path: Path, limits: RecordingLimits, metadata: _Metadata | None) -> None:
        self.path = str(path)
        self._place, self._limits, self._metadata = path, limits, metadata
        self._faults = Faults(limits.faults)
        self._mcaps: dict[Path, McapSource] = {}
        if metadata is not None and metadata.storage == "mcap":
            self._mcaps = {each: open_mcap(each, limits=limits) for each in metadata.files if each.exists()}
        self.proofs: list[bytes] = [proof for source in self._mcaps.values() for proof in source.proofs]

    @property
    def faults(self) -> list[Fault]:
        """What was wrong with the recording when it was last read."""
        return self._faults.found

    def __iter__(self) -> Iterator[Message]:
        rows = MessageRows(self.path, self._limits.messages)
        for channel, _, log_time, publish_time, data in self.recorded():
            rows.add(channel, log_time, publish_time, hashlib.sha256(data).digest(), len(data))
        yield from rows

    def recorded(self) -> Iterator[Recorded]:
        """The messages with their data, file by file, in the order of each. The data of one is valid until the next."""
        self._faults = Faults(self._limits.faults)
        if self._metadata is None:
            yield from Database(self._place, self._limits, self._faults).recorded()
            return
        total, unnamed = 0, set()
        for path in self._metadata.files:
            for found in self._of_file(path, self._metadata.storage):
                total += 1
                channel = found.channel
                if (channel.topic, channel.type_name, channel.encoding) not in self._metadata.topics:
                    unnamed.add(channel.topic)
                yield found
        for topic in sorted(unnamed)[: self._limits.faults]:
            self._faults.note(_METADATA, f"it does not name topic {topic}, which has messages, as it is")
        if total != self._metadata.count:
            self._faults.note(_METADATA, f"it counts {self._metadata.count} messages, and there are {total}")

    def _of_file(self, path: Path, storage: str) -> Iterator[Recorded]:
        if not path.exists():
            self._faults.note(path.name, "it is missing, and metadata.yaml lists it")
        elif storage == "sqlite3":
            yield from Database(path, self._limits, self._faults).recorded()
        else:
            source = self._mcaps.get(path) or open_mcap(path, limits=self._limits)
            yield from source.recorded()
            for fault in source.faults:
                self._faults.note(f"{path.name}, {fault.where}", fault.reason)


class _Metadata:
    """What a metadata.yaml says that readers go by."""

    def __init__(self, folder: Path, content: Any) -> None:
        try:
            facts = content["rosbag2_bagfile_information"]
            self.storage = facts["storage_identifier"]
            names = list(facts["relative_file_paths"])
            topics = [each["topic_metadata"] for each in facts["topics_with_message_count"]]
            self.topics = {(str(e["name"]), str(e["type"]), str(e["serialization_format"])) for e in topics}
            self.count = int(facts["message_count"])
            mode = str(facts.get("compression_mode") or "none").lower()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _refused(
                folder, f"its {_METADATA} has not what rosbag2 writes ({type(error).__name__}: {error})"
            ) from None
        if self.storage not in _STORAGES:
            raise _refused(folder, f"its storage is {str(self.storage)[:32]!r}, not one of {', '.join(_STORAGES)}")
        if mode != "none":
            raise _refused(folder, f"rosbag2 compressed it (mode {mode[:16]}): convert it without compression first")
        self.files = [self._file(folder, name) for name in names]
        if len(set(self.files)) != len(self.files) or len(self.files) > _MAX_FILES:
            raise _refused(folder, f"its {_METADATA} lists a file twice, or more than {_MAX_FILES}")

    @classmethod
    def read(cls, folder: Path) -> _Metadata:
        """RecordingError: there is none, or it cannot be used."""
        try:
            from ruamel.yaml import YAML  # rosbags brings it, and reads the same file with it
            from ruamel.yaml.error import YAMLError
        except ModuleNotFoundError:
            reason = 'reading metadata.yaml needs rosbags: pip install "platemark[robot]"'
            raise DecoderMissingError(folder, reason, extra="robot") from None
        path = folder / _METADATA
        if not path.exists():
            raise RecordingError(folder, f"is a folder without {_METADATA}, so it is no rosbag2 recording")
        try:
            text = files.read(path, limit=_MAX_METADATA).decode()
            if _is_slow(text):
                raise _refused(folder, f"its {_METADATA} is not as rosbag2 writes it: it is nested too deeply")
            content = YAML(typ="safe").load(text)
        except FileError as error:
            raise RecordingError(folder, str(error)) from None
        except (YAMLError, RecursionError, ValueError, TypeError) as error:
            raise _refused(folder, f"its {_METADATA} is not YAML ({type(error).__name__})") from None
        return cls(folder, content)

    @staticmethod
    def _file(folder: Path, name: object) -> Path:
        """In the folder itself: up to version 3 the name of the folder came first, and readers differ on everything else."""
        text = str(name)
        last = PurePosixPath(text).name
        if (
            "\0" in text
            or "\\" in text
            or last in {"", ".."}
            or text not in (last, f"{PurePosixPath(text).parent.name}/{last}")
        ):
            raise _refused(folder, f"its {_METADATA} lists {text[:80]!r}, which is not a file in the folder")
        return folder / last


def _is_slow(text: str) -> bool:
    """Whether the parser would take a time that grows with the square of the text: brackets within brackets, merged maps."""
    depth = 0
    for found in re.finditer(r"[\[{\]}]|<<", text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], _MAX_DEPTH + 1)
        if depth > _MAX_DEPTH:
            return True
        depth = max(0, depth)
    return False


def _refused(folder: Path, reason: str) -> RecordingError:
    return RecordingError(folder, " ".join(reason.split())[:400])


def same_definition(type_name: str, text_a: str, text_b: str) -> bool:
    """Whether two texts (encoding "ros2msg", with all that they refer to) define the same message.

    The same types with the same fields and constants in the same order, each type defined once; comments, spaces, default
    values and the order of the types do not matter. False also for a text that is not one, is longer than 256 KiB, or has ends of
    lines other than a line feed, which not every parser takes for such.
    Raises DecoderMissingError without rosbags.
    """
    if text_a == text_b:
        return True
    first = _definitions(type_name, text_a)
    return first is not None and first == _definitions(type_name, text_b)


@lru_cache(maxsize=256)
def _definitions(type_name: str, text: str) -> dict[str, Any] | None:
    try:
        from rosbags.typesys import TypesysError, get_types_from_msg
    except ModuleNotFoundError:
        reason = 'comparing message definitions needs rosbags: pip install "platemark[robot]"'
        raise DecoderMissingError(type_name, reason, extra="robot") from None
    if len(text) > _MAX_DEFINITION or _OTHER_LINE_END.search(text):
        return None
    try:
        types = get_types_from_msg(text, type_name)
    except (TypesysError, RecursionError, ValueError, TypeError, KeyError, IndexError):
        return None
    # A type that is defined twice is one thing to a reader that takes the first, another to one that takes the last.
    return dict(types) if len(types) == 1 + len(re.findall(r"^MSG:", text, flags=re.MULTILINE)) else None
