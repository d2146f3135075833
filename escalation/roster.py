"""值班: who is on duty on which rung of the ladder, and whose workbench is open."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from escalation.policy import BACKUP, DUTY, SUPERVISOR
from escalation.tables import Screen, Shift, Staff

SCREEN_GONE: Final = timedelta(seconds=60)  # a workbench not seen for this long is gone
LONGEST_SHIFT: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Duty:
    """Who can be rung now. `rungs`: staff ids by rung; `live`: those with an open workbench; `on_shift`: as the roster says."""

    rungs: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    live: frozenset[int] = frozenset()
    on_shift: frozenset[int] = frozenset()

    def people(self, rung: int) -> tuple[int, ...]:
        return self.rungs.get(rung, ())

    def screens(self, rung: int) -> tuple[int, ...]:
        """Those of the rung whose workbench is open."""
        return tuple(i for i in self.people(rung) if i in self.live)

    @property
    def somebody_there(self) -> bool:
        """Whether a person may be told that somebody is there: on duty by the roster, or at an open workbench."""
        return bool(self.on_shift) or bool(self.screens(DUTY)) or bool(self.screens(SUPERVISOR))


async def on_duty(session: AsyncSession, now: datetime, desk: str | None = None) -> Duty:
    """Who can be rung at `now` (of one desk, if given).

    Rung 0 also counts counsellors who sit at an open workbench without a shift: an alert must not pass by somebody who
    is there. Rung 2 falls to every supervisor when none is on the roster: the ladder never lacks one.
    """
    members = select(Staff.id, Staff.role).where(Staff.active, Staff.role.in_(("counsellor", "supervisor")))
    shifts = select(Shift.staff_id, Shift.rung).where(Shift.starts_at <= now, Shift.ends_at > now)
    live_screens = select(Screen.staff_id).where(
        Screen.closed_at.is_(None), Screen.seen_at > now - SCREEN_GONE
    )
    if desk is not None:
        members = members.where(Staff.desk == desk)
    roles = {row.id: row.role for row in (await session.execute(members)).all()}
    live = frozenset(i for i in (await session.scalars(live_screens)).all() if i in roles)
    rungs: dict[int, set[int]] = {DUTY: set(), BACKUP: set(), SUPERVISOR: set()}
    for row in (await session.execute(shifts)).all():
        if row.staff_id in roles:
            rungs.setdefault(row.rung, set()).add(row.staff_id)
    on_shift = frozenset().union(*rungs.values())
    rungs[DUTY] |= {i for i in live - on_shift if roles[i] == "counsellor"}
    if not rungs[SUPERVISOR]:
        rungs[SUPERVISOR] = {i for i, role in roles.items() if role == "supervisor"}
    return Duty({rung: tuple(sorted(ids)) for rung, ids in rungs.items()}, live, on_shift)


# --- shifts ---------------------------------------------------------------------------------------------------------


class BadShift(ValueError):
    """A shift that ends before it starts, is longer than a day, or is on no rung."""


async def add_shift(
    session: AsyncSession, *, staff_id: int, rung: int, starts_at: datetime, ends_at: datetime
) -> Shift:
    """Put a member of staff on the roster. Raises BadShift."""
    if rung not in (DUTY, BACKUP, SUPERVISOR) or not timedelta(0) < ends_at - starts_at <= LONGEST_SHIFT:
        raise BadShift
    shift = Shift(staff_id=staff_id, rung=rung, starts_at=starts_at, ends_at=ends_at)
    session.add(shift)
    await session.flush()
    return shift


async def remove_shift(session: AsyncSession, shift_id: int) -> bool:
    """Take a shift off the roster. False when there is none."""
    gone = await session.scalars(delete(Shift).where(Shift.id == shift_id).returning(Shift.id))
    return gone.first() is not None


async def shifts(session: AsyncSession, since: datetime, until: datetime) -> Sequence[Shift]:
    """The roster between two moments, by start."""
    found = await session.scalars(
        select(Shift)
        .where(Shift.ends_at > since, Shift.starts_at < until)
        .order_by(Shift.starts_at, Shift.rung, Shift.id)
    )
    return found.all()


async def go_on_duty(
    session: AsyncSession, staff_id: int, *, rung: int, now: datetime, hours: float = 12
) -> Shift:
    """Start a shift now. A running one on the same rung is kept; on another rung it ends."""
    await session.flush()
    running = await session.scalars(
        select(Shift).where(Shift.staff_id == staff_id, Shift.starts_at <= now, Shift.ends_at > now)
    )
    for shift in running.all():
        if shift.rung == rung:
            return shift
        shift.ends_at = now
    return await add_shift(
        session, staff_id=staff_id, rung=rung, starts_at=now, ends_at=now + timedelta(hours=min(hours, 12))
    )


async def go_off_duty(session: AsyncSession, staff_id: int, *, now: datetime) -> None:
    """End the running shift."""
    await session.execute(
        update(Shift)
        .where(Shift.staff_id == staff_id, Shift.starts_at <= now, Shift.ends_at > now)
        .values(ends_at=now)
    )


# --- open workbenches -----------------------------------------------------------------------------------------------


async def screen_opened(session: AsyncSession, staff_id: int, now: datetime) -> Screen:
    """A workbench connected. Keep its id for screen_seen and screen_closed."""
    screen = Screen(staff_id=staff_id, opened_at=now, seen_at=now, closed_at=None)
    session.add(screen)
    await session.flush()
    return screen


async def screen_seen(session: AsyncSession, screen_id: int, now: datetime) -> None:
    """It is still there."""
    await session.execute(
        update(Screen).where(Screen.id == screen_id, Screen.closed_at.is_(None)).values(seen_at=now)
    )


async def screen_closed(session: AsyncSession, screen_id: int, now: datetime) -> None:
    """Its connection is gone; the row stays a while, for promise 6 counts from then."""
    await session.execute(
        update(Screen).where(Screen.id == screen_id, Screen.closed_at.is_(None)).values(closed_at=now)
    )


async def last_seen(session: AsyncSession, staff_ids: Collection[int]) -> dict[int, datetime]:
    """For each of these, when their workbench was last known to be open (none: never)."""
    found: dict[int, datetime] = {}
    if not staff_ids:
        return found
    rows = await session.execute(
        select(Screen.staff_id, Screen.seen_at, Screen.closed_at).where(Screen.staff_id.in_(staff_ids))
    )
    for row in rows.all():
        at = row.seen_at if row.closed_at is None else row.closed_at
        found[row.staff_id] = max(at, found.get(row.staff_id, at))
    return found


async def forget_screens(session: AsyncSession, now: datetime) -> int:
    """Drop rows of workbenches gone for more than a day."""
    gone = await session.scalars(
        delete(Screen).where(Screen.seen_at < now - timedelta(days=1)).returning(Screen.id)
    )
    return len(gone.all())
