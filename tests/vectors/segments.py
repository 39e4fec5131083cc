"""Vectors of segments and recordings: leaves, digests, rows, recording proofs, judging, comparison."""

import base64
import hashlib
import itertools
from collections.abc import Iterator
from typing import Any

import cbor2
from proven_recordings import LEFT, STEP, log_of_sensor, proof, recorded

import reference
from builders import NOW
from platemark import trust
from platemark.recording.model import Message
from platemark.recording.proof import RecordingProof
from platemark.segment import Channel
from vectors.shapes import dump, table

__all__ = ["AT", "files"]

AT = NOW + 200 * STEP
_TIMES = (0, 23, 24, 255, 256, 65_535, 65_536, (1 << 32) - 1, 1 << 32, NOW, (1 << 63) - 1)
_CHANNELS = (
    LEFT,
    Channel.of(
        "/camera/état", type_name="sensor_msgs/msg/Image", schema_encoding="ros2idl", schema=b"", encoding="cdr"
    ),
    Channel.of("raw", encoding="rgb8 1920x1080"),
    Channel.of("t" * 255, type_name="u" * 255, schema_encoding="v" * 255, encoding="w" * 255),
)
_BAD_ROWS = (
    ("47 bytes", bytes(47)),
    ("49 bytes", bytes(49)),
    ("a log time of 2^63", b"\x80" + bytes(47)),
    ("a publish time of 2^63", bytes(8) + b"\x80" + bytes(39)),
)


def files() -> dict[str, bytes]:
    """File name -> content."""
    proofs = table("client/test_recording_proof.py")
    judging = table("client/test_recording_judging.py")
    return {
        "segments.json": dump(
            "Segments and recordings, proto/statement.md R43 to R49 and proto/segments.md",
            "leaves with hashlib and cbor2 alone, roots by tests/reference.py; proofs by tests/proven_recordings.py; the tables "
            "of tests/client/test_recording_proof.py, test_recording_judging.py and test_recording_comparing.py",
            leaves=_leaves(),
            digests=_digests(),
            refused_rows=[{"name": name, "rows": data.hex()} for name, data in _BAD_ROWS],
            accepted=[
                {"name": name, "proof": _base64(make().to_bytes())}
                for name, make in (("three whole segments", proofs.good), ("one message alone", proofs.single))
            ],
            malformed=[{"name": name, "proof": _base64(make()), "part": part} for name, make, part in proofs.REFUSED],
            judged=[_judged(name, judging.SCENES[name](), judging.EXPECTED[name]) for name in judging.EXPECTED],
            misshown=[
                _judged(name, (change(judging.good()[0]), judging.good()[1]), None)
                for name, change in judging.SHOWN.items()
            ],
            compared=_compared(),
        )
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _channel(channel: Channel) -> dict[str, str]:
    return {
        "topic": channel.topic,
        "type": channel.type_name,
        "schema_encoding": channel.schema_encoding,
        "schema": channel.schema.hex(),
        "encoding": channel.encoding,
    }


def _leaf(channel: Channel, log_time: int, publish_time: int, digest: bytes) -> bytes:
    """R44, with hashlib and cbor2 alone."""
    said = [channel.topic, channel.type_name, channel.schema_encoding, channel.schema, channel.encoding]
    return hashlib.sha256(b"\0" + cbor2.dumps([*said, log_time, publish_time, digest])).digest()


def _leaves() -> Iterator[dict[str, Any]]:
    data = b"a frame"
    for channel, (log_time, publish_time) in itertools.product(_CHANNELS, zip(_TIMES, reversed(_TIMES), strict=True)):
        digest = hashlib.sha256(data).digest()
        yield {
            "channel": _channel(channel),
            "log_time": str(log_time),
            "publish_time": str(publish_time),
            "data": data.hex(),
            "leaf": _leaf(channel, log_time, publish_time, digest).hex(),
        }


def _digests() -> Iterator[dict[str, Any]]:
    """R45 over 1 to 9 messages."""
    for count in range(1, 10):
        rows = [(NOW + n, NOW, hashlib.sha256(bytes([n])).digest()) for n in range(count)]
        root = reference.root([_leaf(LEFT, *row) for row in rows])
        yield {
            "channel": _channel(LEFT),
            "rows": b"".join(a.to_bytes(8, "big") + b.to_bytes(8, "big") + c for a, b, c in rows).hex(),
            "messages": hashlib.sha256(b"PXM-ROOT\0" + count.to_bytes(8, "big") + root).hexdigest(),
        }


def _judged(name: str, scene: tuple[RecordingProof, trust.Trust | None], expected: str | None) -> dict[str, Any]:
    given, believed = scene
    row = {
        "name": name,
        "proof": _base64(given.to_bytes()),
        "trust": None if believed is None else _toml(believed),
        "at": str(AT),
    }
    return row if expected is None else {**row, "segments": expected}


def _toml(believed: trust.Trust) -> str:
    log = believed.logs[0]
    policy = log.witness_policy
    witnesses = "".join(f"witness {each.name} {each.verifier.vkey}\n" for each in policy.witnesses) if policy else ""
    more = f"witness_policy = '''\n{witnesses}quorum {policy.quorum}\n'''\n" if policy else ""
    return trust.to_toml(log) + more


def _compared() -> Iterator[dict[str, Any]]:
    comparing = table("client/test_recording_comparing.py")
    log = log_of_sensor()
    given = proof(log, recorded(log, comparing.FRAMES), schemas=(comparing.SCHEMA,))
    for name, make, expected in comparing.CASES:
        messages: list[Message] = sorted(make(), key=lambda each: each.log_time)
        channels = list(dict.fromkeys(each.channel for each in messages))
        yield {
            "name": name,
            **(
                {"proof": _base64(given.to_bytes()), "trust": trust.to_toml(log.trusted())}
                if name == "nothing changed"
                else {}
            ),
            "channels": [_channel(each) for each in channels],
            "messages": [
                [channels.index(m.channel), str(m.log_time), str(m.publish_time), m.digest.hex()] for m in messages
            ],
            "topic": "/left",
            "counts": expected,
        }
