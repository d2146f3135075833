"""The law library: every version is kept, the picker finds articles, and a new version brings the citing entries back to a person."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from knowledge import desk, law_library, upkeep
from knowledge.law_changes import compare, moved_to, pieces
from knowledge.law_library import Stored
from knowledge.laws import read_law
from knowledge.upkeep import CannotConfirm, ToCheck
from tests.knowledge import laws
from tests.knowledge.conftest import ANNA, BO, OWN, EditingDesk
from tests.knowledge.law_texts import NEW, OLD, text

LAWS = laws.folder()
WAS, IS = date(2019, 3, 1), date(2026, 2, 3)


async def bring(editing: EditingDesk, lines: list[str], **said: str) -> Stored:
    """`qingting laws import` of one file."""

    async def work(session: AsyncSession) -> Stored:
        law = read_law("law.txt", text(lines), title=said.get("title", ""))
        cited = await upkeep.cited_laws(session, editing.today)
        stored = await law_library.store(session, law, cited=cited, now=editing.now)
        await upkeep.mark(session, editing.today, now=editing.now)
        return stored

    return await editing.do(work)


def citing(*articles: str) -> list[dict[str, str]]:
    return [{"law": "夜间自习法", "article": article, "version": WAS.isoformat()} for article in articles]


async def marked(editing: EditingDesk) -> dict[str, str | None]:
    async with editing.storage.read() as session:
        found = await desk.listed(session, editing.today, to_check=True)
    return {one.id: one.to_check for one in found}


async def changes(editing: EditingDesk, entry_id: str = OWN) -> ToCheck:
    async with editing.storage.read() as session:
        return await upkeep.changes_of(session, entry_id, editing.today)


# --- keeping and finding ------------------------------------------------------------------------------------------------


async def test_every_version_is_kept_and_the_same_file_twice_changes_nothing(editing: EditingDesk) -> None:
    first = await bring(editing, OLD)
    assert (first.outcome, first.title, first.version, first.newest) == ("new", "夜间自习法", WAS, True)
    assert await bring(editing, OLD) == replace(first, outcome="same")
    second = await bring(editing, NEW)
    assert (second.outcome, second.version, second.newest) == ("new", IS, True)
    assert await bring(editing, OLD[:-1]) == replace(first, outcome="corrected", newest=False)
    async with editing.storage.read() as session:
        (law,) = await law_library.listed(session)
    assert [(one.version, one.articles) for one in law.versions] == [(IS, 7), (WAS, 5)]


async def test_a_law_is_called_as_entries_call_it(editing: EditingDesk) -> None:
    await editing.published(sources=citing("第三条"))
    stored = await bring(editing, OLD, title="中华人民共和国《夜间自习法》")
    assert stored.title == "夜间自习法"


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("夜间自习法 三", []),  # a bare numeral may be any word
        ("夜间自习法 第三条", ["第三条", "第三条之一"]),
        ("自习法3", ["第三条", "第三条之一"]),
        ("夜间自习法第3条之一", ["第三条之一"]),
        ("灯 窗户", ["第五条"]),
        ("周末", ["第三条之一"]),
        ("自习法 学校", ["第二条"]),
        ("灯光与休息", ["第三条", "第三条之一", "第四条", "第五条"]),
        ("100%", []),
        ("_", []),
        ("第二十条", []),
        ("  ", []),
    ],
)
async def test_the_picker_finds_articles_of_the_newest_version(
    editing: EditingDesk, asked: str, found: list[str]
) -> None:
    await bring(editing, OLD)
    await bring(editing, NEW)
    async with editing.storage.read() as session:
        articles = await law_library.search(session, asked)
    assert [article.number for article in articles] == found
    assert {article.version for article in articles} <= {IS}


async def test_a_law_asked_for_by_name_comes_before_laws_that_speak_of_it(editing: EditingDesk) -> None:
    about = ["一般规定", "2020年1月2日通过", "第一条　依照夜间自习法，制定本规定。"]
    await bring(editing, about)
    await bring(editing, OLD)
    async with editing.storage.read() as session:
        found = await law_library.search(session, "夜间自习法", limit=10)
        only = await law_library.search(session, "夜间自习法", law="一般规定")
    assert [one.law for one in found] == ["夜间自习法"] * 6 + ["一般规定"]
    assert [one.law for one in only] == ["一般规定"]


# --- comparing ----------------------------------------------------------------------------------------------------------


def test_pieces_give_both_texts_back_and_name_what_differs() -> None:
    old, new = (
        "晚自习应当在二十二时以前结束。\n不得补课。",
        "晚自习应当在二十一时以前结束。\n不得补课，不得考试。",
    )
    found = pieces(old, new)
    assert "".join(p.text for p in found if p.kind != "new") == old
    assert "".join(p.text for p in found if p.kind != "old") == new
    assert [(p.kind, p.text) for p in found if p.kind != "same"][:2] == [("old", "二"), ("new", "一")]


def test_a_text_set_otherwise_has_not_changed_and_a_renumbered_one_is_found_again() -> None:
    new = {"第一条": "为了 睡好觉，\n制定本法。", "第九条": "教室的灯应当明亮，不得闪烁。"}
    lamp = "教室里的灯应当明亮，不得闪烁。"
    assert compare("第一条", "为了睡好觉,制定本法。", new).state == "same"
    assert compare("第三条", lamp, new).state == "gone"
    assert compare("第一条", lamp, new).state == "changed"
    assert compare("第一条", None, new).state == "unknown"
    assert compare("第七条", None, new).state == "gone"
    assert moved_to("第三条", lamp, new) == "第九条"
    assert moved_to("第九条", lamp, new) == ""
    assert moved_to("第三条", "学校可以收取灯油费。", new) == ""


# --- what a new version means for entries -------------------------------------------------------------------------------


async def test_a_new_version_marks_every_entry_that_cites_the_law(editing: EditingDesk) -> None:
    await editing.published(sources=citing("第二条", "第三条", "第四条"))
    await editing.published("labour.tea-break", sources=citing("第二条"))
    await editing.published("labour.coffee-break")
    await bring(editing, OLD)
    assert await marked(editing) == {}
    await bring(editing, NEW)
    async with editing.storage.read() as session:
        after = await upkeep.outdated(session, editing.today)
    assert [(one.entry.id, one.unchanged) for one in after] == [("labour.tea-break", True), (OWN, False)]
    assert await marked(editing) == {"labour.tea-break": "law_changed", OWN: "law_changed"}
    seen = await changes(editing)
    assert [(c.citation.article, c.compared.state, c.now_at) for c in seen.citations] == [
        ("第二条", "same", ""),
        ("第三条", "changed", ""),
        ("第四条", "changed", "第五条"),
    ]
    assert seen.citations[1].compared.old == "晚自习应当在二十二时以前结束。"
    assert seen.citations[1].compared.new == "晚自习应当在二十一时以前结束。"


async def test_what_is_said_goes_on_being_said_while_it_is_checked(editing: EditingDesk) -> None:
    await editing.published(sources=citing("第三条"))
    before, generation = await editing.live(), await editing.generation()
    await bring(editing, NEW)
    assert await editing.live() == before
    assert await editing.generation() == generation


async def test_an_older_version_brought_later_marks_nothing_and_serves_for_comparing(
    editing: EditingDesk,
) -> None:
    await editing.published(sources=citing("第三条"))
    await bring(editing, NEW)
    assert (await changes(editing)).citations[0].compared.state == "unknown"
    await bring(editing, OLD)
    assert (await changes(editing)).citations[0].compared.state == "changed"
    assert await marked(editing) == {OWN: "law_changed"}


async def test_still_right_renews_the_citation_when_a_second_person_agrees(editing: EditingDesk) -> None:
    await editing.published(sources=[*citing("第二条"), {"body": "教育局"}])
    await bring(editing, OLD)
    await bring(editing, NEW)
    said = await editing.live()
    made = await editing.step(upkeep.still_right, OWN, by=BO, today=editing.today)
    assert (made.state, made.authors) == ("submitted", [BO])
    assert "《夜间自习法》2026-02-03版" in made.note
    assert await editing.live() == said
    assert await marked(editing) == {OWN: "law_changed"}
    with pytest.raises(desk.NotAllowed, match="own"):
        await editing.step(desk.approve, OWN, by=BO)
    await editing.step(desk.approve, OWN, by=ANNA)
    await editing.step(desk.publish, OWN, today=editing.today)
    renewed = await editing.live()
    assert said is not None
    assert renewed is not None
    assert [source.version for source in renewed.sources] == [IS, None]
    assert (renewed.checked_on, renewed.short) == (editing.today, said.short)
    assert renewed.review_by == editing.today + (said.review_by - said.checked_on)
    assert await marked(editing) == {}
    assert (await changes(editing)).citations == ()


async def test_still_right_is_refused_where_it_cannot_be_said(editing: EditingDesk) -> None:
    await editing.published(sources=citing("第三条"))
    await editing.published("labour.tea-break", sources=citing("第四条"))
    await bring(editing, [line for line in NEW if not line.startswith("第四条")])
    with pytest.raises(CannotConfirm, match="gone"):
        await editing.step(upkeep.still_right, "labour.tea-break", today=editing.today)
    with pytest.raises(desk.Conflict):
        await editing.step(upkeep.still_right, OWN, version=1, today=editing.today)
    await editing.write(sources=citing("第三条"))
    with pytest.raises(CannotConfirm, match="in_work"):
        await editing.step(upkeep.still_right, OWN, by=BO, today=editing.today)
    await editing.write("labour.new-one")
    await editing.step(desk.discard, "labour.new-one")
    with pytest.raises(CannotConfirm, match="not_live"):
        await editing.step(upkeep.still_right, "labour.new-one", today=editing.today)


async def test_a_version_taken_out_again_takes_its_marks_along(editing: EditingDesk) -> None:
    await editing.published(sources=citing("第三条"))
    await bring(editing, OLD)
    await bring(editing, NEW)
    assert await marked(editing) == {OWN: "law_changed"}

    async def work(session: AsyncSession) -> int | None:
        gone = await law_library.remove(session, "夜间自习法", IS)
        await upkeep.mark(session, editing.today, now=editing.now)
        return gone

    assert await editing.do(work) is not None
    assert await editing.do(work) is None
    assert await marked(editing) == {}


async def test_an_entry_past_its_review_date_is_marked_once_and_listed(editing: EditingDesk) -> None:
    await editing.published(review_by=(editing.today + timedelta(days=3)).isoformat())

    async def work(session: AsyncSession) -> tuple[list[str], int]:
        due = [one.id for one in await upkeep.overdue(session, editing.today)]
        return due, await upkeep.mark(session, editing.today, now=editing.now)

    assert await editing.do(work) == ([], 0)
    editing.later(days=4)
    assert await editing.do(work) == ([OWN], 1)
    assert await editing.do(work) == ([OWN], 0)
    assert await marked(editing) == {OWN: "review_due"}


async def test_marks_come_a_few_at_a_time_and_the_graver_reason_stays(editing: EditingDesk) -> None:
    soon = (editing.today + timedelta(days=3)).isoformat()
    for name in ("labour.one", "labour.two", "labour.three"):
        await editing.published(name, sources=citing("第三条"), review_by=soon)
    await editing.do(lambda s: law_library.store(s, read_law("x", text(NEW)), cited=(), now=editing.now))
    editing.later(days=4)

    async def share() -> int:
        return await editing.do(lambda s: upkeep.mark(s, editing.today, now=editing.now, most=2))

    assert [await share(), await share(), await share()] == [2, 1, 0]
    assert set((await marked(editing)).values()) == {"law_changed"}
    await editing.do(lambda s: law_library.remove(s, "夜间自习法", IS))
    while await share():
        pass
    assert set((await marked(editing)).values()) == {"review_due"}


@pytest.mark.skipif(LAWS is None, reason="no folder of law texts: set QINGTING_LAWS")
async def test_the_shipped_entries_cite_the_newest_versions_and_articles_that_are_there(
    editing: EditingDesk,
) -> None:
    assert LAWS is not None
    files = sorted(LAWS.glob("*.txt"))

    async def work(session: AsyncSession) -> tuple[list[ToCheck], set[str], int]:
        cited = await upkeep.cited_laws(session, editing.today)
        for path in files:
            await law_library.store(
                session, read_law(path.name, path.read_bytes()), cited=cited, now=editing.now
            )
        known = {law.title for law in await law_library.listed(session)}
        return await upkeep.outdated(session, editing.today), set(cited) - known, len(known)

    old, unknown, count = await editing.do(work)
    assert [one.entry.id for one in old] == []
    assert unknown == set()
    assert count == len(files)
    async with editing.storage.read() as session:
        (found,) = await law_library.search(session, "未成年人保护法 79")
    assert (found.law, found.number) == ("未成年人保护法", "第七十九条")
