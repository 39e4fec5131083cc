"""`platemark audit`: a whole log by its public tiles and, with the right to list them, its statements."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer

from platemark import statement
from platemark.cli import output
from platemark.cli.auditing import Keys, Outcome, StateFile, audit_statements, keys_of, open_sources, read_policy
from platemark.cli.auditing import audit as audit_once
from platemark.cli.connect import Connection, identify, load_trust
from platemark.cli.options import AsJson, TlsAuthority, TlsCertificate, TlsKey, TlsName, Trust
from platemark.errors import PlatemarkError, TrustError

if TYPE_CHECKING:
    from platemark.rpc.sync import LedgerClient
    from platemark.trust import TrustedLog

__all__ = ["Bar", "Sources", "State", "Vkey", "Witnesses", "audit", "outcome_facts", "say_outcome"]

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="URL prefix or directory of a log's tiles; or a file with one checkpoint, evidence included.",
    ),
]
Vkey = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY", help="A key of the log (name+hex+base64), from a source you trust. Repeat for each type."
    ),
]
State = Annotated[
    Path | None, typer.Option(metavar="FILE", help="What was audited before is remembered here, and not read again.")
]
Witnesses = Annotated[
    Path | None,
    typer.Option(
        "--witness-policy", metavar="FILE", help="Checkpoints have to meet this quorum of witnesses (C2SP tlog-policy)."
    ),
]
LedgerServer = Annotated[
    str | None,
    typer.Option(envvar="PLATEMARK_SERVER", metavar="HOST:PORT", help="The ledger, for --statements and --trust."),
]


def audit(
    sources: Sources,
    *,
    vkey: Vkey = None,
    trust: Trust = None,
    state: State = None,
    witnesses: Witnesses = None,
    statements: Annotated[
        bool, typer.Option("--statements", help="Check every statement, too; needs --server and the right to list.")
    ] = False,
    server: LedgerServer = None,
    tls_ca: TlsAuthority = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_name: TlsName = None,
    as_json: AsJson = False,
) -> None:
    """Check a whole log: that its entries have the root it signed, that it only grew, that all sources show the same log.

    The first run reads everything; with --state, later ones read what is new, and go on where one was interrupted. Name every
    place that shows the log (its mirrors, a checkpoint that somebody was given): a log that tells two stories is caught by
    whoever compares them. With --trust instead of --vkey, the ledger proves its keys over --server.

    Exit codes:
      0  nothing found (notices apart)
      1  findings: every one is printed; two signed notes that contradict each other are proof, kept in --state
      2  usage or unreadable input
      3  could not be completed: nothing found in what could be read
      5  a source cannot be reached; what was done is kept in --state

    Examples:
      platemark audit https://ledger.example/xray --vkey "$(cat log.vkey)" --state xray.audit
      platemark audit https://ledger.example/xray mirror/ their-checkpoint --vkey "$(cat log.vkey)"
      platemark audit mine.evidence theirs.evidence --vkey "$(cat log.vkey)"
      platemark audit tiles/ --trust trust.toml --server 127.0.0.1:50151 --statements
    """
    connection = Connection(
        server=server or "",
        tls_ca=tls_ca,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        tls_name=tls_name,
    )
    if server is None and (statements or (trust and not vkey)):
        raise PlatemarkError("--statements, and --trust without --vkey, need --server")
    with ExitStack() as stack:
        client = stack.enter_context(connection.open()) if server and (statements or not vkey) else None
        keys, trusted = _keys(vkey, trust, client, server)
        named = trusted.witness_policy if trusted is not None else None
        keys = replace(keys, witnesses=read_policy(witnesses) or named)
        kept = StateFile(state, keys.origin)
        opened = open_sources(sources, stack, tls_ca=tls_ca)
        bar = stack.enter_context(Bar("audit"))
        outcome = audit_once(opened, keys, kept, keep_entries=statements, bar=bar)
        if statements and client is not None:
            total = outcome.view.size if outcome.view else 0
            step = stack.enter_context(Bar("statements"))
            audit_statements(outcome, client, trusted=trusted, bar=lambda done: step(done, total))
    say_outcome(outcome, keys, as_json=as_json)
    raise typer.Exit(outcome.exit_code)


def _keys(
    vkeys: list[str] | None, trust: Path | None, client: LedgerClient | None, server: str | None
) -> tuple[Keys, TrustedLog | None]:
    """The log's keys: as given, or proven by the ledger down from the trust file. Raises PlatemarkError."""
    brought = load_trust(trust)
    if brought is None and not vkeys:
        raise PlatemarkError("whose log is it? give --vkey, or --trust with --server")
    trusted = None
    if brought is not None and client is not None:
        identity = statement.decode(client.evidence(index=0).content.record.statement).id
        trusted = brought.log(identity)
        if trusted is None:
            raise TrustError("log", f"the ledger at {server} is {identity.hex()}, which the trust file does not name")
    if vkeys:
        return keys_of(vkeys), trusted
    assert client is not None
    assert brought is not None
    return Keys(*identify(client, brought, server or "")), trusted


class Bar:
    """A progress bar whose total is known with the first step."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._stack = ExitStack()
        self._advance: Callable[[int], None] | None = None
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self, done: int, total: int) -> None:
        """Entries done and in all."""
        if self._advance is None:
            self._advance = self._stack.enter_context(output.progress(self._what, total))
        self._advance(done - self._done)
        self._done = done


def outcome_facts(outcome: Outcome, keys: Keys) -> dict[str, object]:
    """For --json."""
    view = outcome.view
    return {
        "log": keys.origin,
        "result": outcome.result,
        "source": view.source if view else None,
        "size": view.size if view else None,
        "root": view.root if view else None,
        "confirmed": outcome.audited.frontier is not None,
        "read": outcome.audited.read,
        "milliseconds": round(outcome.seconds * 1000),
        "rate": _rate(outcome),
        "counts": dict(outcome.findings.counts),
        "findings": [each.facts() for each in outcome.findings.kept],
        "incomplete": outcome.incomplete,
        "devices": [each.facts() for each in outcome.devices],
    }


def say_outcome(outcome: Outcome, keys: Keys, *, as_json: bool) -> None:
    """Everything about an audit, on standard output."""
    if as_json:
        output.say_json(outcome_facts(outcome, keys))
        return
    view, read = outcome.view, outcome.audited.read
    if view is not None:
        confirmed = "root confirmed" if outcome.audited.frontier is not None else "root NOT confirmed"
        output.say(output.printable(f"{keys.origin}: size {view.size:,}, {confirmed} ({view.source})"))
        output.say(f"read {read:,} entries in {outcome.seconds:.1f} s ({_rate(outcome):,} a second)")
    for each in outcome.findings.kept:
        where = "" if each.position is None else f" at {each.position}"
        output.say(output.printable(f"{each.severity} {each.code}{where}: {each.sentence}"))
    hidden = outcome.findings.counts.total() - len(outcome.findings.kept)
    if hidden:
        output.say(f"and {hidden:,} more")
    for one in outcome.devices:
        what = f"{one.statements:,} statements, {one.epochs} epochs, {one.missing} missing, {one.forked} forked"
        output.say(output.printable(f"{one.issuer}: {what}"))
        for sentence in one.sentences:
            output.say(output.printable(f"  {sentence}"))
    for reason in outcome.incomplete:
        output.say(output.printable(f"not completed: {reason}"))
    output.say(outcome.result.replace("-", " "))


def _rate(outcome: Outcome) -> int:
    return round(outcome.audited.read / outcome.seconds) if outcome.seconds else 0
