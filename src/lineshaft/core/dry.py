"""A dry run: which steps would be reused, which would run and why, without writing anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lineshaft.core.executions import find, outputs_of
from lineshaft.core.step import Step, pending
from lineshaft.core.why import Reason, explain

if TYPE_CHECKING:
    from lineshaft.core.artifact import Artifact
    from lineshaft.core.home import Home


class DrySession:
    """Stands in for `lineshaft.core.session.Session`: looks steps up, computes none.

    Attributes
    ----------
    reasons
        One per step, in the order in which the script came to them.

    """

    def __init__(self, home: Home, script: str) -> None:
        self.home = home
        self.run = ""
        self.reasons: list[Reason] = []
        self._script = script

    def one(self, step: Step) -> dict[str, Artifact]:
        """Look one step up."""
        return self.all([step])[0]

    def all(self, steps: Sequence[Step]) -> list[dict[str, Artifact]]:
        """Look steps up; what would run gives pending artifacts."""
        return [self._look(step) for step in steps]

    def known(self, step: Step) -> bool:
        """Say whether a step would be reused."""
        return not step.pending and not step.impure and self._found(step) is not None

    def _look(self, step: Step) -> dict[str, Artifact]:
        missing = {name: pending(kind, step.name) for name, kind in step.outputs.items()}
        if step.pending:
            self.reasons.append(Reason(step.name, "depends"))
            return missing
        if step.impure:
            self.reasons.append(Reason(step.name, "runs", ("always runs (impure)",)))
            return missing
        found = self._found(step)
        if found is None:
            self.reasons.append(explain(self.home.catalog, step, self._script))
            return missing
        self.reasons.append(Reason(step.name, "reused"))
        return found

    def _found(self, step: Step) -> dict[str, Artifact] | None:
        with self.home.catalog.read() as connection:
            number = find(connection, step.key)
            found = None if number is None else outputs_of(connection, number)
        if found is None or not all(self.home.store.has(artifact) for artifact in found.values()):
            return None
        return found
