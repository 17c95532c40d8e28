"""The CloudWatch alarms."""

from __future__ import annotations

import msgspec
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from coachstream.infrastructure.metrics import PERIOD, FunctionMetrics


class AlarmOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The thresholds, per function and five minutes.

    Attributes:
        topic_arn: ARN of the SNS topic to notify of every alarm and its end; None notifies no one.
        errors: failed invocations and responses with a server-side error.
        throttles: requests throttled for lack of concurrency.
        first_chunk_p95_ms: 95th percentile of the time to the first chunk, for a quarter of an hour.
        interrupted_turns: replies that were interrupted.
        mirror_stops: replies that the existing functions do not see, because a conversation's list is full.
        lost_work: summaries and titles that were not written, whose events are in the queue of failed ones.
    """

    topic_arn: str | None = None
    errors: int = 1
    throttles: int = 1
    first_chunk_p95_ms: int = 5000
    interrupted_turns: int = 3
    mirror_stops: int = 1
    lost_work: int = 1


_LATE_PERIODS = 2
"""Evaluated periods, of which one breach is enough. Metrics come from the log with a delay: events at the end
of a period are missing when the next one begins, and count as 0 (CloudWatch user guide, "Using math
expressions", on FILL in alarms)."""


class _AlarmsOfFunction(Construct):
    def __init__(self, scope: Construct, construct_id: str, *, name: str, options: AlarmOptions) -> None:
        super().__init__(scope, construct_id)
        self._name = name
        topic = options.topic_arn
        self._topic = None if topic is None else sns.Topic.from_topic_arn(self, "Topic", topic)

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


class LostWorkAlarm(_AlarmsOfFunction):
    """The alarm of a function that is invoked asynchronously: an event has failed for good.

    Failures that a retry makes good are no alarm.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, name: str, failed: sqs.IQueue, options: AlarmOptions
    ) -> None:
        super().__init__(scope, construct_id, name=name, options=options)
        waiting = failed.metric_approximate_number_of_messages_visible(
            period=PERIOD, statistic=cloudwatch.Stats.MAXIMUM
        )
        self._alarm("LostWork", "has failed for good", waiting, options.lost_work)


class Alarms(_AlarmsOfFunction):
    """The alarms of one function that runs turns; two of them only if it streams, or mirrors."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        metrics: FunctionMetrics,
        options: AlarmOptions,
        of_streams: bool,
        of_mirror: bool,
    ) -> None:
        super().__init__(scope, construct_id, name=name, options=options)
        self._alarm("Errors", "failed", metrics.errors(), options.errors)
        self._alarm("Throttles", "is throttled", metrics.throttles(), options.throttles)
        self._alarm(
            "InterruptedTurns", "interrupts replies", metrics.interrupted_turns(), options.interrupted_turns
        )
        if of_mirror:
            self._alarm(
                "MirrorStops",
                "has replies that the existing functions do not see",
                metrics.mirror_stops(),
                options.mirror_stops,
            )
        if of_streams:
            self._alarm(
                "FirstChunk",
                "is slow to begin its replies (p95, ms)",
                metrics.first_chunk("p95"),
                options.first_chunk_p95_ms,
                periods=3,
                breaching=3,
                # The 95th percentile of a handful of turns is meaningless.
                low_samples="ignore",
            )
