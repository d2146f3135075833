"""Rasa as a second judge: a real HTTP server that answers, is slow, trickles, dies or is another program."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bot import settings
from bot.brain import Brain, Options, Question
from bot.rasa_address import RasaAddress, address_of
from bot.rasa_engine import Breaker, RasaEngine
from bot.settings import ConfigProblem
from nlu.engine import default
from nlu.rasa.project import as_asked
from tests.bench import measures
from tests.bench.load import fire
from tests.nlu.test_rasa_reading import answer
from tests.service import free_port

GRAVE = answer({"psychological.crisis": 1.0}, {"high.suicide": 0.9, "none": 0.1})
CALM = answer({"other.life": 1.0}, {"none": 1.0})
DULL = "今天作业有点多"  # the embedded engine hears nothing in it


class _Rasa(ThreadingHTTPServer):
    """Behaves as `mode` says; keeps what it was asked."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.mode, self.answer = "answer", GRAVE
        self.asked: list[tuple[str, Any]] = []
        self.release = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Rasa

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body))
        mode = self.server.mode
        if mode == "hang":
            self.server.release.wait(5)
        if mode == "drop":
            self.close_connection = True
            return
        made = b"<html>" if mode == "junk" else json.dumps(self.server.answer).encode()
        self.send_response(500 if mode == "fail" else 200)
        self.send_header("Content-Length", str(len(made)))
        self.end_headers()
        if mode == "trickle":
            with contextlib.suppress(OSError):  # nobody waits for the end
                for at in range(len(made)):
                    self.wfile.write(made[at : at + 1])
                    self.wfile.flush()
                    time.sleep(0.05)
        else:
            self.wfile.write(made)
        if mode == "answer and close":
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def rasa() -> Iterator[_Rasa]:
    yield from _serve(_Rasa())


def _serve(server: _Rasa) -> Iterator[_Rasa]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.release.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def engine(rasa: _Rasa) -> Iterator[RasaEngine]:
    made = RasaEngine(default(), RasaAddress(rasa.url, timeout_seconds=0.4))
    yield made
    made.close()


def test_rasa_raises_what_the_embedded_engine_did_not_hear(engine: RasaEngine) -> None:
    assert default().understand(DULL).risk == "none"
    seen = engine.understand(DULL)
    assert (seen.risk, seen.kinds, seen.engine) == ("high", ("suicide",), "rasa")
    assert seen.spans[0].end == len(DULL)


def test_rasa_cannot_lower_what_the_embedded_engine_heard(rasa: _Rasa, engine: RasaEngine) -> None:
    rasa.answer = CALM
    for text in ("我不想活了", "他又打我了，现在就在门口", "我在天台，不想活了"):
        alone, both = default().understand(text), engine.understand(text)
        assert both.risk == alone.risk
        assert set(both.kinds) >= set(alone.kinds)
        assert both.risk_score >= alone.risk_score


def test_critical_waits_for_nobody(rasa: _Rasa, engine: RasaEngine) -> None:
    assert engine.understand("我在天台，不想活了").risk == "critical"
    assert rasa.asked == []


def test_older_messages_stay_with_the_embedded_engine(rasa: _Rasa, engine: RasaEngine) -> None:
    rasa.answer = CALM
    seen = engine.understand("嗯", ["我不想活了，药都买好了"])
    assert seen.risk == default().understand("嗯", ["我不想活了，药都买好了"]).risk
    assert all(body == {"text": "嗯"} for _, body in rasa.asked)


def test_one_connection_is_kept_and_one_closed_while_idle_is_made_anew(
    rasa: _Rasa, engine: RasaEngine
) -> None:
    rasa.mode = "answer and close"
    for _ in range(4):
        assert engine.understand(DULL).engine == "rasa"
    assert len(rasa.asked) == 4


@pytest.mark.parametrize("mode", ["hang", "trickle", "drop", "fail", "junk"])
def test_whatever_happens_to_rasa_our_own_judgement_comes_in_time(
    rasa: _Rasa, engine: RasaEngine, mode: str
) -> None:
    rasa.mode = mode
    began = time.monotonic()
    seen = engine.understand(DULL)
    assert time.monotonic() - began < 0.8
    assert seen == default().understand(DULL)
    assert engine.trouble
    assert DULL not in engine.trouble
    rasa.mode = "answer"
    rasa.release.set()
    time.sleep(0.5)  # what hung has ended
    assert engine.understand(DULL).engine == "rasa"
    assert engine.trouble == ""


def test_an_answer_of_another_model_counts_as_none(rasa: _Rasa, engine: RasaEngine) -> None:
    rasa.answer = {"text": "…", "intent": {"name": "greet", "confidence": 0.9}, "intent_ranking": []}
    assert engine.understand(DULL) == default().understand(DULL)
    assert engine.trouble == "not an answer of our model"


def test_after_three_failures_rasa_is_left_alone_for_a_while_and_then_tried_once(rasa: _Rasa) -> None:
    now = [100.0]
    engine = RasaEngine(
        default(), RasaAddress(rasa.url, failures_open=3, open_seconds=30), clock=lambda: now[0]
    )
    rasa.mode = "fail"
    for _ in range(6):
        engine.understand(DULL)
    assert len(rasa.asked) == 3
    now[0] += 31
    engine.understand(DULL)
    engine.understand(DULL)
    assert len(rasa.asked) == 4  # the one try failed: closed again for thirty seconds
    now[0] += 31
    rasa.mode = "answer"
    assert engine.understand(DULL).engine == "rasa"
    assert engine.understand(DULL).engine == "rasa"
    engine.close()


def test_the_breaker_counts_failures_in_a_row() -> None:
    now = [0.0]
    breaker = Breaker(2, 10, clock=lambda: now[0])
    breaker.failed()
    breaker.succeeded()
    breaker.failed()
    assert breaker.allows()
    breaker.failed()
    assert not breaker.allows()
    now[0] = 10
    assert breaker.allows()


def test_nobody_listens(unused_port: int) -> None:
    engine = RasaEngine(default(), RasaAddress(f"http://127.0.0.1:{unused_port}"))
    assert engine.understand("我不想活了").risk == default().understand("我不想活了").risk
    assert engine.trouble == "ConnectionRefusedError"
    engine.close()


def test_the_token_goes_where_rasa_wants_it(rasa: _Rasa) -> None:
    engine = RasaEngine(default(), RasaAddress(rasa.url, token="a b&c"))
    engine.understand(DULL)
    engine.close()
    assert rasa.asked[0][0] == "/model/parse?token=a%20b%26c"


@pytest.fixture
def unused_port() -> int:
    return free_port()


# --- in the understanding process ---------------------------------------------------------------------------------------


async def test_the_service_understands_with_rasa_and_goes_on_without(
    unused_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """It starts while Rasa is away, hears it when it comes, and says both once."""
    address = RasaAddress(f"http://127.0.0.1:{unused_port}", timeout_seconds=0.8, failures_open=100)
    brain = Brain(processes=1, options=Options(rasa=address))
    await brain.start()
    try:
        (thought,) = await brain.think([Question(DULL)])
        assert (thought.understanding.risk, thought.understanding.engine) == ("none", "embedded")
        assert not thought.fell_back
        for _ in _serve(_Rasa(unused_port)):
            (thought,) = await brain.think([Question(DULL)])
            assert (thought.understanding.risk, thought.understanding.engine) == ("high", "rasa")
    finally:
        await brain.close()
    said = capsys.readouterr().out
    assert said.count("understanding.rasa_silent") == 1
    assert said.count("understanding.rasa_heard") == 1
    assert DULL not in said


async def test_config_yml_brings_rasa_into_the_service(rasa: _Rasa) -> None:
    settings = {"engine": "rasa", "rasa": {"url": rasa.url}, "processes": 1}
    async with measures._service(understanding=settings) as service:
        asked = len(rasa.asked)  # the first question is the child's own, at its start
        assert asked >= 1
        await fire(service.port, measures._wechat_payloads(1, text=DULL), connections=1)
        assert [body["text"] for _, body in rasa.asked[asked:]] == [as_asked(DULL)]


# --- settings ---------------------------------------------------------------------------------------------------------------


def _settings(tmp_path: Path, understanding: str) -> settings.Settings:
    path = tmp_path / "config.yml"
    path.write_text(f"understanding: {understanding}\n", encoding="utf-8")
    return settings.load(path)


def test_the_token_comes_from_a_private_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("from-file\n", encoding="utf-8")
    token.chmod(0o644)
    found = _settings(tmp_path, f"{{engine: rasa, rasa: {{token_file: {token}}}}}").understanding
    with pytest.raises(ConfigProblem, match="chmod 600"):
        address_of(found.rasa)
    token.chmod(0o600)
    assert address_of(found.rasa).token == "from-file"
    monkeypatch.setenv("QINGTING_UNDERSTANDING__RASA__TOKEN", "from-environment")
    found = _settings(tmp_path, f"{{engine: rasa, rasa: {{token_file: {token}}}}}").understanding
    assert address_of(found.rasa).token == "from-environment"
    assert "from-environment" not in repr(found)


def test_a_token_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    found = _settings(tmp_path, "{engine: rasa, rasa: {token_file: /nowhere/token}}").understanding
    with pytest.raises(ConfigProblem, match="/nowhere/token"):
        address_of(found.rasa)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("{engine: deepthought}", "understanding.engine"),
        ("{rasa: {url: 'http://10.0.0.5:5005'}}", "understanding.rasa.url"),
        ("{rasa: {url: 'ftp://127.0.0.1'}}", "understanding.rasa.url"),
        ("{rasa: {timeout_seconds: 3}}", "understanding.rasa.timeout_seconds"),
        ("{rasa: {breaker: 3}}", "understanding.rasa.breaker"),
        ("{encoder: bge}", "understanding.encoder"),
        ("{encoder: 'sentence-transformers:'}", "understanding.encoder"),
        ("{encoder: 'sentence-transformers:models/x'}", "memory_mb"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, wrong: str, named: str) -> None:
    with pytest.raises(ConfigProblem, match=named):
        _settings(tmp_path, wrong)


def test_words_go_to_another_machine_by_https_only(tmp_path: Path) -> None:
    found = _settings(tmp_path, "{rasa: {url: 'https://rasa.example.org'}}")
    assert found.understanding.rasa.url == "https://rasa.example.org"


def test_a_server_that_is_slow_to_greet_is_not_waited_for() -> None:
    """A port that takes connections and never reads: the connection succeeds, nothing comes."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        engine = RasaEngine(
            default(), RasaAddress(f"http://127.0.0.1:{deaf.getsockname()[1]}", timeout_seconds=0.2)
        )
        began = time.monotonic()
        assert engine.understand(DULL).engine == "embedded"
        assert time.monotonic() - began < 0.6
        engine.close()
