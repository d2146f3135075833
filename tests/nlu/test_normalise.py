"""The normal form: the same words however they are written, with a way back to what was written."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlu.normalise import normalise

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()), max_size=80)
EVASIVE = st.text(alphabet="我想自紫杀砂 。|*zishabxhl死四不活跳楼lou🔪💊😭\u200b\ufe0f歹匕乂木", max_size=40)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("我想紫砂", "我想自杀"),
        ("自鲨", "自杀"),
        ("我想 zi sha", "我想 自杀"),
        ("自 杀", "自杀"),
        ("自。杀", "自杀"),
        ("不|想|活", "不想活"),
        ("我 不 想 活 了", "我不想活了"),
        ("自\u200b杀", "自杀"),
        ("自殺", "自杀"),
        ("強姦", "强奸"),
        ("真的bxhl", "真的不想活了"),
        ("想zs了", "想自杀了"),
        ("zìshā", "自杀"),
        ("ｚｉｓｈａ", "自杀"),
        ("跳lou", "跳楼"),
        ("歹匕", "死"),
        ("想四了", "想死了"),
    ],
)
def test_evasions_become_the_words_they_stand_for(written: str, meant: str) -> None:
    assert normalise(written).text == meant


@pytest.mark.parametrize(
    "written", ["紫砂壶", "买紫砂", "女干部", "孩子杀青了", "zs的衣服", "回家 吃饭", "奶奶去世了"]
)
def test_innocent_words_stay_what_they_are(written: str) -> None:
    assert normalise(written).text == written


def test_emoji_that_say_something_become_words() -> None:
    assert normalise("🔪🩸").text == "〔刀〕〔血〕"
    assert normalise("[流泪]").text == normalise("😭").text


def test_a_span_of_the_normal_form_leads_back_to_what_was_written() -> None:
    written = "今天 我想紫\u200b砂 了"
    normal = normalise(written)
    at = normal.text.index("自杀")
    start, end = normal.original(at, at + 2)
    assert written[start:end] == "紫\u200b砂"


def test_nul_and_lone_surrogates_are_tolerated() -> None:
    assert normalise("a\x00\ud800b\udfff").text == "ab"


@given(ANY_TEXT | EVASIVE)
@settings(max_examples=300, deadline=None)
def test_the_map_is_in_range_and_never_goes_back(text: str) -> None:
    normal = normalise(text)
    assert len(normal.text) == len(normal.starts) == len(normal.ends)
    assert all(0 <= a < b <= len(text) for a, b in zip(normal.starts, normal.ends, strict=True))
    assert normal.starts == sorted(normal.starts)
    assert normal.ends == sorted(normal.ends)


@given(ANY_TEXT | EVASIVE)
@settings(max_examples=300, deadline=None)
def test_the_normal_form_of_a_normal_form_is_itself(text: str) -> None:
    once = normalise(text).text
    assert normalise(once).text == once


@pytest.mark.parametrize("unit", ["自 ", "zi sha ", "想|", "歹匕", "啊", "a.", "🔪", " \n", "不想活le"])
def test_time_grows_with_the_length_and_no_faster(unit: str) -> None:
    def seconds(size: int) -> float:
        text = (unit * size)[:size]
        best = 9.0
        for _ in range(3):
            begun = time.process_time()
            normalise(text)
            best = min(best, time.process_time() - begun)
        return best

    assert seconds(40_000) < 40 * max(seconds(4_000), 0.004)
