"""Alarms and the dashboard, over metrics that the functions really write."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from typing import Any

import msgspec
import pytest

from coachstream.conversation.errors import ErrorCode
from coachstream.conversation.model import ConversationKey, Usage
from coachstream.conversation.turn.report import TurnMeasurements
from coachstream.observability.invocation import Invocation, InvocationIds, current_invocation
from coachstream.observability.metrics import count_mirror_stop, write_metrics
from support.templates import Template

TemplateOf = Callable[[str], Template]

ALARM, DASHBOARD = "AWS::CloudWatch::Alarm", "AWS::CloudWatch::Dashboard"
FUNCTIONS = ("StreamCoachConversation", "SendCoachConversationMessage", "CoachConversations")
OF_LAMBDA = {"Invocations", "Errors", "Throttles", "ConcurrentExecutions"}
"""Lambda developer guide, "Types of metrics for Lambda functions"."""


class Metric(msgspec.Struct, frozen=True):
    """A metric in CloudWatch."""

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]]


@pytest.fixture(scope="session")
def written() -> frozenset[tuple[str, frozenset[str]]]:
    """Names and dimensions of every metric that a function can write, parsed from its output."""
    found = set()
    for code in ErrorCode:
        found |= set(_written_by(code))
    return frozenset(found)


def _written_by(code: ErrorCode) -> Iterator[tuple[str, frozenset[str]]]:
    invocation = Invocation(InvocationIds("r-1", "fn", None), is_cold_start=True)
    invocation.started()
    measured = TurnMeasurements(
        context_ms=1, model_asked_ms=2, model_first_text_ms=3, first_chunk_ms=4, usage=Usage(1, 2, 3, 4)
    )
    invocation.turn_ended(measured.report(ConversationKey("u", "c", "v"), total_ms=5))
    invocation.error = code
    with redirect_stdout(io.StringIO()) as printed:
        write_metrics(invocation, namespace="coachstream")
        token = current_invocation.set(invocation.ids)
        count_mirror_stop(namespace="coachstream")
        current_invocation.reset(token)
    for line in printed.getvalue().splitlines():
        document = json.loads(line)
        for directive in document["_aws"]["CloudWatchMetrics"]:
            assert directive["Namespace"] == "coachstream"
            for dimensions in directive["Dimensions"]:
                values = frozenset(
                    f"code={document[name]}" if name == "code" else name for name in dimensions
                )
                for metric in directive["Metrics"]:
                    yield metric["Name"], values


def _of_alarm(alarm: dict[str, Any]) -> Iterator[Metric]:
    series = [each["MetricStat"]["Metric"] for each in alarm.get("Metrics", ()) if "MetricStat" in each]
    for each in series or [alarm]:
        dimensions = frozenset((pair["Name"], pair["Value"]) for pair in each["Dimensions"])
        yield Metric(each["Namespace"], each["MetricName"], dimensions)


def _of_dashboard(template: Template) -> Iterator[Metric]:
    body = json.loads(template.only(DASHBOARD).properties["DashboardBody"])
    for widget in body["widgets"]:
        for row in widget["properties"].get("metrics", ()):
            if isinstance(row[0], str):
                namespace, name, *pairs = [each for each in row if isinstance(each, str)]
                yield Metric(namespace, name, frozenset(zip(pairs[::2], pairs[1::2], strict=True)))


def _is_written(metric: Metric, written: frozenset[tuple[str, frozenset[str]]]) -> bool:
    names = frozenset(f"code={value}" if name == "code" else name for name, value in metric.dimensions)
    return (metric.name, names) in written


@pytest.mark.parametrize(("variant", "namespace"), [("New", "coachstream"), ("Imported", "coach/prod")])
def test_all_that_is_watched_is_written(
    template_of: TemplateOf,
    written: frozenset[tuple[str, frozenset[str]]],
    variant: str,
    namespace: str,
) -> None:
    """Names, dimensions and codes are those of the functions' output, or Lambda's, for these functions."""
    template = template_of(variant)
    functions = {each.name for each in template.resources("AWS::Lambda::Function")}
    metrics = set(_of_dashboard(template))
    for alarm in template.resources(ALARM):
        metrics |= set(_of_alarm(alarm.properties))
    queues = {f"{each.name}.QueueName" for each in template.resources("AWS::SQS::Queue")}
    assert {each.namespace for each in metrics} == {namespace, "AWS/Lambda", *(["AWS/SQS"] if queues else ())}
    for metric in metrics:
        values = dict(metric.dimensions)
        if metric.namespace == "AWS/SQS":
            assert (metric.name, {values["QueueName"]}) == ("ApproximateNumberOfMessagesVisible", queues)
            continue
        if metric.namespace == "AWS/Lambda":
            assert metric.name in OF_LAMBDA
            assert set(values) == {"FunctionName"}
            assert values["FunctionName"] in functions
        else:
            assert _is_written(metric, written), metric
            assert values["service"] in functions


def test_all_that_is_written_is_shown(
    template_of: TemplateOf, written: frozenset[tuple[str, frozenset[str]]]
) -> None:
    """Metrics are compared by name, because errors also have a dimension per code."""
    shown = {metric.name for metric in _of_dashboard(template_of("New"))}
    assert {name for name, _ in written} <= shown


@pytest.mark.parametrize("variant", ["New", "Imported", "Mixed", "SnapStart"])
def test_each_function_has_the_alarms_that_can_ring_for_it(template_of: TemplateOf, variant: str) -> None:
    """Errors and throttles for all, interrupted turns with turns, first chunks with streams; the mirror."""
    of_mirror = {"MirrorStops"} if variant == "Imported" else set()
    template = template_of(variant)
    kinds = {
        construct: {
            alarm.name.removeprefix(f"{construct}Alarms")[:-8]
            for alarm in template.all_within(construct, ALARM)
        }
        for construct in FUNCTIONS
    }
    lost = {alarm.name[:-8] for alarm in template.all_within("ProcessPostTurn", ALARM)}
    assert lost == (set() if variant == "Imported" else {"ProcessPostTurnAlarmsLostWork"})
    assert kinds == {
        "StreamCoachConversation": {"Errors", "Throttles", "InterruptedTurns", "FirstChunk"} | of_mirror,
        "SendCoachConversationMessage": {"Errors", "Throttles", "InterruptedTurns"} | of_mirror,
        "CoachConversations": {"Errors", "Throttles", "InterruptedTurns"} | of_mirror,
    }


def test_alarms_ring_at_their_thresholds(template_of: TemplateOf) -> None:
    """One error, one throttled request, three interrupted replies, or a p95 of 5 s over 15 minutes."""
    template = template_of("New")
    alarms = {
        alarm.name.removeprefix("StreamCoachConversationAlarms")[:-8]: alarm.properties
        for alarm in template.all_within("StreamCoachConversation", ALARM)
    }
    fields = ("Threshold", "DatapointsToAlarm", "EvaluationPeriods")
    assert {name: tuple(map(each.get, fields)) for name, each in alarms.items()} == {
        "Errors": (1, 1, 2),
        "Throttles": (1, 1, 2),
        "InterruptedTurns": (3, 1, 2),
        "FirstChunk": (5000, 3, 3),
    }
    for alarm in alarms.values():
        assert alarm["TreatMissingData"] == "notBreaching"
        assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
    (first_chunk,) = [each["MetricStat"] for each in alarms["FirstChunk"]["Metrics"]]
    assert (first_chunk["Metric"]["MetricName"], first_chunk["Stat"]) == ("TimeToFirstChunk", "p95")


def test_alarms_notify_only_the_configured_topic(template_of: TemplateOf) -> None:
    """Both when they start and when they end."""
    told = {
        variant: {
            tuple(alarm.properties.get(when, ()))
            for alarm in template_of(variant).resources(ALARM)
            for when in ("AlarmActions", "OKActions")
        }
        for variant in ("New", "Imported")
    }
    assert told == {"New": {()}, "Imported": {("arn:aws:sns:us-west-2:123456789012:night-watch",)}}


@pytest.mark.parametrize("variant", ["Quiet", "Unmeasured"])
def test_what_is_switched_off_is_not_there(template_of: TemplateOf, variant: str) -> None:
    """Neither alarms nor a dashboard, also if there are no metrics to watch."""
    template = template_of(variant)
    assert template.resources(ALARM) == template.resources(DASHBOARD) == []


def test_without_metrics_the_functions_write_none(template_of: TemplateOf) -> None:
    """The variable turns them off."""
    for construct in FUNCTIONS:
        assert template_of("Unmeasured").environment(construct)["COACHSTREAM_METRICS_NAMESPACE"] == "off"
