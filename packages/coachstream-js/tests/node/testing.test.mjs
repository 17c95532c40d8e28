// `coachstream/testing`, read with the client that it is made for.
import assert from "node:assert/strict";
import { test } from "node:test";
import { chooseVersion, join, resume, start, stop, versions } from "coachstream";
import { contextual, cut, fail, gate, guardrailWarning, pause, reconnect, reset } from "coachstream/testing";
import { methods, newServer, optionsOf, seen } from "./server.mjs";

const contents = (server) => server.messages().map(({ content }) => content);
const ask = (server, message = "How was my week?", more = {}) => start({ ...optionsOf(server), message, ...more });

test("a reply without a script repeats the message, and both are stored", async () => {
  const server = await newServer();
  assert.deepEqual(await seen(ask(server, "Hello")), [
    "connected",
    "run",
    "You said: Hello",
    "end_turn: You said: Hello",
  ]);
  const [question, reply] = server.messages();
  assert.deepEqual([question.role, question.content], ["user", "Hello"]);
  assert.equal(reply.metadata.replyTo, question.id);
  assert.ok(question.id < reply.id);
});

test("each reply follows its own script", async () => {
  const server = await newServer();
  server.reply("Well ", pause(1), "done");
  server.reply("Rest.");
  assert.deepEqual((await seen(ask(server))).slice(2), ["Well ", "Well done", "end_turn: Well done"]);
  assert.deepEqual((await seen(ask(server))).slice(2), ["Rest.", "end_turn: Rest."]);
});

test("a reader whose connection is cut resumes after its cursor", async () => {
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
  assert.deepEqual(methods(server), ["POST", "GET"]);
  assert.match(server.requests[1].query, /^\?after=run_\d+_test%3A1$/);
});

test("a reply waits for its reader before it interrupts it again", async () => {
  const server = await newServer();
  server.reply(cut(), "Well ", cut(), reconnect(), "done");
  assert.equal((await seen(ask(server))).at(-1), "end_turn: Well done");
  assert.deepEqual(methods(server), ["POST", "GET", "GET", "GET"]);
});

test("a reader that is sent away resumes at once", async () => {
  const server = await newServer();
  server.reply("Well ", reconnect(), "done");
  assert.deepEqual(await seen(ask(server)), [
    "connected",
    "run",
    "Well ",
    "connected",
    "Well done",
    "end_turn: Well done",
  ]);
});

test("text can be withdrawn", async () => {
  const server = await newServer();
  server.reply("Sure: do no", reset(6), "run", reset(), "Rest.");
  assert.deepEqual((await seen(ask(server))).slice(2, -1), ["Sure: do no", "Sure: ", "Sure: run", "", "Rest."]);
});

test("what is said besides the reply has no place in it", async () => {
  const server = await newServer();
  server.reply("Well ", contextual("Saved."), guardrailWarning("Careful."), "done");
  assert.deepEqual((await seen(ask(server))).slice(2), [
    "Well ",
    "Saved.",
    "Careful.",
    "Well done",
    "end_turn: Well done",
  ]);
});

test("a reply waits at a gate, is joined there by another reader, and stopped", async () => {
  const server = await newServer();
  const held = gate();
  server.reply("Well ", held, "never said");
  const first = ask(server);
  const reading = seen(first);
  await server.until((requests) => requests.length === 1);
  const second = seen(join(optionsOf(server)));
  await server.until((requests) => requests.length === 2);
  assert.equal(await first.stop(), "stopping");
  assert.deepEqual((await reading).slice(-2), ["Well ", "stopped: Well "]);
  assert.deepEqual(await second, ["connected", "run", "Well ", "stopped: Well "]);
  assert.equal(await stop({ ...optionsOf(server), runId: first.runId }), "finished");
  held.open();
});

test("a message that is sent again with its key is answered once", async () => {
  const server = await newServer();
  const again = { clientMessageId: "m1" };
  await seen(ask(server, "Hello", again));
  assert.equal((await seen(ask(server, "Hello", again))).at(-1), "end_turn: You said: Hello");
  assert.equal(server.messages().length, 2);
});

test("a reply that failed is begun again, and replaces its beginning", async () => {
  const server = await newServer();
  const again = { clientMessageId: "m1" };
  server.reply("Well ", fail());
  const said = await seen(ask(server, "Hello", again));
  assert.deepEqual(said.slice(2), ["Well ", "MODEL_STREAM_BROKEN"]);
  assert.equal(server.messages()[1].metadata.stopReason, "interrupted");
  server.reply("Well done");
  assert.equal((await seen(ask(server, "Hello", again))).at(-1), "end_turn: Well done");
  assert.deepEqual(
    server.messages().map(({ content }) => content),
    ["Hello", "Well done"],
  );
});

test("another message is queued behind the reply, and answered after it", async () => {
  const server = await newServer();
  const held = gate();
  server.reply(held, "First.");
  const first = seen(ask(server, "One"));
  await server.until((requests) => requests.length === 1);
  const second = seen(ask(server, "Two", { clientMessageId: "m2" }));
  await server.until(() => server.readers() === 2);
  const third = seen(ask(server, "Three"));
  await server.until(() => server.readers() === 3);
  const again = seen(ask(server, "Two", { clientMessageId: "m2" }));
  await server.until(() => server.readers() === 4);
  assert.deepEqual(contents(server), ["One", "Two", "Three"]);
  held.open();
  await first;
  const answered = ["connected", "run", "queued: 1", "run", "You said: Two", "end_turn: You said: Two"];
  assert.deepEqual([await second, await again], [answered, answered]);
  assert.deepEqual((await third).slice(0, 5), ["connected", "run", "queued: 2", "queued: 1", "run"]);
  assert.deepEqual(contents(server), ["One", "First.", "Two", "You said: Two", "Three", "You said: Three"]);
  assert.deepEqual(server.messages().map(({ id }) => id), server.messages().map(({ id }) => id).toSorted());
});

test("a reader of a queued run gets what the service sends, in its order", async () => {
  const server = await newServer();
  const [held, own] = [gate(), gate()];
  server.reply(held, "First.");
  server.reply("Well ", own, "done");
  const request = (path, more) =>
    fetch(`${server.conversationUrl}/stream${path}`, { headers: { authorization: "Bearer token" }, ...more });
  const types = async (response) => Array.from((await (await response).text()).matchAll(/"type":"(\w+)"/g), ([, type]) => type);
  const first = seen(ask(server, "One"));
  await server.until((requests) => requests.length === 1);
  const headers = { authorization: "Bearer token", accept: "application/json" };
  const { runId } = await (await request("", { method: "POST", headers, body: '{"userResponse":"Two"}' })).json();
  const path = `/${runId}?after=${runId}:0`;
  const waiting = [types(request(`/${runId}`)), types(request(path))];
  await server.until(() => server.readers() === 3);
  held.open();
  await first;
  const late = [types(request(path)), types(request(`/${runId}`)), types(request(""))];
  await server.until(() => server.readers() === 5);
  assert.deepEqual(await (await request(`/${runId}`, { method: "DELETE" })).json(), { runId, status: "stopping" });
  for (const seenFirst of waiting) assert.deepEqual(await seenFirst, ["start", "queued", "run", "chunk", "complete"]);
  for (const seenLate of late) assert.deepEqual(await seenLate, ["start", "chunk", "complete"]);
});

test("a queued message can be withdrawn, and is gone for good", async () => {
  const server = await newServer();
  const held = gate();
  server.reply(held, "First.");
  const first = seen(ask(server, "One"));
  await server.until((requests) => requests.length === 1);
  const two = { clientMessageId: "m2" };
  const waiting = ask(server, "Two", two);
  const second = seen(waiting);
  await server.until(() => server.readers() === 2);
  const third = seen(ask(server, "Three"));
  await server.until(() => server.readers() === 3);
  assert.equal(await waiting.stop(), "withdrawn");
  assert.deepEqual(await second, ["connected", "run", "queued: 1", "MESSAGE_WITHDRAWN"]);
  const { runId, lastEventId } = waiting;
  assert.equal(await stop({ ...optionsOf(server), runId }), "finished");
  const late = resume({ ...optionsOf(server), runId, after: `${runId}:0` });
  assert.deepEqual([await seen(late), late.lastEventId], [["connected", "MESSAGE_WITHDRAWN"], lastEventId]);
  assert.deepEqual(await seen(ask(server, "Two", two)), ["MESSAGE_WITHDRAWN"]);
  assert.deepEqual(contents(server), ["One", "Three"]);
  held.open();
  await first;
  assert.deepEqual((await third).slice(2), ["queued: 2", "queued: 1", "run", "You said: Three", "end_turn: You said: Three"]);
});

test("a queued message that has a part of a reply keeps it when it is withdrawn", async () => {
  const server = await newServer();
  const one = { clientMessageId: "m1" };
  server.reply("Well ", fail());
  await seen(ask(server, "One", one));
  const held = gate();
  server.reply(held);
  const other = seen(ask(server, "Two"));
  await server.until((requests) => requests.length === 2);
  const waiting = ask(server, "One", one);
  const again = seen(waiting);
  await server.until(() => server.readers() === 2);
  assert.equal(await waiting.stop(), "withdrawn");
  assert.equal((await again).at(-1), "MESSAGE_WITHDRAWN");
  held.open();
  await other;
  assert.deepEqual(contents(server).slice(0, 3), ["One", "Well ", "Two"]);
  assert.equal((await seen(ask(server, "One", one))).at(-1), "end_turn: You said: One");
});

test("another message can be rejected instead, and is stored", async () => {
  const server = await newServer();
  const held = gate();
  server.reply(held, "First.");
  const first = seen(ask(server, "One"));
  await server.until((requests) => requests.length === 1);
  const other = { clientMessageId: "m2", policy: "reject" };
  assert.deepEqual(await seen(ask(server, "Two", other)), ["TURN_IN_PROGRESS"]);
  assert.deepEqual(contents(server), ["One", "Two"]);
  held.open();
  await first;
  assert.equal((await seen(ask(server, "Two", other))).at(-1), "end_turn: You said: Two");
});

test("another message can stop the reply", async () => {
  const server = await newServer();
  server.reply("First", gate(), "never said");
  const first = seen(ask(server, "One"));
  await server.until(() => server.readers() === 1);
  const second = await seen(ask(server, "Two", { policy: "interrupt" }));
  assert.deepEqual(second.slice(2), ["queued: 1", "run", "You said: Two", "end_turn: You said: Two"]);
  assert.equal((await first).at(-1), "stopped: First");
});

test("closing it ends a reply that waits for another one", async () => {
  const server = await newServer();
  server.reply(gate());
  const reconnect = { giveUpAfterMs: 0 };
  const readings = [seen(ask(server, "One", { reconnect }))];
  await server.until(() => server.readers() === 1);
  readings.push(seen(ask(server, "Two", { reconnect })));
  await server.until(() => server.readers() === 2);
  await server.close();
  for (const reading of readings) assert.equal((await reading).at(-1), "CONNECTION_LOST");
});

test("a request can be refused, and the client asks for another token", async () => {
  const server = await newServer();
  server.refuse({ status: 401, code: "TOKEN_EXPIRED" });
  const asked = [];
  const token = ({ fresh }) => (asked.push(fresh), "token");
  assert.equal((await seen(ask(server, "Hello", { token }))).at(-1), "end_turn: You said: Hello");
  assert.deepEqual(asked, [false, true]);
  server.refuse({ status: 413, code: "MESSAGE_TOO_LONG" });
  assert.deepEqual(await seen(ask(server)), ["MESSAGE_TOO_LONG"]);
});

test("an offline server gives no response", async () => {
  const server = await newServer();
  server.isOffline = true;
  const reconnecting = ask(server);
  const events = reconnecting[Symbol.asyncIterator]();
  assert.equal((await events.next()).value.state, "reconnecting");
  server.isOffline = false;
  let event;
  do event = (await events.next()).value;
  while (event.type !== "complete");
  assert.equal(event.text, "You said: How was my week?");
});

test("where nothing is left to read, the response is empty", async () => {
  const server = await newServer();
  assert.deepEqual(await seen(join(optionsOf(server))), []);
  const reply = ask(server);
  await seen(reply);
  assert.deepEqual(await seen(resume({ ...optionsOf(server), runId: reply.runId, after: reply.lastEventId })), []);
  assert.deepEqual(await seen(resume({ ...optionsOf(server), runId: "run_0_other" })), ["RUN_NOT_FOUND"]);
});

test("conversations are apart, and their messages can be loaded", async () => {
  const server = await newServer();
  const other = server.conversation("conv_2");
  await seen(ask(server, "Hello", { conversationUrl: other }));
  const response = await fetch(other, { headers: { authorization: "Bearer token" } });
  assert.deepEqual((await response.json()).conversation.messages, server.messages("conv_2"));
  assert.deepEqual(server.messages(), []);
});

test("closing it ends a reply that waits", async () => {
  const server = await newServer();
  server.reply(gate());
  const reading = seen(ask(server, "Hello", { reconnect: { giveUpAfterMs: 0 } }));
  await server.until((requests) => requests.length === 1);
  await server.close();
  assert.equal((await reading).at(-1), "CONNECTION_LOST");
});

test("every request goes through the fetch that is given", async (context) => {
  const server = await newServer();
  const { fetch } = globalThis;
  const asked = [];
  const given = async (url, request) => {
    asked.push(`${request.method} ${typeof url}`);
    return fetch(url, request);
  };
  context.mock.method(globalThis, "fetch", () => assert.fail("the global one"));
  server.reply("Well ", gate());
  const reply = ask(server, "Hello", { fetch: given });
  for await (const event of reply) if (event.type === "text") await reply.stop();
  await seen(join({ ...optionsOf(server), fetch: given }));
  assert.deepEqual(asked, ["POST string", "DELETE string", "GET string"]);
});

test("the last exchange can be tried again, and nothing is doubled", async () => {
  const server = await newServer();
  server.reply("One two");
  await seen(ask(server, "Count", { clientMessageId: "m-1" }));
  const [question, reply] = server.messages();
  server.reply("Better.");
  const again = { regenerate: reply.id, clientMessageId: "m-2" };
  for (let time = 0; time < 2; time += 1) {
    assert.equal((await seen(start({ ...optionsOf(server), ...again }))).at(-1), "end_turn: Better.");
    assert.deepEqual(server.messages().map(({ content }) => content), ["Count", "Better."]);
  }
  const second = server.messages()[1];
  assert.deepEqual([second.metadata.versions, second.metadata.replyTo], [2, question.id]);
  assert.deepEqual(await seen(start({ ...optionsOf(server), ...again, clientMessageId: "m-3" })), ["NOT_THE_LAST_EXCHANGE"]);
  assert.deepEqual(await seen(start({ ...optionsOf(server), continue: second.id, clientMessageId: "m-4" })), [
    "CANNOT_CONTINUE",
  ]);
  const edit = { ...optionsOf(server), replaces: question.id, message: "Count on", clientMessageId: "m-5" };
  server.reply(fail());
  assert.equal((await seen(start(edit))).at(-1), "MODEL_STREAM_BROKEN");
  assert.deepEqual(server.messages(), [question, second]);
  const hold = gate();
  server.reply("Three", hold);
  const edited = start(edit);
  const reading = seen(edited);
  await server.until(() => server.readers() === 1);
  assert.deepEqual(await seen(start({ ...optionsOf(server), regenerate: second.id })), ["TURN_IN_PROGRESS"]);
  await edited.stop();
  assert.equal((await reading).at(-1), "stopped: Three");
  const [changed, cutOff] = server.messages();
  assert.deepEqual([changed.content, cutOff.metadata.versions], ["Count on", 3]);
  server.reply(", four");
  const whole = await seen(start({ ...optionsOf(server), continue: cutOff.id }));
  assert.deepEqual(whole, ["connected", "run", "Three", "Three, four", "end_turn: Three, four"]);
  assert.deepEqual(server.messages()[1].id, cutOff.id);
});

/** Each version as its two texts, the chosen one with a star. */
const listed = (list) =>
  list.map(({ userMessage, aiMessage, isChosen }) => `${isChosen ? "*" : ""}${userMessage.content}: ${aiMessage?.content}`);
const versionsOf = async (server, messageId) => listed(await versions({ ...optionsOf(server), messageId }));
const refusalOf = (choice) =>
  choice.then(
    () => assert.fail("it was not refused"),
    ({ status, code }) => `${status} ${code}`,
  );

test("the versions of an exchange are kept, and an older one can be chosen", async () => {
  const server = await newServer();
  await seen(ask(server, "Before"));
  server.reply("One.");
  await seen(ask(server, "Count", { clientMessageId: "m-1" }));
  const [, , question, one] = server.messages();
  assert.deepEqual(await versions({ ...optionsOf(server), messageId: question.id }), [
    { userMessage: question, aiMessage: one, isChosen: true },
  ]);
  assert.deepEqual(await versionsOf(server, "msg_unknown"), []);
  server.reply("Two.");
  await seen(start({ ...optionsOf(server), regenerate: one.id }));
  const two = server.messages().at(-1);
  server.reply("Three.");
  await seen(start({ ...optionsOf(server), replaces: question.id, message: "Count on", clientMessageId: "m-2" }));
  const three = server.messages().at(-1);
  assert.deepEqual(await versionsOf(server, three.id), ["Count: One.", "Count: Two.", "*Count on: Three."]);

  const choose = (messageId, versionId) => chooseVersion({ ...optionsOf(server), messageId, versionId });
  const chosen = listed(await choose(three.id, one.id));
  assert.deepEqual(chosen, ["*Count: One.", "Count: Two.", "Count on: Three."]);
  // The conversation has the older version now, with its user message; and the number of versions is still known.
  assert.deepEqual(contents(server).slice(2), ["Count", "One."]);
  assert.deepEqual(server.messages().at(-1), { ...one, metadata: { ...one.metadata, versions: 3 } });
  for (const { id } of server.messages().slice(2)) assert.deepEqual(await versionsOf(server, id), chosen);
  assert.deepEqual(await versionsOf(server, three.id), []);
  assert.deepEqual(listed(await choose(one.id, one.id)), chosen);
  for (const [messageId, versionId] of [
    [three.id, two.id],
    [one.id, "msg_unknown"],
    [server.messages()[1].id, one.id],
    [question.id, two.id],
  ]) {
    assert.equal(await refusalOf(choose(messageId, versionId)), "409 NOT_THE_LAST_EXCHANGE");
  }
  assert.deepEqual(listed(await choose(one.id, three.id)), ["Count: One.", "Count: Two.", "*Count on: Three."]);

  // Another try adds to them, and what is continued has no older version.
  server.reply("Four", gate());
  const again = start({ ...optionsOf(server), regenerate: three.id });
  for await (const event of again) {
    if (event.type === "text") {
      assert.equal(await refusalOf(choose(three.id, one.id)), "409 TURN_IN_PROGRESS");
      await again.stop();
    }
  }
  server.reply(" and five");
  await seen(start({ ...optionsOf(server), continue: server.messages().at(-1).id }));
  const all = ["Count: One.", "Count: Two.", "Count on: Three.", "*Count on: Four and five"];
  assert.deepEqual(await versionsOf(server, server.messages().at(-1).id), all);
  const before = server.messages();
  await seen(ask(server, "After"));
  assert.deepEqual(await versionsOf(server, before.at(-1).id), all);
  assert.equal(await refusalOf(choose(before.at(-1).id, one.id)), "409 NOT_THE_LAST_EXCHANGE");
});

test("ten versions of an exchange are kept, and a reply that broke off cannot be chosen", async () => {
  const server = await newServer();
  server.reply("0", fail());
  await seen(ask(server, "Count"));
  for (let number = 1; number <= 9; number += 1) {
    server.reply(String(number));
    await seen(start({ ...optionsOf(server), regenerate: server.messages()[1].id }));
  }
  const [question, nine] = server.messages();
  const all = await versions({ ...optionsOf(server), messageId: nine.id });
  assert.deepEqual([all.length, nine.metadata.versions], [10, 10]);
  const choice = chooseVersion({ ...optionsOf(server), messageId: nine.id, versionId: all[0].aiMessage.id });
  assert.equal(await refusalOf(choice), "409 NOT_THE_LAST_EXCHANGE");
  await seen(start({ ...optionsOf(server), regenerate: nine.id }));
  const kept = (await versionsOf(server, question.id)).map((each) => each.split(": ")[1]);
  assert.deepEqual(kept, ["1", "2", "3", "4", "5", "6", "7", "8", "9", "You said"]);
});
