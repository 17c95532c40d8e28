"""Pinecone's REST API on localhost: an index with integrated embedding, and the reranking models.

It supports the operations that the project uses and refuses what Pinecone documents as refused: a wrong key,
a missing version, undocumented bodies (`pinecone_api.shapes`), values past the limits, nulls. It records what
it refused (`PineconeServer.refused`). Texts are compared by their words. Tests use `pinecone_server()`;
everything else runs

    python -m support.pinecone_server --port 0 --api-key K

in `tests`, which prints its URL, for PINECONE_INDEX_HOST and PINECONE_CONTROLLER_HOST alike.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import uvicorn

from support.http_server import serving
from support.patience import PATIENCE_S
from support.pinecone_api import shapes
from support.pinecone_api.filters import InvalidFilter, matches
from support.pinecone_api.scoring import similarity

API_KEY = "pcsk-the-tests-own-key"

_RECORDS = re.compile(r"/records/namespaces/(?P<namespace>[^/]+)/(?P<operation>search|upsert)")
# "Identifier limits".
_IDENTIFIER = re.compile(r"[\x01-\x7f]{1,512}")
# "Operation limits", "Upsert limits", and "Metadata".
_MAX_TOP_K = 10_000
_MAX_RECORDS = 96
_MAX_RECORD_BYTES = 40_960
_MODELS = {"bge-reranker-v2-m3": 100, "pinecone-rerank-v0": 100}
"""Models, and the number of documents that each accepts."""

_RERANK_SCALE = 0.02
"""Scores of rerankers are low (existing system, section 4.3, defect A)."""


class Operation(StrEnum):
    """The operations of the API."""

    SEARCH = "search"
    UPSERT = "upsert"
    RERANK = "rerank"
    DELETE = "delete"


class Fault(StrEnum):
    """How a request fails."""

    BROKEN = "broken"  # the connection ends within the response
    SLOW = "slow"  # no response ever arrives
    DRIP = "drip"  # single bytes at intervals, without end
    ERROR = "error"
    THROTTLED = "throttled"
    GARBAGE = "garbage"  # 200, and no JSON
    OTHER_JSON = "other json"  # 200, and JSON of another shape
    MISSING = "missing"  # the namespace or model does not exist


@dataclass(frozen=True)
class Request:
    """A request as received; `namespace` is empty for rerankings."""

    operation: Operation
    namespace: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 (JSON)
        """The decoded body, or the first of several records."""
        return msgspec.json.decode(self.body.partition(b"\n")[0])


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass
class PineconeServer:
    """An ASGI app.

    Attributes:
        api_key: the only accepted key.
        url: the base URL without a trailing slash, once the app is served.
        records: by namespace and id; tests may add any record.
        requests: the received requests, in order.
        refused: the reasons of refusals that no test requested.
        faults: the current faults, by operation or by a search's namespace.
    """

    api_key: str = API_KEY
    url: str = ""
    records: dict[str, dict[str, shapes.JsonObject]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    faults: dict[tuple[Operation, str | None], Fault] = field(default_factory=dict)
    _came: asyncio.Condition = field(default_factory=asyncio.Condition, repr=False)

    def put(self, namespace: str, record_id: str, **fields: object) -> None:
        """Store a record directly, such as the existing functions may have left."""
        self.records.setdefault(namespace, {})[record_id] = {"text": "", **fields}

    def fail(self, fault: Fault, operation: Operation, namespace: str | None = None) -> None:
        """Let an operation fail from now on, in one namespace or in all."""
        self.faults[operation, namespace] = fault

    async def asked(self, times: int) -> None:
        """Wait until this many requests have been received."""
        async with self._came, asyncio.timeout(PATIENCE_S):
            await self._came.wait_for(lambda: len(self.requests) >= times)

    def searches(self) -> dict[str, Any]:
        """The bodies of the searches by their namespaces, each searched once."""
        found = {r.namespace: r.json for r in self.requests if r.operation is Operation.SEARCH}
        assert len(found) == sum(r.operation is Operation.SEARCH for r in self.requests)
        return found

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 (ASGI)
        """Serve one request."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        try:
            request = _request(scope, body)
            async with self._came:
                self.requests.append(request)
                self._came.notify_all()
            fault = self.faults.get((request.operation, request.namespace)) or self.faults.get(
                (request.operation, None)
            )
            if fault is not None:
                await _fail(fault, receive, send)
                return
            self._admit(request)
            status, content = self._respond_to(request)
        except (_Refused, InvalidFilter, msgspec.MsgspecError) as error:
            self.refused.append(str(error))
            status = error.status if isinstance(error, _Refused) else HTTPStatus.BAD_REQUEST
            code = error.code if isinstance(error, _Refused) else "INVALID_ARGUMENT"
            content = _error(status, code, str(error))
        await _respond(send, status, content)

    def _admit(self, request: Request) -> None:
        if request.headers.get("api-key") != self.api_key:
            raise _Refused(HTTPStatus.UNAUTHORIZED, "UNAUTHENTICATED", "Invalid API key")
        version = request.headers.get("x-pinecone-api-version")
        if version != shapes.API_VERSION:
            raise _Refused(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", f"version {version}")
        expected = "application/x-ndjson" if request.operation is Operation.UPSERT else "application/json"
        if request.headers.get("content-type") != expected:
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "INVALID_ARGUMENT", "content type")

    def _respond_to(self, request: Request) -> tuple[int, bytes]:
        match request.operation:
            case Operation.SEARCH:
                return HTTPStatus.OK, msgspec.json.encode(self._search(request))
            case Operation.UPSERT:
                self._upsert(request)
                return HTTPStatus.CREATED, b""
            case Operation.RERANK:
                return HTTPStatus.OK, msgspec.json.encode(_rerank(request))
            case Operation.DELETE if request.namespace not in self.records:
                # As the service answers since its serverless indexes (pinecone-ts-client, issue 324).
                return HTTPStatus.NOT_FOUND, _error(404, "NOT_FOUND", "Namespace not found")
            case Operation.DELETE:
                self._delete(request)
                return HTTPStatus.OK, b"{}"

    def _search(self, request: Request) -> shapes.SearchRecordsResponse:
        asked = msgspec.json.decode(request.body, type=shapes.SearchRecordsRequest)
        if asked.query.top_k > _MAX_TOP_K or asked.rerank is not None:
            raise _Refused(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", "top_k or rerank")
        if asked.query.filter is not None:
            matches(asked.query.filter, {})
        hits = [
            shapes.Hit(
                record_id,
                similarity(asked.query.inputs.text, record["text"]),
                {n: v for n, v in record.items() if asked.fields is None or n in asked.fields},
            )
            for record_id, record in self.records.get(request.namespace, {}).items()
            if asked.query.filter is None or matches(asked.query.filter, record)
        ]
        hits.sort(key=lambda hit: -hit.score)
        usage = shapes.SearchUsage(read_units=1, embed_total_tokens=len(asked.query.inputs.text) // 4)
        return shapes.SearchRecordsResponse(shapes.SearchResult(hits[: asked.query.top_k]), usage)

    def _delete(self, request: Request) -> None:
        asked = msgspec.json.decode(request.body, type=shapes.DeleteRequest)
        if not asked.filter:
            raise _Refused(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", "an empty filter")
        kept = self.records.get(request.namespace, {})
        for name in [name for name, record in kept.items() if matches(asked.filter, record)]:
            del kept[name]

    def _upsert(self, request: Request) -> None:
        lines = request.body.splitlines()
        if not 1 <= len(lines) <= _MAX_RECORDS:
            raise _Refused(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", f"{len(lines)} records")
        records = [_checked_record(line) for line in lines]
        self.records.setdefault(request.namespace, {}).update(records)


def _request(scope: Any, body: bytes) -> Request:  # noqa: ANN401 (ASGI)
    path = scope["raw_path"].decode()
    headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
    found = _RECORDS.fullmatch(path)
    if scope["method"] == "POST" and found:
        namespace = unquote(found["namespace"])
        if not _IDENTIFIER.fullmatch(namespace):
            raise _Refused(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", "namespace")
        return Request(Operation(found["operation"]), namespace, headers, body)
    if (scope["method"], path) == ("POST", "/rerank"):
        return Request(Operation.RERANK, "", headers, body)
    if (scope["method"], path) == ("POST", "/vectors/delete"):
        namespace = msgspec.json.decode(body, type=shapes.DeleteRequest).namespace
        return Request(Operation.DELETE, namespace, headers, body)
    raise _Refused(HTTPStatus.NOT_FOUND, "NOT_FOUND", f"{scope['method']} {path}")


def _checked_record(line: bytes) -> tuple[str, shapes.JsonObject]:
    record = msgspec.json.decode(line, type=shapes.JsonObject)
    record_id = record.pop("_id", None)
    wrong = [name for name, value in record.items() if not _is_metadata(value)]
    if not (isinstance(record_id, str) and _IDENTIFIER.fullmatch(record_id)):
        wrong.append("_id")
    if not (isinstance(record.get("text"), str) and record["text"].strip()):
        wrong.append("text")
    if len(line) > _MAX_RECORD_BYTES:
        wrong.append("size")
    if wrong:
        raise _Refused(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", f"a record's {', '.join(wrong)}")
    return str(record_id), record


def _is_metadata(value: object) -> bool:
    """Whether it is a string, number, boolean or list of strings, without nulls and objects ("Metadata")."""
    if isinstance(value, list):
        return all(isinstance(each, str) for each in value)
    return isinstance(value, str | int | float)


def _rerank(request: Request) -> shapes.RerankResult:
    asked = msgspec.json.decode(request.body, type=shapes.RerankRequest)
    if asked.model not in _MODELS:
        raise _Refused(HTTPStatus.NOT_FOUND, "NOT_FOUND", f"model {asked.model}")
    if not 1 <= len(asked.documents) <= _MODELS[asked.model] or not asked.query.strip():
        raise _Refused(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", "documents or query")
    [ranked_field] = asked.rank_fields
    data = [
        shapes.RankedDocument(
            index,
            similarity(asked.query, document[ranked_field]) * _RERANK_SCALE,
            document if asked.return_documents else None,
        )
        for index, document in enumerate(asked.documents)
    ]
    data.sort(key=lambda ranked: -ranked.score)
    return shapes.RerankResult(asked.model, data[: asked.top_n], shapes.RerankUsage(rerank_units=1))


def _error(status: int, code: str, message: str) -> bytes:
    return msgspec.json.encode(shapes.ErrorResponse(shapes.ErrorDetail(code, message), status))


async def _fail(fault: Fault, receive: Any, send: Any) -> None:  # noqa: ANN401 (ASGI)
    match fault:
        case Fault.SLOW:
            while (await receive())["type"] != "http.disconnect":
                pass
        case Fault.DRIP:
            await _drip(receive, send)
        case Fault.BROKEN:
            headers = [(b"content-length", b"1000"), (b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": headers})
            await send({"type": "http.response.body", "body": b'{"result"', "more_body": True})
        case Fault.ERROR:
            await _respond(send, 500, _error(500, "INTERNAL", "the service's own words"))
        case Fault.THROTTLED:
            body = _error(429, "RESOURCE_EXHAUSTED", "the service's own words")
            await _respond(send, 429, body, (b"retry-after", b"1"))
        case Fault.GARBAGE:
            await _respond(send, 200, b"<html>")
        case Fault.OTHER_JSON:
            await _respond(send, 200, b'{"result": {"hits": [{"_id": "a"}]}, "usage": {}, "data": [{}]}')
        case Fault.MISSING:
            await _respond(send, 404, _error(404, "NOT_FOUND", "the service's own words"))


async def _drip(receive: Any, send: Any) -> None:  # noqa: ANN401 (ASGI)
    await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": b" ", "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(0.02):
                while (await receive())["type"] != "http.disconnect":
                    pass
                return


async def _respond(send: Any, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:  # noqa: ANN401 (ASGI)
    sent = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-pinecone-request-id", b"request-1"),
        *headers,
    ]
    await send({"type": "http.response.start", "status": int(status), "headers": sent})
    await send({"type": "http.response.body", "body": body})


async def _live(receive: Any, send: Any) -> None:  # noqa: ANN401 (ASGI)
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{message['type']}.complete"})
    await send({"type": "lifespan.shutdown.complete"})


@asynccontextmanager
async def pinecone_server(api_key: str = API_KEY) -> AsyncIterator[PineconeServer]:
    """Serve in this loop during the block."""
    server = PineconeServer(api_key)
    async with serving(server) as port:
        server.url = f"http://127.0.0.1:{port}"
        yield server


@contextmanager
def pinecone_server_process(api_key: str = API_KEY) -> Iterator[str]:
    """Run a server in its own process; yields its URL."""
    command = [sys.executable, "-m", __name__, "--api-key", api_key]
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


async def _main() -> None:
    parser = argparse.ArgumentParser(description="Pinecone's REST API on localhost")
    parser.add_argument("--port", type=int, default=0, help="0 takes any that is free")
    parser.add_argument("--api-key", default=API_KEY, help="the only one that is let in")
    options = parser.parse_args()
    with socket.create_server(("127.0.0.1", options.port)) as listening:
        # asyncio sets it itself only for sockets with an explicit protocol.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)  # noqa: T201 (read by the parent process)
        config = uvicorn.Config(PineconeServer(options.api_key), log_level="error")
        await uvicorn.Server(config).serve([listening])


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_main())
