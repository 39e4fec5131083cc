"""One image message as a picture file, its samples unchanged: the only door to mcap_ros2.

ROS 2 messages are read by the definition of their type, which must be the standard one, through mcap-ros2-support; no ROS is
installed. Frames that were recorded without ROS name their form in the channel's encoding: "image/png", "rgb8 640x480".
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from platemark.capture._faults import MalformedError
from platemark.capture._frame_layout import MAX_PIXELS, Layout, layout_of, refusal_of
from platemark.capture.rosbag import same_definition
from platemark.errors import DecoderMissingError

if TYPE_CHECKING:
    from platemark.segment import Channel

__all__ = ["Picture", "picture"]

_NO_SCHEMA = hashlib.sha256(b"").digest()
_RULE = "=" * 80
_HEADER = (
    f"{_RULE}\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n"
    f"{_RULE}\nMSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"
)
_DEFINITIONS = {
    "sensor_msgs/msg/Image": "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\n"
    f"uint32 step\nuint8[] data\n{_HEADER}",
    "sensor_msgs/msg/CompressedImage": f"std_msgs/Header header\nstring format\nuint8[] data\n{_HEADER}",
}
_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
_RAW_FRAME = re.compile(r"(\S+) ([1-9][0-9]{0,8})x([1-9][0-9]{0,8})")
_NANO = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture file, or why there is none.

    `content` with `media_type` image/png or image/jpeg, or None with `refusal`, one sentence. `note`: what a viewer should know
    of the samples, or "". `encoding`: as the message names it. `stamp`: header.stamp, Unix ns by the driver's clock, and
    `frame_id`, both None for frames without a ROS header.
    """

    content: bytes | None
    media_type: str
    encoding: str
    refusal: str = ""
    note: str = ""
    stamp: int | None = None
    frame_id: str | None = None


def picture(channel: Channel, schema: bytes, data: bytes | memoryview) -> Picture:
    """The picture in one message: `schema` are the bytes of the channel's schema, `data` the message as published.

    Image becomes a PNG whose samples are those of the message (bytes of padding and of sample order aside); CompressedImage
    gives the JPEG or PNG that it holds. Everything else is refused in the result: other types and definitions, video, depth in
    floating point, a message that breaks its own sizes. Raises DecoderMissingError: mcap-ros2-support or imagecodecs.
    """
    published = bytes(data)
    try:
        if not channel.type_name:
            return _raw_frame(channel.encoding, published)
        if channel.type_name not in _DEFINITIONS:
            return _refused(
                channel.encoding, f"messages of type {channel.type_name[:80]} are not pictures that are drawn"
            )
        _check_definition(channel, schema)
        message = _decode(channel, published)
    except MalformedError as error:
        return _refused(channel.encoding, str(error))
    drawn = _image if channel.type_name == "sensor_msgs/msg/Image" else _compressed
    stamp = message.header.stamp.sec * _NANO + message.header.stamp.nanosec
    beside: dict[str, Any] = {"stamp": stamp, "frame_id": message.header.frame_id}
    try:
        content, media_type, encoding, note = drawn(message)
    except _RefusalError as error:
        return Picture(None, "", error.encoding, str(error), **beside)
    return Picture(content, media_type, encoding, note=note, **beside)


class _RefusalError(Exception):
    """A message that is read and not drawn."""

    def __init__(self, encoding: str, reason: str) -> None:
        super().__init__(reason)
        self.encoding = encoding


def _refused(encoding: str, reason: str) -> Picture:
    return Picture(None, "", encoding, reason)


def _check_definition(channel: Channel, schema: bytes) -> None:
    """The definition decides what every byte means; one that is not the standard one is somebody's own type."""
    if channel.encoding != "cdr":
        raise MalformedError(f"its messages are encoded as {channel.encoding[:32]!r}, not as CDR")
    if not schema:
        if channel.schema != _NO_SCHEMA:
            raise MalformedError("the schema that its channel names is not at hand")
        return  # old sqlite3 storage has none, and the name says which
    try:
        text = schema.decode()
    except UnicodeDecodeError:
        raise MalformedError("its schema is not text") from None
    if channel.schema_encoding != "ros2msg" or not same_definition(
        channel.type_name, _DEFINITIONS[channel.type_name], text
    ):
        raise MalformedError(f"its schema is not the definition of {channel.type_name} that ROS 2 has")


def _decode(channel: Channel, data: bytes) -> Any:
    try:
        from mcap_ros2._dynamic import generate_dynamic
    except ModuleNotFoundError:
        reason = 'reading ROS 2 messages needs mcap-ros2-support: pip install "platemark[robot]"'
        raise DecoderMissingError(channel.topic, reason, extra="robot") from None
    if len(data) < 4 or data[0] != 0 or data[1] not in (0, 1):
        raise MalformedError("the message does not begin as plain CDR does")
    # The built-in text says the same as the schema, and no hostile schema reaches the parser.
    decoder = generate_dynamic(channel.type_name, _DEFINITIONS[channel.type_name])[channel.type_name]
    try:
        return decoder(data)
    except Exception as error:  # noqa: BLE001  # struct, index and Unicode errors of a message that ends early
        raise MalformedError(f"the message is not one of its type ({type(error).__name__})") from None


def _image(message: Any) -> tuple[bytes, str, str, str]:
    encoding = message.encoding
    layout = layout_of(encoding)
    if layout is None:
        raise _RefusalError(encoding, refusal_of(encoding))
    try:
        size = (message.height, message.width, message.step)
        png = _png(layout, size, message.data, big_endian=bool(message.is_bigendian))
    except MalformedError as error:
        raise _RefusalError(encoding, str(error)) from None
    return png, "image/png", encoding, layout.note


def _png(layout: Layout, size: tuple[int, int, int], data: bytes, *, big_endian: bool) -> bytes:
    height, width, step = size
    if not 0 < height * width <= MAX_PIXELS:
        raise MalformedError(f"{width} x {height} pixels are none, or more than {MAX_PIXELS}")
    if step < width * layout.samples * layout.width or len(data) != step * height:
        reason = f"{len(data)} bytes are not {height} rows of {step} bytes for {width} pixels"
        raise MalformedError(f"the message breaks its own sizes: {reason}")
    try:
        from platemark.capture._codec_image import encode_png  # imports imagecodecs
    except ModuleNotFoundError:
        reason = 'writing a PNG needs imagecodecs: pip install "platemark[image]"'
        raise DecoderMissingError("PNG", reason, extra="image") from None
    return encode_png(data, size, (layout.samples, layout.width), order=layout.order, big_endian=big_endian)


def _compressed(message: Any) -> tuple[bytes, str, str, str]:
    media_type = _stored(message.data)
    if media_type is None or "compressedDepth" in message.format:
        raise _RefusalError(message.format, refusal_of(message.format))
    return message.data, media_type, message.format, ""


def _stored(data: bytes) -> str | None:
    return next((media for signature, media in _SIGNATURES.items() if data.startswith(signature)), None)


def _raw_frame(encoding: str, data: bytes) -> Picture:
    if encoding in _SIGNATURES.values():
        if _stored(data) != encoding:
            return _refused(encoding, f"the message does not begin as {encoding} does")
        return Picture(data, encoding, encoding)
    found = _RAW_FRAME.fullmatch(encoding)
    layout = layout_of(found[1]) if found else None
    if found is None or layout is None:
        return _refused(encoding, refusal_of(encoding))
    width, height = int(found[2]), int(found[3])
    png = _png(layout, (height, width, width * layout.samples * layout.width), data, big_endian=False)
    return Picture(png, "image/png", encoding, note=layout.note)
