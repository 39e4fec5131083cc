"""What an audit can find: a closed list of codes (proto/audit.md section 3), each with a severity of its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["CODES", "CRITICAL", "NOTICE", "WARNING", "Finding", "Findings"]

CRITICAL, WARNING, NOTICE = "critical", "warning", "notice"

CODES = {
    # what the log's public side says
    "checkpoint-malformed": CRITICAL,
    "checkpoint-origin": CRITICAL,
    "checkpoint-signature": CRITICAL,
    "checkpoint-unwitnessed": CRITICAL,
    "tile-missing": CRITICAL,
    "tile-malformed": CRITICAL,
    "tile-mismatch": CRITICAL,
    "root-mismatch": CRITICAL,
    "log-shrank": CRITICAL,
    "history-rewritten": CRITICAL,
    "split-view": CRITICAL,
    # what its statements say
    "statement-missing": CRITICAL,
    "entry-mismatch": CRITICAL,
    "statement-malformed": CRITICAL,
    "statement-signature": CRITICAL,
    "statement-twice": CRITICAL,
    "key-not-in-force": CRITICAL,
    "wrong-role": CRITICAL,
    "wrong-issuer": CRITICAL,
    "wrong-log": CRITICAL,
    "outside-validity": CRITICAL,
    "registry-rule": CRITICAL,
    "keystate-mismatch": CRITICAL,
    "condition-mismatch": CRITICAL,
    "statement-unknown-kind": NOTICE,
    # what devices did
    "chain-gap": WARNING,
    "chain-late": WARNING,
    "chain-fork": WARNING,
    "chain-prev-mismatch": WARNING,
    "chain-old-epoch": WARNING,
    "chain-clock-backwards": WARNING,
    "chain-clock-future": WARNING,
    "chain-unknown-reference": WARNING,
    "same-pixels": NOTICE,
}
_MOST = 100


@dataclass(frozen=True)
class Finding:
    """One finding. `position` is an index or a size, None where there is none; `proof` are the signed notes that show it."""

    code: str
    sentence: str
    position: int | None = None
    proof: tuple[bytes, ...] = ()

    @property
    def severity(self) -> str:
        """`critical`: the log contradicts itself or its rules. `warning`: a device did. `notice`: worth a look."""
        return CODES[self.code]

    def facts(self) -> dict[str, object]:
        """For JSON: exactly code, severity, position, sentence and proof (notes as text)."""
        return {
            "code": self.code,
            "severity": self.severity,
            "position": self.position,
            "sentence": self.sentence,
            "proof": [note.decode("utf-8", "backslashreplace") for note in self.proof],
        }


@dataclass
class Findings:
    """Findings in the order made: all are counted, the first 100 of each code are kept."""

    kept: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, code: str, sentence: str, position: int | None = None, proof: tuple[bytes, ...] = ()) -> None:
        """Take note. Raises KeyError for a code that is not in the list."""
        finding = Finding(code, sentence, position, proof)
        assert finding.severity
        self.counts[code] += 1
        if self.counts[code] <= _MOST:
            self.kept.append(finding)

    @property
    def alarming(self) -> bool:
        """Whether anything is worse than a notice."""
        return any(CODES[code] != NOTICE for code in self.counts)

    @property
    def critical(self) -> bool:
        """Whether the log itself is at fault."""
        return any(CODES[code] == CRITICAL for code in self.counts)
