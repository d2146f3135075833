"""Why the database cannot be used at start, in words for an operator. Addresses only: no password, no value."""

from __future__ import annotations

from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from bot.settings import reason

# PostgreSQL's own codes (appendix A of its manual).
_SERVER_SAYS = {
    "28P01": "口令不对",
    "28000": "不让这个用户从这台机器登录（pg_hba.conf）",
    "3D000": "没有这个库，请先建一个空库",
    "42501": "这个用户没有建表的权限",
    "53300": "连接数已满（max_connections）",
    "57P03": "正在启动，请稍后再试",
}


def explained(error: Exception, url: str) -> str | None:
    """What is wrong and what to do; None for what is no fault of the database's."""
    where = make_url(url)
    if where.get_backend_name() == "sqlite":
        return _sqlite(error, where.database or "")
    cause = error.orig if isinstance(error, DBAPIError) else error
    at = f"storage.url：PostgreSQL（{where.host or '本机'}:{where.port or 5432}，库 {where.database}，用户 {where.username}）"
    if isinstance(cause, PoolTimeout):
        return f"{at}等了很久没有回音"
    if isinstance(cause, OSError):
        return f"{at}连不上（{reason(cause)}）"
    code = getattr(cause, "sqlstate", None)
    if isinstance(code, str):
        return f"{at}{_SERVER_SAYS.get(code, '不能用')}（代码 {code}）"
    return _newer(error)


def _sqlite(error: Exception, path: str) -> str | None:
    if not isinstance(error, DBAPIError):
        return _newer(error)
    said = str(error.orig)
    for words, meaning in (
        ("unable to open", "打不开，请检查目录是否存在、有没有权限"),
        ("readonly", "没有写的权限"),
        ("not a database", "不是数据库文件，可能损坏了：停下来，从备份恢复（运行手册第 4 节）"),
        ("malformed", "已经损坏：停下来，从备份恢复（运行手册第 4 节）"),
        ("locked", "被别的程序锁住了，例如正在拷贝它的备份程序"),
        ("full", "写不进去，磁盘满了"),
    ):
        if words in said:
            return f"storage.url：数据库文件 {path} {meaning}"
    return None


def _newer(error: Exception) -> str | None:
    """Alembic does not know the revision: the database was brought up by a later version."""
    if type(error).__name__ == "CommandError":
        return "数据库是更新版本的程序升级过的，这个版本不能用它：装回新版本，或恢复升级前的备份（运行手册第 15 节）"
    return None
