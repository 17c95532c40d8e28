/**
 * One turn as the page sees it: a message that was sent, and what has come back so far.
 *
 * A turn is a frozen value; each step gives the next one. The phases:
 *
 *     sending --start--> thinking --chunk--> streaming --complete--> (the turn is over, see thread.js)
 *     any of them --fail--> failed          --again--> sending
 *     any of them --stop--> stopped         --await--> awaiting
 *
 * `awaiting` means that this page does not read the reply, but that it may be on its way into the store:
 * another tab is reading it, or this page was reloaded or stopped reading in the middle.
 *
 * @import {ReplyEvent, Timings} from "./types.js"
 * @import {Failure} from "./failure.js"
 *
 * @typedef {"sending"|"thinking"|"streaming"|"awaiting"|"stopped"|"failed"} Phase
 *
 * @typedef {object} Turn
 * @property {Phase} phase
 * @property {string} text What the person wrote.
 * @property {string|null} clientMessageId Names the message for good: every attempt sends the same one. `null`
 *   for a message that another client sent without; it cannot be asked again.
 * @property {Date} writtenAt
 * @property {string} reply As far as it has arrived.
 * @property {Failure|null} failure
 * @property {boolean} mayBeRunning Whether an earlier attempt may still be writing on the server.
 * @property {number} sentAt `performance.now()` of this attempt.
 * @property {Timings} timings Of this attempt.
 */

const NO_TIMINGS = Object.freeze({ firstWord: null, total: 0 });
/** @type {ReadonlySet<Phase>} */
const BUSY = new Set(["sending", "thinking", "streaming", "awaiting"]);

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
    reply: "",
    failure: null,
    mayBeRunning: false,
    sentAt: performance.now(),
    timings: NO_TIMINGS,
  });
}

/**
 * The turn of a stored message whose reply is not stored (yet).
 *
 * @param {{content: string, clientMessageId: string|null, timestamp: Date}} message
 * @param {Failure|null} failure why it is not waited for, or `null` to wait
 * @param {string} [reply] the beginning of a reply that was interrupted
 * @returns {Turn}
 */
export function turnOfStored({ content, clientMessageId, timestamp }, failure, reply = "") {
  return frozen({
    ...beginTurn(content, ""),
    clientMessageId,
    writtenAt: timestamp,
    phase: failure ? "failed" : "awaiting",
    reply,
    mayBeRunning: true,
    failure,
  });
}

/**
 * The turn after an event of its stream.
 *
 * @param {Turn} turn
 * @param {ReplyEvent} event
 * @returns {Turn}
 */
export function afterEvent(turn, event) {
  const elapsed = performance.now() - turn.sentAt;
  switch (event.type) {
    case "start":
      return turn.phase === "sending" ? frozen({ ...turn, phase: "thinking" }) : turn;
    case "chunk":
      return frozen({
        ...turn,
        phase: "streaming",
        reply: turn.reply + event.content,
        timings: { firstWord: turn.timings.firstWord ?? elapsed, total: elapsed },
      });
    case "complete":
      return frozen({ ...turn, timings: { ...turn.timings, total: elapsed } });
  }
}

/** @param {Turn} turn @param {Failure} failure @returns {Turn} */
export function failTurn(turn, failure) {
  const mayBeRunning = turn.mayBeRunning || failure.mayBeRunning;
  return frozen({ ...turn, phase: "failed", failure, mayBeRunning });
}

/** Stops reading; the server writes on. @param {Turn} turn @returns {Turn} */
export function stopTurn(turn) {
  return frozen({ ...turn, phase: "stopped", mayBeRunning: true });
}

/** @param {Turn} turn @returns {Turn} */
export function awaitTurn(turn) {
  return frozen({ ...turn, phase: "awaiting", failure: null });
}

/** The next attempt, for the same message. @param {Turn} turn @returns {Turn} */
export function retryTurn(turn) {
  return frozen({
    ...turn,
    phase: "sending",
    reply: "",
    failure: null,
    sentAt: performance.now(),
    timings: NO_TIMINGS,
  });
}

/**
 * A name for a message that no other message has. (`crypto.randomUUID` exists in secure contexts only, and the
 * page may be opened from a phone on the same network.)
 */
export function newClientMessageId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Whether something is still expected to come. @param {Turn|null} turn */
export function isBusy(turn) {
  return turn !== null && BUSY.has(turn.phase);
}

/** @param {Turn} turn @returns {Turn} */
function frozen(turn) {
  return Object.freeze(turn);
}
