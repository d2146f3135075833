"""SMS requests to messages, opt-out words, numbers, signatures, and what a text costs."""

from __future__ import annotations

import base64
import contextlib
import json
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.channels.sms import kannel, parse, signing
from bot.channels.sms.segments import measure, pieces
from bot.channels.sms.signing import Refused
from bot.settings import SmsAccount

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
AT = int(NOW.timestamp())
WORDS = SmsAccount(secret="x", send_url="http://x").opt_out_words
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def message(body: bytes, content_type: str = JSON):
    return parse.generic_message(content_type, body, account="a", opt_out_words=WORDS, now=NOW)


def test_json_and_form_say_the_same() -> None:
    fields = {"id": "7", "from": "+86 199-0000-0001", "text": "你好"}
    by_json = message(json.dumps(fields).encode())
    assert by_json == message(urlencode(fields).encode(), FORM)
    assert (by_json.channel, by_json.account, by_json.sender, by_json.provider_id, by_json.text) == (
        "sms",
        "a",
        "19900000001",
        "7",
        "你好",
    )


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("19900000001", "19900000001"),
        ("8619900000001", "19900000001"),
        ("+8619900000001", "19900000001"),
        ("008619900000001", "19900000001"),
        ("10690001", "10690001"),
        ("+4915100000001", "+4915100000001"),
    ],
)
def test_one_number_however_it_is_written(written: str, meant: str) -> None:
    assert parse.telephone(written) == meant


BAD = [
    (b"", JSON, 400, "malformed"),
    (b"{", JSON, 400, "malformed"),
    (b"[]", JSON, 400, "malformed"),
    (b"\xff", JSON, 400, "malformed"),
    (b"[" * 100_000, JSON, 400, "malformed"),
    (b'{"from": "19900000001", "text": "x"}', JSON, 400, "no_id"),
    (b'{"id": "1", "text": "x"}', JSON, 400, "no_from"),
    (b'{"id": "1", "from": "not a number", "text": "x"}', JSON, 400, "no_from"),
    (b"a=1&" * 100, FORM, 400, "malformed"),
    (b"<xml/>", "text/xml", 415, "content_type"),
    (b"{}", "", 415, "content_type"),
]


@pytest.mark.parametrize(("body", "content_type", "status", "reason"), BAD)
def test_bad_input_is_refused_with_its_own_status(body, content_type, status, reason) -> None:
    with pytest.raises(Refused) as refused:
        message(body, content_type)
    assert (refused.value.status, refused.value.reason) == (status, reason)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200), st.sampled_from([JSON, FORM, "text/plain", "application/json; charset=x"]))
def test_any_bytes_end_as_message_or_refusal(body: bytes, content_type: str) -> None:
    with contextlib.suppress(Refused):
        message(body, content_type)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=80), st.text(max_size=60), st.text(max_size=30))
def test_any_kannel_request_ends_as_message_or_refusal(body: bytes, content_type: str, sender: str) -> None:
    headers = {"Content-Type": content_type, "X-Kannel-From": sender}
    with contextlib.suppress(Refused):
        parse.kannel_message(headers, {"id": "1"}, body, account="a", opt_out_words=WORDS, now=NOW)


def test_nul_and_half_an_emoji_do_not_lose_the_message() -> None:
    body = b'{"id": "1", "from": "19900000001", "text": "a\\u0000b\\ud83d"}'
    assert message(body).text == "a\x00b\ud83d"


def test_a_picture_message_goes_to_a_human() -> None:
    assert message(b'{"id": "1", "from": "19900000001", "kind": "mms"}').unreadable
    assert not message('{"id": "1", "from": "19900000001", "kind": "mms", "text": "看"}'.encode()).unreadable


@pytest.mark.parametrize(
    ("charset", "body"),
    [
        ('text/plain; charset="UTF-8"', "我很难过😭".encode()),
        ('text/plain; charset="UTF-16BE"', "我很难过😭".encode("utf-16-be")),
        ("text/plain", "我很难过😭".encode()),
    ],
)
def test_kannels_words_in_either_charset(charset: str, body: bytes) -> None:
    headers = {"Content-Type": charset, "X-Kannel-From": "19900000001"}
    heard = parse.kannel_message(headers, {"id": "u"}, body, account="a", opt_out_words=WORDS, now=NOW)
    assert (heard.text, heard.sender, heard.provider_id) == ("我很难过😭", "19900000001", "u")


OPT_OUT = [
    ("TD", True, True),
    ("td。", True, True),
    ("T", True, True),
    ("ｔ", False, False),
    ("退订", True, True),
    ("拒收！", True, True),
    ("退订，我不想活了", True, False),
    ("我不想活了 退订", True, False),
    ("T 我不想活了", True, False),
    ("R u there", False, False),
    ("怎么退订游戏会员", False, False),
    ("Nobody", False, False),
    ("", False, False),
    ("你好", False, False),
]


@pytest.mark.parametrize(("text", "stops", "nothing_else"), OPT_OUT)
def test_opt_out_words(text: str, stops: bool, nothing_else: bool) -> None:
    heard = message(json.dumps({"id": "1", "from": "19900000001", "text": text}).encode())
    assert heard.meta.get("opt_out", False) == stops
    assert (heard.meta.get("command") == "/stop") == nothing_else
    assert heard.text == text  # the words go on to the risk check whatever they are


def test_opt_out_words_are_the_desks_own() -> None:
    assert parse.opts_out("不要再发", ["不要再发"])
    assert not parse.opts_out("TD", ["不要再发"])


SIGNED = [
    ("good", {}, None),
    ("stale", {"at": AT - 3600}, True),
    ("future", {"at": AT + 3600}, True),
    ("too old", {"at": AT - 90_000}, "stale"),
    ("wrong secret", {"secret": "other"}, "signature"),
    ("body changed", {"body": b"{} "}, "signature"),
    ("time changed", {"timestamp": str(AT - 1)}, "signature"),
    ("no time", {"timestamp": ""}, "no_timestamp"),
    ("time not ASCII", {"timestamp": "١٢"}, "no_timestamp"),
    ("no signature", {"signature": ""}, "signature"),
    ("signature not ASCII", {"signature": "签\ud800"}, "signature"),
]


@pytest.mark.parametrize(("change", "expected"), [s[1:] for s in SIGNED], ids=[s[0] for s in SIGNED])
def test_signatures(change, expected) -> None:
    at = datetime.fromtimestamp(change.get("at", AT), UTC)
    headers = signing.signed_headers(change.get("secret", "key"), b"{}", at)
    if "timestamp" in change:
        headers[signing.TIMESTAMP] = change["timestamp"]
    if "signature" in change:
        headers[signing.SIGNATURE] = change["signature"]
    body = change.get("body", b"{}")
    if isinstance(expected, str):
        with pytest.raises(Refused, match=expected):
            signing.check_signature("key", headers, body, NOW)
    else:
        assert signing.check_signature("key", headers, body, NOW) is bool(expected)


def test_tokens() -> None:
    basic = base64.b64encode(b"kannel:key").decode()
    for good in ("Bearer key", f"Basic {basic}", f"basic {basic}"):
        signing.check_token("key", {"Authorization": good})
    for bad in ("", "key", "Bearer", "Bearer keyx", "Basic %%%", f"Bearer {basic}", "Digest key"):
        with pytest.raises(Refused, match="token"):
            signing.check_token("key", {"Authorization": bad})


# text -> encoding, segments
COSTS = [
    ("", "gsm7", 1),
    ("a" * 160, "gsm7", 1),
    ("a" * 161, "gsm7", 2),
    ("a" * 306, "gsm7", 2),
    ("a" * 307, "gsm7", 3),
    ("€" * 80, "gsm7", 1),
    ("€" * 81, "gsm7", 2),
    ("a" * 152 + "€" + "a" * 10, "gsm7", 2),
    ("a" * 152 + "€" + "a" * 152, "gsm7", 3),  # the pair does not fit into the last place: one place is lost
    ("字" * 70, "ucs2", 1),
    ("字" * 71, "ucs2", 2),
    ("字" * 134, "ucs2", 2),
    ("字" * 135, "ucs2", 3),
    ("😀" * 35, "ucs2", 1),
    ("😀" * 36, "ucs2", 2),
    ("字" * 66 + "😀" + "字" * 66, "ucs2", 3),
    ("a" * 69 + "字", "ucs2", 1),
]


@pytest.mark.parametrize(("text", "encoding", "count"), COSTS)
def test_what_a_text_costs(text: str, encoding: str, count: int) -> None:
    cost = measure(text)
    assert (cost.encoding, cost.count) == (encoding, count)


@given(st.text(max_size=600), st.integers(min_value=1, max_value=4))
def test_pieces_fit_and_lose_nothing_but_the_space_at_cuts(text: str, most: int) -> None:
    made = pieces(text, most, prefix="【倾听】")
    assert all(measure(piece).count <= most for piece in made)
    assert all(piece.startswith("【倾听】") for piece in made)
    whole = "".join(piece.removeprefix("【倾听】") for piece in made)
    assert "".join(whole.split()) == "".join(text.split())


def test_a_long_text_is_cut_at_the_end_of_a_sentence() -> None:
    made = pieces("今天先说这么多。" * 12, 1, prefix="【倾听】")
    assert len(made) == 2
    assert all(piece.endswith("。") for piece in made)


def test_a_signature_longer_than_a_message_is_refused() -> None:
    with pytest.raises(ValueError, match="signature"):
        pieces("x", 1, prefix="【" + "长" * 80 + "】")


def test_kannels_xml_holds_any_words() -> None:
    body = kannel.submit(to="1", sender="2", text="<&]]>\x00字", user="u", password="p<")
    assert b"<ud>&lt;&amp;]]&gt;\xe5\xad\x97</ud>" in body
    assert b"<coding>2</coding>" in body
    assert b"<coding>0</coding>" in kannel.submit(to="1", sender="2", text="ok", user="u", password="p")


@pytest.mark.parametrize(
    ("query", "delivered", "final"),
    [("1", True, True), ("2", False, True), ("16", False, True), ("4", False, False), ("8", False, False)],
)
def test_kannels_receipts(query: str, delivered: bool, final: bool) -> None:
    receipt = parse.kannel_receipt({"id": "9", "type": query})
    assert (receipt.delivered, receipt.final) == (delivered, final)
