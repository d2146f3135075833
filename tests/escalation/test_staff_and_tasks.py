"""Who works here and what each may do; owned, timed work."""

from __future__ import annotations

from datetime import timedelta

import pytest

from escalation import roster, staff, tasks
from escalation.tables import Shift
from tests.escalation.conftest import HASH, Desk


def test_passwords_are_argon2id_and_an_unknown_login_takes_the_same_road() -> None:
    hashed = staff.hash_password("正确的密码123")
    assert hashed.startswith("$argon2id$")
    assert staff.verify_password(hashed, "正确的密码123")
    assert not staff.verify_password(hashed, "错误的密码123")
    assert not staff.verify_password(None, "正确的密码123")
    assert not staff.verify_password("not a hash", "正确的密码123")


def test_one_time_passwords_differ_and_are_long_enough() -> None:
    made = {staff.one_time_password() for _ in range(50)}
    assert len(made) == 50
    assert all(len(p) >= staff.MIN_PASSWORD for p in made)


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        (
            "counsellor",
            ["look", "claim", "reply", "rescue.approve"],
            ["erasure.approve", "nuisance.confirm", "staff.manage"],
        ),
        ("supervisor", ["look", "erasure.approve", "nuisance.confirm", "records.read"], ["staff.manage"]),
        ("curator", ["entries.edit", "templates.approve"], ["look", "claim", "alerts.read", "staff.manage"]),
        ("administrator", ["staff.manage", "shifts.manage"], ["look", "claim", "reply", "network_address"]),
        ("stranger", [], ["look", "password.change"]),
    ],
)
def test_each_role_may_what_its_work_needs_and_no_more(role: str, may: list[str], may_not: list[str]) -> None:
    assert all(staff.may(role, action) for action in may)
    assert not any(staff.may(role, action) for action in may_not)


async def test_a_login_is_one_persons_whatever_its_case(desk: Desk) -> None:
    def make(login: str, role: str = "counsellor"):  # type: ignore[no-untyped-def]
        return desk.do(
            lambda s: staff.create(
                s, login=login, name="", role=role, desk="000000", password_hash=HASH, now=desk.now
            )
        )

    assert not await desk.do(staff.anybody)
    made = await make("Wang")
    assert (made.must_change_password, made.name) == (True, "Wang")
    with pytest.raises(staff.LoginTaken):
        await make(" wang ")
    with pytest.raises(ValueError, match="roles"):
        await make("li", "boss")
    found = await desk.do(lambda s: staff.by_login(s, "WANG"))
    assert found is not None
    assert found.id == made.id


async def test_a_shift_ends_after_it_starts_and_lasts_a_day_at_most(desk: Desk) -> None:
    member = await desk.member()
    for rung, hours in ((0, 0), (0, -1), (0, 25), (3, 8)):
        start, end = desk.now, desk.later(hours=hours)
        desk.now = start
        with pytest.raises(roster.BadShift):
            await desk.do(
                lambda s, r=rung, e=end: roster.add_shift(
                    s, staff_id=member, rung=r, starts_at=desk.now, ends_at=e
                )
            )
    assert await desk.all(Shift) == []


async def test_the_same_duty_is_one_task_and_grave_ones_are_a_supervisors(desk: Desk) -> None:
    conversation = await desk.conversation()

    async def open_(level: str, detail: str = "45015"):  # type: ignore[no-untyped-def]
        return await desk.do(
            lambda s: tasks.open_task(
                s,
                "cannot_reach",
                now=desk.now,
                conversation_id=conversation,
                level=level,
                detail=detail,  # type: ignore[arg-type]
            )
        )

    first = await open_("low")
    assert first.role == "counsellor"
    again = await open_("high")
    assert (again.id, again.role, again.level) == (first.id, "supervisor", "high")
    assert again.due_at == desk.now + timedelta(hours=1) < first.due_at
    assert (await open_("low", "number_dead")).id != first.id
    listed = await desk.do(lambda s: tasks.listed(s, desk="000000"))
    assert listed[0].id == first.id
    assert [t.id for t in await desk.do(lambda s: tasks.listed(s, desk="000000", roles=["supervisor"]))] == [
        first.id
    ]
    assert not await desk.do(lambda s: tasks.listed(s, desk="330100"))
    await desk.do(lambda s: tasks.done(s, first.id, 5, desk.now))
    desk.later(hours=1)
    kept = await desk.do(lambda s: tasks.done(s, first.id, 6, desk.now))
    assert (kept.state, kept.done_by) == ("done", 5)
    assert (await open_("low")).id != first.id
