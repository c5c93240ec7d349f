"""How much of the gap between experts alone and full supervision do weak labels close on the reviews?

Over 20 draws of the split by film and of the 200 expert labels, four teachers of the same end model are compared on the
gold of the held-out films: experts alone, majority vote, lineshaft (experts + weak sources), and all gold of the
training films. Sources, thresholds and weights are those of ``examples/reviews.py``, fixed beforehand. The peer is
majority vote over the same sources, experts' rows clamped.

    python bench/reviews_quality.py [--quick]
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
ARMS = ("experts", "majority", "lineshaft", "supervised")
BAR = 0.35


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="4 draws instead of 20")
    draws = 4 if parser.parse_args().quick else 20
    torch.set_num_threads(2)
    world = World()
    torch.set_num_threads(1)  # the end models are too small for more
    table = np.array([world.draw(seed) for seed in range(draws)])
    mean, error = table.mean(0), table.std(0, ddof=1) / np.sqrt(draws)
    for name, value, spread in zip(ARMS, mean, error, strict=True):
        print(f"{name:12} {value:.4f} +- {1.96 * spread:.4f}")
    experts, majority, ours, ceiling = mean
    closed, peer = (ours - experts) / (ceiling - experts), (majority - experts) / (ceiling - experts)
    gains = {name: paired(table[:, 2] - table[:, column]) for name, column in (("experts", 0), ("majority", 1))}
    low, high = np.quantile([share(table, seed) for seed in range(2000)], [0.025, 0.975])
    holds = closed >= BAR and ours > experts and ours > majority
    print(json.dumps({
        "name": "reviews_quality", "ours": round(closed, 4), "peer": round(peer, 4),
        "ratio": round(closed / peer, 3) if peer > 0 else None, "bar": BAR, "holds": bool(holds),
        "interval": [round(low, 4), round(high, 4)], "accuracy": dict(zip(ARMS, mean.round(4).tolist(), strict=True)),
        "gain_over": gains, "draws": draws,
    }))  # fmt: skip


def paired(difference: np.ndarray) -> list[float]:
    """Return mean and half width of the 95 % interval of a paired difference."""
    return [
        round(float(difference.mean()), 4),
        round(float(1.96 * difference.std(ddof=1) / np.sqrt(len(difference))), 4),
    ]


def share(table: np.ndarray, seed: int) -> float:
    """Return the closed share of the gap in one resample of the draws."""
    rows = table[np.random.default_rng(seed).integers(0, len(table), len(table))].mean(0)
    return float((rows[2] - rows[0]) / (rows[3] - rows[0]))


class World:
    """The sentences with their votes and embeddings, computed once."""

    def __init__(self) -> None:
        import lineshaft as ls
        from lineshaft.core import script

        self.reviews = script.load(ROOT / "examples" / "reviews.py")
        self.reviews.prepare()
        self.rows = ls.read_table(self.reviews.DATA / "reviews.parquet", key="id")
        gold = ls.read_table(self.reviews.DATA / "gold.parquet", key="id")
        truth = dict(zip(gold.row_ids, self.reviews.truth.encode(gold.column("verdict").to_pylist()), strict=True))
        self.truth = np.array([truth[row] for row in self.rows.row_ids])
        print(f"{len(self.rows)} sentences: embedding", file=sys.stderr, flush=True)
        self.tensors = self.reviews.embed.concat(
            [self.reviews.embed.compute(chunk) for chunk in self.rows.chunks()]
        ).values
        self.votes = self.vote().to_dense()

    def vote(self):
        """Ask every source about every sentence."""
        from lineshaft.collect.apply import apply
        from lineshaft.collect.votes import Votes

        arrays = {name: value.numpy() for name, value in self.tensors.items()}
        parts = []
        for source in self.reviews.sources:
            if hasattr(source, "inputs"):
                parts.append(source.vote_from(self.rows.row_ids, arrays, self.reviews.task.classes))
            else:
                parts.append(apply([source], self.rows, classes=self.reviews.task.classes))
        self.parts = Votes.merge(parts)
        return self.parts

    def draw(self, seed: int) -> list[float]:
        """Split, draw experts, teach four end models, return their accuracies."""
        import lineshaft as ls
        from lineshaft.core.table import split

        parts = split(self.rows, self.reviews.SHARES, by="movie", seed=1000 + seed)
        place = {row: number for number, row in enumerate(self.rows.row_ids)}
        train, test = (np.array([place[row] for row in parts[name].row_ids]) for name in ("train", "test"))
        experts = np.random.default_rng(seed).choice(train, self.reviews.EXPERTS, replace=False)
        everyone = {self.rows.row_ids[i]: int(self.truth[i]) for i in train}
        asked = {self.rows.row_ids[i]: int(self.truth[i]) for i in experts}
        nobody = self.select([], train)
        votes = self.select(None, train)
        labels = [
            ls.fuse(nobody, self.reviews.task, gold=asked),
            ls.fuse(votes, self.reviews.task, gold=asked, model=ls.MajorityVote(2)),
            ls.fuse(votes, self.reviews.task, gold=asked),
            ls.fuse(nobody, self.reviews.task, gold=everyone),
        ]
        scores = [self.teach(item, train, test) for item in labels]
        print(seed, [round(score, 4) for score in scores], file=sys.stderr, flush=True)
        return scores

    def select(self, sources, rows):
        """Return the votes on some rows, of all sources or of none."""
        from lineshaft.collect.votes import Votes

        ids = [self.rows.row_ids[i] for i in rows]
        if sources is not None:
            return Votes.from_dense(
                np.empty((len(rows), 0), np.int8), [], classes=self.reviews.task.classes, row_ids=ids
            )
        confidence = self.parts.to_confidence()
        return Votes.from_dense(
            self.votes[rows], list(self.parts.sources), classes=self.reviews.task.classes, row_ids=ids,
            confidence=None if confidence is None else confidence[rows],
        )  # fmt: skip

    def teach(self, labels, train, test) -> float:
        """Train the recipe's end model on labels as `Run.select` does; return its accuracy on the test films."""
        import pyarrow as pa

        from lineshaft.core.codec import Tensors
        from lineshaft.run.training import examples
        from lineshaft.train.trainer import train as run_training

        recipe = self.reviews.recipe
        rows = self.rows.arrow.take(pa.array(train))
        own = Tensors(
            {name: value[torch.from_numpy(train)] for name, value in self.tensors.items()}, {"rows": len(train)}
        )
        learning, held = examples(rows, labels.payload(), [own], recipe, "movie", 0.2, 0)
        trained = run_training(recipe, *learning, held, classes=2)
        module = recipe.build(trained.shapes, 2)
        module.load_state_dict(trained.weights)
        with torch.inference_mode():
            answers = module.eval()(self.tensors["x"][torch.from_numpy(test)]).argmax(1).numpy()
        return float((answers == self.truth[test]).mean())


if __name__ == "__main__":
    main()
