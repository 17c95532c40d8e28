"""The Lambda runtime: awslambdaric, and responses that stream.

`awslambdaric.bootstrap.run` drives everything, as on the managed runtime: imports, the invocation loop,
logging frames, error reports, SnapStart. Only the client that it talks to Lambda with is ours, and of that
only what a streamed response needs. A decorated handler streams while it is called and returns a token in
place of a result; nothing is posted for it any more.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import sys
from typing import Any, Final

import msgspec
from awslambdaric import bootstrap, lambda_runtime_client
from awslambdaric.lambda_config import LambdaConfigProvider
from awslambdaric.lambda_runtime_client import (
    BaseLambdaRuntimeClient,
    InvocationRequest,
    LambdaMultiConcurrentRuntimeClient,
    LambdaRuntimeClient,
)
from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller

from lambda_streaming.error_trailers import FunctionError
from lambda_streaming.event_loop import HandlerCancelled, InvocationLoop
from lambda_streaming.response_stream import Invocation, ResponseBroken
from lambda_streaming.runtime_api_connection import RuntimeApiConnection
from lambda_streaming.runtime_api_response import RuntimeApiResponse
from lambda_streaming.streaming import install_driver

logger = logging.getLogger("lambda_streaming")


class _Streamed:
    """What a handler that has streamed its response returns to awslambdaric."""


STREAMED: Final = _Streamed()


class _StreamingMarshaller(LambdaMarshaller):  # type: ignore[misc]  # untyped
    def marshal_response(self, response: object) -> tuple[Any, str]:
        if response is STREAMED:
            return response, ""
        body, content_type = super().marshal_response(response)
        return body, content_type


class _StreamingClient(BaseLambdaRuntimeClient):  # type: ignore[misc]  # untyped
    """What both of awslambdaric's clients gain."""

    marshaller = _StreamingMarshaller()

    def __init__(self, address: str, use_thread_for_polling_next: bool = False) -> None:
        super().__init__(address, use_thread_for_polling_next)
        self._loop = InvocationLoop()
        self._connection = RuntimeApiConnection(address)
        self._request: InvocationRequest | None = None
        self._response: RuntimeApiResponse | None = None
        install_driver(self._drive)

    def wait_next_invocation(self) -> InvocationRequest:
        """Forget the last invocation and wait for the next one."""
        self._request = self._response = None
        self._request = super().wait_next_invocation()
        return self._request

    def post_invocation_result(
        self,
        invoke_id: str,
        result_data: Any,  # noqa: ANN401 (awslambdaric's)
        content_type: str = "application/json",
        invocation_id: str | None = None,
    ) -> None:
        """Report a result, unless it has been streamed."""
        if result_data is not STREAMED:
            super().post_invocation_result(invoke_id, result_data, content_type, invocation_id)

    def post_invocation_error(
        self, invoke_id: str, error_response_data: str, xray_fault: str, invocation_id: str | None = None
    ) -> None:
        """Report an error, unless a response has begun: then its trailers have said it, or it had ended."""
        if self._response is None or not self._response.begun:
            super().post_invocation_error(invoke_id, error_response_data, xray_fault, invocation_id)

    def _drive(self, invocation: Invocation) -> object:
        request = self._request
        if request is None:
            raise RuntimeError("A streaming handler can be called only while an invocation is being handled")
        self._response = RuntimeApiResponse(
            self._connection,
            request.invoke_id,
            request.invocation_id,
            lambda_runtime_client._user_agent(),  # noqa: SLF001 (so that all calls have the same)
        )
        self._loop.run(functools.partial(_stream, invocation, self._response, request.invoke_id))
        return STREAMED


class StreamingRuntimeClient(_StreamingClient, LambdaRuntimeClient):  # type: ignore[misc]  # untyped
    """awslambdaric's client of an execution environment, with streamed responses."""


class StreamingMultiConcurrentRuntimeClient(
    _StreamingClient,
    LambdaMultiConcurrentRuntimeClient,  # type: ignore[misc]  # untyped
):
    """The same for a worker process of a Managed Instance: a failed call does not end the worker."""


def run(argv: list[str]) -> None:
    """Run a function until Lambda ends the process: the counterpart of `awslambdaric.__main__.main`.

    Args:
        argv: the program's name and the handler, `package.module.function`.

    Raises:
        ValueError: there is no handler.
        KeyError: `AWS_LAMBDA_RUNTIME_API` is not set.
    """
    _run(LambdaConfigProvider(argv))


def _run(config: LambdaConfigProvider) -> None:
    if lambda_runtime_client.runtime_client is None:
        from lambda_streaming import portable_runtime_client

        portable_runtime_client.install()
    if config.is_multi_concurrent:
        from lambda_streaming.multi_concurrent import StreamingMultiConcurrentRunner

        StreamingMultiConcurrentRunner.run_concurrent(
            config.handler,
            config.api_address,
            config.use_thread_polling,
            config.lmi_socket_path,
            int(config.max_concurrency),
        )
    else:
        bootstrap.run(config.handler, StreamingRuntimeClient(config.api_address, config.use_thread_polling))


async def _stream(invocation: Invocation, response: RuntimeApiResponse, request_id: str) -> None:
    try:
        await response.connect()
        await invocation(response)
        response.require_end()
        await _wait_for_answer(response)
    except (Exception, asyncio.CancelledError) as error:
        # SystemExit and its like are left alone: they end the process, and the response breaks off.
        await _report(error, response, request_id)
        raise
    finally:
        await response.release()


async def _report(error: BaseException, response: RuntimeApiResponse, request_id: str) -> None:
    if not response.begun:
        return
    if not response.ended:
        reported = HandlerCancelled() if isinstance(error, asyncio.CancelledError) else error
        fault = bootstrap.build_fault_result((type(reported), reported, error.__traceback__), None)
        function_error = msgspec.convert({**fault, "requestId": request_id}, FunctionError)
        try:
            await response.fail(function_error)
        except ResponseBroken as broken:
            logger.error("The error could not be sent: %s", broken)  # noqa: TRY400
            return
    await _wait_for_answer(response)


async def _wait_for_answer(response: RuntimeApiResponse) -> None:
    try:
        status = await response.answered()
    except ResponseBroken as broken:
        logger.error("The response was not accepted: %s", broken)  # noqa: TRY400
    else:
        if not 200 <= status < 300:  # noqa: PLR2004 (what HTTP calls successful)
            logger.error("The response was not accepted: status %d", status)


def main() -> None:
    """Run the program `python -m lambda_streaming HANDLER`."""
    if any(option in sys.argv[1:] for option in ("-h", "--help")):
        print(_HELP)  # noqa: T201 (a program's help)
        return
    try:
        config = LambdaConfigProvider(sys.argv)
    except ValueError:
        sys.exit(f"The handler is missing.\n\n{_HELP}")
    except KeyError as missing:
        sys.exit(
            f"{missing.args[0]} is not set: this program is started by Lambda, or on localhost by\n"
            "python -m lambda_streaming.emulator -- python -m lambda_streaming HANDLER"
        )
    _run(config)


_HELP = """\
usage: python -m lambda_streaming HANDLER

Runs a Lambda function whose handlers may stream their responses.

HANDLER is package.module.function, as in the function's configuration. Where the program runs:
  container image   ENTRYPOINT ["python", "-m", "lambda_streaming"]   CMD ["app.handler"]
  managed runtime   AWS_LAMBDA_EXEC_WRAPPER=/var/task/lambda_streaming/exec-wrapper
  localhost         python -m lambda_streaming.emulator -- python -m lambda_streaming app.handler"""
