"""One function for each number. Each returns rows with the number, what was promised, and its yardstick from the same run."""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from bot.simulate.wechat import WechatPlatform
from tests.bench.load import Result, fire, request
from tests.bench.words import DANGER, ORDINARY
from tests.service import RunningService, free_port

TOKEN, APP_ID, AES_KEY = "benchtoken", "wxbench0000000000", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"


@dataclass(frozen=True)
class _Yardstick:
    port: int
    pid: int


@dataclass(frozen=True)
class Row:
    what: str
    wanted: str
    value: str
    beside: str = ""


# --- understanding ----------------------------------------------------------------------------------------------------


def understanding() -> list[Row]:
    """One 40-character message on one core."""
    from nlu.engine import Engine

    engine = Engine.load()
    texts = [text[:40] for text in ORDINARY] + [DANGER]
    seconds = []
    for n in range(4000):
        text = texts[n % len(texts)][:38] + str(n % 97)  # no two in a row alike: nothing to remember
        began = time.perf_counter()
        engine.understand(text)
        seconds.append(time.perf_counter() - began)
    seconds = sorted(seconds[200:])
    return [
        Row(
            "understand one 40-character message, one core",
            "median ≤ 1 ms, p99 ≤ 5 ms",
            f"median {statistics.median(seconds) * 1000:.2f} ms, p99 {seconds[int(len(seconds) * 0.99)] * 1000:.2f} ms",
        )
    ]


def library() -> list[Row]:
    """Looking up among 10,000 entries with 50,000 wordings, on one core: generated ones, made of the words of ours."""
    import random
    import resource

    from knowledge.entries import load_entries
    from knowledge.library import Library

    chance = random.Random(7)
    shipped = load_entries()
    wordings = [ask for entry in shipped for ask in entry.asks]
    entries = []
    for n in range(10_000):
        like = shipped[n % len(shipped)]
        halves = [(chance.choice(wordings), chance.choice(wordings)) for _ in range(5)]
        asks = tuple(f"{a[: len(a) // 2]}{b[len(b) // 2 :]}{i}" for i, (a, b) in enumerate(halves))
        entries.append(like.model_copy(update={"id": f"{like.id}-{n}", "asks": asks}))
    Library.load(entries=entries[:10])  # modules and the encoder's weights are no part of a rebuild
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    found = Library.load(entries=entries)
    built = time.process_time() - began
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    seconds = []
    for n in range(2000):
        question = chance.choice(wordings) + chance.choice(wordings)[: n % 9]
        began = time.process_time()
        found.answer(question)
        seconds.append(time.process_time() - began)
    seconds.sort()
    return [
        Row(
            "look up among 10,000 entries with 50,000 wordings, one core",
            "p99 ≤ 10 ms",
            f"median {statistics.median(seconds) * 1000:.1f} ms, p99 {seconds[int(len(seconds) * 0.99)] * 1000:.1f} ms",
            f"built in {built:.1f} s of one core, {memory:.0f} MB more at its most",
        )
    ]


# --- SQLite ------------------------------------------------------------------------------------------------------------


def commits() -> list[Row]:
    """What this disk gives: single-row commits a second with WAL and synchronous=FULL."""
    with _folder() as folder:
        db = sqlite3.connect(folder / "x.db", isolation_level=None)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB)")
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < 3:
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT INTO t (b) VALUES (?)", (os.urandom(200),))
            db.execute("COMMIT")
            count += 1
        rate = count / (time.perf_counter() - began)
        db.close()
    return [Row("SQLite commits, one row each (the yardstick of the disk)", "—", f"{rate:,.0f}/s")]


# --- WeChat --------------------------------------------------------------------------------------------------------------


async def webhook() -> list[Row]:
    """Encrypted POST of an event, stored and acknowledged, against a bare handler on the same core. Of the service, the event
    loop is kept on that core; SQLite's thread may use the other one, and its time is said beside."""
    payloads = _wechat_payloads(6000, event=True)
    count = len(payloads) - 500
    async with _bare() as yardstick:
        await fire(yardstick.port, payloads[:500], connections=32)
        used = _cpu(yardstick.pid)
        bare = await fire(yardstick.port, payloads[500:], connections=32)
        bare_cpu = (_cpu(yardstick.pid) - used) / count * 1000
    async with _service(cores="0") as service:
        pid = service.process.pid  # type: ignore[union-attr]
        await fire(service.port, payloads[:500], connections=32)
        loop, whole = _cpu(pid, thread=pid), _cpu(pid)
        ours = await fire(service.port, payloads[500:], connections=128)
        loop, whole = ((_cpu(pid, thread=pid) - loop) / count * 1000, (_cpu(pid) - whole) / count * 1000)
    return [
        Row(
            "encrypted WeChat POST, stored and acknowledged",
            "≥ 0.6 × bare aiohttp + wechatpy",
            f"{ours.rate / bare.rate:.2f} × ({ours.rate:,.0f}/s)",
            f"bare {bare.rate:,.0f}/s; refused {ours.refused}; CPU for each: ours {loop:.2f} ms on that core and "
            f"{whole - loop:.2f} ms in SQLite's thread, bare {bare_cpu:.2f} ms",
        )
    ]


async def journey() -> list[Row]:
    """Webhook, understanding, answer, outbox, sent (in the webhook's own answer): sustained, on the whole machine."""
    count = 8000
    payloads = _wechat_payloads(count + 500)
    async with _service() as service:
        await fire(service.port, payloads[:500], connections=64)
        main, *others = _processes(service)
        before, thinking = _cpu(main), sum(map(_cpu, others))
        result = await fire(service.port, payloads[500:], connections=512)
        before, thinking = _cpu(main) - before, sum(map(_cpu, others)) - thinking
        memory = _memory(service)
    return [
        Row(
            "whole journey, sustained",
            "≥ 1,000 messages/s",
            f"{result.rate:,.0f}/s",
            f"{count} messages, answered {result.bodies}, refused {result.refused}, median {result.median * 1000:.0f} ms, "
            f"p99 {result.percentile(0.99) * 1000:.0f} ms; CPU for each: service {before / count * 1000:.2f} ms, "
            f"understanding {thinking / count * 1000:.2f} ms; memory after {memory:.0f} MB",
        )
    ]


# --- crisis --------------------------------------------------------------------------------------------------------------


async def crisis() -> list[Row]:
    """From the visitor's send to the counsellor's open screen, with 100 other messages a second around it."""
    from contextlib import AsyncExitStack

    from tests.journeys.conftest import Desk, sign_in

    seconds: list[float] = []
    async with AsyncExitStack() as stack, _service() as service:
        admin = await sign_in(None, "admin", await service.first_password(), base=service.base, stack=stack)
        member = await Desk(service, stack, admin).hire("duty", rung=0)
        noise = asyncio.create_task(
            fire(service.port, _wechat_payloads(4000), connections=64, per_second=100)
        )
        await asyncio.sleep(1)
        async with member.http.ws_connect("/api/live") as screen:
            known = {"0"}  # news of the desk itself
            for _ in range(100):
                seconds.append(await _one_alert(service, screen, known))
        noise.cancel()
        await asyncio.gather(noise, return_exceptions=True)
    seconds.sort()
    return [
        Row(
            "high-risk message → counsellor's screen, 100 messages/s around it",
            "p99 ≤ 300 ms",
            f"p99 {seconds[int(len(seconds) * 0.99)] * 1000:.0f} ms",
            f"median {statistics.median(seconds) * 1000:.0f} ms, worst {seconds[-1] * 1000:.0f} ms, {len(seconds)} alerts",
        )
    ]


async def _one_alert(
    service: RunningService, screen: aiohttp.ClientWebSocketResponse, known: set[str]
) -> float:
    """Seconds until the screen hears of an alert in a conversation it has not heard of: earlier ones ring on."""
    (payload,) = _wechat_payloads(1, text=DANGER)
    began = time.perf_counter()
    sending = asyncio.create_task(fire(service.port, [payload], connections=1))
    async with asyncio.timeout(10):
        while True:
            news = await screen.receive_json()
            if news["what"] == "alert" and news["conversation_id"] not in known:
                known.add(news["conversation_id"])
                break
    took = time.perf_counter() - began
    await sending
    await asyncio.sleep(0.05)
    return took


# --- start, memory, size -------------------------------------------------------------------------------------------------


async def start() -> list[Row]:
    """From nothing to /readyz on an existing data folder, and resident memory of all processes."""
    times = []
    with _folder() as folder:
        service = RunningService(folder)
        await service.start()
        await service.stop()
        for _ in range(5):
            began = time.perf_counter()
            await service.start()
            times.append(time.perf_counter() - began)
            memory = _memory(service)
            await service.stop()
    return [
        Row(
            "start to ready, embedded default",
            "≤ 3 s",
            f"{statistics.median(times):.2f} s",
            f"worst of 5: {max(times):.2f} s",
        ),
        Row("resident memory, embedded default (all processes)", "≤ 350 MB", f"{memory:.0f} MB"),
    ]


def widget() -> list[Row]:
    """The chat's code, gzipped."""
    import gzip

    folder = Path(__file__).parents[2] / "bot" / "web" / "static" / "chat"
    files = [f for f in sorted(folder.iterdir()) if f.suffix in (".js", ".css", ".html")]
    size = sum(len(gzip.compress(f.read_bytes(), 9)) for f in files)
    return [
        Row(
            "web widget with the chat page's code, gzipped",
            "≤ 20 KB",
            f"{size / 1024:.1f} KB",
            ", ".join(f.name for f in files),
        )
    ]


# --- growth ---------------------------------------------------------------------------------------------------------


async def queue_page() -> list[Row]:
    """The counsellor's queue in a database of a million conversations, 2,000 of them waiting."""
    from contextlib import AsyncExitStack

    from tests.journeys.conftest import Desk, sign_in

    async with AsyncExitStack() as stack, _service() as service:
        admin = await sign_in(None, "admin", await service.first_password(), base=service.base, stack=stack)
        member = await Desk(service, stack, admin).hire("duty", rung=0)
        await service.stop()
        await asyncio.to_thread(_million, service.folder / "qingting.db")
        await service.start()
        seconds = []
        for _ in range(60):
            began = time.perf_counter()
            await member.get("/conversations", view="queue")
            seconds.append(time.perf_counter() - began)
    seconds = sorted(seconds[5:])
    return [
        Row(
            "queue page at 1,000,000 conversations (2,000 waiting)",
            "≤ 50 ms",
            f"median {statistics.median(seconds) * 1000:.0f} ms",
            f"p95 {seconds[int(len(seconds) * 0.95)] * 1000:.0f} ms",
        )
    ]


def _million(database: Path) -> None:
    db = sqlite3.connect(database, isolation_level=None)
    db.execute("PRAGMA synchronous=OFF")
    db.execute("BEGIN")
    at = "2026-01-01 00:00:00.000000"
    for start in range(1, 1_000_001, 50_000):
        ids = range(start, start + 50_000)
        db.executemany(
            "INSERT INTO person (id, desk, data_key, created_at, legal_hold) VALUES (?, '000000', NULL, ?, 0)",
            ((n, at) for n in ids),
        )
        db.executemany(
            "INSERT INTO contact (id, person_id, channel, account, address_hash, address_sealed, followed, created_at)"
            " VALUES (?, ?, 'webchat', 'default', ?, x'00', 1, ?)",
            ((n, n, n.to_bytes(32, "big"), at) for n in ids),
        )
        db.executemany(
            "INSERT INTO conversation (id, desk, person_id, contact_id, channel, account, state, risk, topic, category,"
            " queue_rank, opened_at, waiting_since, last_inbound_at)"
            " VALUES (?, '000000', ?, ?, 'webchat', 'default', ?, 'none', 'other', '', 40, ?, ?, ?)",
            ((n, n, n, "queued" if n % 500 == 0 else "closed", at, at, at) for n in ids),
        )
    db.execute("COMMIT")
    db.execute("ANALYZE")
    db.close()


# --- helpers ---------------------------------------------------------------------------------------------------------------


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@asynccontextmanager
async def _service(*, cores: str = "", **settings: Any) -> AsyncIterator[RunningService]:
    with _folder() as folder:
        service = RunningService(
            folder,
            {
                "wechat": [
                    {
                        "account": "default",
                        "app_id": APP_ID,
                        "token": TOKEN,
                        "encoding_aes_key": AES_KEY,
                        "app_secret": "s",
                    }
                ],
                **settings,
            },
        )
        await service.start()
        try:
            if cores:
                os.sched_setaffinity(service.process.pid, {int(c) for c in cores.split(",")})  # type: ignore[union-attr]
            yield service
        finally:
            await service.stop()


@asynccontextmanager
async def _bare() -> AsyncIterator[_Yardstick]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.bare",
        str(port),
        TOKEN,
        AES_KEY,
        APP_ID,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    await process.stdout.readline()
    os.sched_setaffinity(process.pid, {0})
    try:
        yield _Yardstick(port, process.pid)
    finally:
        process.terminate()
        await process.wait()


def _wechat_payloads(count: int, *, event: bool = False, text: str = "") -> list[bytes]:
    """Signed, encrypted pushes of that many different persons."""
    platform = WechatPlatform(
        webhook="http://127.0.0.1/wechat/default", app_id=APP_ID, token=TOKEN, aes_key=AES_KEY
    )
    made = []
    for n in range(count):
        fields = {
            "ToUserName": "gh_bench",
            "FromUserName": f"o{secrets.token_hex(10)}",
            "CreateTime": str(int(time.time())),
        }
        if event:
            fields |= {"MsgType": "event", "Event": "VIEW", "EventKey": "menu"}
        else:
            fields |= {
                "MsgType": "text",
                "Content": text or ORDINARY[n % len(ORDINARY)],
                "MsgId": str(platform.next_id()),
            }
        query, body = platform.sealed(fields)
        path = "/wechat/default?" + "&".join(f"{k}={v}" for k, v in query.items())
        made.append(request("POST", path, body, "text/xml"))
    return made


def _memory(service: RunningService) -> float:
    """Resident megabytes of the service and its children."""
    total = 0
    for pid in _processes(service):
        status = Path(f"/proc/{pid}/status").read_text()
        total += next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return total / 1024


def _processes(service: RunningService) -> list[int]:
    """The service's process, and after it the understanding processes."""
    assert service.process is not None
    pids = [service.process.pid]
    for pid in pids:
        pids += [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return pids


def _cpu(pid: int, *, thread: int | None = None) -> float:
    """Seconds of processor time that a process, or one thread of it, has used."""
    path = Path(f"/proc/{pid}/stat") if thread is None else Path(f"/proc/{pid}/task/{thread}/stat")
    fields = path.read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


ALL: dict[str, Callable[[], list[Row] | Awaitable[list[Row]]]] = {
    "understanding": understanding,
    "library": library,
    "commits": commits,
    "webhook": webhook,
    "journey": journey,
    "crisis": crisis,
    "start": start,
    "widget": widget,
    "queue_page": queue_page,
}
__all__ = ["ALL", "Result", "Row"]
