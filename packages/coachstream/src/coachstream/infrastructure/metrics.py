"""The metrics of one function: Lambda's, and its own (`coachstream.observability`)."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_

from coachstream.conversation.errors import FOR_OPERATORS, ErrorCode

PERIOD = Duration.minutes(5)

_INTERRUPTED = (ErrorCode.TURN_INTERRUPTED, ErrorCode.MODEL_STREAM_BROKEN, ErrorCode.DEADLINE_EXCEEDED)
"""The error codes of turns that were interrupted during their reply."""

_FAILED = tuple(code for code in ErrorCode if code in FOR_OPERATORS)
"""In a fixed order, so that the template is stable."""


class FunctionMetrics:
    """The metrics of a function; each is a sum or a percentile over five minutes."""

    def __init__(self, function: lambda_.IFunction, namespace: str) -> None:
        self._function = function
        self._namespace = namespace

    def errors(self) -> cloudwatch.IMetric:
        """Invocations that crashed or timed out, and those with a server-side error."""
        crashes = self._function.metric_errors(period=PERIOD, statistic=cloudwatch.Stats.SUM)
        return self._sum("errors", "e", [crashes, *map(self._with_code, _FAILED)])

    def throttles(self) -> cloudwatch.IMetric:
        """Throttled requests."""
        return self._function.metric_throttles(period=PERIOD, statistic=cloudwatch.Stats.SUM)

    def interrupted_turns(self) -> cloudwatch.IMetric:
        """Turns that were interrupted during their reply."""
        return self._sum("interrupted turns", "i", [self._with_code(code) for code in _INTERRUPTED])

    def mirror_stops(self) -> cloudwatch.IMetric:
        """Replies that were not copied to a full list of the existing functions."""
        return self.own("MirrorStops", cloudwatch.Stats.SUM)

    def first_chunk(self, statistic: str) -> cloudwatch.IMetric:
        """Milliseconds from a message to the first chunk of its reply."""
        return self.own("TimeToFirstChunk", statistic)

    def own(self, name: str, statistic: str, *, code: ErrorCode | None = None) -> cloudwatch.Metric:
        """A metric of the function's own, by name; its dimension `service` is the function."""
        dimensions = {"service": self._function.function_name}
        if code is not None:
            dimensions["code"] = code.value
        return cloudwatch.Metric(
            namespace=self._namespace,
            metric_name=name,
            dimensions_map=dimensions,
            statistic=statistic,
            period=PERIOD,
            label=code.value if code is not None else name,
        )

    def platform(self, name: str, statistic: str) -> cloudwatch.IMetric:
        """A metric of Lambda, by name."""
        return self._function.metric(name, period=PERIOD, statistic=statistic, label=name)

    def _with_code(self, code: ErrorCode) -> cloudwatch.IMetric:
        return self.own("Errors", cloudwatch.Stats.SUM, code=code)

    def _sum(self, label: str, letter: str, metrics: Sequence[cloudwatch.IMetric]) -> cloudwatch.IMetric:
        """A sum in which missing data counts as 0. Ids must be unique in a graph, hence the letter."""
        names = {f"{letter}{number}": metric for number, metric in enumerate(metrics)}
        return cloudwatch.MathExpression(
            expression=" + ".join(f"FILL({name}, 0)" for name in names),
            using_metrics=names,
            label=label,
            period=PERIOD,
        )
