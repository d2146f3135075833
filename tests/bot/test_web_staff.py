"""Roles, staff, roster and the texts that two people change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from bot.tables import LoginSession
from escalation.tables import Staff, TemplateText
from tests.bot.web_rig import Workbench, workbench

NEW_TEXT = "你好，这里是{desk_name}，我们在听。"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Workbench]:
    async with workbench(tmp_path) as running:
        yield running


@pytest.mark.parametrize(
    ("role", "refused", "allowed"),
    [
        (
            "counsellor",
            [
                "GET /staff",
                "POST /staff",
                "GET /audit",
                "GET /records?id=1",
                "POST /templates/greeting.hello/drafts",
            ],
            ["GET /conversations", "GET /alerts", "GET /tasks", "GET /templates", "GET /entries"],
        ),
        (
            "curator",
            [
                "GET /conversations",
                "GET /conversations/1",
                "GET /alerts",
                "GET /staff",
                "GET /tasks",
                "POST /me/duty",
            ],
            ["GET /templates", "GET /entries", "GET /desk"],
        ),
        (
            "administrator",
            [
                "GET /conversations",
                "GET /conversations/1/messages",
                "GET /alerts",
                "POST /conversations/1/claim",
            ],
            ["GET /staff", "GET /shifts", "GET /audit", "GET /templates"],
        ),
        ("supervisor", ["POST /staff"], ["GET /conversations", "GET /staff", "GET /audit", "GET /erasures"]),
    ],
)
async def test_each_role_does_its_own_work_and_no_other(
    bench: Workbench, role: str, refused: list[str], allowed: list[str]
) -> None:
    browser = await bench.at_work("someone", role)
    for line in refused:
        method, path = line.split()
        answer = await browser.ask(method, path, {} if method == "POST" else None)
        assert (answer.status, (await answer.json())["error"]) == (403, "forbidden"), line
    for line in allowed:
        method, path = line.split()
        assert (await browser.ask(method, path)).status == 200, line


# --- staff ----------------------------------------------------------------------------------------------------------


async def test_a_new_colleague_gets_a_password_once_and_must_change_it(bench: Workbench) -> None:
    admin = await bench.at_work("root", "administrator")
    body = {"login": "chen", "name": "陈老师", "role": "counsellor"}
    new = await admin.post("/staff", body, 201)
    (listed,) = [s for s in await admin.get("/staff") if s["login"] == "chen"]
    assert "one_time_password" not in listed
    assert listed["must_change_password"] is True
    assert (await admin.post("/staff", body, 409))["error"] == "login_taken"
    browser = await bench.browser()
    await browser.sign_in("chen", new["one_time_password"])
    assert (await browser.get("/conversations", 403))["error"] == "password"
    assert new["one_time_password"] not in str([r.why for r in await bench.acts("staff.add")])


async def test_a_reset_password_ends_the_sessions_and_must_be_changed(bench: Workbench) -> None:
    admin, zhang = await bench.at_work("root", "administrator"), await bench.at_work("zhang")
    said = await admin.post(f"/staff/{zhang.me['id']}/reset-password")
    await zhang.get("/me", 401)
    me = await zhang.sign_in("zhang", said["one_time_password"])
    assert me["must_change_password"] is True


async def test_a_closed_or_moved_colleague_is_signed_out_and_the_last_administrator_stays(
    bench: Workbench,
) -> None:
    admin, zhang = await bench.at_work("root", "administrator"), await bench.at_work("zhang")
    changed = await admin.ask("PATCH", f"/staff/{zhang.me['id']}", {"role": "curator", "name": "张编辑"})
    assert (await changed.json())["role"] == "curator"
    await zhang.get("/me", 401)
    last = await admin.ask("PATCH", f"/staff/{admin.me['id']}", {"active": False})
    assert (last.status, (await last.json())["error"]) == (409, "last_administrator")
    assert len([s for s in await bench.rows(LoginSession) if s.ended_at is None]) == 1


async def test_nobody_leaves_with_conversations_in_hand(bench: Workbench) -> None:
    talk = await bench.contact("在吗")
    admin, zhang = await bench.at_work("root", "administrator"), await bench.at_work("zhang")
    await zhang.post(f"/conversations/{talk}/claim")
    refused = await admin.ask("PATCH", f"/staff/{zhang.me['id']}", {"active": False})
    assert (refused.status, (await refused.json())["error"]) == (409, "has_conversations")
    assert all(s.active for s in await bench.rows(Staff))


async def test_a_telephone_is_kept_sealed(bench: Workbench) -> None:
    admin = await bench.at_work("root", "administrator")
    body = {"login": "chen", "name": "陈老师", "role": "supervisor", "telephone": "13900000000"}
    assert (await admin.post("/staff", body, 201))["has_telephone"] is True
    (row,) = [s for s in await bench.rows(Staff) if s.login == "chen"]
    assert b"139" not in row.telephone_sealed


# --- roster ---------------------------------------------------------------------------------------------------------


async def test_the_roster_is_made_by_supervisors_and_duty_by_oneself(bench: Workbench) -> None:
    wang, zhang = await bench.at_work("wang", "supervisor"), await bench.at_work("zhang", name="张老师")
    start = bench.now() + timedelta(hours=1)
    body = {
        "staff_id": zhang.me["id"],
        "rung": 1,
        "starts_at": start.isoformat(),
        "ends_at": (start + timedelta(hours=8)).isoformat(),
    }
    shift = await wang.post("/shifts", body, 201)
    assert shift["staff"] == {"id": zhang.me["id"], "name": "张老师"}
    await zhang.post("/shifts", body, 403)
    assert (await wang.post("/shifts", body | {"rung": 2}, 400))["error"] == "not_supervisor"
    assert (await wang.post("/shifts", body | {"ends_at": body["starts_at"]}, 400))["error"] == "shift"
    naive = body | {"starts_at": "2026-12-01T08:00:00"}
    assert (await wang.post("/shifts", naive, 400))["fields"][0]["field"] == "starts_at"
    assert [s["id"] for s in await zhang.get("/shifts")] == [shift["id"]]
    assert (await wang.ask("DELETE", f"/shifts/{shift['id']}")).status == 200
    assert (await wang.ask("DELETE", f"/shifts/{shift['id']}")).status == 404
    assert (await zhang.post("/me/duty", {"on_duty": True}))["on_duty"] is True
    assert (await zhang.post("/me/duty", {"on_duty": True, "rung": 2}, 403))["error"] == "forbidden"
    assert (await zhang.post("/me/duty", {"on_duty": False}))["on_duty"] is False


# --- templates ------------------------------------------------------------------------------------------------------


async def test_a_changed_text_is_said_only_after_a_second_person_approved_it(bench: Workbench) -> None:
    kong, wang = (
        await bench.at_work("kong", "curator", name="孔编辑"),
        await bench.at_work("wang", "supervisor"),
    )
    before = await _template(kong, "greeting.hello")
    assert (before["state"], before["version"], before["draft"]) == ("shipped", 0, None)
    draft = await kong.post("/templates/greeting.hello/drafts", {"text": NEW_TEXT})
    assert (draft["state"], draft["text"]) == ("shipped", before["text"])
    assert (draft["draft"]["text"], draft["draft"]["author"]["name"]) == (NEW_TEXT, "孔编辑")
    own = await kong.post(f"/templates/drafts/{draft['draft']['id']}/approve", status=403)
    assert own["error"] == "own"
    after = await wang.post(f"/templates/drafts/{draft['draft']['id']}/approve")
    assert (after["state"], after["version"], after["text"], after["draft"]) == (
        "approved",
        1,
        NEW_TEXT,
        None,
    )
    again = await wang.post(f"/templates/drafts/{draft['draft']['id']}/approve", status=409)
    assert again["current"]["version"] == 1
    assert after["shipped_text"] == before["text"]


async def _template(browser: object, key: str) -> dict[str, object]:
    (found,) = [t for t in await browser.get("/templates") if t["key"] == key]  # type: ignore[attr-defined]
    return found  # type: ignore[no-any-return]


async def test_nobody_approves_a_text_other_than_the_one_they_read(bench: Workbench) -> None:
    kong, wang = await bench.at_work("kong", "curator"), await bench.at_work("wang", "supervisor")
    read = await kong.post("/templates/greeting.hello/drafts", {"text": NEW_TEXT})
    await kong.post("/templates/greeting.hello/drafts", {"text": "换了一句"})
    assert (await wang.post(f"/templates/drafts/{read['draft']['id']}/approve", status=409))["current"][
        "draft"
    ]
    assert not [t for t in await bench.rows(TemplateText) if t.state == "approved"]


async def test_two_people_do_not_overwrite_each_others_draft(bench: Workbench) -> None:
    kong, wang = await bench.at_work("kong", "curator"), await bench.at_work("wang", "supervisor")
    mine = await kong.post("/templates/greeting.hello/drafts", {"text": NEW_TEXT})
    theirs = await wang.post("/templates/greeting.hello/drafts", {"text": "另一句"}, 409)
    assert theirs["current"]["draft"]["text"] == NEW_TEXT
    gone = await wang.post(f"/templates/drafts/{mine['draft']['id']}/discard")
    assert gone["draft"] is None


async def test_a_text_that_cannot_be_filled_in_or_loses_its_number_is_refused(bench: Workbench) -> None:
    kong = await bench.at_work("kong", "curator")
    unknown = await kong.post("/templates/greeting.hello/drafts", {"text": "你好{nobody}"}, 400)
    assert unknown["problems"]
    numberless = await kong.post("/templates/safety.suicide/drafts", {"text": "别怕，会好的。"}, 400)
    assert "{police}" in numberless["message"]
    await kong.post("/templates/no.such/drafts", {"text": "你好"}, 404)
