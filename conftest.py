"""Rules for every test: asyncio, no blocking call on the event loop, no silent skip in CI.

A test must not depend on the machine's load: hypothesis has no deadlines here, and waits are bounded by
`support.patience`, which only a hang exceeds. Performance is measured in `bench/`.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import botocore.session
import certifi
import httpx
import hypothesis
import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from botocore.loaders import JSONFileLoader, create_loader
from httpx._config import create_ssl_context
from hypothesis import HealthCheck
from xdist.workermanage import WorkerController  # type: ignore[import-untyped]

from support.dynamodb import (
    aws_credentials,
    dynamodb_local_url,
    dynamodb_url,
    moto_url,
    share_dynamodb_local,
    stop_sharing_dynamodb_local,
)

__all__ = ["aws_credentials", "dynamodb_local_url", "dynamodb_url", "moto_url"]

IN_CI = os.environ.get("CI") == "true"

hypothesis.settings.register_profile(
    "any machine",
    deadline=None,
    # Autouse fixtures have function scope; a test creates fresh state for each example itself.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("any machine")


def pytest_configure() -> None:
    """Prepare the process.

    It restores the signals that a shell ignores for background jobs and under `nohup`, for child processes.
    Files that cost each of a thousand clients some 30 ms are read once: certificates, which no server here
    uses, and the SDK's service models, including the folders that each new session searches for them.
    """
    httpx._transports.default.create_ssl_context = functools.cache(create_ssl_context)  # type: ignore[attr-defined]
    botocore.session.create_loader = functools.cache(create_loader)
    JSONFileLoader._load_file = functools.cache(JSONFileLoader._load_file)  # type: ignore[attr-defined]
    os.environ["AWS_CA_BUNDLE"] = _one_certificate()
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


@functools.cache
def _one_certificate() -> str:
    """Return a file with a single CA certificate instead of all."""
    certificate, _, _ = Path(certifi.where()).read_text().partition("-----END CERTIFICATE-----")
    file = Path(tempfile.mkdtemp(prefix="coachstream-")) / "authority.pem"
    file.write_text(f"{certificate}-----END CERTIFICATE-----\n")
    atexit.register(shutil.rmtree, file.parent, ignore_errors=True)
    return str(file)


@pytest.fixture
def anyio_backend() -> str:
    """Test with asyncio, which Lambda and uvicorn run."""
    return "asyncio"


OUR_MODULES = ["lambda_streaming", "coachstream"]


@pytest.fixture(autouse=True, scope="session")
def blocking_calls_fail() -> Iterator[BlockBuster]:
    """Fail a test whose code under test makes a blocking call on a running event loop."""
    with blockbuster_ctx(OUR_MODULES) as detector:
        yield detector


@pytest.fixture
def no_blocking_calls(blocking_calls_fail: BlockBuster) -> Iterator[BlockBuster]:
    """The same, for a test that makes an exception."""
    blocking_calls_fail.deactivate()
    try:
        with blockbuster_ctx(OUR_MODULES) as detector:
            yield detector
    finally:
        blocking_calls_fail.activate()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    """Start what the workers of a run share; Java's start-up costs more than most tests."""
    share_dynamodb_local(node.workerinput)


def pytest_unconfigure() -> None:
    """Stop it."""
    stop_sharing_dynamodb_local()


def pytest_xdist_auto_num_workers() -> int:
    """Many tests wait for a process or a clock, so there are two workers per core."""
    return 2 * (os.cpu_count() or 1)


#: A test that requests one of these spends most of its time in Java, Node.js or a browser.
PEER_FIXTURES = frozenset({"dynamodb_local_url", "node", "browser"})
PEER_FOLDERS = tuple(
    Path(__file__).parent / folder
    for folder in (
        "packages/coachstream/tests/functions/clients",
        "packages/coachstream/tests/infrastructure",
        "tests/browser",
    )
)


#: Where the files are that take minutes. A worker runs a file as a whole, so the longest begin first: in turn
#: one that mostly waits, and one that keeps a core busy.
SLOWEST = tuple(
    Path(__file__).parent / path
    for path in (
        "tests/end_to_end/test_serve.py",
        "packages/coachstream/tests/infrastructure/test_deploy.py",
        "tests/end_to_end/test_fresh_clone.py",
        "tests/end_to_end/test_run_machine.py",
        "tests/end_to_end/test_faults.py",
        "packages/coachstream/tests/infrastructure/amplify",
        "tests/end_to_end/test_kill.py",
        "tests/browser/test_client_module.py",
        "tests/end_to_end",
        "packages/coachstream/tests/infrastructure",
        "packages/coachstream/tests/storage",
        "tests",
    )
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slowest, and mark the tests that `make test-pythons` runs on one interpreter only."""
    items.sort(key=lambda item: _position(item.path))
    for item in items:
        if not PEER_FIXTURES.isdisjoint(getattr(item, "fixturenames", ())) or _is_about_a_peer(item.path):
            item.add_marker(pytest.mark.peer)
        if "lambda_package" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.lambda_package)


@functools.cache
def _position(file: Path) -> int:
    return next((at for at, path in enumerate(SLOWEST) if file.is_relative_to(path)), len(SLOWEST))


@functools.cache
def _is_about_a_peer(file: Path) -> bool:
    return any(file.is_relative_to(folder) for folder in PEER_FOLDERS)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test is a failed one: CI's machine must have every tool."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which CI does not allow: {call.excinfo}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself while it is collected."""
    report = yield
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} skipped itself, which CI does not allow: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print in one line how many tests were skipped, and why."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", ())
        if isinstance(report.longrepr, tuple)
    )
    if reasons:
        listed = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        terminalreporter.write_line(f"Skipped {reasons.total()} tests: {listed}")
