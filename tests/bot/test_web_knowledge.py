"""The editing desk from the workbench: two persons, checks before publishing, previews, the try panel, what a change would do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from bot.storage import Storage
from knowledge import desk
from knowledge.entries import shipped
from knowledge.tables import KnowledgeQuestion
from tests.bot.web_rig import Browser, Workbench, workbench
from tests.knowledge.conftest import FIELDS, OWN

PATH = f"/knowledge/entries/{OWN}"


@pytest.fixture
async def bench(storage: Storage) -> AsyncIterator[Workbench]:
    async with workbench(storage) as running:
        yield running


async def step(browser: Browser, name: str, status: int = 200, *, entry: str = OWN, **body: Any) -> Any:
    """One step with the version that the entry has now."""
    if "version" not in body:
        seen = await browser.ask("GET", f"/knowledge/entries/{entry}")
        body["version"] = (await seen.json())["version"] if seen.status == 200 else 0
    return await browser.post(f"/knowledge/entries/{entry}/{name}", body, status)


async def publish(kong: Browser, wang: Browser, *, entry: str = OWN, **change: Any) -> Any:
    await step(kong, "draft", entry=entry, fields=FIELDS | change)
    await step(kong, "submit", entry=entry)
    await step(wang, "approve", entry=entry)
    return await step(kong, "publish", entry=entry)


async def test_from_draft_to_published_by_two_persons(bench: Workbench) -> None:
    kong, wang = (
        await bench.at_work("kong", "curator", name="孔编辑"),
        await bench.at_work("wang", "supervisor"),
    )
    drafted = await step(kong, "draft", fields=FIELDS, note="新条目")
    assert (drafted["state"], drafted["live"], drafted["may"]) == (
        "draft",
        False,
        ["draft", "submit", "roll_back", "discard"],
    )
    await step(kong, "submit")
    assert (await step(kong, "approve", 403))["error"] == "own"
    approved = await step(wang, "approve")
    assert (approved["state"], approved["live_number"]) == ("approved", None)
    published = await step(kong, "publish")
    assert (published["state"], published["live"], published["live_number"]) == ("published", True, 1)
    assert published["live_text"]["short"] == FIELDS["short"]
    (revision,) = published["history"]
    assert [a["name"] for a in revision["authors"]] == ["孔编辑"]
    assert revision["approved_by"]["name"] == "wang"
    assert OWN in {one["id"] for one in await kong.get("/entries")}
    assert [r.action for r in await bench.acts("entry.publish")] == ["entry.publish"]


async def test_who_may_do_what(bench: Workbench) -> None:
    kong, wang = await bench.at_work("kong", "curator"), await bench.at_work("wang", "supervisor")
    zhang, root = await bench.at_work("zhang"), await bench.at_work("root", "administrator")
    await step(kong, "draft", fields=FIELDS)
    for nobody in (zhang, root):
        await nobody.post("/knowledge/search", {}, 403)
        await nobody.get(PATH, 403)
        await nobody.post(f"{PATH}/approve", {"version": 1}, 403)
    for name in ("submit", "publish", "retire", "discard"):
        await step(wang, name, 403)
    assert (await wang.get(PATH))["may"] == []


async def test_the_second_of_two_writers_is_told(bench: Workbench) -> None:
    kong, meng = await bench.at_work("kong", "curator"), await bench.at_work("meng", "curator")
    await step(kong, "draft", fields=FIELDS, version=0)
    refused = await step(meng, "draft", 409, fields=FIELDS, version=0)
    assert (refused["error"], refused["version"]) == ("conflict", 1)


async def test_a_list_is_filtered_searched_and_counted(bench: Workbench) -> None:
    kong, wang = await bench.at_work("kong", "curator"), await bench.at_work("wang", "supervisor")
    await publish(kong, wang)
    page = await kong.post("/knowledge/search", {})
    assert (page["total"], len(page["items"]), page["more"]) == (len(shipped()) + 1, 100, True)
    assert (page["counts"]["published"], page["counts"]["shipped"]) == (1, len(shipped()))
    found = await kong.post("/knowledge/search", {"q": "喝水 12333", "own": True, "category": "legal.labour"})
    assert [one["id"] for one in found["items"]] == [OWN]
    assert (await kong.post("/knowledge/search", {"state": "retired"}))["items"] == []


async def test_what_must_not_be_said_cannot_be_submitted(bench: Workbench) -> None:
    kong = await bench.at_work("kong", "curator")
    await step(
        kong,
        "draft",
        fields=FIELDS | {"short": FIELDS["short"] + "你要坚强一点，打12399。", "asks": ["上班能喝水吗"]},
    )
    refused = await step(kong, "submit", 400)
    assert refused["error"] == "checks"
    assert {(f["field"], f["code"]) for f in refused["findings"]} == {
        ("asks", "invalid"),
        ("short", "phrase_banned"),
        ("short", "number_unknown"),
    }
    assert "至少 5 项" in refused["message"]


async def test_a_check_names_doubles_and_unexplained_words(bench: Workbench) -> None:
    kong = await bench.at_work("kong", "curator")
    other = next(iter(shipped().values()))
    fields = FIELDS | {
        "asks": [*FIELDS["asks"], other.asks[0]],
        "long": "可以申请行政复议。《饮水法》有规定。",
    }
    found = await kong.post("/knowledge/check", {"entry": OWN, "fields": fields})
    told = {(f["level"], f["code"], f["detail"]) for f in found}
    assert ("stop", "wording_doubled", f"{other.id} {other.asks[0]}") in told
    assert ("warn", "term_unexplained", "行政复议") in told
    assert ("warn", "law_not_cited", "饮水法") in told


async def test_a_preview_shows_each_channel_with_the_segments_of_an_sms(bench: Workbench) -> None:
    kong = await bench.at_work("kong", "curator")
    fields = FIELDS | {"long": "第一步：记下时间。"}
    web, wechat, sms = (await kong.post("/knowledge/preview", {"fields": fields}))["channels"]
    assert (
        web["texts"]
        == wechat["texts"]
        == [f"{FIELDS['short']}\n\n第一步：记下时间。\n依据：12333人社服务热线"]
    )
    assert web["buttons"] == ["有帮助", "没帮助", "找人工"]
    (text,) = sms["texts"]
    assert text == f"{FIELDS['short']}\n依据：12333人社服务热线\n可回复：有帮助 / 没帮助 / 找人工"
    assert (sms["segments"], sms["encoding"], web["segments"]) == (2 if len(text) > 70 else 1, "ucs2", None)


async def test_history_differences_comments_and_the_way_back(bench: Workbench) -> None:
    kong, wang = await bench.at_work("kong", "curator"), await bench.at_work("wang", "supervisor")
    await publish(kong, wang)
    await publish(kong, wang, short="可以喝水，也可以去厕所，这都不能扣钱。说不通打12333。")
    (change,) = await kong.get(f"{PATH}/difference?before=1&after=2")
    assert (change["field"], change["before"]) == ("short", [FIELDS["short"]])
    await wang.post(f"{PATH}/comments", {"number": 2, "text": "太短"})
    back = await step(kong, "roll-back", number=1)
    assert (back["live_number"], back["live_text"]["short"]) == (3, FIELDS["short"])
    assert [(c["number"], c["text"]) for c in back["comments"]] == [(2, "太短")]
    assert [r["state"] for r in back["history"]] == ["published", "replaced", "replaced"]
    assert (await kong.get(f"{PATH}/revisions/2"))["short"].startswith("可以喝水，也可以")
    await kong.get(f"{PATH}/revisions/9", 404)


async def test_a_day_to_begin_and_a_day_to_end(bench: Workbench) -> None:
    kong, wang = await bench.at_work("kong", "curator"), await bench.at_work("wang", "supervisor")
    await step(kong, "draft", fields=FIELDS)
    await step(kong, "submit")
    await step(wang, "approve")
    assert (await step(kong, "publish", 400, valid_until="2020-01-01"))["error"] == "days"
    waiting = await step(kong, "publish", valid_from="2999-01-01")
    assert (waiting["state"], waiting["live"], waiting["newest"]["valid_from"]) == (
        "published",
        False,
        "2999-01-01",
    )


async def test_the_try_panel_says_what_is_found_and_why(bench: Workbench) -> None:
    kong = await bench.at_work("kong", "curator")
    entry = shipped()["labour.overtime"]
    said = await kong.post("/knowledge/try", {"question": entry.asks[0]})
    assert (said["outcome"], said["entry"], said["text"]) == ("answer", entry.id, entry.chat_text)
    first = said["candidates"][0]
    assert (first["entry"], first["wording"], first["alike"]) == (entry.id, entry.asks[0], 1.0)
    assert first["words"]


async def test_a_draft_is_tried_before_anybody_hears_it(bench: Workbench) -> None:
    kong = await bench.at_work("kong", "curator")
    await step(kong, "draft", fields=FIELDS)
    said = await kong.post("/knowledge/try", {"question": FIELDS["asks"][1], "with_draft": OWN})
    assert (said["outcome"], said["entry"]) == ("answer", OWN)
    await kong.post("/knowledge/try", {"question": "在吗", "with_draft": "labour.not-there"}, 404)


async def test_a_regression_run_shows_masked_what_would_be_answered_otherwise(bench: Workbench) -> None:
    kong = await bench.at_work("kong", "curator")
    await bench.contact("我叫王小明，上班时老板不让喝水也不让坐", "今天天气真好啊")
    await kong.post("/knowledge/questions", {"text": "上班能喝水吗", "entry": OWN})
    kept = await kong.post("/knowledge/questions", {"text": "不让我喝水犯法吗", "entry": OWN})
    await kong._json(await kong.ask("DELETE", f"/knowledge/questions/{kept['id']}"), 200)
    await step(kong, "draft", fields=FIELDS)
    run = await kong.post(f"{PATH}/regression", {})
    assert (run["saved"], run["recent"], run["better"], run["worse"]) == (1, 2, 1, 0)
    better = next(one for one in run["differences"] if one["saved"])
    assert (better["question"], better["expected"], better["after"]["entry"]) == ("上班能喝水吗", OWN, OWN)
    others = [one for one in run["differences"] if not one["saved"]]
    assert [(one["question"], one["after"]["entry"]) for one in others] == [
        ("我叫［姓名］，上班时老板不让喝水也不让坐", OWN)
    ]
    (look,) = [r for r in await bench.acts("look") if r.object == "message"]
    assert look.why == "regression"


async def test_questions_are_never_stored_in_plain_text(bench: Workbench) -> None:
    kong = await bench.at_work("kong", "curator")
    await kong.post("/knowledge/questions", {"text": "月亮上的兔子吃什么", "entry": None})
    (row,) = await bench.rows(KnowledgeQuestion)
    assert "兔子".encode() not in row.text_sealed
    (record,) = await bench.acts("entry.question.save")
    assert (record.object_id, record.why) == (row.id, "")
    (shown,) = await kong.get("/knowledge/questions")
    assert (shown["text"], shown["entry"]) == ("月亮上的兔子吃什么", None)


async def test_open_screens_of_curators_hear_of_a_step(bench: Workbench) -> None:
    kong = await bench.at_work("kong", "curator")
    async with await kong.live() as socket:
        await step(kong, "draft", fields=FIELDS)
        async for message in socket:
            news = message.json()
            if news["what"] == "entries":
                assert news["extra"] == {"key": OWN, "version": 1}
                break


async def test_retired_it_is_gone_from_what_counsellors_look_up(bench: Workbench) -> None:
    kong = await bench.at_work("kong", "curator")
    entry = "labour.overtime"
    retired = await step(kong, "retire", entry=entry)
    assert (retired["state"], retired["live"], retired["live_text"]) == ("retired", False, None)
    assert entry not in {one["id"] for one in await kong.get("/entries")}
    restored = await step(kong, "roll-back", entry=entry, number=desk.SHIPPED)
    assert (restored["state"], restored["live_number"]) == ("shipped", 0)
    steps = await kong.get(f"/knowledge/entries/{entry}/steps")
    done = [(one["step"], one["by"]["name"], one["number"]) for one in steps]
    assert done == [("roll_back", "kong", 0), ("retire", "kong", 0)]
