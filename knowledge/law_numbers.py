"""Numbers of articles as laws write them: 第一百二十条之二 is article 120, the second inserted after it."""

from __future__ import annotations

_DIGITS = {digit: value for value, digit in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_UNITS = {"十": 10, "百": 100, "千": 1000}


def value_of(numeral: str) -> int:
    """一百二十 -> 120, 十四 -> 14, 一千零一 -> 1001. Characters that are no numerals count nothing."""
    total = digit = 0
    for character in numeral:
        if character in _UNITS:
            total, digit = total + (digit or 1) * _UNITS[character], 0
        else:
            digit = _DIGITS.get(character, digit)
    return total + digit


def numeral_of(value: int) -> str:
    """120 -> 一百二十, 14 -> 十四, 1001 -> 一千零一; for 1 to 9999, the way laws count."""
    written, pending_zero = "", False
    for unit, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit, value = divmod(value, unit)
        if digit:
            written += ("零" if pending_zero else "") + "零一二三四五六七八九"[digit] + name
        pending_zero = bool(written) and not digit
    return written.removeprefix("一") if written.startswith("一十") else written
