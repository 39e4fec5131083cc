"""Asking time-stamping authorities: what is kept is granted, over this note, and an answer to this question."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from asn1crypto import tsp
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

import stamps
from platemark.timestamp import verify_response
from platemark_ledger.asking import AskingError
from platemark_ledger.demo import stamping as authority
from platemark_ledger.published import Published, Stamp
from platemark_ledger.revoked import NEW_LIST_NS, RevocationLists
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


def stamped(handler: Handler, *, crls: tuple[str, ...] = (), note: bytes = NOTE, now: int = stamps.NOON) -> Stamp:
    """One question to an authority that answers so."""

    async def ask() -> Stamp:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as client:
            return await Authorities(client, timeout=5.0, crls=crls, now_ns=lambda: now).stamp(URL, note)

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
            await Authorities(client, timeout=0.05, crls=(), now_ns=lambda: NOW).stamp(URL, NOTE)

    with pytest.raises(AskingError, match=r"no answer within 0\.05 s"):
        asyncio.run(ask())


def by(shop: stamps.Shop, *, at: int = stamps.NOON) -> Handler:
    """An authority that stamps at a time of its own."""

    def handler(request: httpx.Request) -> httpx.Response:
        return answered(authority.respond(request.content, stamper=shop.stamper, now=at))(request)

    return handler


def _flipped(request: httpx.Request) -> httpx.Response:
    body = granted(request).content
    return answered(body[:-1] + bytes([body[-1] ^ 1]))(request)


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (_flipped, "signature: it does not verify"),
        (by(stamps.shop(leaf_until=stamps.NOON - stamps.SECOND)), "genTime: outside the validity of certificate 0"),
        (by(stamps.shop(since=stamps.NOON + stamps.SECOND)), "genTime: outside the validity of certificate 0"),
        (by(stamps.shop(usage=None)), "certificate: no extended key usage"),
        (by(stamps.shop(critical=False)), "certificate: its extended key usage is not critical"),
        (by(stamps.shop(usage=(ExtendedKeyUsageOID.CODE_SIGNING,))), "certificate: its extended key usage"),
        (by(SHOP, at=stamps.NOON + 301 * stamps.SECOND), "genTime: more than 300 s from the clock here"),
        (by(SHOP, at=stamps.NOON - 301 * stamps.SECOND), "genTime: more than 300 s from the clock here"),
    ],
    ids=["a flipped bit", "expired", "not yet valid", "no purpose", "not critical", "another purpose", "fast", "slow"],
)
def test_what_every_verifier_calls_a_fault_is_not_kept(handler: Handler, reason: str) -> None:
    """The earliest stamp is served for ever, so a bad one would make sound evidence invalid."""
    with pytest.raises(AskingError, match=f"not one that a verifier takes: {reason}"):
        stamped(handler)


@pytest.mark.parametrize("skew", [-300, 300])
def test_clocks_may_differ_by_five_minutes(skew: int) -> None:
    """Both ends are included."""
    at = stamps.NOON + skew * stamps.SECOND
    response = stamped(by(SHOP, at=at)).response
    assert verify_response(response, message=NOTE, authorities=[SHOP.authority]).time_ns == at


def test_a_stamp_that_its_own_list_takes_back_is_not_kept(tmp_path: Path) -> None:
    """A verifier would refuse the two together."""
    (tmp_path / "crl").write_bytes(stamps.crl(SHOP, revoked=stamps.NOON))
    with pytest.raises(AskingError, match="certificate: revoked at or before the time of the token"):
        stamped(granted, crls=(str(tmp_path / "crl"),))


def test_revocation_lists_come_with_the_stamp(tmp_path: Path) -> None:
    """From a file and from a URL; what is kept is what a reader verifies."""
    first, second = stamps.crl(SHOP), stamps.crl(stamps.shop(between=True))
    (tmp_path / "crl.der").write_bytes(first)

    def handler(request: httpx.Request) -> httpx.Response:
        return granted(request) if request.method == "POST" else httpx.Response(200, content=second)

    stamp = stamped(handler, crls=(str(tmp_path / "crl.der"), "https://ca.example/crl"))
    assert stamp.crls == (first, second)
    verified = verify_response(stamp.response, message=NOTE, authorities=[SHOP.authority], crls=stamp.crls)
    assert verified.revocation == "checked"


_PEM = x509.load_der_x509_crl(stamps.crl(SHOP)).public_bytes(Encoding.PEM)
BAD_LISTS = [
    ("a page", 200, b"<html>"),
    ("PEM", 200, _PEM),
    ("nothing", 200, b""),
    ("a byte behind it", 200, stamps.crl(SHOP) + b"\x00"),
    ("too large", 200, stamps.crl(SHOP) + bytes(1024 * 1024)),
    ("not found", 404, stamps.crl(SHOP)),
]


@pytest.mark.parametrize(("status", "body"), [each[1:] for each in BAD_LISTS], ids=[each[0] for each in BAD_LISTS])
def test_a_stamp_is_kept_without_what_is_no_list(status: int, body: bytes, tmp_path: Path) -> None:
    """From a URL and from a file; the stamp verifies, and its revocation is not checked."""

    def handler(request: httpx.Request) -> httpx.Response:
        return granted(request) if request.method == "POST" else httpx.Response(status, content=body)

    (tmp_path / "crl").write_bytes(body if status == 200 else b"")
    stamp = stamped(handler, crls=("https://ca.example/crl", str(tmp_path / "crl"), str(tmp_path / "missing")))
    assert stamp.crls == ()
    verified = verify_response(stamp.response, message=NOTE, authorities=[SHOP.authority])
    assert verified.revocation == "not checked"


def test_a_bad_list_is_told_once_for_each_change(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Bad, bad, good, good, bad: a warning, a note, a warning."""
    caplog.set_level(logging.INFO)
    place = tmp_path / "crl"

    async def run() -> None:
        async with httpx.AsyncClient() as client:
            lists = RevocationLists(client, [str(place)], timeout=30.0, now_ns=lambda: NOW)
            for body in (b"bad", b"worse", stamps.crl(SHOP), stamps.crl(SHOP), b"bad"):
                place.write_bytes(body)
                await lists.current()

    asyncio.run(run())
    said = [(record.levelname, record.getMessage()) for record in caplog.records if str(place) in record.getMessage()]
    bad = f"the CRL {place} is left out of time stamps: not a DER certificate revocation list"
    assert said == [("WARNING", bad), ("INFO", f"the CRL {place} is good again"), ("WARNING", bad)]


def test_a_place_gives_at_most_one_new_list_an_hour(tmp_path: Path) -> None:
    """In between the list before counts, so that a place with a new list at every question does not fill the ledger."""
    place, now = tmp_path / "crl", [NOW]
    made = [stamps.crl(SHOP, made=stamps.NOON + each * stamps.SECOND) for each in range(4)]
    found: list[tuple[bytes, ...]] = []

    async def run() -> None:
        async with httpx.AsyncClient() as client:
            lists = RevocationLists(client, [str(place)], timeout=30.0, now_ns=lambda: now[0])
            for body, passed in ((0, 0), (1, 1), (2, NEW_LIST_NS - 2), (2, 1), (3, NEW_LIST_NS - 1), (3, 1)):
                now[0] += passed
                place.write_bytes(made[body])
                found.append(await lists.current())

    asyncio.run(run())
    assert [made.index(each) for (each,) in found] == [0, 0, 0, 2, 2, 3]


def test_a_place_that_hangs_does_not_hold_up_the_stamp() -> None:
    """It is left out after its time."""

    class Mute(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError(request)

    async def run() -> tuple[bytes, ...]:
        async with httpx.AsyncClient(transport=Mute()) as client:
            return await RevocationLists(client, [URL], timeout=0.05, now_ns=lambda: NOW).current()

    assert asyncio.run(run()) == ()


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
            authorities = Authorities(client, timeout=30.0, crls=(), now_ns=lambda: stamps.NOON)
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
