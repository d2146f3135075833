"""The help site: every published entry has a page that needs no script, a search shows safety before anything, nothing is kept."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import ClientResponse
from sqlalchemy.ext.asyncio import AsyncSession

from bot.brain import Question, Thought, fall_back
from bot.storage import Storage
from bot.web import help as help_site
from bot.web.help import search as searching
from bot.web.help.search import Search
from bot.web.help.shelf import AREAS, Shelf
from escalation.tables import TemplateText
from knowledge import desk
from knowledge.answer import Answer, Candidate
from knowledge.entries import shipped
from nlu.understanding import Risk, Understanding
from tests.bot.web_rig import Workbench, workbench
from tests.knowledge.conftest import FIELDS

OWN, ADDRESS = "labour.water-break", "/help/labour/water-break"


@dataclass
class Brain:
    """Understands what the test says."""

    thought: Thought = field(
        default_factory=lambda: Thought(Understanding(topic="other", risk="none", risk_score=0.0))
    )
    asked: list[str] = field(default_factory=list)

    async def think(self, questions: Sequence[Question], *, urgent: bool = False) -> list[Thought]:
        self.asked += [question.text for question in questions]
        return [self.thought] * len(questions)

    def judges(self, risk: Risk, *kinds: Any, answer: Answer | None = None, failed: bool = False) -> None:
        understood = Understanding(topic="safety", risk=risk, risk_score=0.5, kinds=kinds)
        self.thought = Thought(understood, answer or Answer("nothing"), failed=failed)


@dataclass
class Site:
    bench: Workbench
    brain: Brain

    async def get(self, path: str, status: int = 200, **headers: str) -> str:
        answer = await self.raw(path, **headers)
        text = await answer.text()
        assert answer.status == status, text
        return text

    async def raw(self, path: str, **headers: str) -> ClientResponse:
        browser = await self.bench.browser()
        return await browser.http.get(self.bench.base + path, headers=headers, allow_redirects=False)

    async def search(self, words: str) -> str:
        browser = await self.bench.browser()
        answer = await browser.http.post(self.bench.base + "/help/search", data={"q": words})
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-store"
        assert str(answer.url).endswith("/help/search")
        return await answer.text()

    async def suggest(self, body: Any, status: int = 200) -> Any:
        browser = await self.bench.browser()
        answer = await browser.http.post(self.bench.base + "/help/suggest", json=body)
        assert answer.status == status
        return await answer.json() if status == 200 else None

    async def publish(self, entry_id: str = OWN, **change: Any) -> None:
        bench, day = self.bench, self.bench.now().date()
        days = {"checked_on": day.isoformat(), "review_by": (day + timedelta(days=90)).isoformat()}

        async def work(session: AsyncSession) -> None:
            step: dict[str, Any] = {"now": bench.now()}
            await desk.draft(session, entry_id, FIELDS | days | change, version=0, staff_id=1, **step)
            await desk.submit(session, entry_id, version=1, staff_id=1, **step)
            await desk.approve(session, entry_id, version=2, staff_id=2, **step)
            await desk.publish(session, entry_id, version=3, staff_id=2, today=day, **step)

        await bench.write(work)


@pytest.fixture
async def site(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr("bot.web.help.shelf._LOOKS_EVERY", 0.0)
    brain = Brain()

    def more(app: Any) -> None:
        app[help_site.SHELL].brain = brain
        help_site.setup(app, app[help_site.SHELL])

    async with workbench(storage, more=more) as bench:
        yield Site(bench, brain)


class Outline(HTMLParser):
    """What a screen reader goes by."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.headings: list[int] = []
        self.labelled: set[str] = set()
        self.fields: list[dict[str, str | None]] = []
        self.links: list[str] = []
        self.landmarks: list[str] = []
        self.language = self.scripts = ""
        self.inline = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        elif tag == "label":
            self.labelled.add(given["for"] or "")
        elif tag == "input":
            self.fields.append(given)
        elif tag == "a":
            self.links.append(given["href"] or "")
        elif tag in ("header", "main", "footer", "nav"):
            self.landmarks.append(tag)
        elif tag == "html":
            self.language = given["lang"] or ""
        self.inline += ("style" in given) + sum(name.startswith("on") for name in given)
        self.inline += tag == "style" or (tag == "script" and "src" not in given)


# --- pages ----------------------------------------------------------------------------------------------------------


async def test_every_published_entry_is_reached_from_the_front_page(site: Site) -> None:
    front = Outline(await site.get("/help"))
    areas = [link for link in dict.fromkeys(front.links) if link.removeprefix("/help/") in AREAS]
    assert len(areas) == len({entry_id.partition(".")[0] for entry_id in shipped()})
    found: set[str] = set()
    for area in areas:
        found |= set(Outline(await site.get(area)).links)
    assert {"/help/" + entry_id.replace(".", "/") for entry_id in shipped()} <= found


async def test_an_entry_page_says_the_answer_the_source_the_day_and_whom_to_call(site: Site) -> None:
    await site.publish(
        long="1. 先和主管说。\n2. 说不通，打12333。",
        sources=[
            {"law": "劳动法", "article": "第三条", "version": "2018-12-29"},
            {"body": "人社部门"},
            {"law": "劳动法", "article": "第五条", "version": "2018-12-29"},
        ],
    )
    page = await site.get(ADDRESS)
    day = site.bench.now().date()
    for words in (
        f"<h1>{FIELDS['title']}</h1>",
        FIELDS["short"],
        "<ol>",
        "<li>先和主管说。</li>",
        "<li>《劳动法》第三条、第五条（2018-12-29 版）</li>",
        "<li>人社部门</li>",
        f"核对日期：{day.year}年{day.month}月{day.day}日",
        'href="tel:12333"',
        'href="tel:12355"',
    ):
        assert words in page
    assert "已过了复核日期" not in page
    assert "不用你一个人扛" not in page


async def test_an_entry_about_harm_offers_a_human_before_its_answer(site: Site) -> None:
    await site.publish(brings_human=True)
    page = await site.get(ADDRESS)
    assert page.index("不用你一个人扛") < page.index("<h2>回答</h2>")
    assert page.index('href="/chat">和人聊聊') < page.index("<h2>回答</h2>")


async def test_an_entry_past_its_review_date_says_so_first(site: Site) -> None:
    await site.publish()
    site.bench.later = timedelta(days=91)
    page = await site.get(ADDRESS)
    assert page.index("已过了复核日期") < page.index("<h2>回答</h2>")


async def test_an_operator_may_have_overdue_entries_left_out(storage: Storage) -> None:
    def more(app: Any) -> None:
        app[help_site.SHELL].brain = Brain()
        help_site.setup(app, app[help_site.SHELL])

    async with workbench(storage, more=more, knowledge={"overdue": "silent"}) as bench:
        site = Site(bench, Brain())
        await site.publish()
        bench.later = timedelta(days=91)
        await site.get(ADDRESS, 404)


async def test_what_an_editor_wrote_cannot_become_markup(site: Site) -> None:
    await site.publish(
        title="能不能<b>喝水</b>吗", short="可以。<script>alert(1)</script>打12333，说清楚就行。"
    )
    page = await site.get(ADDRESS)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "能不能&lt;b&gt;喝水" in page
    assert "<b>喝水" not in await site.get("/help/labour")
    assert "<img" not in await site.search('"><img src=x>')


@pytest.mark.parametrize("path", ["/help", "/help/psych", ADDRESS, "/help/search"])
async def test_a_page_can_be_used_without_eyes_mouse_or_script(site: Site, path: str) -> None:
    await site.publish(brings_human=True, long="先做这个。\n再做那个。")
    page = await site.get(path)
    outline = Outline(page)
    assert outline.language == "zh-CN"
    assert outline.headings[0] == 1
    assert outline.headings.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(outline.headings, outline.headings[1:], strict=False))
    assert {"header", "main", "footer", "nav"} <= set(outline.landmarks)
    assert {f["id"] for f in outline.fields} <= outline.labelled
    assert outline.inline == 0
    assert all(
        link.startswith(("/help", "/chat", "#", "tel:", "https://www.baidu.com")) for link in outline.links
    )
    assert {"/chat", "tel:110", "tel:120", "tel:12356", "tel:12355"} <= set(outline.links)
    assert "快速离开" in page
    assert len(page.encode()) < 60_000


async def test_pages_are_sent_with_strict_headers_and_asked_for_again_by_their_tag(site: Site) -> None:
    first = await site.raw("/help/labour", **{"Accept-Encoding": "gzip"})
    assert first.headers["Content-Encoding"] == "gzip"
    policy = first.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert first.headers["Cache-Control"] == "public, no-cache"
    assert "Set-Cookie" not in first.headers
    again = await site.raw("/help/labour", **{"If-None-Match": first.headers["ETag"]})
    assert (again.status, await again.text()) == (304, "")
    (style,) = re.findall(r'href="(/help/assets/help\.css\?v=\w+)"', await site.get("/help"))
    assert "immutable" in (await site.raw(style)).headers["Cache-Control"]
    assert (await site.raw("/help/assets/../shelf.py")).status == 404


async def test_what_is_published_or_retired_shows_at_once_and_the_tag_changes(site: Site) -> None:
    await site.get(ADDRESS, 404)
    before = (await site.raw("/help/labour")).headers["ETag"]
    await site.publish()
    assert FIELDS["short"] in await site.get(ADDRESS)
    assert (await site.raw("/help/labour")).headers["ETag"] != before
    assert ADDRESS in await site.get("/sitemap.xml")

    async def retire(session: AsyncSession) -> None:
        await desk.retire(session, OWN, version=4, staff_id=1, now=site.bench.now())

    await site.bench.write(retire)
    await site.get(ADDRESS, 404)
    assert ADDRESS not in await site.get("/sitemap.xml")


async def test_the_pages_stay_while_the_database_is_away(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await site.get("/help/labour")

    def away(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr(site.bench.shell.storage, "read", away)
    assert "打工" in await site.get("/help/labour")
    site.brain.judges("critical", "suicide")
    assert "120" in await site.search("我不想活了")


async def test_a_page_that_is_not_there_still_has_the_numbers(site: Site) -> None:
    for path in ("/help/labour/none", "/help/none", "/help/labour/water-break/more"):
        assert "12356" in await site.get(path, 404, Accept="text/html")


async def test_the_sitemap_names_pages_and_robots_the_sitemap(site: Site) -> None:
    host = site.bench.base
    sitemap = await site.get("/sitemap.xml")
    assert f"<loc>{host}/help</loc>" in sitemap
    assert sitemap.count("<loc>") == 1 + len(shipped()) + len({i.partition(".")[0] for i in shipped()})
    robots = await site.get("/robots.txt")
    assert f"Sitemap: {host}/sitemap.xml" in robots
    assert "Disallow: /\n" in robots
    assert 'name="robots" content="noindex"' in await site.get("/help/search")
    assert "noindex" not in await site.get("/help/labour")


async def test_the_operators_name_numbers_and_address_stand_everywhere(storage: Storage) -> None:
    def more(app: Any) -> None:
        app[help_site.SHELL].brain = Brain()
        help_site.setup(app, app[help_site.SHELL])

    sections: dict[str, Any] = {
        "desk": {
            "name": "某市青少年服务台",
            "numbers": {"desk": "0571-12355", "psychological": "0571-12356"},
        },
        "server": {"public_url": "https://help.example.org/"},
        "webchat": {"enabled": False},
    }
    async with workbench(storage, more=more, **sections) as bench:
        site = Site(bench, Brain())
        await site.publish(
            brings_human=True, short="可以喝水。先和主管说清楚，说不通就打12333，难受打12356。"
        )
        page = await site.get(ADDRESS)
        assert 'href="tel:0571-12356"><b>0571-12356</b> 心理援助热线' in page
        assert 'class="strong" href="tel:0571-12355">和人聊聊' in page
        assert 'href="/chat"' not in page
        assert 'href="tel:110"' in page  # left out of the configuration: the national one
        assert f'<link rel="canonical" href="https://help.example.org{ADDRESS}">' in page
        assert "<loc>https://help.example.org/help</loc>" in await site.get("/sitemap.xml")


async def test_an_operator_can_switch_it_off(storage: Storage) -> None:
    def more(app: Any) -> None:
        help_site.setup(app, app[help_site.SHELL])

    async with workbench(storage, more=more, help={"enabled": False}) as bench:
        assert (await Site(bench, Brain()).raw("/help")).status == 404


# --- search ---------------------------------------------------------------------------------------------------------


async def test_a_question_finds_its_entry(site: Site) -> None:
    await site.publish()
    site.brain.judges("none", answer=Answer("answer", score=0.9, entry_id=OWN))
    page = await site.search("上班可以喝口水吗")
    assert f'<h2><a href="{ADDRESS}">' in page
    assert FIELDS["short"] in page
    assert "先看这里" not in page
    assert 'value="上班可以喝口水吗"' in page


async def test_words_alone_find_titles_and_nothing_found_offers_a_human(site: Site) -> None:
    await site.publish()
    page = await site.search("喝水")
    assert ADDRESS in page
    near = (Candidate("labour.gone", "没有了", 0.2), Candidate(OWN, "喝水", 0.2))
    site.brain.judges("none", answer=Answer("choose", candidates=near))
    assert f'href="{ADDRESS}"' in await site.search("能不能歇会儿")
    site.brain.judges("none")
    page = await site.search("量子纠缠")
    results = page[page.index("没有找到写好的回答") : page.index("</main>")]
    assert 'href="/chat"' in results


async def test_a_search_that_sounds_like_danger_shows_the_approved_safety_text_first(site: Site) -> None:
    await site.publish()
    site.brain.judges("critical", "suicide", answer=Answer("answer", entry_id=OWN))
    page = await site.search("我在天台，不想活了")
    outline = Outline(page)
    first = page.index("请先做一件事：离开那个危险的地方")
    assert page.index("先看这里") < first < page.index('id="q"')
    assert first < page.index(FIELDS["short"])
    assert page.index("现在和人聊聊") < page.index('id="q"')
    assert 'href="tel:120"' in page[first:]
    assert outline.headings[0] == 1
    assert "天台" not in page


async def test_the_safety_text_is_the_one_two_people_approved(site: Site) -> None:
    async def approve(session: AsyncSession) -> None:
        session.add(
            TemplateText(
                key="safety.generic",
                version=1,
                text="先打 {police}，我们在。",
                state="approved",
                author_id=1,
                drafted_at=site.bench.now(),
                approved_by=2,
                approved_at=site.bench.now(),
            )
        )

    await site.bench.write(approve)
    site.brain.judges("high")
    assert "先打 110，我们在。" in await site.search("有点事")


@pytest.mark.parametrize("words", ["有点事想问", "je veux mourir, aidez moi"])
async def test_what_cannot_be_judged_fails_towards_the_safety_text(site: Site, words: str) -> None:
    if words.startswith("有"):
        site.brain.judges("medium", failed=True)
    page = await site.search(words)
    assert page.index("先看这里") < page.index('id="q"')


async def test_distress_offers_a_human_before_the_results(site: Site) -> None:
    await site.publish()
    site.brain.judges("medium", answer=Answer("answer", entry_id=OWN))
    page = await site.search("好累，什么都不想做")
    assert page.index("也不用等到撑不住") < page.index(FIELDS["short"])
    assert "先看这里" not in page


async def test_an_answer_that_never_stands_alone_offers_a_human_in_the_results_too(site: Site) -> None:
    await site.publish(brings_human=True)
    site.brain.judges("none", answer=Answer("answer", entry_id=OWN))
    page = await site.search("朋友总被人欺负")
    assert page.index("也不用等到撑不住") < page.index(FIELDS["short"])


async def test_a_flood_of_searches_is_judged_by_the_lexicon_and_not_left_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(searching, "_WAIT_SECONDS", 0.01)
    brain = Brain()
    busy = Search(brain)  # type: ignore[arg-type]
    await busy._free.acquire()
    await busy._free.acquire()
    shelf = Shelf(shipped().values(), next(iter(shipped().values())).checked_on)
    found = await busy.find("遗书写好了，今晚就跳楼", shelf)
    assert brain.asked == []
    assert found.safety == "safety.suicide.critical"
    assert fall_back("怎么查公交").failed
    assert (await busy.find("怎么查公交", shelf)).safety == "safety.generic"


async def test_words_of_a_search_stand_in_no_address_no_log_and_no_page_that_is_kept(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "我叫王小明住在三号楼"
    await site.search(secret)
    await site.suggest({"q": secret})
    assert secret not in await site.get(f"/help/search?q={quote(secret)}")
    out = capsys.readouterr()
    assert "王小明" not in out.out + out.err
    empty = await site.search("   ")
    assert "查找结果" not in empty


async def test_suggestions_come_while_typing_and_danger_is_heard_at_once(site: Site) -> None:
    await site.publish()
    found = await site.suggest({"q": "喝水"})
    assert {"address": ADDRESS, "title": FIELDS["title"]} in found["entries"]
    assert (found["danger"], found["numbers"]) == (False, [])
    heard = await site.suggest({"q": "我想跳楼自杀，今晚就去死"})
    assert heard["danger"]
    assert {"number": "110", "name": "报警"} in heard["numbers"]
    for bad in (["x"], {}, "x", None):
        await site.suggest(bad, status=400)
    assert len((await site.suggest({"q": "怎么办" * 2000}))["entries"]) <= 5
