"""Vectors of time: stamps with what they prove or where they fail, and renewals."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from asn1crypto import tsp
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

import stamps
from platemark import renewal
from platemark.errors import TimeStampError
from platemark.renewal import Proof, Renewal, Stamped
from platemark.timestamp import Authority, TimeStamp, verify_response
from stamps import NOON, SECOND, YEAR, Shop
from vectors.shapes import dump, table

__all__ = ["files"]

_MESSAGE = b"ledger.example/xray\n5\n"
_SHOP = stamps.shop(label="time")
_BETWEEN = stamps.shop(label="time between", between=True)
_NEW = stamps.shop(label="time renewed", until=NOON + 20 * YEAR)


def files() -> dict[str, bytes]:
    """File name -> content."""
    return {"timestamp.json": _timestamp(), "renewal.json": _renewal()}


def _timestamp() -> bytes:
    accepted = [_row(name, response, shop, crls) for name, response, shop, crls in _accepted()]
    refused = [(_row(name, response, shop, crls), field) for name, response, shop, crls, field in _refused()]
    return dump(
        "Time stamps, proto/time.md section 1",
        "made by tests/stamps.py: P-256 keys derived from names, nonces of RFC 6979, asn1crypto for CMS",
        accepted=[{**row, **_proven(_verified(row))} for row in accepted],
        refused=[{**row, "field": field} for row, field in refused],
    )


def _row(name: str, response: bytes, shop: Shop, crls: tuple[bytes, ...]) -> dict[str, Any]:
    return {
        "name": name,
        "message": _MESSAGE.hex(),
        "response": response.hex(),
        "roots": [root.hex() for root in shop.authority.roots],
        "crls": [crl.hex() for crl in crls],
    }


def _verified(row: dict[str, Any]) -> TimeStamp:
    authority = Authority("test", tuple(bytes.fromhex(root) for root in row["roots"]))
    response, message = bytes.fromhex(row["response"]), bytes.fromhex(row["message"])
    crls = [bytes.fromhex(crl) for crl in row["crls"]]
    return verify_response(response, message=message, authorities=[authority], crls=crls)


def _proven(stamp: TimeStamp) -> dict[str, Any]:
    return {
        "time": str(stamp.time_ns),
        "accuracy": None if stamp.accuracy_ns is None else str(stamp.accuracy_ns),
        "policy": stamp.policy,
        "serial": str(stamp.serial),
        "algorithms": list(stamp.algorithms),
        "acceptable_until": None if stamp.acceptable_until is None else str(stamp.acceptable_until),
        "revocation_known": None if stamp.revocation_known is None else str(stamp.revocation_known),
    }


def _accepted() -> Iterator[tuple[str, bytes, Shop, tuple[bytes, ...]]]:
    sound = _SHOP.stamp(_MESSAGE)
    yield "SHA-256, no accuracy", sound, _SHOP, ()
    yield "SHA-384", _SHOP.stamp(_MESSAGE, algorithm="sha384"), _SHOP, ()
    yield "SHA-512", _SHOP.stamp(_MESSAGE, algorithm="sha512"), _SHOP, ()
    parts = stamps.accuracy(seconds=2, millis=3, micros=4)
    yield "accuracy of three parts", _SHOP.stamp(_MESSAGE, accuracy=parts), _SHOP, ()
    yield "an empty accuracy", _SHOP.stamp(_MESSAGE, accuracy=stamps.accuracy()), _SHOP, ()
    yield "a quarter of a second", _SHOP.stamp(_MESSAGE, at=NOON + 250_000_000), _SHOP, ()
    chain = _BETWEEN.stamp(_MESSAGE)
    yield "an intermediate", chain, _BETWEEN, ()
    embedded = [each.dump() for each in tsp.TimeStampResp.load(chain)["time_stamp_token"]["content"]["certificates"]]
    turned = chain.replace(b"".join(embedded), b"".join(reversed(embedded)))
    yield "certificates out of order", turned, _BETWEEN, ()
    past = NOON - 10 * YEAR
    old = stamps.shop(label="time past", since=past - YEAR, until=past + YEAR)
    yield "a chain that expired since", old.stamp(_MESSAGE, at=past), old, ()
    yield "a list of the revoked", sound, _SHOP, (stamps.crl(_SHOP),)
    yield "revoked later, superseded", sound, _SHOP, (stamps.crl(_SHOP, revoked=NOON + SECOND),)
    yield "a list of another issuer", sound, _SHOP, (stamps.crl(_BETWEEN, revoked=NOON),)
    yield "a list that had run out", sound, _SHOP, (stamps.crl(_SHOP, made=NOON - 9 * SECOND, following=NOON - SECOND),)


def _refused() -> Iterator[tuple[str, bytes, Shop, tuple[bytes, ...], str]]:
    tests = table("client/test_timestamp.py")
    sound = _SHOP.stamp(_MESSAGE)
    for name, response, field in tests.MALFORMED:
        if len(response) <= 4000:
            yield name, response, _SHOP, (), field
    for change, field in tests.ALTERED:
        yield f"changed: {change}", tests._altered(change), _SHOP, (), field
    yield "another message", _SHOP.stamp(b"another"), _SHOP, (), "tstInfo.messageImprint"
    yield "SHA-1", _SHOP.stamp(_MESSAGE, algorithm="sha1"), _SHOP, (), "tstInfo.messageImprint.hashAlgorithm"
    yield "nobody trusted", sound, _BETWEEN, (), "certificates"
    for name, at in (("before", NOON - 2 * YEAR), ("after", NOON + 2 * YEAR)):
        yield f"{name} the validity of the chain", _SHOP.stamp(_MESSAGE, at=at), _SHOP, (), "genTime"
    purposes: dict[str, tuple[x509.ObjectIdentifier, ...] | None] = {
        "no purpose": None,
        "another purpose": (ExtendedKeyUsageOID.CODE_SIGNING,),
        "two purposes": (ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING),
    }
    for name, usage in purposes.items():
        shop = stamps.shop(label=name, usage=usage)
        yield name, shop.stamp(_MESSAGE), shop, (), "certificate"
    shop = stamps.shop(label="not critical", critical=False)
    yield "a purpose that is not critical", shop.stamp(_MESSAGE), shop, (), "certificate"
    shop = stamps.shop(label="no CA", between=True, ca=False)
    yield "an intermediate that is no CA", shop.stamp(_MESSAGE), shop, (), "certificates"
    late = NOON + 10 * YEAR
    yield "after the end of its algorithms", _NEW.stamp(_MESSAGE, at=late), _NEW, (), "algorithms"
    lost = x509.ReasonFlags.key_compromise
    yield "revoked before", sound, _SHOP, (stamps.crl(_SHOP, revoked=NOON),), "certificate"
    yield "key lost later", sound, _SHOP, (stamps.crl(_SHOP, revoked=NOON + YEAR // 2, reason=lost),), "certificate"
    yield (
        "revoked later, no reason",
        sound,
        _SHOP,
        (stamps.crl(_SHOP, revoked=NOON + SECOND, reason=None),),
        "certificate",
    )
    yield "a list that is none", sound, _SHOP, (b"garbage",), "crls[0]"


def _renewal() -> bytes:
    tests = table("client/test_renewal.py")
    rows = [_stamped(size, shop) for size, shop in ((5, _SHOP), (8, _SHOP), (8, _NEW), (11, _BETWEEN), (20, _SHOP))]
    rows[1] = replace(rows[1], crls=(stamps.crl(_SHOP),))
    made = _renewed(rows, at=NOON + 3 * YEAR)
    again = [*rows, *made.stamped()]
    second = _renewed(again, at=NOON + 6 * YEAR)
    chain = (renewal.prove(again, made.stamped()[0], renewal=second),)
    proven = [
        (rows[index], (renewal.prove(rows, rows[index], renewal=made), *more))
        for index, more in ((0, ()), (1, chain), (4, ()))
    ]
    return dump(
        "Renewals, proto/time.md section 5",
        "tokens by tests/stamps.py; refused forms: the table of tests/client/test_renewal.py",
        items=[_item(row) for row in rows],
        claims=[{"items": len(rows), "size": 20, "note": b"note 20\n".hex(), "claim": made.claim.hex()}],
        data=[{"data": renewal.encode_data(each).hex()} for each in (made, second)],
        accepted=[_shown(row, proofs) for row, proofs in proven],
        unproven=[{"name": name, **_shown(row, proofs)} for name, row, proofs in _unproven(rows, made)],
        malformed=[
            {"name": f"{kind}: {name}", "kind": kind, "bytes": tests.encoded(kind, changes).hex(), "field": field}
            for kind, name, changes, field in tests.REFUSED
            if len(tests.encoded(kind, changes)) <= 4000
        ],
    )


def _unproven(rows: list[Stamped], made: Renewal) -> Iterator[tuple[str, Stamped, tuple[Proof, ...]]]:
    sound = renewal.prove(rows, rows[0], renewal=made)
    yield "another item", rows[1], (sound,)
    yield "another index", rows[0], (replace(sound, index=(sound.index + 1) % len(rows)),)
    yield "a short path", rows[0], (replace(sound, path=sound.path[:-1]),)
    yield "a long path", rows[0], (replace(sound, path=(*sound.path, bytes(64))),)
    claim = replace(renewal.decode_claim(made.claim), checkpoint=bytes(64)).encode()
    yield "another claim", rows[0], (replace(sound, claim=claim),)
    early = _renewed(rows, at=NOON - SECOND)
    yield "before what it renews", rows[0], (renewal.prove(rows, rows[0], renewal=early),)
    weak = _renewed(rows, at=NOON + SECOND, algorithm="sha256")
    yield "under SHA-256", rows[0], (renewal.prove(rows, rows[0], renewal=weak),)


def _stamped(size: int, shop: Shop) -> Stamped:
    note = b"note %d\n" % size
    return Stamped(size, note, shop.stamp(note))


def _renewed(rows: list[Stamped], *, at: int, algorithm: str = "sha512") -> Renewal:
    claim = renewal.claim(rows, size=20, note=b"note 20\n").encode()
    return Renewal(claim, ((_NEW.stamp(claim, at=at, algorithm=algorithm), ()),))


def _item(row: Stamped) -> dict[str, Any]:
    return {
        "size": row.size,
        "message": row.message.hex(),
        "response": row.response.hex(),
        "crls": [crl.hex() for crl in row.crls],
        "leaf": row.leaf.hex(),
    }


def _shown(row: Stamped, proofs: tuple[Proof, ...]) -> dict[str, Any]:
    """A token, the proofs of its renewals, the times of all, and until when they stand; None where they do not."""
    authorities = [shop.authority for shop in (_SHOP, _BETWEEN, _NEW)]
    first = verify_response(row.response, message=row.message, authorities=authorities, crls=row.crls)
    try:
        found = renewal.verify_renewals(row, first, proofs, authorities=authorities)
    except TimeStampError as error:
        outcome: dict[str, Any] = {"field": error.field}
    else:
        outcome = {"times": [str(each.time_ns) for each in found], "acceptable_until": str(found[-1].acceptable_until)}
    return {
        **_item(row),
        "proofs": [proof.encode().hex() for proof in proofs],
        "roots": [each.roots[0].hex() for each in authorities],
        **outcome,
    }
