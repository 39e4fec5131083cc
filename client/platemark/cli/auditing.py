"""One audit from its sources to its outcome, as `platemark audit` and `platemark monitor` both make it."""

from __future__ import annotations

import itertools
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from platemark import files, witness_policy
from platemark.audit import (
    Audited,
    AuditState,
    Findings,
    Progress,
    StatementReplay,
    View,
    check_witnesses,
    open_view,
    replay,
)
from platemark.audit.source import LoggedEntry
from platemark.audit.state import MAX_STATE
from platemark.audit.views import split
from platemark.audit_files import CheckpointFile, DirectorySource
from platemark.cli.connect import MissingExtraError
from platemark.cosignature import parse_vkey
from platemark.errors import NoteError, PlatemarkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from platemark.audit import Device, Frontier, TileSource
    from platemark.cosignature import CosignatureVerifier
    from platemark.note import NoteVerifier
    from platemark.rpc.sync import LedgerClient
    from platemark.trust import TrustedLog
    from platemark.witness_policy import WitnessPolicy

__all__ = [
    "Keys",
    "LedgerStatements",
    "Outcome",
    "StateFile",
    "audit",
    "audit_statements",
    "keys_of",
    "open_sources",
    "read_policy",
]

_MAX_POLICY = 256 * 1024
_SAVE_EVERY = 1 << 18  # entries
_PROOFS = frozenset({"history-rewritten", "split-view"})  # a smaller log may be a stale copy, which proves nothing


@dataclass(frozen=True)
class Keys:
    """Whose checkpoints are believed: one origin, its keys, and the witnesses that have to have seen them, if any."""

    origin: str
    verifiers: tuple[NoteVerifier | CosignatureVerifier, ...]
    witnesses: WitnessPolicy | None = None


def read_policy(path: Path | None) -> WitnessPolicy | None:
    """The witness policy in a file (c2sp.org/tlog-policy). Raises FileError, FormatError."""
    if path is None:
        return None
    try:
        return witness_policy.parse(files.read(path, limit=_MAX_POLICY).decode())
    except UnicodeDecodeError:
        raise NoteError(str(path), "not UTF-8") from None


def keys_of(vkeys: Sequence[str], witnesses: WitnessPolicy | None = None) -> Keys:
    """From the text forms. Raises NoteError: none, malformed, or of two logs."""
    verifiers = tuple(parse_vkey(each.strip()) for each in vkeys)
    names = {each.name for each in verifiers}
    if len(names) != 1:
        raise NoteError("--vkey", "the keys of exactly one log are needed")
    return Keys(names.pop(), verifiers, witnesses)


def open_sources(
    places: Sequence[str],
    stack: ExitStack,
    *,
    tls_ca: str | None = None,
    sleep: Callable[[float], object] = time.sleep,
) -> list[TileSource | CheckpointFile]:
    """Each place as a source: http(s) URL prefix, directory of tiles, or file of one checkpoint or evidence.

    `tls_ca`: for https, a file in PEM; None or `system` for the usual authorities. Raises MissingExtraError, FileError.
    """
    ca = None if tls_ca in {None, "system"} else Path(str(tls_ca))
    return [_open(place, stack, ca, sleep) for place in places]


def _open(
    place: str, stack: ExitStack, ca: Path | None, sleep: Callable[[float], object]
) -> TileSource | CheckpointFile:
    if not place.startswith(("http://", "https://")):
        path = Path(place)
        return DirectorySource(path) if path.is_dir() else CheckpointFile(path)
    try:
        from platemark.audit_http import HttpSource
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "platemark":
            raise
        raise MissingExtraError('an audit over HTTP: pip install "platemark[audit]"') from None
    return stack.enter_context(HttpSource(place, ca=ca, sleep=sleep))


class StateFile:
    """Where the state is kept; with None nowhere, and every audit is the first."""

    def __init__(self, path: Path | None, origin: str) -> None:
        self._path = path
        self.state = AuditState(origin)
        if path is not None and path.exists():
            self.state = AuditState.parse(files.read(path, limit=MAX_STATE), origin=origin)

    def keep(self, state: AuditState) -> None:
        """Atomically, if it is another. Raises FileError."""
        if self._path is not None and state != self.state:
            files.replace(self._path, state.to_bytes(), mode=0o600)
        self.state = state


@dataclass
class Outcome:
    """What one audit came to. `incomplete`: what could not be looked at, and why. `size` 0 and no root: nothing confirmed."""

    findings: Findings = field(default_factory=Findings)
    incomplete: list[str] = field(default_factory=list)
    view: View | None = None
    audited: Audited = field(default_factory=Audited)
    devices: list[Device] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """1: findings worse than a notice. 3: none, and not everything was looked at. 0: neither."""
        if self.findings.alarming:
            return 1
        return 3 if self.incomplete else 0

    @property
    def result(self) -> str:
        """The exit code as a word."""
        return {0: "nothing-found", 1: "findings", 3: "incomplete"}[self.exit_code]


def audit(
    sources: Sequence[TileSource | CheckpointFile],
    keys: Keys,
    kept: StateFile,
    *,
    keep_entries: bool = False,
    bar: Callable[[int, int], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Outcome:
    """One audit of the log by all sources, and the state after it on disk.

    Raises SourceError (or FileError) when no source can be read, and when the tiles cannot be read to the end: the state then has
    the progress. `bar` is told entries done and to do.
    """
    outcome = Outcome()
    views, primary = _views(sources, keys, outcome)
    if primary is None or outcome.view is None:
        if not outcome.findings.counts:
            outcome.incomplete.append("no source has tiles")
        return outcome
    began = clock()
    following = _Following(kept, outcome.findings, bar)
    try:
        outcome.audited = replay(
            primary,
            outcome.view,
            state=kept.state,
            others=views,
            findings=outcome.findings,
            progress=following,
            keep_entries=keep_entries,
        )
    except BaseException:
        with suppress(PlatemarkError):
            following.save()
        raise
    outcome.seconds = clock() - began
    kept.keep(_after(kept.state, outcome))
    return outcome


def _views(
    sources: Sequence[TileSource | CheckpointFile], keys: Keys, outcome: Outcome
) -> tuple[list[View], TileSource | None]:
    """The views besides the greatest that has tiles, which becomes the outcome's; and its source."""
    opened: list[tuple[View, TileSource | CheckpointFile]] = []
    failures: list[PlatemarkError] = []
    for source in sources:
        try:
            data = source.checkpoint()
        except PlatemarkError as error:
            failures.append(error)
            continue
        view = open_view(
            data, source=source.name, origin=keys.origin, verifiers=keys.verifiers, findings=outcome.findings
        )
        if view is not None:
            if keys.witnesses is not None:
                check_witnesses(view, keys.witnesses, outcome.findings)
            opened.append((view, source))
    if len(failures) == len(sources):
        raise failures[0]
    outcome.incomplete += [str(each) for each in failures]
    tiled = [(view, source) for view, source in opened if not isinstance(source, CheckpointFile)]
    if not tiled:
        for (left, _), (right, _) in itertools.combinations(opened, 2):
            split(left, right, outcome.findings)
        return [], None
    outcome.view, primary = max(tiled, key=lambda each: each[0].size)
    others = [view for view, source in opened if source is not primary]
    for view in [each for each in others if each.size > outcome.view.size]:
        others.remove(view)
        outcome.incomplete.append(f"{view.source} shows size {view.size}, for which no source has tiles")
    return others, None if isinstance(primary, CheckpointFile) else primary


def _after(state: AuditState, outcome: Outcome) -> AuditState:
    proofs = state.with_proofs([each.proof for each in outcome.findings.kept if each.code in _PROOFS])
    if outcome.findings.critical or outcome.audited.frontier is None or outcome.view is None:
        return replace(state, progress=None, proofs=proofs)
    return AuditState(state.origin, outcome.view.note, outcome.audited.frontier, None, proofs)


class _Following:
    """Shows how far a replay is, and keeps it on disk now and then."""

    def __init__(self, kept: StateFile, findings: Findings, bar: Callable[[int, int], None] | None) -> None:
        self._kept, self._findings, self._bar = kept, findings, bar
        self._edge: Frontier | None = None
        self._saved = 0

    def __call__(self, frontier: Frontier, target: int) -> None:
        self._edge = frontier.copy()
        if self._bar is not None:
            self._bar(frontier.size, target)
        if frontier.size - self._saved >= _SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """The edge is only worth going on from if nothing was found before it."""
        if self._edge is not None and not self._findings.critical:
            self._saved = self._edge.size
            self._kept.keep(replace(self._kept.state, progress=Progress(self._edge)))


class LedgerStatements:
    """Statements by ListStatements of a ledger; as StatementSource."""

    def __init__(self, client: LedgerClient) -> None:
        self._client = client

    def statements(self, *, size: int) -> Iterator[LoggedEntry]:
        """Those below `size`."""
        for each in self._client.list_statements(from_index=0):
            if each.index >= size:
                return
            codes = tuple(condition.code for condition in each.conditions)
            yield LoggedEntry(each.index, each.statement, each.received, codes)


def audit_statements(
    outcome: Outcome,
    client: LedgerClient,
    *,
    trusted: TrustedLog | None,
    bar: Callable[[int], None] | None = None,
) -> None:
    """Check every statement of the audited log; what cannot be read makes the outcome incomplete."""
    if outcome.audited.frontier is None:
        outcome.incomplete.append("the statements were not checked, because the tree is not what was signed")
        return
    checked = StatementReplay(outcome.audited.entries, outcome.findings, trusted=trusted)
    try:
        checked.run(LedgerStatements(client), progress=bar)
    except PlatemarkError as error:
        outcome.incomplete.append(f"statements from {checked.next} on: {error}")
    outcome.devices = checked.devices()
