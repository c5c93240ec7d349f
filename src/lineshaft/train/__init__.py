"""Model training: one plain loop, recipes over it, and the search among recipes.

``lineshaft.train.fit`` is the loop's function; it loads torch when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lineshaft.train.loop import fit as fit

__all__ = ["fit"]


def __getattr__(name: str) -> Any:
    if name == "fit":
        from lineshaft.train.loop import fit

        return fit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
