"""The run: what a script's ``main(run)`` is given. Each call is one step or a few; running it again resumes it."""

from __future__ import annotations

import dataclasses
import glob
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from lineshaft.core import names, script
from lineshaft.core.artifact import Artifact
from lineshaft.core.codec import decode, encode
from lineshaft.core.dry import DrySession
from lineshaft.core.durable import remove_abandoned, write_atomic
from lineshaft.core.engine import Engine, InProcess
from lineshaft.core.events import emit
from lineshaft.core.fingerprint import Ingredient
from lineshaft.core.home import Home, home_folder
from lineshaft.core.session import Session
from lineshaft.core.step import Step, is_pending, make
from lineshaft.core.table import Table, file_digest, read_table
from lineshaft.errors import DataError, Refused, UsageError
from lineshaft.run import jobs, own, record, releasing, training
from lineshaft.run.handles import Checked, ForTask, Handle, Parts, Rows, Trained, one_table

if TYPE_CHECKING:
    from lineshaft.collect.labels import Labels
    from lineshaft.core.task import Task
    from lineshaft.release.evaluate import Report
    from lineshaft.release.rules import Rule
    from lineshaft.run.releasing import Blessed
    from lineshaft.run.training import Search
    from lineshaft.train.features import Features
    from lineshaft.train.model import Model
    from lineshaft.train.recipe import Recipe
    from lineshaft.verify.anomalies import Anomalies
    from lineshaft.verify.schema import Schema


class Run:
    """One run of a script.

    Use it as a context manager; ``lineshaft run FILE.py`` does so and calls the file's ``main(run)``.

    Parameters
    ----------
    name
        What the run is called in the catalog: the script's name.
    home
        Where state lives; default ``$LINESHAFT_HOME``, else ``.lineshaft``.
    engine
        Where independent steps run; default: in this process.
    dry
        Look everything up and compute nothing.

    """

    def __init__(
        self,
        name: str = "notebook",
        home: Home | str | Path | None = None,
        engine: Engine | None = None,
        *,
        dry: bool = False,
    ) -> None:
        self.name = name
        self._open = ExitStack()
        self.home = self._home(home, dry=dry)
        self.id = record.new_id()
        self.session: Session | DrySession
        if dry:
            self.session = DrySession(self.home, name)
        else:
            self.session = Session(self.home, self.id, engine or InProcess(), open=False)

    def __enter__(self) -> Self:
        if isinstance(self.session, Session):
            self._open.enter_context(record.recorded(self.home, self.id, self.name))
            self.session.open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(self.session, Session):
            self.session.open = False
        self._open.__exit__(kind, error, trace)

    def read(
        self,
        source: Any,
        key: str | Sequence[str] | None = None,
        group: str | None = None,
        split: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> Any:
        """Read rows, name them, and deal them to parts.

        Parameters
        ----------
        source
            A path, or anything that `read_table` takes.
        key
            Column(s) that name a row; default: the file's digest and the row's number.
        group
            Column whose equal values stay in one part, and are drawn together by bootstraps.
        split
            Part name to share; None: one table.
        seed
            Of the deal.

        Returns
        -------
        Rows, or Parts of Rows where ``split`` is given

        """
        keys = () if key is None else (key,) if isinstance(key, str) else tuple(key)
        how = {"key": keys, "shares": dict(split) if split else None, "group": group if split else None, "seed": seed}
        outputs = dict.fromkeys(split or ["rows"], "Table")
        if isinstance(source, (str, Path)):
            path = Path(source)
            if not path.is_file():
                raise DataError(f"no file {str(source)!r} to read")
            file = Artifact("File", file_digest(path), path.stat().st_size)
            step = make(
                f"read {path.name}",
                jobs.read,
                {path.name: file},
                outputs,
                how,
                aside={"path": path.resolve(), "digest": file.digest},
            )
        else:
            # The rows go to the step by hand: until a step named them, a sweep would take them from the store.
            artifact, content = encode("Table", read_table(source).arrow)
            aside = {"rows": decode("Table", content)}
            step = make("read rows", jobs.identify, {"rows": artifact}, outputs, how, aside=aside)
        made = self.session.one(step)
        rows = {name: self._rows(artifact, key=keys, group=group) for name, artifact in made.items()}
        return Parts(rows) if split else rows["rows"]

    def schema(self, rows: Rows, file: str | Path, *, ranges: bool = True, gold: Sequence[str] = ()) -> Handle[Schema]:
        """Return the schema that people keep in ``file``; where there is none yet, infer it from rows and write it.

        Parameters
        ----------
        rows
            What to infer from.
        file
            The TOML file. Edit it, commit it: from then on it is what counts.
        ranges
            Also propose numeric ranges.
        gold
            Columns that requests never have: labels and gold.

        """
        from lineshaft.verify.schema import Schema

        path = Path(file)
        groups = () if rows.group is None else (rows.group,)
        how = {"ranges": ranges, "gold": tuple(gold), "key": rows.key, "group": groups}
        proposal = self.session.one(
            make("infer schema", jobs.infer_schema, {"rows": rows.artifact}, {"schema": "Schema"}, how)
        )
        if not path.exists():
            if is_pending(proposal["schema"]) or isinstance(self.session, DrySession):
                return self._handle(proposal["schema"], Schema.from_payload)
            remove_abandoned(path.parent.glob(f".{glob.escape(path.name)}.*.tmp"))
            write_atomic(path, self.home.get(proposal["schema"]).encode())
            emit("schema.written", file=path.name)
        source = Artifact("File", file_digest(path), path.stat().st_size)
        kept = make(
            f"schema {path.name}",
            jobs.read_schema,
            {path.name: source},
            {"schema": "Schema"},
            aside={"path": path.resolve(), "digest": source.digest},
        )
        return self._handle(self.session.one(kept)["schema"], Schema.from_payload)

    def check(self, rows: Rows | Parts, schema: Handle[Schema], environment: str | None = None) -> Checked:
        """Let rows pass that keep the schema; set the others aside with their reasons.

        Raises
        ------
        Refused
            The data set as a whole breaks the schema (a column is missing, its type changed): no row can be trusted.

        """
        from lineshaft.verify.anomalies import Anomalies

        parts = rows.parts if isinstance(rows, Parts) else {"rows": rows}
        outputs = {"good": "Table", "rejected": "Table", "anomalies": "Anomalies"}
        steps = [
            make(
                f"check {name}",
                jobs.check,
                {"rows": part.artifact, "schema": schema.artifact},
                outputs,
                {"environment": environment},
            )
            for name, part in parts.items()
        ]
        made = dict(zip(parts, self.session.all(steps), strict=True))
        good = {n: self._rows(m["good"], parts[n].key, parts[n].group, schema.artifact) for n, m in made.items()}
        rejected = {n: self._rows(m["rejected"], parts[n].key, parts[n].group) for n, m in made.items()}
        anomalies = {n: self._handle(m["anomalies"], Anomalies.from_payload) for n, m in made.items()}
        for name, found in anomalies.items():
            if not is_pending(found.artifact):
                _gate(name, found.load())
        return Checked(good, Parts(rejected), anomalies)

    def label(
        self,
        rows: Rows,
        sources: Sequence[Any],
        task: Task,
        *,
        gold: Rows | None = None,
        model: Any = None,
        weak_weight: float | None = None,
    ) -> ForTask[Labels]:
        """Ask the sources about every row and fuse their votes with the experts' answers.

        Parameters
        ----------
        rows
            What to label.
        sources
            Labeling functions, keywords, expressions, model sources; may be empty where experts answered enough.
        task
            The classes; its gold column holds the experts' answers, in ``rows`` unless ``gold`` is given.
        gold
            A table with the gold column, matched by row id.
        model
            How to fuse; default `LabelModel`.
        weak_weight
            How much a fused row counts in training beside an expert's 1; default: see `lineshaft.fuse`.

        """
        from lineshaft.collect.apply import checked
        from lineshaft.collect.labels import Labels

        rows = one_table(rows, "labelling")
        if sources:
            checked(sources)
        votes = [made["votes"] for made in self.session.all([self._vote(rows, source, task) for source in sources])]
        answers = self._answers(rows, task, gold)
        inputs: dict[str, Any] = {"votes": votes, "ids": rows.view([])} | ({"gold_view": answers[0]} if answers else {})
        aside = {"rows": rows.artifact, "gold": answers[1] if answers else None}
        how = {"task": task, "model": model, "weak_weight": weak_weight}
        made = self.session.one(
            make("fuse", jobs.fuse, inputs, {"labels": "Labels", "analysis": "Report"}, how, aside=aside)
        )
        return ForTask(made["labels"], self.home, Labels.from_payload, task)

    def _vote(self, rows: Rows, source: Any, task: Task) -> Step:
        """Describe the step that asks one source; keywords and the like stand in its lineage as functions do."""
        step = self._ask(rows, source, task)
        if getattr(source, "function", None) is not None:
            return step
        digest = next(item.digest for item in step.ingredients if item.name == "=source")
        own = Ingredient(f"source {source.name}", digest, source.where, repr(source))
        return dataclasses.replace(step, ingredients=(*step.ingredients, own))

    def _ask(self, rows: Rows, source: Any, task: Task) -> Step:
        how = {"source": source, "classes": task.classes}
        name = f"vote {source.name}"
        features = getattr(source, "inputs", None)
        if features is not None and hasattr(features, "compute"):
            inputs: dict[str, Any] = {"ids": rows.view([]), "tensors": self.features(rows, features)}
            return make(name, jobs.vote_on_features, inputs, {"votes": "Votes"}, how, aside={"rows": rows.artifact})
        columns = None if source.reads is None else [c for c in source.reads if c != "row_id"]
        view = rows.view(columns)
        if view is rows.artifact:
            return make(name, jobs.vote, {"rows": view}, {"votes": "Votes"}, how)
        return make(name, jobs.vote, {"view": view}, {"votes": "Votes"}, how, aside={"rows": rows.artifact})

    def _answers(self, rows: Rows, task: Task, gold: Rows | None) -> tuple[Artifact, Artifact] | None:
        """Return view and table of the experts' answers."""
        if task.gold is None:
            return None
        table = rows if gold is None else gold
        return table.view([task.gold]), table.artifact

    def features(self, rows: Rows, function: Features) -> list[Artifact]:
        """Compute a features function chunk by chunk; each chunk is computed once, ever, for all who need it."""
        if is_pending(rows.artifact):
            step = make(
                f"features {function.name}",
                jobs.features,
                {"rows": rows.artifact},
                {"tensors": "Tensors"},
                {"function": function},
            )
            return [self.session.one(step)["tensors"]]
        steps = [
            make(
                f"features {function.name}",
                jobs.features,
                {"view": view},
                {"tensors": "Tensors"},
                {"function": function},
                aside={"rows": rows.artifact, "chunk": number},
            )
            for number, view in enumerate(rows.chunk_views(list(function.reads)))
        ]
        return [made["tensors"] for made in self.session.all(steps)]

    def train(self, recipe: Recipe, rows: Rows, labels: ForTask[Labels], **options: Any) -> Search:
        """Train one model: `select` with one candidate."""
        if options.get("validation") == 0:
            options = {"metric": "train_loss"} | options
        return self.select(recipe, rows, labels, space={}, **options)

    def select(
        self,
        recipe: Recipe,
        rows: Rows,
        labels: ForTask[Labels],
        *,
        space: Mapping[str, Sequence[Any]],
        how: str = "grid",
        n: int | None = None,
        halving: int | None = None,
        metric: str = "validation_loss",
        validation: float = 0.2,
        seed: int = 0,
        memory: Any = None,
    ) -> Search:
        """Train the candidates of a space and keep the best.

        Parameters
        ----------
        recipe
            What all candidates share.
        rows, labels
            What to learn. Rows without a label are left out.
        space
            Dotted name to values: ``{"model.width": [64, 256], "optimizer.lr": [1e-3, 1e-2]}``.
        how, n
            ``grid``, or ``random`` with the number of candidates.
        halving
            Successive halving: after 1, h, h^2... epochs one in ``halving`` goes on. None: all train to the end.
        metric
            Column of the learning curves that decides; the lower loss or the higher accuracy.
        validation
            Share of the labelled rows (whole groups, where rows have a group) held out to decide by.
        seed
            Of the drawing of candidates and of the validation rows.
        memory
            What each training may hold, as in `lineshaft.train.fit`; None: what the recipe says. It changes no bit of
            the models, so that a search in another budget is the same search.

        """
        plan = training.Plan(recipe, labels.task, space, how, n, halving, metric, validation, seed, memory)
        return training.select(self, plan, rows, labels)

    def evaluate(
        self,
        model: Trained[Model] | Search,
        on: Rows,
        *,
        gold: Rows | None = None,
        task: Task | None = None,
        slices: Mapping[str, str] | None = None,
    ) -> Handle[Report]:
        """Measure a model on rows with gold, overall and by slice; intervals by bootstrap over the rows' group.

        Parameters
        ----------
        model
            What `select` or `train` gave, or its ``best``.
        on
            Rows that training never saw.
        gold
            Where the gold column is; default: in ``on``. Matched by row id.
        task
            Names the gold column, where that is not the one that the model was trained with.
        slices
            Slice name to an expression over the columns of ``on``: ``{"short": "length(text) < 80"}``.

        """
        return releasing.evaluate(self, model, releasing.Ground(on, gold, task, slices))

    def bless(
        self,
        model: Trained[Model] | Search,
        on: Rows,
        *,
        rules: Sequence[Rule],
        gold: Rows | None = None,
        task: Task | None = None,
        slices: Mapping[str, str] | None = None,
    ) -> Blessed:
        """Judge a model by rules on held-out gold, and try it in the real server; `publish` takes only what passed."""
        return releasing.bless(self, model, releasing.Ground(on, gold, task, slices), rules)

    def publish(self, blessed: Blessed, name: str) -> None:
        """Point a name at a blessed model; publishing what is published already does nothing.

        Raises
        ------
        Refused
            The model is not blessed; the message lists the rules it broke.

        """
        names.check(name)
        if not isinstance(blessed, releasing.Blessed):
            raise UsageError(f"publish takes what bless gave, got {blessed!r}")
        if isinstance(self.session, DrySession) or is_pending(blessed.artifact):
            return
        if not blessed.passed:
            raise Refused(f"{name} is not published: the model is not blessed\n{blessed}")
        note = {"blessing": blessed.blessing.digest}
        fresh = names.publish(self.home.catalog, name, blessed.artifact, self.id, note)
        emit("model.published" if fresh else "model.unchanged", name=name, digest=blessed.artifact.digest)

    def show(self, title: str, reports: Mapping[str, Handle[Report]]) -> None:
        """Print reports side by side, and keep them together for the run's page."""
        if isinstance(self.session, DrySession):
            return
        table = {name: report.load().content["metrics"] for name, report in reports.items()}
        emit("report", title=title, reports=table, digests={name: report.digest for name, report in reports.items()})

    def step(
        self,
        function: Callable[..., Any],
        *inputs: Handle[Any],
        returns: str = "Value",
        version: str | None = None,
        impure: bool = False,
        **parameters: Any,
    ) -> Handle[Any]:
        """Run a function of the user's as a step: ``function(*contents, **parameters)``.

        ``returns`` says what it gives: a JSON ``Value``, a ``Table`` (rows in any form that `read_table` takes) or
        ``Tensors`` (a dict). ``version`` names its code where that cannot be fingerprinted; ``impure`` runs it always.
        """
        given = [handle.artifact for handle in inputs]
        step = own.make_step(function, given, parameters, returns, version=version, impure=impure)
        made = self.session.one(step)["result"]
        return self._rows(made) if returns == "Table" else self._handle(made, own.content(returns))

    def _home(self, home: Home | str | Path | None, *, dry: bool) -> Home:
        """Open the home; a dry run leaves no trace, so where there is none it looks into an empty one elsewhere."""
        folder = home.folder if isinstance(home, Home) else home_folder(home)
        if dry and not (folder / "catalog.db").exists():
            return Home(self._open.enter_context(TemporaryDirectory()))
        return home if isinstance(home, Home) else Home(folder)

    def _rows(
        self, artifact: Artifact, key: tuple[str, ...] = (), group: str | None = None, schema: Artifact | None = None
    ) -> Rows:
        return Rows(artifact, self.home, Table.from_payload, key, group, schema)

    def _handle(self, artifact: Artifact, open_: Callable[[Any], Any]) -> Handle[Any]:
        return Handle(artifact, self.home, open_)


def _gate(part: str, anomalies: Anomalies) -> None:
    for anomaly in anomalies:
        emit("anomaly", part=part, column=anomaly.column, reason=anomaly.reason, severity=anomaly.severity)
    if fatal := anomalies.beyond_rows:
        listed = "\n".join(f"  {anomaly}" for anomaly in fatal)
        raise Refused(
            f"{part} breaks the schema as a whole:\n{listed}\nMend the data, or edit the schema if people agree"
        )


def run(main: Callable[[Run], Any] | str | Path, home: Home | str | Path | None = None) -> Run:
    """Run a script's ``main``: give the function, or the script's path. Returns the run, with its counts."""
    if isinstance(main, (str, Path)):
        path = Path(main)
        function = getattr(script.load(path), "main", None)
        if function is None:
            raise UsageError(f"{path.name} has no function main(run) to run")
        name = path.name
    else:
        function = main
        name = Path(getattr(sys.modules.get(main.__module__), "__file__", None) or main.__module__).name
    with Run(name, home) as current:
        function(current)
    return current
