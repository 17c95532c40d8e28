// `useCoachStream`, mounted by React, over HTTP.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { chooseVersion, stop } from "coachstream";
import { fail, cut, gate } from "coachstream/testing";
import { mount, window } from "./page.mjs";
import { methods, newServer, optionsOf } from "./server.mjs";

const { useCoachStream } = await import("coachstream/react");

beforeEach(() => localStorage.clear());

const shown = ({ messages }) => messages.map(({ content, state }) => `${state}: ${content}`);
const draftsKept = () => Object.keys({ ...localStorage }).length;
const isReady = ({ status }) => status === "ready";
const hasFailed = ({ status }) => status === "error";
const hasText =
  (text) =>
  ({ messages }) =>
    messages.at(-1)?.content === text;
const isDone = (text) => (hook) => isReady(hook) && hasText(text)(hook);
const opened = (server, more = {}, how = {}) => mount(useCoachStream, { ...optionsOf(server), ...more }, how);

/** Sends a message as another device does. */
const sayElsewhere = (server, body) =>
  fetch(`${server.conversationUrl}/stream`, {
    method: "POST",
    headers: { authorization: "Bearer token" },
    body: JSON.stringify(body),
  });

/** A service that rejects a message while a reply is written, as with `COACHSTREAM_TURN_POLICY=reject`. */
const rejecting = (url, request) => {
  if (request.method !== "POST") return fetch(url, request);
  return fetch(url, { ...request, body: JSON.stringify({ policy: "reject", ...JSON.parse(request.body) }) });
};

/** A page whose message waits for another device's reply, which `held` holds. */
async function behindPhone(more, own) {
  const server = await newServer();
  let isQueued = () => {};
  const queued = new Promise((resolve) => (isQueued = resolve));
  const onEvent = ({ type }) => type === "queued" && isQueued();
  const page = await idle(server, { onEvent, ...more?.(server) });
  const held = gate();
  server.reply("First", held, ".");
  if (own) server.reply(own, "You said: From my laptop");
  const phone = await sayElsewhere(server, { userResponse: "From my phone" });
  page.hook.send("From my laptop");
  await page.until(({ status }) => status === "waiting");
  return { server, page, held, phone, queued };
}

/** What a page leaves that is closed while it sends this. */
function leaveDraft(server, text, clientMessageId, typed = "") {
  const draft = { text: typed, outgoing: { text, clientMessageId, writtenAt: "2026-11-23T10:00:00.123Z" } };
  localStorage.setItem(`coachstream:draft:${server.conversationUrl}`, JSON.stringify(draft));
}

/** A page that has found nothing to resume. */
async function idle(server, more, how) {
  const asked = server.requests.length;
  const page = opened(server, more, how);
  await page.until(isReady);
  await server.until((requests) => requests.length > asked);
  return page;
}

test("a message is shown at once, and its reply while it arrives", async () => {
  const server = await newServer();
  const held = gate();
  server.reply("Well ", held, "done");
  const page = await idle(server);
  assert.equal(page.hook.send("How was my week?"), true);
  await page.until(({ messages }) => messages.length === 1);
  const half = await page.until(hasText("Well "));
  assert.deepEqual(shown(half), ["sent: How was my week?", "streaming: Well "]);
  assert.equal(half.status, "streaming");
  held.open();
  const whole = await page.until(isReady);
  assert.deepEqual(shown(whole), ["sent: How was my week?", "complete: Well done"]);
  assert.deepEqual(
    whole.messages.map(({ stored }) => stored),
    server.messages(),
  );
  // The keys have not changed, and what has not changed is the same object.
  const first = page.renders.find(({ messages }) => messages.length === 1);
  assert.deepEqual(shown(first), ["sending: How was my week?"]);
  assert.equal(first.status, "sending");
  assert.equal(whole.messages[0].id, first.messages[0].id);
  assert.equal(whole.messages[1].id, half.messages[1].id);
  assert.equal(page.hook.send("And now?"), true);
  const next = await page.until(({ messages }) => messages.length === 4);
  assert.equal(next.messages[1], whole.messages[1]);
  page.close();
});

test("strict mode resumes once and sends once", async () => {
  const server = await newServer();
  let loads = 0;
  const history = async () => {
    loads += 1;
    return [];
  };
  const page = await idle(server, { history }, { isStrict: true });
  page.hook.send("Hello");
  await page.until(({ messages, status }) => status === "ready" && messages.length === 2);
  assert.deepEqual(methods(server), ["GET", "POST"]);
  assert.equal(loads, 1);
  page.close();
});

test("a reloaded page and a second tab continue the reply, and one message is one reply", async () => {
  const server = await newServer();
  const held = gate();
  server.reply("Well ", held, "done");
  const history = async () => server.messages();
  const page = await idle(server, { history });
  page.hook.send("How was my week?");
  await page.until(hasText("Well "));
  page.close();
  const tabs = [opened(server, { history }, { isStrict: true }), opened(server, { history })];
  for (const tab of tabs) {
    assert.deepEqual(shown(await tab.until(hasText("Well "))), ["sent: How was my week?", "streaming: Well "]);
  }
  held.open();
  for (const tab of tabs) {
    assert.deepEqual(shown(await tab.until(isReady)), ["sent: How was my week?", "complete: Well done"]);
    tab.close();
  }
  assert.deepEqual(methods(server), ["GET", "POST", "GET", "GET"]);
});

test("a reply that is complete between the two requests is loaded", async () => {
  const server = await newServer();
  let loads = 0;
  const [question, reply] = [
    { id: "msg_1", role: "user", content: "How was my week?", timestamp: "2026-11-23T10:00:00.123Z" },
    { id: "msg_2", role: "assistant", content: "Well done", timestamp: "2026-11-23T10:00:04.567Z" },
  ];
  const history = async () => (loads++ === 0 ? [question] : [question, reply]);
  const page = opened(server, { history });
  assert.deepEqual(shown(await page.until(({ messages }) => messages.length === 2)), [
    "sent: How was my week?",
    "complete: Well done",
  ]);
  page.close();
});

test("a page that is unmounted reads no more, and the reply goes on", async () => {
  const server = await newServer();
  const held = gate();
  server.reply("Well ", held, "done");
  const page = await idle(server);
  page.hook.send("How was my week?");
  await page.until(hasText("Well "));
  assert.equal(server.readers(), 1);
  page.close();
  await server.until(() => server.readers() === 0);
  held.open();
  const later = await idle(server, { history: async () => server.messages() });
  await later.until(({ messages }) => messages.length === 2);
  later.close();
  assert.deepEqual(methods(server), ["GET", "POST", "GET"]);
});

test("a message on its way is sent although the page is unmounted", async () => {
  const server = await newServer();
  const held = gate();
  server.reply(held, "Well done");
  const page = await idle(server);
  server.isOffline = true;
  page.hook.send("Written in a tunnel");
  await page.until(({ isReconnecting }) => isReconnecting);
  page.close();
  assert.equal(draftsKept(), 1);
  server.isOffline = false;
  await server.until(() => server.readers() === 1);
  assert.equal(server.messages()[0].content, "Written in a tunnel");
  await server.until(() => server.readers() === 0);
  assert.equal(draftsKept(), 0);
  held.open();
});

test("a lost connection is restored", async () => {
  const server = await newServer();
  server.reply("Well ", cut(), "done");
  const page = await idle(server);
  page.hook.send("How was my week?");
  await page.until(hasText("Well done"));
  assert.ok(page.renders.some(({ isReconnecting }) => isReconnecting));
  assert.equal((await page.until(isReady)).isReconnecting, false);
  page.close();
});

test("a page that is hidden and shown again continues where it was", async () => {
  const server = await newServer();
  const held = gate();
  server.reply("Well ", held, "done");
  const page = await idle(server);
  page.hook.send("How was my week?");
  await page.until(hasText("Well "));
  await page.render(optionsOf(server), "hidden");
  await server.until(() => server.readers() === 0);
  held.open();
  await page.render(optionsOf(server));
  assert.deepEqual(shown(await page.until(isReady)), ["sent: How was my week?", "complete: Well done"]);
  assert.match(server.requests.at(-1).query, /^\?after=/);
  page.close();
});

test("a joined reply whose connection is lost for good continues where it was", async () => {
  const server = await newServer();
  const held = gate();
  server.reply("Well ", held, cut(), "done");
  const asking = await idle(server);
  asking.hook.send("How was my week?");
  await asking.until(hasText("Well "));
  asking.close();
  const page = opened(server, { reconnect: { backoffMs: 1, maxBackoffMs: 1, giveUpAfterMs: 20 } });
  await page.until(hasText("Well "));
  server.isOffline = true;
  held.open();
  const failed = await page.until(hasFailed);
  assert.deepEqual([failed.error.code, ...shown(failed)], ["CONNECTION_LOST", "interrupted: Well "]);
  server.isOffline = false;
  assert.equal(page.hook.retry(), true);
  assert.equal((await page.until(({ error }) => error === null)).status, "streaming");
  assert.deepEqual(shown(await page.until(isReady)), ["sent: How was my week?", "complete: Well done"]);
  page.close();
});

test("a reply that broke off here and was completed there is shown once", async () => {
  const server = await newServer();
  const held = gate();
  server.reply("Well ", held, cut(), "done");
  const page = await idle(server, { reconnect: { backoffMs: 1, maxBackoffMs: 1, giveUpAfterMs: 20 } });
  page.hook.send("How was my week?");
  await page.until(hasText("Well "));
  server.isOffline = true;
  held.open();
  await page.until(hasFailed);
  await server.until(() => server.messages().length === 2);
  page.hook.setMessages(server.messages());
  const whole = ["sent: How was my week?", "complete: Well done"];
  const updated = await page.until(isReady);
  assert.deepEqual([shown(updated), updated.error], [whole, null]);
  page.close();
});

test("a reply that broke off before another message is replaced where it is", async () => {
  const server = await newServer();
  server.reply("Well ", fail());
  const page = await idle(server);
  page.hook.send("One");
  await page.until(hasFailed);
  page.hook.send("Two");
  await page.until(isReady);
  const [one, partial, ...others] = server.messages();
  const whole = { ...partial, id: `${partial.id}_2`, content: "Well done", metadata: { replyTo: one.id } };
  page.hook.setMessages([one, whole, ...others]);
  const { messages } = await page.until(({ messages }) => messages[1].content === "Well done");
  assert.deepEqual(
    messages.map(({ content }) => content),
    ["One", "Well done", "Two", "You said: Two"],
  );
  page.close();
});

test("a page that becomes visible again loads what others have written", async () => {
  const server = await newServer();
  const page = await idle(server, { history: async () => server.messages() });
  await server.until(() => server.readers() === 0);
  await (await sayElsewhere(server, { userResponse: "From my phone" })).text();
  window.document.dispatchEvent(new window.Event("visibilitychange"));
  assert.deepEqual(shown(await page.until(({ messages }) => messages.length === 2)), [
    "sent: From my phone",
    "complete: You said: From my phone",
  ]);
  page.close();
});

test("a stop ends the reply on the server", async () => {
  const server = await newServer();
  server.reply("Well ", gate(), "never said");
  const page = await idle(server);
  await page.hook.stop(); // there is nothing to stop
  page.hook.send("How was my week?");
  await page.until(hasText("Well "));
  await page.hook.stop();
  const { messages } = await page.until(isReady);
  assert.deepEqual([messages[1].content, messages[1].stored.metadata.stopReason], ["Well ", "stopped"]);
  assert.equal(server.messages()[1].metadata.stopReason, "stopped");
  page.close();
});

test("a stop before the message has its run counts as soon as there is one", async () => {
  const server = await newServer();
  server.reply("Well ", gate(), "never said");
  const page = await idle(server);
  page.hook.send("One");
  await page.hook.stop();
  assert.equal((await page.until(isReady)).messages.at(-1).stored.metadata.stopReason, "stopped");
  server.refuse({ status: 503, code: "SERVER_BUSY" });
  page.hook.send("Two");
  await page.hook.stop();
  assert.equal((await page.until(hasFailed)).error.code, "SERVER_BUSY");
  page.close();
});

const stopBehindAnotherReply = (isWaiting) => async () => {
  const server = await newServer();
  const page = await idle(server, { fetch: rejecting });
  const held = gate();
  server.reply("First", held, ".");
  const phone = await sayElsewhere(server, { userResponse: "From my phone" });
  page.hook.send("From my laptop");
  if (isWaiting) await server.until((requests) => requests.length === 4);
  await page.hook.stop();
  const stopped = await page.until(isReady);
  assert.deepEqual([stopped.error, stopped.draft, ...shown(stopped)], [null, "", "sent: From my laptop"]);
  held.open();
  await phone.text();
  assert.equal(server.messages().length, 3);
  assert.equal(page.hook.retry(), true);
  await page.until(hasText("You said: From my laptop"));
  await page.until(isReady);
  page.close();
};
test("a rejected message that is stopped while it waits has no reply until it is retried", stopBehindAnotherReply(true));
test("so has one that is stopped before it is known that it must wait", stopBehindAnotherReply(false));

test("a queued message that is stopped returns to the draft, and is another one when it is sent again", async () => {
  const { server, page, held, phone } = await behindPhone();
  page.hook.setDraft("And tomorrow?");
  await page.hook.stop();
  const stopped = await page.until(isReady);
  const draft = "From my laptop\n\nAnd tomorrow?";
  assert.deepEqual([stopped.error, stopped.draft, ...shown(stopped)], [null, draft]);
  assert.deepEqual([draftsKept(), page.hook.retry()], [1, false]);
  assert.deepEqual(server.messages().map(({ content }) => content), ["From my phone"]);
  const reloaded = await idle(server);
  assert.equal(reloaded.hook.draft, draft);
  reloaded.close();
  page.hook.setDraft("From my laptop");
  held.open();
  await phone.text();
  page.hook.send();
  assert.deepEqual(shown(await page.until(isDone("You said: From my laptop"))).length, 2);
  page.close();
});

test("a queued message that is withdrawn elsewhere is an error, and can be sent again", async () => {
  const events = [];
  const { server, page, held } = await behindPhone(() => ({ onEvent: (event) => events.push(event) }));
  await stop({ ...optionsOf(server), runId: events.find(({ runId }) => runId).runId });
  const withdrawn = await page.until(hasFailed);
  assert.deepEqual([withdrawn.error.code, withdrawn.draft, ...shown(withdrawn)], ["MESSAGE_WITHDRAWN", "From my laptop"]);
  held.open();
  assert.equal(page.hook.retry(), true);
  await page.until(isDone("You said: From my laptop"));
  page.close();
});

test("a message that was withdrawn before its page knew it is another one when it is sent again", async () => {
  const { server, page } = await behindPhone();
  const [{ clientMessageId }] = server.requests.filter(({ body }) => body?.clientMessageId).map(({ body }) => body);
  await page.hook.stop();
  await page.until(isReady);
  page.close();
  leaveDraft(server, "From my laptop", clientMessageId);
  const reloaded = opened(server, { resume: false });
  await reloaded.until(({ draft }) => draft !== "");
  assert.equal(reloaded.hook.send(), true);
  assert.equal((await reloaded.until(hasFailed)).error.code, "MESSAGE_WITHDRAWN");
  assert.deepEqual([reloaded.hook.draft, reloaded.hook.messages], ["From my laptop", []]);
  assert.equal(reloaded.hook.retry(), true);
  await reloaded.until(({ status }) => status === "waiting");
  reloaded.close();
});

test("a stored message that is retried, queued and stopped leaves the list", async () => {
  const server = await newServer();
  server.reply(fail());
  const asked = await sayElsewhere(server, { userResponse: "From my laptop", clientMessageId: "m-1" });
  await asked.text();
  const page = await idle(server, { history: server.messages() });
  assert.deepEqual(shown(page.hook), ["sent: From my laptop"]);
  server.reply(gate());
  await sayElsewhere(server, { userResponse: "From my phone" });
  assert.equal(page.hook.retry(), true);
  await server.until(() => server.readers() === 2);
  await page.hook.stop();
  const stopped = await page.until(({ draft }) => draft !== "");
  assert.deepEqual([stopped.status, stopped.draft, ...shown(stopped)], ["ready", "From my laptop"]);
  page.close();
});

test("a queued message that is stopped keeps what there was of a reply", async () => {
  const server = await newServer();
  server.reply("Well ", fail());
  const page = await idle(server);
  page.hook.send("From my laptop");
  await page.until(hasFailed);
  const held = gate();
  server.reply(held);
  await sayElsewhere(server, { userResponse: "From my phone" });
  const broken = ["sent: From my laptop", "interrupted: Well "];
  const reloaded = opened(server, { history: server.messages().slice(0, 2), resume: false });
  await reloaded.until(isReady);
  for (const each of [page, reloaded]) {
    assert.deepEqual(shown(each.hook), broken);
    assert.equal(each.hook.retry(), true);
    await each.until((hook) => shown(hook).length === 1);
    await server.until(() => server.readers() === 2);
    await each.hook.stop();
    const stopped = await each.until(isReady);
    assert.deepEqual([stopped.error, stopped.draft, ...shown(stopped)], [null, "", ...broken]);
  }
  held.open();
  assert.equal(page.hook.retry(), true);
  await page.until(isDone("You said: From my laptop"));
  page.close();
});

test("a stop that fails is an error, and the reply goes on", async () => {
  const server = await newServer();
  const held = gate();
  server.reply("Well ", held, "done");
  const page = await idle(server);
  page.hook.send("How was my week?");
  await page.until(hasText("Well "));
  server.refuse({ status: 403, code: "USER_ID_MISMATCH" });
  await page.hook.stop();
  const failed = await page.until(({ error }) => error !== null);
  assert.deepEqual([failed.status, failed.error.code], ["streaming", "USER_ID_MISMATCH"]);
  held.open();
  assert.equal((await page.until(isReady)).error, null);
  page.close();
});

test("a stop that fails after the reply is complete is no error, and nothing is sent", async () => {
  const server = await newServer();
  const [held, lost] = [gate(), gate()];
  server.reply("Well ", held, "done");
  const withoutStops = async (url, request) => {
    if (request.method !== "DELETE") return fetch(url, request);
    await lost.opened;
    throw new TypeError("no network");
  };
  const page = await idle(server, { fetch: withoutStops });
  page.hook.send("How was my week?");
  await page.until(hasText("Well "));
  const stopped = page.hook.stop();
  held.open();
  await page.until(isReady);
  page.hook.setDraft("Half a sen");
  lost.open();
  await stopped;
  await page.until(({ draft }) => draft !== "");
  assert.deepEqual([page.hook.status, page.hook.error], ["ready", null]);
  assert.equal(page.hook.retry(), false);
  page.close();
});

test("a mistake in onEvent is reported, and the reply goes on", async (context) => {
  const server = await newServer();
  const reported = [];
  globalThis.reportError = (error) => reported.push(error.message);
  context.after(() => delete globalThis.reportError);
  const onEvent = ({ type }) => {
    throw new Error(type);
  };
  const page = await idle(server, { onEvent });
  page.hook.setDraft("Half a sen");
  page.hook.send("Hello");
  const whole = await page.until(({ messages, status }) => status !== "waiting" && messages.length === 2);
  assert.deepEqual([whole.error, whole.draft], [null, "Half a sen"]);
  await page.until(isReady);
  assert.deepEqual(reported, ["connection", "run", "text", "complete"]);
  assert.equal(page.hook.retry(), false);
  page.close();
});

test("what is typed survives a reload, and is gone once the server has it", async () => {
  const server = await newServer();
  const page = await idle(server);
  page.hook.setDraft("Words that took me long");
  page.close();
  const reloaded = await idle(server);
  assert.equal((await reloaded.until(({ draft }) => draft !== "")).draft, "Words that took me long");
  const held = gate();
  server.reply(held, "Well done");
  assert.equal(reloaded.hook.send(), true);
  await reloaded.until(({ draft, status }) => draft === "" && status === "waiting");
  assert.equal(draftsKept(), 0);
  held.open();
  await reloaded.until(isReady);
  reloaded.close();
});

test("a message whose confirmation the page has not seen does not come back", async () => {
  const server = await newServer();
  const held = gate();
  server.reply("Well ", held, "done");
  const elsewhere = await sayElsewhere(server, { userResponse: "Hello", clientMessageId: "m1" });
  leaveDraft(server, "Hello", "m1");
  const joined = opened(server);
  await joined.until(({ draft }) => draft === "Hello");
  await joined.until(hasText("Well "));
  held.open();
  await elsewhere.text();
  const whole = await joined.until(isReady);
  assert.deepEqual(shown(whole), ["sent: Hello", "complete: Well done"]);
  assert.deepEqual([whole.draft, draftsKept()], ["", 0]);
  joined.close();
  const messages = server.messages();
  for (const history of [messages, async () => messages]) {
    leaveDraft(server, "Hello", "m1");
    const page = await idle(server, { history });
    assert.deepEqual([page.hook.draft, draftsKept()], ["", 0]);
    page.close();
  }
});

test("what was typed after such a message stays alone in the draft", async () => {
  const server = await newServer();
  await (await sayElsewhere(server, { userResponse: "Hello", clientMessageId: "m1" })).text();
  leaveDraft(server, "Hello", "m1", "And more");
  const loaded = gate();
  const history = async () => {
    await loaded.opened;
    return server.messages();
  };
  const page = opened(server, { history });
  await page.until(({ draft }) => draft === "Hello\n\nAnd more");
  loaded.open();
  await page.until(({ draft }) => draft === "And more");
  page.close();
});

test("a refused message returns to the draft, and keeps its key while it is unchanged", async () => {
  const server = await newServer();
  const page = await idle(server);
  server.refuse({ status: 503, code: "SERVER_BUSY", message: "Too many people.", retryable: true });
  page.hook.setDraft("Hello");
  page.hook.send();
  const failed = await page.until(hasFailed);
  assert.deepEqual(
    [failed.error.code, failed.error.message, failed.draft],
    ["SERVER_BUSY", "Too many people.", "Hello"],
  );
  assert.deepEqual(failed.messages, []);
  page.close();
  const reloaded = await idle(server);
  await reloaded.until(({ draft }) => draft === "Hello");
  reloaded.hook.send();
  await reloaded.until(({ messages }) => messages.length === 2);
  const keys = server.requests.filter(({ method }) => method === "POST").map(({ body }) => body.clientMessageId);
  assert.equal(keys[0], keys[1]);
  reloaded.hook.setDraft("Hello");
  await reloaded.until(isReady);
  reloaded.hook.send();
  await reloaded.until(({ messages }) => messages.length === 4);
  assert.notEqual(server.requests.at(-1).body.clientMessageId, keys[0]);
  reloaded.close();
});

test("a refused message keeps its key although another one is sent first", async () => {
  const server = await newServer();
  const page = await idle(server);
  server.refuse({ status: 503, code: "SERVER_BUSY", retryable: true });
  page.hook.send("How was my week?");
  await page.until(hasFailed);
  page.hook.send("Hello");
  assert.equal((await page.until(({ messages }) => messages[1]?.state === "complete")).draft, "How was my week?");
  await page.until(isReady);
  page.hook.send();
  await page.until(({ messages }) => messages[3]?.state === "complete");
  const [refused, , sent] = server.requests.filter(({ method }) => method === "POST").map(({ body }) => body);
  assert.equal(sent.clientMessageId, refused.clientMessageId);
  page.close();
});

test("a message that failed and is edited is another message, and comes back as edited", async () => {
  const server = await newServer();
  const page = await idle(server);
  server.refuse({ status: 413, code: "MESSAGE_TOO_LONG" });
  page.hook.send("Helo");
  await page.until(hasFailed);
  page.hook.setDraft("Hello");
  page.close();
  const reloaded = await idle(server);
  assert.equal((await reloaded.until(({ draft }) => draft !== "")).draft, "Hello");
  reloaded.hook.send();
  await reloaded.until(({ messages }) => messages.length === 2);
  assert.notEqual(server.requests[1].body.clientMessageId, server.requests.at(-1).body.clientMessageId);
  reloaded.close();
});

test("what was typed meanwhile is kept with the message that failed", async () => {
  const server = await newServer();
  const page = await idle(server);
  server.isOffline = true;
  page.hook.send("Hello");
  await page.until(({ isReconnecting }) => isReconnecting);
  page.hook.setDraft("And more");
  server.refuse({ status: 413, code: "MESSAGE_TOO_LONG" });
  server.isOffline = false;
  const failed = await page.until(hasFailed);
  assert.deepEqual([failed.error.code, failed.draft], ["MESSAGE_TOO_LONG", "Hello\n\nAnd more"]);
  assert.equal(page.hook.retry(), true);
  await page.until(({ messages }) => messages.length === 2);
  assert.equal(server.messages()[0].content, "Hello\n\nAnd more");
  page.close();
});

test("a reply that broke off can be retried, and replaces its beginning", async () => {
  const server = await newServer();
  server.reply("Well ", fail({ message: "It broke off." }));
  const page = await idle(server);
  page.hook.send("How was my week?");
  const failed = await page.until(hasFailed);
  assert.deepEqual(shown(failed), ["sent: How was my week?", "interrupted: Well "]);
  assert.equal(failed.error.message, "It broke off.");
  assert.equal(failed.draft, "");
  server.reply("Well done");
  assert.equal(page.hook.retry(), true);
  assert.deepEqual(shown(await page.until(isReady)), ["sent: How was my week?", "complete: Well done"]);
  assert.equal(server.messages().length, 2);
  assert.equal(page.hook.retry(), false);
  page.close();
});

test("a retry keeps what there is of an earlier reply", async () => {
  const server = await newServer();
  server.reply("Well ", fail());
  const page = await idle(server);
  page.hook.send("One");
  await page.until(hasFailed);
  server.reply(fail());
  page.hook.send("Two");
  await page.until(({ messages, status }) => status === "error" && messages.length === 3);
  page.hook.retry();
  const said = ["sent: One", "interrupted: Well ", "sent: Two", "complete: You said: Two"];
  assert.deepEqual(shown(await page.until(isReady)), said);
  page.close();
});

test("the beginning of a reply is shown until a retry has another one", async () => {
  const server = await newServer();
  server.reply("Well ", fail());
  const page = await idle(server, { reconnect: { ...optionsOf(server).reconnect, giveUpAfterMs: 20 } });
  page.hook.send("How was my week?");
  await page.until(hasFailed);
  server.refuse({ status: 400, code: "REFUSED" });
  page.hook.retry();
  const refused = await page.until(({ error }) => error?.code === "REFUSED");
  assert.deepEqual(shown(refused), ["sent: How was my week?", "interrupted: Well "]);
  const held = gate();
  server.reply("Better ", held, cut());
  page.hook.retry();
  await page.until(hasText("Better "));
  server.isOffline = true;
  held.open();
  assert.deepEqual(shown(await page.until(hasFailed)), ["sent: How was my week?", "interrupted: Better "]);
  page.close();
});

test("a partial reply that is loaded is shown once, and can be retried", async () => {
  const server = await newServer();
  server.reply("Well ", fail());
  const page = await idle(server);
  page.hook.send("How was my week?");
  await page.until(hasFailed);
  page.hook.setMessages(server.messages());
  const loaded = await page.until(({ messages }) => messages[0].stored !== null);
  assert.deepEqual(shown(loaded), ["sent: How was my week?", "interrupted: Well "]);
  const held = gate();
  server.reply("Well", held, " done");
  page.hook.retry();
  assert.deepEqual(shown(await page.until(hasText("Well"))), ["sent: How was my week?", "streaming: Well"]);
  held.open();
  assert.deepEqual(shown(await page.until(isReady)), ["sent: How was my week?", "complete: Well done"]);
  page.close();
});

test("a page that is hidden and shown again after a reply broke off can retry", async () => {
  const server = await newServer();
  server.reply("Well ", fail());
  const page = await idle(server);
  page.hook.send("How was my week?");
  await page.until(hasFailed);
  await page.render(optionsOf(server), "hidden");
  await page.render(optionsOf(server));
  await page.until(isReady);
  assert.equal(page.hook.retry(), true);
  await page.until(hasText("You said: How was my week?"));
  assert.equal((await page.until(isReady)).messages.length, 2);
  page.close();
});

test("after a reload, an unanswered message can be retried", async () => {
  const server = await newServer();
  server.reply("Well ", fail());
  const page = await idle(server);
  page.hook.send("How was my week?");
  await page.until(hasFailed);
  page.close();
  const reloaded = await idle(server, { history: server.messages() });
  assert.deepEqual(shown(reloaded.hook), ["sent: How was my week?", "interrupted: Well "]);
  server.reply("Well done");
  reloaded.hook.retry();
  assert.deepEqual(shown(await reloaded.until(hasText("Well done"))).length, 2);
  await reloaded.until(isReady);
  reloaded.close();
});

test("after a reply that broke off, another message can be sent", async () => {
  const server = await newServer();
  server.reply("Well ", fail());
  const page = await idle(server);
  page.hook.send("One");
  await page.until(hasFailed);
  page.hook.send("Two");
  const said = ["sent: One", "interrupted: Well ", "sent: Two", "complete: You said: Two"];
  assert.deepEqual(shown(await page.until(isReady)), said);
  page.hook.setMessages(server.messages());
  assert.deepEqual(shown(page.hook), said);
  page.close();
});

const both = ["sent: From my phone", "complete: First.", "sent: From my laptop", "complete: You said: From my laptop"];
const withHistory = ({ conversationUrl }) => ({
  history: async () => {
    const response = await fetch(conversationUrl, { headers: { authorization: "Bearer token" } });
    return (await response.json()).conversation.messages;
  },
});
const shows = (messages) => (hook) => isReady(hook) && shown(hook).join() === messages.join();

test("a queued message is answered after another one, whose exchange is shown before its own reply", async () => {
  const own = gate();
  const { page, held } = await behindPhone(withHistory, own);
  assert.deepEqual([draftsKept(), ...shown(page.hook)], [0, "sent: From my laptop"]);
  held.open();
  const answered = await page.until(({ messages }) => messages.length === 3);
  assert.deepEqual([answered.status, ...shown(answered)], ["waiting", ...both.slice(0, 3)]);
  own.open();
  await page.until(shows(both));
  page.close();
});

test("so it is if the message was stopped and sent again", async () => {
  const own = gate();
  const { server, page, held, queued } = await behindPhone(withHistory);
  await queued;
  await page.hook.stop();
  await page.until(({ draft }) => draft !== "");
  server.reply(own, "You said: From my laptop");
  page.hook.send();
  await page.until(({ messages }) => messages.length === 2); // a history that was loaded too early
  held.open();
  const answered = await page.until(({ messages }) => messages.length === 3);
  assert.deepEqual(shown(answered), both.slice(0, 3));
  own.open();
  await page.until(shows(both));
  page.close();
});

test("a history that cannot be loaded then does not end the reply, and is loaded again after it", async () => {
  let loads = 0;
  const { server, page, held } = await behindPhone((server) => ({
    history: async () => {
      loads += 1;
      if (loads > 1) throw new Error("no history");
      return server.messages();
    },
  }));
  held.open();
  const failed = await page.until(hasFailed);
  assert.deepEqual([failed.error.message, ...shown(failed)], ["no history", ...both.slice(2)]);
  await page.render({ ...optionsOf(server), history: async () => server.messages() });
  assert.equal(page.hook.retry(), true);
  await page.until(shows(both));
  page.close();
});

/** The same, and the page's connection is lost for good meanwhile. */
async function offlineBehindPhone() {
  const network = new AbortController();
  const waiting = await behindPhone((server) => ({
    ...withHistory(server),
    reconnect: { ...optionsOf(server).reconnect, giveUpAfterMs: 0 },
    fetch: (url, request) => {
      const signal = network.signal.aborted ? request.signal : AbortSignal.any([request.signal, network.signal]);
      return fetch(url, { ...request, signal });
    },
  }));
  await waiting.queued;
  network.abort(new TypeError("no network"));
  await waiting.page.until(hasFailed);
  await waiting.server.until(() => waiting.server.readers() === 1);
  return waiting;
}

test("both are shown if the connection was lost for good while the message waited", async () => {
  const { server, page, held } = await offlineBehindPhone();
  assert.equal(page.hook.retry(), true);
  await server.until(() => server.readers() === 2);
  held.open();
  await page.until(shows(both));
  page.close();
});

test("so they are if the message was answered meanwhile", async () => {
  const { server, page, held } = await offlineBehindPhone();
  held.open();
  await server.until(() => server.messages().length === 4);
  assert.equal(page.hook.retry(), true);
  await page.until(shows(both));
  page.close();
});

test("a page that is reloaded while its message waits shows both replies while they are written", async () => {
  const own = gate();
  const { server, page, held } = await behindPhone(() => ({}), own);
  page.close();
  const reloaded = opened(server, withHistory(server));
  await reloaded.until(hasText("First"));
  held.open();
  await reloaded.until((hook) => hook.status === "waiting" && hook.messages.length === 3);
  own.open();
  await reloaded.until(shows(both));
  reloaded.close();
});

test("a rejected message waits for another one's reply, and is then answered", async () => {
  const { server, page, held, phone } = await behindPhone(() => ({ fetch: rejecting }));
  assert.equal(draftsKept(), 0);
  await server.until((requests) => requests.length === 4); // it reads the other reply
  held.open();
  await phone.text();
  assert.deepEqual(shown(await page.until(isReady)), [
    "sent: From my phone",
    "complete: First.",
    "sent: From my laptop",
    "complete: You said: From my laptop",
  ]);
  page.close();
});

test("nothing is sent while a reply arrives, and nothing empty", async () => {
  const server = await newServer();
  const held = gate();
  server.reply("Well ", held, "done");
  const page = await idle(server);
  assert.equal(page.hook.send(" \n"), false);
  page.hook.send("One");
  assert.equal(page.hook.send("Two"), false);
  assert.equal(page.hook.retry(), false);
  held.open();
  await page.until(({ messages, status }) => status === "ready" && messages.length === 2);
  page.close();
});

test("another conversation has its own messages and draft", async () => {
  const server = await newServer();
  const page = await idle(server);
  page.hook.setDraft("For the first");
  page.hook.send("Hello");
  await page.until(({ messages, status }) => status === "ready" && messages.length === 2);
  page.render({ ...optionsOf(server), conversationUrl: server.conversation("conv_2") });
  await page.until(({ messages, draft }) => messages.length === 0 && draft === "");
  page.render(optionsOf(server));
  await page.until(({ draft }) => draft === "For the first");
  page.close();
});

test("the newest functions of the component are used", async () => {
  const server = await newServer();
  const page = await idle(server);
  const events = [];
  await page.render({ ...optionsOf(server), token: () => "another", onEvent: ({ type }) => events.push(type) });
  page.hook.send("Hello");
  await page.until(({ messages, status }) => status === "ready" && messages.length === 2);
  assert.equal(server.requests.at(-1).headers.authorization, "Bearer another");
  assert.deepEqual(events, ["connection", "run", "text", "complete"]);
  page.close();
});

test("a history that cannot be loaded is an error, and is loaded again", async () => {
  const server = await newServer();
  let loads = 0;
  const history = async () => {
    if (loads++ === 0) throw new Error("no network");
    return [];
  };
  const page = opened(server, { history });
  assert.equal((await page.until(hasFailed)).error.message, "no network");
  page.hook.retry();
  await page.until(isReady);
  assert.equal(loads, 2);
  page.close();
});

test("a page that lost its connection for good tries again when it becomes visible", async () => {
  const server = await newServer();
  const held = gate();
  server.reply("Well ", held, cut(), "done");
  const page = await idle(server, { reconnect: { backoffMs: 1, maxBackoffMs: 1, giveUpAfterMs: 20 } });
  page.hook.send("How was my week?");
  await page.until(hasText("Well "));
  server.isOffline = true;
  held.open();
  await page.until(hasFailed);
  server.isOffline = false;
  window.document.dispatchEvent(new window.Event("visibilitychange"));
  assert.deepEqual(shown(await page.until(isReady)), ["sent: How was my week?", "complete: Well done"]);
  assert.deepEqual(methods(server), ["GET", "POST", "GET"]);
  page.close();
});

test("what was refused is still shown when the page becomes visible", async () => {
  const server = await newServer();
  server.reply("Well ", fail());
  const page = await idle(server);
  page.hook.send("How was my week?");
  await page.until(hasFailed);
  window.document.dispatchEvent(new window.Event("visibilitychange"));
  await new Promise(setImmediate);
  assert.deepEqual([page.hook.status, page.hook.error.code], ["error", "MODEL_STREAM_BROKEN"]);
  page.close();
});

test("without a storage, a draft lasts as long as the page", async () => {
  const server = await newServer();
  const broken = {
    getItem: () => {
      throw new Error();
    },
    setItem: () => {
      throw new Error();
    },
    removeItem() {},
  };
  for (const storage of [null, broken]) {
    const page = await idle(server, { storage }, { isStrict: true });
    page.hook.setDraft("Hello");
    assert.equal((await page.until(({ draft }) => draft !== "")).draft, "Hello");
    page.close();
  }
});

test("a full storage does not bring back what was typed before", async () => {
  const server = await newServer();
  let isFull = false;
  const storage = {
    getItem: (key) => localStorage.getItem(key),
    setItem(key, value) {
      if (isFull) throw new Error("QuotaExceededError");
      localStorage.setItem(key, value);
    },
    removeItem: (key) => localStorage.removeItem(key),
  };
  const options = { ...optionsOf(server), storage };
  const page = await idle(server, { storage });
  page.hook.setDraft("How was");
  isFull = true;
  page.hook.setDraft("How was my week?");
  await page.render(options, "hidden");
  await page.render(options);
  await server.until((requests) => requests.length === 2);
  assert.equal(page.hook.draft, "How was my week?");
  page.close();
});

test("what another program has put into the storage is ignored", async () => {
  const server = await newServer();
  for (const odd of ["", "null", "7", '"text"', '{"text":7}', '{"text":"","outgoing":{"text":1}}']) {
    localStorage.setItem(`coachstream:draft:${server.conversationUrl}`, odd);
    const page = await idle(server);
    assert.equal(page.hook.draft, "");
    page.close();
  }
});

test("a tab learns from another one that its draft has arrived, and reads the reply", async () => {
  const server = await newServer();
  const key = `coachstream:draft:${server.conversationUrl}`;
  leaveDraft(server, "Hello", "m1");
  const oldValue = localStorage.getItem(key);
  const page = await idle(server);
  await page.until(({ draft }) => draft === "Hello");
  server.reply("Well done");
  await (await sayElsewhere(server, { userResponse: "Hello", clientMessageId: "m1" })).text();
  const arrived = new window.StorageEvent("storage", { key, oldValue, newValue: null });
  window.dispatchEvent(arrived);
  await page.until(({ draft }) => draft === "");
  await server.until((requests) => requests.length === 3);
  page.close();
});

test("a page that is left and entered again while its message is on its way shows the reply", async () => {
  const server = await newServer();
  const held = gate();
  server.reply("Well ", held, "done");
  const left = await idle(server);
  server.isOffline = true;
  left.hook.send("Written in a tunnel");
  await left.until(({ isReconnecting }) => isReconnecting);
  left.close();
  const entered = opened(server);
  await entered.until(({ draft }) => draft === "Written in a tunnel");
  server.isOffline = false;
  const half = await entered.until(hasText("Well "));
  assert.equal(half.draft, "");
  held.open();
  assert.deepEqual(shown(await entered.until(isReady)), ["sent: Written in a tunnel", "complete: Well done"]);
  entered.close();
});

test("a message that fails after its page was left does not overwrite what is typed since", async () => {
  const server = await newServer();
  const [sending, refused] = [gate(), gate()];
  const slow = async (url, request) => {
    if (request.method !== "POST") return fetch(url, request);
    await sending.opened;
    const response = await fetch(url, request);
    const body = await response.text();
    setImmediate(refused.open);
    return new Response(body, response);
  };
  const left = await idle(server, { fetch: slow });
  left.hook.send("Hello");
  left.close();
  const entered = await idle(server);
  await entered.until(({ draft }) => draft === "Hello");
  entered.hook.setDraft("Hello, it is me");
  server.refuse({ status: 413, code: "MESSAGE_TOO_LONG" });
  sending.open();
  await refused.opened;
  await new Promise(setImmediate); // the page has read the refusal
  entered.close();
  const reloaded = await idle(server);
  assert.equal((await reloaded.until(({ draft }) => draft !== "")).draft, "Hello, it is me");
  reloaded.close();
});

test("a message on its way stays in the storage when another tab's has arrived", async () => {
  const server = await newServer();
  const page = await idle(server);
  server.isOffline = true;
  page.hook.send("Written in a tunnel");
  await page.until(({ isReconnecting }) => isReconnecting);
  const key = `coachstream:draft:${server.conversationUrl}`;
  const ours = localStorage.getItem(key);
  leaveDraft(server, "Theirs", "m1");
  const oldValue = localStorage.getItem(key);
  localStorage.removeItem(key);
  window.dispatchEvent(new window.StorageEvent("storage", { key, oldValue, newValue: null }));
  assert.equal(localStorage.getItem(key), ours);
  server.isOffline = false;
  await page.until(isReady);
  page.close();
});

test("a tab keeps its own draft whatever another one does", async () => {
  const server = await newServer();
  const page = await idle(server);
  page.hook.setDraft("Mine");
  const key = `coachstream:draft:${server.conversationUrl}`;
  window.dispatchEvent(
    new window.StorageEvent("storage", { key, oldValue: '{"text":"","outgoing":null}', newValue: null }),
  );
  await server.until((requests) => requests.length === 2); // it has looked for a reply
  assert.equal(page.hook.draft, "Mine");
  page.close();
});

test("the last reply is regenerated in its place, and the old one comes back if that fails", async () => {
  const server = await newServer();
  server.reply("Well done");
  const page = await idle(server);
  assert.equal(page.hook.regenerate(), false);
  page.hook.send("How was my week?");
  await page.until(isDone("Well done"));
  const held = gate();
  server.reply("Bet", held, "ter");
  assert.equal(page.hook.regenerate(), true);
  assert.equal(page.hook.send("Meanwhile"), false);
  const half = await page.until(hasText("Bet"));
  assert.deepEqual(shown(half), ["sent: How was my week?", "streaming: Bet"]);
  held.open();
  const done = await page.until(isReady);
  assert.deepEqual(shown(done), ["sent: How was my week?", "complete: Better"]);
  assert.equal(done.messages[1].stored.metadata.versions, 2);
  assert.deepEqual(done.messages.map(({ stored }) => stored), server.messages());
  server.reply("Wor", fail({ message: "It broke off." }));
  page.hook.regenerate();
  const failed = await page.until(hasFailed);
  assert.deepEqual([failed.error.message, ...shown(failed)], ["It broke off.", ...shown(done)]);
  server.reply("Best");
  assert.equal(page.hook.retry(), true);
  assert.deepEqual(shown(await page.until(isReady)), ["sent: How was my week?", "complete: Best"]);
  const [again, repeated] = server.requests.slice(-2).map(({ body }) => body);
  assert.equal(repeated.clientMessageId, again.clientMessageId);
  page.close();
});

test("the last message is edited in its place", async () => {
  const server = await newServer();
  server.reply("Well done");
  const page = await idle(server);
  page.hook.send("How was my week?");
  const [before] = (await page.until(isDone("Well done"))).messages;
  assert.equal(page.hook.edit("  "), false);
  const held = gate();
  server.reply(held, "Better");
  assert.equal(page.hook.edit("How was my month?"), true);
  const edited = await page.until(hasText("How was my month?"));
  assert.deepEqual([shown(edited).length, edited.messages[0].id], [1, before.id]);
  held.open();
  const done = await page.until(isReady);
  assert.deepEqual(shown(done), ["sent: How was my month?", "complete: Better"]);
  assert.equal(done.messages[0].id, before.id);
  assert.deepEqual(done.messages.map(({ stored }) => stored), server.messages());
  server.reply(fail());
  page.hook.edit("How was my year?");
  assert.deepEqual(shown(await page.until(hasFailed)), shown(done));
  page.close();
});

test("a reply that was stopped goes on under the same id", async () => {
  const server = await newServer();
  server.reply("One ", gate());
  const page = await idle(server);
  page.hook.send("Count");
  await page.until(hasText("One "));
  await page.hook.stop();
  const stopped = await page.until(isReady);
  const held = gate();
  server.reply(held, "two");
  assert.equal(page.hook.continueReply(), true);
  const before = page.renders.length;
  await page.until(({ status }) => status === "streaming");
  for (const { messages } of page.renders.slice(before)) assert.equal(messages.length, 2);
  held.open();
  const done = await page.until(isReady);
  assert.deepEqual(shown(done), ["sent: Count", "complete: One two"]);
  assert.equal(done.messages[1].id, stopped.messages[1].id);
  page.hook.continueReply();
  const failed = await page.until(hasFailed);
  assert.deepEqual([failed.error.code, ...shown(failed)], ["CANNOT_CONTINUE", ...shown(done)]);
  page.close();
});

test("a try that is stopped before its first word leaves everything as it was", async () => {
  const server = await newServer();
  server.reply("Well done");
  const page = await idle(server);
  page.hook.send("How was my week?");
  const before = await page.until(isDone("Well done"));
  server.reply(gate());
  page.hook.regenerate();
  await server.until(() => server.readers() === 1);
  await page.hook.stop();
  assert.deepEqual(shown(await page.until(isReady)), shown(before));
  assert.equal(page.hook.error, null);
  page.close();
});

test("an interrupted reply is continued, and its message edited, also where this page saw it break off", async () => {
  const server = await newServer();
  for (const act of ["continue", "edit"]) {
    server.reply("One ", fail());
    const page = await idle(server, { history: () => server.messages() });
    page.hook.send("Count");
    await page.until(hasFailed);
    server.reply("two");
    assert.equal(act === "edit" ? page.hook.edit("Again") : page.hook.continueReply(), true);
    const { messages } = await page.until(isReady);
    const last = messages.slice(-2).map(({ content }) => content);
    assert.deepEqual(last, act === "edit" ? ["Again", "two"] : ["Count", "One two"]);
    assert.equal(messages.length, server.messages().length);
    page.close();
  }
});

test("another tab that reads a try shows what is left of the conversation", async () => {
  const server = await newServer();
  server.reply("Well done");
  const first = await idle(server);
  first.hook.send("How was my week?");
  await first.until(isDone("Well done"));
  const held = gate();
  server.reply("Bet", held, "ter");
  first.hook.edit("How was my month?");
  await first.until(hasText("Bet"));
  const second = opened(server, { history: () => server.messages() });
  await second.until(hasText("Bet"));
  held.open();
  const expected = ["sent: How was my month?", "complete: Better"];
  assert.deepEqual(shown(await second.until(isReady)), expected);
  assert.deepEqual(shown(await first.until(isReady)), expected);
  first.close();
  second.close();
});

/** A page with two versions of the last exchange, of which the second, an edited one, is chosen. */
async function withVersions(more) {
  const server = await newServer();
  const page = await idle(server, more?.(server));
  page.hook.send("Hello");
  await page.until(isDone("You said: Hello"));
  server.reply("Well done");
  page.hook.send("How was my week?");
  await page.until(isDone("Well done"));
  const older = server.messages().at(-1).id;
  server.reply("Better");
  page.hook.edit("How was my month?");
  const { messages } = await page.until(isDone("Better"));
  return { server, page, older, messages };
}

/** A fetch that holds the response to a choice until it is let go. */
function holdingChoices() {
  const held = gate();
  let answered = () => {};
  const isAnswered = new Promise((resolve) => (answered = resolve));
  const holding = async (url, request) => {
    const response = await fetch(url, request);
    if (request.method === "PUT") {
      answered();
      await held.opened;
    }
    return response;
  };
  return { fetch: holding, isAnswered, release: held.open };
}

const before = ["sent: Hello", "complete: You said: Hello"];
const first = [...before, "sent: How was my week?", "complete: Well done"];
const second = [...before, "sent: How was my month?", "complete: Better"];
const keysOf = ({ messages }) => messages.map(({ id }) => id);
const puts = (server) => methods(server).filter((method) => method === "PUT").length;

test("an older version of the last exchange is chosen, and shown in its place", async () => {
  const { server, page, older, messages } = await withVersions();
  const newer = messages.at(-1).stored.id;
  assert.deepEqual(shown(page.hook), second);
  assert.equal(await page.hook.chooseVersion(older), true);
  const chosen = await page.until(hasText("Well done"));
  assert.deepEqual([chosen.status, chosen.error, ...shown(chosen)], ["ready", null, ...first]);
  assert.deepEqual(chosen.messages.map(({ stored }) => stored), server.messages());
  assert.equal(chosen.messages.at(-1).stored.metadata.versions, 2);
  // Nothing is mounted again, and what has not changed is the same object.
  assert.deepEqual(keysOf(chosen), keysOf({ messages }));
  assert.deepEqual(chosen.messages.slice(0, 2), messages.slice(0, 2));
  assert.equal(chosen.messages[1], messages[1]);
  assert.equal(await page.hook.chooseVersion(newer), true);
  assert.deepEqual(shown(await page.until(hasText("Better"))), second);
  // Of another reply to the same message, that message stays as it is.
  server.reply("Best");
  page.hook.regenerate();
  const [, , question] = (await page.until(isDone("Best"))).messages;
  await page.hook.chooseVersion(newer);
  assert.equal((await page.until(hasText("Better"))).messages[2], question);
  page.close();
});

test("nothing is chosen where there is no stored reply, while one arrives, or while another version is chosen", async () => {
  const { fetch, isAnswered, release } = holdingChoices();
  const { server, page, older } = await withVersions(() => ({ fetch }));
  const choosing = page.hook.chooseVersion(older);
  await isAnswered;
  assert.equal(await page.hook.chooseVersion(older), false);
  for (const act of [page.hook.regenerate, page.hook.continueReply, () => page.hook.edit("Again")]) assert.equal(act(), false);
  release();
  assert.equal(await choosing, true);
  const held = gate();
  server.reply("Some", held);
  page.hook.send("Next");
  await page.until(hasText("Some"));
  assert.equal(await page.hook.chooseVersion(older), false);
  held.open();
  await page.until(isReady);
  server.reply("Part", fail());
  page.hook.send("Last");
  await page.until(hasFailed);
  const other = opened(server, { conversationUrl: server.conversation("conv_other") });
  await other.until(isReady);
  assert.equal(await other.hook.chooseVersion(older), false);
  assert.equal(puts(server), 1);
  page.close();
  other.close();
});

test("a choice that fails is an error, and the version that is shown stays", async () => {
  const { server, page, older } = await withVersions((server) => ({ history: async () => server.messages() }));
  server.refuse({ status: 503, code: "STORAGE_UNAVAILABLE", message: "Please try again." });
  assert.equal(await page.hook.chooseVersion(older), false);
  const failed = await page.until(({ error }) => error !== null);
  assert.deepEqual([failed.error.message, failed.status, ...shown(failed)], ["Please try again.", "ready", ...second]);
  server.isOffline = true;
  assert.equal(await page.hook.chooseVersion(older), false);
  assert.equal((await page.until(({ error }) => error?.code === "CONNECTION_LOST")).messages.length, 4);
  server.isOffline = false;
  // Another device has gone on: the conversation is loaded again.
  await (await sayElsewhere(server, { userResponse: "From my phone" })).text();
  assert.equal(await page.hook.chooseVersion(older), false);
  assert.equal((await page.until(({ error }) => error?.code === "NOT_THE_LAST_EXCHANGE")).messages.length, 4);
  assert.equal(page.hook.retry(), true);
  const { messages } = await page.until(({ messages, error }) => messages.length === 6 && error === null);
  assert.deepEqual(shown({ messages }).slice(0, 4), second);
  page.close();
});

test("a choice after a failed try ends its error, and there is nothing to repeat any more", async () => {
  const { server, page, older } = await withVersions();
  server.reply(fail());
  page.hook.regenerate();
  await page.until(hasFailed);
  assert.equal(await page.hook.chooseVersion(older), true);
  const chosen = await page.until(isReady);
  assert.deepEqual([chosen.error, ...shown(chosen)], [null, ...first]);
  assert.equal(page.hook.retry(), false);
  page.close();
});

test("a message that is sent while a version is chosen is not overwritten", async () => {
  const { fetch, isAnswered, release } = holdingChoices();
  const { server, page, older } = await withVersions(() => ({ fetch }));
  const choosing = page.hook.chooseVersion(older);
  await isAnswered;
  const held = gate();
  server.reply("Some", held, " more");
  assert.equal(page.hook.send("Next"), true);
  await page.until(hasText("Some"));
  release();
  assert.equal(await choosing, true);
  const { status, messages } = await page.until(({ messages }) => messages[3].content === "Well done");
  assert.deepEqual([status, ...shown({ messages })], ["streaming", ...first, "sent: Next", "streaming: Some"]);
  held.open();
  const done = await page.until(isReady);
  assert.deepEqual(shown(done), [...first, "sent: Next", "complete: Some more"]);
  assert.deepEqual(done.messages.map(({ stored }) => stored), server.messages());
  page.close();
});

test("a refusal of a choice does not hide why a message failed", async () => {
  let failing = () => {};
  const failed = new Promise((resolve) => (failing = resolve));
  const late = async (url, request) => {
    if (request.method === "PUT") await failed;
    return fetch(url, request);
  };
  const { server, page, older } = await withVersions(() => ({ fetch: late }));
  const choosing = page.hook.chooseVersion(older);
  server.reply("Some", fail({ message: "It broke off." }));
  page.hook.send("Next");
  await page.until(hasFailed);
  failing();
  assert.equal(await choosing, false);
  const { error, messages } = page.hook;
  assert.deepEqual([error.message, ...shown({ messages })], ["It broke off.", ...second, "sent: Next", "interrupted: Some"]);
  page.close();
});

test("what was loaded while a version was chosen is not overwritten", async () => {
  const { fetch, isAnswered, release } = holdingChoices();
  const more = (server) => ({ fetch, history: async () => server.messages() });
  const { page, older } = await withVersions(more);
  const choosing = page.hook.chooseVersion(older);
  await isAnswered;
  window.document.dispatchEvent(new window.Event("visibilitychange"));
  await page.until(hasText("Well done"));
  release();
  assert.equal(await choosing, true);
  assert.deepEqual(shown(page.hook), first);
  page.close();
});

test("versions are at the address of the stored conversation", async () => {
  const { server, page, older } = await withVersions((server) => ({ historyUrl: server.conversation("conv_stored") }));
  assert.equal(await page.hook.chooseVersion(older), false);
  assert.match(server.requests.at(-1).path, /\/conversations\/conv_stored\/messages\/.*\/versions\/.*/);
  assert.equal((await page.until(({ error }) => error !== null)).error.code, "NOT_THE_LAST_EXCHANGE");
  page.close();
});

test("a version that another device has chosen or made is shown in the place of the older one", async () => {
  const { server, page, older, messages } = await withVersions((server) => ({ history: async () => server.messages() }));
  const newer = messages.at(-1).stored.id;
  const reload = async (text) => {
    window.document.dispatchEvent(new window.Event("visibilitychange"));
    await page.until(isDone(text));
    return page.hook;
  };
  await chooseVersion({ ...optionsOf(server), messageId: newer, versionId: older });
  const chosen = await reload("Well done");
  assert.deepEqual([shown(chosen), keysOf(chosen)], [first, keysOf({ messages })]);
  await chooseVersion({ ...optionsOf(server), messageId: older, versionId: newer });
  assert.deepEqual(shown(await reload("Better")), second);
  server.reply("Best");
  const [, , question] = server.messages();
  await (await sayElsewhere(server, { replaces: question.id, userResponse: "And my year?", clientMessageId: "phone" })).text();
  const edited = await reload("Best");
  assert.deepEqual(shown(edited), [...before, "sent: And my year?", "complete: Best"]);
  assert.deepEqual(keysOf(edited), keysOf({ messages }));
  // A whole exchange that is new is no version of the one before it.
  for (const [userResponse, clientMessageId] of [["Next", "next"], ["Other", "other"]]) {
    const replaces = clientMessageId === "other" ? { replaces: server.messages().at(-2).id } : {};
    await (await sayElsewhere(server, { userResponse, clientMessageId, ...replaces })).text();
  }
  assert.equal((await reload("You said: Other")).messages.length, 6);
  page.close();
});
