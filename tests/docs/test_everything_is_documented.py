"""Nothing public is undocumented, and nothing is documented that is not there."""

import re

import pytest
import typer
from pages import DOCS, ROOT, TEXTS, blocks

import lineshaft as ls
from lineshaft import errors
from lineshaft.cli.app import app
from lineshaft.collect.fuse.label_model import LabelModel
from lineshaft.core.admit import Limits
from lineshaft.core.codec import FORMATS
from lineshaft.core.expression.grammar import FUNCTIONS
from lineshaft.release.metrics import METRICS
from lineshaft.serve.answer import STATUS
from lineshaft.serve.app import route_of
from lineshaft.serve.manifest import PREDICTIONS, REJECTED
from lineshaft.verify.model import Dataset
from lineshaft.verify.plainform import COLUMN_KEYS
from lineshaft.verify.reasons import REASONS

ALL = "\n".join(page.read_text(encoding="utf-8") for page in TEXTS)
SOURCES = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").rglob("*.py"))}


def page(name):
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def cells(text):
    """Return the rows of a page's tables as lists of cells."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def quoted(text):
    return set(re.findall(r"`([^`]+)`", text))


def test_every_public_name_is_listed_and_no_other():
    listed = {name.removeprefix("ls.") for row in cells(page("api")) for name in quoted(row[0])}
    assert listed - {"train.fit"} == set(ls.__all__) - {"train"}
    assert callable(ls.train.fit)


def test_every_name_that_the_pages_use_exists():
    used = set(re.findall(r"\bls\.([A-Za-z_]\w*)", ALL))
    gone = [name for name in sorted(used) if not hasattr(ls, name)]
    assert gone == []


def tree(kind):
    return [kind, *(one for child in kind.__subclasses__() for one in tree(child))]


def test_every_error_is_listed_with_its_exit_code():
    classes = [kind for kind in tree(errors.LineshaftError) if kind.__module__ == errors.__name__]
    rows = {row[0].strip("`"): row[1] for row in cells(page("errors"))[2:]}
    assert rows == {kind.__name__: str(kind.exit_code) for kind in classes}
    (drawing,) = [block.text for block in blocks(page("errors"))]
    for kind in classes:
        assert re.search(rf"\b{kind.__name__}\b", drawing)


def commands(group, path=()):
    """Walk the command line: (words, command)."""
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))
    if not getattr(group, "commands", {}):
        yield path, group


COMMANDS = {" ".join(words): command for words, command in commands(typer.main.get_command(app))}
SECTIONS = dict(re.findall(r"^## `lineshaft ([a-z ]+)`\n(.*?)(?=^## |\Z)", page("cli"), re.MULTILINE | re.DOTALL))


def test_every_command_has_a_section_and_every_section_a_command():
    assert set(SECTIONS) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_in_its_section_and_no_other(name):
    options = {word for given in COMMANDS[name].params for word in [*given.opts, *given.secondary_opts] if "-" in word}
    heads = [line.split(": ")[0] for line in SECTIONS[name].splitlines() if line.startswith("- `--")]
    listed = {word for head in heads for word in re.findall(r"--[a-z-]+", head)}
    assert listed == options
    synopsis = SECTIONS[name].strip().splitlines()[0]
    assert synopsis.startswith(f"`lineshaft {name}")
    assert set(re.findall(r"--[a-z-]+", synopsis)) == options


def test_the_options_without_a_command_are_listed():
    shown = {word for given in typer.main.get_command(app).params for word in given.opts}
    assert {"--install-completion", "--show-completion"} <= shown
    assert shown <= set(re.findall(r"--[a-z-]+", page("cli").split("## Everywhere")[1]))


def test_exit_codes_of_the_command_line_are_those_of_the_errors():
    rows = {row[0] for row in cells(page("cli"))}
    assert {str(kind.exit_code) for kind in tree(errors.LineshaftError)} | {"0", "130"} <= rows


def test_every_error_code_of_the_server_is_listed_with_its_status():
    section = page("serve").split("\n## Errors")[1].split("\n## ")[0]
    rows = {row[0].strip("`"): row[1] for row in cells(section)[2:]}
    assert rows == {code: str(status) for code, status in STATUS.items()}


def test_every_route_that_is_listed_is_one_and_no_kind_is_missing():
    shown = [row[0] for row in cells(page("serve")) if re.match(r"`(GET|POST) ", row[0])]
    paths = [part for cell in shown for part in re.findall(r"(/[\w/]+)`", cell)]
    kinds = {path: route_of(path).kind for path in paths}
    assert "unknown" not in kinds.values()
    named = set(re.findall(r'Route\("(\w+)"', SOURCES[ROOT / "src/lineshaft/serve/app.py"]))
    assert set(kinds.values()) == (named | {"model", "model_ready", "infer"}) - {"unknown"}


def test_every_limit_of_the_server_is_listed():
    listed = {name for row in cells(page("serve")) for name in quoted(row[0])}
    assert set(vars(Limits())) <= listed


def variables(text):
    return set(re.findall(r"LINESHAFT_[A-Z_]+[A-Z]", text))


def test_every_setting_is_listed_and_no_other():
    read = set().union(*map(variables, SOURCES.values())) | variables((ROOT / "tools/bootstrap.py").read_text("utf-8"))
    listed = {name for row in cells(page("core")) for name in variables(row[0])}
    assert listed == read
    assert variables(ALL) <= read


def test_every_crash_point_is_listed_and_no_other():
    found = {name for text in SOURCES.values() for name in re.findall(r'crash_point\(f?"([^"]+)"\)', text)}
    places = {name.format(place=place) for name in found for place in (PREDICTIONS, REJECTED)}
    section = page("core").split("Crash points, in the order")[1].split("\n## ")[0]
    assert {name for row in cells(section) for name in quoted(row[0])} == places


def test_every_kind_of_artifact_is_listed_with_its_format():
    section = page("core").split("## Artifacts")[1].split("\n## ")[0]
    rows = {row[0].strip("`"): row[1].lower() for row in cells(section)[2:]}
    assert set(rows) == set(FORMATS)
    assert [kind for kind, form in FORMATS.items() if form not in rows[kind]] == []


def test_every_reason_of_an_anomaly_is_listed_under_what_it_is_about():
    about = {"the data set": "data set", "a column": "column", "rows": "rows"}
    listed = {name: about[row[1]] for row in cells(page("verify")) if row[1] in about for name in quoted(row[0])}
    assert listed == {name: reason.about for name, reason in REASONS.items()}


def test_every_key_of_a_schema_is_listed():
    listed = {name for row in cells(page("verify")) for name in quoted(row[0])}
    assert {"type", *COLUMN_KEYS} <= listed
    assert all(f"`{name}`" in page("verify") for name in vars(Dataset()))


def test_every_metric_function_and_kind_is_listed():
    assert all(f"`{name}`" in page("release") for name in METRICS)
    language = page("collect").split("## The expression language")[1]
    assert all(f"`{name}`" in language for name in FUNCTIONS)
    kinds = LabelModel(2).fit([[0, 1, 0, 1]], kinds=["rule", "model", "person", "expert"]).report["kinds"]
    assert all(f"| `{kind}`" in page("collect") for kind in kinds)


def test_the_default_kind_is_said_and_is_rule():
    assert "defaults to `rule`" in page("collect")
    assert LabelModel(2).fit([[0, 1]]).report["kinds"] == {"rule": 2}
