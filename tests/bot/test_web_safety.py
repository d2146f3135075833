"""Alerts, rescue, safe contact, nuisance and erasing from the workbench: second persons, reasons, and what stays hidden."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bot.storage import Storage
from bot.tables import Delivery
from escalation import tasks
from escalation.tables import Alert, AlertEvent, Contact, Conversation, Nuisance, Person, Record, Rescue
from tests.bot.web_rig import Workbench, workbench


@pytest.fixture
async def bench(storage: Storage) -> AsyncIterator[Workbench]:
    async with workbench(storage) as running:
        yield running


async def test_alerts_show_what_happened_and_are_ended_only_by_words_or_a_decision(bench: Workbench) -> None:
    await bench.contact("我在桥上", risk="critical")
    browser = await bench.at_work("zhang", name="张老师")
    (alert,) = await browser.get("/alerts")
    assert (alert["level"], alert["state"], alert["reason"]) == ("critical", "ringing", "episode")
    paused = await browser.post(f"/alerts/{alert['id']}/acknowledge")
    assert (paused["state"], paused["acknowledged_by"]["name"]) == ("paused", "张老师")
    assert paused["next_at"] > alert["next_at"]
    wrong = await browser.post(f"/alerts/{alert['id']}/decide", {"decision": "bored"}, 400)
    assert wrong["fields"][0]["field"] == "decision"
    ended = await browser.post(
        f"/alerts/{alert['id']}/decide", {"decision": "spoken", "note": "电话里说在家"}
    )
    assert ended["state"] == "ended"
    assert [e["what"] for e in ended["events"]] == ["started", "acknowledged", "ended"]
    assert await browser.get("/alerts") == []
    assert not any("电话" in (e.detail or "") for e in await bench.rows(AlertEvent))
    await browser.post("/alerts/12345/acknowledge", status=404)


async def test_a_rescue_tells_who_was_told_and_waits_for_a_second_person(bench: Workbench) -> None:
    talk = await bench.contact("我在桥上", risk="critical")
    zhang, wang = await bench.at_work("zhang"), await bench.at_work("wang", "supervisor", name="王督导")
    body = {"place": "江滨大桥", "identity": "自称小林，15 岁", "legal_basis": "个人信息保护法第十三条"}
    rescue = await zhang.post(f"/conversations/{talk}/rescues", body)
    assert (rescue["state"], rescue["place"], rescue["notices"]) == ("open", "江滨大桥", [])
    (row,) = await bench.rows(Rescue)
    assert "江滨".encode() not in row.place_sealed
    told = await zhang.post(f"/rescues/{rescue['id']}/told", {"told": "police_110", "detail": "已出警"})
    assert (told["notices"][0]["told"], told["notices"][0]["detail"]) == ("police_110", "已出警")
    assert (await zhang.post(f"/rescues/{rescue['id']}/approve", status=403))["error"] == "own"
    assert (await zhang.post(f"/rescues/{rescue['id']}/close", {"result": "平安"}, 409))[
        "error"
    ] == "second_person"
    approved = await wang.post(f"/rescues/{rescue['id']}/approve")
    assert approved["approved_by"]["name"] == "王督导"
    closed = await zhang.post(f"/rescues/{rescue['id']}/close", {"result": "民警已找到，平安"})
    assert (closed["state"], closed["result"]) == ("closed", "民警已找到，平安")


async def test_another_desks_alerts_and_rescues_are_not_there(bench: Workbench) -> None:
    talk = await bench.contact("我在桥上", risk="critical")
    zhang, wang = await bench.at_work("zhang"), await bench.at_work("wang", "supervisor")
    rescue = await zhang.post(f"/conversations/{talk}/rescues", {"legal_basis": "个人信息保护法第十三条"})
    mark = await zhang.post(f"/conversations/{talk}/nuisance", {"reason": "试验"})
    (alert,) = await zhang.get("/alerts")

    async def move(session: AsyncSession) -> None:
        for table in (Conversation, Alert, Person):
            await session.execute(update(table).values(desk="330100"))

    await bench.write(move)
    assert await zhang.get("/alerts") == []
    await zhang.post(f"/alerts/{alert['id']}/acknowledge", status=404)
    await wang.post(f"/rescues/{rescue['id']}/approve", status=404)
    await wang.post(f"/nuisance/{mark['id']}/confirm", {"days": 1}, 404)


async def test_a_guardian_who_may_harm_is_not_told_without_a_second_yes(bench: Workbench) -> None:
    talk = await bench.contact("爸爸打我", risk="high")
    browser = await bench.at_work("zhang")
    body = {"legal_basis": "未成年人保护法第十一条", "guardian_may_harm": True}
    rescue = await browser.post(f"/conversations/{talk}/rescues", body)
    refused = await browser.post(f"/rescues/{rescue['id']}/told", {"told": "guardian"}, 403)
    assert refused["error"] == "guardian_may_harm"


async def test_the_network_address_shows_only_in_a_rescue_with_a_reason_on_record(bench: Workbench) -> None:
    talk = await bench.contact("我在桥上", risk="critical")

    async def keep(session: AsyncSession) -> None:
        contact = await session.scalar(select(Contact))
        person = await session.scalar(select(Person))
        assert contact is not None
        assert person is not None
        key = bench.shell.vault.person_key(person.data_key)
        contact.network_address_sealed = key.seal("203.0.113.9", "contact.network_address")

    await bench.write(keep)
    browser = await bench.at_work("zhang")
    whole = await browser.ask("GET", f"/conversations/{talk}")
    assert "203.0.113.9" not in await whole.text()
    path = f"/conversations/{talk}/network-address"
    assert (await browser.post(path, {"reason": "警方要求"}, 400))["error"] == "no_rescue"
    await browser.post(f"/conversations/{talk}/rescues", {"legal_basis": "个人信息保护法第十三条"})
    assert (await browser.post(path, {"reason": " "}, 400))["error"] == "invalid"
    assert await browser.post(path, {"reason": "警方要求"}) == {"address": "203.0.113.9"}
    (record,) = await bench.acts("network_address.show")
    assert record.staff_id == int(browser.me["id"])
    assert bench.shell.vault.desk.open(record.why_sealed, "record.why") == "警方要求"


async def test_safe_contact_is_asked_with_the_approved_words_and_kept_sealed(bench: Workbench) -> None:
    talk = await bench.contact("在吗")
    browser = await bench.at_work("zhang")
    await browser.post(f"/conversations/{talk}/claim")
    asked = await browser.post(f"/conversations/{talk}/ask-safe-contact")
    assert asked["template"].startswith("safe_contact.ask@")
    (delivery,) = await bench.rows(Delivery)
    assert delivery.lane == 1
    said = {"how": "只在微信", "when": "放学后", "may_say_who": False, "words": "说是同学"}
    whole = await browser.post(f"/conversations/{talk}/safe-contact", said)
    assert whole["safe_contact"] == said
    (person,) = await bench.rows(Person)
    assert "放学".encode() not in person.safe_contact_sealed


async def test_a_nuisance_mark_needs_a_supervisor_and_lowers_the_place(bench: Workbench) -> None:
    first = await bench.contact("骚扰内容", address="a")
    second = await bench.contact("在吗", address="b")
    zhang, wang = await bench.at_work("zhang"), await bench.at_work("wang", "supervisor")
    mark = await zhang.post(f"/conversations/{first}/nuisance", {"reason": "连续辱骂"})
    assert mark["confirmed_by"] is None
    await zhang.post(f"/nuisance/{mark['id']}/confirm", {"days": 3}, 403)
    assert (await wang.post(f"/nuisance/{mark['id']}/confirm", {"days": 8}, 400))["error"] == "invalid"
    assert (await wang.post(f"/nuisance/{mark['id']}/confirm", {"days": 3}))["confirmed_by"]["id"] == wang.me[
        "id"
    ]
    cards = (await zhang.get("/conversations"))["items"]
    assert [(c["id"], c["nuisance"]) for c in cards] == [(str(second), False), (str(first), True)]
    await wang.post(f"/nuisance/{mark['id']}/end")
    assert [c["id"] for c in (await zhang.get("/conversations"))["items"]] == [str(first), str(second)]
    (row,) = await bench.rows(Nuisance)
    assert "辱骂".encode() not in row.reason_sealed


async def test_erasing_needs_a_second_person_and_then_no_word_can_be_read(bench: Workbench) -> None:
    talk = await bench.contact("在吗")
    (person,) = await bench.rows(Person)
    zhang, wang = await bench.at_work("zhang"), await bench.at_work("wang", "supervisor")
    asked = await wang.post(f"/persons/{person.id}/erasure", {"verified_how": "return_code"})
    await zhang.post(f"/erasures/{asked['id']}/approve", status=403)
    assert (await wang.post(f"/erasures/{asked['id']}/approve", status=403))["error"] == "own"
    assert [e["id"] for e in await wang.get("/erasures")] == [asked["id"]]
    other = await bench.at_work("liu", "supervisor")
    assert (await other.post(f"/erasures/{asked['id']}/approve"))["state"] == "done"
    whole = await other.get(f"/conversations/{talk}?why=supervision")
    assert [m["text"] for m in whole["messages"]] == [None]
    assert await wang.get("/erasures") == []


async def test_a_supervisor_keeps_a_record_by_law_with_a_reason_and_lets_it_go(bench: Workbench) -> None:
    await bench.contact("在吗")
    (person,) = await bench.rows(Person)
    zhang, wang = await bench.at_work("zhang"), await bench.at_work("wang", "supervisor")
    hold = f"/persons/{person.id}/legal-hold"
    await zhang.post(hold, {"on": True, "reason": "法院调取"}, 403)
    assert (await wang.post(hold, {"on": True, "reason": ""}, 400))["fields"][0]["field"] == "reason"
    assert (await wang.post(hold, {"on": True, "reason": "法院调取"}))["legal_hold"] is True
    asked = await zhang.post(f"/persons/{person.id}/erasure", {"verified_how": "in_person"})
    (listed,) = await wang.get("/erasures")
    assert (listed["id"], listed["legal_hold"]) == (asked["id"], True)
    assert (await wang.post(f"/erasures/{asked['id']}/approve"))["held_by"] == "legal_hold"
    await wang.post(hold, {"on": False, "reason": "案件已结"})
    assert (await wang.post(f"/erasures/{asked['id']}/approve"))["state"] == "done"
    acts = [(r["action"], r["why"]) for r in await wang.get(f"/records?object=person&id={person.id}")]
    assert ("legal_hold.set", "法院调取") in acts
    assert ("legal_hold.end", "案件已结") in acts


async def test_another_desks_tasks_records_and_erasures_are_not_there(bench: Workbench) -> None:
    talk = await bench.contact("在吗")
    (person,) = await bench.rows(Person)
    zhang, wang = await bench.at_work("zhang"), await bench.at_work("wang", "supervisor")
    await zhang.post(f"/conversations/{talk}/nuisance", {"reason": "试验"})
    await zhang.get(f"/conversations/{talk}")
    asked = await zhang.post(f"/persons/{person.id}/erasure", {"verified_how": "in_person"})

    async def about_the_machine(session: AsyncSession) -> None:
        await tasks.open_task(
            session, "clock_warning", now=bench.now(), role="supervisor", detail="sms:default"
        )

    await bench.write(about_the_machine)
    ours = {t["kind"]: t["id"] for t in await wang.get("/tasks")}
    assert set(ours) == {"nuisance_review", "erasure", "clock_warning"}
    assert await wang.get(f"/records?object=conversation&id={talk}")

    async def move(session: AsyncSession) -> None:
        for table in (Conversation, Person):
            await session.execute(update(table).values(desk="330100"))

    await bench.write(move)
    assert [t["kind"] for t in await wang.get("/tasks")] == ["clock_warning"]
    await wang.post(f"/tasks/{ours['erasure']}/done", status=404)
    await wang.post(f"/tasks/{ours['nuisance_review']}/done", status=404)
    await wang.get(f"/records?object=conversation&id={talk}", 404)
    await wang.get(f"/records?object=person&id={person.id}", 404)
    assert await wang.get("/erasures") == []
    await wang.post(f"/erasures/{asked['id']}/approve", status=404)
    await wang.post(f"/erasures/{asked['id']}/refuse", status=404)
    await wang.post(f"/persons/{person.id}/legal-hold", {"on": True, "reason": "试验"}, 404)


async def test_an_open_danger_holds_an_erasure_back_and_says_why(bench: Workbench) -> None:
    await bench.contact("我想结束了", risk="high")
    (person,) = await bench.rows(Person)
    zhang, wang = await bench.at_work("zhang"), await bench.at_work("wang", "supervisor")
    asked = await zhang.post(f"/persons/{person.id}/erasure", {"verified_how": "in_person"})
    held = await wang.post(f"/erasures/{asked['id']}/approve")
    assert (held["state"], held["held_by"]) == ("held", "open_high_case")


def everything_in(folder: Path) -> bytes:
    """Database and write-ahead log as they lie on the disk."""
    return b"".join(file.read_bytes() for file in folder.glob("desk.db*"))


async def test_nothing_that_was_written_or_done_is_stored_in_plain_text(
    bench: Workbench, tmp_path: Path
) -> None:
    words = ["天台的风很大", "内部判断甲乙", "转交缘由丙丁", "救援地点戊己", "辱骂内容庚辛", "回复的话壬癸"]
    async with workbench(tmp_path) as bench:
        talk = await bench.contact(words[0], risk="high")
        zhang, li = await bench.at_work("zhang"), await bench.at_work("li")
        await zhang.post(f"/conversations/{talk}/claim")
        await zhang.post(f"/conversations/{talk}/reply", {"text": words[5], "client_id": "1"})
        await zhang.post(f"/conversations/{talk}/notes", {"text": words[1]})
        await zhang.post(f"/conversations/{talk}/transfer", {"to": li.me["id"], "reason": words[2]})
        await zhang.post(f"/conversations/{talk}/rescues", {"place": words[3], "legal_basis": "紧急避险"})
        await zhang.post(f"/conversations/{talk}/nuisance", {"reason": words[4]})
        stored = everything_in(tmp_path)
        assert b"zhang" in stored  # what is not secret is found by this way of looking
        for secret in words:
            assert secret.encode() not in stored, secret
        assert await bench.rows(Record)
        assert await bench.rows(Alert)
        assert await bench.rows(Conversation)
