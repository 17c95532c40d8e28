"""One origin for everything: the page, its session, and the Function URLs under `/users/...`."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from coachstream.conversation.errors import CoachStreamError
from coachstream.local.session import Session
from coachstream.local.static_files import SECURITY_HEADERS
from coachstream.local.user_directory import NoCoachFound
from coachstream.web.status import HTTP_STATUS, error_headers
from lambda_streaming.emulator.peer import Ends, PeerCheck

SESSION_PATH = "/local/session"

_CONVERSATIONS = "/users/{user_id}/coaches/{coach_id}/conversations"

_OWN_SITE = {"same-origin", "none"}
"""Allowed values of `Sec-Fetch-Site`, which only browsers send: the page, or a user's navigation. Other ports
of localhost are the same *site*."""

_WRONG_USER = "This server only signs in the user who started it. Start it as the user who opens the page."

OpenSession = Callable[[str, str | None], Awaitable[Session]]

logger = logging.getLogger("coachstream.local")


class LocalApp:
    """Routes each request to the page, the session or a function.

    Args:
        page: serves the chat page.
        stream: the streaming function's URL; anything unknown under `/users` goes there as well.
        conversations: the conversations function's URL.
        send_message: the URL of the function that sends the whole reply at once.
        open_session: opens a session for an `Authorization` header, with the origin of its addresses.
        may_sign_in: whether a session may be opened over a connection; None if every connection may.
    """

    def __init__(
        self,
        *,
        page: ASGIApp,
        stream: ASGIApp,
        conversations: ASGIApp,
        send_message: ASGIApp,
        open_session: OpenSession,
        may_sign_in: PeerCheck | None,
    ) -> None:
        self._open_session = open_session
        self._may_sign_in = may_sign_in
        self._app = Starlette(
            routes=[
                Route(_CONVERSATIONS, conversations),
                Route(f"{_CONVERSATIONS}/{{conversation_id}}", conversations),
                Route(f"{_CONVERSATIONS}/{{conversation_id}}/messages/{{message:path}}", conversations),
                Route(f"{_CONVERSATIONS}/{{conversation_id}}/send-message", send_message),
                Route("/users/{user_id}/export", conversations),
                Route("/users/{user_id}/data", conversations),
                Route("/users", stream),
                Route("/users/{unknown:path}", stream),
                Route(SESSION_PATH, self._session),
                # Only the page: compressed responses of the functions could reveal what is secret in them.
                Mount("/", GZipMiddleware(page)),
            ],
            exception_handlers={404: _no_page, 405: _only_read},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "http":
            scope = {**scope, "path": _path_to_route(scope)}
        await self._app(scope, receive, send)

    async def _session(self, request: Request) -> Response:
        if not _OWN_SITE.issuperset(request.headers.getlist("sec-fetch-site")):
            return _json(403, {"error": "Open this page by its own address.", "code": "WRONG_SITE"})
        if not await self._is_of_its_user(request):
            return _json(403, {"error": _WRONG_USER, "code": "WRONG_USER"})
        tokens = request.headers.getlist("authorization")
        try:
            session = await self._open_session(str(request.base_url), tokens[0] if len(tokens) == 1 else None)
        except CoachStreamError as error:
            logger.info("No session: %s", error)
            body = {"error": error.sentence, "code": error.code}
            return _json(HTTP_STATUS[error.code], body, error_headers(error))
        except NoCoachFound as error:
            return _json(404, {"error": str(error), "code": "NOBODY_THERE"})
        return _json(200, session)

    async def _is_of_its_user(self, request: Request) -> bool:
        if self._may_sign_in is None:
            return True
        return await self._may_sign_in(Ends(tuple(request.scope["client"]), tuple(request.scope["server"])))


def _path_to_route(scope: Scope) -> str:
    """Return the path as the functions read it: doubled slashes are one, escaped ones stay in a segment."""
    path: str = scope["path"]
    raw_path: bytes = scope.get("raw_path") or path.encode()
    segments = [segment for segment in raw_path.decode("latin-1").split("/") if segment]
    return f"/{'/'.join(segments)}" if segments[:1] == ["users"] else path


async def _no_page(_request: Request, _error: Exception) -> Response:
    return PlainTextResponse("There is no such page.\n", 404, SECURITY_HEADERS)


async def _only_read(request: Request, _error: Exception) -> Response:
    headers = {"Allow": "GET, HEAD", **SECURITY_HEADERS}
    if request.scope["path"] == SESSION_PATH:
        return _json(405, {"error": "A session can only be read.", "code": "METHOD_NOT_ALLOWED"}, headers)
    return PlainTextResponse("Pages can only be read.\n", 405, headers)


def _json(status: int, body: object, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        msgspec.json.encode(body),
        status,
        {"Cache-Control": "no-store", **SECURITY_HEADERS, **(headers or {})},
        media_type="application/json",
    )
