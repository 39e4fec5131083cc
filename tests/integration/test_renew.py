"""`platemark-ledger renew` with a real authority, beside a served ledger."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from integration.authority import running
from integration.live import ORIGIN, PROGRAM, Place, environment

from platemark import files, renewal, statement
from platemark.renewal import Stamped
from platemark.timestamp import Authority, query, verify_response
from platemark_ledger import config, published, renewing
from platemark_ledger.opening import Ledger
from platemark_ledger.published import Published, Stamp
from platemark_ledger.renewing import SETTLED_NS
from platemark_ledger.server import open_with


def opened(place: Place) -> Ledger:
    """As a worker opens it."""
    return open_with(config.load(place.directory / "config.toml", {}), None)


def renew(place: Place, *options: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """The command's end."""
    command = [*PROGRAM, "renew", str(place.directory), *options]
    return subprocess.run(command, capture_output=True, text=True, env=environment(changes), check=False, timeout=60)


def stamped(place: Place, url: str) -> Published:
    """A published checkpoint of more than ten minutes ago with a time stamp."""
    ledger = opened(place)
    try:
        released = ledger.anchor.read()
        asked = query(released.note)
        answer = httpx.post(url, content=asked.request, headers={"content-type": "application/timestamp-query"}).content
        row = Published(
            released.size, released.root, released.note, time.time_ns() - SETTLED_NS, stamps=(Stamp(url, answer),)
        )
        with ledger.store.write() as transaction:
            published.put(transaction, row)
            transaction.commit()
    finally:
        ledger.close()
    return row


def test_renew_logs_a_note_beside_a_served_ledger(place: Place, tmp_path: Path) -> None:
    """What it prints is what it did; evidence of the old stamp verifies with the new one, by the authority's root alone."""
    with running(tmp_path / "tsa") as tsa:
        row = stamped(place, tsa["url"])
        with place.served() as live:
            done = renew(place, "--json", "--crl", tsa["crl"], TSA=tsa["url"])
            assert (done.returncode, done.stderr) == (0, "")
            said = json.loads(done.stdout)
            found = live.client().statement(index=said["index"]).statement
        assert said == {"index": row.size, "size": row.size, "count": 1, "stamps": 1}
        note = statement.decode(found.statement)
        assert (note.payload["topic"], note.issuer) == ("renewal", statement.policy_issuer(ORIGIN))
        authorities = [Authority("demo", (Path(tsa["root"]).read_bytes(),))]
    one = Stamped(row.size, row.log_note, row.stamps[0].response)
    ledger = opened(place)
    try:
        with ledger.store.read() as transaction:
            proofs = renewing.proofs(transaction, one, transaction.head().size)
    finally:
        ledger.close()
    first = verify_response(one.response, message=one.message, authorities=authorities)
    old, new = renewal.verify_renewals(one, first, proofs, authorities=authorities)
    assert (old.revocation, new.revocation) == ("not checked", "checked")
    assert old.time_ns <= new.time_ns
    assert (new.hash_algorithm, proofs[0].crls) == ("SHA-512", (files.read(Path(tsa["crl"]), limit=10_000),))


@pytest.mark.parametrize(
    ("stamp", "changes", "options", "reason"),
    [
        (False, {}, (), "no published checkpoint that is older than 600 s has a time stamp"),
        (True, {}, (), "no time-stamping authority is configured (tsa)"),
        (True, {"TSA": "http://127.0.0.1:9/"}, (), "http://127.0.0.1:9/: "),
        (True, {}, ("--crl", "missing.crl"), "missing.crl: No such file"),
    ],
    ids=["nothing to renew", "nobody to ask", "nobody answers", "no such list"],
)
def test_what_stops_a_renewal_is_said_in_a_line(
    place: Place, tmp_path: Path, *, stamp: bool, changes: dict[str, str], options: tuple[str, ...], reason: str
) -> None:
    """And nothing is logged."""
    if stamp:
        with running(tmp_path / "tsa") as tsa:
            stamped(place, tsa["url"])
    done = renew(place, *options, **changes)
    assert (done.returncode, done.stdout) == (1, "")
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    ledger = opened(place)
    assert ledger.anchor.read().size == 1
    ledger.close()
