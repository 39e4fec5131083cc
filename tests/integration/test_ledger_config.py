"""Settings: what is written can be read, whatever it is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platemark_ledger import config
from platemark_ledger.settings import ConfigError, Settings, describe

BASE = Path("/srv/ledger")

_names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20)
_paths = _names.filter(lambda name: name not in {".", ".."}).map(lambda name: BASE / name)


@st.composite
def settings(draw: st.DrawFn) -> Settings:
    """Any settings that can be used together."""
    data = draw(_paths)
    certificate = draw(st.none() | _paths)
    return Settings(
        origin=draw(_names),
        data=data,
        anchor=data.with_name(data.name + "-anchor") / draw(st.sampled_from(["a", "b"])),
        log_key=draw(_paths),
        listen=draw(st.sampled_from(["127.0.0.1:0", "[::1]:65535", "localhost:1"])),
        tls_certificate=certificate,
        tls_key=None if certificate is None else draw(_paths),
        workers=draw(st.integers(1, 64)),
        drain=draw(st.floats(0, 600)),
        reflection=draw(st.booleans()),
        http_listen=draw(st.none() | st.sampled_from(["127.0.0.1:0", "[::1]:65535"])),
        log_key_pq=draw(st.none() | _paths),
        witness_policy=draw(st.none() | _paths),
        tsa=tuple(draw(st.lists(_names.map(lambda name: f"https://tsa.example/{name}"), max_size=3, unique=True))),
    )


@given(settings())
def test_the_file_that_is_written_says_the_same_settings(chosen: Settings) -> None:
    """to_toml and load are inverse, with every character that a path may have."""
    text = config.to_toml(chosen, BASE)
    assert config.parse(text, BASE) == chosen


def test_a_list_in_the_environment_is_divided_by_spaces() -> None:
    """And replaces the one of the file."""
    environ = {"PLATEMARK_LEDGER_TSA": "https://a.example  https://b.example"}
    chosen = config.parse('origin = "a.test"\ntsa = ["https://c.example"]\n', BASE, environ)
    assert chosen.tsa == ("https://a.example", "https://b.example")


@given(settings())
def test_workers_get_the_very_settings(chosen: Settings) -> None:
    """to_json and from_json are inverse, and the text is one line."""
    line = config.to_json(chosen)
    assert "\n" not in line
    assert config.from_json(line) == chosen


def test_every_setting_has_a_unit_and_a_reason_and_no_secret() -> None:
    """What `platemark-ledger config` prints is complete, and safe to paste into a ticket."""
    for each in describe(Settings(origin="a.test")):
        assert each.unit
        assert each.why
        assert "passphrase" not in each.name


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"origin": ""}, "origin"),
        ({"listen": ":1"}, "listen"),
        ({"listen": "127.0.0.1:65536"}, "listen"),
        ({"listen": "127.0.0.1:\u0661"}, "listen"),
        ({"listen": "[::]:1"}, "listen"),
        ({"anchor": Path("data/anchor")}, "anchor"),
        ({"anchor": Path("data")}, "anchor"),
        ({"workers": 65}, "workers"),
        ({"http_listen": "0.0.0.0:80"}, "http_listen"),
        ({"http_listen": "localhost"}, "http_listen"),
        ({"publish_interval": 0.0}, "publish_interval"),
        ({"tsa": ("tsa.example",)}, "tsa"),
        ({"tsa": ("https://tsa.example", "https://tsa.example")}, "tsa"),
        ({"tsa_crl": ("crl.der",)}, "tsa_crl"),
        ({"tsa_crl": tuple(f"/{each}.crl" for each in range(17))}, "tsa_crl"),
        ({"tsa": ("https://",)}, "tsa"),
        ({"tsa": ("https://tsa.example:port",)}, "tsa"),
        ({"tsa": ("https://user:hush@tsa.example",)}, "tsa"),
        ({"lock_limit": float("inf")}, "lock_limit"),
    ],
)
def test_settings_that_cannot_be_used_together_are_refused_by_name(changes: dict[str, object], field: str) -> None:
    """A Settings that exists is usable."""
    with pytest.raises(ConfigError) as caught:
        dataclasses.replace(Settings(origin="a.test"), **changes)  # type: ignore[arg-type] # wrong on purpose
    assert caught.value.field == field
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("workers = true", "workers"),
        ("workers = 1.5", "workers"),
        ('workers = "2"', "workers"),
        ("data = 5", "data"),
        ('data = ""', "data"),
        ("drain = []", "drain"),
        ('tsa = "https://tsa.example"', "tsa"),
        ("tsa = [1]", "tsa"),
        ('tsa = [""]', "tsa"),
        ("colour = 1", "colour"),
        ("[server]\nworkers = 1", "server"),
        ("workers =", "config"),
    ],
)
def test_a_file_that_says_something_else_is_refused_by_name(text: str, field: str) -> None:
    """Types are TOML's own; nothing is converted, nothing is ignored."""
    with pytest.raises(ConfigError) as caught:
        config.parse(f'origin = "a.test"\n{text}\n', BASE)
    assert caught.value.field == field
