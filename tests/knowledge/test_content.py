"""The shipped entries keep their promises: sources that exist, numbers that stand there, numbers to call, no blame."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from knowledge.entries import SHORT_LIMIT, Entry, load_entries
from tests.knowledge import laws

ENTRIES = load_entries()
LAWS = laws.folder()

# Numbers of emergency and public services that are known, stable and free to print.
TELEPHONES = {
    *("110", "119", "120", "12110", "12309", "12315", "12320", "12333"),
    *("12338", "12345", "12348", "12355", "12356", "96110"),
}

# Numbers that stand in rules outside the law folder; each is on the list for review in knowledge/data/README.md.
BY_NAME = {
    "civic.ride-age": "道路交通安全法实施条例 and licence rules: ages 12, 16, 18",
    "consumer.quality": "三包 rules: 7 and 15 days",
    "person_net.play-time": "国家新闻出版署 notice: 20 to 21 o'clock",
    "labour.holiday-pay": "全国年节及纪念日放假办法: 13 days a year since 2025",
    "labour.sick-leave": "医疗期规定 and 劳动法若干问题的意见: 3 to 24 months, 80 %",
    "labour.fine": "工资支付暂行规定: 20 %",
    "labour.intern-rules": "职业学校学生实习管理规定: 80 %",
    "labour.award-not-paid": "民事诉讼法: two years to ask for enforcement",
    "family.maintenance-enforce": "民事诉讼法: two years to ask for enforcement",
    "school.student-loan": "助学贷款 rules of 2024: 20000 and 25000 yuan a year",
    "person_net.fraud-amount": "诈骗 interpretations: 3000 yuan, two years added up",
    "person_net.rumor-500": "诽谤 interpretation: 5000 views, 500 reposts",
    "consumer.prepaid-card": "预付式消费 interpretation of 2025: 7 days",
    "consumer.takeaway": "食品安全法: ten times, three times, 1000 yuan",
    "consumer.interest": "民间借贷 interpretation: four times the LPR",
    "consumer.credit-record": "征信业管理条例: 5 years",
    "civic.ebike-rules": "道路交通安全法 and its regulation: ages 12, 16, 18",
    "civic.motorcycle": "道路交通安全法: 200 to 2000 yuan, 15 days, age 18",
    "civic.bicycle-age": "道路交通安全法实施条例: age 12",
    "civic.hit-run": "道路交通事故处理程序规定: 3 days",
    "civic.army": "兵役法 and the yearly call: 12-31, ages 17, 18, 22, 24, 26",
    "civic.blood": "献血法: ages 18 to 55, 6 months",
    "civic.passport": "护照法: age 16, 5 and 10 years",
    "civic.residence-permit": "居住证暂行条例: half a year, 30 days",
    "civic.marriage-papers": "婚姻登记条例: in force since 2025-05-10",
    "civic.appeal-fine": "行政复议法、行政诉讼法: 60 days, 6 months",
    "civic.small-claim": "诉讼费用交纳办法、民事诉讼法: 50 yuan, two months",
    "civic.summoned": "民事诉讼法: 15 days",
    "civic.enforce": "民事诉讼法: two years",
    "civic.mediation": "人民调解法: 30 days",
    "offences.theft-amount": "盗窃 interpretation: 1000 to 3000 yuan, two years",
}

BLAMING = (
    "想开点|你活该|怪你自己|你自己的错|谁让你|不听话才|你太敏感|矫情了|小题大做|为什么不早说|你应该反省|丢人现眼|"
    "自作自受|一个巴掌拍不响|家丑|忍一忍|你要坚强|别想太多|绝对保密|永远保密"
)
HARMING = r"毫克|\dmg|\d片|几片|\d粒|割腕|上吊|烧炭|安眠药的量|致死量"
UNEXPLAINED = "应税|标的物|格式合同相对方|举证不能|除斥期间|诉讼标的"

_TELEPHONE = re.compile(r"(?<!\d)(?:1\d{2}|12\d{3}|9\d{4})(?!\d)(?![元天日%万条名人])")
_COUNTED = re.compile(r"(?<![\d.])(\d{1,5})(?=周岁|岁|%|个?月|天|日|年|小时|倍|元|万|时|名)")
_SPELLED = re.compile(r"([一二三四五六七八九两十百]+)(?=周岁|岁|年|个月|倍|日)")

with_laws = pytest.mark.skipif(
    LAWS is None,
    reason="no folder of law texts: set QINGTING_LAWS to a folder of files named 法名_YYYY-MM-DD.txt",
)


CITING = [entry for entry in ENTRIES if any(source.law for source in entry.sources)]


def _cited(entry: Entry) -> str:
    assert LAWS is not None
    return "".join(laws.articles(LAWS, s.law).get(s.article, "") for s in entry.sources if s.law)


def test_there_is_something_to_say_in_every_area() -> None:
    areas = {entry.id.partition(".")[0] for entry in ENTRIES}
    assert areas >= {
        "labour",
        "family",
        "school",
        "protection",
        "person_net",
        "consumer",
        "offences",
        "civic",
        "legal_aid",
        "psych",
        "service",
    }
    assert len(ENTRIES) >= 550


def test_a_short_form_fits_and_ends_as_a_sentence() -> None:
    assert not [e.id for e in ENTRIES if len(e.short) > SHORT_LIMIT or e.short[-1] not in "。？！”"]
    assert not [e.id for e in ENTRIES if len(e.asks) < 6]


def test_only_numbers_from_the_public_list_are_given_and_every_entry_says_whom_to_call() -> None:
    given = {entry.id: set(_TELEPHONE.findall(entry.chat_text)) for entry in ENTRIES}
    assert not {name: found - TELEPHONES for name, found in given.items() if found - TELEPHONES}
    assert not [entry.id for entry in ENTRIES if not given[entry.id] and "人工" not in entry.short]


def test_nothing_blames_or_teaches_harm() -> None:
    for entry in ENTRIES:
        said = entry.chat_text.replace("别讲道理、别骂、别说“想开点”", "")
        for pattern in (BLAMING, HARMING, UNEXPLAINED, "您"):
            assert not re.search(pattern, said), entry.id


def test_abuse_and_self_harm_never_stand_alone() -> None:
    grave = [e for e in ENTRIES if re.match(r"safety\.abuse|psychological\.crisis", e.category)]
    assert grave
    assert not [entry.id for entry in grave if not entry.brings_human]
    assert not [e.id for e in ENTRIES if e.brings_human and not re.search("人工|12355|12356|110", e.short)]


def test_every_category_is_one_the_workbench_knows() -> None:
    tree = yaml.safe_load((Path(__file__).parents[2] / "nlu" / "categories.yml").read_text(encoding="utf-8"))
    known = {
        ".".join(part for part in (area, group, leaf) if part)
        for area, groups in tree.items()
        for group, leaves in groups["groups"].items()
        for leaf in ("", *leaves["leaves"])
    }
    assert {entry.category for entry in ENTRIES} <= known


@with_laws
def test_every_cited_article_exists_in_that_version() -> None:
    assert LAWS is not None
    for entry in CITING:
        for source in entry.sources:
            if source.law:
                assert laws.versions(LAWS).get(source.law) == str(source.version), (entry.id, source.law)
                assert source.article in laws.articles(LAWS, source.law), (
                    entry.id,
                    source.law,
                    source.article,
                )


@with_laws
def test_every_number_of_an_answer_stands_in_a_cited_article() -> None:
    unsupported = {}
    for entry in CITING:
        said = {str(int(found)) for found in _COUNTED.findall(entry.short)}
        said |= {str(laws.number(found)) for found in _SPELLED.findall(entry.short)}
        if entry.id not in BY_NAME and said - laws.numbers(_cited(entry)):
            unsupported[entry.id] = said - laws.numbers(_cited(entry))
    assert not unsupported


def test_numbers_cited_by_name_only_are_listed_for_review() -> None:
    listed = (Path(__file__).parents[2] / "knowledge" / "data" / "README.md").read_text(encoding="utf-8")
    for entry in ENTRIES:
        if entry.id in BY_NAME or not any(source.law for source in entry.sources):
            bodies = [source.body for source in entry.sources if "《" in source.body]
            assert all(body in listed for body in bodies), entry.id


@pytest.mark.parametrize(
    ("numeral", "value"),
    [("十四", 14), ("一百五十", 150), ("二千", 2000), ("五万", 50_000), ("三百零三", 303)],
)
def test_numerals_are_read(numeral: str, value: int) -> None:
    assert laws.number(numeral) == value
