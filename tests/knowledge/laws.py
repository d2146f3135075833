"""The official law texts beside the checkout, read article by article, for the tests that check citations.

The texts are not part of the project. The folder is named by QINGTING_LAWS, or is `shared/laws` beside the checkout;
it holds plain-text files named 法名_YYYY-MM-DD.txt.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

_ARTICLE = re.compile(r"^(第[零一二三四五六七八九十百千]+条(?:之[一二三四五六七八九十]+)?)[\s\u3000]")
_HEADING = re.compile(r"^(#|第[零一二三四五六七八九十百千]+[编章节])")


def folder() -> Path | None:
    """Where the law texts lie, or None."""
    named = os.environ.get("QINGTING_LAWS")
    place = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "laws"
    return place if place.is_dir() else None


@cache
def versions(place: Path) -> dict[str, str]:
    """Law -> its version date, by the files' names."""
    return dict(path.stem.rsplit("_", 1) for path in place.glob("*_????-??-??.txt"))  # type: ignore[misc]


@cache
def articles(place: Path, law: str) -> dict[str, str]:
    """Article -> its whole text, paragraphs joined."""
    text = (place / f"{law}_{versions(place)[law]}.txt").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    current = ""
    for line in text.splitlines():
        start = _ARTICLE.match(line)
        if start:
            current = start.group(1)
        elif _HEADING.match(line):
            current = ""
        if current:
            found[current] = found.get(current, "") + line.strip()
    return found


_DIGITS = {character: value for value, character in enumerate("零一二三四五六七八九")} | {"两": 2}
_UNITS = {"十": 10, "百": 100, "千": 1000, "万": 10_000}
_NUMERAL = re.compile("[零一二三四五六七八九两十百千万]+")


def number(numeral: str) -> int:
    """三百五十 -> 350, 一千 -> 1000, 十四 -> 14, 五万 -> 50000."""
    total = section = digit = 0
    for character in numeral:
        if character in _DIGITS:
            digit = _DIGITS[character]
        elif character == "万":
            total, section, digit = (total + section + digit) * _UNITS[character], 0, 0
        else:
            section, digit = section + (digit or 1) * _UNITS[character], 0
    return total + section + digit


def numbers(text: str) -> set[str]:
    """Every number in a text as digits, whether written 18, 十八, 百分之八十 or 80%."""
    text = re.sub(r"(\d+)万", lambda match: str(int(match.group(1)) * 10_000), text)
    return {str(int(found)) for found in re.findall(r"\d+", text)} | {
        str(number(found)) for found in _NUMERAL.findall(text)
    }
