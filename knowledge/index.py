"""An inverted index small enough to read in one sitting: which documents hold a term, and how much it tells.

Used twice by the library: over wordings (each a document of a few terms) and over whole entries (BM25). A look-up costs
one `bincount` over the postings of the question's terms, which is what keeps 50,000 wordings within milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_K1, _B = 1.2, 0.5


class Index:
    """Documents as weighted terms -> overlap of a question with each document.

    `mass[d]` is the weight of all terms of document d, in the same unit as `overlap`.
    """

    def __init__(self, documents: Sequence[Mapping[str, float]], *, bm25: bool = False) -> None:
        self.size = len(documents)
        holders: dict[str, list[int]] = {}
        for number, terms in enumerate(documents):
            for term in terms:
                holders.setdefault(term, []).append(number)
        self._numbers = {term: np.asarray(found, dtype=np.int32) for term, found in holders.items()}
        self._idf = {term: _idf(self.size, len(found)) for term, found in holders.items()}
        self._unknown_idf = _idf(self.size, 0)
        self.mass = np.asarray([self.weight(terms) for terms in documents], dtype=np.float32)
        self._gain = {t: self._bm25_gain(t, documents) for t in holders} if bm25 else {}

    def weight(self, terms: Mapping[str, float]) -> float:
        """How much a text could match: the sum of its terms' weight and rarity; a term nobody uses is the rarest."""
        return sum(weight * self._idf.get(term, self._unknown_idf) for term, weight in terms.items())

    def knows(self, terms: Mapping[str, float]) -> bool:
        """Whether any document holds any of the terms."""
        return any(term in self._numbers for term in terms)

    def overlap(self, terms: Mapping[str, float]) -> Floats:
        """For each document, the weight of the question's terms that it holds. Shape (size,)."""
        numbers, gains = [], []
        for term, weight in terms.items():
            found = self._numbers.get(term)
            if found is None:
                continue
            numbers.append(found)
            score = np.float32(weight * self._idf[term])
            gains.append(
                score * self._gain[term] if self._gain else np.full(len(found), score, dtype=np.float32)
            )
        if not numbers:
            return np.zeros(self.size, dtype=np.float32)
        total = np.bincount(np.concatenate(numbers), np.concatenate(gains), minlength=self.size)
        return total.astype(np.float32)

    def _bm25_gain(self, term: str, documents: Sequence[Mapping[str, float]]) -> Floats:
        """BM25's saturation by term frequency and length, per document that holds the term; at most 1."""
        numbers = self._numbers[term]
        counts = np.asarray([documents[n][term] for n in numbers], dtype=np.float32)
        length = self.mass[numbers] / max(float(self.mass.mean()), 1e-6)
        gain: Floats = (counts / (counts + _K1 * (1 - _B + _B * length))).astype(np.float32)
        return gain


def _idf(documents: int, holders: int) -> float:
    return math.log(1 + (documents - holders + 0.5) / (holders + 0.5))
