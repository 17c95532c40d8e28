"""The log line of an invocation."""

from __future__ import annotations

import logging
from enum import StrEnum

from coachstream.conversation.errors import FOR_OPERATORS, ErrorCode
from coachstream.conversation.model import StopReason
from coachstream.conversation.turn.report import TurnReport
from coachstream.observability.ids import loggable_id
from coachstream.observability.invocation import Invocation

Field = str | int | bool | list[str]

_PASSING = {
    ErrorCode.SERVER_BUSY,
    ErrorCode.MODEL_THROTTLED,
    ErrorCode.MODEL_UNAVAILABLE,
    ErrorCode.MODEL_STREAM_BROKEN,
    ErrorCode.DEADLINE_EXCEEDED,
}
"""Transient errors, which should be rare; the rest are the client's."""


class Outcome(StrEnum):
    """How an invocation ended."""

    OK = "ok"
    ERROR = "error"
    CUT_OFF = "cut_off"


def outcome_of(invocation: Invocation) -> Outcome:
    """How it ended; a turn without an error and without a complete reply was cut off."""
    if invocation.error is not None:
        return Outcome.ERROR
    report = invocation.report
    if invocation.is_cut_off or (report is not None and _is_interrupted(report)):
        return Outcome.CUT_OFF
    return Outcome.OK


def level_of(invocation: Invocation) -> int:
    """The log level of the line."""
    if invocation.error in FOR_OPERATORS or invocation.cause is not None:
        return logging.ERROR
    if invocation.error in _PASSING or outcome_of(invocation) is Outcome.CUT_OFF:
        return logging.WARNING
    return logging.INFO


def sentence_of(invocation: Invocation, total_ms: int) -> str:
    """The message of the line, for people."""
    if invocation.error is not None:
        outcome = f"ended with {invocation.error.value}"
    else:
        outcome = "ended well" if outcome_of(invocation) is Outcome.OK else "was cut off"
    report = invocation.report
    if report is None:
        return f"The request {outcome} after {total_ms} ms"
    return f"The turn {outcome} after {total_ms} ms, {report.chunks} chunks"


def fields_of(invocation: Invocation, total_ms: int) -> dict[str, Field]:
    """All known values, under searchable names; unknown ones are omitted."""
    key, report = invocation.key, invocation.report
    known: dict[str, Field | None] = {
        "outcome": outcome_of(invocation).value,
        "error_code": None if invocation.error is None else invocation.error.value,
        "cause": invocation.cause,
        "cold_start": invocation.is_cold_start,
        "total_ms": total_ms,
        "time_to_start_ms": invocation.started_ms,
        "user_id": None if key is None else _id(key.user_id),
        "coach_id": None if key is None else _id(key.coach_id),
        "conversation_id": None if key is None else _id(key.conversation_id),
        **({} if report is None else _of_turn(report)),
    }
    return {name: value for name, value in known.items() if value is not None}


def _id(text: str | None) -> str | None:
    """None for an empty id: some requests concern all conversations."""
    return loggable_id(text) if text else None


def _is_interrupted(report: TurnReport) -> bool:
    """Whether the turn has no complete reply; a reply of an earlier attempt may have no stop reason."""
    if report.was_answered or report.was_released:
        return False
    return report.stop_reason in {None, StopReason.INTERRUPTED}


def _of_turn(report: TurnReport) -> dict[str, Field | None]:
    usage = report.usage
    return {
        "run_id": _id(report.run_id),
        "epoch": report.epoch or None,
        "was_released": report.was_released or None,
        "user_message_id": _id(report.user_message_id),
        "reply_id": _id(report.reply_id),
        "stop_reason": None if report.stop_reason is None else report.stop_reason.value,
        "is_first_attempt": report.is_first_attempt,
        "was_answered": report.was_answered,
        "turn_ms": report.total_ms,
        "context_ms": report.context_ms,
        "model_asked_ms": report.model_asked_ms,
        "model_first_text_ms": report.model_first_text_ms,
        "first_chunk_ms": report.first_chunk_ms,
        "chunks": report.chunks,
        "reply_chars": report.reply_chars,
        "history_messages": report.history_messages,
        "memories": report.memories,
        "workouts": report.workouts,
        "matches": report.matches,
        "left_out": list(report.left_out) or None,
        "failed_follow_ups": list(report.failed_follow_ups) or None,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "model_latency_ms": usage.latency_ms,
    }
