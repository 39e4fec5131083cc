"""The key trees that keystate statements have to state (rule E13), at any size that the replay has passed."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from platemark.keystate import KeyLeaf, KeyStates, KeyTree

if TYPE_CHECKING:
    from platemark.statement import Statement

__all__ = ["KeyTrees"]


class KeyTrees:
    """Follows enrolments and revocations, which have been admitted, in log order."""

    def __init__(self) -> None:
        self._states = KeyStates()
        self._changes: list[int] = []
        # The newest tree that was asked for, by how many changes it knows: keystates come hourly, changes rarely.
        self._known: tuple[int, KeyTree] = (0, KeyTree(()))

    def follow(self, statement: Statement, index: int) -> None:
        """The next admitted statement; kinds that change no key change nothing."""
        if statement.kind in {"enrol", "revoke"}:
            self._states.apply(statement, index)
            self._changes.append(index)

    def fault(self, keystate: Statement, index: int) -> str | None:
        """Why the keystate at `index` is not what the log has, or None."""
        payload = keystate.payload
        size = cast("int", payload["size"])
        if size > index:
            return f"it speaks of {size} statements, and {index} were before it"
        tree = self._at(size)
        if (payload["count"], payload["root"]) != (tree.count, tree.root):
            return f"it states {payload['count']!r} keys, and the log below {size} gives {tree.count} with another root"
        return None

    def _at(self, size: int) -> KeyTree:
        changes = bisect_left(self._changes, size)
        if changes != self._known[0]:
            leaves = self._states.tree().leaves
            self._known = (changes, KeyTree(_before(leaf, size) for leaf in leaves if leaf.enrolled < size))
        return self._known[1]


def _before(leaf: KeyLeaf, size: int) -> KeyLeaf:
    """The leaf as it was at `size`."""
    late = leaf.revoked is not None and leaf.revoked >= size
    return replace(leaf, revoked=None, effective=None) if late else leaf
