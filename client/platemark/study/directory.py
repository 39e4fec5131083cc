"""What a DICOMDIR says that a patient CD holds, against what it does hold. Rule S5 of proto/evidence.md."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from platemark.capture.dicomdir import Reference
    from platemark.study.judging import Seen

__all__ = ["Directory"]


@dataclass
class Directory:
    """The findings about one DICOMDIR at `name`; `missing` has what it names and what is not there."""

    name: str
    named: dict[str, Reference] = field(default_factory=dict)
    missing: list[tuple[Reference, str]] = field(default_factory=list)
    unreferenced: list[str] = field(default_factory=list)
    others: list[tuple[str, str]] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    fault: str = ""

    @property
    def whole(self) -> bool:
        """Whether the files are exactly those that it names, as far as it could be read."""
        return not (self.missing or self.unreferenced or self.others)

    def resolve(self, references: Iterable[Reference], names: Sequence[str]) -> None:
        """Find each file among `names` beside and below the DICOMDIR; case is ignored, as file systems of discs do."""
        folder = self.name.rpartition("/")[0]
        base = f"{folder}/" if folder else ""
        known: dict[str, list[str]] = {}
        for name in names:
            if name.startswith(base):
                known.setdefault(name[len(base) :].casefold(), []).append(name)
        for reference in references:
            found = known.get(reference.path.casefold(), [])
            exact = [name for name in found if name == base + reference.path]
            if not found:
                self.missing.append((reference, "is not there"))
            elif len(found) > 1 and not exact:
                self.missing.append((reference, "could be one of several files whose names differ in case"))
            elif (name := (exact or found)[0]) in self.named:
                self.twice.append(name)
            else:
                self.named[name] = reference

    def compare(self, images: Iterable[Seen]) -> None:
        """Name the DICOM files that the DICOMDIR does not, and those that are another object than it says."""
        if self.fault:
            return
        for seen in images:
            reference = self.named.get(seen.name)
            if reference is None:
                if seen.dicom and not seen.directory:
                    self.unreferenced.append(seen.name)
            elif seen.fault:
                self.others.append((seen.name, f"cannot be measured: {seen.fault}"))
            elif reference.sop_instance_uid and seen.instance != reference.sop_instance_uid:
                self.others.append((seen.name, f"is instance {seen.instance}, not {reference.sop_instance_uid}"))

    def facts(self) -> dict[str, object]:
        """For --json (S9)."""
        return {
            "name": self.name,
            "fault": self.fault or None,
            "files": len(self.named),
            "missing": [
                {"path": each.path, "kind": each.kind, "sop_instance_uid": each.sop_instance_uid or None, "reason": why}
                for each, why in self.missing
            ],
            "unreferenced": self.unreferenced,
            "another_object": [{"name": name, "reason": why} for name, why in self.others],
            "named_twice": self.twice,
        }
