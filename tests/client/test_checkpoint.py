"""C2SP checkpoints: three lines in a signed note, in one form."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import key
from platemark import checkpoint, note
from platemark.checkpoint import Checkpoint
from platemark.errors import FormatError, NoteError, SignatureError
from platemark.merkle import EMPTY_ROOT
from platemark.note import NoteSigner

ORIGIN = "ledger.example/xray"
LOG = NoteSigner(ORIGIN, key("log", "ed25519"))
ROOT = bytes(range(32))
SIGNED = checkpoint.sign(Checkpoint(ORIGIN, 42, ROOT), [LOG])
ROOT64 = base64.b64encode(ROOT).decode()


def _note(text: str) -> bytes:
    """A well-signed note of any text."""
    return note.sign(text, [LOG]).encode()


def test_the_text_is_three_lines() -> None:
    """Origin, size and base64 of the root, each with its line feed."""
    assert Checkpoint(ORIGIN, 42, ROOT).text == f"{ORIGIN}\n42\n{ROOT64}\n"


@given(st.integers(1, (1 << 63) - 1), st.binary(min_size=32, max_size=32))
def test_a_signed_checkpoint_comes_back(size: int, root: bytes) -> None:
    """open_checkpoint is the inverse of sign for the log's own verifier; parse keeps the bytes verbatim."""
    signed = checkpoint.sign(Checkpoint(ORIGIN, size, root), [LOG])
    expected = Checkpoint(ORIGIN, size, root)
    assert checkpoint.open_checkpoint(signed, [LOG.verifier], origin=ORIGIN) == expected
    assert (checkpoint.parse(signed).checkpoint, checkpoint.parse(signed).raw) == (expected, signed)


def test_an_empty_log_has_the_empty_root() -> None:
    """Size 0 is allowed with the root of the empty tree and no other."""
    signed = checkpoint.sign(Checkpoint(ORIGIN, 0, EMPTY_ROOT), [LOG])
    assert checkpoint.open_checkpoint(signed, [LOG.verifier], origin=ORIGIN).size == 0
    with pytest.raises(NoteError, match="root of the empty tree"):
        checkpoint.sign(Checkpoint(ORIGIN, 0, ROOT), [LOG])


REFUSED: list[tuple[str, str, str]] = [
    ("no lines", "\n", "checkpoint"),
    ("origin alone", f"{ORIGIN}\n", "checkpoint"),
    ("no root", f"{ORIGIN}\n42\n", "checkpoint"),
    ("an extension line", f"{ORIGIN}\n42\n{ROOT64}\nextension\n", "checkpoint"),
    ("an empty extension line", f"{ORIGIN}\n42\n{ROOT64}\n\n", "checkpoint"),
    ("no origin", f"\n42\n{ROOT64}\n", "checkpoint.origin"),
    ("origin of 256 bytes", f"{'o' * 256}\n42\n{ROOT64}\n", "checkpoint.origin"),
    ("origin of 128 letters in 256 bytes", f"{chr(0xFC) * 128}\n42\n{ROOT64}\n", "checkpoint.origin"),
    ("no size", f"{ORIGIN}\n\n{ROOT64}\n", "checkpoint.size"),
    ("leading zero", f"{ORIGIN}\n042\n{ROOT64}\n", "checkpoint.size"),
    ("00", f"{ORIGIN}\n00\n{ROOT64}\n", "checkpoint.size"),
    ("plus", f"{ORIGIN}\n+42\n{ROOT64}\n", "checkpoint.size"),
    ("minus", f"{ORIGIN}\n-42\n{ROOT64}\n", "checkpoint.size"),
    ("hexadecimal", f"{ORIGIN}\n2a\n{ROOT64}\n", "checkpoint.size"),
    ("underscore", f"{ORIGIN}\n4_2\n{ROOT64}\n", "checkpoint.size"),
    ("space", f"{ORIGIN}\n42 \n{ROOT64}\n", "checkpoint.size"),
    ("Arabic digits", f"{ORIGIN}\n\u0664\u0662\n{ROOT64}\n", "checkpoint.size"),
    ("superscript", f"{ORIGIN}\n4\u00b2\n{ROOT64}\n", "checkpoint.size"),
    ("2^63", f"{ORIGIN}\n9223372036854775808\n{ROOT64}\n", "checkpoint.size"),
    ("twenty digits", f"{ORIGIN}\n10000000000000000000\n{ROOT64}\n", "checkpoint.size"),
    ("six thousand digits", f"{ORIGIN}\n{'9' * 6000}\n{ROOT64}\n", "checkpoint.size"),
    ("no root but a line", f"{ORIGIN}\n42\n \n", "checkpoint.root"),
    ("root in hex", f"{ORIGIN}\n42\n{ROOT.hex()}\n", "checkpoint.root"),
    ("root of 31", f"{ORIGIN}\n42\n{base64.b64encode(ROOT[:31]).decode()}\n", "checkpoint.root"),
    ("root of 33", f"{ORIGIN}\n42\n{base64.b64encode(ROOT + b'!').decode()}\n", "checkpoint.root"),
    ("root without padding", f"{ORIGIN}\n42\n{ROOT64.rstrip('=')}\n", "checkpoint.root"),
    ("root in URL-safe base64", f"{ORIGIN}\n42\n{base64.urlsafe_b64encode(b'~' * 32).decode()}\n", "checkpoint.root"),
    ("size 0 with another root", f"{ORIGIN}\n0\n{ROOT64}\n", "checkpoint.root"),
]


@pytest.mark.parametrize(("text", "field"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_malformed_checkpoint_is_refused_even_well_signed(text: str, field: str) -> None:
    """The form is checked before the signature and the field is named."""
    with pytest.raises(NoteError) as caught:
        checkpoint.parse(_note(text))
    assert caught.value.field == field


def test_an_origin_of_255_bytes_is_read() -> None:
    """The greatest origin that an ML-DSA cosignature can name."""
    text = f"{'o' * 255}\n42\n{ROOT64}\n"
    assert checkpoint.parse(_note(text)).checkpoint.origin == "o" * 255


def test_another_origin_is_refused() -> None:
    """A checkpoint of another log is no checkpoint of this one, whoever signed it."""
    with pytest.raises(NoteError, match=r"ledger\.example/xray is not ledger\.example/mri") as caught:
        checkpoint.open_checkpoint(SIGNED, [LOG.verifier], origin="ledger.example/mri")
    assert caught.value.field == "checkpoint.origin"


def test_another_key_is_refused() -> None:
    """A checkpoint that the log's key did not sign is refused, under the log's name too."""
    mallory = NoteSigner(ORIGIN, key("mallory", "ed25519"))
    forged = checkpoint.sign(Checkpoint(ORIGIN, 42, ROOT), [mallory])
    with pytest.raises(SignatureError):
        checkpoint.open_checkpoint(forged, [LOG.verifier], origin=ORIGIN)


@given(st.data())
def test_a_changed_byte_is_refused(data: st.DataObject) -> None:
    """No byte of a signed checkpoint can change; only our errors are raised."""
    at, flip = data.draw(st.integers(0, len(SIGNED) - 1)), data.draw(st.integers(1, 255))
    changed = SIGNED[:at] + bytes([SIGNED[at] ^ flip]) + SIGNED[at + 1 :]
    with pytest.raises((FormatError, SignatureError)):
        checkpoint.open_checkpoint(changed, [LOG.verifier], origin=ORIGIN)
