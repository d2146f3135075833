"""A real `qingting run` on a free port and a fresh folder, for journeys, faults and benchmarks. Loopback only."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import yaml


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `over` laid on top, section by section."""
    out = dict(base)
    for key, value in over.items():
        out[key] = (
            merged(out[key], value)
            if isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
            else value
        )
    return out


class RunningService:
    """One service process. `start`, `kill` (as a power cut would) and `start` again keep the same data."""

    def __init__(self, folder: Path, settings: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        own = {
            "server": {"host": "127.0.0.1", "port": self.port},
            "storage": {
                "url": f"sqlite:///{folder}/qingting.db",
                "data": str(folder),
                "master_key_file": str(folder / "master.key"),
            },
        }
        self.config = folder / "config.yml"
        self.config.write_text(
            yaml.safe_dump(merged(own, settings or {}), allow_unicode=True), encoding="utf-8"
        )
        self.process: asyncio.subprocess.Process | None = None
        self.output: list[str] = []
        self.log = folder / "service.log"
        self.password = ""

    async def start(self, *, within: float = 60.0) -> None:
        """Start and wait until it says that it is ready."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bot.cli", "run", "--config", str(self.config),
                stdout=asyncio.subprocess.PIPE, stderr=log, env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        assert self.process.stdout is not None
        async with asyncio.timeout(within):
            while True:
                line = (await self.process.stdout.readline()).decode()
                if not line:
                    raise RuntimeError(f"the service ended at start:\n{self.log.read_text()[-3000:]}")
                self.output.append(line)
                if found := re.search(r"一次性密码：\s*(\S+)", line):
                    self.password = found[1]
                if "接口文档" in line:
                    break
            await self._wait_ready()
        self._drain = asyncio.create_task(self._read_on())

    async def first_password(self) -> str:
        """The administrator's one-time password, as the first start prints it."""
        async with asyncio.timeout(10):
            while not self.password:
                await asyncio.sleep(0.02)
        return self.password

    async def stop(self) -> None:
        """End it as an operator would (SIGTERM)."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it as a power cut would (SIGKILL)."""
        await self._end(signal.SIGKILL)

    async def _end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        if self.process.returncode is None:
            self.process.send_signal(how)
        await asyncio.wait_for(self.process.wait(), 30)
        self._drain.cancel()
        self.process = None

    async def _read_on(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.output.append(line.decode())
            if found := re.search(r"一次性密码：\s*(\S+)", line.decode()):
                self.password = found[1]

    async def _wait_ready(self) -> None:
        async with aiohttp.ClientSession() as http:
            while True:
                try:
                    async with http.get(f"{self.base}/readyz") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)
