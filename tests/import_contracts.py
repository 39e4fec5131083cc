"""A contract type for import-linter: what some modules reach, however indirectly, is on a short list."""

import sys
from typing import Any, cast

import grimp
from importlinter import Contract, ContractCheck, fields, output
from importlinter.domain.imports import Module


class ReachesOnly(Contract):
    """`source_modules` reach `allowed` and the standard library, and of that nothing in `forbidden`.

    A list of what is allowed, unlike import-linter's own list of what is forbidden, also refuses the dependency that
    nobody had heard of when the list was written.
    """

    type_name = "reaches_only"

    source_modules = fields.ListField(subfield=fields.ModuleField())
    allowed = fields.ListField(subfield=fields.StringField())
    forbidden = fields.ListField(subfield=fields.StringField())

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002, FBT001 # import-linter's
        """The shortest chain to every module outside that is not allowed."""
        # The constructor of Contract puts the parsed settings where the fields were.
        sources = cast("list[Module]", self.source_modules)
        named, barred = cast("list[str]", self.allowed), cast("list[str]", self.forbidden)
        allowed = (sys.stdlib_module_names | set(named)) - set(barred)
        outside = sorted(name for name in graph.modules if name.partition(".")[0] not in allowed)
        chains = [
            " -> ".join(chain)
            for source in sources
            for name in outside
            if (chain := graph.find_shortest_chain(importer=source.name, imported=name))
        ]
        return ContractCheck(kept=not chains, metadata={"chains": chains})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print one chain on each line."""
        chains: Any = check.metadata["chains"]
        for chain in chains:
            output.print_error(chain)
