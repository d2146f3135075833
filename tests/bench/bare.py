"""The yardstick: what aiohttp and wechatpy can do at most. Verifies, decrypts and parses a WeChat POST, stores nothing."""

import asyncio
import sys

import uvloop
from aiohttp import web
from wechatpy import parse_message
from wechatpy.crypto import WeChatCrypto


async def main(port: int, token: str, aes_key: str, app_id: str) -> None:
    crypto = WeChatCrypto(token, aes_key, app_id)

    async def receive(request: web.Request) -> web.Response:
        query = request.query
        body = await request.read()
        xml = crypto.decrypt_message(body, query["msg_signature"], query["timestamp"], query["nonce"])
        parse_message(xml)
        return web.Response(text="success")

    app = web.Application()
    app.router.add_post("/wechat/default", receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), *sys.argv[2:5]))
