"""The function that writes summaries and titles after turns."""

from __future__ import annotations

import msgspec
from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_lambda_destinations as destinations
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from coachstream.infrastructure.backend import Backend
from coachstream.infrastructure.function import FunctionOptions, ServiceFunction
from coachstream.infrastructure.permissions import post_turn_statements
from coachstream.infrastructure.service import Service
from coachstream.settings import HandOffs

HANDLER = "coachstream.functions.process_post_turn.handler.handler"

MEMORY_MB = 512
TIMEOUT_S = 120
"""More than one call of the model (`MODEL_WITHIN_S`), with the store and the index around it."""

RETRIES = 2
"""Lambda's maximum; it waits one minute before the first and two before the second."""
LONGEST_WAIT = Duration.hours(1)
"""After that, the next turns have requested it again."""


class ProcessPostTurn(ServiceFunction):
    """Writes summaries and titles when the other functions invoke it; has no URL.

    Attributes:
        failed: the queue with the events that failed for good, and why; they have no text of a user.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        backend: Backend,
        service: Service,
        options: FunctionOptions,
    ) -> None:
        stack = Stack.of(scope)
        # It hands nothing off, least of all to itself.
        service = msgspec.structs.replace(service, hand_offs=HandOffs())
        super().__init__(
            scope,
            construct_id,
            handler=HANDLER,
            description="Writes summaries and titles of conversations after a turn",
            service=service,
            options=msgspec.structs.replace(
                options,
                memory_mb=MEMORY_MB,
                timeout_s=TIMEOUT_S,
                reserved_concurrency=None,
                snap_start=False,
            ),
            environment=service.environment(backend, region=stack.region, with_tickets=False),
            permissions=post_turn_statements(stack, backend, service),
        )
        self.failed = sqs.Queue(
            self,
            "Failed",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(14),
            removal_policy=RemovalPolicy.DESTROY,
        )
        self.function.configure_async_invoke(
            retry_attempts=RETRIES,
            max_event_age=LONGEST_WAIT,
            on_failure=destinations.SqsDestination(self.failed),
        )
