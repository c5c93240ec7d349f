"""What goes into the mill: its raw file, and folders that hold a copy of the job."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

MILL = Path(__file__).with_name("mill.py")
WORDS = "the lamp chair box works fits arrived in never not a very blue old one and it was for me".split()
GOOD, BAD = ["fine", "sturdy", "quiet", "quick"], ["broken", "noisy", "slow", "cracked"]


def sentences(rows=300, seed=7):
    """Make rows whose words, stars and expert's verdict hang together: one dict per row."""
    dice = random.Random(seed)
    made = []
    for number in range(rows):
        good = dice.random() < 0.5
        telling = dice.sample(GOOD if good else BAD, dice.randint(0, 2)) + dice.sample(
            BAD if good else GOOD, dice.randint(0, 1)
        )
        words = dice.sample(WORDS, dice.randint(2, 5)) + telling
        dice.shuffle(words)
        made.append({
            "id": f"n{number:03}",
            "shop": f"s{dice.randrange(90):02}",
            "text": " ".join(words),
            "stars": min(5, max(0, round(dice.gauss(3.6 if good else 1.6, 1.0)))),
            "expert": ("good" if good else "bad") if dice.random() < 0.5 else None,
        })  # fmt: skip
    return made


def write(path, rows):
    """Write rows as Parquet, 100 to a row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=100)


def fill(folder, *edits, raw=None):
    """Put the job and its raw file into a folder; each edit is a pair of strings, old and new."""
    folder.mkdir(parents=True, exist_ok=True)
    edit(folder, *edits, source=MILL.read_text())
    if raw is None:
        write(folder / "raw.parquet", sentences())
    else:
        shutil.copy(raw, folder / "raw.parquet")
    return folder


def edit(folder, *edits, source=None):
    """Edit the job in a folder, as people do between two runs."""
    path = folder / "mill.py"
    text = path.read_text() if source is None else source
    for old, new in edits:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the job"
        text = text.replace(old, new)
    path.write_text(text)
