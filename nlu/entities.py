"""Facts that can be read off a message for the case form: age, stage of school, who did it, place, phone, time, amount.

A light reading, never a decision: whoever fills the form sees it as a proposal. Works on the normal form; values are short
strings. A phone number is personal data: it goes into `Understanding.entities` and nowhere else.
"""

from __future__ import annotations

import re

_DIGITS = {c: i for i, c in enumerate("零一二三四五六七八九")} | {"两": 2}
_AGE = re.compile(
    r"(?<![\d零一二三四五六七八九十])(\d{1,2}|十?[一二三四五六七八九]|十|二十[一二三四五六七八]?)周?岁"
)
_STAGE = [
    (re.compile(r"幼儿园|小班|中班|大班"), "幼儿园"),
    (re.compile(r"小学|[一二三四五六]年级|小[一二三四五六](?!时|个|点)"), "小学"),
    (re.compile(r"初中|初[一二三](?!中)|七年级|八年级|九年级|中考"), "初中"),
    (re.compile(r"中专|职高|技校|职校|中职"), "中职"),
    (re.compile(r"高中|高[一二三](?!点|些|个)|高考"), "高中"),
    (re.compile(r"大专|高职|专科"), "大专"),
    (re.compile(r"大学|大[一二三四](?!点|些|个)|本科|辅导员|考研|学院"), "大学"),
    (re.compile(r"研究生|研[一二三]|硕士|博士|导师"), "研究生"),
    (re.compile(r"上班|打工|厂里|工地|骑手|送外卖|公司|辞职|老板"), "工作"),
]
_PLACE = re.compile(
    r"天台|楼顶|顶楼|窗台|阳台|桥上|桥边|河边|江边|海边|湖边|水库边?|铁轨|宿舍|寝室|教室|厕所|操场|网吧|火车站|汽车站|地铁站|医院"
    r"|派出所|酒店|宾馆|出租屋|工地|工厂|厂里|公园|家里|学校|公司|[\u4e00-\u9fff]{2,6}(?:中学|小学|大学|学院|小区|大桥|广场)"
)
_PHONE = re.compile(r"(?<!\d)(?:\+?86[- ]?)?(1[3-9]\d[- ]?\d{4}[- ]?\d{4})(?!\d)")
_TIME = re.compile(
    r"(?:今天|今晚|今早|明天|明晚|明早|后天|昨天|昨晚|前天|刚才|刚刚|现在|凌晨|半夜|周[一二三四五六日末]|星期[一二三四五六日天]|\d{1,2}月\d{1,2}[日号])"
    r"(?:早上|上午|中午|下午|晚上|凌晨)?(?:[\d一二三四五六七八九十]{1,3}点半?)?|(?:早上|上午|中午|下午|晚上|凌晨)?[\d一二三四五六七八九十]{1,3}点(?:半|钟)?"
)
_AMOUNT = re.compile(
    r"(?<!\d)(\d{1,9}(?:\.\d{1,2})?\s?(?:万|千|百)?\s?(?:元|块钱?|万|w(?![a-z])|千|k(?![a-z])))|[一二三四五六七八九十两几百千]{1,5}(?:万|千|百)(?:多)?(?:元|块钱?)?"
)
_PERSON = (
    "继父|后爸|养父|继母|后妈|养母|爸妈|父母|爸爸?|老爸|父亲|妈妈?|老妈|母亲|爷爷|奶奶|外公|外婆|姥姥|姥爷|叔叔|舅舅|姑父|姨父|伯伯|大伯"
    "|表哥|堂哥|哥哥?|弟弟|姐夫|姐姐|妹妹|亲戚|邻居|班主任|老师|教练|校长|辅导员|导师|宿管|保安|同学|同桌|室友|舍友|学长|学姐|高年级的?"
    "|男朋友|女朋友|男友|女友|前任|前男友|前女友|老公|丈夫|网友|陌生人|主播|老板|领导|主管|经理|组长|师傅|同事|工头|包工头|房东|中介|客服|骗子"
)
_DID = (
    "打|揍|扇|踢|踹|掐|骂|吼|羞辱|嘲笑|孤立|欺负|霸凌|摸|亲|抱|强奸|强迫|逼|侵犯|猥亵|性侵|骚扰|偷拍|跟踪|堵|抢|偷|骗|威胁|勒索|敲诈|拉黑"
    "|关|锁|赶|家暴|动手|没收|翻|拖欠|欠|扣|克扣|不发|不给|不退|不让|不管|辞退|开除|借"
)
_WHO = re.compile(
    rf"被(?:我|一个|那个|几个|隔壁|我们)?({_PERSON})|({_PERSON})(?!的)[^,。!?;\n被]{{0,8}}?(?:{_DID})(?!算|车|电话|游戏|字|扮)"
)


def read(text: str) -> dict[str, str]:
    """What can be read off the normal form `text`; absent keys could not be."""
    found: dict[str, str] = {}
    age = _AGE.search(text)
    if age:
        years = _number(age.group(1))
        if 3 <= years <= 99:
            found["age"] = str(years)
    stage = next((name for pattern, name in _STAGE if pattern.search(text)), None)
    if stage:
        found["stage"] = stage
    who = _WHO.search(text)
    if who:
        found["who"] = who.group(1) or who.group(2)
    for name, pattern in (("place", _PLACE), ("phone", _PHONE), ("time", _TIME), ("amount", _AMOUNT)):
        match = pattern.search(text)
        if match:
            found[name] = match.group(match.lastindex or 0).strip()
    return found


def _number(text: str) -> int:
    if text.isdigit():
        return int(text)
    tens, _, ones = text.partition("十")
    if "十" not in text:
        return _DIGITS.get(text, 0)
    return (_DIGITS.get(tens, 1) if tens else 1) * 10 + (_DIGITS.get(ones, 0) if ones else 0)
