/**
 * `coachstream/ai-sdk`: a `ChatTransport` for `useChat` of the AI SDK 7, over our own protocol. So a lost connection is
 * restored where it was, which the AI SDK's own transport does not do.
 *
 * The chunks are those that the service writes at `/ai-sdk`, with two differences: the reply's id derives from its run,
 * because a reader that joins does not know the message; and `data-connection` reports lost connections.
 *
 * @import {UIMessage, UIMessageChunk} from "ai"
 * @import * as api from "./ai-sdk.js"
 * @import {CompleteEvent, Reply, ReplyEvent, ReplyOptions} from "./coachstream.js"
 *
 * @typedef {{reply: Reply, controller: AbortController}} Reading
 *
 * @typedef {object} Sent What the service has of a message that this page sent.
 * @property {string} key The idempotency key under which it has it.
 * @property {string} text
 * @property {boolean} isAnswered Whether it has a reply.
 *
 * @typedef {object} Outgoing A message that is being sent, or tried again.
 * @property {string} id
 * @property {string} text
 * @property {string} key
 * @property {boolean} isNew Whether the service has it as soon as there is a run.
 * @property {{key: string, begin: () => Reply}|null} edit What to do if the service has another text of it.
 */
import { CoachStreamError, join, newClientMessageId, ServiceError, start } from "./coachstream.js";

/** Of the reply's stop reason. @type {Readonly<Record<string, "stop" | "length" | "content-filter">>} */
const FINISH_REASONS = {
  end_turn: "stop",
  stop_sequence: "stop",
  guardrail_warning: "stop",
  max_tokens: "length",
  content_filtered: "content-filter",
};
const CLIENT_MESSAGE_ID = /^[A-Za-z0-9_-]{1,64}$/;

/** @type {typeof api.toUIMessage} */
export function toUIMessage({ id, role, content, timestamp, metadata = {} }) {
  const { clientMessageId, replyTo, ...known } = metadata;
  return {
    id: clientMessageId ?? id,
    role,
    parts: [{ type: "text", text: content }],
    metadata: { ...known, messageId: id, timestamp, ...(replyTo !== undefined && { userMessageId: replyTo }) },
  };
}

/**
 * @template {UIMessage} UI_MESSAGE
 * @implements {api.CoachStreamTransport<UI_MESSAGE>}
 */
export class CoachStreamTransport {
  /** A reply is joined from its beginning. */
  resumeStreamIsReplay = true;
  #options;
  /** The last one of each chat, until its reply has ended. @type {Map<string, Reading>} */
  #readings = new Map();
  /** By the ids of the messages. @type {Map<string, Sent>} */
  #sent = new Map();

  /** @param {api.CoachStreamTransportOptions} options */
  constructor(options) {
    this.#options = options;
  }

  /** @type {api.CoachStreamTransport<UI_MESSAGE>["sendMessages"]} */
  async sendMessages({ trigger, chatId, messageId, messages, abortSignal }) {
    const last = messages.at(-1);
    if (last?.role !== "user") throw refused("INVALID_REQUEST", "The last message is not the user's.");
    if (last.parts.some(({ type }) => type !== "text"))
      throw refused("ATTACHMENT_REJECTED", "A message can only have text.");
    const message = last.parts.map((part) => (part.type === "text" ? part.text : "")).join("\n\n");
    const { timeZone } = this.#options;
    const controller = controllerOf(abortSignal);
    const options = { ...this.#replyOptions(chatId, controller), ...(timeZone !== undefined && { timeZone }) };
    const known = this.#sent.get(last.id);
    const key = known?.key ?? (await idempotencyKey(last.id));
    const attempt = newClientMessageId();
    const edit = () => start({ ...options, message, replaces: key, clientMessageId: attempt });
    // What the service does not have, or has not answered, is sent again, whatever `useChat` calls it.
    const isEdited = known !== undefined && known.text !== message;
    const wantsAnother = trigger === "regenerate-message" && (known?.isAnswered ?? true);
    const isSame = !isEdited && !wantsAnother;
    const request = isSame ? { message, clientMessageId: key } : { regenerate: key, clientMessageId: attempt };
    const reply = isEdited ? edit() : start({ ...options, ...request });
    const reading = { reply, controller };
    this.#readings.set(chatId, reading);
    const sent = {
      id: last.id,
      text: message,
      key: isEdited ? attempt : key,
      // Until another try succeeds, the service has what it had.
      isNew: isSame && known?.isAnswered !== true,
      // A page that was reloaded learns from the service that the text is another one.
      edit: isSame && messageId !== undefined ? { key: attempt, begin: edit } : null,
    };
    return streamOf(this.#chunks(chatId, reading, sent), controller);
  }

  /** @type {api.CoachStreamTransport<UI_MESSAGE>["reconnectToStream"]} */
  async reconnectToStream({ chatId, abortSignal }) {
    const controller = controllerOf(abortSignal);
    const reading = { reply: join(this.#replyOptions(chatId, controller)), controller };
    const chunks = this.#chunks(chatId, reading);
    const held = [];
    for (;;) {
      const { done, value } = await chunks.next();
      if (done) return null;
      held.push(value);
      if (value.type !== "start") continue;
      this.#readings.set(chatId, reading);
      return streamOf(chunks, controller, held);
    }
  }

  /** @type {api.CoachStreamTransport<UI_MESSAGE>["stop"]} */
  async stop(chatId) {
    const readings = chatId === undefined ? [...this.#readings.values()] : [this.#readings.get(chatId)];
    await Promise.all(readings.map((reading) => reading && stopReply(reading)));
  }

  /** @param {string} chatId @param {AbortController} controller @returns {ReplyOptions} */
  #replyOptions(chatId, { signal }) {
    const { conversationUrl, token, reconnect, fetch } = this.#options;
    return {
      conversationUrl: typeof conversationUrl === "function" ? conversationUrl(chatId) : conversationUrl,
      token,
      signal,
      ...(reconnect && { reconnect }),
      ...(fetch && { fetch }),
    };
  }

  /**
   * @param {string} chatId
   * @param {Reading} reading
   * @param {Outgoing} [message]
   * @returns {AsyncGenerator<UIMessageChunk, void, undefined>}
   */
  async *#chunks(chatId, reading, message) {
    const { controller } = reading;
    const encoder = new Encoder();
    try {
      for (;;) {
        try {
          for await (const event of reading.reply) {
            if (message !== undefined && (event.type === "complete" || (event.type === "run" && message.isNew))) {
              const { id, key, text } = message;
              this.#sent.set(id, { key, text, isAnswered: event.type === "complete" });
            }
            yield* encoder.encode(event);
          }
          return;
        } catch (error) {
          const edit = message?.edit;
          const isEdited = error instanceof ServiceError && error.code === "IDEMPOTENCY_MISMATCH";
          if (!message || !edit || !isEdited) throw error;
          message = { ...message, key: edit.key, edit: null, isNew: false };
          reading.reply = edit.begin();
        }
      }
    } catch (error) {
      yield* encoder.endText();
      throw error;
    } finally {
      // A reply that is only no longer read can still be stopped.
      if (!controller.signal.aborted && this.#readings.get(chatId) === reading) this.#readings.delete(chatId);
    }
  }
}

/** Encodes the events of one reply as chunks of a UI message stream. */
class Encoder {
  /** @type {string|null} */
  #runId = null;
  #hasBegun = false;
  #text = "";
  /** The number of the text part; another one follows a reset. */
  #part = 1;
  #isOpen = false;

  /** @param {ReplyEvent} event @returns {Generator<UIMessageChunk, void, undefined>} */
  *encode(event) {
    switch (event.type) {
      case "run":
        yield* this.#begin(event.runId, event.runId);
        break;
      case "text":
        yield* this.#show(event.text);
        break;
      case "complete":
        yield* this.#begin(event.runId, event.aiMessage.id);
        yield* this.#show(event.text);
        yield* this.endText();
        yield { type: "finish-step" };
        yield {
          type: "finish",
          finishReason: FINISH_REASONS[event.stopReason] ?? "other",
          messageMetadata: metadataOf(event),
        };
        break;
      case "queued":
        yield { type: "data-queued", data: event, transient: true };
        break;
      case "contextual":
        yield { type: "data-contextual", data: event, transient: true };
        break;
      case "guardrail_warning":
        yield { type: "data-guardrail-warning", data: event, transient: true };
        break;
      case "connection":
        yield { type: "data-connection", data: { state: event.state }, transient: true };
        break;
    }
  }

  /** @returns {Generator<UIMessageChunk, void, undefined>} */
  *endText() {
    if (this.#isOpen) yield { type: "text-end", id: this.#partId };
    this.#isOpen = false;
  }

  get #partId() {
    return `text-${this.#part}`;
  }

  /** @param {string|null} runId @param {string} messageId @returns {Generator<UIMessageChunk, void, undefined>} */
  *#begin(runId, messageId) {
    if (this.#hasBegun && runId === this.#runId) return;
    this.#runId = runId;
    const messageMetadata = { runId };
    if (this.#hasBegun) {
      // Another run answers the message: the reply keeps its id.
      yield { type: "start", messageMetadata };
    } else {
      this.#hasBegun = true;
      yield { type: "start", messageId, messageMetadata };
      yield { type: "start-step" };
    }
  }

  /** @param {string} text all of it @returns {Generator<UIMessageChunk, void, undefined>} */
  *#show(text) {
    if (!text.startsWith(this.#text)) {
      yield { type: "reset-step" };
      this.#part += 1;
      this.#isOpen = false;
      this.#text = "";
    }
    const delta = text.slice(this.#text.length);
    this.#text = text;
    if (delta === "") return;
    if (!this.#isOpen) yield { type: "text-start", id: this.#partId };
    this.#isOpen = true;
    yield { type: "text-delta", id: this.#partId, delta };
  }
}

/** @param {CompleteEvent} event */
function metadataOf({ runId, messageId, stopReason, userMessage, aiMessage, pineconeContext, usage, timings }) {
  const { timestamp, metadata: { model, guardrailWarning } = {} } = aiMessage;
  const known = {
    messageId,
    userMessageId: userMessage.id,
    timestamp,
    stopReason,
    pineconeContext,
    usage,
    timings,
    model,
    guardrailWarning,
    runId,
  };
  return Object.fromEntries(Object.entries(known).filter(([, value]) => value !== undefined));
}

/** What ends a read: the caller's signal, or the stream that is cancelled. @param {AbortSignal|undefined} signal */
function controllerOf(signal) {
  const controller = new AbortController();
  const abort = () => controller.abort(signal?.reason);
  if (signal?.aborted) abort();
  signal?.addEventListener("abort", abort);
  return controller;
}

/** @param {Reading} reading */
async function stopReply({ reply, controller }) {
  try {
    await reply.stop();
  } catch (error) {
    // A message that was refused has no run.
    const hadNoRun = error instanceof CoachStreamError && error.code === "RUN_UNKNOWN";
    if (!hadNoRun || controller.signal.aborted) throw error;
  }
}

/**
 * A chunk is taken from the source when it is read, so that an error comes behind the chunks before it.
 *
 * @param {AsyncGenerator<UIMessageChunk, void, undefined>} chunks
 * @param {AbortController} controller ends a read that is waiting
 * @param {UIMessageChunk[]} [first] those that were taken already
 * @returns {ReadableStream<UIMessageChunk>}
 */
function streamOf(chunks, controller, first = []) {
  return new ReadableStream(
    {
      async pull(stream) {
        const held = first.shift();
        if (held !== undefined) return stream.enqueue(held);
        const { done, value } = await chunks.next();
        if (done) stream.close();
        else stream.enqueue(value);
      },
      async cancel(reason) {
        controller.abort(reason);
        await chunks.return();
      },
    },
    { highWaterMark: 0 },
  );
}

/** The message's id, or a hash of it if the service would not accept it. @param {string} id */
async function idempotencyKey(id) {
  if (CLIENT_MESSAGE_ID.test(id)) return id;
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(id));
  const hex = Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `id-${hex.slice(0, 40)}`;
}

/** @param {string} code @param {string} message */
function refused(code, message) {
  // The public types have no constructors.
  const Refusal = /** @type {new (code: string, message: string) => CoachStreamError} */ (
    /** @type {unknown} */ (CoachStreamError)
  );
  return new Refusal(code, message);
}
