"""The Runtime API as data: calls, the state table, responses and error reports."""

from __future__ import annotations

import base64
import json
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_streaming.emulator.runtime_api import (
    TRANSITIONS,
    Call,
    ErrorReport,
    Event,
    Headers,
    InvalidRequestId,
    InvalidResponseMode,
    InvalidStateTransition,
    RuntimeApiError,
    RuntimeCall,
    RuntimeState,
    RuntimeStateMachine,
    UnknownCall,
    check_response_mode,
    parse_call,
)

EVENT = Event(payload=b"{}", request_id="r1", invocation_id="i1", deadline_ms=1, function_arn="arn")


@pytest.mark.parametrize(
    ("method", "target", "call"),
    [
        ("GET", "/2018-06-01/runtime/invocation/next", RuntimeCall(Call.NEXT)),
        ("GET", "/2018-06-01/runtime/invocation/next?x=1", RuntimeCall(Call.NEXT)),
        ("POST", "/2018-06-01/runtime/invocation/a-b/response", RuntimeCall(Call.RESPONSE, "a-b")),
        ("POST", "/2018-06-01/runtime/invocation/a%20b/error", RuntimeCall(Call.ERROR, "a b")),
        ("POST", "/2018-06-01/runtime/init/error", RuntimeCall(Call.INIT_ERROR)),
        ("GET", "/2018-06-01/runtime/restore/next", RuntimeCall(Call.RESTORE_NEXT)),
        ("POST", "/2018-06-01/runtime/restore/error", RuntimeCall(Call.RESTORE_ERROR)),
        ("GET", "/ping", RuntimeCall(Call.PING)),
        ("POST", "/2020-01-01/extension/register", RuntimeCall(Call.EXTENSION_REGISTER)),
        ("GET", "/2020-01-01/extension/event/next", RuntimeCall(Call.EXTENSION_NEXT)),
    ],
)
def test_a_request_line_names_a_call(method: str, target: str, call: RuntimeCall) -> None:
    """Every path of the API maps to one call; ids in the path are percent-decoded."""
    assert parse_call(method, target) == call


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/2018-06-01/runtime/invocation/next"),
        ("GET", "/2018-06-01/runtime/invocation/a/response"),
        ("POST", "/2018-06-01/runtime/invocation//response"),
        ("POST", "/2018-06-01/runtime/invocation/a/b/response"),
        ("GET", "/2015-01-01/runtime/invocation/next"),
        ("GET", "/"),
    ],
)
def test_an_unknown_method_version_or_path_is_a_404(method: str, target: str) -> None:
    """The 404 has the same JSON body as every other error of the API."""
    with pytest.raises(UnknownCall) as unknown:
        parse_call(method, target)
    answer = unknown.value.response()
    assert (answer.status, json.loads(answer.body)["errorType"]) == (404, "NotFound")


@given(st.text(), st.text())
def test_any_request_line_is_a_call_or_a_typed_error(method: str, target: str) -> None:
    """No client input makes the parser fail in any other way."""
    refused: RuntimeApiError | None = None
    try:
        parse_call(method, target)
    except RuntimeApiError as error:
        refused = error
    if refused is not None:
        assert json.loads(refused.response().body).keys() == {"errorMessage", "errorType"}


@pytest.mark.parametrize(("state", "call"), list(product(RuntimeState, Call)), ids=lambda value: value.name)
def test_a_call_outside_the_state_table_is_refused(state: RuntimeState, call: Call) -> None:
    """A call makes the transition in the table, or gets a 403 and leaves the state as it was."""
    machine = RuntimeStateMachine()
    machine.state, machine.event = state, EVENT
    to = TRANSITIONS.get((state, call))
    if to is not None:
        assert machine.called(RuntimeCall(call, "r1")) is to is machine.state
        return
    with pytest.raises(InvalidStateTransition) as refused:
        machine.called(RuntimeCall(call, "r1"))
    assert refused.value.status == 403
    assert machine.state is state


def test_a_whole_life_with_two_invocations() -> None:
    """The states follow init, next, event, response, next, event, error, next."""
    machine = RuntimeStateMachine()
    machine.called(RuntimeCall(Call.NEXT))
    for call in (Call.RESPONSE, Call.ERROR):
        machine.delivered(EVENT)
        machine.called(RuntimeCall(call, "r1"), invocation_id="i1")
        machine.responded()
        assert machine.state is RuntimeState.RESPONDED
        machine.called(RuntimeCall(Call.NEXT))
        assert (machine.state, machine.event) == (RuntimeState.READY, None)


@pytest.mark.parametrize(("request_id", "invocation_id"), [("other", None), ("r1", "stale"), ("other", "i1")])
def test_a_result_for_another_invocation_is_refused(request_id: str, invocation_id: str | None) -> None:
    """Another request id, or the invocation id of an earlier attempt, is not accepted."""
    machine = RuntimeStateMachine()
    machine.called(RuntimeCall(Call.NEXT))
    machine.delivered(EVENT)
    with pytest.raises(InvalidRequestId):
        machine.called(RuntimeCall(Call.RESPONSE, request_id), invocation_id=invocation_id)
    assert machine.state is RuntimeState.INVOKED


def test_a_result_while_no_invocation_runs_is_refused() -> None:
    """While the runtime waits for an event, no request id is valid."""
    machine = RuntimeStateMachine()
    machine.called(RuntimeCall(Call.NEXT))
    with pytest.raises(InvalidRequestId):
        machine.called(RuntimeCall(Call.RESPONSE, ""))


def test_an_event_is_delivered_only_to_a_runtime_that_waits() -> None:
    """Delivering it at any other time is a bug in the emulator."""
    with pytest.raises(RuntimeError, match="INITIALIZING"):
        RuntimeStateMachine().delivered(EVENT)


@pytest.mark.parametrize("mode", ["Streaming", "foo", "", "streaming, streaming"])
def test_a_wrong_response_mode_is_refused(mode: str) -> None:
    """Only the exact value `streaming` is accepted."""
    with pytest.raises(InvalidResponseMode):
        check_response_mode(Headers([(b"lambda-runtime-function-response-mode", mode.encode())]))


def test_the_response_mode_may_be_absent() -> None:
    """Go's client streams without sending the header."""
    check_response_mode(Headers([]))


@pytest.mark.parametrize(
    ("body", "header", "expected"),
    [
        (b'{"errorType":"ValueError","errorMessage":"no","stackTrace":["a"]}', None, ("ValueError", "no")),
        (b'{"errorMessage":"no"}', "Function.Bad", ("Function.Bad", "no")),
        (b'{"errorType":"A"}', "B", ("A", "")),
        (b"not json", "B", ("B", "not json")),
        (b"\xff", None, ("Runtime.Unknown", "\ufffd")),
        (b"[]", None, ("Runtime.Unknown", "[]")),
        (b"", None, ("Runtime.Unknown", "")),
    ],
)
def test_an_error_report_is_read_from_body_and_header(
    body: bytes, header: str | None, expected: tuple[str, str]
) -> None:
    """Every report yields a type and a message, whatever the runtime sent."""
    report = ErrorReport.from_body(body, header)
    assert (report.error_type, report.error_message) == expected


def test_an_error_in_trailers_is_base64_json() -> None:
    """This is the encoding of the Node runtime."""
    sent = '{"errorType":"TypeError","errorMessage":"grüß","trace":[]}'.encode()
    body = base64.b64encode(sent).decode()
    report = ErrorReport.from_trailers(
        {"lambda-runtime-function-error-type": "TypeError", "lambda-runtime-function-error-body": body}
    )
    assert report == ErrorReport(error_type="TypeError", error_message="grüß", report=sent)


def test_an_error_body_that_is_not_base64_loses_its_details_only() -> None:
    """The error type alone is enough to report the error."""
    report = ErrorReport.from_trailers(
        {"lambda-runtime-function-error-type": "T", "lambda-runtime-function-error-body": "%%%"}
    )
    assert report == ErrorReport(error_type="T", error_message="")


def test_no_trailers_are_no_error() -> None:
    """A response that ends normally has no trailers."""
    assert ErrorReport.from_trailers({}) is None


@given(st.binary(max_size=200), st.none() | st.text(max_size=20))
def test_any_bytes_make_an_error_report(body: bytes, header: str | None) -> None:
    """Any report can be logged, because it always has a type."""
    assert ErrorReport.from_body(body, header).error_type


@pytest.mark.parametrize(
    "lines",
    [
        [b"Lambda-Runtime-Function-Error-Type", b"Lambda-Runtime-Function-Error-Body"],
        [b"lambda-runtime-function-error-type , LAMBDA-Runtime-Function-Error-Body,"],
    ],
    ids=["two lines", "one list"],
)
def test_declared_trailers_may_stand_on_one_line_or_on_two(lines: list[bytes]) -> None:
    """Node sends two `Trailer` lines, .NET one list."""
    declared = Headers([(b"Trailer", line) for line in lines]).items_of_list("trailer")
    assert declared == {"lambda-runtime-function-error-type", "lambda-runtime-function-error-body"}
