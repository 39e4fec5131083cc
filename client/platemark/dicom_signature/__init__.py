"""DICOM digital signatures (PS3.15 annex C, PS3.3 C.12.1.1.3): made and checked, within the object that they sign.

Needs the extra `platemark[dicom]` for objects in implicit VR, and `platemark[audit]` to ask a time-stamping authority.
"""

from __future__ import annotations

from platemark.dicom_signature._trust import Judged, Roots
from platemark.dicom_signature.checking import check
from platemark.dicom_signature.profiles import Profile
from platemark.dicom_signature.results import Checked, Integrity, Signer
from platemark.dicom_signature.signing import Credential, Signed, sign

__all__ = ["Checked", "Credential", "Integrity", "Judged", "Profile", "Roots", "Signed", "Signer", "check", "sign"]
