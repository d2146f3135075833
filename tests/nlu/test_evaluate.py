"""The measures say what they claim, and a model that misses more danger is told apart from one that misses less."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from nlu import evaluate
from nlu.evaluate import Gold, Line, SetError, Share
from nlu.understanding import Risk, Understanding
from tests.nlu.test_train import corpus_in


def said(risk: Risk, score: float = 0.5, **more: Any) -> Understanding:
    return Understanding(**({"topic": "psychological", "risk": risk, "risk_score": score} | more))


def exactly(risk: Risk, **more: Any) -> Gold:
    return Gold(risk_min=risk, risk_max=risk, **more)


PAIRS = [
    (exactly("critical", kinds=("suicide",)), said("critical", 0.95)),
    (exactly("critical", kinds=("suicide",)), said("high", 0.85)),
    (exactly("high", kinds=("bullying",)), said("medium", 0.35)),
    (exactly("high", kinds=("suicide", "self_harm")), said("high", 0.75)),
    (exactly("medium"), said("high", 0.65)),
    (exactly("none"), said("none", 0.05)),
    (exactly("none", thread=True), said("low", 0.05)),
    (Gold(risk_min="medium", risk_max="critical"), said("low", 0.2)),  # may be either: no danger known
]


def test_recall_precision_and_false_alarms_at_high_and_critical() -> None:
    figures = evaluate.measure(PAIRS)
    assert figures.recall == Share(3, 4)
    assert figures.critical_caught == Share(2, 2)
    assert figures.critical_named == Share(1, 2)
    assert figures.precision == Share(3, 4)
    assert figures.false_alarms == Share(1, 3)
    assert figures.levels == Share(3, 8)
    assert figures.threads == Share(0, 1)
    assert figures.kinds == {"suicide": Share(3, 3), "self_harm": Share(1, 1), "bullying": Share(0, 1)}
    assert evaluate.confusion(PAIRS)["high", "medium"] == 1
    assert sum(evaluate.confusion(PAIRS).values()) == 7


def test_macro_f1_counts_every_label_the_same() -> None:
    assert evaluate.macro_f1([("a", "a"), ("a", "a"), ("b", "a")]) == pytest.approx((0.8 + 0) / 2)
    assert math.isnan(evaluate.macro_f1([]))


def test_a_category_group_is_right_by_any_of_its_leaves_and_no_other() -> None:
    pairs = [
        (Gold(category="legal.labour"), said("none", category="legal.labour.overtime")),
        (Gold(category="legal.labour"), said("none", category="legal.labours")),
        (Gold(category="legal.labour.overtime"), said("none", category="legal.labour")),
    ]
    assert [right == given for right, given in evaluate.categories(pairs)] == [True, False, False]


def test_calibration_error_is_the_distance_between_scores_and_what_happened() -> None:
    right = [(exactly("high" if n < 7 else "none"), said("none", 0.7)) for n in range(10)]
    assert evaluate.calibration_error(evaluate.reliability(right)) == pytest.approx(0, abs=1e-9)
    sure_and_wrong = [(exactly("none"), said("high", 1.0)) for _ in range(5)]
    assert evaluate.calibration_error(evaluate.reliability(sure_and_wrong)) == pytest.approx(1.0)
    (one,) = evaluate.reliability(sure_and_wrong)
    assert (one.low, one.high, one.count, one.true) == (0.9, 1.0, 5, 0)


def test_wilsons_interval_is_the_published_one_and_holds_for_none_and_all() -> None:
    low, high = evaluate.wilson(81, 263)
    assert (round(low, 3), round(high, 3)) == (0.255, 0.366)
    assert evaluate.wilson(0, 20) == pytest.approx((0, 0.161), abs=1e-3)
    assert evaluate.wilson(20, 20) == pytest.approx((0.839, 1), abs=1e-3)
    assert evaluate.wilson(0, 0) == (0.0, 1.0)


def test_a_model_that_misses_more_danger_is_worse_and_more_false_alarms_are_not_that() -> None:
    old = evaluate.measure(PAIRS)
    missed = evaluate.measure([*PAIRS[:3], (PAIRS[3][0], said("medium")), *PAIRS[4:]])
    assert evaluate.worse(old, missed) == ["recall"]
    softened = evaluate.measure([(PAIRS[0][0], said("high")), *PAIRS[1:]])
    assert evaluate.worse(old, softened) == ["critical_named"]
    louder = evaluate.measure([*PAIRS[:5], (PAIRS[5][0], said("critical")), *PAIRS[6:]])
    assert evaluate.worse(old, louder) == []
    assert evaluate.worse(old, old) == []
    with pytest.raises(ValueError, match="different lines"):
        evaluate.worse(old, evaluate.measure(PAIRS[:2]))
    assert ("误报（低于高的被判为高或紧急）", "+0.333") in {
        (words, change) for words, _, _, change in evaluate.side_by_side(old, louder)
    }


def test_labelled_json_lines_of_each_form_are_read(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "text": "一", "risk_min": "medium", "risk_max": "high", "kinds_any": ["suicide"], "topic": ["safety", "legal"],
         "history": ["零"], "group": "tone"},
        {"id": "b", "text": "二", "label": "legal"},
        {"id": "c", "text": "三", "label": "critical"},
        {"id": "d", "text": "四", "label": "喜悦"},
        {"id": "e", "text": "五", "label": 7, "meta": {"high_risk": True}},
        {"id": "f", "text": "六", "label": ["x"], "meta": {"self_harm_or_suicide": True, "origin": "web"}},
    ]  # fmt: skip
    path = tmp_path / "set.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n")
    a, b, c, d, e, f = (line.gold for line in evaluate.of_jsonl(path))
    assert (a.risk_min, a.risk_max, a.topics, a.thread, a.group) == (
        "medium",
        "high",
        ("safety", "legal"),
        True,
        "tone",
    )
    assert (a.danger, b.danger, c.danger, d.danger, e.danger, f.danger) == (
        None,
        None,
        True,
        False,
        True,
        None,
    )
    assert (b.topics, f.risk_min, f.group) == (("legal",), "medium", "web")


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ('{"text": "秘密的话"', "not JSON"),
        ('{"text": 5, "label": "x"}', "text"),
        ('{"text": "秘密的话"}', "risk_min"),
        ('{"text": "秘密的话", "risk_min": "huge"}', "risk_min"),
        ('{"text": "秘密的话", "label": "legal", "about": "秘密"}', "about"),
    ],
)
def test_a_wrong_line_is_named_by_place_and_field_never_by_its_words(
    tmp_path: Path, row: str, fault: str
) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text('{"text": "好", "label": "x"}\n' + row)
    with pytest.raises(SetError) as refused:
        evaluate.of_jsonl(path)
    assert "set.jsonl:2" in str(refused.value)
    assert fault in str(refused.value)
    assert "秘密" not in str(refused.value)


def test_a_missing_or_empty_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SetError):
        evaluate.of_jsonl(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(SetError, match="no lines"):
        evaluate.of_jsonl(tmp_path / "empty.jsonl")


def test_the_report_is_markdown_with_the_worst_misses_first() -> None:
    lines = [Line(f"第{n}句|话", ("上一句",), gold) for n, (gold, _) in enumerate(PAIRS)]
    text = evaluate.report(lines, PAIRS)
    assert "| recall at high + critical | 0.750 [" in text
    assert "| high | medium | 0.35 | 上一句 / 第2句¦话 |" in text
    (missed,) = evaluate.misses(lines, PAIRS)
    assert missed[0].text == "第2句|话"


def test_the_held_out_part_is_what_the_corpus_keeps_back(tmp_path: Path) -> None:
    assert evaluate.held_out(corpus_in(tmp_path)) == []
    (tmp_path / "held.yml").write_text(
        "version: '3.1'\nnlu:\n- intent: psychological/crisis\n"
        "  metadata: {theme: held_x, category: psychological.crisis.suicide, risk: high, kinds: [suicide]}\n"
        "  examples:\n  - text: 活着好累\n",
        encoding="utf-8",
    )
    (line,) = evaluate.held_out(tmp_path)
    assert (line.text, line.gold.danger, line.gold.kinds) == ("活着好累", True, ("suicide",))
