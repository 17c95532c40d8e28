"""The function that streams a coach's reply."""

from __future__ import annotations

from aws_cdk.aws_lambda import HttpMethod
from constructs import Construct

from coachstream.infrastructure.backend import Backend
from coachstream.infrastructure.cors import Cors
from coachstream.infrastructure.function import FunctionOptions, StreamingFunction
from coachstream.infrastructure.permissions import Needs
from coachstream.infrastructure.service import Service

HANDLER = "coachstream.functions.stream_coach_conversation.handler.handler"


class StreamCoachConversation(StreamingFunction):
    """Starts (POST), resumes (GET) and stops (DELETE) the stream of a reply; the only one with tickets."""

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
            description="Streams a coach's reply as Server-Sent Events",
            methods=(HttpMethod.GET, HttpMethod.POST, HttpMethod.DELETE),
            backend=backend,
            service=service,
            options=options,
            cors=cors,
            needs=Needs(tickets=True),
        )
