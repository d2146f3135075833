"""Colours an operator chose, made readable: WCAG 2 AA asks for a contrast of 4.5 to 1 for text.

https://www.w3.org/TR/WCAG21/#contrast-minimum
"""

from __future__ import annotations

import re
from typing import Final

_HEX: Final = re.compile(r"#([0-9a-fA-F]{6})")
_READABLE: Final = 4.5
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


def readable(colour: Rgb, on: Rgb) -> Rgb:
    """`colour`, moved towards black or white only as far as text in it needs to be read on `on`."""
    goal = max(BLACK, WHITE, key=lambda end: contrast(end, on))
    for step in range(21):
        candidate = mix(colour, goal, step / 20)
        if contrast(candidate, on) >= _READABLE:
            return candidate
    return goal


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
