"""The C2PA bridge: our proof as an assertion in the C2PA manifest of a PNG or JPEG file (proto/c2pa.md).

Two judgements stand side by side and are never mixed: what C2PA's own reader says of the manifest and who signed it, and
what our verifier says of the proof inside. The second needs neither the package `c2pa` nor anything that C2PA believes.
Only `signing` and the child process of `reading` import that package.
"""

from __future__ import annotations

from platemark.c2pa.assertion import LABEL, MAX_EVIDENCE, Proof
from platemark.c2pa.checking import Checked, check
from platemark.c2pa.reading import Reading
from platemark.c2pa.signing import Credential, Signed, sign

__all__ = ["LABEL", "MAX_EVIDENCE", "Checked", "Credential", "Proof", "Reading", "Signed", "check", "sign"]
