"""Retraining with what the desk learned, measuring one model against another, and putting one in charge (promote).

Training writes into the data folder's models/, never over the model of the program. Accepted review samples are opened into memory
only; a model holds weights and no words. A model takes over only by `promote`, which measures it beside the one in charge and refuses
one that misses more danger; who did it, when and by which figures is kept, and `back` undoes it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from bot import keys, models
from bot.models import Chosen
from bot.run import is_new, only_one
from bot.settings import ConfigProblem, Settings
from bot.shell import utc_now
from bot.storage import Storage
from bot.storage.migrations import upgrade
from bot.tables import Promotion
from escalation import records, review, staff
from escalation.review import Accepted
from escalation.tables import Record, ReviewItem, Staff
from nlu import evaluate, masking
from nlu.corpus import DATA, Example
from nlu.evaluate import Figures, Line, SetError
from nlu.understanding import Understander

_MAY_PROMOTE: Final = ("supervisor", "administrator")
HELD_OUT: Final = "留出的语料"


class Trainer(Protocol):
    """nlu.train.train."""

    def __call__(self, folder: Path, out: Path, *, extra: Sequence[Example]) -> dict[str, object]: ...


@dataclass(frozen=True, slots=True)
class Trained:
    """A new model file, and with how many samples of the desk's own."""

    path: Path
    reviewed: int


@dataclass(frozen=True, slots=True)
class Compared:
    """One set of lines, measured with the model in charge and with another. `worse`: what that one lowers (evaluate.GUARDED)."""

    name: str
    old: Figures
    new: Figures

    @property
    def worse(self) -> list[str]:
        return evaluate.worse(self.old, self.new)


class Refused(Exception):
    """The model is not put in charge. `why`: worse, nothing_measured, same. `sets` are those that speak against it."""

    def __init__(self, why: str, sets: Sequence[Compared] = ()) -> None:
        super().__init__(why)
        self.why = why
        self.sets = sets


# --- training -------------------------------------------------------------------------------------------------------


async def samples(settings: Settings, model: str) -> list[Example]:
    """The desk's accepted samples, opened into memory, each use put on record under the name of the model to be. Raises ConfigProblem.

    On SQLite the service must be stopped; on PostgreSQL it may run.
    """
    async with _database(settings) as storage:
        vault = keys.load(settings.storage)
        await storage.write(lambda session: keys.check(session, vault))
        async with storage.read(patient=True) as session:
            taken = await review.accepted(session, vault, settings.desk.id)
        now = utc_now()
        await storage.write(lambda session: review.used(session, [one.item_id for one in taken], model, now))
    return [as_example(one) for one in taken]


def as_example(one: Accepted) -> Example:
    """A sample as the corpus has it. What was masked becomes plain words; one person's samples are one theme."""
    return Example(
        text=masking.spoken(one.text),
        topic=one.labels.topic,
        risk=one.labels.risk,
        kinds=one.labels.kinds,
        category=one.labels.category,
        about=one.labels.about,
        intent=one.intent,
        theme=f"reviewed_{one.person_id}",
        history=tuple(masking.spoken(older) for older in one.history),
        split="train",
        resolved=one.resolved,
    )


def new_name(now: datetime) -> str:
    """A file name for a model made now: 20261123-091500.npz."""
    return f"{now:%Y%m%d-%H%M%S}.npz"


def train(
    settings: Settings, name: str, extra: Sequence[Example], *, trainer: Trainer, data: Path = DATA
) -> Trained:
    """Train on the corpus and `extra`; the file is in the data folder and nobody else can read it."""
    path = models.folder(settings) / name
    before = os.umask(0o077)
    try:
        trainer(data, path, extra=extra)
    finally:
        os.umask(before)
    path.chmod(0o600)
    return Trained(path, len(extra))


# --- measuring ------------------------------------------------------------------------------------------------------


def sets_of(paths: Sequence[Path], data: Path = DATA) -> dict[str, list[Line]]:
    """The held-out part of the corpus and the operator's own sets, by name. Raises ConfigProblem."""
    found: dict[str, list[Line]] = {}
    if held := evaluate.held_out(data):
        found[HELD_OUT] = held
    for path in paths:
        try:
            found[path.name if path.name not in found else str(path)] = evaluate.of_jsonl(path)
        except SetError as error:
            raise ConfigProblem(f"测试集有误：{error}") from None
    return found


def measured(path: Path | None, sets: dict[str, list[Line]]) -> dict[str, Figures]:
    """The figures of one model (None: the program's) on each set. Raises ConfigProblem for a file that is no model."""
    engine = load(path)
    return {name: evaluate.measure(evaluate.judged(engine, lines)) for name, lines in sets.items()}


def load(path: Path | None) -> Understander:
    """The engine with a model file (None: the program's). Raises ConfigProblem."""
    from nlu.engine import Engine

    try:
        return Engine.load(path)
    except (RuntimeError, ValueError, OSError) as error:
        raise ConfigProblem(f"{path or '随程序提供的模型'}：不能用作模型（{error}）") from None


def compared(old: Path | None, new: Path | None, sets: dict[str, list[Line]]) -> list[Compared]:
    """Both on the same lines, one after the other: two models in memory are no use to a small machine."""
    before, after = measured(old, sets), measured(new, sets)
    return [Compared(name, before[name], after[name]) for name in sets]


# --- putting in charge ----------------------------------------------------------------------------------------------


async def promote(
    settings: Settings, name: str, *, login: str, paths: Sequence[Path] = (), data: Path = DATA
) -> list[Compared]:
    """Put a model in charge that misses no more danger than the one that is. It takes over at the next start.

    Returns what was measured. Raises Refused, ConfigProblem.
    """
    async with _database(settings) as storage, storage.read() as session:
        await _promoter(session, login)  # before minutes of measuring
    file = models.named(settings, name)
    current = models.promoted(settings)
    if (None if current is None else current.path) == file:
        raise Refused("same")
    found = compared(None if current is None else current.path, file, sets_of(paths, data))
    against = [one for one in found if one.worse]
    if against:
        raise Refused("worse", against)
    if not any(one.new.recall.of for one in found):
        raise Refused("nothing_measured")
    chosen = None if file is None else _brought_home(settings, file)
    figures = {one.name: {"old": one.old.as_dict(), "new": one.new.as_dict()} for one in found}
    await _record(settings, login, chosen, current, back=False, figures=figures)
    return found


async def back(settings: Settings, *, login: str) -> str:
    """Bring back the model that the last promotion replaced; returns its name. Raises ConfigProblem where there is none."""
    async with _database(settings) as storage, storage.read() as session:
        last = await session.scalar(select(Promotion).order_by(Promotion.id.desc()).limit(1))
    if last is None:
        raise ConfigProblem("还没有启用过本单位自己的模型，没有可退回的")
    current = models.promoted(settings)
    file = models.named(settings, last.before) if last.before else None
    load(file)  # one that cannot be loaded would leave the desk with the packaged one, and nobody told
    chosen = None if file is None else Chosen(file, models.fingerprint(file))
    await _record(settings, login, chosen, current, back=True, figures={})
    return last.before or models.PACKAGED


def _brought_home(settings: Settings, file: Path) -> Chosen:
    """The file in the data folder's models/, copied there where it came from elsewhere."""
    home = models.folder(settings)
    if file.parent.resolve() != home.resolve():
        kept = home / file.name
        if kept.exists() and models.fingerprint(kept) != models.fingerprint(file):
            raise ConfigProblem(f"{kept} 已经有一个同名而不同的模型，请先给新的改名")
        shutil.copyfile(file, kept)
        kept.chmod(0o600)
        file = kept
    return Chosen(file, models.fingerprint(file))


async def _record(
    settings: Settings,
    login: str,
    chosen: Chosen | None,
    current: Chosen | None,
    *,
    back: bool,
    figures: dict[str, Any],
) -> None:
    """Who, when, what and by which figures; only then the pointer, so that no change is without a record."""
    now = utc_now()

    async def work(session: AsyncSession) -> None:
        member = await _promoter(session, login)
        promotion = Promotion(
            at=now,
            staff_id=member.id,
            model="" if chosen is None else chosen.path.name,
            sha256="" if chosen is None else chosen.sha256,
            before="" if current is None else current.path.name,
            back=back,
            figures=figures,
        )
        session.add(promotion)
        await session.flush()
        action = "model.back" if back else "model.promote"
        records.write(
            session, member.id, action, "model", promotion.id, now, promotion.model or models.PACKAGED
        )

    async with _database(settings) as storage:
        await storage.write(work)
        models.put_in_charge(settings, chosen)


async def _promoter(session: AsyncSession, login: str) -> Staff:
    """Who puts a model in charge. Raises ConfigProblem."""
    member = await staff.by_login(session, login)
    if member is None or not member.active or member.role not in _MAY_PROMOTE:
        raise ConfigProblem(f"没有在用的督导或管理员账号 {login}：启用模型要写明是谁")
    return member


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[Storage]:
    """The desk's database, for one command. Raises ConfigProblem where nothing was ever started, or (SQLite) while it runs."""
    if is_new(settings):
        raise ConfigProblem(f"{settings.storage.data}：这里还没有数据，先启动一次服务")
    lock = only_one(settings)
    storage = Storage(settings.storage.url)
    try:
        await upgrade(storage.engines.writing)
        await storage.start()
        yield storage
    finally:
        await storage.close()
        if lock is not None:
            lock.close()


# --- what there is --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """A model of the desk's own. `reviewed`: samples it was trained with; `gone`: of these, no longer there (erased, expired)."""

    name: str
    in_charge: bool
    reviewed: int
    gone: int


async def kept(settings: Settings, session: AsyncSession) -> list[Kept]:
    """The models in the data folder, newest first."""
    current = models.promoted(settings)
    rows = await session.execute(
        select(Record.why, func.count(), func.count(ReviewItem.id))
        .outerjoin(ReviewItem, ReviewItem.id == Record.object_id)
        .where(Record.action == "review.train")
        .group_by(Record.why)
    )
    uses = {name: (count, there) for name, count, there in rows}
    found = []
    for path in sorted(models.folder(settings).glob("*.npz"), reverse=True):
        count, there = uses.get(path.name, (0, 0))
        found.append(Kept(path.name, current is not None and current.path == path, count, count - there))
    return found


async def promotions(session: AsyncSession, limit: int = 20) -> Sequence[Promotion]:
    """What was put in charge, newest first."""
    found = await session.scalars(select(Promotion).order_by(Promotion.id.desc()).limit(limit))
    return found.all()
