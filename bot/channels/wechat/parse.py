"""A verified WeChat push becomes an InboundMessage. Pure: fields in, message out.

Field names: 公众平台 > 接收普通消息, 接收事件推送. What this program does not know is not thrown away: an unknown message type reaches a
human as unreadable, an unknown event is stored as an event and starts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import unquote

from bot.channels import InboundMessage
from bot.channels.wechat.envelope import Refused

# WeChat writes this in place of a sticker or another thing that it does not pass on.
_NOT_PASSED_ON: Final = "【收到不支持的消息类型，暂无法显示】"
_LONGEST_NAME: Final = 128
# Events after which WeChat allows three customer-service messages within a minute.
QUOTA_EVENTS: Final = frozenset({"subscribe", "scan", "click"})


def inbound(fields: Mapping[str, str], *, account: str, now: datetime) -> InboundMessage:
    """The message in these fields. Raises Refused when sender, kind or key is missing."""
    sender = _name(fields, "FromUserName")
    _name(fields, "ToUserName")  # the passive reply needs it
    kind = _name(fields, "MsgType").lower()
    if kind == "event":
        return _event(fields, sender, account, now)
    message_kind, text, meta, unreadable = _content(kind, fields)
    return InboundMessage(
        channel="wechat",
        account=account,
        sender=sender,
        provider_id=_name(fields, "MsgId"),
        kind=message_kind,
        text=text,
        received_at=now,
        meta=meta,
        unreadable=unreadable,
    )


def created_at(fields: Mapping[str, str]) -> int | None:
    """When the person sent it, epoch seconds by WeChat's clock."""
    text = fields.get("CreateTime", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None


def _content(kind: str, fields: Mapping[str, str]) -> tuple[Any, str, dict[str, Any], bool]:
    """Kind, words, details and whether no machine can judge it."""
    match kind:
        case "text":
            text = fields.get("Content", "")
            # A pressed quick reply comes back as text with the id that we gave it (reply.py).
            pressed = unquote(fields.get("bizmsgmenuid", ""))
            meta = {"command": pressed} if pressed.startswith("/") else {}
            return ("text", "", meta, True) if text == _NOT_PASSED_ON else ("text", text, meta, False)
        case "voice":
            text = fields.get("Recognition", "").strip()
            return "voice", text, _media(fields, "Format"), not text
        case "image":
            return "image", "", _media(fields, "PicUrl"), True
        case "location":
            place = {
                "label": fields.get("Label", ""),
                "latitude": fields.get("Location_X", ""),
                "longitude": fields.get("Location_Y", ""),
            }
            # Why somebody tells us where they are, only a human can judge.
            return "location", "", {"place": place}, True
        case "link":
            words = "\n".join(
                part for part in (fields.get("Title", ""), fields.get("Description", "")) if part
            )
            return "link", words, {"url": fields.get("Url", "")}, not words.strip()
        case _:  # video, shortvideo, file, and what WeChat adds later
            return "image", "", {"type": kind[:_LONGEST_NAME], **_media(fields)}, True


def _event(fields: Mapping[str, str], sender: str, account: str, now: datetime) -> InboundMessage:
    event = _name(fields, "Event").lower()
    key = fields.get("EventKey", "")[:_LONGEST_NAME]
    sent = created_at(fields)
    if sent is None:
        raise Refused(400, "no_create_time")
    meta = {"event": event, "key": key}
    if event == "click" and key.startswith("/"):
        meta["command"] = key  # a menu button that the desk gave one of our commands
    elif event == "subscribe":
        meta["command"] = "/welcome"
    return InboundMessage(
        channel="wechat",
        account=account,
        sender=sender,
        provider_id=f"event:{sent}:{event}:{key}",  # events have no MsgId
        kind="event",
        text="",
        received_at=now,
        meta=meta,
    )


def _media(fields: Mapping[str, str], *more: str) -> dict[str, str]:
    return {name: fields[name] for name in ("MediaId", *more) if fields.get(name)}


def _name(fields: Mapping[str, str], field: str) -> str:
    value = fields.get(field, "").strip()
    if not 0 < len(value) <= _LONGEST_NAME:
        raise Refused(400, f"no_{field}")
    return value
