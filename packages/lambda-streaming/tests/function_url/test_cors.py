"""The CORS configuration of a Function URL."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from lambda_streaming.function_url.cors import CorsConfiguration, InvalidCorsConfiguration

ORIGIN = "https://example.com"


@pytest.mark.parametrize(
    "configuration",
    [
        {"allow_methods": ("OPTIONS",)},
        {"allow_methods": ("FETCH",)},
        {"allow_methods": ("get",)},
        {"allow_methods": ("GET",) * 7},
        {"allow_origins": ("",)},
        {"allow_origins": ("example.com",)},
        {"allow_origins": ("https://example.com/path",)},
        {"allow_origins": ("https://" + "a" * 246,)},
        {"allow_origins": (ORIGIN,) * 101},
        {"allow_headers": ("x y",)},
        {"allow_headers": ("a" * 1025,)},
        {"expose_headers": ("x",) * 101},
        {"expose_headers": ("x\r\ny",)},
        {"max_age": -1},
        {"max_age": 86_401},
    ],
)
def test_what_lambda_refuses_is_refused(configuration: dict[str, Any]) -> None:
    """Values one past each limit are refused, as is `OPTIONS`, which is too long for a method there."""
    with pytest.raises(InvalidCorsConfiguration):
        CorsConfiguration(**configuration)


def test_the_limits_themselves_are_allowed() -> None:
    """Each limit is inclusive."""
    CorsConfiguration(
        allow_origins=("https://" + "a" * 245,) * 100,
        allow_methods=("GET", "PUT", "HEAD", "POST", "PATCH", "DELETE"),
        allow_headers=("a" * 1024,) * 100,
        expose_headers=("*",),
        max_age=86_400,
    )


def test_the_configuration_is_read_with_the_names_of_the_aws_api() -> None:
    """`AllowOrigins` and its siblings are accepted; unknown keys are refused."""
    text = b'{"AllowOrigins":["*"],"AllowMethods":["GET"],"MaxAge":5,"AllowCredentials":true}'
    assert msgspec.json.decode(text, type=CorsConfiguration) == CorsConfiguration(
        allow_origins=("*",), allow_methods=("GET",), max_age=5, allow_credentials=True
    )
    for wrong in (b'{"AllowOrigin":["*"]}', b'{"AllowMethods":["OPTIONS"]}'):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(wrong, type=CorsConfiguration)


def test_all_that_is_configured_is_sent_to_a_matching_origin() -> None:
    """The matching origin is echoed, with Vary."""
    cors = CorsConfiguration(
        allow_origins=("http://localhost:3000", ORIGIN),
        allow_methods=("GET", "POST"),
        allow_headers=("authorization",),
        expose_headers=("x-id", "x-more"),
        max_age=300,
        allow_credentials=True,
    )
    assert cors.headers_for(ORIGIN) == (
        ("access-control-allow-origin", ORIGIN),
        ("vary", "Origin"),
        ("access-control-allow-methods", "GET,POST"),
        ("access-control-allow-headers", "authorization"),
        ("access-control-expose-headers", "x-id,x-more"),
        ("access-control-max-age", "300"),
        ("access-control-allow-credentials", "true"),
    )


@pytest.mark.parametrize(
    "origin", [None, "https://evil.example", "null", ORIGIN + ".evil.example", ORIGIN + ":444"]
)
def test_another_origin_gets_nothing_but_vary(origin: str | None) -> None:
    """A mismatch must not reveal the configuration."""
    cors = CorsConfiguration(allow_origins=(ORIGIN,), allow_credentials=True, max_age=1)
    assert cors.headers_for(origin) == (("vary", "Origin"),)


def test_any_origin_is_a_star_unless_credentials_come_along() -> None:
    """Browsers refuse the star together with credentials."""
    assert CorsConfiguration(allow_origins=("*",)).headers_for(ORIGIN) == (
        ("access-control-allow-origin", "*"),
    )
    assert CorsConfiguration(allow_origins=("*",)).headers_for(None) == (
        ("access-control-allow-origin", "*"),
    )
    assert CorsConfiguration(allow_origins=("*",), allow_credentials=True).headers_for(ORIGIN) == (
        ("access-control-allow-origin", ORIGIN),
        ("vary", "Origin"),
        ("access-control-allow-credentials", "true"),
    )
