"""A link into the web chat that works once: how a person goes on with a human where their channel cannot carry the talk.

The token is in the URL's fragment, which browsers do not send: it stays out of every log. 160 random bits need no slow hash; what
is stored is a keyed fingerprint, as a ReturnCode row that ends with its first use. The web chat page redeems it.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.tables import ReturnCode
from escalation.privacy import Vault

LIFE: Final = timedelta(hours=48)
FRAGMENT: Final = "link="


async def make_link(
    session: AsyncSession, vault: Vault, *, contact_id: int, public_url: str, now: datetime
) -> str:
    """A fresh link for this contact, `public_url`/chat#link=…; stored with the caller's transaction."""
    token = secrets.token_urlsafe(20)
    session.add(ReturnCode(code_hash=_hash(vault, token), contact_id=contact_id, created_at=now))
    return f"{public_url.rstrip('/')}/chat#{FRAGMENT}{token}"


async def redeem(session: AsyncSession, vault: Vault, token: str, now: datetime) -> int | None:
    """The contact behind a token, once; None for an unknown, used or old one."""
    row = await session.scalar(
        select(ReturnCode).where(ReturnCode.code_hash == _hash(vault, token)).with_for_update()
    )
    if row is None or row.revoked_at is not None or row.created_at < now - LIFE:
        return None
    row.used_at = row.revoked_at = now
    return row.contact_id


def _hash(vault: Vault, token: str) -> bytes:
    return vault.fingerprint("one-time link", token[:100])
