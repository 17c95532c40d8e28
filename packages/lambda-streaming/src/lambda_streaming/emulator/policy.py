"""Our choices about the Runtime API where the real service's behaviour is not documented.

"RIE" is aws/aws-lambda-runtime-interface-emulator; we follow its single-concurrency mode where it applies.
"""

from __future__ import annotations

from typing import Final

MAX_TRAILER_BYTES: Final = 4096
"""Larger trailer blocks are logged as a warning. RIE's HTTP server refuses them and reports the response as
truncated; whether the service does is unknown, so they are accepted here."""

UNDECLARED_TRAILERS_COUNT: Final = False
"""RIE drops trailers that no `Trailer` header declares, so an error in them would go unnoticed."""

RESERVED_VARIABLES: Final = frozenset({"AWS_LAMBDA_RUNTIME_API"})
"""Environment variables that users cannot set. Lambda reserves more; setting those is useful locally."""

SETTLING_S: Final = 0.1
"""`ExecutionEnvironments.settling_s`. The service's own delay is unknown."""

ACCOUNT_ID: Final = "123456789012"
"""The account in the function's ARN."""

URL_ID: Final = "local"
"""`apiId` in the events of the Function URL."""

API_ID: Final = "local0apis"
"""`apiId` in the events of API Gateway; no host name begins with it, as under a domain of the API's own."""

STAGE: Final = "local"
"""The stage of REST APIs. It is not in the path, as under a domain of its own."""

MAX_EXTENSIONS: Final = 10
"""As in RIE."""
