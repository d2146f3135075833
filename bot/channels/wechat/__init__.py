"""WeChat official accounts: pushes in (encrypted, signed), passive replies and customer-service messages out.

webhook.py   a delivery: envelope.py verifies and decrypts, parse.py reads, the inbox stores, the reply rides back
channel.py   what the sender carries: reply.py renders, quota.py counts, api.py calls
"""

from __future__ import annotations

from bot.channels import Channel
from bot.channels.wechat.channel import WechatChannel
from bot.settings import WechatAccount
from bot.shell import Shell

__all__ = ["make"]


def make(shell: Shell, account: WechatAccount) -> Channel:
    """The channel of one account. Raises ConfigProblem when its settings do not fit together."""
    return WechatChannel(shell, account)
