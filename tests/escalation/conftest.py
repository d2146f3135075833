"""A small desk to test on: staff, open workbenches, persons who write, and a clock that only the test moves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bot.storage import Storage
from escalation import alerts, conversations, episodes, people, roster, staff
from escalation.alerts import Ring
from escalation.episodes import Raised
from escalation.policy import Policy
from escalation.privacy import Vault
from escalation.tables import Alert, AlertEvent, Contact, Conversation, Message, Person, Screen
from nlu.understanding import Risk

T = TypeVar("T")
START = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
HASH = "not used here"


@dataclass
class Desk:
    """The escalation room over a real database. `now` stands still until `later`."""

    storage: Storage
    vault: Vault = field(default_factory=lambda: Vault(bytes(range(32))))
    policy: Policy = field(default_factory=Policy)
    now: datetime = START
    made: int = 0

    async def do(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        return await self.storage.write(work)

    def later(self, **span: float) -> datetime:
        self.now += timedelta(**span)
        return self.now

    # --- staff

    async def member(
        self, role: str = "counsellor", *, rung: int | None = None, screen: bool = False, desk: str = "000000"
    ) -> int:
        """A member of staff, with a shift on `rung` and an open workbench if wanted."""
        self.made += 1
        login = f"{role}{self.made}"

        async def work(session: AsyncSession) -> int:
            one = await staff.create(
                session, login=login, name=login, role=role, desk=desk, password_hash=HASH, now=self.now
            )
            if rung is not None:
                end = self.now + timedelta(hours=20)
                await roster.add_shift(session, staff_id=one.id, rung=rung, starts_at=self.now, ends_at=end)
            return one.id

        member = await self.do(work)
        if screen:
            await self.screen(member)
        return member

    async def screen(self, staff_id: int) -> int:
        async def work(session: AsyncSession) -> int:
            return (await roster.screen_opened(session, staff_id, self.now)).id

        return await self.do(work)

    async def keep_screens(self) -> None:
        """Every open workbench says that it is still there."""
        await self.do(self._seen)

    async def _seen(self, session: AsyncSession) -> None:
        await session.execute(update(Screen).where(Screen.closed_at.is_(None)).values(seen_at=self.now))

    async def close_screen(self, screen_id: int) -> None:
        await self.do(lambda s: roster.screen_closed(s, screen_id, self.now))

    # --- persons

    async def conversation(
        self, *, risk: Risk = "none", state: str = "bot", channel: str = "webchat", address: str = ""
    ) -> int:
        self.made += 1

        async def work(session: AsyncSession) -> int:
            person, contact = await people.contact_for(
                session,
                self.vault,
                desk="000000",
                channel=channel,
                account="default",
                address=address or f"visitor-{self.made}",
                now=self.now,
            )
            row = Conversation(
                desk="000000",
                person_id=person.id,
                contact_id=contact.id,
                channel=channel,
                account="default",
                state=state,
                risk=risk,
                opened_at=self.now,
            )
            session.add(row)
            await session.flush()
            return row.id

        return await self.do(work)

    async def writes(self, conversation_id: int, words: str = "你好", *, state: str = "answered") -> int:
        """The person writes; stored and finished as `state`."""

        async def work(session: AsyncSession) -> int:
            row = await conversations.locked(session, conversation_id)
            person = await session.get_one(Person, row.person_id)
            key = self.vault.person_key(person.data_key)
            self.made += 1
            message = Message(
                conversation_id=row.id,
                direction="in",
                author="person",
                kind="text",
                dedupe_hash=self.vault.fingerprint("message", str(self.made)),
                text_sealed=key.seal(words, "message.text"),
                state=state,
                received_at=self.now,
            )
            session.add(message)
            conversations.heard(row, self.now)
            await session.flush()
            return message.id

        return await self.do(work)

    async def danger(self, conversation_id: int, level: Risk = "critical", *kinds: str) -> Raised:
        """The person writes something dangerous."""

        async def work(session: AsyncSession) -> Raised:
            row = await conversations.locked(session, conversation_id)
            conversations.heard(row, self.now)
            return await episodes.raise_risk(
                session, row, level=level, kinds=kinds or ("suicide",), now=self.now, policy=self.policy
            )

        return await self.do(work)

    async def queued(self, conversation_id: int, reason: str = "asked") -> None:
        async def work(session: AsyncSession) -> None:
            row = await conversations.locked(session, conversation_id)
            await conversations.to_queue(session, row, reason=reason, now=self.now)

        await self.do(work)

    # --- what happens

    async def climb(self, *, screens_live: bool = False) -> list[Ring]:
        """One turn of the handle, as bot/ladder.py does it."""

        async def work(session: AsyncSession) -> list[Ring]:
            rings: list[Ring] = []
            if screens_live:
                await self._seen(session)
            duty = await roster.on_duty(session, self.now, "000000")
            for alert in await alerts.due(session, self.now):
                rings += await alerts.step(session, alert, duty, self.now, self.policy)
            return rings

        return await self.do(work)

    async def rung_over(self, minutes: float, *, every: float = 30.0) -> list[tuple[float, tuple[int, ...]]]:
        """Climb every `every` seconds for some minutes: [(minute since now, rungs rung)], screens kept open."""
        start, seen = self.now, []
        while self.now < start + timedelta(minutes=minutes):
            rings = await self.climb(screens_live=True)
            if rings:
                seen.append(((self.now - start).total_seconds() / 60, tuple(r.rung for r in rings)))
            self.later(seconds=every)
        return seen

    async def get(self, conversation_id: int) -> Conversation:
        async with self.storage.read() as session:
            return await session.get_one(Conversation, conversation_id)

    async def row(self, table: type[Any], row_id: int) -> Any:
        async with self.storage.read() as session:
            return await session.get_one(table, row_id)

    async def all(self, table: type[Any]) -> Sequence[Any]:
        async with self.storage.read() as session:
            return (await session.scalars(select(table).order_by(table.id))).all()

    async def alert(self, conversation_id: int) -> Alert:
        """The conversation's only alert."""
        async with self.storage.read() as session:
            return (
                await session.scalars(select(Alert).where(Alert.conversation_id == conversation_id))
            ).one()

    async def events(self) -> list[tuple[str, int | None]]:
        return [(e.what, e.rung) for e in await self.all(AlertEvent)]

    async def contact(self, conversation_id: int) -> Contact:
        async with self.storage.read() as session:
            row = await session.get_one(Conversation, conversation_id)
            return await session.get_one(Contact, row.contact_id)


@pytest.fixture
def desk(storage: Storage) -> Desk:
    return Desk(storage)
