"""`qingting classify`: JSON lines through, in order, and a bad line harms no other."""

import json
from collections.abc import Iterator

from nlu.classify import classify_lines


def test_every_line_is_answered_in_order_and_a_bad_one_says_why_without_its_words() -> None:
    lines = [
        '{"id": 1, "text": "我不想活了"}',
        "not json 我的秘密",
        "",
        '{"id": 2, "text": 5}',
        '{"id": 3, "text": "没什么", "history": ["我不想活了"]}',
        '{"id": 4, "text": "你好", "history": "x"}',
        "[1]",
        '{"id": 5, "text": "你好", "history": null}',
    ]
    answers = [json.loads(line) for line in classify_lines(lines)]
    assert [answer["id"] for answer in answers] == [1, None, 2, 3, 4, None, 5]
    assert answers[0]["risk"] in ("high", "critical")
    assert set(answers[0]) == {"id", "topic", "risk", "risk_score", "kinds", "category", "about"}
    assert answers[3]["risk"] in ("high", "critical")
    assert [i for i, answer in enumerate(answers) if "error" in answer] == [1, 2, 4, 5]
    assert "秘密" not in json.dumps(answers, ensure_ascii=False)


def test_it_streams() -> None:
    taken = 0

    def source() -> Iterator[str]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield json.dumps({"id": number, "text": "你好"})

    first = next(iter(classify_lines(source())))
    assert json.loads(first)["id"] == 0
    assert taken <= 2
