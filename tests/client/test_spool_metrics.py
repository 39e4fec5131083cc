"""What a spool shows to Prometheus."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

import builders
from platemark import cbor, statement
from platemark.spool import Cause, DeliveryError, Logged, Outcome, Sender, Spool
from platemark.spool.metrics import SpoolCollector

SECOND = 10**9


def signed(number: int) -> bytes:
    """The heartbeat of this number."""
    clock: dict[int | str, cbor.Value] = {"source": "host", "error_ns": None}
    payload: builders.Payload = {"at": number, "since": number, "clock": clock, "epoch": 1, "seq": 0, "prev": None}
    return statement.build("heartbeat", payload, signer=builders.key("spooling"), issuer="https://a.example/b")


def shown(registry: CollectorRegistry) -> dict[str, float]:
    """The numbers of a scrape."""
    lines = generate_latest(registry).decode().splitlines()
    return {name: float(value) for name, value in (line.split() for line in lines if not line.startswith("#"))}


def test_depth_age_and_what_was_set_aside_are_shown(tmp_path: Path) -> None:
    """Also what another process did; and the age of the oldest grows while nothing is taken."""
    now = [builders.NOW]
    registry = CollectorRegistry()
    with Spool(tmp_path, now=lambda: now[0], capacity=9) as spool, Spool(tmp_path, now=lambda: now[0]) as other:
        registry.register(SpoolCollector(spool))
        assert (shown(registry)["platemark_spool_depth"], shown(registry)["platemark_spool_oldest_age_seconds"]) == (
            0,
            0,
        )
        ids = [other.put(signed(number)).id for number in range(3)]
        other.set_aside(ids[1], "revoked", "why")
        now[0] += 90 * SECOND
        other.acknowledge([(ids[2], 7)])
        assert shown(registry) == {
            "platemark_spool_up": 1,
            "platemark_spool_depth": 1,
            "platemark_spool_oldest_age_seconds": 90,
            "platemark_spool_set_aside": 1,
            "platemark_spool_acknowledged": 1,
            "platemark_spool_capacity": 9,
        }


def test_the_traffic_of_a_sender_is_shown(tmp_path: Path) -> None:
    """Taken, set aside, failed, and when anything was taken last."""
    answers: list[DeliveryError | list[Outcome]] = [DeliveryError("away", cause=Cause.AWAY), [Logged(0)]]

    def deliver(_: object) -> list[Outcome]:
        answer = answers.pop(0)
        if isinstance(answer, DeliveryError):
            raise answer
        return answer

    registry = CollectorRegistry()
    with Spool(tmp_path, now=lambda: builders.NOW) as spool, Sender(spool, deliver) as sender:
        registry.register(SpoolCollector(spool, traffic=sender.traffic))
        spool.put(signed(1))
        sender.step()
        assert shown(registry)["platemark_spool_last_success_timestamp_seconds"] == 0
        sender.step()
        numbers = shown(registry)
    assert numbers["platemark_spool_logged_total"] == 1
    assert numbers["platemark_spool_failed_batches_total"] == 1
    assert numbers["platemark_spool_refused_total"] == 0
    assert numbers["platemark_spool_last_success_timestamp_seconds"] == builders.NOW / SECOND


def test_a_spool_that_cannot_be_read_shows_that_and_no_numbers(tmp_path: Path) -> None:
    """No stale depth, and no failing scrape."""
    registry = CollectorRegistry()
    with Spool(tmp_path) as spool:
        registry.register(SpoolCollector(spool))
        aside = spool.path.rename(tmp_path / "aside")
        assert shown(registry) == {"platemark_spool_up": 0}
        aside.rename(spool.path)
        assert shown(registry)["platemark_spool_up"] == 1
