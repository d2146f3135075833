"""Who can read what a young person wrote: keys, sealing and keyed look-ups (promise 8).

One master key (32 bytes, a file with mode 0600 or an environment variable) never touches the data itself. From it come,
by HKDF (RFC 5869): a key that wraps each person's own data key, a key for look-up hashes, and a key for the desk's own
secrets (a webhook address, a counsellor's telephone). Erasing a person destroys the wrapped data key; every copy of the
words, backups included, is unreadable from then on.

Sealed form: 1 byte version, 12 bytes nonce, AES-256-GCM ciphertext with tag. `place` (table and column) is bound in, so
that a sealed value copied into another column does not open.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections import OrderedDict
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12
KEY_BYTES: Final = 32


class KeyProblem(Exception):
    """The master key is missing, of the wrong length, readable by others, or not the one this data was sealed with."""


class Unreadable(Exception):
    """A sealed value does not open: wrong key, erased person or damaged bytes. Never carries the value."""


class DataKey:
    """Seals and opens text with one 256-bit key."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, text: str, place: str) -> bytes:
        """Encrypt `text` for `place` ("message.text"). Lone surrogates, which a browser can send, are kept."""
        nonce = os.urandom(_NONCE_BYTES)
        plain = text.encode("utf-8", "surrogatepass")
        return _VERSION + nonce + self._cipher.encrypt(nonce, plain, place.encode())

    def open(self, sealed: bytes, place: str) -> str:
        """Decrypt what `seal` made for the same `place`. Raises Unreadable."""
        try:
            plain = self._cipher.decrypt(
                sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :], place.encode()
            )
        except (InvalidTag, ValueError):
            raise Unreadable(place) from None
        return plain.decode("utf-8", "surrogatepass")


class Vault:
    """Holds the master key for the running process and hands out persons' data keys.

    Unwrapped keys are kept for the last `remember` persons: unwrapping costs about as much as sealing a message.
    """

    def __init__(self, master: bytes, *, remember: int = 10_000) -> None:
        if len(master) != KEY_BYTES:
            raise KeyProblem(f"the master key has {len(master)} bytes, it must have {KEY_BYTES}")
        self._wrapping = DataKey(_derive(master, b"wrap"))
        self._lookup = _derive(master, b"lookup")
        self.desk = DataKey(_derive(master, b"desk"))
        self._remember = remember
        self._unwrapped: OrderedDict[bytes, DataKey] = OrderedDict()

    def new_person_key(self) -> bytes:
        """A fresh data key, wrapped: what is stored with the person."""
        key = secrets.token_hex(KEY_BYTES)
        wrapped = self._wrapping.seal(key, "person.data_key")
        self._keep(wrapped, DataKey(bytes.fromhex(key)))  # it is about to be used
        return wrapped

    def person_key(self, wrapped: bytes | None) -> DataKey:
        """The data key behind `wrapped`. Raises Unreadable for an erased person (None) or a wrong master key."""
        if wrapped is None:
            raise Unreadable("person.data_key")
        known = self._unwrapped.get(wrapped)
        if known is None:
            known = self._keep(
                wrapped, DataKey(bytes.fromhex(self._wrapping.open(wrapped, "person.data_key")))
            )
        else:
            self._unwrapped.move_to_end(wrapped)
        return known

    def _keep(self, wrapped: bytes, key: DataKey) -> DataKey:
        self._unwrapped[wrapped] = key
        if len(self._unwrapped) > self._remember:
            self._unwrapped.popitem(last=False)
        return key

    def forget(self, wrapped: bytes) -> None:
        """Drop an erased person's key from memory too."""
        self._unwrapped.pop(wrapped, None)

    def fingerprint(self, *parts: str) -> bytes:
        """Keyed hash (HMAC-SHA256) by which an exact value can be found again without storing it."""
        joined = "\x1f".join(parts).encode("utf-8", "surrogatepass")
        return hmac.digest(self._lookup, joined, "sha256")

    def check_value(self) -> bytes:
        """Stored once beside the data; a process started with another master key is refused by it."""
        return self.fingerprint("master key check")


def _derive(master: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=b"qingting:" + purpose).derive(master)
