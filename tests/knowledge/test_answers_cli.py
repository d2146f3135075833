"""`qingting answer` keeps its contract: one JSON line out for each line in, in order, streaming."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from knowledge.answers_cli import answer_lines
from knowledge.library import Library


@pytest.fixture(scope="module")
def library() -> Library:
    return Library.load()


def test_each_question_gets_one_line_in_order(library: Library) -> None:
    asked = [{"id": "a", "question": "未满16岁可以打工吗"}, {"id": 2, "question": "明天天气怎么样"}]
    rows = [json.loads(line) for line in answer_lines([json.dumps(row) for row in asked], library)]
    assert [row["id"] for row in rows] == ["a", 2]
    assert rows[0]["entry"] == "labour.child-work"
    assert 0 < len(rows[0]["answer"]) <= 300
    assert "《劳动法》第十五条" in rows[0]["sources"]
    assert rows[0]["score"] > 0
    assert rows[1]["answer"] is None
    assert rows[1]["entry"] is None


def test_lines_are_answered_as_they_come(library: Library) -> None:
    taken = []

    def lines() -> Iterator[str]:
        for number in range(3):
            taken.append(number)
            yield json.dumps({"id": number, "question": "几岁可以结婚"})

    answers = answer_lines(lines(), library)
    next(answers)
    assert taken == [0]


@pytest.mark.parametrize("line", ["not json 秘密", '{"id": 1}', "[]"])
def test_a_bad_line_is_named_by_number_and_never_shown(library: Library, line: str) -> None:
    with pytest.raises(ValueError, match="line 1") as refused:
        list(answer_lines([line], library))
    assert "秘密" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_the_module_is_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "knowledge.answers_cli"],
        input=b'{"id": 1, "question": "\xe5\x87\xa0\xe5\xb2\x81\xe5\x8f\xaf\xe4\xbb\xa5\xe7\xbb\x93\xe5\xa9\x9a"}\n',
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert json.loads(done.stdout)["entry"] == "civic.marriage-age"
