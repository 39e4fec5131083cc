"""`python -m platemark` is the command `platemark`."""

from __future__ import annotations

import sys

from platemark.cli import main

if __name__ == "__main__":
    sys.exit(main())
