"""Entries (知识条目): what people wrote and approved, read from `knowledge/data/*.yml` and checked field by field.

First stop of an answer: nothing that fails a check here is ever shown to a young person (promise 9).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from knowledge.answer import Source
from knowledge.terms import plain

DATA = Path(__file__).parent / "data"

SHORT_LIMIT = 300
"""Characters of a short form: what fits an SMS answer and the contract of `qingting answer`."""

Audience = Literal["pupil", "worker", "parent", "teacher", "anyone"]

Text = Annotated[str, Field(min_length=2)]

_ARTICLE = re.compile(r"第[零一二三四五六七八九十百千]+条(之[一二三四五六七八九十]+)?")


class EntryError(ValueError):
    """An entry file that cannot be used. The message names file, entry and field, one problem a line."""


class Citation(BaseModel):
    """One source of an entry: a law's article in the version it was checked against, or an official body.

    `law` with `article` and `version` is checked against the law's text by the tests. `body` names an official body
    or a rule cited by name only; such sources are listed for review by a person.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    law: str = ""
    article: str = ""
    version: date | None = None
    body: str = ""

    @model_validator(mode="after")
    def _either_law_or_body(self) -> Citation:
        if bool(self.law) == bool(self.body):
            raise PydanticCustomError("law_or_body", "give either law (with article and version) or body")
        if self.law and (not _ARTICLE.fullmatch(self.article) or self.version is None):
            raise PydanticCustomError(
                "law_incomplete",
                "a law needs an article such as 第八十二条 and the version date it was checked against",
            )
        if self.body and (self.article or self.version):
            raise PydanticCustomError("body_only", "a body has neither article nor version")
        return self

    def source(self) -> Source:
        """The citation as it leaves this room."""
        if self.body:
            return Source(self.body)
        assert self.version is not None
        return Source(self.law, self.article, self.version.isoformat())


class Entry(BaseModel):
    """One entry. `short` answers in its first sentence; chat shows `short` and below it `long`, the steps.

    `asks` are ways young people ask. `region` is empty where the answer holds in the whole country. `brings_human`
    marks entries about self-harm or abuse: a human is offered or brought with them, always.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=r"^[a-z]+(?:_[a-z]+)*\.[a-z0-9]+(?:-[a-z0-9]+)*$")]
    title: Annotated[str, Field(min_length=4, max_length=40)]
    asks: Annotated[tuple[Text, ...], Field(min_length=5)]
    short: Annotated[str, Field(min_length=20, max_length=SHORT_LIMIT)]
    long: str = ""
    category: Annotated[str, Field(pattern=r"^(legal|psychological|safety|other)(\.[a-z_]+){1,2}$")]
    audience: Annotated[tuple[Audience, ...], Field(min_length=1)]
    region: str = ""
    sources: Annotated[tuple[Citation, ...], Field(min_length=1)]
    checked_on: date
    review_by: date
    brings_human: bool = False

    @field_validator("asks")
    @classmethod
    def _wordings_differ(cls, asks: tuple[str, ...]) -> tuple[str, ...]:
        seen = [plain(ask) for ask in asks]
        doubled = [ask for ask, bare in zip(asks, seen, strict=True) if seen.count(bare) > 1]
        if doubled:
            raise PydanticCustomError(
                "doubled_wording", "the same wording twice: {wording}", {"wording": doubled[0]}
            )
        return asks

    @model_validator(mode="after")
    def _reviewed_in_time(self) -> Entry:
        if self.review_by <= self.checked_on:
            raise PydanticCustomError("review_order", "review_by must be after checked_on")
        return self

    @property
    def chat_text(self) -> str:
        """The form for web chat and WeChat: the answer first, then the steps."""
        return chat_text(self.short, self.long)


def chat_text(short: str, long: str) -> str:
    """A short form with the steps below it."""
    return f"{short}\n\n{long}" if long else short


def load_entries(folder: Path = DATA) -> list[Entry]:
    """All entries of a folder's `*.yml` files, in file order.

    A file holds `defaults` (fields shared by its entries) and `entries`. Raises `EntryError` naming every file, entry
    and field that is wrong, and ids or wordings used by two entries.
    """
    entries: list[Entry] = []
    problems: list[str] = []
    for path in sorted(folder.glob("*.yml")):
        raw = _read_file(path)
        for number, fields in enumerate(raw.get("entries") or [], start=1):
            merged = {**(raw.get("defaults") or {}), **fields}
            try:
                entries.append(Entry.model_validate(merged))
            except ValidationError as error:
                name = merged.get("id") or f"entry {number}"
                problems += [f"{path.name}: {name}: {line}" for line in _lines(error)]
    problems += list(_collisions(entries))
    if problems:
        raise EntryError("\n".join(problems))
    return entries


@cache
def shipped() -> Mapping[str, Entry]:
    """The entries that come with the program, by id, in file order. The first call reads them, which takes most of a second:
    in a process that serves, make it in a thread."""
    return MappingProxyType({entry.id: entry for entry in load_entries()})


def read_yaml(path: Path) -> Any:
    """A YAML file's content, by the fast loader where libyaml is there."""
    # The C loader is as safe as safe_load and ten times as fast, which start-up feels.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506


def _read_file(path: Path) -> dict[str, Any]:
    try:
        raw = read_yaml(path)
    except yaml.YAMLError as error:
        raise EntryError(f"{path.name}: not YAML: {error}") from error
    unknown = set(raw or {}) - {"defaults", "entries"} if isinstance(raw, dict) else {"a list"}
    if unknown or not raw:
        raise EntryError(
            f"{path.name}: expected the keys defaults and entries, found {sorted(unknown) or 'nothing'}"
        )
    return dict(raw)


def _lines(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        yield f"{'.'.join(str(part) for part in problem['loc']) or 'entry'}: {problem['msg']}"


def _collisions(entries: Iterable[Entry]) -> Iterator[str]:
    ids: set[str] = set()
    wordings: dict[str, str] = {}
    for entry in entries:
        if entry.id in ids:
            yield f"{entry.id}: id: used twice"
        ids.add(entry.id)
        for ask in entry.asks:
            other = wordings.setdefault(plain(ask), entry.id)
            if other != entry.id:
                yield f"{entry.id}: asks: {ask}: already a wording of {other}"
