"""The HTTP source against servers that are slow to come, wrong, or hostile."""

import gzip
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import pytest
from integration.certificates import Authority

from platemark.audit import MissingTileError, SourceError
from platemark.audit_http import HttpSource
from platemark.files import FileError
from platemark.tiles import Tile
from published import entries, publish, served


class Answering(SimpleHTTPRequestHandler):
    """Gives the answers of `script` in turn, the last one for ever: (status, headers, body)."""

    script: ClassVar[list[tuple[int, dict[str, str], bytes]]] = []
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        """The next answer."""
        self.asked.append(self.path)
        status, headers, body = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


def answering(*script: tuple[int, dict[str, str], bytes]) -> type[Answering]:
    """A handler of its own."""
    return type("Scripted", (Answering,), {"script": list(script), "asked": []})


TILE = Tile(0, 0, 2)
GOOD: tuple[int, dict[str, str], bytes] = (200, {}, bytes(64))


def fetched(handler: type[Answering], tile: Tile = TILE) -> tuple[bytes, list[float]]:
    """The tile, and the pauses that were made."""
    pauses: list[float] = []
    with served(Path(), handler) as url, HttpSource(url, sleep=pauses.append) as source:
        (data,) = source.tiles([tile])
    return data, pauses


def test_failures_are_tried_again_with_growing_pauses() -> None:
    """5xx and 429 may pass."""
    handler = answering((503, {}, b""), (429, {}, b""), (500, {}, b""), (502, {}, b""), GOOD)
    assert fetched(handler) == (bytes(64), [0.25, 0.5, 1.0, 2.0])


def test_five_attempts_are_enough() -> None:
    """Then the source cannot be reached."""
    handler = answering((503, {}, b""))
    with pytest.raises(SourceError, match="503"):
        fetched(handler)
    assert len(handler.asked) == 5


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 410])
def test_other_states_are_final(status: int) -> None:
    """A redirect is not followed, and a refusal not repeated; of a partial tile the full one is asked for once."""
    handler = answering((status, {"Location": "http://127.0.0.1:1/"}, b""))
    with pytest.raises(MissingTileError, match=str(status)):
        fetched(handler)
    assert handler.asked == ["/tile/0/000.p/2", "/tile/0/000"]


def test_a_partial_tile_is_cut_from_the_full_one() -> None:
    """C2SP tlog-tiles lets a log delete partial tiles."""
    handler = answering((404, {}, b""), (200, {}, b"ab" * 4096))
    assert fetched(handler)[0] == b"ab" * 32


def test_an_endless_answer_is_not_read() -> None:
    """A tile longer than it can be is refused after a little more than its length."""
    with pytest.raises(MissingTileError, match="more than the 8192 bytes"):
        fetched(answering((200, {}, bytes(1 << 22))), Tile(0, 0))


def test_gzip_is_inflated_within_bounds() -> None:
    """A server that compresses unasked is understood, and a bomb is refused before it is inflated."""
    packed = {"Content-Encoding": "gzip"}
    assert fetched(answering((200, packed, gzip.compress(bytes(64)))))[0] == bytes(64)
    for body in (gzip.compress(bytes(1 << 24)), gzip.compress(bytes(64))[:-3], b"no gzip", gzip.compress(b"") * 2):
        with pytest.raises(MissingTileError, match=r"gzip|more than"):
            fetched(answering((200, packed, body)), Tile(0, 0))


def test_another_coding_is_refused() -> None:
    """Only what was asked for, and gzip."""
    with pytest.raises(MissingTileError, match="content coding"):
        fetched(answering((200, {"Content-Encoding": "br"}, b"x")))


def test_patience_ends() -> None:
    """An answer that drips is given up, by a clock and not by the number of bytes."""
    ticks = iter(range(0, 10_000, 100))
    with (
        served(Path(), answering(GOOD)) as url,
        HttpSource(url, sleep=lambda _: None, clock=lambda: float(next(ticks))) as source,
        pytest.raises(SourceError, match="not complete after 60 s"),
    ):
        list(source.tiles([TILE]))


def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed port is unreachable, which the command reports with exit code 5."""
    from commands import platemark

    from published import VKEY

    with served(publish(tmp_path / "log", entries(1))) as url:
        pass
    with HttpSource(url, sleep=lambda _: None) as source, pytest.raises(SourceError) as caught:
        source.checkpoint()
    monkeypatch.setattr("platemark.audit_http._ATTEMPTS", 1)
    assert caught.value.code == "unreachable"
    ran = platemark("audit", url, "--vkey", VKEY)
    assert (ran.code, ran.out) == (5, "")
    assert ran.err.count("\n") == 1


def test_the_order_is_kept(tmp_path: Path) -> None:
    """However many are under way, tiles come in the order wanted."""
    log = publish(tmp_path / "log", entries(256 * 100))
    wanted = [Tile(0, number) for number in range(100)]
    with served(log) as url, HttpSource(url) as source:
        assert list(source.tiles(wanted)) == [(log / tile.path).read_bytes() for tile in wanted]


def test_authority_of_https(tmp_path: Path) -> None:
    """Https is believed under the authority that was named and under no other, and a file that is none is refused."""
    authority, stranger = Authority(tmp_path, "authority"), Authority(tmp_path, "stranger")
    issued = authority.issue("server")
    with served(publish(tmp_path / "log", entries(1)), tls=(issued.certificate, issued.key)) as url:
        with HttpSource(url, ca=authority.ca) as source:
            assert source.checkpoint() == (tmp_path / "log" / "checkpoint").read_bytes()
        with HttpSource(url, ca=stranger.ca, sleep=lambda _: None) as source, pytest.raises(SourceError):
            source.checkpoint()
    for wrong in (tmp_path / "nothing", tmp_path / "log" / "checkpoint"):
        with pytest.raises(FileError, match=wrong.name):
            HttpSource(url, ca=wrong)
