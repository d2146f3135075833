"""Understanding in processes that can be killed (promise 4).

`Brain.think` asks a child process (brain_child.py) what a message means and what knowledge says to it. A child that does not
answer within the limit, dies or runs out of memory is killed and replaced; the message it failed on is judged by the separate
fallback lexicon, and if that is silent too, goes to a human as `medium`. What else the child had in hand is given to the next
child once. Many questions are asked a few at a time, and whoever has danger in hand gets the next child that is free: being
busy must not look like having failed. Children load the models; this process stays small.

Entries that were published or retired reach the children by `follow`: one child after the other builds the new library beside the
one it answers from, and changes over when it is ready; the others go first where there is something to think about. A child that
starts later begins with the newest.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from bot import models
from bot.rasa_address import RasaAddress, address_of
from bot.settings import Settings
from knowledge.answer import NOTHING, Answer, Candidate, Source
from knowledge.overlay import NO_OVERLAY, Overlay
from nlu import fallback
from nlu.understanding import Span, Understanding

log = structlog.get_logger(__name__)

PACKAGED = "packaged"
_LENGTH = struct.Struct("!I")
_START_SECONDS = 30
_START_SECONDS_LARGE = 600  # a large encoder reads every wording of every entry at its start
_TELL_SECONDS = 10.0  # for a child to take in what it is to build: thousands of entries are megabytes of JSON
_BUILDING_LOOK = 0.2  # seconds between looks whether a child has built its library
_SHARE = 16  # questions a child gets at once: some 50 ms, after which an urgent one may go first


@dataclass(frozen=True, slots=True)
class Question:
    """What to think about: the message, older messages of the person (oldest first), and where the answer would be read."""

    text: str
    history: Sequence[str] = ()
    channel: str = "web"
    last_entry: str = ""
    # False where no answer is wanted (a human has the conversation): only the risk is judged.
    answer: bool = True


@dataclass(frozen=True, slots=True)
class Options:
    """What the children are to load, from `understanding` in config.yml. `rasa`: where a Rasa server is a second judge.

    A model of the desk's own that is missing, changed or made for another version must not stop a desk at night: the packaged one
    takes its place, and the log says so.
    """

    encoder: str = PACKAGED
    overdue: str = "caution"  # what an entry past its day of review does; see knowledge in config.yml
    rasa: RasaAddress | None = None
    model: str = ""  # the desk's own model file, "" for the packaged one …
    model_sha256: str = ""  # … and what it must be
    thresholds: tuple[float, ...] | None = None  # low, medium, high, critical; None for the model's own


@dataclass(frozen=True, slots=True)
class Thought:
    """`failed`: neither the engine nor the fallback lexicon could judge; a human must look (promise 4)."""

    understanding: Understanding
    answer: Answer = NOTHING
    failed: bool = False
    fell_back: bool = False


@dataclass(frozen=True, slots=True)
class LookedUp:
    """What the library says to a question, for staff: the answer, and the nearest entries best first with why."""

    answer: Answer
    candidates: tuple[Candidate, ...] = ()


class BrainProblem(Exception):
    """A child cannot start: a model file is missing or wrong. The text says which."""


def fall_back(text: str) -> Thought:
    """The judgement without the engine: the lexicon's, or `medium` for a human to look at."""
    judged = fallback.judge(text)
    if judged is not None:
        return Thought(judged, fell_back=True)
    unsure = Understanding(topic="other", risk="medium", risk_score=0.5, engine="lexicon")
    return Thought(unsure, failed=True, fell_back=True)


class _Failed(Exception):
    """The child failed on item `index`; `thoughts` are the answers before it."""

    def __init__(self, thoughts: list[Thought]) -> None:
        super().__init__("the understanding process failed")
        self.thoughts = thoughts


class _Child:
    """One understanding process and the pipe to it. Handles one request at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.rasa_trouble = ""  # why Rasa was not heard the last time; "" where it was, or is not asked
        self.entries_trouble = ""  # why it could not take the newest entries into use
        self.entries: Overlay | None = None  # what it was told last …
        self.building = False  # … and whether it still answers from those before

    @classmethod
    async def start(
        cls,
        memory_mb: int,
        command: Sequence[str],
        options: Options,
        entries: Callable[[], Awaitable[Overlay]],
    ) -> _Child:
        process = await asyncio.create_subprocess_exec(
            *command,
            str(memory_mb),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=None,
        )
        child = cls(process)
        limit = _START_SECONDS if options.encoder == PACKAGED else _START_SECONDS_LARGE
        try:
            await child._send(options)  # by pipe: a token must not stand on a command line
            child.entries = await entries()  # it loads its models meanwhile
            await child._send(child.entries.as_json())
            async with asyncio.timeout(limit):
                greeting = await child._receive()
        except (TimeoutError, asyncio.IncompleteReadError, OSError):
            await child.kill()
            raise BrainProblem(f"理解进程没能在 {limit} 秒内启动，上面几行是它自己的话") from None
        except BaseException:  # we are closing
            await child.kill()
            raise
        if "error" in greeting:
            await child.kill()
            raise BrainProblem(str(greeting["error"]))
        child._heed(greeting)
        if greeting.get("model_trouble"):
            log.error("understanding.model_refused", why=greeting["model_trouble"], used="packaged")
        return child

    @property
    def pid(self) -> int:
        return self._process.pid

    async def think(self, questions: Sequence[Question], limit: float) -> list[Thought]:
        """Answers in order; raises _Failed when one does not come within `limit` seconds of the one before it."""
        thoughts: list[Thought] = []
        try:
            async with asyncio.timeout(limit) as silence:
                await self._send([_as_json(q) for q in questions])
                for question in questions:
                    silence.reschedule(asyncio.get_running_loop().time() + limit)
                    reply = await self._receive()
                    thoughts.append(fall_back(question.text) if "error" in reply else _thought(reply))
                    self._heed(reply)
        except (
            TimeoutError,
            asyncio.IncompleteReadError,
            OSError,
            orjson.JSONDecodeError,
            KeyError,
            TypeError,
        ):
            raise _Failed(thoughts) from None
        return thoughts

    async def tell(self, entries: Overlay) -> None:
        """Have it build these entries beside those it answers from. Raises _Failed."""
        try:
            async with asyncio.timeout(_TELL_SECONDS):
                await self._send({"entries": entries.as_json()})
                self._heed(await self._receive())
        except (TimeoutError, asyncio.IncompleteReadError, OSError, orjson.JSONDecodeError):
            raise _Failed([]) from None
        self.entries = entries

    async def how_far(self, limit: float) -> None:
        """Ask whether it still builds. Raises _Failed."""
        try:
            async with asyncio.timeout(limit):
                await self._send({"how_far": True})
                self._heed(await self._receive())
        except (TimeoutError, asyncio.IncompleteReadError, OSError, orjson.JSONDecodeError):
            raise _Failed([]) from None

    async def look_up(self, asked: dict[str, Any], limit: float) -> LookedUp:
        """Raises _Failed."""
        try:
            async with asyncio.timeout(limit):
                await self._send({"look_up": asked})
                reply = await self._receive()
                self._heed(reply)
                found = tuple(Candidate(**c) for c in reply["candidates"])
                return LookedUp(answer_from(reply["answer"]), found)
        except (
            TimeoutError,
            asyncio.IncompleteReadError,
            OSError,
            orjson.JSONDecodeError,
            KeyError,
            TypeError,
        ):
            raise _Failed([]) from None

    def _heed(self, reply: dict[str, Any]) -> None:
        self.rasa_trouble = str(reply.get("rasa_trouble", ""))
        self.entries_trouble = str(reply.get("entries_trouble", ""))
        self.building = bool(reply.get("building", False))

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        with contextlib.suppress(
            RuntimeError, ConnectionError
        ):  # somebody is still reading: the end reaches them
            await self._process.communicate()
        await self._process.wait()

    async def _send(self, value: Any) -> None:
        assert self._process.stdin is not None
        body = orjson.dumps(value)
        try:
            self._process.stdin.write(_LENGTH.pack(len(body)) + body)
            await self._process.stdin.drain()
        except RuntimeError:  # uvloop's word for a pipe whose other end has died
            raise BrokenPipeError from None

    async def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        (length,) = _LENGTH.unpack(await self._process.stdout.readexactly(_LENGTH.size))
        reply: dict[str, Any] = orjson.loads(await self._process.stdout.readexactly(length))
        return reply


class Brain:
    """A small pool of understanding processes. One to start with is enough for a county; two use two cores."""

    def __init__(
        self,
        *,
        processes: int = 2,
        limit: float = 1.0,
        memory_mb: int = 1024,
        command: Sequence[str] = (sys.executable, "-m", "bot.brain_child"),
        options: Options | None = None,
        waits_for_entries: bool = False,
    ) -> None:
        """`waits_for_entries`: no child is ready before `follow` said which entries there are beside the shipped ones."""
        self._processes = processes
        self._limit = limit
        self._memory_mb = memory_mb
        self._command = command
        self._options = options or Options()
        self._rasa_trouble = ""
        self._entries_trouble = ""
        self._entries = None if waits_for_entries else NO_OVERLAY
        self._entries_known = asyncio.Event()
        self._builder: _Child | None = None  # the child that is told now, or builds
        self._rolling_out: asyncio.Task[None] | None = None
        self._idle: deque[_Child] = deque()
        self._waiting: dict[bool, deque[asyncio.Future[_Child]]] = {True: deque(), False: deque()}
        self._children: set[_Child] = set()
        self._replacing: set[asyncio.Task[None]] = set()
        self._first: asyncio.Task[None] | None = None
        self._closing = False

    def begin(self) -> None:
        """Start the first child; it loads its models while the caller goes on. `start` waits for it."""
        self._first = asyncio.create_task(self._add(), name="brain-first")

    async def start(self) -> None:
        """Start the children and wait for the first to be ready. Raises BrainProblem."""
        if self._first is None:
            self.begin()
        assert self._first is not None
        await self._first
        for _ in range(self._processes - 1):  # the others may come a moment later
            self._keep(asyncio.create_task(self._restart(), name="brain-start"))

    async def close(self) -> None:
        self._closing = True
        if self._first is not None:
            self._keep(self._first)
        for task in self._replacing:
            task.cancel()
        await asyncio.gather(*self._replacing, *(c.kill() for c in self._children), return_exceptions=True)
        self._children.clear()

    async def think(self, questions: Sequence[Question], *, urgent: bool = False) -> list[Thought]:
        """One thought per question, in order. Never raises: what cannot be understood falls back."""
        thoughts: list[Thought] = []
        for at in range(0, len(questions), _SHARE):
            thoughts += await self._think_share(questions[at : at + _SHARE], urgent=urgent)
        return thoughts

    async def _think_share(self, questions: Sequence[Question], *, urgent: bool) -> list[Thought]:
        thoughts: list[Thought] = []
        rest = list(questions)
        for attempt in (1, 2):
            if not rest:
                break
            child = await self._take(urgent=urgent)
            if child is None:
                break
            try:
                done = await child.think(rest, self._limit)
            except _Failed as failed:
                await self._replace(child)
                done = failed.thoughts
                if len(done) < len(rest):
                    done.append(fall_back(rest[len(done)].text))
                log.warning("understanding.failed", attempt=attempt, left=len(rest) - len(done))
            except BaseException:  # cancelled: what it would say next belongs to nobody
                await self._replace(child)
                raise
            else:
                self._watch(child)
                self._give(child)
            thoughts += done
            rest = rest[len(done) :]
        return thoughts + [fall_back(q.text) for q in rest]

    def follow(self, entries: Overlay) -> None:
        """From now on answer from these. Never waits: a child is told when it is free, and builds while it answers."""
        self._entries = entries
        self._entries_known.set()
        if self._rolling_out is None or self._rolling_out.done():
            self._rolling_out = asyncio.create_task(self._roll_out(), name="brain-entries")
            self._keep(self._rolling_out)

    async def look_up(
        self, question: str, *, channel: str = "web", category: str = "", last_entry: str = "", limit: int = 5
    ) -> LookedUp | None:
        """What knowledge says to a question of the staff. None when no child could say it; a message of a young person is
        `think`'s, which never leaves it unanswered."""
        child = await self._take(urgent=False)
        if child is None:
            return None
        asked = {"text": _whole(question), "channel": channel, "category": category, "last_entry": last_entry}
        try:
            found = await child.look_up(asked | {"limit": limit}, self._limit)
        except _Failed:
            await self._replace(child)
            return None
        except BaseException:
            await self._replace(child)
            raise
        self._watch(child)
        self._give(child)
        return found

    @property
    def ready(self) -> int:
        """How many processes are alive and have their models."""
        return len(self._children)

    async def _take(self, *, urgent: bool) -> _Child | None:
        """A free child, urgent callers first; None when none comes free within the limit."""
        if self._idle:
            return self._idle.popleft()
        turn: asyncio.Future[_Child] = asyncio.get_running_loop().create_future()
        self._waiting[urgent].append(turn)
        try:
            await asyncio.wait([turn], timeout=self._limit)
        finally:
            came = turn.done()
            turn.cancel()
        return turn.result() if came else None

    def _give(self, child: _Child) -> None:
        if child is self._builder and not child.building:
            self._builder = None
        if child.entries is not self._entries and self._builder is None and not self._closing:
            self._builder = child
            self._keep(asyncio.create_task(self._tell(child), name="brain-tell"))
            return
        for lane in (self._waiting[True], self._waiting[False]):
            while lane:
                turn = lane.popleft()
                if not turn.done():
                    turn.set_result(child)
                    return
        if child.building:  # its answers take a little longer: the others first
            self._idle.append(child)
        else:
            self._idle.appendleft(child)

    async def _roll_out(self) -> None:
        """Until every child has the newest entries in use: look how far the one that builds is, then have the next build."""
        while any(child.building or child.entries is not self._entries for child in self._children):
            for child in list(self._idle):
                if child.building:
                    self._idle.remove(child)
                    await self._look_how_far(child)
                elif child.entries is not self._entries and self._builder is None:
                    self._idle.remove(child)
                    self._give(child)
            await asyncio.sleep(_BUILDING_LOOK)

    async def _look_how_far(self, child: _Child) -> None:
        try:
            await child.how_far(self._limit)
        except _Failed:
            await self._replace(child)
        except BaseException:  # we are closing
            self._children.discard(child)
            await child.kill()
            raise
        else:
            self._watch(child)
            self._give(child)

    async def _tell(self, child: _Child) -> None:
        """Bring a free child the newest entries, then give it back."""
        entries = self._entries
        assert entries is not None
        try:
            await child.tell(entries)
        except _Failed:
            log.warning("understanding.failed", attempt=1, left=0)
            await self._replace(child)
        except BaseException:  # we are closing
            self._children.discard(child)
            await child.kill()
            raise
        else:
            self._give(child)

    async def _newest_entries(self) -> Overlay:
        if self._entries is None:
            await self._entries_known.wait()
        assert self._entries is not None
        return self._entries

    async def _add(self) -> None:
        child = await _Child.start(self._memory_mb, self._command, self._options, self._newest_entries)
        self._children.add(child)
        self._watch(child)
        self._give(child)

    async def _replace(self, child: _Child) -> None:
        self._children.discard(child)
        if child is self._builder:
            self._builder = None
        await child.kill()
        if self._closing:
            return
        self._keep(asyncio.create_task(self._restart(), name="brain-restart"))

    def _watch(self, child: _Child) -> None:
        """Say once when Rasa is not heard any more, and once when it is again; the embedded engine goes on meanwhile. And once
        when new entries cannot be taken into use: it answers from those before."""
        if child.entries_trouble and child.entries_trouble != self._entries_trouble:
            log.error("entries.not_in_use", why=child.entries_trouble)
        self._entries_trouble = child.entries_trouble
        if child.rasa_trouble and not self._rasa_trouble:
            log.warning("understanding.rasa_silent", why=child.rasa_trouble)
        elif self._rasa_trouble and not child.rasa_trouble:
            log.info("understanding.rasa_heard")
        self._rasa_trouble = child.rasa_trouble

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._replacing.add(task)
        task.add_done_callback(self._replacing.discard)

    async def _restart(self) -> None:
        """A model that worked at start can fail later only for want of memory or disk: keep trying, ever more slowly."""
        wait = 0.1
        while not self._closing:
            try:
                await self._add()
                return
            except (BrainProblem, OSError) as error:
                log.error("understanding.restart_failed", error=str(error))
                await asyncio.sleep(wait)
                wait = min(wait * 2, 30)


def thresholds_of(settings: Settings) -> tuple[float, ...] | None:
    """The thresholds that the settings ask for, as `Engine.load` takes them."""
    wanted = settings.understanding.thresholds
    return None if wanted is None else (wanted.low, wanted.medium, wanted.high, wanted.critical)


def brain_of(settings: Settings, *, waits_for_entries: bool = False) -> Brain:
    """The brain that the settings ask for, not begun. See Brain for `waits_for_entries`. Raises ConfigProblem."""
    wanted = settings.understanding
    model = models.in_charge(settings)
    options = Options(
        encoder=wanted.encoder,
        overdue=settings.knowledge.overdue,
        rasa=address_of(wanted.rasa) if wanted.engine == "rasa" else None,
        model="" if model is None else str(model.path.absolute()),
        model_sha256="" if model is None else model.sha256,
        thresholds=thresholds_of(settings),
    )
    return Brain(
        processes=wanted.processes,
        limit=wanted.limit_seconds,
        memory_mb=wanted.memory_mb,
        options=options,
        waits_for_entries=waits_for_entries,
    )


def _as_json(question: Question) -> dict[str, Any]:
    # Lone surrogates cannot be UTF-8; to the engine they mean nothing, so they become U+FFFD, one for one.
    return {
        "text": _whole(question.text),
        "history": [_whole(t) for t in question.history],
        "channel": question.channel,
        "last_entry": question.last_entry,
        "answer": question.answer,
    }


def _whole(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join("\ufffd" if 0xD800 <= ord(c) <= 0xDFFF else c for c in text)
    return text


def _thought(reply: dict[str, Any]) -> Thought:
    return Thought(understanding_from(reply["understanding"]), answer_from(reply["answer"]))


def understanding_from(raw: dict[str, Any]) -> Understanding:
    """The Understanding that orjson made plain."""
    fields = dict(raw)
    fields["kinds"] = tuple(fields["kinds"])
    fields["spans"] = tuple(Span(**s) for s in fields["spans"])
    return Understanding(**fields)


def answer_from(raw: dict[str, Any] | None) -> Answer:
    if raw is None:
        return NOTHING
    fields = dict(raw)
    fields["sources"] = tuple(Source(**s) for s in fields["sources"])
    fields["candidates"] = tuple(Candidate(**c) for c in fields["candidates"])
    return Answer(**fields)
