// What the chats of front_end.mjs share: a document with React, the packages, a connection that breaks.
import { createRequire } from "node:module";
import { imports } from "./packages.mjs";

const modules = process.argv[2];
export const load = imports(modules);
const { Window } = await load("happy-dom");
const window = new Window({ url: "http://localhost/" });
Object.assign(globalThis, { window, document: window.document });
globalThis.navigator ??= window.navigator; // Node has one from version 21 on
const required = createRequire(`${modules}/`);
export const React = required("react");
const { createRoot } = required("react-dom/client");

export const changed = new Set(); // listeners for a change of a chat
export const notify = () => changed.forEach((check) => check());

export function mount(component) {
  const root = createRoot(document.createElement("div"));
  root.render(React.createElement(component));
  return root;
}

export const BROKEN = "network error"; // as Chromium says it

// Fails as a connection does that breaks behind a number of events, or ends there.
export async function cutFetch(cut, ...request) {
  const response = await fetch(...request);
  if (cut.after === undefined || response.body === null) return response;
  const { after, how } = cut;
  delete cut.after;
  const decoder = new TextDecoder();
  let blocks = 0;
  const pass = async (reader, controller) => {
    const { done, value } = await reader.read();
    if (done) return controller.close();
    let passed = "";
    for (const block of decoder.decode(value, { stream: true }).split(/(?<=\n\n)/)) {
      if (blocks >= after) break;
      passed += block;
      blocks += block.endsWith("\n\n") ? 1 : 0;
    }
    if (passed) controller.enqueue(new TextEncoder().encode(passed));
    if (blocks < after) return;
    await reader.cancel();
    if (how === "end") controller.close();
    else controller.error(new TypeError(BROKEN));
  };
  const reader = response.body.getReader();
  const body = new ReadableStream({ pull: (controller) => pass(reader, controller) });
  return new Response(body, { status: response.status, headers: response.headers });
}
