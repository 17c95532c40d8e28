/** `@microsoft/fetch-event-source`, which sends the message itself and repeats it if the connection is lost. */
import { fetchEventSource } from "/client/modules/@microsoft/fetch-event-source/lib/esm/index.js";

class NothingLeft extends Error {}

export async function read({ url, ...request }, onMessage) {
  let isOver = false;
  try {
    await fetchEventSource(url, {
      ...request,
      async onopen({ status }) {
        if (status === 204) throw new NothingLeft();
      },
      onmessage({ data }) {
        onMessage(data);
        isOver ||= ["complete", "error"].includes(JSON.parse(data).type);
      },
      onclose() {
        if (!isOver) throw new Error("the stream ended before the reply did");
      },
      onerror(error) {
        if (error instanceof NothingLeft) throw error;
      },
    });
  } catch (error) {
    if (!(error instanceof NothingLeft)) throw error;
  }
}
