"""How well an engine understands: plain functions over (gold, Understanding) pairs, and what may not get worse.

`python -m nlu.evaluate report` measures the shipped model on the held-out part of the corpus and prints Markdown; `qingting evaluate`
puts two models side by side on that part and on JSON lines of the operator's own; `qingting promote` asks `worse` before it trusts one.

A share is given with Wilson's 95 % interval: on forty lines a difference of two is no difference.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast, get_args

from .corpus import DATA, Example, load
from .understanding import (
    KINDS,
    RISKS,
    TOPICS,
    About,
    Kind,
    Risk,
    Topic,
    Understander,
    Understanding,
    risk_rank,
)

if TYPE_CHECKING:
    from .engine import Engine

HELD_OUT: Final = "heldout"
_HIGH: Final = risk_rank("high")
_BINS: Final = 10


class SetError(ValueError):
    """A file of labelled lines cannot be used. Names the file, the line and the field, never the text."""


@dataclass(frozen=True, slots=True)
class Gold:
    """What is known of one message. What is None or empty is not known and not measured.

    The level is right from `risk_min` to `risk_max`. `kinds`: any of them is right. `group`: where the line comes from.
    """

    risk_min: Risk | None = None
    risk_max: Risk | None = None
    topics: tuple[Topic, ...] = ()
    kinds: tuple[Kind, ...] = ()
    category: str = ""
    about: About | None = None
    thread: bool = False
    group: str = ""

    @property
    def danger(self) -> bool | None:
        """Whether it is high or above; None where the labels leave both open."""
        if self.risk_min is not None and risk_rank(self.risk_min) >= _HIGH:
            return True
        if self.risk_max is not None and risk_rank(self.risk_max) < _HIGH:
            return False
        return None

    @property
    def risk(self) -> Risk | None:
        """The level where there is only one right one."""
        return self.risk_min if self.risk_min == self.risk_max else None


@dataclass(frozen=True, slots=True)
class Line:
    """One message to measure on."""

    text: str
    history: tuple[str, ...]
    gold: Gold
    name: str = ""


Pair = tuple[Gold, Understanding]


# --- where lines come from ------------------------------------------------------------------------------------------


def of_example(example: Example) -> Line:
    """A line of the corpus."""
    gold = Gold(
        risk_min=example.risk,
        risk_max=example.risk,
        topics=(example.topic,),
        kinds=example.kinds,
        category=example.category,
        about=example.about,
        thread=bool(example.history),
        group=example.theme.partition("_")[0],
    )
    return Line(example.text, example.history, gold, example.theme)


def held_out(folder: Path = DATA) -> list[Line]:
    """The part of the corpus that no model has seen."""
    return [of_example(example) for example in load(folder) if example.split == HELD_OUT]


def of_jsonl(path: Path) -> list[Line]:
    """Lines as `qingting classify` takes them, with what is right beside them. Raises SetError.

    {"id", "text", "history"} and any of: "risk_min", "risk_max"; "label" (a topic, a level; any other word: text without danger);
    "topic" (one or a list), "kinds_any", "category", "about", "group"; "meta": {"high_risk": bool} or {"self_harm_or_suicide": bool}.
    """
    found = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    found.append(_row(line, f"{path.name}:{number}"))
    except (OSError, UnicodeDecodeError) as error:
        raise SetError(f"{path}: {type(error).__name__}") from None
    if not found:
        raise SetError(f"{path.name}: no lines")
    return found


def _row(line: str, place: str) -> Line:
    try:
        row = json.loads(line)
    except ValueError:
        raise SetError(f"{place}: not JSON") from None
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise SetError(f"{place}: text must be a string")
    history = row.get("history") or []
    if not isinstance(history, list) or not all(isinstance(older, str) for older in history):
        raise SetError(f"{place}: history must be a list of strings")
    low, high, kinds, topics = _levels(row, place)
    gold = Gold(
        risk_min=low,
        risk_max=high,
        topics=topics or _several(row.get("topic"), TOPICS, "topic", place),
        kinds=kinds or _several(row.get("kinds_any"), KINDS, "kinds_any", place),
        category=str(row.get("category") or ""),
        about=_one(row.get("about"), get_args(About), "about", place),
        thread=bool(history),
        group=str(row.get("group") or (row.get("meta") or {}).get("origin") or ""),
    )
    return Line(row["text"], tuple(history), gold, str(row.get("id", place)))


def _levels(
    row: Mapping[str, Any], place: str
) -> tuple[Risk | None, Risk | None, tuple[Kind, ...], tuple[Topic, ...]]:
    """The right levels, kinds and topics that a row's `risk_min`, `risk_max`, `meta` or `label` name."""
    meta, label = row.get("meta") or {}, row.get("label")
    if "risk_min" in row or "risk_max" in row:
        low = _one(row.get("risk_min"), RISKS, "risk_min", place)
        return low or "none", _one(row.get("risk_max"), RISKS, "risk_max", place) or "critical", (), ()
    if "high_risk" in meta:
        return ("high", "critical", (), ()) if meta["high_risk"] else ("none", "medium", (), ())
    if "self_harm_or_suicide" in meta:
        noticed = bool(meta["self_harm_or_suicide"])
        return ("medium", "critical", ("suicide", "self_harm"), ()) if noticed else (None, None, (), ())
    if label in RISKS:
        return label, label, (), ()
    if label in TOPICS:
        return None, None, (), (label,)
    if label is not None:
        return "none", "medium", (), ()
    raise SetError(f"{place}: needs risk_min, risk_max or label")


def _several(value: Any, allowed: tuple[Any, ...], name: str, place: str) -> tuple[Any, ...]:
    values = value if isinstance(value, list) else [] if value is None else [value]
    if any(one not in allowed for one in values):
        raise SetError(f"{place}: {name} is not one of {', '.join(allowed)}")
    return tuple(values)


def _one(value: Any, allowed: tuple[Any, ...], name: str, place: str) -> Any:
    if value is not None and value not in allowed:
        raise SetError(f"{place}: {name} is not one of {', '.join(allowed)}")
    return value


def judged(engine: Understander, lines: Iterable[Line]) -> list[Pair]:
    """What the engine makes of each line, beside what is right."""
    return [(line.gold, engine.understand(line.text, line.history)) for line in lines]


# --- measures -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `of`."""

    hits: int
    of: int

    @property
    def value(self) -> float:
        return self.hits / self.of if self.of else math.nan

    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval."""
        return wilson(self.hits, self.of)

    def __str__(self) -> str:
        if not self.of:
            return "–"
        low, high = self.interval()
        return f"{self.value:.3f} [{low:.3f}–{high:.3f}] ({self.hits}/{self.of})"


def wilson(hits: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """The interval in which a share lies with 95 % (z = 1.96), also for few lines and for shares of 0 and 1."""
    if not of:
        return 0.0, 1.0
    p, z2 = hits / of, z * z
    middle = (p + z2 / (2 * of)) / (1 + z2 / of)
    reach = z * math.sqrt(p * (1 - p) / of + z2 / (4 * of * of)) / (1 + z2 / of)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def share(hits: Iterable[bool]) -> Share:
    """How many are true."""
    counted = list(hits)
    return Share(sum(counted), len(counted))


def alarm(said: Understanding) -> bool:
    """Whether this would bring a human at once: high or critical."""
    return risk_rank(said.risk) >= _HIGH


def recall(pairs: Iterable[Pair]) -> Share:
    """Of what is high or critical, how much was judged so."""
    return share(alarm(said) for gold, said in pairs if gold.danger)


def precision(pairs: Iterable[Pair]) -> Share:
    """Of what was judged high or critical (and is known), how much is."""
    return share(bool(gold.danger) for gold, said in pairs if gold.danger is not None and alarm(said))


def false_alarms(pairs: Iterable[Pair]) -> Share:
    """Of what is below high, how much was judged high or critical."""
    return share(alarm(said) for gold, said in pairs if gold.danger is False)


def critical_caught(pairs: Iterable[Pair]) -> Share:
    """Of what is critical, how much was judged high or critical: somebody is rung."""
    return share(alarm(said) for gold, said in pairs if gold.risk_min == "critical")


def critical_named(pairs: Iterable[Pair]) -> Share:
    """Of what is critical, how much was judged critical: the ladder climbs fast."""
    return share(said.risk == "critical" for gold, said in pairs if gold.risk_min == "critical")


def confusion(pairs: Iterable[Pair]) -> dict[tuple[Risk, Risk], int]:
    """(right level, judged level): how often, where there is one right level."""
    return dict(Counter((gold.risk, said.risk) for gold, said in pairs if gold.risk is not None))


def within(pairs: Iterable[Pair]) -> Share:
    """How many levels are right."""
    return share(
        risk_rank(gold.risk_min) <= risk_rank(said.risk) <= risk_rank(gold.risk_max)
        for gold, said in pairs
        if gold.risk_min is not None and gold.risk_max is not None
    )


def macro_f1(labels: Iterable[tuple[str, str]]) -> float:
    """The mean over all right labels of F1, each label counting the same; NaN for no labels."""
    right: Counter[str] = Counter()
    given: Counter[str] = Counter()
    both: Counter[str] = Counter()
    for gold, said in labels:
        right[gold] += 1
        given[said] += 1
        both[gold] += gold == said
    scores = [2 * both[name] / (right[name] + given[name]) for name in right]
    return sum(scores) / len(scores) if scores else math.nan


def topics(pairs: Iterable[Pair]) -> list[tuple[str, str]]:
    """(right, said); where several topics are right, what was said if it is one of them."""
    return [
        (said.topic if said.topic in gold.topics else gold.topics[0], said.topic)
        for gold, said in pairs
        if gold.topics
    ]


def categories(pairs: Iterable[Pair]) -> list[tuple[str, str]]:
    """(right, said), as deep as the right one is known: a group is right by any of its leaves."""
    return [
        (
            gold.category,
            gold.category if f"{said.category}.".startswith(f"{gold.category}.") else said.category,
        )
        for gold, said in pairs
        if gold.category
    ]


def about(pairs: Iterable[Pair]) -> Share:
    """Whose danger or question it is."""
    return share(gold.about == said.about for gold, said in pairs if gold.about is not None)


def threads(pairs: Iterable[Pair]) -> Share:
    """Messages with older ones before them: how many levels are right."""
    return within([pair for pair in pairs if pair[0].thread])


def kind_recall(pairs: Iterable[Pair]) -> dict[Kind, Share]:
    """For each kind, of its dangers of high or above, how many were judged so."""
    found: dict[Kind, list[bool]] = defaultdict(list)
    for gold, said in pairs:
        if gold.danger:
            for kind in gold.kinds:
                found[kind].append(alarm(said))
    return {kind: share(found[kind]) for kind in KINDS if kind in found}


@dataclass(frozen=True, slots=True)
class Bin:
    """Messages whose score lies in [low, high): how many, their mean score, and how many of them were dangers."""

    low: float
    high: float
    count: int
    mean: float
    true: int


def reliability(pairs: Iterable[Pair], bins: int = _BINS) -> list[Bin]:
    """Of the messages given about this probability, how many were dangers? Empty bins are left out."""
    inside: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for gold, said in pairs:
        if gold.danger is not None:
            inside[min(int(said.risk_score * bins), bins - 1)].append((said.risk_score, gold.danger))
    return [
        Bin(
            number / bins,
            (number + 1) / bins,
            len(rows),
            sum(score for score, _ in rows) / len(rows),
            sum(true for _, true in rows),
        )
        for number, rows in sorted(inside.items())
    ]


def calibration_error(found: Sequence[Bin]) -> float:
    """Expected calibration error: how far the scores are from what happens, by bins weighted by their lines."""
    total = sum(one.count for one in found)
    if not total:
        return math.nan
    return sum(abs(one.count * one.mean - one.true) for one in found) / total


def groups(pairs: Iterable[Pair]) -> dict[str, list[Pair]]:
    """The pairs of each group that has a name."""
    found: dict[str, list[Pair]] = defaultdict(list)
    for gold, said in pairs:
        if gold.group:
            found[gold.group].append((gold, said))
    return dict(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything measured on one set, as it is kept with a promotion. No words."""

    lines: int
    recall: Share
    critical_caught: Share
    critical_named: Share
    precision: Share
    false_alarms: Share
    levels: Share
    threads: Share
    about: Share
    topic_f1: float
    category_f1: float
    calibration_error: float
    kinds: dict[Kind, Share] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As JSON takes it: shares as [hits, of], what was not measured as None."""

        def plain(value: Any) -> Any:
            if isinstance(value, float):
                return None if math.isnan(value) else round(value, 4)
            if isinstance(value, dict):
                if value.keys() == {"hits", "of"}:
                    return [value["hits"], value["of"]]
                return {key: plain(inner) for key, inner in value.items()}
            return value

        return cast(dict[str, Any], plain(asdict(self)))


def measure(pairs: Sequence[Pair]) -> Figures:
    """All figures of one set."""
    return Figures(
        lines=len(pairs),
        recall=recall(pairs),
        critical_caught=critical_caught(pairs),
        critical_named=critical_named(pairs),
        precision=precision(pairs),
        false_alarms=false_alarms(pairs),
        levels=within(pairs),
        threads=threads(pairs),
        about=about(pairs),
        topic_f1=macro_f1(topics(pairs)),
        category_f1=macro_f1(categories(pairs)),
        calibration_error=calibration_error(reliability(pairs)),
        kinds=kind_recall(pairs),
    )


# --- two models -----------------------------------------------------------------------------------------------------

# What a new model may not lower on any set. The words are for an operator.
GUARDED: Final[dict[str, str]] = {
    "recall": "高风险和紧急的召回（判为高或紧急）",
    "critical_caught": "紧急的召回（判为高或紧急）",
    "critical_named": "紧急判为紧急",
}
SHOWN: Final[dict[str, str]] = {
    **GUARDED,
    "precision": "高风险和紧急的精确率",
    "false_alarms": "误报（低于高的被判为高或紧急）",
    "levels": "等级正确",
    "threads": "有上文的，等级正确",
    "about": "谁的事",
    "topic_f1": "主题 F1（宏平均）",
    "category_f1": "案由 F1（宏平均）",
    "calibration_error": "校准误差 ECE",
}


def worse(old: Figures, new: Figures) -> list[str]:
    """Which of GUARDED the new model lowers on one set; both were measured on the same lines."""
    found = []
    for name in GUARDED:
        before, after = getattr(old, name), getattr(new, name)
        if before.of != after.of:
            raise ValueError("measured on different lines")
        if after.hits < before.hits:
            found.append(name)
    return found


def side_by_side(old: Figures, new: Figures) -> Iterator[tuple[str, str, str, str]]:
    """(what, old, new, change) for each figure that was measured."""
    for name, words in SHOWN.items():
        before, after = getattr(old, name), getattr(new, name)
        if isinstance(before, Share):
            if before.of or after.of:
                change = after.value - before.value
                yield words, str(before), str(after), f"{change:+.3f}" if before.of and after.of else ""
        elif not math.isnan(before):
            yield words, f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}"


# --- the report -----------------------------------------------------------------------------------------------------


def report(lines: Sequence[Line], pairs: Sequence[Pair], *, worst: int = 10) -> str:
    """Everything about one model on one set, as Markdown. The worst misses are quoted: for invented lines only."""
    figures = measure(pairs)
    parts = [f"Lines: {figures.lines}. Shares with Wilson's 95 % interval.", ""]
    parts += ["| figure | value |", "|---|---|"]
    english = {
        "recall": "recall at high + critical",
        "critical_caught": "critical judged high or critical",
        "critical_named": "critical judged critical",
        "precision": "precision at high + critical",
        "false_alarms": "false alarms below high",
        "levels": "levels right",
        "threads": "threads right",
        "about": "about right",
        "topic_f1": "topic macro-F1",
        "category_f1": "category macro-F1",
        "calibration_error": "expected calibration error (10 bins)",
    }
    for name, words in english.items():
        value = getattr(figures, name)
        parts.append(f"| {words} | {value if isinstance(value, Share) else f'{value:.3f}'} |")
    parts += ["", "### Levels", "", f"| right \\ judged | {' | '.join(RISKS)} |", "|---" * 6 + "|"]
    counted = confusion(pairs)
    for right in RISKS:
        row = " | ".join(str(counted.get((right, said), 0)) for said in RISKS)
        parts.append(f"| {right} | {row} |")
    parts += [
        "",
        "### Reliability of the score",
        "",
        "| score | lines | mean score | dangers |",
        "|---|---|---|---|",
    ]
    for one in reliability(pairs):
        parts.append(
            f"| {one.low:.1f}–{one.high:.1f} | {one.count} | {one.mean:.3f} | {Share(one.true, one.count)} |"
        )
    parts += ["", "### Kinds", "", "| kind | dangers judged high or above |", "|---|---|"]
    parts += [f"| {kind} | {found} |" for kind, found in figures.kinds.items()]
    parts += [
        "",
        f"### The {worst} worst misses",
        "",
        "| right | judged | score | message |",
        "|---|---|---|---|",
    ]
    for line, said in misses(lines, pairs)[:worst]:
        words = " / ".join([*line.history, line.text]).replace("|", "¦").replace("\n", " ")
        parts.append(f"| {line.gold.risk_min} | {said.risk} | {said.risk_score:.2f} | {words[:160]} |")
    return "\n".join([*parts, ""])


def misses(lines: Sequence[Line], pairs: Sequence[Pair]) -> list[tuple[Line, Understanding]]:
    """Dangers judged below high, the farthest below first."""
    missed = [
        (line, said)
        for line, (gold, said) in zip(lines, pairs, strict=True)
        if gold.danger and not alarm(said)
    ]
    return sorted(
        missed,
        key=lambda one: (
            risk_rank(one[1].risk) - risk_rank(one[0].gold.risk_min or "none"),
            one[1].risk_score,
        ),
    )


def bought(model: Path | None, lines: Sequence[Line], level: Risk = "high") -> Iterator[str]:
    """What each threshold of one level buys, the others left as they are: rows of a Markdown table."""
    from .engine import Engine
    from .model import Model

    usual = Model.load(model).thresholds
    place = RISKS.index(level) - 1
    yield f"| threshold for {level} | recall | precision | false alarms |"
    yield "|---|---|---|---|"
    for threshold in sorted({0.2, 0.3, 0.4, 0.5, 0.6, usual[place]}):
        chosen = [*usual[:place], threshold, *usual[place + 1 :]]
        pairs = judged(Engine.load(model, chosen), lines)
        reached = [(gold, risk_rank(said.risk) > place) for gold, said in pairs]
        truly = [(risk_rank(gold.risk) > place, hit) for gold, hit in reached if gold.risk is not None]
        found = share(hit for true, hit in truly if true)
        right, false = (
            share(true for true, hit in truly if hit),
            share(hit for true, hit in truly if not true),
        )
        yield f"| {threshold}{' (shipped)' if threshold == usual[place] else ''} | {found} | {right} | {false} |"


def _engine(path: Path | None) -> Engine:
    from .engine import Engine

    return Engine.load(path)


def main() -> None:
    """`python -m nlu.evaluate report|thresholds [--model FILE] [--data FOLDER] [--worst N] [--level LEVEL]`.

    `report` is about the held-out themes; `thresholds` about the tuning themes, because choosing is not measuring.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["report", "thresholds"])
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--worst", type=int, default=10)
    parser.add_argument("--level", choices=RISKS[1:], default="high")
    options = parser.parse_args()
    if options.what == "thresholds":
        tuning = [of_example(example) for example in load(options.data) if example.split == "tune"]
        sys.stdout.writelines(f"{row}\n" for row in bought(options.model, tuning, options.level))
        return
    lines = held_out(options.data)
    pairs = judged(_engine(options.model), lines)
    sys.stdout.write(report(lines, pairs, worst=options.worst))


if __name__ == "__main__":
    main()
