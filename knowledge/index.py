"""An inverted index small enough to read in one sitting: which documents hold a term, and how much it tells.

Used twice by the library: over wordings (each a document of a few terms) and over whole entries (BM25). A look-up costs
one `bincount` over the postings of the question's terms, which is what keeps 50,000 wordings within milliseconds.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_K1, _B = 2.0, 0.5


class Index:
    """Documents as weighted terms -> overlap of a question with each document.

    `mass[d]` is the weight of all terms of document d, in the same unit as `overlap`. With `bm25`, a document's weights
    are counts, and what a term adds is saturated by its count and the document's length; without, it counts whole.
    """

    def __init__(self, documents: Sequence[Mapping[str, float]], *, bm25: bool = False) -> None:
        self.size = len(documents)
        self._rows: dict[str, int] = {}
        rows, numbers, counts = array("i"), array("i"), array("f")
        for number, terms in enumerate(documents):
            for term, count in terms.items():
                rows.append(self._rows.setdefault(term, len(self._rows)))
                numbers.append(number)
                counts.append(count)
        row_of = np.frombuffer(rows, dtype=np.int32) if rows else np.zeros(0, dtype=np.int32)
        # Postings in one piece, term after term: small in memory, and one slice a term.
        by_term = np.argsort(row_of, kind="stable")
        holders = np.bincount(row_of, minlength=len(self._rows))
        self._ends: list[int] = [0, *np.cumsum(holders).tolist()]
        self._numbers = np.frombuffer(numbers, dtype=np.int32)[by_term] if rows else row_of
        count_of = np.frombuffer(counts, dtype=np.float32)[by_term] if rows else np.zeros(0, np.float32)
        rarity = _idf(self.size, holders)
        self._rarity: list[float] = rarity.tolist()
        self._unknown_idf = float(_idf(self.size, np.zeros(1))[0])
        weight = count_of * np.repeat(rarity, holders)
        self.mass = np.bincount(self._numbers, weight, minlength=self.size).astype(np.float32)
        self._gain: Floats | None = self._saturated(count_of) if bm25 else None

    def knows(self, terms: Mapping[str, float]) -> bool:
        """Whether any document holds any of the terms."""
        return any(term in self._rows for term in terms)

    def match(self, terms: Mapping[str, float]) -> tuple[Floats, float]:
        """The overlap with each document, shape (size,): the weight of the question's terms that it holds. And the most
        that a document could hold: the sum of the terms' weight and rarity; a term nobody uses is the rarest."""
        possible = 0.0
        numbers: list[NDArray[np.int32]] = []
        gains: list[Floats] = []
        worth: list[float] = []
        for term, weight in terms.items():
            row = self._rows.get(term)
            if row is None:
                possible += weight * self._unknown_idf
                continue
            begin, end = self._ends[row], self._ends[row + 1]
            numbers.append(self._numbers[begin:end])
            if self._gain is not None:
                gains.append(self._gain[begin:end])
            worth.append(weight * self._rarity[row])
            possible += worth[-1]
        if not numbers:
            return np.zeros(self.size, dtype=np.float32), possible
        each = np.repeat(np.asarray(worth, dtype=np.float32), [len(held) for held in numbers])
        if gains:
            each *= np.concatenate(gains)
        total = np.bincount(np.concatenate(numbers), each, minlength=self.size)
        return total.astype(np.float32), possible

    def _saturated(self, counts: Floats) -> Floats:
        """BM25's saturation of each posting by term count and document length; at most 1."""
        length = self.mass[self._numbers] / max(float(self.mass.mean()), 1e-6)
        gain: Floats = (counts / (counts + _K1 * (1 - _B + _B * length))).astype(np.float32)
        return gain


def _idf(documents: int, holders: NDArray[Any]) -> Floats:
    idf: Floats = np.log(1 + (documents - holders + 0.5) / (holders + 0.5)).astype(np.float32)
    return idf
