/**
 * A conversation as a page shows it: its messages, the reply that arrives, and what is typed. Without a framework;
 * `react.js` shows it.
 *
 * A message is in one of three places. Typed, or sent but not confirmed, it is in the draft, which a storage keeps.
 * From the server's confirmation on, it is in the conversation. A failure before that puts its text back into the
 * draft, with its idempotency key: if the text is sent again unchanged, the server recognizes it.
 *
 * @import * as api from "./react.js"
 * @import {CompleteEvent, Reply, ReplyEvent, ReplyOptions, StoredMessage} from "./coachstream.js"
 *
 * @typedef {ReplyOptions & {timeZone?: string}} RunOptions
 *
 * @typedef {object} Outgoing A message of the user's that is sent, or sent again.
 * @property {string} text
 * @property {string} clientMessageId
 * @property {string} writtenAt ISO 8601
 *
 * @typedef {object} Turn A reply that arrives or broke off, and the message that it replies to, if this page sent it.
 * @property {Outgoing|null} outgoing
 * @property {boolean} isConfirmed Whether the server has the message.
 * @property {boolean} isStopped Whether the user has stopped it.
 * @property {Reply|null} reply None while it waits for another message's reply.
 * @property {string|null} runId
 * @property {string} text
 * @property {boolean} isOver Whether it broke off.
 * @property {StoredMessage|null} partial What is stored of a reply that broke off, this one or an earlier one.
 * @property {Attempt|null} attempt What is tried again.
 *
 * @typedef {object} Attempt Another try at the last exchange. What it replaces is not shown while it is under way, and
 *   comes back if it fails.
 * @property {{regenerate: string} | {replaces: string, message: string} | {continue: string}} request
 * @property {string} clientMessageId
 * @property {api.ChatMessage[]} replaced
 */
import { chooseVersion, CoachStreamError, join, newClientMessageId, resume, ServiceError, start } from "./coachstream.js";

const PARAGRAPH = "\n\n";
/** Those of this page that are shown; a storage reports changes to other pages only. @type {Set<Chat>} */
const attached = new Set();

export class Chat {
  /** The newest ones; a hook gets new functions with each rendering. @type {api.UseCoachStreamOptions} */
  options;
  #draft;
  /** @type {api.ChatMessage[]} */
  #settled = [];
  /** @type {Turn|null} */
  #turn = null;
  /** What runs at the moment. @type {AbortController|null} */
  #work = null;
  /** @type {api.Status} */
  #status = "ready";
  /** @type {Error|null} */
  #error = null;
  /** Whether `#error` is why the last message was not sent. */
  #isUnsent = false;
  /** The last try, if `#error` is why it failed. @type {Attempt|null} */
  #failed = null;
  #isReconnecting = false;
  /** Whether the service is asked to choose a version. */
  #isChoosing = false;
  /** Whether a message was queued behind replies that the loaded messages may lack. */
  #hasWaited = false;
  #isAttached = false;
  /** @type {Set<() => void>} */
  #listeners = new Set();
  /** @type {api.ChatState} */
  #state;

  /** @param {api.UseCoachStreamOptions} options */
  constructor(options) {
    this.options = options;
    this.#draft = new Draft(String(options.conversationUrl), () => this.options.storage);
    if (typeof options.history === "object") this.#keep(options.history);
    else if (options.history !== undefined) this.#status = "loading";
    this.#state = this.#describe();
  }

  /** @param {() => void} listener */
  subscribe = (listener) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  state = () => this.#state;

  /** Shows what the storage has, and continues the reply that is being written. */
  attach() {
    this.#isAttached = true;
    attached.add(this);
    if (this.#status !== "sending") this.#draft.restore();
    this.#checkDraft();
    this.#show();
    globalThis.addEventListener?.("storage", this.#stored);
    globalThis.document?.addEventListener("visibilitychange", this.#seen);
    // React's strict mode attaches, detaches and attaches again before this.
    queueMicrotask(() => {
      if (this.#isAttached) void this.#resume();
    });
  }

  /** Stops reading; the server goes on writing. A message on its way is still sent. */
  detach() {
    this.#isAttached = false;
    attached.delete(this);
    globalThis.removeEventListener?.("storage", this.#stored);
    globalThis.document?.removeEventListener("visibilitychange", this.#seen);
    if (this.#status !== "sending") this.#abandon();
  }

  /** @type {api.Chat["setDraft"]} */
  setDraft = (text) => {
    this.#draft.type(text);
    this.#show();
  };

  /** @type {api.Chat["setMessages"]} */
  setMessages = (messages) => {
    this.#keep(messages);
    if (this.#turn?.isOver && this.#turn.outgoing !== null) {
      const at = indexOf(this.#settled, this.#turn.outgoing.clientMessageId);
      // The reply that broke off here was completed all the same.
      if (at !== -1 && this.#settled[at + 1]?.state === "complete") {
        this.#turn = this.#error = null;
        this.#status = "ready";
      }
    }
    this.#show();
  };

  /** @type {api.Chat["send"]} */
  send = (text = this.#draft.text) => {
    if (this.#isBusy || text.trim() === "") return false;
    this.#settle();
    void this.#ask(this.#draft.take(text), { isConfirmed: false });
    return true;
  };

  /** @type {api.Chat["regenerate"]} */
  regenerate = () => {
    const reply = this.#last("assistant");
    return reply !== null && this.#tryAgain({ regenerate: reply }, 1);
  };

  /** @type {api.Chat["edit"]} */
  edit = (text) => {
    const message = this.#last("user");
    if (message === null || text.trim() === "") return false;
    return this.#tryAgain({ replaces: message, message: text }, this.#settled.at(-1)?.role === "user" ? 1 : 2);
  };

  /** @type {api.Chat["continueReply"]} */
  continueReply = () => {
    const reply = this.#last("assistant");
    return reply !== null && this.#tryAgain({ continue: reply }, 1);
  };

  /** @type {api.Chat["chooseVersion"]} */
  chooseVersion = async (versionId) => {
    const messageId = this.#last("assistant");
    if (messageId === null) return false;
    const { conversationUrl, historyUrl = conversationUrl } = this.options;
    this.#isChoosing = true;
    this.#error = this.#failed = null;
    this.#show("ready");
    try {
      const versions = await chooseVersion({ ...this.options, conversationUrl: historyUrl, messageId, versionId });
      const { userMessage, aiMessage } = versions.find(({ isChosen }) => isChosen) ?? {};
      const at = this.#settled.findIndex(({ stored }) => stored?.id === messageId);
      this.#swap(at - 1, userMessage);
      this.#swap(at, aiMessage);
      return aiMessage?.id === versionId;
    } catch (error) {
      this.#error ??= errorFrom(error);
      return false;
    } finally {
      this.#isChoosing = false;
      this.#show();
    }
  };

  /** @type {api.Chat["stop"]} */
  stop = async () => {
    const turn = this.#turn;
    if (turn === null || !this.#isBusy) return;
    turn.isStopped = true;
    if (turn.reply === null) return this.#stopWaiting(turn);
    try {
      await turn.reply.stop();
    } catch (error) {
      const hadNoRun = error instanceof CoachStreamError && error.code === "RUN_UNKNOWN";
      if (hadNoRun || this.#turn !== turn || !this.#isBusy) return; // there is nothing to stop any more
      this.#error = errorFrom(error);
      this.#show();
    }
  };

  /** @type {api.Chat["retry"]} */
  retry = () => {
    if (this.#isBusy) return false;
    if (this.#isUnsent) return this.send();
    if (this.#failed !== null) {
      const { request, clientMessageId, replaced } = this.#failed;
      return this.#tryAgain(request, replaced.length, clientMessageId);
    }
    const unanswered = this.#unanswered();
    if (unanswered !== null) {
      void this.#ask(unanswered, { isConfirmed: true, partial: this.#takePartial(unanswered) });
      return true;
    }
    if (this.#error === null) return false;
    void this.#resume();
    return true;
  };

  /** Whether a reply is expected; whether there is one to join may still be unknown. */
  get #isBusy() {
    if (this.#turn === null || this.#work === null) return false;
    return (this.#turn.outgoing ?? this.#turn.attempt ?? this.#turn.runId) !== null;
  }

  /**
   * Sends a message and reads its reply.
   *
   * @param {Outgoing} outgoing
   * @param {{isConfirmed: boolean, partial?: StoredMessage|null}} how
   */
  #ask(outgoing, { isConfirmed, partial = null }) {
    const turn = { ...newTurn(outgoing, isConfirmed), partial };
    const { text: message, clientMessageId } = outgoing;
    const writtenAt = new Date(outgoing.writtenAt);
    return this.#run(turn, isConfirmed ? "waiting" : "sending", async (options) => {
      /** @type {string|null} */
      let awaited = null;
      for (;;) {
        try {
          return await this.#read(turn, start({ ...options, message, clientMessageId, writtenAt }));
        } catch (error) {
          const isNext = error instanceof ServiceError && error.code === "TURN_IN_PROGRESS";
          if (!isNext || error.runId === null || error.runId === awaited) throw error;
          awaited = error.runId;
          if (error.userMessage !== null) this.#confirm(turn, "waiting");
          turn.reply = null;
          if (turn.isStopped) return this.#stopWaiting(turn);
          await this.#await(awaited, options);
        }
      }
    });
  }

  /**
   * How the service knows the message of the last exchange. One of the user's that this page sent may be known by its
   * idempotency key only.
   *
   * @param {"user"|"assistant"} role
   */
  #last(role) {
    if (this.#isBusy || this.#isUnsent || this.#isChoosing) return null;
    if (this.#turn?.isOver) this.#settle();
    const isAnswered = this.#settled.at(-1)?.role === "assistant";
    const last = this.#settled.at(role === "user" && isAnswered ? -2 : -1);
    if (last?.role !== role) return null;
    return last.stored?.id ?? (role === "user" ? last.id : null);
  }

  /** @param {Attempt["request"]} request @param {number} count of the messages that it replaces */
  #tryAgain(request, count, clientMessageId = newClientMessageId()) {
    if (this.#isBusy) return false;
    const turn = newTurn(null, true);
    turn.attempt = { request, clientMessageId, replaced: this.#settled.splice(-count) };
    void this.#run(turn, "waiting", (options) => this.#read(turn, start({ ...options, ...request, clientMessageId })));
    return true;
  }

  /** Continues what is being written, and loads the messages. */
  #resume() {
    const turn = this.#turn;
    if (this.#work !== null) return;
    const { runId } = turn ?? {};
    if (turn?.reply && runId && !(turn.isOver && this.#error instanceof ServiceError)) {
      turn.isOver = false;
      const { lastEventId: after, text } = turn.reply;
      const status = text === "" ? "waiting" : "streaming";
      return this.#run(turn, status, (options) => this.#read(turn, resume({ ...options, runId, after, text })));
    }
    const joined = newTurn(null, true);
    return this.#run(joined, this.#status === "loading" ? "loading" : "ready", async (options) => {
      await this.#load();
      if (this.options.resume === false) return;
      const isUnanswered = () => this.#settled.at(-1)?.role === "user";
      // What is queued is read, too.
      while ((await this.#read(joined, join(options))) && isUnanswered() && !options.signal?.aborted) {
        this.#turn = Object.assign(joined, newTurn(null, true));
      }
      // A reply that was completed between the two requests is in neither response.
      if (isUnanswered()) await this.#load();
    });
  }

  /** @param {Turn} turn @param {api.Status} status @param {(options: RunOptions) => Promise<unknown>} work */
  async #run(turn, status, work) {
    this.#work?.abort();
    const { signal } = (this.#work = new AbortController());
    if (turn.outgoing === null && this.#turn?.isOver) this.#settle();
    this.#turn = turn;
    this.#error = null;
    this.#isUnsent = false;
    this.#failed = null;
    this.#show(status);
    const { conversationUrl, reconnect, fetch, timeZone } = this.options;
    try {
      await work({ conversationUrl, token: (need) => this.options.token(need), signal, reconnect, fetch, timeZone });
      if (signal.aborted) return;
      this.#work = null;
      turn.isOver = true;
      if (this.#turn === turn) this.#settle();
      this.#isReconnecting = false;
      this.#show("ready");
    } catch (error) {
      if (signal.aborted) return;
      this.#work = null;
      this.#fail(turn, error);
    }
  }

  /** @param {Turn} turn @param {Reply} reply @returns {Promise<boolean>} whether the reply is complete */
  async #read(turn, reply) {
    turn.reply = reply;
    /** @type {Promise<unknown>|undefined} */
    let loading;
    for await (const event of reply) {
      this.#take(turn, event);
      this.#report(event);
      // A failure must not end the reply, after which it is tried again.
      if (this.#hasWaited && event.type === "run") loading = this.#load().catch(() => (this.#hasWaited = true));
      if (event.type === "complete") {
        await loading;
        if (this.#hasWaited) await this.#load();
        return true;
      }
      if (turn.isConfirmed && !this.#isAttached) this.#abandon();
    }
    return false;
  }

  /** @param {Turn} turn @param {ReplyEvent} event */
  #take(turn, event) {
    switch (event.type) {
      case "connection":
        this.#isReconnecting = event.state === "reconnecting";
        this.#show();
        break;
      case "run":
        turn.runId = event.runId;
        turn.text = "";
        this.#confirm(turn, "waiting");
        break;
      case "queued":
        this.#hasWaited = true;
        break;
      case "text":
        turn.text = event.text;
        turn.partial = null;
        this.#show(event.text === "" ? "waiting" : "streaming");
        break;
      case "complete":
        this.#confirm(turn, this.#status);
        this.#turn = null;
        this.#error = null;
        this.#replace(turn, event);
        this.#show("ready");
        break;
    }
  }

  /** @param {Turn} turn @param {CompleteEvent} event */
  #replace({ outgoing, runId, attempt }, { userMessage, aiMessage, replaced = [] }) {
    this.#settled = this.#settled.filter(({ stored }) => stored === null || !replaced.includes(stored.id));
    // What is edited or continued keeps its place on the page.
    const { request, replaced: before = [] } = attempt ?? {};
    const shownAs = request && "replaces" in request ? before[0]?.id : outgoing?.clientMessageId;
    this.#keep([userMessage], shownAs);
    this.#keep([aiMessage], (request && "continue" in request ? before[0]?.id : runId) ?? undefined);
  }

  /** A mistake in the application's function must not end the reply. @param {ReplyEvent} event */
  #report(event) {
    try {
      this.options.onEvent?.(event);
    } catch (error) {
      (globalThis.reportError ?? console.error)(error);
    }
  }

  /** The message stays, without a reply; one that the server does not have returns to the draft. @param {Turn} turn */
  #stopWaiting(turn) {
    this.#abandon();
    if (!turn.isConfirmed) {
      this.#draft.giveBack();
      this.#turn = null;
    }
    this.#isReconnecting = false;
    this.#show("ready");
  }

  /** Reads another message's reply to its end. @param {string} runId @param {ReplyOptions} options */
  async #await(runId, options) {
    try {
      for await (const event of resume({ ...options, runId })) {
        if (event.type === "complete") this.#keep([event.userMessage, event.aiMessage]);
      }
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error; // the other reply failed, so it is over
    }
    this.#show();
  }

  async #load() {
    const { history } = this.options;
    if (typeof history !== "function") return;
    this.#hasWaited = false;
    const messages = await history();
    const last = this.#settled.length - 1;
    const reply = messages.at(-1);
    // What follows the same message as the last exchange here is another version of it, which may have replaced both.
    if (reply?.metadata?.versions && messages.at(-3)?.id === this.#settled[last - 2]?.stored?.id) {
      this.#swap(last - 1, messages.at(-2));
      this.#swap(last, reply);
    }
    this.setMessages(messages);
    if (this.#status === "loading") this.#show("ready");
  }

  /** The server has the message. @param {Turn} turn @param {api.Status} status */
  #confirm(turn, status) {
    const { outgoing } = turn;
    const isNews = outgoing !== null && !turn.isConfirmed;
    if (isNews) this.#draft.confirm();
    turn.isConfirmed = true;
    this.#show(status);
    if (isNews) for (const chat of attached) if (chat !== this) chat.#arrived(this.#draft.key, outgoing);
  }

  /** @param {Turn} turn @param {unknown} reason */
  #fail(turn, reason) {
    const error = errorFrom(reason);
    const refusal = error instanceof ServiceError ? error : null;
    const { outgoing, attempt, runId } = turn;
    const isWithdrawn = refusal?.code === "MESSAGE_WITHDRAWN";
    const isIntended = turn.isStopped && (isWithdrawn || refusal?.code === "TURN_INTERRUPTED");
    // The service keeps a message that has a part of a reply.
    const isDeleted = isWithdrawn && (runId === null || turn.partial === null);
    if (refusal?.userMessage) this.#confirm(turn, this.#status);
    if (attempt !== null && (runId === null || refusal !== null)) {
      this.#failed = attempt;
      this.#settled.push(...attempt.replaced);
      this.#turn = null;
    } else if (turn.isConfirmed && !isDeleted) {
      turn.isOver = true;
      turn.partial = refusal?.partialMessage ?? turn.partial;
    } else {
      this.#turn = null;
      if (outgoing !== null) {
        const at = indexOf(this.#settled, outgoing.clientMessageId);
        if (isDeleted && at !== -1) this.#settled.splice(at, 1);
        // The storage has it; while this page is not shown, what another one has typed there is newer.
        this.#draft.giveBack(this.#isAttached, outgoing, isDeleted ? null : outgoing);
        this.#isUnsent = !isIntended;
      }
    }
    if (!isIntended) this.#error = error;
    this.#isReconnecting = false;
    this.#show(isIntended ? "ready" : "error");
  }

  #abandon() {
    this.#work?.abort();
    this.#work = null;
    if (this.#turn === null || this.#turn.runId !== null) return;
    if (this.#turn.outgoing === null) {
      this.#settled.push(...(this.#turn.attempt?.replaced ?? []));
      this.#turn = null;
    } else this.#turn.isOver = true;
  }

  /** @param {StorageEvent} event of another tab */
  #stored = ({ key, oldValue, newValue }) => {
    if (key !== null && newValue === null) this.#arrived(key, draftFrom(oldValue)?.outgoing ?? null);
  };

  /**
   * A message from elsewhere has reached the server: its reply can be read here, too.
   *
   * @param {string} key of its draft
   * @param {Outgoing|null} outgoing
   */
  #arrived(key, outgoing) {
    if (key !== this.#draft.key) return;
    this.#draft.forget(outgoing?.clientMessageId);
    this.#show();
    if (this.#isBusy) return;
    this.#abandon(); // a request that is under way may be too early
    void this.#resume();
  }

  #seen = () => {
    // A refusal stays until the user has seen it; a connection may be back.
    const isLost = this.#status === "error" && !this.#isUnsent && !(this.#error instanceof ServiceError);
    if (!document.hidden && (this.#status === "ready" || isLost)) void this.#resume();
  };

  /** The user's last message, if it has no complete reply and can be sent again. @returns {Outgoing|null} */
  #unanswered() {
    if (this.#turn?.isOver && this.#turn.outgoing !== null) return this.#turn.outgoing;
    const last = this.#settled.findLast(({ role, state }) => role === "user" || state === "complete");
    if (last?.role !== "user") return null;
    const { id, stored, content: text } = last;
    const clientMessageId = stored === null ? id : stored.metadata?.clientMessageId;
    if (clientMessageId === undefined) return null;
    return { text, clientMessageId, writtenAt: stored?.timestamp ?? new Date().toISOString() };
  }

  /** Takes away what is stored of a reply that broke off. @param {Outgoing} outgoing what is asked again */
  #takePartial({ clientMessageId }) {
    const partial = this.#turn?.outgoing ? this.#turn.partial : null;
    this.#turn = null;
    const next = indexOf(this.#settled, clientMessageId) + 1;
    if (next === 0 || this.#settled[next]?.state !== "interrupted") return partial;
    return this.#settled.splice(next, 1)[0]?.stored ?? partial;
  }

  /** Keeps what a broken-off turn has shown, as another one begins. */
  #settle() {
    if (this.#turn?.isOver) this.#settled.push(...messagesOf(this.#turn, this.#settled));
    this.#turn = null;
  }

  /**
   * Puts stored messages where they belong: their ids sort by time.
   *
   * @param {readonly StoredMessage[]} messages
   * @param {string} [shownAs] the id by which the page knows it
   */
  #keep(messages, shownAs) {
    for (const stored of messages) {
      const known = this.#settled.find((message) => isSame(message, stored));
      if (known !== undefined && JSON.stringify(known.stored) === JSON.stringify(stored)) continue;
      const replaced = new Set([known, ...this.#beginningsOf(stored)]);
      this.#settled = this.#settled.filter((message) => !replaced.has(message));
      const id = known?.id ?? shownAs ?? stored.metadata?.clientMessageId ?? stored.id;
      const next = this.#settled.findIndex((message) => message.stored !== null && message.stored.id > stored.id);
      this.#settled.splice(next === -1 ? this.#settled.length : next, 0, messageOf(stored, id));
    }
    this.#checkDraft();
  }

  /** Shows another message in the place of one. @param {number} at @param {StoredMessage|undefined} stored */
  #swap(at, stored) {
    const shown = this.#settled[at];
    if (stored && shown?.role === stored.role && shown.stored?.id !== stored.id) {
      this.#settled[at] = messageOf(stored, shown.id);
    }
  }

  /** Empties the draft if its text came back although the server has it: the confirmation was lost. */
  #checkDraft() {
    const id = this.#draft.returnedId;
    if (!this.#settled[indexOf(this.#settled, id)]?.stored) return;
    this.#draft.forget(id);
    this.#isUnsent = false;
  }

  /** What earlier attempts or a lost connection have left of a reply. @param {StoredMessage} reply */
  #beginningsOf({ metadata }) {
    const replyTo = metadata?.replyTo;
    if (replyTo === undefined) return [];
    return this.#settled.filter(({ role, stored }, index, all) => {
      if (stored !== null) return stored.metadata?.replyTo === replyTo;
      return role === "assistant" && all[index - 1]?.stored?.id === replyTo;
    });
  }

  /** @param {api.Status} [status] */
  #show(status = this.#status) {
    this.#status = status;
    this.#state = this.#describe();
    for (const listener of this.#listeners) listener();
  }

  /** @returns {api.ChatState} */
  #describe() {
    const ofTurn = this.#turn === null ? [] : messagesOf(this.#turn, this.#settled);
    return Object.freeze({
      messages: [...this.#settled, ...ofTurn],
      status: this.#status,
      error: this.#error,
      draft: this.#draft.text,
      isReconnecting: this.#isReconnecting,
    });
  }
}

/** The text that the server does not have. */
class Draft {
  /** What is typed. */
  text = "";
  key;
  /** What is on its way to the server. @type {Outgoing|null} */
  #outgoing = null;
  /** What has come back, while the text begins with it; sent alone, it keeps its key. @type {Outgoing|null} */
  #returned = null;
  /** Whether the storage did not take the last change. */
  #isOnlyHere = false;
  #storage;

  /** @param {string} conversationUrl @param {() => api.DraftStorage|null|undefined} storage */
  constructor(conversationUrl, storage) {
    this.key = `coachstream:draft:${conversationUrl}`;
    this.#storage = storage;
  }

  restore() {
    const kept = this.#kept();
    if (kept === null || this.#isOnlyHere) return;
    this.text = kept.text;
    this.#outgoing = kept.outgoing;
    this.giveBack();
  }

  /** @param {string} text */
  type(text) {
    this.text = text;
    const ours = this.#unconfirmed;
    // What came back and is edited is another message.
    if (!beginsWith(text, this.#returned)) this.#returned = null;
    const others = this.#kept()?.outgoing; // another tab may be sending it
    this.#save(this.#unconfirmed ?? (others?.clientMessageId === ours?.clientMessageId ? null : others));
  }

  /** The idempotency key of a text that has come back. */
  get returnedId() {
    return this.#returned?.clientMessageId;
  }

  get #unconfirmed() {
    return this.#outgoing ?? this.#returned;
  }

  /** Forgets a text that the server has. @param {string|undefined} clientMessageId */
  forget(clientMessageId) {
    if (this.#returned !== null && this.returnedId === clientMessageId) {
      this.text = this.text.slice(this.#returned.text.length + PARAGRAPH.length);
      this.#returned = null;
    }
    this.#save(); // the text here is gone from the storage, too
  }

  /** Begins to send this text. @param {string} text @returns {Outgoing} */
  take(text) {
    const returned = this.#returned;
    this.#outgoing =
      returned?.text === text
        ? returned
        : { text, clientMessageId: newClientMessageId(), writtenAt: new Date().toISOString() };
    if (this.text === text) {
      this.text = "";
      this.#returned = null;
    }
    this.#save();
    return this.#outgoing;
  }

  confirm() {
    this.#outgoing = null;
    this.#save();
  }

  /** Returns the text that was sent to what is typed. @param {Outgoing|null} returned what keeps its key */
  giveBack(isSaved = true, sent = this.#outgoing, returned = sent) {
    if (sent !== null && !beginsWith(this.text, sent)) {
      this.text = this.text === "" ? sent.text : sent.text + PARAGRAPH + this.text;
    }
    this.#returned = returned;
    this.#outgoing = null;
    if (isSaved) this.#save();
  }

  #save(outgoing = this.#unconfirmed) {
    const { text } = this;
    this.#isOnlyHere = true;
    this.#access((storage) => {
      if (text === "" && outgoing === null) storage.removeItem(this.key);
      else storage.setItem(this.key, JSON.stringify({ text, outgoing }));
      this.#isOnlyHere = false;
    });
  }

  #kept() {
    return draftFrom(this.#access((storage) => storage.getItem(this.key)));
  }

  /** @template T @param {(storage: api.DraftStorage) => T} use @returns {T|null} */
  #access(use) {
    try {
      const given = this.#storage();
      const storage = given === undefined ? globalThis.localStorage : given;
      return storage == null ? null : use(storage);
    } catch {
      return null; // it is full or forbidden; what is typed then lasts as long as the page
    }
  }
}

/** Whether the text is the message, or the message and more. @param {string} text @param {Outgoing|null} message */
function beginsWith(text, message) {
  return message !== null && (text === message.text || text.startsWith(message.text + PARAGRAPH));
}

/** @param {string|null} kept @returns {{text: string, outgoing: Outgoing|null}|null} */
function draftFrom(kept) {
  try {
    const { text, outgoing } = JSON.parse(kept ?? "");
    if (typeof text !== "string") return null;
    const { clientMessageId, writtenAt } = outgoing ?? {};
    const isWhole =
      [outgoing?.text, clientMessageId].every((part) => typeof part === "string") && Date.parse(writtenAt) > 0;
    return { text, outgoing: isWhole ? { text: outgoing.text, clientMessageId, writtenAt } : null };
  } catch {
    return null; // nothing is kept, or it is not ours
  }
}

/** @param {unknown} thrown */
function errorFrom(thrown) {
  if (thrown instanceof Error) return thrown;
  return new Error("The token or the history could not be loaded.", { cause: thrown });
}

/** @param {Outgoing|null} outgoing @param {boolean} isConfirmed @returns {Turn} */
function newTurn(outgoing, isConfirmed) {
  const nothing = { reply: null, runId: null, text: "", partial: null, attempt: null };
  return { outgoing, isConfirmed, isStopped: false, isOver: false, ...nothing };
}

/** What a turn shows behind the stored messages. @param {Turn} turn @param {readonly api.ChatMessage[]} settled */
function messagesOf({ outgoing, isConfirmed, runId, text, isOver, partial, attempt }, settled) {
  /** @type {api.ChatMessage[]} */
  const messages = [];
  const [replaced] = attempt?.replaced ?? [];
  if (attempt && replaced && "message" in attempt.request) {
    const { message: content } = attempt.request;
    const state = runId === null ? "sending" : "sent";
    messages.push(newMessage(replaced.id, "user", content, state));
  } else if (attempt && replaced && "continue" in attempt.request) {
    const content = text === "" ? replaced.content : text;
    return [newMessage(replaced.id, "assistant", content, "streaming")];
  }
  const asked = outgoing === null ? -1 : indexOf(settled, outgoing.clientMessageId);
  if (outgoing !== null && asked === -1) {
    const state = isConfirmed ? "sent" : "sending";
    messages.push(newMessage(outgoing.clientMessageId, "user", outgoing.text, state));
  }
  const isStored = asked !== -1 && settled[asked + 1]?.role === "assistant";
  if (isOver && isStored) return messages;
  if (isOver && partial !== null) {
    messages.push(messageOf(partial, runId ?? partial.id));
  } else if (text !== "" && runId !== null) {
    messages.push(newMessage(runId, "assistant", text, isOver ? "interrupted" : "streaming"));
  }
  return messages;
}

/** @param {readonly api.ChatMessage[]} messages @param {string|undefined} clientMessageId */
function indexOf(messages, clientMessageId) {
  return messages.findIndex(({ id, stored }) => (stored?.metadata?.clientMessageId ?? id) === clientMessageId);
}

/** @param {StoredMessage} stored @param {string} id @returns {api.ChatMessage} */
function messageOf(stored, id) {
  const { role, content } = stored;
  const ended = stored.metadata?.stopReason === "interrupted" ? "interrupted" : "complete";
  return newMessage(id, role, content, role === "user" ? "sent" : ended, stored);
}

/**
 * @param {string} id
 * @param {api.ChatMessage["role"]} role
 * @param {string} content
 * @param {api.ChatMessage["state"]} state
 * @param {StoredMessage|null} stored
 * @returns {api.ChatMessage}
 */
function newMessage(id, role, content, state, stored = null) {
  return Object.freeze({ id, role, content, state, stored });
}

/** @param {api.ChatMessage} message @param {StoredMessage} stored */
function isSame(message, stored) {
  return (
    message.stored?.id === stored.id || (stored.role === "user" && message.id === stored.metadata?.clientMessageId)
  );
}
