"""What would be answered otherwise after a change, and whether that is for the better."""

from __future__ import annotations

from knowledge import regression
from knowledge.answer import NOTHING, Answer, Candidate
from knowledge.entries import Entry
from knowledge.overlay import Overlay
from knowledge.regression import Difference, Said
from tests.knowledge.conftest import FIELDS, OWN

ENTRY = Entry.model_validate(FIELDS | {"id": OWN})


class Says:
    """A library that knows its answers by heart."""

    def __init__(self, **answers: Answer) -> None:
        self._answers = answers

    def answer(self, question: str, *, channel: str = "web") -> Answer:
        return self._answers.get(question, NOTHING)


def answer(entry_id: str, text: str = "", score: float = 0.9) -> Answer:
    return Answer("answer", score, entry_id, entry_id, text)


def choice(*ids: str) -> Answer:
    return Answer("choose", 0.3, candidates=tuple(Candidate(one, one, 0.3) for one in ids))


def test_only_what_differs_is_told() -> None:
    before = Says(
        a=answer("x"), b=answer("x"), c=choice("x", "y"), d=answer("x", "old"), e=answer("x", score=0.8)
    )
    after = Says(
        a=answer("x"), b=answer("y"), c=choice("y", "x"), d=answer("x", "new"), e=answer("x", score=0.9)
    )
    found = regression.compared(before, after, ["a", "b", "c", "d", "e", "f"])
    assert [(one.number, one.after.entry_id, one.text_changed) for one in found] == [
        (1, "y", False),
        (3, "x", True),
    ]


def difference(before: Answer, after: Answer) -> Difference:
    return Difference(0, Said.of(before), Said.of(after), text_changed=False)


def test_better_and_worse_are_known_of_saved_questions_alone() -> None:
    to_right, to_wrong = difference(NOTHING, answer("x")), difference(answer("x"), answer("y"))
    assert regression.verdict(to_right, saved=True, expected="x") == "better"
    assert regression.verdict(to_wrong, saved=True, expected="x") == "worse"
    assert regression.verdict(to_wrong, saved=True, expected="z") == "other"
    assert regression.verdict(to_right, saved=True, expected=None) == "worse"  # nothing was to answer it
    assert (
        regression.verdict(difference(answer("x"), choice("x", "y")), saved=True, expected=None) == "better"
    )
    assert regression.verdict(to_right, saved=False, expected=None) == "other"


def test_a_change_is_laid_over_what_is_said_now() -> None:
    now = Overlay(4, (), frozenset({OWN, "labour.gone"}))
    with_it = regression.with_change(now, ENTRY, OWN)
    assert (with_it.entries, with_it.hidden) == ((ENTRY,), {"labour.gone"})
    again = regression.with_change(with_it, None, OWN)
    assert (again.entries, again.hidden) == ((), {OWN, "labour.gone"})
    assert now.hidden == {OWN, "labour.gone"}
