"""A Flask app, which is WSGI, behind a2wsgi's bridge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from a2wsgi import WSGIMiddleware
from flask import Flask, Response, request

flask_app = Flask(__name__)


@flask_app.post("/echo")
def echo() -> dict[str, Any]:
    """Return the request as Flask sees it."""
    return {"query": request.args.getlist("q"), "body": request.get_data(as_text=True)}


@flask_app.get("/lines")
def lines() -> Response:
    """Send lines."""

    def body() -> Iterator[str]:
        for number in range(3):
            yield f"{number}\n"

    return Response(body(), mimetype="text/plain")


app = WSGIMiddleware(flask_app)  # type: ignore[arg-type]  # its types are narrower than Flask's
