"""The gateway: receives DICOM objects from modalities, signs what it received, and passes on the very same bytes.

Needs the extras `platemark[gateway]`, `platemark[dicom]` and `platemark[rpc]`; nothing here is imported by the rest of the
package but by its own commands. One directory holds its state: `journal.sqlite` (what was received, and how far each
object is), `objects/` (the objects that are arriving or not done), `spool/` (statements on their way to the ledger) and
`vault/` (disclosures, encrypted). The modality is answered "success" once the object and its row in the
journal are on disk; everything after that is done from the journal, again and again until it is done.
"""

from __future__ import annotations
