// node front_end.mjs MODULES: keeps chats open, as a front end does.
//
// A line of input is {"do", "chat", ...}, a line of output {"value"} or {"failure"}. `open` mounts a component with
// `useChat` of the AI SDK, `agent` creates an `HttpAgent` of AG-UI, `thread` mounts a runtime of assistant-ui,
// `copilot` creates CopilotKit's client; the other commands are those of the table below.
import { createInterface } from "node:readline";
import { thread, threadCommands } from "./assistant_ui.mjs";
import { copilot, copilotCommands } from "./copilotkit.mjs";
import { BROKEN, changed, cutFetch, load, mount, notify, React } from "./surroundings.mjs";

const versions = {
  7: { ...(await load("ai")), ...(await load("@ai-sdk/react")) },
  6: { ...(await load("ai", "ai-sdk-react-3")), ...(await load("ai-sdk-react-3")) },
};
const { HttpAgent } = await load("@ag-ui/client");
console.warn = () => {};
// When a connection breaks, AG-UI's client rejects `run`, and once more where nobody can listen.
process.on("unhandledRejection", ({ message }) => {
  if (message !== BROKEN) throw new Error(message);
});

const chats = new Map();

function open({ url, token, version = 7, id, resume = false, messages = [], carriesOn = false }) {
  const { useChat, Chat: ChatObject, DefaultChatTransport } = versions[version];
  const chat = { cut: {}, data: [] };
  const transport = new DefaultChatTransport({
    api: url,
    headers: () => ({ Authorization: `Bearer ${token}` }),
    fetch: (...request) => cutFetch(chat.cut, ...request),
  });
  const onData = (part) => chat.data.push(part);
  const onFinish = ({ finishReason, isAbort, isError, isDisconnect }) => {
    const finish = { finishReason: finishReason ?? null, isAbort, isError, isDisconnect };
    chat.addFinish((before) => [...before, finish]);
    const isCutOff = !isAbort && !finishReason && (isDisconnect || !isError);
    if (carriesOn && isCutOff) setTimeout(() => carryOn(chat.hook), 1000);
  };
  let options = { id, transport, messages, onData, onFinish };
  // The hook of version 6 hides from its chat that the transport replays, unless it is given the chat.
  if (version === 6) options = { chat: new ChatObject(options) };
  const Chat = () => {
    chat.hook = useChat({ ...options, resume });
    // A state of React, so that no finish is seen before the messages that were there when it happened.
    [chat.finishes, chat.addFinish] = React.useState([]);
    React.useEffect(notify);
    return null;
  };
  chat.root = mount(Chat);
  chat.state = () => {
    const { status, error, messages } = chat.hook ?? { status: "mounting", messages: [] };
    return { status, error: error?.message ?? null, messages, data: chat.data, finishes: chat.finishes ?? [] };
  };
  return chat;
}

// The lines that docs/how-to/use-the-ai-sdk.md gives for a reply that was cut off.
function carryOn({ messages, sendMessage }) {
  const { id, parts } = messages.findLast((message) => message.role === "user");
  return sendMessage({ messageId: id, parts });
}

function agent({ url, token, carriesOn = false }) {
  const chat = { cut: {}, events: [], finishes: [], failure: null, carriesOn };
  const agent = new HttpAgent({
    url,
    threadId: "thread-1",
    headers: { Authorization: `Bearer ${token}` },
    fetch: (...request) => cutFetch(chat.cut, ...request),
  });
  agent.subscribe({
    onEvent: ({ event }) => (chat.events.push(event), undefined),
    onMessagesChanged: notify,
  });
  chat.agent = agent;
  chat.state = () => ({
    status: agent.isRunning ? "streaming" : "ready",
    error: chat.failure,
    messages: agent.messages,
    events: chat.events,
    finishes: chat.finishes,
  });
  return chat;
}

// The lines that docs/how-to/use-ag-ui.md gives for the same.
async function runToTheEnd(agent) {
  for (;;) {
    let isFinished, code;
    const watch = {
      onRunFinishedEvent: () => void (isFinished = true),
      onRunErrorEvent: ({ event }) => void (code = event.code),
    };
    const outcome = await agent.runAgent({}, watch).catch((error) => error);
    if (isFinished) return outcome;
    if (code ? code !== "RECONNECT" : outcome.status) throw outcome; // the turn failed, or the request was refused
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

function run(chat) {
  chat.failure = null;
  chat.events.length = 0;
  const ended = (outcome) => {
    chat.failure = outcome instanceof Error ? outcome.message : null;
    chat.finishes.push(outcome instanceof Error ? null : outcome.result);
    notify();
  };
  const running = chat.carriesOn ? runToTheEnd(chat.agent) : chat.agent.runAgent();
  running.then(ended, ended);
}

const textOf = ({ content, parts = [] }) =>
  content ?? parts.map((part) => (part.type === "text" ? part.text : "")).join("");

// Waits until the last message has this text at least, the chat has this status, and finished that many times.
async function until(chat, { text, status, finishes }) {
  const isReached = (state) =>
    (status === undefined || status.includes(state.status)) &&
    (finishes === undefined || state.finishes.length >= finishes) &&
    (text === undefined || textOf(state.messages.at(-1) ?? {}).includes(text));
  const reached = await new Promise((resolve) => {
    const check = () => {
      const state = chat.state();
      if (!isReached(state)) return;
      changed.delete(check);
      resolve(state);
    };
    changed.add(check);
    check();
  });
  // A runtime of assistant-ui passes on in later effects what its hook says, an error for example.
  const settled = await settledState(chat);
  return isReached(settled) ? settled : reached;
}

// The state once React has nothing left to do.
async function settledState(chat) {
  for (let before, now = JSON.stringify(chat.state()); ; ) {
    for (let turn = 0; turn < 3; turn += 1) await new Promise(setImmediate);
    [before, now] = [now, JSON.stringify(chat.state())];
    if (now === before) return JSON.parse(now);
  }
}

const commands = {
  open: (_, { chat, ...options }) => void chats.set(chat, open(options)),
  agent: (_, { chat, ...options }) => void chats.set(chat, agent(options)),
  cut: (chat, { after, how }) => void Object.assign(chat.cut, { after, how }),
  state: (chat) => chat.state(),
  until,
  send: (chat, { text, files, messageId }) => void chat.hook.sendMessage({ text, files, messageId }),
  carryOn: (chat) => void carryOn(chat.hook),
  resume: (chat) => void chat.hook.resumeStream(),
  regenerate: (chat) => void chat.hook.regenerate(),
  abort: (chat) => chat.hook.stop(),
  close: (chat) => chat.root.unmount(),
  say: (chat, { id, content }) => {
    chat.agent.addMessage({ id, role: "user", content });
    run(chat);
  },
  run,
  abortRun: (chat) => chat.agent.abortRun(),
  thread: (_, { chat, ...options }) => void chats.set(chat, thread(options)),
  ...threadCommands,
  copilot: (_, { chat, ...options }) => void chats.set(chat, copilot(options)),
  ...copilotCommands,
};

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  try {
    const value = await commands[asked.do](chats.get(asked.chat), asked);
    console.log(JSON.stringify({ value: value ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ failure: error.stack }));
  }
}
