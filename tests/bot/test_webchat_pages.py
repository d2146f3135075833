"""The chat page's files: small, strict, in the desk's colours and numbers; readable whatever colours an operator picks."""

from __future__ import annotations

import gzip
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import ClientSession
from hypothesis import given
from hypothesis import strategies as st

from bot.channels.webchat import colours, pages
from bot.settings import Colours, Desk, Settings, WebchatSection
from tests.bot.rig import Rig, build
from tests.bot.webchat import built, make, settings


@pytest.fixture(scope="module", autouse=True)
def files() -> Path:
    return built()


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        yield await build(
            stack, tmp_path, make, settings=settings(allowed_hosts=["https://school.example", "bad;host"])
        )


def test_the_widget_with_the_whole_chat_page_is_at_most_20_kilobytes_gzipped(files: Path) -> None:
    names = (pages.WIDGET, pages.PAGE, pages.STYLE, pages.SCRIPT)
    sizes = {name: len(gzip.compress((files / name).read_bytes(), 9)) for name in names}
    style = len(gzip.compress(pages.desk_style(Desk()).encode(), 9))
    assert sum(sizes.values()) + style <= 20 * 1024, sizes


def test_nothing_in_the_pages_names_another_origin(files: Path) -> None:
    for name in (pages.WIDGET, pages.PAGE, pages.STYLE, pages.SCRIPT):
        text = (files / name).read_text(encoding="utf-8")
        assert not re.search(r"(https?:)?//[a-z0-9]", text), name
        assert "@import" not in text
        assert "url(" not in text


def test_the_page_has_no_inline_script_style_or_handler(files: Path) -> None:
    page = (files / pages.PAGE).read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", page)


def test_nothing_moves(files: Path) -> None:
    style = (files / pages.STYLE).read_text(encoding="utf-8")
    assert not re.search(r"animation|transition|@keyframes|scroll-behavior|transform", style)


def test_the_lock_file_names_no_registry() -> None:
    widget = Path(pages.__file__).parents[2] / "web" / "widget"
    lock = (widget / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert '"integrity"' in lock
    tracked = subprocess.run(
        ["git", "ls-files", str(widget)], capture_output=True, text=True, check=False
    ).stdout
    assert "node_modules" not in tracked


async def test_the_page_is_sent_with_strict_headers_and_only_framed_where_allowed(
    rig: Rig, http: ClientSession
) -> None:
    async with http.get(f"{rig.url}/chat") as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"
    rules = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == "'self'"
    assert "unsafe" not in policy
    assert rules["frame-ancestors"] == "'self' https://school.example"
    for path in ("/chat/assets/chat.html", "/chat/assets/x.js", "/chat/assets/%2e%2e%2fchat.html"):
        async with http.get(rig.url + path) as answer:
            assert answer.status == 404


async def test_the_page_carries_the_desks_name_and_numbers_without_any_script(
    rig: Rig, http: ClientSession
) -> None:
    async with http.get(f"{rig.url}/chat") as answer:
        page = await answer.text()
    assert "{{" not in page
    header = page.split("</header>")[0]
    for number in ("110", "120", "12356"):
        assert f'href="tel:{number}"' in header
    assert 'id="leave"' in header
    assert 'href="https://www.baidu.com/"' in header


async def test_assets_are_compressed_and_kept_only_under_their_version(rig: Rig, http: ClientSession) -> None:
    async with http.get(f"{rig.url}/chat") as answer:
        page = await answer.text()
    for path in re.findall(r'(?:src|href)="(/chat/assets/[^"]+)"', page):
        async with http.get(rig.url + path) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Encoding"] == "gzip"
            assert "immutable" in answer.headers["Cache-Control"]
        async with http.get(rig.url + path.split("?")[0]) as answer:
            assert "immutable" not in answer.headers["Cache-Control"]
    async with http.get(f"{rig.url}/widget.js") as answer:
        assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert answer.content_type == "text/javascript"


def test_what_an_operator_writes_is_text_in_the_page_never_markup(tmp_path: Path, files: Path) -> None:
    desk = Desk(
        name='<img src=x onerror=1>"&', numbers={"police": '"><b>', "ambulance": "120"}, logo="//evil/x.png"
    )
    chosen = Settings(desk=desk, webchat=WebchatSection(neutral_url='https://x/"><script>'))
    made = pages.Pages(chosen, files)
    assert made._load()
    page = made._files[pages.PAGE].body.decode()
    assert "<img" not in page
    assert "<b>" + '"' not in page
    assert "<script>" not in page
    assert "evil" not in page


def test_a_wrong_colour_falls_back_and_cannot_reach_the_style_sheet() -> None:
    style = pages.desk_style(
        Desk(colours=Colours(primary="red;}body{display:none", text="", background="#zzz"))
    )
    assert "display" not in style
    assert colours.css(colours.parse(Colours().background, "")) in style


hexes = st.from_regex(r"#[0-9a-f]{6}", fullmatch=True)


@given(primary=hexes, text=hexes, background=hexes)
def test_every_choice_of_colours_is_readable_by_day_and_by_night(
    primary: str, text: str, background: str
) -> None:
    style = pages.desk_style(Desk(colours=Colours(primary=primary, text=text, background=background)))
    for block in re.findall(r":root\{([^}]*)\}", style):
        c = {
            name: colours.parse(value, "") for name, value in re.findall(r"--([a-z-]+):(#[0-9a-f]{6})", block)
        }
        for ink, paper in (
            ("text", "ground"), ("text", "card"), ("text", "mine"),
            ("quiet", "ground"), ("quiet", "card"),
            ("strong", "ground"), ("strong", "card"), ("on-strong", "strong"),
        ):  # fmt: skip
            assert colours.contrast(c[ink], c[paper]) >= 4.5, (ink, paper, block)


async def test_a_page_that_was_never_built_still_shows_the_numbers(
    tmp_path: Path, http: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncExitStack() as stack:
        rig = await build(stack, tmp_path, make)
        rig.channel.pages._built = tmp_path / "nothing"  # type: ignore[attr-defined]
        async with http.get(f"{rig.url}/chat") as answer:
            assert answer.status == 503
            page = await answer.text()
    for number in ("110", "120", "12356"):
        assert f'href="tel:{number}"' in page


async def test_a_web_chat_switched_off_has_no_addresses(tmp_path: Path, http: ClientSession) -> None:
    async with AsyncExitStack() as stack:
        rig = await build(stack, tmp_path, make, settings=settings(enabled=False))
        for path in ("/chat", "/widget.js", "/chat/ws"):
            async with http.get(rig.url + path) as answer:
                assert answer.status == 404
