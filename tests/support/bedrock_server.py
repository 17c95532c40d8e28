"""Bedrock's Converse and ConverseStream, on localhost, over real HTTP.

It refuses what Bedrock refuses (according to the service model, and the rules for messages in the user
guide), keeps a prompt cache as described in the guide, and replies with an echo of the user's last message,
or with the rest of it after a given beginning, or as scripted by a test. Tests in the same process use
`bedrock_server()`; everything else runs

    python -m support.bedrock_server --port 0

in `tests`, which prints its URL, for AWS_ENDPOINT_URL_BEDROCK_RUNTIME.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import re
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import botocore
import h11
import msgspec
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from coachstream.aws.clients import AwsClient, AwsSession, Connection
from coachstream.language.bedrock import BedrockOptions
from coachstream.language.bedrock.events import ReplyReader
from coachstream.language.bedrock.reply_stream import open_stream
from coachstream.services import bedrock_options
from coachstream.settings import BedrockSettings, Guardrail
from support import event_stream
from support.aws_session import SESSION
from support.connections import accepting, port_of
from support.patience import PATIENCE_S

if TYPE_CHECKING:
    from types_aiobotocore_bedrock_runtime.type_defs import ConverseStreamRequestTypeDef, MessageTypeDef

    from support.bedrock_guardrail import WordGuardrail

JsonObject = dict[str, Any]

MODEL_ID = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
"""A model that continues a partial reply, accepts a temperature, and caches from 1,024 tokens on."""


def options_with(model_id: str = MODEL_ID, **chosen: Any) -> BedrockOptions:  # noqa: ANN401 (any option)
    """Default model options for tests about something else."""
    default = bedrock_options(BedrockSettings(model_id))
    if "guardrail_id" in chosen:
        chosen = {"guardrail_version": Guardrail("any").version, **chosen}
    return msgspec.structs.replace(default, **chosen)


_OPERATIONS = {"converse": "Converse", "converse-stream": "ConverseStream"}
_PATH = re.compile(r"/model/(?P<model>[^/]+)/(?P<operation>converse|converse-stream)")
_MAX_CHECKPOINTS = 4
_CACHED_FROM_TOKENS = 1024
_CHARACTERS_A_TOKEN = 4

_CONTINUES = re.compile(r"claude-(3-|(sonnet|opus|haiku)-4-(5|1|20))")
"""Models that accept a final message from the assistant, according to their makers' documentation."""
_READ_BYTES = 65_536


# The steps of a response. A script is a sequence of these.


@dataclass(frozen=True)
class Event:
    """An event of the stream."""

    name: str
    content: Mapping[str, object]


@dataclass(frozen=True)
class Burst:
    """Events sent in one write, each in an HTTP chunk of its own."""

    events: Sequence[Event]


@dataclass(frozen=True)
class StreamException:
    """One of the exceptions that a stream may hold, `throttlingException` for example."""

    name: str
    text: str = "the service's own words"


@dataclass(frozen=True)
class Bytes:
    """Raw bytes, sent as the next part of the response."""

    data: bytes


@dataclass(frozen=True)
class Until:
    """Silence, until the test sets the event."""

    gate: asyncio.Event


@dataclass(frozen=True)
class Silence:
    """Nothing more, until the client disconnects."""


@dataclass(frozen=True)
class Pause:
    """Silence for a number of seconds."""

    seconds: float


@dataclass(frozen=True)
class Disconnect:
    """The connection breaks."""


Quiet = Until | Silence | Pause | Disconnect
Step = Event | Burst | StreamException | Bytes | Quiet


@dataclass(frozen=True)
class Refusal:
    """A response with another status than 200."""

    status: int
    code: str
    text: str = "the service's own words"
    body: bytes | None = None


@dataclass(frozen=True)
class Reply:
    """A response with status 200.

    Attributes:
        steps: the steps of the body. For Converse, the events become one JSON object.
        before: the steps before the headers are sent.
    """

    steps: Sequence[Step]
    before: Sequence[Quiet] = ()


ModelResponse = Refusal | Reply


def verdict(**fields: object) -> Reply:
    """A response that fills in the input of the tool it was given, with these fields over a plain verdict."""
    return Reply([Event("toolUse", {**PLAIN_VERDICT, **fields}), *closing("tool_use")])


PLAIN_VERDICT: Mapping[str, object] = {
    "isWorkoutLog": False,
    "workoutConfidence": 0.9,
    "isMemoryRequest": False,
    "memoryConfidence": 0.9,
    "isComplex": False,
    "needsSearch": True,
    "language": "en",
}
"""Of a message that asks for nothing but a reply."""


def text(*deltas: str, block: int = 0) -> list[Event]:
    """One event per delta."""
    return [
        Event("contentBlockDelta", {"contentBlockIndex": block, "delta": {"text": delta}}) for delta in deltas
    ]


def opening() -> Event:
    """The first event of every stream."""
    return Event("messageStart", {"role": "assistant"})


def closing(reason: str = "end_turn", usage: Mapping[str, int] | None = None) -> list[Event]:
    """The end of a healthy stream; usage with the names of `TokenUsage`."""
    tokens = {"inputTokens": 12, "outputTokens": 34, "totalTokens": 46, **(usage or {})}
    return [
        Event("contentBlockStop", {"contentBlockIndex": 0}),
        Event("messageStop", {"stopReason": reason}),
        Event("metadata", {"usage": tokens, "metrics": {"latencyMs": 567}}),
    ]


def reply(*deltas: str, reason: str = "end_turn", usage: Mapping[str, int] | None = None) -> Reply:
    """A whole, healthy response."""
    return Reply([opening(), *text(*deltas), *closing(reason, usage)])


@dataclass
class Received:
    """A request as it was received.

    Attributes:
        connection: the number of the connection that brought it, from 0.
        disconnected: set when the client left before the response was complete.
        answered: set when the whole response has been sent.
    """

    operation: str
    model_id: str
    headers: dict[str, str]
    body: JsonObject
    connection: int
    disconnected: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)


class BedrockServer:
    """The received requests, and the scripted responses.

    Attributes:
        url: the endpoint's URL, without a trailing slash.
        requests: all requests since the warm-up, in order, including refused ones, except for analyses.
        analyses: the requests that offer a tool: the analyses of messages.
        verdict: the response to each analysis.
        answers: responses to the next requests; when none is left, the response is composed from the prompt.
        always: if set, the response in place of the composed one.
        longest_prompt_chars: longer prompts are refused, as by a model with a short context window.
        guardrail: judges requests that name one, and their replies.
        judge: if set, returns the response to each request, in place of all of these.
        connections: the number of connections so far.
        delta_pause_s: the pause before each composed delta.
    """

    def __init__(self, *, delta_pause_s: float = 0) -> None:
        self.url = ""
        self.requests: list[Received] = []
        self.analyses: list[Received] = []
        self.verdict: ModelResponse = verdict()
        self.answers: deque[ModelResponse] = deque()
        self.always: ModelResponse | None = None
        self.guardrail: WordGuardrail | None = None
        self.longest_prompt_chars: int | None = None
        self.judge: Callable[[Received], ModelResponse] | None = None
        self.connections = 0
        self.delta_pause_s = delta_pause_s
        self._cache = PromptCache()
        self._has_request = asyncio.Condition()

    async def request(self, number: int = 0) -> Received:
        """Wait for the request with this number and return it."""
        async with self._has_request:
            await self._has_request.wait_for(lambda: len(self.requests) > number)
        return self.requests[number]

    async def analysis(self, number: int = 0) -> Received:
        """The analysis of this number; waits for it."""
        async with self._has_request:
            await self._has_request.wait_for(lambda: len(self.analyses) > number)
        return self.analyses[number]

    async def respond_to(self, received: Received) -> ModelResponse:
        """Record a request and return its response."""
        async with self._has_request:
            is_analysis = "toolConfig" in received.body
            (self.analyses if is_analysis else self.requests).append(received)
            self._has_request.notify_all()
        if is_analysis:
            return refusal_of(received) or self.verdict
        if self.judge is not None:
            return self.judge(received)
        refusal = refusal_of(received)
        if refusal is not None:
            return refusal
        if self.longest_prompt_chars is not None and _text_chars(received.body) > self.longest_prompt_chars:
            return Refusal(400, "ValidationException", "Input is too long for requested model.")
        usage = self._cache.use(received)
        response = (
            self.answers.popleft()
            if self.answers
            else self.always or _composed(received.body, usage, self.delta_pause_s)
        )
        if self.guardrail is None or "guardrailConfig" not in received.body or isinstance(response, Refusal):
            return response
        return self.guardrail.applied_to(received.body, response)

    async def serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, request after request."""
        number = self.connections
        self.connections += 1
        try:
            await _Connection(self, number, reader, writer).serve()
        except (ConnectionError, h11.RemoteProtocolError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


class _Dropped(ConnectionAbortedError):
    """The script broke the connection."""


class _Connection:
    def __init__(
        self, server: BedrockServer, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._server = server
        self._number = number
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER)

    async def serve(self) -> None:
        while (received := await self._next_request()) is not None:
            response = await self._server.respond_to(received)
            responding = asyncio.create_task(self._respond(received, response))
            # Any read that returns before the response is complete means that the client has disconnected.
            leaving = asyncio.create_task(self._reader.read(_READ_BYTES))
            try:
                await asyncio.wait((responding, leaving), return_when=asyncio.FIRST_COMPLETED)
                if not responding.done():
                    received.disconnected.set()
                    return
                await responding
            except _Dropped:
                raise
            except ConnectionError:
                received.disconnected.set()
                raise
            finally:
                for task in (responding, leaving):
                    task.cancel()
                    with suppress(asyncio.CancelledError, ConnectionError):
                        await task
            if self._http.our_state is not h11.DONE or self._writer.is_closing():
                return
            if leaving.done() and not leaving.cancelled():
                self._http.receive_data(leaving.result())
            self._http.start_next_cycle()

    async def _next_request(self) -> Received | None:
        request = await self._next_event()
        if not isinstance(request, h11.Request):
            return None
        body = b""
        while isinstance(data := await self._next_event(), h11.Data):
            body += data.data
        found = _PATH.fullmatch(request.target.decode())
        return Received(
            operation=_OPERATIONS[found["operation"]] if found else request.target.decode(),
            model_id=unquote(found["model"]) if found else "",
            headers={name.decode(): value.decode() for name, value in request.headers},
            body=json.loads(body or b"{}"),
            connection=self._number,
        )

    async def _next_event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(_READ_BYTES))
        return event

    async def _respond(self, received: Received, response: ModelResponse) -> None:
        if isinstance(response, Refusal):
            body = json.dumps({"message": response.text}).encode() if response.body is None else response.body
            await self._whole(response.status, body, response.code)
        else:
            for step in response.before:
                await self._take(step)
            if received.operation == "Converse":
                await self._converse(received, response)
            else:
                await self._converse_stream(response)
        received.answered.set()

    async def _converse(self, received: Received, response: Reply) -> None:
        for step in response.steps:
            match step:
                case StreamException(name, text=words):
                    code = name[:1].upper() + name[1:]
                    await self._whole(
                        _STATUS_OF.get(code, 500), json.dumps({"message": words}).encode(), code
                    )
                    return
                case Until() | Silence() | Pause() | Disconnect():
                    await self._take(step)
                case Bytes(data):
                    await self._whole(HTTPStatus.OK, data)
                    return
                case Event() | Burst():
                    pass
        await self._whole(HTTPStatus.OK, json.dumps(_in_one_piece(received, response.steps)).encode())

    async def _converse_stream(self, response: Reply) -> None:
        headers = [
            ("content-type", event_stream.CONTENT_TYPE),
            ("transfer-encoding", "chunked"),
            ("x-amzn-requestid", f"request-{len(self._server.requests)}"),
        ]
        await self._send(h11.Response(status_code=HTTPStatus.OK, headers=headers))
        for step in response.steps:
            await self._take(step)
        await self._send(h11.EndOfMessage())

    async def _take(self, step: Step) -> None:
        match step:
            case Event(name, content):
                await self._send(h11.Data(event_stream.event(name, content)))
            case Burst(events):
                frames = (event_stream.event(event.name, event.content) for event in events)
                self._writer.write(b"".join(self._http.send(h11.Data(frame)) or b"" for frame in frames))
                await self._writer.drain()
            case StreamException(name, text=words):
                await self._send(h11.Data(event_stream.exception(name, words)))
            case Bytes(data):
                await self._send(h11.Data(data))
            case Until(gate):
                await gate.wait()
            case Silence():
                await asyncio.Event().wait()
            case Pause(seconds):
                await asyncio.sleep(seconds)
            case Disconnect():
                self._writer.transport.abort()
                raise _Dropped

    async def _whole(self, status: int, body: bytes, code: str | None = None) -> None:
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("x-amzn-requestid", f"request-{len(self._server.requests)}"),
        ]
        if code:
            headers.append(
                ("x-amzn-errortype", f"{code}:http://internal.amazon.com/coral/com.amazon.bedrock/")
            )
        await self._send(h11.Response(status_code=status, headers=headers))
        await self._send(h11.Data(body))
        await self._send(h11.EndOfMessage())

    async def _send(self, event: h11.Event) -> None:
        self._writer.write(self._http.send(event) or b"")
        await self._writer.drain()


_STATUS_OF = {
    "ThrottlingException": 429,
    "ServiceUnavailableException": 503,
    "InternalServerException": 500,
    "ModelStreamErrorException": 424,
    "ValidationException": 400,
}


def refusal_of(received: Received) -> Refusal | None:
    """The refusal with which Bedrock would reject the request, if any."""
    if received.operation not in _OPERATIONS.values():
        return Refusal(404, "UnknownOperationException")
    if not received.headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 "):
        return Refusal(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
    problem = next(_problems(received), None)
    return None if problem is None else Refusal(400, "ValidationException", problem)


def _problems(received: Received) -> Iterator[str]:
    """Violations of the service's description, then of the user guide's rules ("Using the Converse API")."""
    operation = _service().operation_model(received.operation)
    assert operation.input_shape is not None
    report = ParamValidator().validate({"modelId": received.model_id, **received.body}, operation.input_shape)
    if report.has_errors():
        yield report.generate_report()
        return
    messages = received.body.get("messages", [])
    roles = [message["role"] for message in messages]
    if roles != [("user", "assistant")[number % 2] for number in range(len(roles))] or not roles:
        yield "A conversation must alternate between user and assistant roles, and start with the user"
    elif roles[-1] != "user" and not _CONTINUES.search(received.model_id):
        yield "This model does not support assistant message prefill."
    elif roles[-1] != "user" and _last_text(messages) != _last_text(messages).rstrip():
        yield "messages: final assistant content cannot end with trailing whitespace"
    blocks = [
        *received.body.get("system", ()),
        *(block for message in messages for block in message["content"]),
    ]
    if any("text" in block and not block["text"].strip() for block in blocks):
        yield "The text field in the ContentBlock object is blank"
    if any("guardContent" in block and not _text_in(block).strip() for block in blocks):
        yield "The guard content field in the ContentBlock object is blank"
    if any(not message["content"] or "cachePoint" in message["content"][0] for message in messages):
        yield "A message has no content"
    if sum("cachePoint" in block for block in blocks) > _MAX_CHECKPOINTS:
        yield "Too many cachePoint blocks"
    if any("cachePoint" in block for block in blocks) and not re.search("claude|nova", received.model_id):
        yield "You invoked an unsupported model or your request did not allow prompt caching"


@cache
def _service() -> ServiceModel:
    path = Path(botocore.__file__).parent / "data" / "bedrock-runtime" / "2023-09-30" / "service-2.json.gz"
    return ServiceModel(json.loads(gzip.decompress(path.read_bytes())), "bedrock-runtime")


class PromptCache:
    """Beginnings of prompts, up to a checkpoint (user guide, "Prompt caching"); four characters a token."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def use(self, received: Received) -> dict[str, int]:
        """The input fields of `TokenUsage`; a prefix not cached yet counts as a cache write."""
        prompt = f"{received.model_id}\n"
        checkpoints: list[str] = []
        for block in _blocks(received.body):
            if "cachePoint" in block:
                checkpoints.append(prompt)
            else:
                prompt += f"{json.dumps(block)}\n"
        cacheable = [point for point in checkpoints if _tokens(point) >= _CACHED_FROM_TOKENS]
        read = max((_tokens(point) for point in cacheable if point in self._known), default=0)
        written = max((_tokens(point) for point in cacheable), default=0) - read
        self._known.update(cacheable)
        return {
            "inputTokens": _tokens(prompt) - read - written,
            "cacheReadInputTokens": read,
            "cacheWriteInputTokens": written,
        }


def _blocks(body: JsonObject) -> Iterator[JsonObject]:
    yield from body.get("system", ())
    for message in body.get("messages", ()):
        for block in message["content"]:
            yield block if "cachePoint" in block else {"role": message["role"], "text": _text_in(block)}


def _text_chars(body: JsonObject) -> int:
    return sum(len(block.get("text", "")) for block in _blocks(body))


def _tokens(text: str) -> int:
    return len(text) // _CHARACTERS_A_TOKEN


def _last_text(messages: Sequence[JsonObject]) -> str:
    return next(filter(None, map(_text_in, reversed(messages[-1]["content"]))))


def _text_in(block: JsonObject) -> str:
    """The text of a block for the model, guarded or not; empty if it is not text."""
    text: str = block["guardContent"]["text"]["text"] if "guardContent" in block else block.get("text", "")
    return text


def _composed(body: JsonObject, usage: dict[str, int], pause_s: float) -> Reply:
    *_, last = messages = body["messages"]
    beginning = "" if last["role"] == "user" else _last_text(messages)
    asked = _last_text(messages[:-1] if beginning else messages)
    response = f"You said “{asked[:200]}”.\n\nGrüße aus dem Studio 💪🏽:\n  - weiter so!"
    deltas = re.findall(r"\s*\S+", response[len(beginning) :])
    usage = {**usage, "outputTokens": len(deltas), "totalTokens": sum(usage.values()) + len(deltas)}
    said: list[Step] = []
    for delta in text(*deltas):
        said.extend((Pause(pause_s), delta) if pause_s else (delta,))
    return Reply([opening(), *said, *closing(usage=usage)])


def _in_one_piece(received: Received, steps: Sequence[Step]) -> JsonObject:
    """The events of a stream as the response of Converse; a tool's input is in one piece in any case."""
    events = [step for step in steps if isinstance(step, Event)]
    contents: dict[str, Any] = {event.name: event.content for event in events}
    deltas = [event.content["delta"] for event in events if event.name == "contentBlockDelta"]
    said = "".join(delta.get("text", "") for delta in deltas if isinstance(delta, dict))
    blocks: list[JsonObject] = [{"text": said}] if said else []
    if "toolUse" in contents:
        [tool] = received.body["toolConfig"]["tools"]
        use = {"toolUseId": "tooluse_1", "name": tool["toolSpec"]["name"], "input": contents.pop("toolUse")}
        blocks.append({"toolUse": use})
    return {
        "output": {"message": {"role": "assistant", "content": blocks}},
        **contents.get("messageStop", {}),
        **contents.get("metadata", {}),
    }


@asynccontextmanager
async def bedrock_client(
    url: str,
    session: AwsSession = SESSION,
    **connection: Any,  # noqa: ANN401 (of `Connection`)
) -> AsyncIterator[AwsClient[Any]]:
    """A client of the server, created as in the composition root, with `by_sdk` the SDK's; not opened yet."""
    client = session.bedrock_requests(Connection(region="us-west-2", endpoint_url=url, **connection))
    try:
        yield client
    finally:
        await client.aclose()


@asynccontextmanager
async def bedrock_server(*, port: int = 0, delta_pause_s: float = 0) -> AsyncIterator[BedrockServer]:
    """Serve in this loop during the block."""
    bedrock = BedrockServer(delta_pause_s=delta_pause_s)
    async with accepting(bedrock.serve_connection, port=port) as server:
        bedrock.url = f"http://127.0.0.1:{port_of(server)}"
        yield bedrock


async def warm_up(server: BedrockServer, client: AwsClient[Any]) -> None:
    """Warm up the client, so that later timings measure the service only."""
    server.answers.append(reply("Hello"))
    message: MessageTypeDef = {"role": "user", "content": [{"text": "Hello"}]}
    request: ConverseStreamRequestTypeDef = {
        "modelId": "anthropic.claude-3-5-haiku-20241022-v1:0",
        "messages": [message],
    }
    reader = ReplyReader(guardrail_warns=False)
    response, events = await open_stream(await client(), request, reader, decoded_by_sdk=False)
    texts = []
    while (text := await events.read()) is not None:
        texts.append(text)
    response.close()
    assert "".join(texts) == "Hello"
    server.requests.clear()


@contextmanager
def bedrock_server_process(*, delta_pause_s: float = 0) -> Iterator[str]:
    """Run a server in its own process, without a script; yields its URL."""
    command = [sys.executable, "-m", __name__, "--delta-pause", str(delta_pause_s)]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url, "the server did not start"
            yield url
        finally:
            process.terminate()


class SteeredBedrock:
    """A server in a thread of this process, for tests that control it while they wait for other processes.

    Attributes:
        url: the endpoint's URL.
    """

    def __init__(self, server: BedrockServer, loop: asyncio.AbstractEventLoop) -> None:
        self.url = server.url
        self._server = server
        self._loop = loop

    def reply_in_steps(self, *deltas: str) -> Iterator[object]:
        """Reply with these deltas from now on; each step of the iterator releases the next one."""
        gates = [asyncio.Event() for _ in deltas]
        spoken: list[Step] = []
        for gate, delta in zip(gates, text(*deltas), strict=True):
            spoken.extend((Until(gate), delta))
        self._server.always = Reply([opening(), *spoken, *closing()])
        return map(self._loop.call_soon_threadsafe, (gate.set for gate in gates))

    def forget_requests(self) -> None:
        """Forget the requests so far, so that numbers start at 0 again."""
        self._loop.call_soon_threadsafe(self._server.requests.clear)

    def wait_for_requests(self, count: int) -> None:
        """Wait until this many requests have been received."""
        arrived = asyncio.run_coroutine_threadsafe(self._server.request(count - 1), self._loop)
        arrived.result(PATIENCE_S)


@contextmanager
def steered_bedrock() -> Iterator[SteeredBedrock]:
    """Serve in a thread during the block."""
    started: Future[SteeredBedrock] = Future()
    stopped = asyncio.Event()

    async def serve() -> None:
        async with bedrock_server() as server:
            started.set_result(SteeredBedrock(server, asyncio.get_running_loop()))
            await stopped.wait()

    with ThreadPoolExecutor(1, thread_name_prefix="bedrock") as pool:
        serving = pool.submit(asyncio.run, serve())
        steered = started.result(PATIENCE_S)
        try:
            yield steered
        finally:
            steered._loop.call_soon_threadsafe(stopped.set)
            serving.result(PATIENCE_S)


async def _main() -> None:
    parser = argparse.ArgumentParser(description="Bedrock's Converse and ConverseStream on localhost")
    parser.add_argument("--port", type=int, default=0, help="0 takes any that is free")
    parser.add_argument("--delta-pause", type=float, default=0.02, help="seconds before each delta")
    options = parser.parse_args()
    async with bedrock_server(port=options.port, delta_pause_s=options.delta_pause) as server:
        print(server.url, flush=True)  # noqa: T201 (read by the parent process)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_main())
