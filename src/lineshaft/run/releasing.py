"""Release in a run: evaluate, compare with what is live, try in the real server, bless."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lineshaft.core import names
from lineshaft.core.artifact import Artifact
from lineshaft.core.step import Step, is_pending, make
from lineshaft.core.table import ROW_ID, Table
from lineshaft.errors import Refused, UsageError
from lineshaft.release.evaluate import Report
from lineshaft.release.rules import Verdict
from lineshaft.run.handles import Handle, Rows, Trained, one_table

if TYPE_CHECKING:
    import pyarrow as pa

    from lineshaft.core.codec import Tensors
    from lineshaft.core.task import Task
    from lineshaft.release.rules import Rule
    from lineshaft.run.facade import Run
    from lineshaft.run.training import Search
    from lineshaft.train.model import Model

TRIED_ROWS = 16  # sent to the real server before a model is blessed


@dataclass(frozen=True)
class Blessed:
    """A model with the verdict on it.

    Attributes
    ----------
    artifact
        The model.
    report, blessing
        What was measured, and what the rules said of it.

    """

    artifact: Artifact
    report: Handle[Report]
    blessing: Handle[dict[str, Any]]

    @property
    def passed(self) -> bool:
        """Whether every rule holds and the trial went well."""
        return bool(self.blessing.load()["blessed"])

    def __str__(self) -> str:
        from lineshaft.release.rules import Verdict

        content = self.blessing.load()
        lines = [str(Verdict(**verdict)) for verdict in content["verdicts"]]
        return "\n".join([*lines, f"trial in the server: {content['trial']['said']}"])


@dataclass(frozen=True)
class Ground:
    """What models are measured on: rows, where their gold is, which slices."""

    on: Rows
    gold: Rows | None
    task: Task | None
    slices: Mapping[str, str] | None

    def __post_init__(self) -> None:
        one_table(self.on, "evaluation")

    def evaluation(self, model: Artifact, trained_for: Task, tensors: Sequence[Artifact] = ()) -> Step:
        """Describe the step that measures a model; it makes the features itself where they are not given.

        The features do not count in its key: the model, which names their function, and the rows determine them.
        """
        task = self.task or trained_for
        if task.gold is None:
            raise UsageError(f"task {task.name!r} has no gold column, so there is nothing to measure against")
        answers = self.on if self.gold is None else self.gold
        inputs = {"model": model, "rows": self.on.artifact, "gold_view": answers.view([task.gold])}
        how = {"task": task, "group": self.on.group, "slices": dict(self.slices or {})}
        outputs = {"report": "Report", "predictions": "Predictions"}
        aside = {"gold": answers.artifact, "tensors": list(tensors)}
        return make("evaluate", measure_model, inputs, outputs, how, aside=aside)


def evaluate(run: Run, model: Trained[Model] | Search, ground: Ground) -> Handle[Report]:
    """Measure a model."""
    model = _one(model)
    return Handle(_measure(run, model, ground), run.home, Report.from_payload)


def bless(run: Run, model: Trained[Model] | Search, ground: Ground, rules: Sequence[Rule]) -> Blessed:
    """Measure, compare, try, judge."""
    model = _one(model)
    if not rules:
        raise UsageError("a blessing needs at least one rule, say at_least('accuracy', 0.7)")
    report = _measure(run, model, ground)
    trial = run.session.one(_trial(model, ground.on))["report"]
    inputs = {"model": model.artifact, "report": report, "trial": trial}
    if model.taught is not None:
        inputs["held_out"] = run.session.one(_held_out(model.taught, ground.on))["report"]
    for name in sorted({rule.baseline for rule in rules if rule.baseline is not None}):
        before = _baseline(run, name, model, ground)
        if before is not None:
            inputs[f"live {name}"] = _measure_live(run, name, ground.evaluation(before, model.task))
    made = run.session.one(make("bless", judge, inputs, {"blessing": "Blessing"}, {"rules": tuple(rules)}))
    blessing: Handle[dict[str, Any]] = Handle(made["blessing"], run.home, dict)
    return Blessed(model.artifact, Handle(report, run.home, Report.from_payload), blessing)


def _one(model: Trained[Model] | Search) -> Trained[Model]:
    """Take a search for its best model."""
    from lineshaft.run.training import Search

    return model.best if isinstance(model, Search) else model


def _measure(run: Run, model: Trained[Model], ground: Ground) -> Artifact:
    tensors = run.features(ground.on, model.features)
    return run.session.one(ground.evaluation(model.artifact, model.task, tensors))["report"]


def _measure_live(run: Run, name: str, step: Step) -> Artifact:
    """Measure what is live on the candidate's rows; its code may have been edited since it was published."""
    try:
        return run.session.one(step)["report"]
    except Refused as refused:
        raise Refused(
            f"no_worse_than compares with {name}, which cannot be measured on these rows: {refused}. To publish "
            f"without that comparison, leave the rule out once"
        ) from refused


def _baseline(run: Run, name: str, model: Trained[Model], ground: Ground) -> Artifact | None:
    """Find what a candidate is compared with: the live model.

    Where the candidate is live itself, it is what was live before it, as when it was blessed, as long as that
    comparison is on record; otherwise the candidate passes without one.
    """
    live = names.look_up(run.home.catalog, name)
    if live is None or is_pending(model.artifact):
        return None
    if live.digest != model.digest:
        return live
    entry = names.published_entry(run.home.catalog, name, model.digest)
    if entry is None or entry.previous is None:
        return None
    before = Artifact("Model", entry.previous, -1)
    return before if run.session.known(ground.evaluation(before, model.task)) else None


def _trial(model: Trained[Model], on: Rows) -> Step:
    inputs = {"model": model.artifact, "rows": on.artifact} | ({} if model.schema is None else {"schema": model.schema})
    return make("trial", try_in_server, inputs, {"report": "Report"}, aside={"digest": model.digest})


def _held_out(taught: Artifact, on: Rows) -> Step:
    inputs = {"taught": taught, "row_view": on.view([])}
    return make("held out", count_taught, inputs, {"report": "Report"}, aside={"rows": on.artifact})


def measure_model(
    model: Tensors,
    rows: pa.Table,
    gold: pa.Table,
    tensors: Sequence[Tensors],
    task: Task,
    group: str | None,
    slices: Mapping[str, str],
) -> dict[str, Any]:
    """Predict all rows and measure those with gold."""
    from lineshaft.core.expression import parse
    from lineshaft.release import evaluate as measuring
    from lineshaft.run.jobs import known_answers
    from lineshaft.serve.score import prediction_table
    from lineshaft.train.model import load

    loaded, table = load(model), Table(rows)
    if tensors:
        probabilities = loaded.predict(loaded.features.concat(tensors).values).numpy()
    else:
        probabilities = loaded.predict_rows(table).numpy()
    answers = known_answers(gold, task, table.row_ids)
    masks = {name: [value is True for value in parse(text).evaluate(rows).to_pylist()] for name, text in slices.items()}
    report = measuring.evaluate(
        probabilities,
        [answers.get(row, -1) for row in table.row_ids],
        task.classes,
        slices=masks,
        groups=None if group is None else table.column(group).to_pylist(),
    )
    return {"report": report.payload(), "predictions": prediction_table(table.row_ids, probabilities, task.classes)}


def try_in_server(model: Tensors, rows: pa.Table, digest: str, schema: str | None = None) -> dict[str, Any]:
    """Serve the model for a moment and ask it over HTTP what it was asked offline."""
    from lineshaft.release.trial import trial

    return {"report": trial(model, digest, Table(rows), schema, TRIED_ROWS)}


def count_taught(taught: pa.Table, rows: pa.Table) -> dict[str, Any]:
    """Count the rows to judge on that the model has learnt from."""
    learnt = set(taught.column(ROW_ID).to_pylist())
    seen = sum(row in learnt for row in rows.column(ROW_ID).to_pylist())
    return {"report": {"rows": rows.num_rows, "taught": seen}}


def judge(
    model: Tensors,
    report: dict[str, Any],
    trial: dict[str, Any],
    rules: Sequence[Rule],
    held_out: dict[str, Any] | None = None,
    **live: dict[str, Any],
) -> dict[str, Any]:
    """Let every rule say what it thinks; none can be kept on rows that the model has learnt from."""
    del model  # an input so that lineage leads from the blessing to the model
    own = Report.from_payload(report)
    verdicts = []
    if held_out is not None and held_out["taught"]:
        told = f"rows to judge on that the model was trained on ({held_out['rows']} in all)"
        verdicts.append(Verdict(told, passed=False, seen=float(held_out["taught"]), wanted=0.0))
    for rule in rules:
        other = live.get(f"live {rule.baseline}")
        verdicts.append(rule.judge(own, None if other is None else Report.from_payload(other)))
    passed = all(verdict.passed for verdict in verdicts) and trial["passed"]
    return {"blessing": {"blessed": passed, "verdicts": [verdict.as_json() for verdict in verdicts], "trial": trial}}
