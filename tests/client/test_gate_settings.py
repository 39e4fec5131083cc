"""The settings of a gate, and the file that explains them."""

from __future__ import annotations

import dataclasses
import re
import typing
from pathlib import Path
from typing import Any

from platemark.gateway._setting import parse_address
from platemark.gateway.config import parse_as
from platemark.gateway.gate_settings import GateSettings

FILE = Path(__file__).parents[2] / "deploy" / "gate.toml"


def test_the_file_can_be_used() -> None:
    """deploy/gate.toml is accepted as it stands."""
    found = parse_as(GateSettings, FILE.read_text(), FILE.parent)
    assert parse_address("receive.listen", found.receive.listen) == ("0.0.0.0", 11112)  # noqa: S104 - the example's
    assert found.quarantined == Path("/var/lib/platemark-gate/quarantine")


def test_every_setting_is_explained_with_its_default() -> None:
    """Each table and setting is in deploy/gate.toml; uncommented, the file gives the defaults."""
    text = FILE.read_text()
    tables: dict[str, set[str]] = {"": set()}
    where = ""
    for line in text.splitlines():
        if found := re.match(r"\[(\w+)\]", line):
            where = found[1]
            tables[where] = set()
        elif found := re.match(r"(?:# )?(\w+) = ", line):
            tables[where].add(found[1])
    hints = typing.get_type_hints(GateSettings)
    for each in dataclasses.fields(GateSettings):
        kind = next(
            (one for one in (hints[each.name], *typing.get_args(hints[each.name])) if dataclasses.is_dataclass(one)),
            None,
        )
        if kind is None:
            assert each.name in tables[""]
        else:
            assert tables[each.name] == {one.name for one in dataclasses.fields(kind)}, each.name


def test_what_is_shown_as_default_is_the_default() -> None:
    """Uncommenting a number, a switch or a list changes nothing."""
    text = FILE.read_text()
    shown = re.sub(r"(?m)^# (\w+ = (?:[\d.]+|true|false|\[.*?\]|\"refuse\"|\"127.0.0.1:9107\")\s)", r"\1", text)
    assert shown.count("\n# ") < text.count("\n# ") - 20
    assert settings(shown) == settings(text)


def settings(text: str) -> Any:
    """The settings in a text."""
    return parse_as(GateSettings, text, FILE.parent)
