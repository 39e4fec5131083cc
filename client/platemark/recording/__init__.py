"""Recordings of sensors: what is proven of their messages, and what a file says that is not proven.

proto/segments.md. What stands here opens no file and no socket: readers of recordings are in platemark.capture.
"""

from __future__ import annotations
