"""Bells over many processes: Redis Streams with a consumer group, partitioned by conversation.

Each partition has an urgent and a usual stream. A worker leases partitions and is alone in reading them, so a conversation's bells are
handled in order; a dead worker's lease runs out after LEASE seconds, another takes the partition and claims the entries the
dead one had not acknowledged. Redis is only the bell: when it is lost, a worker hears its own rings, and the sweep, which reads the
database, rings for what others stored. Two workers may then look at the same conversation: the commit lets one of them answer.
News for screens goes by pub/sub.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from bot.events import MemoryBus, News
from bot.queue import Bell

log = structlog.get_logger(__name__)

_GROUP = "workers"
_LEASE = 10.0  # seconds; renewed three times as often
_KEEP = 10_000  # entries a stream keeps at most: bells beyond that are old
_BLOCK_MS = 200


class RedisQueue:
    """The bell of one process. `prefix` keeps several desks apart on one Redis."""

    def __init__(self, url: str, *, worker: str, partitions: int = 16, prefix: str = "qingting") -> None:
        self._redis: Redis = Redis.from_url(url, socket_timeout=5, socket_connect_timeout=2)
        self._worker = worker
        self._partitions = partitions
        self._prefix = prefix
        self._mine: set[int] = set()
        self._busy: set[int] = set()
        self._held: defaultdict[int, list[tuple[str, str]]] = defaultdict(
            list
        )  # conversation -> entries to acknowledge
        self._waiting: dict[bool, dict[int, None]] = {True: {}, False: {}}
        self._wake = asyncio.Event()
        self._closed = False
        self._tasks: list[asyncio.Task[None]] = []
        self._listening = False

    async def start(self) -> None:
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        self._wake.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(RedisError, OSError):
            for partition in self._mine:
                await self._release(partition)
            await self._redis.zrem(self._key("workers"), self._worker)
        await self._redis.aclose()

    async def ring(self, conversation_ids: Sequence[int], *, urgent: bool = False) -> None:
        if not conversation_ids:
            return
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for conversation_id in conversation_ids:
                    stream = self._stream(conversation_id % self._partitions, urgent)
                    _ = pipe.xadd(stream, {"c": str(conversation_id)}, maxlen=_KEEP, approximate=True)
                await pipe.execute()
        except (RedisError, OSError) as error:
            log.warning("queue.bell_lost", error=type(error).__name__, conversations=len(conversation_ids))
            if self._listening:
                for conversation_id in conversation_ids:
                    self._wait(conversation_id, urgent=urgent)
                self._wake.set()

    async def listen(self, *, most: int = 64) -> AsyncIterator[list[Bell]]:
        if not self._listening:
            self._listening = True
            self._tasks = [
                asyncio.create_task(self._keep_leases(), name="queue-leases"),
                asyncio.create_task(self._read(), name="queue-read"),
            ]
        while not self._closed:
            bells = self._take(most)
            if bells:
                yield bells
                continue
            self._wake.clear()
            await self._wake.wait()

    async def done(self, bells: Sequence[Bell]) -> None:
        entries = []
        for bell in bells:
            self._busy.discard(bell.conversation_id)
            if not any(bell.conversation_id in lane for lane in self._waiting.values()):
                entries += self._held.pop(bell.conversation_id, [])
        self._wake.set()
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for stream, entry in entries:
                    _ = pipe.xack(stream, _GROUP, entry)
                await pipe.execute()
        except (RedisError, OSError) as error:
            log.warning("queue.not_acknowledged", error=type(error).__name__, entries=len(entries))

    def _take(self, most: int) -> list[Bell]:
        for urgent in (True, False):
            lane = self._waiting[urgent]
            free = [c for c in lane if c not in self._busy][:most]
            if free:
                for conversation_id in free:
                    del lane[conversation_id]
                self._busy.update(free)
                return [Bell(c, urgent) for c in free]
        return []

    def _note(
        self, stream: str, entries: Sequence[tuple[bytes, dict[bytes, bytes] | None]], *, urgent: bool
    ) -> None:
        for entry, fields in entries:
            if not fields:
                continue  # trimmed meanwhile
            conversation_id = int(fields[b"c"])
            self._held[conversation_id].append((stream, entry.decode()))
            self._wait(conversation_id, urgent=urgent)
        if entries:
            self._wake.set()

    def _wait(self, conversation_id: int, *, urgent: bool) -> None:
        if urgent:
            self._waiting[False].pop(conversation_id, None)
        if conversation_id not in self._waiting[True]:
            self._waiting[urgent][conversation_id] = None

    async def _read(self) -> None:
        while not self._closed:
            if not self._mine:
                await asyncio.sleep(0.05)
                continue
            try:
                streams: dict[Any, Any] = {
                    self._stream(p, urgent): ">" for p in self._mine for urgent in (True, False)
                }
                found: Any = await self._redis.xreadgroup(
                    _GROUP, self._worker, streams, count=64, block=_BLOCK_MS
                )
                items = found.items() if isinstance(found, dict) else found or ()
                for name, entries in items:
                    stream = name.decode() if isinstance(name, bytes) else name
                    batch = entries[0] if entries and isinstance(entries[0], list) else entries
                    self._note(stream, batch, urgent=stream.endswith(":urgent"))
            except ResponseError as error:
                if "NOGROUP" in str(error):  # Redis was emptied: make the groups again
                    self._mine.clear()
                else:
                    log.warning("queue.read_failed", error="ResponseError")
                    await asyncio.sleep(0.5)
            except (RedisError, OSError) as error:
                log.warning("queue.read_failed", error=type(error).__name__)
                await asyncio.sleep(0.5)

    async def _keep_leases(self) -> None:
        while not self._closed:
            try:
                await self._share_out()
            except (RedisError, OSError) as error:
                log.warning("queue.leases_failed", error=type(error).__name__)
                self._mine.clear()  # without Redis we cannot know that we are alone
            await asyncio.sleep(_LEASE / 3 if self._mine else 0.2)

    async def _share_out(self) -> None:
        """Renew leases, give back what is more than our share, take what nobody has."""
        now = time.time()
        await self._redis.zadd(self._key("workers"), {self._worker: now})
        await self._redis.zremrangebyscore(self._key("workers"), 0, now - _LEASE)
        workers = max(1, int(await self._redis.zcard(self._key("workers"))))
        share = -(-self._partitions // workers)
        for partition in list(self._mine):
            if not await self._renew(partition):
                self._mine.discard(partition)
        while len(self._mine) > share:
            partition = self._mine.pop()
            await self._release(partition)
        for partition in range(self._partitions):
            if len(self._mine) >= share:
                break
            if partition not in self._mine and await self._lease(partition):
                await self._take_over(partition)
                self._mine.add(partition)

    async def _lease(self, partition: int) -> bool:
        key = self._key(f"lease:{partition}")
        return bool(await self._redis.set(key, self._worker, nx=True, px=int(_LEASE * 1000)))

    async def _renew(self, partition: int) -> bool:
        key = self._key(f"lease:{partition}")
        if await self._redis.get(key) != self._worker.encode():
            return False
        return bool(await self._redis.pexpire(key, int(_LEASE * 1000)))

    async def _release(self, partition: int) -> None:
        key = self._key(f"lease:{partition}")
        if await self._redis.get(key) == self._worker.encode():
            await self._redis.delete(key)

    async def _take_over(self, partition: int) -> None:
        """Make the groups where they are missing, and claim what the last holder left unacknowledged."""
        for urgent in (True, False):
            stream = self._stream(partition, urgent)
            try:
                await self._redis.xgroup_create(stream, _GROUP, id="0", mkstream=True)
            except ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise
            cursor: Any = "0-0"
            while True:
                cursor, entries, *_ = await self._redis.xautoclaim(
                    stream, _GROUP, self._worker, min_idle_time=0, start_id=cursor, count=256
                )
                self._note(stream, entries, urgent=urgent)
                if cursor in (b"0-0", "0-0"):
                    break

    def _stream(self, partition: int, urgent: bool) -> str:
        return self._key(f"bells:{partition}:{'urgent' if urgent else 'usual'}")

    def _key(self, name: str) -> str:
        return f"{self._prefix}:{name}"


class RedisBus:
    """News over Redis pub/sub; without Redis, news at least within this process."""

    def __init__(self, url: str, *, prefix: str = "qingting") -> None:
        self._redis: Redis = Redis.from_url(url, socket_connect_timeout=2)
        self._channel = f"{prefix}:news"
        self._local = MemoryBus()
        self._sending: asyncio.Queue[News] = asyncio.Queue(10_000)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        subscribed = asyncio.Event()
        self._tasks = [
            asyncio.create_task(self._send(), name="news-send"),
            asyncio.create_task(self._hear(subscribed), name="news-hear"),
        ]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3):
                await subscribed.wait()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._redis.aclose()

    def publish(self, news: News) -> None:
        if self._sending.full():
            self._sending.get_nowait()
        self._sending.put_nowait(news)

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[asyncio.Queue[News]]:
        async with self._local.listen() as queue:
            yield queue

    async def _send(self) -> None:
        while True:
            news = await self._sending.get()
            try:
                await self._redis.publish(self._channel, orjson.dumps(news.as_dict()))
            except (RedisError, OSError):
                self._local.publish(news)

    async def _hear(self, subscribed: asyncio.Event) -> None:
        while True:
            try:
                async with self._redis.pubsub() as pubsub:
                    await pubsub.subscribe(self._channel)
                    subscribed.set()
                    async for message in pubsub.listen():
                        if message["type"] == "message":
                            self._local.publish(News(**orjson.loads(message["data"])))
            except (RedisError, OSError) as error:
                log.warning("news.not_heard", error=type(error).__name__)
                await asyncio.sleep(0.5)
