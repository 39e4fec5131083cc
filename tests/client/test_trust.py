"""The trust file: exactly what it says, or an error that names the entry; never a silent default."""

import base64

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

import stamps
from builders import key
from platemark import trust
from platemark.cosignature import CosignatureSigner
from platemark.errors import TrustError
from platemark.note import NoteSigner
from platemark.trust import Trust, TrustedLog

KEYS = [base64.b64encode(key(name).spki).decode() for name in ("policy 1", "policy 2")]
GOOD: dict[str, str] = {
    "id": f'"{"ab" * 32}"',
    "origin": '"ledger.example/xray"',
    "policy_keys": f'["{KEYS[0]}", "{KEYS[1]}"]',
    "threshold": "2",
}
VKEY = NoteSigner("ledger.example/xray", key("log", "ed25519")).verifier.vkey
SELF = CosignatureSigner("ledger.example/xray", key("north", "ed25519")).verifier
WITNESS = CosignatureSigner("north.example", key("north", "ed25519")).verifier
ROOT = base64.b64encode(stamps.shop(label="trust").root.public_bytes(Encoding.DER)).decode()
LOG = TrustedLog(
    bytes.fromhex("ab" * 32), "ledger.example/xray", frozenset(key(n).spki for n in ("policy 1", "policy 2")), 2
)


def _file(head: str = "version = 1", **changes: str | None) -> bytes:
    """A trust file of one log in which entries are replaced, or dropped by None."""
    entries = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    return "\n".join([head, "[[log]]", *(f"{name} = {value}" for name, value in entries.items()), ""]).encode()


def _without(name: str) -> bytes:
    changes: dict[str, str | None] = {name: None}
    return _file("version = 1", **changes)


def _tsa(**changes: str | None) -> bytes:
    """A [[tsa]] in which entries are replaced, or dropped by None."""
    entries = {"name": '"Example TSA"', "roots": f'["{ROOT}"]', **changes}
    return "\n".join(["", "[[tsa]]", *(f"{name} = {value}" for name, value in entries.items() if value), ""]).encode()


def test_whom_else_to_believe_is_read() -> None:
    """Witnesses with their quorum, the demand for ML-DSA-44, and authorities with their dates."""
    policy = f"witness north {WITNESS.vkey}\nquorum north\n"
    more = _tsa(not_before="2026-01-01T00:00:00Z", not_after="2026-01-01T01:00:00.000001+01:00")
    (log,) = (read := trust.parse(_file(witness_policy=f"'''\n{policy}'''", post_quantum="true") + more)).logs
    assert log.witness_policy is not None
    assert (log.post_quantum, log.witness_policy.verifiers, log.witness_policy.quorum) == (True, (WITNESS,), "north")
    assert [(each.name, each.roots) for each in read.authorities] == [("Example TSA", (base64.b64decode(ROOT),))]
    first = 1_767_225_600 * 10**9
    assert (read.authorities[0].not_before, read.authorities[0].not_after) == (first, first + 1000)


def test_a_trust_file_is_read() -> None:
    """Every entry ends up where it belongs; pixels are not accepted unless the file says so."""
    assert trust.parse(_file()) == Trust((LOG,), accept_pixels=False)
    assert trust.parse(_file("version = 1\naccept_pixels = true")) == Trust((LOG,), accept_pixels=True)
    assert trust.parse(_file("version = 1\naccept_pixels = false")) == Trust((LOG,), accept_pixels=False)


def test_a_trust_file_of_the_largest_size_is_read() -> None:
    """U4: 65536 bytes and 256 dots in a line are not too much."""
    raw = _file(origin=f'"{"." * 247}"') + b"#" + b"." * 256 + b"\n"
    expected = TrustedLog(LOG.id, "." * 247, LOG.policy_keys, LOG.threshold)
    assert trust.parse(raw + b"#" * (65_536 - len(raw))) == Trust((expected,))


def test_a_dotted_key_costs_no_time() -> None:
    """The time of tomllib grows with the square of a key's parts: such a key never reaches it."""
    for raw in (b"a" + b".a" * 32_000 + b" = 1\n", b"[a" + b".a" * 32_000 + b"]\n"):
        with pytest.raises(TrustError, match="dots in line 1"):
            trust.parse(raw)


_ORIGINS = st.from_regex(r"[A-Za-z0-9._~:/-]{1,247}", fullmatch=True)


@given(st.binary(min_size=32, max_size=32), _ORIGINS, st.sets(st.sampled_from(["a", "b", "c"]), min_size=1), st.data())
def test_a_log_comes_back_from_its_file(identity: bytes, origin: str, names: set[str], data: st.DataObject) -> None:
    """Parse is the inverse of to_toml."""
    threshold = data.draw(st.integers(1, len(names)))
    log = TrustedLog(identity, origin, frozenset(key(name).spki for name in names), threshold)
    assert trust.parse(trust.to_toml(log).encode()) == Trust((log,))


def test_a_log_is_found_by_its_identity_alone() -> None:
    """Origin and keys do not find a log; there may be several logs."""
    other = TrustedLog(bytes(32), LOG.origin, LOG.policy_keys, 1)
    both = Trust((LOG, other))
    assert [both.log(LOG.id), both.log(bytes(32)), both.log(b"\x01" * 32)] == [LOG, other, None]


REFUSED: list[tuple[str, bytes, str]] = [
    ("empty", b"", "version"),
    ("not TOML", b"{}", "trust"),
    ("not UTF-8", b"version = 1 # \xff", "trust"),
    ("a BOM", b"\xef\xbb\xbf" + _file(), "trust"),
    ("NUL", b"\x00", "trust"),
    ("an entry twice", b"version = 1\nversion = 1\n", "trust"),
    ("deep nesting", b"a = " + b"[" * 50_000, "trust"),
    ("a number of 5000 digits", b"version = " + b"1" * 5000, "trust"),
    ("a date of the thirteenth month", b"version = 2026-13-01", "trust"),
    ("too large", _file() + b"#" * (65_537 - len(_file())), "trust"),
    ("a key of 258 parts", _file() + b"a" + b".a" * 257 + b" = 1\n", "trust"),
    ("a table of 258 parts", b"[a" + b".a" * 257 + b"]\n" + _file(), "trust"),
    ("257 dots within a string", _file() + b'"' + b"." * 257 + b'" = 1\n', "trust"),
    ("no version", _file(""), "version"),
    ("version 0", _file("version = 0"), "version"),
    ("version 2", _file("version = 2"), "version"),
    ("version true", _file("version = true"), "version"),
    ("version 1.0", _file("version = 1.0"), "version"),
    ("version as text", _file('version = "1"'), "version"),
    ("an unknown entry", _file("version = 1\nwitness = []"), "witness"),
    ("a misspelt entry", _file("version = 1\naccept_pixel = true"), "accept_pixel"),
    ("accept_pixels = 1", _file("version = 1\naccept_pixels = 1"), "accept_pixels"),
    ("accept_pixels as text", _file('version = 1\naccept_pixels = "true"'), "accept_pixels"),
    ("no log", b"version = 1", "log"),
    ("an empty list of logs", b"version = 1\nlog = []", "log"),
    ("a log as a table", _file().replace(b"[[log]]", b"[log]"), "log"),
    ("a log as text", b'version = 1\nlog = ["ledger.example"]', "log[0]"),
    ("one log twice", _file() + _file("")[1:], "log"),
    ("an unknown entry of a log", _file(url='"https://ledger.example"'), "log[0].url"),
    *((f"no {name}", _without(name), f"log[0].{name}") for name in GOOD),
    ("an id of 63 digits", _file(id=f'"{"a" * 63}"'), "log[0].id"),
    ("an id in upper case", _file(id=f'"{"AB" * 32}"'), "log[0].id"),
    ("an id with a line feed", _file(id=f'"{"ab" * 32}\\n"'), "log[0].id"),
    ("an id as a number", _file(id="12"), "log[0].id"),
    ("an origin that is empty", _file(origin='""'), "log[0].origin"),
    ("an origin with a space", _file(origin='"ledger example"'), "log[0].origin"),
    ("an origin with a quote", _file(origin="'a\"b'"), "log[0].origin"),
    ("an origin with a backslash", _file(origin="'a\\b'"), "log[0].origin"),
    ("an origin of 248", _file(origin=f'"{"o" * 248}"'), "log[0].origin"),
    ("an origin as a list", _file(origin="[]"), "log[0].origin"),
    ("no keys", _file(policy_keys="[]"), "log[0].policy_keys"),
    ("keys as text", _file(policy_keys=f'"{KEYS[0]}"'), "log[0].policy_keys"),
    ("a key as a number", _file(policy_keys="[1]"), "log[0].policy_keys[0]"),
    ("a key in PEM", _file(policy_keys='["-----BEGIN PUBLIC KEY-----"]'), "log[0].policy_keys[0]"),
    ("a key not ASCII", _file(policy_keys='["\u00e9"]'), "log[0].policy_keys[0]"),
    ("a key of nothing", _file(policy_keys='[""]'), "log[0].policy_keys[0]"),
    ("a second key cut off", _file(policy_keys=f'["{KEYS[0]}", "{KEYS[1][:-4]}"]'), "log[0].policy_keys[1]"),
    ("threshold 0", _file(threshold="0"), "log[0].threshold"),
    ("threshold 3 of 2", _file(threshold="3"), "log[0].threshold"),
    ("threshold 2 of one key twice", _file(policy_keys=f'["{KEYS[0]}", "{KEYS[0]}"]'), "log[0].threshold"),
    ("threshold true", _file(threshold="true"), "log[0].threshold"),
    ("threshold 1.0", _file(threshold="1.0"), "log[0].threshold"),
    ("threshold as text", _file(threshold='"1"'), "log[0].threshold"),
    ("threshold as a date", _file(threshold="2026-11-01"), "log[0].threshold"),
    ("post_quantum as text", _file(post_quantum='"true"'), "log[0].post_quantum"),
    ("a witness policy as a list", _file(witness_policy="[]"), "log[0].witness_policy"),
    ("a witness policy without a quorum", _file(witness_policy='""'), "log[0].witness_policy"),
    ("a witness policy with a log", _file(witness_policy=f'"log {VKEY}\\nquorum none\\n"'), "log[0].witness_policy"),
    (
        "a witness of the log's name",
        _file(witness_policy=f'"witness a {SELF.vkey}\\nquorum a\\n"'),
        "log[0].witness_policy",
    ),
    ("a policy version as text", _file(policy_version='"1"'), "log[0].policy_version"),
    ("a policy version below 0", _file(policy_version="-1"), "log[0].policy_version"),
    ("a policy version true", _file(policy_version="true"), "log[0].policy_version"),
    ("a witness policy with a stranger", _file(witness_policy='"quorum north\\n"'), "log[0].witness_policy"),
    ("tsa as a table", _file("version = 1\ntsa = {}"), "tsa"),
    ("tsa as text", _file("version = 1\ntsa = [1]"), "tsa[0]"),
    ("65 tsa", _file() + _tsa() * 65, "tsa"),
    ("one tsa twice", _file() + _tsa() * 2, "tsa"),
    ("an unknown entry of a tsa", _file() + _tsa(url='"https://tsa.example"'), "tsa[0].url"),
    ("a tsa without a name", _file() + _tsa(name=None), "tsa[0].name"),
    ("a tsa with an empty name", _file() + _tsa(name='""'), "tsa[0].name"),
    ("a tsa with a name of two lines", _file() + _tsa(name='"a\\nb"'), "tsa[0].name"),
    ("a tsa without roots", _file() + _tsa(roots=None), "tsa[0].roots"),
    ("a tsa with no roots", _file() + _tsa(roots="[]"), "tsa[0].roots"),
    ("a root that is no base64", _file() + _tsa(roots='["*"]'), "tsa[0].roots[0]"),
    ("a root that is no certificate", _file() + _tsa(roots='["AAAA"]'), "tsa[0].roots[0]"),
    ("a date without an offset", _file() + _tsa(not_before="2026-01-01T00:00:00"), "tsa[0].not_before"),
    ("a date as a number", _file() + _tsa(not_after="1"), "tsa[0].not_after"),
]


@pytest.mark.parametrize(("data", "field"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_trust_file_that_cannot_be_used_is_named(data: bytes, field: str) -> None:
    """Every deviation is a TrustError that names the entry."""
    with pytest.raises(TrustError) as caught:
        trust.parse(data)
    assert caught.value.field == field


@given(st.data())
def test_a_changed_byte_raises_nothing_but_our_error(data: st.DataObject) -> None:
    """A flipped byte is refused, or the file says something else that is well formed."""
    raw = trust.to_toml(LOG).encode()
    at, flip = data.draw(st.integers(0, len(raw) - 1)), data.draw(st.integers(1, 255))
    try:
        parsed = trust.parse(raw[:at] + bytes([raw[at] ^ flip]) + raw[at + 1 :])
    except TrustError:
        return
    assert len(parsed.logs) == 1
