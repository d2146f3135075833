"""SMS by a provider's HTTP interface: a documented generic form, and Kannel's.

channel.py   webhooks in, sends out      parse.py     requests to values, opt-out words
signing.py   who is at the door          segments.py  what a text costs and where to cut it      kannel.py   Kannel's XML
"""

from __future__ import annotations

from bot.channels import Channel
from bot.channels.sms.channel import SmsChannel
from bot.settings import SmsAccount
from bot.shell import Shell

__all__ = ["make"]


def make(shell: Shell, account: SmsAccount) -> Channel:
    """The channel of one account. Raises ConfigProblem when its settings do not fit together."""
    return SmsChannel(shell, account)
