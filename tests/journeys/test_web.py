"""Whole conversations by web chat, in a real browser on both sides."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Browser, expect

from tests.journeys.conftest import Desk, bench, visitor, write

pytestmark = pytest.mark.browser


async def test_a_question_is_answered_with_its_source_and_three_buttons(desk: Desk, browser: Browser) -> None:
    page = await visitor(browser, desk)
    await write(page, "老板拖欠我两个月工资怎么办")
    log = page.locator("#log")
    await expect(log).to_contain_text("依据：", timeout=10_000)
    for label in ("有帮助", "没帮助", "找人工"):
        await expect(log.get_by_role("button", name=label)).to_be_visible()
    await log.get_by_role("button", name="有帮助").click()
    await expect(log).to_contain_text("能帮到你就好", timeout=10_000)


async def test_danger_reaches_an_open_screen_is_claimed_talked_over_with_the_bot_silent_and_closed(
    desk: Desk, browser: Browser
) -> None:
    member = await desk.hire("duty", rung=0)
    screen = await bench(browser, desk, member)
    page = await visitor(browser, desk)
    log = page.locator("#log")
    await write(page, "我在天台，不想活了")
    await expect(log).to_contain_text("离开那个危险的地方", timeout=5_000)
    # By day and by night the words differ.
    await expect(log).to_contain_text(re.compile("已经(马上叫了|叫醒)值班的咨询员"))
    # The alert is on the screen without anybody reloading it.
    alarm = screen.get_by_role("alert").or_(screen.get_by_text("打开会话"))
    await expect(alarm.first).to_be_visible(timeout=5_000)
    (card,) = (await member.get("/conversations", view="queue"))["items"]
    assert (card["risk"], card["state"]) == ("critical", "queued")
    await screen.get_by_role("button", name="打开会话").first.click()
    await expect(screen.locator("mark").first).to_be_visible(timeout=10_000)
    await screen.get_by_role("button", name="接待").first.click()
    composer = screen.locator("textarea").last
    await expect(composer).to_be_enabled(timeout=10_000)
    await composer.fill("我是咨询员，是真人。你现在能往里走一步吗？")
    await composer.press("Control+Enter")
    await expect(log).to_contain_text("你现在能往里走一步吗", timeout=10_000)
    said = await log.inner_text()
    await write(page, "嗯，我往里走了")
    await expect(screen.get_by_text("嗯，我往里走了").first).to_be_visible(timeout=10_000)
    await page.wait_for_timeout(1500)
    grown = (await log.inner_text())[len(said) :]
    assert "我是自动回复的程序" not in grown
    (alert,) = [a for a in await member.get("/alerts") if a["conversation_id"] == card["id"]] or [None]
    assert alert is None or alert["state"] == "ended"
    shown = await member.get(f"/conversations/{card['id']}", why="handling")
    await member.post(
        f"/conversations/{card['id']}/close",
        version=shown["case"]["version"],
        category="psychological.crisis",
        risk="medium",
        result="supported",
        note="已陪伴到安全处，家人到场。",
        ask_satisfaction=False,
    )
    assert (await member.get(f"/conversations/{card['id']}", why="handling"))["state"] == "closed"


async def test_the_conversation_goes_on_after_a_dropped_connection_nothing_lost_or_doubled(
    desk: Desk, browser: Browser
) -> None:
    page = await visitor(browser, desk)
    await write(page, "你好")
    log = page.locator("#log")
    await expect(log).to_contain_text("自动回复程序", timeout=10_000)
    await page.context.set_offline(True)
    await write(page, "老板不发工资怎么办")
    await page.wait_for_timeout(1500)
    await page.context.set_offline(False)
    await expect(log).to_contain_text("依据：", timeout=30_000)
    text = await log.inner_text()
    assert text.count("老板不发工资怎么办") == 1
    assert text.count("依据：") == 1


async def test_a_return_code_brings_the_conversation_back_on_another_device(
    desk: Desk, browser: Browser
) -> None:
    page = await visitor(browser, desk)
    await write(page, "我和室友吵架了")
    await expect(page.locator("#log")).to_contain_text("我和室友吵架了")
    await page.wait_for_timeout(1000)
    await page.click("#code")
    await page.get_by_role("button", name="给我返回码").click()
    code = await page.locator(".code").inner_text()
    other = await visitor(browser, desk, phone=False)
    await other.click("#back")
    await other.get_by_label("返回码", exact=True).fill(code)
    await other.get_by_role("button", name="接着聊", exact=True).click()
    # What was said is shown only when asked for: somebody else may hold the telephone.
    await other.get_by_role("button", name="看之前说过的话").click()
    await expect(other.locator("#log")).to_contain_text("我和室友吵架了", timeout=10_000)


async def test_quick_exit_leaves_at_once_and_the_alert_goes_on(desk: Desk, browser: Browser) -> None:
    await desk.hire("duty", rung=0)
    page = await visitor(browser, desk)
    await page.route(
        "**/*baidu*/**", lambda route: route.fulfill(body="<title>neutral</title>", content_type="text/html")
    )
    await write(page, "我不想活了，今晚就去")
    await expect(page.locator("#log")).to_contain_text("110", timeout=10_000)
    await page.click("#leave")
    await page.wait_for_url("**baidu**", timeout=10_000)
    alerts = await desk.members["duty"].get("/alerts")
    assert [a["state"] for a in alerts] == ["ringing"]
