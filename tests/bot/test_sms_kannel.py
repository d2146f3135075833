"""A real Kannel (bearerbox, smsbox) with the fakesmsc of kannel-extras as its SMS centre, both ways."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bot.channels import StorageUnavailable, sms
from bot.outbox import Draft
from bot.settings import Settings, SmsAccount
from bot.tables import Delivery
from tests.bot.rig import Answer, Rig, build, free_port
from tests.simulators.kannel import PERSON, Kannel

pytestmark = pytest.mark.kannel


@dataclass
class Both:
    """The desk's end and Kannel's."""

    rig: Rig
    kannel: Kannel
    stack: AsyncExitStack


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Both]:
    async with AsyncExitStack() as stack:
        port = free_port()
        kannel = Kannel(tmp_path, stack)
        account = SmsAccount(**kannel.account, receipts_url=f"http://127.0.0.1:{port}")
        rig = await build(
            stack,
            tmp_path,
            lambda shell: sms.make(shell, account),
            settings=Settings(sms=[account]),
            port=port,
        )
        await kannel.start(port)
        yield Both(rig, kannel, stack)


async def test_a_text_comes_in_and_the_answer_goes_out_with_a_receipt(both: Both) -> None:
    words = "我叫小林，很难过😭"
    await both.kannel.person_says(words)
    await both.rig.until(lambda: both.kannel.got, within=15)
    assert both.kannel.got == [f"【倾听】收到：{words}"]
    await both.rig.settled("delivered", within=10)
    assert [h.text for h in both.rig.heard] == [words]
    (delivery,) = await both.rig.rows(Delivery)
    assert delivery.provider_id == str(delivery.id)
    await both.stack.aclose()  # Kannel ends, and everything it wrote is on the disk
    for path in both.kannel.folder.rglob("*"):
        if path.is_file():
            written = path.read_bytes()
            for secret in ("小林", "收到"):
                assert secret.encode() not in written, path.name
                assert secret.encode("utf-16-be") not in written, path.name
            assert PERSON.encode() not in written, path.name


async def test_latin_and_utf8_texts_come_in_too(both: Both) -> None:
    await both.kannel.person_says("help me", "救救我", times=2)
    await both.rig.until(lambda: len(both.rig.heard) == 2, within=15)
    assert {h.text for h in both.rig.heard} <= {"help me", "救救我"}


async def test_what_could_not_be_stored_kannel_offers_again_and_it_counts_once(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive, tries = both.rig.shell.inbox.receive, []

    async def fails_twice(message: Any) -> Any:
        tries.append(message.provider_id)
        if len(tries) <= 2:
            raise StorageUnavailable("locked")
        return await receive(message)

    monkeypatch.setattr(both.rig.shell.inbox, "receive", fails_twice)
    await both.kannel.person_says("听得到吗")
    await both.rig.until(lambda: both.kannel.got, within=20)
    assert len(set(tries)) == 1
    assert [h.text for h in both.rig.heard] == ["听得到吗"]


async def test_a_long_text_arrives_whole_in_segments(both: Both) -> None:
    long = "这是一句话。" * 25
    both.rig.answers = lambda heard: Answer([Draft(long)])
    await both.kannel.person_says("长")
    await both.rig.until(lambda: len("".join(both.kannel.got)) >= len(long) + 4, within=15)
    assert "".join(both.kannel.got) == "【倾听】" + long
    assert all(len(part) <= 67 for part in both.kannel.got)
