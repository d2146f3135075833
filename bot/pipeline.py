"""Third station, and the heart: what happens to every message once it is stored.

    bell -> load what the conversation has not answered -> understand -> handlers -> carry out -> one commit

One conversation at a time and in order, many conversations side by side, the results of many in one commit. Reading, thinking and
writing are apart: no network call and no thinking inside a transaction. A turn's effects happen once: the writing transaction
looks again whether the message is still `received`.

Promise 4: every message is judged for risk, whoever has the conversation. Promise 7: every message ends answered, queued or
escalated; one that cannot be carried out three times goes to a human with a holding text.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import orjson
import structlog
from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import flag_modified

from bot import failures, outbox
from bot.brain import Brain, Question, Thought, fall_back
from bot.channels import Button, StorageUnavailable
from bot.desk_view import DeskNow
from bot.events import News
from bot.outbox import Draft
from bot.queue import Bell, Queue
from bot.shell import Shell
from bot.storage.engine import is_unavailable
from escalation import alerts, conversations, episodes, nuisance, people, risk, satisfaction, unanswered
from escalation.columns import table_of
from escalation.policy import Policy
from escalation.privacy import DataKey, Unreadable, Vault
from escalation.tables import Conversation, Episode, Message, Person
from handlers import respond
from handlers import turn as handler
from handlers.templates import Templates
from nlu import language
from nlu.understanding import Understanding, higher, risk_rank

log = structlog.get_logger(__name__)

_HISTORY = 8  # older messages of the person that understanding sees
_TRIES = 3  # then a human gets the message as it is
_PARALLEL = 3  # batches thought about or written at the same time
_ANSWERED = 5  # answers of which a conversation knows the question, so that 没帮助 finds it


@dataclass(slots=True)
class _Inbound:
    """One message to handle, opened for reading."""

    id: int
    text: str
    kind: str
    meta: dict[str, Any]
    received_at: datetime
    thought: Thought | None = None


@dataclass(slots=True)
class _Work:
    """One conversation's unfinished messages, in order."""

    conversation_id: int
    key: DataKey
    memory_sealed: bytes | None
    memory: dict[str, Any]
    channel: str
    with_human: bool
    messages: list[_Inbound] = field(default_factory=list)


@dataclass(slots=True)
class _Effects:
    """What the commit made, to be told to screens and sender afterwards."""

    finished: list[int] = field(default_factory=list)
    replied: set[int] = field(default_factory=set)
    due: bool = True  # whether any of the replies is the sender's at once
    alerted: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True)
class _Writing:
    """One transaction under way: what its turns share, and the rows they leave to be written together at its end."""

    session: AsyncSession
    view: handler.DeskView
    marked: set[int]  # persons with a nuisance mark
    answers: outbox.Answers = field(default_factory=outbox.Answers)
    endings: list[dict[str, Any]] = field(default_factory=list)
    effects: _Effects = field(default_factory=_Effects)


_UNFINISHED = (
    select(
        Message.id,
        Message.kind,
        Message.text_sealed,
        Message.meta_sealed,
        Message.received_at,
        Conversation.id,
        Conversation.channel,
        Conversation.state,
        Conversation.memory_sealed,
        Person.data_key,
    )
    .join(Conversation, Conversation.id == Message.conversation_id)
    .join(Person, Person.id == Conversation.person_id)
    .where(
        Message.conversation_id.in_(bindparam("conversation_ids", expanding=True)),
        Message.state == "received",
    )
    .order_by(Message.id)
)
_LOCKED = (
    select(Conversation)
    .where(Conversation.id.in_(bindparam("conversation_ids", expanding=True)))
    .order_by(Conversation.id)  # everybody locks in the same order
    .with_for_update()
)
_STILL = select(Message.id).where(
    Message.id.in_(bindparam("message_ids", expanding=True)), Message.state == "received"
)
# Written after every turn, changed or not: conversations that change the same columns share one statement.
_TURNED = (
    "state",
    "risk",
    "topic",
    "category",
    "queue_rank",
    "waiting_since",
    "last_inbound_at",
    "memory_sealed",
)
_messages = table_of(Message)
_END = update(_messages).where(_messages.c.id == bindparam("message_id"))


class Pipeline:
    """Takes bells from the queue and handles the conversations behind them."""

    def __init__(self, shell: Shell, queue: Queue, brain: Brain, policy: Policy, desk: DeskNow) -> None:
        self._shell = shell
        self._queue = queue
        self._brain = brain
        self._policy = policy
        self._desk = desk
        self.texts = Templates()
        self._running: set[asyncio.Task[None]] = set()
        self._tries: defaultdict[int, int] = defaultdict(int)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="pipeline")

    async def close(self) -> None:
        """Stop taking bells; finish what is in hand."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._running:
            await asyncio.wait(self._running, timeout=5)

    async def _run(self) -> None:
        room = asyncio.Semaphore(_PARALLEL)
        async for bells in self._queue.listen():
            # An urgent batch does not wait for a place behind usual ones.
            if not bells[0].urgent:
                await room.acquire()
            task = asyncio.create_task(self._handle_and_report(bells))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            if not bells[0].urgent:
                task.add_done_callback(lambda _: room.release())

    async def _handle_and_report(self, bells: Sequence[Bell]) -> None:
        try:
            await self.handle([b.conversation_id for b in bells], urgent=bells[0].urgent)
        except StorageUnavailable:
            await asyncio.sleep(0.5)  # nothing was lost: the messages are stored
            await self._queue.ring([b.conversation_id for b in bells], urgent=bells[0].urgent)
        except Exception:
            log.exception("pipeline.failed", conversations=len(bells))
        finally:
            await self._queue.done(bells)

    async def handle(self, conversation_ids: Sequence[int], *, urgent: bool = False) -> None:
        """Handle every unfinished message of these conversations."""
        try:
            works = await self._load(conversation_ids)
            if not works:
                return
            await self._think(works, urgent=urgent)
            effects = await self._shell.storage.write(
                lambda session: self._carry_out(session, works), urgent=urgent
            )
        except StorageUnavailable:
            raise
        except Exception as error:
            if is_unavailable(error):
                raise StorageUnavailable(type(error).__name__) from None
            await self._one_by_one(conversation_ids, error, urgent=urgent)
            return
        for work in works:
            self._tries.pop(work.conversation_id, None)
        self._tell(effects)
        failed = sum(m.thought is not None and m.thought.fell_back for w in works for m in w.messages)
        if failed:
            await self._page_if_down(works[-1], failed)

    async def _page_if_down(self, work: _Work, failed: int) -> None:
        """Understanding failed several times in a short time, here or elsewhere: a supervisor must know (promise 4)."""
        settings, now = self._shell.settings, self._shell.clock()
        watch, desk = settings.understanding, settings.desk.id

        async def page(session: AsyncSession) -> int | None:
            lately = await failures.note(session, desk, failed, now, window=watch.failures_window_seconds)
            if lately < watch.failures_page:
                return None
            conversation = await conversations.locked(session, work.conversation_id)
            return (await alerts.understanding_down(session, conversation, now)).id

        alert_id = await self._shell.storage.write(page, urgent=True)
        if alert_id is not None:
            self._shell.bus.publish(News("alert", extra={"alert_id": str(alert_id)}))

    async def _one_by_one(self, conversation_ids: Sequence[int], error: Exception, *, urgent: bool) -> None:
        """Something in the batch failed: each conversation alone, so that one bad message harms nobody else."""
        if len(conversation_ids) > 1:
            for conversation_id in conversation_ids:
                await self.handle([conversation_id], urgent=urgent)
            return
        (conversation_id,) = conversation_ids
        tries = self._tries[conversation_id] = self._tries[conversation_id] + 1
        # The type of the failure, never its text: an exception may quote the words.
        log.error(
            "pipeline.turn_failed", error=type(error).__name__, tries=tries, conversation_id=conversation_id
        )
        if tries >= _TRIES:
            self._tell(
                await self._shell.storage.write(
                    lambda s: self._give_to_human(s, conversation_id), urgent=True
                )
            )
            self._tries.pop(conversation_id, None)
        else:
            await self._queue.ring([conversation_id], urgent=urgent)

    # --- load ---------------------------------------------------------------------------------------------------------

    async def _load(self, conversation_ids: Sequence[int]) -> list[_Work]:
        async with self._shell.storage.read() as session:
            rows = await session.execute(_UNFINISHED, {"conversation_ids": conversation_ids})
            works: dict[int, _Work] = {}
            for row in rows:
                (
                    message_id,
                    kind,
                    text,
                    meta,
                    received_at,
                    conversation_id,
                    channel,
                    state,
                    memory,
                    data_key,
                ) = row
                if data_key is None:
                    continue  # erased between storing and now: nothing can be read any more
                work = works.get(conversation_id)
                if work is None:
                    key = self._shell.vault.person_key(data_key)
                    remembered = conversations.recall(key, memory)
                    work = _Work(conversation_id, key, memory, remembered, channel, state == "human")
                    works[conversation_id] = work
                work.messages.append(_opened(work.key, message_id, kind, text, meta, received_at))
            return list(works.values())

    # --- understand ---------------------------------------------------------------------------------------------------

    async def _think(self, works: Sequence[_Work], *, urgent: bool) -> None:
        """One request for the whole batch; each message sees the ones before it, those of the same batch too."""
        asked: list[_Inbound] = []
        questions: list[Question] = []
        for work in works:
            history = list(work.memory.get("recent", ()))
            for message in work.messages:
                if not message.text.strip():
                    continue
                if command := _pressed(message.text, work.memory):
                    message.meta.setdefault("command", command)
                asked.append(message)
                questions.append(
                    Question(
                        text=_meant(message.text, work.memory),
                        history=history[-_HISTORY:],
                        channel="sms" if work.channel == "sms" else "web",
                        last_entry=str(work.memory.get("last_entry", "")),
                        answer=not work.with_human and "command" not in message.meta,
                    )
                )
                history.append(message.text)
        if questions:
            thoughts = await self._brain.think(questions, urgent=urgent)
            for message, thought in zip(asked, thoughts, strict=True):
                message.thought = thought

    # --- carry out ----------------------------------------------------------------------------------------------------

    async def _carry_out(self, session: AsyncSession, works: Sequence[_Work]) -> _Effects:
        ids = [m.id for w in works for m in w.messages]
        found = await session.scalars(_LOCKED, {"conversation_ids": [w.conversation_id for w in works]})
        locked = {c.id: c for c in found}
        still = set(await session.scalars(_STILL, {"message_ids": ids}))
        now = self._shell.clock()
        writing = _Writing(
            session,
            await self._desk.view(session, now),
            await nuisance.marked(session, [c.person_id for c in locked.values()], now),
        )
        for loaded in works:
            conversation = locked[loaded.conversation_id]
            # As it is now, under the lock: another worker may have written since we looked, and this may run again.
            memory = loaded.memory
            if conversation.memory_sealed != loaded.memory_sealed:
                memory = conversations.recall(loaded.key, conversation.memory_sealed)
            work = replace(loaded, memory=memory)
            for inbound in work.messages:
                if inbound.id in still:
                    await self._one_turn(writing, conversation, work, inbound)
            for column in _TURNED:
                flag_modified(conversation, column)
        if writing.endings:
            await session.execute(_END, writing.endings)
        await writing.answers.store(session)
        writing.effects.due = writing.answers.due
        return writing.effects

    async def _one_turn(
        self, writing: _Writing, conversation: Conversation, work: _Work, inbound: _Inbound
    ) -> None:
        session, effects = writing.session, writing.effects
        now = self._shell.clock()
        turn = await self._turn(session, conversation, work, inbound, writing.view, now)
        outcome = respond(turn, self.texts)
        conversation.risk = turn.risk
        _note_arrival(conversation, inbound, turn)
        if inbound.meta.get("opt_out"):  # whatever else the same message says, and whoever answers it
            await people.stop_proactive(session, conversation.person_id, now)
        state = await self._act(writing, conversation, work, inbound, outcome, turn, now)
        self._reply(writing.answers, conversation, work, inbound, outcome, now)
        if outcome.replies:
            effects.replied.add(conversation.id)
        if conversation.episode_id and any(r.kind == "safety" for r in outcome.replies):
            (await session.get_one(Episode, conversation.episode_id)).safety_sent_at = now
        understood = orjson.dumps(turn.understanding).decode()
        writing.endings.append(
            {
                "message_id": inbound.id,
                "state": state,
                "finished_at": now,
                "risk": turn.understanding.risk,
                "risk_score": _score(inbound),
                "understanding_sealed": work.key.seal(understood, "message.understanding"),
            }
        )
        work.memory = dict(outcome.memory)
        for reply in outcome.replies:
            if reply.source.startswith("entry:"):
                entry_id = reply.source.removeprefix("entry:")
                others = [(i, m) for i, m in work.memory.get("answered", {}).items() if i != entry_id]
                work.memory["answered"] = dict([*others, (entry_id, inbound.id)][-_ANSWERED:])
        if buttons := [b for r in outcome.replies for b in r.buttons if b.value.startswith("/")]:
            work.memory["buttons"] = {b.label: b.value for b in buttons}
        if inbound.text.strip():
            recent = [*work.memory.get("recent", ()), inbound.text[:2000]]
            work.memory["recent"] = recent[-_HISTORY:]
        conversations.remember(work.key, conversation, work.memory)
        effects.finished.append(inbound.id)

    async def _turn(
        self,
        session: AsyncSession,
        conversation: Conversation,
        work: _Work,
        inbound: _Inbound,
        view: handler.DeskView,
        now: datetime,
    ) -> handler.Turn:
        unreadable = bool(inbound.meta.get("unreadable"))
        thought = inbound.thought or Thought(_silent(unreadable=unreadable))
        understood = thought.understanding
        foreign = _is_foreign(inbound, understood)
        unreadable = unreadable or foreign
        if unreadable and risk_rank(understood.risk) < risk_rank("medium"):
            understood = replace(understood, risk="medium")
        episode = await session.get(Episode, conversation.episode_id) if conversation.episode_id else None
        level = risk.level_after(
            conversation.risk,
            understood,
            assessed=await episodes.assessed_level(session, conversation),
            minutes_since_last=_minutes(conversation.last_inbound_at, now),
        )
        kinds = tuple(dict.fromkeys((*understood.kinds, *(episode.kinds if episode else ()))))
        return handler.Turn(
            text=inbound.text,
            kind=inbound.kind,
            channel=conversation.channel,
            understanding=understood,
            answer=thought.answer,
            state=conversation.state,  # type: ignore[arg-type]
            risk_before=conversation.risk,
            risk=level,
            kinds=kinds,
            desk=view,
            now=now,
            episode_open=episode is not None,
            safety_sent=episode is not None and episode.safety_sent_at is not None,
            human_is_answering=conversation.state == "human" and conversation.owner_id is not None,
            first_message=conversation.last_inbound_at is None,
            unreadable=foreign or (unreadable and not inbound.text.strip()),
            understanding_failed=thought.failed,
            memory=work.memory,
            command=str(inbound.meta.get("command", "")),
        )

    async def _act(
        self,
        writing: _Writing,
        conversation: Conversation,
        work: _Work,
        inbound: _Inbound,
        outcome: handler.Outcome,
        turn: handler.Turn,
        now: datetime,
    ) -> str:
        """Carry out the actions; returns the state in which the message ends."""
        session = writing.session
        state = "queued" if turn.human_is_answering or conversation.state == "queued" else "answered"
        for action in outcome.actions:
            match action:
                case handler.Raise(level, kinds):
                    conversation.risk = higher(conversation.risk, level)
                    raised = await episodes.raise_risk(
                        session, conversation, level=level, kinds=kinds, now=now, policy=self._policy
                    )
                    writing.effects.alerted.append((conversation.id, raised.alert.id))
                    state = "escalated"
                case handler.Queue(reason):
                    marked = conversation.person_id in writing.marked
                    await conversations.to_queue(session, conversation, reason=reason, now=now, marked=marked)
                    state = "escalated" if state == "escalated" else "queued"
                case handler.Helped(entry_id, helped):
                    await satisfaction.entry(session, conversation, entry_id, helped=helped, now=now)
                case handler.Unanswered(entry_id):
                    await _note_unanswered(session, conversation, work, inbound, turn, entry_id)
                case handler.Rated(conversation_id, score):
                    rated = await session.get(Conversation, conversation_id)
                    if rated is not None and rated.contact_id == conversation.contact_id:
                        await satisfaction.conversation_score(session, rated, score, now)
                case handler.StopProactive():
                    await people.stop_proactive(session, conversation.person_id, now)
        return state

    def _reply(
        self,
        answers: outbox.Answers,
        conversation: Conversation,
        work: _Work,
        inbound: _Inbound,
        outcome: handler.Outcome,
        now: datetime,
    ) -> None:
        for lane, replies in _lanes(outcome.replies):
            answers.add(
                conversation,
                [Draft(r.text, [Button(b.label, b.value) for b in r.buttons], r.source) for r in replies],
                work.key,
                lane=lane,
                now=now,
                message_id=inbound.id,
                received_at=inbound.received_at,
                hold=self._shell.outbox.hold(conversation),
            )

    async def _give_to_human(self, session: AsyncSession, conversation_id: int) -> _Effects:
        """The last resort of promise 7: no handler and no engine, only the fallback lexicon, the queue and a holding text."""
        now = self._shell.clock()
        effects = _Effects()
        conversation = await conversations.locked(session, conversation_id)
        key = await _readable_key(session, self._shell.vault, conversation)
        rows = await session.scalars(
            select(Message)
            .where(Message.conversation_id == conversation_id, Message.state == "received")
            .order_by(Message.id)
        )
        for row in rows.all():
            judged = fall_back(conversations.open_line(key, row).text or "").understanding
            conversation.risk = higher(conversation.risk, judged.risk)
            if risk_rank(judged.risk) >= risk_rank("high"):
                raised = await episodes.raise_risk(
                    session,
                    conversation,
                    level=judged.risk,
                    kinds=judged.kinds,
                    now=now,
                    policy=self._policy,
                )
                effects.alerted.append((conversation.id, raised.alert.id))
            conversations.heard(conversation, row.received_at)
            await conversations.to_queue(session, conversation, reason="turn_failed", now=now)
            row.state, row.finished_at, row.risk = "escalated", now, judged.risk
            effects.finished.append(row.id)
        if effects.finished and key is not None and conversation.state != "human":  # promise 6: they see it
            filled = Templates().fill("holding.failed", await self._desk.view(session, now))
            draft = Draft(filled.text, template=filled.source)
            await outbox.write(
                session, self._shell.vault, conversation, [draft], lane=outbox.CRISIS, now=now, key=key
            )
            effects.replied.add(conversation.id)
        return effects

    def _tell(self, effects: _Effects) -> None:
        bus = self._shell.bus
        for message_id in effects.finished:
            bus.publish(News("finished", extra={"message_id": message_id}))
        for conversation_id, alert_id in effects.alerted:
            bus.publish(News("alert", conversation_id, {"alert_id": str(alert_id)}))
        for conversation_id in effects.replied:
            self._shell.outbox.ring(conversation_id, due=effects.due)


def _opened(
    key: DataKey,
    message_id: int,
    kind: str,
    text_sealed: bytes | None,
    meta_sealed: bytes | None,
    received_at: datetime,
) -> _Inbound:
    text = conversations.opened(key, text_sealed, "message.text")
    meta = conversations.opened_object(key, meta_sealed, "message.meta")
    if text is None and text_sealed is not None:
        meta["unreadable"] = True  # a damaged row is something no machine can read: a human looks
    return _Inbound(message_id, text or "", kind, meta, received_at)


async def _readable_key(session: AsyncSession, vault: Vault, conversation: Conversation) -> DataKey | None:
    """The person's key, or None where it does not open any more: then nothing can be read or said, only shown."""
    try:
        return await people.key_of(session, vault, conversation.person_id)
    except Unreadable:
        return None


def _score(inbound: _Inbound) -> float | None:
    """The engine's score, for the watch on drift; None where it did not read the message."""
    thought = inbound.thought
    return None if thought is None or thought.fell_back else round(thought.understanding.risk_score, 4)


def _minutes(before: datetime | None, now: datetime) -> float | None:
    return None if before is None else (now - before).total_seconds() / 60


def _pressed(text: str, memory: dict[str, Any]) -> str:
    """The command of a button whose label was typed: a telephone has no buttons to press. "" for other words."""
    buttons: dict[str, str] = memory.get("buttons") or {}
    return buttons.get(text.strip().rstrip(".。!！"), "")


def _meant(text: str, memory: dict[str, Any]) -> str:
    """A bare number after a choice of titles means that title."""
    choices = memory.get("choices") or ()
    number = text.strip().rstrip(".。、")
    if number.isdecimal() and len(number) < 3 and 1 <= int(number) <= len(choices):
        return str(choices[int(number) - 1])
    return text


def _silent(*, unreadable: bool) -> Understanding:
    """What is known of a message without words."""
    return Understanding(
        topic="other", risk="medium" if unreadable else "none", risk_score=0.3 if unreadable else 0.0
    )


def _is_foreign(inbound: _Inbound, understood: Understanding) -> bool:
    """Another language that the engine found neither danger nor a known wish in: no machine here can judge it."""
    return (
        understood.intent == "none"
        and risk_rank(understood.risk) < risk_rank("high")
        and "command" not in inbound.meta
        and language.is_foreign(inbound.text)
    )


def _note_arrival(conversation: Conversation, inbound: _Inbound, turn: handler.Turn) -> None:
    conversations.heard(conversation, inbound.received_at)
    if turn.understanding.topic != "other":
        conversation.topic = turn.understanding.topic
    # What it is about stays as first understood, unless danger says something graver.
    graver = risk_rank(turn.understanding.risk) >= risk_rank("high")
    if turn.understanding.category and (graver or not conversation.category):
        conversation.category = turn.understanding.category


async def _note_unanswered(
    session: AsyncSession,
    conversation: Conversation,
    work: _Work,
    inbound: _Inbound,
    turn: handler.Turn,
    entry_id: str,
) -> None:
    """What the bot could not answer, for the curators. A message that only the lexicon judged says nothing about knowledge."""
    if entry_id:
        message_id = (turn.memory.get("answered") or {}).get(entry_id)
        if message_id is not None:
            await unanswered.did_not_help(session, work.key, conversation, message_id, entry_id)
    elif inbound.thought is not None and not inbound.thought.fell_back:
        unanswered.got_no_answer(
            session, conversation, inbound.id, inbound.text, turn.understanding, inbound.received_at
        )


def _lanes(replies: Iterable[handler.Reply]) -> list[tuple[int, list[handler.Reply]]]:
    """Replies that belong together stay in order: if one is a safety text, all of the turn go in the crisis lane."""
    all_of_them = list(replies)
    if not all_of_them:
        return []
    urgent = any(r.kind in ("safety", "staged") for r in all_of_them)
    return [(outbox.CRISIS if urgent else outbox.BOT, all_of_them)]
