"""What an object says of itself: made artificially or not, derived or original, from which images, compressed how.

None of it is proven true; it is proven to be what was signed. Only values that the record covers are given: those of
the file when its whole header matched, else those that were disclosed and that the file says too. Rule J5 of
proto/evidence.md. Standard library only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from platemark.attributes import AttributeValue
    from platemark.rungs import Measurement

__all__ = ["DECLARED", "declared", "derivation", "is_synthetic", "sentences"]

DECLARED = (
    "synthetic_data",
    "image_type",
    "source_image_uids",
    "lossy_image_compression",
    "lossy_compression_ratio",
    "lossy_compression_method",
    "burned_in_annotation",
)
"""The attributes by which an object tells of its own making, in the order of a report."""

_WHOLE_HEADER = frozenset({"file", "dataset"})
_MEANINGS = {"ORIGINAL": "acquired", "DERIVED": "derived"}


def declared(rung: str | None, image: Measurement | None, disclosed: Mapping[str, AttributeValue]) -> dict[str, str]:
    """The covered values of DECLARED, in that order; what the object does not say is left out.

    `rung` is the one that matched (check 14), `disclosed` what check 13 proved.
    """
    if rung is None or image is None:
        return {}
    whole = rung in _WHOLE_HEADER or (rung == "content" and image.content_covers_header)
    covered = {
        name: image.attributes.get(name)
        for name in DECLARED
        if whole or (name in disclosed and disclosed[name] == image.attributes.get(name))
    }
    return {name: value for name, value in covered.items() if isinstance(value, str)}


def derivation(image_type: AttributeValue) -> str | None:
    """`acquired` or `derived` by the first value of Image Type (PS3.3 C.7.6.1.1.2), None when it says neither."""
    return _MEANINGS.get(_values(image_type)[0]) if image_type is not None else None


def is_synthetic(values: Mapping[str, AttributeValue]) -> bool:
    """Whether Synthetic Data (0008,001C) says YES."""
    return "YES" in _values(values.get("synthetic_data"))


def sentences(values: Mapping[str, str]) -> list[tuple[str, str]]:
    """A title and a sentence for each thing that is said, in the order of DECLARED; values are not escaped."""
    said: list[tuple[str, str]] = []
    if "synthetic_data" in values:
        made = "its content was made artificially" if is_synthetic(values) else "no artificial content is stated"
        said.append(("synthetic data", f"{values['synthetic_data']}: {made}"))
    if "image_type" in values:
        kind = {"acquired": "an original image", "derived": "made from other images"}.get(
            derivation(values["image_type"]) or "", "neither original nor derived is stated"
        )
        said.append(("image type", f"{values['image_type']}: {kind}"))
    if "source_image_uids" in values:
        said.append(("source images", ", ".join(_values(values["source_image_uids"]))))
    said += _lossy(values)
    if "burned_in_annotation" in values:
        burned = _values(values["burned_in_annotation"])
        text = {"YES": "text is part of the pixels", "NO": "no text in the pixels"}.get(burned[0], "unclear")
        said.append(("burned-in text", f"{values['burned_in_annotation']}: {text}"))
    return said


def _lossy(values: Mapping[str, str]) -> list[tuple[str, str]]:
    """One line for the flag, one for each step of the history, as far as ratio and method are given."""
    said: list[tuple[str, str]] = []
    if "lossy_image_compression" in values:
        flag = _values(values["lossy_image_compression"])[0]
        text = {"01": "detail was lost to compression", "00": "no lossy compression is stated"}.get(flag, "unclear")
        said.append(("lossy history", f"{values['lossy_image_compression']}: {text}"))
    if "lossy_compression_ratio" in values:
        ratios = ", then ".join(f"{each or '?'} : 1" for each in _values(values["lossy_compression_ratio"]))
        said.append(("lossy ratio", ratios))
    if "lossy_compression_method" in values:
        said.append(("lossy method", ", then ".join(_values(values["lossy_compression_method"]))))
    return said


def _values(value: AttributeValue) -> list[str]:
    return [each.strip() for each in str(value).split("\\")]
