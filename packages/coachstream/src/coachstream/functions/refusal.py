"""Maps failures to typed errors for the client, and logs their details."""

from __future__ import annotations

import logging

from coachstream.conversation.errors import (
    AuthenticationError,
    CoachStreamError,
    ProcessingError,
    RequestError,
    describe_exception,
    log_failure,
)
from coachstream.settings import SettingsError


def as_coachstream_error(error: Exception, logger: logging.Logger) -> CoachStreamError:
    """Return the typed error for a failure, and log it unless it is the client's mistake.

    The text of an unexpected exception is not logged, because it may quote the message or the token. The
    detail of a typed error and the text of invalid settings quote neither, and are logged.
    """
    match error:
        case AuthenticationError() | RequestError():
            return error
        case CoachStreamError():
            log_failure(logger, "The request failed", error, level=logging.WARNING)
            return error
        case SettingsError():
            for problem in error.problems:
                logger.error("Nothing can be served: %s", problem)
        case _:
            logger.error("The request failed: %s", describe_exception(error))
    return ProcessingError()
