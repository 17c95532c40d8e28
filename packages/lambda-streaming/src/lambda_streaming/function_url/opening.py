"""The head of a streamed response, from the prelude of its body or, without a prelude, from defaults."""

from __future__ import annotations

from collections.abc import Callable

from lambda_streaming.function_url.response import MalformedResponse, ResponseHead
from lambda_streaming.prelude import PRELUDE_CONTENT_TYPE, PreludeParser


class Opening:
    """Reads a response's body until its head is known.

    Args:
        content_type: the content type of the function's response, which announces a prelude or not.
        read_prelude: returns the head of a prelude without its delimiter.

    Attributes:
        head: None until all of the prelude has been fed.

    Raises:
        MalformedResponse: the content type cannot be a header.
    """

    def __init__(
        self, content_type: str, *, read_prelude: Callable[[bytes], ResponseHead] = ResponseHead.from_prelude
    ) -> None:
        self.head: ResponseHead | None = None
        self._read_prelude = read_prelude
        self._parser: PreludeParser | None = None
        if announces_prelude(content_type):
            self._parser = PreludeParser()
        else:
            self.head = ResponseHead.without_prelude(content_type)

    def feed(self, chunk: bytes) -> bytes:
        """Feed the next bytes of the response and return the payload among them.

        Raises:
            MalformedResponse: the prelude is not valid.
        """
        if self._parser is None:
            return chunk
        payload = self._parser.feed(chunk)
        if self._parser.prelude is not None:
            self.head = self._read_prelude(self._parser.prelude)
            self._parser = None
        return payload

    def head_at_end(self) -> ResponseHead:
        """Return the head of a response that has ended.

        Raises:
            MalformedResponse: it ended within its prelude.
        """
        if self.head is None:
            raise MalformedResponse("a prelude was announced but its delimiter is missing")
        return self.head


def announces_prelude(content_type: str) -> bool:
    """Return whether a response of that type begins with a prelude."""
    return content_type.partition(";")[0].strip().lower() == PRELUDE_CONTENT_TYPE
