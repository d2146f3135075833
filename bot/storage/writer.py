"""Every change goes through here: many pieces of work share one commit, each in its own savepoint.

A commit costs a disk flush; at hundreds of messages a second one commit for each is the wall (docs/benchmarks.md). So whoever
has something to write hands in a function; the writer begins, runs what has gathered, commits, and only then lets them go on.
When a piece fails, all are run again, each in its savepoint, so that it harms nobody else. Crisis work goes first.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from bot.channels import StorageUnavailable
from bot.storage.engine import TRANSACTION_SECONDS, Engines, is_unavailable, lost_race, waited_too_long

T = TypeVar("T")
Work = Callable[[AsyncSession], Awaitable[T]]

log = structlog.get_logger(__name__)
_SHARE = 64  # pieces of work in one commit: bounds how long the first of them waits for the last
_RACES = 10  # times a piece of work is run again after a deadlock


_Outcome = tuple[Any, Exception | None]  # result, or what the work raised


@dataclass(slots=True)
class _Job:
    work: Work[Any]
    done: asyncio.Future[Any]
    races_lost: int = 0


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
        away. The work may be run again when a shared transaction failed: what it keeps outside the session must not
        grow from one run to the next.
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
        """All in one transaction; when one fails, again with a savepoint for each."""
        try:
            try:
                outcomes = await self._transaction(jobs, apart=False)
            except Exception as error:
                if _is_everybodys(error) or len(jobs) == 1:
                    raise
                outcomes = await self._transaction(jobs, apart=True)
        except Exception as error:
            if is_unavailable(error):
                log.error("storage.unavailable", error=type(error).__name__, jobs=len(jobs))
                _refuse(jobs, StorageUnavailable(type(error).__name__))
            elif len(jobs) == 1:
                await self._again_or_refuse(jobs[0], error)
            else:  # seen only at the commit itself (a broken reference): find out whose it was
                for job in jobs:
                    await self._commit([job])
            return
        except BaseException as error:
            _refuse(jobs, error)
            raise
        for job, (result, failure) in zip(jobs, outcomes, strict=True):
            if failure is not None:
                await self._again_or_refuse(job, failure)
            elif not job.done.done():
                job.done.set_result(result)

    async def _again_or_refuse(self, job: _Job, error: Exception) -> None:
        """Two transactions that share their commit among many can wait for each other (PostgreSQL ends one of them):
        the loser runs again, alone. Every other failure is its caller's."""
        if not lost_race(error) or job.races_lost >= _RACES:
            _refuse([job], StorageUnavailable("waited") if waited_too_long(error) else error)
            return
        job.races_lost += 1
        await asyncio.sleep(random.uniform(0, 0.02 * job.races_lost))  # noqa: S311 (only to fall out of step)
        await self._commit([job])

    async def _transaction(self, jobs: list[_Job], *, apart: bool) -> list[_Outcome]:
        # SQLite's own time-out covers it, and its statements run in a thread that cannot be called off.
        async with (
            asyncio.timeout(None if self._engines.sqlite else TRANSACTION_SECONDS),
            AsyncSession(self._engines.writing, expire_on_commit=False, autoflush=False) as session,
        ):
            if apart:
                outcomes = [await self._in_savepoint(session, job) for job in jobs]
            else:
                outcomes = []
                for job in jobs:
                    outcomes.append((await job.work(session), None))
                    await session.flush()  # the next piece must see what this one wrote
            await session.commit()
            return outcomes

    async def _in_savepoint(self, session: AsyncSession, job: _Job) -> _Outcome:
        savepoint = await session.begin_nested()
        try:
            result = await job.work(session)
            await session.flush()
            await savepoint.commit()
        except Exception as error:
            if _is_everybodys(error):
                raise
            await savepoint.rollback()
            return None, error
        return result, None


def _is_everybodys(error: Exception) -> bool:
    """Whether a failure concerns all who share the commit; one that waited for a lock too long harms nobody else."""
    return is_unavailable(error) and not waited_too_long(error)


def _refuse(jobs: list[_Job], error: BaseException) -> None:
    for job in jobs:
        if not job.done.done():
            job.done.set_exception(error)
