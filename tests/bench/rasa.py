"""The embedded engine and Rasa side by side, and both journeys: `python -m tests.bench rasa [FILE.jsonl …]`.

Trains Rasa on the corpus (`--epochs N` as wanted, `--model FILE` to take one that is there, `--home FOLDER` to keep it), then asks
three engines about the corpus' held-out and tuning themes and every file given: the embedded one, Rasa alone, and both as the service joins
them. Then the same ordinary messages go through Qingting's WeChat journey and through Rasa's own REST channel. Needs Rasa's
environment (`qingting rasa setup`); trains ten minutes and more.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bot import rasa_server
from bot.rasa_address import RasaAddress
from bot.rasa_engine import RasaClient
from nlu import corpus
from nlu.engine import default
from nlu.rasa.project import as_asked
from nlu.rasa.reading import Reading, merge
from nlu.understanding import Understanding
from tests.bench import measures
from tests.bench.load import fire, request
from tests.bench.scores import Suite, corpus_suite, measure, read_suite
from tests.bench.words import ORDINARY
from tests.peers import RASA_ENVIRONMENT
from tests.service import free_port

ENGINES = ("embedded", "Rasa alone", "both joined")
SURE = RasaAddress("").sure
CHATS = 600


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench rasa", description=__doc__)
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--no-journey", action="store_true")
    given = parser.parse_args(arguments)
    suites = [corpus_suite("heldout"), corpus_suite("tune"), *(read_suite(path) for path in given.files)]
    suites = [suite for suite in suites if suite.lines]
    with tempfile.TemporaryDirectory() as name:
        home = given.home or Path(name)
        model = given.model or trained(home, given.epochs)
        with served(model, home) as port:
            client = RasaClient(RasaAddress(f"http://127.0.0.1:{port}", timeout_seconds=10))
            for suite in suites:
                _show(suite, [measure(suite, seen) for seen in understood(suite, client)])
            _speed(suites[0], client)
            client.close()
            if not given.no_journey:
                asyncio.run(journeys(port))


def trained(home: Path, epochs: int | None) -> Path:
    """A model from the training themes."""
    lines = [example for example in corpus.load() if example.split == "train"]
    began = time.monotonic()
    model = rasa_server.train(RASA_ENVIRONMENT, home, lines, epochs=epochs)
    size = model.stat().st_size / 1e6
    print(f"trained on {len(lines)} lines in {time.monotonic() - began:.0f} s; {size:.0f} MB", flush=True)
    return model


@contextmanager
def served(model: Path, home: Path) -> Iterator[int]:
    """Rasa's server with its REST channel open, on a free port of this machine."""
    port = free_port()
    credentials, log = home / "credentials.yml", home / "serve.log"
    credentials.write_text("rest:\n", encoding="utf-8")
    command, surroundings = rasa_server.serving(RASA_ENVIRONMENT, model, port=port, chat=credentials)
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=surroundings, cwd=home, stdout=out, stderr=subprocess.STDOUT)
    try:
        _wait(port, process)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < until:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/")
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            time.sleep(0.5)
        finally:
            connection.close()
    raise SystemExit("Rasa did not start")


def understood(suite: Suite, client: RasaClient) -> tuple[list[Understanding], ...]:
    """Every line of a suite by each of ENGINES."""
    own, alone, both = [], [], []
    for line in suite.lines:
        ours = default().understand(line.text, line.history)
        asked = as_asked(line.text)
        reading = client.read(asked) if asked else None
        own.append(ours)
        alone.append(reading.alone() if reading else Understanding("other", "none", 0.0, engine="rasa"))
        both.append(_joined(ours, reading, len(line.text)))
    return own, alone, both


def _joined(ours: Understanding, reading: Reading | None, length: int) -> Understanding:
    if reading is None or ours.risk == "critical":
        return ours
    return merge(ours, reading, sure=SURE, length=length)


def _show(suite: Suite, columns: Sequence[dict[str, float]]) -> None:
    print(f"\n### {suite.name}: {len(suite.lines)} lines\n")
    print(f"| | {' | '.join(ENGINES)} |\n|---|{'---|' * len(ENGINES)}")
    for name in columns[0]:
        print(f"| {name} | {' | '.join(f'{column[name]:.3f}' for column in columns)} |", flush=True)


def _speed(suite: Suite, client: RasaClient) -> None:
    """Seconds of one message after another."""
    texts = [line.text for line in suite.lines[:300]]
    for name, work in (
        ("embedded", default().understand),
        ("Rasa", lambda text: client.read(as_asked(text))),
    ):
        times = []
        for text in texts:
            began = time.perf_counter()
            work(text)
            times.append(time.perf_counter() - began)
        times.sort()
        print(
            f"\n{name}: median {times[len(times) // 2] * 1000:.1f} ms, p99 {times[int(len(times) * 0.99)] * 1000:.1f} ms"
        )


async def journeys(port: int) -> None:
    """Messages a second through Rasa's REST channel, then through ours, on the whole machine."""
    chats = [_chat(ORDINARY[n % len(ORDINARY)]) for n in range(CHATS + 50)]
    await fire(port, chats[:50], connections=8)
    theirs = await fire(port, chats[50:], connections=32)
    (ours,) = await measures.journey()
    rate = float(ours.value.replace(",", "").removesuffix("/s"))
    print(
        f"\n| journey | messages/s | beside |\n|---|---|---|\n| Qingting, WeChat to answer | {ours.value} | {ours.beside} |"
    )
    print(
        f"| Rasa, REST channel | {theirs.rate:,.0f}/s | {CHATS} messages, answered {theirs.bodies}, refused {theirs.refused}, "
        f"median {theirs.median * 1000:.0f} ms |\n\nratio {rate / theirs.rate:.1f} (wanted: at least 10)"
    )


def _chat(text: str) -> bytes:
    body = json.dumps({"sender": secrets.token_hex(8), "message": text}).encode()
    return request("POST", "/webhooks/rest/webhook", body, "application/json")
