"""The vault: where the holder keeps K and the attribute values of every capture, sealed to a key that is elsewhere.

Whoever writes (a gateway, a modality) has the public key alone, so that a stolen disk opens nothing. Whoever holds the
private key opens single attributes for those who ask, and every release is a signed custody statement. Formats and what
a thief learns: proto/vault.md.
"""

from platemark.vault.keys import Recipient, RecipientKey
from platemark.vault.sealing import seal, unseal
from platemark.vault.store import OpenVault, Vault

__all__ = ["OpenVault", "Recipient", "RecipientKey", "Vault", "seal", "unseal"]
