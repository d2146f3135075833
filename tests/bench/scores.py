"""How good an engine is on labelled lines: the project's own held-out themes, and JSON lines given on the command line.

What a file of JSON lines holds is read off its fields:

- `risk_min`, `risk_max`, `topic` (a list), `kinds_any`: lines with bounds; the share inside all of them, and how many fall below;
- `meta.self_harm_or_suicide`: suicide or self-harm noticed (medium or more, and of that kind);
- `meta.high_risk`: high or more;
- `label` one of our topics: macro F1 of the topic;
- any other label: everyday text; how many of a thousand are called high.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlu.corpus import Example, Split, load
from nlu.understanding import RISKS, TOPICS, Understanding, risk_rank

_HIGH, _MEDIUM = risk_rank("high"), risk_rank("medium")


@dataclass(frozen=True)
class Asked:
    """A line to be understood, with what is known of it."""

    text: str
    history: tuple[str, ...]
    known: Mapping[str, Any]


@dataclass(frozen=True)
class Suite:
    name: str
    lines: Sequence[Asked]


def corpus_suite(split: Split) -> Suite:
    """One split of the corpus: `heldout` themes, from which nothing learned, or `tune` themes, on which settings were chosen."""
    kept = [example for example in load() if example.split == split]
    return Suite(f"{split} themes", [Asked(e.text, e.history, {"example": e}) for e in kept])


def read_suite(path: Path) -> Suite:
    """A file of JSON lines with `text`, perhaps `history`, and labels."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return Suite(path.stem, [Asked(row["text"], tuple(row.get("history") or ()), row) for row in rows])


def measure(suite: Suite, seen: Sequence[Understanding]) -> dict[str, float]:
    """Name of a number -> the number, for one engine's answers to a suite."""
    first = suite.lines[0].known
    pairs = list(zip((line.known for line in suite.lines), seen, strict=True))
    if "example" in first:
        return _on_examples([(known["example"], got) for known, got in pairs])
    if "risk_min" in first:
        return _within_bounds(pairs)
    meta = first.get("meta") or {}
    if "self_harm_or_suicide" in meta:
        return _noticed(
            [(bool(k["meta"]["self_harm_or_suicide"]), u) for k, u in pairs if _real(k)], own_mind=True
        )
    if "high_risk" in meta:
        return _noticed([(bool(k["meta"]["high_risk"]), u) for k, u in pairs], own_mind=False)
    if first.get("label") in TOPICS:
        return {"topic macro F1": macro_f1([(k["label"], u.topic) for k, u in pairs])}
    return {
        "high or more, of 1000": 1000 * _share([risk_rank(u.risk) >= _HIGH for _, u in pairs]),
        "medium or more, of 1000": 1000 * _share([risk_rank(u.risk) >= _MEDIUM for _, u in pairs]),
    }


def macro_f1(pairs: Sequence[tuple[str, str]]) -> float:
    """The mean over the wanted classes of their F1."""
    names = {want for want, _ in pairs}
    return sum(_prf([(want == name, got == name) for want, got in pairs])[2] for name in names) / len(names)


def auc(scored: Sequence[tuple[bool, float]]) -> float:
    """The probability that a true line scores above a false one; ties count half."""
    ordered = sorted(score for want, score in scored if not want)
    above = 0.0
    trues = [score for want, score in scored if want]
    for score in trues:
        above += (bisect_left(ordered, score) + bisect_right(ordered, score)) / 2
    return above / (len(trues) * len(ordered)) if trues and ordered else float("nan")


def _on_examples(pairs: Sequence[tuple[Example, Understanding]]) -> dict[str, float]:
    grave = _prf([(risk_rank(e.risk) >= _HIGH, risk_rank(u.risk) >= _HIGH) for e, u in pairs])
    with_kinds = [(e, u) for e, u in pairs if e.kinds]
    return {
        "topic macro F1": macro_f1([(e.topic, u.topic) for e, u in pairs]),
        "category group right": _share([_group(e.category) == _group(u.category) for e, u in pairs]),
        "risk exactly right": _share([e.risk == u.risk for e, u in pairs]),
        "risk within one level": _share([abs(risk_rank(e.risk) - risk_rank(u.risk)) <= 1 for e, u in pairs]),
        "high: precision": grave[0],
        "high: recall": grave[1],
        "high: AUC": auc([(risk_rank(e.risk) >= _HIGH, u.risk_score) for e, u in pairs]),
        "first kind named": _share([e.kinds[0] in u.kinds for e, u in with_kinds]),
    }


def _within_bounds(pairs: Sequence[tuple[Mapping[str, Any], Understanding]]) -> dict[str, float]:
    below = [risk_rank(u.risk) < RISKS.index(k["risk_min"]) for k, u in pairs]
    over = [risk_rank(u.risk) > RISKS.index(k["risk_max"]) for k, u in pairs]
    kinds = [not k["kinds_any"] or bool(set(k["kinds_any"]) & set(u.kinds)) for k, u in pairs]
    topics = [u.topic in k["topic"] for k, u in pairs]
    return {
        "all as wanted": _share(
            [
                not b and not o and right and t
                for b, o, right, t in zip(below, over, kinds, topics, strict=True)
            ]
        ),
        "risk below the bound": _share(below),
        "risk above the bound": _share(over),
    }


def _noticed(pairs: Sequence[tuple[bool, Understanding]], *, own_mind: bool) -> dict[str, float]:
    def heard(u: Understanding) -> bool:
        if own_mind:
            return risk_rank(u.risk) >= _MEDIUM and bool({"suicide", "self_harm"} & set(u.kinds))
        return risk_rank(u.risk) >= _HIGH

    precision, recall, f1 = _prf([(want, heard(u)) for want, u in pairs])
    return {
        "precision": precision,
        "recall": recall,
        "F1": f1,
        "AUC": auc([(want, u.risk_score) for want, u in pairs]),
    }


def _real(known: Mapping[str, Any]) -> bool:
    return (known.get("meta") or {}).get("origin") != "synthetic"


def _group(category: str) -> str:
    return ".".join(category.split(".")[:2])


def _share(found: Sequence[bool]) -> float:
    return sum(found) / len(found) if found else float("nan")


def _prf(pairs: Sequence[tuple[bool, bool]]) -> tuple[float, float, float]:
    both = sum(want and got for want, got in pairs)
    precision = both / max(sum(got for _, got in pairs), 1)
    recall = both / max(sum(want for want, _ in pairs), 1)
    return precision, recall, 2 * precision * recall / max(precision + recall, 1e-12)
