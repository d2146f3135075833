"""What each kind of WeChat message becomes, and how replies are fitted into WeChat's form."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.channels import Button, OutboundMessage
from bot.channels.wechat.envelope import Refused, flat_xml
from bot.channels.wechat.parse import inbound
from bot.channels.wechat.reply import MOST_BYTES, pack, passive_xml, rendered, split

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
COMMON = {"ToUserName": "gh_desk", "FromUserName": "oInvented", "CreateTime": "1700000000", "MsgId": "77"}

# fields -> kind, text, unreadable, meta
MESSAGES = [
    ({"MsgType": "text", "Content": "我被公司拖欠工资"}, "text", "我被公司拖欠工资", False, {}),
    ({"MsgType": "text", "Content": ""}, "text", "", False, {}),
    ({"MsgType": "text", "Content": "【收到不支持的消息类型，暂无法显示】"}, "text", "", True, {}),
    (
        {"MsgType": "text", "Content": "有帮助", "bizmsgmenuid": "/helped%20labour.unpaid-wages"},
        "text",
        "有帮助",
        False,
        {"command": "/helped labour.unpaid-wages"},
    ),
    ({"MsgType": "voice", "MediaId": "m", "Format": "amr", "Recognition": "救救我"}, "voice", "救救我", False,
     {"MediaId": "m", "Format": "amr"}),
    ({"MsgType": "voice", "MediaId": "m", "Format": "amr"}, "voice", "", True, {"MediaId": "m", "Format": "amr"}),
    ({"MsgType": "image", "PicUrl": "http://x/y", "MediaId": "m"}, "image", "", True,
     {"PicUrl": "http://x/y", "MediaId": "m"}),
    ({"MsgType": "location", "Location_X": "23.1", "Location_Y": "113.3", "Label": "某某大桥"}, "location", "", True,
     {"place": {"label": "某某大桥", "latitude": "23.1", "longitude": "113.3"}}),
    ({"MsgType": "link", "Title": "题目", "Description": "说明", "Url": "http://x"}, "link", "题目\n说明", False,
     {"url": "http://x"}),
    ({"MsgType": "shortvideo", "MediaId": "m"}, "image", "", True, {"type": "shortvideo", "MediaId": "m"}),
    ({"MsgType": "something_new"}, "image", "", True, {"type": "something_new"}),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "kind", "text", "unreadable", "meta"), MESSAGES)
def test_messages(fields, kind, text, unreadable, meta) -> None:
    message = inbound({**COMMON, **fields}, account="a", now=NOW)
    assert (message.kind, message.text, message.unreadable, message.meta) == (kind, text, unreadable, meta)
    assert (message.channel, message.account, message.sender, message.provider_id) == (
        "wechat",
        "a",
        "oInvented",
        "77",
    )


EVENTS = [
    ("subscribe", "", {"event": "subscribe", "key": "", "command": "/welcome"}),
    ("unsubscribe", "", {"event": "unsubscribe", "key": ""}),
    ("SCAN", "42", {"event": "scan", "key": "42"}),
    ("CLICK", "/human", {"event": "click", "key": "/human", "command": "/human"}),
    ("CLICK", "about", {"event": "click", "key": "about"}),
    ("some_new_event", "", {"event": "some_new_event", "key": ""}),
]


@pytest.mark.parametrize(("event", "key", "meta"), EVENTS)
def test_events(event, key, meta) -> None:
    fields = {**COMMON, "MsgType": "event", "Event": event, "EventKey": key}
    del fields["MsgId"]
    message = inbound(fields, account="a", now=NOW)
    assert (message.kind, message.text, message.unreadable, message.meta) == ("event", "", False, meta)
    again = inbound({**fields, "CreateTime": "1700000001"}, account="a", now=NOW)
    assert message.provider_id == inbound(fields, account="a", now=NOW).provider_id != again.provider_id


@pytest.mark.parametrize("missing", ["ToUserName", "FromUserName", "MsgType", "MsgId"])
def test_what_has_no_sender_kind_or_key_is_refused(missing: str) -> None:
    fields = {**COMMON, "MsgType": "text", "Content": "x"}
    del fields[missing]
    with pytest.raises(Refused, match=f"no_{missing}"):
        inbound(fields, account="a", now=NOW)


def out(n: int, text: str, lane: int = 2, buttons: tuple[Button, ...] = ()) -> OutboundMessage:
    return OutboundMessage(n, 1, "oInvented", text, buttons, lane=lane)


def test_replies_share_one_passive_text_in_order_safety_first() -> None:
    packed = pack([out(1, "甲"), out(2, "乙"), out(3, "安全", lane=0)])
    assert packed.text == "安全\n\n甲\n\n乙"
    assert [m.delivery_id for m in packed.carried] == [3, 1, 2]
    assert not packed.left


def test_what_does_not_fit_stays_behind_whole() -> None:
    packed = pack([out(1, "甲" * 600), out(2, "乙" * 600), out(3, "丙")])
    assert [m.delivery_id for m in packed.carried] == [1]
    assert [m.delivery_id for m in packed.left] == [2, 3]


def test_a_text_too_long_alone_waits_for_another_way_or_is_cut_where_there_is_none() -> None:
    long = "这是一句话。" * 200
    assert pack([out(1, long)]).text == ""
    cut = pack([out(1, long), out(2, "后")], cut="（没有完）")
    assert len(cut.text.encode()) <= MOST_BYTES
    assert cut.text.endswith("（没有完）")
    assert [m.delivery_id for m in cut.carried] == [1]
    assert [m.delivery_id for m in cut.left] == [2]
    assert cut.text.removesuffix("\n\n（没有完）") + cut.rest == long


@given(st.text(max_size=3000), st.integers(min_value=8, max_value=2048))
def test_split_loses_nothing_but_the_space_at_its_cuts(text: str, most: int) -> None:
    pieces = split(text, most)
    assert all(len(p.encode("utf-8", "replace")) <= most for p in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


@given(st.text(max_size=200))
def test_any_text_survives_the_xml(text: str) -> None:
    shown = rendered(out(1, text))
    fields = flat_xml(passive_xml(to="a]]>b", sender="s", text=shown, created=1).encode())
    assert fields["Content"] == shown.replace("\r\n", "\n").replace("\r", "\n")
    assert fields["ToUserName"] == "a]]>b"


def test_a_quick_reply_comes_back_as_its_command() -> None:
    text = rendered(out(1, "要不要", buttons=(Button("找人工", "/helped a b"),)))
    assert 'msgmenucontent=找人工&msgmenuid=/helped%20a%20b">找人工</a>' in text
    pressed = {**COMMON, "MsgType": "text", "Content": "找人工", "bizmsgmenuid": "/helped%20a%20b"}
    assert inbound(pressed, account="a", now=NOW).meta == {"command": "/helped a b"}
