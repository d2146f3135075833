"""The ladder as it runs: bells really rung (screens, robots, telephone), words really written, nothing but facts in them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from bot.alarms import Alarms
from bot.events import MemoryBus, News
from bot.ladder import Ladder
from bot.outbox import OutboxService
from bot.policy import policy_of, weaker_than_promised
from bot.settings import EscalationSection, FallbackTelephone, Server, Settings, WebhookTarget
from bot.shell import Shell
from bot.storage import Storage
from bot.tables import Delivery
from escalation import conversations
from escalation import desk as work
from escalation.alerts import Ring
from escalation.policy import Policy
from escalation.tables import Alert, AlertEvent, Message
from handlers.templates import shipped
from tests.escalation.conftest import Desk


@dataclass
class Robots:
    """A provider on a real port: remembers what came, answers what it is told to."""

    url: str = ""
    came: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    answers: dict[str, Callable[[], web.StreamResponse]] = field(default_factory=dict)

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.came.append((str(request.rel_url), dict(request.headers), await request.read()))
        made = self.answers.get(request.path)
        return made() if made else web.json_response({"errcode": 0, "code": 0})

    def bodies(self, path: str) -> list[Any]:
        return [orjson.loads(body) for url, _, body in self.came if urlsplit(url).path == path]


@pytest.fixture
async def robots() -> AsyncIterator[Robots]:
    made = Robots()
    app = web.Application()
    app.router.add_post("/{name}", made.take)
    async with TestServer(app, host="127.0.0.1") as server:
        made.url = str(server.make_url("")).rstrip("/")
        yield made


@dataclass
class House:
    desk: Desk
    shell: Shell
    ladder: Ladder
    alarms: Alarms

    async def round(self) -> None:
        """One second of the ladder, with every ring carried to its end."""
        await self.desk.keep_screens()
        await self.ladder.once()
        await self.ladder.settled()

    async def texts(self) -> list[tuple[str, str, int]]:
        """(template, words, lane) of everything written to persons."""
        lanes = {d.message_id: d.lane for d in await self.desk.all(Delivery)}
        out = []
        for message in await self.desk.all(Message):
            if message.direction == "out":
                lines = await self.desk.do(
                    lambda s, m=message: conversations.thread(s, self.desk.vault, m.conversation_id)
                )
                words = next(line.text for line in lines if line.message.id == message.id)
                out.append((message.template or "", words or "", lanes[message.id]))
        return out


async def house(stack: AsyncExitStack, storage: Storage, section: EscalationSection | None = None) -> House:
    desk = Desk(storage)
    settings = Settings(
        escalation=section or EscalationSection(), server=Server(public_url="https://desk.example.org")
    )
    bus = MemoryBus()
    outbox = OutboxService(storage, desk.vault, bus, process="test", clock=lambda: desk.now)
    shell = Shell(
        settings=settings,
        storage=storage,
        vault=desk.vault,
        inbox=None,  # type: ignore[arg-type]
        outbox=outbox,
        brain=None,  # type: ignore[arg-type]
        bus=bus,
        clock=lambda: desk.now,
    )
    alarms = Alarms(shell, timeout=0.5)
    await alarms.start()
    stack.push_async_callback(alarms.close)
    ladder = Ladder(shell, alarms)
    stack.push_async_callback(ladder.close)
    desk.policy = ladder.policy
    return House(desk, shell, ladder, alarms)


@pytest.fixture
async def stack(storage: Storage) -> AsyncIterator[AsyncExitStack]:
    """Closed before the storage is."""
    async with AsyncExitStack() as made:
        yield made


def target(robots: Robots, kind: str, *, rungs: list[int], secret: str | None = None) -> WebhookTarget:
    return WebhookTarget(
        name=kind,
        kind=kind,  # type: ignore[arg-type]
        url=SecretStr(f"{robots.url}/{kind}?key=geheim"),
        secret=SecretStr(secret) if secret else None,
        rungs=rungs,
    )


# --- the bells ------------------------------------------------------------------------------------------------------


async def test_it_climbs_from_screen_to_robot_to_telephone_with_facts_only(
    stack: AsyncExitStack, storage: Storage, robots: Robots
) -> None:
    section = EscalationSection(
        webhooks=[target(robots, "wecom", rungs=[2])],
        fallback_telephone=FallbackTelephone(
            url=SecretStr(f"{robots.url}/call"), number=SecretStr("02100000000")
        ),
    )
    here = await house(stack, storage, section)
    duty = await here.desk.member(rung=0, screen=True)
    await here.desk.member("supervisor")
    conversation = await here.desk.conversation()
    await here.desk.writes(conversation, "我在天台，不想活了")
    raised = await here.desk.danger(conversation, "critical")
    async with here.shell.bus.listen() as news:
        await here.round()
        item = news.get_nowait()
    assert (item.what, item.conversation_id) == ("alert", conversation)
    assert item.extra is not None
    assert (item.extra["rung"], item.extra["staff_ids"]) == (0, [str(duty)])
    here.desk.later(seconds=60)
    await here.round()  # no backup on the roster: skipped, the supervisor by robot
    here.desk.later(seconds=60)
    await here.round()
    (said,), (called,) = robots.bodies("/wecom"), robots.bodies("/call")
    link = f"https://desk.example.org/desk/#/c/{conversation}?why=alert"
    assert said == {"msgtype": "text", "text": {"content": said["text"]["content"]}}
    assert raised.case.number in said["text"]["content"]
    assert "紧急" in said["text"]["content"]
    assert link in said["text"]["content"]
    assert called == {
        "case_number": raised.case.number, "level": "critical", "reason": "episode", "rung": 3, "link": link,
        "number": "02100000000", "text": called["text"],
    }  # fmt: skip
    everything = b"".join(body for _, _, body in robots.came).decode()
    assert "天台" not in everything
    events = [(e.what, e.rung, e.means) for e in await here.desk.all(AlertEvent)]
    assert events == [
        ("started", None, None),
        ("rung", 0, "screen"),
        ("skipped", 1, None),
        ("rung", 2, "webhook:wecom"),
        ("delivered", 2, "webhook:wecom"),
        ("rung", 3, "telephone"),
        ("delivered", 3, "telephone"),
    ]


async def test_robots_get_their_own_forms_and_signatures(
    stack: AsyncExitStack, storage: Storage, robots: Robots
) -> None:
    kinds = ("wecom", "dingtalk", "feishu", "json")
    section = EscalationSection(webhooks=[target(robots, k, rungs=[0], secret="s3cret") for k in kinds])
    here = await house(stack, storage, section)
    await here.desk.member(rung=0)
    await here.desk.danger(await here.desk.conversation(), "high")
    await here.round()
    urls = {urlsplit(url).path[1:]: parse_qs(urlsplit(url).query) for url, _, _ in robots.came}
    assert set(urls) == set(kinds)

    ding = urls["dingtalk"]
    stamped = f"{ding['timestamp'][0]}\ns3cret".encode()
    assert base64.b64decode(ding["sign"][0]) == hmac.new(b"s3cret", stamped, hashlib.sha256).digest()
    assert (ding["key"], urls["wecom"]) == (["geheim"], {"key": ["geheim"]})

    (feishu,) = robots.bodies("/feishu")
    stamped = f"{feishu['timestamp']}\ns3cret".encode()
    assert base64.b64decode(feishu["sign"]) == hmac.new(stamped, b"", hashlib.sha256).digest()
    assert feishu["msg_type"] == "text"

    headers, body = next((h, b) for url, h, b in robots.came if url.startswith("/json"))
    signed = headers["X-Qingting-Timestamp"].encode() + b"." + body
    assert headers["X-Qingting-Signature"] == hmac.new(b"s3cret", signed, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (lambda: web.Response(status=500), "http_500"),
        (lambda: web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}), "http_302"),
        (lambda: web.json_response({"errcode": 93000, "errmsg": "invalid webhook url"}), "errcode_93000"),
        (lambda: web.Response(text="not json"), "errcode_missing"),
    ],
)
async def test_a_robot_that_refuses_is_tried_again_put_on_record_and_not_waited_for(
    stack: AsyncExitStack,
    storage: Storage,
    robots: Robots,
    answer: Any,
    code: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bot.alarms._WAIT", (0.0, 0.0))
    robots.answers["/wecom"] = answer
    here = await house(stack, storage, EscalationSection(webhooks=[target(robots, "wecom", rungs=[0])]))
    await here.desk.member(rung=0)
    await here.desk.danger(await here.desk.conversation(), "high")
    await here.round()
    assert len(robots.came) == 3
    failed = [(e.rung, e.means, e.detail) for e in await here.desk.all(AlertEvent) if e.what == "failed"]
    assert failed == [(0, "webhook:wecom", code)]
    await here.round()  # the same second: the ladder climbs on
    assert [e.what for e in await here.desk.all(AlertEvent)][-1] == "fallback_missing"


async def test_a_robot_that_is_away_or_slow_is_a_code_without_its_address(
    stack: AsyncExitStack, storage: Storage, robots: Robots, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("bot.alarms._WAIT", (0.0, 0.0))
    away = WebhookTarget(name="away", kind="json", url=SecretStr("http://127.0.0.1:1/geheim"), rungs=[0])
    here = await house(stack, storage, EscalationSection(webhooks=[away]))
    ring = Ring(1, 2, "20260302-00001", "high", "episode", 0, (), ("webhook:away", "webhook:unknown"))
    assert await here.alarms.carry(ring) == {
        "webhook:away": "unreachable", "webhook:unknown": "not_configured",
    }  # fmt: skip
    assert "geheim" not in "".join(capsys.readouterr())


async def test_a_missing_telephone_is_a_banner_on_the_screens(
    stack: AsyncExitStack, storage: Storage
) -> None:
    here = await house(stack, storage)
    await here.desk.danger(await here.desk.conversation(), "critical")
    async with here.shell.bus.listen() as news:
        await here.round()
        extra = news.get_nowait().extra
    assert extra is not None
    assert extra["fallback_missing"] is True


# --- the watches ----------------------------------------------------------------------------------------------------


async def taken(here: House, level: str = "none") -> tuple[int, int]:
    """A conversation in talk, and its owner at an open workbench."""
    owner = await here.desk.member(rung=0, screen=True)
    conversation = await here.desk.conversation()
    if level != "none":
        await here.desk.danger(conversation, level)  # type: ignore[arg-type]
    desk = here.desk

    async def talk(session: Any) -> None:
        row = await work.claim(session, conversation, owner, desk.now, desk.policy)
        await work.reply_written(session, row, owner, desk.now)

    await desk.do(talk)
    return conversation, owner


async def test_a_vanished_owner_is_told_to_the_person_and_the_ladder_rings(
    stack: AsyncExitStack, storage: Storage
) -> None:
    here = await house(stack, storage)
    conversation, _ = await taken(here, "critical")
    await here.desk.writes(conversation)
    here.desk.later(seconds=120)
    await here.round()
    ((template, words, lane),) = await here.texts()
    assert (template, lane) == ("handoff.owner_gone@0", 0)
    assert "110" in words
    assert (await here.desk.get(conversation)).state == "queued"
    assert (await here.desk.alert(conversation)).state == "ringing"
    assert ("rung", 0) in await here.desk.events()
    await here.round()
    assert len(await here.texts()) == 1


async def test_when_nobody_is_there_the_person_is_told_so(stack: AsyncExitStack, storage: Storage) -> None:
    here = await house(stack, storage)
    owner = await here.desk.member()
    screen = await here.desk.screen(owner)
    conversation = await here.desk.conversation()
    await here.desk.queued(conversation)
    await here.desk.do(lambda s: work.claim(s, conversation, owner, here.desk.now, here.desk.policy))
    await here.desk.writes(conversation)
    await here.desk.close_screen(screen)
    here.desk.later(seconds=60)
    await here.round()
    assert [t for t, _, _ in await here.texts()] == ["handoff.owner_gone_nobody@0"]


async def test_risk_that_rises_under_a_silent_human_sends_the_safety_text_after_a_minute(
    stack: AsyncExitStack, storage: Storage
) -> None:
    here = await house(stack, storage)
    conversation, _ = await taken(here)
    await here.desk.danger(conversation, "critical", "suicide")
    here.desk.later(seconds=59)
    await here.round()
    assert await here.texts() == []
    here.desk.later(seconds=1)
    await here.round()
    ((template, words, lane),) = await here.texts()
    assert (template, lane) == ("safety.suicide.critical@0", 0)
    assert words.startswith(shipped()["safety.suicide.critical"].text[:10])
    await here.round()
    assert len(await here.texts()) == 1


async def test_an_unread_image_rings_after_ten_minutes(stack: AsyncExitStack, storage: Storage) -> None:
    here = await house(stack, storage)
    await here.desk.member(rung=0, screen=True)
    conversation = await here.desk.conversation(risk="medium")
    await here.desk.queued(conversation, "unreadable")
    here.desk.later(minutes=10)
    await here.round()
    alert = await here.desk.alert(conversation)
    assert (alert.reason, alert.state) == ("unread", "ringing")
    assert ("rung", 0) in await here.desk.events()


async def test_it_rings_at_once_when_an_alert_begins_and_survives_a_failing_watch(
    stack: AsyncExitStack, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await house(stack, storage)
    await here.desk.member(rung=0, screen=True)

    async def broken(*_: object) -> bool:
        raise RuntimeError("不该出现在日志里的话")

    monkeypatch.setattr("escalation.desk.vanishing", broken)
    await here.ladder.start()
    async with here.shell.bus.listen() as news:
        raised = await here.desk.danger(await here.desk.conversation(), "critical")
        here.shell.bus.publish(News("alert", raised.episode.conversation_id))
        async with asyncio.timeout(5):
            while not ((item := await news.get()).extra or {}).get("case_number"):
                pass
    assert item.extra is not None
    assert item.extra["case_number"] == raised.case.number


async def test_two_ladders_on_one_database_ring_each_rung_once(
    stack: AsyncExitStack, storage: Storage, robots: Robots
) -> None:
    section = EscalationSection(webhooks=[target(robots, "wecom", rungs=[0])])
    first, second = await house(stack, storage, section), await house(stack, storage, section)
    await first.desk.member(rung=0)
    await asyncio.gather(*[first.desk.danger(await first.desk.conversation(), "critical") for _ in range(8)])
    await asyncio.gather(first.ladder.once(), second.ladder.once(), first.ladder.once(), second.ladder.once())
    await asyncio.gather(first.ladder.settled(), second.ladder.settled())
    assert len(robots.came) == 8
    rung = [e.alert_id for e in await first.desk.all(AlertEvent) if e.what == "rung"]
    assert len(rung) == len(set(rung)) == 8
    assert all(a.state == "ringing" for a in await first.desk.all(Alert))


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"escalation": {"rung_critical": 10, "silence_high": 299}}, []),
        ({"escalation": {"rung_critical": 90}}, ["escalation.rung_critical：90，承诺是不超过 60"]),
        ({"understanding": {"limit_seconds": 0.5, "failures_page": 2, "failures_window_seconds": 600}}, []),
        ({"understanding": {"limit_seconds": 5}}, ["understanding.limit_seconds：5，承诺是不超过 1"]),
        ({"understanding": {"failures_page": 30}}, ["understanding.failures_page：30，承诺是不超过 3"]),
        (
            {"understanding": {"failures_window_seconds": 10}},
            ["understanding.failures_window_seconds：10，承诺是不少于 300"],
        ),
    ],
)
def test_a_setting_weaker_than_the_promise_is_named(section: dict[str, Any], said: list[str]) -> None:
    assert weaker_than_promised(Settings(**section)) == said


def test_without_settings_the_policy_is_the_promise() -> None:
    assert policy_of(EscalationSection()) == Policy(webhooks={0: (), 1: (), 2: ()})
