"""复核样本 from the workbench: marks, masked words, labels, decisions, who may, and that every look is on record."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from bot.storage import Storage
from escalation.tables import Message, ReviewItem
from tests.bot.test_web_safety import everything_in
from tests.bot.web_rig import Browser, Workbench, workbench

WORDS = "我叫王小明，电话13800138000，东西都准备好了"
LABELS = {
    "topic": "safety",
    "risk": "critical",
    "kinds": ["suicide"],
    "category": "psychological.crisis.suicide",
    "about": "self",
}


@pytest.fixture
async def bench(storage: Storage) -> AsyncIterator[Workbench]:
    async with workbench(storage) as running:
        yield running


async def marked(bench: Workbench, browser: Browser, *words: str, what: str = "missed") -> tuple[int, str]:
    """A conversation whose last message is marked; its id and the message's."""
    talk = await bench.contact(*(words or (WORDS,)))
    (*_, message) = await bench.rows(Message)
    said = await browser.post(f"/conversations/{talk}/messages/{message.id}/mark", {"what": what})
    assert said == {"mark": what}
    return talk, str(message.id)


async def only(browser: Browser) -> Any:
    """The one open sample."""
    (card,) = (await browser.get("/review"))["items"]
    return card


async def test_a_marked_message_is_masked_labelled_and_accepted(bench: Workbench) -> None:
    zhang, kong = await bench.at_work("zhang"), await bench.at_work("kong", "curator", name="孔编辑")
    await marked(bench, zhang, "昨天起就没吃饭", WORDS)
    card = await only(kong)
    assert (card["reasons"], card["risk_machine"], card["state"]) == (["missed"], "none", "open")
    sample = await kong.get(f"/review/{card['id']}")
    assert sample["text"] == "我叫［姓名］，电话［电话］，东西都准备好了"
    assert sample["history"] == ["昨天起就没吃饭"]
    assert sample["labels"]["risk"] == "high"
    taken = await kong.post(
        f"/review/{card['id']}/accept", {"text": sample["text"], "history": sample["history"]} | LABELS
    )
    assert (taken["state"], taken["decided_by"]["name"]) == ("accepted", "孔编辑")
    page = await kong.get("/review?state=accepted")
    assert page["counts"] == {"open": 0, "accepted": 1, "rejected": 0}
    assert [c["id"] for c in page["items"]] == [card["id"]]


async def test_a_curator_learns_nothing_that_leads_to_the_person(bench: Workbench) -> None:
    zhang, kong = await bench.at_work("zhang"), await bench.at_work("kong", "curator")
    talk, message = await marked(bench, zhang)
    card = await only(kong)
    answer = await kong.ask("GET", f"/review/{card['id']}")
    whole = await answer.text() + str(await kong.get("/review"))
    for secret in ("王小明", "13800138000", str(talk), message, "person", "conversation"):
        assert secret not in whole, secret
    await kong.get(f"/conversations/{talk}", 403)


async def test_every_look_at_a_sample_is_on_record_before_a_word_is_shown(bench: Workbench) -> None:
    zhang, kong = await bench.at_work("zhang"), await bench.at_work("kong", "curator")
    await marked(bench, zhang)
    card = await only(kong)
    await kong.get(f"/review/{card['id']}")
    (look,) = [r for r in await bench.acts("look") if r.object == "review_item"]
    assert (look.staff_id, look.object_id, look.why) == (int(kong.me["id"]), int(card["id"]), "review")


async def test_only_curators_and_supervisors_review_and_only_counsellors_mark(bench: Workbench) -> None:
    zhang = await bench.at_work("zhang")
    talk, message = await marked(bench, zhang)
    wang, root = await bench.at_work("wang", "supervisor"), await bench.at_work("root", "administrator")
    kong = await bench.at_work("kong", "curator")
    card = await only(wang)
    for nobody in (zhang, root):
        await nobody.get("/review", 403)
        await nobody.get(f"/review/{card['id']}", 403)
        await nobody.post(f"/review/{card['id']}/reject", {"why": "other"}, 403)
    for nobody in (kong, root):
        await nobody.post(f"/conversations/{talk}/messages/{message}/mark", {"what": "missed"}, 403)


async def test_two_curators_do_not_decide_the_same_sample(bench: Workbench) -> None:
    zhang, kong = await bench.at_work("zhang"), await bench.at_work("kong", "curator")
    wang = await bench.at_work("wang", "supervisor")
    talk, message = await marked(bench, zhang)
    card = await only(kong)
    await kong.post(f"/review/{card['id']}/reject", {"why": "unclear"})
    refused = await wang.post(f"/review/{card['id']}/accept", {"text": "东西都准备好了"} | LABELS, 409)
    assert refused["error"] == "decided"
    path = f"/conversations/{talk}/messages/{message}/mark"
    assert (await zhang.post(path, {"what": "none"}, 409))["error"] == "decided"
    assert (await wang.post(f"/review/{card['id']}/reopen"))["state"] == "open"
    assert (await wang.post(f"/review/{card['id']}/accept", {"text": "东西都准备好了"} | LABELS))[
        "state"
    ] == "accepted"


async def test_wrong_labels_are_refused_with_the_field_named(bench: Workbench) -> None:
    zhang, kong = await bench.at_work("zhang"), await bench.at_work("kong", "curator")
    await marked(bench, zhang)
    path = f"/review/{(await only(kong))['id']}/accept"
    for change, field in (
        ({"category": "legal.nothing.known"}, "category"),
        ({"risk": "terrible"}, "risk"),
        ({"kinds": ["boredom"]}, "kinds.0"),
        ({"history": ["一", "二", "三", "四"]}, "history"),
        ({"text": "  "}, "text"),
    ):
        refused = await kong.post(path, {"text": "准备好了"} | LABELS | change, 400)
        assert refused["fields"][0]["field"] == field
    assert (await kong.post(path, {"text": "准备好了"} | LABELS | {"kinds": []}, 400))["error"] == "kinds"


async def test_the_thread_shows_the_mark_and_another_desks_samples_are_not_there(bench: Workbench) -> None:
    zhang, kong = await bench.at_work("zhang"), await bench.at_work("kong", "curator")
    talk, _ = await marked(bench, zhang, what="false_alarm")
    whole = await zhang.get(f"/conversations/{talk}?why=queue")
    assert [m["mark"] for m in whole["messages"]] == ["false_alarm"]
    card = await only(kong)
    assert (await kong.get(f"/review/{card['id']}"))["labels"]["risk"] is None

    async def move(session: AsyncSession) -> None:
        await session.execute(update(ReviewItem).values(desk="330100"))

    await bench.write(move)
    assert (await kong.get("/review"))["items"] == []
    await kong.get(f"/review/{card['id']}", 404)
    await kong.post(f"/review/{card['id']}/accept", {"text": "准备好了"} | LABELS, 404)


async def test_words_that_are_no_longer_there_cannot_be_reviewed(bench: Workbench) -> None:
    zhang, kong = await bench.at_work("zhang"), await bench.at_work("kong", "curator")
    await marked(bench, zhang)
    card = await only(kong)
    await bench.write(lambda s: s.execute(update(Message).values(text_sealed=None)))
    assert (await kong.get(f"/review/{card['id']}", 409))["error"] == "gone"


async def test_nothing_of_a_sample_is_stored_in_plain_text(tmp_path: Path) -> None:
    async with workbench(tmp_path) as bench:
        zhang, kong = await bench.at_work("zhang"), await bench.at_work("kong", "curator")
        await marked(bench, zhang, "青石巷的木门响了", "铜铃铛挂在窗边，" + WORDS)
        card = await only(kong)
        sample = await kong.get(f"/review/{card['id']}")
        text = sample["text"] + "石榴树"
        await kong.post(f"/review/{card['id']}/accept", {"text": text, "history": sample["history"]} | LABELS)
        stored = everything_in(tmp_path)
        assert b"psychological.crisis.suicide" in stored
        for secret in ("青石巷", "铜铃铛", "石榴树", "准备好", "王小明", "13800138000"):
            for form in (secret.encode(), secret.encode("utf-16-le"), secret.encode("unicode_escape")):
                assert form not in stored, secret


async def test_supervisors_and_administrators_see_the_weeks_and_the_model_in_charge(tmp_path: Path) -> None:
    async with workbench(tmp_path, storage={"data": str(tmp_path / "data")}) as bench:
        wang, root = await bench.at_work("wang", "supervisor"), await bench.at_work("root", "administrator")
        await bench.contact("在吗")
        await bench.write(lambda s: s.execute(update(Message).values(risk_score=0.5)))
        for browser in (wang, root):
            shown = await browser.get("/drift?weeks=4")
            assert shown["model"] == "packaged"
            assert [week["messages"] for week in shown["weeks"]] == [0, 0, 0, 1]
            assert (shown["weeks"][-1]["unsure"], shown["weeks"][0]["unsure"]) == (1.0, None)
        for role in ("counsellor", "curator"):
            await (await bench.at_work(role, role)).get("/drift", 403)


async def test_a_supervisor_can_see_who_looked_at_a_sample(bench: Workbench) -> None:
    zhang, kong = await bench.at_work("zhang"), await bench.at_work("kong", "curator", name="孔编辑")
    wang = await bench.at_work("wang", "supervisor")
    await marked(bench, zhang)
    card = await only(kong)
    await kong.get(f"/review/{card['id']}")
    acts = await wang.get(f"/records?object=review_item&id={card['id']}")
    assert [(a["action"], a["staff"]["name"]) for a in acts] == [("look", "孔编辑")]
    await bench.write(lambda s: s.execute(update(ReviewItem).values(desk="330100")))
    await wang.get(f"/records?object=review_item&id={card['id']}", 404)
