"""One SMS account: a provider's webhooks in, its HTTP interface out. docs/sms-adapter.md is the provider's side of this.

POST /sms/{account}            a message from a person
POST /sms/{account}/receipts   what became of a message of ours (Kannel: GET)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote, urlencode

import aiohttp
import orjson
import structlog
from aiohttp import web

from bot.channels import Button, OutboundMessage, SendFailed, Sent, StorageUnavailable
from bot.channels.sms import kannel, parse, signing
from bot.channels.sms.segments import pieces
from bot.channels.sms.signing import Refused
from bot.settings import ConfigProblem, SmsAccount
from bot.shell import Shell
from escalation import tasks

log = structlog.get_logger(__name__)

_MOST_BYTES: Final = 256 * 1024
_MOST_ANSWER: Final = 64 * 1024
_TIMEOUT: Final = aiohttp.ClientTimeout(total=14, sock_connect=5)
_WARN_EVERY: Final = timedelta(hours=1)
# Codes by which a provider says that no further try makes sense (docs/sms-adapter.md, "Messages from us").
_CANNOT_REACH: Final = frozenset({"dead_number", "unknown_number", "blocked", "template_refused"})


class SmsChannel:
    """See bot.channels.Channel."""

    name = "sms"
    passive_seconds = 0.0
    can_push = True

    def __init__(self, shell: Shell, account: SmsAccount) -> None:
        self.account = account.account
        self._settings = account
        self._shell = shell
        self._secret = account.secret.get_secret_value()
        self._prefix = signature(account.signature)
        self._session: aiohttp.ClientSession | None = None
        self._warned_at: datetime | None = None
        try:
            pieces("文", account.max_segments, prefix=self._prefix)
        except ValueError:
            raise ConfigProblem(
                f"sms.{self.account}：signature（签名）太长，max_segments 条短信里放不下正文"
            ) from None
        if account.flavour == "kannel" and not (
            account.send_user and account.send_password and account.sender
        ):
            raise ConfigProblem(
                f"sms.{self.account}：flavour 是 kannel 时要写 send_user、send_password 和 sender"
            )

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """The provider's two doors."""
        path = f"/sms/{self.account}"
        routes: list[web.AbstractRouteDef] = [
            web.post(path, self.receive),
            web.post(f"{path}/receipts", self.receipt),
        ]
        if self._settings.flavour == "kannel":
            routes.append(web.get(f"{path}/receipts", self.kannel_receipt, allow_head=False))
        return routes

    # --- in -----------------------------------------------------------------------------------------------------------

    async def receive(self, request: web.Request) -> web.Response:
        """A message from a person: 200 once it is stored, 503 when it could not be."""
        now = self._shell.clock()
        words = self._settings.opt_out_words
        try:
            body = await _body(request)
            stale = self._check(request.headers, body, now)
            if self._settings.flavour == "kannel":
                message = parse.kannel_message(
                    request.headers, request.query, body, account=self.account, opt_out_words=words, now=now
                )
            else:
                message = parse.generic_message(
                    request.headers.get("Content-Type", ""),
                    body,
                    account=self.account,
                    opt_out_words=words,
                    now=now,
                )
            stored = await self._shell.inbox.receive(message)
            if stale and stored.new:
                await self._warn_of_clocks(now)
        except Refused as refused:
            return self._refuse(refused)
        except StorageUnavailable:
            return web.Response(status=503, text="try again")
        return web.Response(text="")  # Kannel would send any words here back to the person

    async def receipt(self, request: web.Request) -> web.Response:
        """What became of a message: 200 once noted, 404 for an id we do not know (yet): try again."""
        try:
            body = await _body(request)
            self._check(request.headers, body, self._shell.clock())
            return await self._note(parse.generic_receipt(request.headers.get("Content-Type", ""), body))
        except Refused as refused:
            return self._refuse(refused)

    async def kannel_receipt(self, request: web.Request) -> web.Response:
        """The same from Kannel, which can only call an address: that carries an id and its key, no words."""
        try:
            signing.check_receipt_key(self._secret, request.query.get("id", ""), request.query.get("key", ""))
            return await self._note(parse.kannel_receipt(request.query))
        except Refused as refused:
            return self._refuse(refused)

    async def _note(self, receipt: parse.Receipt) -> web.Response:
        if not receipt.final:
            return web.Response(text="")
        try:
            known = await self._shell.outbox.receipt(
                "sms", self.account, receipt.provider_id, delivered=receipt.delivered, code=receipt.code
            )
        except StorageUnavailable:
            return web.Response(status=503, text="try again")
        return web.Response(text="") if known else web.Response(status=404, text="unknown_id")

    def _check(self, headers: Mapping[str, str], body: bytes, now: datetime) -> bool:
        """Raises Refused; True when the clocks differ."""
        if self._settings.auth == "hmac" and self._settings.flavour == "generic":
            return signing.check_signature(self._secret, headers, body, now)
        signing.check_token(self._secret, headers)
        return False

    async def _warn_of_clocks(self, now: datetime) -> None:
        if self._warned_at is not None and now < self._warned_at + _WARN_EVERY:
            return
        self._warned_at = now
        log.warning("sms.clock", account=self.account)
        await self._shell.storage.write(
            lambda session: tasks.open_task(
                session, "clock_warning", now=now, role="administrator", detail=f"sms:{self.account}"
            )
        )

    def _refuse(self, refused: Refused) -> web.Response:
        log.warning("sms.refused", account=self.account, reason=refused.reason, status=refused.status)
        return web.Response(status=refused.status, text=refused.reason)

    # --- out ----------------------------------------------------------------------------------------------------------

    async def send(self, message: OutboundMessage) -> Sent:
        """One message, or several where the text is longer than max_segments. Raises SendFailed."""
        if self._settings.fixed_wording:
            template = self._template(message.template)
            return await self._send_generic(message, {"template": template}, n=0)
        made = pieces(
            with_choices(message.text, message.buttons), self._settings.max_segments, prefix=self._prefix
        )
        if len(made) == 1:
            return await self._send_one(message, made[0], n=0)
        outbox = self._shell.outbox
        # After a failure half-way it goes on where it stopped; each piece has a receipt of its own.
        for n in range(await outbox.parts_taken(message.delivery_id, of=len(made)), len(made)):
            taken = await self._send_one(message, made[n], n=n)
            await outbox.part_taken(
                message.delivery_id,
                n,
                of=len(made),
                provider_id=taken.provider_id,
                urgent=message.lane == 0,
            )
        return Sent(final=False)

    async def _send_one(self, message: OutboundMessage, text: str, *, n: int) -> Sent:
        if self._settings.flavour == "kannel":
            return await self._send_kannel(message, text, n=n)
        return await self._send_generic(message, {"text": text}, n=n)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _template(self, source: str) -> str:
        """The provider's template for an approved text. An edited version needs a mapping of its own (key@version):
        the provider would send the wording it registered. Raises SendFailed for an unmapped text."""
        key, _, version = source.partition("@")
        mapped = self._settings.templates.get(source)
        if mapped is None and version in ("", "0"):
            mapped = self._settings.templates.get(key)
        if not source or mapped is None:
            raise SendFailed("unmapped_template", cannot_reach=True)
        return mapped

    async def _send_generic(self, message: OutboundMessage, what: Mapping[str, str], *, n: int) -> Sent:
        identifier = _identifier(message, n)
        fields = {"id": identifier, "to": message.address, **what}
        if self._settings.sender:
            fields["from"] = self._settings.sender
        # A lone surrogate that a counsellor's browser let through cannot be JSON; the rest of the words can.
        body = orjson.dumps({k: v.encode("utf-8", "replace").decode() for k, v in fields.items()})
        status, answer, later = await self._post(body, "application/json")
        _check_generic(status, answer, later)
        provider_id = answer.get("id")
        return Sent(provider_id if isinstance(provider_id, str) else identifier, final=False)

    async def _send_kannel(self, message: OutboundMessage, text: str, *, n: int) -> Sent:
        identifier = _identifier(message, n)
        password = self._settings.send_password
        assert password is not None
        body = kannel.submit(
            to=message.address,
            sender=self._settings.sender,
            text=text,
            user=self._settings.send_user,
            password=password.get_secret_value(),
            receipt_url=self._receipt_url(identifier),
        )
        status, answer, _ = await self._post(body, kannel.CONTENT_TYPE)
        kannel.check_taken(status, str(answer.get("text", "")))
        return Sent(identifier, final=False)

    def _receipt_url(self, identifier: str) -> str:
        server = self._shell.settings.server
        base = self._settings.receipts_url or server.public_url or f"http://{server.host}:{server.port}"
        query = urlencode({"id": identifier, "key": signing.receipt_key(self._secret, identifier)})
        return f"{base.rstrip('/')}/sms/{quote(self.account)}/receipts?{query}&type=%d"

    async def _post(self, body: bytes, content_type: str) -> tuple[int, dict[str, Any], float | None]:
        """Status, the answer (a JSON object, or {"text": …}) and Retry-After. Raises SendFailed."""
        failed: SendFailed
        try:
            if self._session is None:
                self._session = aiohttp.ClientSession(timeout=_TIMEOUT)
            headers = {"Content-Type": content_type, **self._authorisation(body)}
            async with self._session.post(
                self._settings.send_url, data=body, headers=headers, allow_redirects=False
            ) as response:
                raw = await response.content.read(_MOST_ANSWER)
                return response.status, _answer(raw), _seconds(response.headers.get("Retry-After", ""))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            failed = SendFailed("connect", retry=True, retry_after=2)
        except (TimeoutError, aiohttp.ClientError):
            failed = SendFailed("unanswered", retry=True, maybe_sent=True, retry_after=2)
        raise failed  # out here, so that the library's exception does not become its context

    def _authorisation(self, body: bytes) -> dict[str, str]:
        if self._settings.flavour == "kannel":
            return {}  # in the XML
        if self._settings.auth == "hmac":
            return signing.signed_headers(self._secret, body, self._shell.clock())
        password = self._settings.send_password
        if self._settings.send_user and password is not None:
            return {
                "Authorization": aiohttp.BasicAuth(
                    self._settings.send_user, password.get_secret_value()
                ).encode()
            }
        return {"Authorization": f"Bearer {self._secret}"}


def _identifier(message: OutboundMessage, n: int) -> str:
    """Our id of the message's piece `n` (from 0), the same over retries."""
    return str(message.delivery_id) if n == 0 else f"{message.delivery_id}-{n + 1}"


def _check_generic(status: int, answer: Mapping[str, Any], later: float | None) -> None:
    """Raises SendFailed unless the provider took the message."""
    if 200 <= status < 300:
        return
    code = re.sub(r"[^\w.\-]", "", str(answer.get("error", "")))[:40] or f"http_{status}"
    if status >= 500 or status == 429:
        raise SendFailed(code, retry=True, retry_after=later if later is not None else 2)
    if status in (401, 403):
        raise SendFailed("auth", retry=True, retry_after=60)
    raise SendFailed(code, cannot_reach=code in _CANNOT_REACH)


def with_choices(text: str, buttons: Sequence[Button]) -> str:
    """A telephone has no buttons: what may be answered is written out."""
    numbered = {line.partition(". ")[2] for line in text.splitlines()}  # a choice lists its titles itself
    labels = [b.label for b in buttons if b.label not in numbered]
    return f"{text}\n可回复：{' / '.join(labels)}" if labels else text


def signature(text: str) -> str:
    bare = text.strip().strip("【】")
    return f"【{bare}】" if bare else ""


def _answer(raw: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {"text": raw.decode("utf-8", "replace")}
    return answer if isinstance(answer, dict) else {}


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() and len(text) <= 5 else None


async def _body(request: web.Request) -> bytes:
    """The body, if it has a size that an SMS provider would send. Raises Refused."""
    if (request.content_length or 0) > _MOST_BYTES:
        raise Refused(413, "too_large")
    parts = bytearray()
    async for chunk in request.content.iter_any():
        parts += chunk
        if len(parts) > _MOST_BYTES:
            raise Refused(413, "too_large")
    return bytes(parts)
