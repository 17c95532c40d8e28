"""Many worker processes in one environment (Lambda Managed Instances), each with our runtime client.

Imported only there: an ordinary cold start should not pay for the modules that fork and share sockets.
"""

from __future__ import annotations

from awslambdaric.lambda_multi_concurrent_utils import MultiConcurrentRunner

from lambda_streaming.function import run_function
from lambda_streaming.runtime_client import StreamingMultiConcurrentRuntimeClient


class StreamingMultiConcurrentRunner(MultiConcurrentRunner):  # type: ignore[misc]  # untyped
    """awslambdaric's runner, whose workers can stream."""

    @classmethod
    def run_single(cls, handler: str, api_addr: str, use_thread: bool, socket_path: str) -> None:  # noqa: ARG003 (awslambdaric's)
        """Run one worker until Lambda ends it."""
        if socket_path:
            cls._redirect_output(socket_path)
        run_function(handler, StreamingMultiConcurrentRuntimeClient(api_addr))
