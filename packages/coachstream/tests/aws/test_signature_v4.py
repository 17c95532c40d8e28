"""Requests are signed as AWS documents it, and as botocore signs them."""

from __future__ import annotations

import string
from datetime import UTC, datetime
from unittest.mock import patch
from urllib.parse import quote

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.aws.plain_environment import Keys
from coachstream.aws.signature_v4 import RequestSigner

NAMES = st.sampled_from(("Content-Type", "X-Amz-Target", "X-Other", "x-lower"))
VALUES = st.text(string.ascii_letters + string.digits + " ;=,/-_.é", max_size=30).map(str.strip)
PRINTABLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)
SEGMENTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(
    lambda segment: segment not in {".", ".."}
)
TIMES = st.datetimes(datetime(2020, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def signed_by_botocore(
    keys: Keys, service: str, region: str, path: str, headers: dict[str, str], body: bytes, at: datetime
) -> dict[str, str]:
    request = AWSRequest(method="POST", url=f"https://{headers['Host']}{path}", data=body, headers=headers)
    with patch("botocore.auth.get_current_datetime", lambda: at):
        SigV4Auth(keys, service, region).add_auth(request)  # type: ignore[arg-type]
    return dict(request.headers.items())


def test_the_example_of_the_documentation_has_its_signature() -> None:
    """`post-vanilla` of the test suite that AWS published for implementers."""
    keys = Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    at = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
    headers = RequestSigner(keys, "service", "us-east-1").signed(
        "POST", "/", {"Host": "example.amazonaws.com"}, b"", at=at
    )
    assert headers["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        "SignedHeaders=host;x-amz-date, "
        "Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
    )


@given(
    keys=st.builds(Keys, PRINTABLE, PRINTABLE, st.none() | PRINTABLE),
    segments=st.lists(SEGMENTS, max_size=3),
    headers=st.dictionaries(NAMES, VALUES),
    body=st.binary(max_size=200),
    times=st.lists(TIMES, min_size=1, max_size=3),
)
def test_signatures_are_those_of_botocore(
    keys: Keys, segments: list[str], headers: dict[str, str], body: bytes, times: list[datetime]
) -> None:
    """Of one signer on several days; model ids are percent-encoded in paths."""
    signer = RequestSigner(keys, "bedrock", "eu-central-1")
    path = "/" + "/".join(quote(segment, safe="-._~") for segment in segments)
    whole = {"Host": "bedrock-runtime.eu-central-1.amazonaws.com", **headers}
    for at in times:
        expected = signed_by_botocore(keys, "bedrock", "eu-central-1", path, whole, body, at)
        assert signer.signed("POST", path, whole, body, at=at) == expected
