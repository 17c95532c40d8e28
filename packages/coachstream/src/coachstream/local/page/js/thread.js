/**
 * One conversation on the page: its stored messages, and the turn that is on its way, if any.
 *
 * A view never looks at the two apart; it shows the `entries` that come of both.
 *
 * @import {Message, Timings, Version} from "./types.js"
 * @import {Turn, Phase} from "./turn.js"
 * @import {QueuedMessage} from "./message-queue.js"
 */
import { Failure } from "./failure.js";
import { turnOfQueued, turnOfStored } from "./turn.js";

/** The stop reason of a reply that is only its own beginning. */
export const INTERRUPTED = "interrupted";

/** With more than these, each word of a reply costs noticeably more; so many are kept when the reader is at the end. */
const MANY_MESSAGES = 300;
const KEPT_MESSAGES = 60;

/**
 * @typedef {object} Entry What one bubble shows.
 * @property {string} key Stays the same while the message goes from sent to stored.
 * @property {string} id Of the stored message, or in the queue.
 * @property {"user"|"assistant"} role
 * @property {string} content
 * @property {Phase|"stored"|"waiting"} phase `waiting` for a message that is answered after others.
 * @property {number} position Of a message that waits; 1 is the next one.
 * @property {boolean} isWithdrawing
 * @property {string|null} stopReason
 * @property {Failure|null} failure
 * @property {boolean} canRetry
 * @property {boolean} isStopping
 * @property {boolean} isReconnecting
 * @property {Timings|null} timings
 * @property {readonly string[]} notices
 * @property {number} matches
 * @property {string|null} model
 * @property {Date} timestamp
 * @property {boolean} isLast Whether it can be tried again: nothing comes after its exchange.
 * @property {number} versions How many versions of its exchange there are; 0 if this is the only one.
 * @property {number} version Which of them is on view, from 1; 0 if they are not looked at.
 * @property {boolean} isChosen Whether the conversation has the one on view.
 */

export class Thread {
  /** @type {"loading"|"ready"|"failed"} */
  status = "ready";
  /** Why it could not be loaded. @type {Failure|null} */
  failure = null;
  /** @type {Message[]} */
  messages = [];
  /** Whether the conversation has earlier messages than these. */
  hasOlder = false;
  /** @type {Turn|null} */
  turn = null;
  /** The versions that are looked at. @type {{replyId: string, versions: readonly Version[], index: number}|null} */
  versions = null;
  /** What is answered after the turn, in order. @type {readonly QueuedMessage[]} */
  queue = [];
  /** @type {string|null} */
  conversationId;

  /**
   * @param {string} coachId
   * @param {string|null} conversationId `null` until the first message creates the conversation
   */
  constructor(coachId, conversationId) {
    this.coachId = coachId;
    this.conversationId = conversationId;
  }

  /** Whether there is nothing to show yet but an invitation. */
  get isEmpty() {
    return this.status === "ready" && this.messages.length === 0 && this.turn === null && this.queue.length === 0;
  }

  /** What can be tried again: nothing comes after it. @returns {{question: Message, reply: Message}|null} */
  get lastExchange() {
    const [question, reply] = this.messages.slice(-2);
    const isStored = question?.role === "user" && question.id !== "" && reply?.role === "assistant" && reply.id !== "";
    return isStored && this.turn === null && this.queue.length === 0 ? { question, reply } : null;
  }

  /** Whether the turn on view is the conversation's last, so that a run which is live now must be its own. */
  get endsWithTurn() {
    if (!this.turn) return false;
    const question = this.messages.findLast(({ role }) => role === "user");
    return question !== undefined && isQuestionOf(question, this.turn);
  }

  /**
   * Takes over what is stored. A turn that this page is reading is left alone; one that it is not reading is
   * over when its reply is there, and a stored question without a reply becomes a turn.
   *
   * @param {Message[]} all the newest ones, oldest first
   * @param {boolean} hasOlder whether there are earlier ones than these
   * @param {ReadonlyMap<string, string>} queued the runs of those that are not answered yet, by id
   */
  adoptStored(all, hasOlder, queued) {
    this.adoptQueue(all, queued);
    const stored = all.filter(({ id }) => !queued.has(id));
    const known = new Map(this.messages.map((message) => [message.id, message]));
    const newest = stored.map((message) => {
      const before = known.get(message.id);
      if (!before) return message;
      const { viewKey, timings, notices, matches } = before;
      const after = { ...message, viewKey, timings, notices, matches };
      // What has not changed stays the same object, and is not drawn again.
      return isSameMessage(before, after) ? before : after;
    });
    // What the page has of the time before these stays, unless there is a gap between the two.
    const start = hasOlder ? this.messages.findIndex(({ id }) => id === stored[0]?.id) : 0;
    this.messages = [...this.messages.slice(0, Math.max(0, start)), ...newest];
    if (start <= 0) this.hasOlder = hasOlder;
    this.status = "ready";
    this.failure = null;
    if (this.turn && this.#isSettled(this.turn)) this.turn = null;
    this.turn ??= this.#unansweredTurn();
  }

  /**
   * Takes over what waits.
   *
   * @param {Message[]} stored
   * @param {ReadonlyMap<string, string>} runs of those that are not answered yet, by id
   */
  adoptQueue(stored, runs) {
    const arrived = new Set(stored.map(({ clientMessageId }) => clientMessageId));
    const queue = stored
      .filter((message) => runs.has(message.id) && !(this.turn && isQuestionOf(message, this.turn)))
      .map((message) => {
        const { id, clientMessageId, content: text, timestamp: writtenAt } = message;
        const known = this.queue.find(({ key }) => key === clientMessageId);
        const state = { runId: runs.get(id) ?? null, isWithdrawing: known?.isWithdrawing ?? false, failure: null };
        return { key: clientMessageId ?? id, clientMessageId, text, writtenAt, ...state };
      });
    // What the service does not have yet comes last. What it had and has no more was withdrawn, or is being answered.
    const keys = new Set(queue.map(({ key }) => key));
    const unsent = this.queue.filter(({ key, runId }) => runId === null && !keys.has(key) && !arrived.has(key));
    this.queue = [...queue, ...unsent];
  }

  /** Puts another version in the place of the last exchange. @param {Message} question @param {Message} reply */
  replaceLast(question, reply) {
    const { lastExchange } = this;
    if (!lastExchange) return;
    const { viewKey, versions } = lastExchange.reply;
    const others = this.messages.slice(0, -2);
    this.messages = [...others, { ...question, viewKey: lastExchange.question.viewKey }, { ...reply, viewKey, versions }];
    this.versions = null;
  }

  /** Makes the first message of the queue the turn. @returns {string|null} its run, if the service has it */
  takeQueued() {
    const [next, ...rest] = this.queue;
    this.leaveTurnBehind();
    this.turn = turnOfQueued(next);
    this.queue = rest;
    return next.runId;
  }

  /** Forgets everything: the conversation was deleted. */
  clear() {
    this.messages = [];
    this.turn = null;
    this.versions = null;
    this.queue = [];
    this.hasOlder = false;
  }

  /** Forgets the earlier messages of a long conversation; they can be loaded again. */
  forgetOlder() {
    if (this.messages.length <= MANY_MESSAGES) return;
    this.messages = this.messages.slice(-KEPT_MESSAGES);
    this.hasOlder = true;
  }

  /**
   * Takes over messages from before those that it has.
   *
   * @param {Message[]} stored oldest first
   * @param {boolean} hasOlder whether there are still earlier ones
   */
  prependStored(stored, hasOlder) {
    const known = new Set(this.messages.map(({ id }) => id));
    this.messages = [...stored.filter(({ id }) => !known.has(id)), ...this.messages];
    this.hasOlder = hasOlder;
  }

  /**
   * The turn is complete: its two messages are stored.
   *
   * @param {Message} userMessage
   * @param {Message} reply
   */
  completeTurn(userMessage, reply) {
    const turn = this.turn;
    if (!turn) return;
    const question = this.messages.find((message) => isQuestionOf(message, turn));
    const viewKey = question?.viewKey ?? questionKey(turn);
    this.versions = null;
    const kept = this.#withoutTurn(turn).filter(({ id }) => id !== userMessage.id && id !== reply.id);
    this.messages = [
      ...kept,
      { ...userMessage, clientMessageId: userMessage.clientMessageId ?? turn.clientMessageId, viewKey },
      { ...reply, timings: turn.timings, notices: turn.notices, viewKey: replyKey(turn) },
    ];
    this.turn = null;
  }

  /** A turn that did not succeed stays in view when the person writes something else. */
  leaveTurnBehind() {
    const turn = this.turn;
    if (!turn) return;
    const question = this.messages.find((message) => isQuestionOf(message, turn));
    this.messages = this.#withoutTurn(turn);
    this.messages.push(question ?? { ...localMessage(turn, "user", turn.text), viewKey: questionKey(turn) });
    if (turn.reply !== "") {
      const partial = localMessage(turn, "assistant", turn.reply);
      this.messages.push({ ...partial, stopReason: INTERRUPTED, viewKey: replyKey(turn) });
    }
    this.turn = null;
  }

  /**
   * Everything there is to show, oldest first.
   * @returns {Entry[]}
   */
  entries() {
    const entries = [...this.#begunEntries(), ...this.queue.map((message, index) => queuedEntry(message, index + 1))];
    if (this.lastExchange) entries.push(...entries.splice(-2).map((entry) => ({ ...entry, isLast: true })));
    const at = this.versions ? entries.findIndex(({ id }) => id === this.versions?.replyId) : -1;
    if (this.versions && at > 0) {
      const [question, reply] = entriesOf(this.versions);
      entries[at - 1] = { ...entries[at - 1], ...question };
      entries[at] = { ...entries[at], ...reply };
    }
    return entries;
  }

  /** @returns {Entry[]} */
  #begunEntries() {
    const turn = this.turn;
    if (!turn) return this.messages.map((message) => storedEntry(message));
    const entries = this.#withoutTurn(turn).map((message) => storedEntry(message));
    const question = this.messages.find((message) => isQuestionOf(message, turn));
    entries.push({
      ...storedEntry(question ?? localMessage(turn, "user", turn.text)),
      content: turn.text,
      key: question?.viewKey ?? questionKey(turn),
    });
    entries.push({
      ...storedEntry(localMessage(turn, "assistant", turn.reply)),
      key: replyKey(turn),
      phase: turn.phase,
      failure: turn.failure,
      canRetry: turn.clientMessageId !== null && (turn.failure?.retryable ?? true),
      isStopping: turn.isStopping,
      isReconnecting: turn.isReconnecting,
      stopReason: turn.reply !== "" && turn.phase === "failed" ? INTERRUPTED : null,
      timings: turn.timings,
      notices: turn.notices,
    });
    return entries;
  }

  /** The messages without the turn's own, which the turn shows itself. @param {Turn} turn */
  #withoutTurn(turn) {
    const at = this.messages.findIndex((message) => isQuestionOf(message, turn));
    if (at < 0) return [...this.messages];
    const next = this.messages[at + 1];
    const replies = next?.role === "assistant" ? 1 : 0;
    return this.messages.toSpliced(at, 1 + replies);
  }

  /** Whether the store knows more of this turn than the page does. @param {Turn} turn */
  #isSettled(turn) {
    const at = this.messages.findIndex((message) => isQuestionOf(message, turn));
    const next = at < 0 ? undefined : this.messages[at + 1];
    if (next?.role !== "assistant") return false;
    // A failed turn says why its reply is incomplete; the store only knows that it is.
    return next.stopReason !== INTERRUPTED || turn.phase !== "failed";
  }

  /** @returns {Turn|null} */
  #unansweredTurn() {
    const last = this.messages.at(-1);
    if (!last) return null;
    if (last.role === "assistant") {
      const question = this.messages.at(-2);
      if (last.stopReason !== INTERRUPTED || question?.role !== "user") return null;
      return turnOfStored(question, Failure.interrupted(question.clientMessageId !== null), last.content);
    }
    return turnOfStored(last, null);
  }
}

/** @param {Message} message @param {Turn} turn */
function isQuestionOf(message, turn) {
  if (message.role !== "user") return false;
  if (turn.attempt !== null) return message.id === turn.attempt.questionId;
  if (turn.clientMessageId !== null) return message.clientMessageId === turn.clientMessageId;
  return message.content === turn.text && message.timestamp.getTime() === turn.writtenAt.getTime();
}

/** @param {{clientMessageId: string|null, writtenAt: Date}} message */
function questionKey({ clientMessageId, writtenAt }) {
  return `question:${clientMessageId ?? writtenAt.toISOString()}`;
}

/** @param {Turn} turn */
function replyKey(turn) {
  if (turn.attempt !== null) return turn.attempt.replyKey;
  return `reply:${turn.clientMessageId ?? turn.writtenAt.toISOString()}`;
}

/**
 * @param {Turn} turn
 * @param {"user"|"assistant"} role
 * @param {string} content
 * @returns {Message}
 */
function localMessage(turn, role, content) {
  return {
    id: "",
    role,
    content,
    timestamp: turn.writtenAt,
    model: null,
    stopReason: null,
    clientMessageId: role === "user" ? turn.clientMessageId : null,
    timings: null,
    notices: role === "assistant" ? turn.notices : [],
    matches: 0,
    versions: 0,
    viewKey: "",
  };
}

/** @param {QueuedMessage} message @param {number} position @returns {Entry} */
function queuedEntry({ key, clientMessageId, text, writtenAt, isWithdrawing, failure }, position) {
  const base = { id: key, role: /** @type {const} */ ("user"), content: text, timestamp: writtenAt, clientMessageId };
  const nothing = { model: null, stopReason: null, timings: null, notices: NO_NOTICES, matches: 0, versions: 0 };
  return {
    ...newEntry({ ...base, ...nothing, viewKey: questionKey({ clientMessageId, writtenAt }) }),
    phase: "waiting",
    position,
    isWithdrawing,
    failure,
    canRetry: failure?.retryable ?? false,
  };
}

/** @type {readonly string[]} */
const NO_NOTICES = Object.freeze([]);

/** The entry of each message, made once. @type {WeakMap<Message, Entry>} */
const storedEntries = new WeakMap();

/** @param {Message} message @returns {Entry} */
function storedEntry(message) {
  let entry = storedEntries.get(message);
  if (!entry) storedEntries.set(message, (entry = newEntry(message)));
  return entry;
}

/** @param {Message} one @param {Message} other */
function isSameMessage(one, other) {
  return /** @type {(keyof Message)[]} */ (Object.keys(other)).every((key) => String(one[key]) === String(other[key]));
}

/** @param {Message} message @returns {Entry} */
function newEntry({ id, viewKey, role, content, stopReason, timings, notices, matches, versions, model, timestamp }) {
  return {
    key: viewKey,
    id,
    role,
    content,
    phase: "stored",
    position: 0,
    isWithdrawing: false,
    stopReason,
    failure: null,
    canRetry: false,
    isStopping: false,
    isReconnecting: false,
    timings,
    notices,
    matches,
    model,
    timestamp,
    isLast: false,
    versions,
    version: 0,
    isChosen: true,
  };
}

/**
 * What a version of an exchange changes of what is shown of it.
 *
 * @param {{versions: readonly Version[], index: number}} shown
 * @returns {[Partial<Entry>, Partial<Entry>]}
 */
function entriesOf({ versions, index }) {
  const { question, reply, isChosen } = versions[index];
  const version = { isChosen, version: index + 1, versions: versions.length };
  const { content, stopReason, model, timestamp, timings, notices, matches } = reply ?? localReply;
  return [
    { content: question.content, isChosen },
    { ...version, content, stopReason, model, timestamp: reply ? timestamp : question.timestamp, timings, notices, matches },
  ];
}

/** Stands for the reply of a message that was edited before it had one. */
const localReply = {
  content: "",
  stopReason: null,
  model: null,
  timestamp: new Date(0),
  timings: null,
  notices: NO_NOTICES,
  matches: 0,
};
