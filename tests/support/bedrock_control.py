"""Bedrock's control plane on localhost: GetFoundationModel and GetInferenceProfile, over real HTTP.

Its responses are validated against the service model, so that no test relies on a field that the service does
not have. Set AWS_ENDPOINT_URL_BEDROCK to its URL, in this process or another.
"""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import botocore.session
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

US = ("us-east-1", "us-east-2", "us-west-2")


def active(**lifecycle: str) -> dict[str, Any]:
    """An active model without an end of life, unless given: `endOfLifeTime="2027-01-08T00:00:00Z"`."""
    return {
        "responseStreamingSupported": True,
        "inferenceTypesSupported": ["INFERENCE_PROFILE"],
        "modelLifecycle": {"status": "ACTIVE", **lifecycle},
    }


def legacy(**lifecycle: str) -> dict[str, Any]:
    """A model whose end of life is announced."""
    return {**active(), "modelLifecycle": {"status": "LEGACY", **lifecycle}}


@dataclass
class BedrockControl:
    """The models and profiles, and the received requests.

    Attributes:
        models: the details of each model beyond id and ARN, by id.
        profiles: the ARNs of the models of each inference profile, by the profile's id.
        refusal: if set, the status and error code of every response.
        may_answer: cleared while a test wants no responses.
        requests: the requested paths, in order.
    """

    url: str = ""
    models: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    profiles: dict[str, tuple[str, ...]] = field(default_factory=dict)
    refusal: tuple[int, str] | None = None
    may_answer: threading.Event = field(default_factory=threading.Event)
    requests: list[str] = field(default_factory=list)

    def add(self, name: str, details: Mapping[str, Any] | None = None) -> None:
        """Add a model, and the US inference profile for it."""
        self.models[name] = active() if details is None else details
        self.profiles[f"us.{name}"] = tuple(_arn(name, region) for region in US)

    def respond_to(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status and body."""
        self.requests.append(path)
        if self.refusal is not None:
            status, code = self.refusal
            return status, {"__type": code, "message": "the service's own words"}
        _, kind, name = path.split("/", 2)
        name = unquote(name).rpartition("/")[2]
        if kind == "foundation-models" and name in self.models:
            arn = _arn(name, "us-west-2")
            return 200, _valid(
                "GetFoundationModelResponse",
                {"modelDetails": {"modelArn": arn, "modelId": name, **self.models[name]}},
            )
        if kind == "inference-profiles" and name in self.profiles:
            return 200, _valid("GetInferenceProfileResponse", _profile(name, self.profiles[name]))
        return 404, {"__type": "ResourceNotFoundException", "message": "the service's own words"}


def _arn(name: str, region: str) -> str:
    return f"arn:aws:bedrock:{region}::foundation-model/{name}"


def _profile(name: str, arns: tuple[str, ...]) -> dict[str, Any]:
    return {
        "inferenceProfileName": name,
        "inferenceProfileArn": f"arn:aws:bedrock:us-west-2:123456789012:inference-profile/{name}",
        "inferenceProfileId": name,
        "models": [{"modelArn": arn} for arn in arns],
        "status": "ACTIVE",
        "type": "SYSTEM_DEFINED",
    }


@functools.cache
def _description() -> ServiceModel:
    """The service's own description, loaded once."""
    return botocore.session.get_session().get_service_model("bedrock")


def _valid(shape: str, body: dict[str, Any]) -> dict[str, Any]:
    report = ParamValidator().validate(body, _description().shape_for(shape))
    assert not report.has_errors(), report.generate_report()
    return body


@contextmanager
def bedrock_control() -> Iterator[BedrockControl]:
    """Serve in threads; only models that a test adds exist."""
    control = BedrockControl()
    control.may_answer.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, content = control.respond_to(self.path)
            control.may_answer.wait()
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("x-amzn-requestid", "r-1")
            self.send_header("x-amzn-errortype", str(content.get("__type", "")))
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            with suppress(ConnectionError):  # the client has disconnected
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    control.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield control
    finally:
        control.may_answer.set()
        server.shutdown()
        thread.join()
        server.server_close()
