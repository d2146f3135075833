"""Promise 4: the lexicon that speaks when understanding has failed."""

import ast
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlu import fallback
from nlu.understanding import risk_rank


@pytest.mark.parametrize(
    "text",
    [
        "我不想活了",
        "自 殺",
        "我想紫砂",
        "在天台上",
        "我爸打我",
        "他威胁我要发裸照",
        "他们不让我走",
        "救命",
        "吃了一瓶安眠药",
        "bxhl",
    ],
)
def test_a_dangerous_phrase_is_high_and_says_which_engine_spoke(text: str) -> None:
    seen = fallback.judge(text)
    assert seen is not None
    assert risk_rank(seen.risk) >= risk_rank("high")
    assert seen.engine == "lexicon"
    assert seen.kinds
    assert all(0 <= span.start < span.end <= len(text) for span in seen.spans)


@pytest.mark.parametrize("text", ["", "你好", "笑死我了", "紫砂壶", "想死你了", "老板不发工资", "😂"])
def test_it_is_silent_where_there_is_no_dangerous_phrase(text: str) -> None:
    assert fallback.judge(text) is None


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=200))
@settings(max_examples=200, deadline=None)
def test_no_text_makes_it_raise(text: str) -> None:
    fallback.judge(text)


@pytest.mark.parametrize("unit", ["爸", "爸打", "吃了", "想", "在", "不想活", "自 ", "a", "跳"])
def test_time_stays_linear(unit: str) -> None:
    def seconds(size: int) -> float:
        begun = time.process_time()
        fallback.judge((unit * size)[:size])
        return time.process_time() - begun

    seconds(100)
    assert min(seconds(40_000) for _ in range(3)) < 40 * max(min(seconds(4_000) for _ in range(3)), 0.004)


def test_it_stands_on_the_standard_library_and_the_types_alone() -> None:
    tree = ast.parse(Path(fallback.__file__).read_text(encoding="utf-8"))
    imported = {
        (node.module or "", node.level) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
    } | {(name.name, 0) for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert imported == {
        ("__future__", 0),
        ("understanding", 1),
        ("functools", 0),
        ("re", 0),
        ("unicodedata", 0),
    }
