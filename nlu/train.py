"""Makes nlu/model.npz from nlu/data: seeded, numpy only, the same file from the same data.

Run `python -m nlu.train`. The heads learn from the themes with the split `train`; the fusion's constants, and after all rules the
calibration of the score, are fitted on `tune`. Themes held out are never read here.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import features, fusion
from .corpus import DATA, Example, load
from .engine import Engine, Reading, fingerprint, joined, long_cut, named, read, vector_of
from .features import SIZE, Vector
from .fusion import Fusion
from .lexicon import Intents, Lexicon
from .model import DEFAULT, HEADS, Calibration, Model, slices
from .reader import WEIGHTS, Reader
from .understanding import KINDS, RISKS, risk_rank

SEED = 12355
EPOCHS = 24
BATCH = 128
RATE = 0.5
DECAY = 2e-5
DROPPED = 0.6  # share of features left out of each look at an example, so that no single word decides
# From which probability on a message is low, medium, high, critical.
THRESHOLDS = (0.5, 0.35, 0.4, 0.4)
Matrix = NDArray[np.float32]
PLAIN = Calibration(1.0, (0.0,) * len(RISKS))


class Rows:
    """Sparse rows laid end to end."""

    def __init__(self, vectors: Sequence[Vector]) -> None:
        self.start = np.concatenate([[0], np.cumsum([len(v.slots) for v in vectors])])
        self.index = np.concatenate([v.slots for v in vectors])
        self.value = np.concatenate([v.value for v in vectors])

    def dense(
        self, rows: NDArray[np.int64], random: np.random.Generator | None
    ) -> tuple[NDArray[np.int64], Matrix]:
        """The columns that occur in `rows`, and those rows over just these columns."""
        lengths = self.start[rows + 1] - self.start[rows]
        places = np.concatenate([np.arange(self.start[r], self.start[r + 1]) for r in rows])
        owner = np.repeat(np.arange(len(rows)), lengths)
        value = self.value[places]
        if random is not None:
            kept = random.random(len(places)) >= DROPPED
            places, owner, value = places[kept], owner[kept], value[kept] / (1 - DROPPED)
        columns, inverse = np.unique(self.index[places], return_inverse=True)
        flat = np.bincount(owner * len(columns) + inverse, weights=value, minlength=len(rows) * len(columns))
        return columns, flat.reshape(len(rows), len(columns)).astype(np.float32)


def targets(examples: Sequence[Example], categories: tuple[str, ...]) -> tuple[Matrix, Matrix]:
    """What every column should say of every example, and how much each answer matters."""
    part = slices(categories)
    wanted = np.zeros((len(examples), part["category"].stop), dtype=np.float32)
    weight = np.ones_like(wanted)
    place = {name: i for i, name in enumerate(categories)}
    for row, example in enumerate(examples):
        rank = risk_rank(example.risk)
        wanted[row, part["risk"].start : part["risk"].start + rank] = 1
        wanted[row, part["topic"].start + HEADS["topic"].index(example.topic)] = 1
        for kind in example.kinds:
            wanted[row, part["kinds"].start + HEADS["kinds"].index(kind)] = 1
        wanted[row, part["about"].start + HEADS["about"].index(example.about)] = 1
        wanted[row, part["intent"].start + HEADS["intent"].index(example.intent)] = 1
        if example.category in place:
            wanted[row, part["category"].start + place[example.category]] = 1
        if rank >= risk_rank("high"):
            weight[row, part["risk"]] = 1.5  # a miss costs more than an alarm
    return wanted, weight


def fit(rows: Rows, wanted: Matrix, weight: Matrix, softmaxes: list[slice]) -> tuple[Matrix, Matrix]:
    """AdaGrad over all rows; returns the weights of the features and the bias."""
    random = np.random.default_rng(SEED)
    width = wanted.shape[1]
    weights = np.zeros((SIZE, width), dtype=np.float32)
    grown = np.full((SIZE, width), 1e-2, dtype=np.float32)
    share = wanted.mean(axis=0)
    bias = np.log((share + 1e-3) / (1 - share + 1e-3)).astype(np.float32)
    for part in softmaxes:
        bias[part] = np.log(share[part] + 1e-3)
    started = time.monotonic()
    for epoch in range(EPOCHS):
        order = random.permutation(len(wanted))
        for low in range(0, len(order), BATCH):
            batch = order[low : low + BATCH]
            columns, x = rows.dense(batch, random)
            here = weights[columns]
            raw = x @ here + bias
            guess = 1.0 / (1.0 + np.exp(-np.clip(raw, -30, 30)))
            for part in softmaxes:
                e = np.exp(raw[:, part] - raw[:, part].max(axis=1, keepdims=True))
                guess[:, part] = e / e.sum(axis=1, keepdims=True)
            wrong = ((guess - wanted[batch]) * weight[batch]).astype(np.float32) / len(batch) * 8
            slope = x.T @ wrong + DECAY * here
            total = grown[columns] + slope * slope
            grown[columns] = total
            weights[columns] = here - RATE * slope / np.sqrt(total)
            bias -= 0.02 * wrong.sum(axis=0)
        if sys.stderr.isatty():
            print(f"\r{epoch + 1}/{EPOCHS} {time.monotonic() - started:.0f} s", end="", file=sys.stderr)  # noqa: T201
    if sys.stderr.isatty():
        print(file=sys.stderr)  # noqa: T201
    return weights, bias


def quantised(weights: Matrix) -> tuple[NDArray[np.int8], Matrix]:
    """8-bit weights with one scale a column; the few largest weights are clipped."""
    scales = np.maximum(np.quantile(np.abs(weights), 0.99995, axis=0), 1e-6).astype(np.float32) / 127
    return np.clip(np.round(weights / scales), -127, 127).astype(np.int8), scales


def fit_calibration(log_odds: Matrix, levels: NDArray[np.int64], truth: Matrix) -> Calibration:
    """Logistic regression of truth (0/1) on the log-odds and the judged level, by Newton's method."""
    design = np.column_stack([log_odds, *[(levels == k) for k in range(len(RISKS))]]).astype(np.float64)
    beta = np.zeros(design.shape[1])
    beta[0] = 1.0
    ridge = np.full(design.shape[1], 1.0)
    prior = beta.copy()
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        gradient = design.T @ (p - truth) + ridge * (beta - prior)
        curve = (design * (p * (1 - p))[:, None]).T @ design + np.diag(ridge)
        beta -= np.linalg.solve(curve, gradient)
    offsets = np.maximum.accumulate(beta[1:])  # a graver level is never less probable
    return Calibration(float(max(beta[0], 0.05)), tuple(float(x) for x in offsets))


def _read(lexicon: Lexicon, example: Example) -> Reading:
    """An example as the engine reads it: a message in a thread together with the last ones before it."""
    own = read(lexicon, example.text)
    older = [read(lexicon, message) for message in example.history]
    return joined(own, older) if older else own


def learn_heads(
    lexicon: Lexicon, examples: Sequence[Example], categories: tuple[str, ...]
) -> tuple[Matrix, Matrix]:
    """The weights and the bias of all heads.

    An example with phrases is shown a second time as if the lexicons did not know them. Without it the heads lean on them alone
    and learn nothing of how danger sounds in words they lack (measured on themes not seen, messages without phrases: area under
    the curve for high or above 0.81 without, 0.84 with).
    """
    readings = [_read(lexicon, example) for example in examples]
    unaided = [row for row, reading in enumerate(readings) if reading.hits]
    readings += [replace(readings[row], hits=()) for row in unaided]
    rows = Rows([vector_of(lexicon, reading) for reading in readings])
    wanted, weight = targets([*examples, *(examples[row] for row in unaided)], categories)
    part = slices(categories)
    return fit(rows, wanted, weight, [part[name] for name in ("topic", "about", "intent", "category")])


def fit_fusion(
    engine: Engine, model: Model, reader: Reader, lexicon: Lexicon, examples: Sequence[Example]
) -> Fusion:
    """The fusion's constants, from themes that neither heads nor reader have seen."""
    levels, where, kinds = [], [], []
    for example in examples:
        own = _read(lexicon, example)
        opinion, heads = reader.read(long_cut(own.normal.text)), model.scores(vector_of(lexicon, own))
        levels.append(fusion.levels_evidence(opinion, heads, risk_rank(own.rule)))
        where.append(fusion.settings(engine.soft(own), bool(example.history)))
        kinds.append(fusion.kinds_evidence(opinion, heads, named(own.hits)))
    truth = np.array([risk_rank(example.risk) for example in examples])
    kind = np.array([[name in example.kinds for name in KINDS] for example in examples], dtype=np.float32)
    return fusion.fitted(levels, where, truth, kinds, kind)


def calibrate(engine: Engine, examples: Sequence[Example]) -> Calibration:
    """The calibration of the score after all rules."""
    judged = [engine.judge(example.text, example.history) for example in examples]
    log_odds = np.array([value for _, value in judged], dtype=np.float32)
    levels = np.array([risk_rank(seen.risk) for seen, _ in judged])
    truth = np.array([risk_rank(example.risk) >= risk_rank("high") for example in examples], dtype=np.float32)
    return fit_calibration(log_odds, levels, truth)


def train(folder: Path = DATA, out: Path = DEFAULT, extra: Sequence[Example] = ()) -> dict[str, object]:
    """Train on `folder` and on `extra` (what a desk has reviewed) and write `out`. Returns the notes stored with the model.

    A folder without tuning themes (a small one of a desk's own) leaves the fusion plain and the score uncalibrated.
    """
    examples = load(folder)
    learning = [*(example for example in examples if example.split == "train"), *extra]
    tuning = [example for example in examples if example.split == "tune"]
    categories = tuple(sorted({example.category for example in learning}))
    lexicon, reader, known = Lexicon(), Reader.load(), fingerprint(WEIGHTS)
    weights, bias = learn_heads(lexicon, learning, categories)
    heads = (*quantised(weights), bias, categories)
    model = Model(*heads, Fusion.plain(), THRESHOLDS, PLAIN, known)
    if tuning:
        mixed = fit_fusion(Engine(lexicon, Intents(), model, reader), model, reader, lexicon, tuning)
        model = Model(*heads, mixed, THRESHOLDS, PLAIN, known)
        model = Model(
            *heads, mixed, THRESHOLDS, calibrate(Engine(lexicon, Intents(), model, reader), tuning), known
        )
    notes: dict[str, object] = {
        "examples": len(learning),
        "tuned_on": len(tuning),
        "seed": SEED,
        "epochs": EPOCHS,
        "features": features.VERSION,
    }
    beside = out.with_name(f".{out.stem}.{os.getpid()}.npz")  # running services must never read half a file
    model.save(beside, notes)
    beside.replace(out)
    return notes


def main() -> None:
    """Command line of this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, default=DEFAULT)
    options = parser.parse_args()
    started = time.monotonic()
    notes = train(options.data, options.out)
    size = options.out.stat().st_size / 1e6
    print(f"{options.out.name}: {size:.1f} MB in {time.monotonic() - started:.0f} s; {notes}")  # noqa: T201


if __name__ == "__main__":
    main()
