"""What in a text that staff wrote may still lead to a person: names, numbers, places, the person's own words.

Asked before a wording taken from somebody's question, or a text written after a closed case, becomes a draft. What has a certain form
must go; what is guessed a person decides about (nlu/masking.py says why nobody may rely on guesses). It changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nlu import masking

FIELDS: Final = ("title", "asks", "short", "long")
"""The fields of an entry that are somebody's own words. The others are codes, dates and official names."""

QUOTED: Final = 12
"""Characters in a row that are the person's own from which on a text quotes them."""

_PLACEHOLDER: Final = re.compile("［(?:" + "|".join(masking.PLACEHOLDERS) + ")］")


_Span = tuple[int, int, str, bool]


@dataclass(frozen=True, slots=True)
class Identifying:
    """A stretch `[start, end)` of a field, in code points; `item` counts from 0 in a list of wordings.

    `what` is a placeholder's word (姓名, 电话 …), "遮住的词" for a placeholder left standing, or "原话". `certain`: it has the form of a
    number, an account or a placeholder, and cannot stay.
    """

    field: str
    item: int
    start: int
    end: int
    what: str
    certain: bool


def identifying(
    fields: Mapping[str, Any],
    *,
    known: Iterable[str] = (),
    said: Sequence[str] = (),
    public: Collection[str] = (),
) -> list[Identifying]:
    """Everything found in an entry's fields, in their order.

    `known`: what the desk knows of the person (alias, addresses). `said`: what they wrote, to find quotations. `public`: telephone
    numbers that everybody may read (the desk's directory).
    """
    quoted = _runs_of(said)
    details = [detail.strip() for detail in known if len(detail.strip()) >= 2]
    open_numbers = _open_numbers(public)
    found = []
    for field in FIELDS:
        value = fields.get(field) or ()
        for item, text in enumerate([value] if isinstance(value, str) else value):
            spans = _spans(str(text), details, quoted, open_numbers)
            found += [Identifying(field, item, *span) for span in _outermost(spans)]
    return found


def _spans(
    text: str, known: Sequence[str], quoted: Collection[str], public: re.Pattern[str]
) -> Iterator[_Span]:
    for hit in _PLACEHOLDER.finditer(text):
        yield hit.start(), hit.end(), "遮住的词", True
    # Two hotlines side by side, 12338、12355, are no long number.
    for start, end, what in masking.certain(public.sub(lambda hit: "话" * len(hit[0]), text)):
        yield start, end, what, True
    for detail in known:
        for hit in re.finditer(re.escape(detail), text, re.IGNORECASE):
            yield hit.start(), hit.end(), "姓名", True
    for start, end, what in masking.guessed(text):
        yield start, end, what, False
    for start, end in _quotes(text, quoted):
        yield start, end, "原话", False


def _outermost(spans: Iterable[_Span]) -> list[_Span]:
    """In the order of the text, without those that lie within another of their kind: a town within a school's name."""
    kept: list[_Span] = []
    for start, end, what, certain in sorted(spans, key=lambda span: (span[0], -span[1])):
        alike = [one for one in kept if (one[2] == "原话", one[3]) == (what == "原话", certain)]
        if not any(one[0] <= start and end <= one[1] for one in alike):
            kept.append((start, end, what, certain))
    return kept


def _open_numbers(public: Iterable[str]) -> re.Pattern[str]:
    """Finds the numbers that everybody may read: the emergency and service lines, and the desk's own directory."""
    numbers = sorted(
        {*masking.PUBLIC, *(number for number in public if number.strip())}, key=len, reverse=True
    )
    return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(map(re.escape, numbers))})(?![A-Za-z0-9])")


def _runs_of(said: Iterable[str]) -> frozenset[str]:
    """Every run of QUOTED characters that the person wrote."""
    return frozenset(text[at : at + QUOTED] for text in said for at in range(len(text) - QUOTED + 1))


def _quotes(text: str, quoted: Collection[str]) -> Iterator[tuple[int, int]]:
    """The stretches of `text` that are made of such runs."""
    start = end = -1
    for at in range(len(text) - QUOTED + 1):
        if text[at : at + QUOTED] not in quoted:
            continue
        if at > end:
            if end >= 0:
                yield start, end
            start = at
        end = at + QUOTED
    if end >= 0:
        yield start, end
