"""What is looked at before an entry is published: length, words nobody explained, sources, tone, telephone numbers, doubles.

A finding of level "stop" keeps the text from being published; "warn" asks a person to look. Nothing here judges whether the content is
true: that is what the second person is for.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final, Literal

from pydantic import ValidationError

from knowledge.entries import DATA, Citation, Entry, read_yaml
from knowledge.terms import plain

Level = Literal["stop", "warn"]

LONGEST_CHAT: Final = 500
"""Characters of the chat form: what a young person reads on a telephone (docs/architecture.md, "Words to a young person")."""
LONGEST_SENTENCE: Final = 70
"""Characters of a sentence. What is longer reads hard for a 13-year-old."""
_ALIKE: Final = 0.6  # of the pairs of characters of two short forms, from which on they say the same

_SENTENCE_END: Final = re.compile(r"[。！？!?\n；;]")
_LAW_NAME: Final = re.compile(r"《([^》]{2,40})》")
# Short numbers only after a word that asks to call them; the others are long enough to be told from amounts by what follows.
_SHORT_NUMBER: Final = re.compile(r"(?:打|拨|拨打|电话|热线|报警|急救|找)\s*[：:]?\s*(\d{3})(?!\d)")
_LONG_NUMBER: Final = re.compile(
    r"(?<![\d.])(400-?\d{3}-?\d{4}|1[3-9]\d{9}|0\d{2,3}-\d{7,8}|(?:12|95|96|10)\d{3,4})(?![\d%])"
    r"(?!\s*(?:元|块|万|字|人|名|年|个|克|米|次|天|小时|分))"
)


# 不是你的错, 没有人说你矫情: denied, it comforts.
_DENIED: Final = re.compile(
    r"((不是|没有|没人|不会|并非|不代表|不等于|不叫|不算|从来不)[^，。；！？\n]{0,8}|不)$"
)


@dataclass(frozen=True, slots=True)
class Problem:
    """A field that keeps a text from being an entry: pydantic's kind of fault, with its limits."""

    field: str
    kind: str
    limits: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found. `detail` is the word, number, law or other entry it is about; never a young person's words.

    `code`: invalid (`problem` says what is wrong with the field), chat_long, sentence_long, term_unexplained, law_not_cited, phrase_banned,
    number_unknown, wording_doubled, text_doubled.
    """

    level: Level
    code: str
    field: str
    detail: str = ""
    problem: Problem | None = None


def problems_of(entry_id: str, fields: Mapping[str, Any]) -> list[Problem]:
    """What keeps stored fields from being an entry; empty where nothing does."""
    try:
        Entry.model_validate({**fields, "id": entry_id})
    except ValidationError as error:
        return [
            Problem(".".join(str(part) for part in e["loc"]) or "entry", e["type"], e.get("ctx") or {})
            for e in error.errors(include_input=False, include_url=False)
        ]
    return []


def source_problems(source: Mapping[str, Any]) -> bool:
    """Whether a stored source is not complete."""
    try:
        Citation.model_validate(source)
    except ValidationError:
        return True
    return False


def findings(
    entry_id: str, fields: Mapping[str, Any], *, others: Iterable[Entry], numbers: Collection[str]
) -> list[Finding]:
    """Everything found, what stops first. `others`: the entries in force; `numbers`: the desk's directory of telephone numbers."""
    found = [Finding("stop", "invalid", p.field, problem=p) for p in problems_of(entry_id, fields)]
    short, long = str(fields.get("short", "")), str(fields.get("long", ""))
    asks = [str(ask) for ask in fields.get("asks", ())]
    for name, text in (("title", str(fields.get("title", ""))), ("short", short), ("long", long)):
        found += _tone(name, text)
        found += _numbers(name, text, numbers)
        found += _sentences(name, text)
    found += _length(short, long)
    found += _terms(short, long)
    found += _laws(short, long, fields.get("sources") or ())
    found += _doubles(entry_id, asks, short, others)
    return sorted(found, key=lambda one: one.level != "stop")


def _length(short: str, long: str) -> Iterator[Finding]:
    together = len(short) + (len(long) + 2 if long else 0)
    if together > LONGEST_CHAT:
        yield Finding("warn", "chat_long", "long", str(together))


def _sentences(name: str, text: str) -> Iterator[Finding]:
    for sentence in _SENTENCE_END.split(text):
        if len(sentence.strip()) > LONGEST_SENTENCE:
            yield Finding("warn", "sentence_long", name, sentence.strip()[:12])


def _terms(short: str, long: str) -> Iterator[Finding]:
    """A term counts as explained where the text gives one of the words that say what it is, or a bracket follows it."""
    whole = short + long
    for term, explained in wordlist()["terms"].items():
        at = whole.find(term)
        if at < 0 or whole[at + len(term) :].lstrip("”」").startswith(("（", "(")):
            continue
        if not any(words in whole for words in explained):
            yield Finding("warn", "term_unexplained", "short" if term in short else "long", term)


def _laws(short: str, long: str, sources: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    cited = " ".join(f"{source.get('law') or ''} {source.get('body') or ''}" for source in sources)
    named = dict.fromkeys(name.strip() for name in _LAW_NAME.findall(short + long))
    for name in named:
        if name.removeprefix("中华人民共和国") not in cited:
            yield Finding("warn", "law_not_cited", "sources", name)


def _tone(name: str, text: str) -> Iterator[Finding]:
    for phrase in wordlist()["banned"]:
        at = text.find(phrase)
        if at >= 0 and not _DENIED.search(text[:at]) and not _in_quotes(text, at):
            yield Finding("stop", "phrase_banned", name, phrase)


def _numbers(name: str, text: str, known: Collection[str]) -> Iterator[Finding]:
    called = dict.fromkeys([*_SHORT_NUMBER.findall(text), *_LONG_NUMBER.findall(text)])
    bare = {re.sub(r"\D", "", number) for number in known}
    for number in called:
        if number.replace("-", "") not in bare:
            yield Finding("stop", "number_unknown", name, number)


def _doubles(entry_id: str, asks: Sequence[str], short: str, others: Iterable[Entry]) -> Iterator[Finding]:
    wordings = {_bare(ask): ask for ask in asks if ask.strip()}
    pairs = _pairs(short)
    for other in others:
        if other.id == entry_id:
            continue
        for wording in sorted(wordings.keys() & {_bare(ask) for ask in other.asks}):
            yield Finding("stop", "wording_doubled", "asks", f"{other.id} {wordings[wording]}")
        theirs = _pairs(other.short)
        if pairs and theirs and len(pairs & theirs) / len(pairs | theirs) >= _ALIKE:
            yield Finding("warn", "text_doubled", "short", other.id)


def _in_quotes(text: str, at: int) -> bool:
    """Whether what stands there is what somebody else says: “包赢”的都是骗子."""
    return text.rfind("“", 0, at) > text.rfind("”", 0, at)


@lru_cache(maxsize=100_000)
def _bare(wording: str) -> str:
    return plain(wording)


def _pairs(text: str) -> set[str]:
    return {text[at : at + 2] for at in range(len(text) - 1)}


@cache
def wordlist() -> dict[str, Any]:
    """`banned`: phrases that blame, belittle or promise too much; `terms`: words of the trade with what explains them."""
    found: dict[str, Any] = read_yaml(DATA / "search" / "tone.yml")
    return found
