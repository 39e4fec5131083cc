"""Vectors of records: statements, attributes, bundles and verdicts."""

import base64
from typing import Any

from builders import BEGIN, CAMERA, END, MODALITY, NOW, Log, letters, measurement, party
from examples import FULL, minimal
from platemark import attributes, cbor, statement, trust
from platemark.errors import AttributeTreeError
from platemark.keystate import KeyStates
from platemark.kinds import KINDS
from platemark.rungs import Measurement
from platemark.verdict import Verdict
from platemark.verify import verify
from scenes import FAULTS, Scene, good
from vectors import views
from vectors.shapes import dump, measured, table, tagged

__all__ = ["files"]

_LARGEST = 6000
_SUBJECT = "urn:uuid:8a3fbd4f-54d1-4d44-8a3f-bd4f54d14d44"


def files() -> dict[str, bytes]:
    """File name -> content."""
    return {
        "statement.json": _statement(),
        "attributes.json": _attributes(),
        "evidence.json": _evidence(),
        "verdict.json": _verdict(),
        "keystate.json": _keystate(),
    }


def _decoded(name: str, raw: bytes) -> dict[str, Any]:
    decoded = statement.decode(raw)
    return {
        "name": name,
        "statement": raw.hex(),
        "spki": MODALITY.key.spki.hex(),
        "kind": decoded.kind,
        "issuer": decoded.issuer,
        "subject": decoded.subject,
        "kid": decoded.kid.hex(),
        "payload": tagged(decoded.payload),
        "id": decoded.id.hex(),
        "entry": decoded.entry.hex(),
        "time": None if decoded.time is None else str(decoded.time),
    }


def _statement() -> bytes:
    header, fields = table("client/test_statement.py"), table("client/test_statement_fields.py")
    accepted = []
    for kind in KINDS:
        for name, payload in (("minimal", minimal(kind)), ("full", FULL[kind])):
            raw = statement.build(kind, payload, signer=MODALITY.key, issuer=MODALITY.uri, subject=_SUBJECT)
            accepted.append(_decoded(f"{kind}, {name}", raw))
    refused = [(name, header._raw(changes=changes), part) for name, changes, part in header.HEADERS]
    for kind, path, _ in fields.MISSING:
        payload = fields._full(kind)
        inside, field = fields._place(payload, path)
        del inside[field]
        refused.append((f"{kind}: {fields._shown(path)} missing", _raw(kind, payload), fields._shown(path)))
    for kind, name, changes, part, _ in fields.TOGETHER:
        payload = {field: value for field, value in (fields._full(kind) | changes).items() if value is not ...}
        refused.append((f"{kind}: {name}", _raw(kind, payload), part))
    for kind, path, number, (value, _) in fields.RANGES:
        if number == 0:  # one wrong value for each field
            name = f"{kind}: {fields._shown(path)} out of range"
            refused.append((name, _raw(kind, fields._set(kind, path, value)), fields._shown(path)))
    news = [("version 2", header._raw({"v": 2, "more": 1})), ("a new kind", header._raw(kind="video"))]
    return dump(
        "Statements, proto/statement.md sections 4 and 5",
        "tests/examples.py, signed by the key that tests/builders.py derives for `modality`, ES256 with RFC 6979 nonces; "
        "refused: the tables of tests/client/test_statement.py and test_statement_fields.py, every one correctly signed",
        accepted=accepted,
        unknown=[{"name": name, "statement": raw.hex()} for name, raw in news],
        refused=[
            {"name": name, "statement": raw.hex(), "field": part} for name, raw, part in refused if len(raw) <= _LARGEST
        ],
    )


def _raw(kind: str, payload: dict[str, Any]) -> bytes:
    raw: bytes = table("client/test_statement.py")._raw(cbor.encode(payload), kind=kind)
    return raw


def _attributes() -> bytes:
    tests = table("client/test_attributes.py")
    whole, root = tests.WHOLE, tests.ROOT
    empty = attributes.commit({}, key=bytes(32))
    trees = [
        ("five values", whole),
        ("nothing", empty),
        ("every name", attributes.commit(dict.fromkeys(attributes.REGISTRY), key=b"\xff" * 32)),
    ]
    shown = [
        ("one", whole.open("patient_id")),
        ("three", whole.open("remark", "rows", "laterality")),
        ("none", whole.open()),
    ]
    unproven = [(name, attributes.Disclosure(openings=(make(),)).to_bytes()) for name, make in tests.MUTATIONS]
    well_formed = [(name, raw) for name, raw in unproven if _decodes(raw)]
    well_formed.append(("another K", attributes.commit(tests.VALUES, key=bytes(32)).to_bytes()))
    return dump(
        "Attributes, proto/attributes.md",
        "K and values of tests/client/test_attributes.py, whose tables these are",
        trees=[
            {
                "name": name,
                "key": (tree.key or b"").hex(),
                "values": {each: tagged(value) for each, value in tree.values.items()},
                "leaves": [leaf.hex() for leaf in tests._tree(tree.key, dict(tree.values))],
                "root": tree.root().hex(),
                "disclosure": tree.to_bytes().hex(),
            }
            for name, tree in trees
        ],
        openings=[
            {
                "name": name,
                "root": root.hex(),
                "disclosure": each.to_bytes().hex(),
                "values": {opening.name: tagged(opening.value) for opening in each.openings},
            }
            for name, each in shown
        ],
        unproven=[{"name": name, "root": root.hex(), "disclosure": raw.hex()} for name, raw in well_formed],
        malformed=[
            {"name": name, "disclosure": cbor.encode(content).hex(), "field": part}
            for name, content, part in tests.FILES
        ],
    )


def _decodes(raw: bytes) -> bool:
    try:
        attributes.decode_disclosure(raw)
    except AttributeTreeError:
        return False
    return True


def _evidence() -> bytes:
    tests = table("client/test_evidence.py")
    bundles = [("every member", tests.FULL), ("the least", tests.PLAIN), ("a capture", good()[0])]
    hostile = [
        (name, make()) for name, make in tests.HOSTILE if name not in {"a bomb", "overlapping members", "too large"}
    ]
    return dump(
        "Evidence bundles, proto/evidence.md section 1",
        "tests/client/test_evidence.py and tests/scenes.py; bundles in base64",
        accepted=[
            {
                "name": name,
                "bundle": base64.b64encode(each.to_bytes()).decode(),
                "members": {
                    member: content.hex() for member, content in each.members().items() if member != "README.txt"
                },
            }
            for name, each in bundles
        ],
        refused=[
            {"name": name, "bundle": base64.b64encode(raw).decode()} for name, raw in hostile if len(raw) <= _LARGEST
        ],
    )


def _verdict() -> bytes:
    image = measurement(b"an image")
    scenes: list[tuple[str, Scene, Measurement]] = [
        ("nothing is wrong", good(), image),
        *((name, make(), image) for name, make, _, _ in FAULTS),
        *views.scenes(),
    ]
    rows = []
    for name, (given, trusted), image in scenes:
        if any(len(each) > _LARGEST for each in given.members().values()):
            continue
        verdict = verify(given, trust=trusted, image=image, at=NOW)
        file = None if trusted is None else trust.to_toml(trusted.logs[0])
        rows.append(
            {
                "name": name,
                "bundle": base64.b64encode(given.to_bytes()).decode(),
                "trust": file,
                "image": measured(image),
                "at": str(NOW),
                **_outcome(verdict),
            }
        )
    return dump(
        "Verdicts, proto/evidence.md section 4",
        "tests/scenes.py, and tests/vectors/views.py for content and single frames; `checks` has one letter for each check: "
        "P for PASS, F for FAIL, N for NOT CHECKED",
        verdicts=rows,
    )


def _outcome(verdict: Verdict) -> dict[str, Any]:
    return {
        "checks": letters(verdict),
        "result": verdict.result,
        "exit_code": verdict.exit_code,
        "rung": verdict.rung,
        "facts": {name: str(value) for name, value in verdict.facts.items()},
    }


def _keystate() -> bytes:
    tests = table("client/test_keystate.py")
    log, states = Log(), KeyStates()
    for number, who in enumerate((MODALITY, CAMERA, *(party(f"device-{number}") for number in range(5)))):
        log.enrol(who, role=("modality", "sensor", "gateway")[number % 3], not_before=BEGIN + number, not_after=END)
    log.revoke(CAMERA, effective=NOW)
    trees: list[dict[str, Any]] = []
    for index, raw in enumerate(log.statements):
        states.apply(statement.decode(raw), index)
        tree = states.tree()
        shown = [each for leaf in tree.leaves if (each := tree.show(leaf.kid)) is not None]
        if shown:
            trees.append(
                {
                    "size": index + 1,
                    "root": tree.root.hex(),
                    "count": tree.count,
                    "leaves": [tagged(each.leaf.fields()) for each in shown],
                    "members": [each.to_bytes().hex() for each in shown],
                }
            )
    last = trees[-1]
    swapped = zip(trees[-2]["members"], last["members"], strict=True)
    unproven = [
        {"name": f"key {number} before the revocation", "member": old, "root": last["root"], "count": last["count"]}
        for number, (old, new) in enumerate(swapped)
        if old != new
    ]
    unproven.append({"name": "count", "member": last["members"][0], "root": last["root"], "count": 8})
    malformed = [(" ".join(changes), tests._member(**changes), field) for changes, field in tests.FAULTS]
    return dump(
        "Key states, proto/statement.md section 5.3",
        "made here: a log that enrols seven keys and revokes one, its tree after every statement",
        statements=[{"statement": raw.hex()} for raw in log.statements],
        trees=trees,
        unproven=unproven,
        malformed=[
            {"name": name, "member": member.hex(), "field": f"keystate/leaf.cbor.{field}".removesuffix(".")}
            for name, member, field in malformed
        ],
    )
