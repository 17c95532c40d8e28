"""The Python side of `warm_start.py`: responds with the event `start`."""

from lambda_streaming import HttpResponseStream, ResponseStream, streamify_response


@streamify_response
async def handler(_event: object, response_stream: ResponseStream, _context: object) -> None:
    """Write one event."""
    http = HttpResponseStream.from_(
        response_stream,
        {"statusCode": 200, "headers": {"content-type": "text/event-stream; charset=utf-8"}},
    )
    await http.write('data: {"type":"start","status":"initialized"}\n\n')
