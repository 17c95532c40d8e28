/**
 * A service on localhost whose replies a test scripts: `start` for a coachstream backend in tests of your own page.
 *
 * It speaks the project's protocol (`docs/reference/http-api.md`, `events.md`) and keeps state as the service does:
 * messages are stored once for each idempotency key and queued behind the reply that is being written, a run continues
 * without readers, and a reader resumes after its cursor. Node.js only, without dependencies.
 *
 * @import * as api from "./testing.js"
 * @import {StoredMessage, Version} from "./coachstream.js"
 * @import {IncomingMessage, ServerResponse} from "node:http"
 *
 * @typedef {object} Try Another try at the last exchange.
 * @property {StoredMessage[]} replaced What gives way to the new version.
 * @property {StoredMessage|null} continued The reply that goes on.
 */
import { createServer } from "node:http";
import { json } from "node:stream/consumers";

const CORS = {
  "Access-Control-Allow-Origin": "*",
  "Access-Control-Allow-Headers": "authorization, content-type, accept, last-event-id, cache-control",
  "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE",
  "Access-Control-Expose-Headers": "location, retry-after",
};
const MODEL = "scripted";
const PATH =
  /^(.*\/conversations\/[^/]+)(?:\/stream(?:\/([^/]+))?|\/messages\/([^/]+)\/versions(?:\/([^/]+))?)?$/;
const MOST_OLDER_VERSIONS = 9;
const TRIES = ["regenerate", "replaces", "continue"];
const CONTINUABLE = new Set(["stopped", "max_tokens", "interrupted"]);
const CLIENT_MESSAGE_ID = /^[A-Za-z0-9_-]{1,64}$/;
const CURSOR = /^(run_[0-9A-Za-z_]+):([0-9]+)$/;
const WITHDRAWN = refused(410, "MESSAGE_WITHDRAWN", "This message was withdrawn.");
const NOT_THE_LAST = refused(409, "NOT_THE_LAST_EXCHANGE", "The conversation has gone on.");
const IN_PROGRESS = {
  ...refused(409, "TURN_IN_PROGRESS", "Another message is still being answered."),
  retryable: true,
};

/** @type {typeof api.pause} */
export const pause = (ms) => ({ type: "pause", ms });
/** @type {typeof api.cut} */
export const cut = () => ({ type: "cut" });
/** @type {typeof api.reconnect} */
export const reconnect = () => ({ type: "reconnect" });
/** @type {typeof api.reset} */
export const reset = (offset = 0) => ({ type: "reset", offset });
/** @type {typeof api.queued} */
export const queued = (position = 1) => ({ type: "queued", position });
/** @type {typeof api.contextual} */
export const contextual = (content, stage = "memory_saved") => ({ type: "contextual", content, stage });
/** @type {typeof api.guardrailWarning} */
export const guardrailWarning = (message) => ({ type: "guardrail_warning", message });
/** @type {typeof api.fail} */
export const fail = ({ code = "MODEL_STREAM_BROKEN", message = "The reply broke off.", retryable = true } = {}) => ({
  type: "fail",
  code,
  message,
  retryable,
});

/** @type {typeof api.gate} */
export function gate() {
  const { promise, resolve } = deferred();
  return { type: "gate", opened: promise, open: () => resolve() };
}

/** @type {typeof api.startTestServer} */
export async function startTestServer() {
  const service = new TestService();
  const server = createServer((request, response) => {
    service.respond(request, response).catch((error) => response.destroy(error));
  });
  await new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => resolve(null));
  });
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  service.url = `http://127.0.0.1:${port}`;
  service.stopListening = async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  };
  return service;
}

/** @implements {api.TestServer} */
class TestService {
  url = "";
  isOffline = false;
  /** @type {api.TestRequest[]} */
  requests = [];
  stopListening = async () => {};
  /** @type {Map<string, Conversation>} */
  #conversations = new Map();
  /** @type {api.Step[][]} */
  #scripts = [];
  /** @type {Required<api.Refusal>[]} */
  #refusals = [];
  /** @type {Set<() => boolean>} */
  #waiting = new Set();

  get conversationUrl() {
    return this.conversation("conv_test");
  }

  /** @param {string} id */
  conversation(id) {
    return `${this.url}/users/test-user/coaches/test-coach/conversations/${encodeURIComponent(id)}`;
  }

  /** @param {string} [id] */
  messages(id = "conv_test") {
    return [...this.#conversationAt(new URL(this.conversation(id)).pathname).messages];
  }

  /** @param {string} [id] */
  readers(id = "conv_test") {
    return this.#conversationAt(new URL(this.conversation(id)).pathname).readers;
  }

  /** @param {api.Step[]} steps */
  reply(...steps) {
    this.#scripts.push(steps);
  }

  /** @param {api.Refusal} refusal */
  refuse({ status, code, message = "Refused by the test.", retryable = false }) {
    this.#refusals.push({ status, code, message, retryable });
  }

  /** @param {(requests: readonly api.TestRequest[]) => boolean} condition */
  async until(condition) {
    const { promise, resolve } = deferred();
    const check = () => {
      if (!condition(this.requests)) return false;
      resolve();
      return true;
    };
    if (!check()) this.#waiting.add(check);
    await promise;
  }

  async close() {
    for (const conversation of this.#conversations.values()) conversation.abandon();
    await this.stopListening();
  }

  /** @param {IncomingMessage} request @param {ServerResponse} response */
  async respond(request, response) {
    if (this.isOffline) return void request.socket.destroy();
    if (request.method === "OPTIONS") return void response.writeHead(204, CORS).end();
    const url = new URL(request.url ?? "/", this.url);
    const body = await json(request).catch((error) => {
      if (!(error instanceof SyntaxError)) throw error;
      return null;
    });
    this.requests.push({
      method: request.method ?? "",
      path: url.pathname,
      query: url.search,
      headers: request.headers,
      body,
    });
    this.#changed();
    const refusal = this.#refusals.shift();
    if (refusal !== undefined) return refuse(response, refusal);
    if (!/^Bearer ./.test(request.headers.authorization ?? "") && !url.searchParams.has("ticket")) {
      return refuse(response, refused(401, "MISSING_AUTH_HEADER", "The request carries no token."));
    }
    const found = PATH.exec(url.pathname);
    if (found === null) return refuse(response, refused(404, "MISSING_PATH_PARAMS", "There is nothing at this path."));
    const [, path = "", runId, messageId, versionId] = found;
    const conversation = this.#conversationAt(path);
    const after = cursorOf(request, url);
    if (url.pathname === path) return send(response, 200, { conversation: { messages: conversation.messages } });
    if (messageId !== undefined) {
      if (request.method !== (versionId ? "PUT" : "GET")) {
        return refuse(response, refused(405, "METHOD_NOT_ALLOWED", "There is no such method."));
      }
      const refusal = versionId && conversation.choose(messageId, versionId);
      if (refusal) return refuse(response, refusal);
      return send(response, 200, { success: true, versions: conversation.versions(versionId ?? messageId) });
    }
    if (request.method === "POST") return this.#post(conversation, body, request, response);
    const run = conversation.find(runId ?? after?.runId);
    if (request.method === "DELETE") return stop(run, response);
    if (run === undefined) {
      if (runId === undefined) return void response.writeHead(204, CORS).end();
      return refuse(response, refused(404, "RUN_NOT_FOUND", "There is no such run."));
    }
    const position = after?.runId === run.id ? after.entry : null;
    if (run.isOver && position === run.lastEntry) return void response.writeHead(204, CORS).end();
    run.read(response, { after: position, isPost: false });
  }

  /** @param {string} path */
  #conversationAt(path) {
    const conversation = this.#conversations.get(path) ?? new Conversation(path, this.#changed);
    this.#conversations.set(path, conversation);
    return conversation;
  }

  #changed = () => {
    for (const check of this.#waiting) if (check()) this.#waiting.delete(check);
  };

  /**
   * @param {Conversation} conversation
   * @param {any} body
   * @param {IncomingMessage} request
   * @param {ServerResponse} response
   */
  #post(conversation, body, request, response) {
    const { userResponse, clientMessageId, policy } = body ?? {};
    const kind = TRIES.find((name) => body?.[name] !== undefined);
    const isText = typeof userResponse === "string" && userResponse.trim() !== "";
    if (!isText && (kind === undefined || kind === "replaces")) {
      return refuse(response, refused(400, "INVALID_USER_RESPONSE", "The message is empty."));
    }
    if (clientMessageId !== undefined && !CLIENT_MESSAGE_ID.test(clientMessageId)) {
      return refuse(response, refused(400, "INVALID_CLIENT_MESSAGE_ID", "The message's key is invalid."));
    }
    if (kind !== undefined) return this.#try(conversation, kind, body, request, response);
    if (conversation.withdrawn.has(clientMessageId)) return refuse(response, WITHDRAWN);
    const userMessage = conversation.store(userResponse, clientMessageId);
    if (userMessage.content !== Buffer.from(userResponse).toString()) {
      return refuse(response, refused(409, "IDEMPOTENCY_MISMATCH", "A message that was sent cannot be changed."));
    }
    let run = conversation.runOf(userMessage);
    if (run === undefined) {
      const unfinished = conversation.find(undefined);
      if (unfinished !== undefined && policy === "reject") {
        return refuse(response, { ...IN_PROGRESS, runId: unfinished.id, userMessage });
      }
      if (policy === "interrupt") unfinished?.stop();
      run = conversation.begin(userMessage, this.#scripts.shift() ?? [`You said: ${userResponse}`]);
    }
    this.#read(run, request, response);
  }

  /**
   * Tries the last exchange again.
   *
   * @param {Conversation} conversation
   * @param {string} kind
   * @param {any} body
   * @param {IncomingMessage} request
   * @param {ServerResponse} response
   */
  #try(conversation, kind, { [kind]: named, userResponse, clientMessageId }, request, response) {
    if (clientMessageId === undefined) {
      return refuse(response, refused(400, "INVALID_REQUEST", "Another try needs a key."));
    }
    let run = conversation.tries.get(clientMessageId);
    if (run === undefined || run.hasFailed) {
      const unfinished = conversation.find(undefined);
      if (unfinished !== undefined) return refuse(response, { ...IN_PROGRESS, runId: unfinished.id });
      const question = conversation.messages.findLast(({ role }) => role === "user");
      const last = conversation.messages.at(-1);
      const target = kind === "replaces" ? question : last === question ? undefined : last;
      if (!question || !target || ![target.id, question.metadata?.clientMessageId].includes(named)) {
        return refuse(response, NOT_THE_LAST);
      }
      if (kind === "continue" && !CONTINUABLE.has(target.metadata?.stopReason ?? "")) {
        return refuse(response, refused(409, "CANNOT_CONTINUE", "This reply cannot be continued."));
      }
      const text = kind === "replaces" ? String(userResponse) : null;
      const continued = kind === "continue" ? target : null;
      run = conversation.tryAgain(question, { text, continued, clientMessageId }, this.#scripts.shift());
    }
    this.#read(run, request, response);
  }

  /** @param {Run} run @param {IncomingMessage} request @param {ServerResponse} response */
  #read(run, request, response) {
    if (request.headers.accept === "application/json") {
      const eventsUrl = `stream/${run.id}?ticket=test`;
      send(response, 202, { runId: run.id, eventsUrl });
    } else {
      run.read(response, { after: null, isPost: true });
    }
    run.conversation.proceed();
  }
}

/** The stored messages of a conversation, and its runs. */
class Conversation {
  /** @type {StoredMessage[]} */
  messages = [];
  #path;
  /** @type {Run[]} */
  #runs = [];
  #count = 0;
  /** By the keys of their attempts. @type {Map<string, Run>} */
  tries = new Map();
  /** The older versions of an exchange, by the user message that it has now. @type {Map<string, Version[]>} */
  #older = new Map();
  /** The keys of the messages that were withdrawn. @type {Set<string|undefined>} */
  withdrawn = new Set();

  /** @param {string} path @param {() => void} changed */
  constructor(path, changed) {
    this.#path = path;
    this.changed = changed;
  }

  get readers() {
    return this.#runs.reduce((readers, run) => readers + run.readers, 0);
  }

  /** @param {string|undefined} runId without one, the unfinished run is meant */
  find(runId) {
    return this.#runs.find((run) => (runId === undefined ? !run.isOver : run.id === runId));
  }

  /** Lets the first run write, and tells the readers of those that wait for it. */
  proceed() {
    const [first, ...queued] = this.#runs.filter((run) => !run.isOver);
    for (const [index, run] of queued.entries()) run.moveTo(index + 1);
    first?.moveTo(0);
  }

  abandon() {
    for (const run of this.#runs) run.abandon();
  }

  /** Deletes a message that was to be answered, unless it has a part of a reply. @param {StoredMessage} userMessage */
  withdraw(userMessage) {
    if (this.messages.some(({ metadata }) => metadata?.replyTo === userMessage.id)) return;
    if (userMessage.metadata?.clientMessageId) this.withdrawn.add(userMessage.metadata.clientMessageId);
    this.messages = this.messages.filter((message) => message !== userMessage);
    this.changed();
  }

  /** The run that has answered a message, or is to answer it. @param {StoredMessage} userMessage */
  runOf(userMessage) {
    return this.#runs.findLast((run) => run.userMessage === userMessage && !run.hasFailed);
  }

  /** @param {string} content @param {string|undefined} clientMessageId */
  store(content, clientMessageId) {
    const known = this.messages.find(
      ({ metadata }) => clientMessageId && metadata?.clientMessageId === clientMessageId,
    );
    if (known !== undefined) return known;
    content = Buffer.from(content).toString(); // half a character becomes the replacement character
    const metadata = clientMessageId === undefined ? {} : { clientMessageId };
    return this.#add("user", content, metadata);
  }

  /** @param {Run} run @param {string} content @param {string} stopReason */
  storeReply({ id, userMessage, another }, content, stopReason) {
    const { replaced = [], continued } = another ?? {};
    let versions = continued?.metadata?.versions;
    if (replaced[0]) {
      const older = this.versions(replaced[0].id).slice(-MOST_OLDER_VERSIONS);
      this.#older.set(userMessage.id, older);
      versions = older.length + 1;
    }
    // The reply also replaces what an earlier run left.
    this.messages = this.messages.filter(
      (message) => message.metadata?.replyTo !== userMessage.id && !replaced.includes(message),
    );
    if (!this.messages.includes(userMessage)) this.messages.push(userMessage);
    const metadata = { model: MODEL, stopReason, replyTo: userMessage.id, ...(versions && { versions }) };
    return this.#add("assistant", content, metadata, continued?.id ?? replyIdOf(id));
  }

  /** @param {StoredMessage} userMessage @param {api.Step[]} script @param {Try|null} [another] */
  begin(userMessage, script, another = null) {
    const position = this.#runs.filter((run) => !run.isOver).length;
    const run = new Run(this, this.#newId("run"), userMessage, script, another, position);
    this.#runs.push(run);
    return run;
  }

  /**
   * @param {StoredMessage} question
   * @param {{text: string|null, continued: StoredMessage|null, clientMessageId: string}} how the text is an edited one
   * @param {api.Step[]|undefined} script
   */
  tryAgain(question, { text, continued, clientMessageId }, script) {
    const at = this.messages.indexOf(question);
    const userMessage = text === null ? question : this.#message("user", text, { clientMessageId });
    const replaced = continued ? [] : this.messages.slice(text === null ? at + 1 : at);
    const another = { replaced, continued };
    const run = this.begin(userMessage, script ?? [`You said: ${userMessage.content}`], another);
    this.tries.set(clientMessageId, run);
    return run;
  }

  /** All versions of a message's exchange, oldest first. @param {string} messageId @returns {Version[]} */
  versions(messageId) {
    const named = this.messages.find(({ id }) => id === messageId);
    const asked = named?.metadata?.replyTo ?? messageId;
    const isOfIt = (/** @type {StoredMessage} */ { id, metadata }) => id === asked || metadata?.replyTo === asked;
    const [userMessage, aiMessage] = this.messages.filter(isOfIt);
    if (userMessage === undefined) return [];
    return [...(this.#older.get(asked) ?? []), { userMessage, aiMessage }]
      .sort((one, other) => ((one.aiMessage?.id ?? "") < (other.aiMessage?.id ?? "") ? -1 : 1))
      .map((version) => ({ ...version, isChosen: version.aiMessage === aiMessage }));
  }

  /**
   * Makes an older version of the last exchange the chosen one.
   *
   * @param {string} replyId of the chosen version
   * @param {string} versionId the other one's reply
   * @returns why it cannot be chosen, if it cannot
   */
  choose(replyId, versionId) {
    if (this.find(undefined)) return IN_PROGRESS;
    const last = this.messages.at(-1);
    const all = this.versions(replyId);
    const found = all.find(({ aiMessage }) => aiMessage?.id === versionId);
    const reply = found?.aiMessage;
    if (last?.id !== replyId || !reply || reply.metadata?.stopReason === "interrupted") return NOT_THE_LAST;
    if (found.isChosen) return;
    this.#older.set(found.userMessage.id, all.filter((version) => version !== found));
    const { versions } = last.metadata ?? {};
    this.messages.splice(-2, 2, found.userMessage, { ...reply, metadata: { ...reply.metadata, versions } });
    this.changed();
  }

  /**
   * @param {"user"|"assistant"} role
   * @param {string} content
   * @param {NonNullable<StoredMessage["metadata"]>} metadata
   * @param {string} [id]
   */
  #add(role, content, metadata, id) {
    const message = this.#message(role, content, metadata, id);
    this.messages.push(message);
    this.messages.sort((one, other) => (one.id < other.id ? -1 : 1)); // a reply precedes what waited for it
    this.changed();
    return message;
  }

  /**
   * @param {"user"|"assistant"} role
   * @param {string} content
   * @param {NonNullable<StoredMessage["metadata"]>} metadata
   * @param {string} [id]
   * @returns {StoredMessage}
   */
  #message(role, content, metadata, id = `${this.#newId("msg")}_${role}`) {
    return { id, role, content, timestamp: new Date().toISOString(), metadata };
  }

  /** Returns ids that sort in the order in which they were made. @param {string} kind */
  #newId(kind) {
    this.#count += 1;
    return `${kind}_${String(this.#count).padStart(13, "0")}_test`;
  }

  get id() {
    return decodeURIComponent(this.#path.split("/").at(-1) ?? "");
  }
}

/** One reply that is being written: its log, and the responses that read it. */
class Run {
  isOver = false;
  hasFailed = false;
  /** How many others it waits for. */
  #position;
  /** The events with an id, each at the index that its id names. @type {Array<Record<string, unknown>>} */
  #log = [];
  /** @type {Set<ServerResponse>} */
  #readers = new Set();
  #text = "";
  #isStarted = false;
  #stopped = deferred();
  #isRead = deferred();
  #isStopped = false;

  /**
   * @param {Conversation} conversation
   * @param {string} id
   * @param {StoredMessage} userMessage
   * @param {api.Step[]} script
   * @param {Try|null} another what is tried again
   * @param {number} position
   */
  constructor(conversation, id, userMessage, script, another, position) {
    this.conversation = conversation;
    this.id = id;
    this.userMessage = userMessage;
    this.script = script;
    this.another = another;
    this.#position = position;
    this.#append({ type: "run", runId: id });
    if (another?.continued) this.script = [another.continued.content, ...script];
  }

  get readers() {
    return this.#readers.size;
  }

  get lastEntry() {
    return this.#log.length - 1;
  }

  /** @param {ServerResponse} response @param {{after: number|null, isPost: boolean}} from */
  read(response, { after, isPost }) {
    response.writeHead(200, {
      ...CORS,
      "Content-Type": "text/event-stream; charset=utf-8",
      "Cache-Control": "no-cache, no-transform",
    });
    if (isPost) response.write(block({ type: "start", status: "initialized" }));
    else
      response.write(
        block({ type: "start", status: "initialized", runId: this.id }, `${this.id}:${after ?? 0}`, "retry: 1000\n"),
      );
    const isWaiting = this.#position > 0;
    if (isWaiting && !this.isOver) response.write(this.#standing());
    const first = isPost && !isWaiting ? 0 : (after ?? 0) + 1; // `start` of another reader has the run's id
    for (let entry = first; entry < this.#log.length; entry += 1) response.write(this.#entry(entry));
    if (this.isOver) return void response.end();
    this.#readers.add(response);
    this.#isRead.resolve();
    this.conversation.changed();
    response.on("close", () => {
      this.#readers.delete(response);
      this.conversation.changed();
    });
  }

  /** Waits for so many others, or begins to write the reply, once. @param {number} position */
  moveTo(position) {
    const hasMoved = position !== this.#position;
    this.#position = position;
    if (hasMoved) for (const response of this.#readers) response.write(this.#standing());
    if (position > 0 || this.#isStarted) return;
    this.#isStarted = true;
    void this.#write();
  }

  /** Stops it, or withdraws it if it waits. */
  stop() {
    if (this.isOver) return "finished";
    if (this.#position === 0) {
      this.#endWaits();
      return "stopping";
    }
    this.hasFailed = true;
    this.conversation.withdraw(this.userMessage);
    const { status, ...error } = WITHDRAWN;
    this.#end({ type: "error", ...error });
    return "withdrawn";
  }

  /** Ends it without an event, as the server closes. */
  abandon() {
    this.isOver = true;
    this.#endWaits();
  }

  #endWaits() {
    this.#isStopped = true;
    this.#stopped.resolve();
  }

  async #write() {
    for (const step of this.script) {
      if (this.#isStopped) break;
      const failure = await this.#take(typeof step === "string" ? { type: "say", content: step } : step);
      if (failure !== null) return this.#fail(failure);
    }
    if (this.isOver) return;
    if (this.another !== null && this.#text === "") {
      return this.#fail(fail({ code: "TURN_INTERRUPTED", message: "The answer was interrupted." }));
    }
    this.#complete(this.#isStopped ? "stopped" : "end_turn");
  }

  /** @param {api.Instruction | {type: "say", content: string}} step */
  async #take(step) {
    switch (step.type) {
      case "say":
        this.#append({ type: "chunk", content: step.content, offset: this.#text.length });
        this.#text += step.content;
        break;
      case "pause":
        await Promise.race([new Promise((resolve) => setTimeout(resolve, step.ms).unref()), this.#stopped.promise]);
        break;
      case "gate":
        await Promise.race([step.opened, this.#stopped.promise]);
        break;
      case "cut":
        await this.#untilRead();
        // A half-close, not a reset: what was sent before it still arrives.
        for (const response of this.#readers) response.socket?.end();
        this.#readers.clear();
        break;
      case "reconnect": {
        await this.#untilRead();
        const after = `${this.id}:${this.lastEntry}`;
        for (const response of this.#readers) response.end(block({ type: "reconnect", after }, after));
        this.#readers.clear();
        break;
      }
      case "reset":
        this.#text = this.#text.slice(0, step.offset);
        this.#append({ type: "reset", offset: step.offset });
        break;
      case "queued":
        for (const response of this.#readers) response.write(this.#queued(step.position));
        break;
      case "contextual":
      case "guardrail_warning":
        for (const response of this.#readers) response.write(block({ ...step }));
        break;
      case "fail":
        return step;
    }
    return null;
  }

  /** Waits for a reader: two cuts in a row are two interruptions. */
  async #untilRead() {
    while (this.#readers.size === 0 && !this.#isStopped) {
      this.#isRead = deferred();
      await Promise.race([this.#isRead.promise, this.#stopped.promise]);
    }
  }

  /** @param {string} stopReason */
  #complete(stopReason) {
    const { conversation, userMessage, another } = this;
    const aiMessage = conversation.storeReply(this, this.#text, stopReason);
    const replaced = another?.replaced.map(({ id }) => id) ?? [];
    this.#end({
      type: "complete",
      messageId: aiMessage.id,
      status: "finished",
      userMessage,
      aiMessage,
      conversationId: conversation.id,
      pineconeContext: { used: false, matches: 0, contextLength: 0 },
      stopReason,
      usage: { inputTokens: 1, outputTokens: 1, cacheReadTokens: 0, cacheWriteTokens: 0 },
      timings: { contextMs: 0, firstChunkMs: 0, totalMs: 0, modelLatencyMs: 0 },
      ...(replaced.length > 0 && { replaced }),
    });
  }

  /** @param {api.Failure} failure */
  #fail({ code, message, retryable }) {
    this.hasFailed = true;
    const isUnchanged = this.#text === "" || this.another !== null;
    const partialMessage =
      isUnchanged ? undefined : this.conversation.storeReply(this, this.#text, "interrupted");
    this.#end({ type: "error", message, code, retryable, partialMessage });
  }

  /** @param {Record<string, unknown>} event */
  #end(event) {
    this.isOver = true;
    this.#append(event);
    for (const response of this.#readers) response.end();
    this.#readers.clear();
    this.conversation.proceed();
  }

  /** @param {Record<string, unknown>} event */
  #append(event) {
    this.#log.push(event);
    for (const response of this.#readers) response.write(this.#entry(this.lastEntry));
  }

  /** What tells a reader whether it waits. */
  #standing() {
    return this.#position > 0 ? this.#queued(this.#position) : this.#entry(0);
  }

  /** @param {number} position */
  #queued(position) {
    return block({ type: "queued", runId: this.id, position }, `${this.id}:0`);
  }

  /** @param {number} entry */
  #entry(entry) {
    return block(this.#log[entry] ?? {}, `${this.id}:${entry}`);
  }
}

/** @param {Run|undefined} run @param {ServerResponse} response */
function stop(run, response) {
  if (run === undefined) return refuse(response, refused(404, "RUN_NOT_FOUND", "There is no such run."));
  const status = run.stop();
  send(response, status === "stopping" ? 202 : 200, { runId: run.id, status });
}

/** A reply has the place that its run has taken. @param {string} runId */
function replyIdOf(runId) {
  return `${runId.replace("run", "msg")}_assistant`;
}

/** @param {number} status @param {string} code @param {string} message */
function refused(status, code, message) {
  return { status, code, message, retryable: false };
}

/** @param {ServerResponse} response @param {Required<api.Refusal> & Record<string, unknown>} refusal */
function refuse(response, { status, ...error }) {
  const isStream = /\/stream/.test(response.req.url ?? "");
  send(response, status, isStream ? { type: "error", ...error } : { error: error.message, code: error.code });
}

/** @param {ServerResponse} response @param {number} status @param {unknown} body */
function send(response, status, body) {
  response.writeHead(status, { ...CORS, "Content-Type": "application/json" }).end(JSON.stringify(body));
}

/** @param {Record<string, unknown>} event @param {string} [id] @param {string} [before] */
function block(event, id, before = "") {
  return `${before}data: ${JSON.stringify(event)}\n${id === undefined ? "" : `id: ${id}\n`}\n`;
}

/** @param {IncomingMessage} request @param {URL} url */
function cursorOf({ headers }, { searchParams }) {
  const given = searchParams.get("after") || searchParams.get("lastEventId") || headers["last-event-id"];
  const found = CURSOR.exec(String(given ?? ""));
  return found === null ? null : { runId: found[1] ?? "", entry: Number(found[2]) };
}

function deferred() {
  /** @type {() => void} */
  let resolve = () => {};
  /** @type {Promise<void>} */
  const promise = new Promise((settle) => (resolve = settle));
  return { promise, resolve };
}
