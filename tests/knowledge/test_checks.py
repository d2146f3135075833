"""What is looked at before publishing: each check finds its fault, and leaves what is well written alone."""

from __future__ import annotations

from typing import Any

import pytest

from bot.settings import Desk
from knowledge import checks
from knowledge.desk import plain_fields
from knowledge.entries import shipped
from tests.knowledge.conftest import FIELDS, OWN

NUMBERS = set(Desk().numbers.values())


def found(**change: Any) -> set[tuple[str, str, str, str]]:
    given = checks.findings(OWN, FIELDS | change, others=(), numbers=NUMBERS)
    return {(one.level, one.code, one.field, one.detail) for one in given}


def test_a_good_entry_passes() -> None:
    assert found() == set()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"short": FIELDS["short"] + "你要坚强一点。"}, ("stop", "phrase_banned", "short", "坚强一点")),
        ({"long": "这是你的错。"}, ("stop", "phrase_banned", "long", "是你的错")),
        ({"long": "可以打12399问。"}, ("stop", "number_unknown", "long", "12399")),
        ({"long": "找老师：13800138000。"}, ("stop", "number_unknown", "long", "13800138000")),
        ({"long": "遇到危险打112。"}, ("stop", "number_unknown", "long", "112")),
        ({"long": "可以申请行政复议。"}, ("warn", "term_unexplained", "long", "行政复议")),
        ({"long": "《饮水法》说可以。"}, ("warn", "law_not_cited", "sources", "饮水法")),
        ({"long": "很长，" * 30}, ("warn", "sentence_long", "long", "很长，很长，很长，很长，")),
        ({"long": "短句。" * 200}, ("warn", "chat_long", "long", str(len(FIELDS["short"]) + 602))),
    ],
)  # fmt: skip
def test_a_fault_is_found(change: dict[str, str], expected: tuple[str, str, str, str]) -> None:
    assert expected in found(**change)


@pytest.mark.parametrize(
    "long",
    [
        "这不是你的错。",
        "没有人有权说你矫情。",
        "说“包赢”的都是骗子。",
        "危险时打110，受伤打120。",
        "赔12000元，一共12345块。",
        "可以申请行政复议（请上级机关重新看一遍）。",
    ],
)
def test_what_only_looks_like_a_fault_is_left_alone(long: str) -> None:
    assert found(long=long) == set()


def test_what_keeps_it_from_being_an_entry_comes_first() -> None:
    given = checks.findings(
        OWN,
        FIELDS | {"long": "可以申请行政复议。", "sources": [], "asks": ["喝水"]},
        others=(),
        numbers=NUMBERS,
    )
    assert [one.level for one in given] == ["stop", "stop", "warn"]
    assert {one.problem.field for one in given if one.problem} == {"asks", "sources"}


def test_a_double_is_named_with_the_other_entry() -> None:
    other = shipped()["labour.overtime"]
    fields = FIELDS | {"asks": [*FIELDS["asks"][:4], f"{other.asks[0]}？"], "short": other.short}
    given = checks.findings(OWN, fields, others=[other], numbers=NUMBERS)
    told = {(one.level, one.code, one.detail) for one in given}
    assert ("stop", "wording_doubled", f"{other.id} {other.asks[0]}？") in told
    assert ("warn", "text_doubled", other.id) in told


def test_no_shipped_entry_would_be_stopped() -> None:
    stopped = {
        (entry.id, one.code, one.detail)
        for entry in shipped().values()
        for one in checks.findings(entry.id, plain_fields(entry), others=(), numbers=NUMBERS)
        if one.level == "stop"
    }
    assert stopped == set()
