"""Everything the desk keeps: persons, conversations, messages, episodes, alerts, cases, and who did what.

Words, names, numbers and addresses are in columns ending in `_sealed` (bytes, see privacy.py); the place bound into each is
"table.column". Columns ending in `_hash` are keyed fingerprints. Nothing else may hold what a person wrote or how to reach them.
Rows refer to rows of the same room by foreign key and to other rooms by id. Levels and states are stored by name.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, Float, ForeignKey, Index, LargeBinary, String, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from escalation.columns import Id, Moment
from escalation.ids import new_id
from nlu.understanding import Risk


def _to(column: str) -> ForeignKey:
    """A reference checked at commit: the rows of one turn are written together, in whatever order."""
    return ForeignKey(column, deferrable=True, initially="DEFERRED")


def _few(name: str, column: str) -> Index:
    """An index of only those rows in which `column` has a value."""
    filled = text(f"{column} IS NOT NULL")
    return Index(name, column, sqlite_where=filled, postgresql_where=filled)


class Base(DeclarativeBase):
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        int: Id,
        datetime: Moment,
        bytes: LargeBinary,
        str: String,
        Risk: String(8),
        dict[str, Any]: JSON,
        list[Any]: JSON,
    }


# --- people ---------------------------------------------------------------------------------------------------------


class Person(Base):
    """来访者. Known only by what they chose to give; `data_key` is None once erased."""

    __tablename__ = "person"
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    desk: Mapped[str]
    data_key: Mapped[bytes | None]
    created_at: Mapped[datetime]
    erased_at: Mapped[datetime | None]
    legal_hold: Mapped[bool] = mapped_column(default=False)
    proactive_stopped_at: Mapped[datetime | None]  # 退订: stops proactive texts only
    # How and when this person can be reached safely, and whether we may say who we are. JSON, see safe_contact.py.
    safe_contact_sealed: Mapped[bytes | None]
    alias_sealed: Mapped[bytes | None]  # pseudonym the person gave, or staff chose


class Contact(Base):
    """One address of a person on one channel account (an openid, a telephone number, a web chat visitor)."""

    __tablename__ = "contact"
    __table_args__ = (UniqueConstraint("address_hash"),)
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    person_id: Mapped[int] = mapped_column(_to("person.id"), index=True)
    channel: Mapped[str]  # wechat, sms, webchat, phone
    account: Mapped[str]  # which of the desk's accounts on that channel
    address_hash: Mapped[bytes]  # fingerprint("contact", channel, account, address)
    address_sealed: Mapped[bytes]
    network_address_sealed: Mapped[
        bytes | None
    ]  # a web visitor's IP: shown only in a rescue, with a reason, on record
    followed: Mapped[bool] = mapped_column(default=True)  # False after a WeChat unsubscribe
    created_at: Mapped[datetime]
    last_inbound_at: Mapped[datetime | None]


# --- conversations and messages -------------------------------------------------------------------------------------


class Conversation(Base):
    """会话: a thread with one person on one channel. At most one per contact is not closed."""

    __tablename__ = "conversation"
    __table_args__ = (
        Index("ix_conversation_queue", "desk", "state", "queue_rank", "waiting_since"),
        Index("ix_conversation_owner", "owner_id", "state"),
        Index(
            "ix_conversation_state", "desk", "state", "id"
        ),  # lists by age: a page of the closed ones costs a page
        # Looked at every second: only the few rows that have a value are in these.
        _few("ix_conversation_waiting", "waiting_since"),
        _few("ix_conversation_unjudged", "unjudged_since"),
    )
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    desk: Mapped[str]
    person_id: Mapped[int] = mapped_column(_to("person.id"), index=True)
    contact_id: Mapped[int] = mapped_column(_to("contact.id"), index=True)
    channel: Mapped[str]
    account: Mapped[str]
    state: Mapped[str]  # bot, queued, human, closed
    risk: Mapped[Risk]  # the level now in force (risk.py)
    topic: Mapped[str] = mapped_column(default="other")
    category: Mapped[str] = mapped_column(default="")
    queue_rank: Mapped[int] = mapped_column(
        default=0
    )  # 0 head of the queue … larger later (conversations.queue_rank)
    owner_id: Mapped[int | None] = mapped_column(_to("staff.id"))  # who has it (state human)
    responder_id: Mapped[int | None] = mapped_column(_to("staff.id"))  # 首问负责: first who took it
    episode_id: Mapped[int | None]  # the open episode
    case_id: Mapped[int | None]  # the open case
    opened_at: Mapped[datetime]
    last_inbound_at: Mapped[datetime | None]
    last_human_reply_at: Mapped[datetime | None]
    waiting_since: Mapped[
        datetime | None
    ]  # first unanswered message of the person while queued or with a human
    owner_since: Mapped[
        datetime | None
    ]  # when the present owner took it: silence counts from then at the earliest
    unjudged_since: Mapped[
        datetime | None
    ]  # holds what no machine could judge, and rings if nobody looks (promise 4)
    closed_at: Mapped[datetime | None]
    memory_sealed: Mapped[
        bytes | None
    ]  # JSON the handlers remember: last entry, failures, crisis stage, choices


class Message(Base):
    """One message, in or out. An inbound row is the inbox: `received` until the turn that finishes it is committed."""

    __tablename__ = "message"
    __table_args__ = (
        UniqueConstraint("dedupe_hash"),
        Index("ix_message_thread", "conversation_id", "id"),
        Index("ix_message_state", "state", "received_at"),
    )
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    conversation_id: Mapped[int] = mapped_column(_to("conversation.id"))
    direction: Mapped[str]  # in, out
    author: Mapped[str]  # person, bot, staff, system
    staff_id: Mapped[int | None]
    kind: Mapped[str]  # text, voice, image, location, link, event, form
    # in: fingerprint("message", channel, account, sender, provider's id); out: of what must not be said twice; else None
    dedupe_hash: Mapped[bytes | None]
    text_sealed: Mapped[bytes | None]
    meta_sealed: Mapped[bytes | None]  # JSON: media id, place, buttons, event key, sources
    # in: received, answered, queued, escalated, failed; out: written (its deliveries say the rest), withdrawn
    state: Mapped[str]
    risk: Mapped[Risk | None]
    risk_score: Mapped[float | None] = mapped_column(
        Float
    )  # probability of high or above, for the watch on drift (drift.py)
    understanding_sealed: Mapped[
        bytes | None
    ]  # JSON of Understanding: its spans and entities are the person's words
    template: Mapped[str | None]  # key@version of the template or entry a reply was made from
    reply_to: Mapped[int | None]
    received_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class Note(Base):
    """An internal note in a conversation, never sent."""

    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    conversation_id: Mapped[int] = mapped_column(_to("conversation.id"), index=True)
    staff_id: Mapped[int]
    at: Mapped[datetime]
    text_sealed: Mapped[bytes]


# --- danger ---------------------------------------------------------------------------------------------------------


class Episode(Base):
    """危机事件: a stretch of raised risk (high or above) in a conversation. One alert ladder."""

    __tablename__ = "episode"
    __table_args__ = (_few("ix_episode_safety_due", "safety_due_at"),)
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    conversation_id: Mapped[int] = mapped_column(_to("conversation.id"), index=True)
    person_id: Mapped[int]
    level: Mapped[Risk]
    kinds: Mapped[list[Any]]
    opened_at: Mapped[datetime]
    risen_at: Mapped[datetime]  # when the level last rose
    assessed_level: Mapped[Risk | None]  # a counsellor's assessment …
    assessed_upto: Mapped[int | None]  # … which covers messages up to this id
    safety_sent_at: Mapped[datetime | None]
    safety_due_at: Mapped[
        datetime | None
    ]  # risen under a human: the safety text goes out then if nobody writes
    ended_at: Mapped[datetime | None]
    end_reason: Mapped[str | None]


class Alert(Base):
    """The one alert of an episode, or of a message no machine could judge. State: ringing, paused, ended."""

    __tablename__ = "alert"
    __table_args__ = (Index("ix_alert_due", "state", "next_at"),)
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    conversation_id: Mapped[int] = mapped_column(_to("conversation.id"), index=True)
    episode_id: Mapped[int | None] = mapped_column(_to("episode.id"))
    case_number: Mapped[str | None]
    desk: Mapped[str]
    reason: Mapped[str]  # episode, unread, owner_gone, handed_back, risen, understanding_down
    level: Mapped[Risk]
    state: Mapped[str]
    # The highest rung that has rung: 0 duty counsellor, 1 backup, 2 supervisor, 3 fallback telephone
    rung: Mapped[int] = mapped_column(default=0)
    from_rung: Mapped[int] = mapped_column(default=0)  # at `next_at` the rungs from here …
    next_rung: Mapped[int] = mapped_column(default=0)  # … to here ring
    rounds: Mapped[int] = mapped_column(default=0)  # times the top was reached
    started_at: Mapped[datetime]
    next_at: Mapped[datetime | None]
    acknowledged_by: Mapped[int | None]
    acknowledged_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    end_reason: Mapped[str | None]  # human_reply, decision, closed


class AlertEvent(Base):
    """Who was rung, by what means, when, and what they did."""

    __tablename__ = "alert_event"
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    alert_id: Mapped[int] = mapped_column(_to("alert.id"), index=True)
    at: Mapped[datetime]
    what: Mapped[
        str
    ]  # started, raised, rung, skipped, fallback_missing, delivered, failed, acknowledged, resumed, ended
    rung: Mapped[int | None]
    staff_id: Mapped[int | None]
    means: Mapped[str | None]  # screen, webhook:<name>, telephone
    detail: Mapped[str | None]  # an error code; never words


# --- the desk's work ------------------------------------------------------------------------------------------------


class Case(Base):
    """工单 / 个案: the record with owner and result. First version; a later one brings deadlines and the full life cycle."""

    __tablename__ = "case_record"
    __table_args__ = (UniqueConstraint("number"), Index("ix_case_state", "desk", "state"))
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    number: Mapped[str]  # 20261123-0007, unique, says nothing of the person
    desk: Mapped[str]
    conversation_id: Mapped[int] = mapped_column(_to("conversation.id"), index=True)
    person_id: Mapped[int] = mapped_column(index=True)
    state: Mapped[str]  # new, in_progress, closed
    risk_machine: Mapped[Risk]
    risk_assessed: Mapped[Risk | None]
    category: Mapped[str] = mapped_column(default="")
    result: Mapped[str | None]  # outcome code, see cases.RESULTS
    note_sealed: Mapped[bytes | None]
    owner_id: Mapped[int | None]
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    closed_by: Mapped[int | None]
    mandatory_report_at: Mapped[datetime | None]  # 强制报告 made or owed: holds back erasure
    version: Mapped[int] = mapped_column(default=1)
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 (SQLAlchemy reads it off the class)


class Task(Base):
    """Owned, timed work that is not a conversation: cannot reach, read this, erase, map a template."""

    __tablename__ = "task"
    __table_args__ = (Index("ix_task_open", "state", "due_at"),)
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    kind: Mapped[str]  # cannot_reach, unmapped_template, clock_warning, unknown_delivery, nuisance_review …
    conversation_id: Mapped[int | None] = mapped_column(index=True)
    owner_id: Mapped[int | None]
    role: Mapped[str]  # counsellor, supervisor, administrator: whose list it is on while it has no owner
    level: Mapped[Risk]
    detail: Mapped[str] = mapped_column(default="")  # a code, never words
    state: Mapped[str]  # open, done
    created_at: Mapped[datetime]
    due_at: Mapped[datetime]
    done_at: Mapped[datetime | None]
    done_by: Mapped[int | None]


class Transfer(Base):
    """转给同事: the first responder stays responsible until the other accepts."""

    __tablename__ = "transfer"
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    conversation_id: Mapped[int] = mapped_column(_to("conversation.id"), index=True)
    from_id: Mapped[int]
    to_id: Mapped[int]
    reason_sealed: Mapped[bytes | None]
    state: Mapped[str]  # offered, accepted, declined, withdrawn
    offered_at: Mapped[datetime]
    decided_at: Mapped[datetime | None]


class Rescue(Base):
    """紧急救援: police, ambulance or guardian brought in. Opened by a person, never by the machine."""

    __tablename__ = "rescue"
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    conversation_id: Mapped[int] = mapped_column(_to("conversation.id"), index=True)
    episode_id: Mapped[int | None]
    opened_by: Mapped[int]
    opened_at: Mapped[datetime]
    place_sealed: Mapped[bytes | None]
    identity_sealed: Mapped[bytes | None]
    legal_basis_sealed: Mapped[bytes]  # may be written freely
    guardian_may_harm: Mapped[bool] = mapped_column(default=False)
    approved_by: Mapped[int | None]
    approved_at: Mapped[datetime | None]
    not_awaited_reason_sealed: Mapped[bytes | None]  # why a second person's yes was not awaited
    state: Mapped[str]  # open, closed
    result_sealed: Mapped[bytes | None]
    closed_at: Mapped[datetime | None]


class RescueNotice(Base):
    """Who was told in a rescue, by whom, when, with what answer."""

    __tablename__ = "rescue_notice"
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    rescue_id: Mapped[int] = mapped_column(_to("rescue.id"), index=True)
    told: Mapped[str]  # police_110, ambulance_120, fire_119, guardian, school, other
    by_id: Mapped[int]
    at: Mapped[datetime]
    detail_sealed: Mapped[bytes | None]


class Nuisance(Base):
    """Nuisance mark: proposed by one, confirmed by a supervisor, ends after 7 days at most, never mutes critical."""

    __tablename__ = "nuisance"
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    person_id: Mapped[int] = mapped_column(_to("person.id"), index=True)
    proposed_by: Mapped[int]
    proposed_at: Mapped[datetime]
    reason_sealed: Mapped[bytes]
    confirmed_by: Mapped[int | None]
    until: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class ReviewItem(Base):
    """复核样本: a message that a counsellor judged otherwise than the machine. A curator masks, labels, accepts or rejects it.

    The words stay the message's until they are accepted; then `words_sealed` holds what was accepted, masked, under the
    person's own key. It ends with the person's words (retention.py) and with the person (erasure.py).
    """

    __tablename__ = "review_item"
    __table_args__ = (
        UniqueConstraint("message_id"),
        Index("ix_review_item_state", "desk", "state", "id"),
    )
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    desk: Mapped[str]
    person_id: Mapped[int] = mapped_column(index=True)
    conversation_id: Mapped[int] = mapped_column(index=True)
    message_id: Mapped[int]
    reasons: Mapped[list[Any]]  # missed, false_alarm, risk, category (review.REASONS)
    # 0: across the line between danger and none; 1: another level below or above it; 2: the category alone
    weight: Mapped[int]
    state: Mapped[str]  # open, accepted, rejected
    risk_machine: Mapped[Risk]  # of the message
    risk_assessed: Mapped[Risk | None]  # the counsellor's, where they assessed
    category_machine: Mapped[str] = mapped_column(default="")
    category_closed: Mapped[str | None]  # the counsellor's at closing, where it differs
    marked_by: Mapped[int | None]  # who marked the message itself
    created_at: Mapped[datetime]
    decided_by: Mapped[int | None]
    decided_at: Mapped[datetime | None]
    reject_why: Mapped[str | None]  # a code of review.REJECTIONS
    # The labels that the curator gave; None until accepted.
    topic: Mapped[str | None]
    risk: Mapped[Risk | None]
    kinds: Mapped[list[Any] | None]
    category: Mapped[str | None]
    about: Mapped[str | None]
    words_sealed: Mapped[bytes | None]  # JSON {"text", "history", "intent", "resolved"}, masked
    used_at: Mapped[datetime | None]  # last taken for training; each use is a Record


class Unanswered(Base):
    """未答问题: a question without any danger that got no answer, one that did not help, or a human's own.

    It holds no words: they stay the message's. When the words end (retention.py) or the person is erased, what refers to them is
    emptied, and that somebody asked, and when, stays for the count.
    """

    __tablename__ = "unanswered"
    __table_args__ = (UniqueConstraint("message_id"), Index("ix_unanswered_state", "desk", "state", "id"))
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    desk: Mapped[str]
    at: Mapped[datetime]  # when it was asked
    reasons: Mapped[list[Any]]  # nothing, not_helped, human (unanswered.REASONS)
    state: Mapped[str]  # open, taken (into a draft), dismissed
    category: Mapped[str] = mapped_column(default="")  # the machine's, of the message
    person_id: Mapped[int | None] = mapped_column(index=True)
    conversation_id: Mapped[int | None] = mapped_column(index=True)
    message_id: Mapped[int | None]
    reply_id: Mapped[int | None]  # the message in which a counsellor answered
    answered_by: Mapped[str | None]  # the entry that did not help
    settled_by: Mapped[int | None]
    settled_at: Mapped[datetime | None]
    taken_into: Mapped[str | None]  # the entry whose draft took it up
    dismissed_why: Mapped[str | None]  # a code of unanswered.DISMISSALS


class Satisfaction(Base):
    """What the person said after closing, and 有帮助/没帮助 on a single answer."""

    __tablename__ = "satisfaction"
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    conversation_id: Mapped[int] = mapped_column(_to("conversation.id"), index=True)
    about: Mapped[str]  # conversation, entry:<id>
    score: Mapped[int]  # conversation 1..5; entry 1 helped, 0 did not
    at: Mapped[datetime]


# --- staff ----------------------------------------------------------------------------------------------------------


class Staff(Base):
    """咨询员, 督导, knowledge curator or administrator."""

    __tablename__ = "staff"
    __table_args__ = (UniqueConstraint("login"),)
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    login: Mapped[str]
    name: Mapped[str]
    role: Mapped[str]  # counsellor, supervisor, curator, administrator
    desk: Mapped[str]
    password_hash: Mapped[str]  # argon2id
    must_change_password: Mapped[bool] = mapped_column(default=True)
    telephone_sealed: Mapped[bytes | None]
    active: Mapped[bool] = mapped_column(default=True)
    demonstration: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime]


class Shift(Base):
    """值班: who is on duty from when to when, on which rung of the ladder."""

    __tablename__ = "shift"
    __table_args__ = (Index("ix_shift_time", "starts_at", "ends_at"),)
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    staff_id: Mapped[int] = mapped_column(_to("staff.id"))
    rung: Mapped[int]  # 0 duty counsellor, 1 backup, 2 supervisor
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]


class Screen(Base):
    """A workbench. `seen_at` is refreshed while it lives; closed, or not seen for 60 s, means gone."""

    __tablename__ = "screen"
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    staff_id: Mapped[int] = mapped_column(_to("staff.id"), index=True)
    opened_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]


class Record(Base):
    """Who did what, when and why (promises 10 and 11). Details are codes and ids, never a person's words."""

    __tablename__ = "record"
    __table_args__ = (Index("ix_record_object", "object", "object_id"), Index("ix_record_at", "at"))
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    at: Mapped[datetime]
    staff_id: Mapped[int | None]  # None: the system
    action: Mapped[
        str
    ]  # look, claim, reply, transfer, close, rescue.open, network_address.show, template.approve …
    object: Mapped[str]  # conversation, person, template, staff …
    object_id: Mapped[int]
    why: Mapped[str] = mapped_column(default="")  # one of a fixed list of reasons
    why_sealed: Mapped[bytes | None]  # free-text reason, sealed with the desk's key


class Erasure(Base):
    """A request to erase a person: verified, approved by a supervisor, carried out or held back."""

    __tablename__ = "erasure"
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    person_id: Mapped[int] = mapped_column(index=True)
    requested_at: Mapped[datetime]
    requested_by: Mapped[int]
    verified_how: Mapped[str]  # return_code, same_channel, in_person, telephone_back
    approved_by: Mapped[int | None]
    decided_at: Mapped[datetime | None]
    state: Mapped[str]  # requested, held, refused, done
    held_by: Mapped[str | None]  # open_high_case, mandatory_report, rescue, legal_hold, unfinished


class TemplateText(Base):
    """An edited template: drafted by one, approved by another. The newest approved version of a key is in force."""

    __tablename__ = "template_text"
    __table_args__ = (UniqueConstraint("key", "version"),)
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    key: Mapped[str]
    version: Mapped[int]
    text: Mapped[str]
    state: Mapped[str]  # draft, approved, retired
    author_id: Mapped[int]
    drafted_at: Mapped[datetime]
    approved_by: Mapped[int | None]
    approved_at: Mapped[datetime | None]
