"""The whole way with the real Rasa: environment, training on a few lines, server, parse, both engines together.

Rasa needs Python 3.10; where none is found these tests are skipped aloud. The environment (2 GB) is made once and kept in
.rasa-venv, or where QINGTING_RASA_ENV says.
"""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot import rasa_server
from bot.rasa_address import RasaAddress
from bot.rasa_engine import RasaClient, RasaEngine, RasaError
from nlu.corpus import Example, load
from nlu.engine import default
from nlu.rasa.project import as_asked
from tests.peers import RASA_ENVIRONMENT
from tests.service import free_port

pytestmark = pytest.mark.rasa
TOKEN = "a token/with & signs"
PART = ("legal.labour", "psychological.exam", "psychological.crisis", "safety.abuse")


def some_lines() -> list[Example]:
    """Thirty lines of each of four groups: enough to see that something is learned, few enough to train in seconds."""
    lines = [example for example in load() if example.split == "train" and not example.history]
    return [
        line
        for group in PART
        for line in [e for e in lines if ".".join(e.category.split(".")[:2]) == group][:30]
    ]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RasaAddress, Path]]:
    """`qingting rasa serve` with a model that was trained just now, and its log."""
    data = tmp_path_factory.mktemp("data")
    rasa_server.setup(RASA_ENVIRONMENT)
    rasa_server.train(RASA_ENVIRONMENT, data / "rasa", some_lines(), epochs=40)
    port, log, token = free_port(), data / "serve.log", data / "token"
    token.write_text(TOKEN, encoding="utf-8")
    token.chmod(0o600)
    config = data / "config.yml"
    config.write_text(
        f"storage: {{data: {data}}}\nunderstanding: {{rasa: {{token_file: {token}}}}}\n", encoding="utf-8"
    )
    command = [sys.executable, "-m", "bot.cli", "rasa", "serve", "--env", str(RASA_ENVIRONMENT)]
    command += ["--config", str(config), "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        _wait(port, process, log)
        yield RasaAddress(f"http://127.0.0.1:{port}", token=TOKEN, timeout_seconds=5), log
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 180
    while time.monotonic() < until:
        if process.poll() is not None:
            raise AssertionError(f"Rasa ended at its start:\n{log.read_text(errors='replace')[-3000:]}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/")
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            time.sleep(0.5)
        finally:
            connection.close()
    raise AssertionError("Rasa did not start in three minutes")


def test_what_was_learned_comes_back_through_the_server(address: tuple[RasaAddress, Path]) -> None:
    where, _ = address
    client = RasaClient(where)
    lines = some_lines()[::2]
    found = [client.read(as_asked(line.text)) for line in lines]
    client.close()
    topics = sum(reading.topic == line.topic for reading, line in zip(found, lines, strict=True))
    assert topics / len(lines) > 0.85
    grave = [
        (reading.risk in ("high", "critical"), line.risk in ("high", "critical"))
        for reading, line in zip(found, lines, strict=True)
    ]
    assert sum(got == want for got, want in grave) / len(grave) > 0.85
    assert sum(want for _, want in grave) >= 10


def test_both_engines_together_on_the_real_answers(address: tuple[RasaAddress, Path]) -> None:
    where, log = address
    engine = RasaEngine(default(), where)
    texts = [
        "老板三个月没发工资了",
        "我不想活了",
        "今天天气不错",
        "他又打我了，救命",
        "/restart",
        "😀😀",
        "a" * 3000,
    ]
    for text in texts:
        alone, both = default().understand(text), engine.understand(text)
        assert engine.trouble == ""
        assert (both.risk, both.engine) == (alone.risk, alone.engine) or both.engine == "rasa"
        order = ("none", "low", "medium", "high", "critical")
        assert order.index(both.risk) >= order.index(alone.risk)
    engine.close()
    said = log.read_text(errors="replace")
    assert not any(text in said for text in texts[:4])
    assert TOKEN not in said


def test_without_the_token_there_is_no_answer(address: tuple[RasaAddress, Path]) -> None:
    where, _ = address
    client = RasaClient(RasaAddress(where.url, timeout_seconds=5))
    with pytest.raises(RasaError, match="status 401"):
        client.read("你好")
    client.close()


def test_the_server_listens_on_this_machine_only(address: tuple[RasaAddress, Path]) -> None:
    where, _ = address
    port = int(where.url.rpartition(":")[2])
    sockets = Path("/proc/net/tcp").read_text().splitlines()[1:]
    bound = [line.split()[1] for line in sockets if line.split()[3] == "0A"]
    assert f"0100007F:{port:04X}" in bound
    assert f"00000000:{port:04X}" not in bound


def test_the_environment_is_made_once(capfd: pytest.CaptureFixture[str]) -> None:
    assert rasa_server.setup(RASA_ENVIRONMENT) is False
    assert os.access(RASA_ENVIRONMENT / "bin/python", os.X_OK)
