"""编辑台 on the workbench: entries found, written, approved by a second person, published, and what a change would do.

Texts of entries are no secret; questions of young people are: those shown here are masked, and each one shown is on record. Who may
do what: entries.desk looks, entries.edit writes and publishes, entries.approve approves what others wrote.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Annotated, Any, Literal, cast

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession

from bot import compare
from bot.channels import Button
from bot.channels.sms.channel import signature, with_choices
from bot.channels.sms.segments import measure, pieces
from bot.channels.wechat.reply import split
from bot.desk_view import DeskNow
from bot.live_entries import Live, today
from bot.value_words import wrong
from bot.web.api import shapes
from bot.web.api.desk import category_codes
from bot.web.api.fields import (
    Asked,
    Flag,
    Given,
    Id,
    Nothing,
    Number,
    OptionalCode,
    OptionalLine,
    OptionalText,
    Text,
    Time,
)
from bot.web.api.operations import Call, delete, get, post
from bot.web.api.templates import in_force
from bot.web.api.views import named, names
from bot.web.problems import Refused, conflict, invalid, not_found
from escalation import records
from handlers.faq import entry_reply
from knowledge import checks, desk, questions, regression
from knowledge.answer import Answer, Candidate
from knowledge.entries import Audience, Citation, Entry, chat_text, shipped
from knowledge.questions import Watched
from knowledge.regression import Difference, Said
from knowledge.tables import KnowledgeComment, KnowledgeRevision
from knowledge.why import alike

_PAGE = 100
_RECENT_DAYS = 14
_RECENT = 300
_ENTRY_ID = re.compile(r"[a-z]+(?:_[a-z]+)*\.[a-z0-9]+(?:-[a-z0-9]+)*")

EntryId = Annotated[str, Field(min_length=3, max_length=80, pattern=f"^{_ENTRY_ID.pattern}$")]
Version = Annotated[Number, Field(ge=0, le=2**31 - 1, description="看到的版本；已有人改过则返回 409")]
RevisionNumber = Annotated[Number, Field(ge=0, le=100_000, description="修订号；0 是随程序提供的原文")]
Day = Annotated[date | None, Field(description="日期，例如 2026-11-23")]
StateName = Literal["shipped", "draft", "submitted", "approved", "published", "retired"]
RevisionState = Literal["draft", "submitted", "approved", "published", "replaced", "discarded"]
Step = Literal[
    "draft", "submit", "approve", "send_back", "publish", "schedule", "retire", "roll_back", "discard", "checked",
]  # fmt: skip


# --- what comes in --------------------------------------------------------------------------------------------------


class SourceAsked(Asked):
    law: OptionalLine = ""
    article: OptionalLine = ""
    version: date | None = None
    body: OptionalLine = ""


class EntryFields(Asked):
    """The text of an entry. A draft may be incomplete; what is missing is said when it is submitted."""

    title: OptionalLine = ""
    asks: Annotated[list[OptionalLine], Field(max_length=100)] = Field(default_factory=list)
    short: OptionalText = ""
    long: OptionalText = ""
    category: OptionalCode = ""
    audience: Annotated[list[Audience], Field(max_length=5)] = Field(default_factory=list)
    region: OptionalLine = ""
    sources: Annotated[list[SourceAsked], Field(max_length=30)] = Field(default_factory=list)
    checked_on: date | None = None
    review_by: date | None = None
    brings_human: Flag = False

    def stored(self) -> dict[str, Any]:
        """As revisions keep it: empty lines left out, a day not given yet absent."""
        fields = self.model_dump(mode="json")
        fields["asks"] = [ask for ask in self.asks if ask]
        return {name: value for name, value in fields.items() if value is not None}


class EntrySearch(Asked):
    """Every filter that is given must fit."""

    q: OptionalLine = Field(default="", description="全文查找，几个词都要有")
    state: StateName | None = None
    category: OptionalCode = Field(default="", description="案由代码，或它的上级")
    audience: Audience | None = None
    region: OptionalLine = ""
    to_check: Flag = False
    review_before: date | None = None
    own: Flag | None = Field(default=None, description="true：本台写过或改过的；false：未改动的")
    skip: Number = Field(default=0, ge=0, le=1_000_000)


class DraftAsked(Asked):
    version: Version
    fields: EntryFields
    note: OptionalLine = ""


class StepAsked(Asked):
    version: Version
    note: OptionalLine = ""


class SendBackAsked(Asked):
    version: Version
    note: Text


class ScheduleAsked(Asked):
    version: Version
    valid_from: Day = None
    valid_until: Day = None


class RollBackAsked(Asked):
    version: Version
    number: RevisionNumber
    note: OptionalLine = ""


class CommentAsked(Asked):
    number: RevisionNumber
    text: Text


class DifferenceAsked(Asked):
    before: str = Field(pattern=r"^[0-9]{1,6}$", description="修订号；0 是随程序提供的原文")
    after: str = Field(pattern=r"^[0-9]{1,6}$")


class CheckAsked(Asked):
    entry: EntryId
    fields: EntryFields


class PreviewAsked(Asked):
    fields: EntryFields


class TryAsked(Asked):
    question: Text
    last_entry: OptionalCode = Field(default="", description="上一次回答的条目，用来理解“那如果……呢”")
    with_draft: EntryId | None = Field(default=None, description="把这个条目正在写的修订也算进去")


class RegressionAsked(Asked):
    retire: Flag = Field(default=False, description="试算停用，而不是发布正在写的修订")


class QuestionAsked(Asked):
    text: Annotated[Text, Field(max_length=questions.LONGEST)]
    entry: EntryId | None = Field(default=None, description="应由哪个条目回答；null：不应回答")


# --- what goes out --------------------------------------------------------------------------------------------------


class SourceShown(Given):
    law: str
    article: str
    version: date | None
    body: str


class EntryText(Given):
    """The text of an entry; a draft may lack parts."""

    title: str
    asks: list[str]
    short: str
    long: str
    category: str
    audience: list[Audience]
    region: str
    sources: list[SourceShown]
    checked_on: date | None
    review_by: date | None
    brings_human: bool


class EntryRow(Given):
    """An entry in the list."""

    id: str
    title: str
    category: str
    audience: list[Audience]
    region: str
    state: StateName
    live: bool = Field(description="现在对外回答")
    shipped: bool = Field(description="随程序提供")
    changed: bool = Field(description="本台写过或改过")
    brings_human: bool
    review_by: date | None
    to_check: Literal["law_changed", "review_due"] | None
    version: int
    updated_at: Time | None


class EntryPage(Given):
    items: list[EntryRow]
    total: int
    counts: dict[StateName, int] = Field(description="全部条目按状态")
    to_check: int
    more: bool


class RevisionShown(Given):
    """One revision, without its text."""

    number: int
    state: RevisionState
    authors: list[shapes.Named]
    note: str
    created_at: Time
    submitted_by: shapes.Named | None
    submitted_at: Time | None
    approved_by: shapes.Named | None
    approved_at: Time | None
    published_by: shapes.Named | None
    published_at: Time | None
    valid_from: date | None
    valid_until: date | None


class CommentShown(Given):
    id: Id
    number: int
    author: shapes.Named
    at: Time
    text: str


class EntryStep(Given):
    """One thing that was done with an entry. `by` null: the program itself."""

    at: Time
    by: shapes.Named | None
    step: str = Field(
        description="draft、submit、approve、send_back、publish、reschedule、retire、roll_back、discard、to_check、checked"
    )
    number: int = Field(description="修订号；0：随程序提供的原文")


class EntryWhole(EntryRow):
    """An entry with everything beside it. `text` is what is being worked at, else what is said."""

    text: EntryText
    live_text: EntryText | None
    live_number: int | None = Field(description="现在对外的修订号；0：随程序提供的原文；null：不对外")
    newest: RevisionShown | None
    history: list[RevisionShown]
    comments: list[CommentShown]
    may: list[Step] = Field(description="我现在可以做的")


class FieldChange(Given):
    """A field with its lines before and after."""

    field: str
    before: list[str]
    after: list[str]


class FindingShown(Given):
    """`stop` keeps the text from being published; `warn` asks to look."""

    level: Literal["stop", "warn"]
    code: str
    field: str
    detail: str
    message: str


class ChannelPreview(Given):
    """The entry as one channel sends it: `texts` are the messages it becomes."""

    channel: Literal["web", "wechat", "sms"]
    texts: list[str]
    buttons: list[str]
    characters: int
    segments: int | None = Field(description="短信条数；其他渠道为 null")
    encoding: Literal["gsm7", "ucs2"] | None
    most_segments: int | None = Field(description="一条回复最多用几条短信")


class EntryPreview(Given):
    channels: list[ChannelPreview]


class CandidateShown(Given):
    """`entry` is empty for a kind of question that is declined."""

    entry: str
    title: str
    score: float
    wording: str = Field(description="最像的问法")
    alike: float = Field(description="与它的字面相似，0..1")
    words: list[str] = Field(description="共同的字词")
    numbers: str = Field(description="检索的各项得分，供排查")


class TryShown(Given):
    outcome: Literal["answer", "choose", "nothing"]
    entry: str
    text: str
    score: float
    brings_human: bool
    candidates: list[CandidateShown]


class SaidShown(Given):
    outcome: Literal["answer", "choose", "nothing"]
    entry: str
    title: str
    score: float
    choices: list[str]


class DifferenceShown(Given):
    """A question that would be answered otherwise. Identifying details are masked."""

    question: str
    saved: Id | None = Field(description="已保存的问题；null：近日有人问过")
    expected: str | None
    verdict: Literal["better", "worse", "other", "text"]
    before: SaidShown
    after: SaidShown


class RegressionShown(Given):
    saved: int
    recent: int
    days: int
    better: int
    worse: int
    differences: list[DifferenceShown]


class QuestionShown(Given):
    id: Id
    text: str = Field(description="已遮住可识别的内容")
    entry: str | None
    from_conversation: bool
    saved_by: shapes.Named
    saved_at: Time


# --- finding and reading --------------------------------------------------------------------------------------------


@post("/knowledge/search", "查找知识条目", asks=EntrySearch, gives=EntryPage, needs="entries.desk")
async def search_knowledge(call: Call, asked: EntrySearch) -> EntryPage:
    """Shipped and own entries. A POST: what is looked for may be somebody's words, and those do not go into an address."""
    await _shipped()
    async with call.shell.storage.read() as session:
        everything = await desk.listed(session, _today(call))
    found = desk.filtered(
        everything,
        state=asked.state,
        search=asked.q,
        category=asked.category,
        audience=asked.audience or "",
        region=asked.region,
        to_check=asked.to_check,
        review_before=asked.review_before,
        own=asked.own,
    )
    counts: dict[Any, int] = dict.fromkeys(desk.STATES, 0)
    for one in everything:
        counts[one.state] += 1
    return EntryPage(
        items=[EntryRow(**_row(one)) for one in found[asked.skip : asked.skip + _PAGE]],
        total=len(found),
        counts=counts,
        to_check=sum(one.to_check is not None for one in everything),
        more=len(found) > asked.skip + _PAGE,
    )


@get("/knowledge/entries/{entry}", "一个条目，连同历史和批注", gives=EntryWhole, needs="entries.desk")
async def knowledge_entry(call: Call, asked: Nothing) -> EntryWhole:
    return await _whole(call, _entry(call))


@get("/knowledge/entries/{entry}/revisions/{number}", "一次修订的全文", gives=EntryText, needs="entries.desk")
async def knowledge_revision(call: Call, asked: Nothing) -> EntryText:
    await _shipped()
    entry_id, number = _entry(call), call.request.match_info["number"]
    if not re.fullmatch(r"[0-9]{1,6}", number):
        raise not_found()
    async with call.shell.storage.read() as session:
        return _text(await desk.text_of(session, entry_id, int(number)))


@get(
    "/knowledge/entries/{entry}/steps",
    "谁对它做过什么，新的在前",
    gives=list[EntryStep],
    needs="entries.desk",
)
async def knowledge_steps(call: Call, asked: Nothing) -> list[EntryStep]:
    entry_id = _entry(call)
    async with call.shell.storage.read() as session:
        found = await desk.steps(session, entry_id)
        known = await names(session, [record.staff_id for record in found])
    return [
        EntryStep(
            at=record.at,
            by=None if record.staff_id is None else named(record.staff_id, known),
            step=record.action.removeprefix("entry."),
            number=int(record.why.rpartition("@")[2]),
        )
        for record in found
    ]


@get(
    "/knowledge/entries/{entry}/difference",
    "两次修订的差异",
    asks=DifferenceAsked,
    gives=list[FieldChange],
    needs="entries.desk",
)
async def knowledge_difference(call: Call, asked: DifferenceAsked) -> list[FieldChange]:
    await _shipped()
    entry_id = _entry(call)
    async with call.shell.storage.read() as session:
        before = await desk.text_of(session, entry_id, int(asked.before))
        after = await desk.text_of(session, entry_id, int(asked.after))
    return [
        FieldChange(field=one.field, before=_lines(one.before), after=_lines(one.after))
        for one in desk.difference(before, after)
    ]


# --- the steps ------------------------------------------------------------------------------------------------------


@post(
    "/knowledge/entries/{entry}/draft",
    "保存草稿",
    asks=DraftAsked,
    gives=EntryWhole,
    needs="entries.edit",
    refuses=(404, 409),
)
async def draft_entry(call: Call, asked: DraftAsked) -> EntryWhole:
    """Into the revision in work, or as a new one; an entry that is not there yet begins with version 0."""
    if asked.fields.category and asked.fields.category not in category_codes():
        raise invalid("category", "没有这个案由")
    fields = asked.fields.stored()
    return await _step(call, desk.draft, fields, version=asked.version, note=asked.note)


@post(
    "/knowledge/entries/{entry}/submit",
    "提交审核",
    asks=StepAsked,
    gives=EntryWhole,
    needs="entries.edit",
    refuses=(404, 409),
)
async def submit_entry(call: Call, asked: StepAsked) -> EntryWhole:
    """Refused with the findings where something must not be published."""
    await _no_stop(call, _entry(call))
    return await _step(call, desk.submit, version=asked.version, note=asked.note)


@post(
    "/knowledge/entries/{entry}/approve",
    "批准（不能是作者）",
    asks=StepAsked,
    gives=EntryWhole,
    needs="entries.approve",
    refuses=(404, 409),
)
async def approve_entry(call: Call, asked: StepAsked) -> EntryWhole:
    return await _step(call, desk.approve, version=asked.version)


@post(
    "/knowledge/entries/{entry}/send-back",
    "退回修改",
    asks=SendBackAsked,
    gives=EntryWhole,
    needs="entries.approve",
    refuses=(404, 409),
)
async def send_back_entry(call: Call, asked: SendBackAsked) -> EntryWhole:
    return await _step(call, desk.send_back, version=asked.version, note=asked.note)


@post(
    "/knowledge/entries/{entry}/publish",
    "发布",
    asks=ScheduleAsked,
    gives=EntryWhole,
    needs="entries.edit",
    refuses=(404, 409),
)
async def publish_entry(call: Call, asked: ScheduleAsked) -> EntryWhole:
    """At once, or from a day on; every process says it within seconds."""
    await _no_stop(call, _entry(call))
    return await _step(
        call,
        desk.publish,
        version=asked.version,
        today=_today(call),
        valid_from=asked.valid_from,
        valid_until=asked.valid_until,
    )


@post(
    "/knowledge/entries/{entry}/schedule",
    "改生效和到期日期",
    asks=ScheduleAsked,
    gives=EntryWhole,
    needs="entries.edit",
    refuses=(404, 409),
)
async def schedule_entry(call: Call, asked: ScheduleAsked) -> EntryWhole:
    """Of the newest published revision. An entry that expired is said no longer, nor is its shipped text."""
    return await _step(
        call,
        desk.reschedule,
        version=asked.version,
        today=_today(call),
        valid_from=asked.valid_from,
        valid_until=asked.valid_until,
    )


@post(
    "/knowledge/entries/{entry}/retire",
    "停用",
    asks=StepAsked,
    gives=EntryWhole,
    needs="entries.edit",
    refuses=(404, 409),
)
async def retire_entry(call: Call, asked: StepAsked) -> EntryWhole:
    return await _step(call, desk.retire, version=asked.version)


@post(
    "/knowledge/entries/{entry}/roll-back",
    "恢复旧版",
    asks=RollBackAsked,
    gives=EntryWhole,
    needs="entries.edit",
    refuses=(404, 409),
)
async def roll_back_entry(call: Call, asked: RollBackAsked) -> EntryWhole:
    """What was said before is said again at once; number 0 is the shipped text; any other text becomes a draft."""
    return await _step(
        call, desk.roll_back, asked.number, version=asked.version, today=_today(call), note=asked.note
    )


@post(
    "/knowledge/entries/{entry}/discard",
    "放弃正在写的修订",
    asks=StepAsked,
    gives=EntryWhole,
    needs="entries.edit",
    refuses=(404, 409),
)
async def discard_entry(call: Call, asked: StepAsked) -> EntryWhole:
    return await _step(call, desk.discard, version=asked.version)


@post(
    "/knowledge/entries/{entry}/checked",
    "已核对，不用改",
    asks=StepAsked,
    gives=EntryWhole,
    needs="entries.edit",
    refuses=(404, 409),
)
async def checked_entry(call: Call, asked: StepAsked) -> EntryWhole:
    return await _step(call, desk.checked, version=asked.version)


@post(
    "/knowledge/entries/{entry}/comments",
    "写批注",
    asks=CommentAsked,
    gives=CommentShown,
    needs="entries.desk",
)
async def comment_entry(call: Call, asked: CommentAsked) -> CommentShown:
    await _shipped()
    entry_id, me, now = _entry(call), call.me, call.now

    async def work(session: AsyncSession) -> CommentShown:
        made = await desk.comment(session, entry_id, asked.number, asked.text, staff_id=me.id, now=now)
        return _comment(made, {me.id: me.name})

    return await call.write(work)


# --- what a text would do -------------------------------------------------------------------------------------------


@post("/knowledge/check", "发布前检查", asks=CheckAsked, gives=list[FindingShown], needs="entries.desk")
async def check_entry(call: Call, asked: CheckAsked) -> list[FindingShown]:
    return await _findings(call, asked.entry, asked.fields.stored())


@post("/knowledge/preview", "按渠道预览", asks=PreviewAsked, gives=EntryPreview, needs="entries.desk")
async def preview_entry(call: Call, asked: PreviewAsked) -> EntryPreview:
    """As each channel would send it, with the source line and what may be answered."""
    sources = tuple(one.source() for one in _citations(asked.fields.stored()["sources"]))
    short, whole = asked.fields.short, chat_text(asked.fields.short, asked.fields.long)
    settings = call.shell.settings
    async with call.shell.storage.read() as session:
        texts = await in_force(session)
        view = await DeskNow(settings.desk).view(session, call.now)
    chat, sms = (
        entry_reply(Answer("answer", text=text, sources=sources), view, texts) for text in (whole, short)
    )
    labels = [button.label for button in chat.buttons]
    account = settings.sms[0] if settings.sms else None
    most = account.max_segments if account else 6
    prefix = signature(account.signature) if account else ""
    written = with_choices(sms.text, [Button(b.label, b.value) for b in sms.buttons])
    parts = pieces(written, most, prefix=prefix)
    measured = [measure(part) for part in parts]
    return EntryPreview(
        channels=[
            _chat("web", [chat.text], labels),
            _chat("wechat", split(chat.text), labels),
            ChannelPreview(
                channel="sms",
                texts=parts,
                buttons=[],
                characters=sum(len(part) for part in parts),
                segments=sum(one.count for one in measured),
                encoding="ucs2" if any(one.encoding == "ucs2" for one in measured) else "gsm7",
                most_segments=most,
            ),
        ]
    )


@post(
    "/knowledge/try",
    "试问",
    asks=TryAsked,
    gives=TryShown,
    needs="entries.desk",
    refuses=(404,),
    per_minute=60,
)
async def try_question(call: Call, asked: TryAsked) -> TryShown:
    """What is found for a question, how sure, and why. Nothing of it is kept."""
    said = await _live(call)
    if asked.with_draft is None:
        found = await call.shell.brain.look_up(asked.question, last_entry=asked.last_entry)
        if found is None:
            raise Refused(503, "busy", "理解服务正忙，请稍后再试。", seconds=5)
        entries = said.entries
    else:
        draft = await _in_work(call, asked.with_draft)
        after = regression.with_change(said.overlay, draft, draft.id)
        try:
            found = await compare.looked_up(
                after, asked.question, last_entry=asked.last_entry, encoder=_encoder(call)
            )
        except compare.CannotCompare:
            raise _CANNOT_COMPARE from None
        entries = {**said.entries, draft.id: draft}
    return TryShown(
        outcome=found.answer.outcome,
        entry=found.answer.entry_id,
        text=found.answer.text,
        score=found.answer.score,
        brings_human=found.answer.brings_human,
        candidates=[_candidate(one, entries.get(one.entry_id), asked.question) for one in found.candidates],
    )


@post(
    "/knowledge/entries/{entry}/regression",
    "回归试算：哪些问题的回答会变",
    asks=RegressionAsked,
    gives=RegressionShown,
    needs="entries.desk",
    refuses=(404, 409),
    per_minute=10,
)
async def run_regression(call: Call, asked: RegressionAsked) -> RegressionShown:
    """Saved questions and those of the last days, asked of what is said now and of what would be. Takes some seconds."""
    entry_id, shell, now = _entry(call), call.shell, call.now
    said = await _live(call)
    draft = None if asked.retire else await _in_work(call, entry_id)
    after = regression.with_change(said.overlay, draft, entry_id)
    async with shell.storage.read() as session:
        kept = await questions.saved(session, shell.vault)
        lately = await questions.recent(
            session, shell.vault, call.me.desk, since=now - timedelta(days=_RECENT_DAYS), limit=_RECENT
        )
    watched = [*kept, *lately]
    try:
        found = await compare.differences(
            said.overlay, after, [one.text for one in watched], encoder=_encoder(call)
        )
    except compare.CannotCompare:
        raise _CANNOT_COMPARE from None
    shown = [watched[one.number] for one in found]
    await call.write(lambda session: _looked(session, call, shown))
    differences = [_difference(one, watched[one.number]) for one in found]
    return RegressionShown(
        saved=len(kept),
        recent=len(lately),
        days=_RECENT_DAYS,
        better=sum(one.verdict == "better" for one in differences),
        worse=sum(one.verdict == "worse" for one in differences),
        differences=differences,
    )


@get("/knowledge/questions", "保存的问题", gives=list[QuestionShown], needs="entries.desk")
async def saved_questions(call: Call, asked: Nothing) -> list[QuestionShown]:
    """Asked again before each publication."""
    async with call.shell.storage.read() as session:
        found = await questions.saved(session, call.shell.vault)
        known = await names(session, [one.saved.saved_by for one in found if one.saved])
    await call.write(lambda session: _looked(session, call, found))
    return [_question(one, known) for one in found]


@post("/knowledge/questions", "保存一个问题", asks=QuestionAsked, gives=QuestionShown, needs="entries.edit")
async def save_question(call: Call, asked: QuestionAsked) -> QuestionShown:
    """One that a colleague thought of. It is sealed all the same: it may be close to somebody's words."""
    vault, me, now = call.shell.vault, call.me, call.now

    async def work(session: AsyncSession) -> QuestionShown:
        made = await questions.save(session, vault, asked.text, asked.entry, staff_id=me.id, now=now)
        (kept,) = [one for one in await questions.saved(session, vault) if one.saved is made]
        return _question(kept, {me.id: me.name})

    return await call.write(work)


@delete(
    "/knowledge/questions/{id}", "不再保存这个问题", gives=shapes.Ok, needs="entries.edit", refuses=(404,)
)
async def remove_question(call: Call, asked: Nothing) -> shapes.Ok:
    question_id, me_id, now = call.id(), call.me.id, call.now
    if not await call.write(lambda s: questions.remove(s, question_id, staff_id=me_id, now=now)):
        raise not_found("没有这个问题。")
    return shapes.Ok()


# --- behind it ------------------------------------------------------------------------------------------------------

_CANNOT_COMPARE = Refused(503, "busy", "试算没能完成，请稍后再试。", seconds=30)

_FINDINGS: Mapping[str, str] = {
    "chat_long": "网页和微信上共 {detail} 字，超过 500 字，手机上不好读",
    "sentence_long": "这一句太长，拆成几句：“{detail}……”",
    "term_unexplained": "“{detail}”没有解释，13 岁的人可能不懂",
    "law_not_cited": "正文提到《{detail}》，来源里没有写",
    "phrase_banned": "不要用“{detail}”：听起来像责怪、说教，或承诺了做不到的事",
    "number_unknown": "电话 {detail} 不在本台电话簿（config.yml 的 desk.numbers）里，请核对",
    "wording_doubled": "别的条目已有这个问法：{detail}",
    "text_doubled": "和 {detail} 的回答几乎一样，考虑合并",
}


def _entry(call: Call) -> str:
    """The entry named in the path. Raises Refused (404) for what cannot be one."""
    entry_id = call.request.match_info["entry"]
    if len(entry_id) > 80 or not _ENTRY_ID.fullmatch(entry_id):
        raise not_found("没有这个条目。")
    return entry_id


def _today(call: Call) -> date:
    return today(call.now, call.shell.settings.desk.timezone)


def _encoder(call: Call) -> str:
    return call.shell.settings.understanding.encoder


async def _shipped() -> None:
    """The shipped files, read in a thread the first time: a webhook must not wait for them."""
    await asyncio.to_thread(shipped)


async def _live(call: Call) -> Live:
    async with call.shell.storage.read() as session:
        return await call.shell.entries.of(session, _today(call))


async def _step(call: Call, what: Callable[..., Awaitable[Any]], *given: Any, **more: Any) -> EntryWhole:
    """Carry out one step of the workflow, tell the screens and every process, and give the entry as it is now."""
    await _shipped()
    entry_id, me_id, now = _entry(call), call.me.id, call.now

    async def work(session: AsyncSession) -> None:
        await what(session, entry_id, *given, staff_id=me_id, now=now, **more)

    await call.write(work)
    whole = await _whole(call, entry_id)
    call.tell("entries", key=entry_id, version=whole.version)
    return whole


async def _no_stop(call: Call, entry_id: str) -> None:
    """Raises Refused with the findings where the text in work must not be published."""
    await _shipped()
    async with call.shell.storage.read() as session:
        one = await desk.one(session, entry_id, _today(call))
    if one.newest is None or one.state not in ("draft", "submitted", "approved"):
        return  # the step itself says that there is nothing in work
    found = await _findings(call, entry_id, one.newest.fields)
    stops = [finding for finding in found if finding.level == "stop"]
    if stops:
        told = "；".join(f"{finding.field}：{finding.message}" for finding in stops[:5])
        raise Refused(
            400, "checks", f"还不能发布：{told}", findings=[f.model_dump(mode="json") for f in stops]
        )


async def _findings(call: Call, entry_id: str, fields: Mapping[str, Any]) -> list[FindingShown]:
    said = await _live(call)
    numbers = call.shell.settings.desk.numbers.values()
    others = said.entries.values()
    found = await asyncio.to_thread(checks.findings, entry_id, fields, others=others, numbers=set(numbers))
    if fields.get("category") and fields["category"] not in category_codes():
        found.insert(0, checks.Finding("stop", "invalid", "category"))
    return [_finding(one) for one in found]


def _finding(one: checks.Finding) -> FindingShown:
    if one.problem is not None:
        message = wrong(one.problem.kind, dict(one.problem.limits))
    else:
        message = _FINDINGS.get(one.code, "值不对").format(detail=one.detail)
    return FindingShown(level=one.level, code=one.code, field=one.field, detail=one.detail, message=message)


async def _in_work(call: Call, entry_id: str) -> Entry:
    """The text in work as an entry. Raises Refused (409) where there is none, or it is incomplete."""
    await _shipped()
    async with call.shell.storage.read() as session:
        one = await desk.one(session, entry_id, _today(call))
    if one.newest is None or one.newest.state not in ("draft", "submitted", "approved"):
        raise conflict("这个条目没有正在写的修订。", error="not_in_work")
    if checks.problems_of(entry_id, one.newest.fields):
        raise conflict("正在写的修订还不完整，先补齐再试算。", error="incomplete")
    return Entry.model_validate(one.newest.fields | {"id": entry_id})


async def _looked(session: AsyncSession, call: Call, shown: Sequence[Watched]) -> None:
    """Whose masked words are shown is on record (promise 10)."""
    for one in shown:
        if one.message_id is not None:
            records.write(session, call.me.id, "look", "message", one.message_id, call.now, "regression")
        elif one.saved is not None and one.saved.person_id is not None:
            records.write(session, call.me.id, "look", "knowledge_question", one.saved.id, call.now, "watch")


async def _whole(call: Call, entry_id: str) -> EntryWhole:
    await _shipped()
    async with call.shell.storage.read() as session:
        one = await desk.one(session, entry_id, _today(call))
        history = await desk.history(session, entry_id)
        said = await desk.comments(session, entry_id)
        people = [
            *(p for r in history for p in (*r.authors, r.submitted_by, r.approved_by, r.published_by)),
            *(c.author for c in said),
        ]
        known = await names(session, people)
    live_text = None if one.live_fields is None else _text(one.live_fields)
    return EntryWhole(
        **_row(one),
        text=_text(one.fields),
        live_text=live_text,
        live_number=one.live_number,
        newest=None if one.newest is None else _revision(one.newest, known),
        history=[_revision(revision, known) for revision in history],
        comments=[_comment(c, known) for c in said],
        may=_may(call, one),
    )


def _may(call: Call, one: desk.Listed) -> list[Step]:
    """What this person can do with the entry as it is now."""
    state = one.newest.state if one.newest is not None else ""
    published = one.newest is not None and (one.live_number or 0) > 0
    steps: list[Step] = []
    if call.may("entries.edit"):
        steps += ["draft"]
        steps += ["submit"] if state == "draft" else []
        steps += ["publish"] if state == "approved" else []
        steps += ["schedule"] if published else []
        steps += ["retire"] if one.live_fields is not None else []
        steps += ["roll_back"] if one.newest is not None else []
        steps += ["discard"] if state in ("draft", "submitted", "approved") else []
        steps += ["checked"] if one.to_check is not None else []
    if call.may("entries.approve") and one.newest is not None:
        if state == "submitted" and call.me.id not in one.newest.authors:
            steps.append("approve")
        if state in ("submitted", "approved"):
            steps.append("send_back")
    return steps


def _row(one: desk.Listed) -> dict[str, Any]:
    text = _text(one.fields)
    return {
        "id": one.id,
        "title": text.title,
        "category": text.category,
        "audience": text.audience,
        "region": text.region,
        "state": one.state,
        "live": one.live_fields is not None,
        "shipped": one.is_shipped,
        "changed": one.newest is not None,
        "brings_human": text.brings_human,
        "review_by": text.review_by,
        "to_check": one.to_check,
        "version": one.version,
        "updated_at": None if one.row is None else one.row.updated_at,
    }


def _text(fields: Mapping[str, Any]) -> EntryText:
    """Stored fields as shown; what a draft lacks is empty."""
    empty = {"title": "", "asks": [], "short": "", "long": "", "category": "", "audience": [], "region": ""}
    rest: dict[str, Any] = {"sources": [], "checked_on": None, "review_by": None, "brings_human": False}
    known = {name: value for name, value in fields.items() if name in EntryText.model_fields}
    blank = {"law": "", "article": "", "version": None, "body": ""}
    known["sources"] = [{**blank, **source} for source in known.get("sources", [])]
    return EntryText.model_validate({**empty, **rest, **known})


def _revision(row: KnowledgeRevision, known: Mapping[int, str]) -> RevisionShown:
    def who(staff_id: int | None) -> shapes.Named | None:
        return None if staff_id is None else named(staff_id, known)

    return RevisionShown(
        number=row.number,
        state=cast(RevisionState, row.state),
        authors=[named(author, known) for author in row.authors],
        note=row.note,
        created_at=row.created_at,
        submitted_by=who(row.submitted_by),
        submitted_at=row.submitted_at,
        approved_by=who(row.approved_by),
        approved_at=row.approved_at,
        published_by=who(row.published_by),
        published_at=row.published_at,
        valid_from=row.valid_from,
        valid_until=row.valid_until,
    )


def _comment(row: KnowledgeComment, known: Mapping[int, str]) -> CommentShown:
    return CommentShown(
        id=row.id, number=row.revision, author=named(row.author, known), at=row.at, text=row.text
    )


def _lines(value: Any) -> list[str]:
    """A stored value as lines to lay side by side."""
    if value is None or value == "":
        return []
    if isinstance(value, list):
        return [line for one in value for line in _lines(one)]
    if isinstance(value, dict):
        return [
            " ".join(str(value[name]) for name in ("law", "article", "version", "body") if value.get(name))
        ]
    if isinstance(value, bool):
        return ["是" if value else "否"]
    return str(value).split("\n")


def _citations(sources: Sequence[Mapping[str, Any]]) -> tuple[Citation, ...]:
    """The sources that are complete."""
    return tuple(Citation.model_validate(one) for one in sources if not checks.source_problems(one))


def _chat(channel: Literal["web", "wechat"], texts: list[str], buttons: list[str]) -> ChannelPreview:
    return ChannelPreview(
        channel=channel,
        texts=texts,
        buttons=buttons,
        characters=sum(len(text) for text in texts),
        segments=None,
        encoding=None,
        most_segments=None,
    )


def _candidate(one: Candidate, entry: Entry | None, question: str) -> CandidateShown:
    best, wording, words = 0.0, "", []
    for ask in () if entry is None else (entry.title, *entry.asks):
        near, shared = alike(question, ask)
        if near > best:
            best, wording, words = near, ask, shared
    return CandidateShown(
        entry=one.entry_id,
        title=one.title,
        score=one.score,
        wording=wording,
        alike=round(best, 2),
        words=words,
        numbers=one.why,
    )


def _said(said: Said) -> SaidShown:
    return SaidShown(
        outcome=said.outcome,
        entry=said.entry_id,
        title=said.title,
        score=said.score,
        choices=list(said.choices),
    )


def _difference(one: Difference, watched: Watched) -> DifferenceShown:
    saved = watched.saved
    return DifferenceShown(
        question=watched.masked,
        saved=None if saved is None else saved.id,
        expected=watched.entry_id,
        verdict=regression.verdict(one, saved=saved is not None, expected=watched.entry_id),
        before=_said(one.before),
        after=_said(one.after),
    )


def _question(one: Watched, known: Mapping[int, str]) -> QuestionShown:
    assert one.saved is not None
    return QuestionShown(
        id=one.saved.id,
        text=one.masked,
        entry=one.entry_id,
        from_conversation=one.saved.person_id is not None,
        saved_by=named(one.saved.saved_by, known),
        saved_at=one.saved.saved_at,
    )
