/**
 * Reads a coach's reply while it is written, and reconnects when the connection is lost.
 *
 *     import { start } from "./coachstream.js";
 *
 *     const reply = start({ conversationUrl, token: () => auth.idToken(), message: "How was my week?" });
 *     stopButton.onclick = () => reply.stop();
 *     for await (const event of reply) {
 *       if (event.type === "text") bubble.textContent = event.text;
 *     }
 *
 * One file without dependencies, for browsers and workers; copy it. `coachstream.d.ts` documents every option and
 * event; the project's `docs/reference` describes the requests and events on the wire.
 *
* How it works: a reply is read over a series of connections. Each delivers Server-Sent Events; their ids are
 * the cursor for the next connection, their offsets deduplicate the text. Anything that ends a connection but not the
 * reply is an `Interruption`; the next connection follows after a delay (exponential backoff).
 *
 * @import * as api from "./coachstream.d.ts"
 *
 * @typedef {{id: string, data: string|null}} Message An event; `data` is null for an id without an event.
 * @typedef {"connected"|"nothing left"|Interruption|Message} Item What a connection delivers.
 */

/** @type {Readonly<Required<api.ReconnectOptions>>} */
const RECONNECT = Object.freeze({ silenceMs: 45_000, backoffMs: 500, maxBackoffMs: 10_000, giveUpAfterMs: 60_000 });
/** Statuses of proxies and gateways after which a retry may succeed. */
const TRANSIENT = new Set([408, 425, 429, 500, 502, 503, 504]);
/** How often a wait looks at the clocks, and how late it must be for the device to have slept: no page is busy for so long. */
const LOOK_MS = 5_000;
const ASLEEP_MS = 15_000;
const EVENT_STREAM = "text/event-stream";
const JSON_TYPE = "application/json";

/** Sends a message and reads the reply. @type {typeof api.start} */
export function start({
  message,
  regenerate,
  replaces,
  continue: continues,
  clientMessageId = newClientMessageId(),
  writtenAt = new Date(),
  timeZone = Intl.DateTimeFormat().resolvedOptions().timeZone,
  policy,
  ...options
}) {
  const messageTimestamp = writtenAt.toISOString();
  // A browser that does not know its zone has none, and JSON then leaves it out.
  const fields = { userResponse: message, messageTimestamp, clientMessageId, userTimezone: timeZone, policy };
  const body = JSON.stringify({ ...fields, regenerate, replaces, continue: continues });
  const wantsEventSource = options.transport === "eventsource" && "EventSource" in globalThis;
  return new Reply(options, { body, wantsEventSource });
}

/** Reads a reply whose run is known. @type {typeof api.resume} */
export function resume({ runId, after, text, ...options }) {
  return new Reply(options, { runId, after, text });
}

/** Reads the reply that is being written in a conversation, if one is. @type {typeof api.join} */
export function join(options) {
  return new Reply(options, {});
}

/** Stops a reply. @type {typeof api.stop} */
export async function stop({ runId, ...options }) {
  const { status } = await jsonFrom(options, "DELETE", ["stream", runId], "The reply could not be stopped.");
  return status === "stopping" || status === "withdrawn" ? status : "finished";
}

/** Lists the versions of an exchange. @type {typeof api.versions} */
export function versions({ messageId, ...options }) {
  return versionsFrom(options, "GET", messageId);
}

/** Chooses an older version of the last exchange. @type {typeof api.chooseVersion} */
export function chooseVersion({ messageId, versionId, ...options }) {
  return versionsFrom(options, "PUT", messageId, versionId);
}

/** Returns a new, unique idempotency key for a message. */
export function newClientMessageId() {
  // `crypto.randomUUID` exists in secure contexts only; a page may be opened from a phone on the same network.
  // React Native has no `crypto` at all. The key must be unique in its conversation; it is no secret.
  const bytes = new Uint8Array(16).map(() => Math.random() * 256);
  globalThis.crypto?.getRandomValues(bytes);
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Base of all errors of this module, distinguished by `code`. */
export class CoachStreamError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{retryable?: boolean, status?: number|null, cause?: unknown}} [details]
   */
  constructor(code, message, { retryable = false, status = null, cause } = {}) {
    super(message, { cause });
    this.name = new.target.name;
    this.code = code;
    this.retryable = retryable;
    this.status = status;
  }
}

/** An error reported by the service. */
export class ServiceError extends CoachStreamError {
  /** @param {any} event an `error` event, or an error body @param {number|null} [status] of the response */
  constructor(event, status = null) {
    const sentence = [event?.message, event?.error].find((text) => typeof text === "string" && text !== "");
    super(hasCode(event) ? event.code : `HTTP_${status ?? "ERROR"}`, sentence ?? "The service refused the request.", {
      retryable: event?.retryable ?? TRANSIENT.has(status ?? 0),
      status,
    });
    /** @type {string|null} */
    this.runId = event?.runId ?? null;
    /** @type {api.StoredMessage|null} */
    this.partialMessage = event?.partialMessage ?? null;
    /** @type {api.StoredMessage|null} */
    this.userMessage = event?.userMessage ?? null;
    /** @type {api.QuotaLeft|null} */
    this.quota = event?.quota ?? null;
    /** @type {number|null} */
    this.retryAfter = event?.retryAfter ?? null;
  }
}

/** There was no connection for `giveUpAfterMs`. */
export class ConnectionLost extends CoachStreamError {
  /** @param {string} message @param {Interruption} cause */
  constructor(message, cause) {
    super("CONNECTION_LOST", message, { retryable: true, status: cause.status, cause });
  }
}

/** The response is not from the service. */
export class UnreadableStream extends CoachStreamError {
  /** @param {string} message @param {unknown} [cause] */
  constructor(message, cause) {
    super("UNREADABLE_STREAM", message, { cause });
  }
}

/** Why a connection ended before the reply did. */
class Interruption extends Error {
  /** @param {string} message @param {{status?: number|null, isWelcome?: boolean, cause?: unknown}} [details] */
  constructor(message, { status = null, isWelcome = false, cause } = {}) {
    super(message, { cause });
    this.name = "Interruption";
    this.status = status;
    /** The next connection should follow at once. */
    this.isWelcome = isWelcome;
  }
}

/** @implements {api.Reply} */
class Reply {
  #options;
  #reconnect;
  #body;
  #wantsEventSource;
  /** The URL of the run for the browser's `EventSource`. @type {URL|null} */
  #eventsUrl = null;
  /** @type {string|null} */
  #runId;
  #lastEventId;
  #text;
  #events;
  /** @type {Connection|null} */
  #connection = null;
  /** @type {number|null} */
  #connectedAt = null;
  /** @type {number|null} */
  #failingSince = null;
  #failures = 0;
  #isQueued = false;
  /** The service may reject a token after the stream has begun. */
  #wasTokenRefused = false;
  #endPause = () => {};
  #runKnown = deferred();

  /**
   * @param {api.ReplyOptions} options
   * @param {{body?: string, wantsEventSource?: boolean, runId?: string, after?: string, text?: string}} what
   */
  constructor(options, { body, wantsEventSource = false, runId, after = "", text = "" }) {
    this.#options = options;
    this.#reconnect = { ...RECONNECT, ...options.reconnect };
    this.#body = body;
    this.#wantsEventSource = wantsEventSource;
    this.#runId = runId ?? null;
    this.#lastEventId = after;
    this.#text = text;
    this.#events = this.#read();
    if (runId !== undefined) this.#runKnown.resolve(runId);
  }

  get runId() {
    return this.#runId;
  }

  get lastEventId() {
    return this.#lastEventId;
  }

  get text() {
    return this.#text;
  }

  [Symbol.asyncIterator]() {
    return this.#events;
  }

  async stop() {
    const runId = await this.#runKnown.promise;
    if (runId === null) throw new CoachStreamError("RUN_UNKNOWN", "The run to stop is not known yet.");
    const { signal: _, ...options } = this.#options;
    return stop({ ...options, runId });
  }

  /** @returns {AsyncGenerator<api.ReplyEvent, void, undefined>} */
  async *#read() {
    const { signal } = this.#options;
    const aborted = () => this.#rouse(null);
    const online = () => this.#rouse(new Interruption("the network has changed", { isWelcome: true }));
    // A connection that a sleeping phone has lost stays silent; a live one has sent a keep-alive by then.
    const visible = () => {
      if (document.hidden) return;
      const isSilent = (this.#connection?.quietMs ?? 0) > this.#reconnect.silenceMs / 2;
      this.#rouse(isSilent ? new Interruption("the connection fell asleep", { isWelcome: true }) : undefined);
    };
    signal?.addEventListener("abort", aborted);
    globalThis.addEventListener?.("online", online);
    globalThis.document?.addEventListener("visibilitychange", visible);
    try {
      while (!(yield* this.#readConnection()));
    } finally {
      signal?.removeEventListener("abort", aborted);
      globalThis.removeEventListener?.("online", online);
      globalThis.document?.removeEventListener("visibilitychange", visible);
      this.#runKnown.resolve(null);
    }
  }

  /**
   * Reads one connection to its end; unless the reply has ended, the next one must follow.
   * @returns {AsyncGenerator<api.ReplyEvent, boolean, undefined>} whether the reply is over
   */
  async *#readConnection() {
    const { signal } = this.#options;
    throwIfAborted(signal);
    const connection = new Connection(this.#reconnect.silenceMs);
    this.#connection = connection;
    const after = this.#lastEventId;
    /** @type {Interruption} */
    let interruption;
    try {
      if (this.#wantsEventSource) yield* this.#askForEventsUrl(connection);
      for await (const item of this.#eventsUrl ? this.#listen(connection, this.#eventsUrl) : this.#fetch(connection)) {
        if (item === "nothing left") return true;
        if (item === "connected") {
          this.#connectedAt = performance.now();
          yield { type: "connection", state: "connected" };
        } else if (item instanceof Interruption) {
          yield this.#setBack(item);
        } else {
          const ending = yield* this.#take(item, after);
          if (ending === "over") return true;
          // Reconnect at once, but not in an endless loop.
          if (ending === "moved" && this.#lastEventId !== after) return false;
        }
      }
      throw new Interruption("the stream ended before the reply did");
    } catch (error) {
      throwIfAborted(signal);
      const reason = connection.whyCut ?? error;
      if (!(reason instanceof Interruption)) throw reason;
      interruption = reason;
    } finally {
      connection.cut(new Interruption("it is no longer read"));
      this.#connection = null;
    }
    yield this.#setBack(interruption);
    if (!interruption.isWelcome) await this.#pause();
    return false;
  }

  /**
   * Yields what a connection delivers, read with `fetch`.
   * @param {Connection} connection
   * @returns {AsyncGenerator<Item, void, undefined>}
   */
  async *#fetch(connection) {
    const onlyReads = this.#runId !== null || this.#body === undefined;
    const url = urlOf(this.#options, "stream", this.#runId);
    if (this.#runId !== null && this.#lastEventId !== "") url.searchParams.set("after", this.#lastEventId);
    const { signal } = connection;
    const body = onlyReads ? undefined : this.#body;
    const request = { accept: EVENT_STREAM, body, signal, fresh: this.#wasTokenRefused };
    const response = await connection.wait(send(this.#options, onlyReads ? "GET" : "POST", url, request));
    if (response.status === 204) return void (yield "nothing left");
    if (!response.ok) throw await connection.wait(refusal(response, { onlyReads }));
    if (!isOfType(response, EVENT_STREAM)) throw new UnreadableStream("The response is no event stream.");
    if (!response.body) throw new UnreadableStream("The `fetch` does not stream; expo/fetch does.");
    yield "connected";
    const reader = response.body.getReader();
    const decoder = new EventStreamDecoder();
    for (;;) {
      const { done, value } = await connection.wait(reader.read().catch(brokenOff));
      if (done) return;
      yield* decoder.feed(value);
      yield { id: decoder.lastEventId, data: null };
    }
  }

  /**
   * Sends the message, and gets the URL for an `EventSource`.
   * @param {Connection} connection
   * @returns {AsyncGenerator<api.ReplyEvent, void, undefined>}
   */
  async *#askForEventsUrl(connection) {
    const url = urlOf(this.#options, "stream");
    const request = { accept: JSON_TYPE, body: this.#body, signal: connection.signal };
    const response = await connection.wait(send(this.#options, "POST", url, request));
    if (!response.ok) throw await connection.wait(refusal(response, { onlyReads: false }));
    const { runId, eventsUrl } = await connection.wait(jsonOf(response));
    if (typeof runId !== "string" || typeof eventsUrl !== "string") throw new UnreadableStream("The run is missing.");
    this.#wantsEventSource = false;
    this.#eventsUrl = new URL(eventsUrl, response.url);
    yield* this.#adopt(runId);
  }

  /**
   * Yields what a connection delivers, read by the browser's `EventSource`. It also reconnects by itself, and does not
   * report why it stops doing so; from then on we use `fetch`, which reports errors.
   *
   * @param {Connection} connection
   * @param {URL} eventsUrl
   * @returns {AsyncGenerator<Item, void, undefined>}
   */
  async *#listen(connection, eventsUrl) {
    const url = new URL(eventsUrl);
    if (this.#lastEventId !== "") url.searchParams.set("after", this.#lastEventId);
    const source = new EventSource(url);
    /** @type {Item[]} */
    const items = [];
    let arrived = deferred();
    /** @param {Item} item */
    const add = (item) => {
      items.push(item);
      arrived.resolve(null);
    };
    source.addEventListener("open", () => add("connected"));
    source.addEventListener("message", ({ lastEventId, data }) => add({ id: lastEventId, data }));
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) arrived.resolve(null);
      else add(new Interruption("the browser lost its connection"));
    });
    try {
      for (;;) {
        await connection.wait(arrived.promise);
        arrived = deferred();
        yield* items.splice(0);
        if (source.readyState !== EventSource.CLOSED || items.length > 0) continue;
        this.#eventsUrl = null;
        throw new Interruption("the browser does not reconnect");
      }
    } finally {
      source.close();
    }
  }

  /**
   * @param {Message} message
   * @param {string} after the id that the connection began after
   * @returns {Generator<api.ReplyEvent, "over"|"moved"|null, undefined>}
   */
  *#take({ id, data }, after) {
    const isNews = id !== "" && id !== this.#lastEventId;
    if (isNews) yield* this.#reach(id);
    if (data === null) return null;
    const event = eventFrom(data);
    switch (event.type) {
      case "chunk":
        yield* this.#append(event, after);
        return null;
      case "reset":
        this.#progress();
        if (event.offset < this.#text.length) yield this.#show(this.#text.slice(0, event.offset));
        return null;
      case "queued":
        this.#isQueued = true;
        yield { type: "queued", runId: event.runId, position: event.position };
        return null;
      case "run":
        if (this.#isQueued) yield { type: "run", runId: event.runId };
        this.#isQueued = false;
        return null;
      case "contextual":
        if (typeof event.content === "string") {
          yield { type: "contextual", content: event.content, stage: String(event.stage ?? "") };
        }
        return null;
      case "guardrail_warning":
        if (typeof event.message === "string") yield { type: "guardrail_warning", message: event.message };
        return null;
      case "reconnect":
        if (typeof event.after === "string" && event.after !== this.#lastEventId) yield* this.#reach(event.after);
        return "moved";
      case "complete":
        this.#text = event.aiMessage?.content ?? this.#text;
        yield { ...event, runId: this.#runId, text: this.#text };
        return "over";
      case "error": {
        const error = new ServiceError(event);
        if (this.#runId === null && error.code === "INVALID_TOKEN" && !this.#wasTokenRefused) {
          this.#wasTokenRefused = true;
          throw new Interruption("the token was refused", { isWelcome: true, cause: error });
        }
        // An error without an entry in the run's log ended the request, but not the run.
        if (this.#runId !== null && !isNews && error.retryable) throw new Interruption(error.message, { cause: error });
        throw error;
      }
      default:
        return null; // of a newer service
    }
  }

  /** @param {{content: string, offset?: number}} chunk @param {string} after */
  *#append({ content, offset = this.#text.length }, after) {
    if (typeof content !== "string") throw new UnreadableStream("A chunk has no text.");
    this.#progress();
    const overlap = this.#text.length - offset;
    if (overlap >= 0) {
      if (overlap < content.length) yield this.#show(this.#text + content.slice(overlap));
    } else if (after === "") {
      throw new UnreadableStream("A part of the text is missing.");
    } else {
      this.#lastEventId = ""; // from the beginning, then
      throw new Interruption("a part of the text is missing");
    }
  }

  /** @param {string} id an entry of a run's log @returns {Generator<api.ReplyEvent, void, undefined>} */
  *#reach(id) {
    this.#progress();
    this.#lastEventId = id;
    yield* this.#adopt(id.slice(0, id.lastIndexOf(":")));
  }

  /** @param {string} runId @returns {Generator<api.ReplyEvent, void, undefined>} */
  *#adopt(runId) {
    if (runId === this.#runId) return;
    // Sending the message again may begin another run, whose text starts at the beginning.
    if (this.#text !== "") yield this.#show("");
    this.#runId = runId;
    this.#wasTokenRefused = false;
    this.#runKnown.resolve(runId);
    yield { type: "run", runId };
  }

  /** @param {string} text @returns {api.TextEvent} */
  #show(text) {
    this.#text = text;
    return { type: "text", text };
  }

  #progress() {
    this.#failingSince = null;
    this.#failures = 0;
  }

  /** @param {Interruption} interruption @returns {api.ConnectionEvent} @throws {ConnectionLost} */
  #setBack(interruption) {
    const { giveUpAfterMs, maxBackoffMs } = this.#reconnect;
    const now = performance.now();
    // A connection that lasted for a while was good, even if it delivered nothing.
    if (this.#connectedAt !== null && now - this.#connectedAt > maxBackoffMs) this.#progress();
    this.#connectedAt = null;
    this.#failingSince ??= now;
    if (now - this.#failingSince >= giveUpAfterMs) {
      const seconds = Math.round(giveUpAfterMs / 1000);
      throw new ConnectionLost(`There has been no connection for ${seconds} seconds.`, interruption);
    }
    this.#failures += 1;
    return { type: "connection", state: "reconnecting", failures: this.#failures, reason: interruption };
  }

  async #pause() {
    const { backoffMs, maxBackoffMs } = this.#reconnect;
    const longest = Math.min(maxBackoffMs, backoffMs * 2 ** (this.#failures - 1));
    const pauseMs = longest * (0.5 + Math.random() / 2);
    const { promise, resolve } = deferred();
    const watch = new Stopwatch();
    const timer = setTimeout(resolve, pauseMs, null);
    this.#endPause = () => resolve(null);
    await promise;
    clearTimeout(timer);
    // Asleep, it could not connect.
    if (watch.hasSlept(pauseMs)) this.#progress();
  }

  /** Resets the backoff, as a reader is back. @param {unknown} [cut] why the connection must be closed, if it must */
  #rouse(cut) {
    this.#progress();
    this.#endPause();
    if (cut !== undefined) this.#connection?.cut(cut);
  }
}

/**
 * Measures time, also that in which the device sleeps: timers, and in some browsers `performance.now()`, stand still then.
 * The wall clock does not, but may be set: back, which is not noticed; or ahead, which looks like sleep.
 */
class Stopwatch {
  #monotonic = performance.now();
  #wall = Date.now();

  get elapsedMs() {
    return Math.max(performance.now() - this.#monotonic, Date.now() - this.#wall);
  }

  /** Whether the device has slept in a wait that was to be as long as this. @param {number} waitMs */
  hasSlept(waitMs) {
    return this.elapsedMs - waitMs > ASLEEP_MS;
  }
}

/** One connection, and what closes it early: silence, sleep, the caller, or a change of the network. */
class Connection {
  #silenceMs;
  #heard = new Stopwatch();
  #controller = new AbortController();
  /** @type {Promise<never>} */
  #cut;
  /** Why it was cut, if it was; React Native's signals have no reason. @type {unknown} */
  whyCut;

  /** @param {number} silenceMs */
  constructor(silenceMs) {
    this.#silenceMs = silenceMs;
    this.#cut = new Promise((_, reject) => this.signal.addEventListener("abort", () => reject(this.whyCut)));
    this.#cut.catch(() => {}); // it may be cut while nothing awaits it
  }

  get signal() {
    return this.#controller.signal;
  }

  get quietMs() {
    return this.#heard.elapsedMs;
  }

  /** @param {unknown} reason */
  cut(reason) {
    this.whyCut ??= reason;
    this.#controller.abort(reason);
  }

  /**
   * Awaits the promise with the silence timeout, which runs only during the wait: a slow reader is no dead connection.
   *
   * @template T
   * @param {Promise<T>} promise
   * @returns {Promise<T>}
   */
  async wait(promise) {
    const silence = new Stopwatch();
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    let timer;
    const lookLater = () => {
      const watch = new Stopwatch();
      const waitMs = Math.min(LOOK_MS, this.#silenceMs - silence.elapsedMs);
      timer = setTimeout(() => {
        // The timers of a hidden page are late, too; a reader who comes back to it has the connection looked at.
        const hasSlept = watch.hasSlept(waitMs) && !globalThis.document?.hidden;
        if (hasSlept) this.cut(new Interruption("the device has slept", { isWelcome: true }));
        else if (silence.elapsedMs >= this.#silenceMs) this.cut(new Interruption("nothing arrived any more"));
        else lookLater();
      }, waitMs);
    };
    lookLater();
    try {
      return await Promise.race([promise, this.#cut]);
    } finally {
      clearTimeout(timer);
      this.#heard = new Stopwatch();
    }
  }
}

/** A decoder for Server-Sent Events (HTML standard, section 9.2.6): bytes in, split anywhere; events out. */
export class EventStreamDecoder {
  /** An event of a chat has a few kilobytes; data that exceeds this without an end is not an event stream. */
  static MAX_PENDING_CHARACTERS = 4 * 1024 * 1024;

  // Strips a leading byte order mark, and keeps an unfinished code point for the next call.
  #decoder = new TextDecoder();
  #line = "";
  #endedWithCarriageReturn = false;
  /** @type {string[]} */
  #data = [];
  #dataLength = 0;
  #id = "";
  #lastEventId = "";

  /** The last event id in the stream, even of an id without an event. */
  get lastEventId() {
    return this.#lastEventId;
  }

  /**
   * Yields the events that these bytes complete.
   *
   * @param {Uint8Array} bytes
   * @returns {Generator<{id: string, data: string}, void, undefined>}
   */
  *feed(bytes) {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (text === "") return;
    // The CR of this CRLF came with the last bytes and has already ended the line.
    if (this.#endedWithCarriageReturn && text.startsWith("\n")) text = text.slice(1);
    this.#endedWithCarriageReturn = text.endsWith("\r");
    const lines = text.split(/\r\n|\r|\n/);
    const unfinished = lines.pop() ?? "";
    for (const line of lines) {
      const data = this.#endLine(this.#line + line);
      this.#line = "";
      if (data !== null) yield { id: this.#lastEventId, data };
    }
    this.#line += unfinished;
    if (this.#line.length + this.#dataLength > EventStreamDecoder.MAX_PENDING_CHARACTERS) {
      throw new UnreadableStream("An event is too long.");
    }
  }

  /** @param {string} line @returns {string|null} the data of the event that ends here */
  #endLine(line) {
    if (line === "") {
      const data = this.#data.length === 0 ? null : this.#data.join("\n");
      this.#data = [];
      this.#dataLength = 0;
      this.#lastEventId = this.#id; // only now: a block that was cut off names nothing
      return data;
    }
    const [, field, value] = /** @type {RegExpExecArray} */ (/^([^:]*)(?:: ?(.*))?$/s.exec(line));
    if (field === "data") {
      this.#data.push(value ?? "");
      this.#dataLength += line.length;
    } else if (field === "id" && !value?.includes("\0")) {
      this.#id = value ?? "";
    }
    return null;
  }
}

/**
 * Sends one request with a token, and again with a fresh one if the first is rejected.
 *
 * @param {api.ConversationOptions} options
 * @param {"GET"|"POST"|"PUT"|"DELETE"} method
 * @param {URL} url
 * @param {{accept: string, body?: string, signal?: AbortSignal, fresh?: boolean}} request
 * @throws {Interruption} there was no response
 */
async function send({ token, fetch = globalThis.fetch }, method, url, { accept, body, signal, fresh = false }) {
  for (; ; fresh = true) {
    /** @type {Record<string, string>} */
    const headers = { Accept: accept, Authorization: `Bearer ${await tokenFrom(token, fresh)}` };
    if (body !== undefined) headers["Content-Type"] = JSON_TYPE;
    const response = await fetch(url.href, { method, headers, body, signal, cache: "no-store" }).catch(brokenOff);
    if (response.status !== 401 || fresh) return response;
    response.body?.cancel().catch(() => {});
  }
}

/** @param {api.ConversationOptions["token"]} token @param {boolean} fresh */
async function tokenFrom(token, fresh) {
  try {
    return await token({ fresh });
  } catch (error) {
    const { retryable } = /** @type {{retryable?: unknown}} */ (error ?? {});
    if (retryable === true) throw new Interruption("there is no token", { cause: error });
    throw error;
  }
}

/**
 * Returns the error of an unsuccessful response. A request that only reads is retried until the service recovers; a
 * message is sent again only by the user.
 *
 * @param {Response} response
 * @param {{onlyReads: boolean}} request
 * @returns {Promise<ServiceError|Interruption>}
 */
async function refusal(response, { onlyReads }) {
  const { status } = response;
  const read = isOfType(response, EVENT_STREAM) ? onlyEventOf : jsonOf;
  const body = await read(response).catch(() => null);
  const error = new ServiceError(body, status);
  const isTransient = hasCode(body) ? onlyReads && error.retryable : TRANSIENT.has(status);
  return isTransient ? new Interruption(`the response was HTTP ${status}`, { status, cause: error }) : error;
}

/** @param {Response} response @returns {Promise<any>} */
async function onlyEventOf(response) {
  const bytes = new Uint8Array(await response.arrayBuffer().catch(brokenOff));
  const [message] = new EventStreamDecoder().feed(bytes);
  return message ? eventFrom(message.data) : null;
}

/** @param {Response} response @returns {Promise<any>} */
async function jsonOf(response) {
  return eventFrom(await response.text().catch(brokenOff));
}

/** @param {string} data @returns {any} an object */
function eventFrom(data) {
  let event;
  try {
    event = JSON.parse(data);
  } catch (error) {
    throw new UnreadableStream("An event is not JSON.", error);
  }
  if (typeof event !== "object" || event === null) throw new UnreadableStream("An event is not a JSON object.");
  return event;
}

/**
 * @param {api.ConversationOptions} options
 * @param {"GET"|"PUT"} method
 * @param {string} messageId
 * @param {string} [versionId] to choose it
 * @returns {Promise<api.Version[]>}
 */
async function versionsFrom(options, method, messageId, versionId) {
  const path = ["messages", messageId, "versions", versionId];
  return (await jsonFrom(options, method, path, "There is no connection.")).versions ?? [];
}

/**
 * Sends one request, which is not repeated, and returns the JSON of its response.
 *
 * @param {api.ConversationOptions} options
 * @param {"GET"|"PUT"|"DELETE"} method
 * @param {(string|undefined)[]} path
 * @param {string} ifLost the sentence for the user if there is no response
 */
async function jsonFrom(options, method, path, ifLost) {
  const { signal } = options;
  try {
    const response = await send(options, method, urlOf(options, ...path), { accept: JSON_TYPE, signal });
    if (!response.ok) throw await refusal(response, { onlyReads: false });
    return await jsonOf(response);
  } catch (error) {
    throwIfAborted(signal);
    if (error instanceof Interruption) throw new ConnectionLost(ifLost, error);
    throw error;
  }
}

/** @param {unknown} cause @returns {never} */
function brokenOff(cause) {
  throw new Interruption("there is no connection", { cause });
}

/** @param {any} body */
function hasCode(body) {
  return typeof body?.code === "string" && body.code !== "";
}

/** @param {Response} response @param {string} type */
function isOfType(response, type) {
  return (response.headers.get("Content-Type") ?? "").toLowerCase().startsWith(type);
}

/** @param {api.ConversationOptions} options @param {(string|null|undefined)[]} path below the conversation's */
function urlOf({ conversationUrl }, ...path) {
  const url = new URL(conversationUrl, globalThis.location?.href);
  const tail = path.map((part) => (part ? `/${encodeURIComponent(part)}` : ""));
  url.pathname = url.pathname.replace(/\/*$/, tail.join(""));
  return url;
}

/** React Native's signals have neither a method for this nor a reason. @param {AbortSignal|undefined} signal */
function throwIfAborted(signal) {
  if (signal?.aborted) throw signal.reason ?? Object.assign(new Error("It is no longer read."), { name: "AbortError" });
}

function deferred() {
  /** @type {(value: string|null) => void} */
  let resolve = () => {};
  /** @type {Promise<string|null>} */
  const promise = new Promise((settle) => (resolve = settle));
  return { promise, resolve };
}
