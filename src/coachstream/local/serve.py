"""`coachstream serve`: both functions, the page and the demo's data on one origin, until a signal.

Life of a run: bind the port (so that nothing is touched when it is taken), seed the data, start the execution
environments, serve, announce; then, at the first SIGINT or SIGTERM, end what runs and leave nothing behind. A
second signal gives up waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import os
import signal
import socket
import sys
import webbrowser
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import httpx
import msgspec
import uvicorn

from coachstream.conversation.errors import CoachStreamError
from coachstream.functions.coach_conversations import handler as coach_conversations
from coachstream.functions.stream_coach_conversation import handler as stream_coach_conversation
from coachstream.identity.local_issuer import IssuerKeyUnusable, LocalIssuer
from coachstream.local.announce import Announcer, JsonAnnouncer, TerminalAnnouncer, ready_of
from coachstream.local.app import LocalApp
from coachstream.local.demo.seed import Demo, seed
from coachstream.local.session import open_session
from coachstream.local.state_file import announced
from coachstream.local.static_files import StaticFiles
from coachstream.services import Services
from coachstream.settings import (
    DATA_DIR,
    IDENTITY,
    MODEL,
    MODEL_DELAY,
    RECALL,
    STORE,
    IdentityProvider,
    Model,
    Recall,
    Settings,
    SettingsError,
    Store,
)
from lambda_streaming.emulator import ExecutionEnvironments
from lambda_streaming.function_url import (
    CorsConfiguration,
    FunctionUrlApp,
    InProcessInvoker,
    InvalidCorsConfiguration,
)

_DRAIN_S = 1.0
"""How long an interrupt waits for answers that are being given."""

_UVICORN_GRACE_S = 3
"""Longer than the above, so that streams end by their functions; the backstop for connections that hang."""

logger = logging.getLogger("coachstream.local")


class CannotServe(Exception):
    """The server cannot start; the message tells the person why and what to do."""


class ServeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The command's options; the CLI says what each means."""

    host: str
    port: int
    data_dir: Path
    as_json: bool
    in_process: bool
    model_delay_s: float
    max_concurrency: int
    timeout_s: float
    warm: int
    cors_origins: tuple[str, ...]
    freeze: bool
    open_browser: bool


def run(options: ServeOptions) -> None:
    """Serve until SIGINT or SIGTERM, then return.

    Raises:
        CannotServe: the port, the folder or an option is unusable.
    """
    _log_to_stderr()
    announcer: Announcer = JsonAnnouncer(sys.stdout) if options.as_json else TerminalAnnouncer(sys.stdout)
    cors, settings = _cors(options.cors_origins), _settings(options)
    with _bind(options.host, options.port) as listening:
        _prepare_folder(options.data_dir)
        # Only the second signal cancels; it is no error either.
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(_serve(options, settings, cors, listening, announcer))
    announcer.stopped()


async def _serve(
    options: ServeOptions,
    settings: Settings,
    cors: CorsConfiguration | None,
    listening: socket.socket,
    announcer: Announcer,
) -> None:
    interrupted = _watch_signals()
    data_dir = settings.data_dir
    issuer = LocalIssuer(data_dir)
    try:
        await asyncio.to_thread(issuer.ensure_keys)
        demo = await seed(settings)
    except IssuerKeyUnusable as error:
        raise CannotServe(str(error)) from error
    except CoachStreamError as error:
        raise CannotServe(f"The data in {data_dir} cannot be used: {error}.") from error
    origin = _origin(options.host, listening)
    if not ipaddress.ip_address(listening.getsockname()[0]).is_loopback:
        logger.warning("Everybody who reaches this address can chat as the demo user.")
    services = Services(settings)
    functions = _Functions(options, services, cors)
    app = LocalApp(
        page=StaticFiles(Path(__file__).parent / "page"),
        stream=functions.stream,
        conversations=functions.conversations,
        open_session=lambda origin: open_session(demo, issuer, origin),
        served_name=options.host,
    )
    async with _listening(app, listening, before_shutdown=functions.aclose):
        with announced(data_dir, origin):
            await _warm_up(origin, demo, options)
            session = await open_session(demo, issuer, origin)
            announcer.ready(ready_of(session), data_dir)
            if options.open_browser:
                await asyncio.to_thread(webbrowser.open, origin)
            await interrupted.wait()
            announcer.stopping()


class _Functions:
    """Both function URLs, each in front of its environments or of this process."""

    def __init__(self, options: ServeOptions, services: Services, cors: CorsConfiguration | None) -> None:
        self._services = services
        self._invokers: list[InProcessInvoker | ExecutionEnvironments] = []
        self.stream = self._url(stream_coach_conversation, options, services, cors)
        self.conversations = self._url(coach_conversations, options, services, cors)

    def _url(
        self, function: ModuleType, options: ServeOptions, services: Services, cors: CorsConfiguration | None
    ) -> FunctionUrlApp:
        name = function.__name__.split(".")[-2].replace("_", "-")
        invoker: InProcessInvoker | ExecutionEnvironments
        if options.in_process:
            handler = function.handler_for(lambda: services)
            invoker = InProcessInvoker(handler, timeout_s=options.timeout_s, function_name=name)
        else:
            invoker = ExecutionEnvironments(
                [sys.executable, "-m", "lambda_streaming", f"{function.__name__}.handler"],
                env=services.settings.to_environment(),
                timeout_s=options.timeout_s,
                max_concurrency=options.max_concurrency,
                freeze=options.freeze,
                init_timeout_s=30.0,
                grace_s=0.0,
                function_name=name,
            )
        self._invokers.append(invoker)
        return FunctionUrlApp(invoker, cors=cors, drain_timeout_s=_DRAIN_S)

    async def aclose(self) -> None:
        """End both at once: answers get a moment to end, then their processes are ended."""
        try:
            await asyncio.gather(self.stream.aclose(), self.conversations.aclose())
        finally:
            # Also when nobody wants to wait for the answers: no process is left behind.
            await asyncio.gather(*(invoker.aclose() for invoker in self._invokers))
            await self._services.aclose()


@asynccontextmanager
async def _listening(
    app: LocalApp, listening: socket.socket, *, before_shutdown: Callable[[], Awaitable[None]]
) -> AsyncIterator[None]:
    """Serve HTTP for as long as the block lasts; `before_shutdown` ends the answers that keep it busy."""
    config = uvicorn.Config(
        app,
        http="h11",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_UVICORN_GRACE_S,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="uvicorn")
    try:
        await server.listening.wait()
        yield
    finally:
        server.should_exit = True
        try:
            await before_shutdown()
        finally:
            await asyncio.gather(serving, return_exceptions=True)


class _Server(uvicorn.Server):
    """uvicorn, with the signals left to us, and telling when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _warm_up(origin: str, demo: Demo, options: ServeOptions) -> None:
    """Start environments ahead by requests that are refused before they touch anything."""
    if options.in_process or options.warm == 0:
        return
    path = f"{origin}users/{demo.user_id}/coaches/{demo.coaches[0].coach_id}/conversations"
    async with httpx.AsyncClient(timeout=60, trust_env=False, limits=httpx.Limits()) as client:
        requests = [client.get(path) for _ in range(options.warm)]
        requests += [client.post(f"{path}/{demo.conversation_id}/stream") for _ in range(options.warm)]
        for response in await asyncio.gather(*requests):
            if response.status_code != httpx.codes.UNAUTHORIZED:
                logger.warning("A function did not start (%d); its log says why.", response.status_code)


def _watch_signals() -> asyncio.Event:
    """The event is set by the first SIGINT or SIGTERM; the second cancels the calling task, a third kills."""
    loop = asyncio.get_running_loop()
    serving = asyncio.current_task()
    interrupted = asyncio.Event()

    def on_signal() -> None:
        if not interrupted.is_set():
            interrupted.set()
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        if serving is not None:
            serving.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    return interrupted


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)-7s %(message)s")
    for chatty in ("httpx", "httpcore", "uvicorn.access", "uvicorn.error", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _settings(options: ServeOptions) -> Settings:
    """Everything is local unless the environment says otherwise: the command itself asks for the demo."""
    local = {
        STORE.name: Store.SQLITE,
        MODEL.name: Model.DEMO,
        IDENTITY.name: IdentityProvider.LOCAL,
        RECALL.name: Recall.SQLITE,
    }
    given = {name: value for name, value in os.environ.items() if value.strip()}
    chosen = {DATA_DIR.name: str(options.data_dir.absolute()), MODEL_DELAY.name: repr(options.model_delay_s)}
    try:
        return Settings.from_environment({**local, **given, **chosen})
    except SettingsError as error:
        raise CannotServe("\n".join(f"{problem}." for problem in error.problems)) from error


def _cors(origins: tuple[str, ...]) -> CorsConfiguration | None:
    if not origins:
        return None
    try:
        return CorsConfiguration(
            allow_origins=origins,
            allow_methods=("*",),
            allow_headers=("content-type", "authorization", "accept", "cache-control"),
            max_age=86_400,
        )
    except InvalidCorsConfiguration as error:
        raise CannotServe(f"--cors-origin: {error}") from error


def _prepare_folder(data_dir: Path) -> None:
    try:
        # Nobody else on this machine has any business with the conversations and the issuer's key.
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotServe(f"The data folder {data_dir} cannot be used: {error.strerror}.") from error
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise CannotServe(f"The data folder {data_dir} cannot be written to.")


def _bind(host: str, port: int) -> socket.socket:
    try:
        [(family, _, _, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return socket.create_server(address, family=family, backlog=2048)
    except socket.gaierror as error:
        raise CannotServe(f"There is no address {host!r} to listen on.") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotServe(
                f"Port {port} is taken, perhaps by another `coachstream serve`. "
                "Name another one with --port, or --port 0 for any free one."
            ) from error
        raise CannotServe(f"Cannot listen on {host} port {port}: {error.strerror}.") from error


def _origin(host: str, listening: socket.socket) -> str:
    """The address to open; a server on all addresses is opened through loopback."""
    port = listening.getsockname()[1]
    name = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"
