"""The function that responds to a message with the complete reply."""

from __future__ import annotations

from aws_cdk.aws_lambda import HttpMethod
from constructs import Construct

from coachstream.infrastructure.backend import Backend
from coachstream.infrastructure.cors import Cors
from coachstream.infrastructure.function import FunctionOptions, StreamingFunction
from coachstream.infrastructure.permissions import Needs
from coachstream.infrastructure.service import Service

HANDLER = "coachstream.functions.send_coach_conversation_message.handler.handler"


class SendCoachConversationMessage(StreamingFunction):
    """Responds to a message (POST). The turn is the same as for a stream, but collects the reply."""

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
            description="Responds to a message with a coach's complete reply",
            methods=(HttpMethod.POST,),
            backend=backend,
            service=service,
            options=options,
            cors=cors,
            needs=Needs(whole_replies=True),
        )
