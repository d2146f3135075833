"""What the teacher and the reader learn: the labels of the corpus's training themes and of labelled pool lines."""

from __future__ import annotations

import gzip
import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nlu import corpus
from nlu.engine import PIECE, TOGETHER
from nlu.normalise import normalise
from nlu.reader import ABOUTS
from nlu.understanding import KINDS, RISKS, TOPICS, risk_rank

POOL_LABELS = Path(__file__).with_name("pool_labels.tsv.gz")
CATEGORIES = tuple(sorted(corpus.category_names()))
HEADS = {
    "risk": len(RISKS) - 1,
    "kinds": len(KINDS),
    "topic": len(TOPICS),
    "about": len(ABOUTS),
    "category": len(CATEGORIES),
}


@dataclass(frozen=True)
class Labels:
    """One row a text. `category` is -1 where it is not known."""

    risk: NDArray[np.float32]  # (n, 4): low or above … critical
    kinds: NDArray[np.float32]  # (n, 11)
    topic: NDArray[np.int64]
    about: NDArray[np.int64]
    category: NDArray[np.int64]


Row = tuple[str, int, tuple[str, ...], str, str, str]  # text, rank of risk, kinds, topic, about, category


def of_the_corpus() -> list[Row]:
    """The training themes, each message together with the last ones before it, as the engine reads it."""
    return [
        (together(e.text, e.history), risk_rank(e.risk), e.kinds, e.topic, e.about, e.category)
        for e in corpus.load()
        if e.split == "train"
    ]


def of_the_pool(paths: Iterable[Path]) -> list[Row]:
    """The labelled lines of the pool; found by their hash, so that the project need not hold them."""
    known: dict[str, list[str]] = {}
    with gzip.open(POOL_LABELS, "rt", encoding="utf-8") as rows:
        for row in rows:
            name, *labels = row.rstrip("\n").split("\t")
            known[name] = labels
    found: dict[str, Row] = {}
    for line in lines(paths):
        name = fingerprint(line)
        if name in known and name not in found:
            risk, topic, about, kinds = known[name]
            found[name] = (
                normalise(line).text,
                int(risk),
                tuple(kind for kind in kinds.split(",") if kind),
                topic,
                about,
                "",
            )
    return list(found.values())


def table(rows: Sequence[Row]) -> Labels:
    """The labels of rows as arrays."""
    risk = np.zeros((len(rows), HEADS["risk"]), dtype=np.float32)
    kinds = np.zeros((len(rows), HEADS["kinds"]), dtype=np.float32)
    for place, row in enumerate(rows):
        risk[place, : row[1]] = 1
        for kind in row[2]:
            kinds[place, KINDS.index(kind)] = 1
    return Labels(
        risk,
        kinds,
        np.array([TOPICS.index(row[3]) for row in rows], dtype=np.int64),
        np.array([ABOUTS.index(row[4]) for row in rows], dtype=np.int64),
        np.array([CATEGORIES.index(row[5]) if row[5] else -1 for row in rows], dtype=np.int64),
    )


def together(text: str, history: Sequence[str]) -> str:
    """A message in normal form with the last few older ones before it."""
    own = normalise(text).text
    return "\n".join([*(normalise(older).text[-PIECE:] for older in history[-TOGETHER:]), own])


def lines(paths: Iterable[Path]) -> Iterator[str]:
    """The texts of plain or gzipped files, one a line."""
    for path in paths:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        yield from (line.strip() for line in raw.decode().splitlines() if len(line.strip()) >= 2)


def fingerprint(line: str) -> str:
    """The name of a pool line in the file of labels."""
    return hashlib.sha256(line.encode()).hexdigest()[:16]


def say(line: str) -> None:
    """Progress, to standard error."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
