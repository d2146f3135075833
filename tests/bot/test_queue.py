"""One conformance suite over both queues: a bell is heard, one conversation is with one worker at a time, urgent goes first,
a dead worker's bells are claimed, and a lost queue loses nothing but the bell."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable

import pytest

from bot.queue import Bell, Queue
from bot.queue.memory import MemoryQueue

REDIS = "redis://127.0.0.1:6379/0"


def redis_there() -> bool:
    import redis

    try:
        return bool(redis.Redis.from_url(REDIS, socket_connect_timeout=0.5).ping())
    except redis.exceptions.RedisError:
        return False


Make = Callable[[], Queue]


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    made: list[Queue] = []
    if request.param == "memory":
        queue = MemoryQueue()

        def build() -> Queue:
            return queue
    else:
        if not redis_there():
            pytest.skip("no Redis on 127.0.0.1:6379")
        from bot.queue.redis import RedisQueue

        prefix = f"qt-test-{secrets.token_hex(4)}"

        def build() -> Queue:
            made.append(RedisQueue(REDIS, worker=secrets.token_hex(4), partitions=4, prefix=prefix))
            return made[-1]

    yield build
    for queue_ in made:
        await queue_.close()
    if made:
        from redis.asyncio import Redis

        async with Redis.from_url(REDIS) as client:
            async for key in client.scan_iter(f"{prefix}:*"):
                await client.delete(key)


async def take(bells: AsyncIterator[list[Bell]], within: float = 5.0) -> list[Bell]:
    return await asyncio.wait_for(anext(bells), within)


async def test_what_rings_is_heard_once(make: Make) -> None:
    queue = make()
    await queue.start()
    await queue.ring([11, 12, 11])
    bells = queue.listen()
    heard: list[Bell] = []
    while len(heard) < 2:
        some = await take(bells)
        heard += some
        await queue.done(some)
    assert sorted(b.conversation_id for b in heard) == [11, 12]
    with pytest.raises(TimeoutError):
        await take(bells, within=0.6)
    await queue.close()


async def test_a_conversation_in_hand_is_given_to_nobody_else_and_rings_again_afterwards(make: Make) -> None:
    queue = make()
    await queue.start()
    bells = queue.listen()
    await queue.ring([7])
    first = await take(bells)
    await queue.ring([7])
    await queue.ring([8])
    second = await take(bells)
    assert [b.conversation_id for b in second] == [8]
    await queue.done(first)
    third = await take(bells)
    assert [b.conversation_id for b in third] == [7]
    await queue.done(second + third)
    await queue.close()


async def test_urgent_bells_come_before_usual_ones_and_never_in_one_list(make: Make) -> None:
    queue = make()
    await queue.start()
    bells = queue.listen()
    await queue.ring([1])
    await queue.done(await take(bells))  # the reader is awake and has its partitions
    await queue.ring([20, 24, 28])
    await queue.ring([32], urgent=True)
    await asyncio.sleep(0.4)
    first = await take(bells)
    assert [(b.conversation_id, b.urgent) for b in first] == [(32, True)]
    rest = await take(bells)
    assert {b.conversation_id for b in rest} == {20, 24, 28}
    assert not any(b.urgent for b in rest)
    await queue.close()


async def test_an_urgent_ring_lifts_a_waiting_conversation(make: Make) -> None:
    queue = make()
    await queue.start()
    await queue.ring([40, 44])
    await queue.ring([44], urgent=True)
    bells = queue.listen()
    first = await take(bells)
    second = await take(bells)
    assert {b.conversation_id for b in first} | {b.conversation_id for b in second} == {40, 44}
    await queue.done(first + second)
    await queue.close()


@pytest.mark.redis
async def test_a_dead_workers_bells_are_claimed_by_another() -> None:
    if not redis_there():
        pytest.skip("no Redis on 127.0.0.1:6379")
    from redis.asyncio import Redis

    from bot.queue.redis import RedisQueue

    prefix = f"qt-test-{secrets.token_hex(4)}"
    dead = RedisQueue(REDIS, worker="dead", partitions=2, prefix=prefix)
    await dead.start()
    await dead.ring([5])
    assert [b.conversation_id for b in await take(dead.listen())] == [5]
    for task in dead._tasks:  # dies: nothing is acknowledged, no lease given back
        task.cancel()
    async with Redis.from_url(REDIS) as client:
        for partition in (0, 1):  # its leases run out
            await client.delete(f"{prefix}:lease:{partition}")
        await client.zrem(f"{prefix}:workers", "dead")
        heir = RedisQueue(REDIS, worker="heir", partitions=2, prefix=prefix)
        await heir.start()
        bells = await take(heir.listen())
        assert [b.conversation_id for b in bells] == [5]
        await heir.done(bells)
        await heir.close()
        with contextlib.suppress(Exception):
            await dead._redis.aclose()
        async for key in client.scan_iter(f"{prefix}:*"):
            await client.delete(key)


@pytest.mark.redis
async def test_without_redis_ringing_never_raises() -> None:
    from bot.queue.redis import RedisQueue

    queue = RedisQueue("redis://127.0.0.1:1/0", worker="w", prefix="qt-none")
    await queue.start()
    await queue.ring([1, 2], urgent=True)
    await queue.close()


async def test_a_worker_without_redis_hears_its_own_rings() -> None:
    """The sweep rings for what waits in the database: danger does not wait until Redis is back."""
    from bot.queue.redis import RedisQueue

    queue = RedisQueue("redis://127.0.0.1:1/0", worker="w", prefix="qt-none")
    await queue.start()
    bells = queue.listen()
    hearing = asyncio.create_task(take(bells))
    await asyncio.sleep(0.05)
    await queue.ring([1])
    await queue.ring([1, 2], urgent=True)
    first = await hearing
    assert {(b.conversation_id, b.urgent) for b in first} <= {(1, False), (1, True), (2, True)}
    await queue.done(first)
    heard = {b.conversation_id for b in first}
    while heard != {1, 2}:
        more = await take(bells)
        heard |= {b.conversation_id for b in more}
        await queue.done(more)
    await queue.close()
