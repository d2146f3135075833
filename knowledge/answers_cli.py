"""`qingting answer`: questions in, short forms out, as JSON lines; for operators and for measurement.

python -m knowledge.answers_cli < questions.jsonl > answers.jsonl
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

import orjson

from knowledge.library import Library


def answer_lines(lines: Iterable[str | bytes], library: Library | None = None) -> Iterator[str]:
    """For each line {"id","question"}: {"id","answer","entry","score","sources"}, in order, one at a time.

    `answer` is the entry's short form (at most 300 characters) or null; `entry` its id or null; `sources` are lines as
    a person reads them. Raises ValueError with the line's number, never its text, for a line that is not such JSON.
    """
    library = library or Library.load()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        identity, question = _question(line, number)
        found = library.answer(question, channel="sms")
        answered = found.outcome == "answer"
        yield orjson.dumps(
            {
                "id": identity,
                "answer": found.text if answered else None,
                "entry": found.entry_id if answered else None,
                "score": found.score,
                "sources": [source.line() for source in found.sources],
            }
        ).decode()


def _question(line: str | bytes, number: int) -> tuple[object, str]:
    try:
        row = orjson.loads(line)
        return row["id"], str(row["question"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise ValueError(f"line {number}: expected a JSON object with id and question") from None


if __name__ == "__main__":
    for answered_line in answer_lines(sys.stdin.buffer):
        sys.stdout.write(answered_line + "\n")
        sys.stdout.flush()
