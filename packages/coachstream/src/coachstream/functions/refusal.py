"""What all functions do with a failure: name it for the client, keep its circumstances for the log."""

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
    """Give the typed form of a failure, and log what is not the client's own mistake.

    The text of an unexpected exception is left out of the log, for it may quote the message or the token; a
    typed one's detail and the text of wrong settings quote neither, and help.
    """
    match error:
        case AuthenticationError() | RequestError():
            return error
        case CoachStreamError():
            log_failure(logger, "The request fails", error, level=logging.WARNING)
            return error
        case SettingsError():
            for problem in error.problems:
                logger.error("Nothing can be served: %s", problem)
        case _:
            logger.error("The request failed: %s", describe_exception(error))
    return ProcessingError()
