"""A message's own commit notes what knowledge could not answer: no entry, or an answer that did not help; never what is dangerous."""

from escalation.tables import Message, Unanswered
from tests.bot.core import Core


async def test_a_question_without_an_answer_and_an_answer_without_help_are_noted(desk_core: Core) -> None:
    await desk_core.says("明天的月亮几点升起来呢")
    await desk_core.says("老板拖欠我工资怎么办")
    await desk_core.says("没帮助")
    first, second, _ = [m for m in await desk_core.all(Message) if m.direction == "in"]
    nothing, not_helped = await desk_core.all(Unanswered)
    assert (nothing.message_id, nothing.reasons, nothing.answered_by) == (first.id, ["nothing"], None)
    assert (not_helped.message_id, not_helped.reasons) == (second.id, ["not_helped"])
    assert not_helped.answered_by


async def test_a_redelivery_is_one_question(desk_core: Core) -> None:
    stored = await desk_core.receive("明天的月亮几点升起来呢", provider_id="same")
    await desk_core.receive("明天的月亮几点升起来呢", provider_id="same")
    for _ in range(2):
        await desk_core.pipeline.handle([stored.conversation_id])
    assert len(await desk_core.all(Unanswered)) == 1


async def test_danger_and_what_only_the_lexicon_read_are_not_noted(desk_core: Core) -> None:
    await desk_core.says("FAIL 明天的月亮几点升起来呢", sender="a")
    await desk_core.says("我在天台，不想活了", sender="b")
    await desk_core.says("明天的月亮几点升起来呢", sender="b")
    assert await desk_core.all(Unanswered) == []
