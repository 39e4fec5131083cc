"""From a measurement to a signed capture: the statement for the ledger, the disclosure for the holder of the image.

The statement carries digests and the attribute root; the values and the key K that opens them are in the disclosure and
go nowhere else. Whoever calls this keeps the disclosure before the statement leaves, because a statement without its K
can never show an attribute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark import attributes
from platemark.declared import derivation
from platemark.errors import AttributeTreeError, CaptureError, StatementError
from platemark.rungs import RUNGS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from platemark.attributes import AttributeValue, Disclosure
    from platemark.cbor import Value
    from platemark.chain import Chain
    from platemark.rungs import Measurement
    from platemark.statement import Statement

__all__ = ["CLOCK_SOURCES", "Clock", "SignedCapture", "capture_payload", "require_complete", "sign_capture"]

CLOCK_SOURCES = ("ptp", "ntp", "gnss", "rtc", "host", "unknown")


@dataclass(frozen=True)
class Clock:
    """What the device says of its own clock: `source` is one of CLOCK_SOURCES, `error_ns` its bound, None unknown."""

    source: str = "host"
    error_ns: int | None = None


@dataclass(frozen=True)
class SignedCapture:
    """A signed capture statement and the disclosure that belongs to it."""

    statement: Statement
    disclosure: Disclosure


def sign_capture(
    measurement: Measurement,
    *,
    chain: Chain,
    captured: int,
    origin: str,
    clock: Clock | None = None,
    extra: Mapping[str, AttributeValue] | None = None,
    parents: Sequence[bytes] = (),
    meaning: str | None = None,
    keep: Callable[[Disclosure], None] | None = None,
) -> SignedCapture:
    """Sign `measurement` as the next statement of `chain`.

    `captured` is Unix nanoseconds. `extra` adds attributes that the file does not carry, such as the technologist; it
    cannot contradict one that it does. `parents` are statement ids. `meaning` None is what Image Type says: acquired for
    ORIGINAL, derived for DERIVED; derived for anything else that has parents. `keep` is given the disclosure before the
    statement exists: who keeps it there can go on with `chain.last()` after a crash.
    Raises AttributeTreeError, StatementError, StateError and what the signer and `keep` raise; on the first two nothing of the
    chain was used up.
    """
    values = _joined(measurement.attributes, extra or {})
    meaning = _meaning(values.get("image_type"), meaning, parents=bool(parents))
    disclosure = attributes.commit(values)
    payload = capture_payload(measurement, disclosure, captured=captured, origin=origin, clock=clock or Clock())
    if parents:
        ascending: list[Value] = [*sorted(set(parents))]
        payload["parents"] = ascending
    if meaning is not None:
        payload["meaning"] = meaning
    if keep is not None:
        keep(disclosure)
        # Crash here: a disclosure of a root that no statement names, which harms nobody.
    return SignedCapture(chain.sign("capture", payload), disclosure)


def capture_payload(
    measurement: Measurement, disclosure: Disclosure, *, captured: int, origin: str, clock: Clock
) -> dict[str, Value]:
    """The payload of a capture without its chain fields (rules T2 to T4 of proto/statement.md)."""
    digests: dict[int | str, Value] = {}
    for rung, hashes in measurement.digests.items():
        named: dict[int | str, Value] = dict(hashes.items())
        digests[rung] = named
    payload: dict[str, Value] = {
        "captured": captured,
        "clock": {"source": clock.source, "error_ns": clock.error_ns},
        "media": measurement.media,
        "digests": digests,
        "attributes": disclosure.root(),
        "origin": origin,
    }
    if digests.keys() & {"pixels", "codestream"}:
        payload["frames"] = measurement.frames
    return payload


def require_complete(path: str, measurement: Measurement) -> None:
    """Refuse to register less of an image than it has, only because a decoder is missing here. Raises CaptureError.

    Whoever checks a re-encoded copy later would need the digest that this machine could not compute.
    """
    for rung in sorted(measurement.uncomputed, key=RUNGS.index):
        raise CaptureError(path, f"rung {rung} could not be computed: {measurement.absent[rung]}")


def _meaning(image_type: AttributeValue, given: str | None, *, parents: bool) -> str | None:
    """What the capture means, by the object's own word and the caller's. Raises StatementError when they contradict."""
    said = derivation(image_type)
    if {given, said} == {"acquired", "derived"}:
        raise StatementError("meaning", f"{given}, and the image type of the object is {image_type!r}")
    meaning = given or said or ("derived" if parents else None)
    if parents and meaning == "acquired":
        raise StatementError("parents", "an acquired image has none; meaning amended says that it replaces a record")
    return meaning


def _joined(measured: Mapping[str, AttributeValue], extra: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
    for name, value in extra.items():
        if measured.get(name) not in {None, value}:
            raise AttributeTreeError(f"attributes.{name}", "the file itself carries another value")
    return {**measured, **extra}
