"""The master key: made once with mode 0600, checked at every start against the data it sealed."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.settings import ConfigProblem, StorageSection, check_private, reason
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
            f"{path}：主密钥不见了。请从备份恢复这个文件；没有它，存下的内容谁也读不出来。"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        why = reason(error) if isinstance(error, OSError) else "里面不是密钥"
        raise ConfigProblem(f"{path}：主密钥读不出来（{why}）") from None
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
            "主密钥（storage.master_key_file 或环境变量）不是这个数据库用的那一把，请换回对的密钥文件"
        )


def _vault(text: str, place: str) -> Vault:
    try:
        return Vault(bytes.fromhex(text.strip()))
    except (ValueError, KeyProblem):
        raise ConfigProblem(f"{place}：主密钥应为 {2 * KEY_BYTES} 个十六进制数字") from None
