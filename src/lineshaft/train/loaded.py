"""What torch loads with the first training of a process: its optimizers' compiler, kernels, threads of autograd.

It is code and tables, the same for every model and the same however often one trains, some 100 MB of them. A budget is
for training, so this is loaded before the bytes are counted that the process holds.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from lineshaft.core.heap import give_back, in_another_heap

SIDE = 64  # of the matrices and images that kernels are loaded with


@cache
def load() -> None:
    """Load it, once in a process; the random generators are left as they are."""
    in_another_heap(_train)
    np.random.get_state()  # noqa: NPY002 - what user code draws from
    give_back()


def _train() -> None:
    """Take a step of an optimizer on a matrix and a kernel of zeros."""
    matrix, kernel = (torch.zeros(shape, requires_grad=True) for shape in ((SIDE, SIDE), (1, 1, 3, 3)))
    optimizer = torch.optim.AdamW([matrix, kernel])
    with torch.enable_grad():
        image = torch.nn.functional.conv2d((matrix @ matrix)[None, None], kernel)
        torch.nn.functional.cross_entropy(image[0, 0], torch.zeros(len(image[0, 0]), dtype=torch.long)).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
