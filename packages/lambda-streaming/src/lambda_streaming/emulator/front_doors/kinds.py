"""The kinds of front doors, as named on the command line."""

from __future__ import annotations

from enum import StrEnum

from lambda_streaming.emulator import policy
from lambda_streaming.emulator.front_doors.http_api import HttpApi
from lambda_streaming.emulator.front_doors.load_balancer import LoadBalancer
from lambda_streaming.emulator.front_doors.rest_api import RestApi
from lambda_streaming.function_url.exchange import InvokeMode
from lambda_streaming.function_url.front_door import FrontDoor, FunctionUrl


class FrontDoorKind(StrEnum):
    """Which service is in front of the function."""

    FUNCTION_URL = "function-url"
    HTTP_API = "http-api"
    REST_API = "rest-api"
    ALB = "alb"

    @property
    def modes(self) -> tuple[InvokeMode, ...]:
        """How the service can read responses; the first is its default."""
        if self in (FrontDoorKind.FUNCTION_URL, FrontDoorKind.REST_API):
            return InvokeMode.RESPONSE_STREAM, InvokeMode.BUFFERED
        return (InvokeMode.BUFFERED,)

    def make(self, *, multi_value_headers: bool) -> FrontDoor:
        """Return the front door.

        Args:
            multi_value_headers: the attribute of a load balancer's target group.
        """
        match self:
            case FrontDoorKind.FUNCTION_URL:
                return FunctionUrl(policy.URL_ID)
            case FrontDoorKind.HTTP_API:
                return HttpApi()
            case FrontDoorKind.REST_API:
                return RestApi()
            case FrontDoorKind.ALB:
                return LoadBalancer(multi_value_headers=multi_value_headers)
