"""Who may talk to the review server: whoever has the token, from this machine's own pages, and nobody else's.

    app = Guard(app, token=new_token(), hosts=own_hosts("127.0.0.1"))

* The address that is printed has the token; the first visit turns it into a cookie (HttpOnly, SameSite=Strict).
  Programs send it as `Authorization: Bearer TOKEN`.
* What changes something needs that header: a cookie alone, which a browser sends by itself, is not enough.
* The Host must be an address or a name of this machine: a name that was pointed at it from elsewhere is refused.
* Every answer forbids scripts, pictures and frames of others, and is not kept by caches.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "ndvr_review"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


def new_token() -> str:
    """Make a token that nobody guesses."""
    return secrets.token_urlsafe(24)


def own_hosts(host: str) -> frozenset[str]:
    """List the names under which a server at `host` may be addressed, beside plain addresses."""
    names = {"localhost", host.strip("[]").lower()}
    if not is_loopback(host):
        names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    return frozenset(names)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches a host."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """ASGI middleware around all that the server answers."""

    def __init__(self, app: ASGIApp, *, token: str, hosts: Collection[str]):
        self.app, self.token, self.hosts = app, token, hosts
        # Cookies go to every port of a host; the one that reads is not the token that writes.
        self.cookie = hmac.new(token.encode(), b"cookie", hashlib.sha256).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        from starlette.datastructures import Headers
        from starlette.requests import Request
        from starlette.responses import JSONResponse, RedirectResponse, Response

        headers = Headers(scope=scope)
        answer: Response | None = None
        if not self.knows(headers.get("host", "")):
            answer = JSONResponse({"error": "this server does not answer to that name"}, 421)
        elif given := Request(scope).query_params.get("token"):
            answer = self._let_in(given) if scope["method"] == "GET" else None
            if answer is None and scope["method"] != "GET":
                answer = JSONResponse({"error": "send the token as Authorization: Bearer TOKEN"}, 401)
            elif answer is None:
                answer = JSONResponse({"error": "wrong token"}, 401)
        elif not self.may(scope["method"], headers):
            answer = JSONResponse({"error": "open the address that `ndvr review` printed, or send its token"}, 401)
        if isinstance(answer, RedirectResponse):
            answer.headers["location"] = scope["path"] or "/"
        await (answer or self.app)(scope, receive, _with_headers(send))

    def knows(self, host: str) -> bool:
        """Say whether a Host header names this server: an address, or one of its names."""
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return name.lower() in self.hosts
        return True

    def may(self, method: str, headers: Headers) -> bool:
        """Say whether a request comes with what it needs:
        the token itself to change something, else the cookie will do.
        """
        scheme, _, sent = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return hmac.compare_digest(sent.strip().encode(), self.token.encode())
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(headers.get("cookie", ""))
        except CookieError:
            return False
        held = cookies[COOKIE].value if COOKIE in cookies else ""
        return method in ("GET", "HEAD") and hmac.compare_digest(held.encode(), self.cookie.encode())

    def _let_in(self, given: str):
        from starlette.responses import RedirectResponse

        if not hmac.compare_digest(given.encode(), self.token.encode()):
            return None
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, self.cookie, httponly=True, samesite="strict", path="/")
        return answer


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            there = {name.lower() for name, _ in message["headers"]}
            new = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in there]
            message = {**message, "headers": [*message["headers"], *new]}
        await send(message)

    return sending
