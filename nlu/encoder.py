"""What a text means, as a point in space: the dense half of the embedded engine. Small enough for the hot path.

A text becomes the weighted mean of learned vectors of its character n-grams (one to four characters, hashed), and that
mean one layer further a unit vector; texts that mean the same lie close together. The weights were distilled from a much
larger sentence encoder by `nlu/encoder_train.py`, which is also where to read how good the copy is. numpy only.

Texts are expected in normal form (`nlu.normalise`): that is what the weights were trained on.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WEIGHTS = Path(__file__).with_name("encoder.npz")
FORMAT = 1
LONGEST = 512  # characters of a text that are read; longer ones are read by sentence anyway
EDGE = 2  # stands before and after a text; no text in normal form contains this control character
ORDERS = (1, 2, 3, 4)
# Odd multipliers of a multiply-shift hash, one for each place in an n-gram, and one that spreads the sum.
_PLACES = np.array([0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F], dtype=np.uint32)
_SPREAD = np.uint32(0x2C1B3C6D)

Floats = NDArray[np.float32]


class EncoderError(RuntimeError):
    """The weights cannot be used: missing, damaged, or made for another version. The message says which file and why."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """Unit vectors for texts. Immutable, safe to share between threads.

    `table` (rows, d) int8 times `scale` (rows,) are the n-grams' vectors, `weight` (rows,) their weights in the mean;
    `hidden` (d, h), `bias` (h,) and `out` (h + d, d) the layer after the mean.
    """

    table: NDArray[np.int8]
    scale: Floats
    weight: Floats
    hidden: Floats
    bias: Floats
    out: Floats

    @classmethod
    def load(cls, path: Path | None = None) -> Encoder:
        """The encoder whose weights lie at `path` (default: the packaged ones). Raises EncoderError."""
        path = path or WEIGHTS
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                found = int(stored["format"])
                if found != FORMAT:
                    raise EncoderError(
                        f"{path}: encoder weights of format {found}, this version needs {FORMAT}; "
                        "build them again with `python -m nlu.encoder_train`"
                    )
                encoder = cls(
                    table=stored["table"],
                    scale=stored["scale"].astype(np.float32),
                    weight=stored["weight"].astype(np.float32),
                    hidden=stored["hidden"].astype(np.float32),
                    bias=stored["bias"].astype(np.float32),
                    out=stored["out"].astype(np.float32),
                )
        except FileNotFoundError:
            raise EncoderError(f"{path}: no such file; the encoder's weights are missing") from None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise EncoderError(f"{path}: not encoder weights ({type(error).__name__})") from None
        encoder._check(path)
        return encoder

    def _check(self, path: Path) -> None:
        rows, width = self.table.shape if self.table.ndim == 2 else (0, 0)
        inner = self.hidden.shape[-1]
        fits = (
            rows > 0
            and rows & (rows - 1) == 0
            and self.table.dtype == np.int8
            and self.scale.shape == self.weight.shape == (rows,)
            and self.hidden.shape == (width, inner)
            and self.bias.shape == (inner,)
            and self.out.shape == (inner + width, width)
        )
        if not fits:
            raise EncoderError(f"{path}: the parts of the encoder's weights do not fit together")

    @property
    def width(self) -> int:
        """The length of a vector."""
        return int(self.table.shape[1])

    def encode(self, texts: Sequence[str]) -> Floats:
        """Unit vectors for `texts` in normal form, shape (len(texts), width), float32. An empty text is the zero vector."""
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        rows = self.table.shape[0]
        for place, text in enumerate(texts):
            if not text:
                continue
            grams = buckets(text, rows)
            weights = self.weight[grams]
            mean = (weights * self.scale[grams]) @ self.table[grams].astype(np.float32)
            mean /= weights.sum()
            inner = np.maximum(mean @ self.hidden + self.bias, 0)
            vector = np.concatenate((inner, mean)) @ self.out
            vectors[place] = vector / max(float(np.sqrt(vector @ vector)), 1e-9)
        return vectors


def buckets(text: str, rows: int) -> NDArray[np.int64]:
    """The hash buckets of a text's n-grams, shape (number of n-grams,), each below `rows` (a power of two).

    Lone surrogates count as the characters they are.
    """
    raw = text[:LONGEST].encode("utf-32-le", "surrogatepass")
    codes = np.empty(len(raw) // 4 + 2, dtype=np.uint32)
    codes[0] = codes[-1] = EDGE
    codes[1:-1] = np.frombuffer(raw, dtype="<u4")
    sums = codes * _PLACES[0]
    found = [sums[1:-1]]
    for order in ORDERS[1:]:
        if len(codes) < order:
            break
        sums = sums[: len(codes) - order + 1] + codes[order - 1 :] * _PLACES[order - 1]
        found.append(sums)
    spread = np.concatenate(found)
    spread ^= spread >> np.uint32(15)
    spread *= _SPREAD
    spread ^= spread >> np.uint32(13)
    return (spread & np.uint32(rows - 1)).astype(np.int64)
