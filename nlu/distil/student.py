"""The reader in torch while it learns from the teacher's opinions, and its weights as nlu/reader.npz."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from nlu.encoder import buckets
from nlu.reader import ABOUTS, FORMAT, LETTERS, PAIRS, letters, shortened
from nlu.understanding import KINDS, RISKS, TOPICS

from .labels import CATEGORIES, HEADS, say
from .teacher import SEED, SHARES

ROWS = 1 << 17
WIDTH, LETTER, CHANNELS, HIDDEN = 96, 64, 160, 256
EPOCHS = 8
BATCH = 256
RATE = 3e-3
DROPPED = 0.3  # share of n-grams, and half as many letters, left out of each look at a text
BLANK = 1 << LETTERS  # beyond the ends of a text: a vector of zeros
NO_PAIR = 1 << PAIRS
Ints = NDArray[np.int64]


class Student(nn.Module):
    """The same network as `nlu.reader.Reader`."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(ROWS, WIDTH) * 0.05)
        self.weight = nn.Parameter(torch.zeros(ROWS))  # logarithm of an n-gram's weight
        self.letters = nn.Embedding(BLANK + 1, LETTER, padding_idx=BLANK)
        nn.init.normal_(self.letters.weight[:BLANK], 0, 0.1)
        self.pairs = nn.Embedding(NO_PAIR + 1, LETTER, padding_idx=NO_PAIR)
        nn.init.normal_(self.pairs.weight[:NO_PAIR], 0, 0.03)
        self.first = nn.Conv1d(LETTER, CHANNELS, 3, padding=1)
        self.second = nn.Conv1d(CHANNELS, CHANNELS, 3, padding=1)
        self.hidden = nn.Linear(WIDTH + 2 * CHANNELS, HIDDEN)
        self.out = nn.Linear(HIDDEN, sum(HEADS.values()))

    def begin_with(self, words: Sequence[str], vectors: torch.Tensor) -> None:
        """Another encoder's word vectors, made narrower, as the first vectors of n-grams, letters and pairs."""
        chosen = [place for place, word in enumerate(words) if 1 <= len(word) <= 4]
        known = vectors[chosen].float()
        known = known - known.mean(0)
        axes = torch.linalg.svd(known[:: max(1, len(known) // 20_000)], full_matrices=False).Vh
        with torch.no_grad():
            for table, width in (
                (self.table, WIDTH),
                (self.letters.weight, LETTER),
                (self.pairs.weight, LETTER),
            ):
                spread = table.norm(dim=1).mean()
                narrow = functional.normalize(known @ axes[:width].T) * spread
                for vector, place in zip(narrow, chosen, strict=True):
                    word = words[place]
                    if table is self.table:
                        table[_gram(word)] = vector
                    elif len(word) == (1 if table is self.letters.weight else 2):
                        single, double = letters(word)
                        table[single[1] if len(word) == 1 else double[1]] = vector

    def forward(self, grams: Sequence[Ints], codes: Sequence[tuple[Ints, Ints]]) -> torch.Tensor:
        z = torch.cat([self._bag(grams), self._letters(codes)], dim=1)
        h = torch.relu(self.hidden(functional.dropout(z, 0.2, self.training)))
        out: torch.Tensor = self.out(functional.dropout(h, 0.2, self.training))
        return out

    def _bag(self, grams: Sequence[Ints]) -> torch.Tensor:
        flat = torch.from_numpy(np.concatenate(grams))
        sizes = torch.tensor([len(g) for g in grams])
        weights = torch.exp(self.weight[flat])
        if self.training:
            weights = weights * (torch.rand_like(weights) > DROPPED)
        total = functional.embedding_bag(
            flat, self.table, torch.cumsum(sizes, 0) - sizes, mode="sum", per_sample_weights=weights
        )
        owner = torch.repeat_interleave(torch.arange(len(grams)), sizes)
        return total / torch.zeros(len(grams)).index_add(0, owner, weights).clamp_min(1e-6)[:, None]

    def _letters(self, codes: Sequence[tuple[Ints, Ints]]) -> torch.Tensor:
        x = _padded([single for single, _ in codes], BLANK)
        pairs = _padded([double for _, double in codes], NO_PAIR)
        inside = (x != BLANK).float()[:, None, :]
        if self.training:
            x = torch.where(torch.rand(x.shape) < DROPPED / 2, torch.tensor(BLANK), x)
            pairs = torch.where(torch.rand(x.shape) < DROPPED, torch.tensor(NO_PAIR), pairs)
        steps = (self.letters(x) + self.pairs(pairs)).transpose(1, 2)
        steps = torch.relu(self.first(steps)) * inside
        steps = torch.relu(self.second(steps)) * inside
        return torch.cat([steps.max(2).values, steps.sum(2) / inside.sum(2)], dim=1)


def _gram(word: str) -> int:
    """The bucket of a word as one n-gram."""
    size = len(word)
    before = sum(size if order == 1 else size + 3 - order for order in range(1, size))
    return int(buckets(word, ROWS)[before + (size > 1)])


def _padded(rows: Sequence[Ints], blank: int) -> torch.Tensor:
    x = torch.full((len(rows), max(len(row) for row in rows)), blank)
    for place, row in enumerate(rows):
        x[place, : len(row)] = torch.from_numpy(row)
    return x


def learn(
    texts: Sequence[str],
    opinions: NDArray[np.float32],
    out: Path,
    words: tuple[Sequence[str], torch.Tensor] | None = None,
) -> None:
    """Train on texts in normal form and the teacher's log-odds for them; write the weights to `out`.

    `words` are the teacher's word pieces and their vectors: with them the student begins where the teacher stands, also
    for words that are rare in the texts.
    """
    torch.manual_seed(SEED)
    codes = [letters(shortened(text or " ")) for text in texts]
    grams = [buckets(shortened(text or " "), ROWS) for text in texts]
    wanted = torch.from_numpy(opinions)
    student = Student().train()
    if words:
        student.begin_with(*words)
    optimiser = torch.optim.Adam(student.parameters(), lr=RATE)
    steps = EPOCHS * -(-len(texts) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.1)
    chance = np.random.default_rng(SEED)
    began = time.monotonic()
    for epoch in range(EPOCHS):
        lost = 0.0
        for part in _batches([len(single) for single, _ in codes], chance):
            answers = student([grams[i] for i in part], [codes[i] for i in part])
            wrong = distance(answers, wanted[torch.tensor(part)])
            optimiser.zero_grad()
            wrong.backward()
            optimiser.step()
            schedule.step()
            lost += wrong.item() * len(part)
        say(f"epoch {epoch + 1} of {EPOCHS}: {lost / len(texts):.4f}, {time.monotonic() - began:.0f} s")
    write(student, out)


def distance(answers: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """How far the student's answers are from the teacher's: in probability, and for danger in log-odds too, since
    where the teacher is nearly sure is what the ranking of dangers is made of."""
    parts = zip(
        HEADS,
        torch.split(answers, list(HEADS.values()), dim=1),
        torch.split(wanted, list(HEADS.values()), dim=1),
        strict=True,
    )
    total = torch.zeros(())
    for name, ours, theirs in parts:
        if name in ("risk", "kinds"):
            total = total + SHARES[name] * functional.binary_cross_entropy_with_logits(
                ours, torch.sigmoid(theirs)
            )
            total = total + 0.05 * functional.smooth_l1_loss(ours, theirs.clamp(-8, 8))
        else:
            total = total + SHARES[name] * functional.cross_entropy(ours, torch.softmax(theirs, dim=1))
    return total


def write(student: Student, out: Path) -> None:
    """The weights as `nlu.reader.Reader` loads them."""
    table = student.table.detach().numpy()
    scale = np.abs(table).max(axis=1) / 127
    scale[scale == 0] = 1

    def half(values: torch.Tensor) -> NDArray[np.float16]:
        return values.detach().numpy().astype(np.float16)

    def convolution(layer: nn.Conv1d) -> NDArray[np.float16]:
        # (out, in, 3) -> the three neighbours' inputs side by side
        return half(layer.weight.permute(2, 1, 0).reshape(-1, layer.out_channels))

    np.savez(  # hardly smaller when compressed, and slower to load
        out,
        format=np.int64(FORMAT),
        labels=np.array((*RISKS[1:], *KINDS, *TOPICS, *ABOUTS)),
        categories=np.array(CATEGORIES),
        table=np.round(table / scale[:, None]).astype(np.int8),
        scale=scale.astype(np.float16),
        weight=np.exp(student.weight.detach().numpy()).astype(np.float16),
        letters=half(student.letters.weight[:BLANK]),
        pairs=half(student.pairs.weight[:NO_PAIR]),
        first=convolution(student.first),
        first_bias=half(student.first.bias),
        second=convolution(student.second),
        second_bias=half(student.second.bias),
        hidden=half(student.hidden.weight.T),
        hidden_bias=half(student.hidden.bias),
        out=half(student.out.weight.T),
        out_bias=half(student.out.bias),
    )


def _batches(lengths: Sequence[int], chance: np.random.Generator) -> list[list[int]]:
    order = chance.permutation(len(lengths)).tolist()
    parts: list[list[int]] = []
    for low in range(0, len(order), BATCH * 16):
        near = sorted(order[low : low + BATCH * 16], key=lambda i: lengths[i])
        parts += [near[at : at + BATCH] for at in range(0, len(near), BATCH)]
    return [parts[i] for i in chance.permutation(len(parts))]
