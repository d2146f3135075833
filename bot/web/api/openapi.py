"""The OpenAPI 3.1 document, made from the list of operations, and a page that shows it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from html import escape
from typing import Any

from aiohttp import web
from apispec import APISpec
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from bot.web.api.operations import Operation, operations
from bot.web.api.shapes import Problem

_TAGS = {
    "account": "登录与值班",
    "desk": "服务台",
    "conversations": "会话",
    "safety": "警报、救援与安全联系",
    "staff": "人员与排班",
    "templates": "模板",
    "records": "任务、记录与核对",
    "review": "复核样本",
    "drift": "识别质量",
    "knowledge": "知识编辑台",
    "unanswered": "未答问题",
    "entry_files": "条目的导入和导出",
    "case_entries": "从已结工单起草条目",
}
_PROBLEMS = {
    400: "请求内容有误",
    401: "没有登录",
    403: "不允许",
    404: "没有找到",
    409: "状态已变，附当前状态",
    413: "内容太大",
    415: "不是 JSON",
    429: "太频繁，请稍候",
    500: "程序出错，没有保存",
    503: "数据库暂不可用，没有保存",
}
_FILE: dict[str, Any] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_REF = "#/components/schemas/{model}"


@cache
def document() -> dict[str, Any]:
    """The whole document as a JSON object."""
    spec = APISpec(
        title="Qingting 倾听 — 工作台接口",
        version="1",
        openapi_version="3.1.0",
        info={
            "description": "供工作台使用的接口。除登录外都需要会话 Cookie；写操作还需要 X-CSRF-Token 请求头（取自 GET /api/me）。"
        },
        tags=[{"name": code, "description": zh} for code, zh in _TAGS.items()],
    )
    spec.components.security_scheme("session", {"type": "apiKey", "in": "cookie", "name": "qingting_session"})
    spec.components.security_scheme("csrf", {"type": "apiKey", "in": "header", "name": "X-CSRF-Token"})
    for name, schema in _schemas().items():
        spec.components.schema(name, schema)
    for operation in operations:
        spec.path(_braces(operation.path), operations={operation.method.lower(): _operation(operation)})
    found: dict[str, Any] = spec.to_dict()
    return found


def _braces(path: str) -> str:
    return "/api" + re.sub(r"\{(\w+):[^}]*\}", r"{\1}", path)


def _operation(operation: Operation) -> dict[str, Any]:
    description = (operation.run.__doc__ or "").strip()
    found: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": _path_parameters(operation.path),
        "responses": {str(operation.status): _answer(operation.gives)} | _refusals(operation),
    }
    if description:
        found["description"] = description
    if operation.public:
        found["security"] = []
    elif operation.method == "GET":
        found["security"] = [{"session": []}]
    else:
        found["security"] = [{"session": [], "csrf": []}]
    if operation.needs:
        found["x-needs"] = operation.needs
    if operation.method in ("GET", "DELETE") or operation.file:
        found["parameters"] += _query_parameters(operation.asks)
    if operation.file:
        found["requestBody"] = {"required": True, "content": _FILE}
    elif operation.method not in ("GET", "DELETE") and operation.asks.model_fields:
        required = any(f.is_required() for f in operation.asks.model_fields.values())
        schema = {"$ref": _REF.format(model=operation.asks.__name__)}
        found["requestBody"] = {"required": required, "content": {"application/json": {"schema": schema}}}
    return found


def _path_parameters(path: str) -> list[dict[str, Any]]:
    parameters = []
    for name in re.findall(r"\{(\w+)", path):
        schema = {"type": "string", "pattern": "^[0-9]{1,19}$"} if name == "id" else {"type": "string"}
        parameters.append({"name": name, "in": "path", "required": True, "schema": schema})
    return parameters


def _query_parameters(asks: type[BaseModel]) -> list[dict[str, Any]]:
    schema = asks.model_json_schema(ref_template=_REF)
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": inner}
        for name, inner in schema.get("properties", {}).items()
    ]


def _answer(gives: Any) -> dict[str, Any]:
    if gives is bytes:
        return {"description": "文件", "content": _FILE}
    schema = TypeAdapter(gives).json_schema(ref_template=_REF, mode="serialization")
    schema.pop("$defs", None)
    if "$ref" not in schema and schema.get("type") == "object" and isinstance(gives, type):
        schema = {"$ref": _REF.format(model=gives.__name__)}
    return {"description": "完成", "content": {"application/json": {"schema": schema}}}


def _refusals(operation: Operation) -> dict[str, Any]:
    statuses = {400, 403, 429, 500, 503, *operation.refuses}
    if not operation.public:
        statuses.add(401)
    if "{" in operation.path:
        statuses.add(404)
    if operation.method not in ("GET", "DELETE"):
        statuses |= {413, 415}
    schema = {"$ref": _REF.format(model="Problem")}
    return {
        str(status): {"description": _PROBLEMS[status], "content": {"application/json": {"schema": schema}}}
        for status in sorted(statuses)
    }


def _schemas() -> dict[str, Any]:
    asked = {
        o.asks for o in operations if o.method not in ("GET", "DELETE") and not o.file and o.asks.model_fields
    }
    given = {m for o in operations for m in _models(o.gives)} | {Problem}
    pairs: Sequence[Any] = [(m, "validation") for m in sorted(asked, key=_name)] + [
        (m, "serialization") for m in sorted(given, key=_name)
    ]
    _, schema = models_json_schema(pairs, ref_template=_REF)
    found: dict[str, Any] = schema["$defs"]
    return found


def _models(gives: Any) -> list[type[BaseModel]]:
    if isinstance(gives, type) and issubclass(gives, BaseModel):
        return [gives]
    return [m for inner in getattr(gives, "__args__", ()) for m in _models(inner)]


def _name(model: type[BaseModel]) -> str:
    return model.__name__


async def openapi(request: web.Request) -> web.Response:
    """GET /api/openapi.json"""
    return web.json_response(document(), headers={"Cache-Control": "no-cache"})


def plain_page() -> str:
    """The operations as a list without script, for when the documentation viewer was not built."""
    rows = []
    for tag, zh in _TAGS.items():
        mine = [o for o in operations if o.tag == tag]
        if not mine:
            continue
        rows.append(f"<h2>{escape(zh)}</h2><dl>")
        for o in mine:
            needs = f"，需要权限 {escape(o.needs)}" if o.needs else ""
            rows.append(
                f"<dt><code>{o.method} {escape(_braces(o.path))}</code></dt><dd>{escape(o.summary)}{needs}</dd>"
            )
        rows.append("</dl>")
    return (
        '<!doctype html><html lang="zh-CN"><head><meta charset="utf-8"><title>接口文档</title>'
        '<meta name="viewport" content="width=device-width"></head><body><h1>接口文档</h1>'
        '<p>完整描述：<a href="/api/openapi.json">/api/openapi.json</a>（OpenAPI 3.1）</p>'
        f"{''.join(rows)}</body></html>"
    )
