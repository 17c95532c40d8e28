"""The head of a streamed response, found at the start of its body or made up where there is none."""

from __future__ import annotations

from lambda_streaming.function_url.response import MalformedResponse, ResponseHead
from lambda_streaming.prelude import PRELUDE_CONTENT_TYPE, PreludeParser


class Opening:
    """Reads a response's body until its head is known.

    Args:
        content_type: what the function posted its response as; it decides whether there is a prelude.

    Attributes:
        head: None until all of the prelude was fed.

    Raises:
        MalformedResponse: the content type cannot be a header.
    """

    def __init__(self, content_type: str) -> None:
        self.head: ResponseHead | None = None
        self._parser: PreludeParser | None = None
        if announces_prelude(content_type):
            self._parser = PreludeParser()
        else:
            self.head = ResponseHead.without_prelude(content_type)

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes of the response and return those of them that are payload.

        Raises:
            MalformedResponse: the prelude is not valid.
        """
        if self._parser is None:
            return chunk
        payload = self._parser.feed(chunk)
        if self._parser.prelude is not None:
            self.head = ResponseHead.from_prelude(self._parser.prelude)
            self._parser = None
        return payload

    def head_at_end(self) -> ResponseHead:
        """Return the head of a response that has ended.

        Raises:
            MalformedResponse: it ended within its prelude.
        """
        if self.head is None:
            raise MalformedResponse("a prelude was announced and its delimiter never came")
        return self.head


def announces_prelude(content_type: str) -> bool:
    """Return whether a response of that type begins with a prelude."""
    return content_type.partition(";")[0].strip().lower() == PRELUDE_CONTENT_TYPE
