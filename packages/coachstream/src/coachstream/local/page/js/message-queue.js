/**
 * The messages that are sent during a reply: each is stored at once, and answered when those before it are. One that waits
 * can be withdrawn. A waiting message needs no connection; its reply is read when it is its turn.
 *
 * @import {Api} from "./api.js"
 * @import {Thread} from "./thread.js"
 *
 * @typedef {object} QueuedMessage
 * @property {string} key Names it in its conversation.
 * @property {string|null} clientMessageId The idempotency key; `null` for a message of another client's without one.
 * @property {string} text
 * @property {Date} writtenAt
 * @property {string|null} runId Once the service has queued it.
 * @property {boolean} isWithdrawing
 * @property {Failure|null} failure Why the service has not queued it.
 */
import { newClientMessageId, start, stop } from "./coachstream.js";
import { Failure } from "./failure.js";
import { mayArrive } from "./turn.js";

export class MessageQueue {
  #api;
  #onChanged;
  #onStored;
  #onWithdrawn;
  #onFailed;
  /** The key of the message that is on its way. @type {Map<Thread, string>} */
  #sending = new Map();

  /**
   * @param {Api} api
   * @param {object} listeners
   * @param {(thread: Thread) => void} listeners.onChanged
   * @param {(thread: Thread) => void} listeners.onStored The service has queued one, or no longer has one.
   * @param {(thread: Thread, message: QueuedMessage) => void} listeners.onWithdrawn The person has taken one back.
   * @param {(error: unknown) => void} listeners.onFailed
   */
  constructor(api, { onChanged, onStored, onWithdrawn, onFailed }) {
    this.#api = api;
    this.#onChanged = onChanged;
    this.#onStored = onStored;
    this.#onWithdrawn = onWithdrawn;
    this.#onFailed = onFailed;
  }

  /** @param {Thread} thread @param {string} text @returns {string} its idempotency key */
  add(thread, text) {
    const key = newClientMessageId();
    const state = { runId: null, isWithdrawing: false, failure: null };
    thread.queue = [...thread.queue, { key, clientMessageId: key, text, writtenAt: new Date(), ...state }];
    void this.send(thread);
    return key;
  }

  /** Whether a message is on its way to the service. @param {Thread} thread */
  isSending(thread) {
    return this.#sending.has(thread);
  }

  /** Sends what the service does not have yet, in order, behind the message that is being answered. @param {Thread} thread */
  async send(thread) {
    const { coachId, conversationId, turn } = thread;
    if (this.#sending.has(thread) || conversationId === null || mayArrive(turn)) return;
    for (let next; (next = thread.queue.find(isUnsent)); this.#onChanged(thread)) {
      const { key } = next;
      this.#sending.set(thread, key);
      try {
        change(thread, key, { runId: await this.#enqueue(coachId, conversationId, next) });
        this.#onStored(thread);
      } catch (error) {
        change(thread, key, { failure: Failure.from(error), isWithdrawing: false });
      }
      const sent = find(thread, key);
      if (sent?.isWithdrawing && sent.runId !== null) await this.#stop(thread, sent, sent.runId);
    }
    this.#sending.delete(thread);
    this.#onChanged(thread);
  }

  /**
   * Sends a message, and leaves as soon as its run is known.
   *
   * @param {string} coachId
   * @param {string} conversationId
   * @param {QueuedMessage} message
   */
  async #enqueue(coachId, conversationId, { text: message, clientMessageId, writtenAt }) {
    const replies = this.#api.replies(coachId, conversationId);
    const reply = start({ ...replies, message, clientMessageId: clientMessageId ?? "", writtenAt, policy: "enqueue" });
    for await (const _ of reply) if (reply.runId !== null) return reply.runId;
    throw Failure.unreadable();
  }

  /** Sends a message again that the service has not queued. @param {Thread} thread @param {string} key */
  async retry(thread, key) {
    change(thread, key, { failure: null });
    this.#onChanged(thread);
    await this.send(thread);
  }

  /** Takes a message back before it is answered. @param {Thread} thread @param {string} key */
  async withdraw(thread, key) {
    const message = find(thread, key);
    if (!message || message.isWithdrawing) return;
    change(thread, key, { isWithdrawing: true });
    this.#onChanged(thread);
    if (message.runId !== null) await this.#stop(thread, message, message.runId);
    // One that is on its way is withdrawn when it has arrived.
    else if (message.failure !== null || this.#sending.get(thread) !== key) this.#giveBack(thread, message);
    this.#onChanged(thread);
  }

  /** @param {Thread} thread @param {QueuedMessage} message @param {string} runId */
  async #stop(thread, message, runId) {
    try {
      const outcome = await stop({ ...this.#api.replies(thread.coachId, thread.conversationId ?? ""), runId });
      if (outcome === "withdrawn") this.#giveBack(thread, message);
      this.#onStored(thread);
    } catch (error) {
      if (Failure.from(error).code === "MESSAGE_WITHDRAWN") this.#giveBack(thread, message);
      else this.#onFailed(error);
    }
    // If its reply had just begun, that is stopped.
    change(thread, message.key, { isWithdrawing: false });
  }

  /** @param {Thread} thread @param {QueuedMessage} message */
  #giveBack(thread, message) {
    thread.queue = thread.queue.filter(({ key }) => key !== message.key);
    this.#onWithdrawn(thread, message);
  }
}

/** @param {QueuedMessage} message */
function isUnsent({ runId, failure, isWithdrawing }) {
  return runId === null && failure === null && !isWithdrawing;
}

/** @param {Thread} thread @param {string} key */
function find(thread, key) {
  return thread.queue.find((each) => each.key === key);
}

/** @param {Thread} thread @param {string} key @param {Partial<QueuedMessage>} changes */
function change(thread, key, changes) {
  thread.queue = thread.queue.map((each) => (each.key === key ? { ...each, ...changes } : each));
}
