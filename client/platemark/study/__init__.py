"""Whole studies: a folder, a ZIP or a patient CD of images, and the evidence for them, judged as one set.

Rules S1 to S12 of proto/evidence.md section 8. What stands here opens no socket and writes nothing but temporary files.
"""

from __future__ import annotations
