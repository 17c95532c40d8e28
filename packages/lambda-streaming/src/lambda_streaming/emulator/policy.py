"""Every choice of ours about the Runtime API where the real service's behaviour is not documented.

"RIE" is aws/aws-lambda-runtime-interface-emulator, whose single-concurrency part is followed where it speaks.
"""

from __future__ import annotations

from typing import Final

MAX_TRAILER_BYTES: Final = 4096
"""Above this a warning is logged. RIE's HTTP server refuses larger trailer blocks and calls the response
truncated; whether the service does is unknown, so they are read here."""

UNDECLARED_TRAILERS_COUNT: Final = False
"""RIE loses trailers that no `Trailer` header declared, so an error in them would go unseen."""

RESERVED_VARIABLES: Final = frozenset({"AWS_LAMBDA_RUNTIME_API"})
"""Environment variables that a person cannot set. Lambda reserves more; setting those is useful locally."""

SETTLING_S: Final = 0.1
"""How long a request waits for an environment that has answered but not yet asked for the next event, before
it starts another one or is throttled. The service's own slack is unknown."""

ACCOUNT_ID: Final = "123456789012"
"""The account in the function's ARN."""

MAX_EXTENSIONS: Final = 10
"""As in RIE."""
