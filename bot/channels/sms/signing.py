"""Who is at the door: a signature over time and body, or a shared token. docs/sms-adapter.md says it to providers.

    X-Qingting-Timestamp: 1700000000
    X-Qingting-Signature: sha256=<hex HMAC-SHA256(secret, timestamp + "." + body)>

or, for providers that cannot sign, `Authorization: Bearer <secret>` or Basic with the secret as password.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Final

FRESH_SECONDS: Final = 300
REFUSED_SECONDS: Final = 24 * 3600
TIMESTAMP: Final = "X-Qingting-Timestamp"
SIGNATURE: Final = "X-Qingting-Signature"


class Refused(Exception):
    """The request is not a message from this account's provider. `reason` is a code without words."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def signed_headers(secret: str, body: bytes, now: datetime) -> dict[str, str]:
    """The headers that prove a request of ours."""
    timestamp = str(int(now.timestamp()))
    return {TIMESTAMP: timestamp, SIGNATURE: "sha256=" + _mac(secret, timestamp.encode() + b"." + body)}


def check_signature(secret: str, headers: Mapping[str, str], body: bytes, now: datetime) -> bool:
    """Whether the clocks differ although the signature holds. Raises Refused.

    Such a request is taken: the signature covers the body, and a repeat of it has no second effect. Beyond a day it is
    refused.
    """
    timestamp = headers.get(TIMESTAMP, "")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise Refused(400, "no_timestamp")
    off = abs(int(timestamp) - now.timestamp())
    if off > REFUSED_SECONDS:
        raise Refused(403, "stale")
    right = "sha256=" + _mac(secret, timestamp.encode() + b"." + body)
    if not _same(right, headers.get(SIGNATURE, "")):
        raise Refused(403, "signature")
    return off > FRESH_SECONDS


def check_token(secret: str, headers: Mapping[str, str]) -> None:
    """Raises Refused unless the Authorization header carries the secret."""
    scheme, _, value = headers.get("Authorization", "").partition(" ")
    given = value.strip()
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(given, validate=True).decode("utf-8", "replace").partition(":")[2]
        except (binascii.Error, ValueError):
            given = ""
    elif scheme.lower() != "bearer":
        given = ""
    if not _same(secret, given):
        raise Refused(403, "token")


def receipt_key(secret: str, message_id: str) -> str:
    """What makes a receipt's address unguessable, for gateways that can only call a URL."""
    return _mac(secret, b"receipt:" + message_id.encode())[:32]


def check_receipt_key(secret: str, message_id: str, given: str) -> None:
    """Raises Refused."""
    if not _same(receipt_key(secret, message_id), given):
        raise Refused(403, "signature")


def _mac(secret: str, data: bytes) -> str:
    return hmac.new(secret.encode(), data, hashlib.sha256).hexdigest()


def _same(right: str, given: str) -> bool:
    return hmac.compare_digest(right.encode(), given.encode("utf-8", "replace"))
