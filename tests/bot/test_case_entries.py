"""From a closed case to an entry: the curator sees no word of the case, and what may lead to the person is told before it is saved."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import update

from bot.storage import Storage
from escalation.tables import Case, Person
from knowledge.tables import KnowledgeRevision
from tests.bot.web_rig import Workbench, workbench
from tests.knowledge.conftest import FIELDS, OWN

WORDS = "老板说要等到年底才给我们结清所有的工资，不然就滚"


@pytest.fixture
async def bench(storage: Storage) -> AsyncIterator[Workbench]:
    async with workbench(storage) as running:
        yield running


async def closed_case(bench: Workbench) -> str:
    """A case with these words, closed; its number."""
    await bench.contact(WORDS, risk="high", address="little-fish-07")
    await bench.write(
        lambda s: s.execute(
            update(Case).values(state="closed", closed_at=bench.now(), category="legal.labour.unpaid_wages")
        )
    )
    (case,) = await bench.rows(Case)
    return str(case.number)


def text(**change: Any) -> dict[str, Any]:
    return {"fields": FIELDS | change}


async def test_a_closed_case_is_listed_without_a_word(bench: Workbench) -> None:
    number, kong = await closed_case(bench), await bench.at_work("kong", "curator")
    (item,) = (await kong.get("/knowledge/cases?category=legal.labour"))["items"]
    assert set(item) == {"number", "category", "closed_at"}
    assert (item["number"], item["category"]) == (number, "legal.labour.unpaid_wages")
    assert (await kong.get("/knowledge/cases?category=legal.lab"))["items"] == []
    assert (await kong.get(f"/knowledge/cases?after={number}"))["items"] == []


async def test_what_may_lead_to_the_person_is_told_by_place(bench: Workbench) -> None:
    number, kong = await closed_case(bench), await bench.at_work("kong", "curator")
    path = f"/knowledge/cases/{number}/check"
    assert await kong.post(path, text()) == []
    long = f"有人遇到：{WORDS}。他叫little-fish-07，电话13800138000。"
    found = await kong.post(path, text(long=long))
    assert {(f["field"], f["what"], f["certain"]) for f in found} == {
        ("long", "原话", False),
        ("long", "姓名", True),
        ("long", "电话", True),
    }


async def test_a_draft_from_a_case_is_saved_clean_and_a_second_person_must_approve(bench: Workbench) -> None:
    number, kong = await closed_case(bench), await bench.at_work("kong", "curator")
    path = f"/knowledge/cases/{number}/draft"
    quoting = text(long=WORDS) | {"entry": OWN}
    assert (await kong.post(path, quoting, 409))["error"] == "identifying"
    naming = text(long="电话13800138000") | {"entry": OWN, "sure": True}
    assert (await kong.post(path, naming, 409))["error"] == "identifying"
    assert await bench.rows(KnowledgeRevision) == []
    given = await kong.post(path, text(category="") | {"entry": OWN})
    (revision,) = await bench.rows(KnowledgeRevision)
    assert (revision.fields["category"], revision.state) == ("legal.labour.unpaid_wages", "draft")
    assert revision.note.startswith("来自已结工单")
    assert [r.why for r in await bench.acts("entry.from_case")] == [OWN]
    await kong.post(f"/knowledge/entries/{OWN}/submit", {"version": given["version"]})
    await kong.post(f"/knowledge/entries/{OWN}/approve", {"version": given["version"] + 1}, 403)


async def test_an_open_case_another_desks_and_an_erased_persons_cannot_be_used(bench: Workbench) -> None:
    number, kong = await closed_case(bench), await bench.at_work("kong", "curator")
    path = f"/knowledge/cases/{number}/draft"
    given = text() | {"entry": OWN}
    for change in ({"state": "open"}, {"state": "closed", "desk": "330100"}):
        await bench.write(lambda s, change=change: s.execute(update(Case).values(**change)))
        await kong.post(path, given, 404)
    await bench.write(lambda s: s.execute(update(Case).values(desk="000000")))
    await bench.write(lambda s: s.execute(update(Person).values(data_key=None)))
    assert (await kong.post(path, given, 409))["error"] == "erased"
    for role in ("counsellor", "supervisor"):
        await (await bench.at_work(role, role)).post(path, given, 403)
    assert await bench.rows(KnowledgeRevision) == []
