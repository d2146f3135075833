"""The editing desk (编辑台): from a draft to what is said, always by two persons (promise 9).

    draft --submit--> submitted --approve (never an author)--> approved --publish--> published --> replaced | retired
                          └──send_back──> draft

A function takes the caller's session and never commits. Every one that changes something takes the `version` of the entry that the
person saw (0 where there was none yet) and raises `Conflict` when somebody was quicker (promise 11), and puts the step on record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, Literal, get_args

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from escalation import records
from escalation.tables import Record
from knowledge import overlay
from knowledge.checks import Problem, problems_of
from knowledge.entries import Entry, shipped
from knowledge.overlay import Overlay
from knowledge.tables import KnowledgeComment, KnowledgeEntry, KnowledgeGeneration, KnowledgeRevision

State = Literal["shipped", "draft", "submitted", "approved", "published", "retired"]
STATES: Final[tuple[State, ...]] = get_args(State)
ToCheck = Literal["law_changed", "review_due"]

SHIPPED: Final = 0
"""The number of the text that came with the program, wherever a revision is named."""

_OPEN: Final = ("draft", "submitted", "approved")  # a revision still on its way
_RECORDED: Final = "knowledge_revision"  # the object of the records of steps
_ONE: Final = 1  # the only row of knowledge_generation


class NotAllowed(Exception):
    """`code`: unknown, own (an author cannot approve), incomplete (see `problems`), not_draft, not_submitted, not_approved,
    not_live, retired, no_text, days (the end lies before the beginning)."""

    def __init__(self, code: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(code)
        self.code = code
        self.problems = tuple(problems)


class Conflict(Exception):
    """Somebody changed the entry meanwhile; `version` is the one it has now."""

    def __init__(self, version: int) -> None:
        super().__init__("the entry was changed meanwhile")
        self.version = version


# --- looking --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry as the desk sees it: what is said now (`live_fields`, None: nothing) and what is being worked at (`newest`).

    `fields` are what a list shows: of the revision in work, else of what is live, else of the newest text there was.
    `live_number` is the revision said now, SHIPPED for the shipped text; None where nothing is said.
    """

    id: str
    state: State
    fields: dict[str, Any]
    live_fields: dict[str, Any] | None
    live_number: int | None
    is_shipped: bool
    row: KnowledgeEntry | None
    newest: KnowledgeRevision | None

    @property
    def live(self) -> Entry | None:
        """What is said now; None also for a stored text that this version of the program cannot read."""
        if self.live_number == SHIPPED:
            return shipped()[self.id]
        if self.live_fields is None or problems_of(self.id, self.live_fields):
            return None
        return Entry.model_validate(self.live_fields | {"id": self.id})

    @property
    def version(self) -> int:
        return 0 if self.row is None else self.row.version

    @property
    def to_check(self) -> str | None:
        return None if self.row is None else self.row.to_check


async def listed(
    session: AsyncSession,
    today: date,
    *,
    state: State | None = None,
    search: str = "",
    category: str = "",
    audience: str = "",
    region: str = "",
    to_check: bool = False,
    review_before: date | None = None,
    own: bool | None = None,
) -> list[Listed]:
    """Shipped and own entries that fit every filter, by id. See `filtered`."""
    return filtered(
        await _all(session, today),
        state=state,
        search=search,
        category=category,
        audience=audience,
        region=region,
        to_check=to_check,
        review_before=review_before,
        own=own,
    )


def filtered(
    everything: Iterable[Listed],
    *,
    state: State | None = None,
    search: str = "",
    category: str = "",
    audience: str = "",
    region: str = "",
    to_check: bool = False,
    review_before: date | None = None,
    own: bool | None = None,
) -> list[Listed]:
    """What fits every filter. `search`: words that must all stand somewhere in the entry.

    `category` is a code or the beginning of one; `review_before` finds what is to be reviewed before that day; `own` True finds
    what the desk wrote or changed, False what is as it came.
    """
    words = search.casefold().split()
    found = []
    for one in everything:
        fields = one.fields
        if (
            (state is None or one.state == state)
            and (not category or _under(str(fields.get("category", "")), category))
            and (not audience or audience in fields.get("audience", ()))
            and (not region or fields.get("region", "") == region)
            and (not to_check or one.to_check is not None)
            and (review_before is None or str(fields.get("review_by", "9")) < review_before.isoformat())
            and (own is None or own == (one.newest is not None))
            and (not words or _holds(one, words))
        ):
            found.append(one)
    return found


async def one(session: AsyncSession, entry_id: str, today: date) -> Listed:
    """One entry. Raises NotAllowed("unknown")."""
    row = await session.get(KnowledgeEntry, entry_id, populate_existing=True)
    revisions = await history(session, entry_id)
    if row is None and entry_id not in shipped():
        raise NotAllowed("unknown")
    return _listed(entry_id, row, list(reversed(revisions)), today)


async def history(session: AsyncSession, entry_id: str) -> Sequence[KnowledgeRevision]:
    """All revisions, newest first. The shipped text is none of them."""
    await session.flush()
    found = await session.scalars(
        select(KnowledgeRevision)
        .where(KnowledgeRevision.entry_id == entry_id)
        .order_by(KnowledgeRevision.number.desc())
    )
    return found.all()


async def comments(session: AsyncSession, entry_id: str) -> Sequence[KnowledgeComment]:
    """What colleagues said about it, oldest first."""
    await session.flush()
    found = await session.scalars(
        select(KnowledgeComment).where(KnowledgeComment.entry_id == entry_id).order_by(KnowledgeComment.id)
    )
    return found.all()


async def steps(session: AsyncSession, entry_id: str, limit: int = 200) -> Sequence[Record]:
    """What was done with an entry and by whom, newest first; `why` of each is "entry@number"."""
    await session.flush()
    revisions = select(KnowledgeRevision.id).where(KnowledgeRevision.entry_id == entry_id)
    found = await session.scalars(
        select(Record)
        .where(
            Record.object == _RECORDED,
            or_(Record.object_id.in_(revisions), Record.object_id == 0),
            Record.why.startswith(f"{entry_id}@", autoescape=True),
        )
        .order_by(Record.id.desc())
        .limit(limit)
    )
    return found.all()


async def text_of(session: AsyncSession, entry_id: str, number: int) -> dict[str, Any]:
    """The fields of one revision, or of the shipped text (SHIPPED). Raises NotAllowed("unknown")."""
    if number == SHIPPED:
        if entry_id not in shipped():
            raise NotAllowed("unknown")
        return plain_fields(shipped()[entry_id])
    return dict((await _revision(session, entry_id, number)).fields)


@dataclass(frozen=True, slots=True)
class Change:
    """One field that differs between two texts, with both values as they are stored (None: not there)."""

    field: str
    before: Any
    after: Any


def difference(before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    """What differs between two texts, field by field in the order of an entry's fields."""
    names = [name for name in Entry.model_fields if name != "id"]
    return [
        Change(name, before.get(name), after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    ]


# --- what is said ---------------------------------------------------------------------------------------------------


async def generation(session: AsyncSession) -> int:
    """The number that grows with each change of what is said."""
    return await session.scalar(select(KnowledgeGeneration.number)) or 0


async def live_overlay(session: AsyncSession, today: date) -> Overlay:
    """What is said on this day otherwise than the shipped files say."""
    number = await generation(session)
    hidden = set(await session.scalars(select(KnowledgeEntry.id).where(KnowledgeEntry.retired)))
    said: dict[str, dict[str, Any] | None] = {}
    rows = await session.scalars(
        select(KnowledgeRevision)
        .where(KnowledgeRevision.state == "published")
        .order_by(KnowledgeRevision.entry_id, KnowledgeRevision.number)
    )
    for row in rows:
        if _begun(row, today):
            said[row.entry_id] = None if _over(row, today) else row.fields
    hidden |= {entry_id for entry_id, fields in said.items() if fields is None}
    texts = [(i, fields) for i, fields in said.items() if fields is not None and i not in hidden]
    # In a thread: checking thousands of texts takes longer than a webhook may wait.
    return await asyncio.to_thread(overlay.read, texts, hidden, number)


async def live_entries(session: AsyncSession, today: date) -> list[Entry]:
    """All entries that are said on this day: the shipped ones, overlaid with what the desk published and retired."""
    return (await live_overlay(session, today)).over(shipped().values())


# --- the steps ------------------------------------------------------------------------------------------------------


async def draft(
    session: AsyncSession,
    entry_id: str,
    fields: dict[str, Any],
    *,
    version: int,
    staff_id: int,
    now: datetime,
    note: str = "",
) -> KnowledgeRevision:
    """Save a text as draft: into the revision in work, or as a new one. A submitted text is a draft again by that; an approved or
    published one stays as it is, and a new revision begins. `fields` need not be complete yet; `id` in them is passed over.
    """
    row = await _locked(session, entry_id, version, now, make=True)
    newest = await _newest(session, row)
    if newest is None or newest.state not in ("draft", "submitted"):
        newest = _new_revision(session, row, {}, staff_id, now)
    newest.fields = {name: value for name, value in fields.items() if name != "id"}
    if staff_id not in newest.authors:
        newest.authors = [*newest.authors, staff_id]
    newest.state, newest.note = "draft", note
    newest.submitted_by = newest.submitted_at = None
    row.state = "draft"
    return await _done(session, "draft", row, newest, staff_id, now)


async def submit(
    session: AsyncSession, entry_id: str, *, version: int, staff_id: int, now: datetime, note: str = ""
) -> KnowledgeRevision:
    """Ask for approval. Raises NotAllowed("incomplete") with the fields that are wrong."""
    row, newest = await _in_work(session, entry_id, version, now, "draft")
    problems = problems_of(entry_id, newest.fields)
    if problems:
        raise NotAllowed("incomplete", problems)
    newest.state, newest.submitted_by, newest.submitted_at = "submitted", staff_id, now
    newest.note = note or newest.note
    row.state = "submitted"
    return await _done(session, "submit", row, newest, staff_id, now)


async def send_back(
    session: AsyncSession, entry_id: str, *, version: int, staff_id: int, now: datetime, note: str
) -> KnowledgeRevision:
    """Not yet: the text is a draft again, and `note` says what is missing."""
    row, newest = await _in_work(session, entry_id, version, now, "submitted", "approved")
    newest.state, newest.note = "draft", note
    newest.submitted_by = newest.submitted_at = newest.approved_by = newest.approved_at = None
    row.state = "draft"
    return await _done(session, "send_back", row, newest, staff_id, now)


async def approve(
    session: AsyncSession, entry_id: str, *, version: int, staff_id: int, now: datetime
) -> KnowledgeRevision:
    """A second person says yes: nobody who wrote at the text. Raises NotAllowed("own")."""
    row, newest = await _in_work(session, entry_id, version, now, "submitted")
    if staff_id in newest.authors:
        raise NotAllowed("own")
    newest.state, newest.approved_by, newest.approved_at = "approved", staff_id, now
    row.state = "approved"
    return await _done(session, "approve", row, newest, staff_id, now)


async def publish(
    session: AsyncSession,
    entry_id: str,
    *,
    version: int,
    staff_id: int,
    now: datetime,
    today: date,
    valid_from: date | None = None,
    valid_until: date | None = None,
) -> KnowledgeRevision:
    """Say the approved text: at once, or from `valid_from` on (what is said now stays until then), until `valid_until`."""
    row, newest = await _in_work(session, entry_id, version, now, "approved")
    _days(valid_from, valid_until, today)
    return await _publish(session, row, newest, staff_id, now, today, valid_from, valid_until)


async def reschedule(
    session: AsyncSession,
    entry_id: str,
    *,
    version: int,
    staff_id: int,
    now: datetime,
    today: date,
    valid_from: date | None,
    valid_until: date | None,
) -> KnowledgeRevision:
    """Other days for the newest published text; the text itself stays. Raises NotAllowed("not_live")."""
    row = await _locked(session, entry_id, version, now)
    published = await _published(session, entry_id)
    if not published:
        raise NotAllowed("not_live")
    _days(valid_from, valid_until, today)
    published[-1].valid_from, published[-1].valid_until = valid_from, valid_until
    await _raise_generation(session)
    return await _done(session, "reschedule", row, published[-1], staff_id, now)


async def retire(
    session: AsyncSession, entry_id: str, *, version: int, staff_id: int, now: datetime
) -> KnowledgeEntry:
    """Say it no longer, neither the desk's text nor the shipped one. A text in work stays in work, and publishing it ends this."""
    row = await _locked(session, entry_id, version, now, make=entry_id in shipped())
    if row.retired:
        raise NotAllowed("retired")
    published = await _published(session, entry_id)
    if not published and entry_id not in shipped():
        raise NotAllowed("not_live")
    for revision in published:
        revision.state = "replaced"
    row.retired = True
    await _raise_generation(session)
    await _settle(session, row)
    await _changed(session, "retire", row, await _newest(session, row), staff_id, now)
    return row


async def roll_back(
    session: AsyncSession,
    entry_id: str,
    number: int,
    *,
    version: int,
    staff_id: int,
    now: datetime,
    today: date,
    note: str = "",
) -> KnowledgeRevision | None:
    """Back to an older text, as a new revision. One that was said before is said again at once: two persons stood behind it.
    SHIPPED gives the word back to the program's own text (None is returned). Any other text becomes a draft.
    """
    row = await _locked(session, entry_id, version, now, make=entry_id in shipped())
    newest = await _newest(session, row)
    if newest is not None and newest.state in _OPEN:
        newest.state = "discarded"
    if number == SHIPPED:
        await _to_shipped(session, row, staff_id, now)
        return None
    old = await _revision(session, entry_id, number)
    if old.published_at is None:
        made = _new_revision(session, row, old.fields, staff_id, now)
        made.authors = list(dict.fromkeys([*old.authors, staff_id]))
        made.note, row.state = note, "draft"
        return await _done(session, "roll_back", row, made, staff_id, now)
    problems = problems_of(entry_id, old.fields)
    if problems:
        raise NotAllowed("incomplete", problems)
    made = _new_revision(session, row, old.fields, staff_id, now)
    made.authors, made.note = list(old.authors), note
    made.submitted_by, made.submitted_at = old.submitted_by, old.submitted_at
    made.approved_by, made.approved_at = old.approved_by, old.approved_at
    return await _publish(session, row, made, staff_id, now, today, None, None, step="roll_back")


async def discard(
    session: AsyncSession, entry_id: str, *, version: int, staff_id: int, now: datetime
) -> KnowledgeEntry:
    """Give up the text in work. What is said stays."""
    row, newest = await _in_work(session, entry_id, version, now, *_OPEN)
    newest.state = "discarded"
    await _settle(session, row)
    await _changed(session, "discard", row, newest, staff_id, now)
    return row


async def comment(
    session: AsyncSession, entry_id: str, number: int, text: str, *, staff_id: int, now: datetime
) -> KnowledgeComment:
    """Say something about a revision, or about the shipped text (SHIPPED)."""
    await text_of(session, entry_id, number)
    made = KnowledgeComment(entry_id=entry_id, revision=number, author=staff_id, at=now, text=text)
    session.add(made)
    await session.flush()
    records.write(session, staff_id, "entry.comment", "knowledge_comment", made.id, now, entry_id)
    return made


async def mark_to_check(
    session: AsyncSession, entry_id: str, why: ToCheck, *, now: datetime, staff_id: int | None = None
) -> None:
    """A person must look at this entry again. A law that changed weighs more than a date that has passed."""
    row = await _row(session, entry_id, now)
    if row.to_check == why or (row.to_check == "law_changed" and why == "review_due"):
        return
    row.to_check, row.to_check_at = why, now
    await _changed(session, "to_check", row, await _newest(session, row), staff_id, now)


async def checked(
    session: AsyncSession, entry_id: str, *, version: int, staff_id: int | None, now: datetime
) -> KnowledgeEntry:
    """Somebody looked, and the text may stay as it is. `staff_id` None: the reason for looking has gone (upkeep.py)."""
    row = await _locked(session, entry_id, version, now)
    row.to_check = row.to_check_at = None
    await _changed(session, "checked", row, await _newest(session, row), staff_id, now)
    return row


def plain_fields(entry: Entry) -> dict[str, Any]:
    """An entry's fields as they are stored: plain values, without the id."""
    return entry.model_dump(mode="json", exclude={"id"})


# --- behind it ------------------------------------------------------------------------------------------------------


def _begun(row: KnowledgeRevision, today: date) -> bool:
    return row.valid_from is None or row.valid_from <= today


def _over(row: KnowledgeRevision, today: date) -> bool:
    return row.valid_until is not None and row.valid_until < today


def _under(category: str, wanted: str) -> bool:
    return category == wanted or category.startswith(wanted + ".")


def _holds(one: Listed, words: Sequence[str]) -> bool:
    texts = [one.id, *_strings(one.fields)]
    if one.live_fields is not None and one.newest is not None:
        texts += _strings(one.live_fields)
    whole = "\n".join(texts).casefold()
    return all(word in whole for word in words)


def _strings(value: Any) -> list[str]:
    """Every text inside stored fields."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in inner for text in _strings(part)]


async def _all(session: AsyncSession, today: date) -> list[Listed]:
    await session.flush()
    rows = {row.id: row for row in await session.scalars(select(KnowledgeEntry))}
    # Of old revisions a list needs nothing: only what is in work, published, or the last there was.
    found = await session.scalars(
        select(KnowledgeRevision)
        .join(KnowledgeEntry, KnowledgeEntry.id == KnowledgeRevision.entry_id)
        .where((KnowledgeRevision.state == "published") | (KnowledgeRevision.number == KnowledgeEntry.newest))
        .order_by(KnowledgeRevision.entry_id, KnowledgeRevision.number)
    )
    revisions: dict[str, list[KnowledgeRevision]] = {}
    for revision in found:
        revisions.setdefault(revision.entry_id, []).append(revision)
    ids = sorted({*shipped(), *rows})
    return [_listed(entry_id, rows.get(entry_id), revisions.get(entry_id, []), today) for entry_id in ids]


def _listed(
    entry_id: str, row: KnowledgeEntry | None, revisions: Sequence[KnowledgeRevision], today: date
) -> Listed:
    """`revisions`: at least the published ones and the newest, oldest first."""
    original = shipped().get(entry_id)
    newest = revisions[-1] if revisions else None
    begun = [r for r in revisions if r.state == "published" and _begun(r, today)]
    live = None if original is None else plain_fields(original)
    number = None if original is None else SHIPPED
    if row is not None and row.retired:
        live, number = None, None
    elif begun:
        said = begun[-1]
        live, number = (None, None) if _over(said, today) else (said.fields, said.number)
    if newest is not None and (newest.state in _OPEN or (live is None and newest.state != "discarded")):
        fields = newest.fields
    elif live is not None:
        fields = live
    else:
        fields = newest.fields if newest is not None else plain_fields(original) if original else {}
    state: Any = "shipped" if row is None else row.state
    return Listed(entry_id, state, fields, live, number, original is not None, row, newest)


async def _row(session: AsyncSession, entry_id: str, now: datetime) -> KnowledgeEntry:
    """The entry's row, locked; a new one where the desk never touched it."""
    await session.flush()
    row = await session.get(KnowledgeEntry, entry_id, with_for_update=True, populate_existing=True)
    if row is None:
        row = KnowledgeEntry(id=entry_id, state="shipped", newest=0, retired=False, version=0, updated_at=now)
        session.add(row)
        await session.flush()
    return row


async def _locked(
    session: AsyncSession, entry_id: str, version: int, now: datetime, *, make: bool = False
) -> KnowledgeEntry:
    await session.flush()
    row = await session.get(KnowledgeEntry, entry_id, with_for_update=True, populate_existing=True)
    if row is None:
        if not make:
            raise NotAllowed("unknown")
        row = await _row(session, entry_id, now)
    if row.version != version:
        raise Conflict(row.version)
    return row


async def _in_work(
    session: AsyncSession, entry_id: str, version: int, now: datetime, *states: str
) -> tuple[KnowledgeEntry, KnowledgeRevision]:
    row = await _locked(session, entry_id, version, now)
    newest = await _newest(session, row)
    if newest is None or newest.state not in states:
        raise NotAllowed(f"not_{states[-1]}")
    return row, newest


async def _revision(session: AsyncSession, entry_id: str, number: int) -> KnowledgeRevision:
    await session.flush()
    found = await session.scalar(
        select(KnowledgeRevision)
        .where(KnowledgeRevision.entry_id == entry_id, KnowledgeRevision.number == number)
        .execution_options(populate_existing=True)
    )
    if found is None:
        raise NotAllowed("unknown")
    return found


async def _newest(session: AsyncSession, row: KnowledgeEntry) -> KnowledgeRevision | None:
    return await _revision(session, row.id, row.newest) if row.newest else None


async def _published(session: AsyncSession, entry_id: str) -> Sequence[KnowledgeRevision]:
    """The published revisions, oldest first: several where one waits for its day."""
    await session.flush()
    found = await session.scalars(
        select(KnowledgeRevision)
        .where(KnowledgeRevision.entry_id == entry_id, KnowledgeRevision.state == "published")
        .order_by(KnowledgeRevision.number)
        .execution_options(populate_existing=True)
    )
    return found.all()


def _new_revision(
    session: AsyncSession, row: KnowledgeEntry, fields: dict[str, Any], staff_id: int, now: datetime
) -> KnowledgeRevision:
    row.newest += 1
    made = KnowledgeRevision(
        entry_id=row.id,
        number=row.newest,
        fields=dict(fields),
        state="draft",
        authors=[staff_id],
        note="",
        created_at=now,
    )
    session.add(made)
    return made


def _days(valid_from: date | None, valid_until: date | None, today: date) -> None:
    if valid_until is not None and valid_until < (valid_from or today):
        raise NotAllowed("days")


async def _publish(
    session: AsyncSession,
    row: KnowledgeEntry,
    revision: KnowledgeRevision,
    staff_id: int,
    now: datetime,
    today: date,
    valid_from: date | None,
    valid_until: date | None,
    *,
    step: str = "publish",
) -> KnowledgeRevision:
    at_once = valid_from is None or valid_from <= today
    for older in await _published(session, row.id):
        # What is said now goes on until the new text's first day; what would begin no earlier than it never comes.
        if at_once or (older.valid_from is not None and valid_from <= older.valid_from):  # type: ignore[operator]
            older.state = "replaced"
    revision.state, revision.published_by, revision.published_at = "published", staff_id, now
    revision.valid_from, revision.valid_until = valid_from, valid_until
    row.state, row.retired = "published", False
    row.to_check = row.to_check_at = None
    await _raise_generation(session)
    return await _done(session, step, row, revision, staff_id, now)


async def _to_shipped(session: AsyncSession, row: KnowledgeEntry, staff_id: int, now: datetime) -> None:
    if row.id not in shipped():
        raise NotAllowed("unknown")
    for revision in await _published(session, row.id):
        revision.state = "replaced"
    row.retired = False
    await _raise_generation(session)
    await _settle(session, row)
    await _changed(session, "roll_back", row, None, staff_id, now)


async def _settle(session: AsyncSession, row: KnowledgeEntry) -> None:
    """The state of an entry after something was taken away."""
    newest = await _newest(session, row)
    if newest is not None and newest.state in _OPEN:
        row.state = newest.state
    elif row.retired:
        row.state = "retired"
    else:
        row.state = "published" if await _published(session, row.id) else "shipped"
        if row.state == "shipped" and row.id not in shipped():
            row.state = "retired"  # an own entry that was given up before it was ever said


async def _raise_generation(session: AsyncSession) -> None:
    row = await session.get(KnowledgeGeneration, _ONE, with_for_update=True, populate_existing=True)
    if row is None:
        row = KnowledgeGeneration(id=_ONE, number=0)
        session.add(row)
    row.number += 1


async def _done(
    session: AsyncSession,
    step: str,
    row: KnowledgeEntry,
    revision: KnowledgeRevision,
    staff_id: int,
    now: datetime,
) -> KnowledgeRevision:
    await _changed(session, step, row, revision, staff_id, now)
    return revision


async def _changed(
    session: AsyncSession,
    step: str,
    row: KnowledgeEntry,
    revision: KnowledgeRevision | None,
    staff_id: int | None,
    now: datetime,
) -> None:
    """Raise the version and put the step on record: the revision's row (0: none), and "entry@number" to read it by."""
    row.version += 1
    row.updated_at = now
    await session.flush()
    row_id, number = (0, SHIPPED) if revision is None else (revision.id, revision.number)
    records.write(session, staff_id, f"entry.{step}", _RECORDED, row_id, now, f"{row.id}@{number}")
    await session.flush()
