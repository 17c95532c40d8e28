"""A Django project in one file, served by Django's own ASGI handler."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="for a test", MIDDLEWARE=[], USE_TZ=True
)
django.setup()


async def request_seen(request: HttpRequest, name: str) -> JsonResponse:
    """Return the request as Django sees it."""
    response = JsonResponse(
        {"name": name, "path": request.path, "query": request.GET.getlist("q"), "body": request.body.decode()}
    )
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


async def lines(request: HttpRequest) -> StreamingHttpResponse:  # noqa: ARG001 (Django's)
    """Send lines."""

    async def body() -> AsyncIterator[str]:
        for number in range(3):
            await asyncio.sleep(0)
            yield f"{number}\n"

    return StreamingHttpResponse(body(), content_type="text/plain")


def synchronous(request: HttpRequest) -> JsonResponse:
    """Respond from a thread."""
    return JsonResponse({"method": request.method})


urlpatterns = [path("seen/<str:name>", request_seen), path("lines", lines), path("sync", synchronous)]
app = ASGIHandler()
