"""复核样本 on the workbench: counsellors mark a message, curators mask and label.

Nobody gets the words as they were written here, and nothing that leads to the person or their conversation. Each opening of a
sample is on record before a word is shown (promise 10).
"""

from __future__ import annotations

from typing import Annotated, Literal, cast

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession

from bot.web.api import shapes
from bot.web.api.conversations import found
from bot.web.api.desk import category_codes
from bot.web.api.fields import Asked, Given, Id, IdIn, Nothing, RiskName, Text, Time
from bot.web.api.operations import Call, get, post
from bot.web.api.views import named, names
from bot.web.problems import invalid, not_found
from escalation import conversations, records, review
from escalation.tables import ReviewItem
from nlu import masking
from nlu.understanding import About, Kind, Topic

State = Literal["open", "accepted", "rejected"]
_PAGE = 100


class MarkAsked(Asked):
    what: Literal["missed", "false_alarm", "none"]


class MarkShown(Given):
    mark: Literal["missed", "false_alarm"] | None


class ReviewAsked(Asked):
    state: State = "open"
    after: IdIn | None = None


class LabelsShown(Given):
    topic: Topic
    risk: RiskName | None = Field(description="null：由知识编辑来定")
    kinds: list[Kind]
    category: str
    about: About


class ReviewCard(Given):
    """A sample in the list: levels and codes, no words."""

    id: Id
    state: State
    reasons: list[Literal["missed", "false_alarm", "risk", "category"]]
    risk_machine: RiskName
    risk_assessed: RiskName | None
    category_machine: str
    category_closed: str | None
    created_at: Time
    decided_by: shapes.Named | None
    decided_at: Time | None
    reject_why: str | None
    used_at: Time | None


class ReviewCounts(Given):
    open: int
    accepted: int
    rejected: int


class ReviewPage(Given):
    items: list[ReviewCard]
    counts: ReviewCounts
    rejections: list[shapes.ResultCode]
    placeholders: list[str] = Field(description="遮住之后写成［姓名］等，方括号里可以是这些词")
    more: bool


class ReviewShown(ReviewCard):
    """A sample opened: the masked words, what the machine said and what is proposed (or was accepted)."""

    text: str
    history: list[str] = Field(description="同一人此前的几句，早的在前")
    machine: LabelsShown
    labels: LabelsShown


class Acceptance(Asked):
    text: Text
    history: Annotated[list[Text], Field(max_length=review.HISTORY)] = Field(default_factory=list)
    topic: Topic
    risk: RiskName
    kinds: Annotated[list[Kind], Field(max_length=11)]
    category: str = Field(min_length=3, max_length=80, pattern=r"^[a-z_]+\.[a-z_]+(\.[a-z_]+)?$")
    about: About


class Rejection(Asked):
    why: Literal["identifying", "unclear", "machine_right", "other"]


@post(
    "/conversations/{id}/messages/{message}/mark",
    "标记这条消息：漏报、误报",
    asks=MarkAsked,
    gives=MarkShown,
    needs="mark",
    refuses=(404, 409),
)
async def mark(call: Call, asked: MarkAsked) -> MarkShown:
    """What the counsellor saw and the machine did not, or the other way round: a sample for review. Changes no level."""
    row = await found(call, call.id())
    message_id, me_id, now = call.id("message"), call.me.id, call.now
    what = None if asked.what == "none" else asked.what

    async def work(session: AsyncSession) -> None:
        locked = await conversations.locked(session, row.id)
        await review.mark(session, locked, message_id, what, staff_id=me_id, now=now)

    await call.write(work)
    call.tell("conversation", row.id)
    return MarkShown(mark=what)


@get("/review", "复核样本", asks=ReviewAsked, gives=ReviewPage, needs="review")
async def review_list(call: Call, asked: ReviewAsked) -> ReviewPage:
    """The gravest differences first. No words: opening one is on record."""
    async with call.shell.storage.read() as session:
        rows = await review.listed(session, call.me.desk, asked.state, after=asked.after, limit=_PAGE + 1)
        known = await names(session, [row.decided_by for row in rows])
        counts = await review.counts(session, call.me.desk)
    return ReviewPage(
        items=[ReviewCard(**_card(row, known)) for row in rows[:_PAGE]],
        counts=ReviewCounts(**counts),
        rejections=[shapes.ResultCode(code=code, name=name) for code, name in review.REJECTIONS.items()],
        placeholders=list(masking.PLACEHOLDERS),
        more=len(rows) > _PAGE,
    )


@get(
    "/review/{id}",
    "打开样本（查看会被记录）",
    gives=ReviewShown,
    needs="review",
    refuses=(404, 409),
    per_minute=60,
)
async def review_item(call: Call, asked: Nothing) -> ReviewShown:
    item_id, me, now = call.id(), call.me, call.now

    async def look(session: AsyncSession) -> None:
        item = await session.get(ReviewItem, item_id)
        if item is None or item.desk != me.desk:
            raise not_found("没有这条样本。")
        records.write(session, me.id, "look", "review_item", item_id, now, "review")

    await call.write(look)
    return await _shown(call, item_id)


@post(
    "/review/{id}/accept",
    "采用样本",
    asks=Acceptance,
    gives=ReviewShown,
    needs="review",
    refuses=(404, 409),
)
async def accept_review(call: Call, asked: Acceptance) -> ReviewShown:
    """The words as the curator left them; what has the form of a number or a link is masked once more."""
    if asked.category not in category_codes():
        raise invalid("category", "没有这个案由")
    item_id, me, now, vault = call.id(), call.me, call.now, call.shell.vault
    kinds = tuple(dict.fromkeys(asked.kinds))
    labels = review.Labels(asked.topic, asked.risk, kinds, asked.category, asked.about)

    async def work(session: AsyncSession) -> None:
        await review.accept(
            session,
            vault,
            item_id,
            desk=me.desk,
            staff_id=me.id,
            text=asked.text,
            history=asked.history,
            labels=labels,
            now=now,
        )

    await call.write(work)
    return await _shown(call, item_id)


@post(
    "/review/{id}/reject",
    "不采用样本",
    asks=Rejection,
    gives=ReviewCard,
    needs="review",
    refuses=(404, 409),
)
async def reject_review(call: Call, asked: Rejection) -> ReviewCard:
    item_id, me, now = call.id(), call.me, call.now

    async def work(session: AsyncSession) -> ReviewCard:
        item = await review.reject(session, item_id, desk=me.desk, staff_id=me.id, why=asked.why, now=now)
        return ReviewCard(**_card(item, {me.id: me.name}))

    return cast(ReviewCard, await call.write(work))


@post("/review/{id}/reopen", "撤回决定", gives=ReviewCard, needs="review", refuses=(404, 409))
async def reopen_review(call: Call, asked: Nothing) -> ReviewCard:
    """From now on training does not take it."""
    item_id, me, now = call.id(), call.me, call.now

    async def work(session: AsyncSession) -> ReviewCard:
        item = await review.reopen(session, item_id, desk=me.desk, staff_id=me.id, now=now)
        return ReviewCard(**_card(item, {}))

    return cast(ReviewCard, await call.write(work))


async def _shown(call: Call, item_id: int) -> ReviewShown:
    async with call.shell.storage.read() as session:
        item = await session.get_one(ReviewItem, item_id)
        sample = await review.opened(session, call.shell.vault, item)
        known = await names(session, [item.decided_by])
    machine = sample.machine
    return ReviewShown(
        **_card(item, known),
        text=sample.text,
        history=list(sample.history),
        machine=LabelsShown(
            topic=machine.topic,
            risk=machine.risk,
            kinds=list(machine.kinds),
            category=machine.category,
            about=machine.about,
        ),
        labels=LabelsShown(
            topic=sample.topic,
            risk=sample.risk,
            kinds=list(sample.kinds),
            category=sample.category,
            about=sample.about,
        ),
    )


def _card(row: ReviewItem, known: dict[int, str]) -> dict[str, object]:
    return {
        "id": row.id,
        "state": row.state,
        "reasons": list(row.reasons),
        "risk_machine": row.risk_machine,
        "risk_assessed": row.risk_assessed,
        "category_machine": row.category_machine,
        "category_closed": row.category_closed,
        "created_at": row.created_at,
        "decided_by": None if row.decided_by is None else named(row.decided_by, known),
        "decided_at": row.decided_at,
        "reject_why": row.reject_why,
        "used_at": row.used_at,
    }
