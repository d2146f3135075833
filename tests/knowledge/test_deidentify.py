"""What may still lead to a person is found before a text becomes a draft."""

from __future__ import annotations

from typing import Any

from knowledge.deidentify import Identifying, identifying
from knowledge.entries import load_entries


def found(text: str, **more: Any) -> list[tuple[str, str, bool]]:
    return [
        (text[one.start : one.end], one.what, one.certain) for one in identifying({"short": text}, **more)
    ]


def test_numbers_and_accounts_are_certain() -> None:
    assert found("加他微信abc12345，电话13800138000。") == [
        ("abc12345", "账号", True),
        ("13800138000", "电话", True),
    ]


def test_names_schools_and_places_are_guessed() -> None:
    assert found("陈雨桐，杭州市第三中学的，被同学欺负") == [
        ("陈雨桐", "姓名", False),
        ("杭州市第三中学", "学校", False),
    ]


def test_a_placeholder_left_standing_must_be_written_anew() -> None:
    assert ("［姓名］", "遮住的词", True) in found("［姓名］说食堂不能带外卖")


def test_what_the_desk_knows_of_the_person_is_certain() -> None:
    assert ("小鱼儿", "姓名", True) in found("来访者小鱼儿的情况", known=["小鱼儿", " "])


def test_the_persons_own_words_are_found_and_common_ones_are_not() -> None:
    said = ["老板说要等到年底才给我们结清所有的工资，不然就滚", "怎么办"]
    text = "有人遇到：老板说要等到年底才给我们结清所有的工资。怎么办？先打12333。"
    assert found(text, said=said) == [("老板说要等到年底才给我们结清所有的工资", "原话", False)]
    assert found("老板不给工资，怎么办？", said=said) == []


def test_every_wording_is_looked_at_and_named() -> None:
    fields = {
        "title": "食堂能带外卖吗",
        "asks": ["能带外卖吗", "电话13800138000能带吗"],
        "category": "13800138000",
    }
    assert identifying(fields) == [Identifying("asks", 1, 2, 13, "电话", True)]


def test_public_numbers_may_stand() -> None:
    assert found("打12355，或者0571-88889999", public=["0571-88889999"]) == []
    assert found("打0571-88889999") != []


def test_what_is_certain_stands_in_no_shipped_entry() -> None:
    texts = [{"title": e.title, "asks": e.asks, "short": e.short, "long": e.long} for e in load_entries()]
    assert [one for fields in texts for one in identifying(fields) if one.certain] == []
