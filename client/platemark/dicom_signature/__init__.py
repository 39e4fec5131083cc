"""DICOM digital signatures (PS3.15 annex C, PS3.3 C.12.1.1.3): made and checked, within the object that they sign.

Needs the extra `platemark[dicom]` for objects in implicit VR, and `platemark[audit]` to ask a time-stamping authority.
"""

from __future__ import annotations

from platemark.dicom_signature.checking import Checked, Integrity, Roots, Signer, check
from platemark.dicom_signature.profiles import Profile
from platemark.dicom_signature.signing import Credential, Signed, sign

__all__ = ["Checked", "Credential", "Integrity", "Profile", "Roots", "Signed", "Signer", "check", "sign"]
