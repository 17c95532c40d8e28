"""The oldest safe releases: of Python, and of the libraries that verify tokens and parse requests.

They are the lower bounds in pyproject.toml, and `make test-lower-bounds` tests with exactly these releases.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import msgspec

from coachstream.dated_facts import Provenance


class SecurityFloor(msgspec.Struct, frozen=True, kw_only=True):
    """The oldest safe release of a library, and the source."""

    release: str
    provenance: Provenance


SECURITY_FLOORS: Mapping[str, SecurityFloor] = {
    "pyjwt": SecurityFloor(
        release="2.14",
        provenance=Provenance(
            source="PyJWT's changelog: 2.10.1 (CVE-2024-53861), 2.12 (CVE-2026-32597), "
            "2.13 (GHSA-jq35-7prp-9v3f and others), 2.14 (GHSA-hxm8-2xgr-2p9m and others)",
            looked_up=date(2026, 11, 27),
        ),
    ),
    "cryptography": SecurityFloor(
        release="48.0.1",
        provenance=Provenance(
            source="cryptography's changelog: 46.0.7 (CVE-2026-39892), 48.0.1 (GHSA-537c-gmf6-5ccf)",
            looked_up=date(2026, 11, 27),
        ),
    ),
    "starlette": SecurityFloor(
        release="1.3.1",
        provenance=Provenance(
            source="Starlette's release notes: 0.49.1 (CVE-2025-62727), 1.0.1 (CVE-2026-48710), "
            "1.1.0 (CVE-2026-48817, CVE-2026-48818), 1.3.1 (CVE-2026-54282, CVE-2026-54283)",
            looked_up=date(2026, 11, 27),
        ),
    ),
    "h11": SecurityFloor(
        release="0.16",
        provenance=Provenance(
            source="h11's changelog: 0.16 (CVE-2025-43859)",
            looked_up=date(2026, 11, 27),
        ),
    ),
}

OLDEST_PYTHON = SecurityFloor(
    release="3.11",
    provenance=Provenance(
        source='Python developer guide, "Status of Python versions"; PEP 664',
        looked_up=date(2026, 11, 27),
        ends=date(2027, 10, 31),
    ),
)

DATED_FACTS: Mapping[str, Provenance] = {
    **{
        f"{library} {floor.release} has no known vulnerability": floor.provenance
        for library, floor in SECURITY_FLOORS.items()
    },
    f"Python {OLDEST_PYTHON.release} gets security fixes": OLDEST_PYTHON.provenance,
}
