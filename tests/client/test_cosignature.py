"""C2SP cosignatures: both types, their exact messages, and everything that is not one refused."""

import base64
import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

import builders
from builders import key
from platemark import checkpoint, note
from platemark.checkpoint import Checkpoint
from platemark.cosignature import CosignatureSigner, CosignatureVerifier, cosignatures, parse_vkey
from platemark.errors import KeyFormatError, NoteError, SignatureError
from platemark.keys import Ed25519Verifier, MlDsa44Verifier
from platemark.note import NoteSigner

CHECKPOINT = Checkpoint("log.example/a", 5, hashlib.sha256(b"root").digest())
LOG = NoteSigner("log.example/a", key("log", "ed25519"))
CLASSIC = CosignatureSigner("witness.example/w", key("w", "ed25519"))
QUANTUM = CosignatureSigner("witness.example/w", key("w", "mldsa44"))
BOTH = pytest.mark.parametrize("signer", [CLASSIC, QUANTUM], ids=["ed25519", "mldsa44"])
TIME = 1_679_315_147


def cosigned(*lines: str, of: Checkpoint = CHECKPOINT) -> checkpoint.SignedCheckpoint:
    """The log's own note with further lines."""
    return checkpoint.parse(checkpoint.sign(of, [LOG]) + "".join(lines).encode())


def blob(line: str) -> bytes:
    """What a signature line holds behind the key id."""
    return base64.b64decode(line.split(" ")[2])[4:]


@BOTH
@given(time_s=st.integers(1, 2**63 - 1), size=st.integers(1, 2**63 - 1), root=st.binary(min_size=32, max_size=32))
def test_a_cosignature_says_its_time(signer: CosignatureSigner, time_s: int, size: int, root: bytes) -> None:
    """Over any checkpoint, at any time, what was signed verifies and tells the time."""
    made = Checkpoint("log.example/a", size, root)
    assert signer.verifier.verify(made, blob(signer.sign(made, time_s=time_s))) == time_s


def test_the_messages_are_those_of_the_specification() -> None:
    """Written out here once more, byte by byte: c2sp.org/tlog-cosignature."""
    text = f"cosignature/v1\ntime {TIME}\nlog.example/a\n5\n{base64.b64encode(CHECKPOINT.root).decode()}\n"
    classic = blob(CLASSIC.sign(CHECKPOINT, time_s=TIME))
    assert classic[:8] == struct.pack(">Q", TIME)
    assert len(classic) == 8 + 64
    CLASSIC.verifier.key.verify(text.encode(), classic[8:])
    message = b"subtree/v1\n\0" + b"\x11witness.example/w" + struct.pack(">Q", TIME) + b"\x0dlog.example/a"
    message += struct.pack(">QQ", 0, 5) + CHECKPOINT.root
    quantum = blob(QUANTUM.sign(CHECKPOINT, time_s=TIME))
    assert len(quantum) == 8 + 2420
    QUANTUM.verifier.key.verify(message, quantum[8:])


@BOTH
def test_the_key_id_is_over_name_type_and_key(signer: CosignatureSigner) -> None:
    """SHA-256(name, LF, type, public key)[:4]; the text form comes back."""
    verifier = signer.verifier
    kind = 4 if signer is CLASSIC else 6
    raw = verifier.key.raw
    assert verifier.type == kind
    assert verifier.key_id == hashlib.sha256(b"witness.example/w\n" + bytes([kind]) + raw).digest()[:4]
    again = parse_vkey(verifier.vkey)
    assert isinstance(again, CosignatureVerifier)
    assert (again.name, again.type, again.key_id, again.vkey) == (
        verifier.name, kind, verifier.key_id, verifier.vkey,
    )  # fmt: skip


@BOTH
@pytest.mark.parametrize(
    "other",
    [
        Checkpoint("log.example/b", 5, CHECKPOINT.root),
        Checkpoint("log.example/a", 6, CHECKPOINT.root),
        Checkpoint("log.example/a", 5, bytes(32)),
    ],
)
def test_a_cosignature_is_of_one_checkpoint(signer: CosignatureSigner, other: Checkpoint) -> None:
    """Another origin, size or root, and the known line fails the whole note."""
    line = signer.sign(other, time_s=TIME)
    with pytest.raises(SignatureError):
        cosignatures(cosigned(line), [signer.verifier])


@BOTH
def test_no_byte_of_a_cosignature_may_change(signer: CosignatureSigner) -> None:
    """Time and signature: each flipped bit of the time, and some of the signature, is found."""
    good = blob(signer.sign(CHECKPOINT, time_s=TIME))
    for place in [*range(8), 8, len(good) // 2, len(good) - 1]:
        bad = good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]
        with pytest.raises(SignatureError):
            signer.verifier.verify(CHECKPOINT, bad)


@BOTH
@pytest.mark.parametrize("bad", [b"", b"\0" * 8, b"\xff" * 80])
def test_what_is_no_cosignature_is_refused(signer: CosignatureSigner, bad: bytes) -> None:
    """Too short, or with a time of 2^63 and more."""
    with pytest.raises(SignatureError):
        signer.verifier.verify(CHECKPOINT, bad)


@BOTH
def test_a_cosignature_without_a_time_is_refused(signer: CosignatureSigner) -> None:
    """Signed by the key itself over time 0: it fails alone, and it fails the note that carries it."""
    line = signer.sign(CHECKPOINT, time_s=0)
    with pytest.raises(SignatureError, match=r"not 0$"):
        signer.verifier.verify(CHECKPOINT, blob(line))
    with pytest.raises(SignatureError, match=r"not 0$"):
        cosignatures(cosigned(line), [signer.verifier])


def test_the_post_quantum_message_names_its_cosigner() -> None:
    """An ML-DSA-44 cosignature does not verify under another name with the same key; an Ed25519 one has another key id."""
    line = QUANTUM.sign(CHECKPOINT, time_s=TIME)
    other = CosignatureVerifier("witness.example/v", QUANTUM.verifier.key)
    with pytest.raises(SignatureError):
        other.verify(CHECKPOINT, blob(line))
    assert other.key_id != QUANTUM.verifier.key_id


def test_unknown_cosigners_are_ignored_and_one_counts_once() -> None:
    """Only keys that were asked for are found, in the order of the question, each once however often it signed."""
    stranger = CosignatureSigner("witness.example/w", key("stranger", "ed25519"))
    lines = [stranger.sign(CHECKPOINT, time_s=1), *(CLASSIC.sign(CHECKPOINT, time_s=each) for each in (2, 3))]
    signed = cosigned(*lines, QUANTUM.sign(CHECKPOINT, time_s=4))
    wanted = [QUANTUM.verifier, CLASSIC.verifier, CLASSIC.verifier]
    found = [(each.verifier.type, each.time_s) for each in cosignatures(signed, wanted)]
    assert found == [(6, 4), (4, 2)]
    assert cosignatures(cosigned(lines[0]), wanted) == ()


def test_a_good_line_does_not_save_a_bad_one_of_the_same_key() -> None:
    """Two lines of one key, the second over another checkpoint: the note fails."""
    other = Checkpoint(CHECKPOINT.origin, 6, CHECKPOINT.root)
    lines = [CLASSIC.sign(CHECKPOINT, time_s=TIME), CLASSIC.sign(other, time_s=TIME)]
    with pytest.raises(SignatureError):
        cosignatures(cosigned(*lines), [CLASSIC.verifier])


def test_the_key_decides_the_type_of_a_vkey() -> None:
    """01 is a note key, 04 and 06 are cosigners."""
    found = parse_vkey(LOG.verifier.vkey)
    assert isinstance(found, note.NoteVerifier)
    for signer, kind in ((CLASSIC, Ed25519Verifier), (QUANTUM, MlDsa44Verifier)):
        assert isinstance(parse_vkey(signer.verifier.vkey).key, kind)


def _vkey(kind: int, raw: bytes, name: str = "w") -> str:
    key_id = hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + raw).hexdigest()[:8]
    return f"{name}+{key_id}+{base64.b64encode(bytes([kind]) + raw).decode()}"


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "w",
        "w+00000000",
        "w+00000000+",
        "w+00000000+BA==",
        CLASSIC.verifier.vkey.replace("+", " ", 1),
        CLASSIC.verifier.vkey[:-4],
        CLASSIC.verifier.vkey.replace("witness.example/w", "witness.example/v"),
        _vkey(2, bytes(32)),
        _vkey(4, CLASSIC.verifier.key.raw + b"\0"),
        _vkey(4, b"\1" + bytes(31)),  # of small order
        _vkey(6, CLASSIC.verifier.key.raw),
        _vkey(6, QUANTUM.verifier.key.raw[:-1]),
        _vkey(4, CLASSIC.verifier.key.raw, "w" * 256),
        _vkey(4, CLASSIC.verifier.key.raw, "a b"),
        _vkey(4, CLASSIC.verifier.key.raw, ""),
    ],
)
def test_what_is_no_key_is_refused(vkey: str) -> None:
    """Another form, type, length or key id, a key that the formats refuse, a name that a note cannot have."""
    with pytest.raises((NoteError, KeyFormatError)):
        parse_vkey(vkey)


def test_a_p256_key_makes_no_cosignature() -> None:
    """There is no type for it."""
    with pytest.raises(KeyFormatError):
        CosignatureSigner("w", builders.key("p", "p256")).sign(CHECKPOINT, time_s=TIME)
