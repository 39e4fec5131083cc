"""What a file of ours says, as plain values; told apart by content. Form is checked, nothing is believed."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cryptography.hazmat.primitives import hashes

from platemark import (
    attributes,
    cbor,
    chain,
    checkpoint,
    cose,
    enrolment,
    evidence,
    frame_proofs,
    key_files,
    keys,
    policy_change,
    statement,
    tlog_proof,
    trust,
)
from platemark.cli import mcap_described, passphrases, policy_text, vault_show
from platemark.errors import FormatError, KeyFileError, PlatemarkError, UnknownKindError
from platemark.pkcs11_uri import is_uri, parse_uri
from platemark.report import format_time

if TYPE_CHECKING:
    from platemark.timestamp import Authority
    from platemark.witness_policy import WitnessPolicy

__all__ = ["describe"]

Described = dict[str, object]
_TIMES = frozenset({"at", "captured", "first", "last", "since", "not_before", "not_after", "effective"})


def describe(data: bytes, *, path: Path, reveal: bool, passphrase_file: Path | None) -> Described:
    """The content of a file of ours. Raises FormatError, KeyFileError naming what is wrong with it."""
    if data[:4] == b"PK\x03\x04":
        return _evidence(data)
    if data[:1] == cose.TAG:
        return vault_show.described(data, reveal=reveal) or _statement(data)
    if b"PRIVATE KEY-----" in data[:200]:
        return _private_key(path, data, passphrase_file)
    if b"-----BEGIN PUBLIC KEY-----" in data:
        return {"file": "public key"} | _key(key_files.read_public(path))
    if data.startswith(tlog_proof.HEADER.encode()):
        return {"file": "tlog-proof"} | _proof(data)
    for reader in (_token, _recording, _state, _release, _map, _trust, _checkpoint):
        described = reader(data, reveal)
        if described is not None:
            return described
    raise FormatError("file", "not a file of platemark's; an image is looked up with `platemark lookup`")


def _statement(data: bytes) -> Described:
    try:
        decoded = statement.decode(data)
    except UnknownKindError as error:
        return {"file": "statement", "unknown": str(error), "note": "of a later release, not read"}
    return {
        "file": "statement",
        "kind": decoded.kind,
        "id": decoded.id,
        "entry": decoded.entry,
        "issuer": decoded.issuer,
        "subject": decoded.subject,
        "kid": decoded.kid,
        "algorithm": keys.ALGORITHM_NAMES[decoded.alg],
        "bytes": len(data),
        "signature": "not verified here",
        "payload": _plain(decoded.payload),
    }


def _plain(payload: Mapping[str, cbor.Value]) -> Described:
    """A payload for reading: times beside their nanoseconds, public keys by their kid, hash algorithms by name."""
    plain: Described = {}
    for name, value in payload.items():
        if name in _TIMES and isinstance(value, int):
            plain[name] = f"{format_time(value)} ({value})"
        elif name == "digests" and isinstance(value, dict):
            plain[name] = {str(rung): _hashes(cast("Mapping[int, bytes]", each)) for rung, each in value.items()}
        elif name in {"keys", "log_keys"} and isinstance(value, list):
            plain[name] = [_key(keys.load_public(cast("bytes", each))) for each in value]
        elif name == "key" and isinstance(value, bytes):
            plain[name] = _key(keys.load_public(value))
        elif isinstance(value, dict):
            plain[name] = _plain(cast("Mapping[str, cbor.Value]", value))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            plain[name] = [_plain(cast("Mapping[str, cbor.Value]", each)) for each in value]
        else:
            plain[name] = value
    return plain


def _hashes(digests: Mapping[int, bytes]) -> Described:
    names = {-16: "sha-256", -44: "sha-512"}
    return {names.get(algorithm, str(algorithm)): digest for algorithm, digest in digests.items()}


def _key(key: keys.Verifier | keys.Signer) -> Described:
    return {"algorithm": keys.ALGORITHM_NAMES[key.alg], "kid": key.kid, "spki": base64.b64encode(key.spki).decode()}


def _private_key(path: Path, data: bytes, passphrase_file: Path | None) -> Described:
    """Never the key itself: who wants it has the file."""
    described: Described = {"file": "private key", "encrypted": b"ENCRYPTED" in data}
    try:
        key = passphrases.open_key(path, passphrase_file)
    except KeyFileError as error:
        if not described["encrypted"]:
            raise
        return described | {"note": error.reason}
    return described | _key(key)


def _token(data: bytes, reveal: bool) -> Described | None:
    """A file that stands for a key in a token. The token itself is not asked."""
    del reveal  # nothing in it is secret
    if not is_uri(data):
        return None
    return {"file": "key in a PKCS#11 token", "uri": str(parse_uri(data.decode("utf-8", "replace"), where="file"))}


def _evidence(data: bytes) -> Described:
    held = evidence.from_bytes(data)

    def proven(each: evidence.Proven) -> Described:
        return {"statement": _tolerant(_statement, each.statement), "proof": _tolerant(_proof, each.proof)}

    described: Described = {
        "file": "evidence",
        "record": proven(held.record),
        "conditions": list(held.conditions),
        "enrolment": [proven(each) for each in held.enrolments],
        "policy": [proven(each) for each in held.policies],
        "revocation": [proven(each) for each in held.revocation],
        "members": {name: f"{len(content)} bytes" for name, content in held.members().items()},
        "note": "nothing was verified: platemark verify does that",
    }
    if held.disclosure is not None:
        # It was put into the bundle to be seen; only K is kept back, because it opens what later readers may not see.
        described["disclosure"] = _tolerant(lambda raw: _disclosure(raw, reveal=False, values=True), held.disclosure)
    if held.frames is not None:
        described["frames"] = _tolerant(_frames, held.frames)
    return described


def _frames(data: bytes) -> Described:
    shown = frame_proofs.decode(data)
    return {"rung": shown.rung, "count": shown.count, "frames": shown.numbers}


def _tolerant(reader: Callable[[bytes], Described], data: bytes) -> Described:
    try:
        return reader(data)
    except PlatemarkError as error:
        return {"malformed": str(error)}


def _proof(data: bytes) -> Described:
    proof = tlog_proof.parse(data)
    return {
        "index": proof.index,
        "path": list(proof.path),
        "checkpoint": _signed_checkpoint(proof.checkpoint),
    }


def _signed_checkpoint(signed: checkpoint.SignedCheckpoint) -> Described:
    return {
        "origin": signed.checkpoint.origin,
        "size": signed.checkpoint.size,
        "root": signed.checkpoint.root,
        "signatures": [f"{name}+{key_id.hex()}" for name, key_id, _ in signed.signed.signatures],
    }


def _checkpoint(data: bytes, reveal: bool) -> Described | None:  # noqa: ARG001 - one shape for all readers
    if "\n\n\u2014 ".encode() not in data:
        return None
    return {"file": "checkpoint"} | _signed_checkpoint(checkpoint.parse(data))


def _state(data: bytes, reveal: bool) -> Described | None:  # noqa: ARG001 - one shape for all readers
    if data[:1] != b"{":
        return None
    state = chain.decode_state(data)
    return {
        "file": "chain state",
        "kid": state.kid,
        "issuer": state.issuer,
        "role": state.role,
        "epoch": state.epoch,
        "next seq": state.seq,
        "prev": state.prev,
    }


def _recording(data: bytes, reveal: bool) -> Described | None:
    del reveal  # nothing in it is secret
    return mcap_described.described(data)


def _release(data: bytes, reveal: bool) -> Described | None:
    return vault_show.described(data, reveal=reveal)


def _map(data: bytes, reveal: bool) -> Described | None:
    try:
        content = cbor.decode(data)
    except FormatError:
        return None
    if not isinstance(content, dict):
        return None
    if "proof" in content:
        request = enrolment.decode_request(data)
        return {
            "file": "enrolment request",
            "log": request.log,
            "device": request.device,
            "role": request.role,
            "key": _key(request.verifier),
            "proof": "verified: the holder of this key made the request",
        }
    if "threshold" in content:
        return {"file": "policy proposal"} | policy_text.facts(policy_change.decode_proposal(data))
    return _disclosure(data, reveal=reveal, values=reveal)


def _disclosure(data: bytes, *, reveal: bool, values: bool) -> Described:
    held = attributes.decode_disclosure(data)
    opened = dict(held.values) if held.key is not None else {each.name: each.value for each in held.openings}
    described: Described = {
        "file": "disclosure",
        "opens": "every attribute" if held.key is not None else "chosen attributes",
    }
    if held.key is not None:
        described |= {"root": held.root(), "K": held.key if reveal else "hidden (--reveal shows it)"}
    if values or held.key is None:
        return described | {"attributes": opened}
    return described | {"attributes": sorted(opened), "values": "hidden (--reveal shows them)"}


def _trust(data: bytes, reveal: bool) -> Described | None:  # noqa: ARG001 - one shape for all readers
    if b"[[log]]" not in data:
        return None
    believed = trust.parse(data)
    return {
        "file": "trust",
        "accept_pixels": believed.accept_pixels,
        "log": [
            {
                "id": log.id,
                "origin": log.origin,
                "threshold": log.threshold,
                "policy_keys": [_key(keys.load_public(key)) for key in sorted(log.policy_keys)],
                "policy_version": log.policy_version,
                "post_quantum": log.post_quantum,
                "witnesses": "none" if log.witness_policy is None else _witnesses(log.witness_policy),
            }
            for log in believed.logs
        ],
        "time_stamping_authorities": [_authority(each) for each in believed.authorities] or "none",
    }


def _witnesses(policy: WitnessPolicy) -> Described:
    groups = [f"{each.name}: at least {each.threshold} of {', '.join(each.members)}" for each in policy.groups]
    return {
        "witnesses": [
            f"{each.name}: {each.verifier.name}, key id {each.verifier.key_id.hex()}" for each in policy.witnesses
        ],
        "groups": groups or "none",
        "quorum": policy.quorum or "none",
    }


def _authority(authority: Authority) -> Described:
    return {
        "name": authority.name,
        "roots": [
            f"{each.subject.rfc4514_string()}, SHA-256 {each.fingerprint(hashes.SHA256()).hex()}"
            for each in authority.certificates
        ],
        "not_before": "any" if authority.not_before is None else format_time(authority.not_before),
        "not_after": "any" if authority.not_after is None else format_time(authority.not_after),
    }
