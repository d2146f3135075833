"""What texts may say about the desk at this moment: its numbers, its hours, and who is there."""

from __future__ import annotations

from datetime import datetime, time
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from bot.settings import Desk
from escalation import roster
from handlers.turn import DeskView


class DeskNow:
    """Builds the DeskView of a moment. Whether somebody is on duty is looked up once a second at most."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._zone = ZoneInfo(desk.timezone)
        self._night = time.fromisoformat(desk.night_from), time.fromisoformat(desk.night_to)
        self._looked_at: datetime | None = None
        self._on_duty = False

    async def view(self, session: AsyncSession, now: datetime) -> DeskView:
        """The desk as seen at `now`."""
        if self._looked_at is None or abs((now - self._looked_at).total_seconds()) >= 1:
            self._on_duty = (await roster.on_duty(session, now, self._desk.id)).somebody_there
            self._looked_at = now
        return self.without_roster(now)

    def without_roster(self, now: datetime) -> DeskView:
        """The same with what was known of the roster last: where the database cannot be asked."""
        return DeskView(
            name=self._desk.name,
            numbers=self._desk.numbers,
            hours=self._desk.hours.text,
            night=self.is_night(now),
            human_on_duty=self._on_duty,
        )

    def is_night(self, now: datetime) -> bool:
        """Night by the desk's own clock; the span may cross midnight."""
        at, (begins, ends) = now.astimezone(self._zone).time(), self._night
        return begins <= at < ends if begins <= ends else at >= begins or at < ends
