"""The command line of `python -m lambda_streaming.emulator`."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer

from lambda_streaming.emulator.authority import AllowedHosts
from lambda_streaming.emulator.command_line import run
from lambda_streaming.emulator.env_file import InvalidVariable, parse_variable, read_env_file
from lambda_streaming.emulator.environments import DEFAULT_MAX_CONCURRENCY, ExecutionEnvironments
from lambda_streaming.emulator.front_doors.kinds import FrontDoorKind
from lambda_streaming.emulator.function import InvalidFunction
from lambda_streaming.emulator.gate import Gate
from lambda_streaming.emulator.invoke_api.app import InvokeApi
from lambda_streaming.emulator.peer import is_held_by_own_user
from lambda_streaming.emulator.reloading import FolderWatch
from lambda_streaming.emulator.serving import CannotListen, listen, serve, url_of
from lambda_streaming.function_url.app import FunctionUrlApp
from lambda_streaming.function_url.cors import CorsConfiguration, InvalidCorsConfiguration
from lambda_streaming.function_url.exchange import InvokeMode
from lambda_streaming.function_url.limits import Bandwidth, ResponseLimits

logger = logging.getLogger("lambda_streaming.emulator")

EXIT_CANNOT_LISTEN = 1
EXIT_USAGE = 2
EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127

_SERVICE_HOSTS = (".on.aws",)
"""Host names of real Function URLs, which AWS controls; the app accepts only its own URL's name."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


class ModeOption(StrEnum):
    """The invoke modes as spelled on the command line."""

    RESPONSE_STREAM = "response-stream"
    BUFFERED = "buffered"


class Failure(Exception):
    """Raised to exit with an error message for the user.

    Attributes:
        exit_status: of the process.
    """

    def __init__(self, message: str, exit_status: int = EXIT_USAGE) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class EmulatorReady(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The line that `--json` prints when the emulator accepts requests."""

    event: str = "ready"
    url: str
    invoke_mode: InvokeMode
    function_name: str


_HELP = """A Lambda Function URL on localhost, for any runtime, with response streaming.

The emulator starts COMMAND as an execution environment when a request needs one. Each environment runs one
invocation at a time (see --environment-concurrency); it is frozen between invocations, reused, killed at the
timeout and replaced after a crash. Everything it prints appears on standard error, prefixed with the
environment's name.

\b
    python -m lambda_streaming.emulator -- python -m lambda_streaming app.handler
    python -m lambda_streaming.emulator --port 0 --timeout 60 -- npx aws-lambda-ric index.handler

AWS's SDKs reach the function on the same port through the Invoke API (Invoke, InvokeWithResponseStream),
under any function name. Only processes of your own user may call it, unless --host exposes the function.

With --front-door, an API or a load balancer stands in front of the function instead of a Function URL: events
have its format, and results must have it too.

Put `--` between OPTIONS and COMMAND if COMMAND has options of its own.
"""


@app.command(
    help=_HELP,
    context_settings={"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]},
    epilog=(
        "Exit status: 0 after Ctrl-C, SIGTERM or SIGHUP; 1 if it cannot listen; 2 for invalid options; "
        "126 if COMMAND cannot be executed; 127 if it is not found."
    ),
)
def emulate(
    command: Annotated[
        list[str],
        typer.Argument(
            metavar="COMMAND",
            help="A Lambda runtime and its handler. It is executed directly, not through a shell.",
            show_default=False,
        ),
    ],
    *,
    host: Annotated[
        str,
        typer.Option(help="Address to listen on. Any other than loopback exposes the function."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")] = 9000,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Also accept requests for this host; .NAME for all its subdomains. Repeatable.",
            show_default=False,
        ),
    ] = None,
    front_door: Annotated[
        FrontDoorKind,
        typer.Option(help="The service in front of the function, which decides on the event's format."),
    ] = FrontDoorKind.FUNCTION_URL,
    invoke_mode: Annotated[
        ModeOption | None,
        typer.Option(
            help="How the front door reads the function's responses; http-api and alb can only be buffered."
            "  [default: response-stream, or buffered]",
            show_default=False,
        ),
    ] = None,
    multi_value_headers: Annotated[
        bool,
        typer.Option(
            "--multi-value-headers",
            help="For --front-door alb: several values for each header, as the target group may have it.",
        ),
    ] = False,
    throttle: Annotated[
        bool,
        typer.Option(
            "--throttle", help="Limit bandwidth as Lambda does: a burst of 6 MiB, then 2 MiB per second."
        ),
    ] = False,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object when ready, instead of a sentence."),
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="Invocation timeout; the environment is killed after it."),
    ] = 30.0,
    env_file: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="File of environment variables, one NAME=VALUE per line. Repeatable; the last one wins.",
            show_default=False,
        ),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Environment variable; overrides files and Lambda's own variables. Repeatable.",
            show_default=False,
        ),
    ] = None,
    reload: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            exists=True,
            file_okay=False,
            help="Replace environments when a file below it changes; running invocations finish. Repeatable.",
            show_default=False,
        ),
    ] = None,
    function_name: Annotated[str, typer.Option(help="AWS_LAMBDA_FUNCTION_NAME.")] = "function",
    memory_size: Annotated[
        int,
        typer.Option(metavar="MB", min=1, help="AWS_LAMBDA_FUNCTION_MEMORY_SIZE; it limits nothing."),
    ] = 128,
    max_concurrency: Annotated[
        int,
        typer.Option(min=1, help="Maximum number of environments; further requests get 429."),
    ] = DEFAULT_MAX_CONCURRENCY,
    environment_concurrency: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Invocations that one environment runs at once. More than 1 makes it a Managed Instance: "
            "AWS_LAMBDA_MAX_CONCURRENCY is set, logs are JSON, and it is never frozen.",
        ),
    ] = 1,
    freeze: Annotated[
        bool,
        typer.Option(help="Stop environments between invocations (SIGSTOP), as Lambda freezes them."),
    ] = True,
    init_timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="Time for COMMAND to request its first event."),
    ] = 10.0,
    idle_timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="End environments that have been idle this long.  [default: never]",
            show_default=False,
        ),
    ] = None,
    grace: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0, help="Time for running invocations to finish on shutdown."),
    ] = 5.0,
    cors: Annotated[
        str | None,
        typer.Option(
            metavar="ORIGIN",
            help="Allow an origin, with all methods and headers; `--cors '*'` allows every origin.",
            show_default=False,
        ),
    ] = None,
    cors_allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Repeatable.", show_default=False),
    ] = None,
    cors_allow_method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD",
            help="Repeatable. OPTIONS is not allowed: the URL handles it.",
            show_default=False,
        ),
    ] = None,
    cors_allow_header: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Repeatable.", show_default=False),
    ] = None,
    cors_expose_header: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Repeatable.", show_default=False),
    ] = None,
    cors_max_age: Annotated[
        int | None,
        typer.Option(
            metavar="SECONDS", help="How long browsers may cache a preflight response.", show_default=False
        ),
    ] = None,
    cors_allow_credentials: Annotated[
        bool,
        typer.Option("--cors-allow-credentials", help="Allow requests with cookies and other credentials."),
    ] = False,
) -> None:
    """Run the emulator until a signal stops it."""
    try:
        configuration = _cors_configuration(
            cors,
            origins=cors_allow_origin,
            methods=cors_allow_method,
            headers=cors_allow_header,
            exposed=cors_expose_header,
            max_age_s=cors_max_age,
            credentials=cors_allow_credentials,
        )
        environments = ExecutionEnvironments(
            command,
            env=_variables(env_file or (), env or ()),
            timeout_s=timeout,
            max_concurrency=max_concurrency,
            freeze=freeze,
            init_timeout_s=init_timeout,
            idle_timeout_s=idle_timeout,
            grace_s=grace,
            function_name=function_name,
            memory_size_mb=memory_size,
            environment_concurrency=environment_concurrency,
        )
        mode = _mode(front_door, invoke_mode)
        _check_fits(front_door, multi_value_headers=multi_value_headers, cors=configuration)
        _check_command(environments)
        listening = listen(host, port)
    except (InvalidVariable, InvalidFunction, InvalidCorsConfiguration) as error:
        _fail(str(error), EXIT_USAGE)
    except CannotListen as error:
        _fail(str(error), EXIT_CANNOT_LISTEN)
    except Failure as failure:
        _fail(str(failure), failure.exit_status)
    _log_to_stderr()
    address: str = listening.getsockname()[0]
    is_loopback = ipaddress.ip_address(address).is_loopback
    if not is_loopback:
        logger.warning("Anyone who can reach %s can invoke the function: it is not a loopback address", host)
    ready = EmulatorReady(url=url_of(listening), invoke_mode=mode, function_name=function_name)

    watch = FolderWatch(reload or (), environments.reload)

    async def start() -> None:
        if reload:
            await watch.start()

    async def close() -> None:
        await watch.aclose()
        await invoke_api.aclose()
        await environments.aclose()

    function_url = FunctionUrlApp(
        environments,
        cors=configuration,
        front_door=front_door.make(multi_value_headers=multi_value_headers),
        invoke_mode=mode,
        limits=ResponseLimits(bandwidth=Bandwidth() if throttle else None),
        drain_timeout_s=grace + 1,
        on_start=start,
        on_close=close,
    )
    invoke_api = InvokeApi(
        function_url, environments, is_allowed=is_held_by_own_user if is_loopback else None
    )
    asyncio.run(
        serve(
            Gate(invoke_api, hosts=AllowedHosts.of(address, (host, *_SERVICE_HOSTS, *(allow_host or ())))),
            listening,
            grace_s=grace,
            on_ready=_announcement(ready, as_json=json),
            on_stop=environments.begin_closing,
        )
    )


def _mode(front_door: FrontDoorKind, option: ModeOption | None) -> InvokeMode:
    if option is None:
        return front_door.modes[0]
    mode = InvokeMode.BUFFERED if option is ModeOption.BUFFERED else InvokeMode.RESPONSE_STREAM
    if mode not in front_door.modes:
        raise Failure(f"--front-door {front_door} cannot stream responses: leave --invoke-mode out")
    return mode


def _check_fits(
    front_door: FrontDoorKind, *, multi_value_headers: bool, cors: CorsConfiguration | None
) -> None:
    if multi_value_headers and front_door is not FrontDoorKind.ALB:
        raise Failure("--multi-value-headers is for --front-door alb: the others have one format each")
    if cors is not None and front_door is not FrontDoorKind.FUNCTION_URL:
        raise Failure(
            "The --cors options are for --front-door function-url: elsewhere the function does CORS"
        )


def _announcement(ready: EmulatorReady, *, as_json: bool) -> Callable[[], None]:
    def announce() -> None:
        if as_json:
            typer.echo(msgspec.json.encode(ready))
        else:
            typer.echo(f"{ready.url} invokes {ready.function_name} ({ready.invoke_mode}). Ctrl-C stops it.")

    return announce


def _variables(files: Sequence[Path], arguments: Sequence[str]) -> dict[str, str]:
    variables: dict[str, str] = {}
    for path in files:
        try:
            variables |= read_env_file(path)
        except OSError as error:
            raise Failure(f"cannot read {path}: {error.strerror}") from error
    for argument in arguments:
        try:
            name, value = parse_variable(argument)
        except InvalidVariable as error:
            raise Failure(f"--env {argument.partition('=')[0]}: {error}") from error
        variables[name] = value
    return variables


def _check_command(environments: ExecutionEnvironments) -> None:
    function = environments.function
    program = function.command[0]
    path = function.overrides.get("PATH") or function.env.get("PATH")
    if shutil.which(program, path=path) is not None:
        return
    if os.sep in program and Path(program).exists():
        raise Failure(f"{program} cannot be executed. Is it executable? (chmod +x)", EXIT_NOT_EXECUTABLE)
    where = "there is no such file" if os.sep in program else "it is not on the PATH"
    hint = " COMMAND is not run by a shell: pass the program and its arguments as separate words."
    raise Failure(f"COMMAND not found: {program!r}: {where}.{hint if ' ' in program else ''}", EXIT_NOT_FOUND)


def _cors_configuration(
    shorthand: str | None,
    *,
    origins: Sequence[str] | None,
    methods: Sequence[str] | None,
    headers: Sequence[str] | None,
    exposed: Sequence[str] | None,
    max_age_s: int | None,
    credentials: bool,
) -> CorsConfiguration | None:
    allowed_origins = (*((shorthand,) if shorthand else ()), *(origins or ()))
    if not allowed_origins:
        if methods or headers or exposed or max_age_s is not None or credentials:
            raise Failure(
                "The --cors-... options need an origin: --cors ORIGIN or --cors-allow-origin ORIGIN"
            )
        return None
    everything = ("*",) if shorthand else ()
    return CorsConfiguration(
        allow_origins=allowed_origins,
        allow_methods=tuple(methods or everything),
        allow_headers=tuple(headers or everything),
        expose_headers=tuple(exposed or ()),
        max_age=max_age_s or 0,
        allow_credentials=credentials,
    )


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    ours = logging.getLogger("lambda_streaming")
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False
    logging.getLogger("uvicorn").addHandler(handler)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)


def _fail(message: str, exit_status: int) -> NoReturn:
    typer.echo(f"Error: {message}", err=True)
    raise typer.Exit(exit_status)


def main() -> NoReturn:
    """Run the command line with this process's arguments, and exit."""
    run(app, program="python -m lambda_streaming.emulator")
