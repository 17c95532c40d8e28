/**
 * One turn as the page sees it: a message that was sent, and what has come back so far.
 *
 * A turn is a frozen value; each step gives the next one. The phases:
 *
 *     sending --run--> thinking --text--> streaming --complete--> (the turn is over, see thread.js)
 *     awaiting --run--> …                 any of them --fail--> failed --again--> sending
 *     queued --run--> …
 *
 * `awaiting` means that the message is stored and its reply is not: another tab or device sent it, or this page
 * before it was reloaded. Its run may be live; a client that joins it goes through the same phases. `queued` means that
 * another client's message is answered first.
 *
 * @import {ReplyEvent} from "./coachstream.js"
 * @import {Timings} from "./types.js"
 * @import {Failure} from "./failure.js"
 *
 * @typedef {"sending"|"awaiting"|"queued"|"thinking"|"streaming"|"failed"} Phase
 *
 * @typedef {object} Turn
 * @property {Phase} phase
 * @property {string} text What the person wrote.
 * @property {string|null} clientMessageId The idempotency key: every attempt sends the same one. `null`
 *   for a message that another client sent without; it cannot be asked again.
 * @property {Date} writtenAt
 * @property {boolean} isStored Whether the server is known to have the message.
 * @property {string} reply As far as it has arrived.
 * @property {Failure|null} failure
 * @property {boolean} isStopping Whether the user has stopped it.
 * @property {boolean} isReconnecting Whether there is no connection just now.
 * @property {number|null} sentAt `performance.now()` of this attempt; `null` if it was not this page's.
 * @property {Timings|null} timings Of this attempt.
 * @property {readonly string[]} notices What the service says it has done besides the reply.
 * @property {Attempt|null} attempt The exchange that it replaces, if it is another try at that.
 *
 * @typedef {object} Attempt
 * @property {"regenerate"|"replaces"|"continue"} kind As the service calls it: another reply, another question, or more.
 * @property {string} questionId
 * @property {string} replyId
 * @property {string} replyKey What the reply is called on view.
 */

/** @type {ReadonlySet<Phase>} */
const BUSY = new Set(["sending", "awaiting", "queued", "thinking", "streaming"]);

/**
 * @param {string} text
 * @param {string} clientMessageId
 * @returns {Turn}
 */
export function beginTurn(text, clientMessageId) {
  return frozen({
    phase: "sending",
    text,
    clientMessageId,
    writtenAt: new Date(),
    isStored: false,
    reply: "",
    failure: null,
    isStopping: false,
    isReconnecting: false,
    sentAt: performance.now(),
    timings: null,
    notices: [],
    attempt: null,
  });
}

/**
 * Another try at the last exchange.
 *
 * @param {Attempt["kind"]} kind
 * @param {{question: import("./types.js").Message, reply: import("./types.js").Message}} exchange
 * @param {string} clientMessageId
 * @param {string} text of the question
 * @returns {Turn}
 */
export function beginAttempt(kind, { question, reply }, clientMessageId, text) {
  return frozen({
    ...beginTurn(text, clientMessageId),
    reply: kind === "continue" ? reply.content : "",
    attempt: { kind, questionId: question.id, replyId: reply.id, replyKey: reply.viewKey },
  });
}

/**
 * The turn of a message that has waited for its turn.
 *
 * @param {import("./message-queue.js").QueuedMessage} message
 * @returns {Turn}
 */
export function turnOfQueued({ text, clientMessageId, writtenAt, runId }) {
  const turn = beginTurn(text, clientMessageId ?? "");
  return frozen({
    ...turn,
    clientMessageId,
    writtenAt,
    isStored: runId !== null,
    phase: runId === null ? "sending" : "awaiting",
    sentAt: runId === null ? turn.sentAt : null,
  });
}

/**
 * The turn of a stored message whose reply is not stored, or only its beginning.
 *
 * @param {{content: string, clientMessageId: string|null, timestamp: Date}} message
 * @param {Failure|null} failure what is known of it, or `null` to find out
 * @param {string} [reply] the beginning
 * @returns {Turn}
 */
export function turnOfStored({ content, clientMessageId, timestamp }, failure, reply = "") {
  return frozen({
    ...beginTurn(content, ""),
    clientMessageId,
    writtenAt: timestamp,
    isStored: true,
    phase: failure ? "failed" : "awaiting",
    reply,
    failure,
    sentAt: null,
  });
}

/**
 * The turn after an event of its reply.
 *
 * @param {Turn} turn
 * @param {ReplyEvent} event
 * @returns {Turn}
 */
export function afterEvent(turn, event) {
  switch (event.type) {
    case "connection":
      return frozen({ ...turn, isReconnecting: event.state === "reconnecting" });
    case "run":
      // What is continued begins with what there is.
      return frozen({ ...turn, phase: "thinking", isStored: true, reply: isContinued(turn) ? turn.reply : "", failure: null });
    case "queued":
      return frozen({ ...turn, phase: "queued", isStored: true });
    case "text":
      return frozen({
        ...turn,
        phase: event.text === "" ? "thinking" : "streaming",
        reply: event.text,
        timings: timingsAt(turn, performance.now()),
      });
    case "contextual":
      return frozen({ ...turn, notices: [...turn.notices, event.content] });
    case "guardrail_warning":
      return turn; // the stored reply says so
    case "complete":
      return frozen({ ...turn, timings: timingsAt(turn, performance.now()) });
  }
}

/** @param {Turn} turn @param {Failure} failure @returns {Turn} */
export function failTurn(turn, failure) {
  const reply = failure.partialReply ?? turn.reply;
  const isStored = turn.isStored || failure.isStored;
  return frozen({ ...turn, phase: "failed", reply, failure, isStored, isStopping: false, isReconnecting: false });
}

/** @param {Turn} turn @param {boolean} isStopping @returns {Turn} */
export function stopTurn(turn, isStopping) {
  return frozen({ ...turn, isStopping });
}

/** The next attempt, for the same message. @param {Turn} turn @returns {Turn} */
export function retryTurn(turn) {
  return frozen({
    ...turn,
    phase: "sending",
    reply: "",
    failure: null,
    sentAt: performance.now(),
    timings: null,
  });
}

/** Whether something is still expected to come. @param {Turn|null} turn */
export function isBusy(turn) {
  return turn !== null && BUSY.has(turn.phase);
}

/** Whether the service may still get its message: none that was written later may be sent before it. @param {Turn|null} turn */
export function mayArrive(turn) {
  return turn !== null && !turn.isStored && (isBusy(turn) || turn.failure?.retryable === true);
}

/** @param {Turn} turn */
function isContinued({ attempt }) {
  return attempt?.kind === "continue";
}

/** @param {Turn} turn @param {number} now @returns {Timings|null} */
function timingsAt({ sentAt, timings }, now) {
  if (sentAt === null) return null;
  const total = now - sentAt;
  return { firstWord: timings?.firstWord ?? total, total };
}

/** @param {Turn} turn @returns {Turn} */
function frozen(turn) {
  return Object.freeze(turn);
}
