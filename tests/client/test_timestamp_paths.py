"""Paths from a signer to roots: how much work a token can cause, whatever it embeds and however many are trusted."""

from dataclasses import dataclass, replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

import stamps
from platemark import certificates, timestamp
from platemark.certificates import MAX_VERIFICATIONS, paths
from platemark.errors import TimeStampError, UnprovenTimeError
from platemark.time_signature import check_chain
from platemark.time_token import Token
from platemark.timestamp import Authority, check_response, verify_response
from stamps import NOON, YEAR, Shop

MESSAGE = b"a message"
SHOP = stamps.shop(label="paths")
BETWEEN = stamps.shop(label="paths between", between=True)


@dataclass(frozen=True)
class Public:
    """A holder of a public key that nobody has the private key of."""

    key: rsa.RSAPublicKey

    def public_key(self) -> rsa.RSAPublicKey:
        """As of a private key."""
        return self.key


def slow(number: int, *, bits: int = 3072, exponent: int = 0) -> Public:
    """An RSA key under which checking a signature takes long; by default the exponent is as long as the modulus."""
    modulus = (1 << bits) - 2 * number - 1
    return Public(rsa.RSAPublicNumbers(exponent or modulus - 2, modulus).public_key())


def ca(subject: str, issuer: str, holder: stamps.Holder) -> x509.Certificate:
    """A CA's certificate; no issuer of that name signed it."""
    nobody = stamps.key("nobody")
    return stamps.certificate(subject, issuer, holder, nobody, since=NOON - YEAR, until=NOON + YEAR, ca=True)


def embedding(shop: Shop, *more: x509.Certificate) -> bytes:
    """A token of the shop with further certificates, which nobody has to sign."""
    return replace(shop, stamper=replace(shop.stamper, chain=(*shop.stamper.chain, *more))).stamp(MESSAGE)


@pytest.fixture(name="checked")
def _checked(monkeypatch: pytest.MonkeyPatch) -> list[x509.Certificate]:
    """The issuers under whose keys a certificate's signature was checked."""
    under: list[x509.Certificate] = []
    issued = certificates._issued

    def counting(subject: x509.Certificate, issuer: x509.Certificate) -> bool:
        under.append(issuer)
        return issued(subject, issuer)

    monkeypatch.setattr(certificates, "_issued", counting)
    return under


SLOW = [slow(each) for each in range(14)]


@pytest.mark.parametrize("trusted", [1, 64])
def test_keys_that_would_be_slow_are_passed_over(checked: list[x509.Certificate], trusted: int) -> None:
    """Fourteen CAs of one name with huge exponents cost no check, whoever is trusted; the token still verifies."""
    response = embedding(BETWEEN, *(ca("between", "between", each) for each in SLOW))
    others = [Authority(f"other {each}", SHOP.authority.roots) for each in range(trusted - 1)]
    verified = verify_response(response, message=MESSAGE, authorities=[*others, BETWEEN.authority])
    assert verified.time_ns == NOON
    assert set(checked) <= {BETWEEN.issuer, BETWEEN.root, SHOP.root}
    assert len(checked) <= 3


@pytest.mark.parametrize(
    ("holder", "name"),
    [
        (slow(0, exponent=(1 << 33) + 1), "RSA with a public exponent of 2^33 or more"),
        (slow(0, exponent=(1 << 33) - 1), "RSA 3072"),
        (slow(0, bits=4096, exponent=65537), "RSA 4096"),
        (slow(0, bits=4104, exponent=65537), "RSA of 4104 bits"),
        (slow(0, bits=1024, exponent=65537), "RSA of 1024 bits"),
    ],
)
def test_a_key_is_named_by_its_size_and_exponent(checked: list[x509.Certificate], holder: Public, name: str) -> None:
    """What the table does not have checks nothing; the bounds are 4096 bits and 2^33."""
    issuer = ca("root", "root", holder)
    assert certificates.key_name(issuer) == name
    found = paths(SHOP.stamper.certificate, [issuer])
    assert (found.verifications, found.whole, len(checked)) == ((1, True, 1) if len(name) == 8 else (0, True, 0))


def test_a_signer_with_a_slow_key_is_refused_before_its_signature_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """By readers and by whoever keeps tokens."""
    leaf = stamps.certificate(
        "stamps", "root", SLOW[0], SHOP.issuer_key,
        since=NOON - YEAR, until=NOON + YEAR, usage=(ExtendedKeyUsageOID.TIME_STAMPING,),
    )  # fmt: skip
    response = replace(SHOP, stamper=replace(SHOP.stamper, certificate=leaf)).stamp(MESSAGE)

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(timestamp, "check_chain", never)
    monkeypatch.setattr(timestamp, "check_signature", never)
    with pytest.raises(UnprovenTimeError, match=r"^algorithms: RSA with a public exponent of 2\^33 or more"):
        verify_response(response, message=MESSAGE, authorities=[SHOP.authority])
    with pytest.raises(UnprovenTimeError, match=r"^algorithms: RSA with a public exponent of 2\^33 or more"):
        check_response(response, message=MESSAGE)


def maze() -> tuple[x509.Certificate, ...]:
    """Seven certificates for the key of the shop's root, each below any of seven others that did not issue it."""
    copies = [
        stamps.certificate(
            "root", "above", SHOP.issuer_key, stamps.key(f"copy {each}"), since=NOON - YEAR, until=NOON + YEAR, ca=True
        )
        for each in range(7)
    ]
    return (*copies, *(ca("above", "above", stamps.key(f"above {each}")) for each in range(7)))


def test_the_search_ends_after_32_signatures(checked: list[x509.Certificate]) -> None:
    """And the error says so; a ledger, which knows no roots, keeps no such token and ends sooner."""
    response = embedding(SHOP, *maze())
    with pytest.raises(
        TimeStampError, match=r"^certificates: more than 32 signatures to check before a path"
    ) as refused:
        verify_response(response, message=MESSAGE, authorities=[BETWEEN.authority])
    assert not isinstance(refused.value, UnprovenTimeError)
    assert len(checked) == MAX_VERIFICATIONS
    checked.clear()
    with pytest.raises(TimeStampError, match=r"^certificates: more than 8 signatures to check among those embedded$"):
        check_response(response, message=MESSAGE)
    assert len(checked) == 8


def test_a_path_that_was_found_before_the_limit_counts() -> None:
    """What somebody embeds beside a sound chain takes nothing from it."""
    verified = verify_response(embedding(SHOP, *maze()), message=MESSAGE, authorities=[SHOP.authority])
    assert verified.authority == "test"


def test_an_embedded_certificate_of_the_issuers_name_does_not_mislead(checked: list[x509.Certificate]) -> None:
    """Path validation sees the path alone, and no impostor of the same name and with another key beside it."""
    impostors = [ca("between", "root", stamps.key(f"impostor {each}")) for each in range(6)]
    response = embedding(BETWEEN, *impostors)
    assert verify_response(response, message=MESSAGE, authorities=[BETWEEN.authority]).time_ns == NOON
    assert len(checked) <= 9


def test_many_authorities_with_one_root_are_one_search(
    checked: list[x509.Certificate], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path is looked for once and judged once, and the one authority that is trusted at the time is named."""
    judged: list[tuple[x509.Certificate, ...]] = []

    def judging(token: Token, path: tuple[x509.Certificate, ...], message: bytes) -> None:
        judged.append(path)
        check_chain(token, path, message)

    monkeypatch.setattr(timestamp, "check_chain", judging)
    late = [Authority(f"late {each}", SHOP.authority.roots, not_before=NOON + 1) for each in range(63)]
    stamp = SHOP.stamp(MESSAGE)
    verified = verify_response(stamp, message=MESSAGE, authorities=[*late, Authority("mine", SHOP.authority.roots)])
    assert (verified.authority, len(checked), len(judged)) == ("mine", 1, 1)
    checked.clear()
    judged.clear()
    same = [Authority(f"same {each}", SHOP.authority.roots) for each in range(64)]
    with pytest.raises(TimeStampError, match=r"^signature: "):
        verify_response(stamp[:-1] + bytes([stamp[-1] ^ 1]), message=MESSAGE, authorities=same)
    assert (len(checked), len(judged)) == (1, 1)


def test_a_root_that_is_not_embedded_is_on_no_path_to_another() -> None:
    """The roots of one authority are no intermediates of another's."""
    between = Authority("between", (BETWEEN.issuer.public_bytes(Encoding.DER),))
    bare = replace(BETWEEN, stamper=replace(BETWEEN.stamper, chain=()))
    found = paths(bare.stamper.certificate, [bare.stamper.certificate], [*between.certificates, BETWEEN.root])
    assert found.to([BETWEEN.root]) == ()
    assert found.to(between.certificates) == (bare.stamper.certificate, BETWEEN.issuer)


def test_the_signatures_of_lists_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than 32 on one path."""
    chain = (SHOP.stamper.certificate, SHOP.root, SHOP.root, SHOP.root)
    lists = [stamps.crl(SHOP, made=NOON + each * stamps.SECOND) for each in range(11)]
    monkeypatch.setattr(certificates, "_signed_by", lambda *_: pytest.fail("a signature was checked"))
    with pytest.raises(TimeStampError, match=r"^crls: 33 signatures to check, more than 32$"):
        certificates.revocation_known(chain, lists, NOON)
