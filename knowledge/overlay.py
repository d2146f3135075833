"""The desk's own entries laid over the shipped ones: what is published here wins, what is retired here is hidden.

An update of the program brings new shipped entries and never overwrites local work, and a fresh start needs no filling.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from knowledge.entries import Entry


@dataclass(frozen=True, slots=True)
class Overlay:
    """What differs from the shipped entries at one moment. `generation` tells states apart; it only grows.

    `hidden` are ids that are said to nobody: retired or expired ones, those not begun, and those whose stored text this version of
    the program cannot read (`broken`, a part of `hidden`): the shipped text was given up for it and must not come back unseen.
    """

    generation: int = 0
    entries: tuple[Entry, ...] = ()
    hidden: frozenset[str] = frozenset()
    broken: frozenset[str] = frozenset()

    def over(self, shipped: Iterable[Entry]) -> list[Entry]:
        """The entries in force: the shipped ones in their order, changed ones in their place, then the desk's own by id."""
        own = {entry.id: entry for entry in self.entries}
        live = [own.pop(entry.id, entry) for entry in shipped if entry.id not in self.hidden]
        return live + [own[entry_id] for entry_id in sorted(own) if entry_id not in self.hidden]

    def as_json(self) -> dict[str, Any]:
        """Plain values, for another process."""
        return {
            "generation": self.generation,
            "entries": [entry.model_dump(mode="json") for entry in self.entries],
            "hidden": sorted(self.hidden),
        }

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Overlay:
        """The overlay that `as_json` made plain."""
        return cls(
            raw["generation"],
            tuple(Entry.model_validate(fields) for fields in raw["entries"]),
            frozenset(raw["hidden"]),
        )


NO_OVERLAY = Overlay()


def read(rows: Sequence[tuple[str, dict[str, Any]]], hidden: Iterable[str], generation: int) -> Overlay:
    """The overlay of stored texts (entry id, fields) and hidden ids."""
    entries, broken = [], set()
    for entry_id, fields in rows:
        try:
            entries.append(Entry.model_validate(fields | {"id": entry_id}))
        except ValidationError:
            broken.add(entry_id)
    return Overlay(generation, tuple(entries), frozenset(hidden) | broken, frozenset(broken))
