"""Retraining with what the desk learned, and a gate: no model that misses more danger takes over, and every change is on record."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, update
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession
from typer.testing import CliRunner

from bot import keys, learning, models
from bot.cli import cli
from bot.run import only_one
from bot.settings import ConfigProblem, Settings
from bot.shell import utc_now
from bot.storage import Storage
from bot.storage.migrations import upgrade
from bot.tables import Promotion
from escalation import people, review, staff
from escalation.review import Labels
from escalation.tables import Conversation, Message, Record, ReviewItem
from nlu import train as training
from nlu.corpus import Example
from nlu.understanding import Risk, Understanding
from tests.conftest import _server
from tests.nlu.test_train import corpus_in

WORDS = "青石巷的蓝色木门后面没有人等我了"


def config(folder: Path, url: str = "") -> Settings:
    return Settings(
        storage={
            "data": str(folder),
            "url": url or f"sqlite:///{folder}/qingting.db",
            "master_key_file": str(folder / "master.key"),
        }
    )


async def ready(settings: Settings) -> None:
    """A desk with a supervisor `wang`, a counsellor `zhang` and one accepted sample."""
    keys.make(settings.storage.master_key_file)

    async def work(session: AsyncSession) -> None:
        vault = keys.load(settings.storage)
        await keys.check(session, vault)
        for login, role in (("wang", "supervisor"), ("zhang", "counsellor")):
            await staff.create(
                session, login=login, name=login, role=role, desk="000000", password_hash="x", now=utc_now()
            )
        person, contact = await people.contact_for(
            session, vault, desk="000000", channel="webchat", account="default", address="a", now=utc_now()
        )
        talk = Conversation(
            desk="000000",
            person_id=person.id,
            contact_id=contact.id,
            channel="webchat",
            account="default",
            state="bot",
            risk="none",
            opened_at=utc_now(),
        )
        session.add(talk)
        await session.flush()
        message = Message(
            conversation_id=talk.id,
            direction="in",
            author="person",
            kind="text",
            text_sealed=vault.person_key(person.data_key).seal(WORDS, "message.text"),
            state="answered",
            risk="none",
            received_at=utc_now(),
        )
        session.add(message)
        await session.flush()
        await review.mark(session, talk, message.id, "missed", staff_id=1, now=utc_now())
        item = await session.scalar(select(ReviewItem))
        assert item is not None
        labels = Labels("psychological", "high", ("suicide",), "psychological.crisis.suicide", "self")
        await review.accept(
            session,
            vault,
            item.id,
            desk="000000",
            staff_id=1,
            text=f"我叫［姓名］，{WORDS}",
            history=["在［学校］"],
            labels=labels,
            now=utc_now(),
        )

    await in_database(settings, work)


async def in_database(settings: Settings, work: Callable[[AsyncSession], Awaitable[Any]]) -> Any:
    storage = Storage(settings.storage.url)
    try:
        await upgrade(storage.engines.writing)
        await storage.start()
        return await storage.write(work)
    finally:
        await storage.close()


async def rows(settings: Settings, table: type[Any]) -> list[Any]:
    async def work(session: AsyncSession) -> list[Any]:
        return list(await session.scalars(select(table).order_by(table.id)))

    found: list[Any] = await in_database(settings, work)
    return found


# --- training -------------------------------------------------------------------------------------------------------


async def test_accepted_samples_are_read_into_memory_in_plain_words_and_each_use_is_on_record(
    tmp_path: Path,
) -> None:
    settings = config(tmp_path)
    await ready(settings)
    (example,) = await learning.samples(settings, "20261123-091500.npz")
    assert (example.text, example.history) == (f"我叫小某，{WORDS}", ("在学校",))
    assert (example.risk, example.kinds, example.split) == ("high", ("suicide",), "train")
    (item,) = await rows(settings, ReviewItem)
    assert item.used_at is not None
    (use,) = [r for r in await rows(settings, Record) if r.action == "review.train"]
    assert (use.object_id, use.why, use.staff_id) == (item.id, "20261123-091500.npz", None)


@pytest.mark.postgres
async def test_on_postgres_they_are_read_while_the_service_runs(tmp_path: Path, postgres_url: str) -> None:
    server = make_url(postgres_url)
    name = f"{server.database}_learning"
    await _server(server, f'CREATE DATABASE "{name}"')
    try:
        settings = config(tmp_path, server.set(database=name).render_as_string(hide_password=False))
        await ready(settings)
        running = Storage(settings.storage.url)
        await running.start()
        try:
            (example,) = await learning.samples(settings, "m.npz")
        finally:
            await running.close()
        assert WORDS in example.text
    finally:
        await _server(server, f'DROP DATABASE "{name}" WITH (FORCE)')


async def test_on_sqlite_the_service_must_be_stopped_and_another_key_is_refused(tmp_path: Path) -> None:
    settings = config(tmp_path)
    await ready(settings)
    lock = only_one(settings)
    with pytest.raises(ConfigProblem, match="已经有一个 qingting 在运行"):
        await learning.samples(settings, "m.npz")
    assert lock is not None
    lock.close()
    settings.storage.master_key_file.unlink()
    keys.make(settings.storage.master_key_file)
    with pytest.raises(ConfigProblem, match="主密钥"):
        await learning.samples(settings, "m.npz")


def test_where_nothing_was_ever_started_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigProblem, match="还没有数据"):
        asyncio.run(learning.samples(config(tmp_path), "m.npz"))
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_private_words_holds_no_words_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    settings = config(tmp_path)
    asyncio.run(ready(settings))
    (corpus := tmp_path / "corpus").mkdir()
    corpus_in(corpus)
    packaged = training.DEFAULT
    before = packaged.stat().st_mtime_ns
    extra = asyncio.run(learning.samples(settings, "own.npz"))
    made = learning.train(settings, "own.npz", extra, trainer=training.train, data=corpus)
    assert made.path == tmp_path / "models" / "own.npz"
    assert made.path.stat().st_mode & 0o777 == 0o600
    assert packaged.stat().st_mtime_ns == before
    with np.load(made.path, allow_pickle=False) as stored:
        inside = b"".join(stored[name].tobytes() for name in stored.files)
    learned = "".join(c for c in inside.decode("utf-32-le", "ignore") if "\u4e00" <= c <= "\u9fff")
    for at in range(len(WORDS) - 2):
        piece = WORDS[at : at + 3]
        assert piece not in learned
        for form in (piece.encode(), piece.encode("utf-32-le"), piece.encode("unicode_escape")):
            assert form not in inside
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert WORDS.encode() not in path.read_bytes(), path.name


# --- the gate -------------------------------------------------------------------------------------------------------


class Judge:
    """An engine that hears danger in the words it was given."""

    def __init__(self, *hears: str, level: Risk = "critical") -> None:
        self.hears = hears
        self.level = level

    def understand(self, text: str, history: Sequence[str] = ()) -> Understanding:
        danger = any(word in text for word in self.hears)
        return Understanding("safety", self.level if danger else "none", 0.9 if danger else 0.1)


@pytest.fixture
def judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Judge]:
    """Which engine stands behind which model file: the gate is tested without training."""
    (tmp_path / "models").mkdir()
    known = {
        "packaged": Judge("天台", "药"),
        "better.npz": Judge("天台", "药", "绳"),
        "deaf.npz": Judge("天台", "绳"),
        "mild.npz": Judge("天台", "药", "绳", level="high"),
        "loud.npz": Judge("天台", "药", "吃"),
    }
    for name in known:
        if name != "packaged":
            (tmp_path / "models" / name).write_bytes(name.encode())
    monkeypatch.setattr(learning, "load", lambda path: known["packaged" if path is None else path.name])
    return known


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """A set of the operator's own."""
    path = tmp_path / "set.jsonl"
    said = [("我在天台", "critical"), ("我存了药", "critical"), ("买了绳子", "critical"), ("吃饭了", "none")]
    path.write_text(
        "\n".join(json.dumps({"id": n, "text": t, "label": r}) for n, (t, r) in enumerate(said)), encoding="utf-8"
    )  # fmt: skip
    return path


def empty(tmp_path: Path) -> Path:
    (tmp_path / "nothing").mkdir(exist_ok=True)
    return tmp_path / "nothing"


async def promote(settings: Settings, name: str, lines: Path, login: str = "wang") -> list[learning.Compared]:
    return await learning.promote(
        settings, name, login=login, paths=[lines], data=empty(settings.storage.data)
    )


async def test_a_better_model_is_put_in_charge_and_recorded_with_its_figures(
    tmp_path: Path, judges: dict[str, Judge], lines: Path
) -> None:
    settings = config(tmp_path)
    await ready(settings)
    (found,) = await promote(settings, "better.npz", lines)
    assert (found.old.recall.hits, found.new.recall.hits, found.worse) == (2, 3, [])
    chosen = models.in_charge(settings)
    assert chosen is not None
    assert chosen.path == tmp_path / "models" / "better.npz"
    (row,) = await rows(settings, Promotion)
    assert (row.model, row.before, row.back, row.sha256) == ("better.npz", "", False, chosen.sha256)
    assert row.figures["set.jsonl"]["new"]["recall"] == [3, 3]
    (act,) = [r for r in await rows(settings, Record) if r.action == "model.promote"]
    assert (act.object, act.object_id, act.why, act.staff_id) == ("model", row.id, "better.npz", row.staff_id)


@pytest.mark.parametrize(("name", "lowers"), [("deaf.npz", "recall"), ("mild.npz", "critical_named")])
async def test_a_model_that_hears_less_danger_is_refused_and_nothing_changes(
    tmp_path: Path, judges: dict[str, Judge], lines: Path, name: str, lowers: str
) -> None:
    settings = config(tmp_path)
    await ready(settings)
    await promote(settings, "better.npz", lines)
    with pytest.raises(learning.Refused) as refused:
        await promote(settings, name, lines)
    assert refused.value.why == "worse"
    assert lowers in refused.value.sets[0].worse
    chosen = models.in_charge(settings)
    assert chosen is not None
    assert chosen.path.name == "better.npz"
    assert len(await rows(settings, Promotion)) == 1


async def test_more_false_alarms_are_shown_and_do_not_refuse(
    tmp_path: Path, judges: dict[str, Judge], lines: Path
) -> None:
    settings = config(tmp_path)
    await ready(settings)
    (found,) = await promote(settings, "loud.npz", lines)
    assert (found.old.false_alarms.hits, found.new.false_alarms.hits) == (0, 1)


async def test_a_promotion_can_be_taken_back_and_that_is_on_record_too(
    tmp_path: Path, judges: dict[str, Judge], lines: Path
) -> None:
    settings = config(tmp_path)
    await ready(settings)
    with pytest.raises(ConfigProblem, match="没有可退回"):
        await learning.back(settings, login="wang")
    await promote(settings, "loud.npz", lines)
    await promote(settings, "better.npz", lines)
    assert await learning.back(settings, login="wang") == "loud.npz"
    chosen = models.in_charge(settings)
    assert chosen is not None
    assert chosen.path.name == "loud.npz"
    assert [(p.model, p.before, p.back) for p in await rows(settings, Promotion)] == [
        ("loud.npz", "", False),
        ("better.npz", "loud.npz", False),
        ("loud.npz", "better.npz", True),
    ]
    await in_database(settings, lambda s: s.execute(update(Promotion).values(before="")))
    assert await learning.back(settings, login="wang") == "packaged"
    assert models.in_charge(settings) is None


async def test_it_takes_a_supervisor_or_administrator_and_danger_to_measure_on(
    tmp_path: Path, judges: dict[str, Judge], lines: Path
) -> None:
    settings = config(tmp_path)
    await ready(settings)
    for login in ("zhang", "nobody"):
        with pytest.raises(ConfigProblem, match=login):
            await promote(settings, "better.npz", lines, login)
    harmless = tmp_path / "harmless.jsonl"
    harmless.write_text('{"text": "吃饭了", "label": "none"}', encoding="utf-8")
    with pytest.raises(learning.Refused, match="nothing_measured"):
        await promote(settings, "better.npz", harmless)
    with pytest.raises(learning.Refused, match="same"):
        await promote(settings, "packaged", lines)
    assert models.in_charge(settings) is None
    assert await rows(settings, Promotion) == []


async def test_a_model_from_elsewhere_is_brought_home(
    tmp_path: Path, judges: dict[str, Judge], lines: Path
) -> None:
    settings = config(tmp_path)
    await ready(settings)
    (tmp_path / "usb").mkdir()
    other = (tmp_path / "models" / "better.npz").rename(tmp_path / "usb" / "better.npz")
    await promote(settings, str(other), lines)
    home = tmp_path / "models" / "better.npz"
    assert home.read_bytes() == other.read_bytes()
    assert home.stat().st_mode & 0o777 == 0o600


async def test_what_was_learned_from_people_since_erased_is_counted(tmp_path: Path) -> None:
    settings = config(tmp_path)
    await ready(settings)
    models.folder(settings).joinpath("own.npz").write_bytes(b"x")
    await learning.samples(settings, "own.npz")

    async def kept(session: AsyncSession) -> list[learning.Kept]:
        return await learning.kept(settings, session)

    assert await in_database(settings, kept) == [learning.Kept("own.npz", False, 1, 0)]
    await in_database(settings, lambda s: s.execute(ReviewItem.__table__.delete()))
    assert await in_database(settings, kept) == [learning.Kept("own.npz", False, 1, 1)]


# --- commands -------------------------------------------------------------------------------------------------------


def test_the_commands_say_what_they_did(tmp_path: Path, judges: dict[str, Judge], lines: Path) -> None:
    settings = config(tmp_path)
    asyncio.run(ready(settings))
    path = tmp_path / "config.yml"
    path.write_text(
        f"storage: {{data: {tmp_path}, url: 'sqlite:///{tmp_path}/qingting.db', master_key_file: {tmp_path}/master.key}}"
    )
    run = CliRunner()

    def said(*words: str, code: int = 0) -> str:
        answer = run.invoke(cli, [*words, "--config", str(path)], env={"COLUMNS": "200"})
        assert answer.exit_code == code, answer.output
        return answer.output

    shown = said("evaluate", "--compare", "deaf.npz", "--set", str(lines))
    assert re.search(r"高风险和紧急的召回.*0\.667 \[.*\(2/3\).*0\.667", shown)
    as_json = json.loads(said("evaluate", "--compare", "mild.npz", "--set", str(lines), "--json"))
    assert as_json["set.jsonl"]["worse"] == ["critical_named"]
    refused = said("promote", "mild.npz", "--by", "wang", "--set", str(lines), code=1)
    assert "没有启用" in refused
    assert "紧急判为紧急" in refused
    listed = said("models")
    assert "在用的是随程序提供的模型" in listed
    assert "better.npz" in listed
    assert "识别质量" in said("drift", "--weeks", "2")


def test_a_sample_counts_as_its_persons_theme() -> None:
    labels = Labels("other", "none", (), "other.life.chat", "self")
    one = review.Accepted(1, 7, "加QQ［账号］", (), labels, "none", False)
    made = learning.as_example(one)
    assert isinstance(made, Example)
    assert (made.text, made.theme) == ("加QQ账号", "reviewed_7")
    assert learning.as_example(replace(one, item_id=2)).theme == made.theme
