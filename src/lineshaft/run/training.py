"""Training in a run: every candidate and rung is a step of its own, all of a rung handed to the engine together.

::

    labels ─┐
    chunks ─┼─► train head [model.width=64]  ─► state, curves ─┐
    rows   ─┘   train head [model.width=256] ─► state, curves ─┴─ search ─► model (of the best)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineshaft.core import script
from lineshaft.core.codec import Tensors
from lineshaft.core.events import emit
from lineshaft.core.step import Step, is_pending, make, pending
from lineshaft.core.table import ROW_ID, Table, split
from lineshaft.errors import DataError, Diverged, UsageError
from lineshaft.run.handles import DryRunEnd, ForTask, Handle, Rows, Trained, one_table

if TYPE_CHECKING:
    import pyarrow as pa

    from lineshaft.collect.labels import Labels
    from lineshaft.core.artifact import Artifact
    from lineshaft.core.task import Task
    from lineshaft.run.facade import Run
    from lineshaft.train.model import Model
    from lineshaft.train.recipe import Recipe
    from lineshaft.train.select import Selection


METRICS = ("train_loss", "validation_loss", "validation_accuracy")  # the first needs no rows to validate on


ASIDE: dict[str, Any] = {"memory": None, "split": ()}  # of a recipe: what changes nothing that it makes


@dataclass(frozen=True)
class Plan:
    """A search: see `Run.select`."""

    recipe: Recipe
    task: Task
    space: Mapping[str, Sequence[Any]]
    how: str
    n: int | None
    halving: int | None
    metric: str
    validation: float
    seed: int
    memory: Any = None

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs in all after each rung."""
        from lineshaft.train.select import rungs_to

        epochs = self.recipe.epochs
        return (epochs,) if self.halving is None else rungs_to(epochs, reduction=self.halving)

    @property
    def higher(self) -> bool:
        """Whether the metric is one of which more is better."""
        return "accuracy" in self.metric


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes
    ----------
    best
        The best candidate's model.
    found
        All candidates with their scores; None in a dry run, which does not know them.
    curves
        Reports by candidate: ``curves``, one dict per epoch, and ``scores`` at the best of them.

    """

    best: Trained[Model]
    found: Selection | None
    curves: Sequence[Handle[Any]]

    @property
    def selection(self) -> Selection:
        """All candidates with their scores."""
        if self.found is None:
            raise DryRunEnd("the script looks into a search whose candidates are not trained; a dry run ends here")
        return self.found

    def _repr_html_(self) -> str:
        return self.selection._repr_html_()


def select(run: Run, plan: Plan, rows: Rows, labels: ForTask[Labels]) -> Search:
    """Train the candidates of a plan and keep the best."""
    from lineshaft.train.model import load
    from lineshaft.train.select import Halving, expand, search

    if not 0 <= plan.validation < 1:
        raise UsageError(f"validation={plan.validation} is not a share: give 0 or more, below 1")
    if plan.metric not in (known := METRICS[: len(METRICS) if plan.validation else 1]):
        raise UsageError(f"there is no metric {plan.metric!r} to select by; there are {', '.join(known)}")
    rows = one_table(rows, "training")
    if plan.task.gold in plan.recipe.inputs.reads:
        raise UsageError(
            f"{plan.recipe.inputs!r} reads {plan.task.gold!r}, the gold of task {plan.task.name!r}: a model that sees "
            "the answer has learnt nothing; take the column out of reads"
        )
    where = [script.reference(part) for part in (plan.recipe.builder, plan.recipe.inputs)]  # refuses before training
    trainer = _Trainer(run, plan, rows, labels, run.features(rows, plan.recipe.inputs))

    def made_of(model: Artifact) -> Trained[Model]:
        return Trained(model, run.home, load, plan.task, plan.recipe.inputs, rows.schema, labels.artifact)

    candidates = expand(plan.space, plan.how, plan.n, plan.seed)
    trainer.candidates = candidates
    policy = Halving(plan.rungs, plan.halving or 2, plan.higher)
    try:
        selection = search(candidates, policy, plan.metric, trainer.rung)
    except _Unknown:
        unknown = pending("Model", "train")
        return Search(made_of(unknown), None, ())
    winner = trainer.states[selection.best]
    inputs = {"state": winner} | ({"schema": rows.schema} if rows.schema is not None else {})
    how = {
        "recipe": plan.recipe.with_({**candidates[selection.best], **ASIDE}),
        "task": plan.task,
        "schema_digest": rows.schema and rows.schema.digest,
        "where": where,
    }
    made = run.session.one(make("model", finish, inputs, {"model": "Model"}, how))
    curves = [Handle(trainer.curves[index], run.home, dict) for index in range(len(candidates))]
    return Search(made_of(made["model"]), selection, curves)


class _Unknown(Exception):  # noqa: N818 - a dry run's way out of a search, not an error
    """A dry run does not know the scores."""


@dataclass
class _Trainer:
    """Trains rungs of candidates, remembering where each stands."""

    run: Run
    plan: Plan
    rows: Rows
    labels: ForTask[Labels]
    tensors: Sequence[Artifact]
    candidates: Sequence[dict[str, Any]] = ()

    def __post_init__(self) -> None:
        self.states: dict[int, Artifact] = {}
        self.curves: dict[int, Artifact] = {}

    def rung(self, numbers: Sequence[int], epochs: int) -> list[float]:
        """Train candidates up to some epochs; return their scores."""
        made = self.run.session.all([self._step(number, epochs) for number in numbers])
        if any(is_pending(item["curves"]) for item in made):
            raise _Unknown
        for number, item in zip(numbers, made, strict=True):
            self.states[number], self.curves[number] = item["state"], item["curves"]
        return [self._score(self.run.home.get(item["curves"])) for item in made]

    def _score(self, report: dict[str, Any]) -> float:
        if report.get("failed"):
            emit("training.diverged", reason=report["failed"])
            return math.nan
        return float(report["scores"][self.plan.metric])

    def _step(self, number: int, epochs: int) -> Step:
        plan, changes = self.plan, self.candidates[number]
        shown = ", ".join(f"{name}={value}" for name, value in changes.items())
        columns = [] if self.rows.group is None else [self.rows.group]
        inputs: dict[str, Any] = {
            "view": self.rows.view(columns),
            "labels": self.labels.artifact,
            "tensors": list(self.tensors),
        }
        if number in self.states:
            inputs["start"] = self.states[number]
        recipe = plan.recipe.with_(changes)
        memory = recipe.memory if plan.memory is None else plan.memory
        how = {
            "recipe": recipe.with_(ASIDE),
            "epochs": epochs,
            "task": plan.task,
            "group": self.rows.group,
            "validation": plan.validation,
            "seed": plan.seed,
        }
        name = f"train {plan.recipe.builder.__name__}{f' [{shown}]' if shown else ''}"
        outputs = {"state": "Tensors", "curves": "Report"}
        aside = {"rows": self.rows.artifact, "memory": memory, "split": recipe.split}  # they change no bit
        return make(name, train, inputs, outputs, how, resumable=True, aside=aside)


def train(
    rows: pa.Table,
    labels: pa.Table,
    tensors: Sequence[Tensors],
    recipe: Recipe,
    epochs: int,
    task: Task,
    group: str | None,
    validation: float,
    seed: int,
    work: Path,
    start: Tensors | None = None,
    memory: Any = None,
    split: Sequence[str] = (),
) -> dict[str, Any]:
    """Train one candidate up to some epochs, in so much memory and these shards; resumes from ``work`` after a kill."""
    from lineshaft.train.checkpoint import Checkpoints
    from lineshaft.train.trainer import train as run_training

    recipe = recipe.with_({"memory": memory, "split": split})
    learning, held = examples(rows, labels, tensors, recipe, group, validation, seed)
    try:
        k = len(task.classes)
        trained = run_training(
            recipe,
            *learning,
            held,
            classes=k,
            epochs=epochs,
            start=start,
            checkpoint=Checkpoints(work, leased=True),
            progress=True,
        )
    except Diverged as error:  # costs this candidate its place in the search, not the search
        return {"state": Tensors({}), "curves": {"curves": [], "best_epoch": 0, "scores": {}, "failed": str(error)}}
    curve = trained.curves[trained.best_epoch - 1]
    scores = {name: value for name, value in curve.items() if name != "epoch"}
    report = {"curves": trained.curves, "best_epoch": trained.best_epoch, "scores": scores}
    return {"state": trained.payload(), "curves": report}


def examples(
    rows: pa.Table,
    labels: pa.Table,
    tensors: Sequence[Tensors],
    recipe: Recipe,
    group: str | None,
    validation: float,
    seed: int,
) -> tuple[tuple[Any, Any], tuple[Any, Any] | None]:
    """Match features and labels by row id; hold some groups out to validate on."""
    import torch

    from lineshaft.collect.labels import Labels
    from lineshaft.train.targets import Targets

    table = Table(rows.select([ROW_ID] if group is None else [ROW_ID, group]))
    known = Labels.from_payload(labels)
    place = {row: number for number, row in enumerate(known.row_ids)}
    labelled = table.filter([row in place for row in table.row_ids])
    if not len(labelled):
        raise DataError(f"none of the {len(table)} rows has a label; give more sources, or more experts' answers")
    values = recipe.inputs.concat(tensors).values
    where = {row: number for number, row in enumerate(table.row_ids)}

    def pick(part: Table) -> tuple[Any, Any]:
        index = torch.tensor([where[row] for row in part.row_ids])
        chosen = [place[row] for row in part.row_ids]
        target = Targets(torch.from_numpy(known.probabilities[chosen]), torch.from_numpy(known.weights[chosen]))
        return {name: value[index] for name, value in values.items()}, target

    if validation == 0:
        return pick(labelled), None
    parts = split(labelled, {"learn": 1 - validation, "validate": validation}, by=group, seed=seed)
    if not len(parts["learn"]) or not len(parts["validate"]):
        raise DataError(f"{len(labelled)} labelled rows leave nothing to learn from or to validate on; label more rows")
    return pick(parts["learn"]), pick(parts["validate"])


def finish(
    state: Tensors, recipe: Recipe, task: Task, schema_digest: str | None, where: Any, schema: str | None = None
) -> dict[str, Any]:
    """Make the model of a finished training; it says where its functions stand, so one that moved is made anew."""
    del where, schema  # the one is what the model will say, the other an input for the lineage: its digest is in it
    from lineshaft.train.model import assemble
    from lineshaft.train.trainer import Trained

    return {"model": assemble(recipe, Trained.from_payload(state), task, schema_digest).payload()}
