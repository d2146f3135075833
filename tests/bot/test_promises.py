"""Ways in which danger could be lost, delayed or softened, each of them closed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from escalation.tables import Alert, Conversation, Message, Person
from tests.bot.core import Core, core, sqlite_url

DANGER = "我在天台，不想活了"


@pytest.fixture
async def desk_core(tmp_path: Path) -> AsyncIterator[Core]:
    async with core(sqlite_url(tmp_path)) as made:
        yield made


async def states(c: Core) -> dict[int, str]:
    return {m.id: m.state for m in await c.all(Message) if m.direction == "in"}


async def test_thousands_of_digits_end_like_every_message(desk_core: Core) -> None:
    """Python refuses to make a number of more than 4,300 digits: nobody's conversation may stand still for that."""
    stored = await desk_core.receive("1" * 5000)
    other = await desk_core.receive(DANGER, "other")
    await desk_core.pipeline.handle([stored.conversation_id, other.conversation_id])
    assert "received" not in (await states(desk_core)).values()


async def test_a_fault_while_thinking_stops_neither_the_batch_nor_the_conversation(
    desk_core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    import bot.pipeline

    meant = bot.pipeline._meant

    def broken(text: str, memory: dict[str, object]) -> str:
        if "坏" in text:
            raise RuntimeError("a fault of ours")
        return meant(text, memory)

    monkeypatch.setattr("bot.pipeline._meant", broken)
    good = await desk_core.receive(DANGER, "good")
    bad = await desk_core.receive(f"坏 {DANGER}", "bad")
    await desk_core.pipeline.handle([good.conversation_id, bad.conversation_id])
    assert (await states(desk_core))[good.message_id] == "escalated"
    for _ in range(2):
        await desk_core.pipeline.handle([bad.conversation_id])
    assert (await states(desk_core))[bad.message_id] == "escalated"
    conversations = {c.id: c for c in await desk_core.all(Conversation)}
    assert conversations[bad.conversation_id].risk in ("high", "critical"), "the fallback lexicon hears it"
    assert {a.conversation_id for a in await desk_core.all(Alert)} == set(conversations)


async def test_a_damaged_key_brings_a_human_and_harms_nobody_else(desk_core: Core) -> None:
    good = await desk_core.receive(DANGER, "good")
    bad = await desk_core.receive("你好", "bad")
    bad_person = {c.id: c.person_id for c in await desk_core.all(Conversation)}[bad.conversation_id]

    async def damage(session):  # type: ignore[no-untyped-def]
        (await session.get_one(Person, bad_person)).data_key = b"\x01" + bytes(60)

    await desk_core.shell.storage.write(damage)
    for _ in range(3):
        await desk_core.pipeline.handle([good.conversation_id, bad.conversation_id])
    assert await states(desk_core) == {good.message_id: "escalated", bad.message_id: "escalated"}
    conversations = {c.id: c for c in await desk_core.all(Conversation)}
    assert conversations[bad.conversation_id].state == "queued"
    assert conversations[bad.conversation_id].unjudged_since is not None


@pytest.mark.parametrize(
    "text",
    [
        "My stepfather hurts me at night",
        "ئۆيدە مېنى ئۇرىدۇ",
        "ང་ཤི་འདོད་འདུག",
        "お父さんが毎日殴る",
        "나 죽고 싶어",
        "Меня бьёт отчим",
        "Je veux mourir",
    ],
)
async def test_another_language_goes_to_a_human(desk_core: Core, text: str) -> None:
    (holding,) = await desk_core.says(text)
    assert "咨询员" in holding
    conversation = await desk_core.conversation()
    assert (conversation.state, conversation.risk) == ("queued", "medium")
    assert conversation.unjudged_since is not None, "it rings when nobody opens it"


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "ok",
        "你好",
        "iPhone15 pro max 怎么退",
        "ni hao",
        "(´；ω；`)",
        "https://a.example/b/c?d=e",
        "😀😀",
    ],
)
async def test_a_foreign_word_is_not_another_language(desk_core: Core, text: str) -> None:
    await desk_core.says(text)
    assert (await desk_core.conversation()).unjudged_since is None
