"""Capture: from a file to the digests and attributes that a statement carries.

`measure` is the whole interface. It looks at the content of a file, never at its name, and imports no decoder: those
run in a child process, and everything that needs none of them works with the standard library alone.
"""

from __future__ import annotations

from platemark.capture._limits import Limits
from platemark.capture._measure import measure

__all__ = ["Limits", "measure"]
