"""Measure: `python -m tests.bench [NAME …] [--write]`. Without names everything; `--write` renews docs/benchmarks.md.

`python -m tests.bench rasa [FILE.jsonl …]` compares with Rasa; see tests/bench/rasa.py.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import platform
import subprocess
import sys
from pathlib import Path

from tests.bench import measures

_DOC = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def main() -> None:
    if sys.argv[1:2] == ["rasa"]:  # takes files and a quarter of an hour, so it is no part of "everything"
        from tests.bench import rasa

        rasa.main(sys.argv[2:])
        return
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an operator's second start finds its code compiled
    names = [a for a in sys.argv[1:] if not a.startswith("-")] or list(measures.ALL)
    rows = []
    for name in names:
        print(f"… {name}", flush=True)
        measured = measures.ALL[name]()
        found = asyncio.run(measured) if inspect.iscoroutine(measured) else measured
        for row in found:
            print(f"  {row.what}: {row.value}   [{row.wanted}] {row.beside}", flush=True)
        rows += found
    if "--write" in sys.argv:
        _DOC.write_text(_page(rows), encoding="utf-8")


def _page(rows: list[measures.Row]) -> str:
    table = "\n".join(f"| {r.what} | {r.wanted} | **{r.value}** | {r.beside} |" for r in rows)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return f"""# Benchmarks

`make bench` prints these; `python -m tests.bench --write` writes this page. Every number stands beside its yardstick, measured in the
same run on the same machine, because machines differ and shared ones are noisy: read the ratios.

Machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}. Commit: {commit}.
Load average over the last five minutes: {os.getloadavg()[1]:.1f} (of which the measuring itself is some 2).

| what | wanted | measured | beside it in the same run |
|---|---|---|---|
{table}
"""


if __name__ == "__main__":
    main()
