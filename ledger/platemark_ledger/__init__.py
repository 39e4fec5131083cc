"""The Platemark ledger: signed statements in a Merkle-tree transparency log, proofs in the reply."""

__version__ = "0.1.0"

__all__ = ["__version__"]
