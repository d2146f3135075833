"""法律库: the official texts the operator imported, each in all its versions, for citing, for checking and for comparing.

Functions take the caller's session and never commit. What a new version means for the entries is in upkeep.py.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from sqlalchemy import ColumnElement, and_, delete, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from escalation.columns import table_of
from escalation.ids import new_id
from knowledge.law_numbers import numeral_of
from knowledge.law_tables import LawArticle, LawText
from knowledge.laws import Law, key_of

_NUMBER = re.compile(
    r"第?\s*(?P<digits>\d{1,4})\s*条?(?:之(?P<after_digits>[一二三四五六七八九十]+|\d{1,2}))?$"
    r"|第?(?P<numeral>[零一二三四五六七八九十百千]+)条?(?:之(?P<after_numeral>[一二三四五六七八九十]+))?$"
)


@dataclass(frozen=True, slots=True)
class Stored:
    """What an import did. new: this version was not there; corrected: it was, with other words; same: nothing to do.

    `id` is the version's row; `newest` tells whether no later version of the law is in the library.
    """

    id: int
    outcome: Literal["new", "corrected", "same"]
    title: str
    version: date
    newest: bool


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a law in the library, with its number of articles."""

    version: date
    articles: int
    imported_at: datetime


@dataclass(frozen=True, slots=True)
class Listed:
    """A law with its versions, newest first."""

    key: str
    title: str
    versions: tuple[Version, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """An article that the search found, in the newest version of its law."""

    law: str
    version: date
    number: str
    place: str
    text: str


async def store(session: AsyncSession, law: Law, *, cited: Iterable[str], now: datetime) -> Stored:
    """Keep a law that was read from a file. `cited` are titles as entries write them: the same law is then called so here, too."""
    key = key_of(law.title)
    known = await session.scalar(select(LawText).where(LawText.key == key, LawText.version == law.version))
    title = next((name for name in sorted(cited) if key_of(name) == key), law.title)
    outcome: Literal["new", "corrected", "same"] = "new"
    if known is not None:
        if await _unchanged(session, known, law, title):
            return Stored(known.id, "same", title, law.version, await _is_newest(session, key, law.version))
        outcome, known.title, known.imported_at = "corrected", title, now
        await session.execute(delete(LawArticle).where(LawArticle.law_text_id == known.id))
    else:
        known = LawText(id=new_id(), key=key, title=title, version=law.version, imported_at=now)
        session.add(known)
        await session.flush()
    rows = [
        {"id": new_id(), "law_text_id": known.id, "position": at, "number": one.number, "place": one.place}
        | {"text": one.text}
        for at, one in enumerate(law.articles)
    ]
    await session.execute(insert(table_of(LawArticle)), rows)
    return Stored(known.id, outcome, title, law.version, await _is_newest(session, key, law.version))


async def remove(session: AsyncSession, title: str, version: date) -> int | None:
    """Take a wrongly imported version out again; its id, or None where it was not there."""
    found = await session.scalar(
        select(LawText).where(LawText.key == key_of(title), LawText.version == version)
    )
    if found is None:
        return None
    await session.execute(delete(LawArticle).where(LawArticle.law_text_id == found.id))
    await session.delete(found)
    await session.flush()
    return found.id


async def listed(session: AsyncSession) -> list[Listed]:
    """Every law by title."""
    rows = await session.execute(
        select(LawText, func.count(LawArticle.id))
        .outerjoin(LawArticle, LawArticle.law_text_id == LawText.id)
        .group_by(LawText.id)
        .order_by(LawText.key, LawText.version.desc())
    )
    laws: dict[str, list[tuple[LawText, int]]] = {}
    for text, articles in rows:
        laws.setdefault(text.key, []).append((text, articles))
    return sorted(
        (
            Listed(key, texts[0][0].title, tuple(Version(t.version, n, t.imported_at) for t, n in texts))
            for key, texts in laws.items()
        ),
        key=lambda law: law.title,
    )


async def newest(session: AsyncSession) -> dict[str, LawText]:
    """Each law's newest version, by key."""
    found = await session.scalars(select(LawText).order_by(LawText.version))
    return {text.key: text for text in found}


async def texts_of(
    session: AsyncSession, wanted: Collection[tuple[str, date]]
) -> Mapping[tuple[str, date], dict[str, str]]:
    """The articles (number -> text) of some versions, named by key and date. A version that is not there is not in the answer."""
    if not wanted:
        return {}
    found = await session.scalars(select(LawText).where(LawText.key.in_({key for key, _ in wanted})))
    names = {text.id: (text.key, text.version) for text in found if (text.key, text.version) in wanted}
    texts: dict[tuple[str, date], dict[str, str]] = {name: {} for name in names.values()}
    rows = await session.execute(
        select(LawArticle.law_text_id, LawArticle.number, LawArticle.text)
        .where(LawArticle.law_text_id.in_(names))
        .order_by(LawArticle.position)
    )
    for text_id, number, text in rows:
        texts[names[text_id]][number] = text
    return texts


async def search(session: AsyncSession, asked: str, *, law: str = "", limit: int = 30) -> list[Found]:
    """Articles of the newest versions for the law picker: 劳动合同法 82, 民法典 第一千零四十三条, 经济补偿 工作年限.

    Each word must stand in the law's title, in the article or in a heading above it; a number at the end is the article's.
    `law` keeps to one law. Whole laws come before laws that only speak of it, then the laws' own order.
    """
    current = await newest(session)
    if law:
        current = {key: text for key, text in current.items() if key == key_of(law)}
    words, number = _read(asked)
    if not current or not (words or number or law):
        return []
    conditions: list[ColumnElement[bool]] = [
        LawArticle.law_text_id.in_([text.id for text in current.values()])
    ]
    named: set[int] = set()
    for word in words:
        key = key_of(word)
        titled = [text.id for text in current.values() if key and key in text.key]
        named |= {text.id for text in current.values() if text.key == key}
        stands = or_(
            LawArticle.text.contains(word, autoescape=True), LawArticle.place.contains(word, autoescape=True)
        )
        conditions.append(or_(LawArticle.law_text_id.in_(titled), stands))
    if number:
        conditions.append(
            or_(LawArticle.number == number, LawArticle.number.startswith(f"{number}之", autoescape=True))
        )
    rows = await session.execute(
        select(LawArticle, LawText)
        .join(LawText, LawText.id == LawArticle.law_text_id)
        .where(and_(*conditions))
        .order_by(LawArticle.law_text_id.in_(named).desc(), LawText.title, LawArticle.position)
        .limit(limit)
    )
    return [
        Found(text.title, text.version, article.number, article.place, article.text) for article, text in rows
    ]


def _read(asked: str) -> tuple[Sequence[str], str]:
    """The words, and the article's number as laws write it ("" where none was asked for)."""
    asked = " ".join(asked.split())
    found = _NUMBER.search(asked)
    if found is None or not (found["digits"] or "条" in found[0] or "第" in found[0]):
        return asked.split(), ""
    number = found["numeral"] or numeral_of(int(found["digits"]))
    after = found["after_numeral"] or found["after_digits"] or ""
    if after.isdecimal():
        after = numeral_of(int(after))
    return asked[: found.start()].split(), f"第{number}条" + (f"之{after}" if after else "")


async def _is_newest(session: AsyncSession, key: str, version: date) -> bool:
    return await session.scalar(select(func.max(LawText.version)).where(LawText.key == key)) == version


async def _unchanged(session: AsyncSession, known: LawText, law: Law, title: str) -> bool:
    rows = await session.execute(
        select(LawArticle.number, LawArticle.place, LawArticle.text)
        .where(LawArticle.law_text_id == known.id)
        .order_by(LawArticle.position)
    )
    stored = [tuple(row) for row in rows]
    return known.title == title and stored == [(a.number, a.place, a.text) for a in law.articles]
