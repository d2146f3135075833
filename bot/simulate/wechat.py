"""A WeChat platform: persons who write to an official account, and the API the account calls back.

It pushes signed messages (encrypted or plain), waits 5 s for each of three deliveries, checks and decrypts what comes back, and serves
the access token and customer-service calls with WeChat's codes and quotas. What a person would see on the telephone is in
`Person.seen`. The cryptography is written here anew and shares nothing with the gateway's, so that the two check each other.
Sources: 公众平台 > 消息加解密说明, 接收普通消息, 被动回复用户消息, 客服消息, 获取稳定版接口调用凭据, 全局返回码说明.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import aiohttp
import orjson
from aiohttp import web
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from bot.channels.wechat.envelope import Refused, flat_xml

UNAVAILABLE: Final = "该公众号暂时无法提供服务，请稍后再试"
_DELIVERIES: Final = 3
_MOST_TEXT: Final = 2048  # bytes
_BLOCK: Final = 32

How = Literal["passive", "custom", "system"]


@dataclass(slots=True)
class Fault:
    """What the API does with one call instead of serving it.

    `code`: answer with this errcode. `status`: answer with this HTTP status. `seconds`: wait so long first. `served`: carry
    the call out all the same before failing (a time-out after the message went through).
    """

    code: int = 0
    status: int = 0
    seconds: float = 0
    served: bool = False


@dataclass(slots=True)
class Delivery:
    """One attempt to hand a message over: what came back, after how long."""

    status: int | None  # None: no answer in time, or no connection
    body: str
    seconds: float
    reply: str | None = None  # text of a good passive reply
    problem: str = ""


@dataclass(slots=True)
class Push:
    """One message or event on its way, with its one to three deliveries."""

    fields: Mapping[str, str]
    deliveries: list[Delivery] = field(default_factory=list)

    @property
    def reply(self) -> str | None:
        return next((d.reply for d in self.deliveries if d.reply is not None), None)

    @property
    def accepted(self) -> bool:
        return bool(self.deliveries) and self.deliveries[-1].status == 200


@dataclass(slots=True)
class Person:
    """Somebody with WeChat on the telephone."""

    platform: WechatPlatform
    openid: str
    seen: list[tuple[How, str]] = field(default_factory=list)
    follows: bool = True
    window_until: float = 0  # 48 h after a message
    window_left: int = 0
    minute_until: float = 0  # 1 min after an event
    minute_left: int = 0
    typing: bool = False

    async def says(self, text: str, **more: str) -> Push:
        """A text message."""
        return await self.sends("text", Content=text, **more)

    async def sends(self, kind: str, **fields: str) -> Push:
        """A message of any type, with its fields as WeChat names them."""
        now = self.platform.clock()
        self.window_until, self.window_left = now + 48 * 3600, 5
        fields.setdefault("MsgId", str(self.platform.next_id()))
        return await self.platform.push(self, {"MsgType": kind, **fields})

    async def does(self, event: str, key: str = "") -> Push:
        """subscribe, unsubscribe, SCAN, CLICK or any other event."""
        now = self.platform.clock()
        if event.lower() in ("subscribe", "scan", "click"):
            self.minute_until, self.minute_left = now + 60, 3
        if event == "unsubscribe":
            self.follows = False
        elif event == "subscribe":
            self.follows = True
        return await self.platform.push(self, {"MsgType": "event", "Event": event, "EventKey": key})

    def texts(self, how: How | None = None) -> list[str]:
        """What the person sees, all of it or one kind."""
        return [text for kind, text in self.seen if how is None or kind == how]

    def take_quota(self) -> int:
        """0 when one more customer-service message may come, else WeChat's code."""
        now = self.platform.clock()
        if not self.follows:
            return 43004
        if now < self.minute_until and self.minute_left > 0:
            self.minute_left -= 1
            return 0
        if now < self.window_until and self.window_left > 0:
            self.window_left -= 1
            return 0
        return 45047 if now < max(self.window_until, self.minute_until) else 45015


class WechatPlatform:
    """One official account as WeChat's servers see it. `webhook` is where its messages are pushed.

    `patience`: seconds waited for each delivery (WeChat: 5). `clock`: epoch seconds; tests may move it.
    """

    def __init__(
        self,
        *,
        webhook: str = "",
        app_id: str = "wx00000000000000aa",
        app_secret: str = "simulated",  # noqa: S107 (not a secret: it is only played)
        token: str = "simulated",  # noqa: S107
        aes_key: str = "",
        encrypted: bool = True,
        patience: float = 5.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.webhook = webhook
        self.app_id = app_id
        self.app_secret = app_secret
        self.token = token
        self.aes_key = aes_key or new_aes_key()
        self.encrypted = encrypted
        self.patience = patience
        self.clock = clock
        self.account_name = "gh_" + secrets.token_hex(6)
        self.persons: dict[str, Person] = {}
        self.faults: deque[Fault] = deque()
        self.token_faults: deque[Fault] = deque()
        self.token_seconds = 7200
        self.tokens_given = 0
        self.calls: list[tuple[str, dict[str, Any], int]] = []  # path, body, errcode
        self.daily_calls_left = 500_000
        self._access_token = ""
        self._access_token_until = 0.0
        self._last_id = int(time.time() * 1000) << 20
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self.api_base = ""

    async def start(self, *, host: str = "127.0.0.1", port: int = 0) -> str:
        """Serve the API; returns its base URL."""
        app = web.Application()
        app.add_routes(
            [
                web.post("/cgi-bin/stable_token", self._stable_token),
                web.post("/cgi-bin/message/custom/send", self._send),
                web.post("/cgi-bin/message/custom/typing", self._typing),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        address = self._runner.addresses[0]
        self.api_base = f"http://{address[0]}:{address[1]}"
        return self.api_base

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def person(self, openid: str = "") -> Person:
        """A person by openid; a new one with an invented openid when none is given."""
        openid = openid or "o" + secrets.token_urlsafe(20)
        return self.persons.setdefault(openid, Person(self, openid))

    def next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def revoke_token(self) -> None:
        """As when another program fetches a token for the same account: the one in use is refused from now on."""
        self._access_token = ""

    # --- pushing ------------------------------------------------------------------------------------------------------

    async def verify_url(self) -> bool:
        """What WeChat does when an administrator enters the address."""
        echo = secrets.token_hex(8)
        query = {**self.signed_query(), "echostr": echo}
        async with self._http().get(self.webhook, params=query) as response:
            return response.status == 200 and await response.text() == echo

    async def push(self, person: Person, fields: Mapping[str, str]) -> Push:
        """Deliver up to three times, as WeChat does, and show the person what came of it."""
        created = str(int(self.clock()))
        full = {
            "ToUserName": self.account_name,
            "FromUserName": person.openid,
            "CreateTime": created,
            **fields,
        }
        push = Push(full)
        for _ in range(_DELIVERIES):
            delivery = await self.deliver(full)
            push.deliveries.append(delivery)
            if delivery.status == 200:
                if delivery.problem:
                    person.seen.append(("system", UNAVAILABLE))
                elif delivery.reply is not None:
                    person.seen.append(("passive", delivery.reply))
                return push
        person.seen.append(("system", UNAVAILABLE))
        return push

    async def deliver(self, fields: Mapping[str, str]) -> Delivery:
        """One delivery of these fields."""
        query, body = self.sealed(fields)
        started = time.monotonic()
        try:
            async with self._http().post(
                self.webhook,
                params=query,
                data=body,
                headers={"Content-Type": "text/xml"},
                timeout=aiohttp.ClientTimeout(total=self.patience),
            ) as response:
                text = await response.text()
                delivery = Delivery(response.status, text, time.monotonic() - started)
        except (TimeoutError, aiohttp.ClientError) as error:
            return Delivery(None, "", time.monotonic() - started, problem=type(error).__name__)
        if delivery.status == 200:
            self._read_reply(delivery, fields)
        return delivery

    def sealed(self, fields: Mapping[str, str], *, at: int | None = None) -> tuple[dict[str, str], bytes]:
        """Query and body of a push of these fields, signed at `at` (epoch seconds; now by default)."""
        inner = (
            "<xml>"
            + "".join(
                f"<{name}>{value}</{name}>"
                if name in ("CreateTime", "MsgId")
                else f"<{name}><![CDATA[{value.replace(']]>', ']]]]><![CDATA[>')}]]></{name}>"
                for name, value in fields.items()
            )
            + "</xml>"
        )
        return self.sealed_xml(inner, at=at, openid=fields.get("FromUserName", ""))

    def sealed_xml(
        self, inner: str, *, at: int | None = None, openid: str = "", app_id: str = ""
    ) -> tuple[dict[str, str], bytes]:
        """The same for any inner document, so that tests can push what WeChat never would."""
        query = {**self.signed_query(at=at), "openid": openid}
        if not self.encrypted:
            return query, inner.encode()
        return self.sealed_bytes(encrypt(self.aes_key, inner.encode(), app_id or self.app_id), query)

    def sealed_bytes(self, ciphertext: str, query: Mapping[str, str]) -> tuple[dict[str, str], bytes]:
        """A push whose <Encrypt> is `ciphertext`, correctly signed whatever it is."""
        signature = sign(self.token, query["timestamp"], query["nonce"], ciphertext)
        body = f"<xml><ToUserName><![CDATA[{self.account_name}]]></ToUserName><Encrypt><![CDATA[{ciphertext}]]></Encrypt></xml>"
        return {**query, "encrypt_type": "aes", "msg_signature": signature}, body.encode()

    def signed_query(self, *, at: int | None = None) -> dict[str, str]:
        timestamp = str(int(self.clock()) if at is None else at)
        nonce = str(secrets.randbelow(10**9))
        return {"signature": sign(self.token, timestamp, nonce), "timestamp": timestamp, "nonce": nonce}

    def _read_reply(self, delivery: Delivery, fields: Mapping[str, str]) -> None:
        """A 200 must be empty, "success", or a reply that WeChat can open; anything else shows the fault text."""
        if delivery.body in ("", "success"):
            return
        try:
            outer = flat_xml(delivery.body.encode())
            inner = self._opened(outer) if self.encrypted else outer
            if inner["ToUserName"] != fields["FromUserName"] or inner["FromUserName"] != self.account_name:
                raise ValueError("wrong addresses")
            if inner["MsgType"] != "text" or not inner["Content"]:
                raise ValueError("no text")
            if len(inner["Content"].encode()) > _MOST_TEXT:
                raise ValueError("too long")
            delivery.reply = inner["Content"]
        except (Refused, KeyError, ValueError) as error:
            delivery.problem = f"{type(error).__name__}: {error}"

    def _opened(self, outer: Mapping[str, str]) -> dict[str, str]:
        sealed = outer["Encrypt"]
        if outer["MsgSignature"] != sign(self.token, outer["TimeStamp"], outer["Nonce"], sealed):
            raise ValueError("wrong signature")
        text, app_id = decrypt(self.aes_key, sealed)
        if app_id != self.app_id:
            raise ValueError("wrong AppID")
        return flat_xml(text)

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return self._session

    # --- the API ------------------------------------------------------------------------------------------------------

    async def _stable_token(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        if self.token_faults and (answer := await self._fail(self.token_faults.popleft())) is not None:
            return answer
        if body.get("appid") != self.app_id:
            return _coded(40013, "invalid appid")
        if body.get("secret") != self.app_secret:
            return _coded(40125, "invalid appsecret")
        now = self.clock()
        if body.get("force_refresh") or not self._access_token or now >= self._access_token_until:
            self._access_token = secrets.token_urlsafe(60)
            self._access_token_until = now + self.token_seconds
            self.tokens_given += 1
        left = int(self._access_token_until - now)
        return web.json_response({"access_token": self._access_token, "expires_in": left})

    async def _send(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        fault = self.faults.popleft() if self.faults else None
        if fault is not None and not fault.served and (answer := await self._fail(fault)) is not None:
            return answer
        code = self._check_call(request) or self._take(body)
        self.calls.append(("custom/send", body, code))
        if fault is not None and fault.served and (answer := await self._fail(fault)) is not None:
            return answer
        return _coded(code, "ok" if code == 0 else "refused")

    def _take(self, body: Mapping[str, Any]) -> int:
        person = self.persons.get(str(body.get("touser")))
        if person is None:
            return 40003
        text = body.get("text", {}).get("content", "") if body.get("msgtype") == "text" else None
        if text is None:
            return 40008
        if not text:
            return 44004
        if len(text.encode()) > _MOST_TEXT:
            return 45002
        code = person.take_quota()
        if code == 0:
            person.seen.append(("custom", text))
        return code

    async def _typing(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        code = self._check_call(request)
        person = self.persons.get(str(body.get("touser")))
        if code == 0 and person is None:
            code = 40003
        if code == 0 and person is not None:
            person.typing = body.get("command") == "Typing"
        self.calls.append(("custom/typing", body, code))
        return _coded(code, "ok" if code == 0 else "refused")

    def _check_call(self, request: web.Request) -> int:
        token = request.query.get("access_token", "")
        if not self._access_token or token != self._access_token:
            return 40001
        if self.clock() >= self._access_token_until:
            return 42001
        if self.daily_calls_left <= 0:
            return 45009
        self.daily_calls_left -= 1
        return 0

    async def _fail(self, fault: Fault) -> web.Response | None:
        if fault.seconds:
            await asyncio.sleep(fault.seconds)
        if fault.status:
            return web.Response(status=fault.status, text="fault")
        return _coded(fault.code, "fault") if fault.code else None


def sign(*parts: str) -> str:
    """WeChat's signature: SHA-1 over the sorted parts."""
    return hashlib.sha1("".join(sorted(parts)).encode()).hexdigest()  # noqa: S324 (WeChat's protocol)


def new_aes_key() -> str:
    """An EncodingAESKey: 43 characters."""
    return base64.b64encode(secrets.token_bytes(32)).decode()[:43]


def encrypt(aes_key: str, text: bytes, app_id: str) -> str:
    """random(16) + length + text + AppID, padded to 32, AES-256-CBC with the key's first 16 bytes as IV, base64."""
    key = base64.b64decode(aes_key + "=")
    plain = secrets.token_bytes(16) + struct.pack(">I", len(text)) + text + app_id.encode()
    pad = _BLOCK - len(plain) % _BLOCK
    cipher = Cipher(algorithms.AES(key), modes.CBC(key[:16])).encryptor()
    return base64.b64encode(cipher.update(plain + bytes([pad]) * pad) + cipher.finalize()).decode()


def decrypt(aes_key: str, sealed: str) -> tuple[str, str]:
    """Text and AppID. Raises ValueError for anything not properly sealed."""
    key = base64.b64decode(aes_key + "=")
    cipher = Cipher(algorithms.AES(key), modes.CBC(key[:16])).decryptor()
    plain = cipher.update(base64.b64decode(sealed, validate=True)) + cipher.finalize()
    pad = plain[-1]
    if not 1 <= pad <= _BLOCK or plain[-pad:] != bytes([pad]) * pad:
        raise ValueError("bad padding")
    (length,) = struct.unpack(">I", plain[16:20])
    rest = plain[20:-pad]
    return rest[:length].decode(), rest[length:].decode()


def _coded(code: int, text: str) -> web.Response:
    return web.json_response({"errcode": code, "errmsg": text})
