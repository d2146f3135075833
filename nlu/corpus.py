"""The labelled corpus that every engine is trained and measured on: nlu/data/*.yml -> Examples.

Nothing on a message's journey reads this; training, evaluation and the Rasa export do. The format is Rasa 3 training
data, described in nlu/data/README.md. A label on an example wins over the label of its block.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast, get_args

import yaml

from .understanding import INTENTS, KINDS, RISKS, TOPICS, About, Intent, Kind, Risk, Topic

DATA = Path(__file__).with_name("data")
CATEGORIES = Path(__file__).with_name("categories.yml")
Split = Literal["train", "tune", "heldout"]
TUNE = "tune.yml"  # the list of themes on which settings are chosen and probabilities calibrated
HELD_OUT = "held_"  # themes so named are used for nothing but the final report
LABELS = frozenset(("risk", "kinds", "category", "about", "intent", "theme", "history", "resolved"))


class CorpusError(ValueError):
    """A file of the corpus breaks the format. Names the file and the place, never the text."""


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled message. `history` holds the same person's older messages, oldest first; the labels judge `text`
    in the light of them. `resolved` is true where the person says that a danger is over. `split` follows the theme.
    """

    text: str
    topic: Topic
    risk: Risk
    kinds: tuple[Kind, ...]
    category: str
    about: About
    intent: Intent
    theme: str
    history: tuple[str, ...]
    split: Split
    resolved: bool = False


def load(folder: Path = DATA) -> list[Example]:
    """All examples of `folder`, in the order of file names and lines. Raises CorpusError, naming file and place."""
    tuning = tune_themes(folder)
    examples: list[Example] = []
    for path in sorted(folder.glob("*.yml")):
        if path.name != TUNE:
            examples.extend(_read(path, tuning))
    return examples


def tune_themes(folder: Path = DATA) -> frozenset[str]:
    """The themes that no weight is learned from: settings are chosen and probabilities calibrated on them."""
    path = folder / TUNE
    if not path.exists():
        return frozenset()
    themes = _parse(path).get("themes") or ()
    return frozenset(str(theme) for theme in themes)


def card_tables(examples: Iterable[Example]) -> str:
    """The counts of the data card, as Markdown: lines and distinct character 3-grams of each class.

    `python -m nlu.corpus` prints them for nlu/data/README.md. Themes `seed_…` are left out, as the card says.
    """
    counted = [example for example in examples if not example.theme.startswith("seed_")]
    tables: dict[str, list[tuple[str, list[Example]]]] = {
        "Topics": [(name, [e for e in counted if e.topic == name]) for name in TOPICS],
        "Risk": [(name, [e for e in counted if e.risk == name]) for name in RISKS],
        "Kinds": [(name, [e for e in counted if name in e.kinds]) for name in KINDS],
        "About": [(name, [e for e in counted if e.about == name]) for name in get_args(About)],
        "Intents": [(name, [e for e in counted if e.intent == name]) for name in INTENTS],
        "Splits and threads": [
            *((name, [e for e in counted if e.split == name]) for name in get_args(Split)),
            ("threads", [e for e in counted if e.history]),
            ("resolved", [e for e in counted if e.resolved]),
            ("all", counted),
        ],
    }
    return "\n".join(_table(heading, rows) for heading, rows in tables.items())


def _table(heading: str, rows: list[tuple[str, list[Example]]]) -> str:
    lines = [f"### {heading}", "", "| class | lines | distinct 3-grams |", "|---|---|---|"]
    for name, having in rows:
        grams = {e.text[i : i + 3] for e in having for i in range(len(e.text) - 2)}
        lines.append(f"| `{name}` | {len(having)} | {len(grams)} |")
    return "\n".join([*lines, ""])


@cache
def category_names(path: Path = CATEGORIES) -> frozenset[str]:
    """Every case category, groups (`legal.labour`) and leaves (`legal.labour.overtime`)."""
    names: set[str] = set()
    for area, body in _parse(path).items():
        for group, inside in body["groups"].items():
            names.add(f"{area}.{group}")
            names.update(f"{area}.{group}.{leaf}" for leaf in inside["leaves"])
    return frozenset(names)


def _parse(path: Path) -> dict[str, Any]:
    # The C loader reads the corpus ten times faster; PyYAML's wheels carry it, a bare build may not.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 (both are safe loaders)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise CorpusError(f"{path.name}:{line}: not YAML") from None
    if not isinstance(content, dict):
        raise CorpusError(f"{path.name}: not a mapping")
    return content


def _read(path: Path, tuning: frozenset[str]) -> Iterator[Example]:
    for number, block in enumerate(_parse(path).get("nlu") or (), start=1):
        place = f"{path.name}: block {number}"
        topic = str(block.get("intent", "")).partition("/")[0]
        if topic not in TOPICS:
            raise CorpusError(f"{place}: intent must begin with a topic")
        shared = block.get("metadata") or {}
        for index, item in enumerate(block.get("examples") or (), start=1):
            if not isinstance(item, Mapping) or not isinstance(item.get("text"), str):
                raise CorpusError(f"{place}, example {index}: needs a text")
            labels = {**shared, **(item.get("metadata") or {})}
            yield _example(item["text"], topic, labels, tuning, f"{place}, example {index}")


def _example(
    text: str, topic: Topic, labels: Mapping[str, Any], tuning: frozenset[str], place: str
) -> Example:
    unknown = labels.keys() - LABELS
    if unknown:
        raise CorpusError(f"{place}: unknown label {sorted(unknown)[0]}")
    category = str(labels.get("category", ""))
    if category not in category_names():
        raise CorpusError(f"{place}: unknown category {category}")
    theme = str(labels.get("theme", ""))
    if not theme:
        raise CorpusError(f"{place}: needs a theme")
    if not text.strip():
        raise CorpusError(f"{place}: empty text")
    return Example(
        text=text.strip(),
        topic=topic,
        risk=cast(Risk, _one_of(labels.get("risk"), RISKS, "risk", place)),
        kinds=tuple(cast(Kind, _one_of(kind, KINDS, "kind", place)) for kind in labels.get("kinds") or ()),
        category=category,
        about=cast(About, _one_of(labels.get("about", "self"), get_args(About), "about", place)),
        intent=cast(Intent, _one_of(labels.get("intent", "none"), INTENTS, "intent", place)),
        theme=theme,
        history=tuple(str(older) for older in labels.get("history") or ()),
        split=_split(theme, tuning),
        resolved=bool(labels.get("resolved", False)),
    )


def _split(theme: str, tuning: frozenset[str]) -> Split:
    if theme.startswith(HELD_OUT):
        return "heldout"
    return "tune" if theme in tuning else "train"


def _one_of(value: object, allowed: tuple[str, ...], label: str, place: str) -> str:
    if value not in allowed:
        raise CorpusError(f"{place}: {label} is not one of {', '.join(allowed)}")
    return str(value)


if __name__ == "__main__":
    sys.stdout.write(card_tables(load()))
