"""`qingting laws import, list, remove`: the law library from a terminal. See bot/law_files.py and knowledge/laws.py."""

from __future__ import annotations

import asyncio
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from bot import settings as config
from bot.settings import ConfigProblem

laws_cli = typer.Typer(
    help="法律库：导入法律原文，供引用、核对和比较新旧条文。原文不随程序提供。", no_args_is_help=True
)

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="配置文件，默认 config.yml")]
_OUTCOMES: Final = {"new": "已导入", "corrected": "已更正", "same": "没有变化"}
_out = Console(highlight=False)


@laws_cli.command("import")
def import_files(
    files: Annotated[
        list[Path], typer.Argument(help="纯文本或 DOCX，每个文件一部法律的全文", show_default=False)
    ],
    version: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="版本日期：通过或最近一次修改的日期；不写就从正文里读"),
    ] = None,
    title: Annotated[str, typer.Option(help="法律名称；不写就从正文里读")] = "",
    config_path: ConfigOption = None,
) -> None:
    """导入法律原文。有新版本时，引用它的知识条目标为“待核对”。服务不用停。"""
    from bot import law_files

    if len(files) > 1 and (version is not None or title):
        raise ConfigProblem("--version 和 --title 只能用于一个文件，请一个一个导入")
    laws = law_files.read_files(files, title=title, version=None if version is None else version.date())
    done = asyncio.run(law_files.bring(config.load(config_path), laws))
    table = Table("法律", "版本", "条文", "结果")
    for law, stored in done.laws:
        result = _OUTCOMES[stored.outcome] + ("" if stored.newest else "（库里有更新的版本）")
        table.add_row(stored.title, stored.version.isoformat(), str(len(law.articles)), result)
    _out.print(table)
    for law, stored in done.laws:
        if law.missing:
            numbers = "、".join(map(str, law.missing[:10])) + ("等" if len(law.missing) > 10 else "")
            _out.print(f"请看一下原文：《{stored.title}》缺第 {numbers} 条。", markup=False)
    if done.to_check:
        _out.print(
            f"{done.to_check} 条知识条目引用的法律有了新版本，都在工作台的“待核对”里；"
            f"其中 {done.changed} 条引用的条文有变化或无法比较，{done.to_check - done.changed} 条的条文没有变。"
        )


@laws_cli.command("list")
def list_laws(config_path: ConfigOption = None) -> None:
    """列出库里的法律和版本，以及条目引用了、库里还没有的法律。"""
    from bot import law_files

    found = asyncio.run(law_files.shelf(config.load(config_path)))
    table = Table("法律", "现行版本", "条文", "旧版本", "引用它的条目")
    for law, entries in found.laws:
        newest, *older = law.versions
        table.add_row(
            law.title,
            newest.version.isoformat(),
            str(newest.articles),
            " ".join(one.version.isoformat() for one in older),
            str(entries),
        )
    _out.print(table)
    if found.missing:
        _out.print(
            "条目引用了、库里还没有：" + "、".join(f"《{title}》（{n} 条）" for title, n in found.missing),
            markup=False,
        )


@laws_cli.command("remove")
def remove_version(
    title: Annotated[str, typer.Argument(help="法律名称")],
    version: Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="版本日期")],
    config_path: ConfigOption = None,
) -> None:
    """拿掉导入错了的版本；只因为它而标的“待核对”也撤掉。"""
    from bot import law_files

    day: date = version.date()
    if not asyncio.run(law_files.take_out(config.load(config_path), title, day)):
        raise ConfigProblem(f"库里没有《{title}》{day.isoformat()} 的版本")
    _out.print(f"已拿掉《{title}》{day.isoformat()} 的版本。", markup=False)
