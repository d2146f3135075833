"""Entries in files that people edit elsewhere: YAML as shipped, CSV and XLSX as spreadsheets have them.

`write` makes a file of entries, `read` takes one: all of it or nothing. What is wrong is told with row and column, as a code that the
shell puts into words. A spreadsheet must never run what somebody wrote: a cell that would be a formula begins with an apostrophe in
what we write (OWASP, "CSV injection"), which reading takes away again; a formula in what we read is refused.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final, Literal, get_args

import yaml
from pydantic import ValidationError
from sqlalchemy import bindparam, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from escalation import records
from knowledge import desk
from knowledge.entries import Audience, Citation, Entry
from knowledge.tables import KnowledgeEntry, KnowledgeRevision
from knowledge.terms import plain
from nlu import categories

Format = Literal["yaml", "csv", "xlsx"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)

MOST_BYTES: Final = 20_000_000  # of a file: ten times all shipped entries
_MOST_UNZIPPED: Final = 200_000_000  # a few kilobytes of XLSX can be made to unpack to gigabytes
MOST_ENTRIES: Final = 10_000
MOST_DRAFTS: Final = 300  # written in one commit, which must stay short: messages wait behind it
_MOST_ROWS: Final = 100_000  # blank ones included: a spreadsheet may say that it has a million

COLUMNS: Final[dict[str, str]] = {
    "id": "编号",
    "title": "标题",
    "asks": "问法",
    "short": "短回答",
    "long": "长回答",
    "category": "案由",
    "audience": "对象",
    "region": "地区",
    "sources": "来源",
    "checked_on": "核对日期",
    "review_by": "复核日期",
    "brings_human": "带人工",
}
"""An entry's fields in a spreadsheet's order, with the heads that curators see."""

_AUDIENCES: Final[dict[Audience, str]] = {
    "pupil": "学生",
    "worker": "工作的人",
    "parent": "家长",
    "teacher": "老师",
    "anyone": "所有人",
}
_YES, _NO = "是", "否"
_FIELD_OF: Final = {**{head: name for name, head in COLUMNS.items()}, **{name: name for name in COLUMNS}}
_LAW: Final = re.compile(r"(?P<law>.+?)\s+(?P<article>第\S+条\S*)\s+(?P<version>\d{4}\D\d{1,2}\D\d{1,2}日?)")
_DATE: Final = re.compile(r"(\d{4})\s*[-/.年]\s*(\d{1,2})\s*[-/.月]\s*(\d{1,2})\s*日?")
# What Excel, WPS and LibreOffice take for the beginning of a formula, full-width forms included.
_FORMULA: Final = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_HELD_FORMULA: Final = re.compile(r"'+[=+\-@\t\r\n＝＋－＠]")
_NO_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_LISTS: Final = re.compile(r"[、，,;；\s]+")
_HOW_TO_FILL: Final = (
    ("编号", "英文小写：领域.名称，例如 labour.unpaid-wages；同一编号再导入就是修改"),
    ("问法", "一行一个（单元格内换行：Alt+Enter），至少五个"),
    ("短回答", "最多 300 字，第一句就回答问题"),
    ("案由", "例如 法律·劳动·拖欠工资"),
    ("对象", "、".join(_AUDIENCES.values())),
    ("来源", "一行一个：法律写“民法典 第十七条 2020-05-28”（名称、条、版本日期），其他写机构或文件名"),
    ("日期", "例如 2026-11-23"),
    ("带人工", "是 或 否；自伤、受害的条目写“是”"),
    ("'", "开头的撇号表示后面的 = + - @ 只是文字，导入时会去掉"),
)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong in a row (1 is the first line of a sheet, or the first entry of a YAML file; 0 the file as a whole).

    `column` is an entry's field ("" for the row), `item` counts from 1 in asks and sources. `kind` is pydantic's or one of ours, with
    what it needs to be put into words in `ctx`. Never the value itself.
    """

    row: int
    column: str
    kind: str
    item: int = 0
    ctx: Mapping[str, Any] = field(default_factory=dict)


class Refused(Exception):
    """The file is not taken, for these reasons."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Row:
    """One entry and the row that it stands in."""

    number: int
    entry: Entry


def format_of(name: str) -> Format | None:
    """The format of a file by its name's ending."""
    ending = name.lower().rpartition(".")[2]
    return {"yml": "yaml", "yaml": "yaml", "csv": "csv", "xlsx": "xlsx"}.get(ending)  # type: ignore[return-value]


# --- out ------------------------------------------------------------------------------------------------------------


def write(entries: Iterable[Entry], format: Format) -> bytes:  # noqa: A002 (the field's own word)
    """A file of these entries."""
    return _WRITERS[format](list(entries))


def _to_yaml(entries: Sequence[Entry]) -> bytes:
    listed = [entry.model_dump(exclude_defaults=True) for entry in entries]
    for one in listed:
        one["asks"], one["audience"], one["sources"] = (
            list(one["asks"]),
            list(one["audience"]),
            list(one["sources"]),
        )
    text = yaml.safe_dump({"entries": listed}, allow_unicode=True, sort_keys=False, width=10_000)
    return text.encode()


def _to_csv(entries: Sequence[Entry]) -> bytes:
    out = io.StringIO(newline="")
    rows = csv.writer(out, quoting=csv.QUOTE_ALL)
    rows.writerow(COLUMNS.values())
    rows.writerows(map(_cells, entries))
    return out.getvalue().encode("utf-8-sig")  # without the mark Excel reads it as GBK


def _to_xlsx(entries: Sequence[Entry]) -> bytes:
    from openpyxl import Workbook
    from openpyxl.cell import Cell
    from openpyxl.styles import Alignment, Font
    from openpyxl.utils import get_column_letter

    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "条目"
    wrapped = Alignment(wrap_text=True, vertical="top")
    for number, cells in enumerate([list(COLUMNS.values()), *map(_cells, entries)], start=1):
        for column, text in enumerate(cells, start=1):
            cell = sheet.cell(number, column)
            assert isinstance(cell, Cell)  # only a merged one is another
            cell.value = _NO_XML.sub("", text)
            cell.data_type = "s"  # words, whatever they look like
            cell.alignment = wrapped
    for cell in sheet[1]:
        cell.font = Font(bold=True)
    for column, name in enumerate(COLUMNS, start=1):
        wide = name in ("asks", "short", "long", "sources")
        sheet.column_dimensions[get_column_letter(column)].width = 50 if wide else 18
    sheet.freeze_panes = "C2"
    guide = book.create_sheet("填写说明")
    for line in _HOW_TO_FILL:
        guide.append(list(line))
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _cells(entry: Entry) -> list[str]:
    given = {
        "asks": _lines(entry.asks),
        "category": categories.names().get(entry.category, entry.category),
        "audience": "、".join(_AUDIENCES[one] for one in entry.audience),
        "sources": _lines(map(_source_line, entry.sources)),
        "checked_on": entry.checked_on.isoformat(),
        "review_by": entry.review_by.isoformat(),
        "brings_human": _YES if entry.brings_human else _NO,
    }
    return [_held(given.get(name) or _unix(str(getattr(entry, name)))) for name in COLUMNS]


def _source_line(citation: Citation) -> str:
    if citation.body:
        return citation.body
    return f"{citation.law} {citation.article} {citation.version}"


def _lines(texts: Iterable[str]) -> str:
    """One a line: a line break inside becomes a space."""
    return "\n".join(" ".join(text.split("\n")) for text in map(_unix, texts))


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _held(text: str) -> str:
    """The text so that no spreadsheet takes it for a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


_WRITERS: Final[dict[Format, Callable[[Sequence[Entry]], bytes]]] = {
    "yaml": _to_yaml,
    "csv": _to_csv,
    "xlsx": _to_xlsx,
}


# --- in -------------------------------------------------------------------------------------------------------------


def read(data: bytes, format: Format) -> list[Row]:  # noqa: A002
    """Every entry of a file. Raises Refused with everything that is wrong in it: there is no half."""
    if len(data) > MOST_BYTES:
        raise Refused([Problem(0, "", "too_large", ctx={"megabytes": MOST_BYTES // 1_000_000})])
    problems: list[Problem] = []
    rows: list[Row] = []
    count = 0
    for number, fields, wrong in _READERS[format](data):
        count += 1
        if count > MOST_ENTRIES:
            raise Refused([Problem(number, "", "too_many", ctx={"most": MOST_ENTRIES})])
        problems += wrong
        if wrong:
            continue
        try:
            rows.append(Row(number, Entry.model_validate(fields)))
        except ValidationError as error:
            problems += _problems_of(number, error)
    if not count and not problems:
        problems.append(Problem(0, "", "empty_file"))
    problems += _collisions(rows)
    if problems:
        raise Refused(sorted(problems, key=lambda p: (p.row, list(COLUMNS).index(p.column or "id"), p.item)))
    return rows


_Read = Iterator[tuple[int, dict[str, Any], list[Problem]]]


def _from_yaml(data: bytes) -> _Read:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        raw = yaml.load(_text(data), Loader=loader)  # noqa: S506 (both are the safe ones)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = {"line": mark.line + 1} if mark is not None else {}
        raise Refused([Problem(0, "", "not_yaml", ctx=line)]) from None
    except (RecursionError, ValueError):  # nested too deep; a date such as 2026-02-31
        raise Refused([Problem(0, "", "not_yaml")]) from None
    whole = raw if isinstance(raw, dict) else {"entries": raw}
    defaults, listed = whole.get("defaults") or {}, whole.get("entries") or []
    if set(whole) - {"defaults", "entries"} or not isinstance(defaults, dict) or not isinstance(listed, list):
        raise Refused([Problem(0, "", "not_entries")])
    for number, given in enumerate(listed, start=1):
        if not isinstance(given, dict):
            yield number, {}, [Problem(number, "", "dict_type")]
            continue
        fields = {str(name): value for name, value in {**defaults, **given}.items()}
        wrong = [Problem(number, "", "unknown_column") for name in fields if name not in COLUMNS][:1]
        yield number, fields, wrong + list(_unfit(number, fields))


def _from_csv(data: bytes) -> _Read:
    try:
        table = list(csv.reader(io.StringIO(_text(data), newline=""), strict=True))
    except csv.Error:
        raise Refused([Problem(0, "", "not_csv")]) from None
    yield from _from_table(enumerate(table, start=1))


def _from_xlsx(data: bytes) -> _Read:
    from openpyxl import load_workbook

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            if sum(part.file_size for part in packed.infolist()) > _MOST_UNZIPPED:
                raise Refused([Problem(0, "", "too_large", ctx={"megabytes": MOST_BYTES // 1_000_000})])
        book = load_workbook(io.BytesIO(data), read_only=True)
        sheet = book["条目"] if "条目" in book.sheetnames else book.worksheets[0]
        table = [(cell_row[0], list(cell_row[1])) for cell_row in enumerate(_sheet_rows(sheet), start=1)]
    except Refused:
        raise
    except Exception:  # a damaged file makes the library raise whatever it stumbled over
        raise Refused([Problem(0, "", "not_xlsx")]) from None
    yield from _from_table(table)


def _sheet_rows(sheet: Any) -> Iterator[list[Any]]:
    for number, cells in enumerate(sheet.iter_rows(), start=1):
        if number > _MOST_ROWS:
            raise Refused([Problem(number, "", "too_many", ctx={"most": MOST_ENTRIES})])
        yield [_Formula() if cell.data_type == "f" else cell.value for cell in cells]


class _Formula:
    """Stands where a spreadsheet has a formula."""


def _from_table(table: Iterable[tuple[int, Sequence[Any]]]) -> _Read:
    """Rows of cells, the first that is not blank being the heads."""
    names: list[str] | None = None
    for number, cells in table:
        if all(cell is None or (isinstance(cell, str) and not cell.strip()) for cell in cells):
            continue
        if names is None:
            names = _heads(number, cells)
            continue
        fields, wrong = _fields(number, names, cells)
        yield number, fields, wrong


def _heads(number: int, cells: Sequence[Any]) -> list[str]:
    """The fields that the columns hold, "" for a column without a head at the right. Raises Refused."""
    heads = ["" if cell is None else str(cell).strip() for cell in cells]
    names = [_FIELD_OF.get(head, head and "?") for head in heads]
    known = [name for name in names if name in COLUMNS]
    required = [name for name in COLUMNS if Entry.model_fields[name].is_required()]
    problems = [Problem(number, name, "doubled_column") for name in COLUMNS if known.count(name) > 1]
    problems += [Problem(number, name, "missing_column") for name in required if name not in known]
    if "?" in names:
        problems.append(Problem(number, "", "unknown_column", ctx={"place": names.index("?") + 1}))
    if problems:
        raise Refused(problems)
    return names


def _fields(number: int, names: Sequence[str], cells: Sequence[Any]) -> tuple[dict[str, Any], list[Problem]]:
    fields: dict[str, Any] = {}
    wrong: list[Problem] = []
    for place, cell in enumerate(cells):
        name = names[place] if place < len(names) else ""
        if isinstance(cell, _Formula):
            wrong.append(Problem(number, name, "formula"))
        elif cell is None or cell == "":
            continue
        elif not name:
            wrong.append(Problem(number, "", "unknown_column", ctx={"place": place + 1}))
        else:
            fields[name] = _value(name, _released(_unix(_as_text(cell))))
    return fields, wrong + list(_unfit(number, fields))


def _as_text(cell: Any) -> str:
    """A cell as the person sees it: a spreadsheet makes numbers, dates and truth of what looks like them."""
    match cell:
        case bool():
            return _YES if cell else _NO
        case float() if cell.is_integer():
            return str(int(cell))
        case datetime():
            return cell.date().isoformat()
        case _:
            return str(cell)


def _released(text: str) -> str:
    return text[1:] if _HELD_FORMULA.match(text) else text


def _value(name: str, text: str) -> Any:
    """A cell's text as the field wants it; what cannot be read is left for the check of the entry to refuse."""
    match name:
        case "asks":
            return [line.strip() for line in text.split("\n") if line.strip()]
        case "sources":
            return [_source(line.strip()) for line in text.split("\n") if line.strip()]
        case "audience":
            codes = {zh: code for code, zh in _AUDIENCES.items()}
            return [codes.get(word, word) for word in _LISTS.split(text) if word]
        case "category":
            codes_by_name = {zh: code for code, zh in categories.names().items()}
            return codes_by_name.get(text.strip(), text.strip())
        case "checked_on" | "review_by":
            return _date(text.strip())
        case "brings_human":
            return {_YES: True, _NO: False}.get(text.strip(), text.strip())
        case "short" | "long":
            return text
        case _:
            return text.strip()


def _source(line: str) -> dict[str, str]:
    law = _LAW.fullmatch(line)
    if law is None:
        return {"body": line}
    return {"law": law["law"].strip("《》"), "article": law["article"], "version": _date(law["version"])}


def _date(text: str) -> str:
    """The date in the form with hyphens; spreadsheets write 2026/11/23 and people 2026年11月23日."""
    written = _DATE.fullmatch(text)
    return text if written is None else f"{written[1]}-{int(written[2]):02}-{int(written[3]):02}"


def _text(data: bytes) -> str:
    """UTF-8, or GB18030 as Excel and WPS in China save. Raises Refused."""
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise Refused([Problem(0, "", "encoding")])


def _unfit(number: int, fields: Mapping[str, Any]) -> Iterator[Problem]:
    """What the check of an entry does not look at: characters that cannot be kept, a category that nobody knows."""
    for name, value in fields.items():
        if any("\x00" in text or any("\ud800" <= c <= "\udfff" for c in text) for text in _texts(value)):
            yield Problem(number, name if name in COLUMNS else "", "not_text")
    category = fields.get("category")
    if isinstance(category, str) and category.count(".") and category not in categories.names():
        yield Problem(number, "category", "category")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from (
                (v for v in one.values() if isinstance(v, str)) if isinstance(one, dict) else _texts(one)
            )


def _problems_of(number: int, error: ValidationError) -> Iterator[Problem]:
    for one in error.errors(include_input=False, include_url=False):
        column, *inside = one["loc"] or ("",)
        if one["type"] == "review_order":
            column = "review_by"
        item = next((place + 1 for place in inside if isinstance(place, int)), 0)
        known = str(column) if column in COLUMNS else ""
        yield Problem(number, known, one["type"], item, one.get("ctx") or {})


def _collisions(rows: Sequence[Row]) -> Iterator[Problem]:
    """An id or a wording that two rows of the file have."""
    ids: dict[str, int] = {}
    wordings: dict[str, int] = {}
    for row in rows:
        first = ids.setdefault(row.entry.id, row.number)
        if first != row.number:
            yield Problem(row.number, "id", "doubled_id", ctx={"row": first})
        for item, ask in enumerate(row.entry.asks, start=1):
            other = wordings.setdefault(plain(ask), row.number)
            if other != row.number:
                yield Problem(row.number, "asks", "wording_of_other", item, {"row": other})


_READERS: Final[dict[Format, Callable[[bytes], _Read]]] = {
    "yaml": _from_yaml,
    "csv": _from_csv,
    "xlsx": _from_xlsx,
}


# --- into the desk --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Draft:
    """A row that is to become a draft, of the version of the entry that was looked at (0: there is none)."""

    row: int
    entry_id: str
    fields: dict[str, Any]
    version: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a file would change: entries by id, and the drafts to write."""

    new: tuple[str, ...]
    changed: tuple[str, ...]
    same: tuple[str, ...]
    drafts: tuple[Draft, ...]


async def plan(session: AsyncSession, rows: Sequence[Row], *, today: date, staff_id: int) -> Plan:
    """Compare rows with what the desk has. Raises Refused where a colleague has an entry in work: that is not written over."""
    there = {one.id: one for one in await desk.listed(session, today)}
    new: list[str] = []
    changed: list[str] = []
    same: list[str] = []
    drafts: list[Draft] = []
    busy: list[Problem] = []
    for row in rows:
        entry_id, fields = row.entry.id, desk.plain_fields(row.entry)
        known = there.get(entry_id)
        if known is not None and known.fields == fields:
            same.append(entry_id)
            continue
        if known is not None and _is_anothers(known, staff_id):
            busy.append(Problem(row.number, "id", "in_work"))
        (new if known is None else changed).append(entry_id)
        drafts.append(Draft(row.number, entry_id, fields, 0 if known is None else known.version))
    if len(drafts) > MOST_DRAFTS:
        busy.append(Problem(0, "", "too_many_drafts", ctx={"most": MOST_DRAFTS}))
    if busy:
        raise Refused(busy)
    return Plan(tuple(new), tuple(changed), tuple(same), tuple(drafts))


async def carry_out(session: AsyncSession, planned: Plan, *, staff_id: int, now: datetime, note: str) -> None:
    """Write all drafts, as desk.draft would, but in a few statements: what writes danger waits behind this commit.

    Raises Refused where somebody changed one of the entries meanwhile; then nothing may be committed.
    """
    ids = [one.entry_id for one in planned.drafts]
    rows = {row.id: row for row in await session.scalars(_ROWS, {"ids": ids})}
    late = [
        Problem(one.row, "id", "in_work")
        for one in planned.drafts
        if (rows[one.entry_id].version if one.entry_id in rows else 0) != one.version
    ]
    if late:
        raise Refused(late)
    in_work = {(r.entry_id, r.number): r for r in await session.scalars(_IN_WORK, {"ids": ids})}
    written = []
    for one in planned.drafts:
        row = rows.get(one.entry_id)
        if row is None:
            row = KnowledgeEntry(id=one.entry_id, newest=0, retired=False, version=0)
            session.add(row)
        revision = in_work.get((row.id, row.newest))
        if revision is None:
            row.newest += 1
            revision = KnowledgeRevision(
                entry_id=row.id, number=row.newest, authors=[staff_id], created_at=now
            )
            session.add(revision)
        revision.fields, revision.state, revision.note = one.fields, "draft", note
        row.state, row.updated_at = "draft", now
        row.version += 1
        written.append(revision)
    try:
        await session.flush()
    except IntegrityError:  # another import made the same new entry at the same moment
        raise Refused([Problem(0, "", "in_work")]) from None
    for revision in written:
        at = f"{revision.entry_id}@{revision.number}"
        records.write(session, staff_id, "entry.draft", "knowledge_revision", revision.id, now, at)
    await session.flush()


_ROWS: Final = (
    select(KnowledgeEntry)
    .where(KnowledgeEntry.id.in_(bindparam("ids", expanding=True)))
    .order_by(KnowledgeEntry.id)  # everybody locks in the same order
    .with_for_update()
    .execution_options(populate_existing=True)
)
_IN_WORK: Final = (
    select(KnowledgeRevision)
    .where(
        KnowledgeRevision.entry_id.in_(bindparam("ids", expanding=True)), KnowledgeRevision.state == "draft"
    )
    .execution_options(populate_existing=True)
)


def _is_anothers(one: desk.Listed, staff_id: int) -> bool:
    """Whether the entry has a text on its way that is not this person's own draft."""
    newest = one.newest
    if newest is None or newest.state not in ("draft", "submitted", "approved"):
        return False
    return newest.state != "draft" or newest.authors != [staff_id]
