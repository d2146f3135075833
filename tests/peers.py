"""The real peers that tests talk to. What is missing is skipped, said loudly at the end, and a failure when CI=true."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest

_missed: Counter[str] = Counter()


def _listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, port)) == 0


def _postgres() -> bool:
    url = urlsplit(os.environ.get("QINGTING_TEST_POSTGRES", "postgresql://127.0.0.1:5432"))
    return _listens(url.hostname or "127.0.0.1", url.port or 5432)


def _program(*names: str) -> bool:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/lib/kannel/test:/usr/lib/kannel"
    return any(shutil.which(name, path=path) for name in names)


RASA_ENVIRONMENT = Path(os.environ.get("QINGTING_RASA_ENV", Path(__file__).parents[1] / ".rasa-venv"))


def _rasa() -> bool:
    """Its environment, or a Python 3.10 from which the tests make it."""
    from bot import rasa_server
    from bot.settings import ConfigProblem

    if rasa_server.ready(RASA_ENVIRONMENT):
        return True
    try:
        rasa_server.find_python()
    except ConfigProblem:
        return False
    return True


# marker -> (what it is, whether it is there, how to get it on Debian)
PEERS: dict[str, tuple[str, Callable[[], bool], str]] = {
    "browser": (
        "Chromium",
        lambda: _program("chromium", "chromium-browser"),
        "apt-get install chromium fonts-noto-cjk",
    ),
    "postgres": ("PostgreSQL", _postgres, "apt-get install postgresql, or set QINGTING_TEST_POSTGRES"),
    "redis": ("Redis on 127.0.0.1:6379", lambda: _listens("127.0.0.1", 6379), "apt-get install redis-server"),
    "kannel": (
        "Kannel",
        lambda: _program("bearerbox") and _program("fakesmsc"),
        "apt-get install kannel kannel-extras",
    ),
    "rasa": (
        "Python 3.10 for Rasa",
        _rasa,
        "pyenv install 3.10, or uv python install 3.10; then qingting rasa setup",
    ),
    "sentence_transformers": (
        "the extra sentence-transformers",
        lambda: importlib.util.find_spec("sentence_transformers") is not None,
        "make extra",
    ),
}


@cache
def there(marker: str) -> bool:
    """Whether the peer behind a marker can be used."""
    return PEERS[marker][1]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in PEERS:
        if item.get_closest_marker(marker) and not there(marker):
            _missed[marker] += 1
            pytest.skip(f"{PEERS[marker][0]} is not here")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for marker, count in _missed.items():
        name, _, how = PEERS[marker]
        terminalreporter.write_line(
            f"NOT RUN: {count} tests that need {name}. Get it: {how}", red=True, bold=True
        )


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if _missed and os.environ.get("CI") == "true" and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
