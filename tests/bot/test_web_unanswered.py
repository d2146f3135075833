"""未答问题 on the workbench: put together, masked, taken into drafts by a person's decision, each look on record."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from bot.storage import Storage
from escalation import conversations, unanswered
from escalation.people import key_of
from escalation.tables import Message, Record, Unanswered
from knowledge import desk
from knowledge.tables import KnowledgeRevision
from nlu.understanding import Understanding
from tests.bot.test_web_safety import everything_in
from tests.bot.web_rig import Browser, Workbench, workbench

PHONE = "13800138000"
FOOD = ("食堂能带外卖进学校吗", "学校不让带外卖进去吗", f"我叫王小明，电话{PHONE}，外卖能带进学校吗")
NAME = ("身份证上的名字怎么改", "我想改名字，身份证怎么改")
ENTRY = "school.food"
FIELDS: dict[str, Any] = {
    "title": "外卖能不能带进学校",
    "asks": ["外卖能带进学校吗"],
    "category": "legal.school.rights",
}


@pytest.fixture
async def bench(storage: Storage) -> AsyncIterator[Workbench]:
    async with workbench(storage) as running:
        yield running


async def asked(bench: Workbench, *words: str, address: str = "visitor-1") -> list[int]:
    """Somebody asked these and got no answer; the items' ids."""
    talk = await bench.contact(address=address)
    meant = Understanding(topic="legal", risk="none", risk_score=0.0, category="legal.school.rights")

    async def work(session: AsyncSession) -> list[int]:
        row = await conversations.locked(session, talk)
        key = await key_of(session, bench.shell.vault, row.person_id)
        made = []
        for text in words:
            message = Message(
                conversation_id=talk,
                direction="in",
                author="person",
                kind="text",
                text_sealed=key.seal(text, "message.text"),
                understanding_sealed=key.seal(orjson.dumps(meant).decode(), "message.understanding"),
                state="answered",
                risk="none",
                received_at=bench.now(),
            )
            session.add(message)
            await session.flush()
            unanswered.got_no_answer(session, row, message.id, text, meant, bench.now())
            made.append(message.id)
        await session.flush()
        return made

    messages = await bench.write(work)
    rows = {item.message_id: item.id for item in await bench.rows(Unanswered)}
    return [rows[message] for message in messages]


async def groups(browser: Browser, **query: str) -> list[Any]:
    return (await browser.get("/unanswered", params=query))["groups"]


async def test_questions_are_put_together_and_shown_masked(bench: Workbench) -> None:
    kong = await bench.at_work("kong", "curator")
    await asked(bench, FOOD[0], NAME[0])
    await asked(bench, FOOD[1], NAME[1], FOOD[2], address="visitor-2")
    page = await kong.get("/unanswered")
    assert [group["count"] for group in page["groups"]] == [3, 2]
    assert page["counts"] == {"open": 5, "taken": 0, "dismissed": 0, "gone": 0}
    food = page["groups"][0]
    assert (food["reasons"], food["category"]) == ({"nothing": 3}, "legal.school.rights")
    whole = await kong.get(f"/unanswered/{food['id']}")
    texts = {example["text"] for example in whole["examples"]}
    assert texts == {FOOD[0], FOOD[1], "我叫［姓名］，电话［电话］，外卖能带进学校吗"}
    assert "王小明" not in orjson.dumps(page).decode() + orjson.dumps(whole).decode()
    assert whole["near"]
    # Any question of the group leads to it.
    again = await kong.get(f"/unanswered/{food['items'][-1]}")
    assert sorted(again["items"]) == sorted(food["items"])


async def test_groups_can_be_narrowed(bench: Workbench) -> None:
    kong = await bench.at_work("kong", "curator")
    (first, *_) = await asked(bench, *FOOD, *NAME)
    await bench.write(
        lambda s: s.execute(update(Unanswered).where(Unanswered.id == first).values(reasons=["human"]))
    )
    assert [g["count"] for g in await groups(kong, reason="human")] == [3]
    assert await groups(kong, reason="not_helped") == []
    assert len(await groups(kong, category="legal.school")) == 2
    assert await groups(kong, category="legal.scho") == []
    assert [g["count"] for g in await groups(kong, skip="1")] == [2]


async def test_each_question_that_is_shown_is_on_record(bench: Workbench) -> None:
    kong, wang = (
        await bench.at_work("kong", "curator", name="孔编辑"),
        await bench.at_work("wang", "supervisor"),
    )
    await asked(bench, *FOOD)
    (group,) = await groups(kong)
    assert [r.object_id for r in await bench.rows(Record, Record.object == "unanswered")] == [
        int(group["id"])
    ]
    await kong.get(f"/unanswered/{group['id']}")
    await kong.get(f"/unanswered/{group['id']}")
    looks = await bench.rows(Record, Record.object == "unanswered")
    assert sorted(str(r.object_id) for r in looks) == sorted(group["items"])
    acts = await wang.get(f"/records?object=unanswered&id={group['items'][0]}")
    assert {(a["action"], a["staff"]["name"]) for a in acts} == {("look", "孔编辑")}


async def test_a_group_becomes_a_draft_that_a_second_person_must_approve(bench: Workbench) -> None:
    kong = await bench.at_work("kong", "curator")
    await asked(bench, *FOOD, *NAME)
    food, name = await groups(kong)
    given = {"items": food["items"], "entry": ENTRY, "fields": FIELDS}
    taken = await kong.post("/unanswered/draft", given)
    assert (taken["entry"], taken["number"]) == (ENTRY, 1)
    (revision,) = await bench.rows(KnowledgeRevision)
    assert (revision.state, revision.fields["asks"], revision.authors) == (
        "draft",
        FIELDS["asks"],
        [int(kong.me["id"])],
    )
    assert [group["id"] for group in await groups(kong)] == [name["id"]]
    settled = await kong.get("/unanswered/settled")
    assert {item["taken_into"] for item in settled["items"]} == {ENTRY}
    assert settled["counts"]["taken"] == 3
    again = await kong.post("/unanswered/draft", given | {"version": taken["version"]}, 409)
    assert again["error"] == "decided"
    assert len(await bench.rows(KnowledgeRevision)) == 1


async def test_a_wording_is_attached_to_an_entry_that_is_there(bench: Workbench) -> None:
    kong = await bench.at_work("kong", "curator")
    items = [str(i) for i in await asked(bench, *NAME)]
    given = {
        "items": items,
        "entry": "service.human",
        "version": 0,
        "wordings": ["我要改名字找真人", "我要改名字找真人？"],
    }
    taken = await kong.post("/unanswered/attach", given)
    (revision,) = await bench.rows(KnowledgeRevision)
    async with bench.shell.storage.read() as session:
        before = (await desk.text_of(session, "service.human", desk.SHIPPED))["asks"]
    assert revision.fields["asks"] == [*before, "我要改名字找真人"]
    assert (taken["number"], await groups(kong)) == (1, [])
    await asked(bench, *FOOD)
    (food,) = await groups(kong)
    missing = {"items": food["items"], "entry": "school.nowhere", "version": 0, "wordings": ["外卖怎么带"]}
    await kong.post("/unanswered/attach", missing, 404)
    late = {"items": food["items"], "entry": "service.human", "version": 0, "wordings": ["外卖怎么带"]}
    assert (await kong.post("/unanswered/attach", late, 409))["version"] == taken["version"]
    assert len(await groups(kong)) == 1


async def test_what_may_lead_to_the_person_is_not_saved_without_a_decision(bench: Workbench) -> None:
    kong = await bench.at_work("kong", "curator")
    words = "我们班主任说外卖只能放在东门口的架子上是真的吗"
    items = [str(i) for i in await asked(bench, words, address="little-fish-07")]
    given: dict[str, Any] = {"items": items, "entry": ENTRY, "fields": FIELDS}

    async def refused(text: str, *, sure: bool) -> set[tuple[str, bool]]:
        fields = FIELDS | {"asks": ["外卖能带吗", text]}
        told = await kong.post("/unanswered/draft", given | {"fields": fields, "sure": sure}, 409)
        assert (told["error"], text in orjson.dumps(told).decode()) == ("identifying", False)
        assert {(f["field"], f["item"]) for f in told["found"]} == {("asks", 1)}
        return {(f["what"], f["certain"]) for f in told["found"]}

    for sure in (False, True):
        assert await refused(f"打{PHONE}能送进学校吗", sure=sure) == {("电话", True)}
        assert await refused("［姓名］能带外卖吗", sure=sure) == {("遮住的词", True)}
        assert await refused("little-fish-07能带外卖吗", sure=sure) == {("姓名", True)}
    assert await refused("张伟老师不让带外卖吗", sure=False) == {("姓名", False)}
    assert await refused(words, sure=False) == {("原话", False)}
    assert await bench.rows(KnowledgeRevision) == []
    attach = {"items": items, "entry": "service.human", "version": 0, "wordings": [words]}
    assert (await kong.post("/unanswered/attach", attach, 409))["error"] == "identifying"
    await kong.post("/unanswered/attach", attach | {"sure": True})


async def test_places_are_counted_as_a_browser_counts(bench: Workbench) -> None:
    kong = await bench.at_work("kong", "curator")
    items = [str(i) for i in await asked(bench, *NAME)]
    fields = FIELDS | {"title": f"😀电话{PHONE}"}
    told = await kong.post("/unanswered/draft", {"items": items, "entry": ENTRY, "fields": fields}, 409)
    assert [(f["start"], f["end"]) for f in told["found"]] == [(4, 15)]


async def test_questions_are_dismissed_and_brought_back(bench: Workbench) -> None:
    kong = await bench.at_work("kong", "curator")
    items = [str(i) for i in await asked(bench, *FOOD)]
    await kong.post("/unanswered/dismiss", {"items": items, "why": "not_ours"})
    assert await groups(kong) == []
    await kong.get(f"/unanswered/{items[0]}", 404)
    (item, *_) = (await kong.get("/unanswered/settled?state=dismissed"))["items"]
    assert (item["dismissed_why"], item["settled_by"]["id"]) == ("not_ours", kong.me["id"])
    await kong.post("/unanswered/reopen", {"items": items})
    assert len(await groups(kong)) == 1
    assert (await kong.post("/unanswered/reopen", {"items": items}, 409))["error"] == "open"
    await kong.post("/unanswered/dismiss", {"items": ["1"], "why": "other"}, 404)


async def test_only_curators_decide_and_supervisors_may_look(bench: Workbench) -> None:
    items = [str(i) for i in await asked(bench, *FOOD)]
    wang = await bench.at_work("wang", "supervisor")
    assert len(await groups(wang)) == 1
    await wang.post("/unanswered/dismiss", {"items": items, "why": "other"}, 403)
    await wang.post("/unanswered/draft", {"items": items, "entry": ENTRY, "fields": FIELDS}, 403)
    for role in ("counsellor", "administrator"):
        browser = await bench.at_work(role, role)
        await browser.get("/unanswered", 403)
        await browser.get(f"/unanswered/{items[0]}", 403)


async def test_another_desks_questions_are_not_there(bench: Workbench) -> None:
    kong = await bench.at_work("kong", "curator")
    items = [str(i) for i in await asked(bench, *FOOD)]
    await bench.write(lambda s: s.execute(update(Unanswered).values(desk="330100")))
    assert await groups(kong) == []
    await kong.get(f"/unanswered/{items[0]}", 404)
    await kong.post("/unanswered/draft", {"items": items, "entry": ENTRY, "fields": FIELDS}, 404)
    assert await bench.rows(KnowledgeRevision) == []


async def test_questions_whose_words_have_ended_are_only_counted(bench: Workbench) -> None:
    kong = await bench.at_work("kong", "curator")
    await asked(bench, *FOOD)
    await bench.write(
        lambda s: s.execute(update(Unanswered).values(person_id=None, conversation_id=None, message_id=None))
    )
    page = await kong.get("/unanswered")
    assert (page["groups"], page["counts"]["gone"], page["counts"]["open"]) == ([], 3, 0)


async def test_a_counsellors_reply_becomes_a_question_with_its_answer(bench: Workbench) -> None:
    zhang, kong = await bench.at_work("zhang"), await bench.at_work("kong", "curator")
    talk = await bench.contact("外卖能带进学校吗")
    understood = orjson.dumps({"risk": "none", "kinds": [], "topic": "other", "category": ""}).decode()

    async def read(session: AsyncSession) -> None:
        row = await conversations.locked(session, talk)
        key = await key_of(session, bench.shell.vault, row.person_id)
        sealed = key.seal(understood, "message.understanding")
        await session.execute(update(Message).values(understanding_sealed=sealed))

    await bench.write(read)
    await zhang.post(f"/conversations/{talk}/claim")
    await zhang.post(f"/conversations/{talk}/reply", {"text": f"可以，找我{PHONE}", "client_id": "r1"})
    (group,) = await groups(kong, reason="human")
    (example,) = (await kong.get(f"/unanswered/{group['id']}"))["examples"]
    assert (example["text"], example["reply"]) == ("外卖能带进学校吗", "可以，找我［电话］")


async def test_nothing_of_a_question_is_stored_in_plain_text(tmp_path: Path) -> None:
    async with workbench(tmp_path) as bench:
        kong = await bench.at_work("kong", "curator")
        await asked(bench, "青石巷的铜铃铛能挂在窗边吗")
        (group,) = await groups(kong)
        await kong.get(f"/unanswered/{group['id']}")
        await kong.post("/unanswered/dismiss", {"items": group["items"], "why": "single"})
        stored = everything_in(tmp_path)
        assert b"unanswered.dismiss" in stored
        for secret in ("青石巷", "铜铃铛", "窗边"):
            for form in (secret.encode(), secret.encode("utf-16-le"), secret.encode("unicode_escape")):
                assert form not in stored, secret
