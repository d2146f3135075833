"""What understanding owes a person who writes: danger is seen however it is said, and a joke is not danger."""

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nlu
from nlu.categories import names
from nlu.engine import Engine, Reading, Weighed, read
from nlu.lexicon import Lexicon
from nlu.model import DEFAULT, ModelError
from nlu.understanding import risk_rank

HIGH = risk_rank("high")


def level(text: str, *history: str) -> int:
    return risk_rank(nlu.understand(text, history).risk)


@pytest.mark.parametrize(
    "text",
    [
        "我不想活了",
        "我想自杀",
        "好想死",
        "活不下去了真的",
        "我想紫砂",
        "我不 想 活 了",
        "真的bxhl",
        "我已經不想活了",
        "唔想活了",
        "我朋友说她想自杀，我该怎么办",
        "我爸天天用皮带抽我",
        "继父晚上进我房间摸我",
        "他说不给钱就把我的裸照发给全班",
        "几个高年级的把我堵在厕所里打，还拍视频",
        "他们收了我们的身份证不让走",
        "我从家里跑出来了，没地方去",
        "我想杀了他，刀都准备好了",
        "昨晚又割了自己手腕",
    ],
)
def test_danger_said_plainly_or_in_disguise_is_high(text: str) -> None:
    seen = nlu.understand(text)
    assert risk_rank(seen.risk) >= HIGH
    assert seen.kinds
    assert seen.topic in ("psychological", "safety")


@pytest.mark.parametrize(
    "text",
    [
        "我在天台，不想活了",
        "我刚吃了一整瓶安眠药",
        "遗书写好了，今晚就跳下去",
        "安眠药吃多少片会死",
        "我割腕了血止不住",
        "他拿着刀追我，我躲在厕所",
    ],
)
def test_plan_means_or_an_act_under_way_is_critical(text: str) -> None:
    assert nlu.understand(text).risk == "critical"


@pytest.mark.parametrize(
    "text",
    [
        "笑死我了",
        "哈哈哈哈笑死，你太逗了",
        "想死你了",
        "累死了今天",
        "作业多到想跳楼",
        "社死现场",
        "这把紫砂壶多少钱",
        "队友太菜我直接自杀式冲塔",
        "打死我也不去",
        "小说里的主角最后自杀了",
        "自杀违法吗",
        "跳楼价大甩卖",
        "你好",
        "谢谢",
        "😂😂😂",
        "",
    ],
)
def test_jokes_idioms_games_and_study_are_no_alarm(text: str) -> None:
    assert level(text) < risk_rank("medium")


def test_negated_and_past_danger_is_lower_but_not_nothing() -> None:
    assert risk_rank("none") < level("我不会自杀的") < HIGH
    assert risk_rank("none") < level("以前想过自杀，现在好多了") < HIGH
    assert level("我没有一天不想死") >= HIGH


def test_one_sentence_in_the_middle_of_a_letter_is_enough() -> None:
    calm = "今天在学校上了数学课，老师讲了很多题，中午和同学一起吃了饭。"
    assert level(calm * 8 + "其实我不想活了。" + calm * 8) >= HIGH


def test_context_raises_and_fades_when_it_is_over() -> None:
    assert level("没什么", "我不想活了") >= HIGH
    assert level("我在楼顶", "我真的不想活了") == risk_rank("critical")
    assert level("我到家了，没事了，谢谢你", "我不想活了") < HIGH
    assert level("你们周末上班吗", *["我不想活了"], *["好的"] * 8) < HIGH


def test_a_short_answer_is_read_with_what_came_before_it() -> None:
    assert level("嗯，就在手里", "我存了很多药", "我不想活了") == risk_rank("critical")
    assert level("十二点", "今晚一起打游戏吗", "几点") < risk_rank("medium")


def test_spans_mark_the_words_as_they_were_written() -> None:
    text = "老师好😊 我想紫\u200b砂了"
    seen = nlu.understand(text)
    assert any("紫\u200b砂" in text[span.start : span.end] for span in seen.spans)
    assert all(0 <= span.start < span.end <= len(text) and span.reason for span in seen.spans)


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("转人工", "human"),
        ("你好", "greeting"),
        ("谢谢你", "thanks"),
        ("退订", "stop"),
        ("TD", "stop"),
        ("会告诉我爸妈吗", "privacy"),
        ("要钱吗", "cost"),
        ("你们几点下班", "hours"),
        ("你是机器人吗", "identity"),
        ("答非所问", "dissatisfied"),
        ("嗯嗯", "yes"),
        ("没有", "no"),
    ],
)
def test_what_a_short_message_wants_of_the_desk(text: str, intent: str) -> None:
    assert nlu.understand(text).intent == intent


def test_an_opt_out_word_does_not_hide_danger() -> None:
    seen = nlu.understand("退订，我不想活了")
    assert seen.intent == "stop"
    assert risk_rank(seen.risk) >= HIGH


def test_facts_for_the_case_form_are_read_off() -> None:
    found = nlu.understand("我今年14岁，读初二，在学校天台，电话13800001111").entities
    assert found["age"] == "14"
    assert found["stage"] == "初中"
    assert found["phone"] == "13800001111"
    assert "place" in found


def test_category_is_one_of_the_list() -> None:
    for text in ("老板拖欠我三个月工资", "爸妈离婚我跟谁", "我不想活了", "今天吃什么", ""):
        seen = nlu.understand(text)
        assert seen.category in names()
        assert 0 <= seen.risk_score <= 1


@given(
    st.text(alphabet=st.characters(exclude_categories=()), max_size=120),
    st.lists(st.text(max_size=20), max_size=4),
)
@settings(max_examples=150, deadline=None)
def test_no_text_makes_it_raise(text: str, history: list[str]) -> None:
    seen = nlu.understand(text, history)
    assert all(0 <= span.start < span.end <= len(text) for span in seen.spans)


@pytest.mark.parametrize(
    "unit", ["不想活", "今天天气很好，我们去公园。", "zi sha ", "自。", "🔪", "我爸打我", "啊"]
)
def test_twenty_thousand_characters_are_read_in_bounded_time(unit: str) -> None:
    text = (unit * 20_000)[:20_000]
    nlu.understand(text)
    begun = time.process_time()
    nlu.understand(text)
    assert time.process_time() - begun < 2  # far above what it takes, far below what a quadratic pass would


def test_a_missing_broken_or_foreign_model_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model file"):
        Engine.load(tmp_path / "none.npz")
    junk = tmp_path / "junk.npz"
    junk.write_bytes(b"not a model")
    with pytest.raises(ModelError, match="not a model file"):
        Engine.load(junk)
    cut = tmp_path / "cut.npz"
    cut.write_bytes(DEFAULT.read_bytes()[:5000])
    with pytest.raises(ModelError):
        Engine.load(cut)
    stored = dict(np.load(DEFAULT))
    card = str(stored["card"][()])
    stored["card"] = np.array(card.replace('"features": ', '"features": 9'))
    old = tmp_path / "old.npz"
    np.savez_compressed(old, **stored)
    with pytest.raises(ModelError, match="another version"):
        Engine.load(old)
    stored["card"] = np.array(card)
    stored["weights"] = stored["weights"][:10]
    np.savez_compressed(old, **stored)
    with pytest.raises(ModelError, match="damaged"):
        Engine.load(old)


def test_the_shipped_model_fits_the_shipped_reader_and_no_other(tmp_path: Path) -> None:
    assert DEFAULT.stat().st_size < 10_000_000
    Engine.load()
    stored = dict(np.load(DEFAULT))
    stored["card"] = np.array(str(stored["card"][()]).replace('"reader": "', '"reader": "0'))
    other = tmp_path / "other.npz"
    np.savez_compressed(other, **stored)
    with pytest.raises(ModelError, match="another reader"):
        Engine.load(other)


def test_what_is_only_hinted_is_marked_in_the_gravest_clause() -> None:
    text = "每天醒来都希望昨晚没有醒过来，作业倒是写完了"
    seen = nlu.understand(text)
    assert risk_rank(seen.risk) >= risk_rank("medium")
    marked = "".join(text[span.start : span.end] for span in seen.spans)
    assert "没有醒过来" in marked
    assert "作业" not in marked


def test_softness_takes_one_level_at_most_and_nothing_from_critical() -> None:
    engine, lexicon = Engine.load(), Lexicon()
    plain, denial = read(lexicon, "今天很累"), read(lexicon, "我不会自杀的")

    def level(softened: list[float], hard: list[float], message: Reading) -> str:
        return engine._level(Weighed(np.array(softened), np.array(hard), np.zeros(11)), message)

    sure, not_at_all, high = [3.0] * 4, [-3.0] * 4, [3.0, 3.0, 3.0, -3.0]
    assert level(not_at_all, sure, plain) == "critical"
    assert level(not_at_all, sure, denial) == "critical"
    assert level(not_at_all, high, plain) == "medium"
    assert level(high, high, plain) == "high"
    assert level(high, high, denial) == "medium"


def test_thresholds_can_be_set() -> None:
    text = "最近总觉得累，什么都不想做"
    wary, calm = Engine.load(thresholds=(0.01,) * 4), Engine.load(thresholds=(0.6,) * 4)
    assert risk_rank(wary.understand(text).risk) > risk_rank(calm.understand(text).risk)
