"""One list of everything the API can do: routes, checks and the OpenAPI document are all made from it.

    @post("/conversations/{id}/claim", "认领会话", needs="conversation.claim", gives=Conversation)
    async def claim(call: Call, asked: Nothing) -> Conversation: ...

Before a handler runs: the session is known, the first password was changed, the CSRF token is right, the role may do this, the
rate is within limits, and `asked` is what the model says. A handler returns a value of its `gives` model.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import structlog
from aiohttp import web
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter
from pydantic import BaseModel, TypeAdapter, ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from bot.channels import StorageUnavailable
from bot.events import News, What
from bot.shell import SHELL, Shell
from bot.storage.engine import is_unavailable
from bot.web.api.fields import Nothing, read_id
from bot.web.problems import Refused, forbidden, from_room, from_validation, not_found
from bot.web.security import peer, same_origin
from bot.web.sessions import COOKIE, Sessions, SignedIn
from escalation import staff

log = structlog.get_logger(__name__)
T = TypeVar("T")

SESSIONS: web.AppKey[Sessions] = web.AppKey("sessions", Sessions)
LIMITER: web.AppKey[FixedWindowRateLimiter] = web.AppKey("limiter", FixedWindowRateLimiter)
AGAIN = "refresh"  # a look's reason when a screen fetches again what it shows
_SAFE = {"GET", "HEAD", "OPTIONS"}
_MOST_PER_MINUTE = 600  # requests of one staff member; a console on a busy night makes about 60
_DEEPEST = 20  # levels of nesting in a JSON body; ours have three


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path. `needs` is an action of escalation.staff.may; `public` needs no session at all; `first` also works
    before the first password was changed. `per_minute` limits it further for each staff member."""

    method: str
    path: str
    summary: str
    name: str
    run: Callable[[Any, Any], Awaitable[Any]]
    asks: type[BaseModel]
    gives: Any
    needs: str = ""
    public: bool = False
    first: bool = False
    status: int = 200
    per_minute: int = 0
    refuses: Sequence[int] = ()
    file: int = 0  # the body is a file of at most so many bytes (Call.file), and `asks` the query
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler works with. `me` is who asks; in a public operation nobody is signed in and `me` raises."""

    request: web.Request
    shell: Shell
    now: datetime
    staff: SignedIn | None = None
    headers: dict[str, str] = field(default_factory=dict)  # added to the answer
    cookies: list[tuple[str, str | None]] = field(default_factory=list)  # (name, value or None to delete)

    @property
    def me(self) -> SignedIn:
        assert self.staff is not None
        return self.staff

    @property
    def sessions(self) -> Sessions:
        return self.request.config_dict[SESSIONS]

    def id(self, name: str = "id") -> int:
        """The row named in the path. Raises Refused (404) for what cannot be an id."""
        try:
            return read_id(self.request.match_info[name])
        except ValueError:
            raise not_found() from None

    def may(self, action: str) -> bool:
        return staff.may(self.me.role, action)

    def require(self, action: str) -> None:
        if not self.may(action):
            raise forbidden()

    def address(self) -> str:
        return peer(self.request, self.shell.settings.server.trusted_proxies)

    def tell(self, what: What, conversation_id: int = 0, **extra: Any) -> None:
        """News for the screens, after the commit. Ids, levels and states only."""
        self.shell.bus.publish(News(what, conversation_id, extra or None))

    async def file(self, most: int) -> bytes:
        """The body as it came. Raises Refused (413)."""
        return await _body(self.request, most)

    async def write(self, work: Callable[[AsyncSession], Awaitable[T]], *, urgent: bool = False) -> T:
        return await self.shell.storage.write(work, urgent=urgent)


Handler = Callable[[Call, Any], Awaitable[Any]]
operations: list[Operation] = []


def get(
    path: str, summary: str, *, asks: type[BaseModel] = Nothing, gives: Any, **more: Any
) -> Callable[[Handler], Handler]:
    """Declare a GET; `asks` is the model of its query."""
    return _declare("GET", path, summary, asks, gives, more)


def post(
    path: str, summary: str, *, asks: type[BaseModel] = Nothing, gives: Any, **more: Any
) -> Callable[[Handler], Handler]:
    """Declare a POST; `asks` is the model of its JSON body."""
    return _declare("POST", path, summary, asks, gives, more)


def patch(
    path: str, summary: str, *, asks: type[BaseModel] = Nothing, gives: Any, **more: Any
) -> Callable[[Handler], Handler]:
    """Declare a PATCH; `asks` is the model of its JSON body."""
    return _declare("PATCH", path, summary, asks, gives, more)


def delete(
    path: str, summary: str, *, asks: type[BaseModel] = Nothing, gives: Any, **more: Any
) -> Callable[[Handler], Handler]:
    """Declare a DELETE."""
    return _declare("DELETE", path, summary, asks, gives, more)


def _declare(
    method: str, path: str, summary: str, asks: type[BaseModel], gives: Any, more: dict[str, Any]
) -> Callable[[Handler], Handler]:
    def register(run: Handler) -> Handler:
        tag = run.__module__.rpartition(".")[2]
        operations.append(Operation(method, path, summary, run.__name__, run, asks, gives, tag=tag, **more))
        return run

    return register


def route(operation: Operation) -> web.RouteDef:
    """The aiohttp route that checks and runs one operation."""
    adapter = TypeAdapter(operation.gives)

    async def serve(request: web.Request) -> web.Response:
        call = await _admit(request, operation)
        asked = await _read(request, operation)
        given = await operation.run(call, asked)
        if isinstance(given, web.Response):  # a file to keep
            return given
        # Serialised by the declared model: what is not in the contract cannot slip out.
        body = adapter.dump_json(adapter.validate_python(given), by_alias=True)
        response = web.Response(
            body=body,
            status=operation.status,
            content_type="application/json",
            charset="utf-8",
            headers=call.headers,
        )
        _set_cookies(response, call)
        return response

    return (
        web.route(operation.method, operation.path, serve, allow_head=False)
        if operation.method == "GET"
        else web.route(operation.method, operation.path, serve)
    )


def _set_cookies(response: web.Response, call: Call) -> None:
    secure = call.shell.settings.server.public_url.startswith("https://")
    for name, value in call.cookies:
        if value is None:
            response.del_cookie(name, path="/api")
        else:
            response.set_cookie(
                name, value, path="/api", httponly=True, samesite="Strict", secure=secure, max_age=12 * 3600
            )


async def signed_in(request: web.Request) -> SignedIn:
    """Who sends this request. Raises Refused (401)."""
    sessions = request.config_dict[SESSIONS]
    me = await sessions.current(request.cookies.get(COOKIE))
    if me is None:
        raise Refused(401, "signed_out", "您还没有登录，或者登录已过期。请重新登录。")
    return me


async def _admit(request: web.Request, operation: Operation) -> Call:
    shell = request.config_dict[SHELL]
    if operation.method not in _SAFE and not same_origin(request):
        raise Refused(
            403, "origin", "请求不是从本服务的页面发出的。部署在代理之后时，请设置 server.public_url。"
        )
    if operation.public:
        return Call(request, shell, shell.clock())
    me = await signed_in(request)
    if operation.method not in _SAFE:
        given = request.headers.get("X-CSRF-Token", "")
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), me.csrf_token.encode()):
            raise Refused(403, "csrf", "页面已过期，请刷新后再试。您写的内容没有发出。")
    if me.must_change_password and not operation.first:
        raise Refused(403, "password", "请先修改初始密码。")
    if operation.needs and not staff.may(me.role, operation.needs):
        raise forbidden()
    await _within_limits(request, operation, me)
    if _is_an_act(request, operation):
        await request.config_dict[SESSIONS].touch(me)
    return Call(request, shell, shell.clock(), me)


def _is_an_act(request: web.Request, operation: Operation) -> bool:
    """Whether a person did this. An open screen fetches by itself all the time, which does not keep a session awake."""
    return operation.method not in _SAFE or request.query.get("why", AGAIN) != AGAIN


async def _within_limits(request: web.Request, operation: Operation, me: SignedIn) -> None:
    limiter = request.config_dict[LIMITER]
    who = str(me.id)
    fits = await limiter.hit(RateLimitItemPerMinute(_MOST_PER_MINUTE), who)
    if fits and operation.per_minute:
        fits = await limiter.hit(RateLimitItemPerMinute(operation.per_minute), who, operation.name)
    if not fits:
        raise Refused(429, "too_many", "操作太频繁，请一分钟后再试。", seconds=60)


async def _read(request: web.Request, operation: Operation) -> BaseModel:
    if operation.method in _SAFE or operation.method == "DELETE" or operation.file:
        raw: Any = {}
        for name, value in request.query.items():
            if name in raw:
                raise Refused(400, "invalid", "同一个查询参数给了两次。")
            raw[name] = value
    else:
        raw = await _json(request)
    try:
        return operation.asks.model_validate(raw)
    except ValidationError as error:
        raise from_validation(error) from None


async def _body(request: web.Request, limit: int) -> bytes:
    too_large = Refused(413, "too_large", f"内容超过 {limit // 1024} KB，没有保存。")
    if (request.content_length or 0) > limit:
        raise too_large
    body = bytearray()
    async for chunk in request.content.iter_chunked(65_536):
        body += chunk
        if len(body) > limit:
            raise too_large
    return bytes(body)


async def _json(request: web.Request) -> Any:
    """The body as JSON; an empty one is an empty object. Raises Refused: 413, 415, 400."""
    body = await _body(request, request.config_dict[SHELL].settings.server.max_body_bytes)
    if not body:
        return {}
    if request.content_type != "application/json":
        raise Refused(415, "not_json", "请求内容必须是 application/json。")
    try:
        data = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise Refused(400, "not_utf8", "请求内容不是 UTF-8 编码。") from None
    except RecursionError:
        raise Refused(400, "too_deep", "请求内容嵌套太深。") from None
    except ValueError as error:
        place = f"（第 {error.pos} 个字符处）" if isinstance(error, json.JSONDecodeError) else ""
        raise Refused(400, "not_json", f"请求内容不是有效的 JSON{place}。") from None
    if _depth(data) > _DEEPEST:
        raise Refused(400, "too_deep", "请求内容嵌套太深。")
    return data


def _no_constant(name: str) -> Any:
    raise ValueError("NaN and Infinity are not JSON")


def _depth(data: Any) -> int:
    """Levels of nesting, counted without recursion."""
    deepest, waiting = 0, [(data, 1)]
    while waiting and deepest <= _DEEPEST:
        value, level = waiting.pop()
        if isinstance(value, dict | list):
            deepest = max(deepest, level)
            inner = value.values() if isinstance(value, dict) else value
            waiting += [(item, level + 1) for item in inner]
    return deepest


_AWAY = Refused(503, "storage", "数据库暂时不可用，这次操作没有保存。请稍后重试；情况紧急请直接打电话。")


@web.middleware
async def refusals(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Outermost in the API: whatever goes wrong becomes JSON with a precise status, and a log line without words."""
    try:
        response = await handler(request)
    except Refused as refused:
        response = _told(refused)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        response = _told(_plain(error))
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
    except Exception as error:
        refused_by_room = (
            _AWAY if isinstance(error, StorageUnavailable) or is_unavailable(error) else from_room(error)
        )
        if refused_by_room is None:
            log.error("api.failed", error=type(error).__name__, at=_where(error), method=request.method)
            refused_by_room = Refused(
                500, "failed", "程序出错了，这次操作没有保存。请重试；再次出现请告诉管理员。"
            )
        response = _told(refused_by_room)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _told(refused: Refused) -> web.Response:
    body = json.dumps(refused.as_dict(), ensure_ascii=False, default=str).encode()
    response = web.Response(
        body=body, status=refused.status, content_type="application/json", charset="utf-8"
    )
    if "seconds" in refused.more:
        response.headers["Retry-After"] = str(refused.more["seconds"])
    return response


def _plain(error: web.HTTPException) -> Refused:
    match error.status:
        case 404:
            return not_found("没有这个地址。")
        case 405:
            return Refused(405, "method", "这个地址不支持这种请求方法。")
        case 413:
            return Refused(413, "too_large", "内容太大，没有保存。")
        case status:
            return Refused(status, "refused", "请求没有被接受。")


def _where(error: BaseException) -> str:
    """File and line of ours from which it came: enough to find the fault, without values."""
    place, step = "", error.__traceback__
    while step is not None:
        file = step.tb_frame.f_code.co_filename
        if "site-packages" not in file:
            place = f"{file.rpartition('/')[2]}:{step.tb_lineno}"
        step = step.tb_next
    return place


def new_limiter() -> FixedWindowRateLimiter:
    return FixedWindowRateLimiter(MemoryStorage())
