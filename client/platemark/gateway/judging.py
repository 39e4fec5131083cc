"""Whether an object may pass a gate: its measurement, the evidence that is found, the owner's trust and policy."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from platemark.capture import Limits, measure
from platemark.errors import CaptureError
from platemark.verdict import DOES_NOT_MATCH, EVIDENCE_INVALID, INCONCLUSIVE, MATCHES_RECORD, Verdict
from platemark.verify import verify

if TYPE_CHECKING:
    from platemark.evidence import Evidence
    from platemark.gateway.gate_evidence import EvidenceSource
    from platemark.gateway.gate_settings import Policy
    from platemark.gateway.journal import Received
    from platemark.rungs import Measurement
    from platemark.trust import Trust

__all__ = ["Judge", "Judgement"]

_BEST = (MATCHES_RECORD, INCONCLUSIVE, DOES_NOT_MATCH, EVIDENCE_INVALID)


@dataclass(frozen=True)
class Judgement:
    """`code` is `passed`, or a stable word for why not; `reason` says it in a sentence.

    `verdict` is that of the record that passed, or else of the one that came nearest; None when there is none.
    """

    code: str
    reason: str
    verdict: Verdict | None = None

    @property
    def passed(self) -> bool:
        """Whether the object may pass."""
        return self.code == "passed"


class Judge:
    """Judges objects for one gate. Safe to share between threads. `now` gives Unix nanoseconds."""

    def __init__(
        self,
        sources: Sequence[EvidenceSource],
        trust: Trust,
        policy: Policy,
        *,
        most: int = 8,
        seconds: float = 120.0,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self._sources, self._policy, self._most = tuple(sources), policy, most
        self._trust = replace(trust, accept_pixels=trust.accept_pixels or policy.accept_pixels)
        self._limits, self._now = Limits(seconds=seconds), now

    def judge(self, received: Received) -> Judgement:
        """Measure the object and judge it. Raises AwayError when a source that might clear it gave no answer."""
        try:
            measured = measure(Path(received.path), tolerant=True, limits=self._limits)
        except CaptureError as error:
            return Judgement("not-measurable", error.reason)
        differs = _command_differs(received, measured)
        if differs:
            return Judgement("not-what-it-was-sent-as", differs)
        nearest: Judgement | None = None
        for source in self._sources:
            for evidence in source.find(measured, self._most):
                found = self._weigh(evidence, measured)
                if found.passed:
                    return found
                nearest = found if nearest is None or _rank(found) < _rank(nearest) else nearest
        return nearest or Judgement("no-record", "no evidence was found that carries a digest of this object")

    def _weigh(self, evidence: Evidence, measured: Measurement) -> Judgement:
        """One record against object and policy."""
        verdict = verify(evidence, trust=self._trust, image=measured, at=self._now())
        policy = self._policy
        if verdict.result not in policy.results:
            return Judgement(verdict.result.lower().replace(" ", "-"), verdict.reason, verdict)
        if verdict.rung not in policy.rungs:
            shown = verdict.rung or "no rung"
            return Judgement("rung-not-accepted", f"{shown} matches; accepted: {', '.join(policy.rungs)}", verdict)
        for name, value, accepted in (
            ("device", verdict.facts.get("device"), policy.devices),
            ("origin", verdict.facts.get("origin"), policy.origins),
        ):
            if accepted and value not in accepted:
                return Judgement(f"{name}-not-accepted", f"the {name} of the record is {value}", verdict)
        return Judgement("passed", verdict.reason, verdict)


def _command_differs(received: Received, measured: Measurement) -> str:
    """What the C-STORE said of the object that the object itself does not say; the records are of the object alone.

    A reader may go by either, so that true pixels under another instance's name must not pass.
    """
    for name, said in (("sop_class_uid", received.sop_class), ("sop_instance_uid", received.sop_instance)):
        if measured.attributes.get(name) != said.rstrip("\0 "):
            return f"the {name} of the request is not that of the object"
    return ""


def _rank(judgement: Judgement) -> int:
    return _BEST.index(judgement.verdict.result) if judgement.verdict is not None else len(_BEST)
