"""The second pair of eyes of promise 4: decides when understanding itself has failed.

Kept apart on purpose: standard library only, its own short list and its own normal form, nothing from the rest of the room
but the types. It reads each character a bounded number of times, so it cannot hang. It would rather ring once too often:
it runs only when the real engine is broken.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from .understanding import Kind, Risk, Span, Topic, Understanding, higher

_TRADITIONAL = str.maketrans(
    "殺殘輕絕遺書藥農樓門車國媽沒還個這麼嗎們強姦傷體結斷開關燒標槍壓騙賣掉",
    "杀残轻绝遗书药农楼门车国妈没还个这么吗们强奸伤体结断开关烧标枪压骗卖掉",
)
_MARKS = re.compile(r"[\s,，。、;；:：!！?？~～\-—–_*|/\\·•.…'\"“”‘’()（）\[\]【】<>《》+=^#@&%$`]+")
_INNOCENT = re.compile(
    r"紫砂[壶杯锅泥茶陶器煲盆]|笑死|累死|困死|饿死|热死|冷死|气死|烦死|吓死|忙死|爱死|羡慕死|想死你|社死|跳楼价|死机|死党|自杀式"
    r"|救命稻草|救命恩人|狼人杀|剧本杀|自相残杀|死记硬背|杀手锏|绝杀|[多热冷困饿累笑]到想(?:死|跳楼)"
)
_CRITICAL: list[tuple[str, Kind, str]] = [
    (r"(?:在|上|到|站|爬|坐).{0,4}(?:天台|楼顶|顶楼|窗台|栏杆|屋顶)", "suicide", "正在危险的地方"),
    (r"(?:准备|正要|就要|马上|我要|我)跳(?:了|下去|楼)", "suicide", "正要实施"),
    (
        r"(?:吃|吞|喝|服)(?:了|下|完|光|掉).{0,6}(?:整瓶|一瓶|半瓶|大把|一把|安眠药|农药|百草枯|老鼠药|几十[片颗粒]|\d\d+[片颗粒])",
        "suicide",
        "已服药或服毒",
    ),
    (r"割(?:了|开|破).{0,3}(?:腕|手腕|动脉)|割腕了", "suicide", "已割腕"),
    (r"遗书|写好遗言", "suicide", "提到遗书"),
    (r"(?:今晚|今天|明天|马上|现在|等会).{0,6}(?:去死|自杀|跳楼|结束生命|不活了)", "suicide", "已有时间"),
    (r"(?:多少|几)[片颗粒瓶].{0,6}(?:死|致命)|怎么死|死法|自杀方法|怎么自杀", "suicide", "打听方式"),
    (r"血止不住|流了?好多血|大出血|叫不醒|没有?呼吸|煤气中毒|着火了", "emergency", "眼前的紧急危险"),
    (r"救命|救救?我|快报警|跟踪我|尾随我|拿刀(?:追|砍|指|要)", "emergency", "求救"),
]
_HIGH: list[tuple[str, Kind, str]] = [
    (
        r"自杀|轻生|寻死|自尽|zisha|紫砂|自鲨|紫杀|bxhl|结束(?:自己的|我的)?生命|不想活|活不下去|不活了|活够了|想死|死了算|去死|死掉|一了百了|了结自己|唔想活",
        "suicide",
        "说到死",
    ),
    (r"跳楼|跳河|跳江|上吊|烧炭|割腕|割脉|卧轨|服毒|喝农药|安眠药", "suicide", "提到危险的方式"),
    (r"自残|自伤|割自己|划自己|割手|划手|伤害自己|刀.{0,4}(?:手|胳膊|腿)", "self_harm", "伤害自己"),
    (
        r"(?:爸|妈|继父|父亲|母亲|老公|男友|男朋友|家里人|爷爷|叔叔).{0,8}(?:打|揍|抽|踹|掐|锁|赶)我|家暴|虐待|把我(?:锁|关|赶|绑)",
        "domestic_abuse",
        "在家受到伤害",
    ),
    (
        r"强奸|强暴|轮奸|性侵|猥亵|迷奸|非礼|裸照|裸聊|裸体|(?:摸|脱|亲).{0,4}(?:下面|胸|屁股|大腿|衣服|裤子|我)|偷拍",
        "sexual_abuse",
        "涉及性侵害",
    ),
    (
        r"(?:同学|他们|她们|几个人|一群人|室友).{0,8}(?:打|揍|扇|踢|堵)我|霸凌|欺凌|保护费|勒索|逼我",
        "bullying",
        "被欺凌",
    ),
    (
        r"(?:想|要).{0,4}(?:杀|弄死|捅|砍死|炸)(?:了|死)?.{0,2}(?:他|她|人|你|全|老师|同学|爸|妈)|同归于尽|(?:要|说).{0,4}(?:杀|弄死|打死|砍)我|威胁我",
        "violence",
        "涉及暴力",
    ),
    (
        r"传销|(?:收|扣).{0,4}(?:身份证|手机)|不让.{0,3}(?:走|出去|离开)|被(?:卖|拐|骗到|关|绑架|困)|缅北|园区",
        "trafficking",
        "被控制",
    ),
    (r"吸毒|冰毒|海洛因|被下药|依托咪酯|大麻", "drugs", "涉及毒品"),
    (r"离家出走|跑出来了|没地方(?:去|住|睡)|失踪|走丢|失联", "runaway", "出走或失踪"),
]
_RULES: list[tuple[re.Pattern[str], Risk, Kind, str]] = [
    *((re.compile(p), "critical", kind, why) for p, kind, why in _CRITICAL),
    *((re.compile(p), "high", kind, why) for p, kind, why in _HIGH),
]
_OWN_MIND = frozenset({"suicide", "self_harm"})


def judge(text: str) -> Understanding | None:
    """High or critical when a dangerous phrase is there, else None. Never raises on any string; time is linear."""
    plain, places = _plain(text)
    plain = _INNOCENT.sub(lambda m: "〇" * len(m.group()), plain)
    risk: Risk = "none"
    kinds: list[Kind] = []
    spans: list[Span] = []
    for pattern, level, kind, why in _RULES:
        match = pattern.search(plain)
        if match is None:
            continue
        risk = higher(risk, level)
        if kind not in kinds:
            kinds.append(kind)
        spans.append(Span(places[match.start()], places[match.end() - 1] + 1, why))
    if not spans:
        return None
    topic: Topic = "psychological" if set(kinds) <= _OWN_MIND and risk != "critical" else "safety"
    category = "psychological.crisis" if topic == "psychological" else "safety.danger"
    score = 0.9 if risk == "critical" else 0.75
    return Understanding(topic, risk, score, tuple(kinds), category, spans=tuple(spans), engine="lexicon")


def _plain(text: str) -> tuple[str, list[int]]:
    """Narrow, simplified, without marks between characters; and where each character was."""
    chars: list[str] = []
    places: list[int] = []
    for at, char in enumerate(text):
        for new in _letters(char):
            chars.append(new)
            places.append(at)
    return "".join(chars), places


@lru_cache(maxsize=8192)
def _letters(char: str) -> str:
    """What is left of one character; "" for a mark. Remembered, because it is asked of every character of every message."""
    if unicodedata.category(char)[0] in "CM":
        return ""
    plain = unicodedata.normalize("NFKC", char).lower().translate(_TRADITIONAL)
    return "".join(new for new in plain if not _MARKS.match(new))
