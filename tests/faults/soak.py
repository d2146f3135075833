"""Fifty deaths, in pieces: `python -m tests.faults.soak` (`make soak`). Some twenty minutes on a quiet machine of two cores.

Each piece is one run of test_kill.py with a seed of its own, and at most ten minutes long. What is done is kept in build/soak.jsonl,
a line of figures for each piece: started again after a stop, only the missing pieces run. `--again` begins anew.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import orjson

REPORT = Path("build/soak.jsonl")
PIECES = [("county", seed, 7) for seed in range(1, 6)] + [("province", seed, 3) for seed in range(6, 11)]
LONGEST = 600  # seconds that a piece may take


def main() -> int:
    """Run what is missing and print the totals. Not 0 when a piece failed."""
    REPORT.parent.mkdir(exist_ok=True)
    if "--again" in sys.argv[1:]:
        REPORT.unlink(missing_ok=True)
    for place, seed, runs in PIECES:
        if any((f["place"], f["seed"], f["runs"]) == (place, seed, runs) for f in _figures()):
            continue
        print(f"{place}, seed {seed}: {runs} deaths", flush=True)
        own = {
            "QINGTING_KILL_RUNS": str(runs), "QINGTING_KILL_SEED": str(seed), "QINGTING_KILL_REPORT": str(REPORT)
        }  # fmt: skip
        command = [sys.executable, "-m", "pytest", "-q", "tests/faults/test_kill.py", "-k", place]
        if status := _bounded(command, os.environ | own):
            return status
    _print_totals(_figures())
    return 0


def _bounded(command: list[str], environment: dict[str, str]) -> int:
    """The status of a piece; one that takes too long is told to stop, so that it ends the service it started."""
    with subprocess.Popen(command, env=environment) as piece:
        try:
            return piece.wait(LONGEST)
        except subprocess.TimeoutExpired:
            print(f"not done after {LONGEST} s")
            piece.send_signal(signal.SIGINT)
        try:
            return piece.wait(60) or 1
        except subprocess.TimeoutExpired:
            piece.kill()
            return 1


def _figures() -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in REPORT.read_bytes().splitlines()] if REPORT.exists() else []


def _print_totals(pieces: list[dict[str, Any]]) -> None:
    for place in dict.fromkeys(piece["place"] for piece in pieces):
        own = [piece for piece in pieces if piece["place"] == place]
        print(f"\n{place}")
        for name in ("runs", "acknowledged", "stored", "lost", "in_flight", "seconds"):
            print(f"  {name}: {sum(piece[name] for piece in own)}")
        for name in ("deaths", "ended", "sends", "twice"):
            print(f"  {name}: {dict(sum((Counter(piece[name]) for piece in own), Counter()))}")


if __name__ == "__main__":
    sys.exit(main())
