"""What Rasa's answer to one message means, and how it joins the embedded engine's judgement.

Rasa never judges alone: the embedded engine reads every message too, with its history. The higher risk wins, kinds are
united, and Rasa names topic and category where it is sure. No text is kept, logged or raised here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from nlu.understanding import KINDS, RISKS, TOPICS, Kind, Risk, Span, Topic, Understanding, higher, risk_rank

_OWN_MIND = frozenset({"suicide", "self_harm"})
_SERVICE = frozenset({"none", "yes", "no", "human"})
LIKELY = 0.5
"""A level or a kind counts when its summed probability reaches this."""
REASON = "第二个模型（Rasa）认为这句话有危险"


class ReadingError(ValueError):
    """The answer is not one of our model: another model, or another program. Quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer of POST /model/parse of a model made from this folder.

    `topics` and `groups` (`legal.labour`) are probabilities that sum to 1; `at_least[i]` is the probability that the risk
    is RISKS[i] or graver; `kinds` the probability of each kind, where there is one.
    """

    topics: Mapping[str, float]
    groups: Mapping[str, float]
    at_least: tuple[float, ...]
    kinds: Mapping[str, float]

    @classmethod
    def of(cls, answer: object) -> Reading:
        """Read Rasa's JSON. Raises ReadingError."""
        if not isinstance(answer, dict):
            raise ReadingError("not an object")
        groups = _ranking(answer.get("intent_ranking"))
        dangers = _ranking(answer.get("danger_ranking"))
        topics: dict[str, float] = defaultdict(float)
        for name, share in groups.items():
            topics[name.partition(".")[0]] += share
        risks, kinds = dict.fromkeys(RISKS, 0.0), dict[str, float]()
        for name, share in dangers.items():
            risk, _, kind = name.partition(".")
            if risk not in RISKS or (kind and kind not in KINDS):
                raise ReadingError("unknown danger")
            risks[risk] += share
            if kind:
                kinds[kind] = kinds.get(kind, 0.0) + share
        if not set(topics) <= set(TOPICS):
            raise ReadingError("unknown topic")
        at_least = tuple(sum(risks[r] for r in RISKS[i:]) for i in range(len(RISKS)))
        return cls(dict(topics), groups, at_least, kinds)

    @property
    def topic(self) -> Topic:
        """The likeliest topic."""
        return cast(Topic, max(self.topics, key=lambda name: self.topics[name]))

    @property
    def risk(self) -> Risk:
        """The gravest level that is likely."""
        return max(
            (r for r, p in zip(RISKS, self.at_least, strict=True) if p >= LIKELY),
            key=risk_rank,
            default="none",
        )

    @property
    def score(self) -> float:
        """The probability of high or critical."""
        return min(self.at_least[risk_rank("high")], 1.0)

    def group(self, topic: Topic) -> str:
        """The likeliest group of a topic, such as `legal.labour`; "" where Rasa knows none of it."""
        inside = {name: share for name, share in self.groups.items() if name.startswith(topic + ".")}
        return max(inside, key=lambda name: inside[name], default="")

    def likely_kinds(self, risk: Risk) -> tuple[Kind, ...]:
        """The kinds that are likely, the likeliest first; at high and above at least one where any is known."""
        ordered = sorted(self.kinds, key=lambda kind: -self.kinds[kind])
        found = [kind for kind in ordered if self.kinds[kind] >= LIKELY]
        if not found and risk_rank(risk) >= risk_rank("high"):
            found = ordered[:1]
        return tuple(cast(Kind, kind) for kind in found)

    def alone(self) -> Understanding:
        """What Rasa by itself would say: for measuring, never for judging."""
        return Understanding(
            topic=self.topic,
            risk=self.risk,
            risk_score=self.score,
            kinds=self.likely_kinds(self.risk) if self.risk != "none" else (),
            category=self.group(self.topic),
            engine="rasa",
        )


def merge(own: Understanding, second: Reading, *, sure: float, length: int) -> Understanding:
    """Join both judgements of a text of `length` characters. From `sure` on Rasa's topic and category are taken.

    What the embedded engine alone can see stays: who it is about, service words, the places of grave words, entities.
    """
    risk = higher(own.risk, second.risk)
    raised = risk != own.risk
    kinds = own.kinds
    if risk != "none":
        added = second.likely_kinds(second.risk) if second.risk != "none" else ()
        kinds = tuple(dict.fromkeys((*own.kinds, *added)))
    topic = _topic(own, second, risk, kinds, sure)
    spans = own.spans
    if raised and not spans and length and risk_rank(risk) >= risk_rank("medium"):
        spans = (Span(0, length, REASON),)
    return replace(
        own,
        topic=topic,
        risk=risk,
        risk_score=max(own.risk_score, second.score),
        kinds=kinds,
        category=_category(own, second, topic, sure),
        resolved=own.resolved and risk_rank(risk) < risk_rank("high"),
        spans=spans,
        engine="rasa",
    )


def _topic(own: Understanding, second: Reading, risk: Risk, kinds: Sequence[Kind], sure: float) -> Topic:
    """Rasa's topic where it is sure; a bare service word stays one, and danger is never `other`."""
    topic = own.topic
    if second.topics[second.topic] >= sure and (
        own.intent in _SERVICE or risk_rank(risk) >= risk_rank("medium")
    ):
        topic = second.topic
    grave = risk_rank(risk) >= risk_rank("high")
    if (topic == "other" and risk_rank(risk) >= risk_rank("medium")) or (topic == "legal" and grave):
        return "psychological" if kinds and set(kinds) <= _OWN_MIND else "safety"
    return topic


def _category(own: Understanding, second: Reading, topic: Topic, sure: float) -> str:
    """The embedded engine's leaf, unless Rasa is sure of another group or the topic is no longer the leaf's."""
    group = second.group(topic)
    fits = own.category.startswith(topic + ".")
    if fits and (own.category + ".").startswith(group + "."):
        return own.category
    if fits and second.groups.get(group, 0.0) < sure:
        return own.category
    return group or (own.category if fits else "")


def _ranking(raw: Any) -> dict[str, float]:
    """[{"name", "confidence"}, …] -> name: probability."""
    if not isinstance(raw, list) or not raw:
        raise ReadingError("a ranking is missing")
    found: dict[str, float] = {}
    for item in raw:
        name, share = (item.get("name"), item.get("confidence")) if isinstance(item, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(share, int | float) or not 0 <= share <= 1.001:
            raise ReadingError("a ranking is not one")
        found[name] = float(share)
    return found
