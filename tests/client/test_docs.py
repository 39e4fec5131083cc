"""The documents say what the code does: tables, texts and commands that are written twice are compared."""

import re
import shlex
from pathlib import Path

import pytest

from platemark import evidence, kinds, report, trust, verdict
from platemark.attributes import KINDS as ATTRIBUTE_TYPES
from platemark.attributes import REGISTRY
from platemark.audit import CODES
from platemark.capture import measure
from platemark.cli.app import app
from platemark.rungs import HEADER_BINDING, RUNGS
from platemark.verify import verify

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted({path for pattern in ("*.md", "[a-z]*/*.md") for path in ROOT.glob(pattern)})
FORBIDDEN = ("authentic", "genuine", "unaltered")


def text(name: str) -> str:
    """A file of the project."""
    return (ROOT / name).read_text(encoding="utf-8")


def test_registry_table() -> None:
    """proto/attributes.md lists every attribute with its slot, type and place in the header binding set."""
    rows = re.findall(r"^\| (\d+) \| `(\w+)`( \*)? \| (text|int) \|", text("proto/attributes.md"), re.MULTILINE)
    expected = [
        (str(slot), name, " *" if name in HEADER_BINDING else "", "int" if ATTRIBUTE_TYPES[name] is int else "text")
        for name, slot in REGISTRY.items()
    ]
    assert expected == rows


def test_kinds_table() -> None:
    """proto/statement.md section 5 names every kind, with its fields and with the mark of the log-bound ones."""
    rows = re.findall(r"^\| `(\w+)`( †)?(?: \([^)]*\))? \| (.*) \|$", text("proto/statement.md"), re.MULTILINE)
    assert set(kinds.KINDS) == {kind for kind, _, _ in rows}
    assert {kind for kind, mark, _ in rows if mark} == kinds.LOG_BOUND


@pytest.mark.parametrize("kind", sorted(kinds.KINDS))
def test_fields_of_kind(kind: str) -> None:
    """Every field of a kind is named in its row, or is a chain field or one of the log-bound fields."""
    row = next(line for line in text("proto/statement.md").splitlines() if line.startswith(f"| `{kind}`"))
    common = {"v", "epoch", "seq", "prev", "at", "log"}
    check = kinds.KINDS[kind]
    names = set(re.findall(r"`(\w+)`", row)) | common
    fields = next(cell.cell_contents for cell in check.__closure__ or () if isinstance(cell.cell_contents, dict))
    assert set(fields) <= names


def test_roles_table() -> None:
    """The table of roles in proto/statement.md is platemark.kinds.SIGNERS."""
    rows = dict(
        re.findall(r"^\| ([a-z]+(?: keys)?)(?: \([^|]*\))? \| ([a-z].*) \|$", text("proto/statement.md"), re.MULTILINE)
    )
    for role in (*kinds.ROLES, "policy keys", "log keys"):
        stated = set(re.findall(r"[a-z]+", re.sub(r"\([^)]*\)", "", rows[role])))
        assert {kind for kind, roles in kinds.SIGNERS.items() if role.removesuffix(" keys") in roles} == stated


def test_conditions_table() -> None:
    """proto/statement.md section 6 lists the conditions that evidence may report, in their order."""
    section = text("proto/statement.md").partition("## 6.")[2].partition("| condition |")[2]
    assert (
        list(evidence.CONDITIONS) == re.findall(r"^\| ([a-z-]+) \| ", section, re.MULTILINE)[: len(evidence.CONDITIONS)]
    )


def test_rungs_are_specified() -> None:
    """Every rung is named in proto/statement.md."""
    assert [rung for rung in RUNGS if rung not in text("proto/statement.md")] == []


def test_evidence_readme() -> None:
    """proto/evidence.md section 6 holds the README.txt that every bundle carries."""
    block = re.search(r"```text\n(.*?)```", text("proto/evidence.md"), re.DOTALL)
    assert block is not None
    assert block[1] == evidence.README


def test_check_titles() -> None:
    """proto/evidence.md section 4 numbers and names the checks as the verifier does."""
    found = re.findall(r"^(\d+)\. \*\*(\w+)\*\*", text("proto/evidence.md"), re.MULTILINE)
    assert [(str(number), title) for number, title in verdict.TITLES.items()] == found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_words(path: Path) -> None:
    """Relative links lead to files, and the words that promise too much are not used."""
    content = path.read_text(encoding="utf-8")
    targets = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", content) if "://" not in link]
    assert [link for link in targets if not (path.parent / link).exists()] == []
    assert [
        word for word in FORBIDDEN if re.search(rf"\b{word}\b", content, re.IGNORECASE) and path.name != "THREATS.md"
    ] == []


def test_attacks_that_are_tests_are_tests() -> None:
    """Every test that THREATS.md names is there."""
    named = re.findall(r"`((?:client|integration)/test_\w+\.py)::(test_\w+)`", text("THREATS.md"))
    assert len(named) > 10
    assert [each for each in named if f"\ndef {each[1]}(" not in text(f"tests/{each[0]}")] == []


def test_readme_commands_exist() -> None:
    """Every platemark command that the README shows is a command."""
    shown = {shlex.split(line)[1] for line in re.findall(r"`(platemark [a-z]+[^`]*)`", text("README.md"))}
    shown |= {line.split()[2] for line in re.findall(r"^\$ platemark .*$", text("README.md"), re.MULTILINE)}
    commands = {each.name for each in app.registered_commands} | {each.name for each in app.registered_groups}
    assert shown <= commands


def test_readme_targets_exist() -> None:
    """Every make target that the README shows is in the Makefile."""
    for target in re.findall(r"make ([a-z]+)\b", text("README.md")):
        assert target == "alone" or re.search(rf"^{target}:", text("Makefile"), re.MULTILINE), target


def test_readme_output_is_real() -> None:
    """The output that the README shows is what the verifier says of the golden file that it names, line by line."""
    folder = ROOT / "tests/vectors/golden/0.1"
    block = re.search(r"```console\n(.*?)```", text("README.md"), re.DOTALL)
    assert block is not None
    shown = [line for line in block[1].splitlines() if line != "..." and not line.startswith("$")]
    found = verify(
        evidence.from_bytes((folder / "scan.dcm.evidence").read_bytes()),
        trust=trust.parse((folder / "trust.toml").read_bytes()),
        image=measure(folder / "scan.dcm"),
        at=1_800_000_000 * 10**9,
    )
    lines = iter(report.to_text(found).splitlines())
    assert [line for line in shown if line not in lines] == []


def test_findings_table() -> None:
    """proto/audit.md section 3 is the closed list of platemark.audit.CODES with its severities."""
    rows = re.findall(
        r"^\| ([a-z-]+(?:, [a-z-]+)*) \| (critical|warning|notice) \|", text("proto/audit.md"), re.MULTILINE
    )
    assert sorted((code, severity) for codes, severity in rows for code in codes.split(", ")) == sorted(CODES.items())
