"""Headers that every page and every answer carries: no inline script, no foreign framing, no guessing of types.

The signal runs for each response, static files and error pages included. A handler that must be shown inside other sites (the
chat page in its iframe) calls `allow_framing` on its response; nothing else differs.
"""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from bot.shell import SHELL

CSP = "Content-Security-Policy"
_DEFAULTS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def content_policy(*, frame_ancestors: str = "'none'") -> str:
    """Everything from our own origin, scripts and style sheets as files only. Style attributes are allowed: components
    place pop-ups with them, and they cannot run anything."""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "style-src-attr 'unsafe-inline'",
            "img-src 'self' data:",
            "font-src 'self' data:",
            "media-src 'self' data:",
            "connect-src 'self'",
            "manifest-src 'self'",
            "worker-src 'self'",
            "frame-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            f"frame-ancestors {frame_ancestors}",
        )
    )


def allow_framing(response: web.StreamResponse, hosts: Iterable[str]) -> None:
    """Let this one page be shown in an iframe on `hosts` ("*", "https://school.example", "school.example:8443")."""
    wanted = [host.strip() for host in hosts if host.strip() and not set(host) & set(" ;,'\"")]
    response.headers[CSP] = content_policy(frame_ancestors=" ".join(["'self'", *wanted]))


_POLICY = content_policy()


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """on_response_prepare signal: fill in what the handler did not decide itself."""
    headers = response.headers
    headers.setdefault(CSP, _POLICY)
    if "frame-ancestors 'none'" in headers[CSP]:
        headers.setdefault("X-Frame-Options", "DENY")
    for name, value in _DEFAULTS.items():
        headers.setdefault(name, value)
    if request.config_dict[SHELL].settings.server.public_url.startswith("https://"):
        headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    headers.pop("Server", None)


def setup(app: web.Application) -> None:
    """Attach the headers to the whole application (once)."""
    if add_headers not in app.on_response_prepare:
        app.on_response_prepare.append(add_headers)


def peer(request: web.Request, trusted_proxies: int) -> str:
    """The visitor's network address: the connection's, or as many X-Forwarded-For hops back as proxies are trusted."""
    hops = [
        h.strip()
        for line in request.headers.getall("X-Forwarded-For", [])
        for h in line.split(",")
        if h.strip()
    ]
    if trusted_proxies > 0 and hops:
        return hops[-min(trusted_proxies, len(hops))][:64]
    return request.remote or ""


def same_origin(request: web.Request) -> bool:
    """Whether the browser says the request comes from our own pages. Programs that send no Origin pass: they carry no
    cookie by accident."""
    origin = request.headers.get("Origin")
    if origin is None:
        return True
    public = request.config_dict[SHELL].settings.server.public_url.rstrip("/")
    if public and origin == public:
        return True
    return origin.partition("://")[2] == request.host
