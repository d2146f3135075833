"""Fifth step of understanding: one judgement out of three.

The reader's opinion (`reader.py`, distilled from a large model), the trained heads (`model.py`, which know the corpus and
what the desk has reviewed) and the phrases (`lexicon.py`) are weighed by logistic regressions that were fitted on
themes that none of the three had learned from. Each starts from a plain mean of the first two, and stays near it where
there is little to learn from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .reader import Opinion
from .understanding import KINDS, RISKS

Floats = NDArray[np.float32]
LEVELS = len(RISKS) - 1
FAR = 8.0  # log-odds beyond this say no more
EVIDENCE = 3 * LEVELS + 3  # reader's and heads' levels, phrases' level, softness, thread, one
RIDGE = 4.0  # how firmly the weights are held near the plain mean
BLENDED = ("topic", "about", "category")


class Heads(Protocol):
    """What the trained heads say: log-odds by label."""

    risk: Floats
    kinds: Floats
    topic: Floats
    about: Floats
    category: Floats


@dataclass(frozen=True, slots=True)
class Fusion:
    """The weights. `risk` (EVIDENCE, 4), `kinds` (4, 11), `share`: the reader's part in each blended head, 0 to 1."""

    risk: Floats
    kinds: Floats
    share: Mapping[str, float]

    @classmethod
    def plain(cls) -> Fusion:
        """The mean of reader and heads; phrases add to it."""
        risk = np.zeros((EVIDENCE, LEVELS), dtype=np.float32)
        for level in range(LEVELS):
            risk[level, level] = 0.6
            risk[LEVELS + level, level] = 0.3
            risk[2 * LEVELS + level, level] = 1.0
        kinds = np.zeros((4, len(KINDS)), dtype=np.float32)
        kinds[0], kinds[1], kinds[2], kinds[3] = 0.7, 0.3, 0.5, 0.0
        return cls(risk, kinds, dict.fromkeys(BLENDED, 0.7))

    def levels(self, evidence: Floats) -> Floats:
        """Log-odds of low or above … critical, never rising."""
        return np.asarray(np.minimum.accumulate(evidence @ self.risk), dtype=np.float32)

    def kinds_of(self, evidence: Floats) -> Floats:
        """Log-odds of each kind from `kinds_evidence`."""
        return np.asarray((evidence * self.kinds).sum(axis=0), dtype=np.float32)

    def blend(self, name: str, reader: Floats, heads: Floats) -> Floats:
        """Probabilities of a head's labels: a weighted geometric mean of both."""
        share = self.share[name]
        raw = share * reader + (1 - share) * heads
        grown = np.exp(raw - raw.max())
        return np.asarray(grown / grown.sum(), dtype=np.float32)


def risk_evidence(opinion: Opinion, heads: Floats, rule: int, soft: bool, thread: bool) -> Floats:
    """What speaks for each level: shape (EVIDENCE,). `rule` is the rank of the phrases' level."""
    said = [float(rule >= level) for level in range(1, LEVELS + 1)]
    rest = np.array([*said, float(soft), float(thread), 1.0], dtype=np.float32)
    return np.concatenate([np.clip(opinion.risk, -FAR, FAR), np.clip(heads, -FAR, FAR), rest])


def kinds_evidence(opinion: Opinion, heads: Floats, named: Floats) -> Floats:
    """What speaks for each kind: shape (4, 11). `named` is the rank of the gravest phrase of each kind."""
    return np.stack(
        [np.clip(opinion.kinds, -FAR, FAR), np.clip(heads, -FAR, FAR), named, np.ones_like(named)]
    ).astype(np.float32)


def fitted(
    risk: Sequence[Floats], levels: NDArray[np.int64], kinds: Sequence[Floats], truths: NDArray[np.float32]
) -> tuple[Floats, Floats]:
    """The weights of `Fusion.risk` and `Fusion.kinds` from evidence and true levels (n,) and kinds (n, 11)."""
    plain = Fusion.plain()
    design = np.stack(risk).astype(np.float64)
    found_risk = np.column_stack(
        [_logistic(design, levels > level, plain.risk[:, level]) for level in range(LEVELS)]
    )
    each = np.stack(kinds).astype(np.float64)  # (n, 4, 11)
    found_kinds = np.column_stack(
        [_logistic(each[:, :, k], truths[:, k] > 0, plain.kinds[:, k]) for k in range(len(KINDS))]
    )
    return found_risk.astype(np.float32), found_kinds.astype(np.float32)


def best_share(reader: Floats, heads: Floats, truth: NDArray[np.int64]) -> float:
    """The reader's part that makes the true labels (n,) likeliest; rows are log-odds (n, labels)."""

    def surprise(share: float) -> float:
        raw = share * reader + (1 - share) * heads
        raw = raw - raw.max(axis=1, keepdims=True)
        chances = raw[np.arange(len(truth)), truth] - np.log(np.exp(raw).sum(axis=1))
        return -float(chances.mean())

    return min((k / 10 for k in range(11)), key=surprise)


def _logistic(design: NDArray[np.float64], truth: NDArray[np.bool_], prior: Floats) -> NDArray[np.float64]:
    """Logistic regression held near `prior` by a ridge, by Newton's method."""
    weights = prior.astype(np.float64)
    firm = np.full(len(weights), RIDGE)
    firm[-1] = 1e-3  # the constant is free
    for _ in range(40):
        p = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        gradient = design.T @ (p - truth) + firm * (weights - prior)
        curve = (design * (p * (1 - p))[:, None]).T @ design + np.diag(firm)
        weights = weights - np.linalg.solve(curve, gradient)
    return weights
