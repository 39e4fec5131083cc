"""The salted attribute tree: 64 fixed slots, one leaf each, opened one by one or all at once.

Leaf of a named attribute = SHA-256(0x00, CBOR[salt, name, value]) with salt = HMAC-SHA-256(K, "salt" name)[:16]; a slot
without an attribute holds HMAC-SHA-256(K, "decoy" slot); the root is the RFC 9162 root over the 64. K is 32 random
bytes for each capture and stays with the holder. Rules A1 to A9 and the registry of proto/attributes.md.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

from platemark import cbor, merkle
from platemark.errors import AttributeTreeError, CborError, ProofError
from platemark.rungs import AttributeValue

__all__ = [
    "KINDS",
    "MAX_DISCLOSURE",
    "REGISTRY",
    "SLOTS",
    "AttributeValue",
    "Disclosure",
    "Opening",
    "commit",
    "decode_disclosure",
]

SLOTS = 64
_MAX_VALUE = 4096
_PATH_LENGTH = 6
MAX_DISCLOSURE = 512 * 1024
_NAMES = """
technologist technologist_id patient_id patient_id_issuer patient_name patient_birth_date
patient_sex study_instance_uid series_instance_uid sop_instance_uid sop_class_uid accession_number
study_datetime acquisition_datetime content_datetime instance_creation_datetime modality
manufacturer model device_serial_number device_uid station_name institution_name department_name
software_versions body_part laterality image_laterality patient_orientation view_position
image_orientation_patient image_position_patient patient_position frame_of_reference_uid
instance_number rows columns frames bits_stored photometric_interpretation pixel_spacing
imager_pixel_spacing kvp exposure exposure_time protocol_name image_type burned_in_annotation
synthetic_data lossy_image_compression rescale camera_id lens frame_id gps_position orientation
file_name remark source_image_uids lossy_compression_ratio lossy_compression_method
sender_identity sender_ae_title embedded_provenance
""".split()  # noqa: SIM905 - a registry of words reads as words
# Name -> slot. A name never moves and is never used for something else; every slot has its name.
REGISTRY: Mapping[str, int] = {name: slot for slot, name in enumerate(_NAMES)}
_INTEGERS = frozenset({"rows", "columns", "frames", "bits_stored", "orientation"})
KINDS: Mapping[str, type] = {name: int if name in _INTEGERS else str for name in REGISTRY}


@dataclass(frozen=True)
class Opening:
    """One attribute shown: whoever has the root can check it, and learns nothing of the others."""

    name: str
    value: AttributeValue
    salt: bytes
    path: tuple[bytes, ...]

    def verify(self, root: bytes) -> None:
        """Check this opening against the attribute root of a statement. Raises ProofError."""
        merkle.verify_inclusion(
            index=REGISTRY[self.name],
            size=SLOTS,
            leaf_hash=_leaf(self.salt, self.name, self.value),
            path=self.path,
            root=root,
        )


@dataclass(frozen=True)
class Disclosure:
    """What the holder keeps: K and every value (`key` given), or openings of chosen attributes (`key` None).

    `values` and `openings` never both hold entries. The repr shows names, never values or K.
    """

    key: bytes | None = field(default=None, repr=False)
    values: Mapping[str, AttributeValue] = field(default_factory=dict, repr=False)
    openings: tuple[Opening, ...] = field(default=(), repr=False)

    @cached_property
    def _leaves(self) -> list[bytes]:
        key = self._secret()
        leaves = [_mac(key, b"decoy" + bytes([slot])) for slot in range(SLOTS)]
        for name, value in self.values.items():
            leaves[REGISTRY[name]] = _leaf(_salt(key, name), name, value)
        return leaves

    def root(self) -> bytes:
        """The attribute root that a statement carries; needs K."""
        return merkle.root(self._leaves)

    def open(self, *names: str) -> Disclosure:
        """A disclosure of these attributes alone; needs K. Raises AttributeTreeError for one that was not committed."""
        key = self._secret()
        for name in names:
            if name not in REGISTRY:
                raise AttributeTreeError(f"attributes.{name}", "not in the registry")
            if name not in self.values:
                raise AttributeTreeError(f"attributes.{name}", "not among the attributes that were committed")
        openings = (
            Opening(
                name,
                self.values[name],
                _salt(key, name),
                tuple(merkle.inclusion_path(self._leaves, REGISTRY[name])),
            )
            for name in sorted(set(names), key=lambda each: REGISTRY[each])
        )
        return Disclosure(openings=tuple(openings))

    def verified(self, root: bytes) -> dict[str, AttributeValue]:
        """The values, once every one is proven to belong to `root`. Raises ProofError."""
        if self.key is not None:
            if not hmac.compare_digest(self.root(), root):
                raise ProofError("the disclosed attributes do not belong to this statement")
            return dict(self.values)
        for opening in self.openings:
            opening.verify(root)
        return {opening.name: opening.value for opening in self.openings}

    def to_bytes(self) -> bytes:
        """The disclosure file (proto/attributes.md section 3)."""
        if self.key is not None:
            return cbor.encode({"v": 1, "key": self.key, "values": dict(self.values)})
        return cbor.encode({"v": 1, "openings": [[o.salt, o.name, o.value, list(o.path)] for o in self.openings]})

    def _secret(self) -> bytes:
        if self.key is None:
            raise AttributeTreeError("disclosure.key", "this disclosure holds openings only, not K")
        return self.key


def commit(values: Mapping[str, AttributeValue], *, key: bytes | None = None) -> Disclosure:
    """Commit to `values` under a new random K. Raises AttributeTreeError for a name, type or length that is refused."""
    for name, value in values.items():
        _check(name, value)
    return Disclosure(key=secrets.token_bytes(32) if key is None else key, values=dict(values))


def decode_disclosure(data: bytes) -> Disclosure:
    """The disclosure in `data`, not yet verified against a root. Raises AttributeTreeError."""
    if len(data) > MAX_DISCLOSURE:
        raise AttributeTreeError("disclosure", f"more than {MAX_DISCLOSURE} bytes")
    try:
        content = cbor.decode(data)
    except CborError as error:
        raise AttributeTreeError("disclosure", str(error)) from None
    if not isinstance(content, dict) or content.get("v") != 1 or isinstance(content.get("v"), bool):
        raise AttributeTreeError("disclosure.v", "not a disclosure of version 1")
    if set(content) == {"v", "key", "values"}:
        return _decode_whole(content)
    if set(content) == {"v", "openings"}:
        return _decode_openings(content["openings"])
    raise AttributeTreeError("disclosure", "not exactly key and values, or openings")


def _decode_whole(content: Mapping[int | str, cbor.Value]) -> Disclosure:
    key, values = content["key"], content["values"]
    if not isinstance(key, bytes) or len(key) != 32:
        raise AttributeTreeError("disclosure.key", "not 32 bytes")
    if not isinstance(values, dict):
        raise AttributeTreeError("disclosure.values", "not a map")
    return commit(cast("dict[str, AttributeValue]", values), key=key)


def _decode_openings(items: cbor.Value) -> Disclosure:
    if not isinstance(items, list) or len(items) > SLOTS:
        raise AttributeTreeError("disclosure.openings", f"not an array of at most {SLOTS}")
    openings = [_decode_opening(item, f"disclosure.openings[{index}]") for index, item in enumerate(items)]
    slots = [REGISTRY[opening.name] for opening in openings]
    if sorted(set(slots)) != slots:
        raise AttributeTreeError("disclosure.openings", "not in ascending order of slots")
    return Disclosure(openings=tuple(openings))


def _decode_opening(item: cbor.Value, where: str) -> Opening:
    if not isinstance(item, list) or len(item) != 4:
        raise AttributeTreeError(where, "not an array of salt, name, value and path")
    salt, name, value, path = item
    if not isinstance(salt, bytes) or len(salt) != 16:
        raise AttributeTreeError(f"{where}.salt", "not 16 bytes")
    _check(name, value)
    if not isinstance(path, list) or len(path) != _PATH_LENGTH:
        raise AttributeTreeError(f"{where}.path", f"not an array of {_PATH_LENGTH}")
    digests = tuple(each for each in path if isinstance(each, bytes) and len(each) == merkle.HASH_SIZE)
    if len(digests) != _PATH_LENGTH:
        raise AttributeTreeError(f"{where}.path", "a digest that is not 32 bytes")
    return Opening(cast("str", name), cast("AttributeValue", value), salt, digests)


def _check(name: object, value: object) -> None:
    if not isinstance(name, str) or name not in REGISTRY:
        raise AttributeTreeError(f"attributes.{str(name)[:40]}", "not in the registry")
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, KINDS[name]):
        raise AttributeTreeError(f"attributes.{name}", f"{type(value).__name__}, not {KINDS[name].__name__}")
    try:
        size = len(cbor.encode(value))
    except CborError as error:
        raise AttributeTreeError(f"attributes.{name}", error.reason) from None
    if size > _MAX_VALUE:
        raise AttributeTreeError(f"attributes.{name}", f"more than {_MAX_VALUE} bytes")


def _leaf(salt: bytes, name: str, value: AttributeValue) -> bytes:
    return merkle.leaf_hash(cbor.encode([salt, name, value]))


def _salt(key: bytes, name: str) -> bytes:
    return _mac(key, b"salt" + name.encode())[:16]


def _mac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()
