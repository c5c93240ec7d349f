"""lineshaft: from raw, unlabelled data to a served model, on one shaft.

``import lineshaft as ls`` gives the public names below. Each is loaded when it is first used, so that importing is
quick and a stage costs only what it needs.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

ABSTAIN = -1

_PLACES = {
    # the shaft
    "Run": "run",
    "run": "run",
    "Task": "core.task",
    "Table": "core.table",
    "read_table": "core.table",
    "fingerprint": "core.fingerprint",
    "LineshaftError": "errors",
    "Refused": "errors",
    "UsageError": "errors",
    # collect
    "labeling_function": "collect.sources",
    "keywords": "collect.sources",
    "regex": "collect.sources",
    "expression": "collect.sources",
    "model_source": "collect.sources",
    "apply": "collect.apply",
    "Votes": "collect.votes",
    "MajorityVote": "collect.fuse.majority",
    "DawidSkene": "collect.fuse.dawid_skene",
    "LabelModel": "collect.fuse.label_model",
    "Labels": "collect.labels",
    "fuse": "collect.labels",
    "analyze": "collect.analysis",
    # verify
    "statistics": "verify.statistics.onepass",
    "infer_schema": "verify.infer",
    "Schema": "verify.schema",
    # train
    "features": "train.features",
    "Recipe": "train.recipe",
    "cross_entropy": "train.loss",
    "adamw": "train.optimizer",
    "sgd": "train.optimizer",
    # release
    "at_least": "release.rules",
    "at_most": "release.rules",
    "no_worse_than": "release.rules",
    "evaluate": "release.evaluate",
    # serve
    "score": "serve.score",
}
_PACKAGES = ("train", "serve", "collect", "verify", "release")

__all__ = ["ABSTAIN", "__version__", *_PLACES]  # noqa: PLE0604 - names, all of them


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        value = getattr(importlib.import_module(f"lineshaft.{_PLACES[name]}"), name)
    elif name in _PACKAGES:
        value = importlib.import_module(f"lineshaft.{name}")
    else:
        raise AttributeError(f"lineshaft has no {name!r}; it has {', '.join(sorted(__all__))}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_PACKAGES])
