"""Official law texts (plain text or DOCX) read into title, version date, chapters and articles.

The operator brings the texts (`qingting laws import`); none is shipped. First stop of the law library: what is read here is
kept by law_library.py, and entries cite it by title, article and version date.
"""

from __future__ import annotations

import io
import re
import unicodedata
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import PurePath
from typing import Final

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, iterparse

from knowledge.law_numbers import value_of

LARGEST: Final = 32 * 1024 * 1024
"""Bytes of a file, and of the text inside a DOCX. The civil code takes a third of a megabyte."""

_NUMERAL = "[零〇一二三四五六七八九十百千]+"
# Some official texts have a blank inside the number or none behind it: 第一百二十八 条侦查人员…
_ARTICLE = re.compile(rf"第({_NUMERAL})\s*条(?:之({_NUMERAL}))?(\s|$)?")
_REFERENCE = re.compile(r"规定|[、，。；：和与至到第所中的]")  # 第二十条规定的… begins no article
_HEADING = re.compile(rf"第{_NUMERAL}(编|分编|章|节)\s*([^。；]{{0,40}})$")
_LEVELS = ("编", "分编", "章", "节")
_SUPPLEMENT = re.compile(r"(附件|附录|附表|附[:：]|附$).{0,30}$")
_BARE_HEADING = re.compile(r"[^\W\d_]{2,20}$")
_PAGE_NUMBER = re.compile(r"[-—－\s]*\d{1,4}[-—－\s]*$")
_DATE = re.compile(r"(\d{4})\s*[年.-]\s*(\d{1,2})\s*[月.-]\s*(\d{1,2})\s*日?")
_IN_FORCE = re.compile(r"\s*起?(施行|实施|生效)")
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\ufeff\u00ad"))
_NOT_IN_A_KEY = re.compile(r"中华人民共和国|[\s《》〈〉、,()]")
_ISSUER = re.compile(r"^中华人民共和国$|(法院|检察院|国务院|[部局署委厅]|委员会|会议|常务委员会)$")


class LawError(ValueError):
    """A file that cannot be read as a law. The message is Chinese: the operator sees it."""


@dataclass(frozen=True, slots=True)
class Article:
    """One article (条). `number` as it is cited, 第十七条之一; `place` the headings above it; `text` its paragraphs, a line each."""

    number: str
    place: str
    text: str


@dataclass(frozen=True, slots=True)
class Law:
    """A law in one version. `version`: the day it was passed or last changed. `missing`: numbers skipped in the text."""

    title: str
    version: date
    articles: tuple[Article, ...]
    missing: tuple[int, ...] = ()


def key_of(title: str) -> str:
    """What two ways of writing one law's title share: 《中华人民共和国劳动法》 and 劳动法 are the same law."""
    return _NOT_IN_A_KEY.sub("", unicodedata.normalize("NFKC", title))


def plain(text: str) -> str:
    """A text without what typesetting changes: two versions differ where their plain texts differ."""
    return "".join(unicodedata.normalize("NFKC", text).split())


def read_law(name: str, content: bytes, *, title: str = "", version: date | None = None) -> Law:
    """A file's law. `name` is the file's name, of which 法名_YYYY-MM-DD is understood; `title` and `version`, where given, win.

    Raises LawError saying what is wrong with the file and what to do.
    """
    if len(content) > LARGEST:
        raise LawError("文件太大，不像是一部法律的正文")
    lines = _lines(content)
    body = next((at for at, line in enumerate(lines) if _begins_first(line)), len(lines))
    articles, missing = _articles(lines)
    if not articles:
        raise LawError(
            "没有找到“第一条”这样的条文。条号如果是 Word 自动编号，请先在 Word 里另存为纯文本再导入"
        )
    named_title, named_version = _from_name(name)
    found = version or _told_version(lines[:body]) or named_version or _newest_date(lines[:body])
    if found is None:
        raise LawError("正文前面没有通过或修改的日期，请用 --version 写明，例如 --version 2025-06-27")
    heading = title or _told_title(lines) or named_title or _title(lines[:body])
    if not heading:
        raise LawError("没有找到法律的名称，请用 --title 写明")
    return Law(short_title(heading), found, tuple(articles), tuple(missing))


def short_title(title: str) -> str:
    """A title as entries cite it: without the country's name in front and without brackets around the whole."""
    title = re.sub(r"\s+", "", title)
    if title.startswith("《") and title.find("》") == len(title) - 1:
        title = title[1:-1]
    return title.removeprefix("中华人民共和国")


# --- lines --------------------------------------------------------------------------------------------------------------


def _lines(content: bytes) -> list[str]:
    """The text's lines, trimmed, without empty ones and page numbers."""
    if content.startswith(b"PK\x03\x04"):
        raw = _docx_lines(content)
    elif content.startswith((b"\xd0\xcf\x11\xe0", b"%PDF", b"{\\rtf")):
        raise LawError("只能读纯文本和 DOCX。请在 Word 或 WPS 里打开，另存为 .docx 或 .txt 再导入")
    else:
        raw = iter(_decoded(content).splitlines())
    cleaned = (line.translate(_INVISIBLE).strip() for line in raw)
    return [line for line in cleaned if line and not _PAGE_NUMBER.match(line)]


def _decoded(content: bytes) -> str:
    marked = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    for encoding in (
        ("utf-16",) if marked else ("utf-8-sig", "gb18030")
    ):  # the last is what Chinese Windows writes
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise LawError("文字的编码认不出来，请另存为 UTF-8 再导入")


def _docx_lines(content: bytes) -> Iterator[str]:
    """The paragraphs of a DOCX in order (ECMA-376: w:p of word/document.xml, text in w:t)."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            part = archive.getinfo("word/document.xml")
            if part.file_size > LARGEST:
                raise LawError("文件太大，不像是一部法律的正文")
            document = archive.read(part)
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, EOFError, OSError):
        raise LawError("这不是完好的 DOCX 文件，请在 Word 或 WPS 里打开后另存再导入") from None
    try:
        yield from _paragraphs(document)
    except (ParseError, DefusedXmlException):
        raise LawError("这个 DOCX 的内容读不了，请在 Word 或 WPS 里打开后另存再导入") from None


def _paragraphs(document: bytes) -> Iterator[str]:
    words: list[str] = []
    fallback = 0  # mc:Fallback repeats for old programs what stands beside it
    for event, element in iterparse(io.BytesIO(document), events=("start", "end"), forbid_dtd=True):
        name = element.tag.rpartition("}")[2]
        if name == "Fallback":
            fallback += 1 if event == "start" else -1
        if event == "start" or fallback:
            continue
        if name == "t":
            words.append(element.text or "")
        elif name == "tab":
            words.append(" ")
        elif name in ("br", "cr"):
            words.append("\n")
        elif name == "p":
            yield from "".join(words).split("\n")
            words.clear()
            element.clear()


# --- what stands above the articles -------------------------------------------------------------------------------------


def _told_title(lines: Sequence[str]) -> str:
    """The first line, where it is a heading of its own: # 劳动法."""
    first = lines[0] if lines else ""
    return first.lstrip("# ") if first.startswith("#") and not _DATE.search(first) else ""


def _told_version(preamble: Sequence[str]) -> date | None:
    """A line that names the version date: # 版本日期: 2018-12-29."""
    for line in preamble:
        if "版本日期" in line and (dates := list(_dates(line))):
            return dates[0]
    return None


def _from_name(name: str) -> tuple[str, date | None]:
    """劳动法_2018-12-29.txt, or as the national database names its files: 中华人民共和国劳动法_20181229.docx."""
    named = re.fullmatch(r"(.+?)[_(（]?(\d{4})-?(\d{2})-?(\d{2})[)）]?", PurePath(name).stem)
    if named is None:
        return "", None
    return named[1], _day(named[2], named[3], named[4])


def _title(preamble: Sequence[str]) -> str:
    """The lines above the dates; an issuer's name or the country's goes together with the line behind it."""
    title = ""
    for line in preamble:
        line = line.lstrip("# ")
        if _DATE.search(unicodedata.normalize("NFKC", line)) or line[0] in "(（" or len(line) > 80:
            break
        title += re.sub(r"\s+", "", line)
        if not _ISSUER.search(line):
            break
    return title


def _newest_date(preamble: Sequence[str]) -> date | None:
    """The last day the text says it was passed, changed or made public; not the day it came into force."""
    return max((day for line in preamble for day in _dates(line)), default=None)


def _dates(line: str) -> Iterator[date]:
    line = unicodedata.normalize("NFKC", line)
    for found in _DATE.finditer(line):
        day = _day(*found.groups())
        if day is not None and not _IN_FORCE.match(line, found.end()):
            yield day


def _day(year: str, month: str, day: str) -> date | None:
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None


# --- articles -----------------------------------------------------------------------------------------------------------


def _begins_first(line: str) -> bool:
    return (found := _ARTICLE.match(line)) is not None and value_of(found[1]) == 1


def _articles(lines: Sequence[str]) -> tuple[list[Article], list[int]]:
    """The articles in order, and the numbers that are skipped. Raises LawError where the order is broken."""
    articles: list[Article] = []
    missing: list[int] = []
    places = [""] * len(_LEVELS)
    paragraphs: list[str] | None = None  # of the article being read
    last = (0, 0)
    for at, line in enumerate(lines):
        number = _article_number(line, last)
        if number is not None:
            if number <= last:
                raise LawError(f"{_written(line)}重复了或者次序不对，请看看文件里是不是有两份正文")
            missing += range(last[0] + 1, number[0])
            last = number
            found = _ARTICLE.match(line)
            assert found is not None
            paragraphs = [line[found.end() :].strip()]
            place = " ".join(filter(None, places))
            articles.append(Article(_written(line), place, ""))
        elif _is_heading(line, places):
            paragraphs = None
        elif _SUPPLEMENT.match(line) and articles:
            break  # what follows belongs to no article
        elif _BARE_HEADING.match(line) and _article_number(_next(lines, at), last) is not None:
            places[2:] = [line, ""]  # a chapter whose number the file lost
            paragraphs = None
        elif paragraphs is not None:
            paragraphs.append(line)
        if paragraphs is not None:
            articles[-1] = Article(
                articles[-1].number, articles[-1].place, "\n".join(filter(None, paragraphs))
            )
    return articles, missing


def _next(lines: Sequence[str], at: int) -> str:
    return lines[at + 1] if at + 1 < len(lines) else ""


def _article_number(line: str, last: tuple[int, int]) -> tuple[int, int] | None:
    """(120, 2) where the line begins 第一百二十条之二. Without a blank behind it, only if it is the next article."""
    found = _ARTICLE.match(line)
    if found is None:
        return None
    number = (value_of(found[1]), value_of(found[2] or ""))
    if found[3] is not None:
        return number
    follows = number in ((last[0] + 1, 0), (last[0], last[1] + 1))
    return number if follows and not _REFERENCE.match(line, found.end()) else None


def _written(line: str) -> str:
    """The article's number as it is cited, without blanks inside."""
    found = _ARTICLE.match(line)
    assert found is not None
    return f"第{found[1]}条" + (f"之{found[2]}" if found[2] else "")


def _is_heading(line: str, places: list[str]) -> bool:
    """Whether the line is a heading; it and what it ends are then changed in `places` (编, 分编, 章, 节)."""
    bare = "".join(line.split())
    if bare == "附则":  # the last part of a code has no number
        places[:] = [bare, "", "", ""]
        return True
    found = _HEADING.match(line)
    if found is None:
        return bare.startswith("#") or bare == "目录"
    level = _LEVELS.index(found[1])
    if places[0] == "附则":  # in the table of contents; the text itself begins again
        places[0] = ""
    number = line[: found.start(2)].strip()
    places[level:] = [f"{number} {''.join(found[2].split())}".strip()] + [""] * (len(_LEVELS) - level - 1)
    return True
