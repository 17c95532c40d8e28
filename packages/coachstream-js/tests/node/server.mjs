// A scripted server for each test, and what a reader of a reply sees.
import { after } from "node:test";
import { startTestServer } from "coachstream/testing";

const servers = [];
after(() => Promise.all(servers.map((server) => server.close())));

export async function newServer() {
  const server = await startTestServer();
  servers.push(server);
  return server;
}

/** Retries at once: no test waits for a delay. */
export const AT_ONCE = { backoffMs: 1, maxBackoffMs: 1 };

export const optionsOf = (server) => ({
  conversationUrl: server.conversationUrl,
  token: () => "token",
  reconnect: AT_ONCE,
});

/** Every event of a reply in a word or two, and the error that ended it. */
export async function seen(reply, said = []) {
  try {
    for await (const event of reply) {
      if (event.type === "connection") said.push(event.state);
      else if (event.type === "run") said.push("run");
      else if (event.type === "queued") said.push(`queued: ${event.position}`);
      else if (event.type === "complete") said.push(`${event.stopReason}: ${event.text}`);
      else said.push(event.text ?? event.content ?? event.message);
    }
  } catch (error) {
    said.push(error.code);
  }
  return said;
}

export const methods = (server) => server.requests.map(({ method }) => method);
