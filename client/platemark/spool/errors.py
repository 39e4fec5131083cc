"""What can go wrong with a spool.

SpoolError                (a PlatemarkError) it cannot be read or written: the disk, the permissions, a closed door
├── SpoolFullError        it holds as many unsent statements as it may: nothing was put
├── SpoolDamagedError     its database is not one, or is damaged
└── SpoolBusyError        another sender serves it

Whatever is raised, a statement whose `put` has returned before is still there.
"""

from __future__ import annotations

from platemark.errors import PlatemarkError

__all__ = ["SpoolBusyError", "SpoolDamagedError", "SpoolError", "SpoolFullError"]


class SpoolError(PlatemarkError):
    """The spool cannot be read or written; the sentence begins with its path."""

    code = "spool"


class SpoolFullError(SpoolError):
    """The spool holds as many statements as it may that no ledger has taken. Nothing was put."""

    code = "spool-full"


class SpoolDamagedError(SpoolError):
    """The database of the spool is damaged, or is something else."""

    code = "spool-damaged"


class SpoolBusyError(SpoolError):
    """Another sender, or a long transaction of another program, has the spool."""

    code = "spool-busy"
