"""The corpus keeps the promises of its data card (nlu/data/README.md)."""

import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from nlu import corpus
from nlu.corpus import CorpusError, Example
from nlu.understanding import INTENTS, KINDS, RISKS, TOPICS

NEAR = 0.8  # 3-gram Jaccard at which two lines count as the same line


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return corpus.load()


def test_the_card_states_the_counts_that_are_there(examples: list[Example]) -> None:
    """When this fails: put the output of `python -m nlu.corpus` into the card."""
    card = (corpus.DATA / "README.md").read_text(encoding="utf-8")
    assert corpus.card_tables(examples).strip() in card


def test_every_label_of_the_contract_is_taught_and_held_out(examples: list[Example]) -> None:
    for split in ("train", "tune", "heldout"):
        part = [example for example in examples if example.split == split]
        assert {example.topic for example in part} == set(TOPICS)
        assert {example.risk for example in part} == set(RISKS)
        assert {kind for example in part for kind in example.kinds} == set(KINDS)
    assert {example.intent for example in examples} == set(INTENTS)


def test_every_case_category_has_examples(examples: list[Example]) -> None:
    leaves = {name for name in corpus.category_names() if name.count(".") == 2}
    taught = {example.category for example in examples if example.split == "train"}
    assert leaves - taught == set()


def test_a_tenth_is_held_out(examples: list[Example]) -> None:
    share = sum(example.split == "heldout" for example in examples) / len(examples)
    assert 0.08 <= share <= 0.13


def test_the_themes_for_tuning_exist(examples: list[Example]) -> None:
    assert corpus.tune_themes() <= {example.theme for example in examples}


def test_at_least_four_lines_in_ten_are_ordinary_or_merely_unhappy(examples: list[Example]) -> None:
    ordinary = [e for e in examples if e.risk in ("none", "low") and e.topic in ("other", "psychological")]
    assert len(ordinary) / len(examples) >= 0.45


def test_danger_names_its_kind(examples: list[Example]) -> None:
    nameless = [
        example.theme for example in examples if example.risk in ("high", "critical") and not example.kinds
    ]
    assert nameless == []


def test_no_two_lines_are_nearly_the_same(examples: list[Example]) -> None:
    """Within the corpus, and so between the splits as well. A short answer may recur after another message."""
    grams = [_grams("\n".join((*example.history[-1:], example.text))) for example in examples]
    having: dict[str, list[int]] = defaultdict(list)
    same = []
    for place, mine in enumerate(grams):
        shared = Counter(other for gram in mine for other in having[gram])
        for other, count in shared.items():
            if count / (len(mine) + len(grams[other]) - count) >= NEAR:
                same.append((examples[other].theme, examples[place].theme, examples[place].text[:12]))
        for gram in mine:
            having[gram].append(place)
    assert same == []


def _grams(text: str) -> set[str]:
    text = re.sub(r"\s+", "", text)
    return {text[i : i + 3] for i in range(len(text) - 2)} or {text}


@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        ("{intent: rain/none, metadata: {theme: t, category: other.life.chat, risk: none}, examples: [{text: 嗯}]}", "topic"),
        ("{intent: other/life, metadata: {theme: t, category: other.life.nope, risk: none}, examples: [{text: 嗯}]}", "category"),
        ("{intent: other/life, metadata: {theme: t, category: other.life.chat, risk: huge}, examples: [{text: 嗯}]}", "risk"),
        ("{intent: other/life, metadata: {theme: t, category: other.life.chat}, examples: [{text: 嗯}]}", "risk"),
        ("{intent: other/life, metadata: {category: other.life.chat, risk: none}, examples: [{text: 嗯}]}", "theme"),
        ("{intent: other/life, metadata: {theme: t, category: other.life.chat, risk: none, mood: x}, examples: [{text: 嗯}]}", "mood"),
        ("{intent: other/life, metadata: {theme: t, category: other.life.chat, risk: none}, examples: [嗯]}", "text"),
    ],
)  # fmt: skip
def test_what_breaks_the_format_is_refused_with_its_place(tmp_path: Path, block: str, complaint: str) -> None:
    (tmp_path / "wrong.yml").write_text(f"nlu: [{block}]", encoding="utf-8")
    with pytest.raises(CorpusError, match=complaint) as refused:
        corpus.load(tmp_path)
    assert "wrong.yml" in str(refused.value)
    assert "嗯" not in str(refused.value)


def test_a_label_of_the_example_wins_over_its_block(tmp_path: Path) -> None:
    (tmp_path / "one.yml").write_text(
        "nlu:\n- intent: psychological/family\n"
        "  metadata: {theme: phone, category: psychological.family.parents, risk: low}\n"
        "  examples:\n  - text: 手机又被收了\n"
        "  - text: 嗯 昨晚\n    metadata: {risk: medium, about: other, history: [我爸摔了我手机]}\n",
        encoding="utf-8",
    )
    (tmp_path / "tune.yml").write_text("themes: [phone]\n", encoding="utf-8")
    (tmp_path / "two.yml").write_text(
        "nlu:\n- intent: other/life\n  metadata: {theme: held_bus, category: other.life.chat, risk: none}\n"
        "  examples:\n  - text: 三路车几点\n",
        encoding="utf-8",
    )
    first, second, third = corpus.load(tmp_path)
    assert (first.risk, first.about, first.history) == ("low", "self", ())
    assert (second.risk, second.about, second.history) == ("medium", "other", ("我爸摔了我手机",))
    assert first.split == second.split == "tune"
    assert third.split == "heldout"
