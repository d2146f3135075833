"""Published entries reach the understanding processes while they answer: no restart, no gap, and a new process has the newest."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bot.brain import Brain, Question
from bot.brain_child import Knowledge
from bot.live_entries import EntriesNow, LiveEntries
from bot.storage import Storage
from knowledge import desk
from knowledge.entries import Entry, shipped
from knowledge.overlay import NO_OVERLAY, Overlay
from tests.bot.web_rig import workbench
from tests.knowledge.conftest import FIELDS, OWN, EditingDesk

ASKED = Question("老板不让喝水")
ENTRY = Entry.model_validate(FIELDS | {"id": OWN})
MINE = Overlay(1, (ENTRY,))
PATIENCE = 180  # seconds: a busy machine loads models slowly


@pytest.fixture
async def brain() -> AsyncIterator[Brain]:
    made = Brain(processes=2, limit=5.0, waits_for_entries=True)
    made.begin()
    yield made
    await made.close()


async def said(brain: Brain) -> str:
    (thought,) = await brain.think([ASKED])
    assert not thought.fell_back
    return thought.answer.entry_id


async def until(brain: Brain, entry_id: str, *, times: int = 6) -> None:
    """Ask without a pause until every process says it. Whatever is asked meanwhile is answered."""
    async with asyncio.timeout(PATIENCE):
        in_a_row = 0
        while in_a_row < times:
            in_a_row = in_a_row + 1 if await said(brain) == entry_id else 0
            await asyncio.sleep(0.05)


async def pids(brain: Brain) -> set[int]:
    async with asyncio.timeout(PATIENCE):
        while brain.ready < 2:
            await asyncio.sleep(0.05)
    return {child.pid for child in brain._children}


async def test_a_published_entry_is_answered_by_the_same_processes_and_nobody_waits_for_it(
    brain: Brain,
) -> None:
    brain.follow(NO_OVERLAY)
    await brain.start()
    before = await pids(brain)
    assert await said(brain) != OWN
    brain.follow(MINE)
    await until(brain, OWN)
    assert await pids(brain) == before
    brain.follow(Overlay(2, (), frozenset({OWN})))
    await until(brain, "")


async def test_no_process_answers_before_it_knows_what_the_desk_changed(brain: Brain) -> None:
    await asyncio.sleep(0.5)
    assert brain.ready == 0
    brain.follow(MINE)
    await brain.start()
    assert await said(brain) == OWN


async def test_a_process_that_died_comes_back_with_the_newest(brain: Brain) -> None:
    brain.follow(NO_OVERLAY)
    await brain.start()
    await pids(brain)
    brain.follow(MINE)
    for pid in await pids(brain):
        os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(PATIENCE):
        while (await brain.think([ASKED]))[0].answer.entry_id != OWN:
            await asyncio.sleep(0.1)


async def test_staff_look_up_what_is_said_now_with_the_nearest_entries(brain: Brain) -> None:
    brain.follow(MINE)
    await brain.start()
    found = await brain.look_up(ASKED.text, limit=3)
    assert found is not None
    assert (found.answer.entry_id, found.candidates[0].entry_id, len(found.candidates)) == (OWN, OWN, 3)


def test_entries_that_cannot_be_used_leave_those_before_in_use_and_hide_what_they_stand_for() -> None:
    first = next(iter(shipped().values()))
    spoilt: dict[str, Any] = {"generation": 3, "entries": [{"id": first.id}], "hidden": []}
    running = Knowledge({})
    running.begin(MINE.as_json())
    running.follow(spoilt)
    while running._building is not None:
        pass
    assert running.trouble == "ValidationError"
    assert running.answer(ASKED.text).entry_id == OWN
    begun = Knowledge({}, like=running)
    begun.begin(spoilt)
    assert begun.trouble == "ValidationError"
    assert begun.answer(first.asks[0]).entry_id != first.id


def test_a_desk_without_any_entry_says_nothing_and_does_not_fail() -> None:
    empty = Knowledge({})
    empty.begin(Overlay(1, (), frozenset(shipped())).as_json())
    assert empty.answer("加班费怎么算").outcome == "nothing"


class Followed:
    """A brain that only hears."""

    def __init__(self) -> None:
        self.overlays: list[Overlay] = []

    def follow(self, overlay: Overlay) -> None:
        self.overlays.append(overlay)


async def test_every_process_looks_for_what_another_published_and_hears_it_once(storage: Storage) -> None:
    editing = EditingDesk(storage)
    async with workbench(storage) as bench:
        bench.shell.brain = brain = Followed()  # type: ignore[assignment]
        watch = LiveEntries(bench.shell)
        await watch.look()
        await watch.look()
        assert [one.generation for one in brain.overlays] == [0]
        await editing.published()
        await watch.look()
        await watch.look()
        assert [one.generation for one in brain.overlays] == [0, 1]
        assert brain.overlays[-1].entries == (ENTRY,)


async def test_an_entry_for_tomorrow_begins_without_anybody_doing_anything(storage: Storage) -> None:
    editing = EditingDesk(storage)
    async with workbench(storage) as bench:
        bench.shell.brain = brain = Followed()  # type: ignore[assignment]
        watch = LiveEntries(bench.shell)
        editing.now = bench.now()
        tomorrow = editing.today.replace(year=editing.today.year + 1)
        await editing.published(valid_from=tomorrow)
        await watch.look()
        assert brain.overlays[-1].entries == ()
        bench.later += (tomorrow - editing.today) + bench.later.resolution
        await watch.look()
        assert [entry.id for entry in brain.overlays[-1].entries] == [OWN]


async def test_what_is_kept_in_memory_is_read_again_when_it_changed(storage: Storage) -> None:
    editing, now = EditingDesk(storage), EntriesNow()
    async with storage.read() as session:
        first = await now.of(session, editing.today)
        assert await now.of(session, editing.today) is first
    await editing.step(desk.retire, next(iter(shipped())))
    async with storage.read() as session:
        assert len((await now.of(session, editing.today)).entries) == len(first.entries) - 1
