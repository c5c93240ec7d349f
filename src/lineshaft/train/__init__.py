"""Model training: one plain loop, recipes over it, and the search among recipes.

``lineshaft.train.fit`` is the loop's function, ``lineshaft.train.plan`` says what it would do within a budget,
``lineshaft.train.export`` writes the model of a running or ended training to a file, and ``lineshaft.train.Clip`` says
how gradients are clipped; they load torch when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lineshaft.train.handover import export as export
    from lineshaft.train.loop import fit as fit
    from lineshaft.train.planning import plan as plan
    from lineshaft.train.settings import Clip as Clip

__all__ = ["Clip", "export", "fit", "plan"]


def __getattr__(name: str) -> Any:
    if name == "export":
        from lineshaft.train.handover import export

        return export
    if name == "fit":
        from lineshaft.train.loop import fit

        return fit
    if name == "plan":
        from lineshaft.train.planning import plan

        return plan
    if name == "Clip":
        from lineshaft.train.settings import Clip

        return Clip
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
