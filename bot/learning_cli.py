"""`qingting train, evaluate, promote, models, drift`: what learning.py and escalation/drift.py do, for an operator at a terminal."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table

from bot import settings as config
from bot.settings import ConfigProblem, Settings

if TYPE_CHECKING:
    from bot.learning import Compared, Refused

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="配置文件，默认 config.yml")]
SetOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--set",
        help='另外的测试集，可以给几个：JSON 行，{"id","text","history"} 加 risk_min、risk_max 或 label',
    ),
]
_out = Console(highlight=False)


def train(
    include_reviewed: Annotated[
        bool, typer.Option("--include-reviewed", help="也用本单位采用的复核样本；用 SQLite 时要先停服务")
    ] = False,
    config_path: ConfigOption = None,
) -> None:
    """重新训练理解模型，新模型放在数据目录的 models/ 里，不会自己启用。"""
    from bot import learning
    from bot.shell import utc_now
    from nlu import train as training

    settings = config.load(config_path)
    name = learning.new_name(utc_now())
    extra = asyncio.run(learning.samples(settings, name)) if include_reviewed else []
    began = time.monotonic()
    _out.print(f"开始训练：语料加 {len(extra)} 条复核样本。", markup=False)
    made = learning.train(settings, name, extra, trainer=cast(learning.Trainer, training.train))
    _out.print(
        f"{made.path}：训练好了，用了 {time.monotonic() - began:.0f} 秒。"
        f"下一步：qingting evaluate --compare {name}，再 qingting promote {name}",
        markup=False,
    )


def evaluate(
    model: Annotated[
        str, typer.Option(help="promoted：在用的；packaged：随程序提供的；或 models/ 里的文件名、一个路径")
    ] = "promoted",
    compare: Annotated[str, typer.Option(help="另一个模型，并排列出")] = "",
    sets: SetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="输出 JSON")] = False,
    config_path: ConfigOption = None,
) -> None:
    """在留出的语料和给出的测试集上测量模型；给出 --compare 时新旧并排。"""
    from bot import learning, models

    settings = config.load(config_path)
    chosen = learning.sets_of(sets or ())
    if not chosen:
        raise ConfigProblem("没有可以测量的：没有留出的语料，也没有给 --set")
    old = models.named(settings, model)
    new = models.named(settings, compare) if compare else old
    if compare:
        found = learning.compared(old, new, chosen)
    else:
        figures = learning.measured(old, chosen)
        found = [learning.Compared(name, figures[name], figures[name]) for name in chosen]
    if as_json:
        _out.print_json(json.dumps({one.name: _plain(one, both=bool(compare)) for one in found}))
        return
    for one in found:
        _show(one, model, compare)


def promote(
    model: Annotated[str, typer.Argument(help="models/ 里的文件名、一个路径，或 packaged")] = "",
    by: Annotated[str, typer.Option("--by", help="谁启用的：督导或管理员的登录名")] = "",
    back: Annotated[bool, typer.Option("--back", help="退回上一次启用之前的模型")] = False,
    sets: SetOption = None,
    config_path: ConfigOption = None,
) -> None:
    """启用一个模型（重启后生效）。漏掉更多高风险或紧急的，拒绝启用。用 SQLite 时要先停服务。"""
    from bot import learning

    if not by or bool(model) == back:
        raise ConfigProblem("用法：qingting promote 模型 --by 登录名，或 qingting promote --back --by 登录名")
    settings = config.load(config_path)
    if back:
        name = asyncio.run(learning.back(settings, login=by))
        _out.print(f"已退回 {name}。重启服务后生效。", markup=False)
        return
    try:
        found = asyncio.run(learning.promote(settings, model, login=by, paths=sets or ()))
    except learning.Refused as refused:
        for one in refused.sets:
            _show(one, "promoted", model)
        _out.print(_why(refused), markup=False)
        raise typer.Exit(1) from None
    for one in found:
        _show(one, "promoted", model)
    _out.print(
        f"已启用 {model}，记在 {by} 名下。重启服务后生效；退回：qingting promote --back --by {by}",
        markup=False,
    )


def _why(refused: Refused) -> str:
    from nlu.evaluate import GUARDED

    match refused.why:
        case "same":
            return "这个模型已经在用。"
        case "nothing_measured":
            return "没有启用：测试集里没有高风险的句子，看不出会不会漏掉危险。请用 --set 给一个有的。"
        case _:
            lower = [f"{one.name}：{'、'.join(GUARDED[name] for name in one.worse)}" for one in refused.sets]
            return "没有启用，下面几项比在用的模型低：\n  " + "\n  ".join(lower)


def models(config_path: ConfigOption = None) -> None:
    """列出本单位自己的模型、哪个在用、谁什么时候启用的。"""
    asyncio.run(_list_models(config.load(config_path)))


async def _list_models(settings: Settings) -> None:
    from bot import learning
    from bot import models as files
    from bot.storage.engine import Engines
    from bot.web.api.views import names

    engines = Engines(settings.storage.url)
    try:
        async with engines.read(patient=True) as session:
            kept = await learning.kept(settings, session)
            history = await learning.promotions(session)
            known = await names(session, [one.staff_id for one in history])
    finally:
        await engines.close()
    own = files.promoted(settings)
    table = Table(title="模型", caption=None if own else "在用的是随程序提供的模型。")
    for heading in ("文件", "在用", "用了多少条复核样本", "其中后来删除或到期的"):
        table.add_column(heading)
    for one in kept:
        gone = f"{one.gone}，请重新训练" if one.gone else "0"
        table.add_row(one.name, "是" if one.in_charge else "", str(one.reviewed), gone)
    _out.print(table)
    if history:
        changes = Table(title="启用记录")
        for heading in ("时间（UTC）", "谁", "启用", "原来"):
            changes.add_column(heading)
        for row in history:
            what = ("退回 " if row.back else "") + (row.model or files.PACKAGED)
            changes.add_row(
                f"{row.at:%Y-%m-%d %H:%M}", known.get(row.staff_id, ""), what, row.before or files.PACKAGED
            )
        _out.print(changes)


def drift(
    weeks: Annotated[int, typer.Option(min=1, max=104, help="几周")] = 12, config_path: ConfigOption = None
) -> None:
    """每周：多少消息机器拿不准、把握多大、多少引起警报、多少是误报。只用等级和条数，不读文字。"""
    asyncio.run(_show_drift(config.load(config_path), weeks))


async def _show_drift(settings: Settings, count: int) -> None:
    from bot.shell import utc_now
    from bot.storage.engine import Engines
    from escalation import drift as watch

    engines = Engines(settings.storage.url)
    try:
        async with engines.read(patient=True) as session:
            zone = ZoneInfo(settings.desk.timezone)
            found = await watch.weeks(session, settings.desk.id, zone, utc_now(), count)
    finally:
        await engines.close()
    table = Table(title="识别质量（按周）")
    for heading in ("周一", "消息", "拿不准", "平均把握", "危机事件", "误报", "漏报", "咨询员标记"):
        table.add_column(heading, justify="right")
    for week in found:
        table.add_row(
            f"{week.start:%Y-%m-%d}",
            str(week.messages),
            _percent(week.unsure_share),
            _percent(week.confidence),
            str(week.episodes),
            f"{week.false_alarms}/{week.alarms}",
            f"{week.missed}/{week.quiet}",
            str(week.marks),
        )
    _out.print(table)
    for name in watch.unusual(found):
        _out.print(watch.UNUSUAL[name], markup=False)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}%"


def _plain(one: Compared, *, both: bool) -> dict[str, object]:
    if not both:
        return one.old.as_dict()
    return {"old": one.old.as_dict(), "new": one.new.as_dict(), "worse": one.worse}


def _show(one: Compared, old: str, new: str) -> None:
    from nlu.evaluate import side_by_side

    table = Table(title=f"{one.name}（{one.old.lines} 句）")
    table.add_column("")
    table.add_column(old)
    if new:
        table.add_column(new)
        table.add_column("差")
    for words, before, after, change in side_by_side(one.old, one.new):
        row: Sequence[str] = (words, before, after, change) if new else (words, before)
        table.add_row(*row)
    _out.print(table)


COMMANDS = (train, evaluate, promote, models, drift)
