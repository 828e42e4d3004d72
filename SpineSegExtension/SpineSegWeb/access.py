"""Who may talk to the app: the browser of the person who started it, and nobody else.

The server listens on the loopback address only. Every request, also the one that opens the
websocket, must carry the token of the address that was printed, or the cookie that the first page
sets; and its host must be this one, so that a page from elsewhere can't reach it by a name that
was made to point here.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["HOST", "Access"]

HOST = "127.0.0.1"
HEADERS = {
    # Nothing is fetched from elsewhere, whatever a file's name or header may hold.
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval';"
        " style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:;"
        " connect-src 'self' blob: ws://127.0.0.1:* ws://localhost:*;"
        " worker-src 'self' blob:; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
REFUSED = "This address lacks the token, or has an old one. Use the one that spineseg app printed."


class Access:
    """The token of one run, and the check of each request.

    Attributes
    ----------
    token : str
    """

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(24)
        self._port = 0

    def address(self, port: int) -> str:
        """Return the address to open, once the server listens at `port`."""
        self._port = port
        return f"http://{HOST}:{port}/?token={self.token}"

    def guard(self, application: Any) -> None:
        """Check every request of an aiohttp application that has not started yet."""
        from aiohttp import web

        @web.middleware
        async def check(
            request: Any, handler: Callable[[Any], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            if not self._allows(request):
                return web.Response(status=403, text=REFUSED, headers=HEADERS)
            try:
                response = await handler(request)
            except web.HTTPException as answer:
                self._dress(request, answer)
                raise
            if not response.prepared:  # a websocket or a download has begun already
                self._dress(request, response)
            return response

        application.middlewares.append(check)

    def _allows(self, request: Any) -> bool:
        own = {f"{name}:{self._port}" for name in (HOST, "localhost")}
        origin = request.headers.get("Origin")
        if request.host not in own or (origin and origin.removeprefix("http://") not in own):
            return False
        given = request.query.get("token") or request.cookies.get(self._cookie) or ""
        return hmac.compare_digest(given.encode(), self.token.encode())

    def _dress(self, request: Any, response: Any) -> None:
        response.headers.update(HEADERS)
        if request.query.get("token"):
            response.set_cookie(self._cookie, self.token, httponly=True, samesite="Strict")

    @property
    def _cookie(self) -> str:
        # Cookies of one host are shared by all its ports: two runs must not take each other's.
        return f"spineseg-{self._port}"
