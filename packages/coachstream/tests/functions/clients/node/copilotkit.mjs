// CopilotKit's client, for front_end.mjs: its core, with an agent of AG-UI and no server of theirs.
import { cutFetch, load, notify } from "./surroundings.mjs";

const { CopilotKitCore } = await load("@copilotkit/core");
const { HttpAgent } = await load("@ag-ui/client", "@copilotkit/core");

// The lines that docs/how-to/use-ag-ui.md gives.
function createCopilotKit(coach) {
  return new CopilotKitCore({ agents__unsafe_dev_only: { coach } });
}

export function copilot({ url, token }) {
  const chat = { cut: {}, failures: [], finishes: [] };
  const coach = new HttpAgent({
    url: `${url}/ag-ui`,
    headers: { Authorization: `Bearer ${token}` },
    fetch: (...request) => cutFetch(chat.cut, ...request),
  });
  const copilotkit = createCopilotKit(coach);
  copilotkit.subscribe({ onError: ({ code, error }) => void chat.failures.push([code, error.message]) });
  const agent = copilotkit.getAgent("coach");
  agent.subscribe({
    onMessagesChanged: notify,
    onCustomEvent: ({ event }) => {
      if (event.name === "coachstream.run") chat.runId = event.value.runId;
    },
  });
  chat.run = async () => {
    const { result } = await copilotkit.runAgent({ agent });
    chat.finishes.push(result ?? null);
    notify();
  };
  chat.state = () => ({
    status: agent.isRunning ? "streaming" : "ready",
    error: chat.failures.at(-1) ?? null,
    messages: agent.messages,
    runId: chat.runId,
    finishes: chat.finishes,
  });
  return Object.assign(chat, { copilotkit, agent });
}

export const copilotCommands = {
  ask: (chat, { id, content }) => {
    chat.agent.addMessage({ id, role: "user", content });
    void chat.run();
  },
  askAgain: (chat) => void chat.run(),
  stopAgent: ({ copilotkit, agent }) => copilotkit.stopAgent({ agent }),
};
