"""The JSON API of the workbench under /api, its live socket and its documentation. `setup` attaches it to the application."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from bot.policy import policy_of
from bot.shell import SHELL, Shell
from bot.web import security
from bot.web.api import (
    account,
    case_entries,
    conversations,
    desk,
    drift,
    entry_files,
    knowledge,
    laws,
    live,
    openapi,
    records,
    review,
    safety,
    staff,
    templates,
    unanswered,
)
from bot.web.api.looks import Looks
from bot.web.api.operations import LIMITER, SESSIONS, new_limiter, operations, refusals, route
from bot.web.sessions import Sessions

__all__ = ["setup"]
_PARTS = (
    account,
    desk,
    conversations,
    safety,
    staff,
    templates,
    records,
    review,
    drift,
    laws,
    knowledge,
    unanswered,
    entry_files,
    case_entries,
)
_DOCS = Path(__file__).parent.parent / "static" / "docs"


def setup(app: web.Application, shell: Shell) -> None:
    """Add the API to `app`: routes, checks, headers."""
    app.setdefault(SHELL, shell)
    security.setup(app)
    api = web.Application(middlewares=[refusals])
    api[SESSIONS] = Sessions(shell)
    api[LIMITER] = new_limiter()
    api[conversations.LOOKS] = Looks()
    api[conversations.POLICY] = policy_of(shell.settings.escalation)
    parts = {part.__name__ for part in _PARTS}
    api.add_routes([route(o) for o in operations if o.run.__module__ in parts])
    api.router.add_get("/live", live.live)
    api.router.add_get("/openapi.json", openapi.openapi)
    api.router.add_get("/docs", _docs)
    app.add_subapp("/api", api)


async def _docs(request: web.Request) -> web.StreamResponse:
    """The built viewer, or a plain list where it was not built."""
    page = _DOCS / "index.html"
    if page.is_file():
        return web.FileResponse(page, headers={"Cache-Control": "no-cache"})
    return web.Response(text=openapi.plain_page(), content_type="text/html")
