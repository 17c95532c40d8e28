"""What holds for every test: asyncio, no blocking call on the loop, and no silent skip in CI."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx

from support.dynamodb import aws_credentials, dynamodb_local_url, moto_url

__all__ = ["aws_credentials", "dynamodb_local_url", "moto_url"]

IN_CI = os.environ.get("CI") == "true"


@pytest.fixture
def anyio_backend() -> str:
    """Lambda and uvicorn run asyncio, so that is what is tested."""
    return "asyncio"


@pytest.fixture(autouse=True)
def no_blocking_calls() -> Iterator[BlockBuster]:
    """A blocking call that our own code makes on a running event loop fails the test."""
    with blockbuster_ctx(["lambda_streaming", "coachstream"]) as detector:
        yield detector


def pytest_xdist_auto_num_workers() -> int:
    """Many tests wait for a process or a clock: half as many workers again as there are cores."""
    cores = os.cpu_count() or 1
    return cores + cores // 2


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
