/**
 * One streamed reply: a response's bytes as typed events, with an honest ending.
 *
 * The iterator returns after `complete`. Every other ending raises a `Failure`: an `error` event, a connection
 * that broke, a stream that stopped without a terminal event, one that went quiet, or one that makes no sense.
 *
 * @import {ReplyEvent} from "./types.js"
 */
import { Failure } from "./failure.js";
import { EventStreamDecoder } from "./sse.js";
import { orSilence } from "./watchdog.js";
import { messageFrom } from "./wire.js";

/**
 * @param {Response} response
 * @param {{silenceMs?: number}} [options]
 * @returns {AsyncGenerator<ReplyEvent, void, undefined>}
 */
export async function* replyEvents(response, { silenceMs } = {}) {
  if (!response.body) throw Failure.unreadable();
  const reader = response.body.getReader();
  const decoder = new EventStreamDecoder();
  try {
    for (;;) {
      const { done, value } = await orSilence(read(reader), silenceMs);
      if (done) throw Failure.cutOff();
      for (const { data } of decode(decoder, value)) {
        const event = eventFrom(data);
        if (event) yield event;
        if (event?.type === "complete") return;
      }
    }
  } finally {
    // Not awaited: a connection that went quiet may never confirm.
    reader.cancel().catch(() => {});
  }
}

/**
 * @param {ReadableStreamDefaultReader<Uint8Array>} reader
 */
async function read(reader) {
  try {
    return await reader.read();
  } catch (error) {
    throw Failure.connectionLost(error);
  }
}

/**
 * @param {EventStreamDecoder} decoder
 * @param {Uint8Array} bytes
 */
function decode(decoder, bytes) {
  try {
    return decoder.feed(bytes);
  } catch (error) {
    throw Failure.unreadable(error);
  }
}

/**
 * Event types that this page does not know are ignored, so that a newer server does not break it.
 *
 * @param {string} data
 * @returns {ReplyEvent|null}
 */
function eventFrom(data) {
  let event;
  try {
    event = JSON.parse(data);
  } catch (error) {
    throw Failure.unreadable(error);
  }
  switch (event?.type) {
    case "start":
      return { type: "start" };
    case "chunk":
      return { type: "chunk", content: String(event.content ?? "") };
    case "complete":
      return { type: "complete", userMessage: messageFrom(event.userMessage), reply: messageFrom(event.aiMessage) };
    case "error":
      throw Failure.fromEvent(event);
    default:
      return null;
  }
}
