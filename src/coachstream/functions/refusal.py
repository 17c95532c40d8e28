"""What both functions do with a failure: name it for the client, keep its circumstances for the log."""

from __future__ import annotations

import logging

from coachstream.conversation.errors import CoachStreamError, ProcessingError, whereabouts
from coachstream.settings import SettingsError


def as_coachstream_error(error: Exception, logger: logging.Logger, request_id: str) -> CoachStreamError:
    """Give the typed form of a failure, and log what is not the client's own mistake.

    The text of an unexpected exception is left out of the log, for it may quote the message or the token; the
    text of wrong settings is the remedy, and quotes neither.
    """
    match error:
        case CoachStreamError():
            logger.info("%s refused with %s", request_id, error.code.value)
            return error
        case SettingsError():
            for problem in error.problems:
                logger.error("%s cannot be served: %s", request_id, problem)
        case _:
            logger.error("%s failed: %s", request_id, whereabouts(error))
    return ProcessingError()
