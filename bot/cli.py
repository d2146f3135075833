"""The `qingting` command: run the service, look after it, and measure understanding and answers line by line."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from bot import settings as config
from bot.knowledge_cli import knowledge_cli
from bot.laws_cli import laws_cli
from bot.learning_cli import COMMANDS
from bot.rasa_cli import rasa_cli
from bot.settings import ConfigProblem, Settings

cli = typer.Typer(
    name="qingting", help="倾听：青少年服务台的咨询网关。", no_args_is_help=True, add_completion=False
)
simulate_cli = typer.Typer(help="模拟微信、短信和网页来访，对着一个正在运行的服务。只发往本机。")
cli.add_typer(simulate_cli, name="simulate")
cli.add_typer(rasa_cli, name="rasa")
cli.add_typer(knowledge_cli, name="knowledge")
cli.add_typer(laws_cli, name="laws")

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="配置文件，默认 config.yml")]
_out = Console(highlight=False)
_err = Console(stderr=True, highlight=False, style="bold red")


def main() -> None:
    """Entry point: a problem of the operator's making ends with one clear text, not a traceback."""
    try:
        cli()
    except ConfigProblem as problem:
        _err.print(str(problem), markup=False)
        raise SystemExit(2) from None


@cli.command()
def run(
    config_path: ConfigOption = None,
    role: Annotated[
        Literal["all", "gateway", "worker"], typer.Option(help="all：一台机器；gateway、worker：分开运行")
    ] = "all",
) -> None:
    """启动服务。"""
    from bot.run import serve

    roles = ("gateway", "worker") if role == "all" else (role,)
    serve(_settings(config_path), roles=roles)


@cli.command()
def demo(config_path: ConfigOption = None) -> None:
    """在空的数据目录里放一个演示服务台（人员、会话、工单），都标为“演示”。"""
    from bot.demo import fill

    asyncio.run(fill(_settings(config_path), _out))


@cli.command()
def audit(config_path: ConfigOption = None) -> None:
    """核对：收到的每条消息都有着落，各项之和相符。不符时退出码为 1。"""
    from bot.audit import report

    if not asyncio.run(report(_settings(config_path), _out)):
        raise typer.Exit(1)


AccountOption = Annotated[str, typer.Option(help="配置里的账号名")]
CountOption = Annotated[int, typer.Option(help="给出条数就不再逐行对话，而是让许多人按速度写来")]
RateOption = Annotated[float, typer.Option(help="每秒几条")]


@simulate_cli.command("wechat")
def simulate_wechat(
    config_path: ConfigOption = None,
    account: AccountOption = "default",
    count: CountOption = 0,
    rate: RateOption = 10,
) -> None:
    """做微信平台：签名、加密、五秒、三次投递、客服消息和额度。"""
    _simulate(config_path, "wechat", account, count, rate)


@simulate_cli.command("sms")
def simulate_sms(
    config_path: ConfigOption = None,
    account: AccountOption = "default",
    count: CountOption = 0,
    rate: RateOption = 10,
) -> None:
    """做短信服务商：推送短信、收下回复、给回执。"""
    _simulate(config_path, "sms", account, count, rate)


@simulate_cli.command("web")
def simulate_web(config_path: ConfigOption = None, count: CountOption = 0, rate: RateOption = 10) -> None:
    """做网页来访者。"""
    _simulate(config_path, "web", "default", count, rate)


def _simulate(
    config_path: Path | None, which: Literal["wechat", "sms", "web"], account: str, count: int, rate: float
) -> None:
    from bot.simulate.talk import talk

    asyncio.run(talk(_settings(config_path), which, account=account, count=count, rate=rate, out=_out))


@cli.command("check")
def check_config(config_path: ConfigOption = None) -> None:
    """检查配置文件和密钥，不启动服务。"""
    from bot import keys
    from bot.policy import weaker_than_promised
    from bot.run import is_new

    settings = _settings(config_path)
    for setting in weaker_than_promised(settings):
        _err.print(f"低于承诺  {setting}")
    if is_new(settings):
        _out.print("配置可以使用。密钥会在首次启动时生成。")
        return
    keys.load(settings.storage)
    _out.print("配置和密钥可以使用。")


@cli.command("password")
def new_password(
    login: Annotated[str, typer.Argument(help="登录名")], config_path: ConfigOption = None
) -> None:
    """管理员也登录不了时：给一个账号新的一次性密码。用 SQLite 时要先停服务。"""
    from bot.new_password import give

    password = asyncio.run(give(_settings(config_path), login))
    _out.print(f"{login} 的一次性密码：{password}   首次登录必须改；原来的登录都已退出。")


@cli.command("move-desk")
def move_desk(
    old: Annotated[str, typer.Argument(help="库里现在的 desk.id")], config_path: ConfigOption = None
) -> None:
    """改了 config.yml 的 desk.id 以后：把原来代码下的人员、会话、工单都归到新代码。先停掉所有进程并备份。"""
    from bot.desk_id import move

    settings = _settings(config_path)
    moved = asyncio.run(move(settings, old))
    _out.print(f"{moved} 条记录已从 {old} 归到 {settings.desk.id}。")


@cli.command()
def classify(
    engine: Annotated[
        Literal["embedded", "rasa"], typer.Option(help="rasa：同时问配置里的 Rasa 服务器；它不应答就报错")
    ] = "embedded",
    config_path: ConfigOption = None,
) -> None:
    """逐行理解：标准输入 {"id","text","history"}，标准输出 {"id","topic","risk","risk_score","kinds","category","about"}。"""
    from nlu.classify import classify_lines

    if engine == "embedded":
        _stream(classify_lines(sys.stdin))
        return
    from bot.rasa_engine import checked

    with checked(_settings(config_path).understanding.rasa) as both:
        _stream(classify_lines(sys.stdin, both))


@cli.command()
def answer() -> None:
    """逐行回答：标准输入 {"id","question"}，标准输出 {"id","answer","entry","score","sources"}。"""
    from knowledge.answers_cli import answer_lines

    _stream(answer_lines(sys.stdin))


for _command in COMMANDS:
    cli.command()(_command)


def _stream(lines: object) -> None:
    for line in lines:  # type: ignore[attr-defined]
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def _settings(path: Path | None) -> Settings:
    return config.load(path)


if __name__ == "__main__":
    main()
