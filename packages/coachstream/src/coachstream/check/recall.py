"""Recall: does search work?"""

from __future__ import annotations

from http import HTTPStatus

from coachstream.check.report import Check, Trouble
from coachstream.check.secrets import secret_can_be_read
from coachstream.check.store import database_opens
from coachstream.conversation.errors import StorageUnavailable
from coachstream.extras import missing_pinecone
from coachstream.services import Services, pinecone_options
from coachstream.settings import PineconeSettings, RecallOff, SecretArn, SqliteRecallSettings


def recall_check(services: Services, *, within_s: float) -> Check:
    """Return the configuration and its checks."""
    match services.settings.recall:
        case RecallOff(is_key_missing=is_key_missing):
            return Check(
                part="recall",
                choice="pinecone" if is_key_missing else "off",
                facts={"API key": "not set"} if is_key_missing else {},
                off="PINECONE_API_KEY is not set." if is_key_missing else "It is not configured.",
                remedy="Set PINECONE_API_KEY, or PINECONE_API_KEY_SECRET_ARN, and PINECONE_INDEX_HOST."
                if is_key_missing
                else None,
            )
        case SqliteRecallSettings() as file:
            return Check(
                part="recall",
                choice=file.kind,
                facts={"file": str(file.path)},
                connect=lambda: database_opens(file.path),
                look=lambda: database_opens(file.path),
            )
        case PineconeSettings() as index:
            return Check(
                part="recall",
                choice=index.kind,
                facts={
                    "index host": index.index_host,
                    "API key": index.api_key.arn if isinstance(index.api_key, SecretArn) else "set",
                    "reranking": index.rerank_model or "off",
                    "timeout": f"{index.timeout_s:g} s",
                },
                connect=lambda: _search(services, index, within_s),
            )


async def _search(services: Services, index: PineconeSettings, within_s: float) -> str:
    """Search as a turn does, for a user who does not exist, with the check's longer timeout."""
    if (missing := missing_pinecone()) is not None:
        raise Trouble(missing.problem, missing.remedy)
    if isinstance(index.api_key, SecretArn):
        await secret_can_be_read(services, index.api_key.arn, "PINECONE_API_KEY_SECRET_ARN")
    import msgspec

    from coachstream.recall.pinecone import PineconeRecall

    options = pinecone_options(index, services.read_api_key)
    recall = PineconeRecall(msgspec.structs.replace(options, timeout_s=within_s))
    try:
        await recall.search("coachstream-check", "check", limit=1)
    except StorageUnavailable as error:
        raise Trouble(f"The index cannot be searched: {error}.", _remedy(error)) from error
    finally:
        await recall.aclose()
    return "The index can be searched."


def _remedy(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        match getattr(cause, "status_code", None):
            case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
                return "Does PINECONE_API_KEY belong to the project of the index?"
            case HTTPStatus.NOT_FOUND:
                return "Is PINECONE_INDEX_HOST the host shown in the console for the index?"
            case HTTPStatus.BAD_REQUEST:
                return "The index must have integrated embedding for the field `text`."
        cause = cause.__cause__
    return "Check PINECONE_INDEX_HOST and the network."
