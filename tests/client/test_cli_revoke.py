"""What `platemark revoke` and `platemark policy` decide before anything is sent: keys, questions, files."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
import typer
from commands import platemark

import builders
from builders import Log
from platemark import statement
from platemark.cli.revoke import confirm, kid_of
from platemark.errors import PlatemarkError
from platemark.key_files import write_private, write_public
from platemark.keys import generate
from platemark.policy_change import Changes, encode_proposal, propose


class Terminal(io.StringIO):
    """A standard input at which a person sits."""

    def isatty(self) -> bool:
        """Yes."""
        return True


def test_a_key_is_named_by_its_id_or_its_file(tmp_path: Path) -> None:
    """64 hex digits in either case, or a public key."""
    key = generate()
    write_public(tmp_path / "a.pub", key)
    assert key.kid == kid_of(str(tmp_path / "a.pub")) == kid_of(key.kid.hex()) == kid_of(key.kid.hex().upper())
    with pytest.raises(typer.BadParameter, match="neither a key id"):
        kid_of(key.kid.hex()[1:])


@pytest.mark.parametrize("answer", ["y\n", "yes\n"])
def test_a_person_is_asked(answer: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What is about to happen is shown on standard error, and a yes goes on."""
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    confirm(["Revoke it", "for good"], yes=False)
    shown = capsys.readouterr()
    assert ("Revoke it\nfor good\n" in shown.err, shown.out) == (True, "")


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_anything_but_a_yes_stops(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No is the default."""
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    with pytest.raises(typer.Abort):
        confirm(["Revoke it"], yes=False)


@pytest.mark.parametrize("stdin", [None, io.StringIO("y\n")])
def test_a_script_has_to_say_yes(stdin: io.StringIO | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal nothing is asked and nothing done; --yes asks nobody."""
    monkeypatch.setattr(sys, "stdin", stdin)
    with pytest.raises(PlatemarkError, match="--yes goes on"):
        confirm(["Revoke it"], yes=False)
    confirm(["Revoke it"], yes=True)


@pytest.fixture(name="proposal")
def _proposal(tmp_path: Path) -> Path:
    log = Log()
    changes = Changes(add_log_keys=[builders.key("log-2", "ed25519").spki])
    payload = propose([statement.decode(log.statements[0])], log.id, changes)
    path = tmp_path / "next.policy"
    path.write_bytes(encode_proposal(payload))
    return path


def test_a_policy_is_signed_offline(proposal: Path, tmp_path: Path) -> None:
    """The statement lies beside the proposal, signed over its very bytes, and is not overwritten."""
    key = generate()
    write_private(tmp_path / "policy-1.key", key)
    words = ("policy", "sign", proposal, "--key", tmp_path / "policy-1.key", "--yes")
    ran = platemark(*words, "--json")
    assert (ran.code, ran.err) == (0, "")
    signed = statement.decode(Path(ran.json()["statement"]).read_bytes())
    assert (signed.message.payload, signed.kid, signed.issuer) == (
        proposal.read_bytes(),
        key.kid,
        f"https://{builders.ORIGIN}",
    )
    signed.verify(key.public)
    assert ((again := platemark(*words)).code, "exists already" in again.err) == (2, True)
    assert "signed     " in platemark(*words, "--force").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("policy", "sign", "PROPOSAL", "--key", "k"), "--yes goes on without asking"),
        (("policy", "sign", "KEY", "--key", "k", "--yes"), "a.pub: proposal: "),
        (("policy", "submit", "PROPOSAL"), "next.policy: "),
        (("policy", "submit", "CAPTURE"), "a statement of kind enrol, not policy"),
        (
            ("policy", "propose", "--add-registrar", "r.pub", "--out", "o"),
            "--add-registrar and --registrar-uri go together",
        ),
        (("policy", "propose", "--drop-key", "abc", "--out", "o"), "neither a key id of 64 hex digits nor a file"),
        (("policy", "propose", "--threshold", "0", "--out", "o"), "Invalid value for '--threshold'"),
    ],
    ids=["script", "no proposal", "unsigned", "another kind", "half a registrar", "no key", "threshold"],
)
def test_half_a_policy_command_is_a_usage_error(
    words: tuple[str, ...], said: str, proposal: Path, tmp_path: Path
) -> None:
    """Told before anything is sent."""
    write_public(tmp_path / "a.pub", generate())
    log = Log()
    (tmp_path / "enrolment").write_bytes(log.statements[log.enrol(builders.MODALITY)])
    places = {"PROPOSAL": proposal, "KEY": tmp_path / "a.pub", "CAPTURE": tmp_path / "enrolment"}
    ran = platemark(*(places.get(word, word) for word in words))
    assert (ran.code, said in ran.err, ran.err.count("\n")) == (2, True, 1)
