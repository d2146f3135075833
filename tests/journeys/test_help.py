"""The help site in a real browser, without JavaScript and with it: from a question to an answer, and from danger to a human."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.journeys.conftest import Desk

pytestmark = pytest.mark.browser
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
AWAY = "https://www.baidu.com/"


async def phone(browser: Browser, desk: Desk, *, script: bool) -> Page:
    """A young person's telephone on the front page."""
    context = await browser.new_context(**PHONE, locale="zh-CN", java_script_enabled=script)
    await context.route(AWAY, lambda route: route.fulfill(body="<title>天气</title>今天晴"))
    page = await context.new_page()
    await page.goto(f"{desk.base}/help")
    return page


async def ask(page: Page, words: str) -> None:
    await page.get_by_label("想问什么").fill(words)
    await page.get_by_role("button", name="找一找").click()


async def test_without_javascript_a_question_finds_its_answer_and_danger_a_human(
    desk: Desk, browser: Browser
) -> None:
    page = await phone(browser, desk, script=False)
    await page.get_by_role("link", name="打工和实习").click()
    await page.locator(".list a").first.click()
    await expect(page.get_by_role("heading", name="回答")).to_be_visible()
    await expect(page.get_by_text("核对日期：")).to_be_visible()
    await page.get_by_role("link", name="帮助首页").first.click()

    await ask(page, "老板拖欠我两个月工资怎么办")
    await expect(page.get_by_role("heading", level=1)).to_have_text("查找结果")
    assert "工资" in await page.locator(".best").inner_text()
    await page.get_by_role("link", name="看完整的回答和依据").click()
    await expect(page.locator("a[href='tel:12333']").first).to_be_visible()

    await page.goto(f"{desk.base}/help/search")
    await ask(page, "我在天台，不想活了")
    await expect(page.get_by_role("heading", level=1)).to_have_text("先看这里")
    await expect(page.get_by_text("离开那个危险的地方")).to_be_in_viewport()
    assert page.url == f"{desk.base}/help/search"
    assert await page.get_by_label("想问什么").input_value() == ""
    await page.get_by_role("link", name="现在和人聊聊").click()
    assert page.url == f"{desk.base}/chat"


async def test_with_javascript_titles_are_suggested_and_leaving_leaves_no_way_back(
    desk: Desk, browser: Browser
) -> None:
    page = await phone(browser, desk, script=True)
    trouble: list[str] = []
    page.on("console", lambda said: trouble.append(said.text) if said.type == "error" else None)
    sent: list[str] = []
    page.on("request", lambda asked: sent.append(asked.url))
    field = page.get_by_label("想问什么")
    await field.press_sequentially("拖欠工资")
    near = page.locator("#near a").first
    await expect(near).to_contain_text("工资", timeout=5_000)
    await field.fill("我想跳楼自杀，今晚就去死")
    await expect(page.locator("#near a[href='tel:120']")).to_be_visible(timeout=5_000)
    await field.fill("拖欠工资")
    await expect(page.locator("#near a[href='tel:120']")).to_have_count(0, timeout=5_000)
    await near.click()
    await expect(page.get_by_role("heading", name="回答")).to_be_visible()
    assert not [url for url in sent if "%" in url or "?q" in url]
    await page.get_by_role("link", name="快速离开").click()
    await page.wait_for_url(AWAY)
    await page.go_back()
    await expect(page.get_by_role("heading", level=1)).to_have_text("有什么可以帮你")
    assert trouble == []


@pytest.mark.parametrize("path", ["/help", "/help/psych", "/help/search"])
async def test_on_a_small_phone_nothing_is_cut_off_or_too_small_to_touch(
    desk: Desk, browser: Browser, path: str
) -> None:
    page = await phone(browser, desk, script=True)
    await page.set_viewport_size({"width": 320, "height": 568})
    await page.goto(desk.base + path)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 320
    small = await page.evaluate(
        """[...document.querySelectorAll('.list a, .areas a, .call, .strong, button, input')]
           .filter((e) => e.getBoundingClientRect().height < 44).map((e) => e.textContent)"""
    )
    assert small == []
    sizes = await page.evaluate(
        "[...document.querySelectorAll('body *')].map((e) => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(sizes) >= 16
