"""Second step of understanding: dangerous phrases in the normal form, and how each one is meant.

A phrase (lexicons/*.yml) has a kind, a level and a tag that says where it stands on the way from a wish to an act. What stands
around it (its scope) changes the level: 我不会自杀 is not 我会自杀, a line of a song is not a letter. The rules for that are
in `_meant`; each of them either keeps the level or takes it down, and none touches what the model makes of the same words.
Then phrases are seen together: a wish on a roof is more than a wish and a roof.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml

from .patterns import CLAUSE_END, Patterns, branches
from .understanding import Kind, Risk, higher, risk_rank

LEXICONS = Path(__file__).with_name("lexicons")
FILES = ("suicide", "self_harm", "abuse", "danger", "veiled")
MOST = 12  # phrases of one piece that are weighed; a text that repeats itself has no more to say
SENTENCE_END = "。!?\n"
# Tags of one's own state of mind; the others tell of things done or happening.
_INNER = frozenset(
    {"prep", "means", "cry", "timed", "wish", "intent", "passive", "mention", "farewell", "method", "threat"}
)
_WISHES = frozenset({"wish", "intent", "farewell"})
_NOT_DONE = re.compile(
    r"(?:没有?|不会|从不|从没|不再|不怎么|很少|没再|不)(?:再|真的|怎么|有|过|想)?(?=打|揍|骂|碰|摸|欺|孤立|亲|骚|踢|扇|动手)"
)
# 没有一天不想死: two negations that are none.
_NOT_ONE = re.compile(r"(?:没有?|无)(?:一|哪|时|谁).{0,3}$")


class LexiconError(ValueError):
    """A lexicon file is missing or broken. Names the file, never a message."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """One entry of a lexicon."""

    name: str
    kind: Kind
    risk: Risk
    tag: str
    reason: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A phrase found in a normal form at `[start, end)`, what surrounds it, and its level in that light."""

    phrase: Phrase
    start: int
    end: int
    scopes: frozenset[str]
    risk: Risk

    @property
    def live(self) -> bool:
        """Said in earnest, of the present: its level was not taken down."""
        return self.risk == self.phrase.risk


class Lexicon:
    """The dangerous phrases with everything that can surround them. Load once, use from any thread."""

    def __init__(self, folder: Path = LEXICONS) -> None:
        words = _read(folder / "words.yml")
        self.phrases: dict[str, Phrase] = {}
        sources: list[tuple[str, str]] = []
        for name in FILES:
            content = _read(folder / f"{name}.yml")
            for entry in content["phrases"]:
                phrase = Phrase(
                    entry["name"],
                    cast(Kind, entry.get("kind", content.get("kind"))),
                    cast(Risk, entry["risk"]),
                    entry["tag"],
                    entry["reason"],
                )
                self.phrases[phrase.name] = phrase
                sources.append((phrase.name, entry["patterns"]))
        self._dangerous = Patterns(sources, words)
        scope = _read(folder / "scope.yml")
        self._negation = re.compile("(?:" + scope.pop("negation").strip() + ")$")
        # Compiled one by one and asked in order: each is only looked for when a phrase was found at all.
        self._scopes = {name: Patterns([(name, text)], words) for name, text in scope.items()}
        self._idioms = Patterns([("idiom", _read(folder / "idioms.yml")["idioms"])], words)
        self._topics = Patterns(_read(folder / "topics.yml").items(), words)
        self._concepts = Concepts(_read(folder / "concepts.yml"))
        for patterns in (self._dangerous, self._idioms, self._topics, *self._scopes.values()):
            patterns.compile_all()

    def hits(self, text: str) -> list[Hit]:
        """Phrases in the normal form `text`, in order, each with its scopes and level."""
        found = sorted(set(self._dangerous.find(text)), key=lambda f: (f[1], -f[2]))
        if not found:
            return []
        idioms = [(start, end) for _, start, end in self._idioms.find(text)]
        found = [f for f in found if not _inside(f[1], f[2], idioms)]
        if not found:
            return []
        if len(found) > MOST:
            found = sorted(found, key=lambda f: -risk_rank(self.phrases[f[0]].risk))[:MOST]
            found.sort(key=lambda f: (f[1], -f[2]))
        spans = {
            name: [(start, end) for _, start, end in patterns.find(text)]
            for name, patterns in self._scopes.items()
        }
        return [self._hit(text, self.phrases[name], start, end, spans) for name, start, end in found]

    def topics(self, text: str) -> frozenset[str]:
        """Which groups of topics.yml have a word in the text."""
        return self._topics.groups(text)

    def concepts(self, text: str) -> frozenset[str]:
        """Which groups of concepts.yml have a word in the text, and which two stand close together."""
        return self._concepts.find(text)

    def idiomatic(self, text: str) -> bool:
        """Whether an everyday idiom of the deadly sort (笑死, 累死了) is in the text."""
        return self._idioms.any(text)

    def has(self, scope: str, text: str) -> bool:
        """Whether a scope's words are anywhere in the text."""
        return self._scopes[scope].any(text)

    def _hit(
        self, text: str, phrase: Phrase, start: int, end: int, spans: dict[str, list[tuple[int, int]]]
    ) -> Hit:
        clause = _bounds(text, start, end, CLAUSE_END + " ")
        sentence = _bounds(text, start, end, SENTENCE_END)
        scopes: set[str] = set()
        if self._negated(text, phrase, clause[0], start, end):
            scopes.add("negation")
        if _overlaps(spans["hyperbole"], start, end):
            scopes.add("hyperbole")
        if _within(spans["past"], sentence[0], end):
            scopes.add("past")
        for name in ("hypothesis", "knowledge"):
            if _within(spans[name], *sentence):
                scopes.add(name)
        for name in ("quotation", "game"):
            if _within(spans[name], clause[0], clause[1]) or _within(spans[name], sentence[0], start):
                scopes.add(name)
        for name in ("recovery", "joke", "resolved"):
            if spans[name]:
                scopes.add(name)
        if _within(spans["now"], *sentence):
            scopes.add("now")
        mine = [a for a, _ in spans["self"] if sentence[0] <= a < end]
        theirs = [a for a, _ in spans["other"] if sentence[0] <= a < start + 1]
        if mine:
            scopes.add("self")
        if theirs and (not mine or max(theirs) > max(m for m in mine) or phrase.tag not in _INNER):
            scopes.add("other")
        scopes_seen = frozenset(scopes)
        return Hit(phrase, start, end, scopes_seen, _meant(phrase, scopes_seen, bool(spans["self"])))

    def _negated(self, text: str, phrase: Phrase, clause_start: int, start: int, end: int) -> bool:
        before = text[max(clause_start, start - 12) : start]
        match = self._negation.search(before)
        if match is None:
            return phrase.tag in ("harm", "act") and bool(_NOT_DONE.search(text[start:end]))
        twice = self._negation.search(before[: match.start()]) or _NOT_ONE.search(before[: match.start()])
        plea = phrase.tag in ("harm", "underway", "act") and re.match("不要|别|不能|不想|不敢", match.group())
        return twice is None and not plea


def _meant(phrase: Phrase, scopes: frozenset[str], self_in_text: bool) -> Risk:
    """The level of a phrase in its surroundings."""
    risk, tag = phrase.risk, phrase.tag
    inner = tag in _INNER
    if "hyperbole" in scopes and (inner or tag == "act"):
        return "none"
    if "quotation" in scopes or "game" in scopes:
        return "medium" if tag == "plan" and "self" in scopes else "none"
    if "knowledge" in scopes and not self_in_text and "other" not in scopes:
        return "low" if risk_rank(risk) >= 3 else "none"
    if "negation" in scopes:
        return "low"
    if "recovery" in scopes and (inner or tag in ("act", "plan", "harm")):
        return "low" if "past" in scopes or "resolved" in scopes else _down(risk, 1)
    if "past" in scopes and "now" not in scopes:
        risk = "medium" if risk_rank(risk) > 2 else _down(risk, 1)
    if "joke" in scopes and inner:
        risk = _down(risk, 1)
    if tag == "mention" and not scopes & {"past", "joke", "knowledge"}:
        return _mentioned(phrase, scopes)
    if "hypothesis" in scopes and tag == "method" and "self" not in scopes:
        return _down(risk, 1)
    return risk


def _mentioned(phrase: Phrase, scopes: frozenset[str]) -> Risk:
    """A bare word (自杀, 家暴) with nothing that softens it: who writes it to a help desk mostly means it.

    自杀 is high unless only asked about; the others are high beside 我.
    """
    asked = "hypothesis" in scopes
    if phrase.kind == "suicide":
        return "medium" if asked and "self" not in scopes else "high"
    if "self" in scopes and "other" not in scopes and not asked:
        return "high"
    return "low" if asked and "self" not in scopes else phrase.risk


def combined(hits: list[Hit]) -> Risk:
    """The level of several phrases together: never below the gravest of them."""
    risk: Risk = "none"
    for hit in hits:
        risk = higher(risk, hit.risk)
    if risk_rank(risk) < risk_rank("medium"):
        return risk
    live = [hit for hit in hits if hit.live]
    wishes = any(hit.phrase.kind == "suicide" and hit.phrase.tag in _WISHES for hit in live)
    passive = any(hit.phrase.tag == "passive" for hit in live)
    threats = any(hit.phrase.tag == "threat" for hit in live)
    tags = {hit.phrase.tag for hit in live}
    if "prep" in tags and (wishes or threats or passive):
        return "critical" if wishes or threats else higher(risk, "high")
    if "timed" in tags and (wishes or tags & {"prep", "means", "plan"}):
        return "critical"
    if "means" in tags and (wishes or passive):
        return "critical"
    if "cry" in tags and any(
        risk_rank(hit.risk) >= 2 for hit in live if hit.phrase.tag not in ("cry", "passive")
    ):
        return higher(risk, "critical" if risk_rank(risk) >= 3 else "high")
    places = {hit.phrase.name for hit in live if hit.phrase.tag == "place"}
    if (places and wishes) or (places & {"on_the_edge", "on_the_roof"} and passive):
        return "critical"
    if "water_edge" in places and passive:
        risk = higher(risk, "high")
    return risk


def _down(risk: Risk, steps: int) -> Risk:
    levels: tuple[Risk, ...] = ("none", "low", "medium", "high", "critical")
    return levels[max(0, risk_rank(risk) - steps)]


def _bounds(text: str, start: int, end: int, marks: str) -> tuple[int, int]:
    low = start
    while low > 0 and text[low - 1] not in marks:
        low -= 1
    high = end
    while high < len(text) and text[high] not in marks:
        high += 1
    return low, min(high + 1, len(text))


def _within(spans: list[tuple[int, int]], low: int, high: int) -> bool:
    return any(low <= start and end <= high for start, end in spans)


def _overlaps(spans: list[tuple[int, int]], low: int, high: int) -> bool:
    return any(start < high and low < end for start, end in spans)


def _inside(low: int, high: int, spans: list[tuple[int, int]]) -> bool:
    """Whether the idiom spans account for the dangerous part: most of the hit, or its end, lies in one of them."""
    return any((start <= low and high <= end) or (low < start < high <= end) for start, end in spans)


@cache
def _loaded(path: Path) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 (both are safe)
    except (OSError, yaml.YAMLError):
        raise LexiconError(f"cannot read the lexicon {path.name}") from None
    if not isinstance(content, dict):
        raise LexiconError(f"the lexicon {path.name} is not a mapping")
    return content


def _read(path: Path) -> dict[str, Any]:
    return dict(_loaded(path))


class Concepts:
    """Groups of plain words, and pairs of groups that stand close together. They are features, never a judgement."""

    NEAR = 16  # characters between the beginnings of two words that are still seen together
    MOST = 80  # words of a text that are paired; keeps time bounded

    def __init__(self, groups: Mapping[str, Any]) -> None:
        self._by_char: dict[str, list[tuple[str, str]]] = {}
        for group, words in groups.items():
            for word in str(words).split():
                self._by_char.setdefault(word[0], []).append((word, group))

    def find(self, text: str) -> frozenset[str]:
        """Names of groups (`height`) and of ordered pairs (`height down`) in a normal form."""
        found: list[tuple[int, str]] = []
        for at, char in enumerate(text):
            for word, group in self._by_char.get(char, ()):
                if text.startswith(word, at):
                    found.append((at, group))
        names = {group for _, group in found}
        found = found[: self.MOST]
        for first, (start, group) in enumerate(found):
            for at, other in found[first + 1 :]:
                if at - start > self.NEAR:
                    break
                if other != group:
                    names.add(f"{group} {other}")
        return frozenset(names)


class Intents:
    """What a short message wants of the desk itself: a person, the hours, to stop (lexicons/intents.yml)."""

    # The first that fits wins: a wish for a human must not be read as anything else.
    ORDER = ("human", "stop", "dissatisfied", "privacy", "cost", "hours", "identity", "thanks")
    WHOLE = ("greeting", "goodbye", "yes", "no")

    def __init__(self, folder: Path = LEXICONS) -> None:
        content = _read(folder / "intents.yml")
        words = _read(folder / "words.yml")
        self._anywhere = Patterns([(name, content[name]) for name in self.ORDER], words)
        self._whole = {
            name: re.compile("(?:" + "|".join(branches(content[f"{name}_only"])) + ")")
            for name in (*self.WHOLE, "stop")
        }

    def find(self, text: str) -> str:
        """The intent of a normal form, or `none`."""
        bare = re.sub(r"[\s,。!?~.;:]+|〔[^〕]*〕|(?<=.)[啊呀哦呢嘛吧](?=$)", "", text)
        for name in ("stop", *self.WHOLE):
            if bare and self._whole[name].fullmatch(bare):
                return name
        if len(text) > 60:
            return "human" if re.search("转人工|人工客服|找真人", text) else "none"
        names = {name for name, _, _ in self._anywhere.find(text)}
        if "thanks" in names and len(text) > 25:
            names.discard("thanks")
        return next((name for name in self.ORDER if name in names), "none")
