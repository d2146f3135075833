"""Return codes: twelve characters by which a person comes back to their conversation on any device.

60 random bits from an alphabet without look-alikes (Crockford's base 32, https://www.crockford.com/base32.html), shown once,
on request. Stored only as HMAC(scrypt(code)) under the desk's key: neither the database alone nor the key alone gives a
code back. One look-up at a time in a process, few tries per address, few in all: at 30 tries a minute, finding one of a
million live codes by guessing takes 35,000 years on average. A wrong code is answered like an unknown, old or erased one, and
after the same time.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import unicodedata
from collections import OrderedDict, deque
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.tables import ReturnCode
from escalation.privacy import Vault

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH: Final = 12
_ALIKE: Final = str.maketrans({"O": "0", "I": "1", "L": "1", "U": "V"})
_LIFE: Final = timedelta(days=180)  # since it was made or last used
_LIVE_CODES: Final = 3  # per contact; asking for a fourth ends the oldest
# scrypt (RFC 7914) with N=2^15, r=8: 32 MiB and about 0.1 s on one core of a small machine.
_N, _R, _P = 2**15, 8, 1


def new_code() -> str:
    """A fresh code in groups: 7K3M-Q9TX-2HFD."""
    code = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
    return "-".join(code[i : i + 4] for i in range(0, LENGTH, 4))


def plain(typed: str) -> str:
    """What somebody typed, as a bare code: any case, full-width, with or without gaps, O for 0, I or L for 1."""
    folded = unicodedata.normalize("NFKC", typed[:100]).upper()
    return "".join(c for c in folded if c.isalnum()).translate(_ALIKE)[: LENGTH * 2]


class SlowHash:
    """Hashes codes one at a time, off the event loop."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._salt = vault.fingerprint("return code salt")
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, typed: str) -> bytes:
        """The stored form of a code. Costs the same whatever was typed."""
        secret = plain(typed).encode("utf-8", "surrogatepass")
        async with self._one_at_a_time:
            slow = await asyncio.to_thread(
                hashlib.scrypt, secret, salt=self._salt, n=_N, r=_R, p=_P, maxmem=64 * 1024 * 1024, dklen=32
            )
        return self._vault.fingerprint("return code", slow.hex())


async def keep(session: AsyncSession, contact_id: int, code_hash: bytes, now: datetime) -> None:
    """Store a code for a contact. The newest three stay good: an earlier one may already be on paper somewhere."""
    live = list(
        await session.scalars(
            select(ReturnCode)
            .where(ReturnCode.contact_id == contact_id, ReturnCode.revoked_at.is_(None))
            .order_by(ReturnCode.id.desc())
        )
    )
    for old in live[_LIVE_CODES - 1 :]:
        old.revoked_at = now
    session.add(
        ReturnCode(code_hash=code_hash, contact_id=contact_id, created_at=now, used_at=None, revoked_at=None)
    )


async def contact_behind(session: AsyncSession, code_hash: bytes, now: datetime) -> int | None:
    """The contact a code leads to, or None when it is unknown, ended or too old. Marks the code as used."""
    row = await session.scalar(select(ReturnCode).where(ReturnCode.code_hash == code_hash))
    if row is None or row.revoked_at is not None or (row.used_at or row.created_at) < now - _LIFE:
        return None
    row.used_at = now
    return row.contact_id


class Tries:
    """How often somebody may try: `most` in `within` seconds for each key. Counts in this process only.

    Keys are forgotten oldest first beyond `remember`, so that many addresses cannot fill the memory.
    """

    def __init__(self, most: int, within: float, *, remember: int = 10_000) -> None:
        self._most = most
        self._within = within
        self._remember = remember
        self._tries: OrderedDict[bytes, deque[float]] = OrderedDict()

    def wait(self, key: bytes, now: float) -> float:
        """Count a try. 0 when it may go ahead, else seconds until the next one may (and this one is not counted)."""
        times = self._tries.setdefault(key, deque())
        self._tries.move_to_end(key)
        if len(self._tries) > self._remember:
            self._tries.popitem(last=False)
        while times and times[0] <= now - self._within:
            times.popleft()
        if len(times) >= self._most:
            return times[0] + self._within - now
        times.append(now)
        return 0.0
