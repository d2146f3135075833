"""A real workbench server on a real port over a real database, with browsers of several staff members."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from aiohttp import ClientResponse, ClientSession, ClientWebSocketResponse, CookieJar, web
from aiohttp.test_utils import TestServer
from argon2 import PasswordHasher
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from bot import outbox
from bot.brain import LookedUp
from bot.events import MemoryBus
from bot.outbox import OutboxService
from bot.settings import Settings
from bot.shell import SHELL, Shell
from bot.storage import Storage
from bot.storage.migrations import METADATA
from bot.web import api, pages
from escalation import conversations, episodes, people, records, staff
from escalation.policy import Policy
from escalation.privacy import Vault
from escalation.tables import Conversation, Message, Person, Record, Screen, Staff
from knowledge.library import Library
from nlu.understanding import Risk

PASSWORD = "月光下的白桦林-27"
KEY = bytes(range(32))


@cache
def password_hash() -> str:
    """argon2id is slow on purpose; the tests' own password is hashed with less work."""
    return PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)


@dataclass(slots=True)
class Browser:
    """One staff member's browser: a cookie jar of its own and the CSRF token of its session."""

    http: ClientSession
    base: str
    csrf: str = ""
    me: dict[str, Any] = field(default_factory=dict)

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> ClientResponse:
        headers = {"X-CSRF-Token": self.csrf} | more.pop("headers", {})
        if body is not None:
            more["json"] = body
        answer = await self.http.request(method, f"{self.base}/api{path}", headers=headers, **more)
        await answer.read()
        return answer

    async def get(self, path: str, status: int = 200, **more: Any) -> Any:
        return await self._json(await self.ask("GET", path, **more), status)

    async def post(self, path: str, body: Any = None, status: int = 200, **more: Any) -> Any:
        return await self._json(await self.ask("POST", path, body, **more), status)

    async def _json(self, answer: ClientResponse, status: int) -> Any:
        assert answer.status == status, (answer.status, await answer.text())
        return await answer.json()

    async def sign_in(self, login: str, password: str = PASSWORD, status: int = 200) -> Any:
        said = await self.post("/login", {"login": login, "password": password}, status)
        if status == 200:
            self.me, self.csrf = said, said["csrf_token"]
        return said

    async def live(self) -> ClientWebSocketResponse:
        return await self.http.ws_connect(f"{self.base}/api/live")


class Librarian:
    """Looks questions up as the understanding processes do, in this process: they have tests of their own."""

    async def look_up(self, question: str, **hints: Any) -> LookedUp:
        limit = hints.pop("limit", 5)
        return LookedUp(
            library().answer(question, **hints), tuple(library().candidates(question, limit=limit))
        )


@cache
def library() -> Library:
    return Library.load()


@dataclass(slots=True)
class Workbench:
    shell: Shell
    base: str
    stack: AsyncExitStack
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    later: timedelta = timedelta()

    def now(self) -> datetime:
        """A clock that only the test moves: waits do not run out while a slow machine works."""
        return self.started + self.later

    async def browser(self) -> Browser:
        http = ClientSession(cookie_jar=CookieJar(unsafe=True))
        self.stack.push_async_callback(http.close)
        return Browser(http, self.base)

    async def hire(self, login: str, role: str, *, name: str = "", must_change: bool = False) -> Staff:
        async def work(session: AsyncSession) -> Staff:
            return await staff.create(
                session,
                login=login,
                name=name or login,
                role=role,
                desk=self.shell.settings.desk.id,
                password_hash=password_hash(),
                now=self.now(),
                must_change_password=must_change,
            )

        return await self.shell.storage.write(work)

    async def at_work(self, login: str, role: str = "counsellor", *, name: str = "") -> Browser:
        """A new staff member, signed in."""
        await self.hire(login, role, name=name)
        browser = await self.browser()
        await browser.sign_in(login)
        return browser

    async def contact(
        self,
        *words: str,
        channel: str = "webchat",
        address: str = "visitor-1",
        risk: Risk = "none",
        state: str = "queued",
    ) -> int:
        """Somebody wrote these words and waits in the queue; returns the conversation's id."""
        shell = self.shell

        async def work(session: AsyncSession) -> int:
            person, contact = await people.contact_for(
                session,
                shell.vault,
                desk=shell.settings.desk.id,
                channel=channel,
                account="default",
                address=address,
                now=self.now(),
            )
            conversation = Conversation(
                desk=person.desk,
                person_id=person.id,
                contact_id=contact.id,
                channel=channel,
                account="default",
                state="bot",
                risk="none",
                opened_at=self.now(),
            )
            session.add(conversation)
            await session.flush()
            for text in words:
                self._hear(session, person, conversation, text, risk)
            if state == "queued":
                await conversations.to_queue(session, conversation, reason="asked", now=self.now())
            if risk in ("high", "critical"):
                await episodes.raise_risk(
                    session, conversation, level=risk, kinds=("suicide",), now=self.now(), policy=Policy()
                )
            await session.flush()
            return conversation.id

        return await shell.storage.write(work)

    def _hear(
        self, session: AsyncSession, person: Person, conversation: Conversation, text: str, risk: Risk
    ) -> None:
        key = self.shell.vault.person_key(person.data_key)
        understood = {
            "risk": risk,
            "kinds": ["suicide"] if risk in ("high", "critical") else [],
            "spans": [{"start": 0, "end": min(2, len(text)), "reason": "试验标记"}] if risk != "none" else [],
        }
        session.add(
            Message(
                conversation_id=conversation.id,
                direction="in",
                author="person",
                kind="text",
                text_sealed=key.seal(text, "message.text"),
                understanding_sealed=key.seal(orjson.dumps(understood).decode(), "message.understanding"),
                state="queued",
                risk=risk,
                received_at=self.now(),
            )
        )
        conversation.last_inbound_at = self.now()

    async def write(self, work: Any) -> Any:
        return await self.shell.storage.write(work)

    async def rows(self, table: type[Any], *where: Any) -> list[Any]:
        async with self.shell.storage.read() as session:
            return list(await session.scalars(select(table).where(*where).order_by(table.id)))

    async def seen_lately(self) -> bool:
        """Whether a screen gave a sign of life in the last minute."""
        return any(s.seen_at > self.now() - timedelta(minutes=1) for s in await self.rows(Screen))

    async def until(self, condition: Callable[[], Awaitable[Any]], *, within: float = 5) -> None:
        """Wait for something to become true; fails the test when it does not."""
        async with asyncio.timeout(within):
            while not await condition():
                await asyncio.sleep(0.02)

    async def acts(self, action: str) -> list[Record]:
        return await self.rows(Record, Record.action == action)


async def _sqlite(stack: AsyncExitStack, folder: Path) -> Storage:
    storage = Storage(f"sqlite:///{folder / 'desk.db'}")
    async with storage.engines.writing.begin() as connection:
        for tables in METADATA:
            await connection.run_sync(tables.create_all)
    await storage.start()
    stack.push_async_callback(storage.close)
    return storage


@asynccontextmanager
async def workbench(
    place: Path | Storage, *, more: Callable[[web.Application], None] | None = None, **sections: Any
) -> AsyncIterator[Workbench]:
    """Everything up; ends with the block. `place`: a folder for an SQLite database, or a started storage. `more` adds
    routes; `sections`: settings that differ from the defaults."""
    async with AsyncExitStack() as stack:
        storage = await _sqlite(stack, place) if isinstance(place, Path) else place
        vault, bus = Vault(KEY), MemoryBus()
        bench = Workbench(None, "", stack)  # type: ignore[arg-type]
        service = OutboxService(storage, vault, bus, process="test", clock=bench.now)
        await service.start()
        stack.push_async_callback(service.close)
        shell = Shell(
            settings=Settings(**sections),
            storage=storage,
            vault=vault,
            inbox=None,  # type: ignore[arg-type]
            outbox=service,
            brain=Librarian(),  # type: ignore[arg-type]
            bus=bus,
            clock=bench.now,
        )
        bench.shell = shell
        app = web.Application()
        app[SHELL] = shell
        if more is not None:
            more(app)
        api.setup(app, shell)
        pages.setup(app, shell)
        server = TestServer(app)
        await server.start_server(shutdown_timeout=0.2)
        stack.push_async_callback(server.close)
        bench.base = f"http://127.0.0.1:{server.port}"
        yield bench


__all__ = ["PASSWORD", "Browser", "Workbench", "outbox", "records", "workbench"]
