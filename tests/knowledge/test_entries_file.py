"""A file of entries is refused with the file, the entry and the field that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from knowledge.entries import EntryError, load_entries

GOOD = """
defaults:
  checked_on: 2026-01-01
  review_by: 2027-01-01
  audience: [anyone]
  category: legal.labour.test
entries:
  - id: labour.one
    title: 一个测试条目
    asks: [怎么问一, 怎么问二, 怎么问三, 怎么问四, 怎么问五]
    short: 这是一个足够长的短答案，先回答问题，再说今天可以做什么。
    sources: [{law: 劳动法, article: 第五十条, version: 2018-12-29}]
"""


def _folder(tmp_path: Path, text: str) -> Path:
    (tmp_path / "labour.yml").write_text(text, encoding="utf-8")
    return tmp_path


def test_a_sound_file_is_read(tmp_path: Path) -> None:
    entry = load_entries(_folder(tmp_path, GOOD))[0]
    assert entry.id == "labour.one"
    assert entry.sources[0].source().line() == "《劳动法》第五十条"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("short: 这是", "short: " + "长" * 301 + "这是", "labour.one: short:"),
        ("article: 第五十条, ", "", "needs an article"),
        ("version: 2018-12-29", "version: soon", "labour.one: sources.0.version"),
        ("怎么问二", "怎么问一？", "the same wording twice"),
        ("review_by: 2027-01-01", "review_by: 2025-01-01", "review_by must be after"),
        ("audience: [anyone]", "audience: [aliens]", "labour.one: audience.0"),
        ("    title: 一个测试条目\n", "", "labour.one: title: Field required"),
        ("    short:", "    shrot: x\n    short:", "labour.one: shrot"),
        ("entries:", "entry:", "expected the keys defaults and entries"),
        ("id: labour.one", "id: Labour One", "labour.yml: Labour One: id"),
        ("defaults:", "defaults: [", "not YAML"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in GOOD
    with pytest.raises(EntryError, match=r"labour\.yml") as refused:
        load_entries(_folder(tmp_path, GOOD.replace(old, new, 1)))
    assert told in str(refused.value)


def test_an_id_or_wording_of_another_entry_is_refused(tmp_path: Path) -> None:
    _folder(tmp_path, GOOD)
    (tmp_path / "other.yml").write_text(GOOD, encoding="utf-8")
    with pytest.raises(EntryError) as refused:
        load_entries(tmp_path)
    assert "labour.one: id: used twice" in str(refused.value)

    (tmp_path / "other.yml").write_text(GOOD.replace("labour.one", "labour.two"), encoding="utf-8")
    with pytest.raises(EntryError, match=r"already a wording of labour\.one"):
        load_entries(tmp_path)
