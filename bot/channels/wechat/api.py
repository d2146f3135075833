"""The few calls we make to WeChat: the access token and customer-service messages.

The token travels in the URL of every call (WeChat's API knows no other way). aiohttp's exceptions carry the URL; therefore none of
them leaves this file, not even as the cause or context of ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import aiohttp
import orjson
import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from bot.channels import SendFailed
from bot.storage import Storage
from bot.tables import AccessToken
from escalation.privacy import Unreadable, Vault

log = structlog.get_logger(__name__)

_PLACE: Final = "access_token.token"
_REFRESH_LOCK: Final = timedelta(
    seconds=15
)  # a process that died refreshing blocks the others no longer than this
_EARLY: Final = timedelta(minutes=5)  # a token this close to its end is renewed
_TIMEOUT: Final = aiohttp.ClientTimeout(total=15, sock_connect=5)
_MOST_ANSWER: Final = 1_000_000

# Codes: 公众平台 > 全局返回码说明.
_TOKEN_REFUSED: Final = frozenset({40001, 40014, 42001})
_CANNOT_REACH: Final = frozenset(
    {
        45015,  # more than 48 h since the person wrote
        45047,  # quota of customer-service messages spent
        40003,  # no such person for this account
        43004,  # the person no longer follows
        48001,  # this account may not use the call
        48002,  # the person refuses messages
    }
)
_LATER: Final[Mapping[int, float]] = {
    -1: 1.0,  # busy
    45009: 600.0,  # calls of the day spent; an administrator can have the count cleared
    45011: 30.0,  # too many calls a minute
    40164: 60.0,  # our network address is not on the account's list: an administrator can put it there
    40013: 60.0,  # AppID and
    40125: 60.0,  # secret: a wrong config can be mended while the message waits
}


@dataclass(frozen=True, slots=True)
class _Token:
    value: str
    until: datetime


class WechatApi:
    """Customer-service calls of one verified account, with the token all processes share."""

    def __init__(
        self,
        *,
        account: str,
        app_id: str,
        app_secret: str,
        base: str,
        storage: Storage,
        vault: Vault,
        clock: Callable[[], datetime],
    ) -> None:
        self._key = f"wechat:{account}"
        self._app_id = app_id
        self._app_secret = app_secret
        self._base = base.rstrip("/")
        self._storage = storage
        self._vault = vault
        self._clock = clock
        self._token: _Token | None = None
        self._refreshing = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def send_text(self, openid: str, text: str) -> None:
        """One customer-service text. Raises SendFailed."""
        await self._authorised(
            "/cgi-bin/message/custom/send", {"touser": openid, "msgtype": "text", "text": {"content": text}}
        )

    async def typing(self, openid: str, *, on: bool) -> None:
        """Show or hide "对方正在输入". Raises SendFailed."""
        command = "Typing" if on else "CancelTyping"
        await self._authorised("/cgi-bin/message/custom/typing", {"touser": openid, "command": command})

    async def _authorised(self, path: str, body: Mapping[str, Any]) -> None:
        """Call with the token; a refused token is renewed once and the call made again."""
        token = await self._current(refused="")
        code = await self._code(path, token, body)
        if code in _TOKEN_REFUSED:
            token = await self._current(refused=token)
            code = await self._code(path, token, body)
        if code != 0:
            raise _failure(code)

    async def _code(self, path: str, token: str, body: Mapping[str, Any]) -> int:
        return _code_of(await self._post(path, body, {"access_token": token}))

    async def _current(self, *, refused: str) -> str:
        """A token that is not `refused`. Raises SendFailed."""
        async with self._refreshing:
            known = self._token
            if known is None or known.value == refused or known.until - _EARLY <= self._clock():
                known = self._token = await self._shared(refused)
            return known.value

    async def _shared(self, refused: str) -> _Token:
        """The token in the database; renewed by whichever process takes the lock first."""
        for _ in range(50):
            found = await self._storage.write(lambda session: self._look_or_lock(session, refused))
            match found:
                case _Token():
                    return found
                case "ours":
                    return await self._renew(refused)
                case "theirs":
                    await asyncio.sleep(0.3)
        raise SendFailed("token_busy", retry=True, retry_after=5)

    async def _look_or_lock(self, session: AsyncSession, refused: str) -> _Token | Literal["ours", "theirs"]:
        """The shared token if it is good; else whose turn it is to renew it."""
        now = self._clock()
        row = await _locked_row(session, self._key)
        if row.token_sealed is not None and row.expires_at is not None and row.expires_at - _EARLY > now:
            try:
                value = self._vault.desk.open(row.token_sealed, _PLACE)
            except Unreadable:
                value = refused
            if value != refused:
                return _Token(value, row.expires_at)
        if row.refreshing_until is not None and row.refreshing_until > now:
            return "theirs"
        row.refreshing_until = now + _REFRESH_LOCK
        return "ours"

    async def _renew(self, refused: str) -> _Token:
        """Fetch a token and share it. stable_token gives the one in force until it ends; only when that very token was
        refused do we force a new one (20 a day)."""
        try:
            token = await self._fetch(force=False)
            if token.value == refused:
                token = await self._fetch(force=True)
        except SendFailed:
            await self._storage.write(lambda session: self._share(session, None))
            raise
        await self._storage.write(lambda session: self._share(session, token))
        return token

    async def _share(self, session: AsyncSession, token: _Token | None) -> None:
        row = await _locked_row(session, self._key)
        row.refreshing_until = None
        if token is not None:
            row.token_sealed = self._vault.desk.seal(token.value, _PLACE)
            row.expires_at = token.until

    async def _fetch(self, *, force: bool) -> _Token:
        answer = await self._post(
            "/cgi-bin/stable_token",
            {
                "grant_type": "client_credential",
                "appid": self._app_id,
                "secret": self._app_secret,
                "force_refresh": force,
            },
            {},
            repeatable=True,
        )
        value, seconds = answer.get("access_token"), answer.get("expires_in")
        if not isinstance(value, str) or not value or not isinstance(seconds, int):
            code = _code_of(answer)
            log.error("wechat.token_refused", account=self._key, code=code)
            raise SendFailed(f"token_{code}", retry=True, retry_after=_LATER.get(code, 60.0))
        return _Token(value, self._clock() + timedelta(seconds=seconds))

    async def _post(
        self, path: str, body: Mapping[str, Any], query: Mapping[str, str], *, repeatable: bool = False
    ) -> dict[str, Any]:
        """POST JSON, JSON back. Raises SendFailed; nothing of aiohttp's own gets out.

        `repeatable`: doing it twice does no harm, so an unknown outcome is simply tried again.
        """
        failed: SendFailed
        try:
            if self._session is None:
                self._session = aiohttp.ClientSession(timeout=_TIMEOUT)
            async with self._session.post(
                self._base + path,
                params=query,
                data=orjson.dumps(body),
                headers={"Content-Type": "application/json; charset=utf-8"},
                allow_redirects=False,
            ) as response:
                raw = await response.content.read(_MOST_ANSWER)
                status = response.status
            answer = orjson.loads(raw) if status == 200 else None
            if isinstance(answer, dict):
                return answer
            failed = SendFailed(f"http_{status}", retry=status >= 500 or status == 429, retry_after=2)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            failed = SendFailed("connect", retry=True, retry_after=2)
        except (TimeoutError, aiohttp.ClientError):
            failed = SendFailed("unanswered", retry=True, maybe_sent=not repeatable, retry_after=2)
        except ValueError:  # not JSON
            failed = SendFailed("answer_unreadable", retry=True, maybe_sent=not repeatable)
        raise failed  # out here, so that no exception holding the URL becomes its context


async def _locked_row(session: AsyncSession, key: str) -> AccessToken:
    row = await session.get(AccessToken, key, with_for_update=True)
    if row is not None:
        return row
    try:
        async with session.begin_nested():
            session.add(AccessToken(account=key))
            await session.flush()
    except IntegrityError:  # another process was quicker
        pass
    return await session.get_one(AccessToken, key, with_for_update=True, populate_existing=True)


def _code_of(answer: Mapping[str, Any]) -> int:
    code = answer.get("errcode", 0)
    return code if isinstance(code, int) else -1


def _failure(code: int) -> SendFailed:
    if code in _CANNOT_REACH:
        return SendFailed(str(code), cannot_reach=True)
    if code in _LATER:
        return SendFailed(str(code), retry=True, retry_after=_LATER[code])
    if code in _TOKEN_REFUSED:
        return SendFailed(str(code), retry=True, retry_after=60)
    return SendFailed(str(code))
