// Threads of assistant-ui, for front_end.mjs: a page mounts one of its runtimes with the URL and the token.
import { cutFetch, load, mount, notify, React } from "./surroundings.mjs";

const { AssistantRuntimeProvider } = await load("@assistant-ui/react");
const { AssistantChatTransport, useAISDKRuntime, useChatRuntime } = await load("@assistant-ui/react-ai-sdk");
const { useAgUiRuntime } = await load("@assistant-ui/react-ag-ui");
const { useChat } = await load("@ai-sdk/react");
const { HttpAgent } = await load("@ag-ui/client", "@assistant-ui/react-ag-ui");

// The lines that docs/how-to/use-the-ai-sdk.md gives for a thread that resumes.
function useCoach(options) {
  const chat = useChat({ ...options, resume: true });
  return { chat, runtime: useAISDKRuntime(chat) };
}

function hookOf({ runtime, url, headers, body, fetch, messages, onError, onFinish }) {
  if (runtime === "useAgUiRuntime") {
    const agent = new HttpAgent({ url: `${url}/ag-ui`, headers, fetch });
    agent.subscribe({ onRunFinalized: onFinish });
    return () => ({ runtime: useAgUiRuntime({ agent, onError }) });
  }
  const transport = new AssistantChatTransport({ api: `${url}/ai-sdk`, headers, body, fetch });
  if (runtime === "useChatRuntime") return () => ({ runtime: useChatRuntime({ transport, onError, onFinish }) });
  return () => useCoach({ transport, messages, onError, onFinish });
}

export function thread({ runtime, url, token, body, messages }) {
  const chat = { cut: {}, failures: [] };
  const useThread = hookOf({
    runtime,
    url,
    headers: { Authorization: `Bearer ${token}` },
    body,
    fetch: (...request) => cutFetch(chat.cut, ...request),
    messages,
    onError: ({ message }) => void chat.failures.push(message),
    onFinish: () => void chat.addFinish((before) => [...before, null]),
  });
  const Thread = () => {
    const { runtime, chat: hook } = useThread();
    Object.assign(chat, { thread: runtime.thread, hook });
    [chat.finishes, chat.addFinish] = React.useState([]);
    React.useEffect(() => runtime.thread.subscribe(notify), [runtime]);
    React.useEffect(notify);
    return React.createElement(AssistantRuntimeProvider, { runtime });
  };
  chat.root = mount(Thread);
  chat.state = () => {
    if (!chat.thread) return { status: "mounting", messages: [], finishes: [] };
    const { isRunning, messages } = chat.thread.getState();
    return {
      status: isRunning ? "streaming" : "ready",
      error: chat.failures.at(-1) ?? null,
      messages: messages.map(({ content, ...message }) => ({ ...message, parts: content })),
      finishes: chat.finishes,
    };
  };
  return chat;
}

export const threadCommands = {
  append: ({ thread }, { text }) => thread.append(text),
  cancel: ({ thread }) => thread.cancelRun(),
  reload: ({ thread }) => thread.getMessageById(thread.getState().messages.at(-1).id).reload(),
};
