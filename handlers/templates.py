"""The approved texts: shipped in templates.yml, changed by two people in the workbench, and always one that works.

`Templates` is what handlers speak with. A changed text that cannot be filled in falls back to the shipped one, so that a broken
edit never leaves a frightened person without an answer.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from handlers.turn import DeskView

_PATH = Path(__file__).with_name("templates.yml")
MAX_LENGTH = 500  # characters: beyond that nobody in distress reads on

# Placeholders that only some texts may use, beside the desk's numbers, name and hours.
_OWN = {"answer.source_line": {"sources"}, "wechat.webchat_link": {"link"}}
# Public numbers every desk has (bot/settings.py gives their values).
_NUMBERS = frozenset(
    [
        "desk",
        "psychological",
        "police",
        "police_sms",
        "ambulance",
        "fire",
        "legal_aid",
        "women",
        "government",
        "labour",
        "procuratorate",
        "fraud",
        "consumers",
        "health",
    ]
)
_DESK = frozenset({"desk_name", "hours"})


@dataclass(frozen=True, slots=True)
class Shipped:
    """A text as shipped. `placeholders` are those it uses."""

    title: str
    text: str
    placeholders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Edited:
    """A text that two people changed; the newest approved version of its key."""

    version: int
    text: str


@dataclass(frozen=True, slots=True)
class Filled:
    """A text ready to send, and where it comes from (`key@version`; version 0 is the shipped one)."""

    text: str
    source: str


@cache
def shipped() -> dict[str, Shipped]:
    """Every shipped text by key."""
    raw: dict[str, Any] = yaml.safe_load(_PATH.read_text(encoding="utf-8"))
    return {key: Shipped(t["title"], t["text"], tuple(sorted(_fields(t["text"])))) for key, t in raw.items()}


def check(key: str, text: str) -> list[str]:
    """What is wrong with a changed text, in Chinese for the editor; empty when it can be used."""
    if key not in shipped():
        return ["没有这个模板"]
    problems = []
    if not text.strip():
        problems.append("内容不能为空")
    if len(text) > MAX_LENGTH:
        problems.append(f"太长：{len(text)} 个字，最多 {MAX_LENGTH} 个字")
    try:
        unknown = _fields(text) - _NUMBERS - _DESK - _OWN.get(key, set())
    except ValueError:
        problems.append("花括号没有成对，占位符要写成 {police} 这样")
    else:
        problems += [f"不认识的占位符 {{{name}}}" for name in sorted(unknown)]
        problems += _lost_numbers(key, text)
    return problems


def _lost_numbers(key: str, text: str) -> list[str]:
    """A safety text keeps at least one number to call: that is what it is for."""
    must = {"police", "ambulance"} & set(shipped()[key].placeholders)
    if key.startswith(("safety.", "coming.nobody", "holding.failed")) and must and not must & _fields(text):
        return ["安全类文字里至少要保留 {police} 或 {ambulance}"]
    return []


class Templates:
    """The texts in force for one desk."""

    def __init__(self, edited: Mapping[str, Edited] | None = None) -> None:
        self._edited = dict(edited or {})

    def fill(self, key: str, desk: DeskView, **own: str) -> Filled:
        """The text of `key` with numbers and names filled in. Raises KeyError for an unknown key."""
        original = shipped()[key]
        values = {**desk.numbers, "desk_name": desk.name, "hours": desk.hours, **own}
        edited = self._edited.get(key)
        if edited is not None and not check(key, edited.text):
            try:
                return Filled(edited.text.format_map(values), f"{key}@{edited.version}")
            except (KeyError, ValueError, IndexError):
                pass  # a number that this desk's config no longer has: the shipped text below
        return Filled(_fill_known(original.text, values), f"{key}@0")


class _Known(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return _LAST_RESORT.get(name, "")


def _fill_known(text: str, values: Mapping[str, str]) -> str:
    return text.format_map(_Known(values))


# If a config drops a number, a safety text still carries the national one.
_LAST_RESORT = {
    "police": "110",
    "ambulance": "120",
    "fire": "119",
    "psychological": "12356",
    "police_sms": "12110",
}


def _fields(text: str) -> set[str]:
    """Names between braces. Raises ValueError for unpaired braces and for anything cleverer than a name."""
    names = set()
    for _, name, spec, conversion in string.Formatter().parse(text):
        if name is None:
            continue
        if not name.isidentifier() or spec or conversion:
            raise ValueError("not a plain placeholder")
        names.add(name)
    return names
