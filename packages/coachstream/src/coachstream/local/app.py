"""One origin for everything: the page, its session, and the Function URLs under `/users/...`."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import msgspec

from coachstream.conversation.errors import CoachStreamError
from coachstream.local.asgi import App, AsgiMessage, Receive, Send, request_header, respond
from coachstream.local.session import Session
from coachstream.local.static_files import SECURITY_HEADERS
from coachstream.local.user_directory import NoCoachFound
from coachstream.web.status import HTTP_STATUS, error_headers
from lambda_streaming.emulator.peer import Ends, PeerCheck

SESSION_PATH = "/local/session"

_OWN_SITE = {None, "same-origin", "none"}
"""Allowed values of `Sec-Fetch-Site`: no browser, the page, or a user's navigation. Other ports of localhost
are the same *site*."""

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
        page: App,
        stream: App,
        conversations: App,
        send_message: App,
        open_session: OpenSession,
        may_sign_in: PeerCheck | None,
    ) -> None:
        self._page = page
        self._stream = stream
        self._conversations = conversations
        self._send_message = send_message
        self._open_session = open_session
        self._may_sign_in = may_sign_in

    async def __call__(self, scope: AsgiMessage, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            raise NotImplementedError(f"{scope['type']} is not supported")
        path = scope["path"]
        # Undecoded, so that an escaped slash stays inside its segment.
        raw_path = scope.get("raw_path") or path.encode()
        segments = [segment for segment in raw_path.decode("latin-1").split("/") if segment]
        if segments and segments[0] == "users":
            await self._function_for(segments)(scope, receive, send)
        elif path == SESSION_PATH:
            await self._serve_session(scope, send)
        else:
            await self._page(scope, receive, send)

    def _function_for(self, segments: list[str]) -> App:
        match segments:
            case [_, _, _, _, "conversations"] | [_, _, _, _, "conversations", _]:
                return self._conversations
            case [_, _, _, _, "conversations", _, "send-message"]:
                return self._send_message
            case _:
                return self._stream

    async def _serve_session(self, scope: AsgiMessage, send: Send) -> None:
        method = scope["method"]
        host = request_header(scope, b"host") or ""
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store", **dict(SECURITY_HEADERS)}
        body: dict[str, object] | Session
        if method not in {"GET", "HEAD"}:
            status, body = 405, {"error": "A session can only be read.", "code": "METHOD_NOT_ALLOWED"}
            headers["Allow"] = "GET, HEAD"
        elif request_header(scope, b"sec-fetch-site") not in _OWN_SITE:
            status, body = 403, {"error": "Open this page by its own address.", "code": "WRONG_SITE"}
        elif not await self._is_of_its_user(scope):
            status, body = 403, {"error": _WRONG_USER, "code": "WRONG_USER"}
        else:
            authorization = request_header(scope, b"authorization")
            try:
                body = await self._open_session(f"{scope['scheme']}://{host}/", authorization)
                status = 200
            except CoachStreamError as error:
                logger.info("No session: %s", error)
                status, body = HTTP_STATUS[error.code], {"error": error.sentence, "code": error.code}
                headers |= error_headers(error)
            except NoCoachFound as error:
                status, body = 404, {"error": str(error), "code": "NOBODY_THERE"}
        await respond(
            send, method=method, status=status, headers=headers.items(), body=msgspec.json.encode(body)
        )

    async def _is_of_its_user(self, scope: AsgiMessage) -> bool:
        if self._may_sign_in is None:
            return True
        return await self._may_sign_in(Ends(tuple(scope["client"]), tuple(scope["server"])))
