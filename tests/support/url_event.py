"""An event as a Function URL sends it (Lambda developer guide, "Invoking Lambda function URLs")."""

from __future__ import annotations

import time
from typing import Any

_DOMAIN = "abcdefghij.lambda-url.eu-west-1.on.aws"


def url_event(path: str = "/", **headers: str) -> dict[str, Any]:
    """Return the event of a GET request; `user_agent="x"` sends the header `user-agent: x`."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"host": _DOMAIN, "x-forwarded-proto": "https", "x-forwarded-port": "443", **sent},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "abcdefghij",
            "domainName": _DOMAIN,
            "domainPrefix": "abcdefghij",
            "http": {
                "method": "GET",
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.9",
                "userAgent": sent.get("user-agent", "curl/8"),
            },
            "requestId": "4d0a4ae5-5f2e-4bb2-8e2f-7d0c5c3c1a2b",
            "routeKey": "$default",
            "stage": "$default",
            "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime()),
            "timeEpoch": time.time_ns() // 1_000_000,
        },
        "isBase64Encoded": False,
    }
