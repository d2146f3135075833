"""A question that knowledge can answer: a published entry word for word, or two or three titles to choose from (promise 9)."""

from __future__ import annotations

from handlers import handoff
from handlers.speak import HELPED, HUMAN, NOT_HELPED, remember, say
from handlers.templates import Templates
from handlers.turn import Action, Button, DeskView, Outcome, Queue, Reply, Turn
from knowledge.answer import Answer
from nlu.understanding import risk_rank


def handle(turn: Turn, texts: Templates) -> Outcome | None:
    """The entry with its source line and three buttons, the choice, or None."""
    answer = turn.answer
    if answer.outcome == "choose" and answer.candidates:
        return _choose(turn, texts)
    if answer.outcome != "answer":
        return None
    replies = [entry_reply(answer, turn.desk, texts)]
    actions: tuple[Action, ...] = ()
    # An entry about self-harm or abuse never stands alone, and marked distress always brings a human.
    if answer.brings_human or risk_rank(turn.risk) >= risk_rank("medium"):
        replies.append(say(turn, texts, "handoff", "answer.brings_human"))
        if not turn.desk.human_on_duty:
            replies.append(handoff.queued(turn, texts))
        actions = (Queue("brings_human"),)
    return Outcome(
        tuple(replies), actions, remember(turn, last_entry=answer.entry_id, failures=None, choices=None)
    )


def entry_reply(answer: Answer, desk: DeskView, texts: Templates) -> Reply:
    """An entry as it is sent: its words, the line with its sources, a caution where its review is due, three buttons."""
    text = answer.text
    if answer.sources:
        line = texts.fill("answer.source_line", desk, sources="；".join(s.line() for s in answer.sources))
        text = f"{text}\n{line.text}"
    if answer.overdue:
        text = f"{text}\n{texts.fill('answer.overdue', desk).text}"
    buttons = (
        Button(HELPED, f"/helped {answer.entry_id}"),
        Button(NOT_HELPED, f"/not-helped {answer.entry_id}"),
        HUMAN,
    )
    return Reply("answer", text, f"entry:{answer.entry_id}", buttons)


def _choose(turn: Turn, texts: Templates) -> Outcome:
    """Two or three titles. Where there are no buttons (SMS) the number is enough, so the numbers are written out."""
    titles = [c.title for c in turn.answer.candidates[:3]]
    question = say(turn, texts, "choices", "answer.choose")
    listed = "\n".join(f"{n}. {title}" for n, title in enumerate(titles, 1))
    buttons = (*(Button(title, title) for title in titles), HUMAN)
    reply = Reply("choices", f"{question.text}\n{listed}", question.source, buttons)
    return Outcome((reply,), (), remember(turn, choices=titles))
