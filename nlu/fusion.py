"""Fifth step of understanding: one judgement out of three.

The reader's opinion (`reader.py`, distilled from a large model), the trained heads (`model.py`, which know the corpus and
what the desk has reviewed) and the phrases (`lexicon.py`) are added up as log-odds. How much each counts stands here and is not
fitted: the corpus is full of hard cases, and what is fitted on it trusts phrases far too little for ordinary text. Only the
constants, and what a soft setting or a thread changes, are fitted, on themes that nothing has learned from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .reader import Opinion
from .understanding import KINDS, RISKS

Floats = NDArray[np.float32]
LEVELS = len(RISKS) - 1
FAR = 8.0  # log-odds beyond this say no more
READER, HEADS = 0.9, 0.3
PHRASE, BESIDE = 1.8, 0.6  # a phrase of at least this level, and each other level that it reaches
KIND = (0.8, 0.2, 0.6)  # reader, heads, and each level of the gravest phrase of that kind
SHARE = {"topic": 0.7, "about": 0.6, "category": 0.5}  # the reader's part, 0 to 1
RIDGE = 4.0  # how firmly fitted numbers are held near zero; the constants are free


class Heads(Protocol):
    """What the trained heads say: log-odds by label."""

    @property
    def risk(self) -> Floats: ...
    @property
    def kinds(self) -> Floats: ...


@dataclass(frozen=True, slots=True)
class Fusion:
    """What is fitted: `risk` (3, 4) for soft settings, threads and the constant of each level; `kinds` (11,) constants."""

    risk: Floats
    kinds: Floats

    @classmethod
    def plain(cls) -> Fusion:
        """Nothing fitted yet."""
        return cls(np.zeros((3, LEVELS), dtype=np.float32), np.zeros(len(KINDS), dtype=np.float32))

    def levels(self, opinion: Opinion, heads: Heads, rule: int, soft: bool, thread: bool) -> Floats:
        """Log-odds of low or above … critical, never rising. `rule` is the rank of the phrases' level."""
        raw = levels_evidence(opinion, heads, rule) + settings(soft, thread) @ self.risk
        return np.asarray(np.minimum.accumulate(raw), dtype=np.float32)

    def kinds_of(self, opinion: Opinion, heads: Heads, named: Floats) -> Floats:
        """Log-odds of each kind. `named` is the rank of the gravest phrase of each kind."""
        return kinds_evidence(opinion, heads, named) + self.kinds


def settings(soft: bool, thread: bool) -> Floats:
    """What `Fusion.risk` is multiplied with, shape (3,)."""
    return np.array([soft, thread, 1.0], dtype=np.float32)


def levels_evidence(opinion: Opinion, heads: Heads, rule: int) -> Floats:
    """What speaks for each level before anything fitted, shape (4,)."""
    reached = (np.arange(1, LEVELS + 1) <= rule).astype(np.float32)
    phrases = (PHRASE - BESIDE) * reached + BESIDE * reached.sum()
    return np.asarray(
        READER * _bounded(opinion.risk) + HEADS * _bounded(heads.risk) + phrases, dtype=np.float32
    )


def kinds_evidence(opinion: Opinion, heads: Heads, named: Floats) -> Floats:
    """What speaks for each kind before anything fitted, shape (11,)."""
    reader, trained, phrase = KIND
    return np.asarray(
        reader * _bounded(opinion.kinds) + trained * _bounded(heads.kinds) + phrase * named, dtype=np.float32
    )


def blend(name: str, reader: Floats, heads: Floats) -> Floats:
    """Probabilities of the labels of topic, about or category: a weighted geometric mean of both."""
    share = SHARE[name]
    raw = share * reader + (1 - share) * heads
    grown = np.exp(raw - raw.max())
    return np.asarray(grown / grown.sum(), dtype=np.float32)


def fitted(
    risk: Sequence[Floats],
    where: Sequence[Floats],
    levels: NDArray[np.int64],
    kinds: Sequence[Floats],
    truths: NDArray[np.float32],
) -> Fusion:
    """The fusion fitted to evidence for levels (n, 4), settings (n, 3), true levels (n,), evidence for kinds and true kinds (n, 11)."""
    known, design = np.stack(risk).astype(np.float64), np.stack(where).astype(np.float64)
    found = [_logistic(design, known[:, level], levels > level) for level in range(LEVELS)]
    each = np.stack(kinds).astype(np.float64)
    one = np.ones((len(each), 1))
    constants = [_logistic(one, each[:, kind], truths[:, kind] > 0)[0] for kind in range(len(KINDS))]
    return Fusion(np.column_stack(found).astype(np.float32), np.array(constants, dtype=np.float32))


def _bounded(log_odds: Floats) -> Floats:
    return np.clip(log_odds, -FAR, FAR)


def _logistic(
    design: NDArray[np.float64], known: NDArray[np.float64], truth: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Logistic regression beside known log-odds, by Newton's method. The last column is the constant."""
    weights = np.zeros(design.shape[1])
    firm = np.full(design.shape[1], RIDGE)
    firm[-1] = 0.1
    for _ in range(40):
        p = 1 / (1 + np.exp(-np.clip(known + design @ weights, -30, 30)))
        curve = (design * (p * (1 - p))[:, None]).T @ design + np.diag(firm)
        weights = weights - np.linalg.solve(curve, design.T @ (p - truth) + firm * weights)
    return weights
