"""Commands about data: stats, check, schema, label."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lineshaft.cli.outcome import reported
from lineshaft.cli.output import AsJson, document, finish, own_output, say
from lineshaft.errors import UsageError

if TYPE_CHECKING:
    from lineshaft.collect.sources.base import Source
    from lineshaft.collect.votes import Faults
    from lineshaft.core.task import Task
    from lineshaft.verify.statistics.summary import ColumnStatistics

TOP = 5  # most frequent values that the JSON of stats names

Data = Annotated[Path, typer.Argument(help="Parquet, CSV, JSON lines or Arrow file.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("stats")(reported(stats))
    app.command("check")(reported(check))
    schema = typer.Typer(help="Schemas: infer.", no_args_is_help=True)
    schema.command("infer")(reported(infer))
    schema.callback()(_group)
    app.add_typer(schema, name="schema")
    label = typer.Typer(help="Labels: apply labeling functions.", no_args_is_help=True)
    label.command("apply")(reported(apply))
    label.callback()(_group)
    app.add_typer(label, name="label")


def _group() -> None:
    """Keep a group a group while it has one command."""


def stats(data: Data, as_json: AsJson = False) -> None:
    """Describe every column in one pass."""
    from lineshaft.verify.statistics.onepass import statistics

    found = statistics(data)
    if as_json:
        document({"rows": found.rows, "columns": [_described(column) for column in found]})
    else:
        say(str(found))


def check(
    data: Data,
    schema: Annotated[Path, typer.Option(help="The schema's TOML file.")],
    environment: Annotated[str | None, typer.Option(help="serving, or one that the schema declares.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check data against a schema; exit code 1 where an error is found."""
    from lineshaft.verify.schema import Schema

    anomalies = Schema.load(schema).check(data, environment=environment)
    if as_json:
        document(anomalies.payload())
    else:
        say(str(anomalies))
    finish(yes=anomalies.ok)


def infer(
    data: Data,
    out: Annotated[Path | None, typer.Option(help="Write it here; it must not exist yet.")] = None,
    key: Annotated[list[str] | None, typer.Option(help="Columns that name a row.")] = None,
    gold: Annotated[list[str] | None, typer.Option(help="Columns that requests never have.")] = None,
    ranges: Annotated[bool, typer.Option(help="Also propose numeric ranges.")] = True,
    as_json: AsJson = False,
) -> None:
    """Propose a schema for data; people read, edit and keep it."""
    from lineshaft.core.table import read_table
    from lineshaft.verify.infer import infer_schema

    if out is not None and out.exists():
        raise UsageError(f"{out} exists: a schema belongs to people; remove it or choose another name")
    found = infer_schema(data, ranges=ranges, gold=tuple(gold or ()), key=tuple(key or ()))
    if key:
        read_table(data, key)  # refuses a key of several columns, or of very many rows, that is not unique
    if out is not None:
        found.save(out)
    if as_json:
        document(found.plain())
    else:
        say(f"written to {out}" if out is not None else found.text())


def apply(
    file: Annotated[Path, typer.Argument(help="A Python file with labeling functions.", metavar="FILE.py")],
    data: Data,
    gold: Annotated[str | None, typer.Option(help="Column with the truth, where it is known.")] = None,
    as_json: AsJson = False,
) -> None:
    """Apply the labeling functions of a file to data and analyse their votes."""
    from lineshaft.collect.analysis import analyze
    from lineshaft.collect.apply import apply as ask
    from lineshaft.core import script
    from lineshaft.core.table import read_table

    with own_output(alone=as_json):
        module = script.load(file)
        sources, task = _sources(module, file), _task(module, file, gold)
        table = read_table(data)
        truth = None if task is None or gold is None else task.encode(table.column(gold).to_pylist())
        votes = ask(sources, table, classes=None if task is None else task.classes)
        analysis = analyze(votes, gold=truth)
    if as_json:
        facts = {"rows": len(table), "covered": analysis.covered, "faults": [_failed(one) for one in analysis.faults]}
        document({"sources": analysis.to_arrow().to_pylist(), **facts})
    else:
        say(str(analysis))


def _failed(faults: Faults) -> dict[str, Any]:
    row, error = faults.examples[0]
    return {"source": faults.source, "rows": faults.count, "first": row, "error": error}


def _described(column: ColumnStatistics) -> dict[str, Any]:
    plain = {name: getattr(column, name) for name in ("name", "type", "count", "missing", "distinct")}
    numbers = {name: getattr(column, name) for name in ("mean", "std", "min", "max")}
    median = column.quantile(0.5) if len(column.finite_sample()) else None
    top = [{"value": value, "count": count} for value, count in column.top(TOP)]
    return {**plain, **numbers, "median": median, "top": top}


def _task(module: Any, file: Path, gold: str | None) -> Task | None:
    """Find the file's task: that of the gold column where one is named, else the first."""
    from lineshaft.core.task import Task

    tasks = [value for value in vars(module).values() if isinstance(value, Task)]
    if gold is not None and not tasks:
        raise UsageError(f"{file.name} defines no ls.Task, so the classes of --gold {gold} are not known")
    return next((task for task in tasks if task.gold == gold), tasks[0] if tasks else None)


def _sources(module: Any, file: Path) -> list[Source]:
    from lineshaft.collect.sources.base import Source

    found: list[Source] = []
    for value in vars(module).values():
        items = value if isinstance(value, (list, tuple)) else [value]
        found += [item for item in items if isinstance(item, Source) and item not in found]
    if not found:
        raise UsageError(f"{file.name} defines no labeling functions; decorate some with @ls.labeling_function()")
    return found
