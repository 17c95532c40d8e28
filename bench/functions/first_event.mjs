// The Node side of warm_start.py: the same function as first_event.py.
export const handler = awslambda.streamifyResponse(async (event, stream) => {
  const http = awslambda.HttpResponseStream.from(stream, {
    statusCode: 200,
    headers: { "content-type": "text/event-stream; charset=utf-8" },
  });
  http.write('data: {"type":"start","status":"initialized"}\n\n');
  http.end();
});
