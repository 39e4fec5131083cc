"""How the parts of capture tell `measure` what is wrong, before a path is known."""

from __future__ import annotations

__all__ = ["MalformedError", "NoCodecError", "UndefinedRungError"]


class MalformedError(Exception):
    """The file breaks its own format; `measure` raises it as DecodeError, or notes it when it is tolerant."""


class UndefinedRungError(Exception):
    """The file is sound and the rung is not defined for it; `measure` puts the reason in `absent`."""


class NoCodecError(Exception):
    """The file is sound and the package that decodes it is not installed; `extra` is what to install."""

    def __init__(self, extra: str, what: str) -> None:
        super().__init__(f'{what} needs decoders that are not installed: pip install "platemark[{extra}]"')
        self.extra = extra
