"""`qingting knowledge import, export`: entries in files, from a terminal. See bot/entry_files.py."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bot import settings as config

knowledge_cli = typer.Typer(
    help="知识条目：导出成表格或 YAML，改好再导入。导入的都是草稿，仍要两个人才能发布。", no_args_is_help=True
)

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="配置文件，默认 config.yml")]
_out = Console(highlight=False)


@knowledge_cli.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="XLSX、CSV 或 YAML", show_default=False)],
    login: Annotated[str, typer.Option("--as", help="知识编辑的登录名：草稿记在谁名下")],
    config_path: ConfigOption = None,
) -> None:
    """导入条目，全部成为草稿；有一行不对就一条也不导入。服务不用停。"""
    from bot import entry_files

    rows = entry_files.read_file(file)
    done = asyncio.run(entry_files.bring(config.load(config_path), file, rows, login))
    _out.print(
        f"{len(done.new)} 条新草稿，{len(done.changed)} 条修改的草稿，{len(done.same)} 条没有变化。到工作台提交、批准、发布。"
    )


@knowledge_cli.command("export")
def export_file(
    file: Annotated[Path, typer.Argument(help="写到哪里：.xlsx、.csv 或 .yml", show_default=False)],
    config_path: ConfigOption = None,
) -> None:
    """导出现在对外回答的全部条目。"""
    from bot import entry_files

    entries = asyncio.run(entry_files.live_entries(config.load(config_path)))
    entry_files.write_file(file, entries)
    _out.print(f"{len(entries)} 条已写到 {file}。", markup=False)
