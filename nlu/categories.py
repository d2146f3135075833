"""The case categories 案由 (categories.yml): their codes, and the names that staff see."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

PATH = Path(__file__).with_name("categories.yml")


@cache
def names() -> dict[str, str]:
    """Every category, areas and groups included, with its Chinese name: `legal.labour.overtime` -> `法律·劳动·加班与休假`."""
    found: dict[str, str] = {}
    for area, body in yaml.safe_load(PATH.read_text(encoding="utf-8")).items():
        found[area] = body["zh"]
        for group, inside in body["groups"].items():
            found[f"{area}.{group}"] = f"{body['zh']}·{inside['zh']}"
            for leaf, zh in inside["leaves"].items():
                found[f"{area}.{group}.{leaf}"] = f"{body['zh']}·{inside['zh']}·{zh}"
    return found
