"""Who a caller is, what it may do, and files that change under a running ledger."""

from __future__ import annotations

import datetime as dt
import logging
import time
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from integration.certificates import Authority

from platemark.errors import FormatError
from platemark.v1 import ledger_pb2 as pb
from platemark_ledger import watched as watched_files
from platemark_ledger.access import RULES, Access, AccessFileError, Role, read_access, rule_of
from platemark_ledger.access_crl import RevocationError, read_lists
from platemark_ledger.access_peer import SPIFFE_ID, Peer, peer_of, subject_text
from platemark_ledger.settings import ConfigError, Settings
from platemark_ledger.watched import Watched

_FILE = b"""
[[caller]]
spiffe = "spiffe://hospital.example/device/ct-1"
roles = ["writer"]

[[caller]]
spiffe_prefix = "spiffe://hospital.example/device/"
roles = ["reader"]

[[caller]]
subject = "CN=archive,O=Hospital\\\\, North"
roles = ["reader", "operator"]
"""
_DEPLOY = Path(__file__).parents[2] / "deploy"


def _peer(*, spiffe: str | None = None, subject: str | None = None) -> Peer:
    moment = dt.datetime.now(dt.UTC)
    return Peer(spiffe, subject, b"", 1, moment, moment, "")


def _seen(authority: Authority, name: str, *uris: str) -> Peer | None:
    return peer_of({"x509_pem_cert": [authority.issue(name, uris=uris).certificate.read_bytes()]})


def test_every_call_has_its_row() -> None:
    """A method of ledger.proto that the table forgot would be refused to everybody."""
    methods = {method.name for method in pb.DESCRIPTOR.services_by_name["Ledger"].methods}
    assert methods - {row.partition(" ")[0] for row in RULES} == set()


def test_a_method_without_a_row_has_no_rule() -> None:
    """Nothing is allowed by being unknown."""
    with pytest.raises(KeyError):
        rule_of("DropEverything", pb.GetCheckpointRequest())


@pytest.mark.parametrize(
    ("peer", "roles"),
    [
        (None, ""),
        (_peer(), ""),
        (_peer(spiffe="spiffe://hospital.example/device/ct-1"), "writer reader"),
        (_peer(spiffe="spiffe://hospital.example/device/ct-2"), "reader"),
        (_peer(spiffe="spiffe://hospital.example/device"), ""),
        (_peer(spiffe="spiffe://hospital.example/device-2/a"), ""),
        (_peer(spiffe="spiffe://hospital.example.evil/device/ct-1"), ""),
        (_peer(subject="CN=archive,O=Hospital\\, North"), "reader operator"),
        (_peer(subject="CN=archive"), ""),
        (_peer(subject="spiffe://hospital.example/device/ct-1"), ""),
    ],
)
def test_a_caller_has_the_roles_of_every_entry_that_names_it(peer: Peer | None, roles: str) -> None:
    """And the public one; never those of an entry that is only like its name."""
    assert read_access([_FILE]).roles(peer) == {Role.PUBLIC, *map(Role, roles.split())}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("caller = 1", "caller: write"),
        ("caller = [1]", r"caller\[0\]: write"),
        ("[caller]\nroles=[]", "caller: write"),
        ("[[callers]]", "callers: the file holds nothing but"),
        ('[[caller]]\nroles = ["reader"]', r"caller\[0\]: exactly one of"),
        ('[[caller]]\nsubject = "CN=a"\nspiffe = "spiffe://a/b"\nroles = ["reader"]', "exactly one of"),
        ('[[caller]]\nsubject = "CN=a"\nrole = "reader"', r"caller\[0\]\.role: unknown"),
        ('[[caller]]\nsubject = "CN=a"', r"caller\[0\]\.roles: a list"),
        ('[[caller]]\nsubject = "CN=a"\nroles = []', r"caller\[0\]\.roles: a list"),
        ('[[caller]]\nsubject = "CN=a"\nroles = ["admin"]', "'admin' is none of writer, reader, operator, public"),
        ('[[caller]]\nsubject = "CN=a"\nroles = [["reader"]]', "is none of"),
        ('[[caller]]\nsubject = 5\nroles = ["reader"]', r"caller\[0\]\.subject: a string"),
        ('[[caller]]\nsubject = ""\nroles = ["reader"]', "names nobody"),
        ('[[caller]]\nsubject = "archive"\nroles = ["reader"]', "not RFC 4514"),
        ('[[caller]]\nspiffe = "spiffe://a/b/"\nroles = ["reader"]', "not a SPIFFE id"),
        ('[[caller]]\nspiffe = "https://a/b"\nroles = ["reader"]', "not a SPIFFE id"),
        ('[[caller]]\nspiffe_prefix = "spiffe://a/b"\nroles = ["reader"]', "not a SPIFFE id followed by /"),
        ('[[caller]]\nspiffe_prefix = "/"\nroles = ["reader"]', "not a SPIFFE id followed by /"),
        (
            '[[caller]]\nsubject = "CN=a"\nroles = ["reader"]\n[[caller]]\nsubject = "2.5.4.3=a"\nroles = ["writer"]',
            r"caller\[1\]\.subject: CN=a has an entry already",
        ),
        ("caller = ", "toml: "),
        ("\xff", "toml: "),
    ],
)
def test_a_file_that_says_something_else_is_refused_with_the_place(text: str, says: str) -> None:
    """A misspelt role is not silently no role."""
    with pytest.raises(AccessFileError, match=says):
        read_access([text.encode("latin-1")])


def test_the_example_is_an_access_file() -> None:
    """What the runbook copies is read, and names all that there is to name."""
    access = read_access([(_DEPLOY / "access.toml").read_bytes()])
    granted = {
        role for entries in (access.ids, access.prefixes, access.subjects) for each in entries.values() for role in each
    }
    assert granted == {Role.WRITER, Role.READER, Role.OPERATOR}
    assert access.ids
    assert access.prefixes
    assert access.subjects


@pytest.mark.parametrize(
    "text",
    [
        "spiffe://",
        "spiffe://a/",
        "spiffe://a//b",
        "spiffe://a/../b",
        "spiffe://a/.",
        "spiffe://A/b",
        "SPIFFE://a/b",
        "spiffe://a:1/b",
        "spiffe://u@a/b",
        "spiffe://a/b?c",
        "spiffe://a/b#c",
        "spiffe://a/%2e%2e",
        "spiffe://a/b\n",
    ],
)
def test_what_is_no_spiffe_id_is_none(text: str) -> None:
    """Forms that another reader might take for another id (SPIFFE-ID section 2)."""
    assert SPIFFE_ID.fullmatch(text) is None


@given(st.from_regex(SPIFFE_ID, fullmatch=True), st.text(max_size=8))
def test_a_prefix_takes_in_only_what_is_below_it(identity: str, more: str) -> None:
    """Every id that a prefix names has the prefix's segments as its own first ones."""
    access = Access({}, {f"{identity}/": frozenset({Role.READER})}, {})
    other = f"{identity}{more}"
    below = other.split("/")[: identity.count("/") + 1] == identity.split("/") and other.count("/") > identity.count(
        "/"
    )
    assert (Role.READER in access.roles(_peer(spiffe=other))) == below


@given(
    st.lists(
        st.tuples(
            st.sampled_from([NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.EMAIL_ADDRESS]),
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_the_subject_of_any_certificate_can_be_named(parts: list[tuple[x509.ObjectIdentifier, str]]) -> None:
    """RFC 4514 text, as refusals and the access log show it, names the same caller in the access file."""
    text = x509.Name([x509.NameAttribute(kind, value) for kind, value in parts]).rfc4514_string()
    assert subject_text(text) == text


def test_a_spiffe_id_is_preferred_and_several_names_are_none(tmp_path: Path) -> None:
    """A certificate with a SPIFFE id that cannot be used does not fall back to its subject (X509-SVID section 2)."""
    authority = Authority(tmp_path, "authority")
    names = [
        _seen(authority, "plain"),
        _seen(authority, "web", "https://hospital.example/"),
        _seen(authority, "one", "spiffe://hospital.example/a"),
        _seen(authority, "two", "spiffe://hospital.example/a", "spiffe://hospital.example/b"),
        _seen(authority, "mixed", "spiffe://hospital.example/a", "https://hospital.example/"),
        _seen(authority, "odd", "spiffe://hospital.example/../b"),
        _seen(authority, "upper", "SPIFFE://hospital.example/b"),
    ]
    assert [each and each.name for each in names] == [
        "CN=plain",
        "CN=web",
        "spiffe://hospital.example/a",
        "",
        "",
        "",
        "",
    ]
    assert peer_of({}) is None


def test_a_list_counts_only_whole_and_signed_by_the_authority(tmp_path: Path) -> None:
    """DER, PEM and several lists in one file are read; a stranger's, a partial and a cut one are not."""
    authority, other = Authority(tmp_path, "authority"), Authority(tmp_path, "other")
    stranger = Authority(tmp_path / "..", tmp_path.name + "-stranger")
    stolen, kept = authority.issue("stolen"), authority.issue("kept")
    ca = authority.ca.read_bytes() + other.ca.read_bytes()
    one, empty = authority.revocation_list(stolen), other.revocation_list()
    der, pem = one.public_bytes(Encoding.DER), one.public_bytes(Encoding.PEM)
    for content in (der, pem, pem + empty.public_bytes(Encoding.PEM)):
        revoked = read_lists([content, ca])
        issuer = stolen.parsed.issuer.public_bytes()
        assert revoked.holds(issuer, stolen.parsed.serial_number)
        assert not revoked.holds(issuer, kept.parsed.serial_number)
        assert not revoked.holds(stranger.issue("x").parsed.issuer.public_bytes(), stolen.parsed.serial_number)
        assert revoked.due == one.next_update_utc
    delta = authority.revocation_list(stolen, critical=x509.DeltaCRLIndicator(1))
    unusable = [
        stranger.revocation_list(stolen).public_bytes(Encoding.PEM),
        delta.public_bytes(Encoding.PEM),
        pem + pem,
        pem[:-5],
        pem + empty.public_bytes(Encoding.PEM)[:-30],
        der[:-1],
        b"",
    ]
    for content in unusable:
        with pytest.raises((RevocationError, ValueError)):
            read_lists([content, ca])


def test_a_forged_list_in_the_name_of_the_authority_does_not_count(tmp_path: Path) -> None:
    """The name is right and the key is not."""
    (tmp_path / "a").mkdir()
    authority, forger = Authority(tmp_path, "authority"), Authority(tmp_path / "a", "authority")
    forged = forger.revocation_list().public_bytes(Encoding.PEM)
    with pytest.raises(RevocationError, match="no authority of tls_client_ca signed"):
        read_lists([forged, authority.ca.read_bytes()])


@pytest.fixture(scope="module", name="signed")
def _signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A list of one certificate in DER, and its authority."""
    authority = Authority(tmp_path_factory.mktemp("authority"), "authority")
    made = authority.revocation_list(authority.issue("stolen"))
    return made.public_bytes(Encoding.DER), authority.ca.read_bytes()


@given(st.data())
def test_no_changed_list_says_something_else(signed: tuple[bytes, bytes], data: st.DataObject) -> None:
    """A byte changed anywhere: refused, or the same list."""
    content, ca = bytearray(signed[0]), signed[1]
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = read_lists([bytes(content), ca])
    except (RevocationError, ValueError):
        return
    assert found == read_lists([signed[0], ca])


@given(st.binary(max_size=80) | st.text('[]caller="spifesubjctro,\n ', max_size=80).map(str.encode))
def test_any_bytes_are_an_access_file_or_its_error(content: bytes) -> None:
    """Nothing else comes of a file that somebody wrote by mistake."""
    with suppress(AccessFileError):
        read_access([content])


def test_a_fault_of_a_parser_leaves_the_content_before_in_force(tmp_path: Path) -> None:
    """Whatever it raises: calls go on under the old content."""
    path = tmp_path / "file"
    path.write_text("1")
    watched = Watched("access", [path], lambda contents: 1 // int(contents[0]))
    path.write_text("0")
    assert watched.value == 1


def _number(contents: object) -> int:
    assert isinstance(contents, tuple)
    return int(contents[0])


def test_a_watched_file_is_what_it_says_now_or_was_the_last_usable_thing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Changes are seen at once, in place and by replacement; what cannot be used is one alarm and changes nothing."""
    caplog.set_level(logging.INFO)
    path = tmp_path / "file"
    path.write_text("1")
    watched = Watched("access", [path], _number)
    assert watched.current() == (1, 0)
    path.write_text("2")  # the same size, perhaps the same tick of the clock
    assert watched.current() == (2, 1)
    (tmp_path / "new").write_text("3")
    (tmp_path / "new").rename(path)
    assert watched.current() == (3, 2)
    path.write_text("no number")
    assert [watched.value, watched.value] == [3, 3]
    path.unlink()
    assert [watched.value, watched.value] == [3, 3]
    alarms = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert len(alarms) == 2
    assert str(path) in alarms[0]
    assert "No such file" in alarms[1]
    path.write_text("3")
    assert watched.value == 3
    path.write_text("4")
    assert watched.value == 4


@pytest.mark.parametrize(("age_ns", "seen"), [(0, "2"), (10 * 10**9, "1")])
def test_two_writes_in_one_tick_of_the_clock_are_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age_ns: int, seen: str
) -> None:
    """A file whose stamp is young is read again although its stamp is the same; an old one is not."""
    stamp = (1, 2, 3, time.time_ns() - age_ns, time.time_ns() - age_ns)
    monkeypatch.setattr(watched_files, "_stamp", lambda _: stamp)
    path = tmp_path / "file"
    path.write_text("1")
    watched = Watched("access", [path], _number)
    path.write_text("2")
    assert watched.value == int(seen)


def test_a_first_content_that_cannot_be_used_is_refused_by_the_setting(tmp_path: Path) -> None:
    """A ledger does not start without what its operator meant it to check."""
    with pytest.raises(ConfigError, match="tls_client_crl"):
        Watched("tls_client_crl", [tmp_path / "nowhere"], _number)
    (tmp_path / "odd").write_text("odd")
    with pytest.raises(FormatError, match="odd"):
        Watched("access", [tmp_path / "odd"], _number)


def test_a_revocation_list_needs_its_authority() -> None:
    """Without client certificates there is nothing to revoke."""
    with pytest.raises(ConfigError, match="tls_client_crl: it needs tls_client_ca"):
        Settings(origin="a.test", tls_client_crl=Path("list.pem"))
