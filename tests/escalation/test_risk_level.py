"""Risk builds over a conversation, fades below high when distress is over, and never falls below the message's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalation.queue_rank import RETURNED, queue_rank
from escalation.risk import level_after
from nlu.understanding import RISKS, Risk, Understanding, risk_rank


def said(
    risk: Risk, *, score: float = 0.1, kinds: tuple[str, ...] = (), resolved: bool = False
) -> Understanding:
    return Understanding(topic="safety", risk=risk, risk_score=score, kinds=kinds, resolved=resolved)  # type: ignore[arg-type]


risks = st.sampled_from(RISKS)


@given(
    before=risks,
    own=risks,
    assessed=st.none() | risks,
    resolved=st.booleans(),
    minutes=st.none() | st.floats(0, 1e6),
)
def test_never_below_the_messages_own(
    before: Risk, own: Risk, assessed: Risk | None, resolved: bool, minutes: float | None
) -> None:
    after = level_after(before, said(own, resolved=resolved), assessed=assessed, minutes_since_last=minutes)
    assert risk_rank(after) >= risk_rank(own)


@given(
    before=st.sampled_from(["high", "critical"]),
    own=risks,
    resolved=st.booleans(),
    minutes=st.none() | st.floats(0, 1e6),
)
def test_no_message_and_no_time_lowers_a_danger(
    before: Risk, own: Risk, resolved: bool, minutes: float | None
) -> None:
    after = level_after(before, said(own, resolved=resolved), minutes_since_last=minutes)
    assert risk_rank(after) >= risk_rank(before)


@pytest.mark.parametrize(
    ("before", "resolved", "minutes", "after"),
    [
        ("medium", False, 5, "medium"),
        ("medium", True, 5, "low"),
        ("low", True, 5, "none"),
        ("critical", True, 5, "critical"),
        ("high", True, 5, "high"),
        ("medium", False, 23 * 60, "medium"),
        ("medium", False, 25 * 60, "low"),
        ("medium", False, 8 * 24 * 60, "none"),
    ],
)
def test_it_stays_and_fades(before: Risk, resolved: bool, minutes: float, after: Risk) -> None:
    assert level_after(before, said("none", resolved=resolved), minutes_since_last=minutes) == after


@pytest.mark.parametrize(
    ("understanding", "assessed", "minutes", "after"),
    [
        (said("medium", score=0.4, kinds=("suicide",)), None, 10, "high"),
        (said("medium", score=0.4, kinds=("suicide",)), None, 90, "medium"),
        (said("medium", score=0.1, kinds=("suicide",)), None, 10, "medium"),
        (said("medium", score=0.4, kinds=("fraud",)), None, 10, "medium"),
        # A counsellor has looked and said medium: more of the same is not new evidence.
        (said("medium", score=0.4, kinds=("suicide",)), "medium", 10, "medium"),
        # What is above the assessment is.
        (said("high", score=0.8, kinds=("suicide",)), "medium", 10, "high"),
    ],
)
def test_two_marked_messages_leaning_to_danger_build_up(
    understanding: Understanding, assessed: Risk | None, minutes: float, after: Risk
) -> None:
    assert level_after("medium", understanding, assessed=assessed, minutes_since_last=minutes) == after


def test_the_queue_goes_by_risk_and_a_nuisance_mark_never_touches_critical() -> None:
    usual = [queue_rank(risk) for risk in reversed(RISKS)]
    assert usual == sorted(usual)
    assert len(set(usual)) == len(RISKS)
    assert queue_rank("critical", True) == queue_rank("critical")
    assert queue_rank("high") < queue_rank("high", True) < RETURNED < queue_rank("medium")
    assert all(queue_rank(r, True) > queue_rank("none") for r in ("medium", "low", "none"))  # type: ignore[arg-type]
