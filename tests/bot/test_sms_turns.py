"""What an SMS sets off in the pipeline: an opt-out beside danger, a typed label in place of a button."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.channels.sms.parse import generic_message
from bot.settings import SmsAccount
from bot.tables import Delivery
from escalation.tables import Alert, Conversation, Person, Satisfaction
from tests.bot.core import Core, core, sqlite_url


@pytest.fixture
async def desk_core(tmp_path: Path) -> AsyncIterator[Core]:
    async with core(sqlite_url(tmp_path)) as made:
        yield made


async def texts(c: Core, text: str) -> list[str]:
    """An SMS as the channel would hand it over."""
    c.count += 1
    body = f'{{"id": "{c.count}", "from": "19900000001", "text": "{text}"}}'.encode()
    words = SmsAccount(secret="x", send_url="http://x").opt_out_words
    message = generic_message("application/json", body, account="default", opt_out_words=words, now=c.now)
    stored = await c.shell.inbox.receive(message)
    await c.pipeline.handle([stored.conversation_id])
    return await c.replies_to(stored.message_id)


async def test_an_opt_out_is_confirmed_and_noted(desk_core: Core) -> None:
    (reply,) = await texts(desk_core, "TD")
    assert "不会主动发消息" in reply
    (person,) = await desk_core.all(Person)
    assert person.proactive_stopped_at == desk_core.now


async def test_danger_beside_an_opt_out_still_escalates_and_the_safety_text_still_goes(
    desk_core: Core,
) -> None:
    replies = await texts(desk_core, "退订，我在天台，不想活了")
    assert "120" in replies[0]
    assert len(await desk_core.all(Alert)) == 1
    (conversation,) = await desk_core.all(Conversation)
    assert (conversation.state, conversation.risk) == ("queued", "critical")
    assert {d.lane for d in await desk_core.all(Delivery)} == {0}
    (person,) = await desk_core.all(Person)
    assert person.proactive_stopped_at == desk_core.now


async def test_after_an_opt_out_answers_and_safety_texts_go_on(desk_core: Core) -> None:
    await texts(desk_core, "退订")
    assert "依据" in (await texts(desk_core, "老板拖欠我工资怎么办"))[0]
    assert "120" in (await texts(desk_core, "我在天台，不想活了"))[0]


async def test_a_typed_label_is_a_pressed_button(desk_core: Core) -> None:
    await texts(desk_core, "老板拖欠我工资怎么办")
    await texts(desk_core, "有帮助。")
    (helped,) = await desk_core.all(Satisfaction)
    assert (helped.about.partition(":")[0], helped.score) == ("entry", 1)


async def test_a_typed_label_of_nothing_offered_is_just_words(desk_core: Core) -> None:
    await texts(desk_core, "有帮助")
    assert await desk_core.all(Satisfaction) == []
