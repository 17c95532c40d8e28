"""Functions that run at once in one process, run as `support.concurrent_functions.<name>`."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from lambda_streaming import (
    HttpResponseStream,
    ResponseStream,
    lifespan_state,
    process_long,
    shutdown,
    streamify_response,
)
from support.patience import PATIENCE_S

if "SIGNAL_HANDLER" in os.environ:
    # As a tool or the function may do at import.
    signal.signal(signal.SIGTERM, lambda *_: _exit_with_last_words())

for stage in os.environ.get("PATIENT_SHUTDOWN", "").split():
    # The real limits would make a test depend on how busy the machine is.
    setattr(shutdown, stage, PATIENCE_S)

logger = logging.getLogger("function")
logger.setLevel(logging.INFO)

user = contextvars.ContextVar("user", default="nobody")
user.set("the import")

_signals: dict[str, asyncio.Event] = {}
_tasks: dict[str, asyncio.Task[None]] = {}


def _signal(name: str) -> asyncio.Event:
    """What invocations wait for each other with, which only works within a process."""
    return _signals.setdefault(name, asyncio.Event())


async def _stay() -> None:
    await asyncio.Event().wait()


async def _generate(name: str) -> AsyncIterator[str]:
    try:
        while True:
            yield name
    finally:
        logger.info("closed the generator of %s", name)


@asynccontextmanager
async def _lifespan() -> AsyncIterator[str]:
    print("lifespan began")  # noqa: T201
    yield f"process {os.getpid()}"
    print("lifespan ended")  # noqa: T201


@streamify_response(lifespan=_lifespan)
async def steps(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401
    """Perform the steps of the event."""
    await _perform(event, stream, context)


async def _perform(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401
    taken = event["steps"] if isinstance(event, dict) and "steps" in event else event
    for name, *arguments in taken:
        await _STEPS[name](stream, context, *arguments)


async def _be(stream: ResponseStream, context: Any, name: str) -> None:  # noqa: ANN401
    before = user.get()
    user.set(name)
    await stream.write(f"{name} after {before};")
    print(f"{name} pri", end="")  # noqa: T201
    await asyncio.sleep(0)
    print("nts")  # noqa: T201
    print(f'{{"metric": "{name}"}}')  # noqa: T201
    print(f"{name} complains", file=sys.stderr)  # noqa: T201
    assert context.get_remaining_time_in_millis() > 0


async def _say(stream: ResponseStream, _context: Any) -> None:  # noqa: ANN401
    """Write what is seen here, in a task and in a thread, and log it."""

    def seen() -> str:
        logger.info("%s logs", user.get())
        return f"{user.get()} {os.environ.get('_X_AMZN_TRACE_ID')}"

    async def in_a_task() -> str:
        return seen()

    places = {seen(), await asyncio.create_task(in_a_task()), await asyncio.to_thread(seen)}
    await stream.write(f"{';'.join(places)};{lifespan_state()}")


async def _leave(_stream: ResponseStream, _context: Any, name: str) -> None:  # noqa: ANN401
    _tasks[name] = asyncio.create_task(_stay())
    generator = _generate(name)
    await anext(generator)
    _kept.append(generator)
    await asyncio.sleep(0)


_kept: list[AsyncIterator[str]] = []


async def _report_task(stream: ResponseStream, _context: Any, name: str) -> None:  # noqa: ANN401
    await stream.write("cancelled" if _tasks[name].cancelled() else "running")


async def _end_of_task(_stream: ResponseStream, _context: Any, name: str) -> None:  # noqa: ANN401
    await asyncio.wait({_tasks[name]})


async def _write(stream: ResponseStream, _context: Any, text: str, times: int = 1) -> None:  # noqa: ANN401
    for _ in range(times):
        await stream.write(text)


async def _save_when_cancelled(stream: ResponseStream, _context: Any) -> None:  # noqa: ANN401
    await stream.write("word")
    try:
        await _stay()
    finally:
        logger.info("saved")


async def _await_and_save_when_cancelled(stream: ResponseStream, _context: Any) -> None:  # noqa: ANN401
    await stream.write("word")
    try:
        await _stay()
    finally:
        await asyncio.sleep(0.3)  # what the database takes
        await stream.write("saved")
        logger.info("saved")


async def _terminate(_stream: ResponseStream, _context: Any) -> None:  # noqa: ANN401
    os.kill(os.getpid(), signal.SIGTERM)


async def _ignore_cancellation(_stream: ResponseStream, _context: Any) -> None:  # noqa: ANN401
    """Leave a task behind that goes on when it is cancelled."""

    async def stubborn() -> None:
        while not _signal("give up").is_set():
            try:
                await _signal("give up").wait()
            except asyncio.CancelledError:
                logger.info("ignored a cancellation")

    _tasks["stubborn"] = asyncio.create_task(stubborn())
    await asyncio.sleep(0)


async def _fail(_stream: ResponseStream, _context: Any, message: str) -> None:  # noqa: ANN401
    raise ValueError(message)


async def _exit(_stream: ResponseStream, _context: Any) -> None:  # noqa: ANN401
    """Exit; whichever thread reports that gets the processor late."""

    def late(_record: logging.LogRecord) -> bool:
        time.sleep(0.2)
        return True

    logging.getLogger("lambda_streaming").addFilter(late)
    sys.exit(3)


async def _block_until_warned(stream: ResponseStream, _context: Any) -> None:  # noqa: ANN401
    """Block the event loop until the runtime has logged that."""
    warned: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warned.append(record.getMessage())

    listener = Listener()
    logging.getLogger("lambda_streaming").addHandler(listener)
    while not warned:
        time.sleep(0.01)  # noqa: ASYNC251 (that is the point)
    logging.getLogger("lambda_streaming").removeHandler(listener)
    await stream.write("warned")


async def _environment(stream: ResponseStream, _context: Any) -> None:  # noqa: ANN401
    """Write the trace in a copy of the environment: found, after it was set, and after it was removed."""
    traces = []
    for change in (dict, lambda: os.environ.update({_TRACE: "mine"}), lambda: os.environ.pop(_TRACE)):
        change()
        copy = os.environ.copy()
        assert set(copy) == set(os.environ)
        assert len(copy) == len(os.environ)
        traces.append(copy.get(_TRACE))
    await stream.write(json.dumps(traces))


_TRACE = "_X_AMZN_TRACE_ID"


async def _start_for_process(stream: ResponseStream, _context: Any) -> None:  # noqa: ANN401
    """Start a task for the process that logs, and write the trace that it sees."""

    async def task() -> str | None:
        logger.info("task of the process")
        return os.environ.copy().get(_TRACE)

    with process_long():
        started = asyncio.create_task(task())
    await stream.write(json.dumps(await started))


async def _status(stream: ResponseStream, _context: Any, status: int) -> None:  # noqa: ANN401
    HttpResponseStream.from_(stream, {"statusCode": status})


async def _wait(_stream: ResponseStream, _context: Any, name: str) -> None:  # noqa: ANN401
    await _signal(name).wait()


async def _set(_stream: ResponseStream, _context: Any, name: str) -> None:  # noqa: ANN401
    _signal(name).set()


async def _pid(stream: ResponseStream, _context: Any) -> None:  # noqa: ANN401
    await stream.write(str(os.getpid()))


_STEPS: dict[str, Callable[..., Any]] = {
    "be": _be,
    "say": _say,
    "leave": _leave,
    "end-of-task": _end_of_task,
    "report-task": _report_task,
    "write": _write,
    "save-when-cancelled": _save_when_cancelled,
    "await-and-save-when-cancelled": _await_and_save_when_cancelled,
    "ignore-cancellation": _ignore_cancellation,
    "terminate": _terminate,
    "fail": _fail,
    "exit": _exit,
    "block-until-warned": _block_until_warned,
    "environment": _environment,
    "start-for-process": _start_for_process,
    "status": _status,
    "wait": _wait,
    "set": _set,
    "pid": _pid,
}


@functools.wraps(steps)
def wrapped(event: Any, context: Any) -> object:  # noqa: ANN401
    """Set a user, as a tracing decorator opens a span, until the handler has returned."""
    token = user.set(f"wrapper of {context.aws_request_id}")
    try:
        return steps(event, context)
    finally:
        logger.info("the wrapper of %s ends", user.get())
        user.reset(token)


@asynccontextmanager
async def _stubborn_lifespan() -> AsyncIterator[None]:
    yield
    await _stay()


@streamify_response(lifespan=_stubborn_lifespan)
async def with_stubborn_lifespan(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401
    """Perform the steps of the event; the lifespan is never left."""
    await _perform(event, stream, context)


_left = threading.Event()
_late: list[threading.Thread] = []


@asynccontextmanager
async def _lifespan_for_latecomers() -> AsyncIterator[None]:
    yield
    _left.set()
    await asyncio.to_thread(_late[0].join)


@streamify_response(lifespan=_lifespan_for_latecomers)
async def _steps_of_latecomer(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401
    await _perform(event, stream, context)


@functools.wraps(_steps_of_latecomer)
def late(event: Any, context: Any) -> object:  # noqa: ANN401
    """Perform the steps of the event when the lifespan is being left."""
    _late.append(threading.current_thread())
    print("late")  # noqa: T201
    _left.wait()
    return _steps_of_latecomer(event, context)


def _exit_with_last_words(*_: object) -> None:
    print("signal handler")  # noqa: T201
    sys.exit(3)


@streamify_response
async def without_lifespan(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401
    """Perform the steps of the event."""
    await _perform(event, stream, context)


@streamify_response
def synchronous(event: Any, stream: Any, context: Any) -> None:  # noqa: ANN401
    """Would run in a thread."""


async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401, ARG001
    """An ASGI app whose second request lets the first one respond."""
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan")
    if scope["path"] == "/second":
        _signal("second").set()
    await _signal("second").wait()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})
