"""Write the test vectors beside this file; the same bytes every time. `make vectors` runs it, a test compares.

What lies in golden/ is written once for a release and never again: see golden_files.py.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from vectors import audits, cosigned, formats, golden_files, objects, receipt_rows, records, segments, times
from vectors.shapes import VECTORS


def main() -> None:
    """Write every file whose content differs and say so."""
    for name, content in {
        **formats.files(),
        **records.files(),
        **receipt_rows.files(),
        **times.files(),
        **audits.files(),
        **cosigned.files(),
        **objects.files(),
        **segments.files(),
        **golden_files.missing(),
    }.items():
        path = VECTORS / name
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            print(f"wrote {path.relative_to(VECTORS)} ({len(content)} bytes)")


if __name__ == "__main__":
    main()
