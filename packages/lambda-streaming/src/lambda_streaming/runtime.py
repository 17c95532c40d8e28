"""The Lambda runtime: awslambdaric with response streaming.

`awslambdaric.bootstrap.run` does the work, as on the managed runtime: imports, the invocation loop, logging
frames, error reports, SnapStart. Its client of the Runtime API is ours (`runtime_client`), and so is what it
calls as the handler (`function`): an ASGI app is one, too.
"""

from __future__ import annotations

import sys

from awslambdaric import lambda_runtime_client
from awslambdaric.lambda_config import LambdaConfigProvider

from lambda_streaming.function import run_function
from lambda_streaming.runtime_client import StreamingRuntimeClient


def run(argv: list[str]) -> None:
    """Run a function until Lambda ends the process: the counterpart of `awslambdaric.__main__.main`.

    Args:
        argv: the program's name and the handler, `package.module.function`.

    Raises:
        ValueError: no handler is given.
        KeyError: `AWS_LAMBDA_RUNTIME_API` is not set.
    """
    _run(LambdaConfigProvider(argv))


def _run(config: LambdaConfigProvider) -> None:
    if lambda_runtime_client.runtime_client is None:
        from lambda_streaming import portable_runtime_client

        portable_runtime_client.install()
    if config.is_multi_concurrent:
        from lambda_streaming.multi_concurrent import run_multi_concurrent

        run_multi_concurrent(config)
    else:
        run_function(config.handler, StreamingRuntimeClient(config.api_address))


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

HANDLER is package.module.function, as in the function's configuration, or package.module.app for an ASGI app
(FastAPI, Starlette, Django, ...). Where the program runs:
  container image   ENTRYPOINT ["python", "-m", "lambda_streaming"]   CMD ["app.handler"]
  managed runtime   AWS_LAMBDA_EXEC_WRAPPER=/var/task/lambda_streaming/exec-wrapper
  localhost         python -m lambda_streaming.emulator -- python -m lambda_streaming app.handler"""
