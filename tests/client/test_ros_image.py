"""Frames are drawn with the samples that were published, or refused with the reason and the way out."""

import struct
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import COMPRESSED, IMAGE, IMU, VIDEO, Kind, bayer, compressed, depth, frames, imus, packets
from rosbags.typesys import Stores, get_typestore

from platemark.capture.ros_image import Picture, picture
from platemark.segment import Channel

_SEED = np.random.default_rng(5)


def _channel(kind: Kind, **changes: Any) -> Channel:
    facts = {
        "type_name": kind.name,
        "schema_encoding": "ros2msg",
        "schema": kind.definition.encode(),
        "encoding": "cdr",
    }
    return Channel.of("/camera", **facts | changes)


def _picture(kind: Kind, data: bytes) -> Picture:
    return picture(_channel(kind), kind.definition.encode(), data)


def _cdr(encoding: str, data: bytes, size: tuple[int, int], step: int, *, big: bool = False, cdr: str = "<") -> bytes:
    """An Image in CDR of either byte order; `big`: that of the samples."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types = store.types
    header = types["std_msgs/msg/Header"](
        stamp=types["builtin_interfaces/msg/Time"](sec=-1, nanosec=5), frame_id="optical"
    )
    image = types["sensor_msgs/msg/Image"](
        header=header, height=size[0], width=size[1], encoding=encoding, is_bigendian=int(big), step=step,
        data=np.frombuffer(data, np.uint8),
    )  # fmt: skip
    return bytes(store.serialize_cdr(image, "sensor_msgs/msg/Image", little_endian=cdr == "<"))


_ENCODINGS = {
    "mono8": (1, 1, None), "8UC1": (1, 1, None), "mono16": (1, 2, None), "16UC1": (1, 2, None), "rgb8": (3, 1, None),
    "8UC3": (3, 1, None), "bgr8": (3, 1, [2, 1, 0]), "rgba8": (4, 1, None), "8UC4": (4, 1, None),
    "bgra8": (4, 1, [2, 1, 0, 3]), "rgb16": (3, 2, None), "bgr16": (3, 2, [2, 1, 0]), "rgba16": (4, 2, None),
    "bgra16": (4, 2, [2, 1, 0, 3]), "16UC3": (3, 2, None), "bayer_rggb8": (1, 1, None), "bayer_bggr8": (1, 1, None),
    "bayer_gbrg16": (1, 2, None), "bayer_grbg16": (1, 2, None),
}  # fmt: skip


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("cdr", ["<", ">"])
@pytest.mark.parametrize("encoding", _ENCODINGS)
def test_samples(encoding: str, cdr: str, padding: int, *, big: bool) -> None:
    """The PNG has the samples of the message, whatever its byte orders and the padding of its rows."""
    samples, width, order = _ENCODINGS[encoding]
    shape = (4, 6, samples) if samples > 1 else (4, 6)
    values = _SEED.integers(0, 256**width, shape, dtype=f"u{width}")
    raw = values.astype(f"{'>' if big else '<'}u{width}").tobytes()
    step = 6 * samples * width
    rows = b"".join(raw[at : at + step] + b"\xee" * padding for at in range(0, len(raw), step))
    found = _picture(IMAGE, _cdr(encoding, rows, (4, 6), step + padding, big=big, cdr=cdr))
    assert found.content is not None, found.refusal
    drawn = imagecodecs.png_decode(found.content)
    assert drawn.dtype == values.dtype
    assert np.array_equal(drawn, values if order is None else values[:, :, order])
    assert (found.media_type, found.encoding, found.refusal) == ("image/png", encoding, "")
    assert (found.stamp, found.frame_id) == (-1_000_000_000 + 5, "optical")
    assert ("not demosaiced" in found.note) == encoding.startswith("bayer")


def test_streams() -> None:
    """Frames, depth, Bayer and JPEG of a recording are drawn; JPEG is what was published."""
    for make in (frames, depth, bayer):
        (sample,) = make(1, 16, 12)
        found = _picture(sample.kind, sample.data)
        assert found.content is not None
        assert imagecodecs.png_decode(found.content).shape[:2] == (12, 16)
    (sample,) = compressed(1, 16, 12)
    found = _picture(sample.kind, sample.data)
    assert found.media_type == "image/jpeg"
    assert found.content is not None
    assert sample.data.endswith(found.content)
    assert found.encoding == "rgb8; jpeg compressed bgr8"


def test_without_definition() -> None:
    """A file without definitions names the type, and that is the standard one."""
    (sample,) = frames(1, 16, 12)
    channel = _channel(IMAGE, schema_encoding="", schema=b"")
    assert picture(channel, b"", sample.data).content is not None


def _compressed(form: str, data: bytes) -> bytes:
    store = get_typestore(Stores.ROS2_JAZZY)
    types = store.types
    header = types["std_msgs/msg/Header"](stamp=types["builtin_interfaces/msg/Time"](sec=1, nanosec=5), frame_id="")
    made = types["sensor_msgs/msg/CompressedImage"](header=header, format=form, data=np.frombuffer(data, np.uint8))
    return bytes(store.serialize_cdr(made, "sensor_msgs/msg/CompressedImage"))


_PNG = bytes(imagecodecs.png_encode(np.zeros((2, 2), np.uint8)))
_REFUSED = {
    "depth in floating point": (IMAGE, _cdr("32FC1", bytes(16), (2, 2), 8), "floating-point"),
    "YUV": (IMAGE, _cdr("yuv422", bytes(8), (2, 2), 4), "without changing samples"),
    "two channels": (IMAGE, _cdr("8UC2", bytes(8), (2, 2), 4), "without changing samples"),
    "no encoding": (IMAGE, _cdr("", bytes(8), (2, 2), 4), "without changing samples"),
    "H.264": (COMPRESSED, _compressed("h264", b"\0\0\0\1\x67"), "take the message as it was published"),
    "depth of image_transport": (
        COMPRESSED,
        _compressed("16UC1; compressedDepth png", bytes(12) + _PNG),
        "take the message as it was published",
    ),
    "no picture": (COMPRESSED, _compressed("jpeg", b"no"), "take the message as it was published"),
    "rows that are too short": (IMAGE, _cdr("rgb8", bytes(8), (2, 2), 4), "its own sizes"),
    "data that is too short": (IMAGE, _cdr("rgb8", bytes(11), (2, 2), 6), "its own sizes"),
    "data that is too long": (IMAGE, _cdr("rgb8", bytes(13), (2, 2), 6), "its own sizes"),
    "no rows": (IMAGE, _cdr("rgb8", b"", (0, 2), 6), "pixels are none"),
    "2^63 pixels": (IMAGE, _cdr("rgb8", b"", (0xFFFFFFFF, 0x80000000), 0xFFFFFFFF), "or more than"),
    "rows of no bytes": (IMAGE, _cdr("rgb8", b"", (1000, 1000), 0), "its own sizes"),
    "cut off": (IMAGE, _cdr("rgb8", bytes(12), (2, 2), 6)[:30], "not one of its type"),
    "another encapsulation": (IMAGE, b"\0\x07" + bytes(100), "plain CDR"),
    "nothing": (IMAGE, b"", "plain CDR"),
}


@pytest.mark.parametrize("name", _REFUSED)
def test_refused(name: str) -> None:
    """What is not drawn says why in one sentence."""
    kind, data, reason = _REFUSED[name]
    found = _picture(kind, data)
    assert found.content is None
    assert reason in found.refusal


def test_other_types() -> None:
    """Types that are no pictures, other definitions of one and other encodings of messages are refused."""
    (video,), (imu,), (frame,) = packets(1), imus(1), frames(1, 8, 8)
    assert "are not pictures" in _picture(VIDEO, video.data).refusal
    assert "are not pictures" in _picture(IMU, imu.data).refusal
    swapped = IMAGE.definition.replace("uint32 height\nuint32 width", "uint32 width\nuint32 height")
    assert "is not the definition" in _picture(Kind(IMAGE.name, swapped), frame.data).refusal
    assert "is not the definition" in picture(_channel(IMAGE, schema_encoding="ros2idl"), b"x", frame.data).refusal
    assert "not text" in picture(_channel(IMAGE), b"\xff", frame.data).refusal
    assert "not as CDR" in picture(_channel(IMAGE, encoding="json"), b"", frame.data).refusal


def _raw(encoding: str, data: bytes) -> Picture:
    return picture(Channel.of("/camera", encoding=encoding), b"", data)


def test_raw_frames() -> None:
    """Frames that were recorded without ROS are drawn by the encoding of their channel."""
    assert _raw("image/png", _PNG) == Picture(_PNG, "image/png", "image/png")
    jpeg = b"\xff\xd8\xff\xe0 and more"
    assert _raw("image/jpeg", jpeg).content == jpeg
    values = _SEED.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    found = _raw("bgr8 6x4", values.tobytes())
    assert found.content is not None
    assert np.array_equal(imagecodecs.png_decode(found.content), values[:, :, ::-1])
    assert (found.stamp, found.frame_id) == (None, None)
    assert "does not begin as image/jpeg" in _raw("image/jpeg", _PNG).refusal
    for encoding in ("video/h264", "rgb8", "rgb8 0x4", "rgb8 6x4x3", "nv12 6x4", "rgb8 " + "9" * 200 + "x4"):
        assert "take the message as it was published" in _raw(encoding, b"").refusal
    assert "its own sizes" in _raw("rgb8 6x4", b"123").refusal
    assert "or more than" in _raw("rgb8 999999999x999999999", b"").refusal


@given(st.data())
def test_random_damage(data: st.DataObject) -> None:
    """A damaged message is drawn or refused, never an exception."""
    content = bytearray(_cdr("rgb8", bytes(range(12)), (2, 2), 6))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + 4] = data.draw(st.sampled_from([b"\xff" * 4, bytes(4), struct.pack("<I", 1 << 31), b""]))
        if not content:
            break
    found = _picture(IMAGE, bytes(content))
    assert (found.content is None) == bool(found.refusal)
