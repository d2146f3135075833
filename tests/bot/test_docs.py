"""The documents speak of what is there: tests, files, links, settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from bot.settings import Settings

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))


def test_every_test_that_the_architecture_names_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", text))
    there = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", file.read_text(encoding="utf-8"))
    }
    assert len(named) > 20
    assert named - there == set()


def test_every_file_that_the_architecture_names_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:bot|nlu|knowledge|escalation|handlers|tests|docs|deploy)/[\w/.]*)`", text))
    assert len(named) > 40
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_section_and_key_of_the_manuals_table_is_a_setting() -> None:
    text = (ROOT / "docs" / "operations.zh-CN.md").read_text(encoding="utf-8")
    table = text.split("## 2. ")[1].split("## 3. ")[0]
    fields = Settings.model_fields
    section, checked = "", 0
    for row in re.findall(r"^\|([^|]*)\|([^|]*)\|", table, re.M):
        keys = re.findall(r"`([\w.]+)`", row[1])
        for name in re.findall(r"`(\w+)`", row[0]):
            assert name in fields
            section = name
        model = fields[section].annotation if section else None
        if isinstance(model, type) and issubclass(model, BaseModel):
            for key in keys:
                assert key.split(".")[0] in model.model_fields, f"{section}.{key}"
                checked += 1
    assert checked > 20
