"""Where the processor time of an append goes: its stages, one after another, in one thread of one process.

The stages are those of the sequencer's own modules, called in its order on real batches, a real store and a real anchor. No other
thread runs, so that nothing waits for Python's lock: the sum is what a statement costs at least, and what the running
service needs above it is contention.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from bench import signatures
from bench.bulk import tidy
from bench.devices import cores, prepare
from bench.report import Report, Row

import builders
import fakes
from platemark import keys
from platemark.checkpoint import Checkpoint
from platemark.note import NoteSigner
from platemark.rpc import Trusted, replies
from platemark.v1 import ledger_pb2 as pb
from platemark_ledger import admission, appending, digests
from platemark_ledger.admission import Examined
from platemark_ledger.answers import Answers
from platemark_ledger.batch import Batch, Placed, check_tail
from platemark_ledger.opening import Ledger
from platemark_ledger.registry import Registry, RegistryCache
from platemark_ledger.sequencer import Appended, Logged
from platemark_ledger.signing import sign_checkpoint

__all__ = ["run"]

_BATCH = 256


class Stopwatch:
    """Processor and wall time by name, in seconds."""

    def __init__(self) -> None:
        self.processor: defaultdict[str, float] = defaultdict(float)
        self.wall: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def on(self, name: str) -> Iterator[None]:
        """Time the block."""
        wall, processor = time.perf_counter_ns(), time.thread_time_ns()
        yield
        self.processor[name] += (time.thread_time_ns() - processor) / 1e9
        self.wall[name] += (time.perf_counter_ns() - wall) / 1e9


def run(report: Report, directory: Path, *, full: bool) -> None:
    """Subject `stages`."""
    numbers = range(16)
    prepared = prepare(numbers, 1024 if full else 512)
    limit = signatures.limit(prepared)
    founded = found(directory / "stages", numbers)
    batches = interleaved(list(prepared.values()), _BATCH)
    half = len(batches) // 2
    ledger = founded.open()
    try:
        with fakes.sequencing(ledger) as sequencer:
            enrolled = sequencer.submit(founded.log.statements[1:]).result()
            assert all(isinstance(each, Logged) for each in enrolled.outcomes)
        watch = _stages(founded, ledger, prepared, batches[:half])
        rate = _threaded(ledger, batches[half:])
    finally:
        ledger.close()
    count = half * _BATCH
    total = sum(watch.processor.values())
    for name, seconds in watch.processor.items():
        report.add(
            Row(
                subject="stages",
                what=name,
                measured=f"{seconds / count * 1e6:.1f} us",
                limit=f"{total / count * 1e6:.0f} us in all",
                ratio=seconds / total,
                note=f"wall {watch.wall[name] / count * 1e6:.1f} us",
            )
        )
    report.add(
        Row(
            subject="stages",
            what="sequencer alone, 8 calls of 256 in flight",
            measured=f"{rate:,.0f}/s",
            limit=f"{limit.best:,.0f}/s verifying P-256 alone ({limit.way})",
            ratio=rate / limit.best,
            note="no gRPC, no client; one process, the examiners' threads and the commit thread",
        )
    )
    report.detail(
        "stages",
        processor_us={name: seconds / count * 1e6 for name, seconds in watch.processor.items()},
        wall_us={name: seconds / count * 1e6 for name, seconds in watch.wall.items()},
        sequencer_per_second=rate,
        limit=limit.best,
        cores=cores(),
    )


def found(directory: Path, numbers: Sequence[int]) -> fakes.Founded:
    """A ledger whose `log` has the enrolments of the devices after its policy; they are still to be appended."""
    founded = fakes.Founded.at(directory)
    for number in numbers:
        founded.log.enrol(builders.party(f"bench-{number}"), not_after=builders.NOW)
    founded.clock.now = time.time_ns()
    return founded


def interleaved(devices: Sequence[list[bytes]], size: int) -> list[list[bytes]]:
    """Batches of `size` in which the devices take turns, each in its chain's order."""
    raws = [raw for turn in zip(*devices, strict=True) for raw in turn]
    return [raws[start : start + size] for start in range(0, len(raws) - size + 1, size)]


def _stages(
    founded: fakes.Founded, ledger: Ledger, prepared: Mapping[int, object], batches: Sequence[list[bytes]]
) -> Stopwatch:
    watch = Stopwatch()
    verifiers = {key.kid: key.public for key in (builders.key(f"bench-{number}") for number in prepared)}
    cache = RegistryCache()
    verifier = NoteSigner(founded.log.origin, founded.log.log_key).verifier
    trusted = Trusted((verifier,), founded.log.origin)
    for raws in batches:
        with watch.on("client: request"):
            request = pb.AppendRequest(statements=raws).SerializeToString()
        with watch.on("protobuf in"):
            received = list(pb.AppendRequest.FromString(request).statements)
        examined = _examine(watch, received, verifiers)
        placed = _commit(watch, ledger, examined, cache)
        appended = _release(watch, ledger, examined, placed)
        with watch.on("protobuf out"):
            reply = appending.answer(appended).SerializeToString()
        with watch.on("client: checks"):
            message = pb.AppendResponse.FromString(reply)
            replies.appended(message, trusted.open(message.checkpoint.note), raws)
        with watch.on("digest index, behind the log"):
            tidy(ledger)
    return watch


def _examine(watch: Stopwatch, raws: Sequence[bytes], verifiers: Mapping[bytes, keys.Verifier]) -> list[Examined]:
    with watch.on("decode"):
        statements = [admission.decode(raw) for raw in raws]
        for each in statements:
            _ = each.id, each.entry
        names = [digests.names_of(each) for each in statements]
    with watch.on("verify signatures"):
        return [
            admission.verify(each, verifiers[each.kid], found_by)
            for each, found_by in zip(statements, names, strict=True)
        ]


def _commit(watch: Stopwatch, ledger: Ledger, examined: Sequence[Examined], cache: RegistryCache) -> list[Placed]:
    log_kids = frozenset(signer.signer.kid for signer in ledger.signers)
    with ledger.store.write() as transaction:
        with watch.on("decide"):
            batch = Batch(transaction, Registry(transaction, cache), log_kids=log_kids, now=ledger.now_ns())
            decided = [batch.consider(each) for each in examined]
        with watch.on("write"):
            batch.write()
        with watch.on("commit (fsync)"):
            transaction.commit()
    placed = [each for each in decided if isinstance(each, Placed)]
    assert len(placed) == len(examined), decided
    return placed


def _release(watch: Stopwatch, ledger: Ledger, examined: Sequence[Examined], placed: Sequence[Placed]) -> Appended:
    before = ledger.anchor.read()
    with watch.on("read back and hash again"), ledger.store.read() as transaction:
        tail = check_tail(transaction, before)
    with watch.on("sign checkpoint"):
        note = sign_checkpoint(ledger.signers, Checkpoint(ledger.origin, tail.head.size, tail.head.root))
    with watch.on("anchor (O_DSYNC)"):
        released = ledger.anchor.advance(size=tail.head.size, root=tail.head.root, note=note)
    with watch.on("paths, built and verified"), ledger.store.read() as transaction:
        answers = Answers(transaction, released, tail, [each.index for each in placed])
        outcomes = tuple(answers.logged(place, each.statement.id) for place, each in zip(placed, examined, strict=True))
    return Appended(outcomes, released)


def _threaded(ledger: Ledger, batches: Sequence[list[bytes]]) -> float:
    """Statements a second through the running sequencer, eight calls at a time, each chain in its order."""
    with fakes.sequencing(ledger) as sequencer, ThreadPoolExecutor(1) as waiting:
        start = time.monotonic()
        flying = [sequencer.submit(each) for each in batches[:8]]
        for batch in batches[8:]:
            waiting.submit(flying.pop(0).result).result()
            flying.append(sequencer.submit(batch))
        answers = [each.result() for each in flying]
        seconds = time.monotonic() - start
    assert all(isinstance(each, Logged) for answer in answers for each in answer.outcomes)
    return len(batches) * _BATCH / seconds
