"""The metrics of an invocation, as a line in CloudWatch's embedded metric format (EMF).

A function's output goes to CloudWatch Logs, and CloudWatch extracts metrics from such lines (its user guide,
"Embedded metric format specification"), so no network call is needed.

The only dimension is the function, so that there are few metrics; errors also have their code. Missing
measurements are omitted, not reported as 0.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

import msgspec
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from coachstream.conversation.turn.report import TurnReport
from coachstream.observability.invocation import Invocation, InvocationIds, current_invocation

MIRROR_STOPS = "MirrorStops"

Measurement = tuple[str, MetricUnit, int | None]


def write_metrics(invocation: Invocation, *, namespace: str) -> None:
    """Print the metrics, each line with one write."""
    lines = [_line(invocation.ids, namespace, _measurements(invocation))]
    if invocation.error is not None:
        error = [("Errors", MetricUnit.Count, 1)]
        lines.append(_line(invocation.ids, namespace, error, code=invocation.error.value))
    sys.stdout.write("".join(lines))
    sys.stdout.flush()


def count_mirror_stop(*, namespace: str) -> None:
    """Print a metric line for a reply that was not mirrored; does nothing outside an invocation."""
    ids = current_invocation.get()
    if ids is not None:
        sys.stdout.write(_line(ids, namespace, [(MIRROR_STOPS, MetricUnit.Count, 1)]))
        sys.stdout.flush()


def _measurements(invocation: Invocation) -> Iterable[Measurement]:
    yield "ColdStart", MetricUnit.Count, 1 if invocation.is_cold_start else 0
    yield "Errors", MetricUnit.Count, 0 if invocation.error is None else 1
    yield "TimeToStart", MetricUnit.Milliseconds, invocation.started_ms
    if invocation.report is not None:
        yield from _of_turn(invocation.report)


def _of_turn(report: TurnReport) -> Iterable[Measurement]:
    yield "TurnDuration", MetricUnit.Milliseconds, report.total_ms
    yield "TimeToFirstChunk", MetricUnit.Milliseconds, report.first_chunk_ms
    yield "ContextLoadTime", MetricUnit.Milliseconds, report.context_ms
    yield "ModelTimeToFirstToken", MetricUnit.Milliseconds, report.model_first_text_ms
    yield "Chunks", MetricUnit.Count, report.chunks
    if report.usage.input_tokens or report.usage.output_tokens:
        yield "InputTokens", MetricUnit.Count, report.usage.input_tokens
        yield "OutputTokens", MetricUnit.Count, report.usage.output_tokens
        yield "CacheReadTokens", MetricUnit.Count, report.usage.cache_read_tokens


def _line(
    ids: InvocationIds, namespace: str, measurements: Iterable[Measurement], *, code: str | None = None
) -> str:
    # Powertools' usual `Metrics` is shared by the process, and would mix concurrent invocations.
    metrics = EphemeralMetrics(namespace=namespace, service=ids.function_name)
    if code is not None:
        metrics.add_dimension("code", code)
    for name, unit, value in measurements:
        if value is not None:
            metrics.add_metric(name, unit, value)
    metrics.add_metadata("request_id", ids.request_id)
    if ids.trace_id is not None:
        metrics.add_metadata("xray_trace_id", ids.trace_id)
    return msgspec.json.encode(metrics.serialize_metric_set()).decode() + "\n"
