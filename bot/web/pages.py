"""Pages: the built workbench under /desk/, the built assets under /static/, and refusals that show whom to call.

A young person who meets an error page still sees the emergency numbers (promise 12). Built files carry a hash in their name and
may be kept for a year; pages are asked for anew each time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from html import escape
from pathlib import Path

import structlog
from aiohttp import web

from bot.channels import StorageUnavailable
from bot.settings import Desk
from bot.shell import SHELL, Shell
from bot.web import security

log = structlog.get_logger(__name__)

STATIC = Path(__file__).parent / "static"
_FOREVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"
_NOT_BUILT = (
    "页面还没有构建。请在项目目录运行 make run，或在 bot/web/console 中运行 npm ci && npm run build。"
)
_TITLES = {
    400: "请求有误",
    403: "不能打开这个页面",
    404: "没有这个页面",
    405: "不能这样打开",
    413: "内容太长，没有收到",
    429: "太频繁了，请等一会儿再试",
    500: "出了点问题",
    503: "暂时用不了",
}
_NAMED = {"police": "报警", "ambulance": "急救", "psychological": "心理援助", "desk": "青少年服务台"}


def setup(app: web.Application, shell: Shell) -> None:
    """Add the pages to `app`; call it after the channels and the API, whose routes go first."""
    if SHELL not in app:
        app[SHELL] = shell
    security.setup(app)
    app.middlewares.append(refusal_pages)
    app.router.add_get("/", _home)
    app.router.add_get("/desk", _to_desk)
    app.router.add_get("/desk/{path:.*}", _console)
    app.router.add_get("/favicon.ico", _no_icon)
    app.router.add_get("/static/docs/{path:.*}", _docs_asset)


async def _home(request: web.Request) -> web.Response:
    raise web.HTTPFound("/chat")


async def _to_desk(request: web.Request) -> web.Response:
    raise web.HTTPFound("/desk/")


async def _no_icon(request: web.Request) -> web.Response:
    """Browsers ask for it on every page; the pages name icons of their own."""
    return web.Response(status=204, headers={"Cache-Control": "public, max-age=86400"})


async def _console(request: web.Request) -> web.StreamResponse:
    """A built file, or index.html for the workbench's own addresses (/desk/conversations/1)."""
    root = STATIC / "console"
    found = _inside(root, request.match_info["path"])
    if found is not None:
        return _file(found)
    if "." in request.match_info["path"].rpartition("/")[2]:
        raise web.HTTPNotFound  # a missing asset is an error, not a page
    index = root / "index.html"
    if not index.is_file():
        return web.Response(status=503, text=_NOT_BUILT)
    return _file(index)


async def _docs_asset(request: web.Request) -> web.StreamResponse:
    found = _inside(STATIC / "docs", request.match_info["path"])
    if found is None:
        raise web.HTTPNotFound
    return web.FileResponse(found, headers={"Cache-Control": _ASK_AGAIN})


def _inside(root: Path, name: str) -> Path | None:
    """The file of that name under `root`; None for what is not there or would lead out of it."""
    if not name or "\x00" in name:
        return None
    path = (root / name).resolve()
    return path if path.is_relative_to(root.resolve()) and path.is_file() else None


def _file(path: Path) -> web.FileResponse:
    # Vite puts a hash of the content into the names under assets/.
    keep = _FOREVER if path.parent.name == "assets" else _ASK_AGAIN
    return web.FileResponse(path, headers={"Cache-Control": keep})


@web.middleware
async def refusal_pages(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Errors as pages for browsers. Programs (webhooks, the API) get what their handler said."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400 or not _wants_page(request):
            raise
        page = refusal(request.config_dict[SHELL].settings.desk, error.status)
        if "Allow" in error.headers:
            page.headers["Allow"] = error.headers["Allow"]
        return page
    except StorageUnavailable:
        return refusal(request.config_dict[SHELL].settings.desk, 503)
    except Exception as error:
        log.error("page.failed", error=type(error).__name__, method=request.method)
        return refusal(request.config_dict[SHELL].settings.desk, 500)


def _wants_page(request: web.Request) -> bool:
    return "text/html" in request.headers.get("Accept", "")


def refusal(desk: Desk, status: int) -> web.Response:
    """A page that says what happened in a line, and whom to call now."""
    title = _TITLES.get(status, _TITLES[500] if status >= 500 else _TITLES[400])
    kept = "刚才写的内容可能没有收到。" if status >= 500 or status == 413 else ""
    body = (
        '<!doctype html><html lang="zh-CN"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title></head><body>"
        f"<h1>{escape(title)}</h1><p>{kept}</p>"
        "<p>如果你现在有危险，或者很难受，请直接打电话：</p>"
        f"<ul>{numbers(desk.numbers)}</ul>"
        '<p><a href="/chat">回到聊天页</a></p></body></html>'
    )
    return web.Response(
        text=body, status=status, content_type="text/html", headers={"Cache-Control": "no-store"}
    )


def numbers(known: Mapping[str, str]) -> str:
    """Emergency numbers as list items. A number the configuration lacks is the national one."""
    national = {"police": "110", "ambulance": "120", "psychological": "12356", "desk": "12355"}
    return "".join(
        f'<li>{escape(title)} <a href="tel:{escape(known.get(name, national[name]))}">'
        f"<strong>{escape(known.get(name, national[name]))}</strong></a></li>"
        for name, title in _NAMED.items()
    )
