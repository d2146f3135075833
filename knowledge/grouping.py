"""Questions that mean the same, put together: for what went unanswered (bot/web/api/unanswered.py).

Two questions are alike by meaning (the engine's encoder) and by what they speak of (terms and concepts, the rare ones more). Groups grow
while the mean likeness of all pairs between two groups is high enough, so that a chain of neighbours does not become one heap. Nothing
is kept.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from knowledge.entries import shipped
from knowledge.index import Floats
from knowledge.library import LONGEST_QUESTION, SEARCH, Encoder, read_groups
from knowledge.terms import Terms
from nlu import masking
from nlu.encoder import Encoder as NluEncoder
from nlu.normalise import normalise

# Measured on paraphrases of our own, alone and among two thousand wordings of entries: a distilled encoder alone puts together whatever
# speaks of school or of parents. Rather apart than wrong: two groups of one question cost a click, a wrong group a wrong wording.
_MEANING: Final = 0.25
_PLACEHOLDER: Final = re.compile("［(?:" + "|".join(masking.PLACEHOLDERS) + ")］")
ALIKE: Final = 0.33


def group(
    questions: Sequence[str], encoder: Encoder | None = None, *, alike: float = ALIKE
) -> list[list[int]]:
    """Places of the questions, group by group: the largest first, and in a group the one nearest to all others first.

    `encoder`: the packaged one by default. Seconds for thousands of questions: call it in a thread.
    """
    if not questions:
        return []
    texts = [normalise(_bare(question)).text for question in questions]
    likeness = _likeness(texts, encoder or _packaged())
    groups = []
    for members in _components(likeness >= alike):
        inside = likeness[np.ix_(members, members)]
        groups += [
            [members[place] for place in _by_nearness(inside, found)] for found in _linked(inside, alike)
        ]
    return sorted(groups, key=lambda found: (-len(found), min(found)))


def _bare(question: str) -> str:
    """The question without names, numbers and places: whose it is says nothing about what it asks."""
    return _PLACEHOLDER.sub("", masking.mask(question[:LONGEST_QUESTION]))


@cache
def _packaged() -> NluEncoder:
    return NluEncoder.load()


@cache
def _terms() -> Terms:
    return Terms(read_groups(SEARCH / "concepts.yml"))


@cache
def _rarity() -> dict[str, float]:
    """How much a term tells, counted over the wordings of the shipped entries; "" stands for a term that none has."""
    wordings = [ask for entry in shipped().values() for ask in (entry.title, *entry.asks)]
    holders = Counter(term for wording in wordings for term in _terms().of(wording))
    rarity = {
        term: math.log(1 + (len(wordings) - held + 0.5) / (held + 0.5)) for term, held in holders.items()
    }
    return rarity | {"": math.log(2 * len(wordings) + 2)}


def _likeness(texts: Sequence[str], encoder: Encoder) -> Floats:
    """(n, n): 1 for the same, about 0 for what has nothing to do with each other."""
    vectors = encoder.encode(texts)
    rarity = _rarity()
    documents = [
        {term: weight * rarity.get(term, rarity[""]) for term, weight in _terms().of(text).items()}
        for text in texts
    ]
    both: Floats = _MEANING * (vectors @ vectors.T) + (1 - _MEANING) * _overlap(documents)
    return both


def _overlap(documents: Sequence[Mapping[str, float]]) -> Floats:
    """(n, n): the share of two texts' terms that both have (Dice), by weight."""
    holders: dict[str, list[int]] = {}
    for number, terms in enumerate(documents):
        for term in terms:
            holders.setdefault(term, []).append(number)
    mass = np.asarray([sum(terms.values()) for terms in documents], dtype=np.float32)
    shared = np.zeros((len(documents), len(documents)), dtype=np.float32)
    for number, terms in enumerate(documents):
        for term, weight in terms.items():
            shared[number, holders[term]] += weight
    result: Floats = 2 * shared / np.maximum(mass[:, None] + mass[None, :], 1e-6)
    return result


def _components(near: NDArray[np.bool_]) -> list[list[int]]:
    """Sets of places that neighbours connect: what can be in one group at all."""
    left = set(range(len(near)))
    found = []
    while left:
        waiting, members = [left.pop()], []
        while waiting:
            place = waiting.pop()
            members.append(place)
            reached = left.intersection(np.flatnonzero(near[place]).tolist())
            left -= reached
            waiting += reached
        found.append(sorted(members))
    return found


def _linked(likeness: Floats, alike: float) -> list[list[int]]:
    """Average linkage: the two groups that are nearest are joined, until none are near enough."""
    between: NDArray[Any] = likeness.astype(np.float64)
    np.fill_diagonal(between, -1.0)
    groups = [[place] for place in range(len(between))]
    nearest = between.max(axis=1)
    while True:
        one = int(nearest.argmax())
        if nearest[one] < alike:
            return [members for members in groups if members]
        other = int(between[one].argmax())
        a, b = len(groups[one]), len(groups[other])
        joined = (between[one] * a + between[other] * b) / (a + b)
        joined[one] = joined[other] = -1.0
        # Rows that had one of the two as their nearest look anew; the others are as they were.
        stale = (between[:, one] >= nearest) | (between[:, other] >= nearest)
        between[one], between[:, one] = joined, joined
        between[other], between[:, other] = -1.0, -1.0
        groups[one], groups[other] = groups[one] + groups[other], []
        nearest = np.maximum(nearest, joined)
        stale[[one, other]] = True
        nearest[stale] = between[stale].max(axis=1)


def _by_nearness(likeness: Floats, members: Sequence[int]) -> list[int]:
    near = likeness[np.ix_(members, members)].mean(axis=1)
    return [members[place] for place in np.argsort(-near, kind="stable")]
