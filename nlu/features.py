"""Third step of understanding: a message as numbers, for the model.

Hashed character n-grams (1 to 4, and pairs with one character left out) of the normal form, every
lexicon phrase with its scopes, and the concepts that stand together. A feature is an index below SIZE and a weight. Training and
run time share this file: a change here needs a new model, so VERSION goes into the model file.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from .lexicon import Hit
from .understanding import risk_rank

VERSION = 6
BITS = 16
SIZE = 1 << BITS
_PHRASE_WEIGHT = 0.4
_CONCEPT_WEIGHT = 0.75  # shared by all concepts and pairs of a text
_SHORT = 40  # as many n-grams that say nothing are added, so that a few characters alone weigh little
_FEW = 10

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


class Vector(NamedTuple):
    """Sparse features: slot `slots[i]` (below SIZE) has weight `value[i]`; a slot may come twice."""

    slots: Ints
    value: Floats


_MULTIPLY = np.uint64(0x9E3779B97F4A7C15)
_STEP = np.uint64(0x100000001B3)
_SHIFT = np.uint64(64 - BITS)


def _slots(values: NDArray[np.uint64], salt: int) -> Ints:
    mixed = (values + np.uint64(salt)) * _MULTIPLY
    mixed ^= mixed >> np.uint64(29)
    return ((mixed * _MULTIPLY) >> _SHIFT).astype(np.int64)


def _grams(text: str, longest: int) -> Ints:
    codes = np.frombuffer(f"\x02{text}\x03".encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(
        np.uint64
    )
    found = [_slots(codes, 1)]
    run = codes
    for length in range(2, longest + 1):
        if len(codes) < length:
            break
        run = run[:-1] * _STEP + codes[length - 1 :]
        found.append(_slots(run, length))
    if len(codes) > 2:
        found.append(_slots(codes[:-2] * _STEP + codes[2:] * _STEP, 9))
    return np.concatenate(found)


@lru_cache(maxsize=20_000)
def _named(name: str) -> int:
    """The slot of a named feature. Names come from the lexicons, never from a message."""
    return (crc32(name.encode()) * 2654435761 >> 7) % SIZE


def _phrase_names(hits: Sequence[Hit]) -> set[str]:
    names: set[str] = set()
    for hit in hits:
        phrase = hit.phrase
        names.add(f"phrase {phrase.name}")
        names.add(f"phrase {phrase.name} {hit.risk}")
        names.add(f"kind {phrase.kind} {hit.risk}")
        names.add(f"tag {phrase.tag} {hit.risk}")
        names.update(f"scope {phrase.tag} {scope}" for scope in hit.scopes)
    highest = max((risk_rank(hit.risk) for hit in hits), default=0)
    names.update(f"level {level}" for level in range(highest + 1))
    if len({hit.phrase.name for hit in hits if risk_rank(hit.risk) > 1}) > 1:
        names.add("several")
    return names


def vector(
    text: str,
    hits: Sequence[Hit],
    topics: frozenset[str],
    concepts: frozenset[str],
) -> Vector:
    """Features of a normal form with its phrases, topic words and concepts."""
    grams = _grams(text, 4)
    index = [grams]
    value = [np.full(len(grams), 1.0 / np.sqrt(len(grams) + _SHORT), dtype=np.float32)]
    if concepts:
        index.append(np.array([_named(f"concept {name}") for name in sorted(concepts)], dtype=np.int64))
        share = _CONCEPT_WEIGHT / np.sqrt(len(concepts) + _FEW)
        value.append(np.full(len(concepts), share, dtype=np.float32))
    names = sorted(_phrase_names(hits))
    names += sorted(f"about {topic}" for topic in topics)
    names.append(f"length {min(len(text) // 8, 12)}")
    index.append(np.array([_named(name) for name in names], dtype=np.int64))
    value.append(np.full(len(names), _PHRASE_WEIGHT, dtype=np.float32))
    return Vector(np.concatenate(index), np.concatenate(value))
