"""`qingting demo`: a demonstration desk in a fresh data folder. Staff of every role, conversations, cases; all marked so.

The conversations are not painted: invented messages go through the real inbox, understanding, handlers and escalation, and
counsellors take, answer and close them by the same functions that the workbench uses.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta

from rich.console import Console
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from bot import logs, outbox
from bot.app import Service
from bot.channels import InboundMessage
from bot.outbox import Draft
from bot.policy import policy_of
from bot.run import only_one, prepare
from bot.settings import ConfigProblem, Settings
from bot.tables import Fact
from escalation import desk, roster, staff
from escalation.cases import close
from escalation.tables import Case, Conversation, Message, Staff

_STAFF = (
    ("duty", "演示·陈值班", "counsellor", 0),
    ("backup", "演示·林备班", "counsellor", 1),
    ("supervisor", "演示·周督导", "supervisor", 2),
    ("curator", "演示·吴编辑", "curator", None),
    ("admin", "演示·管理员", "administrator", None),
)


@dataclass(frozen=True, slots=True)
class _Visit:
    """One invented visitor: what they write, and what a counsellor does."""

    words: tuple[str, ...]
    taken_by: str = ""
    replies: tuple[str, ...] = ()
    closed: tuple[str, str, str] | None = None  # category, risk, note


_VISITS = (
    _Visit(("老板拖了我两个月工资，一直说下个月发，怎么办",)),
    _Visit(("你好", "跟我妈吵架了，她又拿我和表姐比", "没事，就是想说说")),
    _Visit(("请问你们几点有人",)),
    _Visit(("最近总是睡不着，上课也听不进去", "觉得什么都没意思，活着好累")),
    _Visit(
        ("我爸喝了酒又打我，我躲在房间里不敢出去",),
        taken_by="duty",
        replies=("我是咨询员小陈，是真人。你现在在房间里，门能锁上吗？身边有手机就好，我陪着你。",),
    ),
    _Visit(
        ("他们在厕所堵我，还拍了视频说要发群里", "我不想去学校了"),
        taken_by="duty",
        replies=(
            "谢谢你告诉我，这不是你的错。视频的事我们一起处理，你现在在哪里，安全吗？",
            "好，先把他们发的截图留着。",
        ),
        closed=("safety.bullying", "medium", "已陪伴，约好明天由班主任和家长一起处理，本人同意。"),
    ),
    _Visit(("我在天台，不想活了",)),
    _Visit(("人工",)),
)


async def fill(settings: Settings, out: Console) -> None:
    """Fill an empty installation. Raises ConfigProblem when there is anything in it already."""
    logs.set_up(as_json=False)
    os.umask(0o077)
    prepare(settings)
    lock = only_one(settings)
    try:
        service = Service(settings)
        async with AsyncExitStack() as stack:
            await service.start(stack)
            password = await _hire(service)
            for number, visit in enumerate(_VISITS):
                await _play(service, visit, number)
    finally:
        if lock is not None:
            lock.close()
    out.print("演示服务台已准备好，所有人员和会话都是虚构的。")
    out.print("登录名：" + "、".join(login for login, *_ in _STAFF) + f"   密码（都一样）：{password}")


async def _hire(service: Service) -> str:
    password = staff.one_time_password()
    hashed = await asyncio.to_thread(staff.hash_password, password)
    now = service.shell.clock()

    async def work(session: AsyncSession) -> None:
        strangers = await session.scalar(select(func.count()).select_from(Staff))
        if strangers or await session.scalar(select(func.count()).select_from(Conversation)):
            raise ConfigProblem(
                "数据目录里已经有内容；演示只能放进空的数据目录（另设 storage.data 和 storage.url）"
            )
        for login, name, role, rung in _STAFF:
            member = await staff.create(
                session,
                login=login,
                name=name,
                role=role,
                desk=service.settings.desk.id,
                password_hash=hashed,
                now=now,
                must_change_password=False,
                demonstration=True,
            )
            if rung is not None:
                await roster.add_shift(
                    session,
                    staff_id=member.id,
                    rung=rung,
                    starts_at=now - timedelta(hours=1),
                    ends_at=now + timedelta(hours=11),
                )
        session.add(Fact(name="demonstration", value=b"1"))

    await service.shell.storage.write(work)
    return password


async def _play(service: Service, visit: _Visit, number: int) -> None:
    sender = f"demo-{number}-{secrets.token_hex(4)}"
    conversation_id = 0
    for count, words in enumerate(visit.words):
        stored = await service.shell.inbox.receive(
            InboundMessage(
                "webchat", "default", sender, f"{sender}-{count}", "text", words, service.shell.clock()
            )
        )
        conversation_id = stored.conversation_id
        await _finished(service, stored.message_id)
    if visit.taken_by:
        await _take(service, visit, conversation_id)


async def _finished(service: Service, message_id: int) -> None:
    async with asyncio.timeout(30):
        while True:
            async with service.shell.storage.read() as session:
                if await session.scalar(select(Message.state).where(Message.id == message_id)) != "received":
                    return
            await asyncio.sleep(0.05)


async def _take(service: Service, visit: _Visit, conversation_id: int) -> None:
    shell = service.shell
    policy = policy_of(service.settings.escalation)

    async def work(session: AsyncSession) -> None:
        now: datetime = shell.clock()
        member = await staff.by_login(session, visit.taken_by)
        assert member is not None
        conversation = await desk.claim(session, conversation_id, member.id, now, policy)
        for words in visit.replies:
            await outbox.write(
                session, shell.vault, conversation, [Draft(words)],
                lane=outbox.HUMAN, now=now, author="staff", staff_id=member.id,
            )  # fmt: skip
            await desk.reply_written(session, conversation, member.id, now)
        if visit.closed:
            category, risk, note = visit.closed
            await session.flush()
            case = await session.get(Case, conversation.case_id) if conversation.case_id else None
            await close(
                session, shell.vault, conversation_id,
                staff=member.id, category=category, risk=risk, result="supported", note=note,  # type: ignore[arg-type]
                ask_satisfaction=False, version=case.version if case else 0, now=now,
            )  # fmt: skip

    await shell.storage.write(work)
