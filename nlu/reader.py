"""What a much larger language model would say of a message: the dense half of the embedded engine.

A small network reads the normal form of a text twice – as a bag of hashed character n-grams, and letter by letter through
two layers of convolution – and answers in the corpus's own labels: log-odds of the risk levels, of each kind, of topic, about
and category. Its weights were distilled once from a fine-tuned sentence encoder (`nlu/distil`, which says how). numpy only.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .encoder import buckets
from .understanding import KINDS, RISKS, TOPICS

WEIGHTS = Path(__file__).with_name("reader.npz")
FORMAT = 1
LONGEST = 240  # characters that are read of a text: the beginning and the end of a longer one
LETTERS = 13  # bits of a letter's hash
PAIRS = 15  # bits of the hash of a letter and the next
EDGE = "\x02", "\x03"  # stand before and after a text; no normal form contains these control characters
ABOUTS = ("self", "other", "unknown")

_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_NEXT = np.uint64(0x100000001B3)

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


class ReaderError(RuntimeError):
    """The weights cannot be used: missing, damaged, or made for other labels. The message says which file and why."""


class Opinion(NamedTuple):
    """Log-odds by label, float32. `risk` has one for each of low or above … critical."""

    risk: Floats  # (4,)
    kinds: Floats  # (11,)
    topic: Floats  # (4,)
    about: Floats  # (3,)
    category: Floats  # (number of categories,)


@dataclass(frozen=True, slots=True)
class Reader:
    """Opinions on texts. Immutable, safe to share between threads.

    `table` (rows, d) int8 times `scale` (rows,) are the n-grams' vectors, `weight` (rows,) their weights in the mean.
    `letters` (2^LETTERS, e) and `pairs` (2^PAIRS, e) are the vectors of a letter and of it with the next, `first` (3e, c)
    and `second` (3c, c) the convolutions over three neighbours, `hidden` (d + 2c, h) and `out` (h, labels) the layers
    after them, each with its bias.
    """

    categories: tuple[str, ...]
    table: NDArray[np.int8]
    scale: Floats
    weight: Floats
    letters: Floats
    pairs: Floats
    first: Floats
    first_bias: Floats
    second: Floats
    second_bias: Floats
    hidden: Floats
    hidden_bias: Floats
    out: Floats
    out_bias: Floats

    @classmethod
    def load(cls, path: Path | None = None) -> Reader:
        """The reader whose weights lie at `path` (default: the packaged ones). Raises ReaderError."""
        path = path or WEIGHTS
        names = [name for name in cls.__dataclass_fields__ if name != "categories"]
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                if int(stored["format"]) != FORMAT:
                    raise ReaderError(f"{path}: weights of another format; distil them again (nlu/distil)")
                labels = tuple(str(label) for label in stored["labels"])
                categories = tuple(str(name) for name in stored["categories"])
                parts = {name: stored[name] for name in names}
        except FileNotFoundError:
            raise ReaderError(f"{path}: no such file; the reader's weights are missing") from None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ReaderError(f"{path}: not a reader's weights ({type(error).__name__})") from None
        if labels != (*RISKS[1:], *KINDS, *TOPICS, *ABOUTS):
            raise ReaderError(f"{path}: made for other labels; distil them again (nlu/distil)")
        reader = cls(
            categories=categories,
            **{name: part if name == "table" else part.astype(np.float32) for name, part in parts.items()},
        )
        reader._check(path, len(labels) + len(categories))
        return reader

    def _check(self, path: Path, width: int) -> None:
        rows, d = self.table.shape if self.table.ndim == 2 else (0, 0)
        e, c, h = self.letters.shape[-1], self.first.shape[-1], self.hidden.shape[-1]
        fits = (
            rows > 0
            and rows & (rows - 1) == 0
            and self.table.dtype == np.int8
            and self.scale.shape == self.weight.shape == (rows,)
            and self.letters.shape == (1 << LETTERS, e)
            and self.pairs.shape == (1 << PAIRS, e)
            and self.first.shape == (3 * e, c)
            and self.second.shape == (3 * c, c)
            and self.first_bias.shape == self.second_bias.shape == (c,)
            and self.hidden.shape == (d + 2 * c, h)
            and self.hidden_bias.shape == (h,)
            and self.out.shape == (h, width)
            and self.out_bias.shape == (width,)
        )
        if not fits:
            raise ReaderError(f"{path}: the parts of the reader's weights do not fit together")

    def read(self, text: str) -> Opinion:
        """The opinion on a text in normal form (`nlu.normalise`). An empty text is read like a blank."""
        text = shortened(text or " ")
        z = np.concatenate([self._bag(text), self._letters(text)])
        raw = np.maximum(z @ self.hidden + self.hidden_bias, 0) @ self.out + self.out_bias
        ends = np.cumsum([len(RISKS) - 1, len(KINDS), len(TOPICS), len(ABOUTS)])
        return Opinion(*np.split(raw, ends))

    def _bag(self, text: str) -> Floats:
        grams = buckets(text, self.table.shape[0])
        weights = self.weight[grams]
        mean = (weights * self.scale[grams]) @ self.table[grams].astype(np.float32)
        return np.asarray(mean / weights.sum(), dtype=np.float32)

    def _letters(self, text: str) -> Floats:
        single, double = letters(text)
        steps = _over_three(self.letters[single] + self.pairs[double], self.first, self.first_bias)
        steps = _over_three(steps, self.second, self.second_bias)
        return np.concatenate([steps.max(axis=0), steps.mean(axis=0)])


def shortened(text: str) -> str:
    """The part of a text that is read: two thirds of its beginning and a third of its end when it is long."""
    if len(text) <= LONGEST:
        return text
    return text[: LONGEST * 2 // 3] + text[-(LONGEST // 3) :]


def letters(text: str) -> tuple[Ints, Ints]:
    """The hash of each letter, and of it with the next, an edge before and after: two of shape (len(text) + 2,).

    Lone surrogates count as letters.
    """
    raw = f"{EDGE[0]}{text}{EDGE[1]}{EDGE[1]}".encode("utf-32-le", "surrogatepass")
    codes = np.frombuffer(raw, dtype="<u4").astype(np.uint64)
    double = codes[:-1] * _NEXT + codes[1:]
    return _hashed(codes[:-1], LETTERS), _hashed(double, PAIRS)


def _hashed(codes: NDArray[np.uint64], bits: int) -> Ints:
    return ((codes * _SPREAD) >> np.uint64(64 - bits)).astype(np.int64)


def _over_three(steps: Floats, weights: Floats, bias: Floats) -> Floats:
    """A convolution over each step and its neighbours, with nothing beyond the ends, and ReLU."""
    width = steps.shape[1]
    out: Floats = steps @ weights[width : 2 * width]
    out += bias
    out[1:] += steps[:-1] @ weights[:width]
    out[:-1] += steps[1:] @ weights[2 * width :]
    return np.maximum(out, 0, out=out)
