"""How many segments a text takes, and where to cut one that takes too many.

3GPP TS 23.038: a text whose characters are all in the GSM 7-bit alphabet has 160 to a segment, 153 when there are several (7 go to the
concatenation header); those of the extension table take two places and are never parted. Any other text is UCS-2: 70
UTF-16 units, 67 when there are several; a surrogate pair is never parted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

_BASIC: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION: Final = frozenset("\f^{}\\[~]|€")
_SENTENCE_ENDS: Final = "\n。！？；"


@dataclass(frozen=True, slots=True)
class Segments:
    """`count` segments of a text in `encoding`; `units` places taken in all."""

    encoding: Literal["gsm7", "ucs2"]
    count: int
    units: int


def measure(text: str) -> Segments:
    """The segments of a text as a phone network bills them. An empty text is one segment."""
    if all(c in _BASIC or c in _EXTENSION for c in text):
        return _fill("gsm7", [2 if c in _EXTENSION else 1 for c in text], alone=160, among=153)
    return _fill("ucs2", [2 if ord(c) > 0xFFFF else 1 for c in text], alone=70, among=67)


def pieces(text: str, most: int, *, prefix: str = "") -> list[str]:
    """The text as messages of at most `most` segments, each beginning with `prefix`; cut at the end of a line or
    sentence where there is one in the second half. Raises ValueError when not even the prefix fits."""
    if measure(prefix + "文").count > most:
        raise ValueError("the signature alone is longer than a message may be")
    made = []
    while measure(prefix + text).count > most:
        at = _longest(text, most, prefix)
        end = max(text.rfind(mark, 0, at) for mark in _SENTENCE_ENDS) + 1
        if end > at // 2:
            at = end
        made.append(prefix + text[:at].rstrip())
        text = text[at:].lstrip()
    return [*made, prefix + text] if text or not made else made


def _longest(text: str, most: int, prefix: str) -> int:
    """How many characters of `text` fit. Every beginning of a text that fits fits."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if measure(prefix + text[:middle]).count <= most:
            low = middle
        else:
            high = middle - 1
    return low


def _fill(encoding: Literal["gsm7", "ucs2"], widths: list[int], *, alone: int, among: int) -> Segments:
    units = sum(widths)
    if units <= alone:
        return Segments(encoding, 1, units)
    count, room = 1, among
    for width in widths:
        if width > room:  # a pair does not fit into the last place of a segment
            count, room = count + 1, among
        room -= width
    return Segments(encoding, count, units)
