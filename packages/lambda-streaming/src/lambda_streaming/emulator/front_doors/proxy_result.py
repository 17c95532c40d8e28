"""What a function returns to API Gateway's REST APIs and to load balancers: a status, headers and a body."""

from __future__ import annotations

import base64
import binascii
from typing import TypeAlias

import msgspec

from lambda_streaming.function_url.opening import announces_prelude
from lambda_streaming.function_url.response import MalformedResponse

_Scalar: TypeAlias = str | int | float | bool | None


class ProxyResult(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A result, or the prelude of a streamed one.

    Attributes:
        status_code: a number, or a number as a string.
        headers: one value for each name.
        multi_value_headers: several.
        cookies: `Set-Cookie` values, in a prelude.
        status_description: a status line, for load balancers.
        body: text, or base64.
        is_base64_encoded: which of the two.
    """

    status_code: int | float | str
    headers: dict[str, _Scalar] | None = None
    multi_value_headers: dict[str, list[_Scalar] | None] | None = None
    cookies: list[str] | None = None
    status_description: str | None = None
    body: str | None = None
    is_base64_encoded: bool | None = None

    def merged_headers(self) -> dict[str, list[_Scalar]]:
        """Return the values of each name; a name in both mappings has those of the lists."""
        several = {name: values for name, values in (self.multi_value_headers or {}).items() if values}
        listed = {name.lower() for name in several}
        one = {name: [value] for name, value in (self.headers or {}).items() if name.lower() not in listed}
        return {**one, **several}

    def content(self) -> bytes:
        """Return the body, decoded.

        Raises:
            MalformedResponse: it is said to be base64, and is not.
        """
        text = self.body or ""
        if not self.is_base64_encoded:
            return text.encode()
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise MalformedResponse(f"body is not base64: {error}") from error


def proxy_result(result: bytes) -> ProxyResult:
    """Read a result, or a prelude.

    Raises:
        MalformedResponse: it is not a JSON object with these keys and a `statusCode`.
    """
    try:
        return msgspec.json.decode(result, type=ProxyResult)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedResponse(f"the function's result is not a response: {error}") from error


def check_not_streamed(content_type: str) -> None:
    """Refuse a result that begins with a prelude, where nothing can stream.

    Raises:
        MalformedResponse: it does; the message has the remedy.
    """
    if announces_prelude(content_type):
        raise MalformedResponse(
            "the function streamed it, and this front door takes whole results only; with lambda_streaming, "
            "set LAMBDA_STREAMING_RESPONSE_MODE=buffered"
        )
