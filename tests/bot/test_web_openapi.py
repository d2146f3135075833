"""The OpenAPI document describes what the API does: every operation is asked with made-up requests and must keep to it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from bot.web.api import openapi
from bot.web.api.operations import operations
from tests.bot.web_rig import Workbench, workbench
from tests.knowledge.conftest import FIELDS, OWN

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


class Running:
    """A workbench on a loop of its own, for a client that waits for its answers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self.base = ""
        self.headers: dict[str, dict[str, str]] = {}
        self.real: dict[str, str] = {}

    def __enter__(self) -> Running:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self) -> None:
        async with workbench(self._folder) as bench:
            await self._fill(bench)
            self._ready.set()
            await self._stop.wait()

    async def _fill(self, bench: Workbench) -> None:
        """One of each thing, so that a made-up request can be about something real."""
        talk = await bench.contact("我想结束了", risk="high")
        wang, root = await bench.at_work("wang", "supervisor"), await bench.at_work("root", "administrator")
        kong = await bench.at_work("kong", "curator")
        for browser in (wang, root):
            cookie = next(iter(browser.http.cookie_jar))
            self.headers[browser.me["role"]] = {
                "Cookie": f"{cookie.key}={cookie.value}",
                "X-CSRF-Token": browser.csrf,
            }
        whole = await wang.post(f"/conversations/{talk}/claim")
        rescue = await wang.post(f"/conversations/{talk}/rescues", {"legal_basis": "个人信息保护法第十三条"})
        mark = await wang.post(f"/conversations/{talk}/nuisance", {"reason": "试验"})
        draft = await kong.post("/templates/greeting.hello/drafts", {"text": "你好"})
        erasure = await wang.post(f"/persons/{whole['person_id']}/erasure", {"verified_how": "in_person"})
        await kong.post(f"/knowledge/entries/{OWN}/draft", {"version": 0, "fields": FIELDS})
        (task, *_) = await wang.get("/tasks")
        self.base = bench.base
        self.real = {
            "conversations": str(talk),
            "alerts": whole["alert"]["id"],
            "rescues": rescue["id"],
            "nuisance": mark["id"],
            "drafts": draft["draft"]["id"],
            "templates": "greeting.hello",
            "persons": whole["person_id"],
            "erasures": erasure["id"],
            "tasks": task["id"],
            "staff": kong.me["id"],
            "entries": OWN,
            "revisions": "1",
        }


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("openapi")) as server:
        yield server


# Signing in is slow on purpose; signing out would end the session that asks; both have tests of their own.
ASKED = sorted(o.name for o in operations if o.name not in ("login", "logout", "change_password", "audit"))
MODES = {"proper": GenerationMode.POSITIVE, "wrong": GenerationMode.NEGATIVE}
DOCUMENT = schemathesis.openapi.from_dict(openapi.document())


def about(case: Any, real: dict[str, str]) -> None:
    """Point the made-up request at a row that is there."""
    parts = case.operation.path.split("/")
    for name in case.path_parameters or {}:
        of = parts[parts.index(f"{{{name}}}") - 1]
        if of in real:
            case.path_parameters[name] = real[of]


@pytest.mark.parametrize("mode", ["proper", "wrong"])
@pytest.mark.parametrize("name", ASKED)
def test_an_operation_keeps_to_its_description(running: Running, name: str, mode: str) -> None:
    (operation,) = [
        o.ok() for o in DOCUMENT.get_all_operations() if o.ok().definition.raw["operationId"] == name
    ]
    role = "administrator" if operation.definition.raw.get("x-needs") == "staff.manage" else "supervisor"
    asked = 0

    @given(case=operation.as_strategy(generation_mode=MODES[mode]))
    @settings(
        max_examples=4,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        nonlocal asked
        if mode == "proper":
            about(case, running.real)
        answer = case.call(base_url=running.base, headers=running.headers[role])
        case.validate_response(answer, checks=CHECKS)
        asked += 1

    try:
        ask()
    except Unsatisfiable:
        assert mode == "wrong"  # nothing about this operation can be wrong
    assert asked or mode == "wrong"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Workbench]:
    async with workbench(tmp_path) as up:
        yield up


async def test_the_document_is_open_to_read_and_names_every_route(bench: Workbench) -> None:
    browser = await bench.browser()
    document = await browser.get("/openapi.json")
    assert document["openapi"] == "3.1.0"
    paths = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert paths == {(o.method, "/api" + o.path) for o in operations}
    claim = document["paths"]["/api/conversations/{id}/claim"]["post"]
    assert claim["security"] == [{"session": [], "csrf": []}]
    assert {"200", "400", "401", "403", "404", "409", "429", "503"} <= claim["responses"].keys()


async def test_there_is_a_page_of_the_documentation(bench: Workbench) -> None:
    browser = await bench.browser()
    answer = await browser.ask("GET", "/docs")
    assert answer.status == 200
    assert answer.content_type == "text/html"
    assert "接口文档" in await answer.text()


def test_every_operation_that_is_not_public_asks_for_a_permission_or_is_ones_own() -> None:
    own = {"me", "logout", "change_password"}
    assert {o.name for o in operations if not o.needs and not o.public} == own
    assert {o.name for o in operations if o.public} == {"login"}
