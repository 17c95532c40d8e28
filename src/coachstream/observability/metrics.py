"""The metrics of an invocation, as one document in CloudWatch's embedded metric format (EMF).

What a function prints goes to CloudWatch Logs, and CloudWatch makes metrics of such lines (CloudWatch user
guide, "Specification: Embedded metric format"): nothing is called, and nothing waits.

The dimensions are the service and the function, so that the number of metrics stays small and known; errors
are also counted by their code. Ids are properties, by which the lines can be searched. What was not measured
is not counted as 0.
"""

from __future__ import annotations

from collections.abc import Iterable

from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from coachstream.conversation.report import TurnReport
from coachstream.observability.invocation import Invocation
from coachstream.observability.json_format import SERVICE, one_line

Measurement = tuple[str, MetricUnit, int | None]


def metrics_of(invocation: Invocation, *, namespace: str) -> str:
    """The document, one line without its end."""
    metrics = _metrics(invocation, namespace)
    for name, unit, value in _measurements(invocation):
        if value is not None:
            metrics.add_metric(name, unit, value)
    document = {**metrics.serialize_metric_set()}
    if invocation.error is not None:
        by_code = _metrics(invocation, namespace)
        by_code.add_dimension("error_code", invocation.error.value)
        by_code.add_metric("Errors", MetricUnit.Count, 1)
        # A directive of its own: only this metric has the dimension ("MetricDirective object").
        counted = {**by_code.serialize_metric_set()}
        directives = [*_directives(document), *_directives(counted)]
        document = {**counted, **document, "_aws": {**_metadata(document), "CloudWatchMetrics": directives}}
    return one_line(document)


def _metrics(invocation: Invocation, namespace: str) -> EphemeralMetrics:
    # Powertools' usual `Metrics` is one for the whole process, and would mix invocations that overlap.
    metrics = EphemeralMetrics(namespace=namespace, service=SERVICE)
    metrics.add_dimension("function_name", invocation.ids.function_name)
    metrics.add_metadata("function_request_id", invocation.ids.request_id)
    if invocation.ids.trace_id is not None:
        metrics.add_metadata("xray_trace_id", invocation.ids.trace_id)
    return metrics


def _measurements(invocation: Invocation) -> Iterable[Measurement]:
    # Both are known of every invocation: their averages are rates.
    yield "ColdStart", MetricUnit.Count, int(invocation.is_cold_start)
    yield "Errors", MetricUnit.Count, int(invocation.error is not None)
    yield "TimeToStart", MetricUnit.Milliseconds, invocation.started_ms
    yield "TimeToFirstChunk", MetricUnit.Milliseconds, invocation.first_chunk_ms
    if invocation.report is not None:
        yield from _of_turn(invocation.report)


def _of_turn(report: TurnReport) -> Iterable[Measurement]:
    usage = report.usage
    yield "TurnDuration", MetricUnit.Milliseconds, report.total_ms
    yield "ContextLoadTime", MetricUnit.Milliseconds, report.context_ms
    yield "ModelTimeToFirstToken", MetricUnit.Milliseconds, report.model_first_text_ms
    if report.model_first_text_ms is not None:
        yield "Chunks", MetricUnit.Count, report.chunks
    if usage.input_tokens or usage.output_tokens:  # the model says so at its end, if it comes to that
        yield "InputTokens", MetricUnit.Count, usage.input_tokens
        yield "OutputTokens", MetricUnit.Count, usage.output_tokens
        yield "CacheReadTokens", MetricUnit.Count, usage.cache_read_tokens


def _metadata(document: dict[str, object]) -> dict[str, object]:
    metadata = document["_aws"]
    assert isinstance(metadata, dict)
    return metadata


def _directives(document: dict[str, object]) -> list[object]:
    directives = _metadata(document)["CloudWatchMetrics"]
    assert isinstance(directives, list)
    return directives
