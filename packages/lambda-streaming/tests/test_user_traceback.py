"""Reported errors show the user's own frames, as those of AWS's runtime do, and none of the runtime's."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from support.scripted_runtime_api import ScriptedRuntimeApi, error_in_trailers, runtime
from support.url_event import url_event

FUNCTIONS = "support.failing_functions"
_FRAME = re.compile(r'  File ".*/(\w+\.py)", line \d+, in (\w+)\n')


def _frames(error: dict[str, object]) -> list[tuple[str, str]]:
    trace = error["stackTrace"]
    assert isinstance(trace, list)
    found = [_FRAME.match(frame) for frame in trace]
    return [(match[1], match[2]) for match in found if match]


@pytest.mark.parametrize(
    "kind", ["writes", "yields", "writes_in_a_thread", "yields_in_a_thread", "app", "traced"]
)
def test_an_error_shows_the_frames_of_the_function_only(
    api: ScriptedRuntimeApi, log: Path, kind: str
) -> None:
    """Before the first byte, after it, and in the log; whatever kind the handler is, and wrapped or not."""
    function = "writes" if kind == "traced" else kind
    expected = [("failing_functions.py", function), ("failing_functions.py", "fail")]
    with runtime(api, f"{FUNCTIONS}.{kind}", log) as process:
        api.give(url_event() | {"after": False})
        early = api.call().wait()
        api.give(url_event() | {"after": True})
        late = api.call().wait()
        api.wait_until_asked()
    assert early.path.endswith("/error")
    assert _frames(json.loads(early.body)) == expected
    assert _frames(error_in_trailers(late)) == expected
    # The X-Ray document of an error that is posted has the same frames.
    xray = json.loads(early.headers["lambda-runtime-function-xray-error-cause"])
    assert [frame["label"] for frame in xray["exceptions"][0]["stack"]] == [function, "fail"]
    assert process.log.count("in fail") == 2
    assert not re.search(r'File ".*/(lambda_streaming|asyncio)/', process.log)


def test_an_error_of_a_buffered_response_shows_the_same(api: ScriptedRuntimeApi, log: Path) -> None:
    """For services that cannot stream."""
    environment = {"LAMBDA_STREAMING_RESPONSE_MODE": "buffered"}
    with runtime(api, f"{FUNCTIONS}.writes", log, environment=environment):
        api.give({"after": True})
        call = api.call().wait()
    assert call.path.endswith("/error")
    assert _frames(json.loads(call.body)) == [
        ("failing_functions.py", "writes"),
        ("failing_functions.py", "fail"),
    ]


def test_an_error_of_a_plain_handler_shows_what_the_stock_runtime_shows(
    api: ScriptedRuntimeApi, log: Path
) -> None:
    """Its frames begin with the handler's."""
    with runtime(api, f"{FUNCTIONS}.plain", log):
        api.give()
        error = json.loads(api.call().wait().body)
    assert _frames(error) == [("failing_functions.py", "plain"), ("failing_functions.py", "fail")]


def test_an_error_of_an_import_shows_the_modules_frames(api: ScriptedRuntimeApi, log: Path) -> None:
    """The error of the INIT phase leaves out the import machinery, too."""
    with runtime(api, f"{FUNCTIONS}.plain", log, environment={"FAILS_TO_IMPORT": "1"}) as process:
        call = api.call().wait()
        assert process.wait() == 1
    assert call.path.endswith("/init/error")
    trace = json.loads(call.body)["stackTrace"]
    assert [re.findall(r"in (\S+)", frame)[0] for frame in trace] == ["<module>", "fail"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_error_inside_this_package_shows_who_called_it(
    api: ScriptedRuntimeApi, log: Path, after: bool
) -> None:
    """As with any library, the frames below the function's own are kept."""
    with runtime(api, f"{FUNCTIONS}.misuses_its_stream", log):
        api.give({"after": after})
        call = api.call().wait()
    error = error_in_trailers(call) if after else json.loads(call.body)
    names = [name for _, name in _frames(error)]
    assert names[:2] == ["misuses_its_stream", "set_content_type"]
