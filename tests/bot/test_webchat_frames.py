"""Whatever a page or a stranger sends: parsed, or refused with a code; never another error, never the words in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bot.channels.webchat import frames
from bot.channels.webchat.frames import Refused
from bot.channels.webchat.return_codes import plain

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(alphabet=st.characters(), max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
fields = st.sampled_from(["type", "id", "text", "command", "token", "after", "have", "ids", "unsent", "got"])
objects = st.dictionaries(fields, anything, max_size=8)
words = st.text(alphabet=st.characters(), max_size=50)  # surrogates and NUL included


def refusal(parse: Callable[[], object]) -> Refused | None:
    """What `parse` refuses with, or None; any other exception fails the test."""
    try:
        parse()
    except Refused as refused:
        return refused
    return None


@given(raw=st.binary(max_size=200) | st.text(max_size=200))
def test_any_bytes_are_an_object_or_refused(raw: bytes | str) -> None:
    refused = refusal(lambda: frames.read(raw))
    assert refused is None or refused.code == "bad_json"


@given(frame=objects)
def test_any_object_is_understood_or_refused(frame: dict[str, Any]) -> None:
    for parse in (
        lambda: frames.hello(frame),
        lambda: frames.send(frame, 100),
        lambda: frames.ids(frame, "ids"),
        lambda: frames.unsent(frame, 100),
    ):
        refused = refusal(parse)
        assert refused is None or 400 <= refused.status < 500
        assert refused is None or json.dumps(refused.as_dict())


@given(text=words)
def test_words_pass_unchanged_through_the_wire_and_are_never_in_a_refusal(text: str) -> None:
    sent = frames.read(frames.dumps({"id": "0123456789abcdef", "text": text}))
    refused = refusal(lambda: frames.send(sent, 40))
    if refused is None:
        assert frames.send(sent, 40).text == text
        return
    assert refused.code == ("too_long" if text.strip() else "empty")
    if len(text.strip()) > 8:
        assert text.strip() not in json.dumps(refused.as_dict(), ensure_ascii=False)


@given(typed=words)
def test_anything_can_be_typed_as_a_code(typed: str) -> None:
    assert len(plain(typed)) <= 24
