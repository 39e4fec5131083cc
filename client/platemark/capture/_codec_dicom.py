"""Decoding of compressed DICOM frames in the child process: the only importer of pydicom and its decoders.

The decoder is chosen for each transfer syntax and never left to pydicom's own order, so that the result does not depend
on what else is installed. All are permissively licensed: GDCM (BSD) and CharLS by pyjpegls (MIT) through pydicom, and
OpenJPEG by pylibjpeg-openjpeg (MIT) directly, because pydicom reaches it only through one more package.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from platemark.capture._codestream import JPEG_2000, JPEG_LOSSLESS, JPEG_LS
from platemark.capture._faults import MalformedError

__all__ = ["decode_frame"]

_PLUGINS = dict.fromkeys(JPEG_LOSSLESS, "gdcm") | dict.fromkeys(JPEG_LS, "pyjpegls")


def decode_frame(job: dict[str, Any], blobs: list[bytes]) -> bytes:
    """The canonical samples of one frame; `job` holds the Image Pixel module and the codestream's `precision`."""
    array = _jpeg_2000(job, blobs[0]) if job["transfer_syntax"] in JPEG_2000 else _by_pydicom(job, blobs[0])
    kind = "i" if job["representation"] else "u"
    words = np.ascontiguousarray(array).astype(f"{array.dtype.kind}{job['width']}", copy=False)
    words = words.view(f"{kind}{job['width']}")
    # First the sample as the codestream means it, then the bits that the header says are stored.
    for bits in (job["precision"], job["stored"]):
        if unused := 8 * job["width"] - bits:
            words = np.right_shift(np.left_shift(words, unused), unused)
    little: bytes = words.astype(f"<{kind}{job['width']}", copy=False).tobytes()
    return little


def _jpeg_2000(job: dict[str, Any], codestream: bytes) -> Any:
    """Samples by OpenJPEG, colour by pixel, in the smallest container for the precision; the colour transform is undone."""
    from openjpeg.utils import decode_pixel_data

    width = next(size for size in (1, 2, 4) if 8 * size >= job["precision"])
    data = decode_pixel_data(codestream, version=2)
    expected = job["rows"] * job["columns"] * job["samples"] * width
    if len(data) != expected:
        raise MalformedError(f"the decoder returned {len(data)} bytes, not {expected}")
    return np.frombuffer(data, dtype=f"<u{width}")


def _by_pydicom(job: dict[str, Any], codestream: bytes) -> Any:
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    decoder = get_decoder(UID(job["transfer_syntax"]))
    plugin = _PLUGINS[job["transfer_syntax"]]
    if plugin not in decoder.available_plugins:
        raise ModuleNotFoundError(name=plugin)
    options: dict[str, Any] = {
        "number_of_frames": 1,
        "rows": job["rows"],
        "columns": job["columns"],
        "samples_per_pixel": job["samples"],
        "photometric_interpretation": job["photometric"],
        "planar_configuration": job["planar"],
        "pixel_representation": job["representation"],
        "bits_allocated": job["allocated"],
        "bits_stored": job["stored"],
        "pixel_keyword": "PixelData",
        "apply_jls_sign_correction": False,
        "correct_unused_bits": False,
    }
    array, _ = decoder.as_array(encapsulate([codestream]), index=0, raw=True, decoding_plugin=plugin, **options)
    return array
