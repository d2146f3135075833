"""How a request is refused: one exception, one JSON shape, words that say what happened, what was kept, what to do.

    {"error": "taken", "message": "这个会话已由张老师接手。", …}

Nothing a person or a counsellor wrote is ever repeated in a refusal or in the log of one.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from bot.value_words import wrong
from escalation import alerts, conversations, desk, erasure, nuisance, rescue, review, roster
from escalation.privacy import Unreadable
from knowledge import desk as entries

_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]{0,40}")


class Refused(Exception):
    """The request is not carried out. `error` is a code for programs, `message` Chinese for people, `more` goes beside them."""

    def __init__(self, status: int, error: str, message: str, **more: Any) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.message = message
        self.more = more

    def as_dict(self) -> dict[str, Any]:
        return {"error": self.error, "message": self.message, **self.more}


def not_found(message: str = "没有找到。它可能已被删除，或者地址有误。") -> Refused:
    return Refused(404, "not_found", message)


def forbidden(message: str = "您的角色不能做这件事。") -> Refused:
    return Refused(403, "forbidden", message)


def conflict(message: str, current: Any = None, *, error: str = "conflict", **more: Any) -> Refused:
    """Somebody else was first (promise 11). `current` is the state as it is now."""
    return Refused(409, error, message, current=current, **more)


def invalid(field: str, message: str) -> Refused:
    """One field is wrong."""
    return Refused(
        400, "invalid", f"请求内容有误：{field}：{message}", fields=[{"field": field, "message": message}]
    )


def from_validation(error: ValidationError) -> Refused:
    """A 400 that names each wrong field in Chinese, never its value."""
    fields = [
        {"field": _place(e["loc"]), "message": wrong(e["type"], e.get("ctx") or {})}
        for e in error.errors(include_input=False, include_url=False)
    ]
    told = "；".join(f"{f['field']}：{f['message']}" for f in fields[:5])
    return Refused(400, "invalid", f"请求内容有误：{told}", fields=fields)


def from_room(error: Exception) -> Refused | None:
    """What an escalation rule's own exception means to whoever asked; None for a fault of ours."""
    match error:
        case desk.AlreadyTaken():
            return conflict("这个会话已由同事接手。", error="taken")
        case desk.NotAllowed(code=code):
            return Refused(409, code, _NOT_ALLOWED.get(code, "现在不能做这件事，会话的状态可能刚刚变了。"))
        case (
            rescue.NotAllowed(code="unknown")
            | nuisance.NotAllowed(code="unknown")
            | erasure.NotAllowed(code="unknown")
            | review.NotAllowed(code="unknown")
        ):
            return not_found()
        case rescue.NotAllowed(code=code) | nuisance.NotAllowed(code=code) | erasure.NotAllowed(code=code):
            status = 403 if code in ("own", "guardian_may_harm") else 400 if code.startswith("no_") else 409
            return Refused(status, code, _NOT_ALLOWED.get(code, "现在不能做这件事，状态可能刚刚变了。"))
        case review.NotAllowed(code="empty" | "kinds" as code):
            return Refused(400, code, _NOT_ALLOWED[code])
        case review.NotAllowed(code=code):
            return Refused(409, code, _NOT_ALLOWED.get(code, "现在不能做这件事，状态可能刚刚变了。"))
        case entries.Conflict(version=version):
            return conflict("同事刚刚改过这个条目，请看过再改。您写的内容没有保存。", version=version)
        case entries.NotAllowed(code="unknown"):
            return not_found("没有这个条目或修订。")
        case entries.NotAllowed(code="incomplete", problems=problems):
            wrongs = [{"field": p.field, "message": wrong(p.kind, dict(p.limits))} for p in problems]
            told = "；".join(f"{w['field']}：{w['message']}" for w in wrongs[:5])
            return Refused(400, "incomplete", f"条目还不完整：{told}", fields=wrongs)
        case entries.NotAllowed(code=code):
            status = 403 if code == "own" else 400 if code == "days" else 409
            return Refused(status, code, _ENTRY_STEPS[code])
        case conversations.Closed() | alerts.NotFound():
            return not_found()
        case roster.BadShift():
            return Refused(400, "shift", "班次的结束要晚于开始，且不超过 24 小时。")
        case Unreadable():
            return conflict("来访者的资料已按要求删除，不能再操作。", error="erased")
        case _:
            return None


_ENTRY_STEPS = {
    "own": "不能批准自己写的内容，请另一位同事来批准。",
    "days": "到期日期要晚于生效日期和今天。",
    "not_draft": "没有可以提交的草稿。",
    "not_submitted": "没有待审核的修订，可能已经有人处理了。",
    "not_approved": "没有已批准、待发布的修订。",
    "not_live": "这个条目没有在对外回答。",
    "retired": "这个条目已经停用。",
}
_NOT_ALLOWED = {
    "closed": "会话已经结束。",
    "not_yours": "这个会话现在不由您处理。",
    "no_offer": "这次转交已撤回或已处理。",
    "not_here": "不能转给这位同事：不在本台、已停用，或者就是您自己。",
    "decided": "已经有人处理过了。",
    "rescue_open": "紧急救援还没有结束，先在救援记录里写明结果。",
    "new_message": "对方刚刚又写了一条，请看过再结束。",
    "own": "不能由同一个人批准，请另一位同事来确认。",
    "days": "天数应为 1 到 7。",
    "no_reason": "请写明原因。",
    "no_basis": "请写明法律依据。",
    "no_result": "请写明结果。",
    "no_danger": "紧急救援只用于高风险及以上的会话。",
    "no_rescue": "只有在进行中的紧急救援里才能查看网络地址。",
    "second_person": "还没有第二人同意，也没有写明为什么不等。",
    "guardian_may_harm": "监护人可能就是伤害者：要先有第二人同意，才能登记告知监护人。",
    "not_verified": "核实方式不在列表中。",
    "erased": "来访者的资料已按要求删除。",
    "gone": "来访者的话已到期或已删除，不能再用。",
    "empty": "文字不能为空。",
    "kinds": "高风险和紧急要选危险种类。",
}


def _place(loc: tuple[int | str, ...]) -> str:
    """Where the fault is. A name that is not like one of ours could be somebody's words, so it is not repeated."""
    parts = [str(p) if isinstance(p, int) or _PLAIN_NAME.fullmatch(p) else "（未知字段）" for p in loc]
    return ".".join(parts) or "内容"
