"""Words that nobody will ever carry do not wait in silence: staff see the failure and have a task to call (promise 7)."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from bot import outbox
from bot.channels import Channel, webchat, wechat
from bot.channels.webchat import thread
from bot.outbox import Draft
from bot.sender import Sender
from bot.settings import WebchatSection, WechatAccount
from bot.sweep import Sweep
from bot.tables import Delivery
from escalation import desk
from escalation.policy import SUPERVISOR, Policy
from escalation.tables import Alert, Contact, Conversation, Person, Task
from tests.bot.core import Core, core, sqlite_url
from tests.bot.test_pipeline import hire

DANGER = "我在天台，不想活了"


def sweep(c: Core, *channels: Channel) -> Sweep:
    shell = c.shell
    shell.outbox.serve(channels)
    sender = Sender(
        shell.storage, shell.vault, shell.bus, shell.outbox, channels, process="test", clock=shell.clock
    )
    return Sweep(shell, c.queue, sender, channels)


def chat(c: Core) -> Channel:
    return webchat.make(c.shell, WebchatSection())


def account_that_only_answers(c: Core) -> Channel:
    account = WechatAccount(
        app_id="wx1", token=SecretStr("t"), encoding_aes_key=SecretStr("a" * 43), verified=False
    )
    return wechat.make(c.shell, account)


async def tasks(c: Core) -> list[tuple[str, str, str, str]]:
    return [(t.kind, t.detail, t.role, t.state) for t in await c.all(Task)]


CALL = ("cannot_reach", "not_fetched", "supervisor", "open")


@pytest.mark.parametrize(
    ("where", "door"), [("webchat", chat), ("wechat", account_that_only_answers)], ids=["web", "wechat"]
)
async def test_a_safety_text_that_nobody_fetches_is_a_supervisors_task_to_call(
    desk_core: Core, where: str, door
) -> None:  # type: ignore[no-untyped-def]
    watch = sweep(desk_core, door(desk_core))
    await desk_core.says(DANGER, channel=where)
    await watch.once()
    desk_core.later(seconds=110)
    await watch.once()
    assert await tasks(desk_core) == []
    desk_core.later(seconds=20)
    await watch.once()
    await watch.once()
    assert await tasks(desk_core) == [CALL]
    assert {(d.state, d.error) for d in await desk_core.all(Delivery)} == {("pending", "not_fetched")}


async def test_who_comes_back_gets_the_words_and_the_task_ends(desk_core: Core) -> None:
    watch = sweep(desk_core, chat(desk_core))
    await desk_core.says(DANGER)
    desk_core.later(minutes=3)
    await watch.once()
    (contact,) = await desk_core.all(Contact)
    shell = desk_core.shell
    async with shell.storage.read() as session:
        lacking = await thread.read(session, shell.vault, contact.id, after=None, have=())
    ids = [int(m["id"]) for m in lacking]
    assert ids
    await shell.storage.write(lambda s: thread.settle(s, contact.id, ids, desk_core.now))
    await watch.once()
    assert await tasks(desk_core) == [(*CALL[:3], "done")]


async def test_usual_answers_to_who_left_the_page_are_nobodys_task(desk_core: Core) -> None:
    watch = sweep(desk_core, chat(desk_core))
    await desk_core.says("你好")
    desk_core.later(hours=2)
    for _ in range(13):
        await watch.once()
    assert await tasks(desk_core) == []


async def test_a_humans_words_in_a_crisis_that_nobody_fetches_ring_again(desk_core: Core) -> None:
    watch = sweep(desk_core, chat(desk_core))
    await desk_core.says(DANGER)
    staff_id, conversation_id = await hire(desk_core), (await desk_core.conversation()).id

    async def reply(session) -> None:  # type: ignore[no-untyped-def]
        for delivery in await session.scalars(select(Delivery)):
            delivery.state = "delivered"  # the page showed the safety text, then was closed
        conversation = await desk.claim(session, conversation_id, staff_id, desk_core.now, Policy())
        await desk.reply_written(session, conversation, staff_id, desk_core.now)
        draft = Draft("我在，你在哪里？")
        await outbox.write(
            session,
            desk_core.shell.vault,
            conversation,
            [draft],
            lane=outbox.HUMAN,
            now=desk_core.now,
            author="staff",
        )

    await desk_core.shell.storage.write(reply)
    assert [a.state for a in await desk_core.all(Alert)] == ["ended"]
    desk_core.later(minutes=3)
    await watch.once()
    (alert,) = await desk_core.all(Alert)
    assert (alert.state, alert.reason, alert.from_rung) == ("ringing", "cannot_reach", SUPERVISOR)
    assert await tasks(desk_core) == [CALL]


async def test_what_waits_for_an_account_that_was_taken_out_of_the_settings_fails_and_is_a_task(
    desk_core: Core,
) -> None:
    await desk_core.says("老板不发工资怎么办", "kid", channel="sms")
    await desk_core.says(DANGER, "other", channel="sms")
    watch = sweep(desk_core, chat(desk_core))
    desk_core.later(seconds=50)  # another process may still serve it
    await watch.once()
    assert await tasks(desk_core) == []
    desk_core.later(seconds=20)
    for _ in range(12):
        await watch.once()
    assert {(d.state, d.error) for d in await desk_core.all(Delivery)} == {("failed", "no_account")}
    assert sorted(await tasks(desk_core)) == [
        ("cannot_reach", "no_account", "counsellor", "open"),
        ("cannot_reach", "no_account", "supervisor", "open"),
    ]


async def test_what_another_process_still_tries_to_send_is_left_to_it(tmp_path: Path) -> None:
    async with core(sqlite_url(tmp_path)) as c:
        await c.says("老板不发工资怎么办", channel="sms")

        async def later(session) -> None:  # type: ignore[no-untyped-def]
            for delivery in await session.scalars(select(Delivery)):
                delivery.next_at = c.now.replace(hour=c.now.hour + 1)

        await c.shell.storage.write(later)
        c.later(minutes=5)
        await sweep(c, chat(c)).once()
        assert {d.state for d in await c.all(Delivery)} == {"pending"}


@pytest.mark.parametrize("end", ["erased", "closed"])
async def test_an_erased_person_and_a_closed_conversation_are_nobodys_task(desk_core: Core, end: str) -> None:
    watch = sweep(desk_core, chat(desk_core))
    await desk_core.says(DANGER)
    conversation = await desk_core.conversation()

    async def over(session) -> None:  # type: ignore[no-untyped-def]
        if end == "erased":
            (await session.get_one(Person, conversation.person_id)).data_key = None
        else:
            (await session.get_one(Conversation, conversation.id)).state = "closed"

    await desk_core.shell.storage.write(over)
    desk_core.later(minutes=5)
    await watch.once()
    assert await tasks(desk_core) == []
