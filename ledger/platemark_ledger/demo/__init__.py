"""`platemark-ledger demo`: the whole way of an image, on this machine, with nothing canned.

A new ledger, a real server process, three enrolled devices, every image that pydicom brings along, some drawings and a robot's
recording; then the server is stopped and everything is verified offline, together with copies that must not pass.
"""

from __future__ import annotations

from platemark_ledger.demo.command import demo

__all__ = ["demo"]
