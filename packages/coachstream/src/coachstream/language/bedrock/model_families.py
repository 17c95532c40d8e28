"""What each model family on Bedrock accepts, and its lifecycle: dated facts with their sources.

A family is found by its name, which is a model or profile id without region, provider, date and version. A
model that is not listed gets `UNKNOWN`: its requests use only what every model accepts, and a parameter that
it still rejects is omitted after the first rejection (`parameters`). So a new model works before it has a
row.

The lifecycle is Bedrock's; the providers' own APIs have other dates. `coachstream check` queries Bedrock
itself, and falls back to these rows if it lacks the permission.
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache

import msgspec

from coachstream.dated_facts import Provenance


class ModelFamily(msgspec.Struct, frozen=True, kw_only=True):
    """A model family.

    Attributes:
        name: as returned by `name_of`.
        takes_temperature: whether a request may have a temperature.
        takes_prefill: whether a request may end with a partial reply for the model to continue.
        cached_from_tokens: the minimum length of a cached prompt prefix; None if cache points are rejected.
        uses_tools: whether a request may offer tools.
        sees_images: whether a message may include an image.
        legacy_from: when the model entered, or will enter, the state Legacy.
        end_of_life: the day from which every call is rejected.
        provenance: the sources of these facts.
    """

    name: str
    takes_temperature: bool = True
    takes_prefill: bool = False
    cached_from_tokens: int | None = None
    uses_tools: bool = False
    sees_images: bool = False
    legacy_from: date | None = None
    end_of_life: date | None = None
    provenance: Provenance


_LOOKED_UP = date(2026, 11, 27)
_CACHING = (
    "Bedrock user guide, 'Prompt caching for faster model inference'; Anthropic, 'Prompt caching', minimum "
    "lengths"
)
_PREFILL = "Anthropic, 'Migration guide', 'Prefill removal': from 4.6 on"
_NO_SAMPLING = "Anthropic, 'Migration guide': sampling parameters are refused from Opus 4.7 and Sonnet 5 on"
_LIFECYCLE = "Bedrock user guide, 'Model lifecycle (Legacy)'"


def _from(*sources: str) -> Provenance:
    return Provenance(source="; ".join(sources), looked_up=_LOOKED_UP)


_CLAUDE = (
    ModelFamily(
        name="claude-3-haiku",
        takes_prefill=True,
        uses_tools=True,
        sees_images=True,
        end_of_life=date(2026, 9, 10),
        provenance=_from(_CACHING, _PREFILL, _LIFECYCLE, "github.com/awslabs/startups, pull request 131"),
    ),
    ModelFamily(
        name="claude-3-sonnet",
        takes_prefill=True,
        uses_tools=True,
        sees_images=True,
        legacy_from=date(2026, 1, 30),
        end_of_life=date(2026, 7, 30),
        provenance=_from(_CACHING, _PREFILL, _LIFECYCLE, "github.com/BerriAI/litellm, pull request 28704"),
    ),
    ModelFamily(
        name="claude-3-5-haiku",
        takes_prefill=True,
        cached_from_tokens=2048,
        uses_tools=True,
        legacy_from=date(2025, 12, 19),
        end_of_life=date(2026, 6, 19),
        provenance=_from(_CACHING, _PREFILL, _LIFECYCLE, "github.com/BerriAI/litellm, pull request 28704"),
    ),
    ModelFamily(
        name="claude-3-5-sonnet",
        takes_prefill=True,
        uses_tools=True,
        sees_images=True,
        end_of_life=date(2026, 7, 30),
        provenance=_from(_CACHING, _PREFILL, _LIFECYCLE, "github.com/awslabs/startups, pull request 131"),
    ),
    ModelFamily(
        name="claude-3-7-sonnet",
        takes_prefill=True,
        cached_from_tokens=1024,
        uses_tools=True,
        sees_images=True,
        end_of_life=date(2026, 4, 28),
        provenance=_from(_CACHING, _PREFILL, "github.com/BerriAI/litellm, pull request 26721"),
    ),
    ModelFamily(
        name="claude-opus-4",
        takes_prefill=True,
        cached_from_tokens=1024,
        uses_tools=True,
        sees_images=True,
        end_of_life=date(2026, 5, 31),
        provenance=_from(_CACHING, _PREFILL, "github.com/awslabs/startups, pull request 10"),
    ),
    ModelFamily(
        name="claude-sonnet-4",
        takes_prefill=True,
        cached_from_tokens=1024,
        uses_tools=True,
        sees_images=True,
        legacy_from=date(2026, 4, 14),
        end_of_life=date(2026, 10, 14),
        provenance=_from(
            _CACHING,
            _PREFILL,
            "github.com/browser-use/browser-use, pull request 5448: an account that has not called it for 30 "
            "days is refused with 404 in the state Legacy already",
        ),
    ),
    ModelFamily(
        name="claude-opus-4-1",
        takes_prefill=True,
        cached_from_tokens=1024,
        uses_tools=True,
        sees_images=True,
        legacy_from=date(2026, 7, 8),
        end_of_life=date(2027, 1, 8),
        provenance=_from(_CACHING, _PREFILL, "github.com/anomalyco/models.dev, pull request 3708"),
    ),
    ModelFamily(
        name="claude-sonnet-4-5",
        takes_prefill=True,
        cached_from_tokens=1024,
        uses_tools=True,
        sees_images=True,
        provenance=_from(
            _CACHING,
            _PREFILL,
            "an older page of Anthropic's says that it refuses a prefill; reports of its use on Bedrock say "
            "that it does not. Anthropic's own API retires it on 2026-11-30; no date of Bedrock's was found",
        ),
    ),
    ModelFamily(
        name="claude-haiku-4-5",
        takes_prefill=True,
        cached_from_tokens=4096,
        uses_tools=True,
        sees_images=True,
        provenance=_from(_CACHING, _PREFILL),
    ),
    ModelFamily(
        name="claude-opus-4-5",
        takes_prefill=True,
        cached_from_tokens=4096,
        uses_tools=True,
        sees_images=True,
        provenance=_from(_CACHING, _PREFILL),
    ),
    ModelFamily(
        name="claude-opus-4-6",
        cached_from_tokens=4096,
        uses_tools=True,
        sees_images=True,
        provenance=_from(_CACHING, _PREFILL, "github.com/anomalyco/opencode, issue 29760"),
    ),
    ModelFamily(
        name="claude-sonnet-4-6",
        cached_from_tokens=1024,
        uses_tools=True,
        sees_images=True,
        provenance=_from(
            _CACHING,
            _PREFILL,
            "github.com/browser-use/browser-use, pull request 5448: Active without a date; temperature taken",
        ),
    ),
    ModelFamily(
        name="claude-opus-4-7",
        takes_temperature=False,
        cached_from_tokens=2048,
        uses_tools=True,
        sees_images=True,
        provenance=_from(_CACHING, _PREFILL, _NO_SAMPLING, "github.com/openclaw/openclaw, issue 73663"),
    ),
    ModelFamily(
        name="claude-opus-4-8",
        takes_temperature=False,
        cached_from_tokens=1024,
        uses_tools=True,
        sees_images=True,
        provenance=_from(
            _CACHING, _PREFILL, _NO_SAMPLING, "github.com/NousResearch/hermes-agent, issue 36151"
        ),
    ),
    ModelFamily(
        name="claude-opus-5",
        takes_temperature=False,
        cached_from_tokens=512,
        uses_tools=True,
        sees_images=True,
        provenance=_from(_CACHING, _PREFILL, _NO_SAMPLING, "github.com/promptfoo/promptfoo, issue 10307"),
    ),
    ModelFamily(
        name="claude-sonnet-5",
        takes_temperature=False,
        cached_from_tokens=1024,
        uses_tools=True,
        sees_images=True,
        provenance=_from(
            _CACHING,
            _PREFILL,
            f"{_NO_SAMPLING}, unless they have their defaults",
            "whether Converse has it is reported both ways: github.com/danny-avila/LibreChat, pull request "
            "14042, and github.com/promptfoo/promptfoo, pull request 9924",
        ),
    ),
)

_NOVA_GUIDE = "Amazon Nova user guide, 'Using the Converse API' and 'Prompt caching'; no source for a prefill"
_NOVA = (
    ModelFamily(
        name="nova-micro", cached_from_tokens=1000, uses_tools=True, provenance=_from(_CACHING, _NOVA_GUIDE)
    ),
    ModelFamily(
        name="nova-lite",
        cached_from_tokens=1000,
        uses_tools=True,
        sees_images=True,
        provenance=_from(_CACHING, _NOVA_GUIDE),
    ),
    ModelFamily(
        name="nova-pro",
        cached_from_tokens=1000,
        uses_tools=True,
        sees_images=True,
        provenance=_from(_CACHING, _NOVA_GUIDE),
    ),
    ModelFamily(
        name="nova-premier",
        cached_from_tokens=1000,
        uses_tools=True,
        sees_images=True,
        end_of_life=date(2026, 9, 14),
        provenance=_from(_CACHING, _NOVA_GUIDE, "github.com/strands-agents/samples, pull request 299"),
    ),
    ModelFamily(
        name="nova-2-lite",
        cached_from_tokens=1000,
        uses_tools=True,
        sees_images=True,
        provenance=_from(
            _CACHING,
            _NOVA_GUIDE,
            "its profiles, and that it can be made to use a tool: github.com/spring-projects/spring-ai, "
            "issue 2752",
        ),
    ),
)

MODELS = (*_CLAUDE, *_NOVA)
"""All known families."""

UNKNOWN = ModelFamily(
    name="", provenance=_from("no source: what every model accepts, except for a temperature, which most do")
)
"""The family of every model that is not listed."""

DATED_FACTS = {family.name: family.provenance for family in MODELS}

_BY_NAME = {family.name: family for family in MODELS}

_REGIONS_AND_MAKER = re.compile(r"^(?:.*/)?(?:(?:[a-z]+(?:-[a-z]+)?\.)?[a-z0-9]+\.)?")
_DATE_AND_VERSION = re.compile(r"(?:-\d{8})?(?:-v\d+(?::[0-9a-z]+)*)?$")


@lru_cache(maxsize=16)
def name_of(model_id: str) -> str:
    """A model's name without region, provider, date and version: `claude-sonnet-4-6`."""
    name = _REGIONS_AND_MAKER.sub("", model_id)
    return _DATE_AND_VERSION.sub("", name) or model_id


def family_of(model_id: str) -> ModelFamily:
    """The family of a model id, a profile id or an ARN; `UNKNOWN` if it is not listed."""
    return _BY_NAME.get(name_of(model_id), UNKNOWN)
