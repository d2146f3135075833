"""The lexicons are well formed, and each way of surrounding a phrase changes it as it should."""

import pytest

from nlu.lexicon import LEXICONS, Hit, Lexicon, LexiconError
from nlu.normalise import normalise
from nlu.patterns import Patterns, branches
from nlu.understanding import KINDS, RISKS


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return Lexicon()


def gravest(lexicon: Lexicon, text: str) -> Hit:
    return max(lexicon.hits(normalise(text).text), key=lambda hit: RISKS.index(hit.phrase.risk))


def test_every_phrase_has_a_kind_a_level_and_a_reason_for_staff(lexicon: Lexicon) -> None:
    assert len(lexicon.phrases) > 30
    for phrase in lexicon.phrases.values():
        assert phrase.kind in KINDS
        assert phrase.risk in RISKS
        assert phrase.reason


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("我不会自杀", "negation"),
        ("我以前想过自杀", "past"),
        ("小说主角自杀", "quotation"),
        ("这游戏打得我想自杀", "game"),
        ("作业多到想跳楼", "hyperbole"),
        ("我朋友想自杀", "other"),
        ("自杀犯法吗", "knowledge"),
    ],
)
def test_what_stands_around_a_phrase_is_seen(lexicon: Lexicon, text: str, scope: str) -> None:
    hit = gravest(lexicon, text)
    assert scope in hit.scopes


def test_two_negations_are_none(lexicon: Lexicon) -> None:
    assert "negation" not in gravest(lexicon, "我没有一天不想死").scopes


def test_a_plea_is_not_a_negation(lexicon: Lexicon) -> None:
    hits = lexicon.hits(normalise("爸爸天天打我，求他不要打我").text)
    assert any(hit.risk == "high" for hit in hits)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("替我照顾好爸妈，对不起", "suicide"),
        ("我室友发了一条告别的朋友圈，枕头底下有刀片", "suicide"),
        ("不给钱就发到班群", "sexual_abuse"),
        ("他把我按在墙上捂着我的嘴", "violence"),
        ("护照被押着，出门都有人跟着", "trafficking"),
    ],
)
def test_hinted_danger_is_high(lexicon: Lexicon, text: str, kind: str) -> None:
    hit = gravest(lexicon, text)
    assert hit.phrase.kind == kind
    assert RISKS.index(hit.risk) >= RISKS.index("high")


@pytest.mark.parametrize(
    "text", ["这局我重开一把", "去另一个世界杯看球", "把我拉进群", "照片发给我同学看看", "我不在家"]
)
def test_the_innocent_twin_of_a_hint_is_not_a_phrase(lexicon: Lexicon, text: str) -> None:
    assert all(RISKS.index(hit.risk) < RISKS.index("high") for hit in lexicon.hits(normalise(text).text))


def test_plain_words_are_seen_together_only_where_they_stand_close(lexicon: Lexicon) -> None:
    assert "height down" in lexicon.concepts("想从楼顶跳下去")
    assert "height down" not in lexicon.concepts("楼顶" + "今天天气不错" * 4 + "跳")
    assert lexicon.concepts("") == frozenset()


def test_a_missing_lexicon_is_a_clear_error(tmp_path: object) -> None:
    with pytest.raises(LexiconError, match=r"words\.yml"):
        Lexicon(LEXICONS / "nowhere")


def test_ruling_out_by_characters_never_hides_a_match() -> None:
    source = "想(?:死|活)了?|(?<!不)跳[楼河]|a…b|(?:x|y)?z{2,3}|[^a]q"
    patterns = Patterns([("one", source)], {})
    for text in ("我想死", "想活了", "跳河", "a123b", "xzz", "zzz", "bq"):
        assert list(patterns.find(text)), text
    assert branches("a|(b|c)|[|]d") == ["a", "(b|c)", "[|]d"]
    assert not list(patterns.find("不跳楼"))
