"""Every look at a conversation is on record: who, when, why (promise 10).

The record is committed before a word is shown. A screen that stays on a conversation fetches it again with every piece of news:
within five minutes the same session's fetches for the same reason are one look, after that the next one is written.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from bot.web.api.operations import AGAIN, Call
from bot.web.problems import Refused
from escalation import records
from escalation.tables import Conversation

WHYS = {
    "own": "我正在处理",
    "queue": "排队中，准备认领",
    "alert": "处理警报",
    "transfer": "同事转给我",
    "earlier": "了解此前的来访",
    "supervision": "督导",
    "follow_up": "跟踪回访",
    "complaint": "投诉或查询",
    "handover": "交接班",
}
_ONE_LOOK = timedelta(minutes=5)
_REMEMBERED = 10_000


class Looks:
    """What was put on record lately, so that one look is one record."""

    def __init__(self) -> None:
        self._last: OrderedDict[tuple[int, int], tuple[datetime, str]] = OrderedDict()

    async def record(self, call: Call, conversation_id: int, why: str) -> None:
        """Commit the look unless it is the one going on. Raises StorageUnavailable: then nothing may be shown."""
        key = (call.me.session_id, conversation_id)
        at, before = self._last.get(key, (None, why))
        if at is not None and call.now - at < _ONE_LOOK and why in (before, AGAIN):
            return
        if why == AGAIN:
            why = before
        me_id, now = call.me.id, call.now

        async def work(session: AsyncSession) -> None:
            records.write(session, me_id, "look", "conversation", conversation_id, now, why)

        await call.write(work)
        self._last[key] = (now, why)
        self._last.move_to_end(key)
        if len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)


def reason(call: Call, conversation: Conversation, said: str, *, offered: bool, ringing: bool) -> str:
    """Why this person looks: what they say, else what the conversation's state makes plain. Raises Refused (400)."""
    if said:
        return said
    if conversation.owner_id == call.me.id:
        return "own"
    if offered:
        return "transfer"
    if ringing:
        return "alert"
    if conversation.state == "queued":
        return "queue"
    if call.me.role == "supervisor":
        return "supervision"
    raise Refused(400, "why", "这不是您正在处理的会话，请说明查看原因。", whys=WHYS)
