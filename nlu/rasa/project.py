"""Makes the Rasa project that `rasa train` reads: the files of this folder, and training data from the corpus.

One corpus trains every engine, but Rasa needs it in its own shape, and that shape is made, never kept in the repository:

- texts in normal form, the form in which the client asks later;
- the intent `<topic>.<group>` (flat: with a slash Rasa would learn only the topic);
- beside it the label `danger`, `<risk>.<first kind>` or the risk alone, for LabelClassifier;
- single messages only: Rasa reads one message at a time, so lines that need their history are left to the embedded engine.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from nlu.corpus import Example
from nlu.normalise import normalise

HERE = Path(__file__).parent
COMPONENTS = HERE / "components"
REQUIREMENTS = HERE / "requirements.txt"
LONGEST = 600  # characters of a text in normal form that Rasa is given; longer letters are read whole by the embedded engine


def write(folder: Path, examples: Iterable[Example], *, epochs: int | None = None) -> int:
    """Write the project into `folder` (made anew) and return the number of lines. `epochs` replaces those of config.yml."""
    lines = usable(examples)
    if folder.exists():
        shutil.rmtree(folder)
    (folder / "data").mkdir(parents=True)
    _dump(folder / "config.yml", _config(epochs))
    intents = sorted({intent_of(example) for example, _ in lines})
    _dump(folder / "domain.yml", {**_yaml(HERE / "domain.yml"), "intents": intents})
    _dump(folder / "data" / "nlu.yml", {"version": "3.1", "nlu": _blocks(lines, intents)})
    _dump(folder / "data" / "rules.yml", {"version": "3.1", "rules": [_rule(intent) for intent in intents]})
    return len(lines)


def usable(examples: Iterable[Example]) -> list[tuple[Example, str]]:
    """The lines that stand alone, each with the text that Rasa sees; a text comes once."""
    seen: dict[str, Example] = {}
    for example in examples:
        if not example.history and (text := as_asked(example.text)):
            seen.setdefault(text, example)
    return [(example, text) for text, example in seen.items()]


def as_asked(text: str) -> str:
    """A text as Rasa gets it, in training and later: normal form, without the slash that would be a command to Rasa."""
    return normalise(text).text[:LONGEST].strip().lstrip("/ ")


def intent_of(example: Example) -> str:
    """`<topic>.<group>`."""
    return f"{example.topic}.{example.category.split('.')[1]}"


def danger_of(example: Example) -> str:
    """`<risk>.<first kind>`; the risk alone where there is no kind."""
    return ".".join((example.risk, *example.kinds[:1]))


def _blocks(lines: Sequence[tuple[Example, str]], intents: Sequence[str]) -> list[dict[str, Any]]:
    blocks: dict[str, list[dict[str, Any]]] = {intent: [] for intent in intents}
    for example, text in lines:
        # Rasa reads [word](entity) as a mark; ours are only brackets.
        plain = text.replace("[", "(").replace("]", ")")
        blocks[intent_of(example)].append({"text": plain, "metadata": {"danger": danger_of(example)}})
    return [{"intent": intent, "examples": found} for intent, found in blocks.items()]


def _rule(intent: str) -> dict[str, Any]:
    topic = intent.partition(".")[0]
    return {"rule": intent, "steps": [{"intent": intent}, {"action": f"utter_{topic}"}]}


def _config(epochs: int | None) -> dict[str, Any]:
    config = _yaml(HERE / "config.yml")
    for part in config["pipeline"]:
        if epochs is not None and "epochs" in part:
            part["epochs"] = epochs
    return config


def _yaml(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def _dump(path: Path, content: dict[str, Any]) -> None:
    """YAML with every text in lists and mappings below the first in quotation marks: some texts look like numbers.

    Rasa tells what a file is by its bare top-level keys, so those are written plainly.
    """
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    with path.open("w", encoding="utf-8") as file:
        for key, value in content.items():
            style = '"' if key == "nlu" else None
            below = yaml.dump(
                value, Dumper=dumper, allow_unicode=True, sort_keys=False, default_style=style, width=10_000
            )
            file.write(f"{key}:\n{textwrap.indent(below, '  ')}")
