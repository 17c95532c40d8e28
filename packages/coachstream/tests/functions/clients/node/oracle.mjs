// node oracle.mjs MODULES: reads recorded responses with the official packages.
//
// A line of input is {"of", "body", "messages"}, a line of output {"text", "parts", "failure"}: the text that the
// client shows, the number of its pieces, and why the client gave up, if it did.
import { createInterface } from "node:readline";
import { imports } from "./packages.mjs";

const load = imports(process.argv[2]);
const agents = { "ag-ui": await load("@ag-ui/client"), "ag-ui-0": await load("@ag-ui/client", "@copilotkit/core") };
const sdks = { "ai-sdk": await load("ai"), "ai-sdk-6": await load("ai", "ai-sdk-react-3") };
console.warn = () => {}; // AG-UI's client warns of what it skips; it fails where that matters

const streamed = (body) => new Response(body, { headers: { "content-type": "text/event-stream" } });

async function withAiSdk({ DefaultChatTransport, readUIMessageStream }, { body }) {
  const transport = new DefaultChatTransport({ api: "http://test/", fetch: async () => streamed(body) });
  const stream = await transport.sendMessages({ chatId: "1", messages: [], trigger: "submit-message" });
  const read = { text: "", parts: 0, failure: null };
  const onError = (error) => (read.failure = error.message);
  let message;
  try {
    for await (message of readUIMessageStream({ stream, onError, terminateOnError: true }));
  } catch (error) {
    read.failure = error.message;
  }
  const texts = (message?.parts ?? []).filter((part) => part.type === "text");
  return { ...read, text: texts.map((part) => part.text).join(""), parts: texts.length };
}

async function withAgUi({ HttpAgent }, { body, messages }) {
  const agent = new HttpAgent({ url: "http://test/", threadId: "thread-1", fetch: async () => streamed(body) });
  agent.setMessages(messages);
  let failure = null;
  const failed = ({ event }) => void (failure = event.message);
  try {
    await agent.runAgent({ runId: "run-1" }, { onRunErrorEvent: failed });
  } catch (error) {
    failure ??= error.message;
  }
  const replies = agent.messages.filter((message) => message.role === "assistant");
  return { text: replies.map((reply) => reply.content).join(""), parts: replies.length, failure };
}

for await (const line of createInterface({ input: process.stdin })) {
  const recorded = JSON.parse(line);
  const sdk = sdks[recorded.of];
  const read = sdk ? withAiSdk(sdk, recorded) : withAgUi(agents[recorded.of], recorded);
  console.log(JSON.stringify(await read));
}
