"""Whatever the model, the optimizer and the budget, memory stays within the budget and 5 % of it.

By default the first 6 models; 100 of them with ``--whole``.
"""

from __future__ import annotations

import pytest
from held import apart

THREAD = 256 << 10  # bytes that a thread's stack and heap come to, whatever it does
OTHERS = 5  # threads beside those of micro-batches: reader, writer, and for a while cradle, heap and looks at memory


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_peak_never_above_budget(whole):
    found = apart("random_models.py", 100 if whole else 6)
    assert len({one["way"] for one in found}) > 1
    over = [one for one in found if one["peak"] > 1.05 * one["budget"] + THREAD * (OTHERS + one["micros"])]
    told = "\n".join(
        f"{one['over']:.2f} of {one['budget']:,} {one['way']}: {one['model']} {one['optimizer']}"
        for one in sorted(over, key=lambda one: -one["over"])
    )
    assert not over, f"{len(over)} of {len(found)} rose above their budgets:\n{told}"
