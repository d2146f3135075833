"""Colours an operator chose, made readable: WCAG 2 AA asks for a contrast of 4.5 to 1 for text.

https://www.w3.org/TR/WCAG21/#contrast-minimum
"""

from __future__ import annotations

import re
from typing import Final

_HEX: Final = re.compile(r"#([0-9a-fA-F]{6})")
_READABLE: Final = 4.5
_PAPER: Final = 14.0  # of a ground with black or white: leaves room for cards and tints on it
Rgb = tuple[int, int, int]
WHITE: Final[Rgb] = (255, 255, 255)
BLACK: Final[Rgb] = (0, 0, 0)


def parse(text: str, otherwise: str) -> Rgb:
    """`#rrggbb` as three numbers 0..255; `otherwise` where it is anything else (nothing else reaches the style sheet)."""
    found = _HEX.fullmatch(text.strip()) or _HEX.fullmatch(otherwise)
    if found is None:
        raise ValueError("not a colour of the form #rrggbb")
    digits = found.group(1)
    return int(digits[0:2], 16), int(digits[2:4], 16), int(digits[4:6], 16)


def contrast(first: Rgb, second: Rgb) -> float:
    """The WCAG contrast ratio, 1 to 21."""
    lighter, darker = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def readable(colour: Rgb, *papers: Rgb) -> Rgb:
    """`colour`, moved towards black or white only as far as text in it needs to be read on each of `papers`."""
    goal = max(BLACK, WHITE, key=lambda end: _worst(end, papers))
    return next((c for c in _towards(colour, goal) if _worst(c, papers) >= _READABLE), goal)


def paper(colour: Rgb) -> Rgb:
    """`colour`, moved out of the middle greys, on which neither dark nor light text stands out."""
    goal, ink = (WHITE, BLACK) if is_light(colour) else (BLACK, WHITE)
    return next((c for c in _towards(colour, goal) if contrast(c, ink) >= _PAPER), goal)


def is_light(colour: Rgb) -> bool:
    return contrast(colour, BLACK) > contrast(colour, WHITE)


def _towards(colour: Rgb, goal: Rgb) -> list[Rgb]:
    return [mix(colour, goal, step / 20) for step in range(21)]


def _worst(ink: Rgb, papers: tuple[Rgb, ...]) -> float:
    return min(contrast(ink, paper) for paper in papers)


def mix(first: Rgb, second: Rgb, share: float) -> Rgb:
    """`share` (0..1) of `second` in `first`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def css(colour: Rgb) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _luminance(colour: Rgb) -> float:
    red, green, blue = (_linear(part / 255) for part in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(part: float) -> float:
    value: float = part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4
    return value
