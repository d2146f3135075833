"""A provider's request becomes an InboundMessage or a Receipt. Pure: headers and bytes in, value out; Refused for all else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import Message as Headers
from typing import Any, Final
from urllib.parse import parse_qsl

from bot.channels import InboundMessage
from bot.channels.sms.signing import Refused

_LONGEST_ID: Final = 200
_TOKENS = re.compile(r"[^\w]+")
_LATIN = re.compile(r"[A-Za-z]")


@dataclass(frozen=True, slots=True)
class Receipt:
    """Whether a message of ours arrived. `final` is False for a stage on the way."""

    provider_id: str
    delivered: bool
    code: str
    final: bool = True


def generic_message(
    content_type: str, body: bytes, *, account: str, opt_out_words: Sequence[str], now: datetime
) -> InboundMessage:
    """docs/sms-adapter.md, "Messages to us": JSON or form with id, from, text, kind."""
    fields = _fields(content_type, body)
    mms = fields.get("kind", "text") != "text"
    text = fields.get("text", "")
    return _message(
        account, fields.get("id"), fields.get("from"), text, opt_out_words, now, unreadable=mms and not text
    )


def kannel_message(
    headers: Mapping[str, str],
    query: Mapping[str, str],
    body: bytes,
    *,
    account: str,
    opt_out_words: Sequence[str],
    now: datetime,
) -> InboundMessage:
    """Kannel's post-url: the words are the body, the rest is in X-Kannel headers, the id in the address (%I)."""
    described = Headers()
    described["Content-Type"] = headers.get("Content-Type", "text/plain")
    charset = described.get_content_charset("utf-8")
    unreadable = described.get_content_type() != "text/plain"  # 8-bit data, WAP push
    text = "" if unreadable else _decoded(body, charset)
    sender = headers.get("X-Kannel-From")
    return _message(account, query.get("id"), sender, text, opt_out_words, now, unreadable=unreadable)


def generic_receipt(content_type: str, body: bytes) -> Receipt:
    """docs/sms-adapter.md, "Receipts to us": id and state (delivered, failed, or a stage on the way), code."""
    fields = _fields(content_type, body)
    state = fields.get("state", "")
    if state not in ("delivered", "failed", "sent", "queued"):
        raise Refused(400, "no_state")
    return Receipt(
        _identifier(fields.get("id")),
        state == "delivered",
        _code(fields.get("code", "")),
        final=state in ("delivered", "failed"),
    )


def kannel_receipt(query: Mapping[str, str]) -> Receipt:
    """Kannel's dlr-url with type=%d: 1 delivered, 2 not delivered, 16 refused by the centre, 4 and 8 on the way."""
    kind = query.get("type", "")
    if kind not in ("1", "2", "4", "8", "16"):
        raise Refused(400, "no_state")
    code = {"2": "not_delivered", "16": "rejected"}.get(kind, "")
    return Receipt(_identifier(query.get("id")), kind == "1", code, final=kind in ("1", "2", "16"))


def telephone(number: str) -> str:
    """One way to write a number: 11 digits for a mainland mobile, else digits with + where there was one."""
    digits = re.sub(r"[\s\-()]", "", number)
    mainland = re.fullmatch(r"(?:\+?86|0086)?(1\d{10})", digits)
    if mainland:
        return mainland[1]
    if not re.fullmatch(r"\+?\d{3,20}", digits, re.ASCII):
        raise Refused(400, "no_from")
    return digits


def opts_out(text: str, words: Sequence[str]) -> bool:
    """Whether a text says that nothing more shall come on our initiative.

    A Chinese word must stand by itself (退订，谢谢), so that a question about it (怎么退订会员) is a question. A Latin one must
    begin the text and be its only Latin word: T is an opt-out, "R u there" is not.
    """
    tokens = _tokens(text)
    if not tokens:
        return False
    for word in (w.upper() for w in words):
        if not word.isascii():
            if word in tokens:
                return True
        elif tokens[0] == word and not any(_LATIN.search(t) for t in tokens[1:]):
            return True
    return False


def _tokens(text: str) -> list[str]:
    return [token.upper() for token in _TOKENS.split(text) if token]


def _message(
    account: str,
    provider_id: object,
    sender: object,
    text: str,
    opt_out_words: Sequence[str],
    now: datetime,
    *,
    unreadable: bool,
) -> InboundMessage:
    if not isinstance(sender, str):
        raise Refused(400, "no_from")
    meta: dict[str, Any] = {}
    if opts_out(text, opt_out_words):
        meta["opt_out"] = True
        if len(_tokens(text)) == 1:
            meta["command"] = "/stop"  # nothing else to answer
    return InboundMessage(
        channel="sms",
        account=account,
        sender=telephone(sender),
        provider_id=_identifier(provider_id),
        kind="image" if unreadable else "text",
        text=text,
        received_at=now,
        meta=meta,
        unreadable=unreadable,
    )


def _fields(content_type: str, body: bytes) -> dict[str, str]:
    """The fields of a JSON object or a form, numbers as text. A lone surrogate, which gateways make when they cut an
    emoji in two, is kept: losing the message over it is worse."""
    kind = content_type.partition(";")[0].strip().lower()
    try:
        if kind == "application/json":
            raw: Any = json.loads(body.decode("utf-8"))
        elif kind == "application/x-www-form-urlencoded":
            raw = dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=50))
        else:
            raise Refused(415, "content_type")
    except (ValueError, RecursionError):
        raise Refused(400, "malformed") from None
    if not isinstance(raw, dict):
        raise Refused(400, "malformed")
    return {
        key: value if isinstance(value, str) else str(value)
        for key, value in raw.items()
        if isinstance(value, str | int) and not isinstance(value, bool)
    }


def _decoded(body: bytes, charset: str) -> str:
    if charset.replace("_", "-") in ("utf-16be", "ucs-2", "iso-10646-ucs-2"):
        return body.decode("utf-16-be", "surrogatepass" if len(body) % 2 == 0 else "replace")
    return body.decode("utf-8", "replace")


def _identifier(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_ID:
        raise Refused(400, "no_id")
    return value


def _code(text: str) -> str:
    return re.sub(r"[^\w.\-]", "", text)[:40]
