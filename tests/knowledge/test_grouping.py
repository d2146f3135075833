"""Questions that went unanswered are put together by what they ask, and a group never mixes two questions."""

from __future__ import annotations

import pytest

from knowledge import grouping

# Ways to ask, four of each; none is a wording of an entry.
ASKED = [
    ["学校食堂可以带外卖进去吗", "能不能把外卖带进学校", "学校不让点外卖合法吗", "点外卖送到学校门口可以吗"],
    [
        "图书馆卡丢了怎么补办",
        "我的借书证弄丢了要怎么补",
        "市图书馆的读者证丢了去哪里补",
        "借书证不见了还能办吗",
    ],
    [
        "无人机在小区里飞要登记吗",
        "玩无人机需要考证吗",
        "我的无人机要不要实名登记",
        "航拍无人机没登记会罚款吗",
    ],
    ["滑板可以在马路上骑吗", "电动滑板能上路吗", "玩滑板车上马路违法吗", "骑电动滑板车上学行不行"],
    ["宠物狗咬了邻居要赔多少", "我家狗把人咬了怎么赔", "狗咬人主人要赔疫苗钱吗", "养的狗咬伤同学怎么办"],
    ["共享单车押金退不回来", "小黄车押金一直不退", "骑共享单车的押金怎么要回来", "单车平台倒了押金还退吗"],
    [
        "纹身店给未成年纹身合法吗",
        "17岁可以去纹身吗",
        "没满18纹身店老板会不会被罚",
        "未成年想纹身要家长同意吗",
    ],
    ["高铁票买错了能退全款吗", "火车票怎么退", "高铁票改签要手续费吗", "学生票退票扣多少钱"],
    ["我想学吉他妈妈不让", "家里不同意我学音乐", "妈妈不给我报吉他班", "爸妈反对我玩乐队"],
    ["做梦老是掉牙是什么意思", "总梦到牙齿掉光", "梦见掉牙代表什么", "晚上老做牙掉了的梦"],
    ["身份证上的名字想改怎么改", "可以自己改名字吗", "改名要去哪里办", "成年后想换个名字需要什么材料"],
    ["社团活动要请假吗", "参加社团老师不批假", "学校不让参加社团", "去社团比赛班主任不给假"],
    ["视力不够能考军校吗", "近视可以报军校吗", "军校体检近视多少度不行", "做了近视手术能读军校吗"],
    ["志愿者时长怎么查", "义工服务时间在哪里看", "我做的志愿服务没有记时长", "志愿时长可以补录吗"],
    ["寝室空调坏了学校不修", "宿舍空调一直没人修", "宿舍热得睡不着空调坏了", "寝室空调报修没人理"],
]


@pytest.fixture(scope="module")
def found() -> list[list[str]]:
    questions = [question for asked in zip(*ASKED, strict=True) for question in asked]
    return [[questions[place] for place in group] for group in grouping.group(questions)]


def test_a_group_holds_one_question_only(found: list[list[str]]) -> None:
    topic = {question: number for number, asked in enumerate(ASKED) for question in asked}
    mixed = [group for group in found if len({topic[question] for question in group}) > 1]
    assert mixed == []


def test_most_ways_to_ask_a_question_come_together(found: list[list[str]]) -> None:
    assert sum(len(group) for group in found) == 4 * len(ASKED)
    assert sum(len(group) > 1 for group in found) >= len(ASKED)
    assert sum(len(group) for group in found if len(group) > 1) >= 0.7 * 4 * len(ASKED)


def test_the_largest_group_stands_first(found: list[list[str]]) -> None:
    sizes = [len(group) for group in found]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 4


def test_the_same_words_are_one_group_whatever_stands_around_them() -> None:
    asked = ["寝室空调坏了学校不修", "怎么改名字", "请问寝室空调坏了学校不修？", "寝室 空调 坏了，学校不修！"]
    assert sorted(map(sorted, grouping.group(asked))) == [[0, 2, 3], [1]]


def test_what_has_no_words_breaks_nothing() -> None:
    assert grouping.group([]) == []
    assert sorted(map(sorted, grouping.group(["？？？", "", "怎么改名字", "我想改名字怎么改"]))) == [
        [0],
        [1],
        [2, 3],
    ]
