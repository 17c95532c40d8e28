"""The composition root: the only place that creates adapters from settings. `turns` uses them.

It is built once per process, on the event loop that uses it. Each adapter is created at its first use, so
that requests that do not need it pay nothing for its import and setup, and others pay only after the first
byte.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import cached_property, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import msgspec

from coachstream.observability.logs import set_up_logging
from coachstream.settings import (
    BedrockSettings,
    CognitoSettings,
    DemoModelSettings,
    DynamoDbSettings,
    GuardrailMode,
    LocalIssuerSettings,
    LocalTicketKey,
    PineconeSettings,
    RecallOff,
    Secret,
    SecretArn,
    Settings,
    SettingsError,
    SqliteRecallSettings,
    SqliteStoreSettings,
    unknown_variables,
)
from coachstream.settings.invocation import LONGEST_INVOCATION_S
from coachstream.settings.variables import JWKS_FILE

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine
    from pathlib import Path

    from types_aiobotocore_bedrock_runtime.client import BedrockRuntimeClient
    from types_aiobotocore_dynamodb.client import DynamoDBClient
    from types_aiobotocore_lambda.client import LambdaClient

    from coachstream.aws.bedrock_runtime import BedrockRequests
    from coachstream.aws.clients import AwsClient, AwsSession
    from coachstream.aws.dynamodb import DynamoDbRequests
    from coachstream.aws.secrets import Secrets
    from coachstream.conversation.ports import (
        ChatModel,
        Clock,
        CoachDirectory,
        ContextStore,
        ConversationStore,
        MemoryStore,
        MessageAnalyser,
        SemanticMemory,
        Summarizer,
        SummaryBuilder,
        TitleBuilder,
        TokenVerifier,
        WorkoutBuilder,
    )
    from coachstream.conversation.run_store import RunStore
    from coachstream.conversation.turn.post_turn import PostTurn
    from coachstream.conversation.turn.settings import TurnSettings
    from coachstream.conversation.user_data import UserDataStore
    from coachstream.hand_off.post_turn import LambdaPostTurn, LocalPostTurn
    from coachstream.hand_off.training_log import WorkoutStore
    from coachstream.identity.ticket_keys import TicketKey
    from coachstream.identity.tickets import Tickets
    from coachstream.language.bedrock import BedrockOptions, RefusedParameters
    from coachstream.recall.pinecone import PineconeOptions

    class AnyStore(
        RunStore,
        ContextStore,
        ConversationStore,
        MemoryStore,
        CoachDirectory,
        UserDataStore,
        WorkoutStore,
        Protocol,
    ):
        """One store is all of them."""


class ReadApiKeyOf(Protocol):
    """`Services.read_api_key`."""

    def __call__(self, arn: str, *, instead_of: str | None = None) -> Coroutine[Any, Any, str]:
        """Read the key stored under an ARN."""


@runtime_checkable
class Closeable(Protocol):
    """An adapter that must be closed."""

    async def aclose(self) -> None:
        """Close it."""


_MODEL_CONNECTIONS = 1000
"""The maximum number of concurrent replies in one process, each on its own connection."""

STORE_ATTEMPTS = 3

_SHARE_FOR_CONNECTING = 0.4
"""The share of an attempt's time for connecting: it takes a few round trips, or fails."""

_FILE_TIMEOUT_S = 5.0

_HAND_OFF_ATTEMPTS = 2
"""More attempts would rather start a function twice than finally reach it."""
_HAND_OFF_TIMEOUT_S = 5.0

_CLOSED_LAST_TO_FIRST = (
    "secrets",
    "functions",
    "fallback_bedrock_runtime",
    "bedrock_runtime",
    "dynamodb",
    "recall",
    "store",
    "local_post_turn",
)
"""Services that may need closing. The last is closed first: each before those it depends on."""

_CALLED_IN_EVERY_TURN = ("dynamodb", "bedrock-runtime")

_OF_EVERY_TURN = (
    "coachstream.conversation.turn.reader_queue",
    "coachstream.conversation.turn.turn",
    "jwt.algorithms",
)
"""Modules that every turn needs, whatever the settings, and that are imported where they are used."""

logger = logging.getLogger("coachstream.services")


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The current time, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds; the scale of `FunctionUrlEvent.deadline`."""
        return time.monotonic()


class Services:
    """The adapters of one process; has no user data.

    Tests replace adapters by assigning to the attributes.

    Attributes:
        running_turns: the number of turns that run in this process (`Turns.admitted`).
    """

    def __init__(self, settings: Settings) -> None:
        """Store the settings; open nothing yet."""
        self.settings = settings
        self.running_turns = 0

    @cached_property
    def clock(self) -> Clock:
        """The clock."""
        return SystemClock()

    @cached_property
    def verifier(self) -> TokenVerifier:
        """Verifies the token of every request, before anything else."""
        match self.settings.identity:
            case LocalIssuerSettings() as local:
                from coachstream.identity.local_issuer import local_verifier

                return local_verifier(local.data_dir)
            case CognitoSettings() as pool:
                from coachstream.identity.cognito import cognito_verifier

                return cognito_verifier(
                    pool.region,
                    pool.user_pool_id,
                    pool.client_ids,
                    endpoint_url=pool.endpoint_url,
                    packaged_keys=pool.jwks_file,
                )

    @cached_property
    def tickets(self) -> Tickets:
        """Issues and verifies the tickets with which an `EventSource` reads a run."""
        from coachstream.identity.tickets import Tickets

        return Tickets(self._ticket_key(), now=self.clock.now)

    @cached_property
    def store(self) -> AnyStore:
        """The store for conversations and prompt context."""
        match self.settings.store:
            case SqliteStoreSettings() as file:
                from coachstream.storage.sqlite import SqliteStore

                return SqliteStore(file.path)
            case DynamoDbSettings() as table:
                from coachstream.storage.dynamodb import DynamoDbStore

                return DynamoDbStore(
                    self.dynamodb,
                    table.table,
                    mirror_messages=table.mirror_messages,
                    on_mirror_stop=self._count_mirror_stop,
                )

    async def _count_mirror_stop(self) -> None:
        namespace = self.settings.logs.metrics_namespace
        if namespace is not None:
            # In a thread, because it may be the first metric of the process, and import the library.
            await asyncio.to_thread(_count_mirror_stop, namespace)

    @cached_property
    def recall(self) -> SemanticMemory | None:
        """The semantic search backend; None if it is switched off."""
        match self.settings.recall:
            case SqliteRecallSettings() as file:
                from coachstream.recall.sqlite import SqliteRecall

                return SqliteRecall(file.path)
            case PineconeSettings() as index:
                from coachstream.recall.pinecone import PineconeRecall

                return PineconeRecall(pinecone_options(index, self.read_api_key))
            case RecallOff(is_key_missing=is_key_missing):
                if is_key_missing:
                    logger.warning("Recall is off: PINECONE_API_KEY is not set.")
                return None

    @cached_property
    def model(self) -> ChatModel:
        """The model that writes the replies."""
        match self.settings.model:
            case DemoModelSettings() as demo:
                from coachstream.language.demo import DemoModel

                return DemoModel(delay_s=demo.delay_s)
            case BedrockSettings() as bedrock:
                from coachstream.language.bedrock import BedrockModel

                return BedrockModel(
                    self.bedrock_runtime,
                    bedrock_options(bedrock),
                    refused=self._refused_parameters,
                    monotonic=self.clock.monotonic,
                )

    @cached_property
    def fallback_model(self) -> ChatModel:
        """The model that continues if the first one fails; the same one, unless another is configured."""
        bedrock = self.settings.model
        if not isinstance(bedrock, BedrockSettings) or bedrock.fallback is None:
            return self.model
        from coachstream.language.bedrock import BedrockModel

        return BedrockModel(
            self.fallback_bedrock_runtime,
            fallback_options(bedrock),
            refused=self._refused_parameters,
            monotonic=self.clock.monotonic,
        )

    @cached_property
    def whole_reply_model(self) -> ChatModel:
        """The model that writes the replies that are not streamed."""
        bedrock = self.settings.model
        if not isinstance(bedrock, BedrockSettings):
            return self.model
        from coachstream.language.bedrock import BedrockWholeReply

        return BedrockWholeReply(
            self.bedrock_runtime,
            bedrock_options(bedrock),
            refused=self._refused_parameters,
            monotonic=self.clock.monotonic,
        )

    @cached_property
    def _refused_parameters(self) -> RefusedParameters:
        """The rejected parameters, shared by all adapters of a model."""
        from coachstream.language.bedrock import RefusedParameters

        return RefusedParameters()

    @cached_property
    def analyser(self) -> MessageAnalyser | None:
        """Finds out what messages ask for besides a reply; None if that is switched off."""
        match self.settings.model:
            case BedrockSettings(analysis_model=str() as model_id):
                from coachstream.language.bedrock.analysis import BedrockAnalyser

                return BedrockAnalyser(self.bedrock_runtime, model_id)
            case DemoModelSettings():
                from coachstream.language.demo.analysis import RuleAnalyser

                return RuleAnalyser()
            case _:
                return None

    @cached_property
    def workout_builder(self) -> WorkoutBuilder | None:
        """Hands off workouts; None if no function is configured. A store on this machine logs them itself."""
        function = self.settings.hand_offs.workout_function
        if function is None and isinstance(self.settings.store, SqliteStoreSettings):
            from coachstream.hand_off.training_log import TrainingLog

            return TrainingLog(self.store)
        if function is None:
            return None
        from coachstream.hand_off.lambda_functions import LambdaWorkoutBuilder

        return LambdaWorkoutBuilder(self.functions, function)

    @cached_property
    def summary_builder(self) -> SummaryBuilder | None:
        """Has conversations summarized: by the existing system's function, else like titles."""
        function = self.settings.hand_offs.summary_function
        if function is None:
            return self._post_turn_builder
        from coachstream.hand_off.lambda_functions import LambdaSummaryBuilder

        return LambdaSummaryBuilder(self.functions, function)

    @cached_property
    def title_builder(self) -> TitleBuilder | None:
        """Has titles written; None if nothing does."""
        return self._post_turn_builder

    @cached_property
    def _post_turn_builder(self) -> LambdaPostTurn | LocalPostTurn | None:
        """The function of our own, if configured. Else, with a store on this machine, this process itself."""
        function = self.settings.hand_offs.post_turn_function
        if function is not None:
            from coachstream.hand_off.post_turn import LambdaPostTurn

            return LambdaPostTurn(self.functions, function)
        return self.local_post_turn

    @cached_property
    def local_post_turn(self) -> LocalPostTurn | None:
        """Writes summaries and titles in this process; None with a store that others share."""
        if not isinstance(self.settings.store, SqliteStoreSettings):
            return None
        from coachstream.hand_off.post_turn import LocalPostTurn

        return LocalPostTurn(self.post_turn.process)

    @cached_property
    def post_turn(self) -> PostTurn:
        """Writes summaries and titles."""
        from coachstream.conversation.turn.post_turn import PostTurn

        return PostTurn(self.store, self.summarizer, self.recall, self.clock)

    @cached_property
    def summarizer(self) -> Summarizer:
        """What writes them: a small model, or rules."""
        match self.settings.model:
            case BedrockSettings() as bedrock:
                from coachstream.language.bedrock.summarizer import BedrockSummarizer

                return BedrockSummarizer(self.bedrock_runtime, bedrock.summary_model)
            case DemoModelSettings():
                from coachstream.language.demo.summarizer import RuleSummarizer

                return RuleSummarizer()

    async def finish_local_work(self) -> None:
        """Wait for what a turn has started in this process; call it once its response is complete.

        Otherwise the process would freeze with it, as between two invocations of a function.
        """
        started = vars(self).get("local_post_turn")
        if started is not None:
            await started.finish()

    @cached_property
    def aws(self) -> AwsSession:
        """The credentials and service models that all AWS clients share."""
        from coachstream.aws.clients import AwsSession

        return AwsSession()

    @cached_property
    def dynamodb(self) -> AwsClient[DynamoDBClient | DynamoDbRequests]:
        """The DynamoDB client."""
        from coachstream.aws.clients import Connection

        timeout_s = self.store_timeout_s
        return self.aws.dynamodb_requests(
            Connection(
                region=self.settings.region,
                connect_timeout_s=_SHARE_FOR_CONNECTING * timeout_s,
                read_timeout_s=timeout_s,
                validates=False,
                by_sdk=self.settings.aws_sdk_calls,
            )
        )

    @property
    def store_timeout_s(self) -> float:
        """The timeout in seconds of one of the `STORE_ATTEMPTS` attempts at a request to the store."""
        store = self.settings.store
        return store.timeout_s if isinstance(store, DynamoDbSettings) else _FILE_TIMEOUT_S

    @cached_property
    def bedrock_runtime(self) -> AwsClient[BedrockRuntimeClient | BedrockRequests]:
        """The Bedrock client, without retries and with a long read timeout: the adapter controls both."""
        model = self.settings.model
        return self._bedrock_runtime_in(model.region if isinstance(model, BedrockSettings) else None)

    @cached_property
    def fallback_bedrock_runtime(self) -> AwsClient[BedrockRuntimeClient | BedrockRequests]:
        """The fallback model's client; the model's own, unless another region is configured."""
        model = self.settings.model
        fallback = model.fallback if isinstance(model, BedrockSettings) else None
        if fallback is None or fallback.region is None:
            return self.bedrock_runtime
        return self._bedrock_runtime_in(fallback.region)

    @property
    def _calls_bedrock_by_sdk(self) -> bool:
        model = self.settings.model
        return self.settings.aws_sdk_calls or (isinstance(model, BedrockSettings) and model.sdk_decoder)

    def _bedrock_runtime_in(self, region: str | None) -> AwsClient[BedrockRuntimeClient | BedrockRequests]:
        from coachstream.aws.clients import Connection

        return self.aws.bedrock_requests(
            Connection(
                region=region or self.settings.region,
                # The longest silence of a model that a client can wait for.
                read_timeout_s=LONGEST_INVOCATION_S,
                connections=_MODEL_CONNECTIONS,
                by_sdk=self._calls_bedrock_by_sdk,
            )
        )

    @cached_property
    def secrets(self) -> Secrets:
        """The reader of secrets in Secrets Manager."""
        from coachstream.aws.secrets import Secrets

        return Secrets(self.aws)

    async def read_api_key(self, arn: str, *, instead_of: str | None = None) -> str:
        """Read Pinecone's key from Secrets Manager; `instead_of` is one that Pinecone rejected.

        Raises:
            StorageUnavailable: the key cannot be read.
        """
        from coachstream.aws.secrets import SecretUnavailable
        from coachstream.conversation.errors import StorageUnavailable
        from coachstream.recall.pinecone.errors import ApiKeyCredentials

        try:
            return await self.secrets.read(arn, instead_of=instead_of)
        except SecretUnavailable as error:
            kind = StorageUnavailable if error.credentials is None else ApiKeyCredentials
            raise kind(str(error), remedy=error.remedy) from error

    async def _read_ticket_key(self, arn: str, *, instead_of: bytes | None = None) -> bytes:
        from coachstream.aws.secrets import SecretUnavailable
        from coachstream.identity.keys import KeyCredentials, KeysUnavailable

        try:
            rejected = None if instead_of is None else instead_of.decode()
            return (await self.secrets.read(arn, instead_of=rejected)).encode()
        except SecretUnavailable as error:
            kind = KeysUnavailable if error.credentials is None else KeyCredentials
            raise kind(str(error), remedy=error.remedy) from error

    def _ticket_key(self) -> TicketKey | None:
        from coachstream.identity.ticket_keys import LocalKey, fixed_key

        match self.settings.ticket_key:
            case Secret() as key:
                return fixed_key(key.reveal().encode())
            case SecretArn(arn=arn):
                return partial(self._read_ticket_key, arn)
            case LocalTicketKey(data_dir=data_dir):
                return LocalKey(data_dir)
            case None:
                return None

    @cached_property
    def functions(self) -> AwsClient[LambdaClient]:
        """The client that invokes the hand-off functions."""
        from coachstream.aws.clients import Connection

        return self.aws.functions(
            Connection(
                region=self.settings.region,
                attempts=_HAND_OFF_ATTEMPTS,
                read_timeout_s=_HAND_OFF_TIMEOUT_S,
            )
        )

    @cached_property
    def turn_settings(self) -> TurnSettings:
        """The settings of turns."""
        from coachstream.conversation.quotas import QuotaLimits
        from coachstream.conversation.runs.settings import RunSettings
        from coachstream.conversation.turn.settings import ContextLimits, TurnSettings

        settings = self.settings
        return TurnSettings(
            history_budget_chars=settings.history_budget_chars,
            contextual_events=settings.contextual_events,
            time_zone=settings.time_zone,
            limits=ContextLimits(
                optional_budget_s=settings.optional_context_budget_s,
                profile_budget_s=max(ContextLimits().profile_budget_s, settings.optional_context_budget_s),
            ),
            runs=RunSettings(
                policy=settings.turn_policy,
                max_queued=settings.max_queued,
                lease_s=settings.lease_s,
                renew_every_s=settings.heartbeat_s,
                epochs=settings.reply_invocations,
                quotas=QuotaLimits(
                    concurrent_runs=settings.quota_concurrent_runs,
                    turns_per_minute=settings.quota_turns_per_minute,
                    tokens_per_day=settings.quota_tokens_per_day,
                ),
            ),
        )

    def load(self) -> None:
        """Import what a turn needs first, for a process that is about to need it; open nothing.

        Raises:
            ImportError: a package is not installed.
        """
        for module in _OF_EVERY_TURN:
            import_module(module)
        _ = self.verifier, self.store, self.model, self.turn_settings
        if self.settings.aws_services:
            self._prepare_aws(_CALLED_IN_EVERY_TURN)

    def load_all(self) -> None:
        """Import everything that a turn can need, and read the SDK's service models; open nothing.

        Raises:
            ImportError: a package is not installed.
        """
        self.load()
        _ = self.tickets, self.analyser, self.workout_builder, self.summary_builder, self.title_builder
        if isinstance(self.settings.recall, PineconeSettings):
            from coachstream.recall.pinecone.client import import_sdk

            _ = self.recall
            import_sdk()
        if self.settings.aws_services:
            self._prepare_aws(self.settings.aws_services, reads_models=True)

    def _prepare_aws(self, services: Collection[str], *, reads_models: bool = False) -> None:
        from coachstream.aws.clients import prepare_calls, prepare_session

        called = self.settings.aws_services
        services = [service for service in services if service in called]
        by_sdk = self.settings.aws_sdk_calls or ("bedrock-runtime" in services and self._calls_bedrock_by_sdk)
        if by_sdk or not prepare_calls(services, region=self.settings.region):
            prepare_session(services if reads_models else ())

    async def aclose(self) -> None:
        """Close everything that was opened, the store before the client it uses."""
        async with AsyncExitStack() as closing:
            for name in _CLOSED_LAST_TO_FIRST:
                opened = vars(self).get(name)
                if isinstance(opened, Closeable):
                    closing.push_async_callback(opened.aclose)
            for name in ("store", "recall"):
                vars(self).pop(name, None)


def bedrock_options(settings: BedrockSettings) -> BedrockOptions:
    """The options of the model."""
    from coachstream.language.bedrock import BedrockOptions

    guardrail = settings.guardrail
    return BedrockOptions(
        model_id=settings.model_id,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        guardrail_id=None if guardrail is None else guardrail.id,
        guardrail_version="" if guardrail is None else guardrail.version,
        guardrail_warns=guardrail is not None and guardrail.mode is GuardrailMode.WARN,
        prompt_caching=settings.prompt_caching,
        continues=settings.can_continue,
        stall_s=settings.stall_s,
        decoded_by_sdk=settings.sdk_decoder,
    )


def fallback_options(settings: BedrockSettings) -> BedrockOptions:
    """The options of the fallback model: those of the model, except for its own settings."""
    other = None if settings.fallback is None else settings.fallback.model_id
    if other is None:
        return bedrock_options(settings)
    return bedrock_options(msgspec.structs.replace(settings, model_id=other, can_continue=None))


def _count_mirror_stop(namespace: str) -> None:
    from coachstream.observability.metrics import count_mirror_stop

    count_mirror_stop(namespace=namespace)


def pinecone_options(settings: PineconeSettings, read_api_key: ReadApiKeyOf) -> PineconeOptions:
    """The options of the index; `read_api_key` is `Services.read_api_key`, which reads a key by ARN."""
    from coachstream.recall.pinecone import PineconeOptions

    key = settings.api_key
    return PineconeOptions(
        api_key=key.reveal() if isinstance(key, Secret) else partial(read_api_key, key.arn),
        index_host=settings.index_host,
        rerank_model=settings.rerank_model,
        timeout_s=settings.timeout_s,
    )


_services: WeakKeyDictionary[asyncio.AbstractEventLoop, Services] = WeakKeyDictionary()


def settings_of_this_process() -> Settings:
    """The settings from the environment, checked together with the packaged files that they name.

    Raises:
        SettingsError: the settings are invalid; it reports all errors together.
    """
    settings = Settings.from_environment(os.environ)
    pool = settings.identity
    if isinstance(pool, CognitoSettings) and pool.jwks_file is not None:
        _check_packaged_keys(pool, pool.jwks_file)
    return settings


def _check_packaged_keys(pool: CognitoSettings, path: Path) -> None:
    from coachstream.identity.cognito import pool_issuer
    from coachstream.identity.packaged_keys import PackagedKeys, PackagedKeysUnusable

    try:
        PackagedKeys(path, pool_issuer(pool.region, pool.user_pool_id)).check()
    except PackagedKeysUnusable as error:
        raise SettingsError((f"{JWKS_FILE.name} cannot be used: {error}",)) from error


def services_of_this_process() -> Services:
    """The services for the running loop, created from the environment at the first call.

    Raises:
        SettingsError: the settings are invalid.
    """
    loop = asyncio.get_running_loop()
    services = _services.get(loop)
    if services is None:
        settings = Settings.from_environment(os.environ)
        set_up_logging(settings.logs)
        if unknown := unknown_variables(os.environ):
            # Only a warning, so that a deployed function keeps working; the commands reject them.
            logger.warning("%s.", "; ".join(unknown))
        services = _services[loop] = Services(settings)
    return services
