"""What a WeChat account keeps in the database, on SQLite and PostgreSQL: the shared token, the quota, the one-time link."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from bot import one_time_links
from bot.channels import SendFailed
from bot.channels.wechat import quota
from bot.channels.wechat.api import WechatApi
from bot.storage import Storage
from escalation.privacy import Vault
from tests.simulators.wechat import Fault, WechatPlatform

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
VAULT = Vault(bytes(range(32)))


def api(platform: WechatPlatform, base: str, storage: Storage) -> WechatApi:
    return WechatApi(
        account="default",
        app_id=platform.app_id,
        app_secret=platform.app_secret,
        base=base,
        storage=storage,
        vault=VAULT,
        clock=lambda: datetime.now(UTC),
    )


async def test_many_processes_fetch_one_token(storage: Storage) -> None:
    platform = WechatPlatform()
    base = await platform.start()
    person = platform.person()
    person.window_until, person.window_left = platform.clock() + 60, 10
    apis = [api(platform, base, storage) for _ in range(5)]
    await asyncio.gather(*(one.send_text(person.openid, "好") for one in apis))
    assert platform.tokens_given == 1
    assert len(person.texts("custom")) == 5
    platform.revoke_token()
    await asyncio.gather(*(one.send_text(person.openid, "再") for one in apis))
    assert platform.tokens_given == 2
    assert len(person.texts("custom")) == 10
    for one in apis:
        await one.close()
    await platform.close()


async def test_a_failed_refresh_leaves_the_turn_to_the_next(storage: Storage) -> None:
    platform = WechatPlatform()
    base = await platform.start()
    person = platform.person()
    person.window_until, person.window_left = platform.clock() + 60, 10
    platform.token_faults.append(Fault(code=40164))
    first, second = api(platform, base, storage), api(platform, base, storage)
    with pytest.raises(SendFailed, match="token_40164") as failed:
        await first.send_text(person.openid, "好")
    assert failed.value.retry
    await asyncio.wait_for(second.send_text(person.openid, "好"), 5)
    await first.close()
    await second.close()
    await platform.close()


async def test_the_ledger_counts_events_before_the_longer_window(storage: Storage) -> None:
    await storage.write(lambda s: quota.open_by_event(s, 7, NOW))
    codes = [await storage.write(lambda s: quota.spend(s, 7, NOW)) for _ in range(4)]
    assert codes == ["", "", "", "45047"]
    await storage.write(lambda s: quota.refund(s, 7, NOW))
    assert await storage.write(lambda s: quota.spend(s, 7, NOW)) == ""
    assert await storage.write(lambda s: quota.spend(s, 7, NOW + timedelta(minutes=2))) == "45015"
    assert await storage.write(lambda s: quota.spend(s, 8, NOW)) == "45015"


async def test_a_one_time_link_works_once_and_not_for_ever(storage: Storage) -> None:
    async def make() -> str:
        link = await storage.write(
            lambda s: one_time_links.make_link(
                s, VAULT, contact_id=7, public_url="https://desk.example/", now=NOW
            )
        )
        assert link.startswith("https://desk.example/chat#link=")
        return link.partition("#link=")[2]

    async def redeem(token: str, at: datetime) -> int | None:
        return await storage.write(lambda s: one_time_links.redeem(s, VAULT, token, at))

    token = await make()
    assert await redeem(token + "x", NOW) is None
    assert await redeem(token, NOW) == 7
    assert await redeem(token, NOW) is None
    assert await redeem(await make(), NOW + timedelta(hours=49)) is None
