"""Vectors of cosignatures, witness policies and the words between a log and its witnesses."""

import base64
import itertools
import struct
from collections.abc import Iterator
from typing import Any

from builders import key
from platemark import witness_wire
from platemark.checkpoint import Checkpoint
from platemark.cosignature import CosignatureSigner
from vectors.shapes import dump, table

__all__ = ["files"]

_NAME = "witness.example/w"
_LARGEST = 4000  # characters of a case; what is larger is made in the tests


def files() -> dict[str, bytes]:
    """File name -> content."""
    return {
        "cosignature.json": _cosignature(),
        "witness_policy.json": _policy(),
        "add_checkpoint.json": _request(),
    }


def _cosignature() -> bytes:
    tests = table("client/test_cosignature.py")
    return dump(
        "Cosignatures, proto/log.md section 7",
        "made here from the text of c2sp.org/tlog-cosignature; an ML-DSA-44 signature is another one every time, so that of "
        "type 06 only the message is here",
        ed25519=list(_ed25519(tests.CHECKPOINT)),
        ml_dsa_44=list(_ml_dsa_44(tests.CHECKPOINT)),
    )


def _covered(covered: Checkpoint) -> dict[str, Any]:
    return {"origin": covered.origin, "size": str(covered.size), "root": covered.root.hex()}


def _ed25519(covered: Checkpoint) -> Iterator[dict[str, Any]]:
    signer = CosignatureSigner(_NAME, key("w", "ed25519"))
    for size, time_s in ((covered.size, 1), (covered.size, 1_679_315_147), ((1 << 63) - 1, (1 << 63) - 1)):
        each = Checkpoint(covered.origin, size, covered.root)
        line = signer.sign(each, time_s=time_s)
        message = f"cosignature/v1\ntime {time_s}\n{each.text}"
        signer.verifier.key.verify(message.encode(), _signature(line))
        yield {
            "checkpoint": _covered(each),
            "vkey": signer.verifier.vkey,
            "time": str(time_s),
            "message": message,
            "line": line,
        }


def _ml_dsa_44(covered: Checkpoint) -> Iterator[dict[str, Any]]:
    for name in (_NAME, covered.origin):
        signer = CosignatureSigner(name, key("w", "mldsa44"))
        time_s = 1_679_315_147
        message = b"".join(
            (
                b"subtree/v1\n\0",
                bytes([len(name)]) + name.encode(),
                struct.pack(">Q", time_s),
                bytes([len(covered.origin)]) + covered.origin.encode(),
                struct.pack(">QQ", 0, covered.size) + covered.root,
            )
        )
        signer.verifier.key.verify(message, _signature(signer.sign(covered, time_s=time_s)))
        yield {
            "checkpoint": _covered(covered),
            "vkey": signer.verifier.vkey,
            "time": str(time_s),
            "message": message.hex(),
        }


def _signature(line: str) -> bytes:
    """What stands in a signature line behind key id and time."""
    return base64.b64decode(line.split(" ")[2])[12:]


def _policy() -> bytes:
    tests = table("client/test_witness_policy.py")
    sets = [each for count in range(7) for each in itertools.combinations(tests.NAMES, count)]
    return dump(
        "Witness policies, proto/log.md section 8",
        "the example of c2sp.org/tlog-policy with test keys, judged by its words; refused: the table of "
        "tests/client/test_witness_policy.py",
        accepted=[
            {
                "text": tests.EXAMPLE,
                "met": [list(each) for each in sets if tests.met(each)],
                "not_met": [list(each) for each in sets if not tests.met(each)],
            },
            {"text": f"witness X1 {tests.vkey('X1')}\nquorum X1\n", "met": [["X1"]], "not_met": [[], ["X2"]]},
            {"text": "quorum none\n", "met": [[], ["X1"]], "not_met": []},
        ],
        refused=[{"text": text, "field": field} for text, field in tests.REFUSED if len(text) <= _LARGEST],
    )


def _request() -> bytes:
    tests = table("client/test_witness_wire.py")
    note = b"log.example/a\n1\n" + tests.HASH.encode() + b"\n\nwhatever follows\n"
    given = [(0, []), (1, []), (20852014, [bytes(32)]), ((1 << 63) - 1, [bytes([number] * 32) for number in range(63)])]
    return dump(
        "The body of add-checkpoint, proto/log.md W7",
        "made here from the text of c2sp.org/tlog-witness; refused: the table of tests/client/test_witness_wire.py",
        accepted=[
            {
                "old_size": str(old),
                "proof": [each.hex() for each in proof],
                "note": note.hex(),
                "body": witness_wire.encode_request(old_size=old, proof=proof, note=note).hex(),
            }
            for old, proof in given
        ],
        refused=[{"body": body.hex()} for body in tests.REFUSED],
    )
