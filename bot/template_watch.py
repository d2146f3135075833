"""Keeps the texts the pipeline speaks with up to date: read at start, and again when two people changed one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.events import News
from bot.shell import Shell
from escalation.tables import TemplateText
from handlers.templates import Edited, Templates, check

if TYPE_CHECKING:
    from bot.pipeline import Pipeline

log = structlog.get_logger(__name__)


class TemplateWatch:
    """One per process with workers."""

    def __init__(self, shell: Shell, pipeline: Pipeline) -> None:
        self._shell = shell
        self._pipeline = pipeline
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.read()
        ready = asyncio.Event()
        self._task = asyncio.create_task(self._watch(ready), name="templates")
        await ready.wait()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def read(self) -> None:
        """Take the newest approved version of each text into use."""
        async with self._shell.storage.read() as session:
            self._pipeline.texts = await approved_texts(session)

    async def _watch(self, ready: asyncio.Event) -> None:
        async with self._shell.bus.listen() as news:
            ready.set()
            while True:
                item: News = await news.get()
                if item.what == "template":
                    try:
                        await self.read()
                    except Exception as error:  # the texts in force stay; the next change is heard again
                        log.error("template.not_read", error=type(error).__name__)


async def approved_texts(session: AsyncSession) -> Templates:
    """The texts in force: the newest approved version of each that was changed, the shipped ones below."""
    rows = await session.scalars(
        select(TemplateText).where(TemplateText.state == "approved").order_by(TemplateText.version)
    )
    edited = {row.key: Edited(row.version, row.text) for row in rows}
    for key, text in edited.items():
        if check(key, text.text):
            log.warning("template.broken", key=key, version=text.version)
    return Templates(edited)
