"""What the chat page says and what it is told: one JSON object a frame or request body. Parsed here, and nowhere else.

Nothing raised here carries a person's words: a refusal is a code and a fixed sentence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_CLIENT_ID: Final = re.compile(r"[A-Za-z0-9_-]{8,64}")
_MESSAGE_ID: Final = re.compile(r"[0-9]{1,19}")
_MOST_IDS: Final = 300
# A button's value: what a handler wrote, "/choose 2". No control characters, nothing that is not a whole character.
_COMMAND: Final = re.compile(r"/[^\x00-\x1f\x7f\ud800-\udfff]{1,200}")
_MOST_UNSENT: Final = 50
_LARGEST_ID: Final = 2**63 - 1


class Refused(Exception):
    """We do not take this. `status` is the HTTP one, `message` what the page shows; the page keeps the person's text."""

    def __init__(self, code: str, message: str, status: int = 400, **details: int) -> None:
        super().__init__(code)
        self.code = code
        self.message = message
        self.status = status
        self.details = details

    def as_dict(self) -> dict[str, Any]:
        return {"error": self.code, "message": self.message, **self.details}


@dataclass(frozen=True, slots=True)
class Hello:
    """First frame of a socket: the right to a contact, and what the page has. `after` 0: nothing yet (all is sent);
    None: begin now (somebody came back by code and has not asked to see what was said)."""

    token: str
    after: int | None
    have: frozenset[int]


@dataclass(frozen=True, slots=True)
class Send:
    """A message of the person. `client_id` is made by the page and makes a repeat harmless (promise 2)."""

    client_id: str
    text: str
    command: str


def read(raw: str | bytes) -> dict[str, Any]:
    """The object in a frame or body. Raises Refused for anything else, however broken or deep."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        raise Refused("bad_json", "发来的内容格式不对。") from None
    if not isinstance(value, dict):
        raise Refused("bad_json", "发来的内容格式不对。")
    return value


def hello(frame: Mapping[str, Any]) -> Hello:
    """The first frame of a socket, or the body of a poll (whose token is in the header)."""
    token = frame.get("token", "")
    if not isinstance(token, str):
        raise Refused("bad_frame", "发来的内容格式不对。")
    after = frame.get("after", "")
    if after == "now":
        return Hello(token, None, frozenset())
    return Hello(token, _message_id(after) if after != "" else 0, frozenset(ids(frame, "have")))


def send(frame: Mapping[str, Any], max_text: int) -> Send:
    """A message to store. Raises Refused when it is empty, too long or not of the right form.

    Length is counted in characters (code points), as the page counts it. NUL, lone surrogates and emoji are words like any
    other and are kept.
    """
    client_id = frame.get("id")
    text = frame.get("text")
    command = frame.get("command", "")
    if not isinstance(client_id, str) or not _CLIENT_ID.fullmatch(client_id):
        raise Refused("bad_id", "发来的内容格式不对。")
    if not isinstance(text, str) or not isinstance(command, str):
        raise Refused("bad_frame", "发来的内容格式不对。")
    if command and not _COMMAND.fullmatch(command):
        raise Refused("bad_command", "发来的内容格式不对。")
    if not text.strip():
        raise Refused("empty", "还没有写内容。", 422)
    if len(text) > max_text:
        raise Refused(
            "too_long",
            f"写了 {len(text):,} 个字，一条最多 {max_text:,} 个字。可以分成几条发，写的都还在。",
            422,
            count=len(text),
            max=max_text,
        )
    return Send(client_id, text, command)


def unsent(frame: Mapping[str, Any], max_text: int) -> Sequence[Send]:
    """What the page had not yet got stored when the person left. What cannot be read is left out: nobody is there to ask."""
    listed = frame.get("unsent", [])
    if not isinstance(listed, list):
        return []
    found = []
    for one in listed[:_MOST_UNSENT]:
        if not isinstance(one, dict):
            continue
        try:
            found.append(send(one, max_text))
        except Refused:
            continue
    return found


def ids(frame: Mapping[str, Any], name: str) -> Sequence[int]:
    """A list of message ids, written as strings."""
    listed = frame.get(name, [])
    if not isinstance(listed, list) or len(listed) > _MOST_IDS:
        raise Refused("bad_frame", "发来的内容格式不对。")
    return [_message_id(one) for one in listed]


def _message_id(value: Any) -> int:
    if not isinstance(value, str) or not _MESSAGE_ID.fullmatch(value) or int(value) > _LARGEST_ID:
        raise Refused("bad_frame", "发来的内容格式不对。")
    return int(value)


def dumps(value: Mapping[str, Any]) -> str:
    """JSON in ASCII: a lone surrogate in a person's words stays what it was."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))
