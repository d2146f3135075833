"""`qingting simulate wechat|sms|web`: somebody to talk to a running service as, or many who write at a given rate.

Only on this machine: the service and what it calls back must be on a loopback address. The words of the many are invented.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Literal
from urllib.parse import urlsplit

import aiohttp
from rich.console import Console

from bot.settings import ConfigProblem, Settings
from bot.simulate.sms import SmsCentre
from bot.simulate.web import Visitor
from bot.simulate.wechat import WechatPlatform

Which = Literal["wechat", "sms", "web"]
LINES: Final = (
    "你好",
    "打暑假工老板不给工资怎么办",
    "网上买的鞋是假的能退吗",
    "最近考试压力很大睡不着",
    "班里有人给我起外号，我不想上学",
    "你们几点上班",
    "谢谢",
)
_PERSONS: Final = 50


@dataclass(frozen=True, slots=True)
class Side:
    """One simulated person: how to write, and what they have seen so far (who, words)."""

    says: Callable[[str], Awaitable[object]]
    seen: Callable[[], Sequence[tuple[str, str]]]


async def talk(
    settings: Settings, which: Which, *, account: str, count: int, rate: float, out: Console
) -> None:
    """Talk line by line from standard input, or with `count` let many write `rate` messages a second."""
    async with _persons(settings, which, account) as new_person:
        if count:
            await _many(new_person, count, rate, out)
        else:
            await _one(new_person(), out)


async def _one(person: Side, out: Console) -> None:
    out.print("写一行，回车发出；空行或 Ctrl-D 结束。")
    showing = asyncio.create_task(_show(person, out))
    try:
        while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
            try:
                await person.says(line)
            except OSError as error:
                out.print(
                    f"没有送到（{type(error).__name__}：{error}）。服务在运行吗？", style="red", markup=False
                )
        await asyncio.sleep(2)  # a last answer may be on its way
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)


async def _show(person: Side, out: Console) -> None:
    shown = 0
    while True:
        for who, text in list(person.seen())[shown:]:
            out.print(f"[{who}] {text}", markup=False, style="cyan")
            shown += 1
        await asyncio.sleep(0.1)


async def _many(new_person: Callable[[], Side], count: int, rate: float, out: Console) -> None:
    persons = [new_person() for _ in range(min(_PERSONS, count))]
    started, failed = time.monotonic(), 0
    latencies: list[float] = []

    async def write(n: int) -> None:
        nonlocal failed
        begun = time.monotonic()
        try:
            await persons[n % len(persons)].says(LINES[n % len(LINES)])
        except OSError:
            failed += 1
        else:
            latencies.append(time.monotonic() - begun)

    tasks = []
    for n in range(count):
        await asyncio.sleep(max(0.0, started + n / rate - time.monotonic()))
        tasks.append(asyncio.create_task(write(n)))
    await asyncio.gather(*tasks)
    took = time.monotonic() - started
    await asyncio.sleep(2)
    latencies.sort()
    middle = latencies[len(latencies) // 2] * 1000 if latencies else 0.0
    seen = sum(len(p.seen()) for p in persons)
    out.print(
        f"发出 {count} 条，失败 {failed} 条，用时 {took:.1f} 秒，确认时间中位数 {middle:.0f} 毫秒，收到回复 {seen} 条。"
    )


@asynccontextmanager
async def _persons(settings: Settings, which: Which, account: str) -> AsyncIterator[Callable[[], Side]]:
    base = f"http://{settings.server.host}:{settings.server.port}"
    _loopback(base, "server.host")
    match which:
        case "wechat":
            async with _wechat(settings, base, account) as platform:
                yield lambda: _wechat_side(platform)
        case "sms":
            async with _sms(settings, base, account) as centre:
                yield lambda: _sms_side(centre)
        case "web":
            async with contextlib.AsyncExitStack() as stack:
                session = await stack.enter_async_context(aiohttp.ClientSession())

                def visitor() -> Side:
                    made = Visitor(base, session)
                    stack.push_async_callback(made.close)
                    return Side(made.says, lambda: made.seen)

                yield visitor


@asynccontextmanager
async def _wechat(settings: Settings, base: str, name: str) -> AsyncIterator[WechatPlatform]:
    account = next((a for a in settings.wechat if a.account == name), None)
    if account is None:
        raise ConfigProblem(
            f"wechat: 配置里没有名为 {name} 的公众号。演示可以写：\n"
            f"  wechat:\n    - account: {name}\n      app_id: wx00000000000000aa\n      token: simulated\n"
            f"      encoding_aes_key: （43 个字母或数字）\n      app_secret: simulated\n      api_base: http://127.0.0.1:8091"
        )
    platform = WechatPlatform(
        webhook=f"{base}/wechat/{name}",
        app_id=account.app_id,
        app_secret=account.app_secret.get_secret_value() if account.app_secret else "",
        token=account.token.get_secret_value(),
        aes_key=account.encoding_aes_key.get_secret_value() if account.encoding_aes_key else "",
        encrypted=account.encoding_aes_key is not None,
    )
    try:
        if account.verified:
            host, port = _loopback(account.api_base, f"wechat.{name}.api_base")
            await platform.start(host=host, port=port)
        yield platform
    finally:
        await platform.close()


@asynccontextmanager
async def _sms(settings: Settings, base: str, name: str) -> AsyncIterator[SmsCentre]:
    account = next((a for a in settings.sms if a.account == name and a.flavour == "generic"), None)
    if account is None:
        raise ConfigProblem(
            f"sms: 配置里没有名为 {name}、flavour 为 generic 的短信账号。演示可以写：\n"
            f"  sms:\n    - account: {name}\n      secret: simulated\n      send_url: http://127.0.0.1:8092/send"
        )
    centre = SmsCentre(
        webhook=f"{base}/sms/{name}", secret=account.secret.get_secret_value(), auth=account.auth
    )
    try:
        host, port = _loopback(account.send_url, f"sms.{name}.send_url")
        await centre.start(host=host, port=port)
        yield centre
    finally:
        await centre.close()


def _wechat_side(platform: WechatPlatform) -> Side:
    person = platform.person()

    async def says(text: str) -> None:
        if not (await person.says(text)).accepted:
            raise ConnectionError("not stored")

    return Side(says, lambda: person.seen)


def _sms_side(centre: SmsCentre) -> Side:
    telephone = centre.telephone()

    async def says(text: str) -> None:
        if (await telephone.says(text))[-1] != 200:
            raise ConnectionError("not stored")

    return Side(says, lambda: [("sms", text) for text in telephone.texts])


def _loopback(url: str, what: str) -> tuple[str, int]:
    """Host and port of an address on this machine. Raises ConfigProblem for any other."""
    parts = urlsplit(url)
    host = "127.0.0.1" if parts.hostname in ("localhost", "0.0.0.0") else parts.hostname or ""  # noqa: S104
    with contextlib.suppress(ValueError):
        if ip_address(host).is_loopback:
            return host, parts.port or 80
    raise ConfigProblem(f"{what}: 模拟只对本机进行，这里要写 127.0.0.1 的地址")
