"""Kannel's own form of sending: XML by POST to smsbox, so that neither words nor passwords are in an address.

Kannel user guide 1.4.5, "Using the HTTP interface to send SMS messages", XML POST. The answer is a line such as
"0: Accepted for delivery" (202) or "3: Queued for later delivery" (202).
"""

from __future__ import annotations

import re
from typing import Final
from xml.sax.saxutils import escape

from bot.channels import SendFailed
from bot.channels.sms.segments import measure

CONTENT_TYPE: Final = "text/xml; charset=UTF-8"
_RECEIPTS_WANTED: Final = 1 + 2 + 16  # arrived, did not arrive, refused by the centre
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_TAKEN: Final = ("0:", "3:")


def submit(*, to: str, sender: str, text: str, user: str, password: str, receipt_url: str = "") -> bytes:
    """The XML of one message. Chinese text goes as UCS-2; `receipt_url` is called with its %d filled in."""
    coding = 2 if measure(text).encoding == "ucs2" else 0
    receipt = (
        f"<statusrequest><dlr-mask>{_RECEIPTS_WANTED}</dlr-mask><dlr-url>{_text(receipt_url)}</dlr-url></statusrequest>"
        if receipt_url
        else ""
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><message><submit>'
        f"<da><number>{_text(to)}</number></da><oa><number>{_text(sender)}</number></oa>"
        f"<ud>{_text(text)}</ud><dcs><coding>{coding}</coding></dcs>{receipt}"
        f"<from><username>{_text(user)}</username><password>{_text(password)}</password></from>"
        "</submit></message>"
    ).encode()


def check_taken(status: int, answer: str) -> None:
    """Raises SendFailed unless Kannel took the message."""
    if status == 202 and answer.startswith(_TAKEN):
        return
    if status >= 500:
        raise SendFailed(f"http_{status}", retry=True, retry_after=2)
    if status in (401, 403):
        raise SendFailed("auth", retry=True, retry_after=60)
    raise SendFailed(f"kannel_{status}")


def _text(value: str) -> str:
    return escape(_NOT_XML.sub("", value))
