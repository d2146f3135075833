"""What must be looked at again, and why: a law that an entry cites has a newer version, or the day of its review has passed.

Marking is done at an import of laws and once a day; the mark is for people and hides nothing. Whoever finds that the text still
holds says so with `still_right`, which goes the way of every revision: a second person approves it (promise 9).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Final

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from knowledge import desk, law_library
from knowledge.desk import Listed
from knowledge.entries import Citation
from knowledge.law_changes import Compared, compare, moved_to
from knowledge.law_tables import LawText
from knowledge.laws import key_of
from knowledge.tables import KnowledgeRevision

_IN_WORK: Final = ("draft", "submitted", "approved")
_YEAR: Final = timedelta(days=365)


class CannotConfirm(Exception):
    """`code`: in_work (a change is under way: renew its sources there), not_live (nobody is told this entry),
    gone (an article it cites is not in the law any more)."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class CitedAgain:
    """A citation whose law has a newer version in the library, and what became of the article."""

    citation: Citation
    law: str  # as the library calls it
    newest: date
    compared: Compared
    now_at: str = ""  # where the old text may stand now (law_changes.moved_to); only in changes_of


@dataclass(frozen=True, slots=True)
class ToCheck:
    """An entry that must be looked at again; `citations` where a law changed."""

    entry: Listed
    citations: tuple[CitedAgain, ...]

    @property
    def unchanged(self) -> bool:
        """Whether every cited article reads as it did."""
        return all(one.compared.state == "same" for one in self.citations)


def citations_of(one: Listed) -> list[Citation]:
    """The law citations of what is said, else of the text in work."""
    if one.live is not None:
        return [citation for citation in one.live.sources if citation.law]
    found = []
    for source in one.fields.get("sources") or ():
        try:
            citation = Citation.model_validate(source)
        except ValidationError:  # a draft may still lack something
            continue
        found += [citation] * bool(citation.law)
    return found


async def cited_laws(session: AsyncSession, today: date) -> dict[str, list[Listed]]:
    """Each law that entries cite, by the title as they write it, with the entries."""
    laws: dict[str, list[Listed]] = {}
    for one in await desk.listed(session, today):
        if one.state != "retired":
            for law in dict.fromkeys(citation.law for citation in citations_of(one)):
                laws.setdefault(law, []).append(one)
    return laws


async def outdated(session: AsyncSession, today: date, *, law: str = "") -> list[ToCheck]:
    """Entries that cite a version older than the newest in the library, by id. `law` keeps to one law's citations."""
    newest = await law_library.newest(session)
    found = []
    for one, all_old in _outdated(await desk.listed(session, today), newest):
        old = [citation for citation in all_old if not law or key_of(citation.law) == key_of(law)]
        if old:
            found.append((one, old))
    texts = await _texts(session, [citation for _, old in found for citation in old], newest)
    return [ToCheck(one, tuple(_again(c, newest, texts) for c in old)) for one, old in found]


async def changes_of(session: AsyncSession, entry_id: str, today: date) -> ToCheck:
    """One entry's outdated citations with the articles then and now. Raises desk.NotAllowed("unknown")."""
    one = await desk.one(session, entry_id, today)
    newest = await law_library.newest(session)
    old = _old(citations_of(one), newest)
    texts = await _texts(session, old, newest)
    found = []
    for citation in old:
        again = _again(citation, newest, texts)
        if again.compared.state in ("changed", "gone") and again.compared.old:
            new_version = texts[key_of(citation.law), again.newest]
            again = replace(again, now_at=moved_to(citation.article, again.compared.old, new_version))
        found.append(again)
    return ToCheck(one, tuple(found))


async def mark(session: AsyncSession, today: date, *, now: datetime, most: int = 20) -> int:
    """Mark entries whose law has a newer version or whose review is overdue, and take back marks whose reason has gone.

    Changes at most `most` entries, so that nobody waits long for the database; returns how many. Call it until it returns 0.
    """
    entries = await desk.listed(session, today)
    outdated_ids = {one.id for one, _ in _outdated(entries, await law_library.newest(session))}
    changed = 0
    for one in entries:
        due: desk.ToCheck | None = None
        if one.id in outdated_ids:
            due = "law_changed"
        elif one.live is not None and one.live.review_by < today:
            due = "review_due"
        if one.to_check == due or changed == most:
            continue
        if due is not None and not (one.to_check == "law_changed" and due == "review_due"):
            await desk.mark_to_check(session, one.id, due, now=now)
        elif one.row is not None:
            await desk.checked(session, one.id, version=one.version, staff_id=None, now=now)
        changed += 1
    return changed


async def overdue(session: AsyncSession, today: date) -> list[Listed]:
    """Entries that are said though their review date has passed, the longest overdue first."""
    found = [one for one in await desk.listed(session, today) if one.live and one.live.review_by < today]
    return sorted(found, key=lambda one: one.live.review_by if one.live else today)


async def still_right(
    session: AsyncSession,
    entry_id: str,
    *,
    version: int,
    staff_id: int,
    now: datetime,
    today: date,
    note: str = "",
) -> KnowledgeRevision:
    """Checked against the newest law, and the text may stay: a revision with renewed citations and dates, submitted for approval.

    Raises CannotConfirm, desk.NotAllowed("unknown"), desk.Conflict.
    """
    one = await desk.one(session, entry_id, today)
    if one.version != version:
        raise desk.Conflict(one.version)
    if one.newest is not None and one.newest.state in _IN_WORK:
        raise CannotConfirm("in_work")
    if one.live is None:
        raise CannotConfirm("not_live")
    changed = (await changes_of(session, entry_id, today)).citations
    if any(again.compared.state == "gone" for again in changed):
        raise CannotConfirm("gone")
    fields = desk.plain_fields(one.live) | _reviewed(one.live.checked_on, one.live.review_by, today)
    renewed = {(again.citation.law, again.citation.article): again.newest for again in changed}
    fields["sources"] = [_with_version(source, renewed) for source in fields["sources"]]
    await desk.draft(session, entry_id, fields, version=version, staff_id=staff_id, now=now)
    return await desk.submit(
        session, entry_id, version=version + 1, staff_id=staff_id, now=now, note=note or _note(changed)
    )


def _outdated(
    entries: Sequence[Listed], newest: Mapping[str, LawText]
) -> Iterator[tuple[Listed, list[Citation]]]:
    for one in entries:
        old = _old(citations_of(one), newest)
        if old and one.state != "retired":
            yield one, old


def _old(citations: Sequence[Citation], newest: Mapping[str, LawText]) -> list[Citation]:
    return [
        citation
        for citation in citations
        if (text := newest.get(key_of(citation.law))) is not None
        and citation.version is not None
        and citation.version < text.version
    ]


async def _texts(
    session: AsyncSession, citations: Collection[Citation], newest: Mapping[str, LawText]
) -> Mapping[tuple[str, date], dict[str, str]]:
    """The cited versions and the newest ones of their laws."""
    keys = {key_of(citation.law) for citation in citations}
    wanted = {(key_of(c.law), c.version) for c in citations if c.version is not None}
    return await law_library.texts_of(session, wanted | {(key, newest[key].version) for key in keys})


def _again(
    citation: Citation, newest: Mapping[str, LawText], texts: Mapping[tuple[str, date], dict[str, str]]
) -> CitedAgain:
    assert citation.version is not None
    key = key_of(citation.law)
    law = newest[key]
    old = texts.get((key, citation.version), {}).get(citation.article)
    return CitedAgain(
        citation, law.title, law.version, compare(citation.article, old, texts[key, law.version])
    )


def _reviewed(checked_on: date, review_by: date, today: date) -> dict[str, Any]:
    """Read today; to be read again after as long as was given before, a year at most."""
    again = today + min(review_by - checked_on, _YEAR)
    return {"checked_on": today.isoformat(), "review_by": again.isoformat()}


def _with_version(source: dict[str, Any], renewed: Mapping[tuple[str, str], date]) -> dict[str, Any]:
    version = renewed.get((source["law"], source["article"]))
    return source if version is None else source | {"version": version.isoformat()}


def _note(changed: Sequence[CitedAgain]) -> str:
    laws = dict.fromkeys(f"《{again.law}》{again.newest.isoformat()}版" for again in changed)
    return "复核过，内容仍然正确" + (f"；依据更新为{'、'.join(laws)}" if laws else "")
