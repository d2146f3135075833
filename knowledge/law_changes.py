"""What became of a cited article in a law's newer version, side by side for whoever must decide whether the entry still holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final, Literal

from knowledge.laws import plain

State = Literal["same", "changed", "gone", "unknown"]
"""unknown: the version that was cited is not in the library, so nothing can be compared."""

_ALIKE: Final = 0.5  # share of character pairs from which on another article is worth a look
_SHORTEST_SAME: Final = 2  # characters; a single one between two changes only makes them hard to read


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the two texts: in both, only in the old one, or only in the new one."""

    kind: Literal["same", "old", "new"]
    text: str


@dataclass(frozen=True, slots=True)
class Compared:
    """One article then and now."""

    state: State
    old: str
    new: str


def compare(number: str, old: str | None, new_version: Mapping[str, str]) -> Compared:
    """The article `number` against a newer version (article -> text). `old` None: the old text is not known."""
    new = new_version.get(number)
    if new is None:
        return Compared("gone", old or "", "")
    if old is None:
        return Compared("unknown", "", new)
    return Compared("same" if plain(old) == plain(new) else "changed", old, new)


def moved_to(number: str, old: str, new_version: Mapping[str, str]) -> str:
    """The article of a newer version that reads most like the old text, where that is another number: laws are renumbered.
    "" where there is none. A hint for whoever checks, never a decision."""
    nearest, alike = _nearest(old, new_version)
    return nearest if nearest != number and alike >= _ALIKE else ""


def pieces(old: str, new: str) -> list[Piece]:
    """Both texts in order as pieces: "same" and "old" give the old text, "same" and "new" the new one."""
    found: list[Piece] = []
    lines = SequenceMatcher(
        None, old.splitlines(keepends=True), new.splitlines(keepends=True), autojunk=False
    )
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    for kind, i, j, k, m in lines.get_opcodes():
        was, became = "".join(before[i:j]), "".join(after[k:m])
        found += [Piece("same", was)] if kind == "equal" else _inside(was, became)
    return _joined(found)


def _inside(old: str, new: str) -> Iterable[Piece]:
    """Two unlike stretches, character by character."""
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    for kind, i, j, k, m in matcher.get_opcodes():
        if kind == "equal" and j - i >= _SHORTEST_SAME:
            yield Piece("same", old[i:j])
        else:
            yield Piece("old", old[i:j])
            yield Piece("new", new[k:m])


def _joined(found: Iterable[Piece]) -> list[Piece]:
    """Neighbours of one kind as one piece, what went before what came."""
    joined: list[Piece] = []
    gone = came = ""
    for piece in [*found, Piece("same", "")]:
        if piece.kind == "old":
            gone += piece.text
        elif piece.kind == "new":
            came += piece.text
        else:
            joined += [Piece("old", gone)] * bool(gone) + [Piece("new", came)] * bool(came)
            gone = came = ""
            if piece.text and joined and joined[-1].kind == "same":
                joined[-1] = Piece("same", joined[-1].text + piece.text)
            elif piece.text:
                joined.append(piece)
    return joined


def _nearest(text: str, articles: Mapping[str, str]) -> tuple[str, float]:
    """The article that shares most pairs of neighbouring characters with the text, and the share (Dice)."""
    wanted = _pairs(text)
    best, most = "", 0.0
    for number, other in articles.items():
        pairs = _pairs(other)
        alike = 2 * len(wanted & pairs) / max(len(wanted) + len(pairs), 1)
        if alike > most:
            best, most = number, alike
    return best, most


def _pairs(text: str) -> set[str]:
    bare = plain(text)
    return {bare[at : at + 2] for at in range(len(bare) - 1)}
