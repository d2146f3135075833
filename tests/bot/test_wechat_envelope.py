"""What comes to the door of a WeChat account: let in, or refused with the right status and no harm done."""

from __future__ import annotations

import base64
import secrets
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.channels.wechat.envelope import Envelope, Refused, flat_xml
from bot.channels.wechat.parse import inbound
from tests.simulators.wechat import WechatPlatform

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
AT = int(NOW.timestamp())
TEXT = {
    "ToUserName": "gh_desk",
    "FromUserName": "oInvented",
    "CreateTime": str(AT),
    "MsgType": "text",
    "Content": "你好",
    "MsgId": "1",
}
BOMB = (
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
    "<xml><Content>&c;</Content></xml>"
)


def platform() -> WechatPlatform:
    return WechatPlatform(clock=lambda: AT)


def envelope(of: WechatPlatform, *, plain: bool = False) -> Envelope:
    key = base64.b64decode(of.aes_key + "=")
    return Envelope(app_id=of.app_id, token=of.token, aes_key=key, plain_mode=plain)


def test_a_good_push_is_opened() -> None:
    wechat = platform()
    opened = envelope(wechat).open(*wechat.sealed(TEXT), NOW)
    assert opened.fields == TEXT
    assert (opened.encrypted, opened.stale, opened.signed_at) == (True, False, AT)


def test_what_we_close_the_platform_opens() -> None:
    wechat = platform()
    closed = envelope(wechat).close("<xml><Content><![CDATA[好]]></Content></xml>", NOW)
    assert wechat._opened(flat_xml(closed)) == {"Content": "好"}


def test_a_stale_but_signed_push_is_opened_and_marked() -> None:
    wechat = platform()
    assert envelope(wechat).open(*wechat.sealed(TEXT, at=AT - 3600), NOW).stale
    assert envelope(wechat).open(*wechat.sealed(TEXT, at=AT + 3600), NOW).stale


def _signed(wechat: WechatPlatform, ciphertext: str) -> tuple[dict[str, str], bytes]:
    return wechat.sealed_bytes(ciphertext, wechat.signed_query())


def _changed(query: dict[str, str], body: bytes, **changes: str) -> tuple[dict[str, str], bytes]:
    return {**query, **changes}, body


# name, the request, status, reason
REFUSED = [
    ("wrong signature", lambda w: _changed(*w.sealed(TEXT), msg_signature="0" * 40), 403, "signature"),
    ("no signature", lambda w: _changed(*w.sealed(TEXT), msg_signature=""), 403, "signature"),
    (
        "signature that is no ASCII",
        lambda w: _changed(*w.sealed(TEXT), msg_signature="签名\ud800"),
        403,
        "signature",
    ),
    ("body changed after signing", lambda w: (w.sealed(TEXT)[0], w.sealed(TEXT)[1]), 403, "signature"),
    ("older than a day", lambda w: w.sealed(TEXT, at=AT - 90_000), 403, "stale"),
    ("a day in the future", lambda w: w.sealed(TEXT, at=AT + 90_000), 403, "stale"),
    ("no timestamp", lambda w: _changed(*w.sealed(TEXT), timestamp=""), 400, "no_timestamp"),
    ("timestamp in words", lambda w: _changed(*w.sealed(TEXT), timestamp="١٢"), 400, "no_timestamp"),
    ("another account's AppID", lambda w: w.sealed_xml("<xml/>", app_id="wxother"), 400, "app_id"),
    ("plain body while plain mode is off", lambda w: _changed({}, b"<xml/>", **w.signed_query()), 403, "plain_mode_off"),
    ("signed: empty ciphertext", lambda w: _signed(w, ""), 400, "undecryptable"),
    ("signed: not base64", lambda w: _signed(w, "%%%"), 400, "undecryptable"),
    ("signed: one block", lambda w: _signed(w, base64.b64encode(bytes(16)).decode()), 400, "undecryptable"),
    ("signed: odd length", lambda w: _signed(w, base64.b64encode(bytes(17)).decode()), 400, "undecryptable"),
    ("signed: encrypted, not XML", lambda w: w.sealed_xml("hello"), 400, "malformed_xml"),
    ("signed: encrypted, empty", lambda w: w.sealed_xml(""), 400, "malformed_xml"),
    ("signed: encrypted, cut off", lambda w: w.sealed_xml("<xml><Content>"), 400, "malformed_xml"),
    ("signed: encrypted entity bomb", lambda w: w.sealed_xml(BOMB), 400, "document_type"),
    ("signed: external entity", lambda w: w.sealed_xml('<!DOCTYPE x SYSTEM "file:///etc/passwd"><xml/>'), 400, "document_type"),
    ("signed: very deep", lambda w: w.sealed_xml("<a>" * 50 + "</a>" * 50), 400, "malformed_xml"),
    ("outer: entity bomb", lambda w: (w.sealed(TEXT)[0], BOMB.encode()), 400, "document_type"),
    ("outer: not XML", lambda w: (w.sealed(TEXT)[0], b"\xff\xfe\x00"), 400, "malformed_xml"),
    ("outer: no Encrypt", lambda w: (w.sealed(TEXT)[0], b"<xml/>"), 403, "signature"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "status", "reason"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_refused_with_its_own_status(make, status, reason) -> None:
    wechat = platform()
    with pytest.raises(Refused) as refused:
        envelope(wechat).open(*make(wechat), NOW)
    assert (refused.value.status, refused.value.reason) == (status, reason)


def test_plain_mode_takes_only_fresh_pushes() -> None:
    wechat = WechatPlatform(clock=lambda: AT, encrypted=False)
    door = envelope(wechat, plain=True)
    assert door.open(*wechat.sealed(TEXT), NOW).fields == TEXT
    with pytest.raises(Refused, match="stale"):
        door.open(*wechat.sealed(TEXT, at=AT - 600), NOW)


def test_url_verification_echoes_only_what_is_signed() -> None:
    wechat = platform()
    door = envelope(wechat)
    query = {**wechat.signed_query(), "echostr": "5927"}
    assert door.echo(query, NOW) == "5927"
    for changes, reason in [({"signature": "0" * 40}, "signature"), ({"echostr": ""}, "no_echostr")]:
        with pytest.raises(Refused, match=reason):
            door.echo({**query, **changes}, NOW)
    with pytest.raises(Refused, match="stale"):
        door.echo({**wechat.signed_query(at=AT - 600), "echostr": "1"}, NOW)


def test_control_characters_in_encrypted_words_do_not_lose_the_message() -> None:
    wechat = platform()
    opened = envelope(wechat).open(*wechat.sealed({**TEXT, "Content": "我\x08不想\x00活了"}), NOW)
    assert opened.fields["Content"] == "我不想活了"


def test_words_that_end_cdata_arrive_whole() -> None:
    wechat = platform()
    opened = envelope(wechat).open(*wechat.sealed({**TEXT, "Content": "a]]>b<c>&amp;"}), NOW)
    assert opened.fields["Content"] == "a]]>b<c>&amp;"


# Anything at all at the door ends as a message or as Refused, never as another exception.


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=200))
def test_any_bytes_as_body(body: bytes) -> None:
    wechat = platform()
    with pytest.raises(Refused):
        envelope(wechat).open(wechat.sealed(TEXT)[0], body, NOW)


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=200))
def test_any_signed_ciphertext(junk: bytes) -> None:
    wechat = platform()
    with pytest.raises(Refused):
        envelope(wechat).open(*_signed(wechat, base64.b64encode(junk).decode()), NOW)


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=200))
def test_any_encrypted_document(document: str) -> None:
    wechat = platform()
    try:
        request = wechat.sealed_xml(document)
    except UnicodeEncodeError:
        return
    try:
        fields = envelope(wechat).open(*request, NOW).fields
    except Refused:
        return
    with pytest.raises(Refused):
        inbound(fields, account="default", now=NOW)


NAMES = st.sampled_from(
    [
        "ToUserName",
        "FromUserName",
        "CreateTime",
        "MsgType",
        "Content",
        "MsgId",
        "Event",
        "EventKey",
        "Recognition",
    ]
)
KINDS = st.sampled_from(["text", "voice", "image", "location", "link", "event", "video", "", "未知"])


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(NAMES, st.text(max_size=150)), KINDS)
def test_any_fields(fields: dict[str, str], kind: str) -> None:
    try:
        message = inbound({**fields, "MsgType": kind}, account="default", now=NOW)
    except Refused:
        return
    assert message.sender
    assert message.provider_id


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(
        st.sampled_from(["timestamp", "nonce", "msg_signature", "encrypt_type", "signature"]), st.text()
    )
)
def test_any_query(query: dict[str, str]) -> None:
    wechat = platform()
    with pytest.raises(Refused):
        envelope(wechat, plain=True).open(query, wechat.sealed(TEXT)[1], NOW)


def test_a_refusal_carries_no_words() -> None:
    wechat = platform()
    secret = "很私密的话" + secrets.token_hex(4)
    with pytest.raises(Refused) as refused:
        envelope(wechat).open(*wechat.sealed_xml(f"<xml><Content>{secret}"), NOW)
    assert secret not in repr(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__
