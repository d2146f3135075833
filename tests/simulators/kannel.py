"""A real Kannel for tests: bearerbox and smsbox with deploy/kannel/kannel.conf, and fakesmsc as SMS centre and telephone."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from tests.service import free_port

FAKESMSC = Path("/usr/lib/kannel/test/fakesmsc")  # Debian: kannel-extras
CONFIG = Path(__file__).parents[2] / "deploy" / "kannel" / "kannel.conf"
PERSON = "19900000001"


class Kannel:
    """`account` is the entry under `sms:` of the desk; `got` what reached the telephone, a long text in its segments."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder = folder / "kannel"
        self.folder.mkdir()
        self.got: list[str] = []
        self._stack = stack
        self._ports = {name: free_port() for name in ("admin_port", "smsbox_port", "sendsms_port", "centre")}
        self.account: dict[str, Any] = {
            "secret": "kannels-secret",
            "flavour": "kannel",
            "sender": "12355",
            "send_url": f"http://127.0.0.1:{self._ports['sendsms_port']}/cgi-bin/sendsms",
            "send_user": "desk",
            "send_password": "desks-password",
            "signature": "倾听",
        }

    async def start(self, desk_port: int) -> None:
        """Start both boxes before a desk on `desk_port`; they end with the stack."""
        (self.folder / "smsc.conf").write_text(
            "group = smsc\nsmsc = fake\nsmsc-id = fake\nconnect-allow-ip = 127.0.0.1\n"
            f"port = {self._ports['centre']}\n"
        )
        values = {
            **{k: str(v) for k, v in self._ports.items()},
            "admin_password": "admins-password",
            "smsc_conf": str(self.folder / "smsc.conf"),
            "secret": "kannels-secret",
            "qingting": f"127.0.0.1:{desk_port}",
            "account": "default",
            "send_user": "desk",
            "send_password": "desks-password",
        }
        config = re.sub(r"\{\{(\w+)\}\}", lambda m: values[m[1]], CONFIG.read_text())
        config = config.replace(
            "http-queue-delay = 3", "http-queue-delay = 1"
        )  # a test does not wait three seconds
        (self.folder / "kannel.conf").write_text(config)
        for program, port in (("bearerbox", "centre"), ("smsbox", "sendsms_port")):
            with (self.folder / f"{program}.out").open("wb") as log:
                process = await asyncio.create_subprocess_exec(
                    _found(program), "-v", "4", "kannel.conf", cwd=self.folder, stdout=log, stderr=log
                )
            self._stack.push_async_callback(ended, process)
            await _listening(self._ports[port])

    async def person_says(self, *words: str, times: int = 1) -> None:
        """Texts from PERSON to 12355, UTF-8, `times` in all, picked from `words`. The telephone stays on."""
        process = await asyncio.create_subprocess_exec(
            str(FAKESMSC), "-H", "127.0.0.1", "-r", str(self._ports["centre"]), "-i", "0.2", "-m", str(times),
            *(f"{PERSON} 12355 text {line}" for line in words),
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, cwd=self.folder,
        )  # fmt: skip
        self._stack.push_async_callback(ended, process)
        reading = asyncio.create_task(self._read(process))
        self._stack.push_async_callback(asyncio.wait, [reading], timeout=2)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """What the centre was given to deliver: "Got message 1: <12355 199… ucs-2 %4F%60>", segments as
        "udh %05… data %4F%60"."""
        assert process.stderr is not None
        async for line in process.stderr:
            found = re.search(rb"Got message \d+: <12355 (\d+) (?:udh \S+ )?(\S+) (.*)>", line)
            if found:
                self.got.append(_readable(found[2].decode(), found[3]))


def _found(program: str) -> str:
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin")
    assert path is not None
    return path


def _readable(kind: str, raw: bytes) -> str:
    if kind in ("ucs-2", "data"):  # "data": a segment, after its header
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-16-be")
    return raw.decode("utf-8", "replace")


async def ended(process: asyncio.subprocess.Process) -> None:
    """End a process that we started."""
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _listening(port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.1)
            else:
                writer.close()
                await writer.wait_closed()
                return
