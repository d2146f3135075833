"""First station of a WeChat message: is it from WeChat, is it fresh, what does it say. Nothing is stored here.

WeChat signs with SHA-1 over the sorted token, timestamp, nonce and (in encrypted mode) ciphertext, and encrypts with AES-256-CBC
under the account's EncodingAESKey (docs: 公众平台 > 消息加解密说明). wechatpy does the AES; the comparison, the freshness and the
guard around signed junk are ours, because wechatpy 1.8.18 compares with `!=`, never looks at the time, and lets
IndexError, struct.error, KeyError and expat errors out.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from xml.parsers import expat

FRESH_SECONDS: Final = 300  # older than this, or this far in the future: one of the two clocks is wrong
REFUSED_SECONDS: Final = 24 * 3600
_DEEPEST: Final = 8
_MOST_FIELDS: Final = 200
_MOST_ECHO: Final = 256
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


class Refused(Exception):
    """The request is not a message from WeChat to this account. `status` for HTTP, `reason` a code without words."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Opened:
    """A verified push. `stale` when its timestamp is off by more than FRESH_SECONDS though the signature holds."""

    fields: Mapping[str, str]
    signed_at: int  # WeChat's clock when it made this delivery, epoch seconds
    encrypted: bool
    stale: bool


class Envelope:
    """Opens what one account receives and closes what it answers."""

    def __init__(self, *, app_id: str, token: str, aes_key: bytes | None, plain_mode: bool) -> None:
        self._app_id = app_id
        self._token = token
        self._crypto = None
        if aes_key is not None:
            from wechatpy.crypto import PrpCrypto

            self._crypto = PrpCrypto(aes_key)
            # Sixteen random characters before every message; the library's own way takes longer than the encryption.
            self._crypto.get_random_string = lambda: secrets.token_hex(8)
        self._plain_mode = plain_mode

    def echo(self, query: Mapping[str, str], now: datetime) -> str:
        """The answer to URL verification (GET). Raises Refused."""
        if self._signed_at(query, now)[1]:
            raise Refused(403, "stale")
        self._check(query.get("signature", ""), query)
        echo = query.get("echostr", "")
        if not 0 < len(echo) <= _MOST_ECHO:
            raise Refused(400, "no_echostr")
        return echo

    def open(self, query: Mapping[str, str], body: bytes, now: datetime) -> Opened:
        """Verify and read one pushed message. Raises Refused, whatever the bytes are."""
        signed_at, stale = self._signed_at(query, now)
        if query.get("encrypt_type", "raw") != "aes":
            return self._open_plain(query, body, signed_at, stale=stale)
        if self._crypto is None:
            raise Refused(403, "encrypted_mode_off")
        sealed = flat_xml(body).get("Encrypt", "")
        self._check(query.get("msg_signature", ""), query, sealed)
        return Opened(flat_xml(self._decrypt(sealed)), signed_at, encrypted=True, stale=stale)

    def close(self, xml: str, now: datetime) -> str:
        """Encrypt and sign a passive reply."""
        assert self._crypto is not None
        nonce, timestamp = secrets.token_hex(8), str(int(now.timestamp()))
        sealed = self._crypto.encrypt(xml, self._app_id).decode()
        return (
            f"<xml><Encrypt><![CDATA[{sealed}]]></Encrypt>"
            f"<MsgSignature><![CDATA[{_sha1(self._token, timestamp, nonce, sealed)}]]></MsgSignature>"
            f"<TimeStamp>{timestamp}</TimeStamp><Nonce><![CDATA[{nonce}]]></Nonce></xml>"
        )

    def _open_plain(self, query: Mapping[str, str], body: bytes, signed_at: int, *, stale: bool) -> Opened:
        # Here the signature does not cover the body: without freshness anybody who saw one request could send others.
        if not self._plain_mode:
            raise Refused(403, "plain_mode_off")
        self._check(query.get("signature", ""), query)
        if stale:
            raise Refused(403, "stale")
        return Opened(flat_xml(body), signed_at, encrypted=False, stale=False)

    def _signed_at(self, query: Mapping[str, str], now: datetime) -> tuple[int, bool]:
        text = query.get("timestamp", "")
        if not (text.isascii() and text.isdigit() and len(text) <= 12):
            raise Refused(400, "no_timestamp")
        off = abs(int(text) - now.timestamp())
        if off > REFUSED_SECONDS:
            raise Refused(403, "stale")
        return int(text), off > FRESH_SECONDS

    def _check(self, signature: str, query: Mapping[str, str], *more: str) -> None:
        right = _sha1(self._token, query.get("timestamp", ""), query.get("nonce", ""), *more)
        if not hmac.compare_digest(right.encode(), signature.encode("utf-8", "replace")):
            raise Refused(403, "signature")

    def _decrypt(self, sealed: str) -> str:
        from wechatpy.exceptions import InvalidAppIdException

        assert self._crypto is not None
        try:
            return str(self._crypto.decrypt(sealed, self._app_id))
        except InvalidAppIdException:
            raise Refused(400, "app_id") from None
        except Exception:
            # signed junk: struct.error, IndexError, ValueError and whatever else the library lets out
            raise Refused(400, "undecryptable") from None


def flat_xml(document: bytes | str) -> dict[str, str]:
    """The fields directly under the root, by name, with their text. Raises Refused for anything WeChat does not send.

    A document type is refused before any entity could be expanded. Control characters, which no XML may hold but a
    telephone's keyboard can produce, are dropped from text that arrived encrypted: losing a message over them is worse.
    """
    reader = _Reader()
    parser = expat.ParserCreate(encoding="utf-8")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.EntityDeclHandler = _refuse_doctype
    try:
        parser.Parse(_NOT_XML.sub("", document) if isinstance(document, str) else document, True)
    except (expat.ExpatError, ValueError):
        raise Refused(400, "malformed_xml") from None
    return reader.fields


class _Reader:
    """Collects the second level of a document; deeper levels are walked over."""

    __slots__ = ("_depth", "_parts", "fields")

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self._depth = 0
        self._parts: list[str] = []

    def start(self, _name: str, _attributes: Mapping[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEEPEST or len(self.fields) > _MOST_FIELDS:
            raise Refused(400, "malformed_xml")
        if self._depth == 2:
            self._parts = []

    def text(self, data: str) -> None:
        if self._depth == 2:
            self._parts.append(data)

    def end(self, name: str) -> None:
        if self._depth == 2:
            self.fields[name] = "".join(self._parts)
        self._depth -= 1


def _refuse_doctype(*_: object) -> None:
    raise Refused(400, "document_type")


def _sha1(*parts: str) -> str:
    joined = "".join(sorted(parts)).encode("utf-8", "replace")
    return hashlib.sha1(joined).hexdigest()  # noqa: S324 (WeChat's protocol)
