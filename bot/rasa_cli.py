"""`qingting rasa …`: Rasa's environment, training and server. See bot/rasa_server.py and nlu/rasa."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from bot import settings
from bot.rasa_address import address_of
from bot.settings import ConfigProblem

rasa_cli = typer.Typer(help="Rasa 后端：准备环境、训练、启动。倾听自己的引擎不需要它。", no_args_is_help=True)

_ENVIRONMENT = Path(".rasa-venv")
EnvOption = Annotated[Path, typer.Option("--env", help="Rasa 自己的 Python 环境所在目录")]
ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="配置文件，默认 config.yml")]


@rasa_cli.command()
def setup(
    env: EnvOption = _ENVIRONMENT,
    python: Annotated[Path | None, typer.Option(help="用哪个 Python 3.10；不写就自己找")] = None,
) -> None:
    """建好 Rasa 3.6 的环境（Python 3.10，约 2 GB，几分钟）。已经建好的不重做。"""
    from bot import rasa_server

    began = time.monotonic()
    done = rasa_server.setup(env, python)
    typer.echo(
        f"{env}：已建好，用了 {time.monotonic() - began:.0f} 秒。" if done else f"{env}：已经是最新的。"
    )


@rasa_cli.command()
def train(
    env: EnvOption = _ENVIRONMENT,
    config_path: ConfigOption = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="训练几轮；不写按 nlu/rasa/config.yml")] = None,
) -> None:
    """用 nlu/data 的语料训练；模型放在数据目录的 rasa/models 里。留作调试和测量的不用来训练。"""
    from bot import rasa_server
    from nlu import corpus

    home = _home(config_path)
    began = time.monotonic()
    examples = [example for example in corpus.load() if example.split == "train"]
    model = rasa_server.train(env, home, examples, epochs=epochs)
    typer.echo(f"{model}：训练好了，用了 {time.monotonic() - began:.0f} 秒。")


@rasa_cli.command()
def serve(
    env: EnvOption = _ENVIRONMENT,
    config_path: ConfigOption = None,
    port: Annotated[int, typer.Option(help="端口；只在本机监听")] = 5005,
) -> None:
    """启动 Rasa 服务器，供 understanding.engine: rasa 使用。密码（如有）取自配置的 understanding.rasa。"""
    from bot import rasa_server

    token = address_of(settings.load(config_path).understanding.rasa).token
    model = _home(config_path) / "models" / f"{rasa_server.MODEL}.tar.gz"
    command, surroundings = rasa_server.serving(env, model, port=port, token=token)
    sys.stdout.flush()
    os.execve(command[0], command, surroundings)  # noqa: S606 (our own command; it takes this process's place)


def _home(config_path: Path | None) -> Path:
    home = settings.load(config_path).storage.data / "rasa"
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigProblem(f"{home}：建不了目录（{settings.reason(error)}）") from None
    return home
