"""What the desk itself wrote and decided about entries. The shipped files stay the base; here is only what differs from them.

Entries are written and read by staff and said to everybody, so their words stand in plain text. A saved question may be a young
person's: its words are sealed (see questions.py).
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, Date, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from escalation.columns import Id, Moment
from escalation.ids import new_id


class Base(DeclarativeBase):
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        int: Id,
        datetime: Moment,
        date: Date,
        bytes: LargeBinary,
        str: String,
        dict[str, Any]: JSON,
        list[Any]: JSON,
    }


class KnowledgeEntry(Base):
    """知识条目 that the desk changed, wrote, or must look at again. `id` is the entry's own (labour.unpaid-wages)."""

    __tablename__ = "knowledge_entry"
    id: Mapped[str] = mapped_column(primary_key=True)
    # Of the newest revision: draft, submitted, approved, published, retired; "shipped" where none is in work or in force.
    state: Mapped[str]
    newest: Mapped[int] = mapped_column(default=0)  # the newest revision's number; 0: there is none yet
    # Said to nobody, neither a revision nor the shipped text, until it is rolled back to one.
    retired: Mapped[bool] = mapped_column(default=False)
    # Why a person must look at it again: law_changed, review_due. None once somebody did.
    to_check: Mapped[str | None]
    to_check_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=0)  # raised by each change (promise 11)
    updated_at: Mapped[datetime]


class KnowledgeRevision(Base):
    """One text of an entry. Changed only while it is a draft; a return to an older text is a new revision."""

    __tablename__ = "knowledge_revision"
    __table_args__ = (
        UniqueConstraint("entry_id", "number"),
        Index("ix_knowledge_revision_state", "state"),
    )
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    entry_id: Mapped[str]
    number: Mapped[int]
    fields: Mapped[dict[str, Any]]  # of knowledge.entries.Entry; a draft may lack some
    # draft, submitted, approved, published, replaced (was published; another took its place), discarded
    state: Mapped[str]
    authors: Mapped[list[Any]]  # everybody who wrote at it, in order; none of them may approve it
    note: Mapped[str] = mapped_column(default="")  # what was changed and why; on a return, what is missing
    created_at: Mapped[datetime]
    submitted_by: Mapped[int | None]
    submitted_at: Mapped[datetime | None]
    approved_by: Mapped[int | None]
    approved_at: Mapped[datetime | None]
    published_by: Mapped[int | None]
    published_at: Mapped[datetime | None]
    valid_from: Mapped[date | None]  # first day on which it is said; None: at once
    valid_until: Mapped[date | None]  # last day; None: until another takes its place


class KnowledgeComment(Base):
    """What a colleague says about a revision."""

    __tablename__ = "knowledge_comment"
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    entry_id: Mapped[str] = mapped_column(index=True)
    revision: Mapped[int]
    author: Mapped[int]
    at: Mapped[datetime]
    text: Mapped[str]


class KnowledgeGeneration(Base):
    """One row: raised in the same commit as whatever changes what is said, so that every process notices."""

    __tablename__ = "knowledge_generation"
    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int]


class KnowledgeQuestion(Base):
    """A question saved to watch over: which entry must answer it (None: none may). Asked again before each publication."""

    __tablename__ = "knowledge_question"
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    entry_id: Mapped[str | None] = mapped_column(index=True)
    # Whose words it holds: sealed with their key, and gone with them. None: a member of staff thought of it; the desk's key.
    person_id: Mapped[int | None] = mapped_column(index=True)
    conversation_id: Mapped[int | None] = mapped_column(index=True)
    text_sealed: Mapped[bytes]
    saved_by: Mapped[int]
    saved_at: Mapped[datetime]
