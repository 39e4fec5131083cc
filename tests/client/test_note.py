"""C2SP signed notes: the specification's own example, round trips, and every malformed line refused."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import key
from platemark import note
from platemark.errors import FormatError, KeyFormatError, NoteError, SignatureError
from platemark.note import NoteSigner, NoteVerifier

# The example of c2sp.org/signed-note.
SPEC_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_TEXT = "This is an example message.\n"
SPEC_SIGNATURE = "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
SPEC_NOTE = f"{SPEC_TEXT}\n\u2014 example.com/foo {SPEC_SIGNATURE}\n"

ALICE = NoteSigner("log.example/a", key("alice", "ed25519"))
BOB = NoteSigner("log.example/b", key("bob", "ed25519"))
TEXT = "first line\nsecond line\n"
NOTE = note.sign(TEXT, [ALICE])
LINE = NOTE[len(TEXT) + 1 :]
_TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=60).map(lambda text: f"{text}\n")


def test_the_example_of_the_specification_verifies() -> None:
    """c2sp.org/signed-note's note verifies under its key, and the key prints as it was read."""
    verifier = note.parse_vkey(SPEC_VKEY)
    opened = note.parse(SPEC_NOTE.encode())
    assert opened.verify([verifier]) == (verifier,)
    assert (opened.text, verifier.vkey, verifier.key_id.hex()) == (SPEC_TEXT, SPEC_VKEY, "530d903a")


def test_the_example_of_the_specification_fails_with_another_text() -> None:
    """One changed letter and the known signature fails the note."""
    opened = note.parse(SPEC_NOTE.replace("example message", "exemple message").encode())
    with pytest.raises(SignatureError):
        opened.verify([note.parse_vkey(SPEC_VKEY)])


@given(_TEXTS)
def test_a_signed_note_comes_back(text: str) -> None:
    """Parse is the inverse of sign, and every signer's verifier finds its signature."""
    opened = note.parse(note.sign(text, [ALICE, BOB]).encode())
    assert opened.text == text
    assert opened.verify([BOB.verifier, ALICE.verifier]) == (BOB.verifier, ALICE.verifier)


def test_the_last_empty_line_divides() -> None:
    """A text may hold empty lines and even something that looks like a signature."""
    text = f"text\n\n{LINE}"
    assert note.parse(note.sign(text, [ALICE]).encode()).text == text


def test_the_key_id_is_as_the_specification_says() -> None:
    """SHA-256(name, LF, type 1, public key)[:4]."""
    raw = ALICE.signer.spki[-32:]
    assert ALICE.verifier.key_id == hashlib.sha256(b"log.example/a\n\x01" + raw).digest()[:4]


@given(st.sampled_from([ALICE, BOB]))
def test_a_verifier_key_comes_back_from_its_text(signer: NoteSigner) -> None:
    """parse_vkey is the inverse of vkey."""
    assert note.parse_vkey(signer.verifier.vkey) == signer.verifier


def test_an_unknown_signature_is_ignored() -> None:
    """Lines of other keys, of other types and under other names change nothing."""
    foreign = "\u2014 log.example/a " + base64.b64encode(b"\x01\x02\x03\x04" + bytes(76)).decode() + "\n"
    renamed = LINE.replace("log.example/a", "log.example/c")
    opened = note.parse((TEXT + "\n" + foreign + renamed + LINE).encode())
    assert opened.verify([ALICE.verifier]) == (ALICE.verifier,)


def test_a_known_signature_that_fails_fails_the_note() -> None:
    """Even beside a good one: the note is not the one that was signed."""
    bad = note.sign("another text\n", [ALICE]).rpartition("\n\n")[2]
    for block in (LINE + bad, bad + LINE, bad):
        with pytest.raises(SignatureError, match="does not verify"):
            note.parse(f"{TEXT}\n{block}".encode()).verify([ALICE.verifier])


def test_a_known_signature_that_fails_fails_the_note_for_readers_of_another_key() -> None:
    """A reader who knows both keys does not accept the good one alone."""
    bad = note.sign("another text\n", [BOB]).rpartition("\n\n")[2]
    with pytest.raises(SignatureError, match="does not verify"):
        note.parse(f"{TEXT}\n{LINE}{bad}".encode()).verify([ALICE.verifier, BOB.verifier])


@pytest.mark.parametrize("verifiers", [[], [BOB.verifier]], ids=["nobody", "somebody else"])
def test_a_note_that_nobody_known_signed_is_a_failure(verifiers: list[NoteVerifier]) -> None:
    """No signature of a trusted key is never a success."""
    with pytest.raises(SignatureError, match="no signature of a trusted key"):
        note.parse(NOTE.encode()).verify(verifiers)


def test_the_same_key_under_another_name_is_another_key() -> None:
    """The name is part of the key id, so a signature cannot be moved to another log."""
    renamed = NoteVerifier("log.example/c", ALICE.verifier.key)
    with pytest.raises(SignatureError, match="no signature of a trusted key"):
        note.parse(NOTE.encode()).verify([renamed])


def test_signing_needs_a_signer_and_an_ed25519_key() -> None:
    """No signer is a programming error; a key of another algorithm is named."""
    with pytest.raises(ValueError, match="a note needs a signer"):
        note.sign(TEXT, [])
    with pytest.raises(KeyFormatError, match="Ed25519"):
        note.sign(TEXT, [NoteSigner("log.example/a", key("alice"))])
    with pytest.raises(KeyFormatError, match="Ed25519"):
        NoteSigner("log.example/a", key("alice")).verifier.vkey  # noqa: B018 - the property raises


_BLOB = base64.b64decode(LINE.split(" ")[2])


def _line(name: str = "log.example/a", blob: str | None = None, dash: str = "\u2014", end: str = "\n") -> str:
    return f"{dash} {name} {base64.b64encode(_BLOB).decode() if blob is None else blob}{end}"


REFUSED: list[tuple[str, bytes]] = [
    ("empty", b""),
    ("a line feed", b"\n"),
    ("text alone", TEXT.encode()),
    ("text without signatures", f"{TEXT}\n".encode()),
    ("no empty line", (TEXT + LINE).encode()),
    ("signature alone", LINE.encode()),
    ("no text", f"\n{LINE}".encode()),
    ("last line without line feed", NOTE[:-1].encode()),
    ("two line feeds at the end", f"{NOTE}\n".encode()),
    ("CRLF", NOTE.replace("\n", "\r\n").encode()),
    ("NUL in the text", NOTE.replace("first", "fi\0st").encode()),
    ("tab in the text", NOTE.replace("first", "fi\tst").encode()),
    ("escape in the text", NOTE.replace("first", "\x1b[2Jfirst").encode()),
    ("not UTF-8", NOTE.encode().replace(b"first", b"f\xffrst")),
    ("surrogates in UTF-8", NOTE.encode().replace(b"first", b"f\xed\xa0\x80rst")),
    ("hyphen for the dash", f"{TEXT}\n{_line(dash='-')}".encode()),
    ("en dash", f"{TEXT}\n{_line(dash=chr(0x2013))}".encode()),
    ("two spaces", f"{TEXT}\n{_line().replace(' ', '  ')}".encode()),
    ("leading space", f"{TEXT}\n {_line()}".encode()),
    ("trailing space", f"{TEXT}\n{_line(end=' ')}".encode() + b"\n"),
    ("no name", f"{TEXT}\n{_line(name='')}".encode()),
    ("plus in the name", f"{TEXT}\n{_line(name='log+a')}".encode()),
    ("no-break space in the name", f"{TEXT}\n{_line(name='log' + chr(0xA0) + 'a')}".encode()),
    ("ideographic space in the name", f"{TEXT}\n{_line(name='log' + chr(0x3000) + 'a')}".encode()),
    ("no signature", f"{TEXT}\n\u2014 log.example/a\n".encode()),
    ("empty signature", f"{TEXT}\n{_line(blob='')}".encode()),
    ("key id alone", f"{TEXT}\n{_line(blob=base64.b64encode(_BLOB[:4]).decode())}".encode()),
    ("URL-safe base64", f"{TEXT}\n{_line(blob='-_' + LINE.split(' ')[2][2:-1])}".encode()),
    ("base64 without padding", f"{TEXT}\n{_line(blob=base64.b64encode(_BLOB).decode().rstrip('='))}".encode()),
    ("base64 with too much padding", f"{TEXT}\n{_line(blob=base64.b64encode(_BLOB).decode() + '=')}".encode()),
    ("base64 with a line feed", f"{TEXT}\n{_line(blob='AAAA' + chr(10) + 'AAAA')}".encode()),
    ("101 signatures", f"{TEXT}\n{_line() * 101}".encode()),
    ("too large", b"a" * note.MAX_NOTE + NOTE.encode()),
]


@pytest.mark.parametrize("data", [row[1] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_malformed_note_is_refused(data: bytes) -> None:
    """Nothing is skipped: one bad line and there is no note."""
    with pytest.raises(NoteError):
        note.parse(data)


def test_base64_with_unused_bits_set_is_refused() -> None:
    """68 bytes leave four unused bits before the padding: they are zero, or there would be sixteen forms."""
    encoded = base64.b64encode(_BLOB).decode()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = alphabet[alphabet.index(encoded[-2]) + 1]
    assert base64.b64decode(encoded[:-2] + last + "=") == _BLOB
    with pytest.raises(NoteError, match="not in its one form"):
        note.parse(f"{TEXT}\n{_line(blob=encoded[:-2] + last + '=')}".encode())


def test_a_hundred_signatures_are_read() -> None:
    """A checkpoint may carry many witnesses."""
    assert len(note.parse(f"{TEXT}\n{_line() * 100}".encode()).signatures) == 100


VKEYS: list[tuple[str, str]] = [
    ("empty", ""),
    ("name alone", "example.com/foo"),
    ("no key", "example.com/foo+530d903a"),
    ("no name", "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"),
    ("upper-case id", SPEC_VKEY.replace("530d903a", "530D903A")),
    ("short id", SPEC_VKEY.replace("530d903a", "530d903")),
    ("another id", SPEC_VKEY.replace("530d903a", "530d903b")),
    ("another name", SPEC_VKEY.replace("foo", "fop")),
    ("a space in the name", SPEC_VKEY.replace("foo", "f o")),
    ("another key", SPEC_VKEY.replace("AekyeR", "AekyeS")),
    ("a line feed after", SPEC_VKEY + "\n"),
    ("ECDSA type", "example.com/foo+530d903a+AukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"),
    ("cosignature type", "example.com/foo+530d903a+BOkyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"),
    ("a key of 31", "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3Q=="),
    ("not base64", "example.com/foo+530d903a+!!!!"),
    ("not ASCII", "example.com/foo+530d903a+\u00e9"),
    ("small order", "example.com/foo+00000000+" + base64.b64encode(b"\x01\x01" + bytes(31)).decode()),
]


@pytest.mark.parametrize("vkey", [row[1] for row in VKEYS], ids=[row[0] for row in VKEYS])
def test_a_malformed_verifier_key_is_refused(vkey: str) -> None:
    """A key id that does not belong to name and key, another type, another form: refused."""
    with pytest.raises(FormatError):
        note.parse_vkey(vkey)


@given(st.data())
def test_a_changed_byte_never_verifies(data: st.DataObject) -> None:
    """Whatever byte of a note changes, it is malformed, unsigned or badly signed; nothing else is raised."""
    raw = NOTE.encode()
    at, flip = data.draw(st.integers(0, len(raw) - 1)), data.draw(st.integers(1, 255))
    changed = raw[:at] + bytes([raw[at] ^ flip]) + raw[at + 1 :]
    with pytest.raises((NoteError, SignatureError)):
        note.parse(changed).verify([ALICE.verifier])


@given(st.binary(max_size=100))
def test_arbitrary_bytes_are_refused_with_our_error(data: bytes) -> None:
    """Parse raises NoteError alone."""
    with pytest.raises(NoteError):
        note.parse(data)
