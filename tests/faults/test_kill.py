"""Promises 1 to 3 under kill -9: what was acknowledged is there, has its effects once, in order, and providers see a text twice
only when its send was in flight at the moment of death.

A few runs here; `make soak` does fifty (QINGTING_KILL_RUNS=50).
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web
from sqlalchemy import select

from bot.audit import audit
from bot.settings import StorageSection
from bot.simulate.sms import SmsCentre
from bot.simulate.wechat import WechatPlatform
from bot.storage.engine import Engines
from bot.tables import Delivery
from escalation.people import contact_hash
from escalation.tables import Contact, Conversation, Message
from tests.service import RunningService

RUNS = int(os.environ.get("QINGTING_KILL_RUNS", "3"))
MESSAGES = int(os.environ.get("QINGTING_KILL_MESSAGES", "200"))
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


@dataclass
class World:
    """The service, its providers and what was acknowledged to whom: (channel, account, sender, provider's id)."""

    service: RunningService
    wechat: WechatPlatform
    sms: CountingCentre
    http: aiohttp.ClientSession
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
        text = random.choice(WORDS)
        while True:
            with suppress(aiohttp.ClientError, TimeoutError, ConnectionError):
                if await send(world, sender, message_id, text):
                    world.acknowledged[sender].append(message_id)
                    break
            await asyncio.sleep(0.1)


async def _kill_and_look(world: World) -> None:
    await asyncio.sleep(random.uniform(0.05, 2.5))
    await world.service.kill()
    engines = Engines(f"sqlite:///{world.service.folder}/qingting.db")
    async with engines.read() as session:
        world.in_flight |= set(
            await session.scalars(select(Delivery.id).where(Delivery.state == "attempting"))
        )
    await engines.close()
    await world.service.start()


async def test_killed_at_random_points_nothing_acknowledged_is_lost_and_effects_happen_once(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        wechat, sms = WechatPlatform(patience=20), CountingCentre(receipts=False)
        stack.push_async_callback(wechat.close)
        stack.push_async_callback(sms.close)
        service = RunningService(tmp_path, await _providers(wechat, sms))
        wechat.webhook, sms.webhook = f"{service.base}/wechat/default", f"{service.base}/sms/default"
        await service.start()
        stack.push_async_callback(service.stop)
        timeout = aiohttp.ClientTimeout(20)
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        world = World(service, wechat, sms, http)
        for run in range(RUNS):
            talks = [
                asyncio.create_task(_talk(world, send, who, MESSAGES // SENDERS))
                for send, who in _senders(world, run)
            ]
            await _kill_and_look(world)
            async with asyncio.timeout(120):
                await asyncio.gather(*talks)
        await _settled(world)
        await _check(world)


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
    engines = Engines(f"sqlite:///{world.service.folder}/qingting.db")
    async with asyncio.timeout(90):
        while True:
            async with engines.read() as session:
                unfinished = await session.scalar(
                    select(Message.id).where(Message.state == "received").limit(1)
                )
                unsent = await session.scalar(
                    select(Delivery.id)
                    .where(Delivery.state.in_(("pending", "attempting")), Delivery.channel != "webchat")
                    .limit(1)
                )
            if unfinished is None and unsent is None:
                break
            await asyncio.sleep(0.3)
    await engines.close()


async def _check(world: World) -> None:
    from bot import keys

    vault = keys.load(StorageSection(master_key_file=world.service.folder / "master.key"))
    engines = Engines(f"sqlite:///{world.service.folder}/qingting.db")
    async with engines.read() as session:
        found = await audit(session)
        assert found.agree
        assert found.inbound["received"] == found.inbound["failed"] == 0
        total = sum(len(ids) for ids in world.acknowledged.values())
        assert total == RUNS * MESSAGES
        assert found.total_in == total, "each message is stored once, however often it was offered"
        await _check_threads(session, world, vault)
        await _check_providers(session, world)
    await engines.close()


async def _check_threads(session: Any, world: World, vault: Any) -> None:
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
            continue  # the visitor's address is derived from the token: covered by the totals
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


async def _check_providers(session: Any, world: World) -> None:
    twice = {int(i) for i, count in world.sms.arrived.items() if count > 1}
    assert twice <= world.in_flight, "an SMS arrived twice though its send was not in flight at a death"
    sent = len(
        list(
            await session.scalars(
                select(Delivery.id).where(
                    Delivery.channel == "wechat", Delivery.state.in_(("sent", "delivered"))
                )
            )
        )
    )
    shown = sum(len(p.seen) for p in world.wechat.persons.values())
    assert shown <= sent + len(world.in_flight), "more texts at WeChat than deliveries and sends in flight"
