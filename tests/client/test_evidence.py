"""The evidence bundle: one content, one file; every other ZIP is refused with our error."""

import io
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platemark import cbor, evidence
from platemark.errors import EvidenceError
from platemark.evidence import CONDITIONS, MIMETYPE, README, Evidence, Keystate, Proven, Stamp, Stamped

FULL = Evidence(
    record=Proven(b"record", b"record's proof"),
    enrolments=(Proven(b"enrolment 0", b"proof"), Proven(b"enrolment 1", b"proof")),
    policies=tuple(Proven(b"policy %d" % number, b"proof") for number in range(11)),
    revocation=(Proven(b"revoke", b"proof"),),
    conditions=("gap", "clock-future"),
    disclosure=b"disclosure",
    receipts=(b"receipt 0", b"receipt 1"),
    keystate=Keystate(Proven(b"keystate", b"proof"), b"leaf"),
    stamped=Stamped(
        b"checkpoint", b"path", (Stamp(b"response 0"), Stamp(b"response 1", (b"crl 0", b"crl 1"), (b"renewal",)))
    ),
    unknown={"receipt.cbor": b"of a later release", "time/0.ers": b"", "zz": b"z"},
)
PLAIN = Evidence(record=Proven(b"record", b"proof"), enrolments=(), policies=())
DATA = FULL.to_bytes()

_PROVEN = st.builds(Proven, st.binary(max_size=30), st.binary(max_size=30))
_CHAIN = st.lists(_PROVEN, max_size=12).map(tuple)
_STAMPS = st.lists(
    st.builds(
        Stamp,
        st.binary(max_size=30),
        st.lists(st.binary(max_size=9), max_size=11).map(tuple),
        st.lists(st.binary(max_size=9), max_size=2).map(tuple),
    ),
    min_size=1,
    max_size=12,
).map(tuple)
_NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,9}(/[a-z0-9][a-z0-9._-]{0,9}){0,2}", fullmatch=True).filter(
    lambda name: (
        name not in evidence._SINGLE | FULL.members().keys() | {"mimetype"} and not evidence._NUMBERED.fullmatch(name)
    )
)
EVIDENCE = st.builds(
    Evidence,
    record=_PROVEN,
    enrolments=_CHAIN,
    policies=_CHAIN,
    revocation=_CHAIN,
    conditions=st.lists(st.sampled_from(CONDITIONS), unique=True).map(tuple),
    disclosure=st.none() | st.binary(max_size=30),
    receipts=st.lists(st.binary(max_size=30), max_size=12).map(tuple),
    keystate=st.none() | st.builds(Keystate, _PROVEN, st.binary(max_size=30)),
    stamped=st.none() | st.builds(Stamped, st.binary(max_size=30), st.binary(max_size=30), _STAMPS),
    unknown=st.dictionaries(_NAMES, st.binary(max_size=30), max_size=3).map(lambda unknown: unknown or None),
)


@given(EVIDENCE)
def test_evidence_comes_back_from_its_bundle(content: Evidence) -> None:
    """from_bytes is the inverse of to_bytes, with chains of more than ten and members of later releases."""
    data = content.to_bytes()
    assert (evidence.from_bytes(data), evidence.from_bytes(data).to_bytes()) == (content, data)


@given(EVIDENCE)
def test_evidence_comes_back_from_its_members(content: Evidence) -> None:
    """A ledger's reply holds the same members without the ZIP around them."""
    assert evidence.from_members(content.members()) == content


def _plain_zip(members: Iterable[tuple[str, bytes]]) -> bytes:
    """A ZIP file from rule B4 alone, with struct and zlib."""
    local, central = b"", b""
    for name, content in members:
        fixed = struct.pack(
            "<HHHHHIIIHH", 20, 0, 0, 0, 0x21, zlib.crc32(content), len(content), len(content), len(name), 0
        )
        central += b"PK\x01\x02" + struct.pack("<H", 0x0314) + fixed
        central += struct.pack("<HHHII", 0, 0, 0, 0x81A40000, len(local)) + name.encode()
        local += b"PK\x03\x04" + fixed + name.encode() + content
    count = central.count(b"PK\x01\x02")
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, count, count, len(central), len(local), 0)
    return local + central + end


def test_the_bundle_is_what_the_rules_say() -> None:
    """B3 and B4, byte for byte: mimetype first, then bytewise order, stored, 1980, nothing else."""
    members = sorted(FULL.members().items(), key=lambda member: member[0].encode())
    assert _plain_zip([("mimetype", MIMETYPE.encode()), *members]) == DATA
    assert DATA[30:38] == b"mimetype"


def test_other_tools_read_the_bundle() -> None:
    """It is an ordinary ZIP file with text for people in it."""
    with zipfile.ZipFile(io.BytesIO(DATA)) as bundle:
        assert bundle.testzip() is None
        assert bundle.read("README.txt").decode() == README
        assert bundle.namelist() == ["mimetype", *sorted(FULL.members())]


def test_the_disclosure_can_be_changed_and_nothing_else() -> None:
    """The holder adds or takes away what he shows; the record stays."""
    assert FULL.with_disclosure(b"other") == replace(FULL, disclosure=b"other")
    assert "disclosure.cbor" not in FULL.with_disclosure(None).members()


# --- hostile bundles ------------------------------------------------------------------------------


def _zip(
    members: dict[str, bytes] | None = None,
    *,
    tamper: Callable[[zipfile.ZipInfo], None] | None = None,
    comment: bytes = b"",
    mimetype: bytes = MIMETYPE.encode(),
) -> bytes:
    """A ZIP file by the standard library, like ours but for what `tamper` does to each member."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as bundle:
        content = {"mimetype": mimetype, **(PLAIN.members() if members is None else members)}
        for name, data in content.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o100644 << 16
            if tamper is not None:
                tamper(info)
            bundle.writestr(info, data)
        bundle.comment = comment
    return buffer.getvalue()


def _with(**attributes: Any) -> bytes:
    def tamper(info: zipfile.ZipInfo) -> None:
        if info.filename == "statement.cose":
            for name, value in attributes.items():
                setattr(info, name, value)

    return _zip(tamper=tamper)


def _extended(**members: bytes) -> bytes:
    """The plain bundle with more members, in order."""
    return _zip(dict(sorted({**PLAIN.members(), **members}.items())))


def _named(name: str) -> Callable[[], bytes]:
    return lambda: _extended(**{name: b"x"})


def _without(name: str) -> Callable[[], bytes]:
    return lambda: _zip({each: data for each, data in PLAIN.members().items() if each != name})


def _replaced(name: str, data: bytes) -> Callable[[], bytes]:
    return lambda: _zip(PLAIN.members() | {name: data})


def _stamped(**members: bytes) -> bytes:
    stamp = {"time/0.tsr": b"x", "time/checkpoint": b"x", "time/consistency.cbor": b"x"}
    return _extended(**{**stamp, **members})


def _conditions(value: Any) -> Callable[[], bytes]:
    return _replaced("conditions.cbor", cbor.encode(value))


def _twice() -> bytes:
    members = [("mimetype", MIMETYPE.encode()), *PLAIN.members().items()]
    return _plain_zip([*members, members[-1]])


def _patched(signature: bytes, offset: int, value: bytes) -> bytes:
    """The plain bundle with bytes of its first header of this signature replaced."""
    data = bytearray(PLAIN.to_bytes())
    at = data.index(signature) + offset
    data[at : at + len(value)] = value
    return bytes(data)


def _overlapping() -> bytes:
    """Three hundred members, each of which holds the headers of all that follow and one quarter of a megabyte."""
    kernel, names = bytes(1 << 18), ["mimetype", *(f"m{number:03}" for number in range(300))]
    heads: list[bytes] = []
    entries: list[bytes] = []
    for name in reversed(names):
        content = b"".join(reversed(heads)) + kernel
        fixed = struct.pack(
            "<HHHHHIIIHH", 20, 0, 0, 0, 0x21, zlib.crc32(content), len(content), len(content), len(name), 0
        )
        heads.append(b"PK\x03\x04" + fixed + name.encode())
        entries.append(b"PK\x01\x02" + struct.pack("<H", 0x0314) + fixed)
    body = b"".join(reversed(heads)) + kernel
    directory, at = b"", 0
    for name, entry, head in zip(names, reversed(entries), reversed(heads), strict=True):
        directory += entry + struct.pack("<HHHII", 0, 0, 0, 0x81A40000, at) + name.encode()
        at += len(head)
    count = len(names)
    return body + directory + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(body), 0)


def _zip64(offset: int, size: int) -> bytes:
    """A directory entry that keeps its sizes and offset in a ZIP64 field."""
    extra = struct.pack("<HHQQQ", 1, 24, size, size, offset)
    head = struct.pack("<HHHHHHIII", 0x0314, 45, 0, 0, 0, 0x21, 0, 0xFFFFFFFF, 0xFFFFFFFF)
    entry = b"PK\x01\x02" + head + struct.pack("<HHHHHII", 8, len(extra), 0, 0, 0, 0, 0xFFFFFFFF)
    entry += b"mimetype" + extra
    return entry + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(entry), 0, 0)


def _deflated() -> bytes:
    return _with(compress_type=zipfile.ZIP_DEFLATED)


def _bomb() -> bytes:
    """Sixteen megabytes of zeros in sixteen kilobytes."""

    def deflate(info: zipfile.ZipInfo) -> None:
        info.compress_type = zipfile.ZIP_DEFLATED if info.filename == "zeros" else zipfile.ZIP_STORED

    return _zip({**PLAIN.members(), "zeros": bytes(1 << 24)}, tamper=deflate)


HOSTILE: list[tuple[str, Callable[[], bytes]]] = [
    ("empty", lambda: b""),
    ("text", lambda: b"hello"),
    ("an empty ZIP", lambda: _plain_zip([])),
    ("a prefix", lambda: b"#!/bin/sh\n" + PLAIN.to_bytes()),
    ("a suffix", lambda: PLAIN.to_bytes() + b"\x00"),
    ("a ZIP before", lambda: PLAIN.to_bytes() * 2),
    ("an archive comment", lambda: _zip(comment=b"hello")),
    ("a member comment", lambda: _with(comment=b"hello")),
    ("an extra field", lambda: _with(extra=struct.pack("<HHI", 0xCAFE, 4, 0))),
    ("another date", lambda: _with(date_time=(2026, 11, 1, 0, 0, 0))),
    ("another time", lambda: _with(date_time=(1980, 1, 1, 0, 0, 2))),
    ("another system", lambda: _with(create_system=0)),
    ("another mode", lambda: _with(external_attr=0o100755 << 16)),
    ("a symbolic link", lambda: _with(external_attr=0o120777 << 16)),
    ("internal attributes", lambda: _with(internal_attr=1)),
    ("another version made by", lambda: _with(create_version=63)),
    ("another version needed", lambda: _with(extract_version=45)),
    ("a deflated member", _deflated),
    ("a bzip2 member", lambda: _with(compress_type=zipfile.ZIP_BZIP2)),
    ("an LZMA member", lambda: _with(compress_type=zipfile.ZIP_LZMA)),
    ("an unknown method", lambda: _patched(b"PK\x01\x02", 10, b"\x63\x00")),
    ("a bomb", _bomb),
    ("overlapping members", _overlapping),
    ("ZIP64, offset 2^63 - 1", lambda: _zip64((1 << 63) - 1, 5)),
    ("ZIP64, offset 2^63", lambda: _zip64(1 << 63, 5)),
    ("ZIP64, offset 2^64 - 1", lambda: _zip64((1 << 64) - 1, 5)),
    ("ZIP64, size 2^64 - 1", lambda: _zip64(0, (1 << 64) - 1)),
    ("the encrypted flag, locally", lambda: _patched(b"PK\x03\x04", 6, b"\x01\x00")),
    ("the encrypted flag, centrally", lambda: _patched(b"PK\x01\x02", 8, b"\x01\x00")),
    ("a data descriptor flag", lambda: _patched(b"PK\x03\x04", 6, b"\x08\x00")),
    ("a UTF-8 flag", lambda: _patched(b"PK\x01\x02", 8, b"\x00\x08")),
    ("a patched-data flag", lambda: _patched(b"PK\x01\x02", 8, b"\x20\x00")),
    ("a wrong CRC", lambda: _patched(b"PK\x01\x02", 16, b"\x00\x00\x00\x00")),
    ("a local name that differs", lambda: _patched(b"PK\x03\x04", 30, b"Mimetype")),
    ("a directory name that is not UTF-8", lambda: _patched(b"PK\x01\x02", 46, b"\xff\xff")),
    ("many disks", lambda: _patched(b"PK\x05\x06", 4, b"\x01\x00")),
    ("too few in the end record", lambda: _patched(b"PK\x05\x06", 8, b"\x01\x00\x01\x00")),
    ("a member twice", _twice),
    ("a member under ..", _named("../statement.cose")),
    ("a member under a/..", _named("a/../b")),
    ("a member of .", _named("./a")),
    ("an absolute path", _named("/etc/passwd")),
    ("a drive", _named("c:/windows")),
    ("a backslash", _named("policy\\0.cose")),
    ("a folder", _named("policy/")),
    ("an empty segment", _named("policy//0.cose")),
    ("upper case", _named("Statement.cose")),
    ("another README", _named("readme.txt/README.txt")),
    ("a space", _named("a b")),
    ("not ASCII", _named("\u00e9")),
    ("a line feed", _named("a\nb")),
    ("a leading dot", _named(".hidden")),
    ("a name of 101", _named("n" * 101)),
    ("members out of order", lambda: _zip(dict(reversed(PLAIN.members().items())))),
    ("mimetype not first", lambda: _plain_zip([*PLAIN.members().items(), ("mimetype", MIMETYPE.encode())])),
    ("no mimetype", lambda: _plain_zip(PLAIN.members().items())),
    ("another mimetype", lambda: _zip(mimetype=b"application/epub+zip")),
    ("mimetype with a line feed", lambda: _zip(mimetype=MIMETYPE.encode() + b"\n")),
    ("mimetype twice", lambda: _plain_zip([("mimetype", MIMETYPE.encode())] * 2)),
    ("no README", _without("README.txt")),
    ("another README text", _replaced("README.txt", README.encode() + b"Call 555-0100 to check.\n")),
    ("no statement", _without("statement.cose")),
    ("no proof", _without("proof.tlog-proof")),
    ("no conditions", _without("conditions.cbor")),
    ("513 members", lambda: _extended(**{f"m{number:03}": b"" for number in range(508)})),
    ("an enrolment without proof", lambda: _extended(**{"enrolment/0.cose": b"x"})),
    ("a proof without enrolment", lambda: _extended(**{"enrolment/0.proof": b"x"})),
    ("a statement and another's proof", lambda: _extended(**{"policy/0.cose": b"x", "policy/1.proof": b"x"})),
    ("a chain from 1", lambda: _extended(**{"policy/1.cose": b"x", "policy/1.proof": b"x"})),
    ("receipts from 1", lambda: _extended(**{"receipt/1.receipt": b"x"})),
    ("65 receipts", lambda: _extended(**{f"receipt/{number}.receipt": b"x" for number in range(65)})),
    ("a keystate without its leaf", lambda: _extended(**{"keystate/0.cose": b"x", "keystate/0.proof": b"x"})),
    ("a leaf without its keystate", lambda: _extended(**{"keystate/leaf.cbor": b"x"})),
    ("a stamp of no checkpoint", lambda: _extended(**{"time/0.tsr": b"x", "time/consistency.cbor": b"x"})),
    ("a checkpoint without a stamp", lambda: _extended(**{"time/checkpoint": b"x", "time/consistency.cbor": b"x"})),
    ("a stamp without consistency", lambda: _extended(**{"time/checkpoint": b"x", "time/0.tsr": b"x"})),
    ("stamps from 1", lambda: _stamped(**{"time/2.tsr": b"x"})),
    ("a revocation list of no stamp", lambda: _stamped(**{"time/1-0.crl": b"x"})),
    ("a renewal of no stamp", lambda: _stamped(**{"time/1-0.renewal": b"x"})),
    ("revocation lists from 1", lambda: _stamped(**{"time/0-1.crl": b"x"})),
    ("conditions no CBOR", _replaced("conditions.cbor", b"\xff")),
    ("conditions empty", _replaced("conditions.cbor", b"")),
    ("conditions with trailing bytes", _replaced("conditions.cbor", cbor.encode({"v": 1, "conditions": []}) + b"\x00")),
    ("conditions an array", _conditions([])),
    ("conditions without version", _conditions({"conditions": []})),
    ("conditions of version 2", _conditions({"v": 2, "conditions": []})),
    ("conditions of version true", _conditions({"v": True, "conditions": []})),
    ("conditions with another field", _conditions({"v": 1, "conditions": [], "signed": True})),
    ("conditions as text", _conditions({"v": 1, "conditions": "gap"})),
    ("a condition of nobody", _conditions({"v": 1, "conditions": ["fine"]})),
    ("a condition as a number", _conditions({"v": 1, "conditions": [1]})),
    ("a condition as a list", _conditions({"v": 1, "conditions": [["gap"]]})),
    ("a condition twice", _conditions({"v": 1, "conditions": ["gap", "gap"]})),
    ("too many conditions", _conditions({"v": 1, "conditions": [*CONDITIONS, "gap"]})),
    (
        "a chain of 65",
        lambda: _extended(**{f"policy/{number}.{kind}": b"x" for number in range(65) for kind in ("cose", "proof")}),
    ),
    ("too large", lambda: replace(PLAIN, disclosure=bytes(evidence.MAX_BUNDLE)).to_bytes()),
]


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize("make", [row[1] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_a_hostile_bundle_is_refused(make: Callable[[], bytes]) -> None:
    """Whatever is not the one form is an EvidenceError of one line."""
    with pytest.raises(EvidenceError) as caught:
        evidence.from_bytes(make())
    assert "\n" not in str(caught.value)


def test_a_bomb_is_refused_before_it_explodes() -> None:
    """Neither compression nor overlap makes the reader allocate more than a few times the bundle."""
    for make in (_bomb, _overlapping):
        data = make()
        tracemalloc.start()
        try:
            with pytest.raises(EvidenceError):
                evidence.from_bytes(data)
            assert tracemalloc.get_traced_memory()[1] < 4 * len(data) + (1 << 20)
        finally:
            tracemalloc.stop()


def test_the_limits_themselves_are_allowed() -> None:
    """512 members, chains of 64, a name of 100 and a bundle of 16 MiB are read."""
    chain = (Proven(b"x", b"x"),) * 64
    most = replace(PLAIN, enrolments=chain, policies=chain, revocation=chain)
    unknown = {f"m{number:03}": b"" for number in range(512 - 1 - len(most.members()))}
    most = replace(most, unknown=unknown)
    assert evidence.from_bytes(most.to_bytes()) == most
    named = replace(PLAIN, unknown={"n" * 100: b""})
    assert evidence.from_bytes(named.to_bytes()) == named
    room = evidence.MAX_BUNDLE - len(replace(PLAIN, disclosure=b"").to_bytes())
    assert len(evidence.from_bytes(replace(PLAIN, disclosure=bytes(room)).to_bytes()).disclosure or b"") == room


def test_a_bundle_cut_off_anywhere_is_refused() -> None:
    """Every length at a step of seven, and the last hundred."""
    for length in {*range(0, len(DATA), 7), *range(len(DATA) - 100, len(DATA))}:
        with pytest.raises(EvidenceError):
            evidence.from_bytes(DATA[:length])


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_no_byte_of_a_bundle_can_change(flip: int) -> None:
    """Every byte is in a header that is compared or under a CRC: a flip is an EvidenceError and nothing else."""
    data = PLAIN.to_bytes()
    for at in range(len(data)):
        with pytest.raises(EvidenceError):
            evidence.from_bytes(data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :])


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_our_error(data: bytes) -> None:
    """from_bytes raises EvidenceError alone, for what looks like the end of a ZIP file too."""
    for raw in (
        data,
        data + b"PK\x05\x06" + bytes(18),
        PLAIN.to_bytes()[:-22] + b"PK\x05\x06" + (data + bytes(18))[:18],
    ):
        if raw != PLAIN.to_bytes():
            with pytest.raises(EvidenceError):
                evidence.from_bytes(raw)


def test_members_of_a_later_release_are_kept_and_not_read() -> None:
    """B7: a member with an unknown name is listed, and written back as it was."""
    read = evidence.from_bytes(DATA)
    assert read.unknown == FULL.unknown
    assert evidence.from_bytes(PLAIN.to_bytes()).unknown is None
