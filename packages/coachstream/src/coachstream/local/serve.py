"""`coachstream serve`: the functions, the page and the demo data on one origin, until a stop signal.

Start: bind the port (first, so that nothing is changed if it is in use), seed the data, start the execution
environments, serve, announce. At the first SIGINT, SIGTERM or SIGHUP, it shuts down gracefully and leaves no
process behind. A second signal does not wait.

The shutdown respects dependencies: first the turns, each of which stores its reply so far, then the
connections of their readers, finally the stores and clients. Each step has a timeout.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import socket
import sys
import webbrowser
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from coachstream.check.run import preflight
from coachstream.conversation.errors import CoachStreamError
from coachstream.endpoint import normalized_origin
from coachstream.identity.local_issuer import IssuerKeyUnusable, LocalIssuer
from coachstream.local.announce import Announcer, JsonAnnouncer, Problem, TerminalAnnouncer, ready_of
from coachstream.local.app import LocalApp
from coachstream.local.backends import in_a_region, settings_for
from coachstream.local.functions import Functions
from coachstream.local.options import CannotServe, ServeOptions
from coachstream.local.sign_in import LocalSignIn, PoolSignIn, SignIn
from coachstream.local.signals import Interrupts
from coachstream.local.state_file import announced, find_servers
from coachstream.local.static_files import StaticFiles
from coachstream.local.user_directory import NoCoachFound, UserDirectory
from coachstream.observability.redaction import REDACTING_FILTER, quiet_libraries
from coachstream.private_files import make_private_folder
from coachstream.services import Services
from coachstream.settings import CognitoSettings, DynamoDbSettings, Settings
from coachstream.web.cross_origin import REQUEST_HEADERS, RESPONSE_HEADERS
from lambda_streaming.emulator.authority import AllowedHosts
from lambda_streaming.emulator.gate import Gate
from lambda_streaming.emulator.peer import is_held_by_own_user
from lambda_streaming.emulator.serving import CannotListen, EmbeddedServer, listen, server_config
from lambda_streaming.function_url import CorsConfiguration

_UVICORN_GRACE_S = 3
"""Longer than `DRAIN_S`, so that the functions end their streams; the fallback for hanging connections."""

logger = logging.getLogger("coachstream.local")


def run(options: ServeOptions) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP, then return; later signals are ignored.

    Raises:
        CannotServe: the port, the folder or an option is unusable.
    """
    _log_to_stderr()
    announcer: Announcer = JsonAnnouncer(sys.stdout) if options.as_json else TerminalAnnouncer(sys.stdout)
    cors, settings = _cors(options.cors_origins), settings_for(options, os.environ)
    # Only the second signal cancels, which is not an error.
    with (
        Interrupts() as interrupts,
        _listen(options) as listening,
        contextlib.suppress(asyncio.CancelledError),
    ):
        asyncio.run(_serve(options, settings, cors, listening, announcer, interrupts))
    announcer.stopped()


async def _serve(
    options: ServeOptions,
    settings: Settings,
    cors: CorsConfiguration | None,
    listening: socket.socket,
    announcer: Announcer,
    interrupts: Interrupts,
) -> None:
    interrupts.watch()
    data_dir = options.data_dir.absolute()
    settings = await in_a_region(settings)
    is_data_new = await asyncio.to_thread(_prepare_folder, options.data_dir)
    problems = await _problems(settings)
    services = Services(settings)
    functions = Functions(options, services, cors)
    origin = _origin(options.host, listening)
    async with aclosing(services), aclosing(functions):
        try:
            sign_in = await _sign_in(options, services, data_dir)
        except CannotServe as error:
            reasons = (f"{problem.part}: {problem.message} {problem.remedy}" for problem in problems)
            raise CannotServe("\n".join((str(error), *reasons))) from error
        session = await sign_in.open_session(origin, None) if isinstance(sign_in, LocalSignIn) else None
        address: str = listening.getsockname()[0]
        is_private = ipaddress.ip_address(address).is_loopback
        if session is not None and not is_private:
            logger.warning("Anyone who can reach this address can chat as the user %s.", session.user_id)
        app = LocalApp(
            page=StaticFiles(Path(__file__).parent / "page"),
            stream=functions.stream,
            conversations=functions.conversations,
            send_message=functions.send_message,
            open_session=sign_in.open_session,
            may_sign_in=is_held_by_own_user if is_private and session is not None else None,
        )
        gate = Gate(
            app,
            hosts=AllowedHosts.of(address, (options.host, *options.allow_hosts)),
            origins=frozenset(() if cors is None else cors.allow_origins),
        )
        async with _listening(gate, listening, before_shutdown=functions.aclose):
            with announced(data_dir, origin, now=services.clock.now().timestamp()):
                await functions.start_ahead()
                announcer.ready(
                    ready_of(origin, session, settings, problems, is_data_new=is_data_new), data_dir
                )
                if options.open_browser:
                    await asyncio.to_thread(webbrowser.open, origin)
                await interrupts.wait()
                announcer.stopping()


async def _problems(settings: Settings) -> tuple[Problem, ...]:
    findings = await preflight(settings)
    return tuple(Problem(found.part, found.message, found.remedy) for found in findings if found.remedy)


async def _sign_in(options: ServeOptions, services: Services, data_dir: Path) -> SignIn:
    """Prepare the sign-in, including the demo data in the store.

    Raises:
        CannotServe: the store or the issuer's key cannot be used.
    """
    store = services.settings.store
    directory = UserDirectory(services, data_dir, seeds_tables=options.demo_data)
    try:
        if isinstance(services.settings.identity, CognitoSettings):
            if options.demo_data or options.user_id is not None:
                await directory.prepare(options.user_id)
            return PoolSignIn(directory, services.verifier)
        issuer = LocalIssuer(data_dir)
        await asyncio.to_thread(issuer.ensure_keys)
        return LocalSignIn(await directory.prepare(options.user_id), issuer)
    except (IssuerKeyUnusable, NoCoachFound) as error:
        raise CannotServe(str(error)) from error
    except CoachStreamError as error:
        what = f"Table {store.table}" if isinstance(store, DynamoDbSettings) else f"The data in {data_dir}"
        raise CannotServe(f"{what} cannot be used: {str(error).removesuffix('.')}.") from error


@asynccontextmanager
async def _listening(
    app: Gate, listening: socket.socket, *, before_shutdown: Callable[[], Awaitable[None]]
) -> AsyncIterator[None]:
    """Serve HTTP during the block; `before_shutdown` ends running responses."""
    config = server_config(app, has_lifespan=False, grace_s=_UVICORN_GRACE_S)
    accepting = asyncio.Event()
    server = EmbeddedServer(config, accepting.set)
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="uvicorn")
    try:
        await accepting.wait()
        yield
    finally:
        server.should_exit = True
        try:
            await before_shutdown()
        finally:
            await asyncio.gather(serving, return_exceptions=True)


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)-7s %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(REDACTING_FILTER)
    quiet_libraries()
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def _cors(origins: tuple[str, ...]) -> CorsConfiguration | None:
    if not origins:
        return None
    try:
        return CorsConfiguration(
            allow_origins=tuple(each if each == "*" else normalized_origin(each) for each in origins),
            allow_methods=("*",),
            allow_headers=REQUEST_HEADERS,
            expose_headers=RESPONSE_HEADERS,
            max_age=86_400,
        )
    except ValueError as error:
        raise CannotServe(f"--cors-origin: {error}.") from error


def _prepare_folder(data_dir: Path) -> bool:
    """Create the data folder; return whether it is new."""
    is_new = not data_dir.exists()
    try:
        # It holds the conversations and the issuer's key.
        make_private_folder(data_dir)
    except OSError as error:
        raise CannotServe(f"The data folder {data_dir} cannot be used: {error.strerror}.") from error
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise CannotServe(f"The data folder {data_dir} cannot be written to.")
    return is_new


def _listen(options: ServeOptions) -> socket.socket:
    try:
        return listen(options.host, options.port)
    except CannotListen as error:
        running = next(
            (server.url for server in find_servers(options.data_dir) if _port_of(server.url) == options.port),
            None,
        )
        hint = "" if running is None else f" {running} already serves the same data."
        raise CannotServe(f"{error}{hint}") from error


def _port_of(url: str) -> int | None:
    return urlsplit(url).port


def _origin(host: str, listening: socket.socket) -> str:
    """Return the address to open; loopback for a server on all addresses."""
    port = listening.getsockname()[1]
    name = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"
