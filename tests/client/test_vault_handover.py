"""Requests and releases: one form each, signed, bound to one capture, and never a value that was not asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

import builders
from platemark import cbor, cose, files, statement
from platemark.attributes import REGISTRY, Disclosure, commit
from platemark.cbor import Value
from platemark.chain import Chain
from platemark.errors import (
    FormatError,
    PlatemarkError,
    RequestRefusedError,
    SignatureError,
    StateError,
    VaultFormatError,
)
from platemark.files import FileError
from platemark.key_files import write_private, write_public
from platemark.keys import Verifier, generate
from platemark.statement import Statement
from platemark.vault import OpenVault, Vault, handover, keys
from platemark.vault import release as releases
from platemark.vault import request as requests
from platemark.vault.release import Release
from platemark.vault.request import CONTENT_TYPE, MAX_PERIOD_NS, Request
from platemark.vault.requesters import Listed, read_keys
from strategies import nfc_text

VAULT_KEY = keys.generate()
INSURER = builders.key("insurer")
VALUES = {
    "technologist": "Roe^Richard",
    "patient_name": "Doe^Jane",
    "study_instance_uid": "1.2.3",
    "sop_instance_uid": "2.25.1",
    "laterality": None,
}
WHOLE = commit(VALUES, key=bytes(range(32)))
OTHER = commit({**VALUES, "technologist": "Somebody^Else"}, key=bytes(range(1, 33)))
LOG = builders.Log()
NOW = builders.NOW
DAY = 86_400 * 10**9


def capture(of: Disclosure) -> bytes:
    """The statement of a capture."""
    return LOG.statements[LOG.capture(attributes=of)]


CAPTURE, OTHER_CAPTURE = capture(WHOLE), capture(OTHER)


def ask(*names: str, raw: bytes = CAPTURE, **changes: Any) -> Request:
    """A request of the insurer."""
    words: dict[str, Any] = {"purpose": "claim 4711", "at": NOW, "expires": NOW + 30 * DAY, "name": "Insurance"}
    return requests.build(INSURER, capture=raw, attributes=names or ("technologist",), **{**words, **changes})


@dataclass
class Desk:
    """The holder's side: a vault with two captures, and an operator's chain."""

    folder: Path
    vault: OpenVault
    chain: Chain
    operator: Verifier
    recorded: list[Statement]

    @property
    def out(self) -> Path:
        """Where the release goes."""
        return self.folder / "r.release"

    def hand_over(self, asked: Request, **changes: Any) -> Release:
        """Answer a request."""
        opened = handover.open_asked(asked, self.vault)
        words: dict[str, Any] = {"record": self.recorded.append, "out": self.out}
        return handover.hand_over(
            asked, opened, vault=self.vault, chain=self.chain, log=LOG.id, at=NOW + DAY, **{**words, **changes}
        )


@pytest.fixture(name="desk")
def _desk(tmp_path: Path) -> Iterator[Desk]:
    Vault.create(tmp_path / "vault", VAULT_KEY.recipient.to_pem()).close()
    operator = generate()
    write_private(tmp_path / "operator.pem", operator)
    chain = Chain(tmp_path / "operator.pem", operator)
    chain.begin(issuer="https://hospital.example/operator", role="operator")
    with OpenVault(tmp_path / "vault", VAULT_KEY) as vault:
        vault.put_all([WHOLE, OTHER])
        yield Desk(tmp_path, vault, chain, operator.public, [])


def resigned(asked: Request, *, signer: builders.Key = INSURER, header: Any = None, **changes: Value) -> bytes:
    """The request with changes of its payload and header, signed by `signer`."""
    payload = {**cast("dict[str, Value]", cbor.decode(cose.decode(asked.raw).payload)), **changes}
    kept = {name: value for name, value in payload.items() if value != "absent"}
    protected = {cose.CONTENT_TYPE: CONTENT_TYPE, cose.KID: signer.kid, **(header or {})}
    return cose.sign(protected, cbor.encode(kept), signer)


# --- requests -----------------------------------------------------------------------------------


@given(
    st.sets(st.sampled_from(sorted(REGISTRY)), min_size=1),
    nfc_text(1, 80).filter(lambda text: text.isprintable() and text != ""),
    st.integers(0, 1 << 62),
    st.integers(1, MAX_PERIOD_NS),
)
def test_a_request_comes_back(names: set[str], purpose: str, at: int, period: int) -> None:
    """Names in the order of their slots, whatever the order they were given in; its id is that of its Sig_structure."""
    made = ask(*names, purpose=purpose, at=at, expires=at + period)
    again = requests.decode(made.raw)
    assert again == made
    assert again.attributes == tuple(sorted(names, key=REGISTRY.__getitem__))
    assert (again.purpose, again.at, again.expires, again.name) == (purpose, at, at + period, "Insurance")
    assert again.id == cose.identify(made.raw)
    assert (again.capture.raw, again.root) == (CAPTURE, WHOLE.root())


def test_a_request_is_no_statement_and_a_statement_no_request() -> None:
    """The content types keep the two apart, whoever signed them."""
    with pytest.raises(FormatError):
        statement.decode(ask().raw)
    with pytest.raises(VaultFormatError, match="not the header of a request"):
        requests.decode(CAPTURE)
    assert (requests.is_request(ask().raw), requests.is_request(CAPTURE)) == (True, False)


REQUEST = ask("technologist", "patient_name")


@given(st.integers(0, len(REQUEST.raw) * 8 - 1))
def test_a_flipped_bit_of_a_request_is_seen(bit: int) -> None:
    """Whichever bit is changed, the request is refused: everything in it is signed."""
    damaged = bytearray(REQUEST.raw)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(VaultFormatError):
        requests.decode(bytes(damaged))


@given(st.integers(0, len(REQUEST.raw) - 1))
def test_a_truncated_request_is_refused(size: int) -> None:
    """Every prefix."""
    with pytest.raises(VaultFormatError):
        requests.decode(REQUEST.raw[:size])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"v": 2}, "request.v"),
        ({"key": b"x"}, "request.key"),
        ({"name": ""}, "request.name"),
        ({"name": "two\nlines"}, "control character"),
        ({"name": "absent"}, "request.name: missing"),
        ({"statement": b"x"}, "request.statement.tag"),
        ({"statement": LOG.statements[0]}, "a statement of kind policy, not a capture"),
        ({"attributes": []}, "0 items"),
        ({"attributes": ["patient_name", "technologist"]}, "ascending order"),
        ({"attributes": ["technologist", "technologist"]}, "ascending order"),
        ({"attributes": ["shoe_size"]}, "shoe_size is not one of"),
        ({"purpose": ""}, "request.purpose"),
        ({"purpose": "x" * 1025}, "1025 bytes"),
        ({"purpose": "\x1b[31m"}, "control character"),
        ({"at": -1}, "request.at"),
        ({"expires": NOW}, "not later than"),
        ({"expires": NOW + MAX_PERIOD_NS + 1}, "more than 366 days"),
        ({"more": 1}, "unknown field"),
    ],
    ids=str,
)
def test_other_requests_are_refused(changes: dict[str, Any], said: str) -> None:
    """Every field has its bounds, and an unknown one is named; a good signature changes nothing."""
    with pytest.raises(VaultFormatError) as caught:
        requests.decode(resigned(REQUEST, **changes))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "header",
    [{cose.KID: bytes(32)}, {cose.CONTENT_TYPE: statement.content_type("capture")}, {cose.CWT_CLAIMS: {1: "a:b"}}],
    ids=["another kid", "another content type", "one more"],
)
def test_other_headers_are_refused(header: Any) -> None:
    """The header holds algorithm, content type and the kid of the key in the payload."""
    with pytest.raises(VaultFormatError, match=r"request\.protected"):
        requests.decode(resigned(REQUEST, header=header))


def test_a_request_in_the_name_of_another_key_is_refused() -> None:
    """Whoever puts a listed key into a request has to sign with it."""
    thief = builders.key("thief")
    with pytest.raises(VaultFormatError, match="does not verify"):
        requests.decode(resigned(REQUEST, signer=thief, header={cose.KID: INSURER.kid}))


# --- who may ask, and for what --------------------------------------------------------------------


LISTED = Listed({INSURER.kid: ("Insurance", INSURER.public)})


@pytest.mark.parametrize(
    ("asked", "listed", "now", "said"),
    [
        (ask(), Listed({}), NOW, "not among the requesters"),
        (ask(), Listed({builders.LOG_KEY.kid: ("", builders.LOG_KEY.public)}), NOW, "not among the requesters"),
        (ask(), LISTED, NOW + 30 * DAY, "expired at"),
        (ask(), None, NOW + 31 * DAY, "expired at"),
        (ask(), LISTED, NOW - DAY, "has not come yet"),
    ],
    ids=["nobody is listed", "others are listed", "the very end", "any requester", "from the future"],
)
def test_askers_that_are_refused(asked: Request, listed: Listed | None, now: int, said: str) -> None:
    """Not listed, expired, or not in force yet."""
    with pytest.raises(RequestRefusedError, match=said):
        handover.check_asker(asked, requesters=listed, now=now)


@pytest.mark.parametrize("listed", [LISTED, None], ids=["listed", "any"])
@pytest.mark.parametrize("now", [NOW - handover.SKEW_NS, NOW, NOW + 30 * DAY - 1])
def test_askers_that_are_answered(listed: Listed | None, now: int) -> None:
    """From the clock's tolerance before it was made to the last nanosecond of its life."""
    handover.check_asker(ask(), requesters=listed, now=now)


def test_captures_of_others_are_refused(desk: Desk) -> None:
    """A capture that this vault does not keep, or erased."""
    foreign = capture(commit({"technologist": "x"}))
    with pytest.raises(RequestRefusedError, match="not in this vault"):
        handover.open_asked(ask(raw=foreign), desk.vault)
    desk.vault.erase(WHOLE.root())
    with pytest.raises(RequestRefusedError, match="not in this vault, or was erased"):
        handover.open_asked(ask(), desk.vault)


def test_attributes_that_were_not_committed_are_refused(desk: Desk) -> None:
    """The names that are missing are said, and nothing of the rest is opened; null is a commitment too."""
    with pytest.raises(RequestRefusedError, match="did not commit to patient_id, kvp"):
        handover.open_asked(ask("technologist", "kvp", "patient_id"), desk.vault)
    assert handover.open_asked(ask("laterality"), desk.vault).verified(WHOLE.root()) == {"laterality": None}


def test_only_custodians_sign(tmp_path: Path) -> None:
    """A key that asked to be enrolled as something else is refused before anything is signed."""
    for role, fine in (("operator", True), ("gateway", True), ("modality", False), ("registrar", False)):
        chain = Chain(tmp_path / f"{role}.pem", generate())
        chain.begin(issuer="https://a.example/b", role=role)
        if fine:
            handover.require_custodian(chain)
            continue
        with pytest.raises(StateError, match=f"the key of a {role}"):
            handover.require_custodian(chain)


# --- releases -------------------------------------------------------------------------------------


def test_a_release_opens_exactly_what_was_asked_for(desk: Desk) -> None:
    """The values asked for and no other are in the file, which only its owner reads; the record names it all."""
    made = desk.hand_over(ask("technologist", "study_instance_uid"))
    data = desk.out.read_bytes()
    found = releases.decode(data)
    assert found == made
    assert found.values == {"technologist": "Roe^Richard", "study_instance_uid": "1.2.3"}
    for closed in (b"Doe^Jane", b"2.25.1", WHOLE.key):
        assert closed is not None
        assert closed not in data
    assert desk.out.stat().st_mode & 0o777 == 0o600
    (custody,) = desk.recorded
    assert custody.payload["of"] == statement.decode(CAPTURE).id
    assert (custody.kind, custody.payload["event"], custody.log) == ("custody", "accessed", LOG.id)
    said = found.recorded.verified(cast("bytes", custody.payload["attributes"]))
    assert said == {
        "remark": f"released technologist,study_instance_uid; request {found.request.id.hex()}; purpose claim 4711"
    }


def test_the_record_is_safe_before_anything_leaves(desk: Desk) -> None:
    """When the record cannot be kept, no release is written, and the vault keeps what the record commits to."""

    def full(_: Statement) -> None:
        assert not desk.out.exists()
        raise PlatemarkError("the spool is full")

    with pytest.raises(PlatemarkError, match="the spool is full"):
        desk.hand_over(ask(), record=full)
    assert not desk.out.exists()
    made = desk.hand_over(ask())
    root = cast("bytes", made.custody.payload["attributes"])
    assert {"remark": releases.remark(made.request)} == desk.vault.get(root).values


class CrashError(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", ["vault.put", "chain.sign", "record", "files.create"])
def test_whatever_left_is_recorded(desk: Desk, monkeypatch: pytest.MonkeyPatch, step: str, *, done: bool) -> None:
    """The process dies before or after each write: a release that is there has its record, and the next try succeeds."""

    def dying(real: Any) -> Any:
        def call(*words: Any, **options: Any) -> None:
            if done:
                real(*words, **options)
            raise CrashError

        return call

    targets: dict[str, tuple[Any, str]] = {
        "vault.put": (desk.vault, "put"),
        "chain.sign": (desk.chain, "sign"),
        "files.create": (files, "create"),
    }
    record: Any = desk.recorded.append
    with monkeypatch.context() as patch:
        if step == "record":
            record = dying(record)
        else:
            patch.setattr(*targets[step], dying(getattr(*targets[step])))
        with pytest.raises(CrashError):
            desk.hand_over(ask(), record=record)
    assert desk.out.exists() == ((step, done) == ("files.create", True))
    assert len(desk.recorded) == ((step, done) in {("record", True), ("files.create", False), ("files.create", True)})
    if desk.out.exists():
        assert [releases.decode(desk.out.read_bytes()).custody] == desk.recorded
    else:
        made = desk.hand_over(ask())
        assert desk.recorded[-1] == made.custody


def test_a_release_replaces_nothing(desk: Desk) -> None:
    """Where a file is, nothing is signed and nothing recorded."""
    desk.out.write_text("mine")
    with pytest.raises(FileError, match="exists already"):
        desk.hand_over(ask())
    with pytest.raises(FileError, match="not a directory"):
        desk.hand_over(ask(), out=desk.folder / "gone" / "r.release")
    assert (desk.out.read_text(), desk.recorded) == ("mine", [])


def parts(release: Release, **changes: Value) -> bytes:
    """The file with some parts exchanged."""
    content = cast("dict[str, Value]", cbor.decode(release.to_bytes()))
    return cbor.encode({name: value for name, value in {**content, **changes}.items() if value != "absent"})


def test_a_release_for_another_capture_is_refused(desk: Desk) -> None:
    """Parts of two releases do not go together, whichever of them is exchanged."""
    one = desk.hand_over(ask())
    two = desk.hand_over(ask(raw=OTHER_CAPTURE), out=desk.folder / "two.release")
    same = desk.hand_over(ask(purpose="another"), out=desk.folder / "three.release")
    for other in (two, same):
        for name in ("request", "disclosure", "custody", "recorded"):
            exchanged = cast("dict[str, Value]", cbor.decode(other.to_bytes()))[name]
            if (other, name) == (same, "disclosure"):
                continue  # the same openings of the same capture
            with pytest.raises(VaultFormatError):
                releases.decode(parts(one, **{name: exchanged}))


def test_a_release_with_more_or_less_is_refused(desk: Desk) -> None:
    """Openings of other attributes than asked for, or K itself, are refused even when the record agrees with them."""
    asked = ask("technologist")
    for opened in (WHOLE.open("technologist", "patient_name"), WHOLE.open("patient_name"), WHOLE.open(), WHOLE):
        recorded = commit({"remark": releases.remark(asked)})
        payload = releases.custody_payload(asked, opened, recorded, at=NOW, log=LOG.id)
        made = Release(asked, opened, desk.chain.sign("custody", payload), recorded.open("remark"))
        with pytest.raises(VaultFormatError, match=r"release\.disclosure"):
            releases.decode(made.to_bytes())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"event": "transferred"}, "of the event accessed"),
        ({"of": bytes(32)}, "records another capture"),
        ({"digests": builders.digests(b"else")}, "something else was handed over"),
        ({"digests": None}, "something else was handed over"),
        ({"attributes": bytes(32)}, "release.recorded"),
        ({"attributes": None}, "release.recorded"),
    ],
    ids=str,
)
def test_a_record_of_something_else_is_refused(desk: Desk, changes: dict[str, Any], said: str) -> None:
    """The custody statement has to be about this capture, this content and this request."""
    asked = ask()
    opened, recorded = WHOLE.open("technologist"), commit({"remark": releases.remark(asked)})
    payload: dict[str, Any] = releases.custody_payload(asked, opened, recorded, at=NOW, log=LOG.id)
    kept = {name: value for name, value in {**payload, **changes}.items() if value is not None}
    made = Release(asked, opened, desk.chain.sign("custody", kept), recorded.open("remark"))
    with pytest.raises(VaultFormatError) as caught:
        releases.decode(made.to_bytes())
    assert said in str(caught.value)


def test_another_purpose_in_the_record_is_refused(desk: Desk) -> None:
    """What the record commits to names this request and its purpose."""
    asked = ask()
    opened, recorded = WHOLE.open("technologist"), commit({"remark": "released technologist; for fun"})
    payload = releases.custody_payload(asked, opened, recorded, at=NOW, log=LOG.id)
    made = Release(asked, opened, desk.chain.sign("custody", payload), recorded.open("remark"))
    with pytest.raises(VaultFormatError, match="records another request"):
        releases.decode(made.to_bytes())
    with pytest.raises(VaultFormatError, match=r"release\.recorded"):
        releases.decode(replace(made, recorded=recorded).to_bytes())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"v": 2}, "release.v"),
        ({"request": b"x"}, "release.request.tag"),
        ({"disclosure": b"x"}, "release.disclosure"),
        ({"custody": CAPTURE}, "not a custody statement"),
        ({"custody": b"x"}, "release.tag"),
        ({"recorded": b""}, "release.recorded"),
        ({"recorded": "absent"}, "release.recorded: missing"),
        ({"more": 1}, "unknown field"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_other_releases_are_refused(desk: Desk, changes: dict[str, Any], said: str) -> None:
    """Every part has its form."""
    with pytest.raises(VaultFormatError) as caught:
        releases.decode(parts(desk.hand_over(ask()), **changes))
    assert said in str(caught.value)


def test_damaged_releases_are_refused(desk: Desk) -> None:
    """Cut anywhere or changed in any byte a release is refused, at the latest by the operator's signature."""
    made = desk.hand_over(ask())
    data = made.to_bytes()
    for at in range(0, len(data), 7):
        with pytest.raises(VaultFormatError):
            releases.decode(data[:at])
        with pytest.raises((VaultFormatError, SignatureError)):
            releases.decode(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]).custody.verify(desk.operator)
    releases.decode(data).custody.verify(desk.operator)


@given(st.binary(max_size=300), st.sampled_from([b"", b"\xa5\x61v\x01", b"\xd2\x84"]))
def test_any_bytes_are_refused_in_order(data: bytes, start: bytes) -> None:
    """Whatever the bytes are, the error is one of ours."""
    for decode in (requests.decode, releases.decode):
        with pytest.raises(VaultFormatError):
            decode(start + data)


# --- lists of keys --------------------------------------------------------------------------------


def test_a_list_of_keys(tmp_path: Path) -> None:
    """PEM blocks one after another; the last line above a block is the holder's name for it."""
    for name, public in (("a", INSURER), ("b", builders.LOG_KEY)):
        write_public(tmp_path / f"{name}.pub", public.private)
    path = tmp_path / "list.pem"
    path.write_text(f"for claims\n# Insurance\n{(tmp_path / 'a.pub').read_text()}{(tmp_path / 'b.pub').read_text()}")
    listed = read_keys(path)
    assert (len(listed), listed.name(INSURER.kid), listed.name(builders.LOG_KEY.kid)) == (2, "Insurance", "")
    assert listed.verifier(INSURER.kid) == INSURER.public
    assert bytes(32) not in listed
    assert (listed.name(bytes(32)), listed.verifier(bytes(32))) == (None, None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (b"", "not a list of public keys"),
        (b"\xff", "not text"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "key 1: not a public key"),
        (VAULT_KEY.recipient.to_pem().encode(), "key 1: "),
        (b"{good}-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "something else in it"),
        (b"{good}-----BEGIN PUBLIC KEY-----\n???\n-----END PUBLIC KEY-----\n", "something else in it"),
    ],
    ids=["missing", "empty", "no text", "damaged", "X25519", "a private key", "an unreadable block"],
)
def test_other_lists_are_refused(tmp_path: Path, content: bytes | None, said: str) -> None:
    """A key that was not read never looks as if it were."""
    write_public(tmp_path / "good.pub", INSURER.private)
    if content is not None:
        (tmp_path / "list.pem").write_bytes(content.replace(b"{good}", (tmp_path / "good.pub").read_bytes()))
    with pytest.raises(PlatemarkError, match=said):
        read_keys(tmp_path / "list.pem")
