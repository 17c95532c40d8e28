// Prints every response of the scripted server as it is on the wire, each as a line of JSON.
import { contextual, cut, fail, gate, guardrailWarning, queued, reconnect, reset, startTestServer } from "coachstream/testing";

const server = await startTestServer();
const url = `${server.conversationUrl}/stream`;
const ask = async (path = "", more = {}) => {
  const headers = { authorization: "Bearer token", ...more.headers };
  const response = await fetch(`${url}${path}`, { ...more, headers });
  const text = await response.text().catch(() => "");
  console.log(JSON.stringify([response.status, response.headers.get("content-type"), text]));
  return text;
};
const say = (userResponse, more = {}) => ask("", { method: "POST", body: JSON.stringify({ userResponse, ...more }) });

const held = gate();
server.reply(queued(2), "Well ", contextual("Saved."), reset(), "Very ", guardrailWarning("Careful."), reconnect(), held, "well.");
const [, runId] = /"runId":"(\w+)"/.exec(await say("One", { clientMessageId: "m1" }));
await say("Two", { clientMessageId: "m2" });
const joined = ask();
await server.until(() => server.readers() === 1);
held.open();
await joined;
await ask(`/${runId}?after=${runId}:1`);
await ask(`/${runId}`, { headers: { "last-event-id": `${runId}:0` } });
server.reply("Well ", fail());
await say("Three");
await say("Three", { clientMessageId: "no/key" });
await say(" ");
await ask("/run_0_other");
await ask(`/${runId}`, { method: "DELETE" });
await ask("", { method: "POST", headers: { accept: "application/json" }, body: '{"userResponse":"Four"}' });
await ask("", { headers: { authorization: "" } });
server.refuse({ status: 503, code: "SERVER_BUSY", retryable: true });
await ask();
server.reply(gate());
const stopped = say("Five");
await server.until(() => server.readers() === 1);
const [, newest] = /"runId":"(\w+)"/.exec(await say("Six"));
await ask(`/${newest}`, { method: "DELETE" });
await stopped;
server.reply(cut(), gate());
await say("Seven");
await server.close();
