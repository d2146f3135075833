"""Facts read off a message: proposals for the case form, never a decision."""

import pytest

from nlu import entities


@pytest.mark.parametrize(
    ("text", "who"),
    [
        ("我爸喝醉了又打我", "爸"),
        ("班主任当着全班骂我", "班主任"),
        ("被隔壁邻居摸了", "邻居"),
        ("老板拖欠我三个月工资", "老板"),
        ("昨天被学长堵在厕所", "学长"),
        ("同学都在打游戏", None),
        ("我和室友去打车", None),
        ("今天妈妈给我打电话", None),
        ("我很难过", None),
    ],
)
def test_who_did_it(text: str, who: str | None) -> None:
    assert entities.read(text).get("who") == who


def test_all_facts_of_one_message() -> None:
    found = entities.read("我今年14岁,读初二,昨天晚上在宿舍,室友抢了我300块,电话13800001111")
    assert found == {
        "age": "14",
        "stage": "初中",
        "who": "室友",
        "place": "宿舍",
        "phone": "13800001111",
        "time": "昨天晚上",
        "amount": "300块",
    }
