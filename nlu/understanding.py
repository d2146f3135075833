"""What a message was understood to mean: the one value that leaves this room.

`understand()` makes it, the handlers decide by it, the workbench shows it. The labels and their meanings are the
contract with operators and with `qingting classify`; they are listed in docs/labels.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

Topic = Literal["legal", "psychological", "safety", "other"]
Risk = Literal["none", "low", "medium", "high", "critical"]
Kind = Literal[
    "suicide",
    "self_harm",
    "domestic_abuse",
    "sexual_abuse",
    "bullying",
    "violence",
    "fraud",
    "trafficking",
    "drugs",
    "runaway",
    "emergency",
]
About = Literal["self", "other", "unknown"]
Intent = Literal[
    "none",  # a question or a story: topic, risk and category say the rest
    "greeting",
    "thanks",
    "goodbye",
    "human",  # wants a person: 人工, 转人工, 真人
    "dissatisfied",  # 没用, 答非所问
    "yes",
    "no",
    "stop",  # no more proactive texts: 退订, TD
    "hours",  # when is somebody there
    "privacy",  # who reads this, will my parents or school know
    "cost",  # is it free
    "identity",  # who are you, a machine?
]
Engine = Literal["embedded", "rasa", "lexicon"]

TOPICS: tuple[Topic, ...] = get_args(Topic)
RISKS: tuple[Risk, ...] = get_args(Risk)
KINDS: tuple[Kind, ...] = get_args(Kind)
INTENTS: tuple[Intent, ...] = get_args(Intent)


def risk_rank(risk: Risk) -> int:
    """0 for none … 4 for critical: risks compare by this, never by their names."""
    return RISKS.index(risk)


def higher(first: Risk, second: Risk) -> Risk:
    """The graver of two risks. Where two judges differ, the graver one wins."""
    return first if risk_rank(first) >= risk_rank(second) else second


@dataclass(frozen=True, slots=True)
class Span:
    """Words that moved the risk: `[start, end)` in the text exactly as the person wrote it, and why, in Chinese for staff."""

    start: int
    end: int
    reason: str


@dataclass(frozen=True, slots=True)
class Understanding:
    """One message, understood.

    risk_score is the probability (0..1) that the message is high or critical. `kinds` is empty where there is no
    danger of a kind. `category` is a two- or three-part case category (案由) such as `legal.labour.unpaid_wages`, or `""`.
    `resolved` is true when the person says that a danger is over ("我到家了，没事了"). `entities` holds what could be read
    off the text (age, stage, who, place, phone, time, amount). `engine` says which engine decided; `lexicon` means that
    understanding failed and the fallback lexicon spoke (promise 4).
    """

    topic: Topic
    risk: Risk
    risk_score: float
    kinds: tuple[Kind, ...] = ()
    category: str = ""
    about: About = "unknown"
    intent: Intent = "none"
    resolved: bool = False
    spans: tuple[Span, ...] = ()
    entities: dict[str, str] = field(default_factory=dict)
    engine: Engine = "embedded"


class Understander(Protocol):
    """Any engine: the embedded one (`nlu.engine.Engine`), or that one with Rasa beside it (`bot.rasa_engine.RasaEngine`)."""

    def understand(self, text: str, history: Sequence[str] = ()) -> Understanding:
        """Read `text` in the light of `history` (the same person's older messages, oldest first)."""
        ...
