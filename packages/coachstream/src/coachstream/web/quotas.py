"""What clients learn of quotas: in bodies and frames, and in the header fields of the IETF's draft.

The fields are those of draft-ietf-httpapi-ratelimit-headers-10, of 27 September 2025: lists of structured
fields (RFC 9651), each item the name of a policy, with parameters. `RateLimit-Policy` has the limit (`q`),
the window in seconds (`w`) and the unit (`qu`); `RateLimit` what remains (`r`), and the seconds until it is
reset (`t`). The header of a stream precedes the claim, so there `error` and `complete` have the same values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from coachstream.conversation.model import QuotaLeft
from coachstream.conversation.quotas import WINDOW_S, Quota

_UNITS = {Quota.CONCURRENT_RUNS: "concurrent-requests", Quota.TOKENS_PER_DAY: "tokens"}
"""The units other than requests; `tokens` is not in the draft's registry."""

QUOTA_HEADERS = {
    "Retry-After": "In how many seconds to try again.",
    "RateLimit-Policy": "The limit of the quota that is used up, and its window.",
    "RateLimit": "What remains of it, and in how many seconds it is reset.",
}
"""The header fields of a refusal, with what they mean."""


class QuotaFrame(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What is left of one of the user's quotas.

    `quota` is `concurrent-runs`, `turns-per-minute` or `tokens-per-day`; ignore one that you do not know. All
    of it is back after `resetsIn` seconds, which concurrent runs do not have.
    """

    quota: str
    limit: int
    remaining: int
    resets_in: int | None = None


def quota_frame(left: QuotaLeft) -> QuotaFrame:
    """Convert what is left of a quota to its wire format."""
    return QuotaFrame(left.quota, left.limit, left.remaining, left.reset_s)


def quota_frames(quotas: Iterable[QuotaLeft]) -> tuple[QuotaFrame, ...]:
    """Convert what is left of all quotas."""
    return tuple(map(quota_frame, quotas))


def rate_limit_fields(quotas: Sequence[QuotaLeft]) -> dict[str, str]:
    """The header fields for quotas; none without any."""
    if not quotas:
        return {}
    return {
        "RateLimit-Policy": ", ".join(map(_policy, quotas)),
        "RateLimit": ", ".join(map(_remaining, quotas)),
    }


def _policy(left: QuotaLeft) -> str:
    quota = Quota(left.quota)
    unit = f';qu="{_UNITS[quota]}"' if quota in _UNITS else ""
    window = f";w={WINDOW_S[quota]}" if quota in WINDOW_S else ""
    return f'"{left.quota}";q={left.limit}{unit}{window}'


def _remaining(left: QuotaLeft) -> str:
    reset = "" if left.reset_s is None else f";t={left.reset_s}"
    return f'"{left.quota}";r={left.remaining}{reset}'
