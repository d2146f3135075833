"""Who works here: roles, what each may do, and passwords.

Roles follow the desk: 咨询员 counsellor, 督导 supervisor, knowledge curator, administrator. An administrator looks after staff
and settings and does not read conversations; whoever must do both has two accounts.
"""

from __future__ import annotations

import secrets
from datetime import datetime
from functools import cache
from typing import Final, Literal, get_args

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from escalation.tables import Staff

Role = Literal["counsellor", "supervisor", "curator", "administrator"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
ROLE_NAMES: Final[dict[str, str]] = {
    "counsellor": "咨询员",
    "supervisor": "督导",
    "curator": "知识编辑",
    "administrator": "管理员",
}

_EVERYBODY = {"password.change", "entries.read", "desk.read"}
_COUNSELLOR = _EVERYBODY | {
    "look", "claim", "reply", "note", "transfer", "hand_back", "assess", "close", "search",
    "alerts.read", "acknowledge", "decide", "duty", "tasks.read", "tasks.done",
    "safe_contact", "nuisance.propose", "rescue.open", "rescue.tell", "rescue.approve", "rescue.close",
    "network_address", "erasure.request", "shifts.read", "templates.read", "mark",
}  # fmt: skip
_SUPERVISOR = _COUNSELLOR | {
    "nuisance.confirm", "erasure.approve", "legal_hold", "records.read", "shifts.manage", "audit.read",
    "templates.draft", "templates.approve", "staff.read", "review", "drift.read",
    "entries.desk", "entries.approve",
}  # fmt: skip
_CURATOR = _EVERYBODY | {
    "entries.desk", "entries.edit", "entries.approve", "templates.read", "templates.draft", "templates.approve", "review",
}  # fmt: skip
_ADMINISTRATOR = _EVERYBODY | {
    "staff.read", "staff.manage", "shifts.read", "shifts.manage", "audit.read", "records.read",
    "templates.read", "templates.draft", "templates.approve", "tasks.read", "tasks.done", "drift.read",
}  # fmt: skip
PERMISSIONS: Final[dict[str, frozenset[str]]] = {
    "counsellor": frozenset(_COUNSELLOR),
    "supervisor": frozenset(_SUPERVISOR),
    "curator": frozenset(_CURATOR),
    "administrator": frozenset(_ADMINISTRATOR),
}
# argon2id with the library's defaults, which follow RFC 9106's second recommendation (64 MiB, 3 passes, 4 lanes).
_HASHER: Final = PasswordHasher()
MIN_PASSWORD: Final = 10  # characters


class LoginTaken(Exception):
    """Another member of staff has this login name."""


def may(role: str, action: str) -> bool:
    """Whether `role` may do `action` (the names in PERMISSIONS)."""
    return action in PERMISSIONS.get(role, frozenset())


def hash_password(password: str) -> str:
    """argon2id hash for storing. Takes tens of milliseconds of a core: call it in a thread."""
    return _HASHER.hash(password)


def verify_password(password_hash: str | None, password: str) -> bool:
    """Whether `password` is the one behind the hash. `None` (no such login) takes as long and is False."""
    try:
        _HASHER.verify(password_hash or _nobody(), password)
    except (VerificationError, InvalidHashError):
        return False
    return password_hash is not None


@cache
def _nobody() -> str:
    """A hash that no password has: looked at where there is no such login, so that both take as long."""
    return _HASHER.hash(secrets.token_urlsafe(16))


def one_time_password() -> str:
    """A first password to be changed at first login: about 79 bits, without letters that look alike."""
    alphabet = "abcdefghjkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(alphabet) for _ in range(4)) for _ in range(4))


async def create(
    session: AsyncSession,
    *,
    login: str,
    name: str,
    role: str,
    desk: str,
    password_hash: str,
    now: datetime,
    must_change_password: bool = True,
    demonstration: bool = False,
) -> Staff:
    """A new member of staff. Raises ValueError for an unknown role or an empty login, LoginTaken for a known login."""
    login = login.strip()
    if role not in ROLES or not login:
        raise ValueError("a member of staff needs a login and one of the four roles")
    if await by_login(session, login) is not None:
        raise LoginTaken
    member = Staff(
        login=login,
        name=name.strip() or login,
        role=role,
        desk=desk,
        password_hash=password_hash,
        must_change_password=must_change_password,
        telephone_sealed=None,
        active=True,
        demonstration=demonstration,
        created_at=now,
    )
    session.add(member)
    await session.flush()
    return member


async def by_login(session: AsyncSession, login: str) -> Staff | None:
    """Logins are found whatever their case."""
    found = await session.scalars(select(Staff).where(func.lower(Staff.login) == login.strip().lower()))
    return found.first()


async def anybody(session: AsyncSession) -> bool:
    """Whether any member of staff exists (else the first start makes an administrator)."""
    return await session.scalar(select(Staff.id).limit(1)) is not None
