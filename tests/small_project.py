"""A project of a few seconds: a table, a script with all four stages, a home with its run. Its names are hostile."""

from __future__ import annotations

import csv
import random
import sys
from dataclasses import dataclass
from pathlib import Path

from lineshaft.core import script
from lineshaft.core.home import Home

EVIL = '<script>alert("&1")</script>'

SCRIPT = '''
"""Is an order late? Sizes and notes are made up."""
from pathlib import Path

import torch
from torch import nn

import lineshaft as ls

HERE = Path(__file__).parent
EVIL = '<script>alert("&1")</script>'
FLOOR = 0.5

task = ls.Task("late", classes=["no", "yes"], gold="truth")


@ls.labeling_function(reads=["size"])
def big_orders(x):
    """Big ones are late."""
    return "yes" if x.size > 6 else ls.ABSTAIN


sources = [
    big_orders,
    ls.keywords(EVIL, ["delayed"], label="yes", name=EVIL),
    ls.expression("size < 4", label="no", name="small <b>orders</b>"),
]


@ls.features(reads=["size", EVIL])
def numbers(batch):
    rows = zip(batch["size"].to_pylist(), batch[EVIL].to_pylist(), strict=True)
    return torch.tensor([[size / 10, float("delayed" in note)] for size, note in rows], dtype=torch.float32)


def head(inputs: int, classes: int) -> nn.Module:
    return nn.Linear(inputs, classes)


recipe = ls.Recipe(head, inputs=numbers, loss=ls.cross_entropy, optimizer=ls.adamw(lr=0.1), batch=16, epochs=8)


def main(run):
    print("a word from the script", end="")
    raw = run.read(HERE / "orders.csv", key="id", group="day", split={"train": 0.7, "test": 0.3})
    schema = run.schema(raw["train"], file=HERE / "orders.schema.toml", gold=["truth"])
    good = run.check(raw, schema)
    labels = run.label(good["train"], sources, task)
    search = run.select(recipe, good["train"], labels, space={"optimizer.lr": [0.1, 0.2]})
    slices = {"large & <i>dear</i>": "size > 5", "nobody": "size > 999"}
    model = run.bless(search.best, on=good["test"], slices=slices, rules=[
        ls.at_least("accuracy", FLOOR), ls.no_worse_than("late@live", "accuracy", slack=0.5)])
    run.publish(model, "late@live")
    other = run.train(recipe, good["train"], run.label(good["train"], [], task))
    run.show(f"side by side {EVIL}", {
        EVIL: model.report, "experts alone": run.evaluate(other.best, on=good["test"])})
'''


@dataclass(frozen=True)
class Project:
    """Where it lies, and the run that made its home."""

    folder: Path
    home: Home
    run: str

    @property
    def script(self) -> Path:
        return next(self.folder.glob("*.py"))

    @property
    def data(self) -> Path:
        return self.folder / "orders.csv"


def written(folder: Path, name: str, text: str) -> Path:
    """Write a file, say a script of a few lines; return where."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def write_rows(path: Path, rows: int = 240, seed: int = 0) -> None:
    chance = random.Random(seed)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "day", "size", EVIL, "truth"])
        for number in range(rows):
            size, delayed = chance.randrange(10), chance.random() < 0.3
            late = size + 4 * delayed + chance.gauss(0, 1.5) > 5
            note = f"{'delayed' if delayed else 'fine'} {EVIL} {chance.randrange(9)}"
            known = number % 2 == 0
            writer.writerow([f"o{number}", f"d{number % 40}", size, note, ("yes" if late else "no") if known else ""])


def write_project(folder: Path, name: str, **edits: str) -> Path:
    """Write data and script; an edit replaces one of the script's own words."""
    folder.mkdir(parents=True, exist_ok=True)
    text = SCRIPT
    for old, new in edits.items():
        assert old in text, old
        text = text.replace(old, new)
    write_rows(folder / "orders.csv")
    (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return folder / f"{name}.py"


def make_project(folder: Path, name: str, **edits: str) -> Project:
    """Write it and run it once in this process."""
    from lineshaft.run import run

    done = run(write_project(folder, name, **edits), folder / "home")
    return Project(folder, done.home, done.id)


def forget_scripts() -> None:
    """Let the next load read scripts anew, from where its home says, as in a new process."""
    for known in (sys.modules, script._allowed):
        for name in [name for name in known if name.startswith(script.PREFIX)]:
            del known[name]
