"""First step of understanding: one normal form for the many ways of writing the same words, with a way back.

A person who is afraid of being read writes 紫砂, zisha, 自。杀 or 自‌杀 with an invisible character in between; a phone writes
full-width letters and traditional characters. All of them become the same words here, and every character of the
normal form remembers which characters of the original it came from, so that the workbench can mark the words as written.

Every pass is linear in the length of the text. Nothing here raises on any string, NUL and lone surrogates included.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import opencc

CJK = r"㐀-䶿一-鿿"
# Emoji that say something about danger or mood become words in 〔〕; the brackets keep them apart from what was typed.
EMOJI = {
    "🔪": "〔刀〕",
    "🗡": "〔刀〕",
    "🪒": "〔刀片〕",
    "🔫": "〔枪〕",
    "💣": "〔炸弹〕",
    "🩸": "〔血〕",
    "💉": "〔针〕",
    "💊": "〔药〕",
    "⚰": "〔棺材〕",
    "🪦": "〔墓〕",
    "🥀": "〔枯萎〕",
    "🕯": "〔蜡烛〕",
    "☠": "〔骷髅〕",
    "💀": "〔骷髅〕",
    "👻": "〔鬼〕",
    "💔": "〔心碎〕",
    "🆘": "〔求救〕",
    "😭": "〔哭〕",
    "😢": "〔哭〕",
    "🥺": "〔委屈〕",
    "😞": "〔难过〕",
    "😔": "〔难过〕",
    "😖": "〔难过〕",
    "😣": "〔难过〕",
    "😩": "〔难过〕",
    "😰": "〔害怕〕",
    "😨": "〔害怕〕",
    "😱": "〔害怕〕",
    "😡": "〔生气〕",
    "😠": "〔生气〕",
    "🤬": "〔生气〕",
    "😂": "〔笑〕",
    "🤣": "〔笑〕",
    "😄": "〔笑〕",
    "😁": "〔笑〕",
    "😆": "〔笑〕",
    "😅": "〔笑〕",
    "😊": "〔笑〕",
    "😹": "〔笑〕",
    "🐶": "〔狗头〕",
    "👋": "〔挥手〕",
    "🙏": "〔合十〕",
    "❤": "〔爱心〕",
    "😘": "〔爱心〕",
    "😍": "〔爱心〕",
    "🥰": "〔爱心〕",
}
# WeChat writes its own faces as words in brackets.
_WECHAT_FACES = {
    "[捂脸]": "〔笑〕",
    "[笑哭]": "〔笑〕",
    "[破涕为笑]": "〔笑〕",
    "[旺柴]": "〔狗头〕",
    "[doge]": "〔狗头〕",
    "[流泪]": "〔哭〕",
    "[大哭]": "〔哭〕",
    "[菜刀]": "〔刀〕",
    "[心碎]": "〔心碎〕",
    "[凋谢]": "〔枯萎〕",
    "[再见]": "〔挥手〕",
    "[合十]": "〔合十〕",
    "[偷笑]": "〔笑〕",
    "[呲牙]": "〔笑〕",
}
# Characters opencc leaves alone that are only another way to write a common one.
_VARIANTS = {
    "妳": "你",
    "牠": "它",
    "祂": "他",
    "咁": "咁",
    "亖": "死",
    "𣦸": "死",
    "媽": "妈",
    "喺": "喺",
    "僞": "伪",
}
_DROPPED_CATEGORIES = {"Mn", "Me", "Cf", "Cc", "Cs", "Co"}


@dataclass(frozen=True, slots=True)
class Normal:
    """The normal form of a text. `starts[i]`/`ends[i]`: where normal character i came from, offsets into the original.

    Both are non-decreasing and within the original. Characters that were dropped belong to no normal character.
    """

    text: str
    starts: list[int]
    ends: list[int]

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The span of the original text that normal `[start, end)` came from; an empty span stays empty."""
        if start >= end or not self.starts:
            at = self.starts[start] if start < len(self.starts) else (self.ends[-1] if self.ends else 0)
            return at, at
        return self.starts[start], self.ends[min(end, len(self.ends)) - 1]


@cache
def _simplified() -> dict[str, str]:
    """Traditional -> simplified, one character at a time, asked of opencc once at load (a few milliseconds)."""
    blocks = [(0x3400, 0x4DC0), (0x4E00, 0xA000), (0xF900, 0xFB00)]
    every = [chr(code) for low, high in blocks for code in range(low, high)]
    converted = opencc.OpenCC("t2s").convert("\n".join(every)).split("\n")
    table = {a: b for a, b in zip(every, converted, strict=True) if a != b and len(b) == 1}
    table.update(_VARIANTS)
    return {a: table.get(b, b) for a, b in table.items()}


class _Table(dict[str, str]):
    """What one original character becomes: `""` when it is dropped. Filled as characters are met, bounded."""

    def __missing__(self, char: str) -> str:
        value = _fold(char)
        if len(self) < 60_000:
            self[char] = value
        return value


def _fold(char: str) -> str:
    if char in EMOJI:
        return EMOJI[char]
    if char in "\n\r\u2028\u2029\x0b\x0c\x85":
        return "\n"
    category = unicodedata.category(char)
    if char.isspace() or category == "Zs":
        return " "
    if category in _DROPPED_CATEGORIES or 0x1F3FB <= ord(char) <= 0x1F3FF:
        return ""
    folded = unicodedata.normalize("NFKC", char).lower()
    if any(ord(c) > 0x7F for c in folded):
        # zìshā with tone marks: an accented Latin letter is its letter. Other scripts keep their marks.
        folded = "".join(_unaccented(c) for c in folded)
    simplified = _simplified()
    folded = "".join(simplified.get(c, c) for c in folded)
    return " " if folded and not folded.strip() else folded


def _unaccented(char: str) -> str:
    if unicodedata.category(char) in _DROPPED_CATEGORIES:
        return ""
    base = unicodedata.normalize("NFKD", char)
    if base[0].isascii() and base[0].isalpha():
        return "".join(c for c in base if unicodedata.category(c) not in _DROPPED_CATEGORIES).lower()
    return char


_TABLE = _Table()

# Marks that nobody writes between two Chinese characters for their meaning.
_HARD = r"|*_\\/^#+=·・丨&$%`<>\[\]{}§×•●○◆■□★☆"
_SOFT = r" \n.,，。、;；:：!！?？~\-—–…'\"“”‘’()（）"
_BETWEEN = re.compile(rf"(?<=[{CJK}])[{_HARD} ]{{0,3}}[{_HARD}][{_HARD} ]{{0,3}}(?=[{CJK}])")
_SPELLED = re.compile(
    rf"(?<![{CJK}])[{CJK}](?:[{_SOFT}{_HARD}]{{1,3}}[{CJK}](?![{CJK}])){{2,}}"
    r"|(?<![a-z0-9])[a-z](?:[ .\-_*,]{1,2}[a-z](?![a-z0-9])){2,}"
)
_PIECE = re.compile(rf"[{_SOFT}{_HARD}]")
# A lone character beside a space belongs to the word after it: "我想 死" is one word, "回家 吃饭" stays two.
_LONE = re.compile(rf"(?<=[{CJK}])[ ~.…\-'\"]{{1,3}}(?=[{CJK}](?![{CJK}]))")
_RUN = re.compile(r"([^\d])\1{3,}")
_BLANKS = re.compile(r" {2,}| *\n[ \n]*")

# Words that are never written apart by accident. In the first list even a full stop inside does not part them.
_NEVER_APART = [
    "自杀",
    "自残",
    "自尽",
    "自伤",
    "割腕",
    "跳楼",
    "跳河",
    "跳江",
    "跳桥",
    "上吊",
    "轻生",
    "寻死",
    "烧炭",
    "遗书",
    "安眠药",
    "服毒",
    "农药",
    "百草枯",
    "强奸",
    "猥亵",
    "性侵",
    "轮奸",
    "裸照",
    "家暴",
    "吸毒",
    "贩毒",
    "杀人",
    "砍人",
    "抑郁",
    "不想活",
    "活不下去",
]
_RARELY_APART = ["想死", "去死", "找死", "等死", "救命", "救我", "不活了", "死掉", "刀片", "打我", "摸我"]


def _apart(words: list[str], marks: str) -> str:
    gap = rf"[{marks}]{{0,3}}"
    return "|".join(gap.join(re.escape(c) for c in w) for w in words)


_APART_STRICT = re.compile(_apart(_NEVER_APART, _SOFT + _HARD))
_APART_LOOSE = re.compile(_apart(_RARELY_APART, " .~…\\-*_|/"))

# Evasions: (what is written, what it means). Boundaries keep innocent words innocent: 紫砂壶 is a teapot, 孩子杀 is not 自杀.
_WANT = r"(?<=[想要去敢会])"
_ALONE = r"(?![a-z0-9])"
_EVASIONS: list[tuple[str, str]] = [
    (r"(?<![买泡把个做兴款套烧])紫砂(?![壶杯锅泥茶陶器煲花盆厂艺工碗材矿博之色])", "自杀"),
    (
        r"紫[杀鲨纱刹煞莎]|(?<![壶])紫沙(?![壶杯锅泥])|自[鲨砂刹煞纱莎]|梓杀|恣杀|籽杀|zi[ ]?杀|z杀|自[ ]?sha(?![a-z])",
        "自杀",
    ),
    (_WANT + r"(?:[子字仔籽姿茈][杀鲨砂沙煞]|自[傻沙啥]|自s(?![a-z]))", "自杀"),
    (r"(?<![a-z])zi ?sha(?![a-z])|(?<=xiang)zi ?sha(?![a-z])|(?<=xiang )zi ?sha(?![a-z])", "自杀"),
    (r"(?<![a-z])xzs" + _ALONE, "想自杀"),
    (r"(?<![a-z])wxzs" + _ALONE, "我想自杀"),
    (r"(?<=[想要去敢])zs" + _ALONE + r"|(?<=准备|打算|试过|计划|尝试|考虑)zs" + _ALONE, "自杀"),
    (r"(?<![a-z])zs(?=的?(?:念头|倾向|未遂|想法|计划|冲动))", "自杀"),
    (r"[紫梓]残|自蚕|自餐|自惨|(?<![a-z])zi ?can(?![a-z])|自[ ]?can(?![a-z])|zi残", "自残"),
    (
        r"割[碗婉宛挽]|[隔歌戈哥嘎噶鸽格葛]腕|[嘎噶隔鸽戈]碗|割[ ]?wan(?![a-z])|ge腕|(?<![a-z])ge ?wan(?![a-z])",
        "割腕",
    ),
    (r"跳[搂喽娄篓偻蒌嵝]|跳[ ]?lou(?![a-z])|tiao楼|(?<![a-z])tiao ?lou(?![a-z])", "跳楼"),
    (r"(?<![a-z])shang ?diao(?![a-z])|上[ ]?diao(?![a-z])|上钓(?=[自了死])", "上吊"),
    (r"安[ ]?眠[ ]?yao(?![a-z])|安mian药|安免药|安棉药|(?<![a-z])an ?mian ?yao(?![a-z])", "安眠药"),
    (r"遗[ ]?shu(?![a-z])|yi书(?=[写留])", "遗书"),
    (r"(?<![a-z])(?:wo)?bxhl+(?:e)?" + _ALONE + r"|不想活le?(?![a-z])", "不想活了"),
    (
        r"(?<![a-z])(?:wo )?bu ?xiang ?huo(?: ?le)?(?![a-z])|(?<=wo)buxianghuo(?:le)?(?![a-z])|不想huo(?:le)?(?![a-z])",
        "不想活了",
    ),
    (r"(?<![a-z])hbxq(?:le?)?" + _ALONE + r"|(?<![a-z])huo ?bu ?xia ?qu(?: ?le)?(?![a-z])", "活不下去了"),
    (
        r"(?<![a-z])wo ?(?:hao ?)?xiang ?si(?: ?le)?(?![a-z])|(?<![a-z])hao ?xiang ?si(?: ?le)?(?![a-z])",
        "我想死",
    ),
    (r"(?<=[想去])(?:si|s|4|四)(?=了|啊|吧|$|[ ,，。!！])(?!\d)|xiang死", "死"),
    (r"(?<=[想去])[鼠似屎](?=了|啊|吧|掉|一|$|[ ,，。!！])", "死"),
    (r"8想活", "不想活"),
    (r"歹匕", "死"),
    (r"[乂㐅][木朩]", "杀"),
    (r"(?<=不想)氵舌|(?<=想)氵舌", "活"),
    (r"[足𧾷]兆", "跳"),
    (r"害[刂刀]|宀丰口刂", "割"),
    (r"月宛", "腕"),
    (r"弓虽女干|强女干|弓虽奸|强歼|强jian(?![a-z])|强j(?![a-z])|墙奸|(?<![a-z])qiang ?jian(?![a-z])", "强奸"),
    (r"(?<![a-z])xing ?qin(?![a-z])|性qin(?![a-z])", "性侵"),
    (r"玉玉症|郁郁症|抑yu症|(?<![a-z])yyz" + _ALONE, "抑郁症"),
    (r"抑yu(?![a-z])|抑玉", "抑郁"),
    (r"(?<![a-z])jia ?bao(?=我|了|$)", "家暴"),
    (r"(?<![a-z])jiu ?ming(?![a-z])", "救命"),
    (r"(?<![a-z])jiu ?jiu ?wo(?![a-z])", "救救我"),
    (r"(?<![a-z])xi ?du(?![a-z])", "吸毒"),
]
_EVASION = re.compile("|".join(f"({pattern})" for pattern, _ in _EVASIONS))
_MEANING = [meaning for _, meaning in _EVASIONS]
# The evasion pass is skipped unless one of these is there; ordinary Chinese rarely has any.
_EVASION_SIGN = re.compile(
    r"[a-z8紫自梓恣籽子字仔姿茈割隔歌戈哥嘎噶鸽格葛跳上安歹乂㐅氵足𧾷害宀月弓强墙玉郁抑4四鼠似屎]"
)
_FACE = re.compile("|".join(re.escape(face) for face in _WECHAT_FACES))

_Rewrite = Callable[[re.Match[str]], str]


def _rewrite(normal: Normal, pattern: re.Pattern[str], new: _Rewrite) -> Normal:
    """Replace every match; each new character comes from the whole span of its match."""
    text, starts, ends = normal.text, normal.starts, normal.ends
    pieces: list[str] = []
    new_starts: list[int] = []
    new_ends: list[int] = []
    last = 0
    for match in pattern.finditer(text):
        low, high = match.span()
        word = new(match)
        if word == match.group() or low == high:
            continue
        pieces.append(text[last:low])
        new_starts += starts[last:low]
        new_ends += ends[last:low]
        last = high
        kept = _kept(match.group(), word)
        pieces.append(word)
        if kept is not None:  # only separators went: every character knows its own place
            new_starts += [starts[low + i] for i in kept]
            new_ends += [ends[low + i] for i in kept]
        else:
            new_starts += [starts[low]] * len(word)
            new_ends += [ends[high - 1]] * len(word)
    if not pieces:
        return normal
    pieces.append(text[last:])
    return Normal("".join(pieces), new_starts + starts[last:], new_ends + ends[last:])


def _kept(old: str, new: str) -> list[int] | None:
    """Where the characters of `new` stand in `old`, when `new` is `old` with some characters left out."""
    places: list[int] = []
    at = 0
    for char in new:
        at = old.find(char, at)
        if at < 0:
            return None
        places.append(at)
        at += 1
    return places


def _without_marks(match: re.Match[str]) -> str:
    return _PIECE.sub("", match.group())


def _meant(match: re.Match[str]) -> str:
    return _MEANING[(match.lastindex or 1) - 1]


def _blank(match: re.Match[str]) -> str:
    return "\n" if "\n" in match.group() else " "


def _one_round(normal: Normal) -> Normal:
    normal = _rewrite(normal, _BLANKS, _blank)
    normal = _rewrite(normal, _FACE, lambda m: _WECHAT_FACES[m.group()])
    normal = _rewrite(normal, _SPELLED, _without_marks)
    normal = _rewrite(normal, _BETWEEN, lambda m: "")
    normal = _rewrite(normal, _LONE, lambda m: "")
    normal = _rewrite(normal, _APART_STRICT, _without_marks)
    normal = _rewrite(normal, _APART_LOOSE, _without_marks)
    if _EVASION_SIGN.search(normal.text):
        normal = _rewrite(normal, _EVASION, _meant)
    return _rewrite(normal, _RUN, lambda m: m.group(1) * 3)


def normalise(text: str) -> Normal:
    """The normal form of `text` and the map back. Never raises; the normal form of a normal form is itself."""
    chars: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    table = _TABLE
    for i, char in enumerate(text):
        new = table[char]
        if len(new) == 1:
            chars.append(new)
            starts.append(i)
            ends.append(i + 1)
        elif new:
            chars.append(new)
            starts += [i] * len(new)
            ends += [i + 1] * len(new)
    normal = Normal("".join(chars), starts, ends)
    for _ in range(8):  # a join can make a new word to see: 自 歹匕; two rounds are the rule
        changed = _one_round(normal)
        if changed is normal:
            break
        normal = changed
    return normal
