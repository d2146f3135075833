"""The master key: made once with mode 0600, checked at every start against the data it sealed."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.settings import ConfigProblem, StorageSection, check_private
from bot.tables import Fact
from escalation.privacy import KEY_BYTES, KeyProblem, Vault


def load(section: StorageSection) -> Vault:
    """The vault of the key in the environment or in the key file. Raises ConfigProblem."""
    if section.master_key is not None:
        return _vault(section.master_key.get_secret_value(), "storage.master_key")
    path = section.master_key_file
    try:
        check_private(path)
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        raise ConfigProblem(
            f"{path}: the master key is missing. Restore it from its backup; without it nothing stored can be read."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigProblem(f"{path}: the master key cannot be read ({type(error).__name__})") from None
    return _vault(text, str(path))


def make(path: Path) -> bool:
    """Make a new key file with mode 0600. False when there is one already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(KEY_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return True


async def check(session: AsyncSession, vault: Vault) -> None:
    """Refuse a key that is not the one this database was sealed with; a new database remembers its key."""
    known = await session.scalar(select(Fact.value).where(Fact.name == "key_check"))
    if known is None:
        session.add(Fact(name="key_check", value=vault.check_value()))
    elif known != vault.check_value():
        raise ConfigProblem(
            "the master key is not the one this database was sealed with; use the right key file"
        )


def _vault(text: str, place: str) -> Vault:
    try:
        return Vault(bytes.fromhex(text.strip()))
    except (ValueError, KeyProblem):
        raise ConfigProblem(f"{place}: the master key must be {2 * KEY_BYTES} hex digits") from None
