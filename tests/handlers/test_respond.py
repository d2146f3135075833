"""What the handlers say and do: one message in, an outcome out."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from handlers import respond
from handlers.templates import Edited, Templates, check, shipped
from handlers.turn import DeskView, Helped, Outcome, Queue, Raise, StopProactive, Turn, Unanswered
from knowledge.answer import NOTHING, Answer, Candidate, Source
from nlu.understanding import Intent, Kind, Risk, Understanding

NUMBERS = {
    "desk": "12355", "psychological": "12356", "police": "110", "police_sms": "12110", "ambulance": "120", "fire": "119",
    "legal_aid": "12348", "women": "12338", "government": "12345", "labour": "12333", "procuratorate": "12309",
    "fraud": "96110", "consumers": "12315", "health": "12320",
}  # fmt: skip
DESK = DeskView(name="测试服务台", numbers=NUMBERS, hours="每天 9:00—21:00", human_on_duty=True)
NOW = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)
TEXTS = Templates()


def turn(
    text: str = "写点什么",
    risk: Risk = "none",
    *,
    intent: Intent = "none",
    kinds: tuple[Kind, ...] = (),
    **more: object,
) -> Turn:
    topic = more.pop("topic", "other")
    about = more.pop("about", "self")
    understanding = Understanding(
        topic=topic, risk=risk, risk_score=0.5, kinds=kinds, intent=intent, about=about
    )  # type: ignore[arg-type]
    base = Turn(
        text=text, kind="text", channel="webchat", understanding=understanding, answer=NOTHING, state="bot",
        risk_before="none", risk=risk, kinds=kinds, desk=DESK, now=NOW,
    )  # fmt: skip
    return replace(base, **more)  # type: ignore[arg-type]


def sources(outcome: Outcome) -> list[str]:
    return [r.source.partition("@")[0] for r in outcome.replies]


def test_danger_gets_a_safety_text_an_alert_and_the_first_question() -> None:
    outcome = respond(turn(risk="critical", kinds=("suicide",)), TEXTS)
    assert sources(outcome) == ["safety.suicide.critical", "coming.day", "staged.safe_now"]
    assert outcome.actions == (Raise("critical", ("suicide",)),)
    assert "120" in outcome.replies[0].text
    assert "110" in outcome.replies[0].text


@pytest.mark.parametrize(
    ("kinds", "key"),
    [
        (("self_harm",), "safety.self_harm"),
        (("domestic_abuse",), "safety.domestic_abuse"),
        (("sexual_abuse",), "safety.sexual_abuse"),
        (("trafficking",), "safety.trafficking"),
        (("fraud",), "safety.fraud"),
        (("fraud", "suicide"), "safety.suicide"),
        ((), "safety.generic"),
    ],
)
def test_the_safety_text_fits_the_gravest_kind(kinds: tuple[Kind, ...], key: str) -> None:
    assert sources(respond(turn(risk="high", kinds=kinds), TEXTS))[0] == key


def test_someone_else_in_danger_gets_the_text_for_helpers() -> None:
    assert (
        sources(respond(turn(risk="high", kinds=("suicide",), about="other"), TEXTS))[0]
        == "safety.other_person"
    )


def test_at_night_and_with_nobody_there_the_person_is_told_so() -> None:
    night = replace(DESK, night=True)
    nobody = replace(DESK, human_on_duty=False, night=True)
    assert "coming.night" in sources(respond(turn(risk="high", desk=night), TEXTS))
    alone = respond(turn(risk="high", desk=nobody), TEXTS)
    assert "coming.nobody" in sources(alone)
    assert any("没有咨询员在线" in r.text for r in alone.replies)


def test_the_bot_stays_with_one_question_at_a_time_until_a_human_writes() -> None:
    memory: dict[str, object] = dict(respond(turn(risk="high", kinds=("suicide",)), TEXTS).memory)
    said = []
    for _ in range(5):
        step = turn("嗯", episode_open=True, safety_sent=True, risk="none", memory=memory, state="queued")
        outcome = respond(replace(step, risk="high"), TEXTS)
        assert len(outcome.replies) == 1
        said += sources(outcome)
        memory = dict(outcome.memory)
    assert said == [
        "staged.someone_there",
        "staged.breathe",
        "staged.still_here",
        "staged.still_here",
        "staged.still_here",
    ]


def test_not_safe_is_critical_whatever_the_words_were() -> None:
    outcome = respond(
        turn("不安全", episode_open=True, safety_sent=True, risk="high", command="/safe no"), TEXTS
    )
    assert Raise("critical", ()) in outcome.actions
    assert sources(outcome) == ["staged.unsafe_now"]


def test_a_rise_repeats_the_safety_text_ten_high_messages_do_not() -> None:
    again = turn(risk="high", kinds=("suicide",), episode_open=True, safety_sent=True, risk_before="high")
    assert all(not s.startswith("safety.") for s in sources(respond(again, TEXTS)))
    risen = replace(again, risk="critical", understanding=replace(again.understanding, risk="critical"))
    assert sources(respond(risen, TEXTS))[0] == "safety.suicide.critical"


def test_under_a_human_the_bot_says_nothing_but_danger_is_still_raised() -> None:
    quiet = respond(turn("好的", state="human", human_is_answering=True), TEXTS)
    assert quiet.replies == ()
    danger = respond(turn(risk="high", kinds=("suicide",), state="human", human_is_answering=True), TEXTS)
    assert danger.replies == ()
    assert danger.actions == (Raise("high", ("suicide",)),)


def test_what_no_machine_can_read_goes_to_a_human_with_numbers() -> None:
    outcome = respond(turn("", risk="medium", unreadable=True), TEXTS)
    assert outcome.actions == (Queue("unreadable"),)
    assert "110" in outcome.replies[0].text


def test_failed_understanding_goes_to_a_human_with_numbers() -> None:
    outcome = respond(turn(risk="medium", understanding_failed=True), TEXTS)
    assert outcome.actions == (Queue("understanding_failed"),)
    assert "120" in outcome.replies[0].text


ENTRY = Answer(
    "answer",
    0.9,
    "labour.unpaid-wages",
    "欠薪",
    "可以要回来。",
    (Source("劳动法", "第五十条", "2018-12-29"),),
)


def test_an_answer_is_the_entry_word_for_word_with_its_source_and_three_buttons() -> None:
    outcome = respond(turn("老板不发工资", answer=ENTRY, topic="legal"), TEXTS)
    assert outcome.replies[0].text == "可以要回来。\n依据：《劳动法》第五十条"
    assert [b.label for b in outcome.replies[0].buttons] == ["有帮助", "没帮助", "找人工"]
    assert outcome.memory["last_entry"] == "labour.unpaid-wages"
    assert outcome.actions == ()


def test_an_entry_about_harm_never_stands_alone() -> None:
    outcome = respond(turn(answer=replace(ENTRY, brings_human=True)), TEXTS)
    assert Queue("brings_human") in outcome.actions
    assert "answer.brings_human" in sources(outcome)


def test_near_titles_are_offered_as_a_choice() -> None:
    choice = Answer("choose", candidates=(Candidate("a", "欠薪怎么办", 0.5), Candidate("b", "没签合同", 0.5)))
    outcome = respond(turn(answer=choice), TEXTS)
    assert "1. 欠薪怎么办" in outcome.replies[0].text
    assert outcome.memory["choices"] == ["欠薪怎么办", "没签合同"]


def test_two_failures_bring_a_human() -> None:
    first = respond(turn("今天星期几"), TEXTS)
    assert first.actions == (Unanswered(),)
    second = respond(turn("那明天呢", memory=first.memory), TEXTS)
    assert second.actions == (Queue("failures"), Unanswered())


@pytest.mark.parametrize("intent", ["human", "dissatisfied"])
def test_asking_for_a_human_or_being_dissatisfied_brings_one(intent: Intent) -> None:
    assert isinstance(respond(turn("人工", intent=intent), TEXTS).actions[0], Queue)


def test_marked_distress_is_heard_and_brought_to_a_human() -> None:
    outcome = respond(turn("感觉活着没意思", risk="medium", topic="psychological"), TEXTS)
    assert Queue("distress") in outcome.actions
    assert "care.medium" in sources(outcome)


def test_distress_is_not_brushed_off_by_a_service_text() -> None:
    outcome = respond(
        turn("谢谢，我走了，别找我", risk="medium", intent="goodbye", topic="psychological"), TEXTS
    )
    assert sources(outcome) == ["care.medium"]


def test_opting_out_stops_proactive_texts_and_does_not_hide_danger() -> None:
    assert StopProactive() in respond(turn("TD", intent="stop"), TEXTS).actions
    danger = respond(turn("TD 我不想活了", risk="high", kinds=("suicide",), intent="stop"), TEXTS)
    assert sources(danger)[0] == "safety.suicide"


def test_buttons_say_what_they_mean() -> None:
    assert Helped("a.b", helped=True) in respond(turn("有帮助", command="/helped a.b"), TEXTS).actions
    said = respond(turn("没帮助", command="/not-helped a.b"), TEXTS)
    assert said.actions == (Helped("a.b", helped=False), Unanswered("a.b"))
    assert Queue("asked") in respond(turn("找人工", command="/human"), TEXTS).actions


def test_an_empty_message_is_answered_kindly() -> None:
    assert sources(respond(turn("  "), TEXTS)) == ["fallback.empty"]


# --- texts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", sorted(shipped()))
def test_every_shipped_text_can_be_used(key: str) -> None:
    assert check(key, shipped()[key].text) == []
    filled = TEXTS.fill(key, DESK, sources="《劳动法》", link="https://example.org/#x").text
    assert "{" not in filled
    for blaming in ("想开点", "不应该", "你为什么不", "活该", "矫情"):
        assert blaming not in filled


@pytest.mark.parametrize(
    "broken", ["", "请打 {polise}", "请打 {police", "{police.__class__}", "长" * 501, "没有号码"]
)
def test_a_broken_edit_is_refused_and_the_shipped_text_stays(broken: str) -> None:
    assert check("safety.suicide", broken)
    spoken = Templates({"safety.suicide": Edited(3, broken)}).fill("safety.suicide", DESK)
    assert spoken.source == "safety.suicide@0"


def test_an_approved_edit_is_spoken_with_its_version() -> None:
    spoken = Templates({"safety.suicide": Edited(3, "请打 {police}")}).fill("safety.suicide", DESK)
    assert (spoken.text, spoken.source) == ("请打 110", "safety.suicide@3")


def test_a_desk_that_dropped_a_number_still_gives_the_national_one() -> None:
    bare = DeskView(name="甲", numbers={}, hours="")
    assert "110" in TEXTS.fill("safety.suicide", bare).text
    assert "120" in TEXTS.fill("safety.suicide", bare).text
