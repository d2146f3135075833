"""The chat page in a real Chromium: what a frightened person sees, presses and hears, on a phone and inside another site."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from bot.channels.webchat.channel import WebChat
from bot.events import News
from bot.outbox import Button, Draft
from bot.tables import ChatSession
from escalation.tables import Conversation, Message
from tests.bot.rig import Answer, Heard, Rig, build, free_port
from tests.bot.webchat import built, make, settings

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
MOST = 120


@pytest.fixture(scope="module", autouse=True)
def chromium() -> str:
    built()
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no Chromium: apt-get install chromium")
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_browser(chromium: str) -> AsyncIterator[Browser]:
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    async with async_playwright() as play:
        yield await play.chromium.launch(executable_path=chromium, args=arguments)


@pytest_asyncio.fixture(loop_scope="module")
async def browser(one_browser: Browser) -> AsyncIterator[Browser]:
    yield one_browser
    for context in one_browser.contexts:
        await context.close()


@pytest_asyncio.fixture(loop_scope="module")
async def neutral() -> AsyncIterator[str]:
    """Somewhere harmless, on another origin."""
    async with AsyncExitStack() as stack:
        yield await serve(stack, "<title>天气</title><p>今天晴</p>") + "/weather"


@pytest_asyncio.fixture(loop_scope="module")
async def rig(tmp_path: Path, neutral: str) -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        rig = await build(stack, tmp_path, make, settings=settings(max_text=MOST, neutral_url=neutral))
        rig.answers = think
        yield rig


def think(heard: Heard) -> Answer:
    if "天台" in heard.text:
        return Answer([Draft("请先离开边上。受伤了打 120，或者 110；发短信 12110。")], lane=0, state="queued")
    if heard.meta.get("command"):
        return Answer([Draft(f"好的：{heard.meta['command']}")])
    return Answer(
        [Draft("是哪一种？", buttons=[Button("工资没发", "/choose 1"), Button("找人工", "/human")])]
    )


async def serve(stack: AsyncExitStack, html: str, headers: dict[str, str] | None = None) -> str:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text=html, content_type="text/html", headers=headers)

    app = web.Application()
    app.add_routes([web.get("/{any:.*}", page)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


async def opened(browser: Browser, rig: Rig, **context: Any) -> Page:
    page = await (await browser.new_context(**(context or PHONE))).new_page()
    await page.goto(f"{rig.url}/chat")
    return page


async def say(page: Page, words: str) -> None:
    await page.fill("#text", words)
    await page.click("#send")


def replies(page: Page) -> Any:
    return page.locator(".bot .words, .staff .words")


async def test_the_first_screen_says_who_answers_what_it_costs_and_what_is_private_and_shows_the_ways_out(
    rig: Rig, browser: Browser
) -> None:
    page = await (await browser.new_context(**PHONE)).new_page()
    troubles: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(f"{rig.url}/chat")
    about = page.locator("#about")
    for words in ("程序", "咨询员（真人）", "免费", "加密保存", "例外", "历史记录还会在", "隐私说明"):
        await expect(about.get_by_text(words).first).to_be_in_viewport()
    for number in ("110", "120", "12356"):
        await expect(page.locator(f'header a[href="tel:{number}"]')).to_be_in_viewport()
    await expect(page.locator("#leave")).to_be_in_viewport()
    await expect(page.locator("#text")).to_be_in_viewport()
    await expect(page.locator("#nojs")).to_be_hidden()
    assert troubles == []
    assert all(url.startswith((rig.url, "data:")) for url in asked)
    assert not any("/api/" in url for url in asked)  # looking costs nothing and leaves nothing
    assert await page.context.cookies() == []


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
async def test_text_is_large_and_strong_and_nothing_is_wider_than_the_screen(
    rig: Rig, browser: Browser, width: int, colours: str
) -> None:
    page = await opened(browser, rig, viewport={"width": width, "height": 640}, color_scheme=colours)
    await say(page, "你好")
    await expect(replies(page)).to_have_count(1)
    await page.click("#code")
    found = await page.evaluate(LOOK)
    assert found["texts"] > 15
    assert found["small"] == []
    assert found["weak"] == []
    assert found["low"] == []
    assert found["wide"] <= width
    assert found["moving"] == []


# Every piece of text one can see: its size, its contrast with what is behind it; every control's height.
LOOK = """() => {
  const numbers = c => c.match(/[\\d.]+/g).map(Number);
  const luminance = c => { const [r, g, b] = numbers(c).map(v => { v /= 255;
    return v <= 0.03928 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4); });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if ((numbers(c)[3] ?? 1) === 1 && c !== 'rgba(0, 0, 0, 0)') return c; } return 'rgb(255,255,255)'; };
  const out = { texts: 0, small: [], weak: [], low: [], moving: [], wide: document.documentElement.scrollWidth };
  for (const e of document.querySelectorAll('body *')) {
    const s = getComputedStyle(e);
    if (!e.getClientRects().length || e.classList.contains('unseen')) continue;
    if (s.animationName !== 'none' || parseFloat(s.transitionDuration)) out.moving.push(e.tagName);
    if (e.matches('button, a, summary') && !e.closest('.words') && e.getBoundingClientRect().height < 44)
      out.low.push(e.textContent);
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    out.texts++;
    if (parseFloat(s.fontSize) < 16) out.small.push(e.textContent);
    const [a, b] = [luminance(s.color), luminance(behind(e))];
    if ((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5) out.weak.push([e.textContent, s.color, behind(e)]);
  }
  return out; }"""


async def test_a_talk_shows_who_speaks_what_was_delivered_and_numbers_to_press(
    rig: Rig, browser: Browser
) -> None:
    page = await opened(browser, rig)
    await say(page, "我在天台")
    await expect(page.locator(".me .state")).to_have_text("✓ 已送到")
    await expect(page.locator(".bot .who")).to_have_text("程序自动回复")
    assert await page.locator(".bot .words a").evaluate_all(
        "all => all.map(a => a.getAttribute('href'))"
    ) == [
        "tel:120",
        "tel:110",
        "tel:12110",
    ]
    await expect(page.locator("#line")).to_contain_text("咨询员（真人）")
    await rig.say("我在。你现在能往后退几步吗？")
    await expect(page.locator(".staff .who")).to_have_text("咨询员（真人）")
    (conversation,) = await rig.rows(Conversation)
    rig.shell.bus.publish(News("typing", conversation.id, {"by": "staff"}))
    await expect(page.locator("#line")).to_have_text("咨询员正在输入。")
    await rig.settled("delivered", "delivered")


async def test_a_long_answer_is_shown_from_its_beginning_and_later_words_wait_for_a_press(
    rig: Rig, browser: Browser
) -> None:
    rig.answers = lambda heard: Answer([Draft("开头\n" + "中间\n" * 60 + "结尾")])
    page = await opened(browser, rig)
    await say(page, "你好")
    answer = replies(page).first
    await expect(answer).to_be_visible()
    box, frame = await answer.bounding_box(), await page.locator("main").bounding_box()
    assert box is not None
    assert frame is not None
    assert frame["y"] <= box["y"] < frame["y"] + 80
    await rig.say("我来了")
    await expect(page.locator(".staff .words")).to_have_count(1)
    await expect(page.locator(".staff .words")).not_to_be_in_viewport()
    await page.get_by_role("button", name="看新消息").click()
    await expect(page.locator(".staff .words")).to_be_in_viewport()


async def test_a_button_is_pressed_once_and_goes_back_as_its_command(rig: Rig, browser: Browser) -> None:
    page = await opened(browser, rig)
    await say(page, "工资的事")
    await page.get_by_role("button", name="找人工").click()
    await expect(page.locator(".me .words").last).to_have_text("找人工")
    await expect(replies(page).last).to_have_text("好的：/human")
    await expect(page.get_by_role("button", name="工资没发")).to_have_count(0)


async def test_a_dropped_line_loses_and_doubles_nothing(rig: Rig, browser: Browser) -> None:
    page = await opened(browser, rig)
    await say(page, "第一句")
    await expect(replies(page)).to_have_count(1)
    assert isinstance(rig.channel, WebChat)
    real, rig.channel.store = rig.channel.store, broken  # type: ignore[method-assign]
    await say(page, "断线时说的")
    await expect(page.locator(".me .state").last).to_have_text("发送中")
    await drop_sockets(rig)
    await expect(page.locator("#line")).to_contain_text("你写的都还在")
    await rig.say("我在等你")
    rig.channel.store = real  # type: ignore[method-assign]
    await expect(page.locator(".me .state").last).to_have_text("✓ 已送到", timeout=20_000)
    await expect(replies(page)).to_have_count(3)
    assert (await page.locator(".me .words").all_inner_texts()) == ["第一句", "断线时说的"]
    assert [h.text for h in rig.heard] == ["第一句", "断线时说的"]


async def test_words_written_while_the_service_is_restarted_arrive_once(
    tmp_path: Path, browser: Browser
) -> None:
    port = free_port()
    async with AsyncExitStack() as before:
        rig = await build(before, tmp_path, make, port=port)
        page = await opened(browser, rig)
        await say(page, "之前")
        await expect(replies(page)).to_have_text(["收到：之前"])
    await say(page, "停的时候")
    await expect(page.locator("#line")).to_contain_text("正在重新连接")
    async with AsyncExitStack() as after:
        rig = await build(after, tmp_path, make, port=port)
        await expect(page.locator(".me .state").last).to_have_text("✓ 已送到", timeout=20_000)
        await expect(replies(page)).to_have_text(["收到：之前", "收到：停的时候"])
        await expect(page.locator("#line")).to_contain_text("程序")
        assert [h.text for h in rig.heard] == ["停的时候"]
        assert len(await rig.rows(Conversation)) == 1


async def broken(*_: Any) -> Any:
    await asyncio.sleep(3_600)


async def drop_sockets(rig: Rig) -> None:
    assert isinstance(rig.channel, WebChat)
    for socket in list(rig.channel._sockets):
        transport = socket._request.transport
        assert transport is not None
        transport.abort()


@pytest.mark.parametrize(
    "block",
    [
        "window.WebSocket = function () { throw new Error('blocked'); };",
        # A proxy that lets the handshake hang.
        "window.WebSocket = function () { this.close = () => {}; this.send = () => {}; };",
    ],
)
async def test_where_sockets_are_blocked_the_talk_goes_on_by_requests(
    rig: Rig, browser: Browser, block: str
) -> None:
    context = await browser.new_context(**PHONE)
    await context.add_init_script(block)
    page = await context.new_page()
    await page.goto(f"{rig.url}/chat")
    await say(page, "你好")
    await expect(replies(page)).to_have_count(1, timeout=20_000)
    await rig.say("我在")
    await expect(replies(page).last).to_have_text("我在")
    await say(page, "好")
    await expect(page.locator(".me .state").last).to_have_text("✓ 已送到")
    await rig.until(lambda: len(rig.heard) == 2)


async def test_after_a_reload_the_tab_still_has_the_talk_and_nothing_else_is_kept(
    rig: Rig, browser: Browser
) -> None:
    page = await opened(browser, rig)
    await say(page, "你好")
    await expect(replies(page)).to_have_count(1)
    await page.reload()
    await expect(page.locator(".me .words")).to_have_text("你好")
    await expect(replies(page)).to_have_count(1)
    kept = await page.evaluate(
        "[Object.keys(sessionStorage).length, Object.keys(localStorage).length, document.cookie]"
    )
    assert kept == [1, 0, ""]
    assert await page.context.cookies() == []
    assert "你好" not in await page.evaluate("JSON.stringify(sessionStorage)")
    assert page.url == f"{rig.url}/chat"


async def test_quick_exit_leaves_at_once_with_no_way_back_and_the_desk_keeps_what_was_said(
    rig: Rig, browser: Browser, neutral: str
) -> None:
    context = await browser.new_context(**PHONE)
    page = await context.new_page()
    before = neutral + "?before"
    await page.goto(before)
    await page.goto(f"{rig.url}/chat")
    await say(page, "我在天台")
    await expect(replies(page)).to_have_count(1)
    assert isinstance(rig.channel, WebChat)
    real, rig.channel.store = rig.channel.store, broken  # type: ignore[method-assign]
    await say(page, "我害怕")  # still on its way …
    await expect(page.locator(".me .state").last).to_have_text("发送中")
    rig.channel.store = real  # type: ignore[method-assign]
    await page.click("#leave")
    await page.wait_for_url(neutral)
    await rig.until(
        lambda: [h.text for h in rig.heard] == ["我在天台", "我害怕"]
    )  # … and stored all the same
    async with asyncio.timeout(5):
        while any(row.revoked_at is None for row in await rig.rows(ChatSession)):
            await asyncio.sleep(0.05)
    await page.go_back()
    assert page.url == before
    await page.goto(f"{rig.url}/chat")
    assert await page.evaluate("Object.keys(sessionStorage).length") == 0
    await expect(page.locator(".entry")).to_have_count(0)


async def test_a_return_code_brings_the_talk_to_another_device_and_hides_it_until_asked(
    rig: Rig, browser: Browser
) -> None:
    page = await opened(browser, rig)
    await expect(page.locator("#code")).to_be_hidden()  # nothing to come back to yet
    await say(page, "我明天再来")
    await expect(replies(page)).to_have_count(1)
    await page.click("#code")
    await page.get_by_role("button", name="给我返回码").click()
    code = await page.locator(".code").inner_text()
    await page.get_by_role("button", name="记好了").click()
    await expect(page.locator("#panel")).to_be_hidden()
    other = await opened(browser, rig)
    await other.click("#back")
    await other.get_by_label("返回码", exact=True).fill("AAAA-BBBB-CCCC")
    await other.get_by_role("button", name="接着聊", exact=True).click()
    await expect(other.get_by_role("alert")).to_contain_text("没有找到这个返回码")
    await other.get_by_label("返回码", exact=True).fill(code.lower())
    await other.get_by_role("button", name="接着聊", exact=True).click()
    await expect(other.locator("#panel")).to_be_hidden()
    await expect(other.locator(".entry")).to_have_count(0)
    await rig.say("欢迎回来")
    await expect(replies(other)).to_have_text(["欢迎回来"])
    await other.get_by_role("button", name="看之前说过的话").click()
    await expect(other.locator(".me .words")).to_have_text("我明天再来")
    await expect(replies(other)).to_have_count(2)


async def test_too_long_words_are_counted_and_sent_in_pieces_with_nothing_lost(
    rig: Rig, browser: Browser
) -> None:
    page = await opened(browser, rig)
    story = "".join(f"这是第{n}句话，我想把它说完。" for n in range(30))
    await page.fill("#text", story)
    await expect(page.locator("#count")).to_contain_text(f"{len(story)} 个字，一条最多 {MOST} 个字")
    await page.click("#send")
    await expect(page.locator("#panel")).to_contain_text(f"写了 {len(story)} 个字")
    assert await page.input_value("#text") == story
    await page.get_by_role("button", name="条发送").click()
    await expect(page.locator("#panel")).to_be_hidden()
    await expect(page.locator(".me .state").last).to_have_text("✓ 已送到")
    await rig.until(lambda: "".join(h.text for h in rig.heard) == story)
    assert max(len(h.text) for h in rig.heard) <= MOST


async def test_everything_can_be_done_by_keyboard_and_is_named_for_screen_readers(
    rig: Rig, browser: Browser
) -> None:
    page = await opened(browser, rig, viewport={"width": 1000, "height": 700})
    names = []
    for _ in range(8):
        await page.keyboard.press("Tab")
        names.append(
            await page.evaluate("(document.activeElement.innerText || document.activeElement.id).trim()")
        )
    assert names == [
        "快速离开",
        "110 报警",
        "120 急救",
        "12356 心理热线",
        "隐私说明",
        "text",
        "发送",
        "我有返回码",
    ]
    assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    await expect(page.get_by_role("log", name="对话")).to_have_attribute("aria-live", "polite")
    await page.get_by_role("textbox", name="写给我们").focus()
    await page.keyboard.type("你好")
    await page.keyboard.press("Shift+Enter")
    await page.keyboard.type("在吗")
    await page.keyboard.press("Enter")
    await rig.until(lambda: [h.text for h in rig.heard] == ["你好\n在吗"])
    assert await page.evaluate("document.activeElement.id") == "text"
    await expect(replies(page)).to_have_count(1)
    await page.keyboard.press("Shift+Tab")
    assert await page.evaluate("document.activeElement.textContent") == "找人工"
    await page.keyboard.press("Enter")
    await rig.until(lambda: len(rig.heard) == 2)
    await page.focus("#code")
    await page.keyboard.press("Enter")
    assert await page.evaluate("document.activeElement.id") == "panel-title"
    await page.keyboard.press("Escape")
    assert await page.evaluate("document.activeElement.id") == "code"


async def test_a_screen_reader_hears_each_message_once(rig: Rig, browser: Browser) -> None:
    """The log announces what is added to it: a change of state must not add the words again."""
    page = await opened(browser, rig)
    await page.evaluate(
        """() => { window.added = []; new MutationObserver(all => all.forEach(m => m.addedNodes.forEach(
        n => window.added.push(n.textContent)))).observe(document.getElementById('log'), { childList: true }); }"""
    )
    await say(page, "一")
    await expect(replies(page)).to_have_count(1)
    await say(page, "二")
    await expect(replies(page)).to_have_count(2)
    await expect(page.locator(".me .state").last).to_have_text("✓ 已送到")
    heard = await page.evaluate("window.added")
    assert len(heard) == 4, heard


async def test_when_the_desk_cannot_store_the_page_says_so_keeps_the_words_and_sends_them_later(
    rig: Rig, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bot.channels import StorageUnavailable

    page = await opened(browser, rig)
    await say(page, "你好")
    await expect(replies(page)).to_have_count(1)
    real = rig.shell.inbox.receive

    async def full(_: Any) -> Any:
        raise StorageUnavailable("OperationalError")

    monkeypatch.setattr(rig.shell.inbox, "receive", full)
    await say(page, "我好怕")
    await expect(page.locator("#line")).to_contain_text("现在存不上")
    await expect(page.locator("#line")).to_contain_text("有危险请打上面的电话")
    await expect(page.locator(".me .state").last).to_have_text("发送中")
    monkeypatch.setattr(rig.shell.inbox, "receive", real)
    await expect(page.locator(".me .state").last).to_have_text("✓ 已送到", timeout=15_000)


async def test_a_message_with_markup_is_shown_as_its_characters(rig: Rig, browser: Browser) -> None:
    rig.answers = lambda heard: Answer([Draft(heard.text)])
    page = await opened(browser, rig)
    words = "<img src=x onerror=\"document.title='坏'\"><b>粗</b>"
    await say(page, words)
    await expect(replies(page)).to_have_text([words])
    assert await page.title() == "倾听"


# --- inside another site ----------------------------------------------------------------------------------------------

Host = Callable[..., Any]


@pytest_asyncio.fixture(loop_scope="module")
async def host(rig: Rig) -> AsyncIterator[Host]:
    """A school's page with a strict policy of its own that shows the widget."""
    async with AsyncExitStack() as stack:

        async def begin(context: BrowserContext) -> Page:
            url = await serve(
                stack,
                f'<!doctype html><title>学校</title><p>通知</p><script src="{rig.url}/widget.js" async></script>',
                {"Content-Security-Policy": f"default-src 'none'; script-src {rig.url}; frame-src {rig.url}"},
            )
            page = await context.new_page()
            await page.goto(url.replace("127.0.0.1", "localhost"))
            return page

        yield begin


@pytest.mark.parametrize("screen", [PHONE, {"viewport": {"width": 1280, "height": 800}}])
async def test_the_widget_opens_a_chat_that_the_site_around_it_cannot_read(
    rig: Rig, browser: Browser, host: Host, screen: dict[str, Any]
) -> None:
    page: Page = await host(await browser.new_context(**screen))
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    button = page.get_by_role("button", name="聊一聊")
    await expect(button).to_be_in_viewport()
    await expect(page.locator("iframe")).to_have_count(0)  # nothing is loaded before the press
    await button.click()
    inside = page.frame_locator("iframe")
    await inside.locator("#text").fill("你好")
    await inside.locator("#send").click()
    await expect(inside.locator(".bot .words")).to_have_count(1)
    for needed in ("#leave", 'header a[href="tel:110"]', "#text"):
        await expect(inside.locator(needed)).to_be_in_viewport()
    assert await page.evaluate("document.querySelector('iframe').contentDocument") is None
    assert "你好" not in await page.content()
    await page.get_by_role("button", name="收起聊天").click()
    await expect(page.locator("iframe")).to_be_hidden()
    await page.get_by_role("button", name="聊一聊").click()
    await expect(inside.locator(".me .words")).to_have_text("你好")
    assert troubles == []


async def test_quick_exit_inside_the_widget_takes_the_whole_page_away(
    rig: Rig, browser: Browser, host: Host, neutral: str
) -> None:
    page: Page = await host(await browser.new_context(**PHONE))
    await page.get_by_role("button", name="聊一聊").click()
    await page.frame_locator("iframe").locator("#leave").click()
    await page.wait_for_url(neutral)


async def test_a_site_that_is_not_allowed_cannot_show_the_chat(tmp_path: Path, browser: Browser) -> None:
    async with AsyncExitStack() as stack:
        rig = await build(stack, tmp_path, make, settings=settings(allowed_hosts=["https://school.example"]))
        url = await serve(stack, f'<!doctype html><iframe src="{rig.url}/chat"></iframe>')
        page = await (await browser.new_context()).new_page()
        refusals: list[str] = []
        page.on("console", lambda message: refusals.append(message.text))
        await page.goto(url.replace("127.0.0.1", "localhost"))
        await rig.until(lambda: any("frame-ancestors" in text for text in refusals))
        await expect(page.frame_locator("iframe").locator("#text")).to_have_count(0)


async def test_a_one_time_link_waits_for_a_press_and_leaves_the_address_bar(
    rig: Rig, browser: Browser
) -> None:
    from bot import one_time_links
    from escalation.tables import Contact

    first = await opened(browser, rig)
    await say(first, "你好")
    await expect(replies(first)).to_have_count(1)
    (contact,) = await rig.rows(Contact)
    link = await rig.shell.storage.write(
        lambda session: one_time_links.make_link(
            session, rig.shell.vault, contact_id=contact.id, public_url=rig.url, now=rig.shell.clock()
        )
    )
    page = await (await browser.new_context(**PHONE)).new_page()
    await page.goto(link)
    assert page.url == f"{rig.url}/chat"
    await page.get_by_role("button", name="接着聊", exact=True).click()
    await expect(page.locator("#panel")).to_be_hidden()
    await say(page, "我从链接来")
    await expect(page.locator(".me .state").last).to_have_text("✓ 已送到")
    assert len({m.conversation_id for m in await rig.rows(Message)}) == 1
    again = await (await browser.new_context(**PHONE)).new_page()
    await again.goto(link)
    await again.get_by_role("button", name="接着聊", exact=True).click()
    await expect(again.locator("#panel")).to_contain_text("已经用过或过期")
