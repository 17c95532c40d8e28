// Functions for the conformance cases, for the official Node runtime clients; the path chooses what is answered.
import net from "node:net";

const gate = (event) =>
  new Promise((resolve, reject) => {
    const port = event.queryStringParameters?.gate;
    if (port === undefined) return resolve();
    const socket = net.connect(Number(port), "127.0.0.1", () => socket.write("waiting\n"));
    socket.once("data", () => {
      socket.end();
      resolve();
    });
    socket.once("error", reject);
  });

export const handler = awslambda.streamifyResponse(async (event, stream, context) => {
  const from = (metadata) => awslambda.HttpResponseStream.from(stream, metadata);
  switch (event.rawPath) {
    case "/three":
      for (const word of ["one", "two", "three"]) {
        stream.write(word);
        await gate(event);
      }
      stream.end();
      break;
    case "/prelude":
      from({ statusCode: 201, headers: { "x-one": "1" }, cookies: ["a=1", "b=2"] });
      stream.write("body");
      stream.end();
      break;
    case "/fails-before":
      throw new TypeError("before the first byte");
    case "/fails-after":
      stream.write("partial");
      await gate(event);
      throw new TypeError("after the first byte");
    case "/never-ends":
      stream.write("unended");
      break;
    case "/megabytes": {
      const megabyte = Buffer.alloc(1024 * 1024, "x");
      for (let i = 0; i < Number(event.queryStringParameters.megabytes); i++) {
        if (!stream.write(megabyte)) await new Promise((resolve) => stream.once("drain", resolve));
      }
      stream.end();
      break;
    }
    default:
      stream.setContentType("application/json");
      stream.write(JSON.stringify({ event, pid: process.pid, requestId: context.awsRequestId }));
      stream.end();
  }
});
