"""The page and the widget as files: read once, filled with the desk's name, numbers and colours, sent with strict headers.

Built by `npm run build` in bot/web/widget into bot/web/static/chat. No inline script or style, nothing from another origin; only
/chat may stand in an iframe, and only on the sites the operator allows.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

from bot.channels.webchat import colours
from bot.settings import Desk, Settings

log = structlog.get_logger(__name__)
BUILT: Final = Path(__file__).parents[2] / "web" / "static" / "chat"
SCRIPT, STYLE, PAGE, WIDGET = "chat.js", "chat.css", "chat.html", "widget.js"
# Shown in the one line that is always in sight, in this order.
EMERGENCY: Final = (("police", "报警"), ("ambulance", "急救"), ("psychological", "心理热线"))
_HOST: Final = re.compile(r"[A-Za-z0-9.\-\[\]:*/]+")
_FOREVER: Final = "public, max-age=31536000, immutable"
_NIGHT: Final = colours.parse("#10191b", "#10191b")
_NIGHT_TEXT: Final = colours.parse("#e8efee", "#e8efee")


@dataclass(frozen=True, slots=True)
class File:
    """Bytes to send, also compressed, and a short hash that names the version in URLs."""

    body: bytes
    packed: bytes
    kind: str

    @property
    def version(self) -> str:
        return hashlib.sha256(self.body).hexdigest()[:12]


def file(body: bytes, kind: str) -> File:
    return File(body, gzip.compress(body, 9, mtime=0), kind)


class Pages:
    """The web chat's files for this desk."""

    def __init__(self, settings: Settings, built: Path = BUILT) -> None:
        self._settings = settings
        self._built = built
        self._files: dict[str, File] = {}

    def chat(self, request: web.Request) -> web.Response:
        """The full page, or, when the pages were never built, one that at least has the numbers."""
        if not self._load():
            return self._not_built(request)
        response = _answer(request, self._files[PAGE], "no-store")
        response.headers["Content-Security-Policy"] = self._policy(request)
        return response

    def asset(self, request: web.Request) -> web.Response:
        """chat.js, chat.css, desk.css, and widget.js, which other sites may load."""
        name = request.match_info.get("name", WIDGET)
        if not self._load() or name == PAGE or name not in self._files:
            raise web.HTTPNotFound
        wanted = self._files[name]
        fresh = request.query.get("v") == wanted.version
        response = _answer(request, wanted, _FOREVER if fresh else "public, max-age=300")
        if name == WIDGET:
            response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        return response

    def _load(self) -> bool:
        if self._files:
            return True
        try:
            files = {
                SCRIPT: file((self._built / SCRIPT).read_bytes(), "text/javascript"),
                STYLE: file((self._built / STYLE).read_bytes(), "text/css"),
                WIDGET: file((self._built / WIDGET).read_bytes(), "text/javascript"),
                "desk.css": file(desk_style(self._settings.desk).encode(), "text/css"),
            }
            page = (self._built / PAGE).read_text(encoding="utf-8")
        except FileNotFoundError as error:
            log.error("webchat.pages_not_built", missing=Path(str(error.filename)).name)
            return False
        files[PAGE] = file(self._filled(page, files).encode(), "text/html")
        self._files = files
        return True

    def _filled(self, page: str, files: dict[str, File]) -> str:
        desk, chat = self._settings.desk, self._settings.webchat
        values = {
            "name": desk.name,
            "short_name": desk.short_name,
            "hours": desk.hours.text,
            "neutral_url": chat.neutral_url,
            "max_text": str(chat.max_text),
            "words_days": str(self._settings.retention.message_words),
            "address_days": str(self._settings.retention.network_addresses),
            "all_numbers": ",".join(sorted(set(desk.numbers.values()), key=len, reverse=True)),
            "script": f"/chat/assets/{SCRIPT}?v={files[SCRIPT].version}",
            "style": f"/chat/assets/{STYLE}?v={files[STYLE].version}",
            "desk_style": f"/chat/assets/desk.css?v={files['desk.css'].version}",
        }
        filled = page.replace("{{numbers}}", emergency_links(desk)).replace("{{logo}}", _logo(desk))
        filled = filled.replace("{{privacy_link}}", _privacy_link(desk))
        return re.sub(r"\{\{(\w+)\}\}", lambda found: html.escape(values[found.group(1)]), filled)

    def _policy(self, request: web.Request) -> str:
        hosts = [h for h in self._settings.webchat.allowed_hosts if _HOST.fullmatch(h)]
        ancestors = "*" if "*" in hosts else " ".join(["'self'", *hosts])
        # Safari before 15.4 does not read 'self' as covering wss: (https://bugs.webkit.org/show_bug.cgi?id=201591).
        socket = f" ws://{request.host} wss://{request.host}" if _HOST.fullmatch(request.host) else ""
        return (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
            f"connect-src 'self'{socket}; form-action 'none'; base-uri 'none'; frame-ancestors {ancestors}"
        )

    def _not_built(self, request: web.Request) -> web.Response:
        page = (
            '<!doctype html><html lang="zh-CN"><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width,initial-scale=1"><title>暂时打不开</title>'
            f"<p>聊天页面暂时打不开。有危险请马上打：</p><p>{emergency_links(self._settings.desk)}</p>"
        )
        return web.Response(
            status=503, text=page, content_type="text/html", headers={"Cache-Control": "no-store"}
        )


def emergency(desk: Desk) -> list[dict[str, str]]:
    """110, 120 and 12356 as this desk writes them: in the page and beside every refusal."""
    return [
        {"number": desk.numbers[name], "label": label} for name, label in EMERGENCY if name in desk.numbers
    ]


def emergency_links(desk: Desk) -> str:
    return " ".join(
        f'<a href="tel:{html.escape(n["number"])}"><b>{html.escape(n["number"])}</b> {n["label"]}</a>'
        for n in emergency(desk)
    )


def desk_style(desk: Desk) -> str:
    """The desk's colours as CSS variables, for day and for night, each moved as far as reading needs (AA)."""
    default = type(desk.colours)()
    ground = colours.paper(colours.parse(desk.colours.background, default.background))
    text = colours.parse(desk.colours.text, default.text)
    primary = colours.parse(desk.colours.primary, default.primary)
    day, night = _variables(primary, text, ground), _variables(primary, _NIGHT_TEXT, _NIGHT)
    return f":root{{{day}}}@media(prefers-color-scheme:dark){{:root{{{night}}}}}"


def _variables(primary: colours.Rgb, ink: colours.Rgb, ground: colours.Rgb) -> str:
    card = colours.mix(ground, colours.WHITE, 0.8 if colours.is_light(ground) else 0.08)
    mine = colours.mix(card, primary, 0.14)
    text = colours.readable(ink, ground, card, mine)
    strong = colours.readable(primary, ground, card)
    values = {
        "ground": ground,
        "card": card,
        "text": text,
        "strong": strong,
        "on-strong": colours.readable(ground, strong),
        "quiet": colours.readable(colours.mix(text, ground, 0.35), ground, card, mine),
        "mine": mine,
        "line": colours.mix(ground, text, 0.5),
    }
    return "".join(f"--{name}:{colours.css(colour)};" for name, colour in values.items())


def _logo(desk: Desk) -> str:
    """A picture from our own origin only."""
    return f'<img src="{html.escape(desk.logo)}" alt="">' if re.match(r"/[^/]", desk.logo) else ""


def _privacy_link(desk: Desk) -> str:
    if not desk.privacy_url.startswith(("https://", "http://", "/")):
        return ""
    return f'<p><a href="{html.escape(desk.privacy_url)}" target="_blank" rel="noopener noreferrer">完整的隐私说明</a></p>'


def _answer(request: web.Request, wanted: File, caching: str) -> web.Response:
    packed = "gzip" in request.headers.get("Accept-Encoding", "")
    headers = {"Cache-Control": caching, "Vary": "Accept-Encoding"}
    if packed:
        headers["Content-Encoding"] = "gzip"
    return web.Response(
        body=wanted.packed if packed else wanted.body,
        content_type=wanted.kind,
        charset="utf-8",
        headers=headers,
    )
