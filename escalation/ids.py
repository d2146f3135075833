"""Names for rows: 63-bit numbers that grow with time and are made before the row is stored.

Made in the process rather than by the database, so that a whole turn (message, replies, case, alert) can be put
together in memory and written at once, and so that sorting by id is sorting by time.
41 bits milliseconds since 2025, 10 bits of the process, 12 bits counter. In JSON they are strings: a browser's
numbers stop at 53 bits.
"""

from __future__ import annotations

import secrets
import threading
import time
from datetime import UTC, datetime

_EPOCH_MS = 1_735_689_600_000  # 2025-01-01T00:00:00Z
_PROCESS = secrets.randbits(10) << 12
_lock = threading.Lock()
_last = 0


def new_id() -> int:
    """A number larger than every one this process gave before, unique between processes but for 1 in 1,024 pairs
    that also share the millisecond and the count (the database then refuses the second, and the write is repeated)."""
    global _last
    with _lock:
        now = (int(time.time() * 1000) - _EPOCH_MS) << 22
        candidate = now | _PROCESS
        # Within one millisecond, or when the clock steps back, count on from the last one.
        if candidate <= _last:
            candidate = _last + 1
            if (candidate & 0xFFF) == 0:  # counter full: go to the next millisecond of our own making
                candidate = ((_last >> 22) + 1) << 22 | _PROCESS
        _last = candidate
        return candidate


def made_at(row_id: int) -> datetime:
    """When this id was made, to the millisecond."""
    return datetime.fromtimestamp(((row_id >> 22) + _EPOCH_MS) / 1000, UTC)


def first_id(moment: datetime) -> int:
    """The smallest id that can have been made then or later: a stretch of time as a range of the primary key."""
    return (int(moment.timestamp() * 1000) - _EPOCH_MS) << 22
