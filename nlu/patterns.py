"""Many patterns, one fast look: which of the lexicons' patterns are in a text.

A pattern is a regular expression with two additions: `<name>` is a list of words from words.yml, `…` is a gap of up to 4
characters of the same clause and `……` one of up to 10. For each pattern we know which characters every match must
contain, so that almost all patterns are ruled out by set look-ups and only a few are ever tried. A pattern is compiled when it is first
needed. Repeats are bounded, so the time is linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

CLAUSE_END = ",。!?;\n"
_GAP = f"[^{CLAUSE_END}]"
# Characters so common that they rule little out: the price of waiting for one of them.
_COMMON = dict.fromkeys("我的了不是一在有你他她就想", 40) | dict.fromkeys(
    "要人这个么没好上都来到说去会着给得过能们吗也还很那把被让天打自己下", 12
)


class Patterns:
    """A named set of patterns. `find(text)` yields (name, start, end) of every match, in no particular order."""

    def __init__(self, sources: Iterable[tuple[str, str]], words: Mapping[str, str]) -> None:
        self._words = {name: _lone(text) for name, text in words.items()}
        self._anchors_of_word: dict[str, frozenset[str] | None] = {}
        self._names: list[str] = []
        self._sources: list[str] = []
        self._compiled: list[re.Pattern[str] | None] = []
        self._needs: list[tuple[frozenset[str], ...]] = []
        self._by_char: dict[str, list[int]] = {}
        self._always: list[int] = []
        for name, text in sources:
            for branch in branches(text):
                self._add(name, branch)

    def __len__(self) -> int:
        return len(self._sources)

    def _add(self, name: str, source: str) -> None:
        number = len(self._sources)
        self._names.append(name)
        self._sources.append(source)
        self._compiled.append(None)
        needs = sorted(set(_needs(source, self._word_needs)), key=_price)[:4]
        self._needs.append(tuple(needs[1:]))
        if not needs:
            self._always.append(number)
        for char in needs[0] if needs else ():
            self._by_char.setdefault(char, []).append(number)

    def _word_needs(self, name: str) -> frozenset[str] | None:
        if name not in self._anchors_of_word:
            self._anchors_of_word[name] = _best(_needs(self._words[name], self._word_needs))
        return self._anchors_of_word[name]

    def _pattern(self, number: int) -> re.Pattern[str]:
        pattern = self._compiled[number]
        if pattern is None:
            pattern = self._compiled[number] = re.compile(self.expand(self._sources[number]))
        return pattern

    def expand(self, source: str) -> str:
        """The plain regular expression of a source."""
        text = re.sub(r"<(\w+)>", lambda m: f"(?:{self._words[m.group(1)]})", source.replace("(?<", "(?\0"))
        text = text.replace("(?\0", "(?<")
        return text.replace("……", _GAP + "{0,10}").replace("…", _GAP + "{0,4}")

    def compile_all(self) -> None:
        """Compile every pattern now: what the tests do to find a broken one, and a server does before it is ready."""
        for number in range(len(self._sources)):
            self._pattern(number)

    def find(self, text: str) -> Iterator[tuple[str, int, int]]:
        chars = set(text)
        tried: set[int] = set()
        for char in chars:
            tried.update(self._by_char.get(char, ()))
        for number in (*self._always, *tried):
            for need in self._needs[number]:
                if need.isdisjoint(chars):
                    break
            else:
                for match in self._pattern(number).finditer(text):
                    if match.end() > match.start():
                        yield self._names[number], match.start(), match.end()

    def groups(self, text: str) -> frozenset[str]:
        """The names of which any pattern is in the text."""
        return frozenset(name for name, _, _ in self.find(text))

    def any(self, text: str) -> bool:
        """Whether any pattern is in the text."""
        return next(self.find(text), None) is not None


def branches(source: str) -> list[str]:
    """The top-level alternatives of a pattern, which may stand on several lines."""
    found: list[str] = []
    for line in source.splitlines():
        depth = start = 0
        in_class = False
        for at, char in enumerate(line):
            if char == "\\" or (at and line[at - 1] == "\\"):
                continue
            if in_class:
                in_class = char != "]"
            elif char == "[":
                in_class = True
            elif char == "(":
                depth += 1
            elif char == ")":
                depth -= 1
            elif char == "|" and depth == 0:
                found.append(line[start:at].strip())
                start = at + 1
        found.append(line[start:].strip())
    return [branch for branch in found if branch]


def _lone(text: str) -> str:
    return "|".join(branches(text))


def _price(need: frozenset[str]) -> int:
    return sum(_COMMON.get(char, 1) for char in need)


def _best(needs: Iterable[frozenset[str]]) -> frozenset[str] | None:
    return min(needs, key=_price, default=None)


_Lookup = Callable[[str], "frozenset[str] | None"]
_TOKEN = re.compile(
    r"(?P<word><\w+>)|(?P<open>\((?:\?(?:<?[=!]|:))?)|(?P<close>\))|(?P<bar>\|)|(?P<set>\[(?:\\.|[^\]])*\])"
    r"|(?P<gap>…)|(?P<escape>\\.)|(?P<mark>[.^$])|(?P<char>.)",
    re.S,
)
_REPEAT = re.compile(r"[?*]|\+|\{(\d*),?\d*\}")


def _needs(source: str, word_needs: _Lookup) -> list[frozenset[str]]:
    """Sets of characters such that a match must contain at least one of each. Conservative: fewer is always safe."""
    needs, _ = _sequence(source, 0, word_needs)
    return needs


def _sequence(source: str, at: int, word_needs: _Lookup) -> tuple[list[frozenset[str]], int]:
    """Needs of alternatives up to the closing bracket (or the end), and where they end."""
    alternatives: list[list[frozenset[str]]] = [[]]
    while at < len(source):
        token = _TOKEN.match(source, at)
        assert token is not None
        at = token.end()
        kind = token.lastgroup
        item: list[frozenset[str]] = []
        if kind == "close":
            break
        if kind == "bar":
            alternatives.append([])
            continue
        if kind == "open":
            item, at = _sequence(source, at, word_needs)
            if "!" in token.group() or "=" in token.group():
                item = []
        elif kind == "word":
            need = word_needs(token.group()[1:-1])
            item = [need] if need else []
        elif kind == "set":
            item = _set_needs(token.group())
        elif kind == "char":
            item = [frozenset(token.group())]
        elif kind == "escape" and not token.group()[1].isalnum():
            item = [frozenset(token.group()[1])]
        repeat = _REPEAT.match(source, at)
        if repeat:
            at = repeat.end()
            if at < len(source) and source[at] == "?":
                at += 1
            if repeat.group() in "?*" or repeat.group(1) in ("0", ""):
                item = []
        alternatives[-1] += item
    if len(alternatives) == 1:
        return alternatives[0], at
    picked = [_best(needs) for needs in alternatives]
    if any(need is None for need in picked):
        return [], at
    return [frozenset().union(*(need for need in picked if need))], at


def _set_needs(source: str) -> list[frozenset[str]]:
    inside = source[1:-1]
    if inside.startswith("^") or "-" in inside or "\\" in inside:
        return []
    return [frozenset(inside)]
