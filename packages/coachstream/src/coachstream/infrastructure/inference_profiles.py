"""The regions to which Bedrock's geographic inference profiles route calls; needs no CDK."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from coachstream.dated_facts import Provenance

REGIONS: Mapping[str, tuple[str, ...]] = {
    "us": ("us-east-1", "us-east-2", "us-west-2"),
    "us-gov": ("us-gov-east-1", "us-gov-west-1"),
    "eu": ("eu-central-1", "eu-north-1", "eu-south-1", "eu-south-2", "eu-west-1", "eu-west-3"),
    "apac": (
        "ap-northeast-1",
        "ap-northeast-2",
        "ap-northeast-3",
        "ap-south-1",
        "ap-south-2",
        "ap-southeast-1",
        "ap-southeast-2",
    ),
    "jp": ("ap-northeast-1", "ap-northeast-3"),
    "au": ("ap-southeast-2", "ap-southeast-4"),
}
"""The destination regions, by a profile's prefix. A profile that is called from another region of its
geography may use that one as well."""

CONTINENTS: Mapping[str, str] = {"us": "us-", "eu": "eu-", "apac": "ap-"}
"""The prefix of their regions. A profile cannot be called from a region of another of these."""

DATED_FACTS: Mapping[str, Provenance] = {
    f"the regions of Bedrock's {geography} inference profiles": Provenance(
        source='Bedrock user guide, "Supported Regions and models for inference profiles"',
        looked_up=date(2026, 11, 23),
    )
    for geography in REGIONS
}
