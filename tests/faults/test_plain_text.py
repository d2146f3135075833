"""Promise 8: what a person wrote, and how to reach them, is nowhere in plain text: database, WAL, logs, errors, metrics."""

from __future__ import annotations

import asyncio
import io
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import orjson

from bot.simulate.sms import SmsCentre
from bot.simulate.web import Visitor
from bot.simulate.wechat import WechatPlatform
from tests.journeys.conftest import QUICK, Desk, Member, open_desk
from tests.service import merged

WORDS = "青石巷的蓝色木门"  # in every message of a person
REPLY = "铜铃铛挂在窗边"  # in what the counsellor writes
NOTE = "石榴树下的长椅"  # notes, reasons, places
NUMBER = "19900012345"
OPENID = "oSecretPersonOpenid42"


def forms(text: str) -> dict[str, bytes]:
    """The ways in which a text may stand in a file."""
    return {
        "utf-8": text.encode(),
        "utf-16": text.encode("utf-16-le"),
        "gb18030": text.encode("gb18030"),
        "json": orjson.dumps(text, option=orjson.OPT_INDENT_2)
        if text.isascii()
        else text.encode("unicode_escape"),
        "url": "".join(f"%{b:02X}" for b in text.encode()).encode() if not text.isascii() else text.encode(),
    }


async def test_words_and_addresses_are_nowhere_in_plain_text(tmp_path: Path) -> None:
    wechat, sms = WechatPlatform(), SmsCentre()
    async with AsyncExitStack() as stack:
        api, send_url = await wechat.start(), await sms.start()
        stack.push_async_callback(wechat.close)
        stack.push_async_callback(sms.close)
        settings = {
            "wechat": [
                {
                    "app_id": wechat.app_id, "token": wechat.token, "encoding_aes_key": wechat.aes_key,
                    "app_secret": wechat.app_secret, "api_base": api,
                }
            ],
            "sms": [{"secret": sms.secret, "send_url": send_url}],
        }  # fmt: skip
        desk = await open_desk(tmp_path, stack, merged(QUICK, settings))
        wechat.webhook, sms.webhook = f"{desk.base}/wechat/default", f"{desk.base}/sms/default"
        duty = await desk.hire("duty", rung=0)
        http = await stack.enter_async_context(aiohttp.ClientSession())

        visitor = Visitor(desk.base, http)
        await visitor.says(f"我在天台，不想活了，{WORDS}")
        await wechat.person(OPENID).says(f"人工 {WORDS}")
        await sms.telephone(NUMBER).says(f"老板不发工资 {WORDS}")
        await _bad_requests(http, desk.base)
        card = (await duty.get("/conversations", view="queue"))["items"][0]
        path = f"/conversations/{card['id']}"
        await duty.post(f"{path}/claim")
        await duty.post(f"{path}/reply", text=f"我在。{REPLY}", client_id="plain-reply-1")
        await duty.post(f"{path}/notes", text=NOTE)
        await duty.post(
            f"{path}/rescues",
            place=NOTE,
            identity=NOTE,
            legal_basis="personal_information_13",
            guardian_may_harm=False,
        )
        await duty.post(f"{path}/risk", level="high", note=NOTE)
        await _reviewed(desk, duty, path)
        async with http.get(f"{desk.base}/metrics") as answer:
            metrics = await answer.read()
        await asyncio.sleep(1)
        await visitor.close()
        await desk.service.kill()  # leaves the WAL as it was
        told = "".join(desk.service.output).encode()
    files = _read_all(tmp_path)
    assert "qingting.db" in files
    assert len(files["qingting.db"]) + len(files.get("qingting.db-wal", b"")) > 100_000
    files |= {"metrics": metrics, "printed": told}
    for name, content in files.items():
        for secret in (WORDS, REPLY, NOTE, NUMBER, OPENID):
            for form, written in forms(secret).items():
                assert written not in content, f"{secret!r} as {form} in {name}"


def _read_all(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


async def _reviewed(desk: Desk, duty: Member, path: str) -> None:
    """A message is marked, and a curator accepts it as a sample: masked, but still the person's words."""
    messages = await duty.get(f"{path}/messages")
    message = next(m for m in messages if m["direction"] == "in")
    await duty.post(f"{path}/messages/{message['id']}/mark", what="false_alarm")
    curator = await desk.hire("kong", "curator")
    sample = (await curator.get("/review"))["items"][0]
    shown = await curator.get(f"/review/{sample['id']}")
    labels = {"topic": "other", "risk": "none", "kinds": [], "category": "other.life.chat", "about": "self"}
    assert WORDS in shown["text"]
    await curator.post(
        f"/review/{sample['id']}/accept", text=shown["text"], history=shown["history"], **labels
    )


async def _bad_requests(http: aiohttp.ClientSession, base: str) -> None:
    """Errors are where words leak: malformed, unsigned, too large."""
    for path, body in (
        ("/chat/api/send", f'{{"id": 5, "text": "{WORDS}"'.encode()),
        ("/sms/default", orjson.dumps({"id": "1", "from": NUMBER, "text": WORDS})),
        (
            "/wechat/default?signature=x&timestamp=1&nonce=2&encrypt_type=aes",
            f"<xml><Content>{WORDS}</Content>".encode(),
        ),
        ("/api/login", orjson.dumps({"login": NUMBER, "password": WORDS, "more": WORDS})),
        ("/chat/api/send", (WORDS * 500_000).encode()),
    ):
        async with http.post(
            base + path, data=io.BytesIO(body), headers={"Content-Type": "application/json"}
        ) as answer:
            assert 400 <= answer.status < 500, (path, answer.status)
            assert WORDS not in await answer.text()
