"""`platemark inspect`: every file of ours is known by its content, and secrets stay closed."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from commands import case, ct, platemark

import builders
import stamps
from platemark import cbor, key_files, statement
from platemark.attributes import commit
from platemark.chain import ChainState
from platemark.cosignature import CosignatureSigner
from platemark.enrolment import request_enrolment
from platemark.keys import generate
from platemark.policy_change import Changes, encode_proposal, propose

K = bytes(range(32))
SECRET = "Doe^Jane"


@pytest.fixture(name="files", scope="module")
def _files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One file of every sort, under names that say nothing."""
    folder = tmp_path_factory.mktemp("files")
    made = case(folder, ct(patient=SECRET), name="scan", open_names=("patient_id",))
    key = generate("ed25519")
    key_files.write_private(folder / "plain", key)
    key_files.write_public(folder / "public", key)
    key_files.write_private(folder / "sealed", generate(), b"a passphrase")
    disclosure = commit({"patient_name": SECRET, "rows": None}, key=K)
    request = request_enrolment(builders.CAMERA.key, log=made.log.id, device=builders.CAMERA.uri, role="sensor")
    contents = {
        "statement": made.log.statements[2],
        "policy": made.log.statements[0],
        "proof": made.log.proven(2).proof,
        "checkpoint": made.log.checkpoint(),
        "whole": disclosure.to_bytes(),
        "openings": disclosure.open("patient_name").to_bytes(),
        "request": request.to_bytes(),
        "proposal": encode_proposal(
            propose([statement.decode(made.log.statements[0])], made.log.id, Changes(add_keys=[key.spki]))
        ),
        "state": ChainState(builders.key("a").kid, "https://a.example/b", 7).to_bytes(),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    names = (*contents, "plain", "public", "sealed")
    return {name: folder / name for name in names} | {"evidence": made.evidence, "trust": made.trust}


SORTS = {
    "statement": "statement",
    "policy": "statement",
    "proof": "tlog-proof",
    "checkpoint": "checkpoint",
    "whole": "disclosure",
    "openings": "disclosure",
    "request": "enrolment request",
    "proposal": "policy proposal",
    "state": "chain state",
    "plain": "private key",
    "public": "public key",
    "sealed": "private key",
    "evidence": "evidence",
    "trust": "trust",
}


@pytest.mark.parametrize(("name", "sort"), SORTS.items(), ids=list(SORTS))
def test_every_sort_of_file_is_known(files: dict[str, Path], name: str, sort: str) -> None:
    """By content, not by name, in both forms of output."""
    ran = platemark("inspect", files[name], "--json")
    assert (0, "", sort) == (ran.code, ran.err, ran.json()["file"])
    text = platemark("inspect", files[name])
    assert (text.code, text.err) == (0, "")
    assert text.out.startswith("file")


def test_a_statement_shows_its_id_and_times(files: dict[str, Path]) -> None:
    """What people compare is there: id, issuer, kid, time in words."""
    said = platemark("inspect", files["statement"], "--json").json()
    assert ("capture", builders.MODALITY.uri) == (said["kind"], said["issuer"])
    assert builders.MODALITY.key.kid.hex() == said["kid"]
    assert said["payload"]["captured"].startswith("2027-01-15T08:00:00")


def test_a_trust_file_shows_whom_it_believes(files: dict[str, Path], tmp_path: Path) -> None:
    """Witnesses with quorum, authorities with dates: what is not shown would look as if nobody were named."""
    assert platemark("inspect", files["trust"], "--json").json()["time_stamping_authorities"] == "none"
    witness = CosignatureSigner("north.example", builders.key("north", "ed25519")).verifier
    shop = stamps.shop(label="inspected")
    root = base64.b64encode(shop.authority.roots[0]).decode()
    path = tmp_path / "more.toml"
    path.write_text(
        f"{files['trust'].read_text()}post_quantum = true\npolicy_version = 3\n"
        f"witness_policy = '''\nwitness north {witness.vkey}\nquorum north\n'''\n"
        f'[[tsa]]\nname = "Example TSA"\nroots = ["{root}"]\nnot_after = 2036-01-01T00:00:00Z\n'
    )
    said = platemark("inspect", path, "--json").json()
    (log,), (authority,) = said["log"], said["time_stamping_authorities"]
    assert (log["post_quantum"], log["policy_version"], log["witnesses"]["quorum"]) == (True, 3, "north")
    assert log["witnesses"]["witnesses"] == [f"north: north.example, key id {witness.key_id.hex()}"]
    assert (authority["name"], authority["not_before"]) == ("Example TSA", "any")
    assert authority["not_after"].startswith("2036-01-01T00:00:00")
    assert authority["roots"][0].startswith("CN=root, SHA-256 ")
    text = platemark("inspect", path)
    assert (text.code, "north.example" in text.out, "Example TSA" in text.out) == (0, True, True)


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_secrets_stay_closed(files: dict[str, Path], *, as_json: bool) -> None:
    """Neither K nor an undisclosed value is printed; --reveal prints them; a private key is never printed."""
    more = ["--json"] if as_json else []
    closed = platemark("inspect", files["whole"], *more).out
    assert (K.hex() in closed, SECRET in closed) == (False, False)
    opened = platemark("inspect", files["whole"], "--reveal", *more).out
    assert (K.hex() in opened, SECRET in opened) == (True, True)
    pem = files["plain"].read_text().splitlines()[1]
    for words in (more, [*more, "--reveal"]):
        assert pem not in platemark("inspect", files["plain"], *words).out


def test_what_was_disclosed_is_shown(files: dict[str, Path]) -> None:
    """Openings exist to be read."""
    assert platemark("inspect", files["openings"], "--json").json()["attributes"] == {"patient_name": SECRET}
    disclosed = platemark("inspect", files["evidence"], "--json").json()["disclosure"]
    assert disclosed["attributes"] == {"patient_id": "P1"}


def test_a_sealed_key_says_what_it_needs(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the passphrase an encrypted key is known as one; with it, its kid is shown."""
    monkeypatch.delenv("PLATEMARK_PASSPHRASE", raising=False)
    closed = platemark("inspect", files["sealed"], "--json").json()
    assert (closed["encrypted"], "kid" in closed) == (True, False)
    (tmp_path / "secret").write_text("a passphrase\n")
    opened = platemark("inspect", files["sealed"], "--passphrase-file", tmp_path / "secret", "--json").json()
    assert len(opened["kid"]) == 64
    monkeypatch.setenv("PLATEMARK_PASSPHRASE", "a passphrase")
    assert opened == platemark("inspect", files["sealed"], "--json").json()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"\xd2",
        b"PK\x03\x04",
        b"{}",
        cbor.encode({"v": 1, "proof": b""}),
        cbor.encode({"v": 1}),
        cbor.encode([1]),
        b"[[log]]",
        b"c2sp.org/tlog-proof@v1\n",
        b"a\n\n\xe2\x80\x94 b\n",
        b"-----BEGIN PUBLIC KEY-----",
        b"-----BEGIN PRIVATE KEY-----",
        b"\x89PNG\r\n\x1a\n",
    ],
    ids=repr,
)
def test_anything_else_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    """A file that is not ours, or is broken, is named with a reason; exit code 2."""
    path = tmp_path / "file"
    path.write_bytes(content)
    ran = platemark("inspect", path)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert str(path) in ran.err


def test_a_statement_of_a_later_release_is_no_error(tmp_path: Path) -> None:
    """An unknown version is told as such."""
    from platemark import cose, statement

    header: dict[int | str, cbor.Value] = {
        cose.CONTENT_TYPE: statement.content_type("capture"),
        cose.KID: builders.MODALITY.key.kid,
        cose.CWT_CLAIMS: {1: builders.MODALITY.uri, 2: "urn:uuid:00000000-0000-4000-8000-000000000000"},
    }
    (tmp_path / "later").write_bytes(cose.sign(header, cbor.encode({"v": 2}), builders.MODALITY.key))
    said = platemark("inspect", tmp_path / "later", "--json").json()
    assert said["unknown"] == "payload.v: version 2 is not known to this release"


def test_json_is_plain(files: dict[str, Path]) -> None:
    """Integers that JavaScript would round are strings."""
    content = platemark("inspect", files["policy"], "--json").out
    assert str(builders.END) in json.loads(content)["payload"]["registrars"][0]["not_after"]
