"""Every change goes through here: many pieces of work share one commit, each in its own savepoint.

A commit costs a disk flush; at hundreds of messages a second one commit for each is the wall (docs/benchmarks.md). So whoever
has something to write hands in a function; the writer begins, runs what has gathered, commits, and only then lets them go on.
A piece that fails is rolled back to its savepoint and harms nobody else. Crisis work goes first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from bot.channels import StorageUnavailable
from bot.storage.engine import Engines, is_unavailable

T = TypeVar("T")
Work = Callable[[AsyncSession], Awaitable[T]]

log = structlog.get_logger(__name__)
_SHARE = 64  # pieces of work in one commit: bounds how long the first of them waits for the last


@dataclass(slots=True)
class _Job:
    work: Work[Any]
    done: asyncio.Future[Any]


class Writer:
    """Runs pieces of work in shared transactions. `lanes` transactions run at once: 1 on SQLite, more on PostgreSQL."""

    def __init__(self, engines: Engines, *, lanes: int | None = None) -> None:
        self._engines = engines
        self._lanes = lanes or (1 if engines.sqlite else 4)
        self._urgent: deque[_Job] = deque()
        self._usual: deque[_Job] = deque()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self._run(), name=f"writer-{n}") for n in range(self._lanes)]

    async def close(self) -> None:
        """Finish what was handed in, then stop."""
        self._closing = True
        self._wake.set()
        await asyncio.gather(*self._tasks)

    async def write(self, work: Work[T], *, urgent: bool = False) -> T:
        """Run `work(session)` and return its result after the commit.

        Raises what the work raised (nothing of it is kept), or StorageUnavailable when the database is locked, full or
        away. The work may be run a second time, alone, when a shared transaction failed: it must not keep state
        outside the session.
        """
        if self._closing:
            raise StorageUnavailable("closing")
        job = _Job(work, asyncio.get_running_loop().create_future())
        (self._urgent if urgent else self._usual).append(job)
        self._wake.set()
        result: T = await job.done
        return result

    async def _run(self) -> None:
        while True:
            jobs = self._gather()
            if jobs:
                await self._commit(jobs)
            elif self._closing:
                return
            else:
                self._wake.clear()
                await self._wake.wait()

    def _gather(self) -> list[_Job]:
        jobs: list[_Job] = []
        while len(jobs) < _SHARE and (self._urgent or self._usual):
            job = (self._urgent or self._usual).popleft()
            if not job.done.done():  # whoever asked may have gone
                jobs.append(job)
        return jobs

    async def _commit(self, jobs: list[_Job]) -> None:
        outcomes: list[tuple[_Job, Any, BaseException | None]] = []
        try:
            async with AsyncSession(
                self._engines.writing, expire_on_commit=False, autoflush=False
            ) as session:
                if len(jobs) == 1:
                    outcomes.append((jobs[0], await jobs[0].work(session), None))
                else:
                    for job in jobs:
                        outcomes.append(await self._in_savepoint(session, job))
                await session.commit()
        except BaseException as error:
            if isinstance(error, Exception) and len(jobs) > 1 and not is_unavailable(error):
                # Something only seen at commit (a broken reference): find out whose it was, alone each.
                for job in jobs:
                    await self._commit([job])
                return
            told = StorageUnavailable(type(error).__name__) if is_unavailable(error) else error
            if isinstance(told, StorageUnavailable):
                log.error("storage.unavailable", error=type(error).__name__, jobs=len(jobs))
            for job in jobs:
                if not job.done.done():
                    job.done.set_exception(told)
            if not isinstance(error, Exception):
                raise
            return
        for job, result, failure in outcomes:
            if job.done.done():
                continue
            if failure is not None:
                job.done.set_exception(failure)
            else:
                job.done.set_result(result)

    async def _in_savepoint(self, session: AsyncSession, job: _Job) -> tuple[_Job, Any, BaseException | None]:
        savepoint = await session.begin_nested()
        try:
            result = await job.work(session)
            await savepoint.commit()
        except Exception as error:
            if is_unavailable(error):
                raise
            await savepoint.rollback()
            return job, None, error
        return job, result, None
