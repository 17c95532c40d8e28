"""Functions of the documentation's pages under the real monitoring tools, which have their own Python."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from support.intake import Intake
from support.places import CACHE, LAMBDA_STREAMING, ROOT
from support.scripted_runtime_api import Call, Runtime, ScriptedRuntimeApi, runtime, scripted_runtime_api
from support.url_event import url_event

PAGES = ROOT / "docs" / "how-to" / "lambda-streaming"
WRAPPER = LAMBDA_STREAMING / "src" / "lambda_streaming" / "exec-wrapper"
_NAMED = re.compile(
    r"[Ss]ave this\s+as `(?P<name>\w+)\.py`.*?^```python\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)

TRACE_ID = "1-67891233-abcdef012345678912345678"


def _environment() -> Path:
    """The tools' environment; skips the test if it is not installed."""
    environment = CACHE / "monitoring"
    if not (environment / "installed.lock").exists():
        pytest.skip("needs packages/lambda-streaming/tests/monitoring/install.sh to have been run")
    return environment


def program(name: str) -> str:
    """A program of the tools' environment; skips the test if it is not installed."""
    return str(_environment() / "bin" / name)


def site_packages() -> Path:
    """Where the tools are; skips the test if they are not installed."""
    (found,) = (_environment() / "lib").glob("python3*/site-packages")
    return found


def save_page(page: str, folder: Path) -> list[str]:
    """Save the Python blocks of a page under the names that it gives them, and return these."""
    found = {each["name"]: each["code"] for each in _NAMED.finditer((PAGES / page).read_text())}
    for name, code in found.items():
        (folder / f"{name}.py").write_text(code)
    return list(found)


class Function:
    """A function that runs under a tool.

    Attributes:
        runtime: its process.
    """

    def __init__(self, api: ScriptedRuntimeApi, running: Runtime, intake: Intake | None) -> None:
        self._api = api
        self._intake = intake
        self.runtime = running

    def wait_until_idle(self) -> None:
        """Wait until the runtime asks for an event."""
        self._api.wait_until_asked()
        self._api.asked.release()

    def invoke(self, path: str, **headers: str) -> Call:
        """Send a request's event, and return what the runtime has posted when it asks for the next event.

        Lambda freezes the environment then, so what a tool sends later does not count.
        """
        self._api.give(
            url_event(path, **headers),
            request_id=path.strip("/"),
            trace_id=f"Root={TRACE_ID};Parent=463ac35c9f6413ad;Sampled=1",
        )
        call = self._api.call().wait()
        self.wait_until_idle()
        if self._intake is not None:
            self._intake.freeze()
        return call


@contextlib.contextmanager
def function(
    folder: Path,
    handler: str,
    *,
    command: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    intake: Intake | None = None,
    python_path: Sequence[Path] = (),
) -> Iterator[Function]:
    """Run a function of a folder during the block.

    Args:
        folder: has its modules, and is its working directory's counterpart on Lambda.
        handler: what `_HANDLER` has.
        command: in place of `python -m lambda_streaming HANDLER`.
        environment: further variables.
        intake: what receives the tool's data.
        python_path: further folders with modules.
    """
    python = program("python")
    path = [folder, LAMBDA_STREAMING / "src", *python_path]
    variables = {
        "PYTHONPATH": ":".join(map(str, path)),
        "LAMBDA_TASK_ROOT": str(folder),
        "_HANDLER": handler,
        "AWS_REGION": "eu-west-1",
        **(environment or {}),
    }
    started = command or [python, "-m", "lambda_streaming", handler]
    with (
        scripted_runtime_api() as api,
        runtime(
            api, handler, folder / "log", command=started, environment=variables, folder=folder
        ) as running,
    ):
        yield Function(api, running, intake)
