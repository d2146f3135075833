"""Identifying details in a message are masked; what it says stays readable; long and hostile texts cost linear time."""

from __future__ import annotations

import time

import pytest

from nlu.masking import PLACEHOLDERS, mask, mask_certain, spoken


@pytest.mark.parametrize(
    ("written", "masked"),
    [
        ("电话13800138000，快来", "电话［电话］，快来"),
        ("打138 0013 8000或138-0013-8000", "打［电话］或［电话］"),
        ("一三八零零一三八零零零", "［电话］"),
        ("１３８００１３８０００", "［电话］"),
        ("座机0571-88888888", "座机［电话］"),
        ("身份证330102200801011234", "身份证［证件］"),
        ("身份证33010220080101123x", "身份证［证件］"),
        ("卡号6222 0200 1234 5678 901", "卡号［账号］"),
        ("加我微信abc_12345吧", "加我微信［账号］吧"),
        ("VX:night-owl88", "VX:［账号］"),
        ("QQ 87654321", "QQ ［账号］"),
        ("扣扣号是 87654321", "扣扣号是 ［账号］"),
        ("发我foo.bar@example.com", "发我［邮箱］"),
        ("看https://a.example/x?id=1 里面", "看［链接］ 里面"),
        ("在tieba.example.com/p/1上", "在［链接］上"),
        ("车牌浙A12345", "车牌［号码］"),
        ("学号20230145", "［号码］"),
    ],
)
def test_what_has_a_certain_form_is_always_masked(written: str, masked: str) -> None:
    assert mask_certain(written) == masked


@pytest.mark.parametrize(
    ("written", "masked"),
    [
        ("我叫王小明，今年15岁", "我叫［姓名］，今年15岁"),
        ("班主任李建国老师总骂我", "班主任［姓名］老师总骂我"),
        ("王老师摸我，小李也知道", "［姓名］老师摸我，［姓名］也知道"),
        ("我的闺蜜陈雨桐说她想死", "我的闺蜜［姓名］说她想死"),
        ("在第三中学读高二三班", "在［学校］读［班级］"),
        ("住在人民路12号3幢201", "［地址］"),
        ("住3栋2单元501室", "住［地址］"),
        ("我在深圳打工", "我在［地名］打工"),
        ("生日是3月5日", "［生日］"),
    ],
)
def test_names_schools_and_places_are_masked_as_far_as_they_are_seen(written: str, masked: str) -> None:
    assert mask(written) == masked


@pytest.mark.parametrize(
    "words",
    [
        "我在天台，不想活了",
        "打110和12355都没用，12110也试了",
        "我吃了20片安眠药，现在头晕",
        "一天三顿，一周三次，2025年3月1日开始",
        "老板拖欠工资12000块钱，三个月没发",
        "爸爸打我，阿姨也打我",
        "从小学就这样了，现在上高中，考上大学也没用",
        "每天12小时，一二三四五六七数着过",
        "我们学校不管，老师说我小心眼",
    ],
)
def test_what_tells_nothing_of_the_person_stays(words: str) -> None:
    assert mask(words) == words


def test_what_the_desk_knows_of_the_person_is_masked_too() -> None:
    assert mask("我是夜航船，大家叫我夜航船", ["夜航船"]) == "我是［姓名］，大家叫我［姓名］"


def test_a_masked_text_masked_again_stays_and_is_learned_in_plain_words() -> None:
    once = mask("我叫王小明，电话13800138000，在第三中学")
    assert mask(once) == once
    assert spoken(once) == "我叫小某，电话号码，在学校"
    assert all("［" not in word for word in PLACEHOLDERS.values())


def test_time_grows_with_the_length_only() -> None:
    began = time.perf_counter()
    for piece in ("1 ", "王", "a.", "路1", "中学", "加v", "１", "-", "第", "[", "www."):
        mask(piece * (4000 // len(piece)))
    assert time.perf_counter() - began < 5
