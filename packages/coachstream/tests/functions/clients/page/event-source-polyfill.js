/** `event-source-polyfill`, which must be closed: a 204 ends it only if the browser gives the response a body. */
import "/client/modules/event-source-polyfill/src/eventsource.js";

export function read({ url }, onMessage) {
  return new Promise((resolve) => {
    const source = new EventSourcePolyfill(url);
    source.onmessage = ({ data }) => {
      onMessage(data);
      if (!["complete", "error"].includes(JSON.parse(data).type)) return;
      source.close();
      resolve();
    };
  });
}
