"""One turn: everything a handler may know of a message, and everything it may answer or ask for.

The pipeline builds the Turn, the handlers look at it and return an Outcome, the pipeline carries the Outcome out. Handlers do no
I/O and change nothing themselves, so each can be tested with a value in and a value out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from knowledge.answer import NOTHING, Answer
from nlu.understanding import Kind, Risk, Understanding

ConversationState = Literal["bot", "queued", "human", "closed"]
ReplyKind = Literal[
    "safety", "staged", "answer", "choices", "service", "handoff", "holding", "greeting", "fallback"
]


@dataclass(frozen=True, slots=True)
class DeskView:
    """What texts may say about this desk: name, numbers by name ("police": "110"), hours in words, who is there now."""

    name: str
    numbers: Mapping[str, str] = field(default_factory=dict)
    hours: str = ""
    night: bool = False
    human_on_duty: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """One inbound message in its conversation, understood.

    `risk` is the conversation's level after this message (never below the message's own unless resolved); `risk_before` the level
    before it. `memory` is what handlers remembered of this conversation (a flat JSON object). `episode_open` tells whether an
    episode was open before this message. `unreadable` marks what no machine can judge. `understanding_failed` is promise 4's case
    where both understanding and the fallback lexicon were silent.
    """

    text: str
    kind: str
    channel: str
    understanding: Understanding
    answer: Answer
    state: ConversationState
    risk_before: Risk
    risk: Risk
    kinds: tuple[Kind, ...]
    desk: DeskView
    now: datetime
    episode_open: bool = False
    safety_sent: bool = False
    human_is_answering: bool = False
    first_message: bool = False
    unreadable: bool = False
    understanding_failed: bool = False
    memory: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""  # a pressed button: "/helped labour.unpaid-wages", "/human", "/choose 2"


@dataclass(frozen=True, slots=True)
class Button:
    """A quick reply under a message: what it says, and what comes back ("/…" is a command, not the person's words)."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class Reply:
    """Words for the young person, each from an approved template or a published entry (`source`: key@version)."""

    kind: ReplyKind
    text: str
    source: str
    buttons: tuple[Button, ...] = ()


@dataclass(frozen=True, slots=True)
class Raise:
    """Open an episode, or raise the open one: case, head of the queue, alert."""

    level: Risk
    kinds: tuple[Kind, ...]


@dataclass(frozen=True, slots=True)
class Queue:
    """Bring the conversation to a human. `reason`: asked, dissatisfied, failures, unreadable, unsure, brings_human."""

    reason: str


@dataclass(frozen=True, slots=True)
class Helped:
    """The person said whether an entry helped."""

    entry_id: str
    helped: bool


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No entry answered this message; with `entry_id`, that entry did not help with an earlier one. For the curators."""

    entry_id: str = ""


@dataclass(frozen=True, slots=True)
class StopProactive:
    """The person wants no texts on our own initiative."""


@dataclass(frozen=True, slots=True)
class Rated:
    """The person's 1 to 5 on a closed conversation of theirs."""

    conversation_id: int
    score: int


Action = Raise | Queue | Helped | Unanswered | StopProactive | Rated


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to say, what to do, and what to remember next time (`memory` replaces the old one)."""

    replies: tuple[Reply, ...] = ()
    actions: tuple[Action, ...] = ()
    memory: Mapping[str, Any] = field(default_factory=dict)


__all__ = [
    "NOTHING", "Action", "Button", "ConversationState", "DeskView", "Helped", "Outcome", "Queue", "Raise", "Rated", "Reply",
    "StopProactive", "Turn", "Unanswered",
]  # fmt: skip
