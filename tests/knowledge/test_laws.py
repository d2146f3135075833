"""Official law texts are read article by article, whatever program wrote the file; what is no law is refused with advice."""

from __future__ import annotations

from datetime import date

import pytest

from knowledge.law_numbers import numeral_of, value_of
from knowledge.laws import LARGEST, LawError, key_of, plain, read_law
from tests.knowledge import laws
from tests.knowledge.law_texts import NEW, OLD, docx, docx_of, text

LAWS = laws.folder()


def test_numbers_are_read_and_written_as_laws_write_them() -> None:
    assert [numeral_of(n) for n in (10, 14, 20, 101, 110, 1001, 1010, 1260)] == [
        *("十", "十四", "二十", "一百零一", "一百一十"),
        *("一千零一", "一千零一十", "一千二百六十"),
    ]
    assert all(value_of(numeral_of(n)) == n for n in range(1, 2000))


@pytest.mark.parametrize("content", [text(OLD), docx(OLD), "\r\n".join(OLD).encode("gb18030")])
def test_a_law_is_read_from_text_and_from_docx(content: bytes) -> None:
    law = read_law("upload.bin", content)
    assert (law.title, law.version, law.missing) == ("夜间自习法", date(2019, 3, 1), ())
    assert [article.number for article in law.articles] == [f"第{numeral_of(n)}条" for n in range(1, 7)]
    assert law.articles[1].text == "晚自习由学校和家长共同商量。\n商量的结果应当公布。"
    assert [law.articles[n].place for n in (0, 2, 5)] == ["第一章 总则", "第二章 灯光与休息", "附则"]


def test_inserted_articles_keep_their_number_and_the_newest_change_gives_the_date() -> None:
    law = read_law("upload.txt", text(NEW))
    assert law.version == date(2026, 2, 3)
    assert law.articles[3].number == "第三条之一"
    assert law.articles[3].text == "周末不安排晚自习。"


def test_what_the_operator_says_wins_over_the_text_and_the_text_over_the_name() -> None:
    said = read_law("别的法_2001-01-01.txt", text(OLD), title="自习法", version=date(2020, 1, 2))
    assert (said.title, said.version) == ("自习法", date(2020, 1, 2))
    undated = ["夜间自习法", *OLD[2:]]
    assert read_law("夜间自习法_20200102.docx", docx(undated)).version == date(2020, 1, 2)
    with pytest.raises(LawError, match="--version"):
        read_law("夜间自习法.txt", text(undated))


def test_a_title_on_two_lines_is_one_title() -> None:
    lines = ["最高人民法院", "关于晚自习纠纷的解释（一）", "2020年1月2日通过", *OLD[7:]]
    assert read_law("x.txt", text(lines)).title == "最高人民法院关于晚自习纠纷的解释（一）"


def test_a_blank_inside_the_number_or_none_behind_it_hides_no_article() -> None:
    lines = [line.replace("第三条　", "第三 条") for line in OLD]
    assert read_law("x.txt", text(lines)).articles == read_law("x.txt", text(OLD)).articles


def test_a_paragraph_that_speaks_of_another_article_begins_none() -> None:
    at = OLD.index("第四条　教室的灯应当明亮，不得闪烁，窗户应当能够打开通风。")
    lines = [*OLD[: at + 1], "第五条规定的费用除外。", "第二条所称学校包括职业学校。", *OLD[at + 1 :]]
    law = read_law("x.txt", text(lines))
    assert len(law.articles) == 6
    assert law.articles[3].text.endswith("第五条规定的费用除外。\n第二条所称学校包括职业学校。")


def test_a_chapter_that_lost_its_number_is_no_part_of_the_article_before_it() -> None:
    law = read_law("x.txt", text([line.replace("第二章　灯光与休息", "灯光与休息") for line in OLD]))
    assert law.articles[1].text.endswith("商量的结果应当公布。")
    assert law.articles[2].place == "灯光与休息"


def test_a_supplement_belongs_to_no_article_and_page_numbers_to_no_text() -> None:
    law = read_law("x.txt", text([*OLD[:10], "— 3 —", *OLD[10:], "附件一", "第一条　这是附件。"]))
    assert law.articles == read_law("x.txt", text(OLD)).articles


def test_skipped_numbers_are_named_and_repeated_ones_refused() -> None:
    assert read_law("x.txt", text([line for line in OLD if not line.startswith("第四条")])).missing == (4,)
    with pytest.raises(LawError, match="第一条"):
        read_law("x.txt", text([*OLD, *OLD]))


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        (b"\xd0\xcf\x11\xe0 an old Word file", "DOCX"),
        (b"%PDF-1.7", "DOCX"),
        (b"PK\x03\x04 torn", "另存"),
        (docx_of("<w:document"), "另存"),
        (docx(OLD, before='<!DOCTYPE x [<!ENTITY a "aaaa">]>'), "另存"),
        (docx(["一份没有条文的通知"]), "第一条"),
        (b"\xff\xff\xff\x80 not text", "编码"),
        (b"a" * (LARGEST + 1), "太大"),
        (docx(["第一条　" + "长" * LARGEST]), "太大"),
    ],
)
def test_what_is_no_law_is_refused_with_what_to_do(content: bytes, advice: str) -> None:
    with pytest.raises(LawError, match=advice):
        read_law("upload", content)


def test_one_law_has_one_key_however_its_title_is_written() -> None:
    assert key_of("《中华人民共和国劳动法》") == key_of("劳动法")
    assert key_of("关于适用《中华人民共和国民法典》婚姻家庭编的解释（一）") == key_of(
        "关于适用民法典婚姻家庭编的解释(一)"
    )
    assert key_of("劳动法") != key_of("劳动合同法")


@pytest.mark.skipif(LAWS is None, reason="no folder of law texts: set QINGTING_LAWS")
def test_every_official_text_is_read_whole() -> None:
    assert LAWS is not None
    for path in sorted(LAWS.glob("*.txt")):
        name, version = path.stem.rsplit("_", 1)
        law = read_law(path.name, path.read_bytes())
        assert key_of(law.title) == key_of(name)
        assert law.version.isoformat() == version
        assert not law.missing, path.name
        read = {article.number: article.number + article.text for article in law.articles}
        for number, whole in laws.articles(LAWS, name).items():
            # The tests' own, simpler reader runs on over what stands behind the last article of a part.
            assert _bare(whole).startswith(_bare(read[number])), f"{path.name} {number}"
        assert not [a for a in law.articles if len(a.text) < 3], path.name


def _bare(words: str) -> str:
    return plain(words).replace("\u200b", "")
