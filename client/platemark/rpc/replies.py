"""Protobuf to values, believing nothing: every hash has its size, every path leads to the root of the reply's checkpoint.

Whatever does not hold raises BadReplyError naming the field of the reply.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from platemark import cose, merkle, tlog_proof
from platemark import evidence as bundle
from platemark.errors import CoseError, EvidenceError, NoteError, ProofError
from platemark.rpc import faults, model
from platemark.rpc.errors import BadReplyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from platemark.checkpoint import SignedCheckpoint
    from platemark.v1 import ledger_pb2 as pb

__all__ = ["appended", "consistency", "evidence", "inclusion", "listed", "page", "stored"]


def appended(reply: pb.AppendResponse, checkpoint: SignedCheckpoint, sent: Sequence[bytes]) -> model.Appended:
    """One outcome per statement sent; each logged one has the id of what was sent and is proven."""
    if len(reply.outcomes) != len(sent):
        raise BadReplyError("outcomes", f"{len(reply.outcomes)} for {len(sent)} statements")
    paths = merkle.PathVerifier(checkpoint.checkpoint.size, checkpoint.checkpoint.root)
    outcomes = tuple(
        _outcome(outcome, checkpoint, paths, raw, f"outcomes[{position}]")
        for position, (outcome, raw) in enumerate(zip(reply.outcomes, sent, strict=True))
    )
    return model.Appended(outcomes, checkpoint)


def stored(
    reply: pb.GetStatementResponse, checkpoint: SignedCheckpoint, *, index: int | None, id: bytes | None
) -> model.Stored:
    """The statement that was asked for, proven."""
    paths = merkle.PathVerifier(checkpoint.checkpoint.size, checkpoint.checkpoint.root)
    statement = _proven(reply.statement, checkpoint, paths, "statement")
    _check_asked("statement.index", statement.index, index)
    if id is not None and statement.id != id:
        raise BadReplyError("statement.id", "another statement than was asked for")
    return model.Stored(statement, checkpoint)


def page(reply: pb.LookupResponse, checkpoint: SignedCheckpoint, *, from_index: int) -> model.Page:
    """The statements of the reply, proven and in ascending order."""
    paths = merkle.PathVerifier(checkpoint.checkpoint.size, checkpoint.checkpoint.root)
    found = tuple(
        _proven(each, checkpoint, paths, f"statements[{position}]") for position, each in enumerate(reply.statements)
    )
    following = reply.next_index if reply.HasField("next_index") else None
    _check_order(found, from_index, following)
    return model.Page(found, following, checkpoint)


def listed(reply: pb.ListStatementsResponse, checkpoint: SignedCheckpoint, *, from_index: int) -> model.Listed:
    """The statements of one message of a listing, in ascending order; each matches its own id and is below the checkpoint."""
    found = tuple(
        _statement(each, checkpoint, f"statements[{position}]") for position, each in enumerate(reply.statements)
    )
    following = reply.next_index if reply.HasField("next_index") else None
    _check_order(found, from_index, following)
    return model.Listed(found, following, checkpoint)


def evidence(
    reply: pb.GetEvidenceResponse, checkpoint: SignedCheckpoint, *, index: int | None, id: bytes | None
) -> model.Evidence:
    """The evidence of the reply, about the statement that was asked for; each of its proofs leads to the checkpoint.

    Whether it is enough to believe the record is for platemark.verify, with the trust of whoever reads it.
    """
    members = {member.name: member.content for member in reply.members}
    if len(members) != len(reply.members):
        raise BadReplyError("members", "a name occurs twice")
    try:
        content = bundle.from_members(members)
    except EvidenceError as error:
        raise BadReplyError(f"members.{error.field}", error.reason) from error
    stated = () if content.keystate is None else (content.keystate.proven,)
    for each in (content.record, *content.enrolments, *content.policies, *content.revocation, *stated):
        _check_proof(each, checkpoint)
    if id is not None and _id(content.record.statement, "members.statement.cose") != id:
        raise BadReplyError("members.statement.cose", "it is another statement than was asked for")
    if index is not None and tlog_proof.parse(content.record.proof).index != index:
        raise BadReplyError("members.proof.tlog-proof", "it is about another index than was asked for")
    return model.Evidence(content, checkpoint)


def inclusion(
    reply: pb.GetInclusionProofResponse, checkpoint: SignedCheckpoint, *, index: int | None, size: int | None
) -> model.InclusionProof:
    """The path of the reply for what was asked for, proven when it is against the reply's checkpoint."""
    _check_asked("index", reply.index, index)
    _check_asked("size", reply.size, checkpoint.checkpoint.size if size is None else size)
    entry, path = _hash(reply.entry, "entry"), _path(reply.path, "path")
    if reply.size == checkpoint.checkpoint.size:
        _verify(reply.index, entry, path, checkpoint, "path")
    return model.InclusionProof(reply.index, reply.size, entry, path, checkpoint)


def consistency(
    reply: pb.GetConsistencyProofResponse, checkpoint: SignedCheckpoint, *, old_size: int, new_size: int | None
) -> model.ConsistencyProof:
    """The path of the reply for the sizes that were asked for. It is proven by who holds the roots."""
    _check_asked("old_size", reply.old_size, old_size)
    _check_asked("new_size", reply.new_size, checkpoint.checkpoint.size if new_size is None else new_size)
    return model.ConsistencyProof(reply.old_size, reply.new_size, _path(reply.path, "path"), checkpoint)


def _outcome(
    outcome: pb.AppendResponse.Outcome,
    checkpoint: SignedCheckpoint,
    paths: merkle.PathVerifier,
    raw: bytes,
    field: str,
) -> model.Outcome:
    which = outcome.WhichOneof("result")
    if which == "refused":
        return faults.refused(outcome.refused)
    if which != "logged":
        raise BadReplyError(field, "neither logged nor refused")
    logged = outcome.logged
    statement = _proven(logged.statement, checkpoint, paths, f"{field}.logged")
    if statement.statement != raw:
        if not logged.duplicate:
            raise BadReplyError(f"{field}.logged", "the log holds other bytes than those sent, yet calls it new")
        if statement.id != _id(raw, field):
            raise BadReplyError(f"{field}.logged", "it answers with another statement")
    return model.Logged(statement, logged.duplicate)


def _check_proof(proven: bundle.Proven, checkpoint: SignedCheckpoint) -> None:
    try:
        proof = tlog_proof.parse(proven.proof)
        proof.verify_leaf(merkle.leaf_hash(hashlib.sha256(proven.statement).digest()))
    except (NoteError, ProofError) as error:
        raise BadReplyError("members", str(error)) from error
    if proof.checkpoint.raw != checkpoint.raw:
        raise BadReplyError("members", "a proof leads to another checkpoint than the reply's")


def _proven(
    message: pb.LoggedStatement, checkpoint: SignedCheckpoint, paths: merkle.PathVerifier, field: str
) -> model.LoggedStatement:
    """The statement of a message; `paths` verifies against the checkpoint, and shares the work between neighbours."""
    statement = _statement(message, checkpoint, field)
    leaf = merkle.leaf_hash(hashlib.sha256(statement.statement).digest())
    try:
        paths.verify(statement.index, leaf, statement.inclusion_path)
    except ProofError as error:
        raise BadReplyError(f"{field}.inclusion_path", str(error)) from error
    return statement


def _statement(message: pb.LoggedStatement, checkpoint: SignedCheckpoint, field: str) -> model.LoggedStatement:
    if message.index >= checkpoint.checkpoint.size:
        raise BadReplyError(
            f"{field}.index", f"{message.index} is not below the checkpoint's {checkpoint.checkpoint.size}"
        )
    if _hash(message.id, f"{field}.id") != _id(message.statement, field):
        raise BadReplyError(f"{field}.id", "it is not the id of the statement")
    return model.LoggedStatement(
        index=message.index,
        id=message.id,
        statement=message.statement,
        conditions=tuple(model.Condition(each.code, each.detail) for each in message.conditions),
        received=message.received,
        inclusion_path=_path(message.inclusion_path, f"{field}.inclusion_path"),
    )


def _id(statement: bytes, field: str) -> bytes:
    """The id that a statement has; what it says is for whoever reads it, with the trust of whoever reads it."""
    try:
        return cose.identify(statement)
    except CoseError as error:
        raise BadReplyError(f"{field}.statement", str(error)) from error


def _verify(index: int, entry: bytes, path: tuple[bytes, ...], checkpoint: SignedCheckpoint, field: str) -> None:
    covered = checkpoint.checkpoint
    try:
        merkle.verify_inclusion(
            index=index, size=covered.size, leaf_hash=merkle.leaf_hash(entry), path=path, root=covered.root
        )
    except ProofError as error:
        raise BadReplyError(field, str(error)) from error


def _path(path: Sequence[bytes], field: str) -> tuple[bytes, ...]:
    found = tuple(path)
    if not {merkle.HASH_SIZE}.issuperset(map(len, found)):
        raise BadReplyError(field, f"not every hash has {merkle.HASH_SIZE} bytes")
    return found


def _hash(value: bytes, field: str) -> bytes:
    if len(value) != merkle.HASH_SIZE:
        raise BadReplyError(field, f"{len(value)} bytes, not {merkle.HASH_SIZE}")
    return value


def _check_order(found: tuple[model.LoggedStatement, ...], from_index: int, following: int | None) -> None:
    """Ascending from where the caller began, and going on behind the last: so a walk over pages always ends."""
    least = from_index
    for position, statement in enumerate(found):
        if statement.index < least:
            raise BadReplyError(f"statements[{position}].index", f"{statement.index} where {least} or more is due")
        least = statement.index + 1
    if following is not None and (following < least or following == from_index):
        raise BadReplyError("next_index", f"{following} does not lead on from {max(least, from_index + 1)}")


def _check_asked(field: str, got: int, asked: int | None) -> None:
    if asked is not None and got != asked:
        raise BadReplyError(field, f"{got} where {asked} was asked for")
