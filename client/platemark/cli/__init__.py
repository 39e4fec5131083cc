"""The command line: `platemark keygen | enrol | sign | submit | capture | lookup | fetch | verify | inspect | audit | monitor`.

One module per group of commands. Commands import what they need when they run, so that an install without gRPC and
without decoders verifies.
"""

from __future__ import annotations

from platemark.cli.app import main

__all__ = ["main"]
