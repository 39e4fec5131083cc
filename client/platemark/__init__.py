"""Platemark: sign what a device captured, and check years later, offline, what was registered."""

__version__ = "0.1.0"

__all__ = ["__version__"]
