"""Converts events of API Gateway REST APIs, which can also stream, to payload format 2.0.

Source: API Gateway developer guide, "Input format of a Lambda function for proxy integration".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import quote, urlencode

_PATH_CHARACTERS = "/:@!$&'()*+,;=-._~%"


def payload_2_of(event: Mapping[object, object]) -> Mapping[object, object]:
    """Return the same request in payload format 2.0.

    Several values of one name are joined as in format 2.0. Query values arrive decoded and are encoded
    again, grouped by name; the path is kept, without the stage.
    """
    headers = {name: ",".join(values) for name, values in _values(event, "multiValueHeaders", "headers")}
    query = list(_values(event, "multiValueQueryStringParameters", "queryStringParameters"))
    cookies = next((value for name, value in headers.items() if name.lower() == "cookie"), "")
    context = _mapping(event, "requestContext")
    identity = _mapping(context, "identity")
    return {
        "version": "2.0",
        "rawPath": quote(str(event.get("path") or "/"), safe=_PATH_CHARACTERS),
        "rawQueryString": urlencode([(name, value) for name, values in query for value in values]),
        "queryStringParameters": {name: ",".join(values) for name, values in query},
        "headers": {name: value for name, value in headers.items() if name.lower() != "cookie"},
        "cookies": [cookie for part in cookies.split(";") if (cookie := part.strip())],
        "requestContext": {
            "http": {
                "method": event["httpMethod"],
                "sourceIp": identity.get("sourceIp"),
                "userAgent": identity.get("userAgent"),
            },
            "requestId": context.get("requestId"),
        },
        "body": event.get("body"),
        "isBase64Encoded": event.get("isBase64Encoded"),
    }


def _values(event: Mapping[object, object], several: str, one: str) -> Iterator[tuple[str, list[str]]]:
    """Yield every name with its values, from the single-value mapping if there is no other."""
    for name, value in (_mapping(event, several) or _mapping(event, one)).items():
        values = value if isinstance(value, list) else [value]
        if isinstance(name, str):
            yield name, [each for each in values if isinstance(each, str)]


def _mapping(parent: Mapping[object, object], key: str) -> Mapping[object, object]:
    value = parent.get(key)
    return value if isinstance(value, Mapping) else {}
