"""Web chat: the page at /chat and the widget other sites show it by. First and last station of a web message's journey.

page (bot/web/widget) -> socket.py or channel.py -> frames.py -> bot/inbox.py … outbox -> thread.py -> page
"""

from __future__ import annotations

from bot.channels.webchat.channel import WebChat
from bot.settings import WebchatSection
from bot.shell import Shell

__all__ = ["WebChat", "make"]


def make(shell: Shell, settings: WebchatSection) -> WebChat:
    """The web chat of this desk."""
    return WebChat(shell, settings)
