/** `sse.js`, which must be closed: it reconnects after any response. */
import { SSE } from "/client/modules/sse.js/lib/sse.js";

export function read({ url }, onMessage) {
  return new Promise((resolve) => {
    const source = new SSE(url, { autoReconnect: true });
    source.addEventListener("message", ({ data }) => {
      onMessage(data);
      if (!["complete", "error"].includes(JSON.parse(data).type)) return;
      source.close();
      resolve();
    });
  });
}
