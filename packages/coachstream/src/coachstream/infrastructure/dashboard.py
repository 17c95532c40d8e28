"""The CloudWatch dashboard: a row of graphs per function."""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from coachstream.infrastructure.metrics import FunctionMetrics

_WIDTH = 8
"""A third of the page."""


class Dashboard(Construct):
    """One dashboard for all functions, by name."""

    def __init__(self, scope: Construct, construct_id: str, functions: Mapping[str, FunctionMetrics]) -> None:
        super().__init__(scope, construct_id)
        self.dashboard = cloudwatch.Dashboard(self, "Dashboard", default_interval=Duration.hours(3))
        for name, metrics in functions.items():
            self.dashboard.add_widgets(cloudwatch.TextWidget(markdown=f"## {name}", width=24, height=1))
            self.dashboard.add_widgets(*_row(metrics))


def _row(metrics: FunctionMetrics) -> list[cloudwatch.IWidget]:
    sum_ = cloudwatch.Stats.SUM
    return [
        _graph(
            "Requests",
            [
                metrics.platform("Invocations", sum_),
                metrics.errors(),
                metrics.throttles(),
                metrics.interrupted_turns(),
                metrics.mirror_stops(),
            ],
        ),
        _graph(
            "First words, ms",
            [
                metrics.first_chunk("p50"),
                metrics.first_chunk("p95"),
                metrics.own("TimeToStart", "p95"),
                metrics.own("ContextLoadTime", "p95"),
                metrics.own("ModelTimeToFirstToken", "p95"),
            ],
        ),
        _graph("Whole turns, ms", [metrics.own("TurnDuration", "p50"), metrics.own("TurnDuration", "p95")]),
        _graph(
            "Concurrency and cold starts",
            [
                metrics.platform("ConcurrentExecutions", cloudwatch.Stats.MAXIMUM),
                metrics.own("ColdStart", sum_),
            ],
        ),
        _graph(
            "Tokens",
            [metrics.own(name, sum_) for name in ("InputTokens", "OutputTokens", "CacheReadTokens")],
        ),
        _graph("Chunks", [metrics.own("Chunks", sum_)]),
    ]


def _graph(title: str, metrics: list[cloudwatch.IMetric]) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(
        title=title,
        left=metrics,
        width=_WIDTH,
        left_y_axis=cloudwatch.YAxisProps(min=0, show_units=False),
    )
