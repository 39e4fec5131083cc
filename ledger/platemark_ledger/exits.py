"""Exit codes of platemark-ledger: a promise to whoever supervises it, listed in --help and in deploy/README.md."""

from __future__ import annotations

import enum

__all__ = ["Exit"]


class Exit(enum.IntEnum):
    """Why a process of the ledger ended."""

    OK = 0
    """Stopped because it was asked to, everything accepted finished."""

    FAILED = 1
    """A fault; the log says which. Starting again may help."""

    USAGE = 2
    """The command line, the configuration or a key file. Starting again unchanged does not help."""

    START_REFUSED = 3
    """The data and the anchor do not belong together: read what it says and deploy/README.md before touching anything."""

    POISONED = 4
    """Stopped itself after a commit or anchor error. Starting again reads from disk and is right once the cause is mended."""
