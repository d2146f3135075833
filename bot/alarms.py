"""The bells themselves: open workbenches, group robots, the fallback telephone. They carry case number, level and link, never words.

Addresses and keys of robots are secrets: no log and no error names more than the target's own name and a code.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote_plus

import aiohttp
import orjson
import structlog

from bot.events import News
from bot.settings import WebhookTarget
from bot.shell import Shell
from escalation import alerts
from escalation.alerts import Ring

log = structlog.get_logger(__name__)

LEVELS: Final = {"critical": "紧急", "high": "高", "medium": "中", "low": "低", "none": "无"}
RUNGS: Final = ("值班咨询员", "备班咨询员", "督导", "兜底电话")
REASONS: Final = {
    "episode": "危机事件",
    "unread": "有消息无人查看",
    "owner_gone": "接待人离线",
    "handed_back": "会话被交回",
    "risen": "人工会话中风险升高",
    "cannot_reach": "消息没有送到本人",
    "understanding_down": "自动识别停了",
}
_TIMEOUT: Final = 5.0  # seconds for one call: a rung lasts 60
_TRIES: Final = 3
_WAIT: Final = (0.5, 2.0)  # seconds before the second and the third try
_MOST_READ: Final = 65_536  # bytes of a robot's answer


class Alarms:
    """Carries one ring by each of its means. Nothing here decides who is rung or when."""

    def __init__(self, shell: Shell, *, timeout: float = _TIMEOUT) -> None:
        self._shell = shell
        self._targets = {f"webhook:{t.name}": t for t in shell.settings.escalation.webhooks}
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._http: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        self._http = aiohttp.ClientSession(timeout=self._timeout, trust_env=True)

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()

    async def carry(self, ring: Ring) -> dict[str, str]:
        """Ring by every means at once. For each webhook and the telephone: "" when taken, else a code.

        Screens are told by news, which has no answer; they are not in the result.
        """
        self._shell.bus.publish(News("alert", ring.conversation_id, _for_screens(ring)))
        outside = [m for m in ring.means if m == alerts.PHONE or m.startswith("webhook:")]
        codes = await asyncio.gather(*(self._call(ring, means) for means in outside))
        return dict(zip(outside, codes, strict=True))

    def link(self, ring: Ring) -> str:
        """Where the workbench shows it. The id is behind the #, which browsers keep to themselves."""
        server = self._shell.settings.server
        base = server.public_url.rstrip("/") or f"http://{server.host}:{server.port}"
        return f"{base}/desk/#/c/{ring.conversation_id}?why=alert"

    def words(self, ring: Ring) -> str:
        """The alert in one line for a robot or a voice."""
        desk = self._shell.settings.desk.short_name
        about = f"工单 {ring.case_number}" if ring.case_number else REASONS.get(ring.reason, ring.reason)
        return (
            f"【{desk}】{LEVELS[ring.level]}风险警报 · {about} · 呼叫{RUNGS[ring.rung]} · {self.link(ring)}"
        )

    async def _call(self, ring: Ring, means: str) -> str:
        """One target, tried three times. Returns "" or the last error's code."""
        code = "not_configured"
        for wait in (*_WAIT, None):
            code = await self._once(ring, means)
            if not code or code == "not_configured" or wait is None:
                break
            await asyncio.sleep(wait)
        if code:
            log.warning("alarm.failed", means=means, error=code, alert_id=ring.alert_id)
        return code

    async def _once(self, ring: Ring, means: str) -> str:
        if means == alerts.PHONE:
            return await self._telephone(ring)
        target = self._targets.get(means)
        if target is None:
            return "not_configured"
        url, body, headers = _request(target, self._facts(ring), self.words(ring))
        return await self._post(url, body, headers, _ANSWERS[target.kind])

    async def _telephone(self, ring: Ring) -> str:
        fallback = self._shell.settings.escalation.fallback_telephone
        if fallback.url is None:
            return "not_configured"
        body = self._facts(ring)
        if fallback.number is not None:
            body["number"] = fallback.number.get_secret_value()
        body["text"] = self.words(ring)
        return await self._post(fallback.url.get_secret_value(), orjson.dumps(body), {}, _any_answer)

    def _facts(self, ring: Ring) -> dict[str, Any]:
        return {
            "case_number": ring.case_number,
            "level": ring.level,
            "reason": ring.reason,
            "rung": ring.rung,
            "link": self.link(ring),
        }

    async def _post(
        self, url: str, body: bytes, headers: dict[str, str], answer: Callable[[Any], str]
    ) -> str:
        assert self._http is not None
        headers = {"Content-Type": "application/json; charset=utf-8", **headers}
        try:
            async with self._http.post(url, data=body, headers=headers, allow_redirects=False) as response:
                read = await response.content.read(_MOST_READ)
                if response.status >= 300:
                    return f"http_{response.status}"
        except TimeoutError:
            return "timeout"
        except (aiohttp.ClientError, OSError, ValueError):
            return "unreachable"  # never the exception's text: it holds the address
        try:
            return answer(orjson.loads(read)) if read else answer({})
        except orjson.JSONDecodeError:
            return answer({})


def _for_screens(ring: Ring) -> dict[str, Any]:
    return {
        "alert_id": str(ring.alert_id),
        "case_number": ring.case_number,
        "level": ring.level,
        "reason": ring.reason,
        "rung": ring.rung,
        "staff_ids": [str(i) for i in ring.staff_ids],
        "fallback_missing": alerts.BANNER in ring.means,
    }


# --- the robots' own forms ------------------------------------------------------------------------------------------


def _request(target: WebhookTarget, facts: dict[str, Any], words: str) -> tuple[str, bytes, dict[str, str]]:
    """URL, body and headers of one target's kind, signed where it has a secret."""
    url = target.url.get_secret_value()
    secret = target.secret.get_secret_value() if target.secret else ""
    headers: dict[str, str] = {}
    body: dict[str, Any]
    match target.kind:
        case "wecom":  # developer.work.weixin.qq.com/document/path/91770
            body = {"msgtype": "text", "text": {"content": words}}
        case "dingtalk":  # open.dingtalk.com: custom robot, signature in the query
            body = {"msgtype": "text", "text": {"content": words}}
            if secret:
                stamp = str(int(time.time() * 1000))
                sign = _signed(secret.encode(), f"{stamp}\n{secret}".encode())
                url += f"{'&' if '?' in url else '?'}timestamp={stamp}&sign={quote_plus(sign)}"
        case "feishu":  # open.feishu.cn: custom bot; the key is the stamped secret and the text is empty
            body = {"msg_type": "text", "content": {"text": words}}
            if secret:
                stamp = str(int(time.time()))
                body |= {"timestamp": stamp, "sign": _signed(f"{stamp}\n{secret}".encode(), b"")}
        case "json":
            body = {**facts, "text": words}
            if secret:
                stamp = str(int(time.time()))
                signed = stamp.encode() + b"." + orjson.dumps(body)
                headers["X-Qingting-Timestamp"] = stamp
                headers["X-Qingting-Signature"] = hmac.new(
                    secret.encode(), signed, hashlib.sha256
                ).hexdigest()
    return url, orjson.dumps(body), headers


def _signed(key: bytes, text: bytes) -> str:
    return base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()


def _errcode(answer: Any) -> str:
    """WeCom and DingTalk say 200 and put the failure into errcode."""
    code = answer.get("errcode") if isinstance(answer, dict) else None
    return "" if code == 0 else f"errcode_{code if isinstance(code, int) else 'missing'}"


def _feishu_code(answer: Any) -> str:
    code = answer.get("code", answer.get("StatusCode")) if isinstance(answer, dict) else None
    return "" if code == 0 else f"code_{code if isinstance(code, int) else 'missing'}"


def _any_answer(_answer: Any) -> str:
    """Any answer below 300 is a yes."""
    return ""


_ANSWERS: Final[dict[str, Callable[[Any], str]]] = {
    "wecom": _errcode,
    "dingtalk": _errcode,
    "feishu": _feishu_code,
    "json": _any_answer,
}
