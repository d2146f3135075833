"""Entries in files: what goes out comes back word for word, what is wrong is told by row and column, and nothing is half taken."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook, load_workbook

from knowledge import exchange
from knowledge.entries import Citation, Entry, load_entries
from knowledge.exchange import COLUMNS, FORMATS, Format, Problem, Refused, Row

SHEETS: tuple[Format, ...] = ("csv", "xlsx")


def entry(**change: Any) -> Entry:
    fields: dict[str, Any] = {
        "id": "labour.one",
        "title": "一个测试条目",
        "asks": ["怎么问一", "怎么问二", "怎么问三", "怎么问四", "怎么问五"],
        "short": "这是一个足够长的短答案，先回答问题，再说今天可以做什么。",
        "category": "legal.labour.contract",
        "audience": ["pupil", "worker"],
        "sources": [{"law": "劳动法", "article": "第五十条", "version": "2018-12-29"}, {"body": "12333"}],
        "checked_on": "2026-01-01",
        "review_by": "2027-01-01",
    }
    return Entry.model_validate(fields | change)


def csv_of(change: Callable[[list[dict[str, str]]], object]) -> bytes:
    """Two good rows as a spreadsheet would save them, changed by `change`."""
    two = [entry(), entry(id="labour.two", asks=["另问一", "另问二", "另问三", "另问四", "另问五"])]
    table = list(csv.DictReader(io.StringIO(exchange.write(two, "csv").decode("utf-8-sig"), newline="")))
    change(table)
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(dict.fromkeys(key for row in table for key in row)))
    writer.writeheader()
    writer.writerows(table)
    return out.getvalue().encode()


def xlsx_of(*rows: list[Any]) -> bytes:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def refused(data: bytes, format: Format = "csv") -> list[Problem]:  # noqa: A002
    with pytest.raises(Refused) as caught:
        exchange.read(data, format)
    return list(caught.value.problems)


def test_every_field_of_an_entry_has_a_column() -> None:
    assert set(COLUMNS) == set(Entry.model_fields)


@pytest.mark.parametrize("format", FORMATS)
def test_all_shipped_entries_go_out_and_come_back_the_same(format: Format) -> None:  # noqa: A002
    entries = load_entries()
    back = exchange.read(exchange.write(entries, format), format)
    assert [row.entry for row in back] == entries
    first = 1 if format == "yaml" else 2
    assert [row.number for row in back] == list(range(first, first + len(entries)))


@pytest.mark.parametrize("format", SHEETS)
@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "＝", "＋", "－", "＠", "'=", "''@", "'"])
def test_no_cell_begins_as_a_formula_and_the_text_comes_back(format: Format, sign: str) -> None:  # noqa: A002
    text = f"{sign}cmd|' /C calc'!A0 这里还要有二十个字才能算是一条短回答"
    wild = entry(title=f"{sign}HYPERLINK(1)", short=text, long=text, asks=[f"{sign}问{n}" for n in range(5)])
    data = exchange.write([wild], format)
    if format == "csv":
        cells = [cell for row in csv.reader(io.StringIO(data.decode("utf-8-sig"))) for cell in row]
    else:
        sheet = load_workbook(io.BytesIO(data)).worksheets[0]
        found = [cell for row in sheet.iter_rows() for cell in row if cell.value is not None]
        assert {cell.data_type for cell in found} == {"s"}
        cells = [str(cell.value) for cell in found]
    assert len(cells) >= 2 * len(COLUMNS) - 1
    assert not [cell for cell in cells if cell.startswith(tuple("=+-@\t\r＝＋－＠"))]
    (row,) = exchange.read(data, format)
    assert (row.entry.short, row.entry.long) == (text, text)
    assert row.entry.title.strip() == wild.title.strip()
    assert [ask.strip() for ask in row.entry.asks] == [ask.strip() for ask in wild.asks]


_WORDS = st.text(
    st.characters(
        exclude_categories=("Cs", "Cc"), include_characters="\n\t", exclude_characters="\ufffe\uffff"
    ),
    min_size=20,
    max_size=80,
)


@given(short=_WORDS, long=_WORDS)
@settings(max_examples=60, deadline=None)
def test_whatever_is_written_comes_back(short: str, long: str) -> None:
    wild = entry(short=short, long=long)
    for format in FORMATS:  # noqa: A001
        assert exchange.read(exchange.write([wild], format), format) == [
            Row(1 if format == "yaml" else 2, wild)
        ]


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("标题", "短", Problem(3, "title", "string_too_short", ctx={"min_length": 4})),
        ("标题", "", Problem(3, "title", "missing")),
        ("短回答", "长" * 301, Problem(3, "short", "string_too_long", ctx={"max_length": 300})),
        ("案由", "法律·不存在", Problem(3, "category", "string_pattern_mismatch")),
        ("案由", "legal.labour.nothing", Problem(3, "category", "category")),
        ("对象", "学生、外星人", Problem(3, "audience", "literal_error", 2)),
        ("来源", "12348\n劳动法 第五十条 2018-13-29", Problem(3, "sources", "date_from_datetime_parsing", 2)),
        ("核对日期", "上周", Problem(3, "checked_on", "date_from_datetime_parsing")),
        ("复核日期", "2025-01-01", Problem(3, "review_by", "review_order")),
        ("问法", "一一\n二二\n三三\n四四", Problem(3, "asks", "too_short")),
        ("问法", "一一\n二二\n三三\n四四\n一一？", Problem(3, "asks", "doubled_wording")),
        ("问法", "一一\n二二\n三三\n四四\n怎么问二", Problem(3, "asks", "wording_of_other", 5, {"row": 2})),
        ("编号", "Labour Two", Problem(3, "id", "string_pattern_mismatch")),
        ("编号", "labour.one", Problem(3, "id", "doubled_id", ctx={"row": 2})),
        ("带人工", "也许", Problem(3, "brings_human", "bool_parsing")),
        ("长回答", "里面有\x00", Problem(3, "long", "not_text")),
    ],
)
def test_what_is_wrong_is_told_by_row_and_column(column: str, value: str, problem: Problem) -> None:
    (told,) = refused(csv_of(lambda rows: rows[1].update({column: value})))
    assert (told.row, told.column, told.kind, told.item) == (
        problem.row,
        problem.column,
        problem.kind,
        problem.item,
    )
    assert problem.ctx.items() <= dict(told.ctx).items()


def test_every_fault_of_a_file_is_told_and_no_row_is_taken() -> None:
    def spoil(rows: list[dict[str, str]]) -> None:
        rows[0]["标题"] = rows[1]["短回答"] = "短"

    assert [(p.row, p.column) for p in refused(csv_of(spoil))] == [(2, "title"), (3, "short")]


def test_a_column_that_is_missing_or_not_known_is_told() -> None:
    (missing,) = refused(csv_of(lambda rows: [row.pop("短回答") for row in rows]))
    assert (missing.row, missing.column, missing.kind) == (1, "short", "missing_column")
    (unknown,) = refused(csv_of(lambda rows: rows[0].update({"密码": "x"})))
    assert (unknown.row, unknown.kind, unknown.ctx) == (1, "unknown_column", {"place": 13})


def test_columns_that_may_be_empty_may_be_left_out_and_blank_rows_are_passed_over() -> None:
    def thin(rows: list[dict[str, str]]) -> None:
        for row in rows:
            row.pop("长回答"), row.pop("地区"), row.pop("带人工")
        rows.insert(1, dict.fromkeys(rows[0], " "))

    assert [row.number for row in exchange.read(csv_of(thin), "csv")] == [2, 4]


def test_a_file_saved_by_excel_in_china_is_read() -> None:
    data = csv_of(
        lambda rows: [row.update({"核对日期": "2026/1/1", "复核日期": "2027年1月1日"}) for row in rows]
    )
    assert exchange.read(data.decode().encode("gb18030"), "csv")[0].entry == entry()


def test_a_spreadsheets_own_dates_numbers_and_truths_are_read() -> None:
    row = list(exchange._cells(entry()))
    values = dict(zip(COLUMNS, row, strict=True)) | {
        "checked_on": datetime(2026, 1, 1),
        "review_by": date(2027, 1, 1),
        "brings_human": True,
        "title": 110120,
    }
    (read,) = exchange.read(xlsx_of(list(COLUMNS.values()), list(values.values())), "xlsx")
    assert read.entry == entry(brings_human=True, title="110120")


def test_a_formula_in_a_spreadsheet_is_refused() -> None:
    row = list(exchange._cells(entry()))
    row[3] = '=HYPERLINK("http://example.org","点这里看看你的答案在哪里好不好呀")'
    (told,) = refused(xlsx_of(list(COLUMNS.values()), row), "xlsx")
    assert (told.row, told.column, told.kind) == (2, "short", "formula")


def test_a_source_is_a_law_with_article_and_version_or_a_body() -> None:
    sources = [
        Citation(law="民法典", article="第一百四十五条", version=date(2020, 5, 28)),
        Citation(law="刑法", article="第二百三十四条之一", version=date(2023, 12, 29)),
        Citation(body="最高人民法院《关于审理预付式消费民事纠纷案件适用法律若干问题的解释》"),
        Citation(body="《民法典》第十七条"),
    ]
    wide = entry(sources=sources)
    (row,) = exchange.read(exchange.write([wide], "csv"), "csv")
    assert list(row.entry.sources) == sources


@pytest.mark.parametrize(
    ("data", "format", "kind"),
    [
        (b"", "csv", "empty_file"),
        ("编号,标题\n".encode(), "csv", "missing_column"),
        (b'"open', "csv", "not_csv"),
        (b"\xff\xfe\x00\xff", "yaml", "encoding"),
        (b"entries: [", "yaml", "not_yaml"),
        (b"entries: [{id: 2026-02-31}]", "yaml", "not_yaml"),
        (b"[" * 20_000, "yaml", "not_yaml"),
        (b"defaults: {}\nother: 1", "yaml", "not_entries"),
        (b"entries: [1]", "yaml", "dict_type"),
        (b"- {id: labour.one, shrot: x}", "yaml", "unknown_column"),
        (b"a: &a [x]\nb: *a", "yaml", "not_entries"),
        (b"PK not a workbook", "xlsx", "not_xlsx"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(data: bytes, format: Format, kind: str) -> None:  # noqa: A002
    assert refused(data, format)[0].kind == kind


def test_a_spreadsheet_that_unpacks_to_gigabytes_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_MOST_UNZIPPED", 100_000)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("xl/worksheets/sheet1.xml", b"0" * 1_000_000)
    assert refused(out.getvalue(), "xlsx")[0].kind == "too_large"


def test_too_much_for_one_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "MOST_ENTRIES", 1)
    assert refused(csv_of(lambda rows: None))[0].kind == "too_many"
    monkeypatch.setattr(exchange, "MOST_BYTES", 10)
    assert refused(csv_of(lambda rows: None))[0].kind == "too_large"


@pytest.mark.parametrize(
    ("name", "format"),
    [("条目.XLSX", "xlsx"), ("a.yml", "yaml"), ("a.csv", "csv"), ("a.xls", None), ("csv", "csv"), ("", None)],
)
def test_the_format_is_known_by_the_name(name: str, format: Format | None) -> None:  # noqa: A002
    assert exchange.format_of(name) == format
