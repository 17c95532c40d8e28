// A Hono app as a streaming function; the path chooses what is answered.
import net from "node:net";

import { Hono } from "hono";
import { streamHandle } from "hono/aws-lambda";
import { setCookie } from "hono/cookie";
import { stream, streamSSE } from "hono/streaming";

const app = new Hono();

/** Waits until the test opens the gate that the request names. */
const pass = (context) =>
  new Promise((resolve, reject) => {
    const socket = net.connect(Number(context.req.query("gate")), "127.0.0.1", () => socket.write("waiting\n"));
    socket.once("data", () => {
      socket.end();
      resolve();
    });
    socket.once("error", reject);
  });

app.get("/three", (context) =>
  stream(context, async (body) => {
    for (const word of ["one", "two", "three"]) {
      await body.write(word);
      await pass(context);
    }
  }),
);

app.get("/events", (context) =>
  streamSSE(context, async (body) => {
    for (let number = 0; number < 3; number++) await body.writeSSE({ event: "tick", data: String(number) });
  }),
);

app.get("/prelude", (context) => {
  setCookie(context, "a", "1");
  setCookie(context, "b", "2");
  context.header("x-one", "1");
  return context.text("body", 201);
});

app.post("/echo/:name", async (context) =>
  context.json({ name: context.req.param("name"), query: context.req.queries("tag"), body: await context.req.text() }),
);

app.get("/fails-before", () => {
  throw new TypeError("before the first byte");
});

export const handler = streamHandle(app);
