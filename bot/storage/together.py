"""Many callers, one piece of work: what arrives while one is being written goes into the next.

On SQLite every statement crosses to the database's thread and back; at a thousand messages a second each caller cannot have
statements of its own. The work gets a list of items and returns a list of results in the same order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from bot.channels import StorageUnavailable

if TYPE_CHECKING:
    from bot.storage import Storage

A = TypeVar("A")
R = TypeVar("R")
SharedWork = Callable[[AsyncSession, Sequence[A]], Awaitable[Sequence[R]]]


class Together(Generic[A, R]):
    """Call it with one item; the result comes after the commit.

    Raises what the work raised for this item alone, or StorageUnavailable. An item that fails harms no other: after a
    failure each is tried alone. A broken uniqueness is tried twice: another process may have written meanwhile.
    """

    def __init__(
        self, storage: Storage, work: SharedWork[A, R], *, most: int = 256, urgent: bool = False
    ) -> None:
        self._storage = storage
        self._work = work
        self._most = most
        self._urgent = urgent
        self._waiting: list[tuple[A, asyncio.Future[R]]] = []
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, item: A) -> R:
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="together")
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._write(batch)
        finally:
            self._running = None

    async def _write(self, batch: list[tuple[A, asyncio.Future[R]]]) -> None:
        items = [item for item, _ in batch]
        try:
            results = await self._once_more(items)
        except StorageUnavailable as error:
            _refuse(batch, error)
        except Exception as error:
            if len(batch) == 1:
                _refuse(batch, error)
                return
            for single in batch:
                await self._write([single])
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)

    async def _once_more(self, items: Sequence[A]) -> Sequence[R]:
        try:
            return await self._storage.write(lambda session: self._work(session, items), urgent=self._urgent)
        except IntegrityError:
            return await self._storage.write(lambda session: self._work(session, items), urgent=self._urgent)


def _refuse(batch: Sequence[tuple[A, asyncio.Future[R]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
