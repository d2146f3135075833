"""A real Kannel (bearerbox, smsbox) with the fakesmsc of kannel-extras as its SMS centre, both ways."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest

from bot.channels import StorageUnavailable, sms
from bot.outbox import Draft
from bot.settings import Settings, SmsAccount
from bot.tables import Delivery
from tests.bot.rig import Answer, Rig, build, free_port

FAKESMSC = Path("/usr/lib/kannel/test/fakesmsc")
CONFIG = Path(__file__).parents[2] / "deploy" / "kannel" / "kannel.conf"
PERSON = "19900000001"

pytestmark = [
    pytest.mark.kannel,
    pytest.mark.skipif(
        not (shutil.which("bearerbox") and shutil.which("smsbox") and FAKESMSC.exists()),
        reason="Kannel is missing: apt install kannel kannel-extras",
    ),
]


@dataclass
class Kannel:
    rig: Rig
    folder: Path
    centre_port: int
    stack: AsyncExitStack
    got: list[str]

    async def person_says(self, *lines: str, times: int = 1, every: float = 0.2) -> None:
        """fakesmsc lines ("text …"), as from PERSON to 12355."""
        messages = [f"{PERSON} 12355 {line}" for line in lines]
        process = await asyncio.create_subprocess_exec(
            str(FAKESMSC), "-H", "127.0.0.1", "-r", str(self.centre_port), "-i", str(every), "-m", str(times), *messages,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, cwd=self.folder,
        )  # fmt: skip
        self.stack.push_async_callback(ended, process)
        reading = asyncio.create_task(self._read(process))
        self.stack.push_async_callback(asyncio.wait, [reading], timeout=2)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """What the centre was given to deliver: "Got message 1: <12355 199… ucs-2 %4F%60>",
        segments as "udh %05… data %4F%60"."""
        assert process.stderr is not None
        async for line in process.stderr:
            found = re.search(rb"Got message \d+: <12355 (\d+) (?:udh \S+ )?(\S+) (.*)>", line)
            if found:
                self.got.append(_readable(found[2].decode(), found[3]))


def _readable(kind: str, raw: bytes) -> str:
    if kind in ("ucs-2", "data"):  # "data": a segment, after its header
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-16-be")
    return raw.decode("utf-8", "replace")


async def ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()


@pytest.fixture
async def kannel(tmp_path: Path) -> AsyncIterator[Kannel]:
    async with AsyncExitStack() as stack:
        ports = {
            name: free_port() for name in ("admin_port", "smsbox_port", "sendsms_port", "centre", "desk")
        }
        folder = tmp_path / "kannel"
        folder.mkdir()
        account = SmsAccount(
            secret="kannels-secret",
            flavour="kannel",
            sender="12355",
            send_url=f"http://127.0.0.1:{ports['sendsms_port']}/cgi-bin/sendsms",
            send_user="desk",
            send_password="desks-password",
            receipts_url=f"http://127.0.0.1:{ports['desk']}",
            signature="倾听",
        )
        rig = await build(
            stack,
            tmp_path,
            lambda shell: sms.make(shell, account),
            settings=Settings(sms=[account]),
            port=ports["desk"],
        )
        (folder / "smsc.conf").write_text(
            f"group = smsc\nsmsc = fake\nsmsc-id = fake\nport = {ports['centre']}\nconnect-allow-ip = 127.0.0.1\n"
        )
        values = {
            **{k: str(v) for k, v in ports.items()},
            "admin_password": "admins-password",
            "smsc_conf": str(folder / "smsc.conf"),
            "secret": "kannels-secret",
            "qingting": f"127.0.0.1:{ports['desk']}",
            "account": "default",
            "send_user": "desk",
            "send_password": "desks-password",
        }
        config = re.sub(r"\{\{(\w+)\}\}", lambda m: values[m[1]], CONFIG.read_text().replace("{{…}}", ""))
        config = config.replace("http-queue-delay = 3", "http-queue-delay = 1")
        (folder / "kannel.conf").write_text(config)
        for program, port in (("bearerbox", ports["centre"]), ("smsbox", ports["sendsms_port"])):
            with (folder / f"{program}.out").open("wb") as log:
                process = await asyncio.create_subprocess_exec(
                    program, "-v", "4", "kannel.conf", cwd=folder, stdout=log, stderr=log
                )
            stack.push_async_callback(ended, process)
            await _listening(port)
        yield Kannel(rig, folder, ports["centre"], stack, [])


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


async def test_a_text_comes_in_and_the_answer_goes_out_with_a_receipt(kannel: Kannel) -> None:
    words = "我叫小林，很难过😭"
    await kannel.person_says(f"text {words}")
    await kannel.rig.until(lambda: kannel.got, within=15)
    assert kannel.got == [f"【倾听】收到：{words}"]
    await kannel.rig.settled("delivered", within=10)
    assert [h.text for h in kannel.rig.heard] == [words]
    (delivery,) = await kannel.rig.rows(Delivery)
    assert delivery.provider_id == str(delivery.id)
    await kannel.stack.aclose()  # Kannel ends, and everything it wrote is on the disk
    for path in kannel.folder.rglob("*"):
        if path.is_file():
            written = path.read_bytes()
            for secret in ("小林", "收到"):
                assert secret.encode() not in written, path.name
                assert secret.encode("utf-16-be") not in written, path.name
            assert PERSON.encode() not in written, path.name


async def test_latin_and_utf8_texts_come_in_too(kannel: Kannel) -> None:
    await kannel.person_says("text help me", "text 救救我", times=2)
    await kannel.rig.until(lambda: len(kannel.rig.heard) == 2, within=15)
    assert {h.text for h in kannel.rig.heard} <= {"help me", "救救我"}


async def test_what_could_not_be_stored_kannel_offers_again_and_it_counts_once(
    kannel: Kannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive, tries = kannel.rig.shell.inbox.receive, []

    async def fails_twice(message: Any) -> Any:
        tries.append(message.provider_id)
        if len(tries) <= 2:
            raise StorageUnavailable("locked")
        return await receive(message)

    monkeypatch.setattr(kannel.rig.shell.inbox, "receive", fails_twice)
    await kannel.person_says("text 听得到吗")
    await kannel.rig.until(lambda: kannel.got, within=20)
    assert len(set(tries)) == 1
    assert [h.text for h in kannel.rig.heard] == ["听得到吗"]


async def test_a_long_text_arrives_whole_in_segments(kannel: Kannel) -> None:
    long = "这是一句话。" * 25
    kannel.rig.answers = lambda heard: Answer([Draft(long)])
    await kannel.person_says("text 长")
    await kannel.rig.until(lambda: len("".join(kannel.got)) >= len(long) + 4, within=15)
    assert "".join(kannel.got) == "【倾听】" + long
    assert all(len(part) <= 67 for part in kannel.got)
