"""Danger, asked before everything else (promise 5).

At high or critical: a safety text at once, by kind of danger, what happens next by day or night, an episode with case and alert.
Then the bot stays: one short, calm question at a time, until a human writes.
"""

from __future__ import annotations

from collections.abc import Collection

from handlers.speak import remember, say
from handlers.templates import Templates
from handlers.turn import Action, Button, Outcome, Raise, Reply, Turn
from nlu.understanding import About, Kind, Risk, risk_rank

_HIGH = risk_rank("high")

# Which text speaks when several dangers are named: the one where minutes count comes first.
_BY_KIND: tuple[tuple[Kind, str], ...] = (
    ("emergency", "safety.emergency"),
    ("suicide", "safety.suicide"),
    ("trafficking", "safety.trafficking"),
    ("sexual_abuse", "safety.sexual_abuse"),
    ("domestic_abuse", "safety.domestic_abuse"),
    ("self_harm", "safety.self_harm"),
    ("violence", "safety.violence"),
    ("runaway", "safety.runaway"),
    ("bullying", "safety.bullying"),
    ("drugs", "safety.drugs"),
    ("fraud", "safety.fraud"),
)

_SAFE = Button("安全", "/safe yes")
_UNSAFE = Button("不安全", "/safe no")
_SOMEONE = Button("有人", "/someone yes")
_NOBODY = Button("没有人", "/someone no")

# What the bot asks while no human has come, in this order; the last one repeats.
_STAGES: tuple[tuple[str, tuple[Button, ...]], ...] = (
    ("staged.safe_now", (_SAFE, _UNSAFE)),
    ("staged.someone_there", (_SOMEONE, _NOBODY)),
    ("staged.breathe", ()),
    ("staged.still_here", ()),
)


def handle(turn: Turn, texts: Templates) -> Outcome | None:
    """Safety text, alert and staged prompts; None where there is no danger."""
    own = turn.understanding.risk
    if turn.command == "/safe no" and turn.episode_open:
        return _unsafe_now(turn, texts)
    danger = risk_rank(turn.risk) >= _HIGH and (risk_rank(own) >= _HIGH or not turn.episode_open)
    actions: tuple[Action, ...] = (Raise(turn.risk, turn.kinds),) if danger else ()
    if turn.human_is_answering:
        # The bot is silent; the episode's rules alarm the owner, and send the safety text if nobody writes.
        return Outcome(actions=actions, memory=turn.memory) if actions else None
    if not danger and not turn.episode_open:
        return None
    risen = risk_rank(turn.risk) > risk_rank(turn.risk_before)
    if not turn.safety_sent or (danger and risen):
        return Outcome(_first_words(turn, texts), actions, remember(turn, stage=1))
    return _stay(turn, texts, actions)


def safety_text(turn: Turn, texts: Templates) -> Reply:
    """The one safety text for this danger."""
    return say(turn, texts, "safety", safety_key(turn))


def safety_key(turn: Turn) -> str:
    """Which safety text: by who is in danger, the gravest kind, and whether it happens now."""
    return safety_key_of(turn.kinds, turn.risk, turn.understanding.about)


def safety_key_of(kinds: Collection[str], risk: Risk, about: About = "unknown") -> str:
    """The same for a danger known only by its kinds and level (bot/ladder.py)."""
    key = next((text for kind, text in _BY_KIND if kind in kinds), "safety.generic")
    if about == "other" and key in ("safety.suicide", "safety.self_harm", "safety.generic"):
        return "safety.other_person"
    if key == "safety.suicide" and risk == "critical":
        return "safety.suicide.critical"
    return key


def _first_words(turn: Turn, texts: Templates) -> tuple[Reply, ...]:
    if not turn.desk.human_on_duty:
        next_step = "coming.nobody"
    elif turn.desk.night:
        next_step = "coming.night"
    else:
        next_step = "coming.day"
    question, answers = _STAGES[0]
    return (
        safety_text(turn, texts),
        say(turn, texts, "safety", next_step),
        say(turn, texts, "staged", question, *answers),
    )


def _stay(turn: Turn, texts: Templates, actions: tuple[Action, ...]) -> Outcome:
    if turn.command == "/safe yes":
        first = say(turn, texts, "staged", "staged.glad_safe")
        question, answers = _STAGES[1]
        return Outcome(
            (first, say(turn, texts, "staged", question, *answers)), actions, remember(turn, stage=2)
        )
    if turn.command == "/someone no":
        return Outcome((say(turn, texts, "staged", "staged.call_someone"),), actions, remember(turn, stage=2))
    stage = min(int(turn.memory.get("stage", 0)), len(_STAGES) - 1)
    question, answers = _STAGES[stage]
    reply = say(turn, texts, "staged", question, *answers)
    return Outcome((reply,), actions, remember(turn, stage=stage + 1))


def _unsafe_now(turn: Turn, texts: Templates) -> Outcome:
    """ "不安全" is the person's plain word that the danger is now: critical, whoever has the conversation."""
    replies = () if turn.human_is_answering else (say(turn, texts, "safety", "staged.unsafe_now"),)
    return Outcome(replies, (Raise("critical", turn.kinds),), remember(turn, stage=2))
