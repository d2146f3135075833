"""The published entries as the help site shows them: by area and group, with their addresses, and found by their words.

One Shelf is one state of what is said; a new one is built when the generation or the day changes (Shelves).
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final
from zoneinfo import ZoneInfo

from bot.shell import Shell
from knowledge import desk
from knowledge.entries import Entry, shipped
from knowledge.terms import plain
from nlu import categories

_LOOKS_EVERY: Final = 1.0  # seconds between two looks at the generation
_NEAR: Final = 0.5  # share of a question's pairs of characters that an entry must have
_RELATED: Final = 5
_MANY: Final = 12  # entries under one heading

# The areas in the order in which young people look for them: the beginning of an entry's id, its name, and what is in it.
AREAS: Final[dict[str, tuple[str, str]]] = {
    "psych": ("心情和身体", "睡不着、考试、难过、害怕、和朋友家人、成长"),
    "protection": ("被欺负、被伤害", "欺凌、家里打人、性侵害、被骗走、毒品"),
    "school": ("学校", "处分、收费、手机、受伤、转学、资助"),
    "family": ("家里", "抚养费、跟谁过、打骂、户口、继承"),
    "labour": ("打工和实习", "工资、合同、加班、受伤、被骗的兼职"),
    "person_net": ("网络和隐私", "被人肉、照片、网暴、裸聊敲诈、账号、充值"),
    "consumer": ("买东西、租房、借钱", "退款、假货、押金、校园贷"),
    "offences": ("犯了错怎么办", "几岁负责、警察问话、打架、前科"),
    "civic": ("年龄和手续", "身份证、开车、当兵、结婚、投票"),
    "legal_aid": ("找律师、去哪里投诉", "免费律师、投诉、仲裁、起诉"),
    "service": ("这里和热线", "12355 怎么用、保密、各种电话"),
}
_OTHER: Final = ("其他", "")


@dataclass(frozen=True, slots=True)
class Group:
    """Entries of one area that stand under one heading."""

    name: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Area:
    name: str
    title: str
    hint: str
    groups: tuple[Group, ...]

    @property
    def address(self) -> str:
        return f"/help/{self.name}"

    @property
    def entries(self) -> list[Entry]:
        return [entry for group in self.groups for entry in group.entries]


def address(entry: Entry) -> str:
    """/help/labour/training-loan for labour.training-loan."""
    return "/help/" + entry.id.replace(".", "/", 1)


def area_of(entry: Entry) -> str:
    return entry.id.partition(".")[0]


class Shelf:
    """What is said on one day, ready to be shown."""

    def __init__(self, entries: Iterable[Entry], day: date, generation: int = 0) -> None:
        self.day = day
        self.generation = generation
        self.entries = {entry.id: entry for entry in entries}
        by_area: dict[str, list[Entry]] = {}
        for entry in self.entries.values():
            by_area.setdefault(area_of(entry), []).append(entry)
        names = [name for name in AREAS if name in by_area] + sorted(set(by_area) - set(AREAS))
        self.areas = {name: Area(name, *AREAS.get(name, _OTHER), _groups(by_area[name])) for name in names}
        self._found = _Pairs(self.entries.values())

    def near(self, words: str, limit: int) -> list[Entry]:
        """Entries whose title or wordings hold these words, or most of their pairs of characters; the nearest first."""
        return self._found.near(words, limit)

    def related(self, entry: Entry) -> list[Entry]:
        """Others of its category."""
        others = (e for e in self.areas[area_of(entry)].entries if e.id != entry.id)
        return [other for other in others if other.category == entry.category][:_RELATED]


class Shelves:
    """The newest shelf of this process. Where the database is away, the one before stays."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._shelf: Shelf | None = None
        self._looked_at = 0.0
        self._lock = asyncio.Lock()

    async def newest(self) -> Shelf:
        """Looks at the generation once a second at most. Raises what the database raised where there is no shelf yet."""
        async with self._lock:
            if self._shelf is None or time.monotonic() - self._looked_at >= _LOOKS_EVERY:
                try:
                    await self._look()
                except Exception:
                    if self._shelf is None:
                        raise
                self._looked_at = time.monotonic()
            assert self._shelf is not None
            return self._shelf

    async def _look(self) -> None:
        day = self._shell.clock().astimezone(ZoneInfo(self._shell.settings.desk.timezone)).date()
        await asyncio.to_thread(shipped)  # the first time it reads the files
        async with self._shell.storage.read() as session:
            number = await desk.generation(session)
            if self._shelf is not None and (self._shelf.generation, self._shelf.day) == (number, day):
                return
            entries = await desk.live_entries(session, day)
        if self._shell.settings.knowledge.overdue == "silent":
            entries = [entry for entry in entries if entry.review_by >= day]
        self._shelf = await asyncio.to_thread(Shelf, entries, day, number)


class _Pairs:
    """Which wordings hold which pairs of neighbouring characters."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries: list[Entry] = []
        self._wordings: list[str] = []
        self._holders: dict[str, list[int]] = {}
        for entry in entries:
            for wording in (entry.title, *entry.asks):
                bare = plain(wording)
                for pair in _pairs(bare):
                    self._holders.setdefault(pair, []).append(len(self._wordings))
                self._wordings.append(bare)
                self._entries.append(entry)

    def near(self, words: str, limit: int) -> list[Entry]:
        parts = [bare for part in re.split(r"\s+", words) if (bare := plain(part))]
        wanted = {pair for part in parts for pair in _pairs(part)}
        if not wanted:
            return self._unique(
                (n for n, wording in enumerate(self._wordings) if parts and parts[0] in wording), limit
            )
        held = Counter(number for pair in wanted for number in self._holders.get(pair, ()))
        enough = [(number, count) for number, count in held.items() if count >= _NEAR * len(wanted)]
        # As many pairs as can be, and of two the shorter wording: it says less else.
        enough.sort(key=lambda found: (-found[1], len(self._wordings[found[0]]), found[0]))
        return self._unique((number for number, _ in enough), limit)

    def _unique(self, numbers: Iterable[int], limit: int) -> list[Entry]:
        found: dict[str, Entry] = {}
        for number in numbers:
            found.setdefault(self._entries[number].id, self._entries[number])
            if len(found) == limit:
                break
        return list(found.values())


def _pairs(bare: str) -> set[str]:
    return {bare[at : at + 2] for at in range(len(bare) - 1)}


def _groups(entries: Sequence[Entry]) -> tuple[Group, ...]:
    """By the second level of the category; what is many there by the third. The largest group first."""
    known = categories.names()
    level_two = Counter(_code(entry, 2) for entry in entries)
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        code = _code(entry, 3) if level_two[_code(entry, 2)] > _MANY else _code(entry, 2)
        groups.setdefault(known.get(code, "").rpartition("·")[2] or _OTHER[0], []).append(entry)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    return tuple(Group(name, tuple(inside)) for name, inside in ordered)


def _code(entry: Entry, levels: int) -> str:
    return ".".join(entry.category.split(".")[:levels])
