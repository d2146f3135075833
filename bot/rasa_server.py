"""Rasa's own environment, its training and its server: what `qingting rasa setup|train|serve` do.

Rasa 3.6 runs on Python 3.10 only and wants old versions of much, so it lives in an environment of its own, made from the
pins in nlu/rasa/requirements.txt, and is talked to by HTTP on this machine.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bot.settings import ConfigProblem
from nlu.corpus import Example
from nlu.rasa import project

MODEL = "qingting"
_STAMP = "qingting.stamp"
_VERSION = "3.10"
_THREADS = "2"
_PYENVS = (  # where version managers keep their Pythons
    "~/.pyenv/versions/3.10*/bin",
    "~/.local/share/uv/python/cpython-3.10*/bin",
    "~/.asdf/installs/python/3.10*/bin",
    "~/.local/share/mise/installs/python/3.10*/bin",
    "~/miniconda3/envs/*/bin",
    "/opt/python/3.10*/bin",
    "/opt/conda/envs/*/bin",
    "/opt/homebrew/bin",
    "/usr/local/bin",
)


def find_python(named: Path | None = None) -> Path:
    """A Python 3.10 that runs: the named one, or one on PATH or in the usual folders. Raises ConfigProblem saying what to do."""
    if named is not None:
        if _is_right(named):
            return named
        raise ConfigProblem(f"{named}：不是能运行的 Python {_VERSION}")
    for candidate in _candidates():
        if _is_right(candidate):
            return candidate
    raise ConfigProblem(
        f"没有找到 Python {_VERSION}。Rasa 3.6 只能在它上面运行（倾听自己不需要）。\n"
        "  可以这样装：pyenv install 3.10，或 uv python install 3.10，或用系统的软件包 python3.10 和 python3.10-venv；\n"
        f"  已经装在别处的，请指明：qingting rasa setup --python /路径/python{_VERSION}"
    )


def setup(environment: Path, python: Path | None = None) -> bool:
    """Make the environment, or leave it where it is already made from these pins. True when something was done.

    Raises ConfigProblem, with the installer's own last lines where it failed.
    """
    if ready(environment):
        return False
    found = find_python(python)
    if environment.exists():
        if not (environment / "pyvenv.cfg").exists():
            raise ConfigProblem(f"{environment}：已经存在，但不是 Python 环境；请换一个目录（--env）")
        shutil.rmtree(environment)
    _must([str(found), "-m", "venv", str(environment)], "建不了 Python 环境（Debian 上要装 python3.10-venv）")
    _must(
        [
            str(_python(environment)), "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check",
            "--no-deps", "-r", str(project.REQUIREMENTS),  # the pins are complete: nothing is resolved
        ],
        "装不了 Rasa 的依赖",
    )  # fmt: skip
    (environment / _STAMP).write_text(_wanted(), encoding="utf-8")
    return True


def ready(environment: Path) -> bool:
    """Whether the environment is there and made from the present pins."""
    stamp = environment / _STAMP
    return stamp.exists() and stamp.read_text(encoding="utf-8") == _wanted() and _python(environment).exists()


def train(environment: Path, home: Path, examples: Iterable[Example], *, epochs: int | None = None) -> Path:
    """Train on `examples`; the project lies in home/project, the model in home/models. Returns the model's path.

    Raises ConfigProblem. The output of Rasa goes to home/train.log: it may quote lines of the corpus.
    """
    _need(environment)
    work, models = home / "project", home / "models"
    project.write(work, examples, epochs=epochs)
    models.mkdir(parents=True, exist_ok=True)
    log = home / "train.log"
    command = [
        *_rasa(environment), "train", "--skip-validation", "--out", str(models.resolve()),
        "--fixed-model-name", MODEL,
    ]  # fmt: skip
    with log.open("wb") as out:
        done = subprocess.run(  # noqa: S603 (our own command)
            command, cwd=work, env=_surroundings(), stdout=out, stderr=subprocess.STDOUT, check=False
        )
    model = models / f"{MODEL}.tar.gz"
    if done.returncode != 0 or not model.exists():
        raise ConfigProblem(f"Rasa 没有训练成（退出码 {done.returncode}），详情见 {log}")
    return model


def serving(
    environment: Path, model: Path, *, port: int, token: str = "", chat: Path | None = None
) -> tuple[list[str], dict[str, str]]:
    """Command and environment variables of Rasa's server on this machine's loopback. Raises ConfigProblem.

    `chat` is a credentials file that opens Rasa's own chat channels: for comparing only, since they keep conversations.
    """
    _need(environment)
    if not model.exists():
        raise ConfigProblem(f"{model}：还没有模型，请先运行 qingting rasa train")
    command = [
        *_rasa(environment), "run", "--enable-api", "--interface", "127.0.0.1", "--port", str(port),
        "--model", str(model.resolve()),
    ]  # fmt: skip
    if chat is not None:
        command += ["--credentials", str(chat)]
    surroundings = _surroundings()
    if token:
        surroundings["QINGTING_RASA_TOKEN"] = (
            token  # not on the command line, which others on the machine can read
        )
    return command, surroundings


def _candidates() -> Iterator[Path]:
    name = f"python{_VERSION}"
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        yield Path(folder or ".") / name
    for pattern in _PYENVS:
        path = Path(pattern).expanduser()
        yield from (p / name for p in sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor)))))


def _is_right(python: Path) -> bool:
    """It runs (a version manager's shim may not) and is 3.10 with what an environment needs."""
    if not python.is_file():
        return False
    ask = "import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 10))"
    try:
        done = subprocess.run([str(python), "-c", ask], capture_output=True, timeout=20, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _must(command: Sequence[str], failed: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own command)
    if done.returncode != 0:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise ConfigProblem(f"{failed}：\n{last}")


def _need(environment: Path) -> None:
    if not ready(environment):
        raise ConfigProblem(f"{environment}：Rasa 的环境还没有准备好，请先运行 qingting rasa setup")


def _python(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def _rasa(environment: Path) -> list[str]:
    # absolute, and not resolved: behind the link lies the Python outside the environment
    return [str(_python(environment).absolute()), str(project.COMPONENTS.resolve() / "start_rasa.py")]


def _wanted() -> str:
    return hashlib.sha256(project.REQUIREMENTS.read_bytes()).hexdigest()


def _surroundings() -> dict[str, str]:
    """What Rasa may see of our environment, bounded threads, and no telemetry."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("QINGTING_", "PYTHON"))}
    return kept | {
        "PYTHONPATH": str(project.COMPONENTS.resolve()),
        "PYTHONWARNINGS": "ignore",
        "RASA_TELEMETRY_ENABLED": "false",
        "SQLALCHEMY_SILENCE_UBER_WARNING": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TF_INTRA_OP_PARALLELISM_THREADS": _THREADS,
        "TF_INTER_OP_PARALLELISM_THREADS": "1",
        "OMP_NUM_THREADS": _THREADS,
        "TQDM_DISABLE": "1",
    }
