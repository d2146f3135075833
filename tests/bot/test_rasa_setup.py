"""`qingting rasa`: which Python is taken, and what an operator is told where something is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from bot import rasa_server
from bot.cli import cli
from bot.settings import ConfigProblem


def _python(folder: Path, script: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "python3.10"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any Python 3.10."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(rasa_server, "_PYENVS", (str(tmp_path / "versions/3.10*/bin"),))
    return tmp_path


def test_no_python_310_says_plainly_what_to_do(bare: Path) -> None:
    result = CliRunner().invoke(cli, ["rasa", "setup", "--env", str(bare / "env")])
    assert isinstance(result.exception, ConfigProblem)
    said = str(result.exception)
    assert "没有找到 Python 3.10" in said
    assert "--python" in said
    assert not (bare / "env").exists()


def test_a_shim_that_does_not_run_and_another_version_are_passed_over(bare: Path) -> None:
    _python(bare / "bin", "echo 'not in this version' >&2; exit 127")
    _python(bare / "versions/3.10.1/bin", "exit 1")
    right = _python(bare / "versions/3.10.13/bin", "exit 0")
    assert rasa_server.find_python() == right


def test_a_named_python_that_is_none_is_refused_by_name(bare: Path) -> None:
    wrong = _python(bare / "elsewhere", "exit 1")
    with pytest.raises(ConfigProblem, match=str(wrong)):
        rasa_server.find_python(wrong)


def test_a_folder_that_is_something_else_is_not_removed(bare: Path) -> None:
    _python(bare / "bin", "exit 0")
    (bare / "env").mkdir()
    (bare / "env/letter.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigProblem, match="不是 Python 环境"):
        rasa_server.setup(bare / "env")
    assert (bare / "env/letter.txt").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("command", ["train", "serve"])
def test_before_the_set_up_it_is_asked_for(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["rasa", command, "--env", str(tmp_path / "env")])
    assert isinstance(result.exception, ConfigProblem)
    assert "qingting rasa setup" in str(result.exception)


def test_rasa_sees_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QINGTING_STORAGE__MASTER_KEY", "secret")
    monkeypatch.setattr(rasa_server, "ready", lambda _environment: True)
    model = tmp_path / "qingting.tar.gz"
    model.touch()
    command, surroundings = rasa_server.serving(tmp_path, model, port=5005, token="t0ken")
    assert "QINGTING_STORAGE__MASTER_KEY" not in surroundings
    assert surroundings["QINGTING_RASA_TOKEN"] == "t0ken"
    assert surroundings["RASA_TELEMETRY_ENABLED"] == "false"
    assert "t0ken" not in " ".join(command)
    assert command[command.index("--interface") + 1] == "127.0.0.1"
