"""Logs that can be shown to anybody: events, ids, codes and times, never a person's words, addresses or tokens.

Code logs only what it names (structlog events with ids and codes). This module is the second net: exceptions are written as their
type and the places they passed, without their text, because an exception may quote what it failed on; URLs lose their query.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any

import structlog

_QUERY = re.compile(r"\?[^\s\"']+")


def set_up(*, as_json: bool) -> None:
    """Send structlog and the standard library's logging to standard error in one form."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _exception_without_words,
        _without_queries,
    ]
    renderer: Any = structlog.processors.JSONRenderer(ensure_ascii=False) if as_json else _plain
    structlog.configure(
        processors=[*shared, renderer],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # A library's text may quote a request or an SQL statement with its values.
    logging.getLogger("sqlalchemy").setLevel(logging.ERROR)
    logging.getLogger("aiohttp.access").disabled = True
    logging.getLogger("asyncio").addFilter(_no_message)
    logging.getLogger("aiohttp.server").addFilter(_no_visitor)


def _plain(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> str:
    head = f"{event.pop('timestamp', '')} {event.pop('level', ''):8} {event.pop('event', '')}"
    rest = " ".join(f"{k}={v}" for k, v in event.items() if not k.startswith("_"))
    return f"{head} {rest}".rstrip()


def _exception_without_words(
    _logger: Any, _name: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    given = event.pop("exc_info", None)
    if given is True:
        given = sys.exc_info()
    error = given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["error"] = type(error).__name__
        frames = traceback.extract_tb(error.__traceback__)[-6:]
        event["at"] = " > ".join(f"{f.filename.rsplit('/', 1)[-1]}:{f.lineno} {f.name}" for f in frames)
    return event


def _without_queries(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str) and "?" in value:
            event[key] = _QUERY.sub("?…", value)
    return event


def _no_message(record: logging.LogRecord) -> bool:
    """asyncio reports lost exceptions with their text: keep the type and place only."""
    if record.exc_info and record.exc_info[1] is not None:
        record.msg, record.args = "unhandled %s in a task", (type(record.exc_info[1]).__name__,)
    return True


def _no_visitor(record: logging.LogRecord) -> bool:
    """aiohttp names the visitor's network address, and a piece of the request it could not read: keep the type only."""
    error = record.exc_info[1] if record.exc_info else None
    record.msg, record.args = "request not served: %s", (type(error).__name__ if error else "unknown",)
    return True
