"""One WeChat official account: its webhook in, customer-service messages out."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import structlog
from aiohttp import web

from bot.channels import OutboundMessage, SendFailed, Sent
from bot.channels.wechat import quota
from bot.channels.wechat.api import WechatApi
from bot.channels.wechat.envelope import Envelope
from bot.channels.wechat.reply import rendered, split
from bot.channels.wechat.webhook import PASSIVE_SECONDS, Webhook
from bot.outbox import BOT
from bot.settings import ConfigProblem, WechatAccount
from bot.shell import Shell

log = structlog.get_logger(__name__)


class WechatChannel:
    """See bot.channels.Channel. `can_push` is False for an account that is not verified."""

    name = "wechat"
    passive_seconds = PASSIVE_SECONDS

    def __init__(self, shell: Shell, account: WechatAccount) -> None:
        self.account = account.account
        self.can_push = account.verified
        self._shell = shell
        self._api: WechatApi | None = None
        if account.verified:
            if account.app_secret is None:
                raise ConfigProblem(f"wechat.{self.account}：认证的公众号（verified: true）要写 app_secret")
            self._api = WechatApi(
                account=self.account,
                app_id=account.app_id,
                app_secret=account.app_secret.get_secret_value(),
                base=account.api_base,
                storage=shell.storage,
                vault=shell.vault,
                clock=shell.clock,
            )
        elif not shell.settings.server.public_url:
            log.warning("wechat.no_public_url", account=self.account, missing="link into the web chat")
        self._webhook = Webhook(shell, account, _envelope(account))

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """GET and POST /wechat/{account}."""
        return self._webhook.routes()

    async def send(self, message: OutboundMessage) -> Sent:
        """One customer-service message, or several where the text is long. Raises SendFailed."""
        if self._api is None:
            raise SendFailed("unverified", cannot_reach=True)
        pieces = split(rendered(message))
        outbox, several = self._shell.outbox, len(pieces) > 1
        # After a failure half-way it goes on where it stopped.
        taken = await outbox.parts_taken(message.delivery_id, of=len(pieces)) if several else 0
        for n in range(taken, len(pieces)):
            try:
                await self._spend(message)
                await self._api.send_text(message.address, pieces[n])
            except SendFailed as failed:
                await self._recount(message, failed)
                raise
            if several:
                await outbox.part_taken(message.delivery_id, n, of=len(pieces), urgent=message.lane == 0)
        return Sent()

    async def typing(self, address: str, *, on: bool = True) -> None:
        """Show that somebody types; a failure is not worth telling."""
        if self._api is None:
            return
        try:
            await self._api.typing(address, on=on)
        except SendFailed as failed:
            log.info("wechat.typing_failed", account=self.account, code=failed.code)

    async def close(self) -> None:
        if self._api is not None:
            await self._api.close()

    async def _spend(self, message: OutboundMessage) -> None:
        now = self._shell.clock()
        code = await self._shell.storage.write(
            lambda session: quota.spend(session, message.contact_id, now), urgent=message.lane == 0
        )
        # WeChat has the last word where it matters: a safety text and a human's words are tried whatever we counted.
        if code and message.lane >= BOT:
            raise SendFailed(code, cannot_reach=True)

    async def _recount(self, message: OutboundMessage, failed: SendFailed) -> None:
        """After a refusal: WeChat's count holds where it says that nothing is left; what did not go out is not counted."""
        now = self._shell.clock()
        if failed.code in ("45015", "45047"):
            await self._shell.storage.write(lambda session: quota.spent(session, message.contact_id, now))
        elif not failed.maybe_sent:
            await self._shell.storage.write(lambda session: quota.refund(session, message.contact_id, now))


def _envelope(account: WechatAccount) -> Envelope:
    key = None
    if account.encoding_aes_key is not None:
        try:
            key = base64.b64decode(account.encoding_aes_key.get_secret_value() + "=", validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != 32:
            raise ConfigProblem(f"wechat.{account.account}：encoding_aes_key 应为公众平台上显示的 43 个字符")
    elif not account.plain_mode:
        raise ConfigProblem(f"wechat.{account.account}：缺少 encoding_aes_key")
    return Envelope(
        app_id=account.app_id,
        token=account.token.get_secret_value(),
        aes_key=key,
        plain_mode=account.plain_mode,
    )
