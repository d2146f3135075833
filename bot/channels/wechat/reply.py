"""Words on their way into WeChat: what fits into one message, quick replies, and the XML of a passive reply."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from bot.channels import Button, OutboundMessage

MOST_BYTES: Final = 2048  # one text message, passive or customer-service, in UTF-8
_BETWEEN: Final = "\n\n"
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_NOT_IN_LINK = re.compile(r'["&<>]')


@dataclass(frozen=True, slots=True)
class Packed:
    """What one passive reply can carry: its text, the deliveries that are wholly in it, and what had to stay behind.

    `rest` is the end of the first message where that alone was too long; its delivery is in `carried`.
    """

    text: str
    carried: Sequence[OutboundMessage]
    left: Sequence[OutboundMessage]
    rest: str = ""


def rendered(message: OutboundMessage) -> str:
    """Text with its quick replies as links that, pressed, send the label back with our value as its id."""
    lines = [message.text, *(_pressable(button) for button in message.buttons)]
    return _NOT_XML.sub("", "\n".join(lines))


def pack(messages: Sequence[OutboundMessage], *, cut: str | None = None) -> Packed:
    """Put as many whole messages as fit into one passive text, safety texts first, the others in order.

    `cut`: a closing line that lets a message which alone is too long be cut, for accounts that have no other way to
    send the rest. Without it such a message stays behind.
    """
    ordered = sorted(messages, key=lambda m: m.lane != 0)
    text = ""
    for n, message in enumerate(ordered):
        longer = text + _BETWEEN + rendered(message) if text else rendered(message)
        if _size(longer) <= MOST_BYTES:
            text = longer
            continue
        if n == 0 and cut is not None:
            first = split(message.text, MOST_BYTES - _size(_BETWEEN + cut))[0]
            return Packed(
                first + _BETWEEN + cut, ordered[:1], ordered[1:], message.text[len(first) :].lstrip()
            )
        return Packed(text, ordered[:n], ordered[n:])
    return Packed(text, ordered, ())


def split(text: str, most_bytes: int = MOST_BYTES) -> list[str]:
    """Pieces of at most `most_bytes` UTF-8 bytes, cut at the end of a line or sentence where there is one."""
    pieces = []
    while _size(text) > most_bytes:
        fits = text.encode("utf-8", "replace")[:most_bytes].decode("utf-8", "ignore")
        ends = [fits.rfind(mark) for mark in "\n。！？；"]
        at = max(ends) + 1
        if at < len(fits) // 2:  # no sentence ends in the second half
            at = len(fits)
        pieces.append(text[:at].rstrip())
        text = text[at:].lstrip()
    return [*pieces, text] if text or not pieces else pieces


def passive_xml(*, to: str, sender: str, text: str, created: int) -> str:
    """A passive text reply (公众平台 > 被动回复用户消息)."""
    return (
        f"<xml><ToUserName>{_cdata(to)}</ToUserName><FromUserName>{_cdata(sender)}</FromUserName>"
        f"<CreateTime>{created}</CreateTime><MsgType><![CDATA[text]]></MsgType>"
        f"<Content>{_cdata(text)}</Content></xml>"
    )


def _pressable(button: Button) -> str:
    label = _NOT_IN_LINK.sub(
        "", button.label
    )  # WeChat sends it back as it stands here, so it is not percent-coded
    return f'<a href="weixin://bizmsgmenu?msgmenucontent={label}&msgmenuid={quote(button.value)}">{label}</a>'


def _cdata(text: str) -> str:
    return "<![CDATA[" + text.replace("]]>", "]]]]><![CDATA[>") + "]]>"


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
