"""One origin for everything: the page, its session, and the function URLs behind `/users/...`."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Awaitable, Callable

import msgspec

from coachstream.conversation.errors import CoachStreamError
from coachstream.local.asgi import App, Message, Receive, Send, request_header, respond
from coachstream.local.people import NobodyThere
from coachstream.local.session import Session
from coachstream.local.static_files import SECURITY_HEADERS
from coachstream.web.status import HTTP_STATUS, error_headers

SESSION_PATH = "/local/session"

OpenSession = Callable[[str, str | None], Awaitable[Session]]

logger = logging.getLogger("coachstream.local")


class LocalApp:
    """Routes one request to the part that answers it.

    Args:
        page: serves the chat page.
        stream: the streaming function's URL; anything unknown under `/users` goes there as well.
        conversations: the conversations function's URL.
        send_message: the URL of the function that answers in one piece; None where it is not served.
        open_session: makes a session whose addresses begin with the given origin, for whoever has the given
            `Authorization`.
        served_name: the host name that the server was told to listen on, which its users may call it by.
    """

    def __init__(
        self,
        *,
        page: App,
        stream: App,
        conversations: App,
        send_message: App,
        open_session: OpenSession,
        served_name: str,
    ) -> None:
        self._page = page
        self._stream = stream
        self._conversations = conversations
        self._send_message = send_message
        self._open_session = open_session
        self._served_name = served_name.lower()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            raise NotImplementedError(f"no {scope['type']} here")
        path = scope["path"]
        # Undecoded, so that an escaped slash stays inside its segment.
        raw_path = scope.get("raw_path") or path.encode()
        segments = [segment for segment in raw_path.decode("latin-1").split("/") if segment]
        if segments and segments[0] == "users":
            await self._function_for(segments)(scope, receive, send)
        elif path == SESSION_PATH:
            await self._answer_session(scope, send)
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

    async def _answer_session(self, scope: Message, send: Send) -> None:
        method = scope["method"]
        host = request_header(scope, b"host") or ""
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store", **dict(SECURITY_HEADERS)}
        body: dict[str, object] | Session
        if method not in {"GET", "HEAD"}:
            status, body = 405, {"error": "A session can only be read.", "code": "METHOD_NOT_ALLOWED"}
            headers["Allow"] = "GET, HEAD"
        elif not names_this_machine(host, self._served_name):
            status, body = 403, {"error": "Open this page by its own address.", "code": "WRONG_HOST"}
        else:
            authorization = request_header(scope, b"authorization")
            try:
                body = await self._open_session(f"{scope['scheme']}://{host}/", authorization)
                status = 200
            except CoachStreamError as error:
                logger.info("No session: %s", error)
                status, body = HTTP_STATUS[error.code], {"error": error.sentence, "code": error.code}
                headers |= error_headers(error)
            except NobodyThere as nobody:
                status, body = 404, {"error": str(nobody), "code": "NOBODY_THERE"}
        await respond(
            send, method=method, status=status, headers=headers.items(), body=msgspec.json.encode(body)
        )


def names_this_machine(host: str, served_name: str) -> bool:
    """Whether a `Host` header can only have come from a page of ours.

    DNS rebinding needs a name that an attacker controls: an IP address is none, nor is `localhost` (RFC 6761,
    section 6.3), nor the name that the server was told to listen on.
    """
    name = host.lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    else:
        name = name.rpartition(":")[0] if ":" in name else name
    if name in {"localhost", served_name} or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
