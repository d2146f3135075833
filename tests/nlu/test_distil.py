"""How the reader is made: what the network learned in torch is what numpy reads, and no text of the pool is kept."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest

from nlu.distil import labels
from nlu.normalise import normalise
from nlu.reader import Reader
from nlu.understanding import RISKS

TEXTS = ["我不想活了", "老板三个月不发工资怎么办", "哈哈哈哈笑死", "a", "今天天气不错\n明天呢"]


@pytest.mark.sentence_transformers  # the extra that brings torch
def test_what_is_written_reads_as_it_did_in_training(tmp_path: Path) -> None:
    import torch

    from nlu.distil import student
    from nlu.encoder import buckets
    from nlu.reader import letters

    torch.manual_seed(1)
    learned = student.Student().eval()
    student.write(learned, tmp_path / "reader.npz")
    grams, codes = [buckets(text, student.ROWS) for text in TEXTS], [letters(text) for text in TEXTS]
    with torch.no_grad():
        expected = learned(grams, codes).numpy()
    reader = Reader.load(tmp_path / "reader.npz")
    found = np.stack([np.concatenate(reader.read(text)) for text in TEXTS])
    np.testing.assert_allclose(found, expected, atol=0.02)


@pytest.mark.sentence_transformers
def test_it_learns_what_the_teacher_thinks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nlu.distil import student

    monkeypatch.setattr(student, "EPOCHS", 20)
    monkeypatch.setattr(student, "BATCH", 8)
    opinions = np.zeros((len(TEXTS), sum(labels.HEADS.values())), dtype=np.float32)
    opinions[:, : len(RISKS) - 1] = -4
    opinions[0, : len(RISKS) - 1] = 4
    student.learn(TEXTS * 8, np.tile(opinions, (8, 1)), tmp_path / "reader.npz")
    reader = Reader.load(tmp_path / "reader.npz")
    risks = [float(reader.read(text).risk[2]) for text in TEXTS]
    assert risks[0] > 1
    assert max(risks[1:]) < -1


def test_the_labels_of_the_pool_hold_no_text() -> None:
    with gzip.open(labels.POOL_LABELS, "rt", encoding="utf-8") as rows:
        lines = [row.rstrip("\n") for row in rows]
    assert len(lines) > 10_000
    pattern = re.compile(r"[0-9a-f]{16}\t[0-4]\t[a-z]+\t[a-z]+\t[a-z_,]*")
    assert all(pattern.fullmatch(line) for line in lines)


def test_a_labelled_line_is_found_by_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, known = tmp_path / "pool.txt", tmp_path / "labels.tsv.gz"
    pool.write_text("想問你們在嗎\n没有标过的一行\n", encoding="utf-8")
    with gzip.open(known, "wt", encoding="utf-8") as rows:
        rows.write(f"{labels.fingerprint('想問你們在嗎')}\t1\tother\tself\t\n")
    monkeypatch.setattr(labels, "POOL_LABELS", known)
    (row,) = labels.of_the_pool([pool])
    assert row == (normalise("想問你們在嗎").text, 1, (), "other", "self", "")


def test_only_training_themes_are_taught() -> None:
    from nlu import corpus

    learned = {row[0] for row in labels.of_the_corpus()}
    kept_away = {
        labels.together(example.text, example.history)
        for example in corpus.load()
        if example.split != "train"
    }
    assert not learned & kept_away
