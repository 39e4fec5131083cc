"""Asking time-stamping authorities: what is kept is granted, over this note, and an answer to this question."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from asn1crypto import tsp

import stamps
from platemark.timestamp import verify_response
from platemark_ledger.asking import AskingError
from platemark_ledger.demo import stamping as authority
from platemark_ledger.published import Published, Stamp
from platemark_ledger.seat import PartyState
from platemark_ledger.stamping import Authorities, StampSchedule

NOTE = b"log.example/a\n5\nAAAA\n\n\xe2\x80\x94 log.example/a AAAA\n"
URL, OTHER = "https://tsa.example/", "https://other.example/"
NOW = 1_800_000_000 * 10**9
SHOP = stamps.shop()
Handler = Callable[[httpx.Request], httpx.Response]


def granted(request: httpx.Request) -> httpx.Response:
    """As a sound authority answers."""
    body = authority.respond(request.content, stamper=SHOP.stamper, now=stamps.NOON)
    return httpx.Response(200, content=body, headers={"content-type": "application/timestamp-reply"})


def answered(body: bytes, *, status: int = 200, media: str = "application/timestamp-reply") -> Handler:
    """Always the same."""
    return lambda _request: httpx.Response(status, content=body, headers={"content-type": media})


def stamped(handler: Handler, *, crls: tuple[str, ...] = (), note: bytes = NOTE) -> Stamp:
    """One question to an authority that answers so."""

    async def ask() -> Stamp:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as client:
            return await Authorities(client, timeout=5.0, crls=crls).stamp(URL, note)

    return asyncio.run(ask())


def test_a_stamp_that_is_kept_is_one_that_a_reader_verifies() -> None:
    """The whole response, over the log note, verifies with the authority's root; the certificates are in it."""
    asked: list[httpx.Request] = []

    def noting(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return granted(request)

    stamp = stamped(noting)
    assert (stamp.authority, stamp.crls) == (URL, ())
    verified = verify_response(stamp.response, message=NOTE, authorities=[SHOP.authority])
    assert verified.time_ns == stamps.NOON
    assert [(each.method, each.headers["content-type"]) for each in asked] == [("POST", "application/timestamp-query")]


def test_every_question_has_a_nonce_of_its_own() -> None:
    """An answer to an earlier question, over the same note, is not kept."""
    old: list[httpx.Response] = []

    def keeping(request: httpx.Request) -> httpx.Response:
        old.append(granted(request))
        return old[-1]

    stamped(keeping)
    with pytest.raises(AskingError, match="not the nonce of the request"):
        stamped(lambda _request: httpx.Response(200, content=old[0].content, headers=old[0].headers))


def _over_something_else(request: httpx.Request) -> httpx.Response:
    return answered(SHOP.stamp(b"another note"))(request)


def _with_another_hash(request: httpx.Request) -> httpx.Response:
    nonce = tsp.TimeStampReq.load(request.content)["nonce"].native
    return answered(SHOP.stamp(NOTE, algorithm="sha512", nonce=nonce))(request)


def _refusing_to_connect(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("connection refused", request=request)


def _silent(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("", request=request)


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (answered(authority.REJECTED["badDataFormat"]), "the authority did not grant the request"),
        (_over_something_else, "of another message"),
        (_with_another_hash, "a SHA-512 that nobody asked for"),
        (answered(SHOP.stamp(NOTE, algorithm="sha512")), "not the nonce of the request"),
        (answered(SHOP.stamp(NOTE)), "not the nonce of the request"),
        (answered(b""), "not one that a verifier takes: response"),
        (answered(b"\x30\x03\x02\x01\x00"), "not one that a verifier takes"),
        (answered(b"<html>", media="text/html"), "its answer is not application/timestamp-reply"),
        (answered(b"", status=503), "status 503"),
        (answered(b"x" * 100_000), "more than 65536 bytes"),
        (_refusing_to_connect, "connection refused"),
        (_silent, "ReadError"),
    ],
    ids=[
        "refused", "another note", "another hash", "another hash, unasked", "no nonce", "empty", "not a response",
        "another type", "busy", "endless", "no connection", "cut off",
    ],
)  # fmt: skip
def test_what_is_no_stamp_of_this_note_is_not_kept(handler: Handler, reason: str) -> None:
    """Each with its reason, for the log."""
    with pytest.raises(AskingError, match=reason):
        stamped(handler)


def test_an_authority_that_hangs_is_given_up() -> None:
    """After its time."""

    class Mute(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError(request)

    async def ask() -> None:
        async with httpx.AsyncClient(transport=Mute()) as client:
            await Authorities(client, timeout=0.05, crls=()).stamp(URL, NOTE)

    with pytest.raises(AskingError, match=r"no answer within 0\.05 s"):
        asyncio.run(ask())


def test_revocation_lists_come_with_the_stamp(tmp_path: Path) -> None:
    """From a file and from a URL; when one cannot be had, the stamp is not kept without it."""
    (tmp_path / "crl.der").write_bytes(b"a list")

    def handler(request: httpx.Request) -> httpx.Response:
        return granted(request) if request.method == "POST" else httpx.Response(200, content=b"another list")

    places = (str(tmp_path / "crl.der"), "https://ca.example/crl")
    assert stamped(handler, crls=places).crls == (b"a list", b"another list")
    with pytest.raises(AskingError, match=r"the CRL .*missing"):
        stamped(handler, crls=(str(tmp_path / "missing"),))
    with pytest.raises(AskingError, match=r"the CRL https://ca\.example/crl: status 404"):
        stamped(lambda request: granted(request) if request.method == "POST" else httpx.Response(404), crls=places)


def row(size: int) -> Published:
    """A published checkpoint."""
    return Published(size, bytes(32), NOTE, NOW)


async def _answers(schedule: StampSchedule, now: float) -> list[Published]:
    """What comes within some 30 s."""
    ends = time.monotonic() + 30
    for _ in range(30_000):
        if found := list(schedule.answers(now)):
            return found
        if not any(each.task is not None for each in schedule._all.values()) or time.monotonic() > ends:
            return []
        await asyncio.sleep(0.001)
    return []


def test_each_authority_is_asked_once_an_interval_and_later_after_failures() -> None:
    """A stamp, then the interval; a failure, then a pause that doubles up to the interval; the other one is not disturbed."""
    sick = [False]

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(503) if sick[0] and request.url == OTHER else granted(request)

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as client:
            authorities = Authorities(client, timeout=30.0, crls=())
            schedule = StampSchedule(authorities, (URL, OTHER), interval=60.0, now_ns=lambda: NOW)
            assert schedule.due(0.0)
            schedule.ask(None, 0.0)
            assert await _answers(schedule, 0.0) == []
            schedule.ask(row(5), 0.0)
            found = [*await _answers(schedule, 0.0), *await _answers(schedule, 0.0)]
            assert sorted((each.size, each.stamps[0].authority) for each in found) == [(5, OTHER), (5, URL)]
            assert not schedule.due(59.9)
            assert schedule.due(60.0)
            schedule.ask(replace(row(5), stamps=(found[0].stamps[0], found[1].stamps[0])), 60.0)
            assert await _answers(schedule, 60.0) == []
            sick[0] = True
            now = 60.0
            for pause in (5.0, 10.0, 20.0, 40.0, 60.0, 60.0):
                schedule.ask(row(6), now)
                await _answers(schedule, now)
                await _answers(schedule, now)
                assert schedule._all[OTHER].due == now + pause
                now += pause
            sick[0] = False
            schedule.ask(row(7), now)
            found = [*await _answers(schedule, now), *await _answers(schedule, now)]
            assert OTHER in {each.stamps[0].authority for each in found}
            assert schedule.states[OTHER] == PartyState(6, 7, NOW)
            await schedule.give_up()

    asyncio.run(run())
