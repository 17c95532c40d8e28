"""An ASGI app as a Lambda handler: FastAPI, Starlette, Django, Litestar and others, unchanged.

`scope` makes a connection scope of an event, `cycle` is one request and its response, `lifespan` the app's
start-up and shutdown. The opposite, a handler as an ASGI app, is `lambda_streaming.to_asgi`.
"""

from __future__ import annotations

from lambda_streaming.asgi_app.cycle import RequestCycle
from lambda_streaming.asgi_app.lifespan import AppLifespan, LifespanMode
from lambda_streaming.asgi_app.protocol import AsgiApp
from lambda_streaming.asgi_app.scope import http_scope
from lambda_streaming.event_sources import request_of
from lambda_streaming.handler_kinds import WSGI_REMEDY, is_wsgi_app, parameters
from lambda_streaming.invocation_tasks import TasksOfApp
from lambda_streaming.lifespan import Lifespan, lifespan_state
from lambda_streaming.response_mode import ResponseMode
from lambda_streaming.response_stream import ResponseStream
from lambda_streaming.streaming import LambdaHandler, Streaming, entry_point, is_streaming

__all__ = ["AsgiApp", "LifespanMode", "from_asgi"]

_ARGUMENTS = 3


def from_asgi(
    app: AsgiApp,
    *,
    lifespan: LifespanMode = LifespanMode.AUTO,
    root_path: str | None = None,
    response_mode: ResponseMode = ResponseMode.AUTO,
) -> LambdaHandler:
    """Return a Lambda handler that serves an ASGI app and streams its responses.

    An app needs this only for its options: `lambda_streaming`'s runtime recognises `main.app` itself. The
    opposite is `to_asgi(handler)`.

    The scope has `aws.event` and `aws.context`, and `state` if the app has a lifespan. A response's
    background tasks run after the client has its last byte and before the invocation ends. Other tasks that
    the app has left get a second to finish; then they freeze with the environment. Lambda does not report a
    client that disconnects, so `http.disconnect` comes only after the response.

    Args:
        app: takes `(scope, receive, send)`. A WSGI app needs a bridge:
            `from_asgi(a2wsgi.WSGIMiddleware(app))`.
        lifespan: whether to run the app's lifespan.
        root_path: where the app is mounted, as `/v1` behind a custom domain with a base path; by default an
            API's stage where it is part of the path.
        response_mode: whether to stream.

    Raises:
        TypeError: the object is not an ASGI app; the message has the remedy.
    """
    _require_app(app)
    prefix = None if root_path is None else root_path.rstrip("/")
    life = None if lifespan is LifespanMode.OFF else Lifespan(AppLifespan(app, lifespan))

    async def serve(event: object, stream: ResponseStream, context: object) -> None:
        request = request_of(event)
        state = None if life is None else lifespan_state()
        scope = http_scope(request, root_path=prefix, state=state, event=event, context=context)
        async with TasksOfApp():
            await RequestCycle(request, stream).run(app, scope)

    return entry_point(Streaming(serve, life), app, response_mode)


def _require_app(app: object) -> None:
    if callable(app) and is_streaming(app):
        raise TypeError(f"{app!r} is a streaming handler already; to_asgi(handler) makes an ASGI app of it.")
    if is_wsgi_app(app):
        raise TypeError(f"{app!r} is a WSGI app: {WSGI_REMEDY}.")
    required = parameters(app)
    if not callable(app) or (required and len(required) != _ARGUMENTS):
        raise TypeError(f"{app!r} is not an ASGI app, which is called as app(scope, receive, send).")
