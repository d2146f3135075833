"""From a draft to what is said: two persons, days, history, the way back, and the shipped text below it all."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from knowledge import desk
from knowledge.desk import SHIPPED, Conflict, NotAllowed
from knowledge.entries import shipped
from tests.knowledge.conftest import ANNA, BO, CHEN, FIELDS, OWN, EditingDesk

SHORTER = "可以喝水，也可以去厕所，不能因此扣钱。先和主管说，说不通打12333。"


async def test_without_the_desk_the_shipped_entries_are_said_and_nothing_is_stored(
    editing: EditingDesk,
) -> None:
    async with editing.storage.read() as session:
        assert await desk.live_entries(session, editing.today) == list(shipped().values())
    assert await editing.generation() == 0


async def test_an_entry_is_said_only_when_a_second_person_approved_and_it_was_published(
    editing: EditingDesk,
) -> None:
    await editing.write()
    await editing.step(desk.submit, OWN)
    with pytest.raises(NotAllowed, match="own"):
        await editing.step(desk.approve, OWN, by=ANNA)
    with pytest.raises(NotAllowed, match="not_approved"):
        await editing.step(desk.publish, OWN, today=editing.today)
    await editing.step(desk.approve, OWN, by=BO)
    assert await editing.live() is None
    await editing.step(desk.publish, OWN, today=editing.today)
    said = await editing.live()
    assert said is not None
    assert said.short == FIELDS["short"]
    assert await editing.generation() == 1


async def test_whoever_wrote_at_a_text_cannot_approve_it(editing: EditingDesk) -> None:
    await editing.write(by=ANNA)
    await editing.write(by=BO, short=SHORTER)
    await editing.step(desk.submit, OWN, by=CHEN)
    for author in (ANNA, BO):
        with pytest.raises(NotAllowed, match="own"):
            await editing.step(desk.approve, OWN, by=author)
    approved = await editing.step(desk.approve, OWN, by=CHEN)
    assert (approved.authors, approved.approved_by) == ([ANNA, BO], CHEN)


async def test_a_changed_shipped_entry_wins_and_the_shipped_text_comes_back_when_it_is_given_up(
    editing: EditingDesk,
) -> None:
    entry_id, original = next(iter(shipped().items()))
    await editing.published(entry_id, **desk.plain_fields(original) | {"short": SHORTER})
    said = await editing.live(entry_id)
    assert said is not None
    assert said.short == SHORTER
    await editing.step(desk.roll_back, entry_id, SHIPPED, by=BO, today=editing.today)
    assert await editing.live(entry_id) == original
    assert (await editing.one(entry_id)).state == "shipped"
    assert await editing.generation() == 2


async def test_a_retired_entry_is_said_to_nobody_whether_shipped_or_own(editing: EditingDesk) -> None:
    entry_id = next(iter(shipped()))
    await editing.step(desk.retire, entry_id)
    await editing.published()
    await editing.step(desk.retire, OWN)
    assert await editing.live(entry_id) is None
    assert await editing.live() is None
    assert await editing.listed(state="retired") == sorted([entry_id, OWN])
    with pytest.raises(NotAllowed, match="retired"):
        await editing.step(desk.retire, OWN)
    await editing.step(desk.roll_back, OWN, 1, by=CHEN, today=editing.today)
    assert await editing.live() is not None


async def test_a_new_text_in_work_leaves_what_is_said_as_it_is(editing: EditingDesk) -> None:
    await editing.published()
    second = await editing.write(short=SHORTER)
    assert second.number == 2
    said = await editing.live()
    assert said is not None
    assert said.short == FIELDS["short"]
    one = await editing.one()
    assert (one.state, one.live_number, one.fields["short"]) == ("draft", 1, SHORTER)
    await editing.step(desk.discard, OWN)
    one = await editing.one()
    assert (one.state, one.live_number, one.fields["short"]) == ("published", 1, FIELDS["short"])


async def test_an_approved_text_is_never_changed(editing: EditingDesk) -> None:
    await editing.approved()
    again = await editing.write(short=SHORTER)
    assert again.number == 2
    async with editing.storage.read() as session:
        assert (await desk.text_of(session, OWN, 1))["short"] == FIELDS["short"]


async def test_sent_back_it_is_a_draft_again_with_what_is_missing(editing: EditingDesk) -> None:
    await editing.write()
    await editing.step(desk.submit, OWN)
    back = await editing.step(desk.send_back, OWN, by=BO, note="缺少来源")
    assert (back.state, back.note, back.submitted_by) == ("draft", "缺少来源", None)
    with pytest.raises(NotAllowed, match="not_submitted"):
        await editing.step(desk.approve, OWN, by=BO)


async def test_an_incomplete_text_is_kept_as_draft_and_cannot_be_submitted(editing: EditingDesk) -> None:
    await editing.write(asks=["上班能喝水吗"], sources=[])
    with pytest.raises(NotAllowed, match="incomplete") as refused:
        await editing.step(desk.submit, OWN)
    assert {problem.field for problem in refused.value.problems} == {"asks", "sources"}


async def test_a_text_for_later_begins_on_its_day_and_an_expired_one_ends(editing: EditingDesk) -> None:
    await editing.published()
    tomorrow = editing.today + timedelta(days=1)
    await editing.published(short=SHORTER, valid_from=tomorrow, valid_until=tomorrow)
    now, then, after = await editing.live(), await editing.live(days=1), await editing.live(days=2)
    assert (now and now.short, then and then.short, after) == (FIELDS["short"], SHORTER, None)
    await editing.step(desk.reschedule, OWN, today=editing.today, valid_from=tomorrow, valid_until=None)
    after = await editing.live(days=2)
    assert (after and after.short, await editing.generation()) == (SHORTER, 3)
    with pytest.raises(NotAllowed, match="days"):
        await editing.step(
            desk.reschedule, OWN, today=editing.today, valid_from=tomorrow, valid_until=editing.today
        )


async def test_an_expired_change_does_not_bring_the_shipped_text_back(editing: EditingDesk) -> None:
    entry_id = next(iter(shipped()))
    await editing.published(entry_id, valid_until=editing.today)
    assert await editing.live(entry_id) is not None
    assert await editing.live(entry_id, days=1) is None


async def test_back_to_an_older_text_is_a_new_revision_said_at_once(editing: EditingDesk) -> None:
    await editing.published()
    await editing.published(short=SHORTER)
    back = await editing.step(desk.roll_back, OWN, 1, by=CHEN, today=editing.today, note="新文有误")
    assert back is not None
    assert (back.number, back.state, back.authors, back.approved_by, back.published_by) == (
        3,
        "published",
        [ANNA],
        BO,
        CHEN,
    )
    said = await editing.live()
    assert said is not None
    assert said.short == FIELDS["short"]
    async with editing.storage.read() as session:
        assert [r.state for r in await desk.history(session, OWN)] == ["published", "replaced", "replaced"]


async def test_back_to_a_text_that_nobody_approved_is_only_a_draft(editing: EditingDesk) -> None:
    await editing.published()
    await editing.write(short=SHORTER)
    await editing.step(desk.discard, OWN)
    back = await editing.step(desk.roll_back, OWN, 2, by=CHEN, today=editing.today)
    assert back is not None
    assert (back.state, back.authors) == ("draft", [ANNA, CHEN])


async def test_two_people_do_not_overwrite_each_others_entry(editing: EditingDesk) -> None:
    await editing.write()
    with pytest.raises(Conflict) as refused:
        await editing.step(desk.draft, OWN, FIELDS, by=BO, version=0)
    assert refused.value.version == 1
    steps = [editing.step(desk.submit, OWN, by=by, version=1) for by in (ANNA, BO)]
    outcomes = await asyncio.gather(*steps, return_exceptions=True)
    assert sorted(isinstance(outcome, Conflict) for outcome in outcomes) == [False, True]


async def test_differences_name_the_fields_that_changed(editing: EditingDesk) -> None:
    await editing.published()
    await editing.write(short=SHORTER, asks=[*FIELDS["asks"], "能坐下吗"])
    async with editing.storage.read() as session:
        before, after = [await desk.text_of(session, OWN, number) for number in (1, 2)]
    changed = desk.difference(before, after)
    assert [(one.field, one.before == FIELDS[one.field]) for one in changed] == [
        ("asks", True),
        ("short", True),
    ]


async def test_comments_stay_with_their_revision(editing: EditingDesk) -> None:
    await editing.write()
    said = await editing.do(lambda s: desk.comment(s, OWN, 1, "第二句太长", staff_id=BO, now=editing.now))
    async with editing.storage.read() as session:
        (kept,) = await desk.comments(session, OWN)
    assert (kept.id, kept.revision, kept.author, kept.text) == (said.id, 1, BO, "第二句太长")
    with pytest.raises(NotAllowed, match="unknown"):
        await editing.do(lambda s: desk.comment(s, OWN, 7, "没有", staff_id=BO, now=editing.now))


async def test_lists_are_filtered_and_searched_over_shipped_and_own(editing: EditingDesk) -> None:
    await editing.published()
    await editing.step(
        desk.draft, "labour.standing-desk", {"title": "站着上班", "asks": ["站着累"]}, version=0
    )
    assert OWN in await editing.listed(own=True, state="published")
    assert await editing.listed(state="draft") == ["labour.standing-desk"]
    assert await editing.listed(search="12333 上厕所要扣钱吗") == [OWN]
    labour = await editing.listed(category="legal.labour")
    assert OWN in labour
    assert len(labour) > 20
    assert all(f"{shipped()[i].category}.".startswith("legal.labour.") for i in labour if i in shipped())
    assert len(await editing.listed(own=False)) == len(shipped())
    assert await editing.listed(own=True, audience="parent") == []


async def test_what_must_be_looked_at_again_is_marked_until_somebody_did(editing: EditingDesk) -> None:
    entry_id = next(iter(shipped()))
    for why in ("law_changed", "review_due"):
        await editing.do(lambda s, why=why: desk.mark_to_check(s, entry_id, why, now=editing.now))
    assert await editing.listed(to_check=True) == [entry_id]
    assert (await editing.one(entry_id)).to_check == "law_changed"
    await editing.step(desk.checked, entry_id)
    assert await editing.listed(to_check=True) == []
    assert await editing.live(entry_id) == shipped()[entry_id]


async def test_every_step_is_on_record(editing: EditingDesk) -> None:
    await editing.published()
    await editing.step(desk.retire, OWN, by=CHEN)
    assert await editing.records() == [
        (ANNA, "entry.draft", f"{OWN}@1"),
        (ANNA, "entry.submit", f"{OWN}@1"),
        (BO, "entry.approve", f"{OWN}@1"),
        (ANNA, "entry.publish", f"{OWN}@1"),
        (CHEN, "entry.retire", f"{OWN}@1"),
    ]


async def test_a_stored_text_that_this_program_cannot_read_hides_the_entry(editing: EditingDesk) -> None:
    entry_id = next(iter(shipped()))
    made = await editing.published(entry_id)

    async def spoil(session) -> None:  # type: ignore[no-untyped-def]
        row = await session.get_one(desk.KnowledgeRevision, made.id)
        row.fields = row.fields | {"asks": []}

    await editing.do(spoil)
    async with editing.storage.read() as session:
        overlay = await desk.live_overlay(session, editing.today)
    assert overlay.broken == overlay.hidden == {entry_id}
    assert await editing.live(entry_id) is None
