"""法律库 and 待核对 on the workbench: the laws there are, the law picker, and entries whose law changed or whose review is due.

Texts come in by `qingting laws import`. Nothing here changes what is said: 仍然正确 makes a revision that a second person approves.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, cast
from zoneinfo import ZoneInfo

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession

from bot.web.api.fields import Asked, Given, Nothing, Number, OptionalLine, Time
from bot.web.api.operations import Call, get, post
from bot.web.problems import Refused, conflict, not_found
from knowledge import desk, law_library, upkeep
from knowledge.law_changes import pieces
from knowledge.tables import KnowledgeRevision
from knowledge.upkeep import CitedAgain, ToCheck

_ISO_DAY = r"^\d{4}-\d{2}-\d{2}$"
Day = Annotated[str, Field(pattern=_ISO_DAY, description="年-月-日")]
EntryId = Annotated[str, Field(min_length=3, max_length=120, pattern=r"^[a-z_]+\.[a-z0-9-]+$")]
Why = Literal["law_changed", "review_due"]
Became = Literal["same", "changed", "gone", "unknown"]
_FOUND = 30
_CANNOT = {
    "in_work": "这个条目正在修改。请在那份修改里一并更新依据。",
    "not_live": "这个条目现在没有对外回答，不用核对。",
    "gone": "引用的条文在新版本里没有了，请修改条目，另选条文。",
}


class LawVersion(Given):
    version: Day
    articles: int
    imported_at: Time


class LawShown(Given):
    """A law with its versions, newest first."""

    title: str
    versions: list[LawVersion]
    entries: int = Field(description="引用它的条目")
    to_check: int = Field(description="其中引用的还是旧版本的")


class LawMissing(Given):
    title: str
    entries: int


class LawsShown(Given):
    laws: list[LawShown]
    missing: list[LawMissing] = Field(description="条目引用了、库里还没有的")


class ArticleAsked(Asked):
    words: OptionalLine = Field(default="", description="法律名、条号、词语，空格隔开：劳动合同法 82")
    law: OptionalLine = Field(default="", description="只在这部法律里找")


class ArticleShown(Given):
    """An article as an entry's source takes it: law, article and version go into the entry as they are."""

    law: str
    article: str
    version: Day
    place: str = Field(description="所在的编、章、节")
    text: str


class ToCheckAsked(Asked):
    why: Why | None = None
    law: OptionalLine = ""


class ToCheckCard(Given):
    """An entry to look at again. `changed` counts citations whose text differs, is gone or cannot be compared."""

    id: str
    title: str
    category: str
    state: desk.State
    version: int = Field(description="条目现在的版本号，保存时带上")
    why: list[Why]
    since: Time | None = Field(description="什么时候标上的；null：今天才满足条件，还没有标")
    review_by: Day | None
    laws: list[str]
    changed: int
    unchanged: int
    in_work: bool = Field(description="已有修改在进行")


class ToCheckPage(Given):
    items: list[ToCheckCard]


class ChangesAsked(Asked):
    entry: EntryId


class PieceShown(Given):
    """左栏由 same 和 old 连成，右栏由 same 和 new 连成。"""

    kind: Literal["same", "old", "new"]
    text: str


class CitationShown(Given):
    law: str
    article: str
    cited: Day = Field(description="条目引用的版本")
    newest: Day
    became: Became = Field(
        description="same 没有变；changed 有变化；gone 新版本里没有；unknown 库里没有旧版本，无法比较"
    )
    old: str
    new: str
    pieces: list[PieceShown]
    now_at: str = Field(description="新版本里最像旧条文的另一条；空：没有。只是提示")


class ChangesShown(ToCheckCard):
    short: str
    long: str
    checked_on: Day | None
    citations: list[CitationShown]


class StillRightAsked(Asked):
    entry: EntryId
    version: Number
    note: OptionalLine = ""


class StillRightGiven(Given):
    """The revision that now waits for a second person."""

    id: str
    revision: int
    state: Literal["submitted"]
    version: int


@get("/laws", "法律库", gives=LawsShown, needs="entries.desk")
async def laws(call: Call, asked: Nothing) -> LawsShown:
    today = _today(call)
    async with call.shell.storage.read() as session:
        shelf = await law_library.listed(session)
        cited = await upkeep.cited_laws(session, today)
        old = await upkeep.outdated(session, today)
    behind: dict[str, set[str]] = {}
    for one in old:
        for again in one.citations:
            behind.setdefault(again.law, set()).add(one.entry.id)
    return LawsShown(
        laws=[
            LawShown(
                title=law.title,
                versions=[
                    LawVersion(
                        version=one.version.isoformat(), articles=one.articles, imported_at=one.imported_at
                    )
                    for one in law.versions
                ],
                entries=len(cited.get(law.title, ())),
                to_check=len(behind.get(law.title, ())),
            )
            for law in shelf
        ],
        missing=[
            LawMissing(title=title, entries=len(entries))
            for title, entries in sorted(cited.items())
            if title not in {law.title for law in shelf}
        ],
    )


@post("/laws/search", "查找条文", asks=ArticleAsked, gives=list[ArticleShown], needs="entries.desk")
async def search_articles(call: Call, asked: ArticleAsked) -> list[ArticleShown]:
    """For choosing a source: articles of the newest versions."""
    async with call.shell.storage.read() as session:
        found = await law_library.search(session, asked.words, law=asked.law, limit=_FOUND)
    return [
        ArticleShown(
            law=one.law, article=one.number, version=one.version.isoformat(), place=one.place, text=one.text
        )
        for one in found
    ]


@get("/to-check", "待核对的条目", asks=ToCheckAsked, gives=ToCheckPage, needs="entries.desk")
async def to_check(call: Call, asked: ToCheckAsked) -> ToCheckPage:
    """Where a cited text changed first, then where only the version did, then where the review date has passed."""
    today = _today(call)
    async with call.shell.storage.read() as session:
        found = {one.entry.id: one for one in await upkeep.outdated(session, today, law=asked.law)}
        due = [] if asked.law else await upkeep.overdue(session, today)
    for entry in due:
        found.setdefault(entry.id, ToCheck(entry, ()))
    late = {entry.id for entry in due}
    cards = [_card(one, overdue=one.entry.id in late) for one in found.values()]
    wanted = [card for card in cards if asked.why is None or asked.why in card.why]
    return ToCheckPage(items=sorted(wanted, key=lambda card: (-card.changed, -card.unchanged, card.id)))


@get(
    "/to-check/changes",
    "条目依据的新旧条文",
    asks=ChangesAsked,
    gives=ChangesShown,
    needs="entries.desk",
    refuses=(404,),
)
async def changes(call: Call, asked: ChangesAsked) -> ChangesShown:
    """Every citation whose law has a newer version, side by side; also those whose text did not change."""
    today = _today(call)
    async with call.shell.storage.read() as session:
        try:
            found = await upkeep.changes_of(session, asked.entry, today)
        except desk.NotAllowed:
            raise not_found("没有这个条目。") from None
    live = found.entry.live
    overdue = live is not None and live.review_by < today
    fields = found.entry.fields
    return ChangesShown(
        **_card(found, overdue=overdue).model_dump(),
        short=str(fields.get("short", "")),
        long=str(fields.get("long", "")),
        checked_on=None if live is None else live.checked_on.isoformat(),
        citations=[_citation(again) for again in found.citations],
    )


@post(
    "/to-check/still-right",
    "核对过：仍然正确",
    asks=StillRightAsked,
    gives=StillRightGiven,
    needs="entries.edit",
    refuses=(404, 409),
)
async def still_right(call: Call, asked: StillRightAsked) -> StillRightGiven:
    """A revision with renewed versions and dates, waiting for a second person's approval."""
    me, now, today = call.me, call.now, _today(call)

    async def work(session: AsyncSession) -> KnowledgeRevision:
        return await upkeep.still_right(
            session,
            asked.entry,
            version=asked.version,
            staff_id=me.id,
            now=now,
            today=today,
            note=asked.note,
        )

    try:
        made = cast(KnowledgeRevision, await call.write(work))
    except upkeep.CannotConfirm as cannot:
        raise Refused(409, cannot.code, _CANNOT[cannot.code]) from None
    except desk.Conflict as changed:
        raise conflict("同事刚刚改过这个条目，请看过再确认。", {"version": changed.version}) from None
    except desk.NotAllowed:
        raise not_found("没有这个条目。") from None
    return StillRightGiven(
        id=made.entry_id, revision=made.number, state="submitted", version=asked.version + 2
    )


def _today(call: Call) -> date:
    return call.now.astimezone(ZoneInfo(call.shell.settings.desk.timezone)).date()


def _card(one: ToCheck, *, overdue: bool) -> ToCheckCard:
    entry, row = one.entry, one.entry.row
    unchanged = sum(again.compared.state == "same" for again in one.citations)
    why: list[Why] = []
    if one.citations:
        why.append("law_changed")
    if overdue:
        why.append("review_due")
    return ToCheckCard(
        id=entry.id,
        title=str(entry.fields.get("title", "")),
        category=str(entry.fields.get("category", "")),
        state=entry.state,
        version=entry.version,
        why=why,
        since=None if row is None else row.to_check_at,
        review_by=None if entry.live is None else entry.live.review_by.isoformat(),
        laws=list(dict.fromkeys(again.law for again in one.citations)),
        changed=len(one.citations) - unchanged,
        unchanged=unchanged,
        in_work=entry.newest is not None and entry.newest.state in ("draft", "submitted", "approved"),
    )


def _citation(again: CitedAgain) -> CitationShown:
    compared, citation = again.compared, again.citation
    return CitationShown(
        law=again.law,
        article=citation.article,
        cited=str(citation.version),
        newest=again.newest.isoformat(),
        became=compared.state,
        old=compared.old,
        new=compared.new,
        pieces=[PieceShown(kind=p.kind, text=p.text) for p in pieces(compared.old, compared.new)],
        now_at=again.now_at,
    )
