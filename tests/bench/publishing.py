"""What publication costs the writer: nothing for a plain append, and one round of the witnesses for one that waits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from bench.devices import enrol, prepare
from bench.report import Report, Row, percentile
from integration.live import Live, Place, found, only
from integration.witness_process import WitnessProcess, policy, running

from platemark.rpc import Wait

__all__ = ["run"]


def run(report: Report, directory: Path, *, full: bool) -> None:
    """Subject `publishing`."""
    count = 1500 if full else 300
    raws = prepare([0], 3 * count)[0]
    place = found(directory / "publishing")
    with place.served() as live:
        enrol(live, [0])
        alone = _delays(live, raws[:count], Wait.LOGGED)
    witnesses = [
        WitnessProcess.made(directory / f"witness-{number}", f"w{number}.test", place.facts["vkey"])
        for number in range(2)
    ]
    with running(*witnesses), place.served(**_settings(place, witnesses)) as live:
        beside = _delays(live, raws[count : 2 * count], Wait.LOGGED)
        waiting = _delays(live, raws[2 * count : 2 * count + count // 3], Wait.WITNESSED)
    for share in (0.5, 0.99):
        limit, delay = percentile(alone, share), percentile(beside, share)
        report.add(
            Row(
                subject="publishing",
                what=f"unary append beside a publisher and two witnesses, p{share * 100:.0f}",
                measured=f"{delay * 1e3:.2f} ms",
                limit=f"{limit * 1e3:.2f} ms without them",
                ratio=delay / limit,
            )
        )
    whole = percentile(waiting, 0.5)
    report.add(
        Row(
            subject="publishing",
            what="unary append that waits for both witnesses, p50",
            measured=f"{whole * 1e3:.1f} ms",
            limit=f"{percentile(alone, 0.5) * 1e3:.2f} ms without waiting",
            ratio=whole / percentile(alone, 0.5),
        )
    )
    report.detail(
        "publishing",
        **{
            name: {f"p{p}": percentile(delays, p / 100) * 1e3 for p in (50, 90, 99)}
            for name, delays in (("alone", alone), ("beside", beside), ("waiting", waiting))
        },
    )


def _settings(place: Place, witnesses: Sequence[WitnessProcess]) -> dict[str, str]:
    path = place.directory / "witnesses.policy"
    path.write_text(policy(2, *witnesses))
    return {"WITNESS_POLICY": str(path)}


def _delays(live: Live, raws: Sequence[bytes], wait: Wait) -> list[float]:
    """Seconds, one for each append after a tenth of them; every reply has been verified by the client."""
    delays = []
    client = live.client()
    for raw in raws:
        began = time.perf_counter()
        only(client.append([raw], wait=wait).outcomes)
        delays.append(time.perf_counter() - began)
    return delays[len(raws) // 10 :]
