"""The stack of one deployment."""

from __future__ import annotations

from typing import Any

import msgspec
from aws_cdk import CfnOutput, Environment, Stack
from constructs import Construct

from coachstream.functions.coach_conversations.resource import CoachConversations
from coachstream.functions.process_post_turn.resource import ProcessPostTurn
from coachstream.functions.send_coach_conversation_message.resource import SendCoachConversationMessage
from coachstream.functions.stream_coach_conversation.resource import StreamCoachConversation
from coachstream.infrastructure.alarms import AlarmOptions, Alarms, LostWorkAlarm
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
    """Existing resources, by name; the stack creates those that are None.

    Attributes:
        table_name: name of the table, which is never changed.
        user_pool_id: id of the user pool; requires its `client_ids`.
        client_ids: ids of the app clients whose tokens are accepted.
        packaged_keys: the file in the package with that pool's keys, if any.
        pinecone_secret_arn: the full ARN of the secret with Pinecone's API key.
        ticket_key_secret_arn: the full ARN of the secret that signs tickets.
        kms_key_arns: ARNs of the customer managed keys that encrypt the table and secrets, if any.

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
        """Reject a pool without clients, and vice versa."""
        if (self.user_pool_id is None) != (not self.client_ids):
            raise ValueError("name an existing user pool together with its app clients")


class CoachStreamStack(Stack):
    """The functions, and the table, user pool and secrets unless existing ones are used.

    Attributes:
        stream, send, conversations: the functions.
        post_turn: the function that writes summaries and titles; None if another one does, or none.
        backend: the resources that they use.
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
        post_turn: bool | None = None,
        alarms: AlarmOptions | None = AlarmOptions(),  # noqa: B008 (frozen)
        dashboard: bool = True,
        env: Environment | None = None,
        **stack_options: Any,  # noqa: ANN401 (of aws_cdk.Stack)
    ) -> None:
        """Define everything.

        Args:
            scope: the app.
            construct_id: the stack's name.
            options: the configuration of the functions.
            cors: the allowed origins.
            service: the configuration of the service; by default the existing system's model, without
                optional features.
            existing: existing resources to use.
            stream_options: the configuration of the streaming function, if it differs, for example in its
                reserved concurrency.
            post_turn: whether to create the function that writes titles, and summaries unless
                `service.hand_offs` names a function for them; by default if it names none.
            alarms: the thresholds; None creates no alarms.
            dashboard: whether to create a dashboard.
            env: account and region.
            **stack_options: further options of `aws_cdk.Stack`.
        """
        super().__init__(scope, construct_id, env=env, **stack_options)
        service = Service() if service is None else service
        self.backend = self._backend(existing or Existing(), service)
        self.post_turn: ProcessPostTurn | None = None
        if service.hand_offs.summary_function is None if post_turn is None else post_turn:
            self.post_turn = ProcessPostTurn(
                self, "ProcessPostTurn", backend=self.backend, service=service, options=options
            )
            own = self.post_turn.function.function_name
            hand_offs = msgspec.structs.replace(service.hand_offs, post_turn_function=own)
            service = msgspec.structs.replace(service, hand_offs=hand_offs)
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
                self._watch(metrics, alarms, of_mirror=service.mirror_messages)
            if dashboard:
                Dashboard(self, "Dashboard", metrics)
        self._add_outputs()

    def _functions(self) -> dict[str, StreamingFunction]:
        return {
            "stream-coach-conversation": self.stream,
            "send-coach-conversation-message": self.send,
            "coach-conversations": self.conversations,
        }

    def _backend(self, existing: Existing, service: Service) -> Backend:
        """Refer to new and existing resources by name only, so that both get the same policies."""
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

    def _watch(self, metrics: dict[str, FunctionMetrics], options: AlarmOptions, *, of_mirror: bool) -> None:
        for name, each in self._functions().items():
            Alarms(
                each,
                "Alarms",
                name=name,
                metrics=metrics[name],
                options=options,
                of_streams=each is self.stream,
                of_mirror=of_mirror,
            )
        if self.post_turn is not None:
            LostWorkAlarm(
                self.post_turn,
                "Alarms",
                name="process-post-turn",
                failed=self.post_turn.failed,
                options=options,
            )

    def _add_outputs(self) -> None:
        """Add the outputs, under the names that front ends of the existing system read.

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
        if self.post_turn is not None:
            self._output("processPostTurnFunctionName", self.post_turn.function.function_name)
            self._output("processPostTurnFailedQueueUrl", self.post_turn.failed.queue_url)
        if self.backend.pinecone_key_arn is not None:
            self._output("pineconeSecretArn", self.backend.pinecone_key_arn)
        self._output("custom", self.to_json_string({**custom, "dynamodb": {"coreTable": table}}))

    def _output(self, name: str, value: str) -> None:
        CfnOutput(self, name, value=value)
