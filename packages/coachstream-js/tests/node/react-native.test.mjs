// React Native as Expo 57 sets it up: a `fetch` that streams, the AbortController of npm's `abort-controller`, whose
// signals have neither a reason nor `throwIfAborted`, and no `crypto`. React Native's own `fetch` has no `body`.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { AbortController as NativeAbortController, AbortSignal } from "abort-controller";
import { start, stop } from "coachstream";
import { CoachStreamTransport } from "coachstream/ai-sdk";
import { cut, gate } from "coachstream/testing";
import { newServer, optionsOf, seen } from "./server.mjs";

const inNode = { AbortController, AbortSignal: globalThis.AbortSignal, crypto: globalThis.crypto };
const define = (globals) => {
  for (const [name, value] of Object.entries(globals)) {
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  }
};
define({ AbortController: NativeAbortController, AbortSignal, crypto: undefined });
after(() => define(inNode));

/** As `expo/fetch`: it listens to any signal, where Node's accepts only its own. */
async function streamingFetch(url, { signal, ...options }) {
  const controller = new inNode.AbortController();
  if (signal?.aborted) controller.abort();
  signal?.addEventListener("abort", () => controller.abort());
  return fetch(url, { ...options, signal: controller.signal });
}

/** As React Native's own `fetch`: it waits for the end of the response, which then has no `body`. */
async function bodylessFetch(...request) {
  const response = await streamingFetch(...request);
  const whole = new Response(await response.arrayBuffer(), response);
  return Object.defineProperty(whole, "body", { value: undefined });
}

const ask = (server, more = {}) =>
  start({ ...optionsOf(server), fetch: streamingFetch, message: "How was my week?", ...more });

async function readAll(reply) {
  for await (const _ of reply);
}

test("a reply is read, and resumed after a cut", async () => {
  const server = await newServer();
  server.reply("Well ", cut(), "done");
  assert.deepEqual(await seen(ask(server)), [
    "connected",
    "run",
    "Well ",
    "reconnecting",
    "connected",
    "Well done",
    "end_turn: Well done",
  ]);
  assert.match(server.requests[0].body.clientMessageId, /^[0-9a-f]{32}$/);
});

test("a connection that fell silent is replaced", async () => {
  const server = await newServer();
  const held = gate();
  server.reply("Well ", held, "done");
  const said = [];
  for await (const event of ask(server, { reconnect: { silenceMs: 100, backoffMs: 1, maxBackoffMs: 1 } })) {
    if (event.type === "connection" && event.state === "reconnecting") held.open();
    said.push(event.text ?? event.state);
  }
  assert.ok(said.includes("reconnecting"));
  assert.equal(said.at(-1), "Well done");
});

test("the caller's signal ends a read at once", async () => {
  const server = await newServer();
  server.reply("Well ", gate());
  const controller = new AbortController();
  const read = (async () => {
    for await (const event of ask(server, { signal: controller.signal })) {
      if (event.type === "text") controller.abort();
    }
  })();
  await assert.rejects(read, { name: "AbortError" });
  await assert.rejects(readAll(ask(server, { signal: controller.signal })), { name: "AbortError" });
});

test("a transport of the AI SDK ends a read", async () => {
  const server = await newServer();
  server.reply("Well ", gate());
  const transport = new CoachStreamTransport({ ...optionsOf(server), fetch: streamingFetch });
  const controller = new AbortController();
  const { signal: abortSignal } = controller;
  const messages = [{ id: "m-1", role: "user", parts: [{ type: "text", text: "Hello" }] }];
  const read = (async () => {
    const stream = await transport.sendMessages({ trigger: "submit-message", chatId: "1", messages, abortSignal });
    for await (const chunk of stream) if (chunk.type === "text-delta") controller.abort();
  })();
  await assert.rejects(read, { name: "AbortError" });
});

test("a fetch that does not stream is an error that names the remedy", async () => {
  const server = await newServer();
  server.reply("Well done");
  const reply = ask(server, { fetch: bodylessFetch });
  await assert.rejects(readAll(reply), (error) => {
    assert.equal(error.code, "UNREADABLE_STREAM");
    assert.match(error.message, /does not stream.*expo\/fetch/);
    return true;
  });
});

test("a fetch that does not stream can stop a reply", async () => {
  const server = await newServer();
  server.reply("Well ", gate());
  const reply = ask(server);
  for await (const event of reply) {
    if (event.type !== "text") continue;
    const { runId } = reply;
    assert.equal(await stop({ ...optionsOf(server), fetch: bodylessFetch, runId }), "stopping");
  }
  assert.equal(server.messages()[1].metadata.stopReason, "stopped");
});
