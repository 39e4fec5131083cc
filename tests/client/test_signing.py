"""From a measurement to a signed capture and its disclosure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import builders
from platemark.attributes import AttributeValue
from platemark.chain import Chain
from platemark.errors import AttributeTreeError, CaptureError, StatementError
from platemark.rungs import Measurement
from platemark.signing import CLOCK_SOURCES, Clock, SignedCapture, require_complete, sign_capture

URI = "https://hospital.example/dx1"


@pytest.fixture(name="chain")
def _chain(tmp_path: Path) -> Chain:
    chain = Chain(tmp_path / "dx1.pem", builders.key("signing"), clock=lambda: builders.NOW)
    chain.begin(issuer=URI)
    return chain


def sign(chain: Chain, measured: Measurement, **options: object) -> SignedCapture:
    """A capture of now."""
    arguments: dict[str, object] = {"captured": builders.NOW, "origin": "modality-signed", **options}
    return sign_capture(measured, chain=chain, **arguments)  # type: ignore[arg-type] # a table of options


def test_statement_and_disclosure_belong_together(chain: Chain) -> None:
    """The disclosure opens exactly the measured attributes under the root that the statement signed."""
    values: dict[str, AttributeValue] = {"rows": 4, "patient_name": "Doe^Jane", "laterality": None}
    signed = sign(chain, builders.measurement(b"image", attributes=values))
    root = signed.statement.payload["attributes"]
    assert isinstance(root, bytes)
    assert values == signed.disclosure.verified(root)


def test_payload_says_what_was_measured(chain: Chain) -> None:
    """Digests, media, time, clock and origin are those given."""
    measured = replace(builders.measurement(b"image", "file", "pixels"), frames=3)
    signed = sign(chain, measured, clock=Clock("ptp", 500))
    payload = signed.statement.payload
    assert measured.digests == payload["digests"]
    assert tuple(payload[name] for name in ("media", "captured", "clock", "origin", "frames")) == (
        "image/png",
        builders.NOW,
        {"source": "ptp", "error_ns": 500},
        "modality-signed",
        3,
    )


def test_frames_come_with_pixels_only(chain: Chain) -> None:
    """A count of frames without a rung over frames is left out, as the format asks."""
    signed = sign(chain, replace(builders.measurement(b"image"), frames=3))
    assert "frames" not in signed.statement.payload


def test_two_captures_of_one_image_share_no_root(chain: Chain) -> None:
    """K is new for every capture: equal patients do not show as equal roots."""
    measured = builders.measurement(b"image", attributes={"patient_id": "123456"})
    first, second = sign(chain, measured), sign(chain, measured)
    assert first.statement.payload["attributes"] != second.statement.payload["attributes"]


def test_extra_attributes_are_committed(chain: Chain) -> None:
    """What the file does not say can be added, also where it says that there is none."""
    measured = builders.measurement(b"image", attributes={"rows": 4, "technologist": None})
    signed = sign(chain, measured, extra={"technologist": "Roe^Richard", "rows": 4})
    assert signed.disclosure.values == {"rows": 4, "technologist": "Roe^Richard"}


def test_an_extra_attribute_never_contradicts_the_file(chain: Chain) -> None:
    """The file's own patient cannot be replaced, and nothing of the chain is used up by trying."""
    measured = builders.measurement(b"image", attributes={"patient_id": "1"})
    with pytest.raises(AttributeTreeError, match=r"attributes\.patient_id: the file itself carries another value"):
        sign(chain, measured, extra={"patient_id": "2"})
    state = chain.state()
    assert state is not None
    assert state.seq == 0


@pytest.mark.parametrize(
    "options",
    [{"captured": -1}, {"origin": "found"}, {"clock": Clock("sundial")}, {"clock": Clock("ntp", -1)}, {"meaning": "x"}],
    ids=str,
)
def test_what_no_statement_can_say_is_refused(chain: Chain, options: dict[str, object]) -> None:
    """A value that the format refuses is refused before anything is signed."""
    with pytest.raises(StatementError):
        sign(chain, builders.measurement(b"image"), **options)
    state = chain.state()
    assert state is not None
    assert state.seq == 0


def test_parents_are_a_sorted_set(chain: Chain) -> None:
    """Parents may be given in any order and twice."""
    signed = sign(chain, builders.measurement(b"image"), parents=[b"b" * 32, b"a" * 32, b"b" * 32], meaning="derived")
    assert (
        signed.statement.payload["parents"],
        signed.statement.payload["meaning"],
    ) == ([b"a" * 32, b"b" * 32], "derived")


def test_every_clock_source_can_be_signed(chain: Chain) -> None:
    """The list that callers offer is the list that the format takes."""
    for source in CLOCK_SOURCES:
        sign(chain, builders.measurement(b"image"), clock=Clock(source))


def test_an_incomplete_measurement_is_refused() -> None:
    """Registering less than the image has, only because a decoder is missing here, would fail a later check."""
    measured = builders.measurement(b"image", uncomputed=frozenset({"pixels"}))
    with pytest.raises(CaptureError, match=r"scan\.dcm: rung pixels could not be computed: the decoder is not"):
        require_complete("scan.dcm", measured)
    require_complete("scan.dcm", builders.measurement(b"image"))
