"""Promises 1 to 3 under kill -9: what was acknowledged is there, has its effects once, in order, and providers see a text twice
only when its send was in flight at the moment of death. Once as a county runs it (SQLite, everything in one process) and once as a
province does (PostgreSQL and Redis).

A few runs here; `make soak` does fifty, in pieces (soak.py).
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from bot import keys
from bot.audit import audit
from bot.settings import StorageSection
from bot.simulate.sms import SmsCentre
from bot.simulate.wechat import WechatPlatform
from bot.storage.engine import Engines
from bot.tables import Delivery
from escalation.people import contact_hash
from escalation.privacy import Vault
from escalation.tables import Contact, Conversation, Message
from tests.service import RunningService, merged

RUNS = int(os.environ.get("QINGTING_KILL_RUNS", "0"))  # 0: a few, for every day
MESSAGES = int(os.environ.get("QINGTING_KILL_MESSAGES", "200"))
SEED = int(os.environ.get("QINGTING_KILL_SEED", str(secrets.randbelow(10**6))))
REPORT = os.environ.get("QINGTING_KILL_REPORT", "")  # a file that gets one line of JSON for each piece
SENDERS = 20
WORDS = ("老板拖欠我工资怎么办", "你好", "你们几点有人", "收费吗", "我会被家长知道吗", "谢谢")


class CountingCentre(SmsCentre):
    """An SMS centre that also counts how often each of our deliveries arrived, key or no key."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.arrived: Counter[str] = Counter()

    def _take(self, fields: dict[str, Any]) -> web.Response:
        self.arrived[str(fields.get("id"))] += 1
        return super()._take(fields)


@dataclass(frozen=True)
class Place:
    """Where the service keeps its data. `settles`: seconds within which all must have ended after the last death; on a server an
    attempt that nobody confirmed is given up only after a minute, since another process could still be making it."""

    name: str
    url: str
    settings: dict[str, Any]
    runs: int
    settles: float


@pytest.fixture(params=["county", pytest.param("province", marks=[pytest.mark.postgres, pytest.mark.redis])])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "county":
        return Place("county", f"sqlite:///{tmp_path}/qingting.db", {}, RUNS or 3, settles=90)
    url, redis = (request.getfixturevalue(name) for name in ("empty_postgres_url", "redis_url"))
    settings = {"storage": {"url": url}, "queue": {"kind": "redis", "url": redis}}
    return Place("province", url, settings, RUNS or 2, settles=180)


@dataclass
class World:
    """The service, its providers and what was acknowledged to whom: (channel, account, sender, provider's id)."""

    place: Place
    service: RunningService
    wechat: WechatPlatform
    sms: CountingCentre
    http: aiohttp.ClientSession
    dice: random.Random = field(default_factory=lambda: random.Random(SEED))
    deaths: Counter[str] = field(default_factory=Counter)  # what was under way -> in how many deaths
    acknowledged: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    in_flight: set[int] = field(default_factory=set)
    web_tokens: dict[str, str] = field(default_factory=dict)


async def _send_web(world: World, sender: str, message_id: str, text: str) -> bool:
    base = f"{world.service.base}/chat/api"
    if sender not in world.web_tokens:
        async with world.http.post(f"{base}/session", json={}) as answer:
            if answer.status != 201:
                return False
            world.web_tokens[sender] = (await answer.json())["token"]
    headers = {"Authorization": f"Bearer {world.web_tokens[sender]}"}
    async with world.http.post(
        f"{base}/send", json={"id": message_id, "text": text}, headers=headers
    ) as answer:
        return answer.status == 200


async def _send_sms(world: World, sender: str, message_id: str, text: str) -> bool:
    body = orjson.dumps({"id": message_id, "from": sender, "text": text})
    headers = {"Content-Type": "application/json", **world.sms.proof(body)}
    async with world.http.post(f"{world.service.base}/sms/default", data=body, headers=headers) as answer:
        return answer.status == 200


async def _send_wechat(world: World, sender: str, message_id: str, text: str) -> bool:
    person = world.wechat.person(sender)
    person.window_until, person.window_left = world.wechat.clock() + 48 * 3600, 5
    delivery = await world.wechat.deliver(
        {
            "ToUserName": world.wechat.account_name,
            "FromUserName": sender,
            "CreateTime": str(int(world.wechat.clock())),
            "MsgType": "text",
            "Content": text,
            "MsgId": message_id,
        }
    )
    if delivery.status == 200 and delivery.reply is not None:
        person.seen.append(("passive", delivery.reply))
    return delivery.status == 200


Send = Callable[[World, str, str, str], Awaitable[bool]]


async def _talk(world: World, send: Send, sender: str, count: int) -> None:
    """One person's messages in order; each is offered again, as a provider does, until it is acknowledged."""
    for _ in range(count):
        message_id = str(10**17 + secrets.randbelow(10**17))
        text = world.dice.choice(WORDS)
        while True:
            with suppress(aiohttp.ClientError, TimeoutError, ConnectionError):
                if await send(world, sender, message_id, text):
                    world.acknowledged[sender].append(message_id)
                    break
            await asyncio.sleep(0.1)


def _acknowledged(world: World) -> int:
    return sum(len(ids) for ids in world.acknowledged.values())


async def _kill_and_look(world: World) -> None:
    """The death comes after a random number of this run's messages, so that others are always on their way."""
    enough = _acknowledged(world) + world.dice.randrange(MESSAGES * 4 // 5)
    async with asyncio.timeout(60):
        while _acknowledged(world) < enough:
            await asyncio.sleep(0.005)
    await asyncio.sleep(world.dice.uniform(0, 0.05))
    await world.service.kill()
    engines = Engines(world.place.url)
    async with engines.read() as session:
        attempts = (
            await session.execute(select(Delivery.id, Delivery.via).where(Delivery.state == "attempting"))
        ).all()
        world.in_flight |= {delivery_id for delivery_id, _ in attempts}
        world.deaths.update(await _under_way(session, world, {str(via) for _, via in attempts}))
    await engines.close()
    await world.service.start()


async def _under_way(session: AsyncSession, world: World, attempts: set[str]) -> set[str]:
    """What the death interrupted, as the database shows it."""
    stored = await session.scalar(select(func.count()).where(Message.direction == "in"))
    found = {
        "stored, not yet acknowledged": stored > _acknowledged(world),
        "stored, not yet answered": await session.scalar(
            select(Message.id).where(Message.state == "received").limit(1)
        ),
        "answered, not yet sent": await session.scalar(_UNSENT.where(Delivery.state == "pending")),
        "a send in flight": "push" in attempts,
        "a reply in a webhook's own answer": "passive" in attempts,
    }
    return {point for point, here in found.items() if here} or {"nothing"}


_UNSENT = select(Delivery.id).where(Delivery.channel != "webchat").limit(1)  # no page fetches replies here


async def test_killed_at_random_points_nothing_acknowledged_is_lost_and_effects_happen_once(
    tmp_path: Path, place: Place
) -> None:
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        wechat, sms = WechatPlatform(patience=20), CountingCentre(receipts=False)
        stack.push_async_callback(wechat.close)
        stack.push_async_callback(sms.close)
        service = RunningService(tmp_path, merged(await _providers(wechat, sms), place.settings))
        wechat.webhook, sms.webhook = f"{service.base}/wechat/default", f"{service.base}/sms/default"
        await service.start()
        stack.push_async_callback(service.stop)
        timeout = aiohttp.ClientTimeout(20)
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        world = World(place, service, wechat, sms, http)
        for run in range(place.runs):
            talks = [
                asyncio.create_task(_talk(world, send, who, MESSAGES // SENDERS))
                for send, who in _senders(world, run)
            ]
            await _kill_and_look(world)
            async with asyncio.timeout(120):
                await asyncio.gather(*talks)
        await _settled(world)
        figures = await _check(world)
    if REPORT:
        _report(figures | {"seconds": round(time.monotonic() - began)})


def _report(figures: dict[str, Any]) -> None:
    with Path(REPORT).open("ab") as report:
        report.write(orjson.dumps(figures) + b"\n")


async def _providers(wechat: WechatPlatform, sms: SmsCentre) -> dict[str, Any]:
    api, send_url = await wechat.start(), await sms.start()
    account = {
        "app_id": wechat.app_id, "token": wechat.token, "encoding_aes_key": wechat.aes_key,
        "app_secret": wechat.app_secret, "api_base": api,
    }  # fmt: skip
    return {"wechat": [account], "sms": [{"secret": sms.secret, "send_url": send_url}]}


def _senders(world: World, run: int) -> list[tuple[Send, str]]:
    """New persons for each run, over all channels."""
    senders: list[tuple[Send, str]] = []
    for n in range(SENDERS):
        if n % 3 == 0:
            senders.append((_send_web, f"web-{run}-{n}"))
        elif n % 3 == 1:
            number = f"199{run:03d}{n:05d}"
            world.sms.telephone(number)
            senders.append((_send_sms, number))
        else:
            senders.append((_send_wechat, f"o{run:04d}{n:04d}x"))
    return senders


async def _settled(world: World) -> None:
    """Until nothing waits any more (web replies stay pending: no page fetches them here)."""
    engines = Engines(world.place.url)
    async with asyncio.timeout(world.place.settles):
        while True:
            async with engines.read() as session:
                unfinished = await session.scalar(
                    select(Message.id).where(Message.state == "received").limit(1)
                )
                unsent = await session.scalar(_UNSENT.where(Delivery.state.in_(("pending", "attempting"))))
            if unfinished is None and unsent is None:
                break
            await asyncio.sleep(0.3)
    await engines.close()


async def _check(world: World) -> dict[str, Any]:
    """Every promise of this file, for all runs together; the figures of the piece."""
    vault = keys.load(StorageSection(master_key_file=world.service.folder / "master.key"))
    engines = Engines(world.place.url)
    async with engines.read() as session:
        found = await audit(session)
        assert found.agree
        assert found.inbound["received"] == found.inbound["failed"] == 0
        total = _acknowledged(world)
        assert total == world.place.runs * MESSAGES
        assert found.total_in == total, "each message is stored once, however often it was offered"
        await _check_threads(session, world, vault)
        await _check_pages(world)
        twice = await _check_providers(session, world, vault)
    await engines.close()
    return {
        "place": world.place.name, "seed": SEED, "runs": world.place.runs, "acknowledged": total,
        "stored": found.total_in, "ended": found.inbound, "sends": found.outbound, "deaths": world.deaths,
        "in_flight": len(world.in_flight), "twice": twice, "lost": total - found.total_in,
    }  # fmt: skip


async def _check_threads(session: AsyncSession, world: World, vault: Vault) -> None:
    """Every acknowledged message of every sender, in the order sent, each answered once and in that order."""
    turns = defaultdict(set)  # the moments at which each message was answered: one turn is one moment
    for reply_to, at in await session.execute(
        select(Message.reply_to, Message.received_at).where(
            Message.direction == "out", Message.reply_to.is_not(None)
        )
    ):
        turns[reply_to].add(at)
    assert all(len(moments) == 1 for moments in turns.values()), "a message was answered twice"
    assert turns, "nothing was answered at all"
    for sender, ids in world.acknowledged.items():
        if sender.startswith("web-"):
            continue  # the visitor's address is derived from the token: _check_pages
        channel = "sms" if sender.startswith("199") else "wechat"
        contact = await session.scalar(
            select(Contact.id).where(Contact.address_hash == contact_hash(vault, channel, "default", sender))
        )
        rows = list(
            await session.scalars(
                select(Message)
                .join(Conversation, Conversation.id == Message.conversation_id)
                .where(Conversation.contact_id == contact, Message.direction == "in")
                .order_by(Message.id)
            )
        )
        keys_sent = [vault.fingerprint("message", channel, "default", sender, i) for i in ids]
        assert [r.dedupe_hash for r in rows] == keys_sent, "stored in the order in which they were sent"
        finished = [r.finished_at for r in rows]
        assert finished == sorted(finished), "answered in that order"


async def _check_pages(world: World) -> None:
    """What the visitors' pages show: every message once and in order, and answers between them."""
    for sender, token in world.web_tokens.items():
        async with world.http.post(
            f"{world.service.base}/chat/api/poll",
            json={"after": "0"},
            headers={"Authorization": f"Bearer {token}"},
        ) as answer:
            assert answer.status == 200
            shown = (await answer.json())["messages"]
        assert [m["client_id"] for m in shown if m["from"] == "me"] == world.acknowledged[sender]
        assert any(m["from"] == "bot" for m in shown)


async def _check_providers(session: AsyncSession, world: World, vault: Vault) -> dict[str, int]:
    """What providers were given: all that counts as sent, and nothing twice but what was in flight at a death. How much was."""
    rows = (
        await session.execute(
            select(Delivery.id, Delivery.contact_id, Delivery.channel, Delivery.state).where(
                Delivery.channel != "webchat"
            )
        )
    ).all()
    assert {state for *_, state in rows} <= {"sent", "delivered", "unknown"}
    unknown = {delivery_id for delivery_id, *_, state in rows if state == "unknown"}
    assert unknown <= world.in_flight, "a send is in doubt that no death interrupted"
    arrived = {int(delivery_id) for delivery_id in world.sms.arrived}
    sent = {i for i, _, channel, state in rows if channel == "sms" and state != "unknown"}
    assert sent <= arrived, "an SMS counts as sent and never reached the provider"
    again = {int(i) for i, count in world.sms.arrived.items() if count > 1}
    assert again <= world.in_flight, "an SMS arrived twice though its send was not in flight at a death"
    hashes = {
        contact_hash(vault, "wechat", "default", person.openid): person
        for person in world.wechat.persons.values()
    }
    more = 0
    for contact_id, address in await session.execute(
        select(Contact.id, Contact.address_hash).where(Contact.channel == "wechat")
    ):
        own = [(i, state) for i, contact, _, state in rows if contact == contact_id]
        texts = len(hashes[address].seen)
        gone = sum(state != "unknown" for _, state in own)
        doubtful = sum(i in world.in_flight for i, _ in own)
        assert texts <= gone + doubtful, "more texts at WeChat than deliveries and sends in flight"
        more += max(0, texts - gone)
    return {"sms": len(again), "wechat, at least": more}
