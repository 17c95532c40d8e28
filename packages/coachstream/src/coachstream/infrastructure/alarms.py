"""When somebody is woken."""

from __future__ import annotations

import msgspec
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from constructs import Construct

from coachstream.infrastructure.metrics import FunctionMetrics


class AlarmOptions(msgspec.Struct, frozen=True, kw_only=True):
    """From where on it is too much, in five minutes and for one function.

    Attributes:
        topic_arn: of the SNS topic that is told of every alarm and of its end; None: nobody is.
        errors: broken invocations and answers with an error of ours.
        throttles: refused for want of concurrency.
        first_chunk_p95_ms: the slowest twentieth of first words, for a quarter of an hour.
        interrupted_turns: replies that broke off.
    """

    topic_arn: str | None = None
    errors: int = 1
    throttles: int = 1
    first_chunk_p95_ms: int = 5000
    interrupted_turns: int = 3


_LATE_PERIODS = 2
"""Periods of which one is enough. Metrics come from the log, a little late: what happened at the very end of
a period is not there yet when the next one begins, and a sum has 0 in its place (CloudWatch user guide,
"Using math expressions", on FILL in alarms)."""


class Alarms(Construct):
    """The alarms of one function, which runs turns; `of_streams` adds that of the first words."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        metrics: FunctionMetrics,
        options: AlarmOptions,
        of_streams: bool,
    ) -> None:
        super().__init__(scope, construct_id)
        self._name = name
        topic = options.topic_arn
        self._topic = None if topic is None else sns.Topic.from_topic_arn(self, "Topic", topic)
        self._alarm("Errors", "failed", metrics.errors(), options.errors)
        self._alarm("Throttles", "is throttled", metrics.throttles(), options.throttles)
        self._alarm(
            "InterruptedTurns", "breaks replies off", metrics.interrupted_turns(), options.interrupted_turns
        )
        if of_streams:
            self._alarm(
                "FirstChunk",
                "is slow to begin its replies (p95, ms)",
                metrics.first_chunk("p95"),
                options.first_chunk_p95_ms,
                periods=3,
                breaching=3,
                # A handful of turns has no 95th percentile to speak of.
                low_samples="ignore",
            )

    def _alarm(
        self,
        construct_id: str,
        what: str,
        metric: cloudwatch.IMetric,
        threshold: float,
        *,
        periods: int = _LATE_PERIODS,
        breaching: int = 1,
        low_samples: str | None = None,
    ) -> None:
        alarm = cloudwatch.Alarm(
            self,
            construct_id,
            alarm_description=f"{self._name} {what}",
            metric=metric,
            threshold=threshold,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            evaluation_periods=periods,
            datapoints_to_alarm=breaching,
            evaluate_low_sample_count_percentile=low_samples,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        if self._topic is not None:
            action = actions.SnsAction(self._topic)
            alarm.add_alarm_action(action)
            alarm.add_ok_action(action)
