"""The law library's rows: each law in each imported version, article by article. The texts are public and stand in plain text."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from escalation.ids import new_id
from knowledge.tables import Base


class LawText(Base):
    """法律 in one version. `key` is what all ways of writing its title share (laws.key_of)."""

    __tablename__ = "law_text"
    __table_args__ = (UniqueConstraint("key", "version"),)
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    key: Mapped[str]
    title: Mapped[str]
    version: Mapped[date]  # the day it was passed or last changed
    imported_at: Mapped[datetime]


class LawArticle(Base):
    """法条. `number` as it is cited, 第十七条之一; `place` the headings above it; paragraphs of `text` are lines."""

    __tablename__ = "law_article"
    __table_args__ = (UniqueConstraint("law_text_id", "number"),)
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    law_text_id: Mapped[int] = mapped_column(ForeignKey("law_text.id", ondelete="CASCADE"))
    position: Mapped[int]
    number: Mapped[str]
    place: Mapped[str]
    text: Mapped[str]
