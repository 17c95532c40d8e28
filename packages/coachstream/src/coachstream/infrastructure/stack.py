"""Everything of one deployment."""

from __future__ import annotations

from typing import Any

import msgspec
from aws_cdk import CfnOutput, Environment, Stack
from constructs import Construct

from coachstream.functions.coach_conversations.resource import CoachConversations
from coachstream.functions.send_coach_conversation_message.resource import SendCoachConversationMessage
from coachstream.functions.stream_coach_conversation.resource import StreamCoachConversation
from coachstream.infrastructure.alarms import AlarmOptions, Alarms
from coachstream.infrastructure.backend import Backend
from coachstream.infrastructure.cors import Cors
from coachstream.infrastructure.dashboard import Dashboard
from coachstream.infrastructure.function import FunctionOptions, StreamingFunction
from coachstream.infrastructure.metrics import FunctionMetrics
from coachstream.infrastructure.permissions import table_arn
from coachstream.infrastructure.secrets import new_pinecone_key, new_ticket_key
from coachstream.infrastructure.service import Service
from coachstream.infrastructure.table import new_table
from coachstream.infrastructure.users import Users


class Existing(msgspec.Struct, frozen=True, kw_only=True):
    """What is there already, by name; what is None is made.

    Attributes:
        table_name: of the table. It is not changed in any way.
        user_pool_id: of the user pool; its `client_ids` must be named with it.
        client_ids: of the app clients whose tokens are accepted.
        packaged_keys: the file in the package with that pool's keys, if it has them.
        pinecone_secret_arn: the whole ARN of the secret that is Pinecone's API key.
        ticket_key_secret_arn: the whole ARN of the secret that signs tickets.
        kms_key_arns: of the customer managed keys that encrypt table and secrets, where there are some.

    Raises:
        ValueError: a pool without its clients, or clients without their pool.
    """

    table_name: str | None = None
    user_pool_id: str | None = None
    client_ids: tuple[str, ...] = ()
    packaged_keys: str | None = None
    pinecone_secret_arn: str | None = None
    ticket_key_secret_arn: str | None = None
    kms_key_arns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a half of what belongs together."""
        if (self.user_pool_id is None) != (not self.client_ids):
            raise ValueError("name an existing user pool together with its app clients")


class CoachStreamStack(Stack):
    """The functions, and whatever of table, users and secrets is not there yet.

    Attributes:
        stream, send, conversations: the functions.
        backend: what they work with.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        options: FunctionOptions,
        cors: Cors,
        service: Service | None = None,
        existing: Existing | None = None,
        stream_options: FunctionOptions | None = None,
        alarms: AlarmOptions | None = AlarmOptions(),  # noqa: B008 (frozen)
        dashboard: bool = True,
        env: Environment | None = None,
        **stack_options: Any,  # noqa: ANN401 (of aws_cdk.Stack)
    ) -> None:
        """Define everything.

        Args:
            scope: the app.
            construct_id: the stack's name.
            options: how the functions run.
            cors: which pages may call them.
            service: what they do; by default the model of the existing system, and nothing optional.
            existing: what is there already.
            stream_options: how the streaming function runs, where it is another way; reserved concurrency,
                for one, is usually its alone.
            alarms: None: none.
            dashboard: whether there is one.
            env: account and region.
            **stack_options: of `aws_cdk.Stack`.
        """
        super().__init__(scope, construct_id, env=env, **stack_options)
        service = Service() if service is None else service
        self.backend = self._backend(existing or Existing(), service)
        self.stream = StreamCoachConversation(
            self,
            "StreamCoachConversation",
            backend=self.backend,
            service=service,
            options=stream_options or options,
            cors=cors,
        )
        self.send = SendCoachConversationMessage(
            self,
            "SendCoachConversationMessage",
            backend=self.backend,
            service=service,
            options=options,
            cors=cors,
        )
        self.conversations = CoachConversations(
            self,
            "CoachConversations",
            backend=self.backend,
            service=service,
            options=options,
            cors=cors,
        )
        namespace = service.logs.metrics_namespace
        if namespace is not None:
            metrics = {
                name: FunctionMetrics(each.function, namespace) for name, each in self._functions().items()
            }
            if alarms is not None:
                self._watch(metrics, alarms)
            if dashboard:
                Dashboard(self, "Dashboard", metrics)
        self._tell()

    def _functions(self) -> dict[str, StreamingFunction]:
        return {
            "stream-coach-conversation": self.stream,
            "send-coach-conversation-message": self.send,
            "coach-conversations": self.conversations,
        }

    def _backend(self, existing: Existing, service: Service) -> Backend:
        """By name alone, new or not: both variants get the same policies."""
        table = existing.table_name or new_table(self, "Table").table_name
        pool, clients = existing.user_pool_id, existing.client_ids
        if pool is None:
            users = Users(self, "Users")
            pool, clients = users.pool.user_pool_id, (users.client.user_pool_client_id,)
        pinecone_key = existing.pinecone_secret_arn
        if pinecone_key is None and service.recall is not None:
            pinecone_key = new_pinecone_key(self, "PineconeKey").secret_arn
        return Backend(
            table=table,
            user_pool_id=pool,
            packaged_keys=existing.packaged_keys,
            client_ids=clients,
            pinecone_key_arn=pinecone_key,
            ticket_key_arn=existing.ticket_key_secret_arn or new_ticket_key(self, "TicketKey").secret_arn,
            kms_key_arns=existing.kms_key_arns,
        )

    def _watch(self, metrics: dict[str, FunctionMetrics], options: AlarmOptions) -> None:
        for name, each in self._functions().items():
            Alarms(
                each,
                "Alarms",
                name=name,
                metrics=metrics[name],
                options=options,
                of_streams=each is self.stream,
            )

    def _tell(self) -> None:
        """The outputs, under the names that front ends of the existing system read (section 9).

        CloudFormation's names have no dots: `custom.coachConversationStreamingApi.functionUrl` is the output
        `coachConversationStreamingApiFunctionUrl`. `custom` is all of them as the JSON of that name.
        """
        custom: dict[str, dict[str, Any]] = {
            "coachConversationStreamingApi": {"functionUrl": self.stream.url.url, "region": self.region},
            "coachConversationMessageApi": {"functionUrl": self.send.url.url, "region": self.region},
            "coachConversationsApi": {"functionUrl": self.conversations.url.url, "region": self.region},
        }
        table = {
            "tableName": self.backend.table,
            "tableArn": table_arn(self, self.backend.table),
            "region": self.region,
        }
        for api, values in custom.items():
            for name, value in values.items():
                self._output(f"{api}{name[0].upper()}{name[1:]}", value)
        for name, value in table.items():
            self._output(f"dynamodbCoreTable{name[0].upper()}{name[1:]}", value)
        self._output("userPoolId", self.backend.user_pool_id)
        self._output("userPoolClientIds", ",".join(self.backend.client_ids))
        for api, function in zip(custom, self._functions().values(), strict=True):
            self._output(f"{api}FunctionName", function.function.function_name)
        if self.backend.pinecone_key_arn is not None:
            self._output("pineconeSecretArn", self.backend.pinecone_key_arn)
        self._output("custom", self.to_json_string({**custom, "dynamodb": {"coreTable": table}}))

    def _output(self, name: str, value: str) -> None:
        CfnOutput(self, name, value=value)
