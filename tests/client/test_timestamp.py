"""RFC 3161 time stamps: what a sound one proves, and one fault after the other that makes it prove nothing."""

import pytest
from asn1crypto import algos, cms, tsp
from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

import stamps
from platemark import timestamp
from platemark.errors import TimeStampError, UnprovenTimeError
from platemark.timestamp import Authority, Interval, TimeStamp, interval, verify_response
from platemark_ledger.demo import stamping
from stamps import NOON, SECOND, YEAR, Shop

MESSAGE = b"ledger.example/xray\n5\n"
SHOP = stamps.shop(label="time")
SOUND = SHOP.stamp(MESSAGE)


def verify(response: bytes, shop: Shop = SHOP, *, crls: tuple[bytes, ...] = ()) -> TimeStamp:
    """Verified over MESSAGE, trusting the shop alone."""
    return verify_response(response, message=MESSAGE, authorities=[shop.authority], crls=crls)


def test_a_sound_token_says_when_by_whom_and_with_what() -> None:
    """Time, authority, policy, algorithms and how long they hold are reported; what is not stated is None."""
    assert verify(SOUND) == TimeStamp(
        time_ns=NOON,
        accuracy_ns=None,
        authority="test",
        hash_algorithm="SHA-256",
        policy=stamping.POLICY,
        serial=7,
        algorithms=("SHA-256", "ECDSA P-256"),
        acceptable_until=2_082_758_399_999_999_999,  # 2035-12-31T23:59:59.999999999Z
        revocation_known=None,
    )


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_each_hash_of_the_table_may_be_the_imprint(algorithm: str) -> None:
    """SHA-256, SHA-384 and SHA-512."""
    stamped = verify(SHOP.stamp(MESSAGE, algorithm=algorithm))
    assert stamped.hash_algorithm == f"SHA-{algorithm[3:]}"
    assert stamped.hash_algorithm in stamped.algorithms


@pytest.mark.parametrize(
    ("accuracy", "expected"),
    [
        ({"seconds": 1}, SECOND),
        ({"millis": 500}, 500_000_000),
        ({"micros": 20}, 20_000),
        ({"seconds": 2, "millis": 3, "micros": 4}, 2_003_004_000),
        ({}, 0),
    ],
)
def test_accuracy_is_the_sum_of_its_parts(accuracy: dict[str, int], expected: int) -> None:
    """Seconds, milliseconds and microseconds, each of which may be absent; it moves the latest time, not the time."""
    stamped = verify(SHOP.stamp(MESSAGE, accuracy=stamps.accuracy(**accuracy)))
    assert (stamped.time_ns, stamped.accuracy_ns, stamped.latest_ns) == (NOON, expected, NOON + expected)


@pytest.mark.parametrize("parts", [{"millis": 1000}, {"micros": 1000}, {"seconds": 2**31}])
def test_an_accuracy_out_of_range_is_refused(parts: dict[str, int]) -> None:
    """RFC 3161 section 2.4.2: 1 to 999 of the small units; seconds that a reader can add."""
    with pytest.raises(TimeStampError, match=r"^tstInfo.accuracy: a part above "):
        verify(SHOP.stamp(MESSAGE, accuracy=stamps.accuracy(**parts)))


@pytest.mark.parametrize(
    "text", [b"20260530120000", b"20260530120000.50Z", b"20260530120060Z", b"20261330120000Z", b"19691231235959Z"]
)
def test_a_time_of_another_form_is_refused(text: bytes) -> None:
    """Without a zone, with trailing zeros, on no calendar, before 1970."""
    info = stamps.info(MESSAGE)
    at = info.index(b"\x18\x0f")
    time = bytes([0x18, len(text)]) + text
    changed = info[:at] + time + info[at + 17 :]
    changed = changed[:1] + bytes([changed[1] + len(time) - 17]) + changed[2:]
    with pytest.raises(TimeStampError, match=r"^tstInfo.genTime: "):
        verify(stamping.signed(changed, stamper=SHOP.stamper))


def test_fractions_of_a_second_count() -> None:
    """RFC 3161 allows them in genTime."""
    assert verify(SHOP.stamp(MESSAGE, at=NOON + 250_000_000)).time_ns == NOON + 250_000_000


def test_an_extension_is_passed_over_unless_it_is_critical() -> None:
    """Qualified authorities say that they are by one (ETSI EN 319 422 section 9.1)."""
    statement = tsp.Extension({"extn_id": "1.3.6.1.5.5.7.1.3", "critical": False, "extn_value": b"\x30\x00"})
    assert verify(SHOP.stamp(MESSAGE, extensions=[statement])).time_ns == NOON
    critical = tsp.Extension({"extn_id": "1.3.6.1.5.5.7.1.3", "critical": True, "extn_value": b"\x30\x00"})
    with pytest.raises(TimeStampError, match=r"^tstInfo.extensions: a critical one, and this release knows none$"):
        verify(SHOP.stamp(MESSAGE, extensions=[critical]))


def test_a_chain_that_has_expired_since_still_verifies() -> None:
    """The certificates count at the token's own time; the clock of the verifying machine is not asked."""
    past = NOON - 10 * YEAR
    old = stamps.shop(since=past - YEAR, until=past + YEAR)
    assert verify(old.stamp(MESSAGE, at=past), old).time_ns == past


@pytest.mark.parametrize("at", [NOON - 2 * YEAR, NOON + 2 * YEAR])
def test_a_token_outside_the_validity_of_its_chain_is_refused(at: int) -> None:
    """Before and after."""
    with pytest.raises(TimeStampError, match=r"^genTime: outside the validity of certificate 0 of the chain$"):
        verify(SHOP.stamp(MESSAGE, at=at))


def test_a_token_by_an_expired_leaf_below_a_valid_root_is_refused() -> None:
    """Every certificate of the path counts."""
    shop = stamps.shop(leaf_until=NOON - 1 * SECOND)
    with pytest.raises(TimeStampError, match=r"^genTime: outside the validity of certificate 0"):
        verify(shop.stamp(MESSAGE), shop)


def test_an_intermediate_may_be_embedded() -> None:
    """The path leads over certificates of the token, and only the root has to be named."""
    shop = stamps.shop(between=True)
    assert verify(shop.stamp(MESSAGE), shop).time_ns == NOON


def test_an_intermediate_that_is_no_ca_leads_nowhere() -> None:
    """A certificate that may not issue others does not."""
    shop = stamps.shop(between=True, ca=False)
    with pytest.raises(TimeStampError, match=r"^certificates: no trusted authority leads to the signer$"):
        verify(shop.stamp(MESSAGE), shop)


def test_embedded_certificates_in_any_order_are_read() -> None:
    """Many authorities embed a chain out of DER order; certificates are not part of what is signed."""
    shop = stamps.shop(between=True)
    parsed = tsp.TimeStampResp.load(shop.stamp(MESSAGE))
    data = parsed["time_stamp_token"]["content"]
    embedded = sorted((each.dump() for each in data["certificates"]), reverse=True)
    joined = b"".join(embedded)
    swapped = parsed.dump().replace(b"".join(sorted(embedded)), joined)
    assert joined in swapped
    assert verify(swapped, shop).time_ns == NOON


def test_any_of_several_authorities_will_do() -> None:
    """The one that issued the token is named; the order does not matter."""
    others = [stamps.shop().authority, Authority("mine", SHOP.authority.roots), stamps.shop().authority]
    for order in (others, others[::-1]):
        assert verify_response(SOUND, message=MESSAGE, authorities=order).authority == "mine"


def test_nobody_trusted_nothing_proven() -> None:
    """Without an authority, or with another one, no token proves anything, and that is no fault of the token."""
    for authorities in ([], [stamps.shop().authority]):
        with pytest.raises(UnprovenTimeError, match=r"^certificates: no trusted authority leads to the signer$"):
            verify_response(SOUND, message=MESSAGE, authorities=authorities)


@pytest.mark.parametrize(
    ("not_before", "not_after", "reason"),
    [
        (NOON, NOON, None),
        (NOON + 1, None, "before test is trusted"),
        (None, NOON - 1, "after test is trusted"),
    ],
)
def test_an_authority_is_trusted_within_its_dates_only(
    not_before: int | None, not_after: int | None, reason: str | None
) -> None:
    """Both ends are included."""
    authority = Authority("test", SHOP.authority.roots, not_before=not_before, not_after=not_after)
    if reason is None:
        assert verify_response(SOUND, message=MESSAGE, authorities=[authority]).time_ns == NOON
        return
    with pytest.raises(UnprovenTimeError, match=f"^genTime: {reason}$"):
        verify_response(SOUND, message=MESSAGE, authorities=[authority])


def test_an_authority_has_readable_roots() -> None:
    """A trust file that names none, or something else, is refused when it is read."""
    with pytest.raises(TimeStampError, match=r"^roots: "):
        Authority("test", ())
    with pytest.raises(TimeStampError, match=r"^roots\[1\]: not an X.509 certificate"):
        Authority("test", (*SHOP.authority.roots, b"\x30\x00"))


@pytest.mark.parametrize(
    ("usage", "critical"),
    [
        (None, True),
        ((ExtendedKeyUsageOID.TIME_STAMPING,), False),
        ((ExtendedKeyUsageOID.CODE_SIGNING,), True),
        ((ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING), True),
    ],
)
def test_the_signer_is_there_for_time_stamping_alone(
    usage: tuple[x509.ObjectIdentifier, ...] | None,
    critical: bool,
) -> None:
    """RFC 3161 section 2.3: a critical extended key usage of that one purpose."""
    shop = stamps.shop(usage=usage, critical=critical)
    with pytest.raises(TimeStampError, match=r"^certificate: .*extended key usage"):
        verify(shop.stamp(MESSAGE), shop)


def test_another_message_is_refused() -> None:
    """The imprint is of the message that the caller brings."""
    with pytest.raises(TimeStampError, match=r"^tstInfo.messageImprint: of another message$"):
        verify_response(SOUND, message=MESSAGE + b"\n", authorities=[SHOP.authority])


def test_an_imprint_of_another_length_is_refused() -> None:
    """A digest that was cut short is another one."""
    with pytest.raises(TimeStampError, match=r"^tstInfo.messageImprint: of another message$"):
        verify(SHOP.stamp(MESSAGE, digest=b"\x00" * 20))


def test_a_weak_hash_is_refused() -> None:
    """SHA-1 is no imprint, whoever signed it."""
    with pytest.raises(
        TimeStampError, match=r"^tstInfo.messageImprint.hashAlgorithm: 1\.3\.14\.3\.2\.26 is not accept"
    ):
        verify(SHOP.stamp(MESSAGE, algorithm="sha1"))


def test_a_key_that_the_table_does_not_have_is_refused() -> None:
    """P-521 verifies, and this release's table does not know it."""
    shop = stamps.shop(curve=ec.SECP521R1())
    with pytest.raises(
        TimeStampError, match=r"^algorithms: ECDSA secp521r1 is not acceptable at the time of the token$"
    ):
        verify(shop.stamp(MESSAGE), shop)


def test_a_token_from_after_the_end_of_its_algorithms_is_refused() -> None:
    """The table is asked for the token's own time."""
    late = NOON + 10 * YEAR
    shop = stamps.shop(since=NOON, until=NOON + 20 * YEAR)
    with pytest.raises(
        UnprovenTimeError, match=r"^algorithms: ECDSA P-256 is not acceptable at the time of the token$"
    ):
        verify(shop.stamp(MESSAGE, at=late), shop)


@pytest.mark.parametrize(("status", "word"), [(1, "granted with modifications"), (2, "rejection"), (9, "status 9")])
def test_only_granted_is_granted(status: int, word: str) -> None:
    """A rejection says nothing, and modifications were not asked for."""
    at = SOUND.index(b"\x30\x03\x02\x01\x00")
    changed = SOUND[: at + 4] + bytes([status]) + SOUND[at + 5 :]
    with pytest.raises(TimeStampError, match=f"^status: the authority did not grant the request: {word}$"):
        verify(changed)


@pytest.mark.parametrize("response", [*stamping.REJECTED.values()], ids=[*stamping.REJECTED])
def test_a_rejection_is_no_token(response: bytes) -> None:
    """What the demo's authority answers to a query that it refuses."""
    with pytest.raises(TimeStampError, match=r"^status: .*: rejection$"):
        verify(response)


MALFORMED = [
    ("nothing", b"", "response"),
    ("a tag", b"\x30", "response"),
    ("an indefinite length", b"\x30\x80\x00\x00", "response"),
    ("a length that is too long", b"\x30\x81\x05\x30\x03\x02\x01\x00", "response"),
    ("empty", b"\x30\x00", "response.status"),
    ("granted without a token", b"\x30\x05\x30\x03\x02\x01\x00", "response.timeStampToken"),
    ("garbage", b"garbage", "response"),
    ("a byte behind it", SOUND + b"\x00", "response"),
    ("cut", SOUND[:-1], "response"),
    ("too large", b"\x30\x83\x01\x00\x00" + bytes(65536), "response"),
]


@pytest.mark.parametrize(("response", "field"), [row[1:] for row in MALFORMED], ids=[row[0] for row in MALFORMED])
def test_what_is_no_response_is_refused_by_name(response: bytes, field: str) -> None:
    """Garbage, a byte too many, a byte too few, more than 64 KiB."""
    with pytest.raises(TimeStampError) as refused:
        verify(response)
    assert refused.value.field == field


def _altered(change: str) -> bytes:
    """SOUND with one thing in its CMS done otherwise."""
    parsed = tsp.TimeStampResp.load(SOUND)
    data = parsed["time_stamp_token"]["content"]
    signer = data["signer_infos"][0]
    if change == "two signers":
        data["signer_infos"] = [signer, cms.SignerInfo.load(signer.dump())]
    elif change == "no signer":
        data["signer_infos"] = []
    elif change == "no certificate":
        data["certificates"] = []
    elif change == "another certificate":
        data["certificates"] = [asn1.Certificate.load(stamps.shop(label="another").root.public_bytes(Encoding.DER))]
    elif change == "no commitment":
        signer["signed_attrs"] = [each for each in signer["signed_attrs"] if "signing" not in each["type"].native]
    elif change == "an attribute twice":
        signer["signed_attrs"] = [*signer["signed_attrs"], signer["signed_attrs"][0]]
    elif change == "another hash in signatureAlgorithm":
        signer["signature_algorithm"] = algos.SignedDigestAlgorithm({"algorithm": "sha384_ecdsa"})
    elif change == "a signature":
        signer["signature"] = bytes(len(signer["signature"].native))
    else:
        raise AssertionError(change)
    altered: bytes = parsed.dump(force=True)
    return altered


ALTERED = [
    ("two signers", "signerInfos"),
    ("no signer", "signerInfos"),
    ("no certificate", "certificates"),
    ("another certificate", "certificates"),
    ("no commitment", "signedAttrs.signingCertificate"),
    ("an attribute twice", "signedAttrs.1.2.840.113549.1.9.3"),
    ("another hash in signatureAlgorithm", "signerInfo.signatureAlgorithm"),
    ("a signature", "signature"),
]


@pytest.mark.parametrize(("change", "field"), ALTERED)
def test_a_token_with_one_part_changed_is_refused(change: str, field: str) -> None:
    """Each fault is named where it lies."""
    with pytest.raises(TimeStampError) as refused:
        verify(_altered(change))
    assert refused.value.field == field


def test_the_signer_commits_itself_to_its_certificate() -> None:
    """A second certificate of the same name, serial and key does not stand in for the first (RFC 5035)."""
    leaf = SHOP.stamper.certificate
    rebuilt = x509.CertificateBuilder(
        leaf.issuer,
        leaf.subject,
        leaf.public_key(),
        leaf.serial_number,
        leaf.not_valid_before_utc.replace(tzinfo=None),
        stamps.moment(NOON + 9 * YEAR).replace(tzinfo=None),
        list(leaf.extensions),
    ).sign(SHOP.issuer_key, hashes.SHA256())
    parsed = tsp.TimeStampResp.load(SOUND)
    parsed["time_stamp_token"]["content"]["certificates"] = [asn1.Certificate.load(rebuilt.public_bytes(Encoding.DER))]
    with pytest.raises(TimeStampError, match=r"^signedAttrs.signingCertificate: another certificate$"):
        verify(parsed.dump(force=True))


def test_an_answer_repeats_the_nonce_of_its_query() -> None:
    """Whoever has just asked sees whether the answer is to its own question; each query has another nonce."""
    first, second = timestamp.query(MESSAGE), timestamp.query(MESSAGE, hash_algorithm="SHA-512")
    assert first.nonce != second.nonce
    answer = stamping.respond(first.request, stamper=SHOP.stamper, now=NOON)
    stamped = verify_response(answer, message=MESSAGE, authorities=[SHOP.authority], nonce=first.nonce)
    assert (stamped.time_ns, stamped.accuracy_ns) == (NOON, SECOND)
    with pytest.raises(TimeStampError, match=r"^tstInfo.nonce: not the nonce of the request$"):
        verify_response(answer, message=MESSAGE, authorities=[SHOP.authority], nonce=second.nonce)


def test_a_record_lies_between_the_tokens_below_and_over_it() -> None:
    """Each bound with its stated accuracy; what is not there is no bound; bounds that exclude each other are an error."""
    below = verify(SHOP.stamp(MESSAGE, at=NOON, accuracy=stamps.accuracy(seconds=1)))
    over = verify(SHOP.stamp(MESSAGE, at=NOON + 60 * SECOND, accuracy=stamps.accuracy(seconds=2)))
    assert interval(over=over, below=below) == Interval(NOON - SECOND, NOON + 62 * SECOND)
    assert interval(over=over, below=None) == Interval(None, NOON + 62 * SECOND)
    assert interval(over=None, below=None) == Interval(None, None)
    assert interval(over=below, below=below) == Interval(NOON - SECOND, NOON + SECOND)
    with pytest.raises(
        TimeStampError, match=r"^interval: the time stamp below the record is later than the one over it$"
    ):
        interval(over=below, below=over)
