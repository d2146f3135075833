"""What the page shows: the messages of one contact, both ways, and the receipt that they were seen.

The page says up to which message id it has (`after`) and which recent ones (`have`). Ids are made before the commit, so a
smaller id can appear after a larger one was read; therefore a look goes back `OVERLAP` behind `after` and adds every reply whose
delivery is still open, whatever its age. The page knows messages by id, so that nothing is lost and nothing doubled.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bot.tables import Delivery
from escalation.privacy import DataKey, Unreadable, Vault
from escalation.tables import Contact, Conversation, Message, Person

OVERLAP: Final = 60_000 << 22  # 60 s of ids (escalation/ids.py)
_AT_ONCE: Final = 100
_OPEN: Final = ("pending", "attempting", "sent", "unknown", "failed")
_SHOWN_KINDS: Final = ("text", "form")


async def read(
    session: AsyncSession, vault: Vault, contact_id: int, *, after: int | None, have: Collection[int]
) -> list[dict[str, Any]]:
    """The messages the page lacks, oldest first, at most 100 (with `after` 0: the newest 100). `after` None: only what was
    never delivered."""
    wrapped = await session.scalar(
        select(Person.data_key).join(Contact, Contact.person_id == Person.id).where(Contact.id == contact_id)
    )
    try:
        key = vault.person_key(wrapped)
    except Unreadable:  # erased: there is nothing left to show
        return []
    conversations = select(Conversation.id).where(Conversation.contact_id == contact_id)
    open_replies = select(Delivery.message_id).where(
        Delivery.contact_id == contact_id, Delivery.state.in_(_OPEN)
    )
    wanted: ColumnElement[bool] = Message.id.in_(open_replies)
    if after is not None:
        wanted = or_(Message.id > max(0, after - OVERLAP), wanted)
    rows = select(Message).where(
        Message.conversation_id.in_(conversations),
        wanted,
        Message.kind.in_(_SHOWN_KINDS),
        Message.state != "withdrawn",
        Message.text_sealed.is_not(None),
    )
    if have:
        rows = rows.where(Message.id.not_in(sorted(have)[-_AT_ONCE * 3 :]))
    newest_first = rows.order_by(Message.id.desc() if after == 0 else Message.id).limit(_AT_ONCE)
    found = sorted(await session.scalars(newest_first), key=lambda row: row.id)
    return [shown for shown in (_shown(row, key) for row in found if row.id not in have) if shown is not None]


async def settle(
    session: AsyncSession, contact_id: int, message_ids: Sequence[int], now: datetime
) -> set[int]:
    """The page has these replies: their deliveries end. Conversations in which something changed."""
    if not message_ids:
        return set()
    changed = await session.execute(
        update(Delivery)
        .where(
            Delivery.contact_id == contact_id, Delivery.message_id.in_(message_ids), Delivery.state.in_(_OPEN)
        )
        .values(state="delivered", via="pull", settled_at=now, error=None)
        .returning(Delivery.conversation_id)
    )
    return set(changed.scalars())


def _shown(row: Message, key: DataKey) -> dict[str, Any] | None:
    if row.text_sealed is None:
        return None
    try:
        text = key.open(row.text_sealed, "message.text")
        meta = json.loads(key.open(row.meta_sealed, "message.meta")) if row.meta_sealed else {}
    except (Unreadable, ValueError):
        return None
    inbound = row.direction == "in"
    shown: dict[str, Any] = {
        "id": str(row.id),
        "from": "me" if inbound else row.author,
        "text": text,
        "at": row.received_at.isoformat(timespec="seconds"),
    }
    if inbound:
        shown["client_id"] = str(meta.get("client_id", ""))
    elif meta.get("buttons"):
        shown["buttons"] = [{"label": str(b["label"]), "value": str(b["value"])} for b in meta["buttons"]]
    return shown
