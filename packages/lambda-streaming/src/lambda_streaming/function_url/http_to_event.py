"""Converts an HTTP request to an event in payload format 2.0.

Source: Lambda developer guide, "Invoking Lambda function URLs"; recorded events in powertools-lambda-python
(`tests/events/lambdaFunctionUrlEvent*.json`). Keys without a value in the request are absent.
"""

from __future__ import annotations

import base64
import os
import re
import time
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote

import msgspec

from lambda_streaming.function_url import policy, refusals
from lambda_streaming.function_url.invoker import InvocationRequest
from lambda_streaming.function_url.limits import MAX_REQUEST_PAYLOAD_BYTES

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TRACE_ROOT = re.compile(r"(?:^|;)\s*Root=1-[0-9a-f]{8}-[0-9a-f]{24}(?:;|$)")
_SET_BY_SERVICE = frozenset({"x-amzn-trace-id", "x-forwarded-for", "x-forwarded-port", "x-forwarded-proto"})
_DEFAULT_PORTS = {"http": 80, "https": 443}


class HttpRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP request without its body.

    Attributes:
        method: as sent.
        raw_path: undecoded, without the query string; starts with `/`.
        raw_query_string: undecoded, without `?`.
        headers: in order, names in lower case.
        scheme: `http` or `https`.
        http_version: `1.1`.
        client_host: the client's IP address, empty if unknown.
        server_port: the port of the server, if known.
    """

    method: str
    raw_path: str
    raw_query_string: str
    headers: tuple[tuple[str, str], ...]
    scheme: str = "http"
    http_version: str = "1.1"
    client_host: str = ""
    server_port: int | None = None

    def header(self, name: str) -> str | None:
        """Return the value of the first header with that lower-case name."""
        return next((value for key, value in self.headers if key == name), None)


class _HttpContext(msgspec.Struct, frozen=True, rename="camel"):
    method: str
    path: str
    protocol: str
    source_ip: str
    user_agent: str


class _RequestContext(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    account_id: str
    api_id: str
    domain_name: str
    domain_prefix: str
    http: _HttpContext
    request_id: str
    route_key: str = "$default"
    stage: str = "$default"
    time: str
    time_epoch: int


class _Event(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    version: str = "2.0"
    route_key: str = "$default"
    raw_path: str
    raw_query_string: str
    cookies: list[str] | msgspec.UnsetType = msgspec.UNSET
    headers: dict[str, str]
    query_string_parameters: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    request_context: _RequestContext
    body: str | msgspec.UnsetType = msgspec.UNSET
    is_base64_encoded: bool = False


_encoder = msgspec.json.Encoder()


def invocation_request(
    request: HttpRequest,
    body: bytes,
    *,
    url_id: str,
    request_id: str,
    trace_id: str,
    buffered: bool = False,
) -> InvocationRequest:
    """Return the invocation that an HTTP request makes.

    Args:
        request: the head of the request.
        body: its whole body.
        url_id: the Function URL's id, `apiId` in the event.
        request_id: of the invocation.
        trace_id: see `trace_id_of`.
        buffered: see `InvocationRequest`.

    Raises:
        Refused: the event would exceed the size limit.
    """
    payload = payload_2(
        request,
        body,
        account_id="anonymous",
        api_id=url_id,
        domain_prefix=url_id,
        request_id=request_id,
        trace_id=trace_id,
    )
    if len(payload) > MAX_REQUEST_PAYLOAD_BYTES:
        raise refusals.Refused(refusals.REQUEST_TOO_LARGE)
    return InvocationRequest(payload=payload, request_id=request_id, trace_id=trace_id, buffered=buffered)


def payload_2(
    request: HttpRequest,
    body: bytes,
    *,
    account_id: str,
    api_id: str,
    domain_prefix: str,
    request_id: str,
    trace_id: str,
) -> bytes:
    """Return the event in payload format 2.0, as JSON; all but the request is copied into its context."""
    headers: dict[str, str] = {}
    for name, value in delivered_lines(request, trace_id):
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    cookies = [cookie for part in cookie_header(request).split(";") if (cookie := part.strip())]
    content, is_base64 = encoded_body(body, headers.get("content-type", ""))
    now = time.time()
    event = _Event(
        raw_path=request.raw_path,
        raw_query_string=request.raw_query_string,
        cookies=cookies or msgspec.UNSET,
        headers=headers,
        query_string_parameters=_query(request.raw_query_string) or msgspec.UNSET,
        request_context=_RequestContext(
            account_id=account_id,
            api_id=api_id,
            domain_name=host_name(headers.get("host", "")) or "localhost",
            domain_prefix=domain_prefix,
            http=_HttpContext(
                method=request.method,
                path=request.raw_path,
                protocol=f"HTTP/{request.http_version}",
                source_ip=request.client_host,
                user_agent=headers.get("user-agent", ""),
            ),
            request_id=request_id,
            time=common_log_time(now),
            time_epoch=int(now * 1000),
        ),
        body=content if body else msgspec.UNSET,
        is_base64_encoded=is_base64,
    )
    return _encoder.encode(event)


def raw_path_of(target: str) -> str:
    """Return the path of a request target, without its query, in any form of RFC 9112, section 3.2."""
    if target.startswith("/"):
        return target
    _, scheme_separator, rest = target.partition("://")
    if scheme_separator:
        _, slash, path = rest.partition("/")
        return slash + path or "/"
    return "/" if target in ("", "*") else f"/{target}"


def quoted_path(path: str) -> str:
    """Percent-encode a decoded path, for servers that do not provide the raw path."""
    return quote(path, safe="/:@!$&'()*+,;=~")


def host_name(host: str) -> str:
    """Return a Host header's value without its port."""
    name, separator, port = host.rpartition(":")
    return name if separator and port.isdigit() else host


def trace_id_of(request: HttpRequest) -> str:
    """Return the caller's X-Ray header, or a new one: `Root=1-<epoch seconds>-<96 random bits>` in hex."""
    trace_id = request.header("x-amzn-trace-id") or ""
    if _TRACE_ROOT.search(trace_id):
        return trace_id
    return f"Root=1-{int(time.time()):08x}-{os.urandom(12).hex()}"


def delivered_lines(request: HttpRequest, trace_id: str) -> list[tuple[str, str]]:
    """Return the header lines that a function receives, with those of the service but without cookies."""
    lines = [
        (name, value)
        for name, value in request.headers
        if name not in policy.HEADERS_NOT_DELIVERED and name not in _SET_BY_SERVICE
    ]
    forwarded_for = ",".join(value for name, value in request.headers if name == "x-forwarded-for")
    if addresses := ", ".join(filter(None, (forwarded_for, request.client_host))):
        lines.append(("x-forwarded-for", addresses))
    return [
        *lines,
        ("x-forwarded-port", str(_port(request, request.header("host") or ""))),
        ("x-forwarded-proto", request.scheme),
        ("x-amzn-trace-id", trace_id),
    ]


def cookie_header(request: HttpRequest) -> str:
    """Return all cookies as one header's value."""
    return "; ".join(value for name, value in request.headers if name == "cookie")


def _port(request: HttpRequest, host: str) -> int | str:
    _, separator, port = host.rpartition(":")
    if separator and port.isdigit():
        return port
    return request.server_port or _DEFAULT_PORTS.get(request.scheme, 443)


def _query(raw_query_string: str) -> dict[str, str]:
    query: dict[str, str] = {}
    for name, value in parse_qsl(raw_query_string, keep_blank_values=True):
        query[name] = f"{query[name]},{value}" if name in query else value
    return query


def encoded_body(body: bytes, content_type: str) -> tuple[str, bool]:
    """Return the body as it appears in the event, and whether that is base64."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type.startswith("text/") or media_type in policy.TEXT_BODY_TYPES:
        try:
            return body.decode(), False
        except UnicodeDecodeError:
            pass
    return base64.b64encode(body).decode("ascii"), bool(body)


def common_log_time(epoch_s: float) -> str:
    """Return a time as in `requestContext.time`."""
    # Not strftime's %b, which follows the locale.
    at = datetime.fromtimestamp(epoch_s, UTC)
    return f"{at:%d}/{_MONTHS[at.month - 1]}/{at:%Y:%H:%M:%S} +0000"
