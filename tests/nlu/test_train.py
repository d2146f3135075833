"""Training is repeatable: the same data gives the same file, and the file can be used."""

from dataclasses import replace
from pathlib import Path

import pytest

from nlu import train
from nlu.corpus import load
from nlu.engine import Engine
from nlu.model import Model

LINES = {
    "psychological/crisis": (
        "psychological.crisis.suicide",
        "high",
        ["我不想活了", "好想死", "活不下去了", "想从楼上跳下去"],
    ),
    "other/life": ("other.life.chat", "none", ["吃饭了吗", "笑死我了", "下班一起走", "明天见"]),
    "legal/labour": (
        "legal.labour.unpaid_wages",
        "none",
        ["老板不发工资怎么办", "工资拖了两个月", "没签合同能要工资吗"],
    ),
}


def corpus_in(folder: Path) -> Path:
    blocks = ["version: '3.1'", "nlu:"]
    for intent, (category, risk, texts) in LINES.items():
        for number, text in enumerate(texts):
            theme = f"{category}_{number}"
            blocks += [
                f"- intent: {intent}",
                f"  metadata: {{theme: {theme}, category: {category}, risk: {risk}}}",
                "  examples:",
                f"  - text: {text}",
            ]
    (folder / "small.yml").write_text("\n".join(blocks), encoding="utf-8")
    return folder


def test_the_same_data_gives_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "EPOCHS", 2)
    folder = corpus_in(tmp_path)
    train.train(folder, tmp_path / "one.npz")
    train.train(folder, tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert Model.load(tmp_path / "one.npz").categories


def test_what_a_desk_has_reviewed_is_learned_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "EPOCHS", 8)
    folder = corpus_in(tmp_path)
    reviewed = replace(load(folder)[0], text="鲸落", risk="high", kinds=("suicide",))
    train.train(folder, tmp_path / "without.npz")
    notes = train.train(folder, tmp_path / "with.npz", extra=[reviewed] * 10)
    assert notes["examples"] == len(load(folder)) + 10
    without, taught = (Engine.load(tmp_path / f"{name}.npz").judge("鲸落")[1] for name in ("without", "with"))
    assert taught > without
