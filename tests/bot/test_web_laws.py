"""法律库 and 待核对 from the workbench: what changed side by side, and 仍然正确 through two persons."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from bot.storage import Storage
from knowledge import desk, law_library, upkeep
from knowledge.laws import read_law
from tests.bot.web_rig import Workbench, workbench
from tests.knowledge.conftest import FIELDS
from tests.knowledge.law_texts import NEW, OLD, text

OWN = "school.evening-study"
CITED = [
    {"law": "夜间自习法", "article": article, "version": "2019-03-01"} for article in ("第二条", "第三条")
]


@pytest.fixture
async def bench(storage: Storage) -> AsyncIterator[Workbench]:
    async with workbench(storage) as running:
        yield running


async def bring(bench: Workbench, *files: list[str]) -> None:
    async def work(session: AsyncSession) -> None:
        today = bench.now().date()
        for lines in files:
            await law_library.store(session, read_law("x.txt", text(lines)), cited=(), now=bench.now())
        await upkeep.mark(session, today, now=bench.now())

    await bench.write(work)


async def publish(bench: Workbench, entry_id: str = OWN, **change: Any) -> None:
    day = bench.now().date()
    fields = FIELDS | {"checked_on": day.isoformat(), "review_by": (day + timedelta(days=90)).isoformat()}

    async def work(session: AsyncSession) -> None:
        step: dict[str, Any] = {"now": bench.now()}
        await desk.draft(session, entry_id, fields | change, version=0, staff_id=1, **step)
        await desk.submit(session, entry_id, version=1, staff_id=1, **step)
        await desk.approve(session, entry_id, version=2, staff_id=2, **step)
        await desk.publish(session, entry_id, version=3, staff_id=2, today=day, **step)

    await bench.write(work)


async def test_the_library_lists_versions_and_what_cites_them(bench: Workbench) -> None:
    kong = await bench.at_work("kong", "curator")
    await publish(bench, sources=CITED)
    await bring(bench, OLD, NEW)
    shown = await kong.get("/laws")
    (law,) = shown["laws"]
    assert (law["title"], law["entries"], law["to_check"]) == ("夜间自习法", 1, 1)
    assert [(one["version"], one["articles"]) for one in law["versions"]] == [
        ("2026-02-03", 7),
        ("2019-03-01", 6),
    ]
    assert "未成年人保护法" in {one["title"] for one in shown["missing"]}


async def test_the_picker_gives_what_a_source_needs(bench: Workbench) -> None:
    kong = await bench.at_work("kong", "curator")
    await bring(bench, OLD, NEW)
    (found,) = await kong.post("/laws/search", {"words": "自习法 第3条之一"})
    assert found == {
        "law": "夜间自习法",
        "article": "第三条之一",
        "version": "2026-02-03",
        "place": "第二章 灯光与休息",
        "text": "周末不安排晚自习。",
    }
    assert await kong.post("/laws/search", {}) == []


async def test_a_changed_law_is_shown_side_by_side_and_confirmed_by_two_persons(bench: Workbench) -> None:
    kong, wang = await bench.at_work("kong", "curator"), await bench.at_work("wang", "supervisor")
    await publish(bench, sources=CITED)
    await bring(bench, OLD, NEW)
    (card,) = (await kong.get("/to-check"))["items"]
    assert (card["id"], card["why"], card["changed"], card["unchanged"]) == (OWN, ["law_changed"], 1, 1)
    seen = await kong.get(f"/to-check/changes?entry={OWN}")
    same, changed = seen["citations"]
    assert (same["article"], same["became"]) == ("第二条", "same")
    assert (changed["article"], changed["became"]) == ("第三条", "changed")
    left = "".join(piece["text"] for piece in changed["pieces"] if piece["kind"] != "new")
    right = "".join(piece["text"] for piece in changed["pieces"] if piece["kind"] != "old")
    assert (left, right) == (changed["old"], changed["new"])
    assert "二十一时" in right
    await wang.post("/to-check/still-right", {"entry": OWN, "version": card["version"]}, status=403)
    stale = await kong.post("/to-check/still-right", {"entry": OWN, "version": 1}, status=409)
    assert stale["current"] == {"version": card["version"]}
    made = await kong.post("/to-check/still-right", {"entry": OWN, "version": card["version"]})
    assert made == {"id": OWN, "revision": 2, "state": "submitted", "version": card["version"] + 2}
    again = await kong.post("/to-check/still-right", {"entry": OWN, "version": made["version"]}, status=409)
    assert again["error"] == "in_work"
    assert (await kong.get("/to-check"))["items"][0]["in_work"]

    async def agree(session: AsyncSession) -> None:
        step: dict[str, Any] = {"staff_id": int(wang.me["id"]), "now": bench.now()}
        await desk.approve(session, OWN, version=made["version"], **step)
        await desk.publish(session, OWN, version=made["version"] + 1, today=bench.now().date(), **step)

    await bench.write(agree)
    assert (await kong.get("/to-check"))["items"] == []


async def test_an_entry_past_its_review_date_is_listed_with_the_reason(bench: Workbench) -> None:
    kong = await bench.at_work("kong", "curator")
    await publish(bench)
    assert (await kong.get("/to-check"))["items"] == []
    bench.later = timedelta(days=91)
    again = await bench.at_work("li", "curator")
    (card,) = [one for one in (await again.get("/to-check?why=review_due"))["items"] if one["id"] == OWN]
    assert (card["why"], card["since"]) == (["review_due"], None)
    seen = await again.get(f"/to-check/changes?entry={OWN}")
    assert (seen["why"], seen["citations"]) == (["review_due"], [])
    await again.post("/to-check/still-right", {"entry": OWN, "version": card["version"], "note": "读过"})


async def test_only_the_editing_desk_sees_it_and_what_is_not_there_is_not_found(bench: Workbench) -> None:
    zhang, kong = await bench.at_work("zhang"), await bench.at_work("kong", "curator")
    for path in ("/laws", "/to-check", f"/to-check/changes?entry={OWN}"):
        await zhang.get(path, status=403)
    await kong.get("/to-check/changes?entry=no.such-entry", status=404)
    await kong.post("/to-check/still-right", {"entry": "no.such-entry", "version": 0}, status=404)
