"""What the API gives: the values the workbench shows. The OpenAPI document is made from these models."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from bot.web.api.fields import Given, Id, RiskName, Role, Time


class Ok(Given):
    """It was done."""

    ok: Literal[True] = True


class Problem(Given):
    """Why a request was not carried out."""

    model_config = ConfigDict(extra="allow", frozen=True)
    error: str
    message: str


class Named(Given):
    id: Id
    name: str


class Me(Given):
    """Who is signed in, and what they may do."""

    id: Id
    login: str
    name: str
    role: Role
    must_change_password: bool
    csrf_token: str
    on_duty: bool
    permissions: list[str]
    demonstration: bool


class CategoryNode(Given):
    """案由, by level."""

    code: str
    name: str
    children: list[CategoryNode] | None = None


class ResultCode(Given):
    code: str
    name: str


class HoursShown(Given):
    days: list[int]
    opens: str
    closes: str
    text: str


class ColoursShown(Given):
    primary: str
    text: str
    background: str


class DeskShown(Given):
    """The desk as the workbench shows it."""

    name: str
    short_name: str
    logo: str
    colours: ColoursShown
    numbers: dict[str, str]
    hours: HoursShown
    categories: list[CategoryNode]
    results: list[ResultCode]
    decisions: list[ResultCode] = Field(description="警报可以怎样决定")
    told: list[ResultCode] = Field(description="救援中可以告知谁")
    verified_how: list[ResultCode] = Field(description="删除请求怎样核实")
    whys: list[ResultCode] = Field(description="查看会话的原因")
    fallback_telephone_configured: bool
    demonstration: bool


class Card(Given):
    """A conversation in a list."""

    id: Id
    channel: str
    state: Literal["bot", "queued", "human", "closed"]
    risk: RiskName
    topic: str
    category: str
    person_alias: str | None
    owner: Named | None
    waiting_since: Time | None
    deadline_at: Time | None = Field(description="接待人最晚何时要回复；没有人在等或还没有人接时为 null")
    last_inbound_at: Time | None
    opened_at: Time
    episode_open: bool
    alert_state: str | None
    nuisance: bool
    unread: int
    preview: str | None
    case_number: str | None
    transfer_offered_to_me: Id | None


class Counts(Given):
    queue: int
    mine: int
    critical: int
    high: int


class Cards(Given):
    items: list[Card]
    counts: Counts


class MarkedWords(Given):
    """`[start, end)` in the message's text, in UTF-16 units as a browser counts, and why they raised the risk."""

    start: int
    end: int
    reason: str


class Choice(Given):
    label: str
    value: str


class DeliveryShown(Given):
    state: Literal["pending", "attempting", "sent", "delivered", "failed", "unknown"]
    error: str | None


class MessageShown(Given):
    """One message with what was understood of it."""

    id: Id
    direction: Literal["in", "out"]
    author: Literal["person", "bot", "staff", "system"]
    staff_name: str | None
    kind: str
    text: str | None = Field(description="null: 已删除或无法解密")
    at: Time
    state: str
    risk: RiskName | None
    kinds: list[str]
    spans: list[MarkedWords]
    explanation: str
    mark: Literal["missed", "false_alarm"] | None = Field(description="咨询员的标记：漏报、误报")
    template: str | None
    buttons: list[Choice]
    delivery: DeliveryShown | None
    meta: dict[str, Any] | None


class NoteShown(Given):
    id: Id
    staff: Named
    at: Time
    text: str


class EpisodeShown(Given):
    """危机事件."""

    id: Id
    level: RiskName
    kinds: list[str]
    opened_at: Time
    assessed_level: RiskName | None
    safety_sent_at: Time | None
    ended_at: Time | None


class AlertStep(Given):
    at: Time
    what: str
    rung: int | None
    staff: Named | None
    means: str | None
    detail: str | None


class AlertShown(Given):
    """An alert and everything that happened to it."""

    id: Id
    conversation_id: Id
    case_number: str | None
    level: RiskName
    state: str
    rung: int
    reason: str
    started_at: Time
    next_at: Time | None
    acknowledged_by: Named | None
    events: list[AlertStep]


class CaseShown(Given):
    """工单."""

    number: str
    state: str
    version: int
    category: str
    risk_assessed: RiskName | None
    result: str | None


class SafeContactShown(Given):
    how: str
    when: str
    may_say_who: bool
    words: str


class NoticeShown(Given):
    told: str
    by: Named | None
    at: Time
    detail: str | None


class RescueShown(Given):
    """紧急救援."""

    id: Id
    state: str
    opened_by: Named | None
    opened_at: Time
    place: str | None
    identity: str | None
    legal_basis: str
    guardian_may_harm: bool
    approved_by: Named | None
    approved_at: Time | None
    not_awaited_reason: str | None
    notices: list[NoticeShown]
    result: str | None
    closed_at: Time | None


class NuisanceShown(Given):
    id: Id
    proposed_by: Named | None
    proposed_at: Time
    reason: str | None
    confirmed_by: Named | None
    until: Time | None


class EarlierContact(Given):
    conversation_id: Id
    opened_at: Time
    channel: str
    risk: RiskName
    category: str


class Suggestion(Given):
    entry_id: str
    title: str
    text: str
    score: float


class QuotaShown(Given):
    """What the provider still lets us send. null: no such limit."""

    left: int | None
    until: Time | None
    text: str | None


class TransferShown(Given):
    """An open offer to hand the conversation over."""

    id: Id
    from_: Named = Field(serialization_alias="from")
    to: Named
    reason: str | None
    offered_at: Time


class Allowed(Given):
    """What the reader may do with this conversation now."""

    can_claim: bool
    can_reply: bool
    can_note: bool
    can_hand_back: bool
    can_transfer: bool
    can_assess: bool
    can_close: bool
    can_rescue: bool
    can_approve_rescue: bool
    can_show_network_address: bool
    can_mark_nuisance: bool
    can_confirm_nuisance: bool
    can_ask_safe_contact: bool
    can_erase: bool


class Reassure(Given):
    can_ask_satisfaction_default: bool


class ConversationShown(Card):
    """A conversation with everything beside it."""

    person_id: Id
    messages: list[MessageShown]
    notes: list[NoteShown]
    episode: EpisodeShown | None
    alert: AlertShown | None
    case: CaseShown | None
    safe_contact: SafeContactShown | None
    rescue: list[RescueShown]
    nuisance_mark: NuisanceShown | None
    earlier: list[EarlierContact]
    suggestions: list[Suggestion]
    quota: QuotaShown
    transfer: TransferShown | None
    permissions: Allowed
    reassure: Reassure


class CannedReply(Given):
    key: str
    title: str
    text: str


class NetworkAddress(Given):
    address: str | None


class TaskShown(Given):
    id: Id
    kind: str
    conversation_id: Id | None
    owner: Named | None
    role: str
    level: RiskName
    detail: str
    state: str
    created_at: Time
    due_at: Time
    done_at: Time | None


class StaffShown(Given):
    id: Id
    login: str
    name: str
    role: Role
    active: bool
    must_change_password: bool
    demonstration: bool
    has_telephone: bool
    on_duty: bool
    created_at: Time


class StaffCreated(StaffShown):
    """With the password for the first sign-in. Shown this once."""

    one_time_password: str


class OneTimePassword(Given):
    one_time_password: str


class Colleague(Given):
    """To whom a conversation can be handed."""

    id: Id
    name: str
    role: Role
    on_duty: bool
    screen_open: bool


class ShiftShown(Given):
    id: Id
    staff: Named
    rung: int
    starts_at: Time
    ends_at: Time


class DraftShown(Given):
    id: Id
    text: str
    author: Named


class TemplateShown(Given):
    """A text the service says, as it is in force now."""

    key: str
    title: str
    text: str
    version: int = Field(description="0: 随程序提供的文本")
    state: Literal["shipped", "approved", "broken"]
    draft: DraftShown | None
    shipped_text: str
    placeholders: list[str]


class RecordShown(Given):
    id: Id
    at: Time
    staff: Named | None
    action: str
    object: str
    object_id: Id
    why: str


class ErasureShown(Given):
    id: Id
    person_id: Id
    state: str
    held_by: str | None
    legal_hold: bool = Field(description="这位来访者的资料是否依法保留")
    requested_by: Named
    requested_at: Time
    verified_how: str


class LegalHoldShown(Given):
    person_id: Id
    legal_hold: bool


class EntryShown(Given):
    id: str
    title: str
    text: str
    score: float
    sources: list[str]
