"""The function that creates, lists, gets, renames and deletes conversations."""

from __future__ import annotations

from aws_cdk.aws_lambda import HttpMethod
from constructs import Construct

from coachstream.infrastructure.backend import Backend
from coachstream.infrastructure.cors import Cors
from coachstream.infrastructure.function import FunctionOptions, StreamingFunction
from coachstream.infrastructure.permissions import Needs
from coachstream.infrastructure.service import Service

HANDLER = "coachstream.functions.coach_conversations.handler.handler"


class CoachConversations(StreamingFunction):
    """Manages conversations. A new one may begin with a message, whose turn needs the model and more time."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        backend: Backend,
        service: Service,
        options: FunctionOptions,
        cors: Cors,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            handler=HANDLER,
            description="Manages conversations, and exports and deletes a user's data",
            methods=(HttpMethod.GET, HttpMethod.POST, HttpMethod.PUT, HttpMethod.DELETE),
            backend=backend,
            service=service,
            options=options,
            cors=cors,
            # The first turn of a conversation never requests a summary.
            needs=Needs(summaries=False),
        )
