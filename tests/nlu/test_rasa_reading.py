"""What Rasa's answers mean, how they join the embedded judgement, and the project that `rasa train` is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from nlu.corpus import load
from nlu.rasa import project
from nlu.rasa.reading import Reading, ReadingError, merge
from nlu.understanding import KINDS, RISKS, TOPICS, Span, Understanding

CALM = Understanding(topic="other", risk="none", risk_score=0.02, category="other.life.chat")


def answer(intents: dict[str, float], dangers: dict[str, float]) -> dict[str, Any]:
    def ranking(shares: dict[str, float]) -> list[dict[str, Any]]:
        return [{"name": name, "confidence": share} for name, share in shares.items()]

    return {"text": "…", "intent_ranking": ranking(intents), "danger_ranking": ranking(dangers)}


def reading(intents: dict[str, float], dangers: dict[str, float]) -> Reading:
    return Reading.of(answer(intents, dangers))


GRAVE = reading(
    {"psychological.crisis": 0.9, "other.life": 0.1},
    {"high.suicide": 0.7, "critical.suicide": 0.2, "none": 0.1},
)
QUIET = reading({"legal.labour": 0.8, "legal.consumer": 0.1, "other.life": 0.1}, {"none": 0.9, "low": 0.1})


def test_levels_and_topics_are_sums_over_what_rasa_ranks() -> None:
    assert GRAVE.risk == "high"
    assert GRAVE.score == pytest.approx(0.9)
    assert GRAVE.likely_kinds("high") == ("suicide",)
    assert QUIET.topic == "legal"
    assert QUIET.topics["legal"] == pytest.approx(0.9)
    assert QUIET.group("legal") == "legal.labour"
    assert QUIET.alone().category == "legal.labour"


def test_levels_that_are_unlikely_alone_are_likely_together() -> None:
    split = reading({"safety.abuse": 1.0}, {"low": 0.4, "high.violence": 0.3, "critical.emergency": 0.3})
    assert split.risk == "high"
    assert split.likely_kinds("high") == ("violence",)  # none reaches a half, but grave danger has a kind


@pytest.mark.parametrize("own", RISKS)
@pytest.mark.parametrize("second", [GRAVE, QUIET])
def test_the_higher_risk_wins_whoever_says_it(own: Any, second: Reading) -> None:
    joined = merge(Understanding(topic="other", risk=own, risk_score=0.3), second, sure=0.6, length=9)
    assert RISKS.index(joined.risk) == max(RISKS.index(own), RISKS.index(second.risk))
    assert joined.risk_score == max(0.3, second.score)
    assert joined.engine == "rasa"


def test_kinds_are_united_and_the_embedded_ones_come_first() -> None:
    own = Understanding(topic="safety", risk="high", risk_score=0.8, kinds=("domestic_abuse",))
    assert merge(own, GRAVE, sure=0.6, length=9).kinds == ("domestic_abuse", "suicide")


def test_danger_that_rasa_alone_hears_is_no_small_talk_and_has_a_place_for_staff() -> None:
    unsure = reading({"other.life": 0.5, "psychological.crisis": 0.5}, {"high.suicide": 0.9, "none": 0.1})
    joined = merge(CALM, unsure, sure=0.6, length=12)
    assert (joined.topic, joined.risk, joined.kinds) == ("psychological", "high", ("suicide",))
    assert joined.category == "psychological.crisis"
    assert [(span.start, span.end) for span in joined.spans] == [(0, 12)]


def test_topic_and_category_are_rasas_only_where_it_is_sure() -> None:
    assert merge(CALM, QUIET, sure=0.6, length=9).category == "legal.labour"
    assert merge(CALM, QUIET, sure=0.95, length=9).topic == "other"
    leaf = Understanding(topic="legal", risk="none", risk_score=0.0, category="legal.labour.unpaid_wages")
    assert merge(leaf, QUIET, sure=0.6, length=9).category == "legal.labour.unpaid_wages"
    other = Understanding(topic="legal", risk="none", risk_score=0.0, category="legal.housing.deposit")
    assert merge(other, QUIET, sure=0.7, length=9).category == "legal.labour"
    assert merge(other, QUIET, sure=0.85, length=9).category == "legal.housing.deposit"


def test_a_service_word_stays_one_and_what_only_we_can_see_stays() -> None:
    own = Understanding(
        topic="other", risk="none", risk_score=0.0, intent="hours", about="self", entities={"age": "16"},
        spans=(Span(0, 1, "x"),), resolved=True,
    )  # fmt: skip
    joined = merge(own, QUIET, sure=0.6, length=9)
    assert joined.topic == "other"
    assert (joined.intent, joined.about, joined.entities) == ("hours", "self", {"age": "16"})
    assert joined.spans == own.spans
    assert joined.resolved
    assert not merge(own, GRAVE, sure=0.6, length=9).resolved


@pytest.mark.parametrize(
    "broken",
    [
        None,
        {},
        {"intent_ranking": []},
        answer({}, {"none": 1.0}),
        answer({"legal.labour": 1.0}, {}),
        answer({"greet": 1.0}, {"none": 1.0}),  # somebody else's model
        answer({"legal.labour": 1.0}, {"grave": 1.0}),
        answer({"legal.labour": 1.0}, {"high.dragons": 1.0}),
        answer({"legal.labour": float("nan")}, {"none": 1.0}),
        {**answer({"legal.labour": 1.0}, {"none": 1.0}), "danger_ranking": [{"name": 1, "confidence": 1}]},
    ],
)
def test_an_answer_of_another_model_is_refused(broken: Any) -> None:
    with pytest.raises(ReadingError):
        Reading.of(broken)


def test_the_generated_project_holds_the_training_lines_and_no_held_out_one(tmp_path: Path) -> None:
    examples = load()
    kept = [example for example in examples if example.split == "train"]
    count = project.write(tmp_path / "p", kept, epochs=2)
    data = yaml.load((tmp_path / "p/data/nlu.yml").read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    texts = [line["text"] for block in data["nlu"] for line in block["examples"]]
    assert count == len(texts) == len(set(texts)) > 1000
    held_out = {project.as_asked(example.text) for example in examples if example.split != "train"}
    assert not held_out & set(texts) - {project.as_asked(example.text) for example in kept}
    for block in data["nlu"]:
        assert block["intent"].partition(".")[0] in TOPICS
        for line in block["examples"]:
            risk, _, kind = line["metadata"]["danger"].partition(".")
            assert risk in RISKS
            assert not kind or kind in KINDS
    domain = yaml.safe_load((tmp_path / "p/domain.yml").read_text(encoding="utf-8"))
    assert domain["intents"] == [block["intent"] for block in data["nlu"]]
    config = yaml.safe_load((tmp_path / "p/config.yml").read_text(encoding="utf-8"))
    assert {part["epochs"] for part in config["pipeline"] if "epochs" in part} == {2}


def test_rasa_is_asked_in_normal_form_and_never_given_a_command() -> None:
    assert project.as_asked("/restart") == "restart"
    assert project.as_asked(" ／／我不想活了！") == project.as_asked("我不想活了!")
    assert project.as_asked("/ /") == ""
    assert 500 < len(project.as_asked("今天作业有点多，" * 500)) <= project.LONGEST
