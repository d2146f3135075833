"""A load that costs little itself: ready-made HTTP requests over a fixed number of kept-alive connections."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Result:
    """What came back. Seconds per request, and how many were not answered with 200."""

    seconds: list[float] = field(default_factory=list)
    refused: int = 0
    took: float = 0.0
    bodies: int = 0

    @property
    def rate(self) -> float:
        return len(self.seconds) / self.took if self.took else 0.0

    def percentile(self, share: float) -> float:
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0

    @property
    def median(self) -> float:
        return statistics.median(self.seconds) if self.seconds else 0.0


def request(method: str, path: str, body: bytes, content_type: str, **headers: str) -> bytes:
    """One HTTP/1.1 request, ready to be written."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
    ]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


async def fire(port: int, requests: Sequence[bytes], *, connections: int, per_second: float = 0) -> Result:
    """Send all requests, `connections` at a time; evenly at `per_second` if given, else as fast as they are answered."""
    result = Result()
    waiting = iter(enumerate(requests))
    began = time.perf_counter()

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for number, ready in waiting:
                if per_second:
                    await asyncio.sleep(max(0.0, began + number / per_second - time.perf_counter()))
                sent = time.perf_counter()
                writer.write(ready)
                status, body = await _answer(reader)
                result.seconds.append(time.perf_counter() - sent)
                result.refused += status != 200
                result.bodies += len(body) > 20
        finally:
            writer.close()

    await asyncio.gather(*(connection() for _ in range(min(connections, len(requests)))))
    result.took = time.perf_counter() - began
    return result


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        parts = []
        while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readexactly(2)
        return status, b"".join(parts)
    at = lower.find(b"content-length:")
    length = int(lower[at + 15 : lower.index(b"\r\n", at)]) if at >= 0 else 0
    return status, await reader.readexactly(length) if length else b""
