"""The help site's pages as HTML: Mako templates filled with the shelf's entries, the desk's name and its numbers.

Every expression in a template is escaped (`expression_filter="h"` at the head of each).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bot.channels.webchat.pages import File, desk_style, emergency, file
from bot.settings import Desk, Settings
from bot.web.help import search
from bot.web.help.search import Found
from bot.web.help.shelf import Shelf, address, area_of
from knowledge.entries import Citation, Entry

if TYPE_CHECKING:
    from mako.lookup import TemplateLookup

_FOLDER: Final = Path(__file__).parent
ASSETS: Final = ("help.css", "desk.css", "help.js")
_STEP: Final = re.compile(r"^\s*(?:\d{1,2}\s*[.、．]|[-·•*])\s*")
_NUMBERED: Final = re.compile(r"^\s*\d{1,2}\s*[.、．]")
_SENTENCE: Final = re.compile(r"[^。！？]*[。！？]?")

# What to call each number of config.yml (settings.Desk.numbers); one the operator added is called by its own key.
_NAMES: Final = {
    "police": "报警",
    "police_sms": "短信报警",
    "ambulance": "急救",
    "fire": "火警",
    "psychological": "心理援助热线",
    "legal_aid": "免费法律援助",
    "women": "妇女维权热线",
    "government": "政务服务热线",
    "labour": "人社热线（工资、工伤）",
    "procuratorate": "检察服务热线",
    "fraud": "反诈专线",
    "consumers": "消费者投诉",
    "health": "卫生热线",
}


@dataclass(frozen=True)
class Site:
    """What every page shows of the desk."""

    desk: Desk
    webchat: bool
    neutral_url: str
    versions: dict[str, str] = field(default_factory=dict)
    most: int = search.MOST

    @property
    def name(self) -> str:
        return self.desk.name

    @property
    def short_name(self) -> str:
        return self.desk.short_name

    @property
    def hours(self) -> str:
        return self.desk.hours.text

    @cached_property
    def numbers(self) -> dict[str, str]:
        """By name; a number the configuration lacks is the national one."""
        return Desk().numbers | self.desk.numbers

    @property
    def desk_number(self) -> str:
        return self.numbers["desk"]

    @property
    def desk_title(self) -> str:
        """The desk's name for beside its number, which many names begin with."""
        return self.name.replace(self.desk_number, "").strip() or self.name

    @property
    def talk(self) -> str:
        """Where somebody answers: the chat page, or the desk's telephone where there is none."""
        return "/chat" if self.webchat else f"tel:{self.desk_number}"

    @property
    def emergency(self) -> list[tuple[str, str]]:
        with_all = self.desk.model_copy(update={"numbers": self.numbers})
        return [(one["number"], one["label"]) for one in emergency(with_all)]

    @property
    def style(self) -> str:
        return self._asset("help.css")

    @property
    def desk_style(self) -> str:
        return self._asset("desk.css")

    @property
    def script(self) -> str:
        return self._asset("help.js")

    @staticmethod
    def address(entry: Entry) -> str:
        return address(entry)

    def calls(self, entry: Entry) -> list[tuple[str, str]]:
        """Whom an entry says to call, as this desk dials them, and always the desk itself."""
        national = Desk().numbers
        found = []
        for name, number in self.numbers.items():
            said = {number, national.get(name, number)}
            if name != "desk" and any(
                re.search(rf"(?<!\d){re.escape(n)}(?!\d)", entry.chat_text) for n in said
            ):
                found.append((number, _NAMES.get(name, name)))
        return [*found, (self.desk_number, self.desk_title)]

    def _asset(self, name: str) -> str:
        return f"/help/assets/{name}?v={self.versions.get(name, '')}"


class Pages:
    """Makes pages and holds the files they use."""

    def __init__(self, settings: Settings) -> None:
        self.assets: dict[str, File] = {
            "help.css": file((_FOLDER / "help.css").read_bytes(), "text/css"),
            "help.js": file((_FOLDER / "help.js").read_bytes(), "text/javascript"),
            "desk.css": file(desk_style(settings.desk).encode(), "text/css"),
        }
        versions = {name: asset.version for name, asset in self.assets.items()}
        self.site = Site(settings.desk, settings.webchat.enabled, settings.webchat.neutral_url, versions)
        self._public = settings.server.public_url.rstrip("/")

    def front(self, shelf: Shelf) -> bytes:
        return self._page("front", title="帮助", path="/help", areas=list(shelf.areas.values()))

    def area(self, shelf: Shelf, name: str) -> bytes:
        """Raises KeyError where there is no such area."""
        area = shelf.areas[name]
        return self._page("area", title=area.title, path=area.address, area=area)

    def entry(self, shelf: Shelf, entry_id: str) -> bytes:
        """Raises KeyError where there is no such entry, or none any more."""
        entry = shelf.entries[entry_id]
        steps, numbered = _steps(entry.long)
        return self._page(
            "entry",
            title=entry.title,
            path=address(entry),
            summary=_SENTENCE.match(entry.short)[0],  # type: ignore[index]
            entry=entry,
            area=shelf.areas[area_of(entry)],
            answer=entry.short.splitlines(),
            steps=steps,
            numbered=numbered,
            calls=self.site.calls(entry),
            sources=_sources(entry.sources),
            checked_on=_day(entry.checked_on),
            overdue=entry.review_by < shelf.day,
            legal=entry.category.startswith("legal."),
            related=shelf.related(entry),
        )

    def search(self, words: str = "", found: Found | None = None, safety: str = "") -> bytes:
        """The page of a search, or the empty form. `safety` is the approved text where `found` calls for one."""
        found = found or Found()
        return self._page(
            "search",
            title="查找",
            indexed=False,
            # Words that sound like danger are not put back into the field: the phone may be somebody else's next.
            words="" if found.safety else words,
            safety=safety.splitlines(),
            care=found.care,
            answer=found.answer,
            others=found.others,
            searched=bool(words),
        )

    def sitemap(self, shelf: Shelf, origin: str) -> bytes:
        """sitemaps.org: every page that may be indexed. `origin` stands in where no public address is configured."""
        base = self._public or origin
        pages = ["/help", *(area.address for area in shelf.areas.values())]
        lines = [f"<url><loc>{base}{path}</loc></url>" for path in pages]
        lines += [
            f"<url><loc>{base}{address(entry)}</loc><lastmod>{entry.checked_on.isoformat()}</lastmod></url>"
            for entry in shelf.entries.values()
        ]
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
            + "\n".join(lines)
            + "\n</urlset>\n"
        ).encode()

    def robots(self, origin: str) -> bytes:
        return f"User-agent: *\nAllow: /help\nDisallow: /\nSitemap: {self._public or origin}/sitemap.xml\n".encode()

    def _page(
        self, template: str, *, path: str = "", indexed: bool = True, summary: str = "", **values: Any
    ) -> bytes:
        canonical = self._public + path if self._public and path else ""
        made: str = self._templates.get_template(f"{template}.mako").render_unicode(
            site=self.site, canonical=canonical, indexed=indexed, summary=summary, **values
        )
        return made.encode()

    @cached_property
    def _templates(self) -> TemplateLookup:
        # A start must not wait for what only this site needs.
        from mako.lookup import TemplateLookup

        return TemplateLookup([str(_FOLDER / "templates")], strict_undefined=True)


def _steps(long: str) -> tuple[list[str], bool]:
    """The lines of the longer form without their marks, and whether they were numbered."""
    lines = [line for line in long.splitlines() if line.strip()]
    numbered = bool(lines) and all(_NUMBERED.match(line) for line in lines)
    return [_STEP.sub("", line).strip() for line in lines], numbered


def _sources(citations: Sequence[Citation]) -> list[str]:
    """A line for each body, and for each law with the articles cited: 《劳动法》第三条、第五条（2018-12-29 版）."""
    articles: dict[tuple[str, str], list[str]] = {}
    for citation in citations:
        version = "" if citation.version is None else f"（{citation.version.isoformat()} 版）"
        articles.setdefault((citation.law or citation.body, version), []).append(citation.article)
    return [
        f"《{name}》{'、'.join(numbers)}{version}" if version else name
        for (name, version), numbers in articles.items()
    ]


def _day(day: date) -> str:
    return f"{day.year}年{day.month}月{day.day}日"
