"""Signing in: wrong passwords wait, a first password must go, sessions end, and nothing is told about who exists."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from bot.tables import LoginDelay, LoginSession
from escalation.tables import Staff
from tests.bot.web_rig import PASSWORD, Workbench, workbench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Workbench]:
    async with workbench(tmp_path) as running:
        yield running


async def test_signing_in_says_who_one_is_and_what_one_may(bench: Workbench) -> None:
    browser = await bench.at_work("zhang", "counsellor", name="张老师")
    me = await browser.get("/me")
    assert (me["login"], me["name"], me["role"]) == ("zhang", "张老师", "counsellor")
    assert "claim" in me["permissions"]
    assert "staff.manage" not in me["permissions"]
    assert me["csrf_token"] == browser.csrf


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites_and_is_stored_only_as_a_hash(
    bench: Workbench,
) -> None:
    await bench.hire("zhang", "counsellor")
    browser = await bench.browser()
    answer = await browser.ask("POST", "/login", {"login": "zhang", "password": PASSWORD})
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    token = cookie.split("=", 1)[1].split(";")[0]
    (row,) = await bench.rows(LoginSession)
    assert token.encode() not in row.token_hash
    assert len(row.token_hash) == 32


async def test_behind_https_the_cookie_is_secure(tmp_path: Path) -> None:
    async with workbench(tmp_path, server={"public_url": "https://desk.example"}) as bench:
        await bench.hire("zhang", "counsellor")
        browser = await bench.browser()
        answer = await browser.ask("POST", "/login", {"login": "zhang", "password": PASSWORD})
        assert "Secure" in answer.headers["Set-Cookie"]
        assert "max-age" in answer.headers["Strict-Transport-Security"]


async def test_a_wrong_password_and_an_unknown_login_look_the_same(bench: Workbench) -> None:
    await bench.hire("zhang", "counsellor")
    browser = await bench.browser()
    wrong = await browser.sign_in("zhang", "不是这个密码呀", 401)
    unknown = await browser.sign_in("nobody", "不是这个密码呀", 401)
    assert wrong == unknown == {"error": "wrong", "message": "账号或密码不对。"}


async def test_wrong_passwords_wait_longer_each_time_but_never_more_than_a_minute(bench: Workbench) -> None:
    await bench.hire("zhang", "counsellor")
    browser = await bench.browser()
    waits = []
    while len(waits) < 9:
        said = await browser.ask("POST", "/login", {"login": "zhang", "password": "猜一个密码试试"})
        if said.status == 429:
            told = await said.json()
            assert told["error"] == "wait"
            assert said.headers["Retry-After"] == str(told["seconds"])
            waits.append(told["seconds"])
            bench.later += timedelta(seconds=told["seconds"])
    assert waits == sorted(waits)
    assert waits[0] == 1
    assert max(waits) == 60


async def test_while_a_login_waits_even_the_right_password_is_not_looked_at_then_it_is(
    bench: Workbench,
) -> None:
    await bench.hire("zhang", "counsellor")
    browser = await bench.browser()
    for _ in range(3):
        await browser.sign_in("zhang", "猜一个密码试试", 401)
    told = await browser.sign_in("zhang", PASSWORD, 429)
    bench.later += timedelta(seconds=told["seconds"])
    await browser.sign_in("zhang", PASSWORD)
    for _ in range(2):  # and the count began anew
        await browser.sign_in("zhang", "猜一个密码试试", 401)
    await browser.sign_in("zhang", PASSWORD)


async def test_many_tries_at_the_same_moment_are_not_free(bench: Workbench) -> None:
    import asyncio

    await bench.hire("zhang", "counsellor")
    browser = await bench.browser()
    answers = await asyncio.gather(
        *(browser.ask("POST", "/login", {"login": "zhang", "password": f"猜第{n}个密码"}) for n in range(12))
    )
    looked_at = [a for a in answers if a.status == 401]
    assert len(looked_at) == 3
    assert {a.status for a in answers} == {401, 429}


async def test_a_colleague_behind_the_same_address_can_still_sign_in(bench: Workbench) -> None:
    await bench.hire("zhang", "counsellor")
    await bench.hire("li", "counsellor")
    browser = await bench.browser()
    for _ in range(5):
        await browser.ask("POST", "/login", {"login": "zhang", "password": "猜一个密码试试"})
    await browser.sign_in("li")


async def test_names_of_tries_are_kept_only_as_hashes(bench: Workbench) -> None:
    browser = await bench.browser()
    await browser.sign_in("somebody", "猜一个密码试试", 401)
    async with bench.shell.storage.read() as session:
        rows = list(await session.scalars(select(LoginDelay)))
    assert len(rows) == 2
    assert all(len(r.name_hash) == 32 for r in rows)


async def test_the_first_password_must_be_changed_before_anything_else_works(bench: Workbench) -> None:
    await bench.hire("zhang", "counsellor", must_change=True)
    browser = await bench.browser()
    me = await browser.sign_in("zhang")
    assert me["must_change_password"] is True
    refused = await browser.get("/conversations", 403)
    assert refused["error"] == "password"
    assert (await browser.ask("GET", "/live")).status == 403
    weak = await browser.post("/me/password", {"old": PASSWORD, "new": "太短了"}, 400)
    assert weak["error"] == "weak"
    same = await browser.post("/me/password", {"old": PASSWORD, "new": PASSWORD}, 400)
    assert same["error"] == "weak"
    wrong = await browser.post("/me/password", {"old": "不是原密码吧", "new": "另一个好记的很长的密码"}, 400)
    assert wrong["error"] == "wrong"
    changed = await browser.post("/me/password", {"old": PASSWORD, "new": "山那边有条河-2031"})
    assert changed["must_change_password"] is False
    await browser.get("/conversations")
    (member,) = await bench.rows(Staff)
    assert member.password_hash.startswith("$argon2id$")


async def test_changing_the_password_ends_the_other_sessions(bench: Workbench) -> None:
    here = await bench.at_work("zhang")
    there = await bench.browser()
    await there.sign_in("zhang")
    await here.post("/me/password", {"old": PASSWORD, "new": "山那边有条河-2031"})
    await there.get("/me", 401)
    await here.get("/me")


async def test_signing_out_ends_the_session_for_good(bench: Workbench) -> None:
    browser = await bench.at_work("zhang")
    token = next(iter(browser.http.cookie_jar)).value
    await browser.post("/logout")
    await browser.get("/me", 401)
    again = await browser.ask("GET", "/me", headers={"Cookie": f"qingting_session={token}"})
    assert again.status == 401


async def test_a_session_ends_after_two_idle_hours_and_after_twelve_in_any_case(bench: Workbench) -> None:
    idle = await bench.at_work("zhang")
    for _ in range(2):
        bench.later += timedelta(hours=1, minutes=59)
        await idle.post("/entries/search", {"q": "工资"})
    bench.later += timedelta(hours=1, minutes=59)
    await idle.get("/conversations")  # what a screen fetches by itself does not count
    bench.later += timedelta(minutes=2)
    await idle.get("/me", 401)
    busy = await bench.browser()
    await busy.sign_in("zhang")
    for _ in range(11):
        bench.later += timedelta(hours=1)
        await busy.post("/entries/search", {"q": "工资"})
    bench.later += timedelta(hours=1)
    await busy.get("/me", 401)


async def test_trying_many_logins_from_one_address_waits_too(bench: Workbench) -> None:
    browser = await bench.browser()
    said = [
        await browser.ask("POST", "/login", {"login": f"name{n}", "password": "猜一个密码"})
        for n in range(20)
    ]
    statuses = [s.status for s in said]
    assert statuses[:15] == [401] * 15
    assert 429 in statuses[15:]


async def test_on_duty_with_an_open_screen_idling_does_not_sign_out(bench: Workbench) -> None:
    browser = await bench.at_work("zhang")
    await browser.post("/me/duty", {"on_duty": True})
    socket = await browser.live()
    bench.later += timedelta(hours=3)
    await browser.get("/me", 401)  # no sign of life from the screen yet
    await socket.send_json({"seen": True})
    await bench.until(lambda: bench.seen_lately())
    assert (await browser.get("/me"))["on_duty"] is True
    await socket.close()


async def test_a_closed_staff_member_is_out_at_once(bench: Workbench) -> None:
    browser = await bench.at_work("zhang")

    async def close(session: object) -> None:
        member = await session.scalar(select(Staff))  # type: ignore[attr-defined]
        member.active = False

    await bench.write(close)
    await browser.get("/me", 401)
    await browser.sign_in("zhang", PASSWORD, 401)


async def test_changes_without_the_csrf_token_or_from_another_site_are_refused(bench: Workbench) -> None:
    browser = await bench.at_work("zhang")
    token, browser.csrf = browser.csrf, ""
    assert (await browser.post("/me/duty", {"on_duty": True}, 403))["error"] == "csrf"
    browser.csrf = token[:-1] + ("a" if token[-1] != "a" else "b")
    assert (await browser.post("/me/duty", {"on_duty": True}, 403))["error"] == "csrf"
    browser.csrf = token
    foreign = {"Origin": "https://elsewhere.example"}
    assert (await browser.post("/me/duty", {"on_duty": True}, 403, headers=foreign))["error"] == "origin"
    assert (await browser.post("/login", {"login": "a", "password": "b"}, 403, headers=foreign))[
        "error"
    ] == "origin"
    assert (await browser.get("/me"))["on_duty"] is False
    await browser.post("/me/duty", {"on_duty": True}, headers={"Origin": browser.base})
    assert (await browser.get("/me"))["on_duty"] is True


async def test_without_a_session_nothing_is_answered(bench: Workbench) -> None:
    browser = await bench.browser()
    for path in ("/me", "/conversations", "/desk", "/alerts", "/staff", "/live"):
        assert (await browser.get(path, 401))["error"] == "signed_out", path
