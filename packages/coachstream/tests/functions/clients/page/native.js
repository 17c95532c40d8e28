/** The browser's own `EventSource`. */
export function read({ url }, onMessage) {
  return new Promise((resolve) => {
    const source = new EventSource(url);
    source.onmessage = ({ data }) => onMessage(data);
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) resolve();
    };
  });
}
