"""A PKCS#11 token for tests: SoftHSM, a real module whose token lives in a directory. No statement about any hardware."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PIN", "Token", "make_token"]

PIN = "1234"
_MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
)


@dataclass(frozen=True)
class Token:
    """An initialised token labelled `lab`."""

    module: Path

    def uri(self, label: str) -> str:
        """The RFC 7512 name of a key in it."""
        return f"pkcs11:token=lab;object={label}?module-path={self.module}"


def make_token(directory: Path, util: Path) -> Token:
    """Initialise a token in `directory`, and let every SoftHSM that this process loads or starts see it."""
    (directory / "tokens").mkdir()
    configuration = directory / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {directory / 'tokens'}\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    made = [str(util), "--init-token", "--free", "--label", "lab", "--so-pin", "0000", "--pin", PIN]
    subprocess.run(made, check=True, capture_output=True, timeout=60)
    module = next(path for path in map(Path, _MODULES) if path.exists())
    return Token(module)
