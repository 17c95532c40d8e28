// `CoachStreamTransport` under `useChat` of the AI SDK, over HTTP.
import assert from "node:assert/strict";
import { test } from "node:test";
import { contextual, cut, fail, gate, guardrailWarning, reconnect, reset } from "coachstream/testing";
import { mount } from "./page.mjs";
import { methods, newServer, optionsOf } from "./server.mjs";

const { useChat } = await import("@ai-sdk/react");
const { CoachStreamTransport, toUIMessage } = await import("coachstream/ai-sdk");

const textOf = ({ parts }) => parts.map((part) => (part.type === "text" ? part.text : "")).join("");
const shown = ({ messages }) => messages.map((message) => `${message.role}: ${textOf(message)}`);
const hasText =
  (text) =>
  ({ messages }) =>
    messages.length > 0 && textOf(messages.at(-1)) === text;
const isReady = ({ status }) => status === "ready";
const hasFailed = ({ status }) => status === "error";
const isDone = ({ messages, status }) => status === "ready" && messages.at(-1)?.role === "assistant";

function opened(server, { isStrict, transportOptions, ...more } = {}) {
  const transport = new CoachStreamTransport({ ...optionsOf(server), ...transportOptions });
  const data = [];
  const finishes = [];
  const options = {
    id: "conv_test",
    transport,
    onData: (part) => data.push(part),
    onFinish: (finish) => finishes.push(finish),
    ...more,
  };
  const page = mount(useChat, options, { isStrict });
  return Object.assign(page, { transport, data, finishes });
}

async function ready(server, more) {
  const page = opened(server, more);
  await page.until(isReady);
  return page;
}

test("useChat shows the reply as it arrives, and what is known of it", async () => {
  const server = await newServer();
  const held = gate();
  server.reply("Well ", held, "done");
  const page = await ready(server);
  page.hook.sendMessage({ text: "How was my week?" });
  await page.until(hasText("Well "));
  assert.equal(page.hook.status, "streaming");
  held.open();
  const { messages } = await page.until(isDone);
  assert.deepEqual(shown({ messages }), ["user: How was my week?", "assistant: Well done"]);
  const [question, reply] = server.messages();
  assert.equal(question.metadata.clientMessageId, messages[0].id);
  const { messageId, userMessageId, stopReason, model, runId, usage } = messages[1].metadata;
  assert.deepEqual([messageId, userMessageId, stopReason, model], [reply.id, question.id, "end_turn", "scripted"]);
  assert.equal(messages[1].id, runId);
  assert.equal(usage.outputTokens, 1);
  assert.deepEqual(
    page.finishes.map(({ finishReason, isError, isAbort }) => [finishReason, isError, isAbort]),
    [["stop", false, false]],
  );
  assert.deepEqual(
    messages[1].parts.map(({ type, state }) => [type, state]),
    [
      ["step-start", undefined],
      ["text", "done"],
    ],
  );
  page.close();
});

test("a lost connection is restored, and useChat notices nothing but the data", async () => {
  const server = await newServer();
  server.reply("Well ", cut(), "do", reconnect(), "ne");
  const page = await ready(server);
  page.hook.sendMessage({ text: "How was my week?" });
  assert.deepEqual(shown(await page.until(isDone)), ["user: How was my week?", "assistant: Well done"]);
  assert.deepEqual(
    page.data.map(({ type, data }) => [type, data.state]),
    [
      ["data-connection", "connected"],
      ["data-connection", "reconnecting"],
      ["data-connection", "connected"],
      ["data-connection", "connected"],
    ],
  );
  assert.deepEqual(methods(server), ["POST", "GET", "GET"]);
  page.close();
});

test("several tabs resume the same reply, in strict mode, too", async () => {
  const server = await newServer();
  const held = gate();
  server.reply("Well ", held, "done");
  const first = await ready(server);
  first.hook.sendMessage({ text: "How was my week?" });
  const half = await first.until(hasText("Well "));
  const begun = half.messages.slice(0, 1);
  const tabs = [
    opened(server, { resume: true, messages: begun }),
    opened(server, { resume: true, messages: begun, id: "another id" }),
    // A page that was reloaded with the partial reply: it is replaced.
    opened(server, { resume: true, messages: half.messages, isStrict: true }),
  ];
  for (const tab of tabs) await tab.until(hasText("Well "));
  held.open();
  for (const tab of [first, ...tabs]) {
    const { messages } = await tab.until(isDone);
    assert.deepEqual(shown({ messages }), ["user: How was my week?", "assistant: Well done"]);
    assert.equal(messages[1].id, half.messages[1].id);
    tab.close();
  }
  assert.equal(server.messages().length, 2);
});

test("after the connection was lost for good, resumeStream replaces what had arrived", async () => {
  const server = await newServer();
  const [held, last] = [gate(), gate()];
  server.reply("Well ", held, cut(), last, "done");
  const reconnect = { backoffMs: 1, maxBackoffMs: 1, giveUpAfterMs: 20 };
  const page = await ready(server, { transportOptions: { reconnect } });
  page.hook.sendMessage({ text: "How was my week?" });
  await page.until(hasText("Well "));
  server.isOffline = true;
  held.open();
  assert.equal((await page.until(hasFailed)).error.code, "CONNECTION_LOST");
  server.isOffline = false;
  page.hook.resumeStream();
  await server.until(() => server.readers() === 1);
  last.open();
  assert.deepEqual(shown(await page.until(isDone)), ["user: How was my week?", "assistant: Well done"]);
  page.close();
});

test("nothing is resumed where nothing is written", async () => {
  const server = await newServer();
  const page = opened(server, { resume: true });
  await server.until((requests) => requests.length === 1);
  await page.until(isReady);
  page.hook.sendMessage({ text: "Hello" });
  assert.deepEqual(shown(await page.until(isDone)), ["user: Hello", "assistant: You said: Hello"]);
  page.close();
});

test("a stored message is one of useChat's, and can be sent again", async () => {
  const server = await newServer();
  server.reply("Well ", fail());
  const page = await ready(server);
  page.hook.sendMessage({ text: "How was my week?" });
  await page.until(hasFailed);
  page.close();
  const messages = server.messages().map(toUIMessage);
  const reloaded = await ready(server, { messages });
  assert.deepEqual(shown(reloaded.hook), ["user: How was my week?", "assistant: Well "]);
  const { userMessageId, stopReason, messageId } = messages[1].metadata;
  assert.deepEqual([userMessageId, stopReason], [messages[0].metadata.messageId, "interrupted"]);
  assert.equal(messageId, messages[1].id);
  server.reply("Well done");
  reloaded.hook.sendMessage({ messageId: messages[0].id, parts: messages[0].parts });
  await reloaded.until(hasText("Well done"));
  await reloaded.until(isDone);
  assert.equal(server.messages().length, 2);
  reloaded.close();
});

test("text that is withdrawn disappears", async () => {
  const server = await newServer();
  const held = gate();
  server.reply("Sure: do no", held, reset(6), "run", reset(), "Rest.");
  const page = await ready(server);
  page.hook.sendMessage({ text: "How was my week?" });
  await page.until(hasText("Sure: do no"));
  held.open();
  const { messages } = await page.until(isDone);
  assert.equal(textOf(messages[1]), "Rest.");
  assert.equal(messages[1].parts.filter(({ type }) => type === "text").length, 1);
  page.close();
});

test("what is said besides the reply comes as transient data", async () => {
  const server = await newServer();
  server.reply("Well ", contextual("Saved."), guardrailWarning("Careful."), "done");
  const page = await ready(server);
  page.hook.sendMessage({ text: "Remember this" });
  const { messages } = await page.until(isDone);
  const said = page.data.filter(({ type }) => type !== "data-connection");
  assert.deepEqual(
    said.map(({ type }) => type),
    ["data-contextual", "data-guardrail-warning"],
  );
  assert.deepEqual(
    [said[0].data.stage, said[0].data.content, said[1].data.message],
    ["memory_saved", "Saved.", "Careful."],
  );
  assert.deepEqual(
    messages[1].parts.map(({ type }) => type),
    ["step-start", "text"],
  );
  page.close();
});

test("the transport's stop ends the reply on the server; useChat's only stops reading", async () => {
  const server = await newServer();
  const held = gate();
  server.reply("Well ", held, "done");
  const page = await ready(server);
  page.hook.sendMessage({ text: "One" });
  await page.until(hasText("Well "));
  await page.hook.stop();
  await page.until(isReady);
  held.open();
  const other = opened(server, { resume: true });
  await server.until((requests) => requests.length === 2);
  other.close();
  await server.until(() => server.messages().length === 2);
  assert.equal(server.messages()[1].content, "Well done");
  server.reply("Well ", gate(), "never said");
  page.hook.sendMessage({ text: "Two" });
  await page.until(
    ({ messages, status }) => messages.length === 4 && status === "streaming" && textOf(messages[3]) === "Well ",
  );
  await page.transport.stop("conv_test");
  const { messages } = await page.until(isReady);
  assert.equal(messages[3].metadata.stopReason, "stopped");
  assert.equal(server.messages()[3].metadata.stopReason, "stopped");
  await page.transport.stop(); // there is nothing to stop
  page.close();
});

/** A message that is sent with the transport itself. */
async function sent(server, abortSignal) {
  const transport = new CoachStreamTransport(optionsOf(server));
  const messages = [{ id: "m1", role: "user", parts: [{ type: "text", text: "Hello" }] }];
  const stream = await transport.sendMessages({ trigger: "submit-message", chatId: "c", messages, abortSignal });
  return { transport, reader: stream.getReader() };
}

/** Its reply, which is read up to the first words. */
async function begun(server, abortSignal) {
  server.reply("Well ", gate(), "never said");
  const { transport, reader } = await sent(server, abortSignal);
  while ((await reader.read()).value.type !== "text-delta");
  await new Promise(setImmediate); // the stream is done with the chunk
  return { transport, reader, rest: reader.read() };
}

test("a stream that is cancelled closes its connection at once", async () => {
  const server = await newServer();
  const { reader } = await begun(server);
  assert.equal(server.readers(), 1);
  await reader.cancel();
  await server.until(() => server.readers() === 0);
});

test("a reply that is no longer read can still be stopped", async () => {
  const server = await newServer();
  const reading = new AbortController();
  const { transport, reader, rest } = await begun(server, reading.signal);
  reading.abort();
  assert.equal((await rest).value.type, "text-end");
  await assert.rejects(reader.read(), { name: "AbortError" });
  await transport.stop("c");
  await server.until(() => server.messages().length === 2);
  assert.equal(server.messages()[1].metadata.stopReason, "stopped");
});

test("a stop before the service has the message counts, and is no error if it is refused", async () => {
  const server = await newServer();
  server.reply("Well ", gate(), "never said");
  const stopped = await sent(server);
  const stopping = stopped.transport.stop("c");
  while (!(await stopped.reader.read()).done);
  await stopping;
  assert.equal(server.messages()[1].metadata.stopReason, "stopped");
  server.refuse({ status: 503, code: "SERVER_BUSY" });
  const refused = await sent(server);
  const failing = assert.rejects(refused.reader.read(), { code: "SERVER_BUSY" });
  await refused.transport.stop("c");
  await failing;
});

test("a failed reply is our error, and the message can be sent again", async () => {
  const server = await newServer();
  server.reply("Well ", fail({ message: "It broke off." }));
  const page = await ready(server);
  page.hook.sendMessage({ text: "How was my week?" });
  const failed = await page.until(hasFailed);
  assert.deepEqual(
    [failed.error.code, failed.error.message, failed.error.retryable],
    ["MODEL_STREAM_BROKEN", "It broke off.", true],
  );
  const { text, state } = failed.messages[1].parts.at(-1);
  assert.deepEqual([text, state], ["Well ", "done"]);
  server.reply("Well done");
  const { id, parts } = failed.messages[0];
  page.hook.sendMessage({ messageId: id, parts });
  assert.deepEqual(shown(await page.until(isDone)), ["user: How was my week?", "assistant: Well done"]);
  assert.equal(server.messages().length, 2);
  // Once more: the stored reply.
  page.hook.sendMessage({ messageId: id, parts });
  await page.until(({ status }) => status !== "ready");
  assert.deepEqual(shown(await page.until(isDone)), ["user: How was my week?", "assistant: Well done"]);
  page.close();
});

test("a refused message is our error, and there is no reply in the list", async () => {
  const server = await newServer();
  server.refuse({ status: 413, code: "MESSAGE_TOO_LONG", message: "Please write less." });
  const page = await ready(server);
  page.hook.sendMessage({ text: "x" });
  const failed = await page.until(hasFailed);
  assert.deepEqual([failed.error.code, failed.error.status], ["MESSAGE_TOO_LONG", 413]);
  assert.deepEqual(shown(failed), ["user: x"]);
  // The service does not have it, so it may be changed.
  page.hook.sendMessage({ messageId: failed.messages[0].id, text: "y" });
  assert.deepEqual(shown(await page.until(isDone)), ["user: y", "assistant: You said: y"]);
  page.close();
});

test("what is not supported is refused, and never ignored", async () => {
  const server = await newServer();
  const page = await ready(server);
  page.hook.sendMessage({ text: "Hello" });
  await page.until(isDone);
  const file = { type: "file", mediaType: "image/png", url: "data:image/png;base64,aGVsbG8=" };
  page.hook.sendMessage({ text: "Look", files: [file] });
  await page.until(({ messages, status }) => status === "error" && messages.at(-1).parts.length === 2);
  assert.equal(page.hook.error.code, "ATTACHMENT_REJECTED");
  assert.deepEqual(methods(server), ["POST"]);
  page.close();
});

test("the last reply is regenerated, and the last message edited", async () => {
  const server = await newServer();
  const page = await ready(server);
  page.hook.sendMessage({ text: "Half an emoji: \ud83d" });
  const { messages } = await page.until(isDone);
  const { id, parts } = messages[0];
  page.hook.sendMessage({ messageId: id, parts });
  await page.until(({ status }) => status !== "ready");
  await page.until(isDone); // it is unchanged, although the service has stored the replacement character
  const steps = [
    ["Better.", () => page.hook.regenerate(), "Half an emoji: \ud83d"],
    ["New.", () => page.hook.sendMessage({ messageId: id, text: "Something else" }), "Something else"],
    ["Newer.", () => page.hook.sendMessage({ messageId: id, text: "Something new" }), "Something new"],
    ["Newest.", () => page.hook.regenerate(), "Something new"],
  ];
  for (const [reply, act, text] of steps) {
    server.reply(reply);
    act();
    await page.until(({ status }) => status !== "ready");
    const done = await page.until(isDone);
    assert.deepEqual(shown(done), [`user: ${text}`, `assistant: ${reply}`]);
    assert.equal(server.messages().length, 2);
  }
  const [, , ...bodies] = server.requests.map(({ body }) => body);
  assert.deepEqual(
    bodies.map(({ regenerate, replaces }) => (regenerate ? "regenerate" : replaces && "replaces")),
    ["regenerate", "replaces", "replaces", "regenerate"],
  );
  page.close();
  // A page that was reloaded has not sent it itself, and learns it from the service.
  const reloaded = await ready(server, { messages: server.messages().map(toUIMessage) });
  server.reply("Again.");
  reloaded.hook.regenerate();
  await reloaded.until(({ status }) => status !== "ready");
  assert.deepEqual(shown(await reloaded.until(isDone)), ["user: Something new", "assistant: Again."]);
  server.reply("Last.");
  reloaded.hook.sendMessage({ messageId: reloaded.hook.messages[0].id, text: "The last one" });
  await reloaded.until(({ status }) => status !== "ready");
  assert.deepEqual(shown(await reloaded.until(isDone)), ["user: The last one", "assistant: Last."]);
  assert.equal(server.messages().length, 2);
  reloaded.close();
});

test("after an error, `regenerate` repeats what failed", async () => {
  const server = await newServer();
  const page = await ready(server);
  server.reply("Well ", fail());
  page.hook.sendMessage({ text: "How was my week?" });
  await page.until(hasFailed);
  server.reply("Well done");
  page.hook.regenerate();
  assert.deepEqual(shown(await page.until(isDone)), ["user: How was my week?", "assistant: Well done"]);
  server.reply("Better", fail());
  page.hook.regenerate();
  await page.until(hasFailed);
  assert.deepEqual(server.messages().map(({ content }) => content), ["How was my week?", "Well done"]);
  server.reply("Better still");
  page.hook.regenerate();
  assert.deepEqual(shown(await page.until(isDone)), ["user: How was my week?", "assistant: Better still"]);
  page.close();
});

test("another device that has gone on is left alone", async () => {
  const server = await newServer();
  const page = await ready(server);
  page.hook.sendMessage({ text: "Hello" });
  await page.until(isDone);
  const other = await ready(server, { messages: server.messages().map(toUIMessage) });
  other.hook.sendMessage({ text: "And now?" });
  await other.until(({ status, messages }) => status === "ready" && messages.length === 4);
  page.hook.regenerate();
  assert.equal((await page.until(hasFailed)).error.code, "NOT_THE_LAST_EXCHANGE");
  assert.equal(server.messages().length, 4);
  page.close();
  other.close();
});

test("one transport serves several conversations, and any id of a message", async () => {
  const server = await newServer();
  const transportOptions = { conversationUrl: (chatId) => server.conversation(chatId), timeZone: "Europe/Berlin" };
  const page = await ready(server, { id: "conv_9", transportOptions });
  page.hook.sendMessage({ text: "Hello", messageId: undefined, metadata: {} });
  await page.until(isDone);
  assert.equal(server.messages("conv_9").length, 2);
  assert.equal(server.requests[0].body.userTimezone, "Europe/Berlin");
  const odd = { id: "an id with blanks", role: "user", parts: [{ type: "text", text: "Odd" }] };
  page.hook.setMessages([odd]);
  await page.until(({ messages }) => messages[0].id === odd.id);
  page.hook.sendMessage({ messageId: odd.id, parts: odd.parts });
  await page.until(isDone);
  assert.match(server.requests[1].body.clientMessageId, /^id-[0-9a-f]{40}$/);
  page.close();
});
