"""Talking at the workbench: the queue, claiming, answering once, handing on, closing; looks and conflicts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bot.storage import Storage
from bot.tables import Delivery
from escalation.tables import Alert, Case, Conversation, Note
from tests.bot.web_rig import Workbench, workbench


@pytest.fixture
async def bench(storage: Storage) -> AsyncIterator[Workbench]:
    async with workbench(storage) as running:
        yield running


# --- the queue ------------------------------------------------------------------------------------------------------


async def test_the_queue_shows_danger_first_and_then_who_waits_longest(bench: Workbench) -> None:
    first = await bench.contact("宿舍太吵睡不着", address="a")
    second = await bench.contact("老师总是骂我", address="b")
    danger = await bench.contact("我在桥上", address="c", risk="critical")
    browser = await bench.at_work("zhang")
    page = await browser.get("/conversations?view=queue")
    assert [c["id"] for c in page["items"]] == [str(danger), str(first), str(second)]
    assert page["counts"] == {"queue": 3, "mine": 0, "critical": 1, "high": 0}
    top = page["items"][0]
    assert (top["risk"], top["episode_open"], top["alert_state"], top["unread"]) == (
        "critical",
        True,
        "ringing",
        1,
    )
    assert top["preview"] == "我在桥上"
    assert top["case_number"]


async def test_the_queue_comes_in_pages_without_gaps_or_repeats(bench: Workbench) -> None:
    ids = [await bench.contact("你好", address=f"v{n}") for n in range(7)]
    browser = await bench.at_work("zhang")
    for view in ("queue", "all"):
        seen: list[str] = []
        after = ""
        while True:
            page = await browser.get(f"/conversations?view={view}&limit=3{after}")
            if not page["items"]:
                break
            seen += [c["id"] for c in page["items"]]
            after = f"&after={seen[-1]}"
        assert sorted(seen) == sorted(map(str, ids)), view
        assert len(seen) == len(set(seen)), view


async def test_a_preview_is_short_and_only_in_queue_and_mine(bench: Workbench) -> None:
    await bench.contact("很" * 100)
    browser = await bench.at_work("zhang")
    (card,) = (await browser.get("/conversations?view=queue"))["items"]
    assert len(card["preview"]) == 40
    (card,) = (await browser.get("/conversations?view=all"))["items"]
    assert card["preview"] is None


# --- one conversation -----------------------------------------------------------------------------------------------


async def test_a_conversation_shows_words_marked_with_the_reason_and_what_is_beside_them(
    bench: Workbench,
) -> None:
    talk = await bench.contact("😀😀撑不住了", risk="high")
    browser = await bench.at_work("zhang")
    whole = await browser.get(f"/conversations/{talk}")
    (message,) = whole["messages"]
    assert message["text"] == "😀😀撑不住了"
    # Two emoji are two code points as kept, but four units as a browser counts.
    assert message["spans"] == [{"start": 0, "end": 4, "reason": "试验标记"}]
    assert (message["risk"], message["kinds"], message["explanation"]) == ("high", ["suicide"], "试验标记")
    assert whole["episode"]["level"] == "high"
    assert whole["alert"]["state"] == "ringing"
    assert whole["case"]["version"] == 1
    assert whole["quota"] == {"left": None, "until": None, "text": None}
    assert whole["permissions"]["can_claim"] is True
    assert whole["permissions"]["can_reply"] is False
    assert whole["reassure"]["can_ask_satisfaction_default"] is False


async def test_every_look_is_on_record_with_who_when_and_why(bench: Workbench) -> None:
    talk = await bench.contact("在吗")
    browser = await bench.at_work("zhang")
    await browser.get(f"/conversations/{talk}")
    await browser.get(f"/conversations/{talk}?why=complaint")
    looks = await bench.acts("look")
    assert [(r.object, r.object_id, r.staff_id, r.why) for r in looks] == [
        ("conversation", talk, int(browser.me["id"]), "queue"),
        ("conversation", talk, int(browser.me["id"]), "complaint"),
    ]


async def test_a_screen_that_stays_on_a_conversation_is_one_look_in_five_minutes(bench: Workbench) -> None:
    talk = await bench.contact("在吗")
    browser = await bench.at_work("zhang")
    for _ in range(3):
        await browser.get(f"/conversations/{talk}?why=queue")
        await browser.get(f"/conversations/{talk}?why=refresh")
        await browser.get(f"/conversations/{talk}/messages")
    assert len(await bench.acts("look")) == 1
    bench.later += timedelta(minutes=6)
    await browser.get(f"/conversations/{talk}?why=refresh")
    assert [r.why for r in await bench.acts("look")] == ["queue", "queue"]


async def test_reading_pages_of_messages_is_a_look_too(bench: Workbench) -> None:
    talk = await bench.contact(*(f"第{n}句" for n in range(9)))
    browser = await bench.at_work("zhang")
    last = await browser.get(f"/conversations/{talk}/messages?limit=4")
    assert [m["text"] for m in last] == ["第5句", "第6句", "第7句", "第8句"]
    before = await browser.get(f"/conversations/{talk}/messages?limit=4&before={last[0]['id']}")
    assert [m["text"] for m in before] == ["第1句", "第2句", "第3句", "第4句"]
    assert len(await bench.acts("look")) == 1


async def test_looking_at_a_colleagues_conversation_needs_a_reason(bench: Workbench) -> None:
    talk = await bench.contact("在吗")
    owner = await bench.at_work("zhang")
    await owner.post(f"/conversations/{talk}/claim")
    other = await bench.at_work("li")
    refused = await other.get(f"/conversations/{talk}", 400)
    assert refused["error"] == "why"
    assert not [r for r in await bench.acts("look") if r.staff_id == int(other.me["id"])]
    await other.get(f"/conversations/{talk}?why=handover")
    supervisor = await bench.at_work("wang", "supervisor")
    await supervisor.get(f"/conversations/{talk}")
    assert [r.why for r in await bench.acts("look")] == ["own", "handover", "supervision"]


async def test_another_desks_conversation_is_not_there(bench: Workbench) -> None:
    talk = await bench.contact("在吗")

    async def move(session: AsyncSession) -> None:
        await session.execute(update(Conversation).values(desk="330100"))

    await bench.write(move)
    browser = await bench.at_work("zhang")
    await browser.get(f"/conversations/{talk}", 404)
    await browser.post(f"/conversations/{talk}/claim", status=404)
    assert (await browser.get("/conversations?view=all"))["items"] == []


# --- taking and answering -------------------------------------------------------------------------------------------


async def test_of_two_who_claim_one_gets_it_and_the_other_hears_who(bench: Workbench) -> None:
    talk = await bench.contact("在吗")
    zhang, li = await bench.at_work("zhang", name="张老师"), await bench.at_work("li", name="李老师")
    answers = await asyncio.gather(*(b.ask("POST", f"/conversations/{talk}/claim") for b in (zhang, li)))
    assert sorted(a.status for a in answers) == [200, 409]
    lost = await next(a for a in answers if a.status == 409).json()
    won = await next(a for a in answers if a.status == 200).json()
    assert lost["error"] == "taken"
    assert lost["owner"] == lost["current"]["owner"] == won["owner"]
    assert lost["owner"]["name"] in lost["message"]
    assert won["state"] == "human"
    assert won["permissions"]["can_reply"] is True


async def test_claiming_a_ringing_conversation_stills_the_alert_and_a_reply_ends_it(bench: Workbench) -> None:
    talk = await bench.contact("我想结束了", risk="high")
    browser = await bench.at_work("zhang")
    whole = await browser.post(f"/conversations/{talk}/claim")
    assert whole["alert"]["state"] == "paused"
    assert whole["alert"]["acknowledged_by"]["id"] == browser.me["id"]
    await browser.post(f"/conversations/{talk}/reply", {"text": "我在，你说", "client_id": "r-1"})
    (alert,) = await bench.rows(Alert)
    assert (alert.state, alert.end_reason) == ("ended", "human_reply")


async def test_a_reply_sent_twice_with_the_same_client_id_goes_out_once(bench: Workbench) -> None:
    talk = await bench.contact("在吗")
    browser = await bench.at_work("zhang")
    await browser.post(f"/conversations/{talk}/claim")
    body = {"text": "  我在。\n慢慢说 ", "client_id": "8c1f"}
    answers = await asyncio.gather(*(browser.post(f"/conversations/{talk}/reply", body) for _ in range(3)))
    again = await browser.post(f"/conversations/{talk}/reply", body)
    assert {a["id"] for a in answers} == {again["id"]}
    assert again["text"] == body["text"]
    assert (again["author"], again["staff_name"], again["delivery"]["state"]) == ("staff", "zhang", "pending")
    assert len(await bench.rows(Delivery)) == 1
    (delivery,) = await bench.rows(Delivery)
    assert (delivery.lane, delivery.resend_if_unknown) == (1, True)
    other = await browser.post(f"/conversations/{talk}/reply", body | {"client_id": "8c20"})
    assert other["id"] != again["id"]


async def test_only_who_has_the_conversation_can_answer(bench: Workbench) -> None:
    talk = await bench.contact("在吗")
    zhang, li = await bench.at_work("zhang"), await bench.at_work("li")
    body = {"text": "你好", "client_id": "1"}
    assert (await zhang.post(f"/conversations/{talk}/reply", body, 409))["error"] == "not_yours"
    await zhang.post(f"/conversations/{talk}/claim")
    assert (await li.post(f"/conversations/{talk}/reply", body, 409))["error"] == "not_yours"
    assert await bench.rows(Delivery) == []


async def test_a_note_is_kept_sealed_and_never_sent(bench: Workbench) -> None:
    talk = await bench.contact("在吗")
    browser = await bench.at_work("zhang", name="张老师")
    note = await browser.post(f"/conversations/{talk}/notes", {"text": "像是初二学生"})
    assert note["staff"]["name"] == "张老师"
    (row,) = await bench.rows(Note)
    assert "初二".encode() not in row.text_sealed
    assert [n["text"] for n in (await browser.get(f"/conversations/{talk}"))["notes"]] == ["像是初二学生"]
    assert await bench.rows(Delivery) == []


async def test_a_wechat_conversation_shows_what_may_still_be_sent(bench: Workbench) -> None:
    talk = await bench.contact("在吗", channel="wechat")
    browser = await bench.at_work("zhang")
    open_window = (await browser.get(f"/conversations/{talk}"))["quota"]
    assert (open_window["left"], open_window["text"][:8]) == (5, "还可以发 5 条")
    bench.later += timedelta(hours=49)
    await browser.sign_in("zhang")
    shut = (await browser.get(f"/conversations/{talk}"))["quota"]
    assert shut["left"] == 0
    assert shut["text"]


# --- handing on, judging, closing -----------------------------------------------------------------------------------


async def test_a_conversation_stays_with_the_first_until_the_colleague_accepts(bench: Workbench) -> None:
    talk = await bench.contact("在吗")
    zhang, li = await bench.at_work("zhang", name="张老师"), await bench.at_work("li")
    await zhang.post(f"/conversations/{talk}/claim")
    people = await zhang.get("/colleagues")
    assert [p["name"] for p in people] == ["li"]
    offer = await zhang.post(f"/conversations/{talk}/transfer", {"to": li.me["id"], "reason": "她更懂劳动法"})
    assert (offer["from"]["name"], offer["reason"]) == ("张老师", "她更懂劳动法")
    assert (await zhang.get(f"/conversations/{talk}"))["owner"]["id"] == zhang.me["id"]
    (card,) = (await li.get("/conversations?view=all"))["items"]
    assert card["transfer_offered_to_me"] == offer["id"]
    (mine,) = (await li.get("/conversations?view=mine"))["items"]
    assert (mine["id"], mine["transfer_offered_to_me"]) == (str(talk), offer["id"])
    assert (await li.get("/conversations?view=mine"))["counts"]["mine"] == 0
    whole = await li.post(f"/transfers/{offer['id']}/accept")
    assert whole["owner"]["id"] == li.me["id"]
    assert (await zhang.get("/conversations?view=mine"))["items"] == []
    assert (await zhang.post(f"/transfers/{offer['id']}/accept", status=409))["error"] == "no_offer"


@pytest.mark.parametrize(("risk", "seconds"), [("none", 1800), ("high", 300), ("critical", 120)])
async def test_a_card_says_by_when_the_owner_must_reply(bench: Workbench, risk: str, seconds: int) -> None:
    talk = await bench.contact("在吗", risk=risk)  # type: ignore[arg-type]
    zhang = await bench.at_work("zhang")
    assert (await zhang.get("/conversations"))["items"][0]["deadline_at"] is None
    before = bench.now()
    whole = await zhang.post(f"/conversations/{talk}/claim")
    (card,) = (await zhang.get("/conversations?view=mine"))["items"]
    assert card["deadline_at"] == whole["deadline_at"]
    due = datetime.fromisoformat(card["deadline_at"]) - timedelta(seconds=seconds)
    assert before - timedelta(seconds=1) <= due <= bench.now()  # it counts from the moment of taking it
    await zhang.post(f"/conversations/{talk}/reply", {"text": "在，你说", "client_id": "1"})
    assert (await zhang.get("/conversations?view=mine"))["items"][0]["deadline_at"] is None


async def test_handing_back_puts_the_conversation_in_the_queue(bench: Workbench) -> None:
    talk = await bench.contact("在吗")
    browser = await bench.at_work("zhang")
    await browser.post(f"/conversations/{talk}/claim")
    await browser.post(f"/conversations/{talk}/hand-back", {"reason": "要去接孩子"})
    assert [c["id"] for c in (await browser.get("/conversations"))["items"]] == [str(talk)]


async def test_an_assessment_below_high_ends_the_danger_on_record(bench: Workbench) -> None:
    talk = await bench.contact("笑死，想跳楼", risk="high")
    browser = await bench.at_work("zhang")
    await browser.post(f"/conversations/{talk}/claim")
    whole = await browser.post(f"/conversations/{talk}/risk", {"level": "low", "note": "是玩笑"})
    assert (whole["risk"], whole["episode_open"], whole["alert"]["state"]) == ("low", False, "ended")
    assert [n["text"] for n in whole["notes"]] == ["是玩笑"]
    assert [r.why for r in await bench.acts("assess")] == ["low"]


def closing(**other: Any) -> dict[str, Any]:
    return {
        "version": 0,
        "category": "psychological.exam.pressure",
        "risk": "low",
        "result": "supported",
        "note": "约好明天再聊",
        "ask_satisfaction": True,
    } | other


async def test_closing_writes_the_case_and_asks_how_it_was(bench: Workbench) -> None:
    talk = await bench.contact("考砸了")
    browser = await bench.at_work("zhang")
    await browser.post(f"/conversations/{talk}/claim")
    await browser.post(f"/conversations/{talk}/close", closing())
    (case,) = await bench.rows(Case)
    assert (case.state, case.result, case.risk_assessed) == ("closed", "supported", "low")
    whole = await browser.get(f"/conversations/{talk}?why=own")
    assert whole["state"] == "closed"
    (question,) = [m for m in whole["messages"] if m["direction"] == "out"]
    assert question["template"].startswith("satisfaction.ask@")
    assert [b["value"] for b in question["buttons"]] == [f"/rate {talk} {n}" for n in range(1, 6)]
    assert (await browser.post(f"/conversations/{talk}/close", closing(), 409))["error"] == "closed"


async def test_after_a_crisis_nothing_is_asked_without_the_counsellors_yes(bench: Workbench) -> None:
    talk = await bench.contact("我想结束了", risk="high")
    browser = await bench.at_work("zhang")
    whole = await browser.post(f"/conversations/{talk}/claim")
    version = whole["case"]["version"]
    await browser.post(f"/conversations/{talk}/close", closing(version=version, ask_satisfaction=False))
    assert await bench.rows(Delivery) == []


async def test_closing_with_an_old_version_is_a_conflict_that_shows_the_case_as_it_is(
    bench: Workbench,
) -> None:
    talk = await bench.contact("我想结束了", risk="high")
    browser = await bench.at_work("zhang")
    await browser.post(f"/conversations/{talk}/claim")
    refused = await browser.post(f"/conversations/{talk}/close", closing(version=77), 409)
    assert refused["error"] == "version"
    assert refused["current"]["version"] == refused["version"]
    assert refused["current"]["state"] == "in_progress"
    wrong = await browser.post(f"/conversations/{talk}/close", closing(result="vanished"), 400)
    assert wrong["fields"][0]["field"] == "result"
    wrong = await browser.post(f"/conversations/{talk}/close", closing(category="legal.nonsense"), 400)
    assert wrong["fields"][0]["field"] == "category"


async def test_the_desk_tells_its_name_numbers_categories_and_codes(bench: Workbench) -> None:
    browser = await bench.at_work("zhang")
    desk = await browser.get("/desk")
    assert desk["numbers"]["police"] == "110"
    assert {c["code"] for c in desk["categories"]} == {"legal", "psychological", "safety", "other"}
    labour = desk["categories"][0]["children"][0]
    assert labour["children"][0] == {
        "code": "legal.labour.unpaid_wages",
        "name": "拖欠工资",
        "children": None,
    }
    assert {"answered", "referred"} <= {r["code"] for r in desk["results"]}
    assert desk["fallback_telephone_configured"] is False
    canned = await browser.get("/canned-replies")
    assert canned
    assert not any("{" in c["text"] for c in canned)


async def test_entries_can_be_looked_up_and_are_suggested_beside_the_thread(bench: Workbench) -> None:
    talk = await bench.contact("老板拖欠我两个月工资不给怎么办")
    browser = await bench.at_work("zhang")
    found = await browser.post("/entries/search", {"q": "拖欠工资"})
    assert found
    assert found[0]["text"]
    assert found[0]["sources"]
    whole = await browser.get(f"/conversations/{talk}")
    assert found[0]["id"] in {s["entry_id"] for s in whole["suggestions"]}


async def test_an_erased_persons_conversation_shows_no_words(bench: Workbench) -> None:
    talk = await bench.contact("在吗")
    browser = await bench.at_work("zhang")

    async def erase(session: AsyncSession) -> None:
        from escalation.tables import Person

        person = await session.scalar(select(Person))
        assert person is not None
        person.data_key = None

    await bench.write(erase)
    whole = await browser.get(f"/conversations/{talk}")
    assert [m["text"] for m in whole["messages"]] == [None]
    assert (await browser.post(f"/conversations/{talk}/notes", {"text": "再看看"}, 409))["message"]
    await browser.post(f"/conversations/{talk}/claim")
    lost = await browser.post(f"/conversations/{talk}/reply", {"text": "你好", "client_id": "1"}, 409)
    assert lost["error"] == "erased"
