"""The README: its file runs, its table names what exists, its commands are there."""

import json
import random
import re
import sys

import pyarrow as pa
import pyarrow.parquet as pq
from pages import ROOT, blocks, command, write

import lineshaft as ls

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
TWICE = """
import json
import lineshaft as ls
runs = [ls.run("reviews.py").session for _ in range(2)]
print(json.dumps([[run.executed, run.reused] for run in runs]))
"""
PRAISE = "a superb film, gripping to the end|a masterpiece of warmth and wit|superb acting and a gripping story".split(
    "|"
)
SCORN = "a dull film that never ends|tedious, and a mess besides|a mess! who needs it?|dull and tedious!".split("|")
FILLER = "the camera follows|in the second half|with an old cast|once more|about a family|from the director".split("|")


def reviews(rows=600):
    draw = random.Random(1)
    made = {"id": [], "movie": [], "text": [], "expert_label": []}
    for number in range(rows):
        fresh = draw.random() < 0.5
        parts = [draw.choice(PRAISE if fresh else SCORN), *draw.sample(FILLER, 2)]
        draw.shuffle(parts)
        made["id"].append(f"r{number:04}")
        made["movie"].append(f"m{number % 60:02}")
        made["text"].append(" ".join(parts))
        made["expert_label"].append(("fresh" if fresh else "rotten") if number % 7 == 0 else None)
    return pa.table(made)


def test_the_users_file_publishes_a_model_and_its_second_run_computes_nothing(tmp_path):
    (file,) = [block for block in blocks(TEXT) if block.title]
    write(file, tmp_path)
    pq.write_table(reviews(), tmp_path / "reviews.parquet")
    done = command([sys.executable, "-c", TWICE], tmp_path)
    assert done.returncode == 0, done.stderr
    (executed, reused), again = json.loads(done.stdout.splitlines()[-1])
    assert (executed > 15, reused) == (True, 0)
    assert again == [0, executed]
    assert json.loads(command(["lineshaft", "publish", "reviews@live", "--json"], tmp_path).stdout)["digest"]


def table(heading):
    lines = TEXT.split(f"## {heading}\n")[1].split("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return rows[0], rows[2:]


def test_the_table_of_stages_names_the_packages_and_public_names():
    head, rows = table("What works today")
    stages = [row[0] for row in rows if len(row) == len(head)]
    assert stages == ["core", "collect", "verify", "train", "release", "serve"]
    assert all((ROOT / "src" / "lineshaft" / stage).is_dir() for stage in stages)
    names = re.findall(r"`([A-Z]\w+)`", TEXT.split("## What works today")[1])
    assert names
    assert all(hasattr(ls, name) for name in names), names


def test_what_is_said_not_to_work_is_not_there():
    for name in ("incremental", "occlusion_map"):
        assert name not in ls.__all__


def test_the_commands_behind_the_claims_exist():
    shown = re.findall(r"`((?:pytest|python|make) [^`]+)`", TEXT)
    paths = [word for line in shown for word in line.split()[1:] if "/" in word]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z]+)", TEXT, re.MULTILINE)) <= targets


def test_the_lines_without_make_are_what_make_does():
    recipe = re.sub(r"^\t@", "", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.findall(r"^python3 tools/bootstrap\.py && (.+)$", TEXT, re.MULTILINE)
    assert len(lines) == 2
    assert all(part in recipe for line in lines for part in line.split(" && "))
