"""The tree of key states: the same for everyone who replays a log, and a key shown in it proves itself."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import builders
import reference
from builders import BEGIN, END, MODALITY, NOW, Log
from platemark import cbor, statement
from platemark.cbor import Value
from platemark.errors import EvidenceError, FormatError, ProofError
from platemark.keyrule import KeyState, Revocation
from platemark.keystate import MAX_SHOWN, KeyLeaf, KeyStates, KeyTree, ShownKey, decode_shown, key_state
from platemark.merkle import EMPTY_ROOT

OPERATOR = builders.party("operator")
LEAF = KeyLeaf(MODALITY.key.kid, "modality", MODALITY.uri, BEGIN, END, 1)


def _replayed(log: Log) -> KeyStates:
    states = KeyStates()
    for index, raw in enumerate(log.statements):
        states.apply(statement.decode(raw), index)
    return states


def _leaves(count: int) -> list[KeyLeaf]:
    return [replace(LEAF, kid=hashlib.sha256(bytes([number])).digest(), enrolled=number) for number in range(count)]


def test_a_log_gives_one_leaf_for_each_enrolled_key() -> None:
    """Roles, dates and places of enrolments and revocations; the policy's own keys and other kinds have no leaf."""
    log = Log()
    log.enrol(MODALITY)
    log.enrol(OPERATOR, role="operator", not_before=5, not_after=7)
    log.capture()
    log.revoke(MODALITY, effective=NOW)
    log.revoke(builders.REGISTRAR, effective=NOW)
    tree = _replayed(log).tree()
    expected = [
        KeyLeaf(MODALITY.key.kid, "modality", MODALITY.uri, BEGIN, END, 1, 4, NOW),
        KeyLeaf(OPERATOR.key.kid, "operator", OPERATOR.uri, 5, 7, 2),
    ]
    assert sorted(expected, key=lambda leaf: leaf.kid) == list(tree.leaves)
    assert tree.show(builders.REGISTRAR.key.kid) is None


def test_a_leaf_is_the_format_s_own_array() -> None:
    """Rule Z1, spelled out: eight values, null where there is no revocation, under the leaf prefix of RFC 9162."""
    values: list[Value] = [MODALITY.key.kid, "modality", MODALITY.uri, BEGIN, END, 1, None, None]
    assert hashlib.sha256(b"\x00" + cbor.encode(values)).digest() == LEAF.hash
    values[-2:] = [9, NOW]
    assert hashlib.sha256(b"\x00" + cbor.encode(values)).digest() == replace(LEAF, revoked=9, effective=NOW).hash


def test_the_first_word_about_a_key_counts() -> None:
    """A second enrolment or revocation, which no ledger logs, changes nothing."""
    log = Log()
    log.enrol(MODALITY)
    log.revoke(MODALITY, effective=NOW)
    before = _replayed(log).tree().root
    log.enrol(MODALITY, role="gateway")
    log.revoke(MODALITY, effective=0)
    assert before == _replayed(log).tree().root


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 31, 33])
def test_every_key_is_proven_under_the_root(count: int) -> None:
    """Root and paths are those of RFC 9162 over the leaves in the order of their kids, whatever the order of enrolment."""
    leaves = _leaves(count)
    tree = KeyTree(reversed(leaves))
    ordered = sorted(leaves, key=lambda leaf: leaf.kid)
    hashes = [leaf.hash for leaf in ordered]
    assert reference.root(hashes) == tree.root
    for index, leaf in enumerate(ordered):
        shown = tree.show(leaf.kid)
        assert shown is not None
        assert (shown.index, list(shown.path)) == (index, reference.inclusion_path(hashes, index))
        shown.verify(root=tree.root, count=count)
        assert decode_shown(shown.to_bytes()) == shown


def test_a_log_without_keys_has_the_empty_tree() -> None:
    """Nothing to show, and no keystate: its count begins at 1."""
    tree = KeyStates().tree()
    assert (tree.count, tree.root, tree.show(MODALITY.key.kid)) == (0, EMPTY_ROOT, None)


def _shown() -> tuple[KeyTree, ShownKey]:
    tree = KeyTree(_leaves(5))
    shown = tree.show(tree.leaves[2].kid)
    assert shown is not None
    return tree, shown


@pytest.mark.parametrize(
    "change",
    [
        lambda shown: replace(shown, leaf=LEAF),
        lambda shown: replace(shown, index=1),
        lambda shown: replace(shown, index=5),
        lambda shown: replace(shown, count=6),
        lambda shown: replace(shown, path=()),
        lambda shown: replace(shown, path=(bytes(32),) * 3),
    ],
    ids=["leaf", "index", "beyond", "count", "short", "other path"],
)
def test_a_key_that_is_not_in_the_tree_is_not_proven(change: Callable[[ShownKey], ShownKey]) -> None:
    """Another leaf, place, count or path leads nowhere."""
    tree, shown = _shown()
    with pytest.raises(ProofError):
        change(shown).verify(root=tree.root, count=5)


def test_a_revocation_cannot_be_left_out_of_a_leaf() -> None:
    """The tree with a revoked key does not prove the same key unrevoked."""
    revoked = replace(LEAF, revoked=9, effective=NOW)
    tree = KeyTree([revoked, *_leaves(3)])
    shown = tree.show(LEAF.kid)
    assert shown is not None
    shown.verify(root=tree.root, count=4)
    with pytest.raises(ProofError):
        replace(shown, leaf=LEAF).verify(root=tree.root, count=4)


def test_a_keystate_speaks_in_the_words_of_the_key_rule() -> None:
    """Size, signed time and the revocation of the shown key; of another tree it says nothing."""
    log = Log()
    log.enrol(MODALITY)
    log.enrol(OPERATOR, role="operator")
    log.revoke(MODALITY, effective=7)
    tree = _replayed(log).tree()
    payload: builders.Payload = {"at": NOW, "log": log.id, "size": 4, "root": tree.root, "count": 2}
    index = log.say("keystate", payload, by=builders.Party(builders.LOG_KEY, f"https://{log.origin}"))
    stated = statement.decode(log.statements[index])
    found = [key_state(shown, stated, index=4) for who in (MODALITY, OPERATOR) if (shown := tree.show(who.key.kid))]
    assert found == [KeyState(4, 4, NOW, Revocation(3, 7)), KeyState(4, 4, NOW, None)]
    with pytest.raises(ProofError):
        key_state(_shown()[1], stated, index=4)


def _member(**changes: Value) -> bytes:
    tree = KeyTree([LEAF, *_leaves(2)])
    shown = tree.show(LEAF.kid)
    assert shown is not None
    names = ("kid", "role", "device", "not_before", "not_after", "enrolled", "revoked", "effective", "index", "count")
    values = dict(zip(names, _array(shown.to_bytes()), strict=False)) | {"path": [*shown.path]}
    return cbor.encode(list({**values, **changes}.values()))


def _array(data: bytes) -> list[Value]:
    """The array in `data`."""
    found = cbor.decode(data)
    assert isinstance(found, list)
    return found


FAULTS: list[tuple[dict[str, Value], str]] = [
    ({"kid": bytes(31)}, "kid"),
    ({"role": "king"}, "role"),
    ({"role": "log"}, "role"),
    ({"device": "dx1"}, "device"),
    ({"not_before": -1}, "not_before"),
    ({"not_after": True}, "not_after"),
    ({"enrolled": None}, "enrolled"),
    ({"revoked": 3}, "effective"),
    ({"effective": 3}, "effective"),
    ({"revoked": "3"}, "revoked"),
    ({"index": -1}, "index"),
    ({"count": 0}, "count"),
    ({"path": [bytes(31)]}, "path[0]"),
    ({"path": [bytes(32)] * 64}, "path"),
    ({"path": bytes(32)}, "path"),
    ({"more": 1}, ""),
]


@pytest.mark.parametrize(("changes", "field"), FAULTS, ids=range(len(FAULTS)))
def test_a_member_with_a_fault_names_the_field(changes: dict[str, Value], field: str) -> None:
    """Every value is checked before anything is proven with it."""
    assert decode_shown(_member()).leaf == LEAF
    with pytest.raises(EvidenceError) as caught:
        decode_shown(_member(**changes))
    assert f"keystate/leaf.cbor.{field}".removesuffix(".") == caught.value.field


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xa0", b"\x00", bytes(MAX_SHOWN + 1)], ids=range(5))
def test_other_bytes_are_no_member(data: bytes) -> None:
    """Whatever it is, the error is ours."""
    with pytest.raises(EvidenceError):
        decode_shown(data)


@given(st.binary(max_size=200) | st.integers(0, 255).map(lambda byte: _member()[:-1] + bytes([byte])))
@settings(max_examples=200)
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    """A stranger's member is refused or well formed, and then writes back to the same bytes."""
    try:
        shown = decode_shown(data)
    except FormatError:
        return
    assert data == shown.to_bytes()
