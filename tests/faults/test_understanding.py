"""Promise 4: understanding that raises, hangs, dies or eats memory costs at most a second, and danger is still heard."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator

import pytest
import uvloop

from bot.brain import Brain, BrainProblem, Question

COMMAND = (sys.executable, "-m", "tests.faults.child")
DANGER = "我在天台，不想活了"


@pytest.fixture
async def brain() -> AsyncIterator[Brain]:
    made = Brain(processes=2, limit=1.0, memory_mb=900, command=COMMAND)
    await made.start()
    async with asyncio.timeout(30):
        while made.ready < 2:
            await asyncio.sleep(0.05)
    yield made
    await made.close()


async def test_a_message_is_understood_and_answered(brain: Brain) -> None:
    (thought,) = await brain.think([Question("老板拖欠我两个月工资怎么办")])
    assert not thought.fell_back
    assert thought.understanding.topic == "legal"
    assert thought.answer.outcome == "answer"


async def test_a_stray_print_breaks_nothing(brain: Brain) -> None:
    (thought,) = await brain.think([Question("BABBLE 你好")])
    assert not thought.fell_back


@pytest.mark.parametrize("fault", ["RAISE", "HANG", "EAT", "DIE"])
async def test_a_failing_engine_costs_a_second_and_the_lexicon_hears_the_danger(
    brain: Brain, fault: str
) -> None:
    began = time.monotonic()
    danger, quiet = await asyncio.gather(
        brain.think([Question(f"{fault} {DANGER}")]), brain.think([Question(f"{fault} 今天天气不错")])
    )
    assert time.monotonic() - began < 3.0
    assert danger[0].fell_back
    assert danger[0].understanding.risk in ("high", "critical")
    assert quiet[0].failed  # silent lexicon: a human looks
    assert quiet[0].understanding.risk == "medium"


async def test_one_bad_message_harms_no_other_of_its_batch(brain: Brain) -> None:
    questions = [Question("老板不发工资"), Question("HANG"), Question("失眠怎么办"), Question("我想退学")]
    thoughts = await brain.think(questions)
    assert [t.fell_back for t in thoughts] == [False, True, False, False]


async def test_a_killed_process_is_replaced(brain: Brain) -> None:
    for _ in range(3):
        await brain.think([Question("DIE")])
    async with asyncio.timeout(30):  # on a busy machine loading the models takes a while
        while (await brain.think([Question("老板不发工资")]))[0].fell_back:
            await asyncio.sleep(0.2)


async def test_failures_are_told_for_the_page_to_a_supervisor(brain: Brain) -> None:
    thoughts = await brain.think([Question("RAISE"), Question("老板不发工资"), Question("RAISE")])
    assert [t.fell_back for t in thoughts] == [True, False, True]


async def test_an_engine_that_cannot_start_says_so_at_start() -> None:
    broken = Brain(processes=1, command=(sys.executable, "-c", "raise SystemExit(3)"))
    with pytest.raises(BrainProblem):
        await broken.start()
    await broken.close()


async def test_lone_surrogates_and_nul_reach_the_engine_harmlessly(brain: Brain) -> None:
    (thought,) = await brain.think([Question("我\ud83d不想\x00活了")])
    assert thought.understanding.risk in ("high", "critical")


async def test_a_crowd_is_not_a_failure(brain: Brain) -> None:
    """More at once than can be understood in a second: the children are busy, not broken."""
    crowd = [[Question("老板拖欠我两个月工资怎么办")] * 400 for _ in range(6)]
    for thoughts in await asyncio.gather(*(brain.think(questions) for questions in crowd)):
        assert not any(t.fell_back for t in thoughts)


async def test_danger_gets_the_next_free_child_before_a_crowd(brain: Brain) -> None:
    crowd = [asyncio.create_task(brain.think([Question("老板不发工资")] * 400)) for _ in range(6)]
    await asyncio.sleep(0.05)
    (thought,) = await brain.think([Question(DANGER)], urgent=True)
    assert not thought.fell_back
    assert not any(task.done() for task in crowd)
    await asyncio.gather(*crowd)


async def test_a_child_that_no_longer_reads_costs_a_second_too(brain: Brain) -> None:
    for child in brain._children:
        os.kill(child.pid, signal.SIGSTOP)
    began = time.monotonic()
    thoughts = await brain.think([Question(DANGER, history=["好" * 20_000] * 8)] * 2)
    assert time.monotonic() - began < 4.0
    assert [t.understanding.risk for t in thoughts] == ["critical"] * 2


async def test_what_a_library_prints_or_dies_of_reaches_no_log(
    brain: Brain, capfd: pytest.CaptureFixture[str]
) -> None:
    (thought,) = await brain.think([Question(f"QUOTE {DANGER}")])
    assert thought.fell_back
    await asyncio.sleep(0.3)  # its last words
    printed = capfd.readouterr()
    assert "QUOTE" not in printed.out + printed.err


def test_processes_that_died_unseen_cost_no_message() -> None:
    """On the service's own event loop, which speaks of a dead pipe in words of its own."""

    async def scenario() -> None:
        made = Brain(processes=1, limit=1.0, memory_mb=900, command=COMMAND)
        await made.start()
        try:
            for child in list(made._children):
                os.kill(child.pid, signal.SIGKILL)
            await asyncio.sleep(0.5)
            (thought,) = await made.think([Question(DANGER)])
            assert thought.understanding.risk in ("high", "critical")
        finally:
            await made.close()

    uvloop.run(scenario())
