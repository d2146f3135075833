"""/help: the published entries for everybody, as small pages that need no script and no account.

Pages are made once for each state of the entries and kept; a page that was retired is gone with the next look (shelf.py). No cookie,
nothing from another origin; a search's words come by POST and are neither kept nor put into an address (search.py).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Final

import structlog
from aiohttp import hdrs, web
from sqlalchemy.exc import SQLAlchemyError

from bot.channels.webchat.pages import File, file
from bot.desk_view import DeskNow
from bot.shell import SHELL, Shell
from bot.template_watch import approved_texts
from bot.web import security
from bot.web.help.pages import Pages
from bot.web.help.search import MOST, Search
from bot.web.help.shelf import Shelf, Shelves, address
from handlers.templates import Templates
from nlu import fallback
from nlu.understanding import risk_rank

__all__ = ["setup"]
log = structlog.get_logger(__name__)

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_FOREVER: Final = "public, max-age=31536000, immutable"
_ASK_AGAIN: Final = "public, no-cache"
_HOST: Final = re.compile(r"[A-Za-z0-9.\-\[\]:]+")
_SUGGESTED: Final = 5
_KEPT: Final = 1000  # pages, of some 10 KB each


def setup(app: web.Application, shell: Shell) -> None:
    """Add the help site to `app`, unless the operator switched it off."""
    if not shell.settings.help.enabled:
        return
    app.setdefault(SHELL, shell)
    security.setup(app)
    site = HelpSite(shell)
    app.router.add_get("/help", site.front)
    app.router.add_get("/help/", site.to_front)
    app.router.add_get("/help/assets/{name}", site.asset)
    app.router.add_get("/help/search", site.search_form)
    app.router.add_post("/help/search", site.search)
    app.router.add_post("/help/suggest", site.suggest)
    app.router.add_get("/help/{area}", site.area)
    app.router.add_get("/help/{area}/{name}", site.entry)
    app.router.add_get("/sitemap.xml", site.sitemap)
    app.router.add_get("/robots.txt", site.robots)


class HelpSite:
    """The handlers, and the pages made for the newest shelf."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._pages = Pages(shell.settings)
        self._shelves = Shelves(shell)
        self._search = Search(shell.brain)
        self._now = DeskNow(shell.settings.desk)
        self._made: dict[str, File] = {}
        self._made_for: Shelf | None = None

    async def front(self, request: web.Request) -> web.Response:
        return await self._kept(request, self._pages.front)

    async def to_front(self, request: web.Request) -> web.Response:
        raise web.HTTPMovedPermanently("/help")

    async def area(self, request: web.Request) -> web.Response:
        return await self._kept(request, lambda shelf: self._pages.area(shelf, request.match_info["area"]))

    async def entry(self, request: web.Request) -> web.Response:
        entry_id = f"{request.match_info['area']}.{request.match_info['name']}"
        return await self._kept(request, lambda shelf: self._pages.entry(shelf, entry_id))

    async def sitemap(self, request: web.Request) -> web.Response:
        shelf, origin = await self._shelves.newest(), _origin(request)
        made = await asyncio.to_thread(lambda: file(self._pages.sitemap(shelf, origin), "application/xml"))
        return _sent(request, made, _ASK_AGAIN)

    async def robots(self, request: web.Request) -> web.Response:
        return _sent(request, file(self._pages.robots(_origin(request)), "text/plain"), _ASK_AGAIN)

    async def asset(self, request: web.Request) -> web.Response:
        wanted = self._pages.assets.get(request.match_info["name"])
        if wanted is None:
            raise web.HTTPNotFound
        fresh = request.query.get("v") == wanted.version
        return _sent(request, wanted, _FOREVER if fresh else _ASK_AGAIN)

    async def search_form(self, request: web.Request) -> web.Response:
        """Only the form: a search that came as a link would have put words into an address."""
        return _sent(request, file(self._pages.search(), "text/html"), "no-store")

    async def search(self, request: web.Request) -> web.Response:
        """The results; where the words sound like danger, the safety text and the way to a human stand before them."""
        form = await request.post()
        words = str(form.get("q", ""))[:MOST].strip()
        if not words:
            return await self.search_form(request)
        found = await self._search.find(words, await self._shelves.newest())
        safety = await self._safety(found.safety) if found.safety else ""
        return _sent(request, file(self._pages.search(words, found, safety), "text/html"), "no-store")

    async def suggest(self, request: web.Request) -> web.Response:
        """Titles while somebody types, and the numbers at once where the quick lexicon hears danger."""
        words = await _typed(request)
        shelf = await self._shelves.newest()
        heard = fallback.judge(words)
        danger = heard is not None and risk_rank(heard.risk) >= risk_rank("high")
        site = self._pages.site
        given = {
            "danger": danger,
            "numbers": [{"number": n, "name": name} for n, name in site.emergency] if danger else [],
            "entries": [{"address": address(e), "title": e.title} for e in shelf.near(words, _SUGGESTED)],
        }
        return web.json_response(given, headers={hdrs.CACHE_CONTROL: "no-store"})

    async def _kept(self, request: web.Request, make: Callable[[Shelf], bytes]) -> web.Response:
        """The page as it was made for this shelf, or made now; 404 for what is not, or no longer, on it."""
        shelf = await self._shelves.newest()
        if shelf is not self._made_for or len(self._made) > _KEPT:
            self._made, self._made_for = {}, shelf
        made, page = self._made, self._made.get(request.path)
        if page is None:
            try:
                page = await asyncio.to_thread(lambda: file(make(shelf), "text/html"))
            except KeyError:
                raise web.HTTPNotFound from None
            made[request.path] = page
        return _sent(request, page, _ASK_AGAIN)

    async def _safety(self, key: str) -> str:
        """The approved safety text with this desk's numbers; the shipped one where the database is away."""
        now = self._shell.clock()
        try:
            async with self._shell.storage.read() as session:
                texts, view = await approved_texts(session), await self._now.view(session, now)
        except (SQLAlchemyError, OSError) as error:
            log.error("help.safety_from_shipped", error=type(error).__name__)
            texts, view = Templates(), self._now.without_roster(now)
        return texts.fill(key, view).text


async def _typed(request: web.Request) -> str:
    try:
        asked = json.loads(await request.text())
        return str(asked["q"])[:MOST]
    except (ValueError, KeyError, TypeError):
        raise web.HTTPBadRequest from None


def _origin(request: web.Request) -> str:
    """Our address as the visitor's browser named it, for a sitemap; "" for what no host can be called."""
    return f"{request.scheme}://{request.host}" if _HOST.fullmatch(request.host) else ""


def _sent(request: web.Request, wanted: File, caching: str) -> web.Response:
    packed = "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "")
    # Weak: the same page in both encodings.
    tag = f'W/"{wanted.version}"'
    headers = {hdrs.CACHE_CONTROL: caching, hdrs.VARY: "Accept-Encoding", security.CSP: _POLICY}
    if caching != "no-store":
        headers[hdrs.ETAG] = tag
        if tag in request.headers.get(hdrs.IF_NONE_MATCH, ""):
            return web.Response(status=304, headers=headers)
    if packed:
        headers[hdrs.CONTENT_ENCODING] = "gzip"
    body = wanted.packed if packed else wanted.body
    return web.Response(body=body, content_type=wanted.kind, charset="utf-8", headers=headers)
