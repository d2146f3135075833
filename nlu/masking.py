"""Takes identifying details out of a message before anybody but its counsellor reads it again: for review samples (escalation/review.py).

Two kinds of finding. *Certain* ones have a form: telephone, identity and card numbers, mail addresses, links, WeChat and QQ ids,
number plates, long numbers. They are masked whenever a text passes here. *Guessed* ones are names, schools and places: a word
segmenter and patterns find most and also take some harmless words; a curator corrects both by hand. Nobody may rely on the guesses alone.

A masked detail stands as ［姓名］, ［电话］ … so that the sense stays. `spoken` puts plain words there for training, lest a model learn
that a bracket means danger.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import yaml

# What each placeholder says, and the plain word that a model learns from instead.
PLACEHOLDERS: Final[dict[str, str]] = {
    "姓名": "小某",
    "电话": "号码",
    "证件": "证件号",
    "号码": "号码",
    "账号": "账号",
    "邮箱": "邮箱",
    "链接": "网址",
    "学校": "学校",
    "班级": "班里",
    "地址": "某个地方",
    "地名": "某地",
    "单位": "单位",
    "生日": "某天",
}
_HELD: Final = re.compile("［(?:" + "|".join(PLACEHOLDERS) + ")］")

# A character stands for one character, so that places found in the plain form hold in the original.
_PLAIN: Final = str.maketrans(
    "０１２３４５６７８９零〇一二三四五六七八九壹贰叁肆伍陆柒捌玖幺①②③④⑤⑥⑦⑧⑨－—–＿．：／＠Ｏ"
    "ＡＢＣＤＥＦＧＨＩＪＫＬＭＮＰＱＲＳＴＵＶＷＸＹＺａｂｃｄｅｆｇｈｉｊｋｌｍｎｏｐｑｒｓｔｕｖｗｘｙｚ",
    "01234567890012345678912345678911234567" + "89---_.:/@O"
    "ABCDEFGHIJKLMNPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
)
_GAP: Final = r"[\s.\-_*,，、·]{0,2}"  # what people put between digits so that no machine finds them


def _digits(first: str, rest: int, most: int | None = None) -> str:
    counted = f"{{{rest}}}" if most is None else f"{{{rest},{most}}}"
    return f"(?<!\\d){first}(?:{_GAP}\\d){counted}(?!\\d)"


_ACCOUNT_WORD: Final = (
    r"(?:微信|威信|薇信|维信|vx|v信|wx|wechat|weixin|加我?v|\bv(?=[:：是])"
    r"|qq|q号|扣扣|企鹅|抖音|快手|小红书|微博|b站|steam|游戏)"
)
_ACCOUNT: Final = re.compile(
    _ACCOUNT_WORD + r"[号账帐]{0,2}(?:是|为|叫|id|ID|[:：=\s])*[\s:：]*([A-Za-z0-9][A-Za-z0-9_\-]{4,24})",
    re.IGNORECASE,
)
_CERTAIN: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    ("邮箱", re.compile(r"[A-Za-z0-9_.+\-]+@[A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)+")),
    (
        "链接",
        re.compile(
            r"(?:https?://|www\.)[!-~]+"
            r"|(?<![A-Za-z0-9@.])[A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)*\.(?:com|cn|net|org|top|xyz|vip|cc|io|me|tv|info|site|club)"
            r"(?:/[!-~]*)?",
            re.IGNORECASE,
        ),
    ),
    ("证件", re.compile(r"(?<!\d)[1-9](?:" + _GAP + r"\d){16}" + _GAP + r"[\dXx](?!\d)")),
    ("账号", re.compile(_digits(r"\d", 15, 18))),  # bank cards
    ("电话", re.compile(r"(?<!\d)(?:\+?86" + _GAP + r")?1[3-9](?:" + _GAP + r"\d){9}(?!\d)")),
    ("电话", re.compile(r"(?<!\d)0\d{2,3}" + _GAP + r"[2-9](?:" + _GAP + r"\d){6,7}(?!\d)")),
    (
        "号码",
        re.compile(
            r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-Z][·\s]?[A-Z0-9]{5,6}(?![A-Za-z0-9])"
        ),
    ),
    ("号码", re.compile(r"(?:学号|工号|准考证号?|社保号|护照号?)(?:是|为|[:：\s])*[A-Za-z0-9]{4,}")),
    ("号码", re.compile(_digits(r"\d", 6, 14))),  # any other long number: QQ, student, order
)
# Nobody's own number: what our own texts say too.
PUBLIC: Final = frozenset(
    (
        "110",
        "120",
        "119",
        "122",
        "12355",
        "12356",
        "12110",
        "12348",
        "12338",
        "12345",
        "12333",
        "12309",
        "96110",
        "12315",
        "12320",
    )
)
_DATE: Final = re.compile(r"(?:19|20)\d{2}\D?\d{1,2}\D?\d{1,2}(?!\d)")

_WORDS: Final[dict[str, str]] = yaml.safe_load(Path(__file__).with_suffix(".yml").read_text(encoding="utf-8"))
_SURNAMES: Final = frozenset(_WORDS["surnames"].replace(" ", ""))
_DOUBLE: Final = tuple(_WORDS["double_surnames"].split())
_TITLE: Final = "老师|同学|医生|大夫|校长|主任|教练|经理|老板|叔叔?|阿姨|先生|女士|师傅|警官|律师|教官|学长|学姐|辅导员|组长|队长|班长|总"
_GIVEN: Final = frozenset(_WORDS["given"].replace(" ", ""))
_NO_NAME: Final = frozenset(_WORDS["not_names"].split())
_SCHOOL_NAMES: Final = "|".join(_WORDS["schools"].split())
_PLACES: Final = "|".join(sorted(_WORDS["places"].split(), key=len, reverse=True))
_NAMED: Final = re.compile(
    r"(我叫|我名字叫|我的名字是|名叫|名字[叫是]|姓名[:：是]?"
    r"|[他她]叫做?|(?:同学|老师|男的|女的|男生|女生|男朋友|女朋友|弟弟|妹妹|哥哥|姐姐|儿子|女儿|孩子|爸|妈)叫)"
    r"[\s“\"'：:]{0,2}([\u4e00-\u9fff]{2,3}?)(?=[，。,.!！?？；;\s“”\"'、]|今年|是|在|的|$)"
)
_TITLE_AT_END: Final = re.compile(f"(?:{_TITLE})$")
_TITLED: Final = re.compile(rf"([{''.join(sorted(_SURNAMES))}][\u4e00-\u9fff]{{0,2}}?)(?=(?:{_TITLE})(?!板))")
_LITTLE: Final = re.compile(
    rf"(?<![大多少太最从])[小阿老][{''.join(sorted(_SURNAMES))}](?![\u4e00-\u9fff]?[时学])"
)
# Words that end a name or place when one looks backwards for its beginning.
_STOP: Final = frozenset(
    "的在上读去到我你他她它们是和与跟从考进这那个所了不有被把就也都很过来给让想要会说对为以前之没吧吗呢啊"
    "，。,.!！?？；;、\n\r\t ：:“”\"'（）()【】［］"
)
_SCHOOL_KIND: Final = "中学|小学|大学|学院|学校|高中|初中|幼儿园|附中|附小|职高|技校|职校|中专|卫校"
_SCHOOL: Final = re.compile(
    rf"(?:(?:{_PLACES})[省市县区]?|[\u4e00-\u9fff]{{2,3}}[市县区镇乡])?"
    rf"(?:(?:{_SCHOOL_NAMES}|第[\d一二三四五六七八九十百]{{1,3}}|[东南西北]方?|(?<=[市县区镇乡])[^\W里的上有个这那一\d_a-zA-Z]{{2}})){{1,3}}"
    rf"(?:技术)?(?:{_SCHOOL_KIND})"
    rf"|(?:{_PLACES})[省市县区]?(?:{_SCHOOL_KIND})"
)
_NUMBERED_SCHOOL: Final = re.compile(
    r"(?<![千百万十第\d点])(?:[市县区]|第)?[一二三四五六七八九]?十?[一二三四五六七八九]中(?=[的，。,、！？\s读上初高校门]|学[生校]|$)"
)
_CLASS: Final = re.compile(
    r"(?:[高初大小][一二三四五六1-6]|[一二三四五六七八九1-9]年级)?[（(]?[\d一二三四五六七八九十]{1,3}[）)]?班(?![上里长主])"
)
_STREET: Final = re.compile(
    r"[\u4e00-\u9fff]{2,8}(?:省|自治区)?[\u4e00-\u9fff]{0,8}(?:街道|大道|路|街|巷|弄|里|村|镇|乡|小区|花园|公寓|苑|新村|社区|大厦|广场)"
    r"\s?[\d一二三四五六七八九十百]{1,5}\s?(?:号|弄|幢|栋|座|单元|室|组|队)(?:[\d一二三四五六七八九十百A-Za-z\-]{1,6}(?:号楼|号|幢|栋|座|单元|室|楼|层)?)*"
)
_ROOM: Final = re.compile(
    r"\d{1,3}\s?(?:号楼|幢|栋|座)\s?(?:\d{1,2}\s?单元)?\s?\d{2,4}\s?(?:室|号|房)?|(?:宿舍|寝室)\s?[A-Za-z]?\d{3,4}"
)
_PLACE: Final = re.compile(r"[\u4e00-\u9fff]{2,6}(?:小区|花园|公寓|新村)")
_TOWN: Final = re.compile(rf"(?:{_PLACES})[省市县区]?(?![\u4e00-\u9fff]?[话菜])")
_BIRTHDAY: Final = re.compile(r"(?:生日|出生)(?:是|于|[:：\s])*(?:\d{2,4}年)?\d{1,2}[月.\-]\d{1,2}[日号]?")

Found = tuple[int, int, str]


def mask(text: str, known: Iterable[str] = ()) -> str:
    """`text` with everything found masked, certain and guessed, and each of `known` (the person's alias, address) besides."""
    found = [*_spans_of(text, known), *certain(text), *guessed(text)]
    return _covered(text, found)


def mask_certain(text: str) -> str:
    """`text` with only what has a certain form masked: the last look at what a curator wrote by hand."""
    return _covered(text, certain(text))


def spoken(masked: str) -> str:
    """A masked text in plain words, as a model is to learn it."""
    return _HELD.sub(lambda hit: PLACEHOLDERS[hit[0][1:-1]], masked)


def certain(text: str) -> list[Found]:
    """What has an unmistakable form, as (start, end, what)."""
    plain = text.translate(_PLAIN)
    found = [(hit.start(1), hit.end(1), "账号") for hit in _ACCOUNT.finditer(plain)]
    for what, pattern in _CERTAIN:
        for hit in pattern.finditer(plain):
            if what == "号码" and (hit[0] in PUBLIC or _DATE.fullmatch(hit[0])):
                continue
            # Counted aloud, 一二三四五六七 is a line of a song: a number in characters needs eleven or a written digit.
            if what == "号码" and not any(c.isdigit() and c.isascii() for c in text[hit.start() : hit.end()]):
                continue
            found.append((hit.start(), hit.end(), what))
    return found


def guessed(text: str) -> list[Found]:
    """What looks like a name, a school, a class, a place, a birthday."""
    return [*_names(text), *_schools(text), *_places(text)]


def _names(text: str) -> Iterator[Found]:
    for hit in _NAMED.finditer(text):
        own = hit[1].startswith(("我", "名", "姓"))  # 我叫糖糖; but 妈妈叫起床 is no name
        if hit[2] not in _NO_NAME and (own or _like_a_name(hit[2])) and not any(c in _STOP for c in hit[2]):
            yield hit.start(2), hit.end(2), "姓名"
    for pattern in (_TITLED, _LITTLE):
        for hit in pattern.finditer(text):
            if hit[0] not in _NO_NAME and not any(c in _STOP for c in hit[0]):
                yield hit.start(), hit.end(), "姓名"
    for start, word, kind in _tagged(text):
        if not kind.startswith("nr") or word in _NO_NAME:
            continue
        name = word.lstrip("和跟叫是找向对") if len(word) > 2 else word
        begin = start + len(word) - len(name)
        name = _TITLE_AT_END.sub("", name)
        if name not in _NO_NAME and _like_a_name(name):
            yield begin, begin + len(name), "姓名"


def _like_a_name(word: str) -> bool:
    """陈雨桐, 张伟, 欧阳娜, 小红, 娜娜: a surname or a nickname's beginning, and behind it what given names are made of."""
    if word.startswith(_DOUBLE):
        return len(word) <= 4
    if len(word) == 3:
        return word[0] in _SURNAMES and (word[1] in _GIVEN or word[2] in _GIVEN)
    if len(word) == 2:
        first = word[0] in _SURNAMES or word[0] in "小阿" or word[0] == word[1]
        return first and word[1] in _GIVEN
    return False


def _schools(text: str) -> Iterator[Found]:
    for what, pattern in (("学校", _SCHOOL), ("学校", _NUMBERED_SCHOOL), ("班级", _CLASS)):
        for hit in pattern.finditer(text):
            yield hit.start(), hit.end(), what


def _places(text: str) -> Iterator[Found]:
    for what, pattern in (("地址", _STREET), ("地址", _ROOM), ("生日", _BIRTHDAY), ("地名", _TOWN)):
        for hit in pattern.finditer(text):
            yield hit.start(), hit.end(), what
    for hit in _PLACE.finditer(text):
        start = max((i + 1 for i in range(hit.start(), hit.end()) if text[i] in _STOP), default=hit.start())
        if hit.end() - start >= 4:
            yield start, hit.end(), "地址"
    for start, word, kind in _tagged(text):
        if kind == "ns" and len(word) >= 3 and word[-1] in "省市县区州镇乡村":
            yield start, start + len(word), "地名"
        elif kind == "nt" and len(word) >= 5 and word.endswith(("公司", "集团", "工厂", "医院")):
            yield start, start + len(word), "单位"


def _tagged(text: str) -> Iterator[tuple[int, str, str]]:
    """Words with their place and part of speech."""
    import rjieba  # its dictionary is loaded only where something is masked

    place = 0
    for word, kind in rjieba.tag(text):
        yield place, word, kind
        place += len(word)


def _spans_of(text: str, known: Iterable[str]) -> Iterator[Found]:
    """Every place of what is known of the person already."""
    for detail in known:
        if len(detail.strip()) >= 2:
            for hit in re.finditer(re.escape(detail.strip()), text, re.IGNORECASE):
                yield hit.start(), hit.end(), "姓名"


def _covered(text: str, found: Sequence[Found]) -> str:
    """`text` with the spans covered; what overlaps becomes one, named after the one that begins first."""
    held = [hit.span() for hit in _HELD.finditer(text)]
    parts, at = [], 0
    ordered = sorted(found, key=lambda f: (f[0], -f[1]))
    while ordered:
        start, end, what = ordered.pop(0)
        while ordered and ordered[0][0] < end:
            end = max(end, ordered.pop(0)[1])
        if any(a < end and start < b for a, b in held):
            continue
        parts += [text[at:start], f"［{what}］"]
        at = end
    return "".join([*parts, text[at:]])
